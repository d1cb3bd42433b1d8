//! Two signed heads of one log: whether the newer one continues the older one (RFC 6962 section 2.1.2).
//!
//! The proof is kept as a C2SP tlog-witness request: `old N`, the hashes, an empty line, the newer note. The older head is
//! the reader's own, since the request does not hold it.

use crate::tlog::{
    Hash,
    checkpoint::Checkpoint,
    keys::Trust,
    merkle::{empty_root, verify_consistency},
    note::NoteError,
    witness::AddCheckpoint,
};

/// What the newer of two heads is to the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// It contains all of it.
    Same,
    /// It has other leaves in its place, or none proves that it has the same.
    Forked,
    /// It has fewer leaves.
    WentBack,
    /// It is of another log.
    OtherLog,
}

impl History {
    /// A stable word for scripts; those of a broken promise are the ones of `truc audit mirror`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Same => "SAME_HISTORY",
            Self::Forked => "FORKED",
            Self::WentBack => "WENT_BACK",
            Self::OtherLog => "OTHER_LOG",
        }
    }
}

/// Judges two heads by a consistency proof.
#[must_use]
pub fn judge(old: &Checkpoint, new: &Checkpoint, proof: &[Hash]) -> History {
    if old.origin != new.origin {
        return History::OtherLog;
    }
    if new.size < old.size {
        return History::WentBack;
    }
    // The empty tree begins every other one.
    let holds = match old.size {
        0 => old.root == empty_root() && proof.is_empty(),
        _ => verify_consistency(old.size, new.size, &old.root, &new.root, proof),
    };
    if holds { History::Same } else { History::Forked }
}

/// A file that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The older head.
    pub old: Checkpoint,
    /// The newer one.
    pub new: Checkpoint,
    /// Verdict.
    pub history: History,
}

/// Why a file says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// It is no proof.
    #[error("the proof: {0}")]
    Proof(NoteError),
    /// The older head is not signed by what is trusted.
    #[error("the older checkpoint: {0}")]
    Old(NoteError),
    /// The newer head is not signed by what is trusted.
    #[error("the newer checkpoint: {0}")]
    New(NoteError),
    /// The proof begins at another size than the older head.
    #[error("the proof begins at {said} leaves, the older checkpoint has {found}")]
    OtherSize {
        /// Leaves that the proof names.
        said: u64,
        /// Leaves of the older head.
        found: u64,
    },
}

