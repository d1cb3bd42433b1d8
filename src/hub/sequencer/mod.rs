//! The one writer. Gathers what waits, lets the rules decide each request, makes one commit, answers everyone.

pub(super) mod actions;
mod by_hand;
mod closing;
mod counting;
mod draft;
mod erase;
mod expansion;
mod receipt;
mod refusals;
mod register;
mod status;
mod submission;
mod told;

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc::RecvTimeoutError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, oneshot};

use self::{
    actions::{Actions, Asked, Taken},
    counting::Received,
    draft::Draft,
    expansion::Expansions,
    refusals::Refusals,
};
pub use self::{
    by_hand::{ByHand, Turn},
    erase::{Erasing, Holding, Lifting},
    register::{import_of, quarantined},
    submission::for_information,
};
use super::{
    LogIdentity, Notice,
    bells::Bells,
    claim::Claim,
    clock::Clock,
    dispatcher::Dispatcher,
    erasures::Erasures,
    lanes::{self, NotTaken, Owner, Receiver, Sender},
    meters::Meters,
    recent::Recent,
    refused::{Refused, stopping},
    steps::Steps,
};
use crate::{
    domain::{
        directory::Directory,
        document::{CheckedAddressing, CheckedManifest, CheckedReceipt, CheckedStatus},
        envelope::Judgement,
        id::{AgencyId, Digest, NodeName},
        reason::{Reason, ReasonCode},
    },
    proto::{self, EventKind, SignedEnvelope},
    store::{
        CommitError, Store, StoreError, Waiting,
        records::{ActionRecord, BodyRecord, ErasureRecord},
    },
};

/// After this long without work the store may do its housekeeping.
const IDLE: Duration = Duration::from_millis(20);

/// A group gathers for as long as the last commit took, within these: a slow disk is used well, and nobody waits for
/// a thousand others that flood.
const GATHER: RangeInclusive<Duration> = Duration::from_millis(4)..=Duration::from_millis(50);

/// Requests taken out of the queue with one lock. What comes meanwhile waits for at most so many.
const ROUND: usize = 64;

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
    /// Those of its parts that the node uploaded before.
    pub uploaded: Vec<Digest>,
    /// Digest under which the envelope is kept.
    pub envelope_sha256: Digest,
    /// Erasures that were known when the bodies were looked up.
    pub erasures: u64,
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
}

