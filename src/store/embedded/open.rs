//! Start and recovery: through the same `apply` as normal work.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
    time::Duration,
};

use super::{
    Embedded, EmbeddedOptions, Shared,
    array::FixedArray,
    check::salvage,
    frame,
    index::{self, Applied, Distrust},
    journal::{self, Frame, FramePosition, Journal, JournalError, JournalOptions, Kind},
    root_of, scrub,
};
use crate::{
    store::{Commit, StoreError, files, files::failed, payload::Payload},
    tlog::{
        Hash,
        merkle::{self, Edge, Growth, NodeReader},
    },
};

/// A folder in use is tried so often, with so long a pause: a second in all.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

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
        index::discard(&options.history_dir()).map_err(failed("removing the old history index"))?;
        open_locked(options, &payload, &lock, progress)
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
    let cleared = match why {
        Distrust::Stale(_) => index::discard(&history),
        // Kept beside for a look.
        Distrust::Damaged(_) => index::set_aside(&history).map(drop),
    };
    cleared.map_err(failed("clearing the old history index away"))?;
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
    let mut shared = match open_history(options) {
        Ok(opened) => opened,
        Err(why) => return Ok(Attempt::Rebuild(why)),
    };
    let applied = shared.index.applied();
    let mut replay = Replay { shared: &shared, applied, edge: None, replayed: 0, unusable: None, progress };
    let from = applied.map(|applied| (applied.position, applied.seq));
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
            // The mark stays: it is the witness that the journal was longer, should its end be missing.
            if shared.index.is_fit()
                && let Err(error) = shared.close()
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
        scrubber: scrub::Scrubber::open(&options.dir),
        dir: options.dir.clone(),
        meters: super::StoreMeters::default(),
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
        if !self.shared.index.is_fit() {
            return self.distrust("the index failed while the journal was replayed");
        }
        let payload = bytes::Bytes::copy_from_slice(frame.payload);
        let (commit, layout) = frame::decode(&payload).map_err(|error| error.within(frame.position))?;
        let (edge, nodes) = grow(self.edge.take().unwrap_or_else(Edge::empty), &commit, frame.position)?;
        self.edge = Some(edge);
        if let Err(error) = self.shared.apply(frame.seq, &commit, &nodes, frame.position, &layout) {
            return if self.shared.index.is_fit() { Err(error) } else { self.distrust(&error.to_string()) };
        }
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
        let (commit, _) = frame::decode(&payload).map_err(|error| error.within(frame.position))?;
        let head = commit.head;
        if root_of(&head) != applied.root {
            return self.distrust("the index is of another log");
        }
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

/// Opens the arrays and the index, or tells why they must be made again.
fn open_history(options: &EmbeddedOptions) -> Result<Shared, Distrust> {
    let dir = options.history_dir();
    let damaged = |error: io::Error| Distrust::Damaged(error.to_string());
    files::make_dir(&dir).map_err(damaged)?;
    let leaves = Arc::new(FixedArray::open(&dir.join("leaves")).map_err(damaged)?);
    let nodes = Arc::new(FixedArray::open(&dir.join("nodes")).map_err(damaged)?);
    let sync: index::Sync = {
        let (leaves, nodes) = (Arc::clone(&leaves), Arc::clone(&nodes));
        Arc::new(move || leaves.sync().and_then(|()| nodes.sync()))
    };
    let index = options.engine.open(&dir, options.max_index_lag, sync)?;
    if index.applied().is_none() {
        leaves.truncate(0).and_then(|()| nodes.truncate(0)).map_err(damaged)?;
    }
    Ok(Shared { head: RwLock::default(), index, leaves, nodes })
}

/// Keeps other processes out as long as the file is open. One that ends at this moment is waited for, and so is a child
/// that was begun by a process with the folder open and has not closed its copy yet.
pub(super) fn lock(dir: &Path) -> Result<fs::File, StoreError> {
    let opened = fs::File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let file = opened.map_err(failed("opening the lock file"))?;
    let mut tries = 1..=LOCK_TRIES;
    let locked = loop {
        match file.try_lock() {
            Ok(()) => break Ok(()),
            Err(fs::TryLockError::Error(error)) => break Err(error),
            Err(fs::TryLockError::WouldBlock) if tries.next().is_some() => std::thread::sleep(LOCK_PAUSE),
            Err(fs::TryLockError::WouldBlock) => {
                let in_use = format!("{} is in use by a hub", dir.display());
                break Err(io::Error::new(io::ErrorKind::ResourceBusy, in_use));
            }
        }
    };
    locked.map_err(failed("locking the data folder"))?;
    Ok(file)
}
