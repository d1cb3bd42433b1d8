//! What a client has to know about its hub, and how it checks the hub's receipts.

use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;

use super::{Client, ClientError};
use crate::{
    domain::{
        id::{Digest, DocumentName},
        reason::Reason,
    },
    proto::{Evidence, GetCapabilitiesRequest, GetCapabilitiesResponse, Receipt},
    tlog::{
        keys::{LogKeys, Trust},
        merkle::MAX_PATH,
        note::{NoteError, Verifier},
        proof::TlogProof,
    },
    verify::log_keys,
};

/// The hub's announcements. Ask once after connecting.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Limits, origin, defaults.
    pub announced: GetCapabilitiesResponse,
    /// The key that signs now.
    pub verifier: Verifier,
    /// All keys of the hub's log: with them its receipts verify, old ones too.
    pub keys: LogKeys,
    learned: Learned,
}

/// What was learned since: the log goes on with another key, and the hub has proven it. Shared by all copies.
#[derive(Clone, Debug, Default)]
struct Learned(Arc<Mutex<Option<Arc<Terms>>>>);

/// Terms are what was asked for at the start.
impl PartialEq for Learned {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Learned {
    fn get(&self) -> Option<Arc<Terms>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, terms: &Arc<Terms>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(terms));
    }
}

impl Client {
    /// Asks for the hub's terms. Not repeated: this is the call at which a refused certificate shows.
    pub async fn terms(&self) -> Result<Terms, ClientError> {
        let announced = self.submission().get_capabilities(GetCapabilitiesRequest {}).await?.into_inner();
        let verifier = Verifier::parse(&announced.verifier_key)
            .map_err(|error| ClientError::answer(format!("the hub's verifier key: {error}")))?;
        Terms::new(announced, &verifier)
    }
}

impl Terms {
    /// Terms for somebody who trusts this key: one of the log's, tied to the newest by the changes that the hub proves.
    pub fn new(announced: GetCapabilitiesResponse, trusted: &Verifier) -> Result<Self, ClientError> {
        let keys = log_keys::trusted(&announced.log_keys, std::slice::from_ref(trusted))
            .map_err(|error| ClientError::answer(error.to_string()))?;
        let keys = keys.into_iter().find(|keys| keys.contains(trusted));
        let keys = keys.unwrap_or_else(|| trusted.clone().into());
        Ok(Self { announced, verifier: keys.newest().clone(), keys, learned: Learned::default() })
    }

    /// The same for somebody who trusts this key instead of what the hub says.
    pub fn trusting(self, trusted: &Verifier) -> Result<Self, ClientError> {
        Self::new(self.announced, trusted)
    }

    /// Newer terms, where a receipt is under a head of a key that these do not know and the hub proves that a key known here
    /// was handed over to it: for clients that stay connected while the log's key is changed. `None` where these terms do,
    /// or nothing is proven; then the check says what is wrong.
    pub async fn newer_for(&self, client: &Client, receipt: Option<&Receipt>) -> Option<Arc<Self>> {
        let note = &receipt?.checkpoint;
        if self.keys.open(note) != Err(NoteError::NotSigned) {
            return None;
        }
        if let Some(learned) = self.learned.get().filter(|learned| learned.keys.open(note).is_ok()) {
            return Some(learned);
        }
        let asked = client.submission().get_capabilities(GetCapabilitiesRequest {}).await;
        let newer = Arc::new(self.continued_by(asked.ok()?.into_inner())?);
        self.learned.put(&newer);
        Some(newer)
    }

    /// Terms that the hub announces now, if their keys begin with those that are known here.
    fn continued_by(&self, announced: GetCapabilitiesResponse) -> Option<Self> {
        let newer = Self::new(announced, &self.verifier).ok()?;
        let continues =
            newer.keys.contains(&self.verifier) && newer.keys.handovers().starts_with(self.keys.handovers());
        (continues && newer.origin() == self.origin()).then_some(newer)
    }

    /// As [`Terms::check`], and follows the log to a key that it was handed over to meanwhile.
    pub async fn check_following(&self, client: &Client, receipt: &Receipt) -> Result<Evidence, ClientError> {
        match self.newer_for(client, Some(receipt)).await {
            Some(newer) => newer.check(receipt),
            None => self.check(receipt),
        }
    }

