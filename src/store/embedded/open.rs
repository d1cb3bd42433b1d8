//! Start and recovery: through the same `apply` as normal work.

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
};

use super::{
    Embedded, EmbeddedOptions, Shared,
    array::FixedArray,
    check::salvage,
    close, frame,
    history::{Applied, History},
    indexer::Indexer,
    journal::{self, Frame, FramePosition, Journal, JournalError, JournalOptions, Kind},
    overlay::Overlay,
};
use crate::{
    store::{Commit, StoreError, files, files::failed, payload::Payload},
    tlog::{
        Hash,
        merkle::{self, Edge, Growth, NodeReader},
    },
};

/// Called now and then during a long replay with the number of leaves so far.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// A store that is ready, and what its start had to do.
pub struct Opened {
    /// The store.
    pub store: Embedded,
    /// Commits read from the journal and applied again.
    pub replayed: u64,
    /// Why the history index was made again, if it was.
    pub rebuilt: Option<String>,
    /// Bytes of an unfinished last frame that were cut; nobody was told of it.
    pub torn_bytes: u64,
}

impl Embedded {
    /// Opens the folder, replays what the index lacks, and rebuilds the index if it can't be trusted.
    ///
    /// A damaged journal is refused, with the documents that the damage touches.
    pub fn open(
        options: &EmbeddedOptions,
        payload: Arc<Payload>,
        progress: Progress<'_>,
    ) -> Result<Opened, StoreError> {
        fs::create_dir_all(&options.dir).map_err(failed("making the data folder"))?;
        let lock = Arc::new(lock(&options.dir)?);
        open_locked(options, &payload, &lock, progress)
    }

    /// Removes the history index and the arrays and makes them again from the journal. May be killed and called again.
    ///
    /// The journal is read first: if it is damaged, the index is left alone, since it may know what was lost.
    pub fn rebuild(
        options: &EmbeddedOptions,
        payload: Arc<Payload>,
        progress: Progress<'_>,
    ) -> Result<Opened, StoreError> {
        let lock = Arc::new(lock(&options.dir)?);
        let journal = options.journal_dir();
        if !journal::exists(&journal).map_err(failed("opening the journal"))? {
            return Err(no_journal(options));
        }
        journal::layout(&journal)?;
        journal::check(&journal, &mut |finding| match finding {
            journal::Finding::Damage(damage) => Err(refusal(options, JournalError::Damaged(damage.clone()))),
            journal::Finding::Frame(_) | journal::Finding::TornTail(_) => Ok(()),
        })?;
        discard(&options.history_dir())?;
        open_locked(options, &payload, &lock, progress)
    }
}

/// Why the projections are not used.
enum Distrust {
    /// The process was killed or the power failed: sled may look well and fail on a later read (measured).
    NotClosed,
    Damaged(String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotClosed => f.write_str("the last stop was not a clean one"),
            Self::Damaged(why) => f.write_str(why),
        }
    }
}

enum Attempt {
    Ready(Box<Opened>),
    /// The projections can't be trusted.
    Rebuild(Distrust),
}

fn open_locked(
    options: &EmbeddedOptions,
    payload: &Arc<Payload>,
    lock: &Arc<fs::File>,
    progress: Progress<'_>,
) -> Result<Opened, StoreError> {
    begin_journal(options)?;
    let why = match attempt(options, payload, lock, progress)? {
        Attempt::Ready(opened) => return Ok(*opened),
        Attempt::Rebuild(why) => why,
    };
    tracing::warn!(%why, "making the history index again from the journal");
    let history = options.history_dir();
    match why {
        Distrust::NotClosed => discard(&history)?,
        // Kept beside for a look.
        Distrust::Damaged(_) => {
            History::set_aside(&history)
                .map(drop)
                .map_err(failed("setting the damaged history index aside"))?;
        }
    }
    match attempt(options, payload, lock, progress)? {
        Attempt::Ready(opened) => Ok(Opened { rebuilt: Some(why.to_string()), ..*opened }),
        Attempt::Rebuild(why) => {
            let source = io::Error::other(why.to_string());
            Err(StoreError::Io { what: "making the history index again".into(), source })
        }
    }
}

/// Makes the journal of a new store before anything else. An index without a journal is what is left of an old
/// one: to begin an empty log in its place would hide the loss.
fn begin_journal(options: &EmbeddedOptions) -> Result<(), StoreError> {
    let dir = options.journal_dir();
    if journal::exists(&dir).map_err(failed("opening the journal"))? {
        return Ok(());
    }
    if options.history_dir().exists() {
        return Err(no_journal(options));
    }
    Journal::open(&dir, journal_options(options), None, &mut |_| Ok(())).map(drop).map_err(Into::into)
}

