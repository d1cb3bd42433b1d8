//! The proofs of all changes of a log's key, as they lie in a `hub.keys` file: C2SP tlog-proofs one after the other, oldest
//! first, each with its leaf as extra data. `docs/log-key.md` describes them.

use prost::Message;

use super::Facts;
use crate::{
    proto::{DirectoryChange, EventKind, directory_change::Change},
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        keys::{Handover, LogKeys},
        note::{self, NoteError, Verifier},
        proof::TlogProof,
    },
};

/// Largest text, in bytes: some hundred changes.
pub const MAX_LOG_KEYS: usize = 512 * 1024;

/// Begins each proof.
const PROOF: &str = "c2sp.org/tlog-proof@v1\n";

/// Why the changes of a log's key prove nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {number} of the log's key: {problem}")]
pub struct LogKeysError {
    /// Which change, from 1.
    pub number: usize,
    /// What is wrong.
    pub problem: String,
}

/// One change, proven by the key that it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenHandover {
    /// Who hands over to whom, and where in the log.
    pub handover: Handover,
    /// The last head that the old key signed; the change is its last leaf.
    pub note: String,
    /// The same, read.
    pub head: Checkpoint,
    /// RFC 6962 hash of the leaf.
    pub leaf_hash: Hash,
}

/// Verifies the changes: each statement by both of its keys, each leaf in a head of the old key, each change after the one
/// before. Whether any of these keys is trusted is not asked.
pub fn read(text: &str) -> Result<Vec<ProvenHandover>, LogKeysError> {
    let failed = |number: usize| move |problem: String| LogKeysError { number, problem };
    if text.len() > MAX_LOG_KEYS {
        return Err(failed(1)(format!("more than {MAX_LOG_KEYS} bytes")));
    }
    let mut changes: Vec<ProvenHandover> = Vec::new();
    for (number, proof) in (1..).zip(split(text)) {
        changes.push(change(proof).map_err(failed(number))?);
    }
    let handovers = changes.iter().map(|change| change.handover.clone()).collect();
    LogKeys::chain(handovers).map_err(|error| failed(changes.len())(error.to_string()))?;
    Ok(changes)
}

/// What of a log's keys is trusted by somebody who trusts some of them: all, where a proven chain ties them together. Keys
/// of other logs stay as they are.
pub fn trusted(text: &str, trusted: &[Verifier]) -> Result<Vec<LogKeys>, LogKeysError> {
    let handovers = read(text)?.into_iter().map(|change| change.handover).collect();
    let chain = LogKeys::chain(handovers)
        .map_err(|error| LogKeysError { number: 1, problem: error.to_string() })?
        .filter(|chain| trusted.iter().any(|key| chain.contains(key)));
    let others = trusted.iter().filter(|key| chain.as_ref().is_none_or(|chain| !chain.contains(key)));
    let others = others.cloned().map(LogKeys::from);
    Ok(chain.iter().cloned().chain(others).collect())
}

/// The proofs of the text; what stands before the first is a proof too, and will not be one.
fn split(text: &str) -> Vec<&str> {
    let mut begins: Vec<usize> = text.match_indices(PROOF).map(|(at, _)| at).collect();
    begins.retain(|at| *at == 0 || text[..*at].ends_with('\n'));
    if !text.is_empty() && begins.first() != Some(&0) {
        begins.insert(0, 0);
    }
    let ends = begins.iter().skip(1).copied().chain([text.len()]);
    begins.iter().zip(ends).map(|(begin, end)| &text[*begin..end]).collect()
}

fn change(text: &str) -> Result<ProvenHandover, String> {
    let proof = TlogProof::parse(text).map_err(|error| error.to_string())?;
    let leaf = proof.extra.as_deref().ok_or("its leaf is not there")?;
    let (statement, facts) = statement(leaf, &proof)?;
    let handover = Handover::open(&statement).map_err(|error| error.to_string())?;
    let head = proof.verify(leaf, &handover.old).map_err(|error| error.to_string())?;
    if proof.index != handover.leaf || head.size != handover.last_size() {
        return Err("it does not stand where it says, as the last leaf of its head".into());
    }
    if proof.encode() != text || has_other_signatures(&proof.checkpoint).map_err(|error| error.to_string())? {
        return Err("holds more than the proof".into());
    }
    Ok(ProvenHandover { handover, note: proof.checkpoint, head, leaf_hash: facts.leaf_hash() })
}

/// What both keys signed.
fn statement(leaf: &[u8], proof: &TlogProof) -> Result<(String, Facts), String> {
    let head = Checkpoint::unverified(&proof.checkpoint).map_err(|error| error.to_string())?;
    let facts = Facts::read(leaf, proof.index, head).map_err(|error| error.to_string())?;
    facts.require(EventKind::LogKeyChange).map_err(|error| error.to_string())?;
    let change = DirectoryChange::decode(facts.evidence().directory_change.clone());
    match change.map_err(|error| error.to_string())?.change {
        Some(Change::ChangeLogKey(change)) => Ok((change.statement, facts)),
        _ => Err("the leaf holds no statement".into()),
    }
}

/// Behind the text: an empty line, then the signatures, one a line.
fn has_other_signatures(note: &str) -> Result<bool, NoteError> {
    Ok(note[note::unverified_text(note)?.len()..].matches('\n').count() != 2)
}

