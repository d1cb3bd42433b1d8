//! The one writer. Gathers what waits, lets the rules decide each request, makes one commit, answers everyone.

mod draft;
mod expansion;
mod receipt;
mod register;
pub use register::{import_of, quarantined};
mod status;
mod submission;

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{broadcast, oneshot, watch};

use self::{draft::Draft, expansion::Expansions};
use super::{LogIdentity, Notice, clock::Clock, dispatcher::Dispatcher, refused::Refused};
use crate::{
    domain::{
        directory::Directory,
        document::{CheckedAddressing, CheckedManifest, CheckedReceipt, CheckedStatus},
        envelope::Judgement,
        id::{AgencyId, Digest, DocumentName, NodeName},
        reason::{Reason, ReasonCode},
    },
    proto::{self, EventKind, SignedEnvelope},
    store::{Commit, CommitError, Store, StoreError, Waiting, records::BodyRecord},
};

/// After this long without work the store may do its housekeeping.
const IDLE: Duration = Duration::from_millis(20);

/// A verified document on its way into the log.
pub struct Submission {
    /// Node that handed it in.
    pub node: NodeName,
    /// As received.
    pub envelope: SignedEnvelope,
    /// Its checked manifest.
    pub checked: CheckedManifest,
    /// How its signatures were judged, by the directory of `as_of`.
    pub judgement: Judgement,
    /// Recipients after expansion, by the same directory.
    pub recipients: Vec<AgencyId>,
    /// Version of that directory.
    pub as_of: u64,
    /// Envelope and parts, durable or in a pack that the commit syncs.
    pub bodies: Vec<BodyRecord>,
    /// Digest under which the envelope is kept.
    pub envelope_sha256: Digest,
}

/// More recipients for an accepted document.
pub struct Addition {
    /// Node that handed it in.
    pub node: NodeName,
    /// As received.
    pub envelope: SignedEnvelope,
    /// What it asks.
    pub checked: CheckedAddressing,
    /// How its signatures were judged.
    pub judgement: Judgement,
    /// Recipients after expansion.
    pub recipients: Vec<AgencyId>,
    /// Version of the directory used.
    pub as_of: u64,
}

/// A signed message of an agency about a delivery.
pub struct Report<T> {
    /// Node that handed it in.
    pub node: NodeName,
    /// As received.
    pub envelope: SignedEnvelope,
    /// What it says.
    pub checked: T,
    /// How its signatures were judged.
    pub judgement: Judgement,
    /// Version of the directory used.
    pub as_of: u64,
}

/// A refusal that becomes evidence.
pub struct Rejection {
    /// SUBMISSION_REJECTION or REPORT_REJECTION.
    pub event: EventKind,
    /// Node that was refused.
    pub node: NodeName,
    /// The document, if it could be read that far.
    pub name: Option<DocumentName>,
    /// Digest of what was handed in.
    pub message: Digest,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What the writer is asked to do.
pub enum Proposal {
    /// Accept a document.
    Submit(Box<Submission>),
    /// Send a document to more recipients.
    Add(Box<Addition>),
    /// Record that a submission or report was refused.
    Reject(Box<Rejection>),
    /// Take a recipient's receipt.
    Receipt(Box<Report<CheckedReceipt>>),
    /// Take a business status.
    Status(Box<Report<CheckedStatus>>),
    /// Change the directory.
    Change(Box<proto::DirectoryChange>),
    /// Add many agencies; a bad one does not stop the others.
    Import(Vec<proto::Agency>),
    /// End deliveries whose deadline passed.
    Expire(Vec<Waiting>),
    /// Remember how far an agency has read.
    SaveCursor(AgencyId, u64),
}

/// What the writer answers.
#[derive(Debug)]
pub enum Answer {
    /// Evidence with proof; `repeat` when it was made for an earlier request.
    Receipt {
        /// The proof.
        receipt: proto::Receipt,
        /// True for a repeat.
        repeat: bool,
    },
    /// Result of an import.
    Imported(proto::ImportAgenciesResponse),
    /// Done.
    Done,
}

type Reply = oneshot::Sender<Result<Answer, Refused>>;

enum Request {
    Propose(Proposal, Reply),
    Stop,
}

/// What the writer works with.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub log: Arc<LogIdentity>,
    pub directory: Arc<RwLock<Arc<Directory>>>,
    pub dispatcher: Arc<Dispatcher>,
    pub clock: Clock,
    pub head: watch::Sender<u64>,
    pub notices: broadcast::Sender<Notice>,
    pub max_waiting_requests: usize,
    pub max_batch_leaves: usize,
    pub max_recipients: usize,
}

