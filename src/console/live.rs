//! Telling open pages that something changed. One look at the hub serves all of them; each page holds one place.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

use super::{
    Desk, guard,
    trouble::Trouble,
    visitor::{Signed, Visitor},
};
use crate::{edge::caller::Identity, hub::shares::Shares};

/// How often the hub is looked at while somebody watches.
const EVERY: Duration = Duration::from_secs(2);
/// Pages of one person that are live at the same time.
const MAX_OF_ONE: usize = 16;
/// Pages of all.
const MAX_PAGES: usize = 512;
/// Words that wait for a browser that does not read.
const AHEAD: usize = 2;
/// Browsers ask again after this time when a stream ended.
const AGAIN: Duration = Duration::from_secs(3);

/// What open pages listen to.
pub(crate) struct Live {
    /// Changes whenever something did.
    revision: watch::Sender<u64>,
    places: Shares<Identity>,
}

impl Default for Live {
    fn default() -> Self {
        Self { revision: watch::Sender::new(0), places: Shares::new("live pages", MAX_OF_ONE, MAX_PAGES) }
    }
}

/// Looks at the hub and tells, until `stop`.
pub(crate) async fn keep(desk: &Desk, stop: &CancellationToken) {
    while stop.run_until_cancelled(sleep(EVERY)).await.is_some() {
        desk.sessions.tidy(desk.hub.clock().now());
        if desk.live.revision.receiver_count() == 0 {
            continue;
        }
        let Ok(seen) = desk.hub.overview().await else { continue };
        let revision = seen.leaves.wrapping_mul(31).wrapping_add(seen.leased).wrapping_mul(31)
            + u64::from(seen.sessions);
        desk.live.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
    }
}

/// `GET /live`: an event for every change.
pub(crate) async fn stream(State(desk): State<Arc<Desk>>, signed: Signed) -> Result<Response, Trouble> {
    let place = desk.live.places.take(&signed.caller.identity)?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let mut revision = desk.live.revision.subscribe();
    let (watcher, visitor) = (Arc::clone(&desk), signed.visitor);
    desk.hub.spawn(async move {
        let _place = place;
        let closing = visitor.closing.clone();
        loop {
            let seen = *revision.borrow_and_update();
            if sender.send(seen).await.is_err() || !still(&watcher, &visitor) {
                return;
            }
            tokio::select! {
                changed = revision.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
                () = closing.cancelled() => return,
                () = watcher.hub.stopping().cancelled() => return,
            }
        }
    });
    let events = ReceiverStream::new(receiver).map(|revision| {
        Ok::<_, Infallible>(Event::default().event("revision").data(revision.to_string()).retry(AGAIN))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// The session holds.
fn still(desk: &Desk, visitor: &Visitor) -> bool {
    let name = visitor.session_name.as_deref().unwrap_or_default();
    desk.sessions
        .find(name, desk.hub.clock().now())
        .is_some_and(|session| guard::is_still_seen(desk, &session, visitor))
}
