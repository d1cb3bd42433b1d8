//! What happened to an agency's documents, in log order, from any place on, then live.

use std::{sync::Arc, time::Duration};

use prost::Message;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    Hub,
    refused::{self, Refused, blocking},
    sequencer::Proposal,
    session::PATIENCE,
    steps::Running,
};
use crate::{
    domain::{
        id::{AgencyId, Digest, NodeName},
        reason::ReasonCode,
        time::Timestamp,
    },
    proto::{Evidence, Receipt},
};

/// Entries read at a time.
const PAGE: usize = 64;
/// Entries that may wait for a slow reader.
const AHEAD: usize = 64;

/// One entry of a watch.
#[derive(Debug)]
pub struct Entry {
    /// Where to go on after this entry.
    pub cursor: String,
    /// Evidence with proof.
    pub receipt: Receipt,
}

/// Whether a watch ends at the newest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Ends when everything that is there was sent.
    Now,
    /// Goes on with what comes.
    Stopped,
}

impl Hub {
    /// Watches an agency's feed from `cursor`, from its saved cursor when that is empty, or from the beginning.
    pub fn watch(
        self: &Arc<Self>,
        node: &NodeName,
        agency: &str,
        cursor: &str,
        until: Until,
    ) -> Result<mpsc::Receiver<Result<Entry, Refused>>, Refused> {
        self.watch_with(node, agency, cursor, until, PATIENCE)
    }

    /// [`Hub::watch`] for a reader that may leave entries unread for so long: then the watch ends.
    pub fn watch_with(
        self: &Arc<Self>,
        node: &NodeName,
        agency: &str,
        cursor: &str,
        until: Until,
        patience: Duration,
    ) -> Result<mpsc::Receiver<Result<Entry, Refused>>, Refused> {
        let agency = AgencyId::parse(agency)?;
        self.directory().may_act(node, &agency)?;
        let from = match cursor {
            "" => self.store.cursor(&agency)?.unwrap_or(0),
            cursor => self.parse_cursor(cursor)?,
        };
        // One place more, for the last word.
        let (sender, receiver) = mpsc::channel(AHEAD + 1);
        let (hub, node) = (Arc::clone(self), node.clone());
        self.tasks.spawn(Follower { hub, node, agency, from, until, patience, sender }.run());
        Ok(receiver)
    }

    /// The cursor behind everything that is there.
    #[must_use]
    pub fn newest_cursor(&self) -> String {
        cursor(self.store.head().size)
    }

    /// Remembers how far an agency has read.
    pub async fn save_cursor(&self, node: &NodeName, agency: &str, cursor: &str) -> Result<(), Refused> {
        let agency = AgencyId::parse(agency)?;
        self.directory().may_act(node, &agency)?;
        let next = self.parse_cursor(cursor)?;
        self.sequencer.propose(Proposal::SaveCursor(node.clone(), agency, next)).await.map(drop)
    }

    fn parse_cursor(&self, text: &str) -> Result<u64, Refused> {
        let bad = || Refused::because(ReasonCode::BadCursor, "cursor: not one of this hub");
        let next =
            text.strip_prefix('c').and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(bad)?;
        if next > self.store.head().size || cursor(next) != text { Err(bad()) } else { Ok(next) }
    }
}

fn cursor(next: u64) -> String {
    format!("c{next:x}")
}

/// One watch under way.
struct Follower {
    hub: Arc<Hub>,
    node: NodeName,
    agency: AgencyId,
    from: u64,
    until: Until,
    patience: Duration,
    sender: mpsc::Sender<Result<Entry, Refused>>,
}

/// Why a watch ends.
enum Ended {
    /// All was told, or nobody listens.
    Quietly,
    Because(Refused),
}

impl Follower {
    async fn run(mut self) {
        let last_word = self.sender.clone().try_reserve_owned();
        if let (Ended::Because(refused), Ok(last_word)) = (self.follow().await, last_word) {
            last_word.send(Err(refused));
        }
    }

    async fn follow(&mut self) -> Ended {
        // Before the first look, so that a commit in between rings.
        let listening = self.hub.feeds.listen(std::slice::from_ref(&self.agency));
        let stopping = self.hub.stopping.clone();
        loop {
            let page = match self.page().await {
                Ok(page) => page,
                Err(refused) => return Ended::Because(refused),
            };
            let full = page.len() == PAGE;
            for entry in page {
                if let Err(ended) = self.say(entry).await {
                    return ended;
                }
            }
            if full {
                continue;
            }
            if self.until == Until::Now {
                return Ended::Quietly;
            }
            tokio::select! {
                biased;
                () = listening.rung() => {}
                () = self.sender.closed() => return Ended::Quietly,
                () = stopping.cancelled() => return Ended::Because(refused::stopping()),
            }
        }
    }

    /// The next entries. The node's right is asked each time: it may end during a watch.
    async fn page(&mut self) -> Result<Vec<Entry>, Refused> {
        self.hub.directory().may_act(&self.node, &self.agency)?;
        let (hub, agency, from) = (Arc::clone(&self.hub), self.agency.clone(), self.from);
        let page = blocking(move || hub.entries(&agency, from)).await??;
        if let Some(last) = page.last() {
            self.from = last.receipt.index + 1;
        }
        Ok(page)
    }

    /// From the event until the watch tells it.
    fn step(&self, entry: &Entry) -> Option<Running<'_>> {
        if !self.hub.steps.are_followed() {
            return None;
        }
        let evidence = Evidence::decode(entry.receipt.evidence.clone()).ok()?;
        let digest = || Digest::from_slice(&evidence.manifest_sha256);
        let step = self.hub.steps.begin_at("watch", digest, Timestamp(evidence.event_time_us))?;
        let index = entry.receipt.index;
        Some(step.by(&self.node).to(self.agency.as_str()).with(|step| step.leaf = Some(index)))
    }

    /// Tells an entry. A reader that is given up goes on from its cursor later.
    async fn say(&self, entry: Entry) -> Result<(), Ended> {
        let _until_told = self.step(&entry);
        let entry = match self.sender.try_send(Ok(entry)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Ended::Quietly),
            Err(TrySendError::Full(entry)) => entry,
        };
        tokio::select! {
            biased;
            sent = self.sender.send(entry) => sent.map_err(|_| Ended::Quietly),
            () = self.hub.stopping.cancelled() => Err(Ended::Because(refused::stopping())),
            () = tokio::time::sleep(self.patience) => Err(Ended::Because(refused::unread(self.patience))),
        }
    }
}

impl Hub {
    fn entries(&self, agency: &AgencyId, from: u64) -> Result<Vec<Entry>, Refused> {
        let mut leaves = self.store.feed(agency, from, PAGE)?;
        leaves.retain(|leaf| self.is_published(*leaf));
        let entry = |leaf| Ok(Entry { cursor: cursor(leaf + 1), receipt: self.receipt_now(leaf)? });
        leaves.into_iter().map(entry).collect()
    }
}