/// A refusal that becomes evidence.
pub struct Rejection {
    /// SUBMISSION_REJECTION or REPORT_REJECTION.
    pub event: EventKind,
    /// Node that was refused.
    pub node: NodeName,
    /// What the message says of itself.
    pub claim: Claim,
    /// Digest of what was handed in.
    pub message: Digest,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Rejection {
    /// A signed message of this node is refused.
    pub fn of(event: EventKind, node: &NodeName, envelope: &SignedEnvelope, reasons: Vec<Reason>) -> Self {
        let (claim, message) = (Claim::of(envelope), Digest::of(&envelope.payload));
        Self { event, node: node.clone(), claim, message, reasons }
    }
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
    /// Change the directory, on this person's word.
    Change(Box<proto::DirectoryChange>, Option<proto::Actor>),
    /// Add many agencies; a bad one does not stop the others.
    Import(Vec<proto::Agency>, Option<proto::Actor>),
    /// End deliveries whose deadline passed.
    Expire(Vec<Waiting>),
    /// Close a day with its digest.
    Close(Box<super::daily::Closed>),
    /// Record what auditors asked.
    Note(Box<proto::AuditQueries>),
    /// Begin what an operator asks for.
    Act(Box<Asked>),
    /// A second person approves an action, or somebody takes it back.
    Judge(Box<Taken>),
    /// Go on with actions whose time has come.
    Wake,
    /// Erase contents.
    Erase(Vec<Erasing>),
    /// Record that the bytes of erased contents are gone.
    Removed(Vec<ErasureRecord>),
    /// Place a legal hold.
    Hold(Box<Holding>),
    /// Lift one.
    Lift(Box<Lifting>),
    /// Remember how far an agency has read.
    SaveCursor(NodeName, AgencyId, u64),
}

impl Proposal {
    /// Whose turn it takes.
    fn owner(&self) -> Owner {
        let node = match self {
            Self::Submit(submission) => &submission.node,
            Self::Add(addition) => &addition.node,
            Self::Reject(rejection) => &rejection.node,
            Self::Receipt(report) => &report.node,
            Self::Status(report) => &report.node,
            Self::SaveCursor(node, ..) => node,
            Self::Change(..) | Self::Import(..) | Self::Expire(_) | Self::Note(_) | Self::Close(_) => {
                return None;
            }
            Self::Act(_) | Self::Judge(_) | Self::Wake => return None,
            Self::Erase(_) | Self::Removed(_) | Self::Hold(_) | Self::Lift(_) => return None,
        };
        Some(node.clone())
    }
}

/// A leaf with its proof, or where it is to be read: the writer reads nothing for others.
#[derive(Debug)]
pub enum Proof {
    /// Made by this group.
    Fresh(proto::Receipt),
    /// A leaf of an earlier one.
    Stored(u64),
}

/// What the writer answers.
#[derive(Debug)]
pub enum Answer {
    /// Evidence with proof; `repeat` when it was made for an earlier request.
    Receipt {
        /// The proof.
        proof: Proof,
        /// True for a repeat.
        repeat: bool,
    },
    /// Refused, with the evidence of it.
    Refused {
        /// Why.
        reasons: Vec<Reason>,
        /// The proof.
        proof: Proof,
    },
    /// Result of an import.
    Imported(proto::ImportAgenciesResponse),
    /// An action as it stands now, with the proof of what was asked.
    Acted(Box<ActionRecord>, Proof),
    /// For each document its leaf, or why it was not erased.
    Erased(Vec<Result<u64, Reason>>),
    /// Done.
    Done,
}

type Reply = oneshot::Sender<Result<Answer, Refused>>;

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
        let writer = Writer {
            parts,
            expansions,
            actions,
            refusals: Refusals::default(),
            received: Received::default(),
            commit_took: Duration::ZERO,
        };
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
        let owner = proposal.owner();
        let request = Request::Propose(proposal, reply, Instant::now());
        self.requests.send(owner, request).map_err(|refused| match refused {
            NotTaken::Full => Refused::because(ReasonCode::Busy, "too many requests wait for the log"),
            NotTaken::Closed => stopping(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
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

struct Writer {
    parts: Parts,
    expansions: Expansions,
    actions: Actions,
    refusals: Refusals,
    received: Received,
    commit_took: Duration,
}

/// What the writer does next.
enum Next {
    /// A group, which begins with this request or with an expansion alone.
    Group(Option<Request>),
    /// Nothing waits.
    Rest,
    Stop,
}

/// What a request comes to, before the commit that makes it true.
pub enum Decision {
    /// A new leaf of this draft answers it.
    New(u64),
    /// The leaf that answered the same request before.
    Known(u64),
    /// Refused; the leaf is the evidence.
    Refused(Vec<Reason>, u64),
    /// Import result.
    Imported(proto::ImportAgenciesResponse),
    /// An action, and the new leaf about it.
    Acted(Box<ActionRecord>, u64),
    /// Leaves of erasures, or why there is none.
    Erased(Vec<Result<u64, Reason>>),
    /// Nothing to prove.
    Done,
}

type Decided = Vec<(Reply, Result<Decision, Refused>)>;

impl Writer {
    fn run(mut self, requests: &Receiver<Request>) {
        let mut rested = false;
        loop {
            let stop = match self.next(requests, rested) {
                Next::Stop => return,
                Next::Rest => {
                    self.rest();
                    rested = true;
                    continue;
                }
                Next::Group(first) => self.group(first, requests),
            };
            rested = false;
            match stop {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// Waits for work.
    fn next(&mut self, requests: &Receiver<Request>, rested: bool) -> Next {
        if self.expansions.are_due() || self.actions.are_running() {
            return Next::Group(requests.try_recv());
        }
        let longest = self.actions.longest_rest(self.expansions.longest_rest());
        let wait = if rested { longest } else { IDLE };
        match requests.recv_timeout(wait) {
            Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => Next::Stop,
            Ok(request) => Next::Group(Some(request)),
            Err(RecvTimeoutError::Timeout) => Next::Rest,
        }
    }

    fn rest(&self) {
        if let Err(error) = self.parts.store.idle() {
            tracing::error!(%error, "housekeeping of the store failed");
        }
    }

    /// Nobody knows what is on disk: the process has to recover.
    fn fail(&self, error: &WriteError) {
        tracing::error!(%error, "the store failed: the hub stops and must recover");
        // No receiver means that nobody is left to tell.
        let _ = self.parts.notices.send(Notice::StoreFailed);
    }

    /// One group: everything that waits, up to the bounds, in one commit. True when it is the last.
    fn group(&mut self, first: Option<Request>, requests: &Receiver<Request>) -> Result<bool, WriteError> {
        let max = self.parts.max_batch_leaves;
        let end = self.parts.clock.monotonic() + self.commit_took.clamp(*GATHER.start(), *GATHER.end());
        self.received.trim();
        let mut draft = Draft::new(&self.parts, &mut self.refusals, &mut self.received)?;
        let mut decided: Decided = Vec::new();
        let mut stop = false;
        let mut next = first;
        while let Some(request) = next {
            let Request::Propose(proposal, reply, asked) = request else {
                stop = true;
                break;
            };
            self.parts.waited(&proposal, asked.elapsed());
            decided.push((reply, draft.decide(proposal, &mut self.expansions, &mut self.actions)));
            let room = draft.has_room(max) && decided.len() < max && self.parts.clock.monotonic() < end;
            next = room.then(|| requests.try_recv()).flatten();
        }
        self.expansions.advance(&mut draft, &self.actions, decided.len());
        self.actions.advance(&mut draft, &self.expansions);
        let done = draft.finish();
        self.finish(done, decided)?;
        Ok(stop)
    }

    fn finish(&mut self, mut done: draft::Done, decided: Decided) -> Result<(), WriteError> {
        if let Some(commit) = &done.commit {
            let began = self.parts.clock.monotonic();
            if let Err(error) = self.parts.store.commit(commit) {
                for (reply, _) in decided {
                    let _ = reply.send(Err(Refused::from(&error)));
                }
                return Err(error.into());
            }
            self.commit_took = self.parts.clock.monotonic().saturating_sub(began);
            self.parts.count(commit, &done.told, self.commit_took);
            self.publish(&mut done);
        }
        for (reply, decision) in decided {
            // A caller that went away repeats and gets the same receipt.
            let _ = reply.send(decision.map(|decision| done.answer(decision)));
        }
        Ok(())
    }

    /// Only after the commit is durable does anyone hear of it.
    fn publish(&self, done: &mut draft::Done) {
        let accepted = std::mem::take(&mut done.accepted);
        self.parts.recent.keep(accepted, done.followed());
        let Some(commit) = &done.commit else { return };
        for erasure in commit.erasures.iter().filter(|erasure| erasure.is_whole()) {
            self.parts.recent.forget(erasure.document);
        }
        self.parts.erasures.committed(&commit.erasures, &done.ended, &commit.holds);
        if let Some(directory) = &done.directory {
            *self.parts.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(directory);
        }
        self.parts.dispatcher.update(&commit.deliveries, self.parts.clock.now());
        for (recipient, document) in &done.requeued {
            self.parts.dispatcher.requeue(recipient, *document);
        }
        let heard: BTreeSet<&str> =
            commit.leaves.iter().flat_map(|leaf| &leaf.feeds).map(String::as_str).collect();
        heard.into_iter().for_each(|agency| self.parts.feeds.ring(agency));
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
