//! Offering documents to recipients: the two-way session, and plain fetching for simple clients.

mod fetch;
mod offers;
mod worker;

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Hub,
    intake::Accepted,
    presence::Peer,
    refused::{Refused, stopping},
};
use crate::{
    domain::{
        id::{AgencyId, NodeName},
        reason::ReasonCode,
    },
    proto::{Offer, SignedEnvelope},
};

/// Commands that may wait for a session.
const COMMANDS: usize = 64;
/// Events that may wait for a slow client: each can be an offer with its whole envelope.
const EVENTS: usize = 8;
/// A client that reads nothing for so long is given up.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
    /// The hub ends this session, and why.
    Ended(Refused),
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
        self.open_session_with(node, agencies, PATIENCE, Peer::default())
    }

    /// [`Hub::open_session`] for a client that may leave what the hub says unread for so long: then the session ends.
    pub fn open_session_with(
        self: &Arc<Self>,
        node: &NodeName,
        agencies: &[String],
        patience: Duration,
        peer: Peer,
    ) -> Result<Session, Refused> {
        if self.stopping.is_cancelled() {
            return Err(stopping());
        }
        let agencies = self.agencies_of(node, agencies)?;
        let (commands, command_receiver) = mpsc::channel(COMMANDS);
        // One place more, for the last word.
        let (event_sender, events) = mpsc::channel(EVENTS + 1);
        let voice = worker::Voice::new(self, event_sender, patience);
        let worker = worker::Worker::new(self, node, &agencies, peer, voice);
        self.tasks.spawn(worker.run(command_receiver));
        Ok(Session { agencies, commands, events })
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
