//! C2SP witness protocol (<https://c2sp.org/tlog-witness>): the request, and what a witness makes of it.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    Hash,
    checkpoint::{Checkpoint, base64_hash, decimal},
    merkle::{empty_root, verify_consistency},
    note::{self, MAX_NOTE, NoteError, Verifier},
};

/// Most hashes of a consistency proof that may be sent.
pub const MAX_PROOF: usize = 63;
/// Largest request, in bytes: the largest note, the longest proof with 45 bytes a line, and the first line.
pub const MAX_REQUEST: usize = MAX_NOTE + (MAX_PROOF + 1) * 45;

/// The body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size that the witness is thought to know.
    pub old: u64,
    /// Consistency proof from there (RFC 6962 section 2.1.2).
    pub proof: Vec<Hash>,
    /// The signed note.
    pub note: String,
}

impl AddCheckpoint {
    /// The text that is posted.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            text.push_str(&BASE64.encode(hash));
            text.push('\n');
        }
        text + "\n" + &self.note
    }

    /// Reads it. Nothing is verified.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > MAX_REQUEST {
            return Err(NoteError::TooLarge);
        }
        let (head, note) = text.split_once("\n\n").ok_or(NoteError::Malformed("no empty line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| decimal(line.strip_prefix("old ")?));
        let old = old.ok_or(NoteError::Malformed("old size"))?;
        let proof: Option<Vec<_>> = lines.take(MAX_PROOF + 1).map(base64_hash).collect();
        let proof = proof.ok_or(NoteError::Malformed("hash"))?;
        if proof.len() > MAX_PROOF {
            return Err(NoteError::Malformed("more than 63 hashes"));
        }
        Ok(Self { old, proof, note: note.to_owned() })
    }

    /// Which log it is about. **Nothing is verified.**
    pub fn origin(&self) -> Result<String, NoteError> {
        Ok(Checkpoint::parse_any(note::unverified_text(&self.note)?)?.origin)
    }

    /// The rules of a witness that cosigned `last` of this log before, in the standard's order. What it accepts it has to
    /// remember durably before it cosigns.
    pub fn judge(&self, keys: &[Verifier], last: Option<&Checkpoint>) -> Result<Checkpoint, NotCosigned> {
        let opened = note::open(&self.note, keys).map_err(|error| match error {
            NoteError::NotSigned | NoteError::BadSignature(_) => NotCosigned::NotSigned,
            other => NotCosigned::Malformed(other),
        })?;
        let head = Checkpoint::parse_any(&opened.text).map_err(NotCosigned::Malformed)?;
        if self.old > head.size {
            return Err(NotCosigned::OldIsLarger);
        }
        let (known, known_root) = last.map_or((0, empty_root()), |last| (last.size, last.root));
        if self.old != known || (known == head.size && known_root != head.root) {
            return Err(NotCosigned::Conflict { known });
        }
        if !verify_consistency(known, head.size, &known_root, &head.root, &self.proof) {
            return Err(NotCosigned::NotConsistent { known });
        }
        Ok(head)
    }
}

