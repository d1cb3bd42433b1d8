//! From leases to offers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;

use super::delivery_id;
use crate::{
    domain::{
        id::{Digest, NodeName},
        reason::ReasonCode,
        time::Timestamp,
    },
    hub::{
        Hub,
        dispatcher::{Dispatcher, Lease},
        recent,
        refused::{Refused, blocking},
        shares::Share,
    },
    proto::{Offer, SignedEnvelope},
    store::{StoreError, records::DocumentRecord},
};

/// Offers of so many bytes are built at a time. With the one that goes beyond, an answer stays below the 4 MiB that
/// every gRPC client takes, and a session does not hold a hundred large manifests.
const MAX_BYTES: usize = 3 << 19;

/// Leases in somebody's hand. Those that still live when it is dropped go back into the queue at once.
pub(super) struct Held {
    dispatcher: Arc<Dispatcher>,
    leases: Arc<Mutex<Vec<Lease>>>,
}

impl Held {
    pub fn new(hub: &Hub) -> Self {
        Self { dispatcher: Arc::clone(&hub.dispatcher), leases: Arc::default() }
    }

    /// For those who look at it from outside.
    pub fn shared(&self) -> Arc<Mutex<Vec<Lease>>> {
        Arc::clone(&self.leases)
    }

    /// Leases taken, ended ones among them.
    pub fn len(&self) -> usize {
        self.leases().len()
    }

    /// Takes more.
    pub fn take(&mut self, leases: &[Lease]) {
        self.leases().extend_from_slice(leases);
    }

    /// Lets go of them: somebody else sees to their end.
    pub fn let_go(&mut self) {
        self.leases().clear();
    }

    /// Forgets leases that ended.
    pub fn forget_ended(&mut self) {
        self.dispatcher.retain_held(&mut self.leases());
    }

    fn leases(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let leases = std::mem::take(&mut *self.leases());
        self.dispatcher.give_back(&leases);
    }
}

impl Hub {
    /// Builds the offers of a node's leases, as many as fit, and the first even if it is large. The others go back at
    /// once; a lease whose offer can't be built goes back after a pause and is reported. `BUSY` when offers that nobody
    /// reads leave no room for any.
    pub(super) async fn offers(
        self: &Arc<Self>,
        node: &NodeName,
        leases: Vec<Lease>,
    ) -> Result<Vec<Offer>, Refused> {
        let (hub, node) = (Arc::clone(self), node.clone());
        blocking(move || hub.build(&node, &leases)).await?
    }

    fn build(&self, node: &NodeName, leases: &[Lease]) -> Result<Vec<Offer>, Refused> {
        let (mut offers, mut bytes) = (Vec::new(), 0);
        for (at, lease) in leases.iter().enumerate() {
            if bytes >= MAX_BYTES {
                self.dispatcher.undo(&leases[at..]);
                break;
            }
            let Some(offer) = self.offer_or_release(lease) else { continue };
            let len = offer.encoded_len();
            match self.offered.take_many(node, len) {
                Ok(share) => offers.push(counted(offer, share)),
                Err(full) => {
                    self.dispatcher.undo(&leases[at..]);
                    return if offers.is_empty() { Err(full.into()) } else { Ok(offers) };
                }
            }
            bytes += len;
        }
        Ok(offers)
    }

    fn offer_or_release(&self, lease: &Lease) -> Option<Offer> {
        match self.offer(lease) {
            Ok(offer) => Some(offer),
            Err(refused) => {
                tracing::error!(%refused, document = lease.document, "a document can't be offered");
                let now = self.clock.now();
                // Lost meanwhile means that somebody else has it.
                let _ = self.dispatcher.release(&lease.recipient, lease.document, lease.id, now);
                None
            }
        }
    }

    fn offer(&self, lease: &Lease) -> Result<Offer, Refused> {
        let document = self.document(lease.document)?;
        self.meters.offers.add(1);
        let digest = || Digest::from_slice(&document.record.manifest_sha256);
        let step = self.steps.begin("offer", digest).map(|step| step.to(lease.recipient.as_str()));
        let _until_built = step.map(|step| step.with(|step| step.attempt = Some(lease.attempt)));
        if lease.attempt == 1 {
            let accepted = Timestamp(document.record.accepted_at_us);
            let queued = self.steps.begin_at("queue", digest, accepted);
            drop(queued.map(|step| step.to(lease.recipient.as_str())));
        }
        if document.record.test {
            self.presence.test_offered(lease.document, &lease.recipient);
        }
        Ok(Offer {
            delivery_id: delivery_id(lease.document, &lease.recipient),
            recipient: lease.recipient.to_string(),
            envelope: Some(document.envelope.clone()),
            acceptance: Some(self.receipt_now(lease.document)?),
            attempt: lease.attempt,
            lease_until_us: lease.until.0,
            delivery_deadline_us: lease.deadline.0,
            lease_id: lease.id,
        })
    }

    pub(in crate::hub) fn document(&self, index: u64) -> Result<Arc<recent::Document>, Refused> {
        if let Some(document) = self.recent.document(index) {
            return Ok(document);
        }
        let record = self.document_record(index)?;
        self.has_contents(&record)?;
        match self.envelope(&record) {
            Ok(envelope) => Ok(Arc::new(recent::Document { record: record.into(), envelope })),
            // It may have been erased at this moment.
            Err(error) => Err(self.has_contents(&record).err().unwrap_or_else(|| error.into())),
        }
    }

    /// The record of a document, whatever was erased of it.
    pub(in crate::hub) fn document_record(&self, index: u64) -> Result<DocumentRecord, Refused> {
        let missing = || StoreError::Damaged(format!("the record of document {index}"));
        Ok(self.store.document(index)?.ok_or_else(missing)?)
    }

    fn envelope(&self, record: &DocumentRecord) -> Result<SignedEnvelope, StoreError> {
        let index = record.index;
        let missing = || StoreError::Damaged(format!("the envelope of document {index}"));
        let body = self.store.envelope(record)?.ok_or_else(missing)?;
        SignedEnvelope::decode(self.payload.read(&body)?)
            .map_err(|error| StoreError::Damaged(format!("the envelope of document {index}: {error}")))
    }

    /// `CONTENTS_ERASED` if the envelope of a document is gone by a retention rule.
    fn has_contents(&self, record: &DocumentRecord) -> Result<(), Refused> {
        match self.store.erasure(record.index)? {
            Some(erasure) if erasure.is_whole() => {
                let (id, leaf) = (&record.document_id, erasure.leaf);
                let detail = format!("the contents of {id} were erased, see leaf {leaf}");
                Err(Refused::because(ReasonCode::ContentsErased, detail))
            }
            _ => Ok(()),
        }
    }
}

/// The offer, which takes up its room until it was sent.
fn counted(offer: Offer, share: Share) -> Offer {
    let envelope = offer
        .envelope
        .map(|envelope| SignedEnvelope { payload: share.held_by(envelope.payload), ..envelope });
    Offer { envelope, ..offer }
}
