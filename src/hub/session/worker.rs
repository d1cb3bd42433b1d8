//! The task behind a session.

use std::sync::{Arc, atomic::Ordering};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Command, Event, offers::Held};
use crate::{
    domain::id::{AgencyId, NodeName},
    hub::{Hub, bells::Listening},
    proto::SignedEnvelope,
};

/// Offers prepared at a time, so that a large credit does not take all leases at once.
const OFFERS_AT_ONCE: usize = 32;
/// Receipts of one session that are verified at the same time.
const MAX_REPORTS: usize = 64;

/// The client is gone, the hub stops, or the node was cut off: the session ends.
struct Ended;

/// One session.
pub(super) struct Worker {
    hub: Arc<Hub>,
    node: NodeName,
    /// Agencies it may still receive for, as of `directory_version`.
    agencies: Vec<AgencyId>,
    directory_version: Option<u64>,
    voice: Voice,
    credit: u32,
    held: Held,
}

impl Worker {
    pub fn new(hub: &Arc<Hub>, node: &NodeName, agencies: &[AgencyId], events: mpsc::Sender<Event>) -> Self {
        Self {
            hub: Arc::clone(hub),
            node: node.clone(),
            agencies: agencies.to_vec(),
            directory_version: None,
            voice: Voice { events, stopping: hub.stopping.clone() },
            credit: 0,
            held: Held::new(hub),
        }
    }

    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let hub = Arc::clone(&self.hub);
        hub.sessions.fetch_add(1, Ordering::Relaxed);
        let listening = hub.dispatcher.listen(&self.agencies);
        let mut reports = JoinSet::new();
        // An error is one of the ends of a session.
        let _ = self.serve(&mut commands, &listening, &mut reports).await;
        while reports.join_next().await.is_some() {}
        if hub.stopping.is_cancelled() {
            // A client that does not read needs no goodbye.
            let _ = self.voice.events.try_send(Event::Goodbye);
        }
        hub.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    async fn serve(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        listening: &Listening,
        reports: &mut JoinSet<()>,
    ) -> Result<(), Ended> {
        let stopping = self.hub.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(Ended),
                () = self.voice.events.closed() => return Err(Ended),
                command = commands.recv(), if reports.len() < MAX_REPORTS => {
                    self.obey(command.ok_or(Ended)?, reports).await?;
                }
                Some(_) = reports.join_next() => {}
                () = listening.rung(), if self.credit > 0 => {}
            }
            self.offer().await?;
        }
    }

    async fn obey(&mut self, command: Command, reports: &mut JoinSet<()>) -> Result<(), Ended> {
        match command {
            Command::Credit(more) => {
                self.credit = self.credit.saturating_add(more).min(self.hub.settings.max_credit);
                Ok(())
            }
            Command::Acknowledge(envelope) => {
                reports.spawn(self.acknowledge(envelope));
                Ok(())
            }
            Command::Release { delivery_id, lease } => {
                let Err(refused) = self.hub.release(&self.node, &delivery_id, lease) else { return Ok(()) };
                self.voice.say(Event::Refused { delivery_id, refused }).await
            }
            Command::Extend { delivery_id, lease } => {
                let event = match self.hub.extend_lease(&self.node, &delivery_id, lease) {
                    Ok(until_us) => Event::Extended { delivery_id, until_us },
                    Err(refused) => Event::Refused { delivery_id, refused },
                };
                self.voice.say(event).await
            }
        }
    }

    fn acknowledge(&self, envelope: SignedEnvelope) -> impl Future<Output = ()> + Send + use<> {
        let (hub, node, voice) = (Arc::clone(&self.hub), self.node.clone(), self.voice.clone());
        async move {
            let event = match hub.acknowledge(&node, envelope).await {
                Ok(accepted) => Event::Acknowledged(accepted),
                Err(refused) => Event::Refused { delivery_id: String::new(), refused },
            };
            // A client that went away acknowledges again and gets the same receipt.
            let _ = voice.say(event).await;
        }
    }

    /// Sends what is ready while there is credit and room.
    async fn offer(&mut self) -> Result<(), Ended> {
        while self.credit > 0 {
            self.follow_directory()?;
            let (room, now) = (self.room(), self.hub.clock.now());
            let leases = self.hub.dispatcher.lease(&self.agencies, room, now);
            if leases.is_empty() {
                return Ok(());
            }
            self.held.leases.extend_from_slice(&leases);
            for offer in self.hub.offers(leases).await.map_err(|_| Ended)? {
                self.credit -= 1;
                self.voice.say(Event::Offer(Box::new(offer))).await?;
            }
        }
        Ok(())
    }

    /// Offers that may go out now. A client that takes and never answers is held back at twice the largest
    /// credit; ended leases are forgotten when that is reached.
    fn room(&mut self) -> usize {
        let most = self.hub.settings.max_credit as usize * 2;
        if self.held.leases.len() >= most {
            self.held.forget_ended();
        }
        let room = most - self.held.leases.len().min(most);
        OFFERS_AT_ONCE.min(self.credit as usize).min(room)
    }

    /// Stops receiving for agencies that the node acts for no more.
    fn follow_directory(&mut self) -> Result<(), Ended> {
        let directory = self.hub.directory();
        if self.directory_version == Some(directory.version()) {
            return Ok(());
        }
        let entry = directory.node(&self.node).filter(|entry| !entry.revoked).ok_or(Ended)?;
        self.agencies.retain(|agency| entry.agencies.contains(agency));
        self.directory_version = Some(directory.version());
        Ok(())
    }
}

/// Speaks to the client. A client that does not listen can't hold up the hub's stop.
#[derive(Clone)]
struct Voice {
    events: mpsc::Sender<Event>,
    stopping: CancellationToken,
}

impl Voice {
    async fn say(&self, event: Event) -> Result<(), Ended> {
        tokio::select! {
            biased;
            sent = self.events.send(event) => sent.map_err(|_| Ended),
            () = self.stopping.cancelled() => Err(Ended),
        }
    }
}
