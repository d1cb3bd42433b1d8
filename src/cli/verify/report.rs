//! What was checked, what is proven, what is not.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use serde::Serialize;

use super::facts::{Event, sentence};
use crate::{
    domain::signature::PublicKey,
    proto::SignedEnvelope,
    tlog::{Hash, note::Verifier},
    verify::{Facts, VerifyError, verify_signed_by},
};

/// Outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// File or part that was checked.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// Where the hub's key came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// From who verifies.
    Given,
    /// From the same place as what is verified.
    BesideTheFiles,
}

/// Answer of `truc verify`.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Every check was passed, and there was at least one proof.
    pub ok: bool,
    /// In their order.
    pub checks: Vec<Check>,
    /// Key that everything was verified with.
    pub verifier_key: Option<String>,
    /// Where it came from.
    pub verifier_key_source: Option<KeySource>,
    /// What the proven evidence says.
    pub events: Vec<Event>,
    /// In English.
    pub proven: Vec<String>,
    /// What is not proven, in English.
    pub not_proven: Vec<String>,
    #[serde(skip)]
    facts: Vec<Facts>,
    #[serde(skip)]
    signed: Vec<Signed>,
}

/// A signed message whose signatures can be verified anew.
#[derive(Debug)]
struct Signed {
    /// As in "the recipient's receipt in NAME".
    what: String,
    envelope: SignedEnvelope,
    by_known_key: bool,
}

impl Report {
    /// Notes the outcome of a check and hands on what was found.
    pub fn check<T>(
        &mut self,
        name: impl Into<String>,
        outcome: Result<T, impl ToString>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let text = match &outcome {
            Ok(found) => detail(found),
            Err(error) => error.to_string(),
        };
        self.checks.push(Check { name: name.into(), ok: outcome.is_ok(), detail: text });
        outcome.ok()
    }

    /// Notes the hub's key.
    pub fn use_key(&mut self, verifier: Verifier, source: KeySource) -> Verifier {
        self.verifier_key = Some(verifier.to_string());
        self.verifier_key_source = Some(source);
        verifier
    }

    /// Notes what a file proves.
    pub fn proof(&mut self, name: &str, outcome: Result<Facts, impl ToString>) -> Option<Facts> {
        let facts = self.check(name, outcome, |facts| {
            let size = facts.tree_size();
            format!("{} is leaf {} of {size} in the log", facts.event().as_str_name(), facts.index())
        })?;
        self.events.push(Event::of(name, &facts));
        self.proven.push(sentence(&facts));
        if let Some(envelope) = facts.message() {
            self.signed_message(format!("the signed message inside {name}"), envelope.clone());
        }
        self.facts.push(facts.clone());
        Some(facts)
    }

    /// Notes that something is proven.
    pub fn proven(&mut self, sentence: impl Into<String>) {
        self.proven.push(sentence.into());
    }

    /// Notes that something is not proven.
    pub fn not_proven(&mut self, sentence: impl Into<String>) {
        self.not_proven.push(sentence.into());
    }

    /// Notes a message with signatures.
    pub fn signed_message(&mut self, what: impl Into<String>, envelope: SignedEnvelope) {
        self.signed.push(Signed { what: what.into(), envelope, by_known_key: false });
    }

    /// Verifies signatures anew. A key that made none of them is a failed check: somebody thought that it did.
    pub fn check_keys(&mut self, keys: &[(PathBuf, PublicKey)]) {
        for (path, key) in keys {
            let outcome = self.signatures_by(key);
            self.check(path.display().to_string(), outcome, |signed| format!("signed {}", signed.join(", ")));
        }
    }

    fn signatures_by(&mut self, key: &PublicKey) -> Result<Vec<String>, VerifyError> {
        let mut signed = Vec::new();
        for message in &mut self.signed {
            match verify_signed_by(&message.envelope, key) {
                Ok(()) => signed.push(message.what.clone()),
                Err(VerifyError::NotSignedBy(_)) => continue,
                Err(bad) => return Err(bad),
            }
            message.by_known_key = true;
        }
        if signed.is_empty() {
            return Err(VerifyError::NotSignedBy(key.key_id()));
        }
        Ok(signed)
    }

    /// Checks that all proofs are of one history, sums up, and says what is not proven.
    pub fn conclude(mut self) -> Self {
        self.check_heads();
        if self.facts.is_empty() && self.checks.iter().all(|check| check.ok) {
            self.check("evidence", Err::<(), _>("there is none"), |()| String::new());
        }
        self.ok = self.checks.iter().all(|check| check.ok);
        let open = self.open_questions();
        self.not_proven.extend(open);
        self
    }

    /// A log that signed two roots for one size has two histories.
    fn check_heads(&mut self) {
        let mut heads: BTreeMap<u64, Hash> = BTreeMap::new();
        for head in self.facts.iter().map(Facts::checkpoint) {
            if *heads.entry(head.size).or_insert(head.root) != head.root {
                let problem = format!("the hub signed two histories of {} leaves", head.size);
                self.check("checkpoints", Err::<(), _>(problem), |()| String::new());
                return;
            }
        }
    }

    fn open_questions(&self) -> Vec<String> {
        let mut list = Vec::new();
        if self.verifier_key_source == Some(KeySource::BesideTheFiles) {
            list.push(format!(
                "That the key is the hub's. It was found beside the files, so it proves only that they agree with each \
                 other, unless you compare it with the one that the hub publishes: {}",
                self.verifier_key.as_deref().unwrap_or_default()
            ));
        }
        for message in self.signed.iter().filter(|message| !message.by_known_key) {
            list.push(format!(
                "That the signatures on {} are good: here the hub says so. Give the signer's public key with --key.",
                message.what
            ));
        }
        if let Some(first) = self.first_gap() {
            list.push(format!("What happened before leaf {first}: the event that it follows is not here."));
        }
        if let Some(last) = self.facts.iter().map(Facts::tree_size).max() {
            list.push(format!("What happened after leaf {}: later events are not here.", last - 1));
            list.push(
                "That the times are right: they are by the hub's clock. That everybody was shown the same log: compare \
                 checkpoints with others."
                    .to_owned(),
            );
        }
        list
    }

    /// The first event that follows one which is not here.
    fn first_gap(&self) -> Option<u64> {
        let here = |hash: Hash| self.facts.iter().any(|facts| facts.leaf_hash() == hash);
        let gaps = self.facts.iter().filter(|facts| facts.previous().is_some_and(|before| !here(before)));
        gaps.map(Facts::index).min()
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        for check in &self.checks {
            let mark = if check.ok { "ok    " } else { "FAILED" };
            let _ = writeln!(text, "{mark}  {}: {}", check.name, check.detail);
        }
        for (title, lines) in [("Proven", &self.proven), ("Not proven", &self.not_proven)] {
            if lines.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n{title}:");
            for line in lines {
                let _ = writeln!(text, "- {line}");
            }
        }
        text
    }
}
