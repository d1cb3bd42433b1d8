//! The embedded store: the journal is the truth, memory is hot, sled is history.
//!
//! A commit is one synced journal frame. What it means to readers (`apply`) goes into an overlay in memory
//! at once, and from there into sled behind the scenes; until sled has it, readers see the overlay. Sled and the
//! two arrays are projections: after an unclean stop or any damage they are made again from the journal.

mod apply;
pub mod array;
pub mod check;
mod frame;
pub mod history;
mod indexer;
pub mod journal;
mod keys;
mod open;
mod overlay;
mod query;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use apply::Place;
use array::FixedArray;
use indexer::Indexer;
use journal::{Journal, JournalReader};
pub use open::{Opened, Progress};
use overlay::Overlay;

use super::{Commit, CommitError, StoreError, files::failed, payload::Payload, records::Head};
use crate::tlog::{Hash, merkle};

/// How the embedded store is laid out.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Folder of the store; made if missing.
    pub dir: PathBuf,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// Index entries that may wait for sled before commits have to wait for it.
    pub max_index_lag: usize,
}

impl EmbeddedOptions {
    /// Defaults for a folder.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), segment_bytes: 64 * 1024 * 1024, max_index_lag: 1_000_000 }
    }

    fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    fn history_dir(&self) -> PathBuf {
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
    shared: Arc<Shared>,
    payload: Arc<Payload>,
    indexer: Indexer,
    _lock: Arc<std::fs::File>,
}

/// What readers, the writer and the indexer look at together.
struct Shared {
    head: RwLock<Head>,
    overlay: RwLock<Overlay>,
    history: history::History,
    /// Places of leaf entries, by leaf index.
    leaves: FixedArray<16>,
    /// Tree hashes, by stored index.
    nodes: FixedArray<32>,
}

impl Embedded {
    fn write(&self, commit: Commit) -> Result<(), CommitError> {
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

    fn write_next(&self, journal: &mut Journal, mut commit: Commit) -> io::Result<()> {
        replayable(&commit)?;
        // Bodies first: a commit without its bodies must not exist.
        self.payload.sync()?;
        let (payload, layout) = frame::encode(&commit);
        let (seq, position) = journal.append(&payload)?;
        let nodes = std::mem::take(&mut commit.nodes);
        let puts = self.shared.apply(seq, &commit, &nodes, position, &layout).map_err(io::Error::other)?;
        self.indexer.send(seq, puts, position);
        Ok(())
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
        if self.indexer.failed() || self.shared.history.is_damaged() {
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

    /// Makes a commit visible to readers: arrays first, then entries and head at once.
    fn apply(
        &self,
        seq: u64,
        commit: &Commit,
        nodes: &[Hash],
        frame: journal::FramePosition,
        layout: &frame::Layout,
    ) -> Result<Arc<Vec<apply::Put>>, StoreError> {
        let places: Vec<Place> = apply::leaf_places(frame, layout);
        self.leaves.append_at(commit.base_size, &places).map_err(failed("writing leaf places"))?;
        let stored = merkle::stored_count(commit.base_size);
        self.nodes.append_at(stored, nodes).map_err(failed("writing tree hashes"))?;
        let puts = apply::puts(commit, frame, layout, |key| self.get(key).map(|v| v.is_some()))?;
        let puts = Arc::new(puts);
        // Who finds an entry must find its leaf below the head.
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        overlay.insert(seq, &puts);
        self.set_head(commit.head.clone());
        Ok(puts)
    }
}

/// A commit that replay would refuse must not be written: the next start could not get past it.
fn replayable(commit: &Commit) -> io::Result<()> {
    let leaves = commit.base_size.checked_add(commit.leaves.len() as u64);
    let nodes = merkle::stored_count(commit.head.size).checked_sub(merkle::stored_count(commit.base_size));
    if leaves == Some(commit.head.size) && nodes == Some(commit.nodes.len() as u64) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "leaves, tree hashes and head of the commit do not agree",
    ))
}

fn stopped() -> StoreError {
    let source = io::Error::other("an earlier commit or sync failed");
    StoreError::Io { what: "the store has stopped".into(), source }
}

fn unknown(error: StoreError) -> CommitError {
    CommitError::Unknown(io::Error::other(error))
}

impl Embedded {
    /// Waits for the index and closes everything so that the next start replays nothing. Dropping the store does
    /// the same, but can't tell if it failed.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.shut()
    }

    /// Without the clean mark the next start rebuilds: slower, never wrong. The second call does nothing.
    fn shut(&mut self) -> Result<(), StoreError> {
        self.indexer.finish();
        let fit = self.fit();
        let sealed = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).seal();
        fit?;
        sealed.map_err(failed("sealing the journal"))?;
        close(&mut self.shared)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "not closed cleanly: the next start makes the index again");
        }
    }
}

