//! Fan-out: recipient lists become deliveries in bounded steps, so that one circular never holds up others.
//! The durable marker says how far each list is; after a crash the expansion goes on from there.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message;

use super::{actions::Actions, draft::Draft};
use crate::{
    domain::{
        evidence::Tell,
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
        status::{self, Business, Effect},
        time::Timestamp,
    },
    hub::refused::Refused,
    proto::{EventKind, Evidence, Operation, TransportState},
    store::{
        Store, StoreError,
        records::{DeliveryRecord, DocumentRecord, ExpansionRecord, ParkedRecord, RecipientList},
    },
};

/// Deliveries made in one commit, over all expansions.
const STEP: usize = 512;
/// In a commit that others wait for: at least so many, and so many for each of the others. A few others are not kept
/// waiting for a circular, and many leave it its part of the time.
const BESIDE_OTHERS: usize = 24;
const BESIDE_EACH: usize = 4;
/// Commits in a row that nobody else waited for, after which nobody is expected.
const ALONE: usize = 16;
/// Of these, at most so many for one list while others wait.
const SHARE: usize = 128;
/// A list that meets something unreadable rests this long, then tries again; the others go on.
const REST: Duration = Duration::from_secs(60);
/// When no list rests, there is nothing to wake up for.
const FOREVER: Duration = Duration::from_secs(3600);

/// A list that is being expanded.
struct Expansion {
    list: Arc<RecipientList>,
    document: Arc<DocumentRecord>,
    next: usize,
}

/// All lists that are being expanded, served in turn.
pub struct Expansions {
    active: VecDeque<Expansion>,
    resting: Vec<(Instant, Expansion)>,
    step: usize,
    share: usize,
    /// Commits in a row without requests of others.
    alone: usize,
}

impl Expansions {
    /// Takes up what a stop left unfinished.
    pub fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let mut expansions =
            Self { active: VecDeque::new(), resting: Vec::new(), step: STEP, share: SHARE, alone: 0 };
        for marker in store.expansions()? {
            let missing =
                |what: &str| StoreError::Damaged(format!("{what} of expansion {} is missing", marker.list));
            let list = store.recipient_list(marker.list)?.ok_or_else(|| missing("the recipient list"))?;
            let document = store.document(list.document)?.ok_or_else(|| missing("the document"))?;
            let next = usize::try_from(marker.next).unwrap_or(usize::MAX).min(list.recipients.len());
            expansions.active.push_back(Expansion {
                list: Arc::new(list),
                document: Arc::new(document),
                next,
            });
        }
        Ok(expansions)
    }

    /// Other bounds of one commit than [`STEP`] and [`SHARE`].
    pub fn set_step(&mut self, step: usize, share: usize) {
        (self.step, self.share) = (step, share);
    }

    /// True when deliveries can be made now.
    pub fn are_due(&mut self) -> bool {
        let now = Instant::now();
        let (due, resting) = self.resting.drain(..).partition(|(until, _)| *until <= now);
        self.resting = resting;
        self.active.extend(Vec::into_iter(due).map(|(_, expansion): (Instant, Expansion)| expansion));
        !self.active.is_empty()
    }

    /// How long the writer may sleep.
    pub fn longest_rest(&self) -> Duration {
        if self.resting.is_empty() { FOREVER } else { REST }
    }

    /// Adds a list that this draft accepts.
    pub fn begin(&mut self, draft: &mut Draft<'_>, list: Arc<RecipientList>, document: Arc<DocumentRecord>) {
        draft.commit.expansions.push(marker(&list, 0));
        self.active.push_back(Expansion { list, document, next: 0 });
    }

    /// Recipients of a document whose delivery does not exist yet.
    pub fn pending_recipients(&self, document: u64) -> HashSet<String> {
        self.of(document).flat_map(Expansion::pending).cloned().collect()
    }

    /// True when the delivery will exist soon.
    pub fn is_pending(&self, document: u64, recipient: &AgencyId) -> bool {
        self.of(document).flat_map(Expansion::pending).any(|to| to == recipient.as_str())
    }

    fn of(&self, document: u64) -> impl Iterator<Item = &Expansion> {
        let all = self.active.iter().chain(self.resting.iter().map(|(_, expansion)| expansion));
        all.filter(move |expansion| expansion.list.document == document)
    }

    /// Makes the next deliveries, each list in turn, in a commit with so many requests of others.
    pub fn advance(&mut self, draft: &mut Draft<'_>, actions: &Actions, others: usize) {
        self.alone = if others == 0 { self.alone.saturating_add(1) } else { 0 };
        let mut left = match self.alone > ALONE {
            true => self.step,
            false => self.step.min(BESIDE_OTHERS.max(BESIDE_EACH * others)),
        };
        while left > 0
            && !draft.is_full()
            && let Some(mut expansion) = self.active.pop_front()
        {
            let share = if self.active.is_empty() { left } else { self.share.min(left) };
            let before = expansion.next;
            let advanced = expansion.advance(draft, share, actions);
            let done = expansion.next - before;
            left -= done.min(left);
            if done > 0 {
                let marker = marker(&expansion.list, expansion.next as u64);
                draft.commit.expansions.retain(|older| older.list != marker.list);
                draft.commit.expansions.push(marker);
            }
            match advanced {
                Err(refused) => {
                    tracing::error!(%refused, list = expansion.list.index, "a delivery can't be made, trying later");
                    self.resting.push((Instant::now() + REST, expansion));
                }
                Ok(()) if expansion.pending().is_empty() => {}
                Ok(()) => self.active.push_back(expansion),
            }
        }
    }
}

