//! What every request passes, and what every answer gets.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri,
        header::{
            ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, LOCATION, ORIGIN,
            REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
        uri::PathAndQuery,
    },
    response::{IntoResponse, Response},
};
use tower::util::ServiceExt;

use super::{
    Desk, assets, format,
    sessions::{Began, Session},
    trouble,
    visitor::{Theme, Visitor},
    words::Lang,
};
use crate::edge::{
    caller::{Caller, Identity, Role},
    https::Peer,
};

/// Cookie that names the session. The prefix makes browsers bind it to this very host.
pub(crate) const SESSION_COOKIE: &str = "__Host-truc";
/// Cookie with the colours. No secret.
pub(crate) const THEME_COOKIE: &str = "truc-theme";
/// Sent by the console's own script with requests that nobody made: they do not prolong a session.
const BY_ITSELF: &str = "x-by-itself";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer.
fn security() -> [(HeaderName, &'static str); 8] {
    [
        (CONTENT_SECURITY_POLICY, POLICY),
        (STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // With "no-referrer" browsers would hide the origin of our own forms too.
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        ),
    ]
}

/// Answers one request.
pub(crate) async fn answer(desk: &Arc<Desk>, router: &Router, request: Request<Body>) -> Response {
    let mut answer = match request.uri().path().strip_prefix(assets::FOLDER) {
        Some(name) if reads(request.method()) => assets::answer(name),
        _ => page(desk, router, request).await,
    };
    for (name, value) in security() {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

async fn page(desk: &Arc<Desk>, router: &Router, mut request: Request<Body>) -> Response {
    if !reads(request.method()) && request.method() != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD, POST")]).into_response();
    }
    let Some((lang, place)) = language(request.uri()) else {
        return to_language(request.uri(), request.headers());
    };
    let visitor = Arc::new(visitor(desk, &request, lang, place));
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if request.method() == Method::POST && !is_of_this_site(request.headers(), authority) {
        return trouble::foreign(&visitor);
    }
    if visitor.signed.is_none() && !is_open(&visitor.place) {
        return if reads(request.method()) { to_sign_in(&visitor) } else { trouble::ended(&visitor) };
    }
    if let Some((session, _)) = &visitor.signed
        && !request.headers().contains_key(BY_ITSELF)
    {
        session.touch(desk.hub.clock().now());
    }
    let Some(uri) = without_language(&visitor.place) else { return trouble::not_found(&visitor) };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(Arc::clone(&visitor));
    let answer = match router.clone().oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    trouble::dressed(&visitor, answer)
}

fn reads(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// The language in front of the path, and the rest with its query.
fn language(uri: &Uri) -> Option<(Lang, String)> {
    let path = uri.path().strip_prefix('/')?;
    let (first, rest) = path.split_once('/')?;
    let lang = Lang::parse(first)?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some((lang, format!("/{rest}{query}")))
}

fn without_language(place: &str) -> Option<Uri> {
    let mut parts = axum::http::uri::Parts::default();
    parts.path_and_query = Some(PathAndQuery::try_from(place).ok()?);
    Uri::from_parts(parts).ok()
}

fn to_language(uri: &Uri, headers: &HeaderMap) -> Response {
    let wished = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let place = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    redirect(&format!("/{}{place}", Lang::wished(wished).name()))
}

/// Pages for people without a session.
fn is_open(place: &str) -> bool {
    let path = place.split('?').next().unwrap_or_default();
    path == "/sign-in" || path.starts_with("/sign-in/")
}

fn to_sign_in(visitor: &Visitor) -> Response {
    redirect(&format!("/{}/sign-in?next={}", visitor.lang.name(), format::url(&visitor.place)))
}

/// See other: what follows is read with GET.
pub(crate) fn redirect(to: &str) -> Response {
    match HeaderValue::try_from(to) {
        Ok(to) => (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// A handler was reached without what the guard gives: only a fault of the console itself.
pub(crate) fn unknown_visitor() -> Response {
    StatusCode::UNAUTHORIZED.into_response()
}

/// A form that a page of ours sent: browsers name the origin with every POST. HTTP/2 names the host in the address of the
/// request, HTTP/1.1 in a header.
fn is_of_this_site(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text(&HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    let origin = text(&ORIGIN).and_then(|origin| origin.strip_prefix("https://"));
    origin.is_some() && origin == authority.or_else(|| text(&HOST))
}

fn visitor(desk: &Desk, request: &Request<Body>, lang: Lang, place: String) -> Visitor {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>();
    let shown = peer.and_then(|peer| peer.shown.clone());
    let certificate = shown.as_ref().and_then(|shown| desk.acceptor.identify(shown).ok()).filter(is_person);
    let session_name = cookie(headers, SESSION_COOKIE).map(str::to_owned);
    let session = session_name.as_deref().and_then(|name| desk.sessions.find(name, desk.hub.clock().now()));
    let session = session.filter(|session| is_still(desk, session, certificate.as_ref()));
    let signed = session.zip(peer).map(|(session, peer)| {
        let caller =
            Caller { identity: session.identity.clone(), address: peer.address, certificate_until: None };
        (session, caller)
    });
    Visitor {
        lang,
        theme: theme(headers),
        place,
        certificate,
        shown,
        signed,
        session_name,
        closing: peer.map(|peer| peer.closing.clone()).unwrap_or_default(),
    }
}

/// A session needs a certificate that is still good, and one that began with a connection's needs it for every request.
fn is_still(desk: &Desk, session: &Session, certificate: Option<&Identity>) -> bool {
    let is_there = session.began == Began::Link || certificate == Some(&session.identity);
    is_there && desk.acceptor.identify(&session.shown).as_ref() == Ok(&session.identity)
}

/// The same for an answer that goes on.
pub(crate) fn is_still_seen(desk: &Desk, session: &Session, visitor: &Visitor) -> bool {
    is_still(desk, session, visitor.certificate.as_ref())
}

/// Nodes are no people.
fn is_person(identity: &Identity) -> bool {
    !matches!(identity.role, Role::Node(_))
}

fn theme(headers: &HeaderMap) -> Theme {
    match cookie(headers, THEME_COOKIE) {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::System,
    }
}

/// The value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).expect("name"), HeaderValue::try_from(*value).expect("value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_forms_of_this_very_origin_pass() {
        let good = [("host", "truc.vn:7445"), ("origin", "https://truc.vn:7445")];
        assert!(is_of_this_site(&headers(&good), None));
        assert!(is_of_this_site(&headers(&good[1..]), Some("truc.vn:7445")), "HTTP/2");
        assert!(!is_of_this_site(&headers(&good[1..]), Some("evil.vn:7445")), "HTTP/2");
        assert!(is_of_this_site(&headers(&[good[0], good[1], ("sec-fetch-site", "same-origin")]), None));
        for wrong in [
            &[good[0]][..],
            &[good[1]],
            &[],
            &[good[0], ("origin", "null")],
            &[good[0], ("origin", "http://truc.vn:7445")],
            &[good[0], ("origin", "https://truc.vn")],
            &[good[0], ("origin", "https://evil.vn:7445")],
            &[good[0], good[1], ("sec-fetch-site", "same-site")],
            &[good[0], good[1], ("sec-fetch-site", "cross-site")],
            &[good[0], good[1], ("sec-fetch-site", "none")],
        ] {
            assert!(!is_of_this_site(&headers(wrong), None), "{wrong:?}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let headers = headers(&[("cookie", "a=1; __Host-truc=x=y"), ("cookie", "truc-theme=dark")]);
        assert_eq!(cookie(&headers, SESSION_COOKIE), Some("x=y"));
        assert_eq!(theme(&headers), Theme::Dark);
        assert_eq!(cookie(&headers, "truc"), None);
    }

    #[test]
    fn the_language_stands_first() {
        let split =
            |uri: &str| language(&uri.parse().expect("a uri")).map(|(lang, place)| (lang.name(), place));
        assert_eq!(split("/vi/documents?q=a"), Some(("vi", "/documents?q=a".into())));
        assert_eq!(split("/en/"), Some(("en", "/".into())));
        for none in ["/", "/vi", "/documents", "/de/documents"] {
            assert_eq!(split(none), None, "{none}");
        }
        assert!(is_open("/sign-in?next=/") && is_open("/sign-in/link/x"));
        assert!(!is_open("/") && !is_open("/sign-intruder") && !is_open("/documents?x=/sign-in"));
    }
}
