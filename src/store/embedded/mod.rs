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

#[cfg(test)]
impl Embedded {
    /// Lets sled fail.
    pub fn fail_index(&self) {
        self.shared.history.fail();
    }
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
        type Spoil<'a> = (&'a str, &'a dyn Fn(&Bench), bool);
        let remove = |bench: &Bench, name: &str| fs::remove_file(bench.0.path().join(name)).unwrap();
        let spoil: [Spoil<'_>; 7] = [
            ("deleted", &|bench| fs::remove_dir_all(bench.0.path().join("history")).unwrap(), false),
            (
                "without sled",
                &|bench| fs::remove_dir_all(bench.0.path().join("history/index")).unwrap(),
                false,
            ),
            ("not closed", &|bench| remove(bench, "history/index/clean"), false),
            (
                "overwritten",
                &|bench| {
                    let len = usize::try_from(fs::metadata(bench.index_file()).unwrap().len()).unwrap();
                    fs::write(bench.index_file(), vec![0xA5; len]).unwrap();
                },
                true,
            ),
            (
                "tree hashes empty",
                &|bench| fs::write(bench.0.path().join("history/nodes"), []).unwrap(),
                true,
            ),
            ("without tree hashes", &|bench| remove(bench, "history/nodes"), true),
            ("without leaf places", &|bench| remove(bench, "history/leaves"), true),
        ];
        for (how, spoil, kept_aside) in spoil {
            let bench = Bench::new();
            let edge = bench.filled(20);
            spoil(&bench);
            let opened = bench.opened().unwrap_or_else(|error| panic!("{how}: {error}"));
            assert_eq!(opened.replayed, 20, "{how}");
            assert_eq!(opened.store.head().root[..], edge.root()[..], "{how}");
            assert_eq!(opened.store.waiting(None, 100).unwrap().len(), 40, "{how}");
            assert_eq!(opened.store.documents_with_id("doc-57", 9).unwrap(), [57], "{how}");
            assert_eq!(bench.0.path().join("history.damaged-1").exists(), kept_aside, "{how}");
            let mut next = samples::accept(60);
            samples::grow(edge, &mut next);
            opened.store.commit(next).unwrap();
            assert!(opened.store.leaf(62).unwrap().is_some(), "{how}");
        }
    }

    #[test]
    fn longer_arrays_are_cut_to_what_the_index_has() {
        let bench = Bench::new();
        let edge = bench.filled(3);
        for (name, len) in [("leaves", 16), ("nodes", 32)] {
            let path = bench.0.path().join("history").join(name);
            let longer = [fs::read(&path).unwrap(), vec![7; 5 * len]].concat();
            fs::write(path, longer).unwrap();
        }
        let opened = bench.opened().unwrap();
        assert_eq!((opened.replayed, opened.rebuilt), (0, None));
        assert_eq!(opened.store.shared.leaves.len(), 9);
        assert_eq!(opened.store.shared.nodes.len(), merkle::stored_count(edge.size()));
    }

    #[test]
    fn a_failed_index_stops_the_store_and_the_next_start_rebuilds() {
        let bench = Bench::new();
        let store = bench.opened().unwrap().store;
        let mut first = samples::accept(0);
        let edge = samples::grow(Edge::empty(), &mut first);
        store.commit(first).unwrap();
        store.health().unwrap();
        store.fail_index();
        let document = crate::domain::id::Digest::of(b"unknown");
        let read = store.body(&document).unwrap_err();
        assert!(matches!(read, StoreError::Io { .. }), "not damage: it is in the journal");
        store.health().unwrap_err();
        let mut second = samples::accept(3);
        samples::grow(edge.clone(), &mut second);
        for _ in 0..2 {
            let refused = store.commit(second.clone()).unwrap_err();
            assert!(matches!(refused, CommitError::Unknown(_)));
        }
        drop(store);
        let opened = bench.opened().unwrap();
        assert!(opened.rebuilt.is_some());
        assert_eq!(opened.store.head().size, 3, "nothing was written after the failure");
        opened.store.commit(second).unwrap();
    }

    #[test]
    fn a_reader_that_meets_damage_stops_the_store() {
        let bench = Bench::new();
        let store = bench.opened().unwrap().store;
        store.health().unwrap();
        store.fail_index();
        store.health().unwrap_err();
        store.close().unwrap_err();
        assert!(bench.opened().unwrap().rebuilt.is_some());
    }

    #[test]
    fn what_replay_would_refuse_is_not_written_and_nothing_follows() {
        let bench = Bench::new();
        bench.filled(1);
        let store = bench.opened().unwrap().store;
        let mut good = samples::accept(3);
        let mut first = samples::accept(0);
        let edge = samples::grow(Edge::empty(), &mut first);
        samples::grow(edge, &mut good);
        let mut wrong = good.clone();
        wrong.nodes.pop();
        assert!(matches!(store.commit(wrong), Err(CommitError::Unknown(_))));
        assert!(matches!(store.commit(good.clone()), Err(CommitError::Unknown(_))), "the store has stopped");
        store.health().unwrap_err();
        drop(store);
        let store = bench.opened().unwrap().store;
        assert_eq!(store.head().size, 3);
        store.commit(good).unwrap();
    }

    #[test]
    fn a_place_that_names_another_leaf_is_damage() {
        let bench = Bench::new();
        bench.filled(4);
        let path = bench.0.path().join("history/leaves");
        let mut places = fs::read(&path).unwrap();
        // Leaves 0 and 3 are the acceptances of two documents, in frames of one shape.
        places.copy_within(3 * 16..4 * 16, 0);
        fs::write(path, places).unwrap();
        let store = bench.opened().unwrap().store;
        assert!(matches!(store.leaf(0), Err(StoreError::Damaged(_))));
        assert!(store.leaf(3).unwrap().is_some());
    }

    #[test]
    fn who_finds_a_document_finds_its_leaf() {
        let bench = Bench::new();
        let store = bench.opened().unwrap().store;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for index in (0..600).step_by(3) {
                    let id = format!("doc-{index}");
                    while store.documents_with_id(&id, 1).unwrap().is_empty() {}
                    assert!(store.leaf(index).unwrap().is_some(), "{id}");
                }
            });
            let mut edge = Edge::empty();
            for index in (0..600).step_by(3) {
                let mut commit = samples::accept(index);
                edge = samples::grow(edge, &mut commit);
                store.commit(commit).unwrap();
            }
        });
    }

    #[test]
    fn no_lag_at_all_is_a_lag_of_one() {
        let bench = Bench::new();
        let payload = Payload::open(&bench.0.path().join("bodies"), PayloadOptions::default()).unwrap();
        let options = EmbeddedOptions { max_index_lag: 0, ..EmbeddedOptions::new(bench.0.path()) };
        let store = Embedded::open(&options, Arc::new(payload), &mut |_| {}).unwrap().store;
        let mut edge = Edge::empty();
        for index in [0, 3, 6] {
            let mut commit = samples::accept(index);
            edge = samples::grow(edge, &mut commit);
            store.commit(commit).unwrap();
        }
        assert_eq!(store.head().size, 9);
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
