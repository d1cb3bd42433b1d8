//! Questions about what is in the log.

use std::sync::Arc;

use prost::Message;

use super::{
    Hub,
    refused::{Refused, blocking},
    search::Scope,
};
use crate::{
    domain::{
        directory::Directory,
        id::{AgencyId, Digest, DocumentName, NodeName},
        reason::ReasonCode,
    },
    proto::{self, Evidence},
    store::{Store, StoreError, records::DocumentRecord, written},
    tlog::{
        Hash,
        merkle::{self, NodeReader},
    },
};

/// Events of one page when the caller names no number.
const DEFAULT_PAGE: u32 = 200;
/// Events of one page at most.
const MAX_PAGE: u32 = 1_000;
/// A page with more bytes than this ends early: a message of 4 MiB is what most clients take.
const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// Documents of one id that are looked at when the sender is not named.
const MAX_SAME_ID: usize = 200;
/// Recipients whose state is shown on the first page.
const MAX_RECIPIENTS: usize = 1_000;

/// Tree hashes of a store, as `tlog` wants to read them.
pub struct Nodes<'a>(pub &'a dyn Store);

impl NodeReader for Nodes<'_> {
    type Error = StoreError;

    fn node(&self, stored_index: u64) -> Result<Hash, StoreError> {
        self.0.node(stored_index)
    }
}

/// The receipt of a leaf in the checkpoint of its own commit: the same bytes whenever it is asked.
/// What is read is checked before it is handed out.
pub fn receipt(store: &dyn Store, leaf: u64) -> Result<proto::Receipt, Refused> {
    let stored = store.leaf(leaf)?.ok_or_else(|| {
        Refused::because(ReasonCode::UnknownDocument, format!("the log has no leaf {leaf}"))
    })?;
    let size = stored.head.size;
    let path = merkle::inclusion_path(leaf, size, &Nodes(store))?.ok_or_else(|| damaged(leaf))?;
    let hash = merkle::leaf_hash(&stored.evidence);
    let root: Hash = stored.head.root[..].try_into().map_err(|_| damaged(leaf))?;
    if !merkle::verify_inclusion(&hash, leaf, size, &path, &root) {
        return Err(damaged(leaf));
    }
    Ok(proto::Receipt {
        evidence: stored.evidence,
        index: leaf,
        path: path.iter().map(|hash| bytes::Bytes::copy_from_slice(hash)).collect(),
        checkpoint: stored.head.checkpoint,
    })
}

pub(super) fn damaged(leaf: u64) -> Refused {
    StoreError::Damaged(format!("leaf {leaf} is not what was signed")).into()
}

/// Who asks for a timeline.
#[derive(Clone, Debug)]
pub enum Viewer {
    /// Sees everything.
    Auditor,
    /// Sees as nodes do, but for all agencies of a subtree.
    Below(Scope),
    /// Sees documents of its agencies: all of a sender's, its own part of a recipient's.
    Node(NodeName),
}

/// What of a document a viewer sees.
pub(super) enum Sight {
    All,
    Only(Vec<AgencyId>),
}

impl Hub {
    /// One leaf with its proof.
    pub async fn receipt(self: &Arc<Self>, leaf: u64) -> Result<proto::Receipt, Refused> {
        if let Some(receipt) = self.recent.receipt(leaf) {
            return Ok(receipt);
        }
        let hub = Arc::clone(self);
        blocking(move || receipt(&*hub.store, leaf)).await?
    }

    /// The same on a thread that may wait for the disk.
    pub(super) fn receipt_now(&self, leaf: u64) -> Result<proto::Receipt, Refused> {
        self.recent.receipt(leaf).map_or_else(|| receipt(&*self.store, leaf), Ok)
    }

    /// True once a leaf is under the published head. An index entry may be seen a moment before its commit is
    /// complete: to ask this after the entry was read makes it all or nothing.
    pub(super) fn is_published(&self, leaf: u64) -> bool {
        leaf < self.store.head().size
    }

