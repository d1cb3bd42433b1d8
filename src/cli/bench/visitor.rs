//! Somebody who looks at the web console, signed in by a link.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, COOKIE, HeaderName, LOCATION, ORIGIN, SET_COOKIE},
};

use crate::{
    cli::{Exit, Failure},
    client::site::{Site, SiteError},
};

/// Largest page that is taken.
const MAX_PAGE: usize = 8 << 20;

/// A browser's part of it: a connection and a jar of cookies.
pub struct Visitor {
    site: Site,
    cookies: BTreeMap<String, String>,
}

impl Visitor {
    /// Signs in with the path of a link.
    pub async fn sign_in(site: Site, link: &str) -> Result<Self, Failure> {
        let mut visitor = Self { site, cookies: BTreeMap::new() };
        let path = format!("vi{link}");
        let page = visitor.send(Method::GET, &path, Bytes::new()).await?;
        let page = String::from_utf8_lossy(page.body()).into_owned();
        let token = page.split_once("name=\"csrf\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let (token, _) = token.ok_or_else(|| wrong("the page of the sign-in link has no form".into()))?;
        let answer = visitor.send(Method::POST, &path, format!("csrf={token}").into()).await?;
        match answer.headers().contains_key(LOCATION) {
            true => Ok(visitor),
            false => Err(wrong(format!("the sign-in link is answered with {}", answer.status()))),
        }
    }

    /// How long a page takes, and its bytes. `path` begins without a slash.
    pub async fn look(&mut self, path: &str) -> Result<(Duration, usize), Failure> {
        let since = Instant::now();
        let page = self.send(Method::GET, path, Bytes::new()).await?;
        match page.status() {
            StatusCode::OK => Ok((since.elapsed(), page.body().len())),
            status => Err(wrong(format!("/{path} is answered with {status}"))),
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Bytes>, Failure> {
        let jar: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers = [
            (COOKIE, jar.join("; ")),
            (ORIGIN, self.site.url().to_owned()),
            (HeaderName::from_static("sec-fetch-site"), "same-origin".to_owned()),
            (CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned()),
        ];
        let answer = self.site.exchange(method, path, &headers, body, MAX_PAGE).await.map_err(unreachable)?;
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let cookie = cookie.to_str().unwrap_or_default();
            if let Some((name, value)) = cookie.split(';').next().and_then(|pair| pair.split_once('=')) {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }
}

fn unreachable(error: SiteError) -> Failure {
    Failure::new(Exit::Unreachable, error)
}

fn wrong(what: String) -> Failure {
    Failure::new(Exit::Refused, what)
}