    /// Proofs of all changes of the log's key that are known, in the form of a `hub.keys` file; empty where there was none.
    #[must_use]
    pub fn log_keys(&self) -> String {
        let learned = self.learned.get();
        learned.map_or_else(|| self.announced.log_keys.clone(), |terms| terms.announced.log_keys.clone())
    }

    /// Origin of the hub: stands in everything that is signed for it.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.announced.origin
    }

    /// Verifies a receipt: its evidence is a leaf of the tree that the hub signed.
    pub fn check(&self, receipt: &Receipt) -> Result<Evidence, ClientError> {
        let wrong = |problem: String| ClientError::answer(format!("receipt {}: {problem}", receipt.index));
        if receipt.path.len() > MAX_PATH {
            return Err(wrong("its path is too long".into()));
        }
        let path: Option<Vec<_>> = receipt.path.iter().map(|hash| (**hash).try_into().ok()).collect();
        let path = path.ok_or_else(|| wrong("a hash of its path has not 32 bytes".into()))?;
        let proof =
            TlogProof { extra: None, index: receipt.index, path, checkpoint: receipt.checkpoint.clone() };
        proof.verify(&receipt.evidence, &self.keys).map_err(|error| wrong(error.to_string()))?;
        Evidence::decode(receipt.evidence.clone()).map_err(|error| wrong(error.to_string()))
    }

    /// As [`Terms::check`], for an answer that must be there and be about this document.
    pub fn check_about(
        &self,
        receipt: Option<&Receipt>,
        name: &DocumentName,
        manifest: Option<&Digest>,
    ) -> Result<Evidence, ClientError> {
        let receipt = receipt.ok_or_else(|| ClientError::answer("the hub's answer has no receipt"))?;
        let evidence = self.check(receipt)?;
        if !is_about(&evidence, name, manifest) {
            return Err(ClientError::answer(format!("receipt {}: it is not about {name}", receipt.index)));
        }
        Ok(evidence)
    }
}

/// Whether an event is about this document, and about this manifest of it.
#[must_use]
pub fn is_about(evidence: &Evidence, name: &DocumentName, manifest: Option<&Digest>) -> bool {
    evidence.document_id == *name.document_id
        && evidence.revision == name.revision
        && evidence.sender.as_ref().is_some_and(|sender| sender.agency == name.sender.as_str())
        && manifest.is_none_or(|manifest| evidence.manifest_sha256 == manifest.as_bytes()[..])
}

