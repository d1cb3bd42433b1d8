//! The one writer. Gathers what waits, lets the rules decide each request, makes one commit, answers everyone.

pub(super) mod actions;
mod by_hand;
mod closing;
mod counting;
mod draft;
mod erase;
mod expansion;
mod memory;
mod proposal;
mod receipt;
mod refusals;
mod register;
mod status;
mod submission;
mod told;
mod writer;

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, oneshot};

use self::{actions::Actions, expansion::Expansions, memory::Memory, writer::Writer};
pub use self::{
    by_hand::{ByHand, Turn},
    erase::{Erasing, Holding, Lifting},
    proposal::{Addition, Answer, Decision, Proof, Proposal, Rejection, Report, Submission},
    register::{import_of, quarantined},
    submission::for_information,
};
use super::{
    LogIdentity, Notice,
    bells::Bells,
    clock::Clock,
    dispatcher::Dispatcher,
    erasures::Erasures,
    lanes::{self, NotTaken, Receiver, Sender},
    meters::Meters,
    recent::Recent,
    refused::{Refused, stopping},
    steps::Steps,
};
use crate::{
    domain::{directory::Directory, reason::ReasonCode},
    store::{Store, StoreError},
};

/// Requests taken out of the queue with one lock. What comes meanwhile waits for at most so many.
const ROUND: usize = 64;

/// Where an answer goes.
pub type Reply = oneshot::Sender<Result<Answer, Refused>>;

enum Request {
    Propose(Proposal, Reply, Instant),
    Stop,
}

/// What the writer works with.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub log: Arc<LogIdentity>,
    pub directory: Arc<RwLock<Arc<Directory>>>,
    pub dispatcher: Arc<Dispatcher>,
    pub clock: Clock,
    pub feeds: Arc<Bells>,
    pub recent: Arc<Recent>,
    pub meters: Arc<Meters>,
    pub steps: Arc<Steps>,
    pub erasures: Arc<Erasures>,
    pub notices: broadcast::Sender<Notice>,
    pub max_waiting_requests: usize,
    pub max_batch_leaves: usize,
    pub max_recipients: usize,
    /// When the next action goes on by itself.
    pub actions_due: Arc<std::sync::atomic::AtomicI64>,
}

/// Handle of the writer.
pub struct Sequencer {
    requests: Sender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sequencer {
    /// The queue, and the writer that nobody moves yet.
    pub fn new(parts: Parts) -> Result<(Self, ByHand), StoreError> {
        let (requests, receiver) = lanes::lanes(parts.max_waiting_requests, ROUND);
        let expansions = Expansions::load(&*parts.store)?;
        let actions = Actions::load(&*parts.store, Arc::clone(&parts.actions_due))?;
        let memory = Memory::load(&*parts.store)?;
        let writer = Writer { parts, expansions, actions, memory, commit_took: Duration::ZERO };
        Ok((Self { requests, thread: Mutex::default() }, ByHand { writer, requests: receiver }))
    }

    /// Gives the writer a thread of its own.
    pub fn start(&self, ByHand { writer, requests }: ByHand) -> std::io::Result<()> {
        let thread =
            std::thread::Builder::new().name("truc-sequencer".into()).spawn(move || writer.run(&requests))?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Proposes and waits for the durable answer. A full queue is BUSY: that is the back-pressure.
    pub async fn propose(&self, proposal: Proposal) -> Result<Answer, Refused> {
        let (reply, answer) = oneshot::channel();
        self.put(proposal, reply);
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// The same from any thread: the answer goes to `reply`, which is dropped where the hub stops.
    pub fn put(&self, proposal: Proposal, reply: Reply) {
        let owner = proposal.owner();
        let request = Request::Propose(proposal, reply, Instant::now());
        let Err((why, Request::Propose(_, reply, _))) = self.requests.send(owner, request) else { return };
        // A caller that went away repeats.
        let _ = reply.send(Err(match why {
            NotTaken::Full => Refused::because(ReasonCode::Busy, "too many requests wait for the log"),
            NotTaken::Closed => stopping(),
        }));
    }

    /// Requests that wait for the writer.
    pub fn waiting(&self) -> usize {
        self.requests.waiting()
    }

    /// Lets waiting requests finish, then ends the thread.
    pub async fn stop(&self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.requests.close_with(Request::Stop);
        let ended = tokio::task::spawn_blocking(move || thread.join().is_ok());
        if !ended.await.unwrap_or(false) {
            tracing::error!("the sequencer did not end well");
        }
    }
}
