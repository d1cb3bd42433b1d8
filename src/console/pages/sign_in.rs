//! Signing in and out.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    http::{HeaderValue, header::SET_COOKIE},
    response::Response,
};
use serde::Deserialize;

use crate::{
    console::{
        Desk,
        act::{self, Act},
        format,
        guard::{SESSION_COOKIE, redirect},
        labels,
        page::{Page, render},
        sessions::Began,
        trouble::{self, Trouble},
        visitor::{Guest, Signed, Visitor},
    },
    domain::reason::{Reason, ReasonCode},
    edge::{
        caller::{Identity, Role},
        tls::Shown,
    },
};

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    next: String,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    page: Page<'a>,
    certificate: Option<String>,
    token: String,
    next: String,
}

/// `GET /sign-in`
pub(crate) async fn page(
    State(desk): State<Arc<Desk>>,
    Guest(visitor): Guest,
    Query(asked): Query<Asked>,
) -> Response {
    if visitor.signed.is_some() {
        return redirect(&after(&visitor, &asked.next));
    }
    let words = visitor.lang.words();
    render(&SignInPage {
        page: Page::new(&visitor, words.sign_in, ""),
        certificate: visitor.certificate.as_ref().map(|identity| labels::identity(visitor.lang, identity)),
        token: act::guest_token(&desk, &visitor),
        next: asked.next,
    })
}

/// `POST /sign-in/certificate`
pub(crate) async fn with_certificate(
    State(desk): State<Arc<Desk>>,
    Guest(visitor): Guest,
    Act(fields): Act,
) -> Result<Response, Trouble> {
    let none = || Reason::new(ReasonCode::RoleRequired, visitor.lang.words().sign_in_no_certificate);
    let identity = visitor.certificate.clone().ok_or_else(none)?;
    let shown = visitor.shown.clone().ok_or_else(none)?;
    begin(&desk, &visitor, (identity, shown), Began::Certificate, fields.get("next"))
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'a> {
    page: Page<'a>,
    who: String,
    until: String,
    action: String,
    token: String,
}

/// `GET /sign-in/link/SECRET`: shows whom it is for. Nothing is spent yet: mail programs look at links too.
pub(crate) async fn link(
    State(desk): State<Arc<Desk>>,
    Guest(visitor): Guest,
    Path(secret): Path<String>,
) -> Response {
    let link = match desk.hub.look_at_sign_in(&secret) {
        Ok(link) => link,
        Err(reason) => return trouble::refusal(&visitor, &reason.into()),
    };
    let who = match Identity::from_urn(&link.who) {
        Ok(identity) => labels::identity(visitor.lang, &identity),
        Err(reason) => return trouble::refusal(&visitor, &reason.into()),
    };
    render(&LinkPage {
        page: Page::new(&visitor, visitor.lang.words().sign_in_link_confirm, "").without_place(),
        who,
        until: format::moment(visitor.lang, link.until.0),
        action: format!("/{}/sign-in/link/{}", visitor.lang.name(), format::url(&secret)),
        token: act::guest_token(&desk, &visitor),
    })
}

/// `POST /sign-in/link/SECRET`: spends the link; what follows has no secret in its address.
pub(crate) async fn with_link(
    State(desk): State<Arc<Desk>>,
    Guest(visitor): Guest,
    Path(secret): Path<String>,
    Act(_): Act,
) -> Result<Response, Trouble> {
    let link = desk.hub.spend_sign_in(&secret)?;
    let none = || Reason::new(ReasonCode::RoleRequired, "the link was asked for without a certificate");
    let shown = Shown::of_chain(&link.certificate).ok_or_else(none)?;
    // Revoked meanwhile: nothing begins.
    let identity = desk.acceptor.identify(&shown)?;
    begin(&desk, &visitor, (identity, shown), Began::Link, "")
}

/// `POST /sign-out`
pub(crate) async fn out(State(desk): State<Arc<Desk>>, signed: Signed, Act(_): Act) -> Response {
    if let Some(name) = &signed.visitor.session_name {
        desk.sessions.end(name);
    }
    tracing::info!(identity = %signed.caller.identity, address = %signed.caller.address, "signed out of the console");
    let answer = redirect(&format!("/{}/sign-in", signed.visitor.lang.name()));
    with_cookie(answer, &format!("{SESSION_COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"))
}

fn begin(
    desk: &Desk,
    visitor: &Visitor,
    (identity, shown): (Identity, Shown),
    began: Began,
    next: &str,
) -> Result<Response, Trouble> {
    if let Some(old) = &visitor.session_name {
        desk.sessions.end(old);
    }
    tracing::info!(%identity, ?began, "signed in to the console");
    let home = first_page(&identity.role);
    let name = desk.sessions.begin(identity, began, shown, desk.hub.clock().now())?;
    let next = if next.is_empty() || next == "/" { home } else { next };
    let answer = redirect(&after(visitor, next));
    Ok(with_cookie(answer, &format!("{SESSION_COOKIE}={name}; Path=/; Secure; HttpOnly; SameSite=Strict")))
}

/// Where a role begins its work.
fn first_page(role: &Role) -> &'static str {
    match role {
        Role::Auditor(_) | Role::ScopedAuditor(..) => "/documents",
        Role::Security(_) | Role::Registrar(_) => "/agencies",
        _ => "/",
    }
}

/// A page of ours; anything else is the first one.
fn after(visitor: &Visitor, next: &str) -> String {
    let is_ours = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\') && next.is_ascii();
    format!("/{}{}", visitor.lang.name(), if is_ours { next } else { "/" })
}

fn with_cookie(mut answer: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::try_from(cookie) {
        answer.headers_mut().append(SET_COOKIE, value);
    }
    answer
}
