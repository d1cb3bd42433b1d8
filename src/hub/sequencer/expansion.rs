//! Fan-out: recipient lists become deliveries in bounded steps, so that one circular never holds up others.
//! The durable marker says how far each list is; after a crash the expansion goes on from there.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use prost::Message;

use super::draft::Draft;
use crate::{
    domain::{
        evidence::Tell,
        id::{AgencyId, Digest, DocumentName},
        status::{self, Business, Effect},
    },
    hub::refused::Refused,
    proto::{self, EventKind, Evidence, Operation, TransportState},
    store::{
        Store, StoreError,
        records::{DeliveryRecord, DocumentRecord, ExpansionRecord, ParkedRecord, RecipientList},
    },
};

/// Deliveries made in one commit, over all expansions.
const STEP: usize = 512;
/// Of these, at most so many for one list while others wait.
const SHARE: usize = 128;

/// A list that is being expanded.
struct Expansion {
    list: Arc<RecipientList>,
    document: Arc<DocumentRecord>,
    next: usize,
}

/// All lists that are being expanded, served in turn.
#[derive(Default)]
pub struct Expansions(VecDeque<Expansion>);

impl Expansions {
    /// Takes up what a stop left unfinished.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut expansions = Self::default();
        for marker in store.expansions()? {
            let missing =
                |what: &str| StoreError::Damaged(format!("{what} of expansion {} is missing", marker.list));
            let list = store.recipient_list(marker.list)?.ok_or_else(|| missing("the recipient list"))?;
            let document = store.document(list.document)?.ok_or_else(|| missing("the document"))?;
            expansions.0.push_back(Expansion {
                list: Arc::new(list),
                document: Arc::new(document),
                next: usize::try_from(marker.next).unwrap_or(usize::MAX),
            });
        }
        Ok(expansions)
    }

    /// True when nothing is left to expand.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a list that this draft accepts.
    pub fn begin(&mut self, draft: &mut Draft<'_>, list: RecipientList, document: DocumentRecord) {
        draft.commit.expansions.push(marker(&list, 0));
        self.0.push_back(Expansion { list: Arc::new(list), document: Arc::new(document), next: 0 });
    }

    /// Recipients of a document whose delivery does not exist yet.
    pub fn pending_recipients(&self, document: u64) -> HashSet<String> {
        let mine = self.0.iter().filter(|expansion| expansion.list.document == document);
        mine.flat_map(|expansion| expansion.list.recipients[expansion.next..].iter().cloned()).collect()
    }

    /// True when the delivery will exist soon.
    pub fn is_pending(&self, document: u64, recipient: &AgencyId) -> bool {
        let mine = self.0.iter().filter(|expansion| expansion.list.document == document);
        mine.into_iter().any(|expansion| {
            expansion.list.recipients[expansion.next..].iter().any(|to| to == recipient.as_str())
        })
    }

    /// Makes the next deliveries, each list in turn.
    pub fn advance(&mut self, draft: &mut Draft<'_>) {
        let mut left = STEP;
        while left > 0
            && let Some(mut expansion) = self.0.pop_front()
        {
            let share = if self.0.is_empty() { left } else { SHARE.min(left) };
            let done = expansion.advance(draft, share);
            left -= done.min(left);
            let marker = marker(&expansion.list, expansion.next as u64);
            draft.commit.expansions.retain(|older| older.list != marker.list);
            draft.commit.expansions.push(marker);
            if expansion.next < expansion.list.recipients.len() {
                self.0.push_back(expansion);
            }
        }
    }
}

fn marker(list: &RecipientList, next: u64) -> ExpansionRecord {
    ExpansionRecord { list: list.index, next, total: list.recipients.len() as u64 }
}

impl Expansion {
    fn advance(&mut self, draft: &mut Draft<'_>, share: usize) -> usize {
        let end = (self.next + share).min(self.list.recipients.len());
        let recipients = &self.list.recipients[self.next..end];
        for recipient in recipients {
            if let Err(error) = self.consign(draft, recipient) {
                // Identifiers came from the directory: this can only be a read error. The marker stays before it.
                tracing::error!(%error, %recipient, "a delivery could not be made, trying again");
                let done = recipients.iter().position(|to| to == recipient).unwrap_or(0);
                self.next += done;
                return share;
            }
        }
        let done = end - self.next;
        self.next = end;
        done
    }

