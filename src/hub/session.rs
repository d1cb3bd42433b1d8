//! Offering documents to recipients: the two-way session, and plain fetching for simple clients.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prost::Message;
use tokio::sync::{Notify, mpsc};

use super::{Hub, dispatcher::Lease, intake::Accepted, intake::blocking, query, refused::Refused};
use crate::{
    domain::{
        id::{AgencyId, Digest, NodeName},
        reason::ReasonCode,
    },
    proto::{Offer, SignedEnvelope},
    store::StoreError,
};

/// Commands and events that may wait in a session's channels.
const CHANNEL: usize = 64;
/// Offers prepared at a time, so that a large credit does not take all leases at once.
const OFFERS_AT_ONCE: usize = 32;
/// Receipts of one session that are verified at the same time.
const MAX_REPORTS: usize = 64;
/// Offers of one Fetch at most.
const MAX_FETCH: usize = 100;
/// Longest wait of a Fetch.
const MAX_FETCH_WAIT: Duration = Duration::from_secs(60);

/// What a client says in its session.
#[derive(Debug)]
pub enum Command {
    /// More offers may come.
    Credit(u32),
    /// A signed receipt.
    Acknowledge(SignedEnvelope),
    /// A lease back.
    Release {
        /// Names the delivery.
        delivery_id: String,
        /// Names the lease.
        lease: u64,
    },
    /// More time.
    Extend {
        /// Names the delivery.
        delivery_id: String,
        /// Names the lease.
        lease: u64,
    },
}

/// What the hub says in a session.
#[derive(Debug)]
pub enum Event {
    /// A document.
    Offer(Box<Offer>),
    /// Answer to a receipt.
    Acknowledged(Accepted),
    /// A lease lives on until then.
    Extended {
        /// Names the delivery.
        delivery_id: String,
        /// End of the lease.
        until_us: i64,
    },
    /// Answer to a command that was refused.
    Refused {
        /// Names the delivery, when known.
        delivery_id: String,
        /// Why.
        refused: Refused,
    },
    /// The hub is stopping.
    Goodbye,
}

/// Both ends of a session, for the door.
pub struct Session {
    /// Agencies this session receives for.
    pub agencies: Vec<AgencyId>,
    /// To the session. Dropping it ends the session.
    pub commands: mpsc::Sender<Command>,
    /// From the session.
    pub events: mpsc::Receiver<Event>,
}

impl Hub {
    /// Opens a session for `agencies`, or for all agencies of the node when there are none.
    pub fn open_session(self: &Arc<Self>, node: &NodeName, agencies: &[String]) -> Result<Session, Refused> {
        let agencies = self.agencies_of(node, agencies)?;
        let (commands, command_receiver) = mpsc::channel(CHANNEL);
        let (event_sender, events) = mpsc::channel(CHANNEL);
        let worker = Worker {
            hub: Arc::clone(self),
            node: node.clone(),
            agencies: agencies.clone(),
            events: event_sender,
            credit: 0,
            leases: Vec::new(),
        };
        self.tasks.spawn(worker.run(command_receiver));
        Ok(Session { agencies, commands, events })
    }

    /// Leases and returns what waits, at most `max`; waits up to `wait` for the first.
    pub async fn fetch(
        self: &Arc<Self>,
        node: &NodeName,
        agencies: &[String],
        max: u32,
        wait: Duration,
    ) -> Result<Vec<Offer>, Refused> {
        let agencies = self.agencies_of(node, agencies)?;
        let max = (max as usize).clamp(1, MAX_FETCH);
        let end = tokio::time::Instant::now() + wait.min(MAX_FETCH_WAIT);
        let bell = Arc::new(Notify::new());
        self.dispatcher.listen(&agencies, &bell);
        let offers = loop {
            let leases = self.dispatcher.lease(&agencies, max, self.clock.now());
            if !leases.is_empty() {
                break self.offers(leases).await;
            }
            tokio::select! {
                () = bell.notified() => {}
                () = tokio::time::sleep_until(end) => break Ok(Vec::new()),
                () = self.stopping.cancelled() => break Ok(Vec::new()),
            }
        };
        self.dispatcher.unlisten(&agencies, &bell);
        offers
    }

