//! Start and recovery: through the same `apply` as normal work.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

use super::{
    Embedded, EmbeddedOptions, Shared,
    array::FixedArray,
    frame,
    history::History,
    indexer::Indexer,
    journal::{Frame, FramePosition, Journal, JournalOptions, Kind},
    overlay::Overlay,
};
use crate::{
    store::{Commit, StoreError, payload::Payload, records::Head},
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
    pub fn open(
        options: &EmbeddedOptions,
        payload: Arc<Payload>,
        progress: Progress<'_>,
    ) -> Result<Opened, StoreError> {
        fs::create_dir_all(&options.dir).map_err(|e| io("making the data folder", e))?;
        let lock = lock(&options.dir)?;
        match Self::try_open(options, &payload, lock, progress)? {
            Attempt::Ready(opened) => Ok(*opened),
            Attempt::Rebuild(lock, why) => {
                tracing::warn!(%why, "making the history index again from the journal");
                discard(&options.history_dir(), &why)?;
                match Self::try_open(options, &payload, lock, progress)? {
                    Attempt::Ready(opened) => Ok(Opened { rebuilt: Some(why), ..*opened }),
                    Attempt::Rebuild(_, why) => Err(StoreError::Damaged(why)),
                }
            }
        }
    }

    fn try_open(
        options: &EmbeddedOptions,
        payload: &Arc<Payload>,
        lock: fs::File,
        progress: Progress<'_>,
    ) -> Result<Attempt, StoreError> {
        let shared = match open_history(&options.history_dir()) {
            Ok(shared) => Arc::new(shared),
            Err(why) => return Ok(Attempt::Rebuild(lock, why)),
        };
        let applied = match shared.history.applied() {
            Ok(applied) => applied,
            Err(error) => return Ok(Attempt::Rebuild(lock, error.to_string())),
        };
        let indexer = Indexer::start(Arc::clone(&shared), options.max_index_lag)
            .map_err(|e| io("starting the index thread", e))?;
        let journal_options = JournalOptions { segment_bytes: options.segment_bytes };
        let mut replay = Replay {
            shared: &shared,
            indexer: &indexer,
            applied_seq: applied.as_ref().map(|applied| applied.seq),
            edge: None,
            replayed: 0,
            unusable: None,
            progress,
        };
        let from = applied.map(|applied| applied.position);
        let opened =
            Journal::open(&options.journal_dir(), journal_options, from, &mut |frame| replay.visit(&frame));
        let (unusable, replayed) = (replay.unusable.take(), replay.replayed);
        if let Some(why) = unusable {
            return Ok(Attempt::Rebuild(lock, why));
        }
        let (journal, recovery) = opened?;
        let store = Self {
            reader: journal.reader(),
            writer: Mutex::new(journal),
            shared,
            payload: Arc::clone(payload),
            indexer,
            _lock: lock,
        };
        Ok(Attempt::Ready(Box::new(Opened {
            store,
            replayed,
            rebuilt: None,
            torn_bytes: recovery.cut.map_or(0, |tail| tail.bytes),
        })))
    }
}

enum Attempt {
    Ready(Box<Opened>),
    /// The projections can't be trusted, for this reason.
    Rebuild(fs::File, String),
}

/// Applies frames in order.
struct Replay<'a> {
    shared: &'a Shared,
    indexer: &'a Indexer,
    applied_seq: Option<u64>,
    /// Right edge of the tree after the last frame seen; loaded at the first one.
    edge: Option<Edge>,
    replayed: u64,
    /// Set when the journal is fine and the projections do not fit it.
    unusable: Option<String>,
    progress: Progress<'a>,
}

