//! The embedded store: the journal is the truth, the index and two arrays are what it means.
//!
//! A commit is one synced journal frame. What it means to readers (`apply`) goes into the index (`index`) and the
//! arrays at once, which become durable behind the scenes. They are projections: after a crash the journal is read
//! on from the frame up to which they are durable, and after any damage they are made again from all of it.

mod apply;
pub mod array;
pub mod check;
mod frame;
pub mod index;
pub mod journal;
mod keys;
mod leaves;
mod mend;
mod open;
mod query;
mod scrub;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use apply::PLACE;
use array::FixedArray;
use frame::Layout;
use index::{Applied, Engine, Index};
use journal::{FramePosition, Journal, JournalReader};
pub use open::{Opened, Progress};

use super::{
    Commit, CommitError, StoreError, files::failed, meters::StoreMeters, payload::Payload, records::Head,
};
use crate::tlog::{Hash, merkle};

/// How the embedded store is laid out.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Folder of the store; made if missing.
    pub dir: PathBuf,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// What keeps the index.
    pub engine: Engine,
    /// Entries that may wait for an engine that lags before commits have to wait for it.
    pub max_index_lag: usize,
}

impl EmbeddedOptions {
    /// Defaults for a folder.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            segment_bytes: 64 * 1024 * 1024,
            engine: Engine::default(),
            max_index_lag: 1_000_000,
        }
    }

    fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Folder of all that can be made again from the journal.
    #[must_use]
    pub fn history_dir(&self) -> PathBuf {
        self.dir.join("history")
    }
}

/// The store over one folder. One process at a time: the folder is locked.
///
/// It stops for good at the first failure, be it of the journal or of the index: what is in memory must not grow
/// away from what is on disk. The next start recovers.
pub struct Embedded {
    writer: Mutex<Journal>,
    stopped: AtomicBool,
    reader: JournalReader,
    shared: Shared,
    payload: Arc<Payload>,
    scrubber: scrub::Scrubber,
    dir: PathBuf,
    meters: StoreMeters,
    _lock: Arc<std::fs::File>,
}

/// What readers and the writer look at together.
struct Shared {
    head: RwLock<Head>,
    index: Box<dyn Index>,
    /// Places of leaf entries, by leaf index.
    leaves: Arc<FixedArray<PLACE>>,
    /// Tree hashes, by stored index.
    nodes: Arc<FixedArray<32>>,
}

impl Embedded {
    fn write(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut journal = self.writer.lock().map_err(|_| unknown(stopped()))?;
        self.fit().map_err(unknown)?;
        let actual = self.shared.head().size;
        if commit.base_size != actual {
            return Err(CommitError::Stale { expected: commit.base_size, actual });
        }
        let written = self.write_next(&mut journal, commit);
        self.stopped.fetch_or(written.is_err(), Ordering::AcqRel);
        written.map_err(CommitError::Unknown)
    }

    fn write_next(&self, journal: &mut Journal, commit: &Commit) -> io::Result<()> {
        replayable(commit)?;
        // Bodies first: a commit without its bodies must not exist.
        let began = Instant::now();
        self.payload.sync()?;
        let (bodies_took, began) = (began.elapsed(), Instant::now());
        let mut layout = Layout::default();
        let (seq, position) = journal.append_with(|buffer| layout = frame::encode(commit, buffer))?;
        self.meters.body_syncs.took(bodies_took);
        self.meters.journal_syncs.took(began.elapsed());
        self.shared.apply(seq, commit, &commit.nodes, position, &layout).map_err(io::Error::other)
    }

    fn rest(&self) -> Result<(), CommitError> {
        let mut journal = self.writer.lock().map_err(|_| unknown(stopped()))?;
        let sealed = journal.seal();
        self.stopped.fetch_or(sealed.is_err(), Ordering::AcqRel);
        sealed.and_then(|()| journal.prepare()).map_err(CommitError::Unknown)
    }

