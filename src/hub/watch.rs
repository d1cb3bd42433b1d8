//! What happened to an agency's documents, in log order, from any place on, then live.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Hub,
    refused::{Refused, blocking},
    sequencer::Proposal,
};
use crate::{
    domain::{
        id::{AgencyId, NodeName},
        reason::ReasonCode,
    },
    proto::Receipt,
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
        let agency = AgencyId::parse(agency)?;
        self.directory().may_act(node, &agency)?;
        let from = match cursor {
            "" => self.store.cursor(&agency)?.unwrap_or(0),
            cursor => self.parse_cursor(cursor)?,
        };
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (hub, node) = (Arc::clone(self), node.clone());
        self.tasks.spawn(Follower { hub, node, agency, from, until, sender }.run());
        Ok(receiver)
    }

    /// Remembers how far an agency has read.
    pub async fn save_cursor(&self, node: &NodeName, agency: &str, cursor: &str) -> Result<(), Refused> {
        let agency = AgencyId::parse(agency)?;
        self.directory().may_act(node, &agency)?;
        let next = self.parse_cursor(cursor)?;
        self.sequencer.propose(Proposal::SaveCursor(agency, next)).await.map(drop)
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
    sender: mpsc::Sender<Result<Entry, Refused>>,
}

impl Follower {
    async fn run(mut self) {
        // Before the first look, so that a commit in between rings.
        let listening = self.hub.feeds.listen(std::slice::from_ref(&self.agency));
        let stopping = self.hub.stopping.clone();
        loop {
            let page = match self.page().await {
                Ok(page) => page,
                Err(refused) => {
                    self.say(Err(refused)).await;
                    return;
                }
            };
            let full = page.len() == PAGE;
            for entry in page {
                if !self.say(Ok(entry)).await {
                    return;
                }
            }
            if full {
                continue;
            }
            if self.until == Until::Now {
                return;
            }
            tokio::select! {
                () = listening.rung() => {}
                () = self.sender.closed() => return,
                () = stopping.cancelled() => return,
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

    /// False when nobody listens, or the hub stops: a slow reader goes on from its cursor later.
    async fn say(&self, entry: Result<Entry, Refused>) -> bool {
        tokio::select! {
            biased;
            sent = self.sender.send(entry) => sent.is_ok(),
            () = self.hub.stopping.cancelled() => false,
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
