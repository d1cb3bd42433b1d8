//! How the hub stands, in numbers: what is asked when somebody looks, and costs nothing while nobody does.

use std::sync::{Arc, atomic::Ordering};

use prost::Message;

use super::{
    Hub,
    blocked::Blocked,
    dispatcher::depths::{Depth, Totals},
    meters::{Meters, Sizes, StoreMeters},
    refused::{Refused, blocking},
};
use crate::{
    domain::{agency::level_of, directory::Directory, id::AgencyId},
    proto::{Evidence, Level},
    store::Space,
};

/// The levels of agencies, in the order of [`Gauges::waiting`].
pub const LEVELS: [Level; 5] =
    [Level::Unspecified, Level::Central, Level::Province, Level::District, Level::Commune];

/// What waits for the agencies of one level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Deliveries that wait.
    pub deliveries: u64,
    /// Agencies that they wait for.
    pub agencies: u64,
    /// Index of the oldest document.
    pub oldest: Option<u64>,
    /// How long it has been waiting, in microseconds; 0 where nothing waits.
    pub oldest_age_us: u64,
}

/// How a hub stands at one moment.
#[derive(Clone, Debug)]
pub struct Gauges {
    /// What waits, by level of the recipient: see [`LEVELS`].
    pub waiting: [Waiting; LEVELS.len()],
    /// Agencies that something waits for and nothing reaches.
    pub blocked: Blocked,
    /// What waits, all together.
    pub totals: Totals,
    /// Leaves of the log.
    pub leaves: u64,
    /// Documents accepted since the log began.
    pub documents: u64,
    /// Open two-way sessions.
    pub sessions: u64,
    /// Requests that wait for the writer.
    pub requests: u64,
    /// Commits that the history index has yet to take over.
    pub index_lag: u64,
    /// Leaves that the search index has yet to take over, where there is one.
    pub search_lag: Option<u64>,
    /// Bytes on the disk.
    pub sizes: Sizes,
    /// Room on the disk, where the store knows.
    pub space: Option<Space>,
    /// Agencies, nodes and keys of the directory.
    pub directory: [u64; 3],
}

impl Hub {
    /// Looks at everything. Takes some milliseconds of one thread, and holds up nobody.
    pub async fn gauges(self: &Arc<Self>) -> Result<Gauges, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.gauges_now()).await
    }

    /// What this hub counts.
    #[must_use]
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// What its store measures.
    #[must_use]
    pub fn store_meters(&self) -> Option<&StoreMeters> {
        self.store.meters()
    }

    fn gauges_now(&self) -> Gauges {
        let (head, directory) = (self.store.head(), self.directory());
        let counts = directory.counts();
        Gauges {
            waiting: self.waiting_by_level(&directory),
            blocked: self.blocked(),
            totals: self.dispatcher.totals(),
            leaves: head.size,
            documents: head.documents,
            sessions: self.sessions.load(Ordering::Relaxed) as u64,
            requests: self.sequencer.waiting() as u64,
            index_lag: self.store.index_lag(),
            search_lag: self.search_lag(),
            sizes: self.store.sizes(),
            space: self.store.space(),
            directory: [counts.agencies, counts.nodes, counts.keys].map(|count| count as u64),
        }
    }

    /// What waits for the agencies of each level.
    pub(super) fn waiting_by_level(&self, directory: &Directory) -> [Waiting; LEVELS.len()] {
        let depths: [Depth; LEVELS.len()] = self.dispatcher.depths(|agency| level(directory, agency));
        depths.map(|depth| Waiting {
            deliveries: depth.deliveries,
            agencies: depth.recipients,
            oldest: depth.oldest,
            oldest_age_us: depth.oldest.and_then(|document| self.age_us(document)).unwrap_or(0),
        })
    }

    /// How long ago a document was accepted. `None` where its leaf can't be read: whoever needs it tells.
    fn age_us(&self, document: u64) -> Option<u64> {
        let leaf = self.store.leaf(document).ok()??;
        let accepted = Evidence::decode(leaf.evidence).ok()?.event_time_us;
        Some(u64::try_from(self.clock.now().0.saturating_sub(accepted)).unwrap_or(0))
    }
}

/// Number of an agency's level: as registered, else as its identifier tells.
fn level(directory: &Directory, agency: &AgencyId) -> usize {
    let registered = directory.agency(agency).map_or(Level::Unspecified, |entry| entry.level);
    let level = if registered == Level::Unspecified { level_of(agency) } else { registered };
    LEVELS.iter().position(|known| *known == level).unwrap_or(0)
}