impl Replay<'_> {
    fn visit(&mut self, frame: &Frame<'_>) -> Result<(), StoreError> {
        if frame.kind != Kind::Commit || self.unusable.is_some() {
            return Ok(());
        }
        let payload = bytes::Bytes::copy_from_slice(frame.payload);
        let (commit, layout) = frame::decode(&payload)?;
        if self.applied_seq.is_some_and(|applied| frame.seq <= applied) {
            return self.resume(&commit);
        }
        let nodes = self.grow(&commit, frame.position)?;
        let puts = self.shared.apply(frame.seq, &commit, &nodes, frame.position, &layout)?;
        self.indexer.send(frame.seq, puts, frame.position);
        self.replayed += 1;
        if self.replayed.is_multiple_of(1024) {
            (self.progress)(commit.head.size);
        }
        Ok(())
    }

    /// The frame that the index has already: its head must fit the arrays.
    fn resume(&mut self, commit: &Commit) -> Result<(), StoreError> {
        match Edge::load(commit.head.size, &Nodes(&self.shared.nodes)) {
            Ok(edge) if edge.root()[..] == commit.head.root[..] || commit.head.size == 0 => {
                self.edge = Some(edge);
                self.set_head(commit.head.clone());
            }
            _ => self.unusable = Some("the stored tree hashes do not give the signed root".into()),
        }
        Ok(())
    }

    fn grow(&mut self, commit: &Commit, at: FramePosition) -> Result<Vec<Hash>, StoreError> {
        let edge = self.edge.take().unwrap_or_else(Edge::empty);
        if commit.base_size != edge.size() {
            return Err(StoreError::Damaged(format!(
                "the commit at {at} extends {} leaves, the log has {}",
                commit.base_size,
                edge.size()
            )));
        }
        let mut growth = Growth::new(edge);
        for leaf in &commit.leaves {
            growth.push(merkle::leaf_hash(&leaf.evidence));
        }
        if growth.size() != commit.head.size || growth.root()[..] != commit.head.root[..] {
            return Err(StoreError::Damaged(format!(
                "the leaves of the commit at {at} do not give its signed root"
            )));
        }
        let (edge, nodes) = growth.finish();
        self.edge = Some(edge);
        Ok(nodes)
    }

    fn set_head(&self, head: Head) {
        *self.shared.head.write().unwrap_or_else(std::sync::PoisonError::into_inner) = head;
    }
}

/// Tree hashes as `tlog` wants to read them.
struct Nodes<'a>(&'a FixedArray<32>);

impl NodeReader for Nodes<'_> {
    type Error = StoreError;

    fn node(&self, stored_index: u64) -> Result<Hash, StoreError> {
        let node = self.0.get(stored_index)?;
        node.ok_or_else(|| StoreError::Damaged(format!("tree hash {stored_index} is missing")))
    }
}

/// Opens sled and the arrays, or says why they must be made again.
fn open_history(dir: &Path) -> Result<Shared, String> {
    let fresh = !dir.exists();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    fs::create_dir_all(dir).map_err(|e| text(&e))?;
    let history = History::open(&dir.join("index")).map_err(|e| text(&e))?;
    if !fresh && !history.was_clean() {
        // Sled may look well and fail on a later read (measured), so it's not asked.
        return Err("the last stop was not a clean one".into());
    }
    Ok(Shared {
        head: RwLock::default(),
        overlay: RwLock::new(Overlay::default()),
        history,
        leaves: FixedArray::open(&dir.join("leaves")).map_err(|e| text(&e))?,
        nodes: FixedArray::open(&dir.join("nodes")).map_err(|e| text(&e))?,
    })
}

/// Removes the projections, or keeps them beside for a look if they were damaged.
fn discard(dir: &Path, why: &str) -> Result<(), StoreError> {
    if why.contains("clean") {
        return fs::remove_dir_all(dir).map_err(|e| io("removing the old history index", e));
    }
    History::set_aside(dir).map(drop).map_err(|e| io("setting the damaged history index aside", e))
}

fn lock(dir: &Path) -> Result<fs::File, StoreError> {
    let path = dir.join("lock");
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| io("opening the lock file", e))?;
    file.try_lock().map_err(|_| {
        io(
            "locking the data folder",
            std::io::Error::other(format!("{} is in use by another hub", dir.display())),
        )
    })?;
    Ok(file)
}

fn io(what: &str, source: std::io::Error) -> StoreError {
    StoreError::Io { what: what.into(), source }
}