fn marker(list: &RecipientList, next: u64) -> ExpansionRecord {
    ExpansionRecord { list: list.index, next, total: list.recipients.len() as u64 }
}

impl Expansion {
    fn pending(&self) -> &[String] {
        &self.list.recipients[self.next..]
    }

    /// Makes up to `share` deliveries. An error leaves `next` at the one that could not be made.
    fn advance(&mut self, draft: &mut Draft<'_>, share: usize, actions: &Actions) -> Result<(), Refused> {
        let end = (self.next + share).min(self.list.recipients.len());
        while self.next < end && !draft.is_full() {
            self.consign(draft, &self.list.recipients[self.next], actions)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Makes one delivery. Everything is read before anything is staged.
    fn consign(&self, draft: &mut Draft<'_>, recipient: &str, actions: &Actions) -> Result<(), Refused> {
        let recipient = AgencyId::parse(recipient)?;
        let acceptance = draft_leaf_hash(draft, self.list.index)?;
        let deadline = Timestamp(self.document.deadline_us);
        consign(draft, &self.document, recipient, &acceptance, deadline, actions, |evidence| evidence)
    }
}

/// Puts a document at the disposal of a recipient that has no delivery of it yet; `after` is the leaf that this follows.
/// What is held for the recipient is held from the beginning. Everything is read before anything is staged.
pub fn consign(
    draft: &mut Draft<'_>,
    document: &DocumentRecord,
    recipient: AgencyId,
    after: &[u8],
    deadline: Timestamp,
    actions: &Actions,
    told: impl FnOnce(Evidence) -> Evidence,
) -> Result<(), Refused> {
    let name = DocumentName::parse(&document.sender, &document.document_id, document.revision)?;
    let manifest = Digest::from_slice(&document.manifest_sha256).unwrap_or(Digest([0; 32]));
    let parked = read_parked(draft, &name, &recipient)?;
    let numbers = draft.consignment_numbers(&name.sender, &recipient)?;
    let evidence = draft.event(EventKind::ContentConsignment)?;
    let evidence = evidence.about(&name, &manifest).to(&recipient).after(after).tested(document.test);
    let mut evidence = told(evidence);
    evidence.submission_time_us = document.accepted_at_us;
    evidence.delivery_deadline_us = deadline.0;
    evidence.counters = Some(numbers.clone());
    let (leaf, hash) = draft.add_leaf(&evidence, Some(document.index), Vec::new())?;
    draft.count_consignment(name.sender.clone(), &recipient, &numbers, (leaf, hash));
    let mut delivery = DeliveryRecord {
        document: document.index,
        recipient: recipient.to_string(),
        transport: TransportState::Ready.into(),
        change_pending: status::begin(operation(document)).change_pending,
        last_leaf_hash: bytes::Bytes::copy_from_slice(&hash),
        urgency: document.urgency,
        deadline_us: deadline.0,
        test: document.test,
        ..DeliveryRecord::default()
    };
    for status in parked {
        apply_parked(draft, &name, document, &mut delivery, status)?;
    }
    if let Some(hold) = actions.hold_of(&recipient) {
        hold.hold(draft, document, &recipient, &mut delivery)?;
    }
    draft.put_delivery(recipient, delivery);
    Ok(())
}

fn operation(document: &DocumentRecord) -> Operation {
    Operation::try_from(document.operation).unwrap_or_default()
}

fn draft_leaf_hash(draft: &Draft<'_>, leaf: u64) -> Result<crate::tlog::Hash, Refused> {
    use crate::tlog::merkle;

    if let Some(record) = draft.staged_leaf(leaf) {
        return Ok(merkle::leaf_hash(&record.evidence));
    }
    Ok(draft.store.node(merkle::stored_index(0, leaf))?)
}

/// A status that came before its document.
struct Parked {
    record: ParkedRecord,
    evidence: Evidence,
    code: u32,
}

fn read_parked(
    draft: &Draft<'_>,
    name: &DocumentName,
    recipient: &AgencyId,
) -> Result<Vec<Parked>, StoreError> {
    draft.parked(name, recipient)?.into_iter().map(|record| read_one(draft, record)).collect()
}

fn read_one(draft: &Draft<'_>, record: ParkedRecord) -> Result<Parked, StoreError> {
    let damaged = |error: prost::DecodeError| StoreError::Damaged(format!("leaf {}: {error}", record.leaf));
    let evidence = Evidence::decode(draft.evidence_bytes(record.leaf)?).map_err(damaged)?;
    Ok(Parked { code: evidence.status_code, evidence, record })
}

/// It moves the delivery now, as its agency signed it then.
fn apply_parked(
    draft: &mut Draft<'_>,
    name: &DocumentName,
    document: &DocumentRecord,
    delivery: &mut DeliveryRecord,
    parked: Parked,
) -> Result<(), Refused> {
    let Parked { record, evidence: kept, code } = parked;
    let effect = status::on_status(&business(delivery), code);
    let (event, reasons) = take_effect(delivery, &effect);
    let recipient = AgencyId::parse(&delivery.recipient)?;
    let applied = draft.event(event)?.because(&reasons).after(&delivery.last_leaf_hash);
    let applied = Evidence {
        submission_time_us: document.accepted_at_us,
        manifest_sha256: document.manifest_sha256.clone(),
        // The same words of the same node, judged when they came.
        sender: kept.sender,
        recipients: kept.recipients,
        document_id: kept.document_id,
        revision: kept.revision,
        verdict: kept.verdict,
        recipient_receipt: kept.recipient_receipt,
        message_sha256: kept.message_sha256,
        status_code: code,
        test: document.test,
        ..applied
    };
    let feeds = super::status::feeds(name, &recipient, code);
    let (_, hash) = draft.add_leaf(&applied, Some(delivery.document), feeds)?;
    delivery.last_leaf_hash = bytes::Bytes::copy_from_slice(&hash);
    draft.commit.parked.push(ParkedRecord { applied: true, ..record });
    Ok(())
}

/// The business half of a delivery.
pub fn business(delivery: &DeliveryRecord) -> Business {
    Business { code: delivery.status_code, change_pending: delivery.change_pending }
}

/// Moves the delivery as the rules say; returns the event and why, where the event needs a reason.
pub fn take_effect(delivery: &mut DeliveryRecord, effect: &Effect) -> (EventKind, Vec<Reason>) {
    match effect {
        Effect::Moves { state, event } => {
            delivery.status_code = state.code;
            delivery.change_pending = state.change_pending;
            let refused = *event == EventKind::ConsignmentRejection;
            let reason = Reason::new(ReasonCode::RefusedByRecipient, "see the signed status");
            (*event, if refused { vec![reason] } else { Vec::new() })
        }
        Effect::Recorded { reason, event } => (*event, vec![reason.clone()]),
    }
}