#[cfg(test)]
pub(crate) mod testing {
    use bytes::Bytes;

    use super::*;
    use crate::{
        domain::{evidence, time::Timestamp},
        proto::LogKeyChange,
        tlog::{
            merkle::{Edge, Growth, leaf_hash},
            note::Signer,
        },
    };

    /// A log of nothing but changes of its key, and what lies between them.
    pub struct KeyLog {
        pub origin: &'static str,
        pub growth: Growth,
        pub text: String,
    }

    impl KeyLog {
        pub fn new(origin: &'static str) -> Self {
            Self { origin, growth: Growth::new(Edge::empty()), text: String::new() }
        }

        pub fn push(&mut self, leaf: &[u8]) -> u64 {
            self.growth.push(leaf_hash(leaf))
        }

        pub fn head(&self) -> Checkpoint {
            Checkpoint { origin: self.origin.into(), size: self.growth.size(), root: self.growth.root() }
        }

        /// Adds a change to this log and its proof to the text.
        pub fn change(&mut self, old: &Signer, new: &Signer) {
            let leaf = leaf(self.origin, &Handover::sign(old, new, self.growth.size()));
            let index = self.push(&leaf);
            let proof = TlogProof {
                extra: Some(leaf.to_vec()),
                index,
                path: self.growth.clone().paths().inclusion(index).unwrap(),
                checkpoint: self.head().sign(old),
            };
            self.text += &proof.encode();
        }
    }

    pub fn leaf(origin: &str, statement: &str) -> Bytes {
        let change = Change::ChangeLogKey(LogKeyChange { statement: statement.into() });
        let mut event = evidence::event(EventKind::LogKeyChange, [1; 16], Timestamp(1), origin);
        let change = DirectoryChange { change: Some(change), reason: String::new() };
        event.directory_change = change.encode_to_vec().into();
        evidence::encode(&event).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::KeyLog, *};
    use crate::tlog::{keys::Trust, note::Signer};

    const ORIGIN: &str = "hub.test/log";

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(ORIGIN, &[seed; 32]).unwrap()
    }

    fn key(seed: u8) -> Verifier {
        signer(seed).verifier()
    }

    fn log() -> KeyLog {
        let mut log = KeyLog::new(ORIGIN);
        log.push(b"one");
        log.push(b"two");
        log.change(&signer(1), &signer(2));
        log.push(b"four");
        log.change(&signer(2), &signer(3));
        log
    }

    #[test]
    fn a_chain_ties_all_keys_to_any_of_them() {
        let log = log();
        let changes = read(&log.text).unwrap();
        assert_eq!(changes.iter().map(|change| change.head.size).collect::<Vec<_>>(), [3, 5]);
        for one in [1, 2, 3] {
            let keys = trusted(&log.text, &[key(one)]).unwrap();
            let [keys] = &keys[..] else { panic!("one log") };
            assert_eq!(keys.newest(), &key(3));
            let head = Checkpoint { size: 9, ..log.head() };
            assert!(keys.open(&head.sign(&signer(3))).is_ok());
            assert!(keys.open(&head.sign(&signer(1))).is_err(), "the first key signs no head of 9 leaves");
        }
        let other = Signer::from_seed("other.test/log", &[1; 32]).unwrap().verifier();
        assert_eq!(
            trusted(&log.text, &[key(9), other.clone()]).unwrap().len(),
            2,
            "strangers stay strangers"
        );
        assert_eq!(trusted(&log.text, &[key(1), key(3), other]).unwrap().len(), 2);
        assert_eq!(trusted("", &[key(1)]).unwrap(), [LogKeys::from(key(1))]);
    }

    #[test]
    fn every_byte_counts() {
        let text = log().text;
        for at in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[at] ^= 1;
            if let Ok(bent) = String::from_utf8(bent) {
                assert!(read(&bent).is_err(), "byte {at}");
            }
        }
        assert!(read(&text[1..]).is_err() && read(&text[..text.len() - 1]).is_err());
        assert!(read(&format!("{text}\n")).is_err() && read(&format!("x\n{text}")).is_err());
        assert!(read(&"x".repeat(MAX_LOG_KEYS + 1)).is_err());
    }

    #[test]
    fn an_unproven_change_is_refused() {
        let (mut log, one) = (KeyLog::new(ORIGIN), signer(1));
        log.push(b"one");
        // A thief without the old key.
        log.change(&signer(8), &signer(9));
        assert!(!trusted(&log.text, &[one.verifier()]).unwrap()[0].contains(&key(9)));

        // Statements in the wrong place of the log.
        let statement = Handover::sign(&one, &signer(2), 7);
        let leaf = testing::leaf(ORIGIN, &statement);
        let mut log = KeyLog::new(ORIGIN);
        let index = log.push(&leaf);
        let checkpoint = log.head().sign(&one);
        let proof = TlogProof { extra: Some(leaf.to_vec()), index, path: Vec::new(), checkpoint };
        assert!(read(&proof.encode()).unwrap_err().problem.contains("stand where it says"));

        // A gap in the chain.
        let mut log = KeyLog::new(ORIGIN);
        log.change(&one, &signer(2));
        log.change(&signer(3), &signer(4));
        assert!(read(&log.text).is_err());
    }
}
