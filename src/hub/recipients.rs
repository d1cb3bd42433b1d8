//! The recipients of one document, as many as there are: counted by state, a page at a time, those first that need
//! somebody's attention.

use std::sync::Arc;

use prost::Message;

use super::{
    Hub,
    query::Sight,
    refused::{Refused, blocking},
    search::Reader,
};
use crate::{
    domain::{
        id::AgencyId,
        search::{Clause, Query, field, term},
    },
    proto::{Evidence, GetTimelineRequest, RecipientState, TransportState},
    store::search::Order,
};

/// States of recipients, in the order in which they are told.
pub const ORDER: [TransportState; 6] = [
    TransportState::Expired,
    TransportState::Refused,
    TransportState::Held,
    TransportState::Ready,
    TransportState::Cancelled,
    TransportState::HandedOver,
];
/// Deliveries read at a time.
const PAGE: usize = 1_024;
/// Events of one recipient that are looked at, on average.
const EVENTS_OF_ONE: usize = 16;

/// Which recipients of a document.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those in this state.
    pub state: Option<TransportState>,
    /// Only the one of this identifier; a text that is none finds nobody.
    pub recipient: Option<String>,
    /// So many are left out first.
    pub skip: usize,
    /// At most so many.
    pub limit: usize,
}

/// A page of them.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// All recipients that the reader may see, by [`ORDER`].
    pub counts: [u64; ORDER.len()],
    /// Those that were asked for, on all pages.
    pub found: u64,
    /// Those of this page.
    pub states: Vec<RecipientState>,
    /// What happened to those of this page, as far as the search index has it.
    pub events: Vec<Evidence>,
}

impl Hub {
    /// A page of a document's recipients, for a reader. To ask for it is to ask for the timeline, which is recorded.
    pub async fn read_recipients(
        self: &Arc<Self>,
        reader: &Reader,
        document: GetTimelineRequest,
        wanted: Wanted,
    ) -> Result<Page, Refused> {
        let (hub, viewer) = (Arc::clone(self), self.viewer(reader));
        blocking(move || {
            let index = hub.find(&document)?;
            let sight = hub.sight_of(&viewer, index)?;
            hub.recipients_now(index, &sight, &wanted)
        })
        .await?
    }

    fn recipients_now(&self, index: u64, sight: &Sight, wanted: &Wanted) -> Result<Page, Refused> {
        let mut page = Page::default();
        let mut found: [Vec<String>; ORDER.len()] = Default::default();
        self.each_delivery(index, sight, &mut |state, recipient| {
            let Some(at) = ORDER.iter().position(|known| *known == state) else { return };
            page.counts[at] += 1;
            let is_wanted = wanted.state.is_none_or(|only| only == state)
                && wanted.recipient.as_ref().is_none_or(|only| *only == recipient);
            if is_wanted {
                found[at].push(recipient);
            }
        })?;
        page.found = found.iter().map(|names| names.len() as u64).sum();
        let (directory, mut names) = (self.directory(), Vec::new());
        for name in found.into_iter().flatten().skip(wanted.skip).take(wanted.limit) {
            let name = AgencyId::parse(&name)?;
            let delivery = self.store.delivery(index, &name)?;
            page.states.extend(delivery.map(|delivery| self.state(&directory, delivery)));
            names.push(name);
        }
        page.events = self.events_about(index, &names)?;
        Ok(page)
    }

    fn each_delivery(
        &self,
        index: u64,
        sight: &Sight,
        visit: &mut dyn FnMut(TransportState, String),
    ) -> Result<(), Refused> {
        if let Sight::Only(mine) = sight {
            for agency in mine {
                if let Some(delivery) = self.store.delivery(index, agency)? {
                    visit(delivery.transport_state(), delivery.recipient);
                }
            }
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let page = self.store.deliveries(index, after.as_deref(), PAGE)?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|delivery| delivery.recipient.clone());
            page.into_iter().for_each(|delivery| visit(delivery.transport_state(), delivery.recipient));
            if is_last {
                return Ok(());
            }
        }
    }

    /// Evidence of a document that is about some of its recipients. Empty where this hub keeps no search index.
    fn events_about(&self, index: u64, names: &[AgencyId]) -> Result<Vec<Evidence>, Refused> {
        let document = self.store.document(index)?.unwrap_or_default();
        if names.is_empty() || self.search.get().is_none() {
            return Ok(Vec::new());
        }
        let about = names.iter().map(|name| term(field::RECIPIENT, name.as_str())).collect();
        let id = vec![term(field::ID, &document.document_id)];
        let query = Query { clauses: vec![Clause::Any(id), Clause::Any(about)], times: None };
        let leaves = index..self.size();
        let mut events = Vec::new();
        for leaf in self.find_evidence(&query, leaves, Order::Oldest, names.len() * EVENTS_OF_ONE)? {
            let stored = self.store.leaf(leaf)?;
            let evidence = stored.and_then(|stored| Evidence::decode(stored.evidence).ok());
            // Another agency may use the same id.
            events.extend(evidence.filter(|evidence| evidence.manifest_sha256 == document.manifest_sha256));
        }
        Ok(events)
    }
}
