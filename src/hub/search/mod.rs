//! What auditors ask: search and count, receipts and timelines, each within the subtree that the certificate names, and
//! each recorded.

mod cursor;
mod export;
mod facts;
mod filter;
mod follower;
mod renewal;
mod scope;
pub(super) mod trace;

use std::{ops::Range, path::Path, sync::Arc};

use prost::Message;

pub(super) use self::follower::Search;
pub use self::scope::{Reader, Scope};
use self::trace::Question;
use super::{
    Hub, StartError,
    query::Viewer,
    refused::{Refused, blocking},
};
use crate::{
    domain::{
        id::AgencyId,
        reason::ReasonCode,
        search::{Clause, Query, field, term},
    },
    proto::{
        AuditCall, CountRequest, CountResponse, EvidenceRow, GetCompletenessRequest, GetTimelineRequest,
        GetTimelineResponse, GetVolumesRequest, GetVolumesResponse, Receipt, SearchFilter, SearchOrder,
        SearchRequest, SearchResponse,
    },
    store::{StoreError, search::Order},
};

/// Rows of a page when the caller names no number.
const DEFAULT_ROWS: u32 = 100;
/// Rows of a page at most.
const MAX_ROWS: u32 = 1_000;
/// Bytes of a page at most; what most gRPC clients take is 4 MiB.
const MAX_BYTES: usize = 1 << 20;
/// Documents of one id that are looked at.
const MAX_SAME_ID: usize = 200;

impl Hub {
    /// Begins to keep the search index in the folder `history`. Once; without it nothing can be searched.
    pub fn follow(&self, history: &Path) -> Result<(), StartError> {
        // A second call changes nothing.
        let _ = self.search.set(Search::start(history, self.facts())?);
        Ok(())
    }

    /// A page of the evidence that answers a filter and that the reader may see.
    pub async fn search(
        self: &Arc<Self>,
        reader: &Reader,
        request: SearchRequest,
    ) -> Result<SearchResponse, Refused> {
        let filter = request.filter.clone().unwrap_or_default();
        let question = Question::about(reader, AuditCall::Search, &filter);
        let answer = self.ask(reader, filter, move |hub, asked| hub.page(asked, &request)).await;
        self.record(question, answer, |answer| answer.rows.len() as u64)
    }

    /// How much evidence answers a filter, of what the reader may see.
    pub async fn count(
        self: &Arc<Self>,
        reader: &Reader,
        request: CountRequest,
    ) -> Result<CountResponse, Refused> {
        let filter = request.filter.unwrap_or_default();
        let question = Question::about(reader, AuditCall::Count, &filter);
        let answer = self.ask(reader, filter, |hub, asked| {
            let count =
                hub.searched()?.index().count(&asked.query, filter::leaves(&asked.filter, asked.covers))?;
            Ok(CountResponse { count, covers: asked.covers })
        });
        let answer = answer.await;
        self.record(question, answer, |answer| answer.count)
    }

    /// One leaf with its proof, for a reader.
    pub async fn read_receipt(self: &Arc<Self>, reader: &Reader, leaf: u64) -> Result<Receipt, Refused> {
        let answer = self.visible_receipt(reader, leaf).await;
        self.record(Question::leaf(reader, leaf), answer, |_| 1)
    }

    /// A page of the events of a document, for a reader.
    pub async fn read_timeline(
        self: &Arc<Self>,
        reader: &Reader,
        request: GetTimelineRequest,
    ) -> Result<GetTimelineResponse, Refused> {
        let filter = SearchFilter {
            document_id: request.document_id.clone(),
            sender: request.sender.clone(),
            ..SearchFilter::default()
        };
        let answer = self.timeline(self.viewer(reader), request).await;
        let question = Question::about(reader, AuditCall::Timeline, &filter);
        self.record(question, answer, |answer| answer.events.len() as u64)
    }

    /// What a reader sees of documents.
    pub(super) fn viewer(&self, reader: &Reader) -> Viewer {
        match &reader.scope {
            None => Viewer::Auditor,
            Some(root) => Viewer::Below(Scope::of(Some(root), &self.directory())),
        }
    }

    async fn visible_receipt(self: &Arc<Self>, reader: &Reader, leaf: u64) -> Result<Receipt, Refused> {
        if reader.scope.is_some() && self.is_published(leaf) {
            let (hub, scope) = (Arc::clone(self), Scope::of(reader.scope.as_ref(), &self.directory()));
            blocking(move || {
                let facts = hub.facts().facts(leaf)?;
                let seen = scope.holds(facts.parties());
                if seen { Ok(()) } else { Err(Refused::from(scope.outside(&format!("leaf {leaf}")))) }
            })
            .await??;
        }
        self.receipt(leaf).await
    }

