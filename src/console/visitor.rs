//! Who asks for a page, and how it should be shown.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts, response::Response};
use tokio_util::sync::CancellationToken;

use super::{Desk, guard, sessions::Session, words::Lang};
use crate::edge::{
    caller::{Caller, Identity},
    tls::Shown,
};

/// Colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system has it.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// One request's visitor.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub lang: Lang,
    pub theme: Theme,
    /// Path and query without the language.
    pub place: String,
    /// Whom the certificate of this connection names, if it showed one that is still good.
    pub certificate: Option<Identity>,
    /// That certificate, whatever became of it.
    pub shown: Option<Shown>,
    /// A session, and its caller.
    pub signed: Option<(Arc<Session>, Caller)>,
    /// The session's name, to end it.
    pub session_name: Option<String>,
    /// The connection is about to end.
    pub closing: CancellationToken,
}

/// A visitor, signed in or not.
pub(crate) struct Guest(pub Arc<Visitor>);

/// A visitor with a session.
pub(crate) struct Signed {
    pub visitor: Arc<Visitor>,
    pub caller: Caller,
}

impl FromRequestParts<Arc<Desk>> for Guest {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Desk>) -> Result<Self, Response> {
        parts.extensions.get::<Arc<Visitor>>().cloned().map(Self).ok_or_else(guard::unknown_visitor)
    }
}

impl FromRequestParts<Arc<Desk>> for Signed {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        let Guest(visitor) = Guest::from_request_parts(parts, desk).await?;
        let (_, caller) = visitor.signed.clone().ok_or_else(guard::unknown_visitor)?;
        Ok(Self { visitor, caller })
    }
}
