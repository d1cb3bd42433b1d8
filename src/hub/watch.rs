//! What happened to an agency's documents, in log order, from any place on, then live.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Hub, query, refused::Refused, sequencer::Proposal};
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
        self.tasks.spawn(follow(Arc::clone(self), node.clone(), agency, from, until, sender));
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
        if next > self.store.head().size { Err(bad()) } else { Ok(next) }
    }
}

fn cursor(next: u64) -> String {
    format!("c{next:x}")
}

async fn follow(
    hub: Arc<Hub>,
    node: NodeName,
    agency: AgencyId,
    mut from: u64,
    until: Until,
    sender: mpsc::Sender<Result<Entry, Refused>>,
) {
    let mut head = hub.head.clone();
    loop {
        // Seen before reading, so that a commit in between wakes the wait below at once.
        head.mark_unchanged();
        let page = match hub.store.feed(&agency, from, PAGE) {
            Ok(page) => page,
            Err(error) => {
                let _ = sender.send(Err(error.into())).await;
                return;
            }
        };
        let full = page.len() == PAGE;
        for leaf in page {
            from = leaf + 1;
            let entry =
                query::receipt(&*hub.store, leaf).map(|receipt| Entry { cursor: cursor(from), receipt });
            let failed = entry.is_err();
            if sender.send(entry).await.is_err() || failed {
                return;
            }
        }
        if full {
            continue;
        }
        if until == Until::Now || hub.directory().may_act(&node, &agency).is_err() {
            return;
        }
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
            () = hub.stopping.cancelled() => return,
        }
    }
}
