//! Questions about what is in the log.

use prost::Message;

use super::{Hub, refused::Refused};
use crate::{
    domain::{
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
    },
    proto::{self, Evidence},
    store::{Store, StoreError, records::DocumentRecord},
    tlog::{
        Hash,
        merkle::{self, NodeReader},
    },
};

/// Events of one page when the caller names no number.
const DEFAULT_PAGE: u32 = 200;
/// Events of one page at most.
const MAX_PAGE: u32 = 1_000;
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

fn damaged(leaf: u64) -> Refused {
    StoreError::Damaged(format!("leaf {leaf} is not what was signed")).into()
}

/// Who asks for a timeline.
pub enum Viewer<'a> {
    /// Sees everything.
    Auditor,
    /// Sees documents of its agencies: all of a sender's, its own part of a recipient's.
    Node(&'a crate::domain::id::NodeName),
}

/// What of a document a viewer sees.
enum Sight {
    All,
    Only(Vec<AgencyId>),
}

impl Hub {
    /// One leaf with its proof.
    pub fn receipt(&self, leaf: u64) -> Result<proto::Receipt, Refused> {
        receipt(&*self.store, leaf)
    }

    /// The newest checkpoint; empty before the first leaf.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.store.head().checkpoint
    }

    /// Consistency of two sizes; `second` 0 means the newest.
    pub fn consistency(&self, first: u64, second: u64) -> Result<proto::GetConsistencyResponse, Refused> {
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

    /// All events of a document that the viewer may see.
    pub fn timeline(
        &self,
        viewer: &Viewer<'_>,
        request: &proto::GetTimelineRequest,
    ) -> Result<proto::GetTimelineResponse, Refused> {
        let index = self.find(request)?;
        let record = self.store.document(index)?.ok_or_else(|| damaged(index))?;
        let sight = self.sight(viewer, index, &record)?;
        let from = parse_token(&request.page_token)?;
        let limit = page_size(request.page_size);
        let leaves = self.store.timeline(index, from, limit)?;
        let next =
            (leaves.len() == limit).then(|| leaves.last().map(|leaf| (leaf + 1).to_string())).flatten();
        let mut events = Vec::new();
        for leaf in leaves {
            let receipt = self.receipt(leaf)?;
            if sight.covers(&receipt)? {
                events.push(receipt);
            }
        }
        let recipients = if from == 0 { self.states(index, &sight)? } else { Vec::new() };
        Ok(proto::GetTimelineResponse {
            document_id: record.document_id,
            sender: record.sender,
            revision: record.revision,
            manifest_sha256: record.manifest_sha256,
            accepted_at_us: record.accepted_at_us,
            recipient_count: self.recipient_count(index)?,
            events,
            next_page_token: next.unwrap_or_default(),
            recipients,
        })
    }

    fn find(&self, request: &proto::GetTimelineRequest) -> Result<u64, Refused> {
        let unknown = || {
            Refused::because(ReasonCode::UnknownDocument, crate::domain::id::shorten(&request.document_id))
        };
        if !request.sender.is_empty() {
            let name = DocumentName::parse(&request.sender, &request.document_id, request.revision)?;
            return self.store.find_document(&name)?.ok_or_else(unknown);
        }
        let found = self.store.documents_with_id(&request.document_id, 50)?;
        match found[..] {
            [] => Err(unknown()),
            [only] => Ok(only),
            _ => self.newest_revision(&found),
        }
    }

    /// Several revisions of one sender: the asked one is 0 unless named, so the first; several senders: say which.
    fn newest_revision(&self, found: &[u64]) -> Result<u64, Refused> {
        let mut records = Vec::new();
        for index in found {
            records.extend(self.store.document(*index)?);
        }
        let first = records.first().map(|record| record.sender.clone()).unwrap_or_default();
        if records.iter().any(|record| record.sender != first) {
            let detail = "document_id: several agencies use this id, name the sender";
            return Err(Reason::new(ReasonCode::InvalidField, detail).into());
        }
        found.first().copied().ok_or_else(|| Refused::because(ReasonCode::UnknownDocument, "none"))
    }

    fn sight(&self, viewer: &Viewer<'_>, index: u64, record: &DocumentRecord) -> Result<Sight, Refused> {
        let Viewer::Node(node) = viewer else { return Ok(Sight::All) };
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
        Ok(deliveries.into_iter().map(|delivery| self.state(delivery)).collect())
    }

    fn state(&self, delivery: crate::store::records::DeliveryRecord) -> proto::RecipientState {
        let standing = AgencyId::parse(&delivery.recipient)
            .ok()
            .and_then(|recipient| self.dispatcher.standing(&recipient, delivery.document));
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
        }
    }

    fn recipient_count(&self, index: u64) -> Result<u64, Refused> {
        let list = self.store.recipient_list(index)?;
        Ok(list.map_or(0, |list| list.recipients.len() as u64))
    }

    /// What the hub holds and does, in numbers.
    pub fn overview(&self) -> Result<proto::GetOverviewResponse, Refused> {
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
