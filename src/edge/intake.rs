//! What every signed message passes on its way to the hub: its sender's rates, and room for it in memory.

use std::sync::Arc;

use prost::Message;
use tonic::Status;

use super::{
    bounds::Bounds,
    caller::{Identity, Role},
    gate::Memory,
    grpc_status::{refuse, status, stream_refusal},
    rates::{Rates, TooFast},
};
use crate::{
    domain::{
        id::NodeName,
        reason::{Reason, ReasonCode},
    },
    hub::{Hub, refused::Refused},
    proto::{SignedEnvelope, StreamRefusal},
};

/// Smaller messages cost less than counting them does; their number is bounded elsewhere.
const SMALL: usize = 4 * 1024;

/// The way in, for all doors.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    hub: Arc<Hub>,
    rates: Rates,
    memory: Memory,
}

/// Why a message did not come in, or was refused behind the door.
#[derive(Debug)]
pub enum Turned {
    /// Its sender is too fast.
    Away(TooFast),
    /// Refused.
    Down(Refused),
}

impl Turned {
    /// True for what the same sender may send again later.
    #[must_use]
    pub fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Down(refused) => refused.code() == ReasonCode::Busy,
        }
    }

    /// Why.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Away(_) => ReasonCode::RateLimited,
            Self::Down(refused) => refused.code(),
        }
    }

    /// For a call of its own.
    #[must_use]
    pub fn status(self) -> Status {
        match self {
            Self::Away(too_fast) => too_fast.status(),
            Self::Down(refused) => status(&refused),
        }
    }

    /// Inside a stream.
    #[must_use]
    pub fn stream_refusal(self) -> StreamRefusal {
        match self {
            Self::Away(too_fast) => too_fast.stream_refusal(),
            Self::Down(refused) => stream_refusal(&refused),
        }
    }
}

impl From<Reason> for Turned {
    fn from(reason: Reason) -> Self {
        Self::Down(reason.into())
    }
}

impl Intake {
    /// With these bounds.
    #[must_use]
    pub fn new(hub: Arc<Hub>, bounds: &Bounds, memory: Memory) -> Self {
        Self(Arc::new(Inner { hub, rates: Rates::new(bounds), memory }))
    }

    /// The envelope, which counts as memory of its node until nobody has it any more; `more` bytes came with it.
    pub fn admit(
        &self,
        node: &NodeName,
        envelope: SignedEnvelope,
        more: usize,
    ) -> Result<SignedEnvelope, Turned> {
        let Inner { hub, rates, memory } = &*self.0;
        let bytes = envelope.encoded_len() + more;
        let agency = hub.speaks_for(node, &envelope);
        rates.message(node, agency.as_ref(), bytes).map_err(Turned::Away)?;
        if bytes <= SMALL {
            return Ok(envelope);
        }
        let share = memory.take_many(&Identity { role: Role::Node(node.clone()) }, bytes)?;
        Ok(SignedEnvelope { payload: share.held_by(envelope.payload), ..envelope })
    }

    /// Notes how the hub judged a message of a node.
    pub fn judged<T>(&self, node: &NodeName, outcome: Result<T, Refused>) -> Result<T, Turned> {
        outcome.map_err(|refused| {
            if refused.receipt.is_some() {
                self.0.rates.refused(node);
            }
            Turned::Down(refused)
        })
    }

    /// Counts bytes of an upload, and waits as long as its node is too fast.
    pub async fn pace(&self, node: &NodeName, bytes: usize) -> Result<(), Status> {
        let pause = self.0.rates.upload(node, bytes);
        if pause.is_zero() {
            return Ok(());
        }
        let paused = tokio::time::sleep(pause);
        self.0.hub.stopping().run_until_cancelled(paused).await.ok_or_else(|| refuse(stopping()))
    }
}

/// The hub takes nothing more.
#[must_use]
pub fn stopping() -> Reason {
    Reason::new(ReasonCode::ShuttingDown, "the hub is stopping: connect again, then repeat")
}