/// Judges a proof, the text of a file, against the older head that the reader holds. A policy in `trust` is asked for the
/// newer head; for the older one ask with `own`.
pub fn file(
    proof: &str,
    old: &str,
    own: &(impl Trust + ?Sized),
    trust: &(impl Trust + ?Sized),
) -> Result<Judged, ConsistencyError> {
    let asked = AddCheckpoint::parse(proof).map_err(ConsistencyError::Proof)?;
    let old = own.open(old).map_err(ConsistencyError::Old)?;
    let new = trust.open(&asked.note).map_err(ConsistencyError::New)?;
    if asked.old != old.size {
        return Err(ConsistencyError::OtherSize { said: asked.old, found: old.size });
    }
    let history = judge(&old, &new, &asked.proof);
    Ok(Judged { old, new, history })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{
        merkle::{Edge, Growth, NodeReader, consistency_path, leaf_hash},
        note::{Signer, Verifier},
    };

    const ORIGIN: &str = "hub.test/log";

    struct Nodes(Vec<Hash>);

    impl NodeReader for Nodes {
        type Error = std::convert::Infallible;

        fn node(&self, index: u64) -> Result<Hash, Self::Error> {
            Ok(self.0[usize::try_from(index).unwrap()])
        }
    }

    fn signer() -> Signer {
        Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
    }

    fn key() -> Verifier {
        signer().verifier()
    }

    /// A log whose leaves from `fork` on are others than those of the log that never forked.
    fn log(size: u64, fork: u64) -> (Nodes, Checkpoint) {
        let mut growth = Growth::new(Edge::empty());
        for index in 0..size {
            growth.push(leaf_hash(format!("{index}{}", if index < fork { "" } else { "'" }).as_bytes()));
        }
        let root = growth.root();
        (Nodes(growth.nodes().to_vec()), Checkpoint { origin: ORIGIN.into(), size, root })
    }

    fn path(old: u64, (nodes, head): &(Nodes, Checkpoint)) -> Vec<Hash> {
        consistency_path(old, head.size, nodes).unwrap().unwrap()
    }

    #[test]
    fn what_continues_is_the_same_history() {
        let new = log(21, 99);
        for size in 0..=21 {
            assert_eq!(judge(&log(size, 99).1, &new.1, &path(size, &new)), History::Same, "{size}");
        }
    }

    #[test]
    fn every_other_history_is_named() {
        let new = log(21, 99);
        for fork in 0..13 {
            let old = log(13, fork).1;
            assert_eq!(judge(&old, &new.1, &path(13, &new)), History::Forked, "another leaf {fork}");
        }
        assert_eq!(judge(&log(21, 20).1, &new.1, &[]), History::Forked, "of the same size");
        assert_eq!(judge(&new.1, &log(20, 99).1, &[]), History::WentBack);
        let other = Checkpoint { origin: "other.test/log".into(), ..log(3, 99).1 };
        assert_eq!(judge(&other, &new.1, &path(3, &new)), History::OtherLog);
        let good = path(13, &new);
        for at in 0..good.len() {
            let mut bent = good.clone();
            bent[at][0] ^= 1;
            assert_eq!(judge(&log(13, 99).1, &new.1, &bent), History::Forked, "hash {at}");
        }
        assert_eq!(judge(&log(13, 99).1, &new.1, &good[1..]), History::Forked);
        let empty = Checkpoint { root: [1; 32], ..log(0, 99).1 };
        assert_eq!(judge(&empty, &new.1, &[]), History::Forked, "no empty tree");
    }

    #[test]
    fn every_flipped_bit_of_a_file_or_its_older_checkpoint_is_noticed() {
        let (new, old) = (log(21, 99), log(13, 99).1);
        let asked = AddCheckpoint { old: 13, proof: path(13, &new), note: new.1.sign(&signer()) };
        let (text, note) = (asked.encode(), old.sign(&signer()));
        let is_noticed = |text: &str, note: &str| {
            !file(text, note, &key(), &key()).is_ok_and(|judged| judged.history == History::Same)
        };
        assert!(!is_noticed(&text, &note));
        for at in 0..text.len().max(note.len()) {
            let bent = |text: &str| {
                let mut bytes = text.as_bytes().to_vec();
                *bytes.get_mut(at)? ^= 1 << (at % 7);
                String::from_utf8(bytes).ok()
            };
            assert!(bent(&text).is_none_or(|bent| is_noticed(&bent, &note)), "byte {at} of the proof");
            assert!(bent(&note).is_none_or(|bent| is_noticed(&text, &bent)), "byte {at} of the checkpoint");
        }
    }

    #[test]
    fn a_file_proves_itself_by_trusted_keys_alone() {
        let (new, old) = (log(21, 99), log(13, 99).1);
        let asked = AddCheckpoint { old: 13, proof: path(13, &new), note: new.1.sign(&signer()) };
        let (text, note) = (asked.encode(), old.sign(&signer()));
        let judged = file(&text, &note, &key(), &key()).unwrap();
        assert_eq!(judged, Judged { old, new: new.1.clone(), history: History::Same });

        let stranger = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
        let by = |key: &Verifier| file(&text, &note, key, key);
        assert_eq!(by(&stranger.verifier()), Err(ConsistencyError::Old(NoteError::NotSigned)));
        let foreign = AddCheckpoint { note: new.1.sign(&stranger), ..asked.clone() }.encode();
        let unsigned = Err(ConsistencyError::New(NoteError::NotSigned));
        assert_eq!(file(&foreign, &note, &key(), &key()), unsigned);
        let early = log(12, 99).1.sign(&signer());
        let other = Err(ConsistencyError::OtherSize { said: 13, found: 12 });
        assert_eq!(file(&text, &early, &key(), &key()), other);
        let forked = log(13, 4).1.sign(&signer());
        assert_eq!(file(&text, &forked, &key(), &key()).unwrap().history, History::Forked);
        assert!(matches!(file("old 13", &note, &key(), &key()), Err(ConsistencyError::Proof(_))));
    }
}
