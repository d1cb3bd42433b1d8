//! How pages look to one person.

use axum::{
    http::{HeaderValue, header::SET_COOKIE},
    response::Response,
};

use crate::console::{
    act::Act,
    guard::{THEME_COOKIE, redirect},
    visitor::Guest,
};

/// `POST /settings/theme`
pub(crate) async fn theme(Guest(visitor): Guest, Act(fields): Act) -> Response {
    let theme = match fields.get("theme") {
        "light" => "light",
        "dark" => "dark",
        _ => "system",
    };
    let place = Some(fields.get("place")).filter(|place| place.starts_with('/') && !place.starts_with("//"));
    let mut answer = redirect(&format!("/{}{}", visitor.lang.name(), place.unwrap_or("/")));
    let cookie =
        format!("{THEME_COOKIE}={theme}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=31536000");
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}
