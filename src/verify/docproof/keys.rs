//! Every signature judged anew, with the keys as the directory knew them at that place of the log.

use std::collections::BTreeMap;

use prost::Message;

use super::{DocProofError, Place, course::Speech, story::Story};
use crate::{
    domain::{
        directory::Directory,
        envelope::{self, Judgement},
        evidence::RULES,
        id::Digest,
        time::Timestamp,
    },
    proto::{
        DirectoryChange, EventKind, LegalValue, SignatureReport, SignerKind, Verdict,
        directory_change::Change,
    },
    verify::Facts,
};

/// A signature on the document's envelope, judged anew; the hub came to the same verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Signed {
    /// The verdict.
    pub report: SignatureReport,
}

/// What the directory evidence in the file says about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStory {
    /// SHA-256 of the public key.
    pub key_id: Digest,
    /// Agency that it signs for.
    pub agency: String,
    /// Whose it is.
    pub kind: SignerKind,
    /// Leaf of its registration.
    pub registered: u64,
    /// First moment at which it is valid.
    pub valid_from: Timestamp,
    /// First moment at which it is no longer valid.
    pub valid_until: Option<Timestamp>,
    /// Leaf and moment of its revocation, also where that came after everything that it signed.
    pub revoked: Option<(u64, Timestamp)>,
}

/// Outcome of the judgements.
pub struct Keys {
    /// Of the document's envelope.
    pub of_envelope: Vec<Signed>,
    /// All that were judged.
    pub checked: usize,
    /// Keys of the file.
    pub stories: Vec<KeyStory>,
    /// Names of agencies.
    pub names: BTreeMap<String, String>,
}

/// A message with the place of the log and the moment at which the hub judged it.
struct Case<'s> {
    event: &'s Facts,
    speech: &'s Speech<'s>,
    verdict: &'s Verdict,
    at: Timestamp,
}

/// Judges every message and demands the hub's own verdict.
pub fn judge_all(story: &Story<'_>, facts: &[Facts]) -> Result<Keys, DocProofError> {
    let mut cases = Vec::with_capacity(story.speeches.len());
    for (event, speech) in &story.speeches {
        let case = Case::of(event, speech, facts).map_err(|problem| at(event, problem))?;
        cases.push(case);
    }
    cases.sort_by_key(|case| case.verdict.as_of_index);
    every_parked_one_is_used(facts, &cases)?;

    let mut replay = Replay::new(facts);
    let (mut of_envelope, mut checked) = (Vec::new(), 0);
    for case in &cases {
        replay.up_to(case.verdict.as_of_index)?;
        let judgement = case.judge(&replay.directory).map_err(|problem| at(case.event, problem))?;
        checked += judgement.reports.len();
        if case.event.index() == story.acceptance.index() {
            of_envelope = judgement.reports.into_iter().map(|report| Signed { report }).collect();
        }
    }
    replay.up_to(u64::MAX)?;
    Ok(Keys { of_envelope, checked, stories: replay.stories.into_values().collect(), names: replay.names })
}

impl<'s> Case<'s> {
    fn of(event: &'s Facts, speech: &'s Speech<'s>, facts: &'s [Facts]) -> Result<Self, String> {
        let verdict = event.verdict().ok_or("holds no verdict about the signatures")?;
        if verdict.rules != RULES {
            return Err(format!("was judged by rules of version {}, which is unknown", verdict.rules));
        }
        if verdict.as_of_index == event.index() {
            return Ok(Self { event, speech, verdict, at: event.time() });
        }
        // A status that came before its document was judged when it came.
        let parked = facts.binary_search_by_key(&verdict.as_of_index, Facts::index).ok().map(|at| &facts[at]);
        let parked = parked.filter(|leaf| leaf.event() == EventKind::StatusParked);
        let parked = parked.filter(|leaf| leaf.message() == Some(speech.envelope));
        let parked =
            parked.ok_or_else(|| format!("leaf {}, with which it came, is not here", verdict.as_of_index))?;
        Ok(Self { event, speech, verdict, at: parked.time() })
    }

    fn judge(&self, directory: &Directory) -> Result<Judgement, String> {
        let Speech { envelope, kind, agency } = self.speech;
        let judgement = envelope::judge(envelope, kind, agency, directory, self.at)
            .map_err(|reason| format!("its signatures are not good: {reason}"))?;
        let legal_value = LegalValue::try_from(self.verdict.legal_value).unwrap_or_default();
        if judgement.reports != self.verdict.signatures || judgement.legal_value != legal_value {
            return Err("the hub's verdict does not follow from the directory evidence in the file".into());
        }
        Ok(judgement)
    }
}

fn every_parked_one_is_used(facts: &[Facts], cases: &[Case<'_>]) -> Result<(), DocProofError> {
    let used = |leaf: &Facts| cases.iter().any(|case| case.verdict.as_of_index == leaf.index());
    let mut parked = facts.iter().filter(|leaf| leaf.event() == EventKind::StatusParked);
    match parked.find(|leaf| !used(leaf)) {
        Some(surplus) => Err(at(surplus, "belongs to no event of the file")),
        None => Ok(()),
    }
}

/// The directory as far as the file tells it, growing leaf by leaf.
struct Replay<'f> {
    changes: std::iter::Peekable<Box<dyn Iterator<Item = &'f Facts> + 'f>>,
    directory: Directory,
    stories: BTreeMap<Digest, KeyStory>,
    names: BTreeMap<String, String>,
}

impl<'f> Replay<'f> {
    fn new(facts: &'f [Facts]) -> Self {
        let changes = facts.iter().filter(|leaf| leaf.event() == EventKind::DirectoryChange);
        let changes: Box<dyn Iterator<Item = &'f Facts> + 'f> = Box::new(changes);
        Self {
            changes: changes.peekable(),
            directory: Directory::default(),
            stories: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    fn up_to(&mut self, end: u64) -> Result<(), DocProofError> {
        while let Some(leaf) = self.changes.next_if(|leaf| leaf.index() < end) {
            self.apply(leaf).map_err(|problem| at(leaf, problem))?;
        }
        Ok(())
    }

    fn apply(&mut self, leaf: &Facts) -> Result<(), String> {
        let change = DirectoryChange::decode(leaf.evidence().directory_change.clone());
        let change = change.map_err(|error| error.to_string())?;
        self.directory.apply(leaf.index(), &change).map_err(|reason| reason.to_string())?;
        match &change.change {
            Some(Change::PutAgency(agency)) => {
                self.names.insert(agency.organ_id.clone(), agency.name.clone());
            }
            Some(Change::AddKey(key)) => self.note_key(leaf.index(), key),
            _ => {}
        }
        Ok(())
    }

    fn note_key(&mut self, leaf: u64, key: &crate::proto::SigningKey) {
        let Some(key_id) = Digest::from_slice(&key.key_id) else { return };
        let story = self.stories.entry(key_id).or_insert_with(|| KeyStory {
            key_id,
            agency: key.agency.clone(),
            kind: key.signer_kind(),
            registered: leaf,
            valid_from: Timestamp(key.valid_from_us),
            valid_until: Timestamp::given(key.valid_until_us),
            revoked: None,
        });
        story.revoked = story.revoked.or(Timestamp::given(key.revoked_at_us).map(|at| (leaf, at)));
    }
}

fn at(leaf: &Facts, problem: impl Into<String>) -> DocProofError {
    Place::Leaf(leaf.index()).problem(problem)
}
