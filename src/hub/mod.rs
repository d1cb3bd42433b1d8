//! Tasks, channels, timers. One writer (`sequencer`), many handles.

pub mod bells;
pub mod blocked;
mod chores;
mod claim;
pub mod clock;
pub mod completeness;
pub mod daily;
pub mod directory;
pub mod dispatcher;
pub mod erasures;
pub mod figures;
mod follow;
pub mod gauges;
pub mod health;
pub mod intake;
mod lanes;
pub mod log_keys;
pub mod meters;
pub mod operate;
mod pages;
pub mod presence;
pub mod proofs;
pub mod query;
pub mod queue;
mod reach;
mod recent;
pub mod recipients;
pub mod refused;
pub mod report;
pub mod retention;
pub mod room;
pub mod scrub;
pub mod search;
mod sequencer;
pub mod session;
pub mod shares;
pub mod sign_in;
pub mod steps;
mod sweeper;
mod sync;
mod tiles;
pub mod transfer;
pub mod volumes;
pub mod watch;
mod why;
pub mod witness;
pub mod witnesses;
mod workers;

use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{directory::Directory, document::Limits, id::NodeName, retry::Backoff},
    store::{Store, StoreError, payload::Payload},
    tlog::note::{Signer, Verifier},
};
use bells::Bells;
use clock::Clock;
use dispatcher::Dispatcher;
use erasures::Erasures;
use health::Health;
use meters::Meters;
use recent::Recent;
use sequencer::Sequencer;
pub use sequencer::{ByHand, Turn};
use shares::Shares;
use steps::Steps;
use workers::Workers;

/// Verifying one message takes as long as committing several: a quarter as many may wait for it as for the writer, or
/// what is accepted would wait too long under overload.
const VERIFIED_SHARE: usize = 4;
const FEWEST_VERIFIED: usize = 16;

/// Memory for offers that wait for recipients who read slowly, or not at all.
const OFFERED: usize = 128 << 20;

/// Rules and bounds of this hub.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of what is submitted.
    pub limits: Limits,
    /// Bytes of parts that may come inside a Submit.
    pub max_inline_bytes: u64,
    /// How long an upload that no document uses is kept.
    pub upload_retention_us: i64,
    /// How long a session may keep an offer unanswered.
    pub lease_us: i64,
    /// Pause before the next offer after a failed one.
    pub backoff: Backoff,
    /// Largest credit of one session. It never holds more than twice as many unanswered offers.
    pub max_credit: u32,
    /// Requests that may wait for the sequencer; one more is BUSY.
    pub max_waiting_requests: usize,
    /// Leaves of one commit, fan-out not counted.
    pub max_batch_leaves: usize,
    /// Bytes of memory for documents and proofs that were committed lately.
    pub recent_bytes: usize,
    /// What operators may do.
    pub operator: operate::Rules,
}

/// The log's name and keys.
pub struct LogIdentity {
    /// First line of every checkpoint.
    pub origin: String,
    /// Signs checkpoints.
    pub signer: Signer,
}

impl LogIdentity {
    /// What everyone checks checkpoints with.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        self.signer.verifier()
    }
}

/// Something the outside of the hub has to act on.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Cut this node's connections.
    NodeRevoked(NodeName),
    /// The store failed: the process must stop and go through recovery.
    StoreFailed,
}

/// What could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored head is not one that this log key signed.
    #[error("the stored checkpoint is not signed by this log key: {0}")]
    ForeignLog(String),
    /// Witnesses cosigned more than the log has: going on would fork it.
    #[error(
        "a head of {known} leaves was cosigned, and the log has {here}: this data folder is an older copy"
    )]
    OldCopy {
        /// Leaves that were cosigned.
        known: u64,
        /// Leaves that are here.
        here: u64,
    },
    /// The log goes on with another key than this one.
    #[error("the log's key was changed at leaf {leaf}; since then it is {newest}")]
    KeyWasChanged {
        /// Where the change stands.
        leaf: u64,
        /// The key that signs now.
        newest: String,
    },
    /// A thread could not be started.
    #[error("starting the hub's threads: {0}")]
    Thread(#[from] std::io::Error),
    /// A directory change in the log can't be applied.
    #[error("directory change in leaf {leaf}: {reason}")]
    Directory {
        /// Where it stands.
        leaf: u64,
        /// What is wrong.
        reason: String,
    },
}