    /// Gives a lease back unanswered.
    pub fn release(&self, node: &NodeName, delivery_id: &str, lease: u64) -> Result<(), Refused> {
        let (document, recipient) = parse_delivery_id(delivery_id)?;
        self.directory().may_act(node, &recipient)?;
        Ok(self.dispatcher.release(&recipient, document, lease, self.clock.now())?)
    }

    /// Prolongs a lease; returns its new end.
    pub fn extend_lease(&self, node: &NodeName, delivery_id: &str, lease: u64) -> Result<i64, Refused> {
        let (document, recipient) = parse_delivery_id(delivery_id)?;
        self.directory().may_act(node, &recipient)?;
        Ok(self.dispatcher.extend(&recipient, document, lease, self.clock.now())?.0)
    }

    fn agencies_of(&self, node: &NodeName, asked: &[String]) -> Result<Vec<AgencyId>, Refused> {
        let directory = self.directory();
        let entry = directory
            .node(node)
            .filter(|entry| !entry.revoked)
            .ok_or_else(|| Refused::because(ReasonCode::UnknownNode, node.to_string()))?;
        if asked.is_empty() {
            return Ok(entry.agencies.iter().cloned().collect());
        }
        let mut agencies = Vec::new();
        for text in asked {
            let agency = AgencyId::parse(text)?;
            directory.may_act(node, &agency)?;
            agencies.push(agency);
        }
        agencies.sort();
        agencies.dedup();
        Ok(agencies)
    }

    /// Builds the offers of leases; a lease whose offer can't be built goes back and is reported.
    async fn offers(self: &Arc<Self>, leases: Vec<Lease>) -> Result<Vec<Offer>, Refused> {
        let hub = Arc::clone(self);
        blocking(move || {
            let mut offers = Vec::with_capacity(leases.len());
            for lease in leases {
                match hub.offer(&lease) {
                    Ok(offer) => offers.push(offer),
                    Err(refused) => {
                        tracing::error!(%refused, document = lease.document, "a document can't be offered");
                        let now = hub.clock.now();
                        // Lost meanwhile means that somebody else has it.
                        let _ = hub.dispatcher.release(&lease.recipient, lease.document, lease.id, now);
                    }
                }
            }
            offers
        })
        .await
    }

    fn offer(&self, lease: &Lease) -> Result<Offer, Refused> {
        let missing = |what: &str| StoreError::Damaged(format!("{what} of document {}", lease.document));
        let record = self.store.document(lease.document)?.ok_or_else(|| missing("the record"))?;
        let digest =
            Digest::from_slice(&record.envelope_sha256).ok_or_else(|| missing("the envelope digest"))?;
        let body = self.store.body(&digest)?.ok_or_else(|| missing("the envelope"))?;
        let envelope = SignedEnvelope::decode(self.payload.read(&body)?).map_err(|error| {
            StoreError::Damaged(format!("the envelope of document {}: {error}", lease.document))
        })?;
        Ok(Offer {
            delivery_id: delivery_id(lease.document, &lease.recipient),
            recipient: lease.recipient.to_string(),
            envelope: Some(envelope),
            acceptance: Some(query::receipt(&*self.store, lease.document)?),
            attempt: lease.attempt,
            lease_until_us: lease.until.0,
            delivery_deadline_us: record.deadline_us,
            lease_id: lease.id,
        })
    }
}

/// Names a delivery in this hub.
#[must_use]
pub fn delivery_id(document: u64, recipient: &AgencyId) -> String {
    format!("{document}/{recipient}")
}

/// Reads a name made by [`delivery_id`].
pub fn parse_delivery_id(text: &str) -> Result<(u64, AgencyId), Refused> {
    let bad = || Refused::because(ReasonCode::InvalidField, "delivery_id: not one of this hub");
    let (document, recipient) = text.split_once('/').ok_or_else(bad)?;
    Ok((document.parse().map_err(|_| bad())?, AgencyId::parse(recipient)?))
}