/// Reasons of an event: why it is a refusal, or warnings.
#[must_use]
pub fn reasons_of(evidence: &Evidence) -> Vec<Reason> {
    evidence.reasons.iter().map(|reason| Reason::new(reason.code(), reason.detail.clone())).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::tlog::{
        checkpoint::Checkpoint,
        merkle::{Edge, Growth, leaf_hash},
        note::Signer,
    };

    /// Terms of a hub, and its signer.
    pub fn terms() -> (Terms, Signer) {
        let signer = Signer::from_seed("hub.test/log", &[7; 32]).expect("a name");
        let announced = GetCapabilitiesResponse {
            origin: "hub.test/log".into(),
            verifier_key: signer.verifier().to_string(),
            max_inline_bytes: 100,
            max_chunk_bytes: 1 << 20,
            ..GetCapabilitiesResponse::default()
        };
        (Terms::new(announced, &signer.verifier()).expect("good terms"), signer)
    }

    /// The receipt of a leaf that is the third of three.
    pub fn receipt(evidence: &Evidence, signer: &Signer) -> Receipt {
        let leaf = evidence.encode_to_vec();
        let mut growth = Growth::new(Edge::empty());
        growth.push(leaf_hash(b"one"));
        growth.push(leaf_hash(b"two"));
        let index = growth.push(leaf_hash(&leaf));
        let head = Checkpoint { origin: signer.name().to_owned(), size: growth.size(), root: growth.root() };
        Receipt {
            evidence: leaf.into(),
            index,
            path: growth
                .clone()
                .paths()
                .inclusion(index)
                .expect("there")
                .into_iter()
                .map(|h| h.to_vec().into())
                .collect(),
            checkpoint: head.sign(signer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};
    use crate::{proto::Party, tlog::note::Signer, verify::log_keys::testing::KeyLog};

    fn evidence() -> Evidence {
        Evidence {
            document_id: "17".into(),
            revision: 1,
            sender: Some(Party { agency: "H53".into(), ..Party::default() }),
            manifest_sha256: Digest([1; 32]).to_bytes(),
            ..Evidence::default()
        }
    }

    #[test]
    fn a_true_receipt_is_read_and_a_changed_one_is_not() {
        let (terms, signer) = terms();
        let receipt = receipt(&evidence(), &signer);
        assert_eq!(terms.check(&receipt).expect("true"), evidence());

        let forger = Signer::from_seed("hub.test/log", &[8; 32]).expect("a name");
        type Changes = fn(&mut Receipt);
        let changes: [Changes; 5] = [
            |r| r.index = 0,
            |r| r.path.clear(),
            |r| r.path[0] = r.path[0].slice(..31),
            |r| r.path = vec![r.path[0].clone(); 65],
            |r| r.evidence = Evidence::default().encode_to_vec().into(),
        ];
        for change in changes {
            let mut receipt = receipt.clone();
            change(&mut receipt);
            assert!(matches!(terms.check(&receipt), Err(ClientError::Answer(_))));
        }
        assert!(terms.check(&testing::receipt(&evidence(), &forger)).is_err());
    }

    #[test]
    fn only_terms_that_continue_the_known_keys_are_followed() {
        let (terms, signer) = terms();
        let next = Signer::from_seed("hub.test/log", &[8; 32]).expect("a name");
        let other = Signer::from_seed("hub.test/log", &[9; 32]).expect("a name");
        let announced = |newest: &Signer, changes: &[(&Signer, &Signer)]| {
            let mut log = KeyLog::new("hub.test/log");
            log.push(b"one");
            changes.iter().for_each(|(old, new)| {
                log.push(b"between");
                log.change(old, new);
            });
            let verifier_key = newest.verifier().to_string();
            GetCapabilitiesResponse { verifier_key, log_keys: log.text, ..terms.announced.clone() }
        };
        let newer = terms.continued_by(announced(&next, &[(&signer, &next)])).expect("proven");
        assert_eq!((newer.verifier.clone(), newer.keys.handovers().len()), (next.verifier(), 1));
        let receipt = receipt(&evidence(), &next);
        assert!(terms.check(&receipt).is_err(), "by a key that is not known");
        // Three leaves: the old key's last head. The new one signs larger ones only.
        assert!(newer.check(&receipt).is_err());
        assert!(newer.check(&testing::receipt(&evidence(), &signer)).is_ok());

        let unproven = terms.continued_by(announced(&next, &[]));
        assert!(unproven.is_none_or(|terms| !terms.keys.contains(&next.verifier())), "nothing is proven");
        assert!(
            terms
                .continued_by(announced(&next, &[(&other, &next)]))
                .is_none_or(|t| t.verifier == terms.verifier)
        );
        let last = newer.continued_by(announced(&other, &[(&signer, &next), (&next, &other)]));
        assert_eq!(last.expect("goes on").verifier, other.verifier());
        let rewritten = newer.continued_by(announced(&other, &[(&signer, &other)]));
        assert!(rewritten.is_none_or(|terms| terms.verifier != other.verifier()), "another history of keys");
        let elsewhere =
            GetCapabilitiesResponse { origin: "x".into(), ..announced(&next, &[(&signer, &next)]) };
        assert!(terms.continued_by(elsewhere).is_none());
    }

    #[test]
    fn a_receipt_of_another_document_is_no_answer() {
        let (terms, signer) = terms();
        let receipt = receipt(&evidence(), &signer);
        let check = |sender, id, revision, manifest: [u8; 32]| {
            let name = DocumentName::parse(sender, id, revision).expect("legal");
            terms.check_about(Some(&receipt), &name, Some(&Digest(manifest))).is_ok()
        };
        assert!(check("H53", "17", 1, [1; 32]));
        assert!(!check("H54", "17", 1, [1; 32]));
        assert!(!check("H53", "18", 1, [1; 32]));
        assert!(!check("H53", "17", 0, [1; 32]));
        assert!(!check("H53", "17", 1, [2; 32]));
        let name = DocumentName::parse("H53", "17", 1).expect("legal");
        assert!(terms.check_about(None, &name, None).is_err());
    }
}
