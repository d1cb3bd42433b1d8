//! The log's public door: checkpoint, tiles and entries as C2SP tlog-tiles, read-only, for tools that nobody here wrote.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
        RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
    },
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    https::{Answer, Door},
    witness::{ADD_CHECKPOINT, WitnessDoor},
};
use crate::{
    domain::{id::Digest, reason::ReasonCode},
    hub::{Hub, refused::Refused},
    tlog::tile::{MAX_BUNDLE, MAX_TILE, Row, Tile},
};

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// The bytes of a full tile never change.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Those of a partial one neither, but nobody needs it for long.
const FOR_AN_HOUR: &str = "public, max-age=3600, immutable";
/// May be kept, and is to be asked for again each time.
const ASK_AGAIN: &str = "no-cache";
/// What is not there may be there in a moment.
const NOT_KEPT: &str = "no-store";

/// Memory for answers that are made or not yet read: four of the largest bundles, or some hundred usual ones.
const ANSWERS: usize = 4 * MAX_BUNDLE;
/// Unit in which it is counted.
const UNIT: usize = 1024;
/// Answers that are read from the disk at the same time: the exchange needs it too.
const READERS: usize = 4;
/// An answer waits so long for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The door over a hub.
pub struct LogDoor {
    hub: Arc<Hub>,
    entries: Entries,
    memory: Arc<Semaphore>,
    readers: Semaphore,
    /// Where this hub is a witness too, and has no other door for that.
    witness: Option<WitnessDoor>,
}

/// Whether the leaves themselves are served, or only their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// Whoever reaches the door reads the evidence: metadata of documents.
    Served,
    /// Nobody reads it here; hashes and proofs stay complete.
    Withheld,
}

impl LogDoor {
    /// A door over this hub's log.
    #[must_use]
    pub fn new(hub: Arc<Hub>, entries: Entries) -> Self {
        let memory = Arc::new(Semaphore::new(ANSWERS.div_ceil(UNIT)));
        Self { hub, entries, memory, readers: Semaphore::new(READERS), witness: None }
    }

    /// The same door, behind which a witness of other logs is reached too.
    #[must_use]
    pub fn with_witness(self, witness: WitnessDoor) -> Self {
        Self { witness: Some(witness), ..self }
    }

    async fn get(&self, path: &str, headers: &HeaderMap) -> Answer {
        if path == "/checkpoint" {
            return self.checkpoint(headers);
        }
        if path == "/hub.keys" {
            return match self.hub.keys().proofs.clone() {
                none if none.is_empty() => told(StatusCode::NOT_FOUND, "this log has had one key only"),
                proofs => answer(StatusCode::OK, TEXT, ASK_AGAIN, proofs.into()),
            };
        }
        match path.strip_prefix('/').and_then(Tile::parse) {
            Some(Tile { row: Row::Entries, .. }) if self.entries == Entries::Withheld => {
                told(StatusCode::NOT_FOUND, "this log does not serve its entries here")
            }
            Some(tile) => self.tile(tile).await,
            None => told(
                StatusCode::NOT_FOUND,
                "there are /checkpoint, /hub.keys, /tile/L/N[.p/W] and /tile/entries/N[.p/W]",
            ),
        }
    }

    fn checkpoint(&self, headers: &HeaderMap) -> Answer {
        let checkpoint = self.hub.signed_head();
        let tag = format!("\"{}\"", Digest::of(checkpoint.as_bytes()));
        let known = headers.get_all(IF_NONE_MATCH).iter().any(|tags| names(tags, &tag));
        let mut answer = match known {
            true => answer(StatusCode::NOT_MODIFIED, TEXT, ASK_AGAIN, Bytes::new()),
            false => answer(StatusCode::OK, TEXT, ASK_AGAIN, checkpoint.into()),
        };
        if let Ok(tag) = HeaderValue::try_from(tag) {
            answer.headers_mut().insert(ETAG, tag);
        }
        answer
    }