/// Handle of the writer.
pub struct Sequencer {
    requests: SyncSender<Request>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sequencer {
    /// Starts the thread.
    pub fn start(parts: Parts) -> Result<Self, super::StartError> {
        let (requests, receiver) = sync_channel(parts.max_waiting_requests);
        let expansions = Expansions::load(&*parts.store)?;
        let writer = Writer { parts, expansions };
        let thread =
            std::thread::Builder::new().name("truc-sequencer".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { requests, thread: Mutex::new(Some(thread)) })
    }

    /// Proposes and waits for the durable answer. A full queue is BUSY: that is the back-pressure.
    pub async fn propose(&self, proposal: Proposal) -> Result<Answer, Refused> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request::Propose(proposal, reply)).map_err(|error| match error {
            TrySendError::Full(_) => Refused::because(ReasonCode::Busy, "too many requests wait for the log"),
            TrySendError::Disconnected(_) => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Lets waiting requests finish, then ends the thread.
    pub async fn stop(&self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let requests = self.requests.clone();
        let ended = tokio::task::spawn_blocking(move || {
            // A send error means that the writer has ended already.
            let _ = requests.send(Request::Stop);
            thread.join().is_ok()
        });
        if !ended.await.unwrap_or(false) {
            tracing::error!("the sequencer did not end well");
        }
    }
}

fn stopping() -> Refused {
    Refused::because(
        ReasonCode::ShuttingDown,
        "the hub is stopping or recovering: connect again, then repeat",
    )
}

struct Writer {
    parts: Parts,
    expansions: Expansions,
}

/// What a request comes to, before the commit that makes it true.
enum Decision {
    /// A leaf answers it: a new one of this draft, or an old one.
    Leaf(u64),
    /// Refused; the leaf is the evidence.
    Refused(Vec<Reason>, Option<u64>),
    /// Import result.
    Imported(proto::ImportAgenciesResponse),
    /// Nothing to prove.
    Done,
}

type Decided = Vec<(Reply, Result<Decision, Refused>)>;

impl Writer {
    fn run(mut self, requests: &Receiver<Request>) {
        let mut rested = false;
        loop {
            let Some((first, stop)) = self.next(requests, &mut rested) else { continue };
            if stop {
                return;
            }
            let stop = match self.batch(first, requests) {
                Ok(stop) => stop,
                Err(error) => {
                    tracing::error!(%error, "the store failed: the hub stops and must recover");
                    // No receiver means that nobody is left to tell.
                    let _ = self.parts.notices.send(Notice::StoreFailed);
                    return;
                }
            };
            if stop {
                return;
            }
        }
    }

    /// Waits for work; `None` when there was none and the store took a rest.
    fn next(&mut self, requests: &Receiver<Request>, rested: &mut bool) -> Option<(Option<Request>, bool)> {
        if !self.expansions.is_empty() {
            *rested = false;
            return Some((requests.try_recv().ok(), false));
        }
        let wait = if *rested { Duration::from_secs(3600) } else { IDLE };
        match requests.recv_timeout(wait) {
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => Some((None, true)),
            Ok(request) => {
                *rested = false;
                Some((Some(request), false))
            }
            Err(RecvTimeoutError::Timeout) => {
                *rested = true;
                if let Err(error) = self.parts.store.idle() {
                    tracing::error!(%error, "housekeeping of the store failed");
                }
                None
            }
        }
    }

    /// One group: everything that waits, up to the bounds, in one commit.
    fn batch(&mut self, first: Option<Request>, requests: &Receiver<Request>) -> Result<bool, WriteError> {
        let mut draft = Draft::new(&self.parts)?;
        let mut decided: Decided = Vec::new();
        let mut stop = false;
        let mut next = first;
        while let Some(request) = next {
            match request {
                Request::Stop => {
                    stop = true;
                    break;
                }
                Request::Propose(proposal, reply) => {
                    let decision = draft.decide(proposal, &mut self.expansions);
                    decided.push((reply, decision));
                }
            }
            next = draft.has_room(self.parts.max_batch_leaves).then(|| requests.try_recv().ok()).flatten();
        }
        self.expansions.advance(&mut draft);
        self.finish(draft, decided)?;
        Ok(stop)
    }

    fn finish(&self, draft: Draft<'_>, decided: Decided) -> Result<(), WriteError> {
        let done = draft.finish();
        if let Some(commit) = &done.commit {
            if let Err(error) = self.parts.store.commit(commit.clone()) {
                for (reply, _) in decided {
                    let _ = reply.send(Err(Refused::from(&error)));
                }
                return Err(error.into());
            }
            self.publish(commit, &done);
        }
        for (reply, decision) in decided {
            let answer = decision.and_then(|decision| done.answer(&*self.parts.store, decision));
            // A caller that went away repeats and gets the same receipt.
            let _ = reply.send(answer);
        }
        Ok(())
    }

    /// Only after the commit is durable does anyone hear of it.
    fn publish(&self, commit: &Commit, done: &draft::Done) {
        if let Some(directory) = &done.directory {
            *self.parts.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(directory);
        }
        self.parts.dispatcher.update(&commit.deliveries, self.parts.clock.now());
        self.parts.head.send_replace(commit.head.size);
        for node in &done.revoked {
            let _ = self.parts.notices.send(Notice::NodeRevoked(node.clone()));
        }
    }
}

/// What ends the writer.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] StoreError),
}
