//! The embedded store: the journal is the truth, memory is hot, sled is history.
//!
//! A commit is one synced journal frame. What it means to readers (`apply`) goes into an overlay in memory
//! at once, and from there into sled behind the scenes; until sled has it, readers see the overlay. Sled and the
//! two arrays are projections: after an unclean stop or any damage they are made again from the journal.

mod apply;
pub mod array;
mod frame;
pub mod history;
mod indexer;
pub mod journal;
mod keys;
mod open;
mod overlay;
mod query;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
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
pub struct Embedded {
    writer: Mutex<Journal>,
    reader: JournalReader,
    shared: Arc<Shared>,
    payload: Arc<Payload>,
    indexer: Indexer,
    _lock: std::fs::File,
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
    fn write(&self, mut commit: Commit) -> Result<(), CommitError> {
        let mut journal = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let actual = self.shared.head().size;
        if commit.base_size != actual {
            return Err(CommitError::Stale { expected: commit.base_size, actual });
        }
        // Bodies first: a commit without its bodies must not exist.
        self.payload.sync().map_err(CommitError::Unknown)?;
        let (payload, layout) = frame::encode(&commit);
        let (seq, position) = journal.append(&payload).map_err(CommitError::Unknown)?;
        let nodes = std::mem::take(&mut commit.nodes);
        let puts = self.shared.apply(seq, &commit, &nodes, position, &layout).map_err(unknown)?;
        self.indexer.send(seq, puts, position);
        Ok(())
    }
}

impl Shared {
    fn head(&self) -> Head {
        self.head.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Makes a commit visible to readers: arrays, overlay, and the head last.
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
        let puts = apply::puts(commit, frame, layout, |key| matches!(self.get(key), Ok(Some(_))));
        let puts = Arc::new(puts);
        self.overlay.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(seq, &puts);
        *self.head.write().unwrap_or_else(std::sync::PoisonError::into_inner) = commit.head.clone();
        Ok(puts)
    }
}

fn unknown(error: StoreError) -> CommitError {
    CommitError::Unknown(std::io::Error::other(error))
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.indexer.finish();
        let sealed = self.writer.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).seal();
        // The indexer has ended: nobody else holds this. Without the clean mark the next start rebuilds:
        // slower, never wrong.
        let Some(shared) = Arc::get_mut(&mut self.shared) else { return };
        let arrays = shared.leaves.sync().and_then(|()| shared.nodes.sync());
        if sealed.is_err() || arrays.is_err() || self.indexer.failed() {
            return;
        }
        if let Err(error) = shared.history.close() {
            tracing::warn!(%error, "the history index could not be closed cleanly");
        }
    }
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
        type Spoil = (&'static str, fn(&Bench));
        let spoil: [Spoil; 4] = [
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