/// Leaves the projections so that the next start trusts them. The indexer has finished its work.
fn close(shared: &mut Arc<Shared>) -> Result<(), StoreError> {
    // The indexer has ended: nobody else holds this.
    let Some(shared) = Arc::get_mut(shared) else { return Ok(()) };
    if shared.history.is_closed() {
        return Ok(());
    }
    shared.leaves.sync().and_then(|()| shared.nodes.sync()).map_err(failed("syncing the arrays"))?;
    Ok(shared.history.close()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        store::{
            Store,
            contract::{self, samples},
            payload::PayloadOptions,
        },
        tlog::merkle::Edge,
    };

    struct Bench(tempfile::TempDir);

    impl Bench {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn opened(&self) -> Result<Opened, StoreError> {
            let payload = Payload::open(&self.0.path().join("bodies"), PayloadOptions::default()).unwrap();
            let options = EmbeddedOptions { segment_bytes: 1 << 16, ..EmbeddedOptions::new(self.0.path()) };
            Embedded::open(&options, Arc::new(payload), &mut |_| {})
        }

        fn filled(&self, documents: u64) -> Edge {
            let store = self.opened().unwrap().store;
            let mut edge = Edge::empty();
            for document in 0..documents {
                let mut commit = samples::accept(document * 3);
                edge = samples::grow(edge, &mut commit);
                store.commit(commit).unwrap();
            }
            edge
        }

        fn index_file(&self) -> PathBuf {
            self.0.path().join("history/index/db")
        }
    }

    impl contract::Bench for Bench {
        fn open(&mut self) -> Arc<dyn Store> {
            Arc::new(self.opened().unwrap().store)
        }
    }

    #[test]
    fn keeps_the_contract() {
        contract::run(&mut Bench::new());
    }

    #[test]
    fn a_clean_start_replays_nothing() {
        let bench = Bench::new();
        bench.filled(20);
        let opened = bench.opened().unwrap();
        assert_eq!((opened.replayed, opened.rebuilt), (0, None));
    }

    #[test]
    fn a_deleted_or_damaged_index_is_made_again() {
        let spoil: [(&str, fn(&Bench)); 4] = [
            ("deleted", |bench| fs::remove_dir_all(bench.0.path().join("history")).unwrap()),
            ("not closed", |bench| {
                for entry in fs::read_dir(bench.0.path().join("history/index")).unwrap() {
                    let path = entry.unwrap().path();
                    if path.file_name().is_some_and(|name| name.to_string_lossy().contains("clean")) {
                        fs::remove_file(path).unwrap();
                    }
                }
            }),
            ("overwritten", |bench| {
                let len = usize::try_from(fs::metadata(bench.index_file()).unwrap().len()).unwrap();
                fs::write(bench.index_file(), vec![0xA5; len]).unwrap();
            }),
            ("without tree hashes", |bench| fs::write(bench.0.path().join("history/nodes"), []).unwrap()),
        ];
        for (how, spoil) in spoil {
            let bench = Bench::new();
            let edge = bench.filled(20);
            spoil(&bench);
            let opened = bench.opened().unwrap_or_else(|error| panic!("{how}: {error}"));
            assert_eq!(opened.replayed, 20, "{how}");
            assert_eq!(opened.store.head().root[..], edge.root()[..], "{how}");
            assert_eq!(opened.store.waiting(None, 100).unwrap().len(), 40, "{how}");
            assert_eq!(opened.store.documents_with_id("doc-57", 9).unwrap(), [57], "{how}");
        }
    }

    #[test]
    fn a_flipped_byte_in_the_journal_refuses_the_start() {
        let bench = Bench::new();
        bench.filled(20);
        let segment = bench.0.path().join("journal/00000001.seg");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[5_000] ^= 1;
        fs::write(&segment, bytes).unwrap();
        fs::remove_dir_all(bench.0.path().join("history")).unwrap();
        let Err(StoreError::Damaged(what)) = bench.opened() else { panic!("damage was not seen") };
        assert!(what.contains("segment 1"), "{what}");
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let bench = Bench::new();
        let _first = bench.opened().unwrap();
        assert!(matches!(bench.opened(), Err(StoreError::Io { .. })));
    }

    #[test]
    fn readers_see_all_of_a_long_scan() {
        let bench = Bench::new();
        bench.filled(700);
        let store = bench.opened().unwrap().store;
        assert_eq!(store.waiting(None, usize::MAX).unwrap().len(), 1_400);
        let agency = crate::domain::id::AgencyId::parse("H53.1").unwrap();
        assert_eq!(store.feed(&agency, 0, usize::MAX).unwrap(), (0..2_100).collect::<Vec<_>>());
    }
}
