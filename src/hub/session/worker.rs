//! The task behind a session.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prost::Message;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Command, Event, offers::Held};
use crate::{
    domain::{
        id::{AgencyId, NodeName},
        reason::ReasonCode,
    },
    hub::{
        Hub,
        bells::Listening,
        presence::{Peer, Standing},
        refused::{Refused, unread},
        room::Room,
    },
    proto::SignedEnvelope,
};

/// Offers prepared at a time, so that a large credit does not take all leases at once.
const OFFERS_AT_ONCE: usize = 32;
/// Pause when offers that others do not read leave no room.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Receipts of one session that are verified at the same time.
const MAX_REPORTS: usize = 64;

/// Why a session ends.
enum Ended {
    /// The client is gone: nobody is left to tell.
    Gone,
    /// The hub stops.
    Stopping,
    /// The client does not read, or the node was cut off.
    Because(Refused),
}

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
    /// Its place among those that stand.
    standing: Standing,
    /// No offer before this moment: there is no room for any.
    again: Option<Instant>,
}

impl Worker {
    pub fn new(hub: &Arc<Hub>, node: &NodeName, agencies: &[AgencyId], peer: Peer, voice: Voice) -> Self {
        let held = Held::new(hub);
        let standing = hub.presence.session(node, peer, agencies, held.shared());
        Self {
            hub: Arc::clone(hub),
            node: node.clone(),
            agencies: agencies.to_vec(),
            directory_version: None,
            voice,
            credit: 0,
            held,
            standing,
            again: None,
        }
    }

    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let hub = Arc::clone(&self.hub);
        hub.sessions.fetch_add(1, Ordering::Relaxed);
        let listening = hub.dispatcher.listen(&self.agencies);
        let mut reports = JoinSet::new();
        let last_word = self.voice.events.clone().try_reserve_owned();
        let ended = self.serve(&mut commands, &listening, &mut reports).await;
        while reports.join_next().await.is_some() {}
        if !matches!(ended, Ended::Stopping) && self.leaves_documents() {
            self.standing.breaks_off();
        }
        if let Ok(last_word) = last_word {
            match ended {
                Ended::Gone => {}
                Ended::Stopping => drop(last_word.send(Event::Goodbye)),
                Ended::Because(refused) => drop(last_word.send(Event::Ended(refused))),
            }
        }
        hub.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    fn leaves_documents(&self) -> bool {
        self.agencies.iter().any(|agency| self.hub.dispatcher.waiting_for(agency) > 0)
    }

    async fn serve(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        listening: &Listening,
        reports: &mut JoinSet<Result<(), Ended>>,
    ) -> Ended {
        loop {
            if let Err(ended) = self.step(commands, listening, reports).await {
                return ended;
            }
        }
    }

    async fn step(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        listening: &Listening,
        reports: &mut JoinSet<Result<(), Ended>>,
    ) -> Result<(), Ended> {
        tokio::select! {
            biased;
            () = self.voice.stopping.cancelled() => return Err(Ended::Stopping),
            () = self.voice.events.closed() => return Err(Ended::Gone),
            command = commands.recv(), if reports.len() < MAX_REPORTS => {
                self.obey(command.ok_or(Ended::Gone)?, reports).await?;
            }
            // A report that was lost is repeated by its client.
            Some(told) = reports.join_next() => told.unwrap_or(Ok(()))?,
            () = listening.rung(), if self.credit > 0 && self.again.is_none() => {}
            () = sleep_until(self.again.unwrap_or_else(Instant::now)), if self.again.is_some() => self.again = None,
        }
        self.offer().await
    }

    async fn obey(
        &mut self,
        command: Command,
        reports: &mut JoinSet<Result<(), Ended>>,
    ) -> Result<(), Ended> {
        match command {
            Command::Credit(more) => {
                self.credit = self.credit.saturating_add(more).min(self.hub.settings.max_credit);
                self.standing.credit(self.credit);
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

    fn acknowledge(
        &self,
        envelope: SignedEnvelope,
    ) -> impl Future<Output = Result<(), Ended>> + Send + use<> {
        let (hub, node, voice) = (Arc::clone(&self.hub), self.node.clone(), self.voice.clone());
        async move {
            let event = match hub.acknowledge(&node, envelope).await {
                Ok(accepted) => Event::Acknowledged(accepted),
                Err(refused) => Event::Refused { delivery_id: String::new(), refused },
            };
            // A client that went away acknowledges again and gets the same receipt.
            voice.say(event).await
        }
    }

    /// Sends what is ready while there is credit and room.
    async fn offer(&mut self) -> Result<(), Ended> {
        while self.credit > 0 && self.again.is_none() {
            self.follow_directory()?;
            if self.hub.room() == Room::Spent {
                self.again = Some(Instant::now() + LOOK_AGAIN);
                return Ok(());
            }
            let (room, now) = (self.room(), self.hub.clock.now());
            let leases = self.hub.dispatcher.lease(&self.agencies, room, now);
            if leases.is_empty() {
                return Ok(());
            }
            self.held.take(&leases);
            let offers = match self.hub.offers(&self.node, leases).await {
                Err(refused) if refused.code() == ReasonCode::Busy => {
                    // Others do not read: this one looks again soon, and hears its client meanwhile.
                    self.again = Some(Instant::now() + LOOK_AGAIN);
                    return Ok(());
                }
                offers => offers.map_err(Ended::Because)?,
            };
            for offer in offers {
                self.credit -= 1;
                self.standing.credit(self.credit);
                self.standing.offered(offer.encoded_len() as u64);
                self.voice.say(Event::Offer(Box::new(offer))).await?;
            }
        }
        Ok(())
    }

    /// Offers that may go out now. A client that takes and never answers is held back at twice the largest
    /// credit; ended leases are forgotten when that is reached.
    fn room(&mut self) -> usize {
        let most = self.hub.settings.max_credit as usize * 2;
        if self.held.len() >= most {
            self.held.forget_ended();
        }
        let room = most - self.held.len().min(most);
        OFFERS_AT_ONCE.min(self.credit as usize).min(room)
    }

    /// Stops receiving for agencies that the node acts for no more.
    fn follow_directory(&mut self) -> Result<(), Ended> {
        let directory = self.hub.directory();
        if self.directory_version == Some(directory.version()) {
            return Ok(());
        }
        let unknown = || Refused::because(ReasonCode::UnknownNode, self.node.to_string());
        let entry = directory.node(&self.node).filter(|entry| !entry.revoked);
        let entry = entry.ok_or_else(|| Ended::Because(unknown()))?;
        self.agencies.retain(|agency| entry.agencies.contains(agency));
        self.directory_version = Some(directory.version());
        Ok(())
    }
}

/// Speaks to the client. One that does not listen can't hold up the hub's stop, and is given up in time.
#[derive(Clone)]
pub(super) struct Voice {
    events: mpsc::Sender<Event>,
    stopping: CancellationToken,
    patience: Duration,
}

impl Voice {
    pub fn new(hub: &Hub, events: mpsc::Sender<Event>, patience: Duration) -> Self {
        Self { events, stopping: hub.stopping.clone(), patience }
    }

    async fn say(&self, event: Event) -> Result<(), Ended> {
        let event = match self.events.try_send(event) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Ended::Gone),
            Err(TrySendError::Full(event)) => event,
        };
        tokio::select! {
            biased;
            sent = self.events.send(event) => sent.map_err(|_| Ended::Gone),
            () = self.stopping.cancelled() => Err(Ended::Stopping),
            () = tokio::time::sleep(self.patience) => Err(Ended::Because(unread(self.patience))),
        }
    }
}
