//! Why something was refused: one table maps each code to gRPC status, retry class and help text.

use std::fmt;

pub use crate::proto::ReasonCode;

/// A reason with what it is about. This is the error of the `domain` ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Reason {
    /// The stable code.
    pub code: ReasonCode,
    /// What exactly: field, recipient, limit. Never content of a document.
    pub detail: String,
}

impl Reason {
    /// A reason with its detail.
    #[must_use]
    pub fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// As on the wire.
    #[must_use]
    pub fn to_proto(&self) -> crate::proto::Reason {
        crate::proto::Reason { code: self.code.into(), detail: self.detail.clone() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str_name(), self.detail)
    }
}