fn no_journal(options: &EmbeddedOptions) -> StoreError {
    let dir = options.journal_dir();
    StoreError::Damaged(format!("there is no journal in {}: bring it back from a copy", dir.display()))
}

fn journal_options(options: &EmbeddedOptions) -> JournalOptions {
    JournalOptions { segment_bytes: options.segment_bytes }
}

fn attempt(
    options: &EmbeddedOptions,
    payload: &Arc<Payload>,
    lock: &Arc<fs::File>,
    progress: Progress<'_>,
) -> Result<Attempt, StoreError> {
    let (shared, applied) = match open_history(&options.history_dir()) {
        Ok(opened) => opened,
        Err(why) => return Ok(Attempt::Rebuild(why)),
    };
    let mut shared = Arc::new(shared);
    let mut indexer = Indexer::start(Arc::clone(&shared), options.max_index_lag)
        .map_err(failed("starting the index thread"))?;
    let mut replay = Replay {
        shared: &shared,
        indexer: &indexer,
        applied,
        edge: None,
        replayed: 0,
        unusable: None,
        progress,
    };
    let from = applied.map(|applied| applied.position);
    let opened = Journal::open(&options.journal_dir(), journal_options(options), from, &mut |frame| {
        replay.visit(&frame)
    });
    let (unusable, replayed) = (replay.unusable.take(), replay.replayed);
    if let Some(why) = unusable {
        return Ok(Attempt::Rebuild(Distrust::Damaged(why)));
    }
    let (journal, recovery) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            // The clean mark stays: it is the witness that the journal was longer, should its end be missing.
            indexer.finish();
            if !indexer.failed()
                && let Err(error) = close(&mut shared)
            {
                tracing::warn!(%error, "the index could not be closed again");
            }
            return Err(refusal(options, error));
        }
    };
    let store = Embedded {
        reader: journal.reader(),
        writer: Mutex::new(journal),
        stopped: AtomicBool::new(false),
        shared,
        payload: Arc::clone(payload),
        indexer,
        _lock: Arc::clone(lock),
    };
    Ok(Attempt::Ready(Box::new(Opened {
        store,
        replayed,
        rebuilt: None,
        torn_bytes: recovery.cut.map_or(0, |tail| tail.bytes),
    })))
}

/// What the operator reads when the journal can't be used.
fn refusal(options: &EmbeddedOptions, error: JournalError) -> StoreError {
    match error {
        JournalError::Damaged(damage) => {
            let touched = salvage::touched(&options.journal_dir(), &damage);
            StoreError::Damaged(format!("{damage}; documents in it: {touched}; run `truc fsck`"))
        }
        JournalError::Store(StoreError::Damaged(what)) => {
            StoreError::Damaged(format!("{what}; run `truc fsck`"))
        }
        JournalError::Store(other) => other,
    }
}

/// Applies frames in order.
struct Replay<'a> {
    shared: &'a Shared,
    indexer: &'a Indexer,
    /// The frame that the index ends with, until it was seen.
    applied: Option<Applied>,
    /// Right edge of the tree after the last frame seen; loaded at the first one.
    edge: Option<Edge>,
    replayed: u64,
    /// Set when the journal is fine and the projections are not; the replay ends then.
    unusable: Option<String>,
    progress: Progress<'a>,
}