/// The task behind a session.
struct Worker {
    hub: Arc<Hub>,
    node: NodeName,
    agencies: Vec<AgencyId>,
    events: mpsc::Sender<Event>,
    credit: u32,
    leases: Vec<Lease>,
}

impl Worker {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let hub = Arc::clone(&self.hub);
        hub.sessions.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Notify::new());
        hub.dispatcher.listen(&self.agencies, &bell);
        self.serve(&mut commands, &bell).await;
        hub.dispatcher.unlisten(&self.agencies, &bell);
        for lease in self.leases.drain(..) {
            hub.dispatcher.give_back(&lease.recipient, lease.document, lease.id);
        }
        hub.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    async fn serve(&mut self, commands: &mut mpsc::Receiver<Command>, bell: &Notify) {
        let stopping = self.hub.stopping.clone();
        let mut reports = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                () = stopping.cancelled() => {
                    // The client may be gone; then nobody needs the goodbye.
                    let _ = self.events.try_send(Event::Goodbye);
                    while reports.join_next().await.is_some() {}
                    return;
                }
                () = self.events.closed() => return,
                command = commands.recv(), if reports.len() < MAX_REPORTS => {
                    let Some(command) = command else {
                        while reports.join_next().await.is_some() {}
                        return;
                    };
                    self.obey(command, &mut reports).await;
                }
                Some(_) = reports.join_next() => {}
                () = bell.notified(), if self.credit > 0 => {}
            }
            if self.offer().await.is_err() {
                return;
            }
        }
    }

    async fn obey(&mut self, command: Command, reports: &mut tokio::task::JoinSet<()>) {
        match command {
            Command::Credit(more) => {
                self.credit = self.credit.saturating_add(more).min(self.hub.settings.max_credit);
            }
            Command::Acknowledge(envelope) => {
                let (hub, node, events) = (Arc::clone(&self.hub), self.node.clone(), self.events.clone());
                reports.spawn(async move {
                    let event = match hub.acknowledge(&node, envelope).await {
                        Ok(accepted) => Event::Acknowledged(accepted),
                        Err(refused) => Event::Refused { delivery_id: String::new(), refused },
                    };
                    // A client that went away acknowledges again and gets the same receipt.
                    let _ = events.send(event).await;
                });
            }
            Command::Release { delivery_id, lease } => {
                self.leases.retain(|held| held.id != lease);
                if let Err(refused) = self.hub.release(&self.node, &delivery_id, lease) {
                    let _ = self.events.send(Event::Refused { delivery_id, refused }).await;
                }
            }
            Command::Extend { delivery_id, lease } => {
                let event = match self.hub.extend_lease(&self.node, &delivery_id, lease) {
                    Ok(until_us) => Event::Extended { delivery_id, until_us },
                    Err(refused) => Event::Refused { delivery_id, refused },
                };
                let _ = self.events.send(event).await;
            }
        }
    }

    /// Sends what is ready while there is credit. An error means that the client is gone.
    async fn offer(&mut self) -> Result<(), ()> {
        while self.credit > 0 {
            if self.hub.directory().node(&self.node).is_none_or(|entry| entry.revoked) {
                return Err(());
            }
            let max = OFFERS_AT_ONCE.min(self.credit as usize);
            let leases = self.hub.dispatcher.lease(&self.agencies, max, self.hub.clock.now());
            if leases.is_empty() {
                break;
            }
            self.remember(&leases);
            for offer in self.hub.offers(leases).await.map_err(drop)? {
                self.credit -= 1;
                self.events.send(Event::Offer(Box::new(offer))).await.map_err(drop)?;
            }
        }
        Ok(())
    }

    /// Keeps what this session holds, so that it can be given back at its end; answered ones are forgotten
    /// in passing (a lease that ended can't be given back).
    fn remember(&mut self, leases: &[Lease]) {
        if self.leases.len() > 2 * self.hub.settings.max_credit as usize {
            let now = self.hub.clock.now();
            self.leases.retain(|held| held.until > now && self.hub.dispatcher.holds(held));
        }
        self.leases.extend_from_slice(leases);
    }
}
