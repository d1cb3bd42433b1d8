//! Why a client's work was not done.

use std::path::{Path, PathBuf};

use crate::domain::reason::Reason;

/// The client's one error.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub refused, or the connection failed and patience ended.
    #[error(transparent)]
    Call(#[from] tonic::Status),
    /// The hub answered what a sound hub never answers: trust nothing of it.
    #[error("{0}")]
    Answer(String),
    /// What we were asked to sign or do breaks a rule.
    #[error(transparent)]
    Reason(#[from] Reason),
    /// A local file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ClientError {
    /// The hub's answer is wrong.
    pub fn answer(problem: impl Into<String>) -> Self {
        Self::Answer(problem.into())
    }

    /// For `map_err` on an operation with the file at `path`.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }
}