impl Replay<'_> {
    fn visit(&mut self, frame: &Frame<'_>) -> Result<(), StoreError> {
        if let Some(applied) = self.applied.take() {
            return self.resume(applied, frame);
        }
        if frame.kind != Kind::Commit {
            return Ok(());
        }
        if self.indexer.failed() {
            return self.distrust("sled failed while the journal was replayed");
        }
        let payload = bytes::Bytes::copy_from_slice(frame.payload);
        let (commit, layout) = frame::decode(&payload)?;
        let (edge, nodes) = grow(self.edge.take().unwrap_or_else(Edge::empty), &commit, frame.position)?;
        self.edge = Some(edge);
        let puts = self.shared.apply(frame.seq, &commit, &nodes, frame.position, &layout)?;
        self.indexer.send(frame.seq, puts, frame.position);
        self.replayed += 1;
        if self.replayed.is_multiple_of(1024) {
            (self.progress)(commit.head.size);
        }
        Ok(())
    }

    /// The frame that the index has already: it must be there, and its head must fit the arrays.
    fn resume(&mut self, applied: Applied, frame: &Frame<'_>) -> Result<(), StoreError> {
        if (frame.kind, frame.seq) != (Kind::Commit, applied.seq) {
            return self.distrust("the index ends with a frame that this journal does not have");
        }
        let payload = bytes::Bytes::copy_from_slice(frame.payload);
        let (commit, _) = frame::decode(&payload)?;
        let head = commit.head;
        let Shared { leaves, nodes, .. } = self.shared;
        let stored = merkle::stored_count(head.size);
        leaves.truncate(head.size).and_then(|()| nodes.truncate(stored)).map_err(failed("cutting arrays"))?;
        if (leaves.len(), nodes.len()) != (head.size, stored) {
            return self.distrust("leaf places or tree hashes are missing");
        }
        match Edge::load(head.size, &Nodes(nodes)) {
            Ok(edge) if edge.root()[..] == head.root[..] || head.size == 0 => self.edge = Some(edge),
            _ => return self.distrust("the stored tree hashes do not give the signed root"),
        }
        self.shared.set_head(head);
        Ok(())
    }

    /// Ends the replay; the error goes no further than to [`attempt`].
    fn distrust(&mut self, why: &str) -> Result<(), StoreError> {
        self.unusable = Some(why.into());
        Err(StoreError::Damaged(why.into()))
    }
}

/// The tree after a commit, and the hashes that it adds; the commit must extend the tree and give its signed root.
pub(super) fn grow(edge: Edge, commit: &Commit, at: FramePosition) -> Result<(Edge, Vec<Hash>), StoreError> {
    let (base, size) = (commit.base_size, edge.size());
    if base != size {
        let what = format!("the commit at {at} extends {base} leaves, the log has {size}");
        return Err(StoreError::Damaged(what));
    }
    let mut growth = Growth::new(edge);
    for leaf in &commit.leaves {
        growth.push(merkle::leaf_hash(&leaf.evidence));
    }
    if growth.size() != commit.head.size || (growth.size() > 0 && growth.root()[..] != commit.head.root[..]) {
        return Err(StoreError::Damaged(format!(
            "the leaves of the commit at {at} do not give its signed root"
        )));
    }
    Ok(growth.finish())
}

/// Tree hashes as `tlog` wants to read them.
pub(super) struct Nodes<'a>(pub &'a FixedArray<32>);

impl NodeReader for Nodes<'_> {
    type Error = StoreError;

    fn node(&self, stored_index: u64) -> Result<Hash, StoreError> {
        let node = self.0.get(stored_index)?;
        node.ok_or_else(|| StoreError::Damaged(format!("tree hash {stored_index} is missing")))
    }
}

/// Opens sled and the arrays and tells what they hold, or why they must be made again.
fn open_history(dir: &Path) -> Result<(Shared, Option<Applied>), Distrust> {
    let damaged = |error: &dyn fmt::Display| Distrust::Damaged(error.to_string());
    let index = dir.join("index");
    if !History::is_clean(&index) {
        return Err(Distrust::NotClosed);
    }
    files::make_dir(dir).map_err(|e| damaged(&e))?;
    let shared = Shared {
        head: RwLock::default(),
        overlay: RwLock::new(Overlay::default()),
        history: History::open(&index).map_err(|e| damaged(&e))?,
        leaves: FixedArray::open(&dir.join("leaves")).map_err(|e| damaged(&e))?,
        nodes: FixedArray::open(&dir.join("nodes")).map_err(|e| damaged(&e))?,
    };
    let applied = shared.history.applied().map_err(|e| damaged(&e))?;
    if applied.is_none() {
        shared.leaves.truncate(0).and_then(|()| shared.nodes.truncate(0)).map_err(|e| damaged(&e))?;
    }
    Ok((shared, applied))
}

/// Removes the projections. The clean mark goes first: half of them must not be trusted.
fn discard(dir: &Path) -> Result<(), StoreError> {
    let removed = History::distrust(&dir.join("index")).and_then(|()| match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    });
    removed.map_err(failed("removing the old history index"))
}

/// Keeps other processes out as long as the file is open.
pub(super) fn lock(dir: &Path) -> Result<fs::File, StoreError> {
    let opened = fs::File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = opened.map_err(failed("opening the lock file"))?;
    let locked = file.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is in use by a hub", dir.display()))
        }
        fs::TryLockError::Error(error) => error,
    });
    locked.map_err(failed("locking the data folder"))?;
    Ok(file)
}