    /// The newest checkpoint; empty before the first leaf.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.store.head().checkpoint
    }

    /// Consistency of two sizes; `second` 0 means the newest.
    pub async fn consistency(
        self: &Arc<Self>,
        first: u64,
        second: u64,
    ) -> Result<proto::GetConsistencyResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.consistency_now(first, second)).await?
    }

    fn consistency_now(&self, first: u64, second: u64) -> Result<proto::GetConsistencyResponse, Refused> {
        let newest = self.store.head().size;
        let second = if second == 0 { newest } else { second };
        if first == 0 || first > second || second > newest {
            let detail = format!("first, second: need 1 <= first <= second <= {newest}");
            return Err(Refused::because(ReasonCode::InvalidField, detail));
        }
        let path = merkle::consistency_path(first, second, &Nodes(&*self.store))?.unwrap_or_default();
        let path = path.iter().map(|hash| bytes::Bytes::copy_from_slice(hash)).collect();
        Ok(proto::GetConsistencyResponse { first, second, path })
    }

    /// A page of the events of a document that the viewer may see.
    pub async fn timeline(
        self: &Arc<Self>,
        viewer: Viewer,
        request: proto::GetTimelineRequest,
    ) -> Result<proto::GetTimelineResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.timeline_now(&viewer, &request)).await?
    }

    fn timeline_now(
        &self,
        viewer: &Viewer,
        request: &proto::GetTimelineRequest,
    ) -> Result<proto::GetTimelineResponse, Refused> {
        let index = self.find(request)?;
        let record = self.store.document(index)?.ok_or_else(|| damaged(index))?;
        let sight = self.sight(viewer, index, &record)?;
        let from = parse_token(&request.page_token)?;
        let (events, next) = self.events(index, from, page_size(request.page_size), &sight)?;
        let recipients = if from == 0 { self.states(index, &sight)? } else { Vec::new() };
        Ok(proto::GetTimelineResponse {
            document_id: record.document_id,
            sender: record.sender,
            revision: record.revision,
            manifest_sha256: record.manifest_sha256,
            accepted_at_us: record.accepted_at_us,
            recipient_count: if from == 0 { self.recipient_count(index)? } else { 0 },
            events,
            next_page_token: next.map(|leaf| leaf.to_string()).unwrap_or_default(),
            recipients,
            hub_started_us: self.presence.started().0,
        })
    }

    /// Visible events from a leaf on, and the leaf where the next page begins.
    fn events(
        &self,
        document: u64,
        from: u64,
        limit: usize,
        sight: &Sight,
    ) -> Result<(Vec<proto::Receipt>, Option<u64>), Refused> {
        let mut leaves = self.store.timeline(document, from, limit)?;
        leaves.retain(|leaf| self.is_published(*leaf));
        let (mut events, mut bytes) = (Vec::new(), 0);
        for leaf in &leaves {
            if bytes > MAX_PAGE_BYTES {
                return Ok((events, Some(*leaf)));
            }
            let receipt = receipt(&*self.store, *leaf)?;
            if sight.covers(&receipt)? {
                bytes += receipt.encoded_len();
                events.push(receipt);
            }
        }
        let next = if leaves.len() == limit { leaves.last().map(|leaf| leaf + 1) } else { None };
        Ok((events, next))
    }

    pub(super) fn find(&self, request: &proto::GetTimelineRequest) -> Result<u64, Refused> {
        let unknown = || {
            Refused::because(ReasonCode::UnknownDocument, crate::domain::id::shorten(&request.document_id))
        };
        if !request.sender.is_empty() {
            let name = DocumentName::parse(&request.sender, &request.document_id, request.revision)?;
            return self.store.find_document(&name)?.ok_or_else(unknown);
        }
        let mut found = Vec::new();
        for index in self.store.documents_with_id(&request.document_id, MAX_SAME_ID)? {
            let record = self.store.document(index)?;
            found.extend(record.filter(|record| record.revision == request.revision));
        }
        match &found[..] {
            [] => Err(unknown()),
            [only] => Ok(only.index),
            _ => Err(Refused::because(
                ReasonCode::InvalidField,
                "document_id: several agencies use this id, name the sender",
            )),
        }
    }

    /// What of a document, by its index, a viewer sees.
    pub(super) fn sight_of(&self, viewer: &Viewer, index: u64) -> Result<Sight, Refused> {
        let record = self.store.document(index)?.ok_or_else(|| damaged(index))?;
        self.sight(viewer, index, &record)
    }

    fn sight(&self, viewer: &Viewer, index: u64, record: &DocumentRecord) -> Result<Sight, Refused> {
        let node = match viewer {
            Viewer::Auditor => return Ok(Sight::All),
            Viewer::Below(scope) => return self.sight_below(scope, index, record),
            Viewer::Node(node) => node,
        };
        let directory = self.directory();
        let sender = AgencyId::parse(&record.sender)?;
        if directory.may_act(node, &sender).is_ok() {
            return Ok(Sight::All);
        }
        let entry = directory
            .node(node)
            .filter(|entry| !entry.revoked)
            .ok_or_else(|| Refused::because(ReasonCode::UnknownNode, node.to_string()))?;
        let mut mine = Vec::new();
        for agency in &entry.agencies {
            if self.store.delivery(index, agency)?.is_some() {
                mine.push(agency.clone());
            }
        }
        if mine.is_empty() {
            let detail = format!("{} is neither from nor to an agency of this node", record.document_id);
            return Err(Refused::because(ReasonCode::NotAuthorised, detail));
        }
        Ok(Sight::Only(mine))
    }

    fn sight_below(&self, scope: &Scope, index: u64, record: &DocumentRecord) -> Result<Sight, Refused> {
        if scope.holds(std::iter::once(record.sender.as_str())) {
            return Ok(Sight::All);
        }
        let mut inside = Vec::new();
        for agency in scope.agencies().iter().flat_map(|agencies| agencies.iter()) {
            let agency = AgencyId::parse(agency)?;
            if self.store.delivery(index, &agency)?.is_some() {
                inside.push(agency);
            }
        }
        if inside.is_empty() {
            Err(scope.outside(&record.document_id).into())
        } else {
            Ok(Sight::Only(inside))
        }
    }

    fn states(&self, index: u64, sight: &Sight) -> Result<Vec<proto::RecipientState>, Refused> {
        let deliveries = match sight {
            Sight::All => self.store.deliveries(index, None, MAX_RECIPIENTS)?,
            Sight::Only(mine) => {
                let mut deliveries = Vec::new();
                for agency in mine {
                    deliveries.extend(self.store.delivery(index, agency)?);
                }
                deliveries
            }
        };
        let directory = self.directory();
        Ok(deliveries.into_iter().map(|delivery| self.state(&directory, delivery)).collect())
    }

    pub(super) fn state(
        &self,
        directory: &Directory,
        delivery: crate::store::records::DeliveryRecord,
    ) -> proto::RecipientState {
        let recipient = AgencyId::parse(&delivery.recipient).ok();
        let standing =
            recipient.as_ref().and_then(|recipient| self.dispatcher.standing(recipient, delivery.document));
        let (receiving, last_receiving_us) =
            recipient.as_ref().map_or((false, 0), |recipient| self.receiving(directory, recipient));
        let first_offer = recipient
            .filter(|_| delivery.test)
            .and_then(|recipient| self.presence.first_offer(delivery.document, &recipient));
        let (next, attempts) = match standing {
            Some((super::dispatcher::Standing::Paused { until }, attempts)) => (until.0, attempts),
            Some((_, attempts)) => (0, attempts),
            None => (0, 0),
        };
        proto::RecipientState {
            transport: delivery.transport_state().into(),
            status_code: delivery.status_code,
            change_pending: delivery.change_pending,
            attempts,
            next_attempt_us: next,
            delivery_deadline_us: delivery.deadline_us,
            recipient: delivery.recipient,
            receiving,
            last_receiving_us,
            first_offer_us: first_offer.map_or(0, |at| at.0),
        }
    }

    /// Deliveries that exist, and those that recipient lists still promise.
    fn recipient_count(&self, index: u64) -> Result<u64, Refused> {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.store.deliveries(index, after.as_deref(), MAX_RECIPIENTS)?;
            count += page.len() as u64;
            after = page.last().map(|delivery| delivery.recipient.clone());
            if page.len() < MAX_RECIPIENTS {
                break;
            }
        }
        for expansion in self.store.expansions()? {
            let list = self.store.recipient_list(expansion.list)?;
            if list.is_some_and(|list| list.document == index) {
                count += expansion.total.saturating_sub(expansion.next);
            }
        }
        Ok(count)
    }

    /// What the hub holds and does, in numbers.
    pub async fn overview(self: &Arc<Self>) -> Result<proto::GetOverviewResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.overview_now()).await?
    }

    fn overview_now(&self) -> Result<proto::GetOverviewResponse, Refused> {
        let directory = self.directory();
        let (waiting, leased) = self.dispatcher.counts();
        let head = self.store.head();
        Ok(proto::GetOverviewResponse {
            leaves: head.size,
            documents: head.documents,
            waiting: waiting as u64,
            leased: leased as u64,
            expanding: self.store.expansions()?.len() as u64,
            sessions: u32::try_from(self.sessions.load(std::sync::atomic::Ordering::Relaxed))
                .unwrap_or(u32::MAX),
            agencies: directory.counts().agencies as u64,
            nodes: directory.counts().nodes as u64,
            body_bytes: self.payload.bytes_on_disk().unwrap_or(0),
            index_lag: self.store.index_lag(),
            version: env!("CARGO_PKG_VERSION").into(),
            origin: self.log.origin.clone(),
            syncs: written::syncs(),
            written_bytes: written::bytes(),
        })
    }
}

impl Sight {
    fn covers(&self, receipt: &proto::Receipt) -> Result<bool, Refused> {
        let Self::Only(mine) = self else { return Ok(true) };
        let evidence = Evidence::decode(receipt.evidence.clone()).map_err(|_| damaged(receipt.index))?;
        let about_all = evidence.recipients.is_empty();
        Ok(about_all
            || evidence.recipients.iter().any(|party| mine.iter().any(|own| own.as_str() == party.agency)))
    }
}

fn parse_token(token: &str) -> Result<u64, Refused> {
    if token.is_empty() {
        return Ok(0);
    }
    token.parse().map_err(|_| Refused::because(ReasonCode::BadCursor, "page_token: not one of this hub"))
}

fn page_size(asked: u32) -> usize {
    let size = if asked == 0 { DEFAULT_PAGE } else { asked.min(MAX_PAGE) };
    size as usize
}

/// The digest in a request field.
pub fn digest_field(bytes: &[u8], field: &str) -> Result<Digest, Refused> {
    Digest::from_slice(bytes)
        .ok_or_else(|| Refused::because(ReasonCode::InvalidField, format!("{field}: needs 32 bytes")))
}
