//! The web console: pages for those who run the exchange and those who check it, made in the hub over the same handles
//! as its gRPC doors. It decides nothing, keeps nothing but sessions, and has no private way in.

mod act;
mod assets;
mod flows;
mod format;
mod guard;
mod labels;
mod live;
mod page;
mod pages;
mod people;
mod picture;
mod sessions;
mod trouble;
mod visitor;
mod words;

use std::sync::Arc;

use axum::{Router, body::Body, extract::DefaultBodyLimit, response::Response};
use hyper::{Request, body::Incoming};
use tokio_util::sync::CancellationToken;

pub use self::sessions::Terms;
use self::{live::Live, sessions::Sessions};
use crate::{
    edge::{https::Door, tls::Acceptor},
    hub::Hub,
};

/// Largest form: an action's reason and what it is about.
const MAX_FORM: usize = 64 * 1024;

/// The console of one hub.
pub struct Console {
    desk: Arc<Desk>,
    router: Router,
}

/// What every page works with.
pub(crate) struct Desk {
    hub: Arc<Hub>,
    acceptor: Arc<Acceptor>,
    sessions: Sessions,
    live: Live,
    /// Signs the forms of those who have no session yet.
    secret: ring::hmac::Key,
}

impl Console {
    /// A console without sessions.
    #[must_use]
    pub fn new(hub: Arc<Hub>, acceptor: Arc<Acceptor>, terms: Terms) -> Self {
        let desk = Arc::new(Desk {
            hub,
            acceptor,
            sessions: Sessions::new(terms),
            live: Live::default(),
            secret: sessions::signing_key(),
        });
        let router = pages::router().layer(DefaultBodyLimit::max(MAX_FORM)).with_state(Arc::clone(&desk));
        Self { desk, router }
    }
}

impl Door for Console {
    type Body = Body;

    async fn answer(&self, request: Request<Incoming>) -> Response {
        guard::answer(&self.desk, &self.router, request.map(Body::new)).await
    }
}

/// Tells open pages that something changed, and lets go of sessions that ended, until `stop`.
pub async fn keep_live(console: Arc<Console>, stop: CancellationToken) {
    let desk = Arc::clone(&console.desk);
    drop(console);
    live::keep(&desk, &stop).await;
}