    /// Whether commits may go on.
    fn fit(&self) -> Result<(), StoreError> {
        if self.stopped.load(Ordering::Acquire) || self.writer.is_poisoned() {
            return Err(stopped());
        }
        if !self.shared.index.is_fit() {
            let source = io::Error::other("it is made again from the journal at the next start");
            return Err(StoreError::Io { what: "the history index failed".into(), source });
        }
        Ok(())
    }
}

impl Shared {
    fn head(&self) -> Head {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_head(&self, head: Head) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// Leaves the projections so that the next start has nothing to do.
    fn close(&mut self) -> Result<(), StoreError> {
        self.leaves.sync().and_then(|()| self.nodes.sync()).map_err(failed("syncing the arrays"))?;
        Ok(self.index.close()?)
    }

    /// Makes a commit visible to readers: arrays first, then entries and head at once.
    fn apply(
        &self,
        seq: u64,
        commit: &Commit,
        nodes: &[Hash],
        position: FramePosition,
        layout: &Layout,
    ) -> Result<(), StoreError> {
        let strange =
            || StoreError::Damaged(format!("the commit at {position} names a document that is not in it"));
        let places = apply::places(commit, position, layout).ok_or_else(strange)?;
        self.leaves.append_at(commit.base_size, &places).map_err(failed("writing leaf places"))?;
        let stored = merkle::stored_count(commit.base_size);
        self.nodes.append_at(stored, nodes).map_err(failed("writing tree hashes"))?;
        let taken = |key: &[u8]| self.index.get(key).map(|value| value.is_some());
        let puts = apply::puts(commit, taken)?;
        let applied = Applied { seq, position, root: root_of(&commit.head) };
        // Who finds an entry must find its leaf below the head.
        self.index.apply(applied, puts, &mut || self.set_head(commit.head.clone()))?;
        Ok(())
    }
}

/// The root of a head; zeros before the first leaf.
fn root_of(head: &Head) -> Hash {
    head.root[..].try_into().unwrap_or_default()
}

/// A commit that replay would refuse must not be written: the next start could not get past it.
fn replayable(commit: &Commit) -> io::Result<()> {
    let leaves = commit.base_size.checked_add(commit.leaves.len() as u64);
    let nodes = merkle::stored_count(commit.head.size).checked_sub(merkle::stored_count(commit.base_size));
    let indexes = commit.documents.iter().map(|document| document.index);
    let indexes = indexes.chain(commit.lists.iter().map(|list| list.index));
    let mut indexes = indexes.chain(commit.digests.iter().map(|digest| digest.leaf));
    if leaves == Some(commit.head.size)
        && nodes == Some(commit.nodes.len() as u64)
        && indexes.all(|index| (commit.base_size..commit.head.size).contains(&index))
    {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "leaves, tree hashes, documents and head of the commit do not agree",
    ))
}

fn stopped() -> StoreError {
    let source = io::Error::other("an earlier commit or sync failed");
    StoreError::Io { what: "the store has stopped".into(), source }
}

fn unknown(error: StoreError) -> CommitError {
    CommitError::Unknown(io::Error::other(error))
}

#[cfg(test)]
impl Embedded {
    /// As if the process were killed now.
    pub fn kill(mut self) {
        self.shared.index.abandon();
    }

    /// Lets the index fail.
    pub fn fail_index(&self) {
        self.shared.index.fail();
    }
}

impl Embedded {
    /// Waits for the index and closes everything so that the next start replays nothing. Dropping the store does
    /// the same, but can't tell if it failed.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.shut()
    }

    /// Where this fails the next start reads more of the journal: slower, never wrong. The second call does nothing.
    fn shut(&mut self) -> Result<(), StoreError> {
        if self.shared.index.is_closed() {
            return Ok(());
        }
        let sealed = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).seal();
        self.fit()?;
        sealed.map_err(failed("sealing the journal"))?;
        self.shared.close()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "not closed cleanly: the next start takes longer");
        }
    }
}

#[cfg(test)]
mod tests;
