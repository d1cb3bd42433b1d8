//! What an action of an operator reaches: the deliveries that it is about, page by page, in an order that a crash does
//! not change.

use crate::{
    domain::id::AgencyId,
    proto::{ActionKind, TransportState},
    store::{
        Store, StoreError, Waiting,
        records::{ActionRecord, DeliveryRecord},
    },
};

/// A delivery, and with it the place of a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// Recipient.
    pub recipient: String,
    /// 4 minus the urgency; 0 where the walk is through one document.
    pub rank: u8,
    /// Document index.
    pub document: u64,
}

/// Up to `max` deliveries behind `after` that an action is about, whatever their state; fewer only at the end. An action
/// about recipients never reaches documents that were accepted after it was asked for.
pub fn page(
    store: &dyn Store,
    action: &ActionRecord,
    after: Option<&Spot>,
    max: usize,
) -> Result<Vec<Spot>, StoreError> {
    match action.document_plus_one.checked_sub(1) {
        Some(document) if action.recipients.is_empty() => of_document(store, document, after, max),
        Some(document) => {
            let one = |recipient: &String| Spot { recipient: recipient.clone(), rank: 0, document };
            let later = |spot: &Spot| after.is_none_or(|after| spot.recipient > after.recipient);
            Ok(action.recipients.iter().map(one).filter(later).take(max).collect())
        }
        None => of_recipients(store, action, after, max),
    }
}

fn of_document(
    store: &dyn Store,
    document: u64,
    after: Option<&Spot>,
    max: usize,
) -> Result<Vec<Spot>, StoreError> {
    let found = store.deliveries(document, after.map(|spot| spot.recipient.as_str()), max)?;
    Ok(found.into_iter().map(|delivery| Spot { recipient: delivery.recipient, rank: 0, document }).collect())
}

/// Recipients are sorted, and so is what waits.
fn of_recipients(
    store: &dyn Store,
    action: &ActionRecord,
    after: Option<&Spot>,
    max: usize,
) -> Result<Vec<Spot>, StoreError> {
    let mut found = Vec::new();
    let from = after.map(|spot| spot.recipient.as_str()).unwrap_or_default();
    for recipient in action.recipients.iter().filter(|recipient| recipient.as_str() >= from) {
        // No document has the index 0: before the first one there must be agencies.
        let mut last =
            Waiting { recipient: recipient.clone(), rank: 0, document: 0, deadline_us: 0, held: false };
        if let Some(after) = after.filter(|after| after.recipient == *recipient) {
            (last.rank, last.document) = (after.rank, after.document);
        }
        while found.len() < max {
            let wanted = max - found.len();
            let page = store.waiting(Some(&last), wanted)?;
            let (seen, full) = (page.len(), page.len() == wanted);
            let mine = page.into_iter().take_while(|waiting| waiting.recipient == *recipient);
            let mine: Vec<_> = mine.collect();
            let more = full && mine.len() == seen;
            if let Some(newest) = mine.last() {
                last = newest.clone();
            }
            let in_time = mine.into_iter().filter(|waiting| waiting.document < action.id);
            found.extend(in_time.map(|Waiting { recipient, rank, document, .. }| Spot {
                recipient,
                rank,
                document,
            }));
            if !more {
                break;
            }
        }
    }
    Ok(found)
}

/// Whether an action of this kind takes a delivery in this state. `held_to_end` says that another action holds it to end
/// it: that one has it.
pub fn takes(kind: ActionKind, delivery: &DeliveryRecord, held_to_end: bool) -> bool {
    let state = delivery.transport_state();
    let (ready, held) = (state == TransportState::Ready, state == TransportState::Held && !held_to_end);
    match kind {
        ActionKind::Hold | ActionKind::Requeue => ready,
        ActionKind::Release => held,
        ActionKind::Redirect | ActionKind::Cancel | ActionKind::Expire => ready || held,
        ActionKind::Resend => matches!(state, TransportState::Expired | TransportState::Cancelled),
        ActionKind::Unspecified => false,
    }
}

/// Whether an action of this kind ends deliveries: it holds them first, and takes effect later.
pub fn ends(kind: ActionKind) -> bool {
    matches!(kind, ActionKind::Redirect | ActionKind::Cancel | ActionKind::Expire)
}

/// Whether the delivery is held by an open action that will end it.
pub fn is_held_to_end(delivery: &DeliveryRecord, open: impl FnOnce(u64) -> Option<ActionKind>) -> bool {
    delivery.held_by_plus_one.checked_sub(1).and_then(open).is_some_and(ends)
}

impl Spot {
    /// Its recipient, if that can be read.
    pub fn agency(&self) -> Result<AgencyId, StoreError> {
        AgencyId::parse(&self.recipient).map_err(|reason| StoreError::Damaged(reason.to_string()))
    }
}
