//! Forms: what a person does. Each carries the session's token.

use std::sync::Arc;

use axum::{
    Form,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use ring::hmac;

use super::{Desk, trouble, visitor::Visitor};

/// Fields of a form that a page of this session sent.
pub(crate) struct Act(pub Fields);

/// Fields of a form.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// A field's value, without white space around it; empty when it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }
}

impl FromRequest<Arc<Desk>> for Act {
    type Rejection = Response;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Response> {
        let Some(visitor) = request.extensions().get::<Arc<Visitor>>().cloned() else {
            return Err(super::guard::unknown_visitor());
        };
        let Form(fields) = Form::<Vec<(String, String)>>::from_request(request, desk)
            .await
            .map_err(IntoResponse::into_response)?;
        let fields = Fields(fields);
        if is_expected(desk, &visitor, fields.get("csrf")) {
            Ok(Self(fields))
        } else {
            Err(trouble::foreign(&visitor))
        }
    }
}

fn is_expected(desk: &Desk, visitor: &Visitor, given: &str) -> bool {
    match &visitor.signed {
        // Compared through the key, so that the time it takes tells nothing.
        Some((session, _)) => {
            let expected = hmac::sign(&desk.secret, session.csrf.as_bytes());
            hmac::verify(&desk.secret, given.as_bytes(), expected.as_ref()).is_ok()
        }
        None => hmac::verify(&desk.secret, guest_text(visitor).as_bytes(), &decoded(given)).is_ok(),
    }
}

/// The token of forms for those who have no session yet: bound to the certificate, which others don't have.
pub(crate) fn guest_token(desk: &Desk, visitor: &Visitor) -> String {
    hex::encode(hmac::sign(&desk.secret, guest_text(visitor).as_bytes()))
}

fn guest_text(visitor: &Visitor) -> String {
    let who = visitor.certificate.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("guest {who}")
}

fn decoded(token: &str) -> Vec<u8> {
    hex::decode(token).unwrap_or_default()
}
