//! Duties of the people around the hub: each may do what its office needs, and nothing more.

use crate::proto::{ActorRole, directory_change::Change};

/// What a person's certificate is for. Nodes and auditors are not among them: they do nothing to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Runs the exchange: queues, holds, cancellations.
    Operator,
    /// Keeps keys and nodes.
    Security,
    /// Keeps agencies.
    Registrar,
    /// Looks on.
    Viewer,
}

impl Duty {
    /// As in certificates: `urn:truc:NAME:…`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Security => "security",
            Self::Registrar => "registrar",
            Self::Viewer => "viewer",
        }
    }

    /// As in evidence.
    #[must_use]
    pub const fn to_proto(self) -> ActorRole {
        match self {
            Self::Operator => ActorRole::Operator,
            Self::Security => ActorRole::Security,
            Self::Registrar => ActorRole::Registrar,
            Self::Viewer => ActorRole::Viewer,
        }
    }

    /// Who may make this change of the directory: who may sign and who may connect is the security officer's, who is
    /// there is the registrar's.
    #[must_use]
    pub const fn for_change(change: &Change) -> Self {
        match change {
            Change::PutNode(_)
            | Change::RevokeNode(_)
            | Change::AddKey(_)
            | Change::RevokeKey(_)
            | Change::ChangeLogKey(_) => Self::Security,
            Change::PutAgency(_) | Change::SetAgencyState(_) => Self::Registrar,
        }
    }
}
