//! What went wrong, as a page.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    page::{Page, render},
    visitor::Visitor,
    words::Lang,
};
use crate::{
    domain::reason::{GrpcCode, Reason, entry},
    hub::refused::Refused,
};

/// An error of a handler. The guard dresses it in the visitor's language.
pub(crate) struct Trouble(Box<Refused>);

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        Self(Box::new(refused))
    }
}

impl From<Reason> for Trouble {
    fn from(reason: Reason) -> Self {
        Self(Box::new(reason.into()))
    }
}

/// Left in an answer by a handler that failed.
#[derive(Clone)]
struct Bare(Box<Refused>);

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let mut answer = status(&self.0).into_response();
        answer.extensions_mut().insert(Bare(self.0));
        answer
    }
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    page: Page<'a>,
    heading: &'a str,
    lines: Vec<Line>,
}

/// One reason.
struct Line {
    code: String,
    detail: String,
    help: &'static str,
}

/// The page of an answer that has none.
pub(crate) fn dressed(visitor: &Visitor, mut answer: Response) -> Response {
    if let Some(Bare(refused)) = answer.extensions_mut().remove::<Bare>() {
        return refusal(visitor, &refused);
    }
    match answer.status() {
        StatusCode::NOT_FOUND if answer.headers().get("content-type").is_none() => not_found(visitor),
        _ => answer,
    }
}

/// The page of a refusal.
pub(crate) fn refusal(visitor: &Visitor, refused: &Refused) -> Response {
    let words = visitor.lang.words();
    let heading = match status(refused) {
        StatusCode::FORBIDDEN => words.trouble_forbidden,
        StatusCode::NOT_FOUND => words.trouble_not_found,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => words.trouble_hub,
        _ => words.trouble_refused,
    };
    let lines = refused.reasons.iter().map(|reason| line(visitor.lang, reason)).collect();
    show(visitor, status(refused), heading, lines)
}

fn line(lang: Lang, reason: &Reason) -> Line {
    let help = entry(reason.code);
    Line {
        code: reason.code.as_str_name().to_owned(),
        detail: reason.detail.clone(),
        help: lang.pick(help.help_vi, help.help_en),
    }
}

/// Nothing is there.
pub(crate) fn not_found(visitor: &Visitor) -> Response {
    show(visitor, StatusCode::NOT_FOUND, visitor.lang.words().trouble_not_found, Vec::new())
}

/// A form that no page of ours sent.
pub(crate) fn foreign(visitor: &Visitor) -> Response {
    show(visitor, StatusCode::FORBIDDEN, visitor.lang.words().trouble_foreign, Vec::new())
}

/// A form that came after its session.
pub(crate) fn ended(visitor: &Visitor) -> Response {
    show(visitor, StatusCode::UNAUTHORIZED, visitor.lang.words().trouble_ended, Vec::new())
}

fn show(visitor: &Visitor, status: StatusCode, heading: &str, lines: Vec<Line>) -> Response {
    let page = Page::new(visitor, heading, "");
    let mut answer = render(&TroublePage { page, heading, lines });
    *answer.status_mut() = status;
    answer
}

fn status(refused: &Refused) -> StatusCode {
    match entry(refused.code()).grpc {
        GrpcCode::PermissionDenied => StatusCode::FORBIDDEN,
        GrpcCode::NotFound => StatusCode::NOT_FOUND,
        GrpcCode::ResourceExhausted | GrpcCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        GrpcCode::DataLoss | GrpcCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        GrpcCode::AlreadyExists => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    }
}