    async fn tile(&self, tile: Tile) -> Answer {
        let most = if tile.row == Row::Entries { MAX_BUNDLE } else { MAX_TILE };
        let Ok(Ok(_reader)) = timeout(PATIENCE, self.readers.acquire()).await else {
            return busy("too many answers are being made");
        };
        let Some(room) = self.room(most).await else { return busy("too many answers are not yet read") };
        match self.hub.tile(tile).await {
            Ok(Some(bytes)) => {
                let kept = if tile.is_full() { FOR_EVER } else { FOR_AN_HOUR };
                answer(StatusCode::OK, BYTES, kept, held(bytes, room))
            }
            Ok(None) => told(StatusCode::NOT_FOUND, "the log is not so large yet"),
            Err(refused) => refusal(&refused),
        }
    }

    /// Room for the largest answer; what is not needed is given back once its size is known.
    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        timeout(PATIENCE, Arc::clone(&self.memory).acquire_many_owned(units)).await.ok()?.ok()
    }
}

impl Door for LogDoor {
    type Body = Full<Bytes>;

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if let Some(witness) = self.witness.as_ref().filter(|_| request.uri().path() == ADD_CHECKPOINT) {
            return witness.add_checkpoint(request).await;
        }
        match *request.method() {
            Method::GET => self.get(request.uri().path(), request.headers()).await,
            Method::HEAD => without_body(self.get(request.uri().path(), request.headers()).await),
            _ => {
                let mut refusal = told(StatusCode::METHOD_NOT_ALLOWED, "the log can only be read");
                refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                refusal
            }
        }
    }
}

/// True when the list of tags names this one, or any.
fn names(tags: &HeaderValue, tag: &str) -> bool {
    let Ok(tags) = tags.to_str() else { return false };
    tags.split(',')
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == tag || known == "*")
}

/// Bytes that give their room back when they are written out or dropped.
fn held(bytes: Vec<u8>, mut room: OwnedSemaphorePermit) -> Bytes {
    struct Held(Vec<u8>, #[expect(dead_code, reason = "only its drop matters")] Option<OwnedSemaphorePermit>);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let needed = room.split(bytes.len().div_ceil(UNIT));
    Bytes::from_owner(Held(bytes, needed))
}

fn refusal(refused: &Refused) -> Answer {
    match refused.code() {
        ReasonCode::Damaged | ReasonCode::StoreFailed => {
            told(StatusCode::INTERNAL_SERVER_ERROR, &refused.to_string())
        }
        _ => busy(&refused.to_string()),
    }
}

fn busy(why: &str) -> Answer {
    let mut answer = told(StatusCode::SERVICE_UNAVAILABLE, why);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn told(status: StatusCode, words: &str) -> Answer {
    answer(status, TEXT, NOT_KEPT, format!("{words}\n").into())
}

fn answer(status: StatusCode, kind: &'static str, kept: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// The same answer to HEAD: every header of it, and its length.
fn without_body(answer: Answer) -> Answer {
    use hyper::body::Body as _;
    let (mut parts, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Full::new(Bytes::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tags_are_understood() {
        let names = |tags: &'static str| names(&HeaderValue::from_static(tags), "\"a\"");
        assert!(names("\"a\"") && names("W/\"a\"") && names("\"b\" , \"a\"") && names("*"));
        assert!(!names("a") && !names("\"b\"") && !names(""));
    }

    #[tokio::test]
    async fn bytes_hold_their_room_until_they_are_dropped() {
        let memory = Arc::new(Semaphore::new(10));
        let room = Arc::clone(&memory).acquire_many_owned(10).await.unwrap();
        let bytes = held(vec![1; 3 * UNIT - 1], room);
        assert_eq!(memory.available_permits(), 7);
        let part = bytes.slice(..5);
        drop(bytes);
        assert_eq!((memory.available_permits(), part.len()), (7, 5));
        drop(part);
        assert_eq!(memory.available_permits(), 10);
    }
}