    fn consign(&self, draft: &mut Draft<'_>, recipient: &str) -> Result<(), Refused> {
        let recipient = AgencyId::parse(recipient)?;
        let document = &*self.document;
        let name = DocumentName::parse(&document.sender, &document.document_id, document.revision)?;
        let manifest = Digest::from_slice(&document.manifest_sha256).unwrap_or(Digest([0; 32]));
        let acceptance = draft_leaf_hash(draft, self.list.index)?;
        let mut evidence = draft
            .event(EventKind::ContentConsignment)?
            .about(&name, &manifest)
            .to(&recipient)
            .after(&acceptance);
        evidence.submission_time_us = document.accepted_at_us;
        evidence.delivery_deadline_us = document.deadline_us;
        let (_, hash) = draft.add_leaf(&evidence, Some(document.index), Vec::new())?;
        let mut delivery = DeliveryRecord {
            document: document.index,
            recipient: recipient.to_string(),
            transport: TransportState::Ready.into(),
            change_pending: asks_change(document.operation),
            last_leaf_hash: bytes::Bytes::copy_from_slice(&hash),
            urgency: document.urgency,
            deadline_us: document.deadline_us,
            ..DeliveryRecord::default()
        };
        for parked in draft.parked(&name, &recipient)? {
            apply_parked(draft, &name, &manifest, &recipient, &mut delivery, parked)?;
        }
        draft.put_delivery(recipient, delivery);
        Ok(())
    }
}

/// A recall or update asks every recipient for 15 or 16.
fn asks_change(operation: i32) -> bool {
    operation == i32::from(Operation::Recall) || operation == i32::from(Operation::Update)
}

fn draft_leaf_hash(draft: &Draft<'_>, leaf: u64) -> Result<crate::tlog::Hash, Refused> {
    use crate::tlog::merkle;

    if let Some(record) = draft.staged_leaf(leaf) {
        return Ok(merkle::leaf_hash(&record.evidence));
    }
    Ok(draft.store.node(merkle::stored_index(0, leaf))?)
}

/// A status that came before its document moves the delivery now.
fn apply_parked(
    draft: &mut Draft<'_>,
    name: &DocumentName,
    manifest: &Digest,
    recipient: &AgencyId,
    delivery: &mut DeliveryRecord,
    parked: ParkedRecord,
) -> Result<(), Refused> {
    let evidence = Evidence::decode(draft.evidence_bytes(parked.leaf)?)
        .map_err(|error| StoreError::Damaged(format!("leaf {}: {error}", parked.leaf)))?;
    let envelope = evidence.recipient_receipt.unwrap_or_default();
    let said = proto::BusinessStatus::decode(envelope.payload.clone())
        .map_err(|error| StoreError::Damaged(format!("the status in leaf {}: {error}", parked.leaf)))?;
    let effect = status::on_status(&business(delivery), said.code);
    let (event, reasons) = take_effect(delivery, &effect);
    let mut applied = draft
        .event(event)?
        .about(name, manifest)
        .to(recipient)
        .holding(&envelope)
        .because(&reasons)
        .after(&delivery.last_leaf_hash);
    applied.status_code = said.code;
    applied.verdict = evidence.verdict;
    let feeds = vec![name.sender.to_string()];
    let (_, hash) = draft.add_leaf(&applied, Some(delivery.document), feeds)?;
    delivery.last_leaf_hash = bytes::Bytes::copy_from_slice(&hash);
    draft.commit.parked.push(ParkedRecord { applied: true, ..parked });
    Ok(())
}

/// The business half of a delivery.
pub fn business(delivery: &DeliveryRecord) -> Business {
    Business { code: delivery.status_code, change_pending: delivery.change_pending }
}

/// Moves the delivery as the rules say; returns the event and its warnings.
pub fn take_effect(
    delivery: &mut DeliveryRecord,
    effect: &Effect,
) -> (EventKind, Vec<crate::domain::reason::Reason>) {
    match effect {
        Effect::Moves { state, event } => {
            delivery.status_code = state.code;
            delivery.change_pending = state.change_pending;
            (*event, Vec::new())
        }
        Effect::Recorded { reason, event } => (*event, vec![reason.clone()]),
    }
}
