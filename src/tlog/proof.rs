//! C2SP proofs in a file (<https://c2sp.org/tlog-proof>): a leaf is in a log, checkable offline.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    Hash,
    checkpoint::{Checkpoint, base64_hash, decimal},
    keys::Trust,
    merkle::{MAX_PATH, leaf_hash, verify_inclusion},
    note::NoteError,
};

/// Largest proof that is read, in bytes: the largest checkpoint, and the largest leaf as extra data.
pub const MAX_PROOF: usize = 256 * 1024;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why a proof does not prove.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The text does not have the form that the standard asks for.
    #[error("malformed proof: {0}")]
    Malformed(&'static str),
    /// Larger than is read.
    #[error("proof too large")]
    TooLarge,
    /// The checkpoint is not good.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// The path does not lead from the leaf to the checkpoint's root.
    #[error("the leaf is not in the tree")]
    NotIncluded,
}

/// An inclusion proof with its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Data of the application's own. No signature covers it.
    pub extra: Option<Vec<u8>>,
    /// Index of the leaf.
    pub index: u64,
    /// Audit path (RFC 6962 section 2.1.1), from the leaf upwards.
    pub path: Vec<Hash>,
    /// The signed note, exactly as the log issued it.
    pub checkpoint: String,
}

impl TlogProof {
    /// The text of a `.tlog-proof` file.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            _ = writeln!(text, "extra {}", BASE64.encode(extra));
        }
        _ = writeln!(text, "index {}", self.index);
        for hash in &self.path {
            _ = writeln!(text, "{}", BASE64.encode(hash));
        }
        text + "\n" + &self.checkpoint
    }

    /// Reads the text. Nothing is verified.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > MAX_PROOF {
            return Err(ProofError::TooLarge);
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Malformed("no empty line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Malformed("first line"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra ")).map(extra).transpose()?;
        let index = lines.next().and_then(|line| decimal(line.strip_prefix("index ")?));
        let index = index.ok_or(ProofError::Malformed("index"))?;
        let path: Option<Vec<_>> = lines.take(MAX_PATH + 1).map(base64_hash).collect();
        let path = path.ok_or(ProofError::Malformed("hash"))?;
        if path.len() > MAX_PATH {
            return Err(ProofError::Malformed("path too long"));
        }
        Ok(Self { extra, index, path, checkpoint: checkpoint.to_owned() })
    }

    /// Checks the checkpoint's signature and that a leaf with exactly these bytes is in its tree. `extra` stays
    /// unverified.
    pub fn verify(&self, leaf_bytes: &[u8], trust: &(impl Trust + ?Sized)) -> Result<Checkpoint, ProofError> {
        let checkpoint = trust.open(&self.checkpoint)?;
        let leaf = leaf_hash(leaf_bytes);
        if !verify_inclusion(&leaf, self.index, checkpoint.size, &self.path, &checkpoint.root) {
            return Err(ProofError::NotIncluded);
        }
        Ok(checkpoint)
    }
}

fn extra(line: &str) -> Result<Vec<u8>, ProofError> {
    let encoded = line.strip_prefix("extra ").unwrap_or_default();
    BASE64.decode(encoded).map_err(|_| ProofError::Malformed("extra data"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::{
        merkle::{Edge, Growth},
        note::Signer,
    };

    // Made by another implementation (Python, cryptography) from the seed 00 01 … 1f and the leaves "one", "two", "three".
    const PROOF: &str = "c2sp.org/tlog-proof@v1\n\
        extra b25lIG1vcmUgdGhpbmc=\n\
        index 1\n\
        0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=\n\
        Zx8UbF5HHooag6PCFM5LqQe486WIjRTMjNPOdbsS75Q=\n\
        \n\
        hub.example/log\n\
        3\n\
        Wqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n\
        \n\
        — hub.example/log c8b3dUoNXeo8RYTH/q0qF/c8EsBsHLajwTMPAc+gNfymcUxNJB65pdf4nHTL0DaMPEDD+HNGTBDjkn0p4XmuqIUBCgE=\n";

    fn signer() -> Signer {
        Signer::from_seed("hub.example/log", &std::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap()
    }

    #[test]
    fn bytes_are_frozen() {
        let mut growth = Growth::new(Edge::empty());
        for leaf in ["one", "two", "three"] {
            growth.push(leaf_hash(leaf.as_bytes()));
        }
        let checkpoint = Checkpoint { origin: signer().name().into(), size: 3, root: growth.root() };
        let proof = TlogProof {
            extra: Some(b"one more thing".to_vec()),
            index: 1,
            path: growth.clone().paths().inclusion(1).unwrap(),
            checkpoint: checkpoint.sign(&signer()),
        };
        assert_eq!(proof.encode(), PROOF);
        assert_eq!(TlogProof::parse(PROOF), Ok(proof));
    }

    #[test]
    fn a_proof_is_for_one_leaf_at_one_place() {
        let proof = TlogProof::parse(PROOF).unwrap();
        let key = signer().verifier();
        assert_eq!(proof.verify(b"two", &key).unwrap().size, 3);
        assert_eq!(proof.verify(b"one", &key), Err(ProofError::NotIncluded));
        let moved = TlogProof { index: 0, ..proof.clone() };
        assert_eq!(moved.verify(b"two", &key), Err(ProofError::NotIncluded));

        let stranger = Signer::from_seed("hub.example/log", &[1; 32]).unwrap().verifier();
        assert_eq!(proof.verify(b"two", &stranger), Err(ProofError::Checkpoint(NoteError::NotSigned)));
        let forged = TlogProof { checkpoint: proof.checkpoint.replace("\n3\n", "\n2\n"), ..proof };
        let bad = NoteError::BadSignature("hub.example/log".into());
        assert_eq!(forged.verify(b"two", &key), Err(ProofError::Checkpoint(bad)));
    }

    #[test]
    fn malformed_proofs_are_refused() {
        let hash = "Zx8UbF5HHooag6PCFM5LqQe486WIjRTMjNPOdbsS75Q=\n";
        for wrong in [
            String::new(),
            PROOF.replace("@v1", "@v2"),
            PROOF.replace("index 1", "index 01"),
            PROOF.replace("index 1", "index  1"),
            PROOF.replace("index 1\n", ""),
            PROOF.replace("Zx8U", ""),
            PROOF.replace("5Q=", "5R="),
            PROOF.replace("extra b25l", "extra !25l"),
            PROOF.replace("index 1\n", "index 1\nextra b25l\n"),
            PROOF.replace("\n\n", "\n"),
            PROOF.replace('\n', "\r\n"),
            PROOF.replace(hash, &hash.repeat(MAX_PATH)),
        ] {
            assert!(matches!(TlogProof::parse(&wrong), Err(ProofError::Malformed(_))), "{wrong:?}");
        }
        let large = PROOF.to_owned() + &"x".repeat(MAX_PROOF);
        assert_eq!(TlogProof::parse(&large), Err(ProofError::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            extra in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            index in any::<u64>(),
            path in prop::collection::vec(any::<Hash>(), 0..MAX_PATH),
            checkpoint in "([^\n]{1,10}\n){3}\n— [^\n]*\n",
        ) {
            let proof = TlogProof { extra, index, path, checkpoint };
            prop_assert_eq!(TlogProof::parse(&proof.encode()), Ok(proof));
        }
    }
}
