//! Receiving over the two-way stream: offers come as credit allows, several are worked on at the same time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{
    ClientError,
    receive::{Desk, Taken},
    refusal::is_passing,
};
use crate::{
    domain::id::AgencyId,
    proto::{
        DeliverRequest, DeliverResponse, ExtendLeaseRequest, Hello, Offer, deliver_request, deliver_response,
    },
};

/// Leases of a hub that announces none.
const DEFAULT_LEASE: Duration = Duration::from_secs(60);
/// Steps that may wait for the connection: one credit for each offer, and some.
const STEPS: usize = 64;

/// When to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When nothing waits any more.
    Empty,
    /// Never: after a cut it connects again.
    Stopped,
}

/// What [`receive`] tells.
#[derive(Debug)]
pub enum Event {
    /// The hub offers documents of these agencies.
    Ready(Vec<String>),
    /// A document was taken over or refused.
    Taken(Box<Taken>),
    /// A document could not be answered; the hub offers it again.
    Failed {
        /// The recipient agency.
        recipient: String,
        /// Names the delivery in the hub.
        delivery_id: String,
        /// Why.
        error: Box<ClientError>,
    },
    /// A receipt that was signed before a crash is not taken by the hub any more.
    Unsettled(Box<ClientError>),
    /// The connection was lost or the hub is stopping; it is tried again.
    Interrupted(Status),
}

type Done = (Offer, Result<Taken, ClientError>);

/// Why a stream ended.
enum End {
    Empty,
    Interrupted(Status),
}

/// Settles what an earlier run left, then receives for all agencies of the desk, at most `credit` documents at the same time. Ends as `until` says, or
/// with the error that patience or the hub's refusal makes final.
pub async fn receive(
    desk: Arc<Desk>,
    credit: u32,
    until: Until,
    mut tell: impl FnMut(Event),
) -> Result<(), ClientError> {
    for settled in desk.settle().await {
        tell(match settled {
            Ok(taken) => Event::Taken(Box::new(taken)),
            Err(error) => Event::Unsettled(Box::new(error)),
        });
    }
    let mut failed = 0;
    loop {
        let outcome = run(&desk, credit.max(1), until, &mut failed, &mut tell).await;
        let status = match outcome {
            Ok(End::Empty) => return Ok(()),
            Ok(End::Interrupted(status)) | Err(ClientError::Call(status)) => status,
            Err(error) => return Err(error),
        };
        if is_passing(&status) {
            tell(Event::Interrupted(status.clone()));
        }
        if !desk.patience.after(&status, &mut failed).await {
            return Err(status.into());
        }
    }
}

async fn run(
    desk: &Arc<Desk>,
    credit: u32,
    until: Until,
    failed: &mut u32,
    tell: &mut impl FnMut(Event),
) -> Result<End, ClientError> {
    let mut session = Session::open(desk, credit).await?;
    let mut work = JoinSet::new();
    if until == Until::Empty {
        session.ask().await;
    }
    let end = loop {
        tokio::select! {
            said = session.offers.message() => match session.hear(said) {
                Heard::Ready(agencies) => tell(Event::Ready(agencies)),
                Heard::Offer(offer) => {
                    work.spawn(take(Arc::clone(desk), *offer, session.lease));
                }
                Heard::Quiet if until == Until::Empty && work.is_empty() => break End::Empty,
                Heard::Quiet | Heard::Nothing => {}
                Heard::End(status) => break End::Interrupted(status),
            },
            Some(done) = work.join_next() => {
                *failed = 0;
                tell(told(done));
                session.step(deliver_request::Step::Credit(1)).await;
                if until == Until::Empty && work.is_empty() {
                    session.ask().await;
                }
            }
        }
    };
    // What is on its way is finished: its answers need no stream.
    while let Some(done) = work.join_next().await {
        tell(told(done));
    }
    Ok(end)
}

async fn take(desk: Arc<Desk>, offer: Offer, lease: Duration) -> Done {
    let taken = desk.take(offer.clone(), lease).await;
    (offer, taken)
}

fn told(done: Result<Done, tokio::task::JoinError>) -> Event {
    let failed = |offer: Offer, error| Event::Failed {
        recipient: offer.recipient,
        delivery_id: offer.delivery_id,
        error: Box::new(error),
    };
    match done {
        Ok((_, Ok(taken))) => Event::Taken(Box::new(taken)),
        Ok((offer, Err(error))) => failed(offer, error),
        Err(error) => failed(Offer::default(), ClientError::answer(format!("a worker ended: {error}"))),
    }
}

/// One stream.
struct Session {
    steps: mpsc::Sender<DeliverRequest>,
    offers: Streaming<DeliverResponse>,
    lease: Duration,
    /// True while our question is not answered and no offer came since.
    quiet: bool,
}

/// What a message of the hub means to us.
enum Heard {
    Ready(Vec<String>),
    Offer(Box<Offer>),
    /// Nothing was ready when the hub read our question.
    Quiet,
    Nothing,
    End(Status),
}

impl Session {
    async fn open(desk: &Desk, credit: u32) -> Result<Self, ClientError> {
        let (steps, receiver) = mpsc::channel(STEPS);
        let agencies = desk.keys.keys().map(AgencyId::to_string).collect();
        // Both fit into a fresh channel.
        for step in [deliver_request::Step::Hello(Hello { agencies }), deliver_request::Step::Credit(credit)]
        {
            let _ = steps.send(DeliverRequest { step: Some(step) }).await;
        }
        let offers = desk.client.delivery().deliver(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { steps, offers, lease: DEFAULT_LEASE, quiet: false })
    }

    /// A closed stream tells why it closed when it is read.
    async fn step(&self, step: deliver_request::Step) {
        let _ = self.steps.send(DeliverRequest { step: Some(step) }).await;
    }

    /// Asks whether more is ready. The hub has no word for that; but it takes our steps one after the other and
    /// offers all that is ready before the next, so its refusal of this empty step comes after those offers.
    async fn ask(&mut self) {
        self.quiet = true;
        self.step(deliver_request::Step::Extend(ExtendLeaseRequest::default())).await;
    }

    fn hear(&mut self, said: Result<Option<DeliverResponse>, Status>) -> Heard {
        use deliver_response::Step;

        let step = match said {
            Ok(Some(said)) => said.step,
            Ok(None) => return Heard::End(Status::unavailable("the hub ended the session")),
            Err(status) => return Heard::End(status),
        };
        match step {
            Some(Step::Welcome(welcome)) => {
                let lease = u64::try_from(welcome.lease_us).ok().filter(|us| *us > 0);
                self.lease = lease.map_or(DEFAULT_LEASE, Duration::from_micros);
                Heard::Ready(welcome.agencies)
            }
            Some(Step::Offer(offer)) => {
                self.quiet = false;
                Heard::Offer(Box::new(offer))
            }
            Some(Step::Refused(refused)) if refused.delivery_id.is_empty() && self.quiet => Heard::Quiet,
            Some(Step::Goodbye(_)) => Heard::End(Status::unavailable("the hub is stopping")),
            Some(Step::Refused(_) | Step::Acknowledged(_) | Step::Extended(_)) | None => Heard::Nothing,
        }
    }
}