/// The running hub. Cheap to share; the doors call its methods.
pub struct Hub {
    store: Arc<dyn Store>,
    payload: Arc<Payload>,
    log: Arc<LogIdentity>,
    keys: log_keys::Keys,
    settings: Settings,
    clock: Clock,
    directory: Arc<RwLock<Arc<Directory>>>,
    dispatcher: Arc<Dispatcher>,
    sequencer: Sequencer,
    workers: Workers,
    chores: chores::Chores,
    /// Rings when something comes into an agency's watch.
    feeds: Arc<Bells>,
    recent: Arc<Recent>,
    erasures: Arc<Erasures>,
    retention: retention::Retention,
    integrity: scrub::Integrity,
    notices: tokio::sync::broadcast::Sender<Notice>,
    /// What is not as it should be.
    health: Arc<Health>,
    /// How full the disk was when it was looked at last.
    room: room::Seen,
    meters: Arc<Meters>,
    steps: Arc<Steps>,
    /// Bytes of offers that were built and not yet read.
    offered: Shares,
    /// Places for bundles that are read at the same time.
    bundles: Arc<tokio::sync::Semaphore>,
    /// Places for answers about completeness that nodes read at the same time.
    own_days: Arc<tokio::sync::Semaphore>,
    /// The auditors' index, where this hub keeps one.
    search: std::sync::OnceLock<search::Search>,
    /// What flows between the levels, where this hub counts it.
    figures: std::sync::OnceLock<figures::Flows>,
    /// Who cosigns this log, where somebody is asked to.
    witnesses: std::sync::OnceLock<Arc<witnesses::Witnesses>>,
    /// This hub as a witness of other logs, where it is one.
    witness: std::sync::OnceLock<Arc<witness::Witness>>,
    /// What auditors asked and the log does not hold yet.
    trace: Arc<search::trace::Trace>,
    /// Links by which people sign in to the console.
    sign_ins: sign_in::SignIns,
    /// When the next action of an operator goes on by itself.
    actions_due: Arc<std::sync::atomic::AtomicI64>,
    /// How often each operator acts.
    paces: operate::Paces,
    /// Who is connected, and who was last heard of when.
    presence: Arc<presence::Presence>,
    /// Open two-way sessions.
    sessions: std::sync::atomic::AtomicUsize,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Hub {
    /// Checks the stored head, loads directory and queues, and starts the tasks.
    pub fn start(
        store: Arc<dyn Store>,
        payload: Arc<Payload>,
        log: LogIdentity,
        settings: Settings,
        clock: Clock,
    ) -> Result<Arc<Self>, StartError> {
        let most = (settings.max_waiting_requests / VERIFIED_SHARE).max(FEWEST_VERIFIED);
        let workers = Workers::start(most, Arc::default())?;
        let (hub, writer) = Self::assemble(store, payload, log, settings, clock, workers)?;
        hub.sequencer.start(writer)?;
        Ok(hub)
    }

    /// As [`Hub::start`], but without threads: the writer works only when the caller says so. For simulations.
    pub fn start_by_hand(
        store: Arc<dyn Store>,
        payload: Arc<Payload>,
        log: LogIdentity,
        settings: Settings,
        clock: Clock,
    ) -> Result<(Arc<Self>, ByHand), StartError> {
        Self::assemble(store, payload, log, settings, clock, Workers::in_place())
    }

    fn assemble(
        store: Arc<dyn Store>,
        payload: Arc<Payload>,
        log: LogIdentity,
        settings: Settings,
        clock: Clock,
        workers: Workers,
    ) -> Result<(Arc<Self>, ByHand), StartError> {
        if log.origin != log.signer.name() {
            return Err(StartError::ForeignLog(format!("the key is named for {}", log.signer.name())));
        }
        let directory = load_directory(&*store)?;
        let keys = log_keys::Keys::load(&*store, &directory, &log)?;
        keys.check_head(&store.head())?;
        let directory = Arc::new(RwLock::new(Arc::new(directory)));
        let dispatcher = Arc::new(Dispatcher::load(&*store, settings.lease_us, settings.backoff)?);
        let feeds = Arc::new(Bells::default());
        let recent = Arc::new(Recent::new(settings.recent_bytes));
        let erasures = Arc::new(Erasures::load(&*store)?);
        let (notices, _) = tokio::sync::broadcast::channel(256);
        let log = Arc::new(log);
        let (meters, steps) = (Arc::clone(workers.meters()), Arc::new(Steps::new(clock.clone())));
        let actions_due = Arc::new(std::sync::atomic::AtomicI64::new(i64::MAX));
        let (sequencer, writer) = Sequencer::new(sequencer::Parts {
            store: Arc::clone(&store),
            log: Arc::clone(&log),
            directory: Arc::clone(&directory),
            dispatcher: Arc::clone(&dispatcher),
            clock: clock.clone(),
            feeds: Arc::clone(&feeds),
            recent: Arc::clone(&recent),
            meters: Arc::clone(&meters),
            steps: Arc::clone(&steps),
            erasures: Arc::clone(&erasures),
            notices: notices.clone(),
            max_waiting_requests: settings.max_waiting_requests,
            max_batch_leaves: settings.max_batch_leaves,
            max_recipients: settings.limits.max_recipients,
            actions_due: Arc::clone(&actions_due),
        })?;
        let presence = Arc::new(presence::Presence::new(clock.clone()));
        let hub = Arc::new(Self {
            presence,
            chores: chores::Chores::default(),
            health: Arc::new(Health::new(clock.clone())),
            room: room::Seen::default(),
            meters,
            steps,
            store,
            payload,
            log,
            keys,
            settings,
            clock,
            directory,
            dispatcher,
            sequencer,
            workers,
            feeds,
            recent,
            erasures,
            retention: retention::Retention::default(),
            integrity: scrub::Integrity::default(),
            notices,
            offered: Shares::new("bytes of offers", usize::MAX, OFFERED),
            bundles: Arc::new(tokio::sync::Semaphore::new(proofs::MAX_BUNDLES)),
            own_days: Arc::new(tokio::sync::Semaphore::new(completeness::MAX_FOR_NODES)),
            search: std::sync::OnceLock::new(),
            figures: std::sync::OnceLock::new(),
            witnesses: std::sync::OnceLock::new(),
            witness: std::sync::OnceLock::new(),
            trace: Arc::default(),
            sign_ins: sign_in::SignIns::default(),
            actions_due,
            paces: operate::Paces::default(),
            sessions: std::sync::atomic::AtomicUsize::new(0),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        sweeper::spawn(&hub);
        retention::spawn_removal(&hub);
        hub.tasks.spawn(search::trace::gather(Arc::downgrade(&hub), hub.stopping.clone()));
        Ok((hub, writer))
    }

    /// The newest directory.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The log's name and keys.
    #[must_use]
    pub fn log(&self) -> &LogIdentity {
        &self.log
    }

    /// All keys that this log ever had.
    #[must_use]
    pub fn keys(&self) -> &log_keys::Keys {
        &self.keys
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.store.head().size
    }

    /// Rules and bounds.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Who follows documents, where somebody does.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The hub's time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Who is connected, and who was last heard of when.
    #[must_use]
    pub fn presence(&self) -> &Arc<presence::Presence> {
        &self.presence
    }

    /// What the outside has to act on.
    #[must_use]
    pub fn notices(&self) -> tokio::sync::broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Cancelled when the hub begins to stop: sessions say goodbye.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Runs a task of a door; the hub waits for it when it stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Stops: sessions end, waiting commits finish, the writer ends. Nothing that was acknowledged is lost
    /// if this is never called.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.record_questions().await;
        self.sequencer.stop().await;
        if let Some(search) = self.search.get() {
            search.stop();
        }
        if let Some(flows) = self.figures.get() {
            flows.stop();
        }
    }
}

fn load_directory(store: &dyn Store) -> Result<Directory, StartError> {
    use prost::Message;

    let mut directory = Directory::default();
    for (leaf, change) in store.directory_changes()? {
        let failed = |reason: String| StartError::Directory { leaf, reason };
        let change = crate::proto::DirectoryChange::decode(change).map_err(|e| failed(e.to_string()))?;
        directory.apply(leaf, &change).map_err(|e| failed(e.to_string()))?;
    }
    Ok(directory)
}
