//! The offline verifier: what evidence proves, found out without hub, network or clock.
//!
//! Knows the words of `domain` and the mathematics of `tlog`, nothing else, so that it can be reviewed alone. It trusts
//! one thing, the hub's verifier key, and says of everything else which check it passed or failed.

pub mod completeness;
pub mod consistency;
pub mod docproof;
mod document;
pub mod export;
mod facts;
pub mod log_keys;
#[cfg(test)]
pub(crate) mod testing;
mod trusted;

pub use document::{FoundPart, document, handover, manifest, parts};
pub use facts::Facts;
pub use trusted::{HeadFault, Opened, Trusted};

use crate::{
    domain::{envelope, id::Digest, reason::ReasonCode, signature::PublicKey},
    proto::{Receipt, SignedEnvelope},
    tlog::{
        keys::Trust,
        proof::{ProofError, TlogProof},
    },
};

/// Largest leaf of a log, in bytes (C2SP tlog-tiles).
const MAX_LEAF: usize = 65_535;

/// Which check failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The checkpoint is not signed by the hub's key, or the evidence is not in its tree, or the proof has no form.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof carries data that no signature covers; the hub's proofs carry none.
    #[error("the proof carries extra data, which no signature covers")]
    Extra,
    /// The log holds these bytes, but they are not evidence that this program knows.
    #[error("the evidence can't be read: {0}")]
    Evidence(String),
    /// The evidence names another hub as its issuer than the log that it is in.
    #[error("issued by {issuer:?}, but found in the log {origin:?}")]
    WrongIssuer {
        /// Who the evidence says that issued it.
        issuer: String,
        /// Whose log it is.
        origin: String,
    },
    /// Another event than was asked for.
    #[error("the evidence is of {found}, not of {needed}")]
    WrongEvent {
        /// What it is.
        found: &'static str,
        /// What it should be.
        needed: &'static str,
    },
    /// A digest in the evidence is not that of the bytes at hand.
    #[error("{what}: has the digest {found}, evidence says {said}")]
    WrongDigest {
        /// Of what.
        what: String,
        /// Digest of the bytes at hand.
        found: String,
        /// What it should be.
        said: String,
    },
    /// Two places that must say the same do not.
    #[error("{what}: {found:?} here, {said:?} in the evidence")]
    Differs {
        /// The field.
        what: &'static str,
        /// What stands here.
        found: String,
        /// What the evidence says.
        said: String,
    },
    /// A signed message that is not what it should be.
    #[error("{what}: {problem}")]
    Message {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An attachment that the manifest names is not there.
    #[error("attachment {0:?} is missing")]
    PartMissing(String),
    /// A file that the manifest does not name.
    #[error("{0:?} is no attachment of this document")]
    PartUnknown(String),
    /// An attachment of another size.
    #[error("attachment {name:?} has {found} bytes, the manifest says {said}")]
    PartSize {
        /// Its name.
        name: String,
        /// Bytes at hand.
        found: u64,
        /// What the manifest says.
        said: u64,
    },
    /// None of the signatures is by this key.
    #[error("not signed by the key {0}")]
    NotSignedBy(Digest),
    /// A signature in the name of this key does not verify.
    #[error("the signature by the key {key} is {}", problem.as_str_name())]
    BadSignature {
        /// The key.
        key: Digest,
        /// Why.
        problem: ReasonCode,
    },
}

/// Proves that exactly this evidence is in the hub's log: its inclusion path leads to the root of a checkpoint that
/// the hub's key signed (RFC 9162 section 2.1.3.2, C2SP tlog-checkpoint). Then reads what it says.
pub fn receipt(receipt: &Receipt, trust: &(impl Trust + ?Sized)) -> Result<Facts, VerifyError> {
    let path = receipt.path.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<_>>();
    let path = path.ok_or(ProofError::Malformed("a hash of the path has not 32 bytes"))?;
    let proof = TlogProof { extra: None, index: receipt.index, path, checkpoint: receipt.checkpoint.clone() };
    proven(&receipt.evidence, &proof, trust)
}

/// The same for the two files `NAME.evidence` and `NAME.tlog-proof` (C2SP tlog-proof).
pub fn evidence_with_proof(
    leaf: &[u8],
    tlog_proof: &str,
    trust: &(impl Trust + ?Sized),
) -> Result<Facts, VerifyError> {
    let proof = TlogProof::parse(tlog_proof)?;
    if proof.extra.is_some() {
        return Err(VerifyError::Extra);
    }
    proven(leaf, &proof, trust)
}

fn proven(leaf: &[u8], proof: &TlogProof, trust: &(impl Trust + ?Sized)) -> Result<Facts, VerifyError> {
    if leaf.len() > MAX_LEAF {
        return Err(VerifyError::Evidence(format!("{} bytes, a leaf has at most {MAX_LEAF}", leaf.len())));
    }
    let checkpoint = proof.verify(leaf, trust)?;
    Facts::read(leaf, proof.index, checkpoint)
}

/// Checks that one of the envelope's signatures is good and by this key. Whose key it is, and whether it was valid at
/// the time, is not asked: the hub's verdict in the evidence says that.
pub fn verify_signed_by(envelope: &SignedEnvelope, key: &PublicKey) -> Result<(), VerifyError> {
    let message = envelope::pae(&envelope.payload_type, &envelope.payload);
    let named =
        envelope.signatures.iter().filter(|signature| signature.key_id == key.key_id().as_bytes()[..]);
    let mut outcome = Err(VerifyError::NotSignedBy(key.key_id()));
    for signature in named.take(envelope::MAX_SIGNATURES) {
        let value = signature.value.as_ref().ok_or(ReasonCode::UnsupportedAlgorithm);
        match value.and_then(|value| key.verify(&message, value)) {
            Ok(()) => return Ok(()),
            Err(problem) => outcome = Err(VerifyError::BadSignature { key: key.key_id(), problem }),
        }
    }
    outcome
}

#[cfg(test)]
mod tests;
