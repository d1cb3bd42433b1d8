//! What is wrong with a log that breaks its promise.

use std::path::PathBuf;

use crate::{
    client::{ClientError, site::SiteError},
    tlog::note::NoteError,
};

/// The log said something that a sound log never says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No trusted key signed the checkpoint, or it is none.
    #[error("the checkpoint is not signed by a trusted key: {0}")]
    NotSigned(NoteError),
    /// The site's proofs of a change of the log's key prove none.
    #[error("the head is signed by another key, and the change of the key is not proven: {problem}")]
    Handover {
        /// What is wrong with them.
        problem: String,
    },
    /// The site now serves another log than the one in the folder.
    #[error("this is the log {seen:?}; the folder holds {kept:?}")]
    OtherLog {
        /// Origin in the folder.
        kept: String,
        /// Origin that was served.
        seen: String,
    },
    /// An older checkpoint than one that was seen before.
    #[error("the log went back from {kept} to {seen} leaves")]
    WentBack {
        /// Leaves known.
        kept: u64,
        /// Leaves served.
        seen: u64,
    },
    /// Two signed histories, of which none continues the other.
    #[error("history forked: the signed log of {seen} leaves does not contain the signed log of {kept}")]
    Forked {
        /// Leaves known.
        kept: u64,
        /// Leaves served.
        seen: u64,
    },
    /// The bytes do not hash to what was signed.
    #[error("{path} does not hash to what was signed")]
    WrongTile {
        /// Which tile.
        path: String,
    },
    /// An entry is not the one that was signed.
    #[error("entry {index} in {path} is not what was signed")]
    WrongEntry {
        /// Its index in the log.
        index: u64,
        /// Its bundle.
        path: String,
    },
    /// A bundle has more, fewer or broken entries.
    #[error("{path} does not hold the {entries} entries that were signed")]
    WrongBundle {
        /// Which bundle.
        path: String,
        /// How many there must be.
        entries: u16,
    },
    /// What a signed checkpoint says exists is not served.
    #[error("{path} is not served, although what was signed needs it")]
    Missing {
        /// What is missing.
        path: String,
    },
}

impl Fault {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSigned(_) => "NOT_SIGNED",
            Self::Handover { .. } => "NOT_SIGNED",
            Self::OtherLog { .. } => "OTHER_LOG",
            Self::WentBack { .. } => "WENT_BACK",
            Self::Forked { .. } => "FORKED",
            Self::WrongTile { .. } => "WRONG_TILE",
            Self::WrongEntry { .. } => "WRONG_ENTRY",
            Self::WrongBundle { .. } => "WRONG_BUNDLE",
            Self::Missing { .. } => "MISSING",
        }
    }
}

/// Why a mirror did not come forward.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The log is at fault; the folder of the mirror is as it was before.
    #[error("{fault}; both checkpoints are kept in {}", evidence.display())]
    Fault {
        /// What is wrong.
        fault: Fault,
        /// Where the evidence lies.
        evidence: PathBuf,
    },
    /// The head is signed, and too few witnesses cosigned it: it does not count yet, and nothing was copied.
    #[error("the newest checkpoint is not cosigned as the policy asks ({rule})")]
    NotCosigned {
        /// What the policy asks for.
        rule: String,
    },
    /// The site can't be asked now.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The mirror's own folder.
    #[error(transparent)]
    Folder(#[from] ClientError),
}
