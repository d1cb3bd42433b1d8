//! The hub's one error: a refusal with its reasons, and its receipt where it became evidence.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinHandle,
};

use crate::{
    domain::reason::{Reason, ReasonCode},
    proto,
    store::{CommitError, StoreError},
};

/// Why a call was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", text(.reasons))]
pub struct Refused {
    /// At least one.
    pub reasons: Vec<Reason>,
    /// The evidence of the refusal, with proof.
    pub receipt: Option<Box<proto::Receipt>>,
}

impl Refused {
    /// One reason.
    #[must_use]
    pub fn because(code: ReasonCode, detail: impl Into<String>) -> Self {
        Reason::new(code, detail).into()
    }

    /// The first reason's code: it decides the status.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        self.reasons.first().map_or(ReasonCode::Unspecified, |reason| reason.code)
    }
}

fn text(reasons: &[Reason]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        vec![reason].into()
    }
}

impl From<Vec<Reason>> for Refused {
    fn from(reasons: Vec<Reason>) -> Self {
        Self { reasons, receipt: None }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a read from the store failed");
        match error {
            StoreError::Io { .. } => Self::because(ReasonCode::StoreFailed, "the hub's disk did not answer"),
            StoreError::Damaged(_) => Self::because(
                ReasonCode::Damaged,
                "stored bytes do not match the log; the operator must run fsck",
            ),
        }
    }
}

impl From<&CommitError> for Refused {
    fn from(_: &CommitError) -> Self {
        Self::because(ReasonCode::StoreFailed, "the outcome is unknown: repeat the same message")
    }
}

/// The hub takes nothing more.
pub(super) fn stopping() -> Refused {
    Refused::because(
        ReasonCode::ShuttingDown,
        "the hub is stopping or recovering: connect again, then repeat",
    )
}

/// A client left unread what it asked for.
pub(super) fn unread(patience: std::time::Duration) -> Refused {
    Refused::because(ReasonCode::TooSlow, format!("nothing was read for {patience:?}: connect again"))
}

/// Work was lost by a fault of the hub.
pub(super) fn worker_ended() -> Refused {
    Refused::because(
        ReasonCode::StoreFailed,
        "a worker of the hub ended unexpectedly: repeat the same message",
    )
}

/// Work with files, begun off the threads that serve; in place where there is only one thread.
pub(super) struct Begun<T>(Result<JoinHandle<T>, T>);

/// Begins it.
pub(super) fn begin<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Begun<T> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Begun(Err(work()));
    }
    Begun(Ok(tokio::task::spawn_blocking(work)))
}

impl<T> Begun<T> {
    /// Waits for its end.
    pub async fn end(self) -> Result<T, Refused> {
        match self.0 {
            Err(done) => Ok(done),
            Ok(begun) => begun.await.map_err(|error| {
                tracing::error!(%error, "a worker ended unexpectedly");
                worker_ended()
            }),
        }
    }
}

/// Runs disk work off the async threads. What costs much is bounded by node: see `workers`. A runtime of one thread has
/// nobody to hold up: there it runs in place, and a simulation stays repeatable.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    begin(work).end().await
}