/// Why a checkpoint was not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCosigned {
    /// Not of the form that the standard asks for.
    #[error("{0}")]
    Malformed(NoteError),
    /// The old size is larger than the checkpoint.
    #[error("the old size is larger than the checkpoint")]
    OldIsLarger,
    /// No trusted key of this log signed it.
    #[error("not signed by a key of this log that is trusted here")]
    NotSigned,
    /// This is not the size that was cosigned last, or another tree of the same size.
    #[error("cosigned last: {known} leaves")]
    Conflict {
        /// Size that was cosigned last.
        known: u64,
    },
    /// The proof does not lead from what was cosigned last to this checkpoint.
    #[error("the proof does not lead from the {known} leaves that were cosigned last to this checkpoint")]
    NotConsistent {
        /// Size that was cosigned last.
        known: u64,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::{
        merkle::{Edge, Growth, NodeReader, consistency_path, leaf_hash},
        note::Signer,
    };

    const ORIGIN: &str = "hub.example/log";

    struct Log(Vec<Hash>, u64);

    impl NodeReader for Log {
        type Error = std::convert::Infallible;
        fn node(&self, index: u64) -> Result<Hash, Self::Error> {
            Ok(self.0[usize::try_from(index).unwrap()])
        }
    }

    fn signer() -> Signer {
        Signer::from_seed(ORIGIN, &[7; 32]).unwrap()
    }

    /// A log of so many leaves, of which those from `fork` on are others.
    fn log(size: u64, fork: u64) -> (Log, Checkpoint) {
        let mut growth = Growth::new(Edge::empty());
        for index in 0..size {
            growth.push(leaf_hash(format!("{index}{}", if index < fork { "" } else { " other" }).as_bytes()));
        }
        let root = growth.root();
        (Log(growth.nodes().to_vec(), size), Checkpoint { origin: ORIGIN.into(), size, root })
    }

    fn request(old: u64, (log, head): &(Log, Checkpoint)) -> AddCheckpoint {
        let path = if old == 0 { None } else { consistency_path(old, log.1, log).unwrap() };
        AddCheckpoint { old, proof: path.unwrap_or_default(), note: head.sign(&signer()) }
    }

    #[test]
    fn bytes_are_frozen() {
        let asked =
            AddCheckpoint { old: 20, proof: vec![[0; 32], [255; 32]], note: "o\n21\nr\n\n— o x\n".into() };
        let text = "old 20\n\
            AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\
            //////////////////////////////////////////8=\n\n\
            o\n21\nr\n\n— o x\n";
        assert_eq!(asked.encode(), text);
        assert_eq!(AddCheckpoint::parse(text), Ok(asked));
    }

    #[test]
    fn what_continues_is_accepted() {
        let keys = [signer().verifier()];
        let mut last: Option<Checkpoint> = None;
        for size in [0, 1, 2, 5, 5, 8, 300] {
            let old = last.as_ref().map_or(0, |last| last.size);
            let head = request(old, &log(size, 999)).judge(&keys, last.as_ref()).unwrap();
            assert_eq!(head.size, size);
            last = Some(head);
        }
    }

    #[test]
    fn what_does_not_continue_is_refused() {
        let keys = [signer().verifier()];
        let known = log(20, 999).1;
        let judge = |asked: AddCheckpoint| asked.judge(&keys, Some(&known));
        let conflict = Err(NotCosigned::Conflict { known: 20 });
        assert_eq!(judge(request(20, &log(30, 10))), Err(NotCosigned::NotConsistent { known: 20 }));
        assert_eq!(judge(request(20, &log(20, 19))), conflict);
        assert_eq!(judge(request(0, &log(30, 999))), conflict, "another old size");
        assert_eq!(judge(request(10, &log(15, 999))), conflict, "an older head");
        assert_eq!(
            judge(AddCheckpoint { old: 20, ..request(10, &log(15, 999)) }),
            Err(NotCosigned::OldIsLarger)
        );
        let empty = request(0, &log(0, 999));
        assert_eq!(judge(empty), conflict);
        let proven = AddCheckpoint { proof: vec![], ..request(20, &log(30, 999)) };
        assert_eq!(judge(proven), Err(NotCosigned::NotConsistent { known: 20 }));
        let first = AddCheckpoint { proof: vec![[1; 32]], ..request(0, &log(30, 999)) };
        assert_eq!(first.judge(&keys, None), Err(NotCosigned::NotConsistent { known: 0 }));
    }

    #[test]
    fn only_trusted_keys_count() {
        let asked = request(0, &log(3, 999));
        let stranger = Signer::from_seed(ORIGIN, &[8; 32]).unwrap().verifier();
        assert_eq!(asked.judge(std::slice::from_ref(&stranger), None), Err(NotCosigned::NotSigned));
        assert!(asked.judge(&[stranger, signer().verifier()], None).is_ok());
        let bent = AddCheckpoint { note: asked.note.replace("\n3\n", "\n4\n"), ..asked };
        assert_eq!(bent.judge(&[signer().verifier()], None), Err(NotCosigned::NotSigned));
    }

    #[test]
    fn extension_lines_of_other_logs_are_carried() {
        let text = log(3, 999).1.text() + "extension\n";
        let asked = AddCheckpoint { old: 0, proof: vec![], note: note::sign(&text, &signer()) };
        assert_eq!(asked.judge(&[signer().verifier()], None).unwrap().size, 3);
        assert_eq!(asked.origin().unwrap(), ORIGIN);
    }

    #[test]
    fn malformed_requests_are_refused() {
        let good = request(2, &log(5, 999)).encode();
        assert!(AddCheckpoint::parse(&good).is_ok());
        let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        for wrong in [
            String::new(),
            good.replace("old 2", "old 02"),
            good.replace("old 2", "old  2"),
            good.replace("old 2", "old -2"),
            good.replace("old 2\n", ""),
            good.replace("old 2\n", &format!("old 2\n{}", hash.repeat(64))),
            good.replace("old 2\n", "old 2\nAAAA\n"),
            good.replace("\n\n", "\n"),
            good.replace('\n', "\r\n"),
            good.clone() + &"x".repeat(MAX_REQUEST),
        ] {
            assert!(AddCheckpoint::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            old in any::<u64>(),
            proof in prop::collection::vec(any::<Hash>(), 0..=MAX_PROOF),
            note in "([^\n]{1,10}\n){3}\n— [^\n]*\n",
        ) {
            let asked = AddCheckpoint { old, proof, note };
            prop_assert_eq!(AddCheckpoint::parse(&asked.encode()), Ok(asked));
        }

        #[test]
        fn no_text_is_fatal(text in "(old [0-9]{1,3}\n)?([A-Za-z0-9+/=]{44}\n)?\n?(.{0,9}\n){0,4}\n?(— .*\n)?") {
            if let Ok(asked) = AddCheckpoint::parse(&text) {
                prop_assert!(asked.judge(&[signer().verifier()], None).is_err());
            }
        }
    }
}
