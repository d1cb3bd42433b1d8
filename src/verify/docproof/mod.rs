//! A `.docproof` file: all that happened to one document, proven from the file and the hub's key alone.
//!
//! In this order, and it stops at the first thing that is wrong: the file's form, the hub's key, the checkpoint, the
//! inclusion of every leaf; the envelope against its acceptance; the course of each recipient by the hub's own rules;
//! every signature, with the keys as the directory knew them at that place of the log. `docs/docproof.md` is the
//! description for other implementations.

mod course;
mod erased;
mod file;
mod keys;
mod story;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

pub use course::{Course, End, Step};
pub use erased::Erased;
pub use file::{MAGIC, MAX_FILE, decode, encode};
pub use keys::{KeyStory, Signed};

use super::Facts;
use crate::{
    proto::Manifest,
    tlog::{
        checkpoint::Checkpoint,
        cosignature::WitnessKey,
        keys::LogKeys,
        note::{NoteError, Verifier},
        policy::Policy,
    },
};

/// Which part of a file is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its form.
    File,
    /// The hub's key is not one that the reader trusts.
    HubKey,
    /// The signed head.
    Checkpoint,
    /// The proof that the leaves are in the tree.
    Proof,
    /// The envelope of the document.
    Envelope,
    /// This leaf.
    Leaf(u64),
}

impl Place {
    /// A stable word for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::HubKey => "hub_key",
            Self::Checkpoint => "checkpoint",
            Self::Proof => "proof",
            Self::Envelope => "envelope",
            Self::Leaf(_) => "leaf",
        }
    }

    fn problem(self, problem: impl Into<String>) -> DocProofError {
        DocProofError { place: self, problem: problem.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file"),
            Self::HubKey => f.write_str("the hub's key"),
            Self::Checkpoint => f.write_str("the checkpoint"),
            Self::Proof => f.write_str("the inclusion proof"),
            Self::Envelope => f.write_str("the document's envelope"),
            Self::Leaf(index) => write!(f, "leaf {index}"),
        }
    }
}

/// Why a file proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct DocProofError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub problem: String,
}

/// What a file proves. Made by [`docproof`] alone.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Key of the hub's log that signed the head: trusted, or tied to a trusted one by proven changes.
    pub verifier: Verifier,
    /// All keys of this log, as far as the file tells.
    pub keys_of_log: LogKeys,
    /// Witnesses that cosigned the head, trusted or not.
    pub cosigned: Vec<Cosigned>,
    /// What the reader's policy asks of witnesses, and they did; `None` without a policy.
    pub quorum: Option<String>,
    /// The head that everything is proven in.
    pub checkpoint: Checkpoint,
    /// The signed note of that head.
    pub note: String,
    /// The document as its sender signed it; only its names where the envelope [was erased](Proven::is_whole_erased).
    pub manifest: Manifest,
    /// Contents that the hub erased, by the file's evidence.
    pub erased: Vec<Erased>,
    /// Its acceptance by the hub.
    pub acceptance: Facts,
    /// Signatures on the envelope, each judged anew.
    pub signatures: Vec<Signed>,
    /// Signatures that were judged, of all messages.
    pub signatures_checked: usize,
    /// What the hub accepted: the document, and each later addition of recipients.
    pub lists: Vec<Listed>,
    /// Recipients in the order of their identifiers, each with its course.
    pub recipients: Vec<Course>,
    /// Names of agencies, as registered last before the checkpoint.
    pub names: BTreeMap<String, String>,
    /// What the directory says about the keys that signed, by key id.
    pub keys: Vec<KeyStory>,
    /// Leaves in the file.
    pub leaves: usize,
    envelope_is_here: bool,
}

impl Proven {
    /// True if the envelope was erased and is not in the file: subject, attachments and the signatures on it are known by
    /// their digests alone.
    #[must_use]
    pub fn is_whole_erased(&self) -> bool {
        !self.envelope_is_here
    }

    /// Recipients that the hub accepted the document for and whose course is not in the file.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.lists.iter().map(|list| list.count - list.found).sum()
    }

    /// Recipients whose delivery came to this end.
    #[must_use]
    pub fn count(&self, end: End) -> usize {
        self.recipients.iter().filter(|course| course.end == end).count()
    }
}

/// A cosignature that was verified by the key beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// The witness, as the file names it.
    pub key: WitnessKey,
    /// Seconds since 1970, by its clock.
    pub time: u64,
}

/// Recipients of one acceptance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Leaf of the acceptance.
    pub leaf: u64,
    /// How many recipients it was accepted for.
    pub count: u64,
    /// How many of them have their course in the file.
    pub found: u64,
}

/// Checks a file with nothing but the keys of hubs that the reader trusts. Whether all recipients are in the file, ask
/// [`Proven::missing`].
pub fn docproof(file: &Bytes, trusted: &[Verifier]) -> Result<Proven, DocProofError> {
    docproof_by(file, trusted, None)
}

/// The same, with what a policy asks of witnesses. The policy's logs are trusted too.
pub fn docproof_by(
    file: &Bytes,
    trusted: &[Verifier],
    policy: Option<&Policy>,
) -> Result<Proven, DocProofError> {
    let proof = file::decode(file)?;
    let trusted: Vec<_> =
        trusted.iter().chain(policy.iter().flat_map(|policy| policy.logs())).cloned().collect();
    let (verifier, keys_of_log) = file::trusted_keys(&proof, &trusted)?;
    let checkpoint = file::open_checkpoint(&proof.checkpoint, &verifier, &keys_of_log)?;
    let cosigned = file::cosignatures(&proof)?;
    let quorum = policy.map(|policy| quorum(&proof, policy)).transpose()?;
    let facts = file::included(&proof, &checkpoint)?;
    let story = story::read(proof.envelope.as_ref(), &facts)?;
    let keys = keys::judge_all(&story, &facts)?;
    Ok(Proven {
        verifier,
        keys_of_log,
        cosigned,
        quorum,
        checkpoint,
        envelope_is_here: proof.envelope.is_some(),
        note: proof.checkpoint.clone(),
        manifest: story.manifest,
        erased: story.erased,
        acceptance: story.acceptance.clone(),
        signatures: keys.of_envelope,
        signatures_checked: keys.checked,
        lists: story.lists,
        recipients: story.recipients,
        names: keys.names,
        keys: keys.stories,
        leaves: facts.len(),
    })
}

/// The rule that the file's cosignatures fulfil.
fn quorum(proof: &crate::proto::DocProof, policy: &Policy) -> Result<String, DocProofError> {
    let lines = proof.cosignatures.iter().map(|given| given.line.as_str());
    let note: String = std::iter::once(proof.checkpoint.as_str()).chain(lines).collect();
    let wrong = |problem: String| Place::Checkpoint.problem(problem);
    let judged = policy.judge(&note).map_err(|error| wrong(error.to_string()))?;
    match judged.enough {
        true => Ok(policy.rule()),
        false => Err(wrong(NoteError::TooFewWitnesses(policy.rule()).to_string())),
    }
}