    /// Turns a filter into a query, lets the index come near the log's end, and asks it off the async threads.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        reader: &Reader,
        filter: SearchFilter,
        answer: impl FnOnce(&Self, &Asked) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let head = self.size();
        if filter.tree_size > head {
            let detail = format!("tree_size: the log has {head} leaves");
            return Err(Refused::because(ReasonCode::InvalidField, detail));
        }
        let follower = self.searched()?;
        follower.reach(if filter.tree_size == 0 { head } else { filter.tree_size }).await;
        let (hub, root) = (Arc::clone(self), reader.scope.clone());
        blocking(move || {
            let directory = hub.directory();
            let scope = Scope::of(root.as_ref(), &directory);
            let mut query = filter::plain(&filter, &scope, &directory)?.query;
            if !filter.tests {
                query.clauses.push(Clause::no_tests());
            }
            hub.is_known_inside(&filter, &scope)?;
            let covers = hub.searched()?.index().covers();
            answer(&hub, &Asked { filter, query, covers })
        })
        .await?
    }

    /// To ask for a document that lies outside is to ask outside.
    fn is_known_inside(&self, filter: &SearchFilter, scope: &Scope) -> Result<(), Refused> {
        if filter.document_id.is_empty() || scope.agencies().is_none() {
            return Ok(());
        }
        let documents = self.store.documents_with_id(&filter.document_id, MAX_SAME_ID)?;
        for document in &documents {
            let facts = self.facts().facts(*document)?;
            if scope.holds(facts.parties()) {
                return Ok(());
            }
        }
        if documents.is_empty() { Ok(()) } else { Err(scope.outside("document_id").into()) }
    }

    fn page(&self, asked: &Asked, request: &SearchRequest) -> Result<SearchResponse, Refused> {
        let order = match SearchOrder::try_from(request.order) {
            Ok(SearchOrder::Newest) => Order::Newest,
            Ok(SearchOrder::Oldest) => Order::Oldest,
            Err(_) => return Err(Refused::because(ReasonCode::InvalidField, "order: is unknown")),
        };
        let mut leaves = filter::leaves(&asked.filter, asked.covers);
        match (cursor::leaf(request)?, order) {
            (Some(next), Order::Oldest) => leaves.start = leaves.start.max(next),
            (Some(next), Order::Newest) => leaves.end = leaves.end.min(next),
            (None, _) => {}
        }
        let wanted =
            if request.page_size == 0 { DEFAULT_ROWS } else { request.page_size.min(MAX_ROWS) } as usize;
        let mut found = self.searched()?.index().find(&asked.query, leaves, order, wanted + 1)?;
        let more = found.len() > wanted;
        found.truncate(wanted);
        let (rows, cut) = self.rows(&found, page_bytes(request.page_bytes))?;
        let next = rows.last().filter(|_| more || cut).map(|row| match order {
            Order::Oldest => row.index + 1,
            Order::Newest => row.index,
        });
        let next_page_token = next.map(|leaf| cursor::token(request, leaf)).unwrap_or_default();
        Ok(SearchResponse { rows, next_page_token, covers: asked.covers })
    }

    /// Rows of leaves, up to a number of bytes; true if some did not fit.
    fn rows(&self, leaves: &[u64], max_bytes: usize) -> Result<(Vec<EvidenceRow>, bool), StoreError> {
        let (mut reader, mut rows, mut bytes) = (self.facts(), Vec::with_capacity(leaves.len()), 0);
        for leaf in leaves {
            let row = reader.facts(*leaf)?.row();
            bytes += row.encoded_len();
            if bytes > max_bytes && !rows.is_empty() {
                return Ok((rows, true));
            }
            rows.push(row);
        }
        Ok((rows, false))
    }

    /// Records that a reader asked whether an agency's evidence is complete.
    pub(super) fn record_completeness<T>(
        &self,
        reader: &Reader,
        request: &GetCompletenessRequest,
        answer: Result<T, Refused>,
        days: impl FnOnce(&T) -> u64,
    ) -> Result<T, Refused> {
        let (from_us, until_us) = super::completeness::moments(request.from_day, request.to_day);
        let filter =
            SearchFilter { below: request.agency.clone(), from_us, until_us, ..SearchFilter::default() };
        self.record(Question::about(reader, AuditCall::Completeness, &filter), answer, days)
    }

    /// Records that a reader asked how much was sent and received.
    pub(super) fn record_volumes(
        &self,
        reader: &Reader,
        request: &GetVolumesRequest,
        answer: Result<GetVolumesResponse, Refused>,
    ) -> Result<GetVolumesResponse, Refused> {
        let (from_us, until_us) = super::completeness::moments(request.from_day, request.to_day);
        let (below, level) = (request.below.clone(), request.level);
        let filter = SearchFilter { below, level, from_us, until_us, ..SearchFilter::default() };
        self.record(Question::about(reader, AuditCall::Count, &filter), answer, |answer| {
            answer.rows.len() as u64
        })
    }

    /// Lets the index come to the end of these leaves; `BUSY` if it is still behind.
    pub(super) async fn reach_index(&self, size: u64) -> Result<(), Refused> {
        let follower = self.searched()?;
        follower.reach(size).await;
        if follower.index().covers() < size {
            return Err(Refused::because(ReasonCode::Busy, "the search index is still behind the log"));
        }
        Ok(())
    }

    /// Leaves that answer a query, at most `limit`.
    pub(super) fn find_evidence(
        &self,
        query: &Query,
        leaves: Range<u64>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<u64>, Refused> {
        Ok(self.searched()?.index().find(query, leaves, order, limit)?)
    }

    fn facts(&self) -> facts::Reader {
        facts::Reader::new(Arc::clone(&self.store), Arc::clone(&self.payload), Arc::clone(&self.recent))
    }

    fn searched(&self) -> Result<&Search, Refused> {
        let none = || Refused::because(ReasonCode::StoreFailed, "this hub keeps no search index");
        self.search.get().ok_or_else(none)
    }
}

/// All evidence that belongs to an agency: it is the sender, or a recipient that the event is about.
pub(super) fn evidence_of(agency: &AgencyId) -> Query {
    let terms = [field::SENDER, field::RECIPIENT].map(|field| term(field, agency.as_str()));
    Query { clauses: vec![Clause::Any(terms.to_vec())], times: None }
}

/// A question that may be answered.
struct Asked {
    filter: SearchFilter,
    query: Query,
    covers: u64,
}

fn page_bytes(asked: u32) -> usize {
    if asked == 0 { MAX_BYTES } else { MAX_BYTES.min(asked as usize) }
}
