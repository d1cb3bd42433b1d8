//! The tree with the memory before it: one writer, many readers, one thread that writes full tables, one that merges
//! files.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, Config, Guard as _, SeqNo, SequenceNumberCounter, compaction::Leveled,
    config::PinningPolicy,
};

use super::{
    super::{Engine, merge, panic_text},
    Applied, Damage, Entry, Mark, Put, RESERVED, SealedFile, Sync, disk,
    table::Table,
};
use crate::store::{embedded::keys, files};

/// A table that takes this much memory is full.
const TABLE_BYTES: usize = if cfg!(test) { 64 << 10 } else { 36 << 20 };
/// It is full as well when the journal went on by so many segments: that bounds what a start reads.
const TABLE_SEGMENTS: u32 = 2;
/// So many files are merged at once into the rest: each merge rewrites all that the rest has, so few and large ones
/// cost least, and every one of them costs a look-up that finds nothing a fifth of a microsecond.
const MERGE_AT: u8 = 6;
/// Size of merged files, which times the number above is also that of the first level of them.
const FILE_BYTES: u64 = 128 << 20;
/// Longer keys can't be in the files, which refuse even the question.
pub(super) const MAX_KEY: usize = u16::MAX as usize;
/// Unmerged files that may lie there before the writing of tables waits for merging.
const MAX_UNMERGED: usize = 24;
/// Cache of file blocks; small, because hot state lives elsewhere.
const CACHE_BYTES: u64 = 48 << 20;
/// Entries written between two offers of the processor to others: some twenty microseconds.
const YIELD_EVERY: usize = 64;
const APPLIED: [u8; 1] = [RESERVED];
/// The newest leaf that an entry of a watch in the files is about.
const NEWEST_FEED: [u8; 2] = [RESERVED, b'f'];
/// Whoever reads the tree looks at the newest that its files hold.
const NEWEST: SeqNo = SeqNo::MAX;

/// The tree and what its writer, its readers and its two threads share.
pub struct Inner {
    tree: AnyTree,
    dir: PathBuf,
    mark: PathBuf,
    sync: Sync,
    memory: RwLock<Memory>,
    work: Mutex<Work>,
    changed: Condvar,
    failed: AtomicBool,
    /// Entries of watches in the files are about no later leaf. Who watches reads on behind it, from memory alone.
    newest_feed: AtomicU64,
}

/// What the files do not have yet.
#[derive(Default)]
struct Memory {
    active: Table,
    /// Is being written into files.
    full: Option<Arc<Full>>,
    newest: Option<Applied>,
    /// The newest frame that is not in the active table.
    before: Option<Applied>,
}

/// A table that takes nothing more.
struct Full {
    table: Table,
    upto: Applied,
}

#[derive(Default)]
struct Work {
    /// Newly written files wait to be merged.
    unmerged: bool,
    /// Files that lie over each other.
    runs: usize,
    stop: bool,
}

impl Inner {
    /// Opens or makes the tree in `dir`.
    pub fn open(dir: &Path, mark: &Path, sync: Sync) -> Result<Self, Damage> {
        Ok(Self {
            tree: open_tree(dir)?,
            dir: dir.to_owned(),
            mark: mark.to_owned(),
            sync,
            memory: RwLock::default(),
            work: Mutex::default(),
            changed: Condvar::new(),
            failed: AtomicBool::new(false),
            newest_feed: AtomicU64::new(u64::MAX),
        })
    }

    /// Finds out which frame the files end with.
    pub fn begin(&self) -> Result<Option<Applied>, Damage> {
        let bytes = self.guarded(|tree| tree.get(APPLIED, NEWEST))?;
        let unreadable = || self.damage("what was applied is unreadable".into());
        let newest = bytes.map(|bytes| Applied::decode(&bytes).ok_or_else(unreadable)).transpose()?;
        let feed = self.guarded(|tree| tree.get(NEWEST_FEED, NEWEST))?;
        // Files of before do not tell: they are always looked at.
        let unknown = if newest.is_some() { u64::MAX } else { 0 };
        let feed = feed.and_then(|bytes| keys::number(&bytes)).unwrap_or(unknown);
        self.newest_feed.store(feed, Ordering::Release);
        *self.memory_mut() = Memory { newest, before: newest, ..Memory::default() };
        Ok(newest)
    }

    /// See [`Index::apply`](super::Index::apply).
    pub fn write(&self, applied: Applied, puts: Vec<Put>, publish: &mut dyn FnMut()) -> Result<(), Damage> {
        self.make_room(&applied)?;
        let mut memory = self.memory_mut();
        puts.iter().for_each(|(key, value)| memory.active.put(key, value.as_deref()));
        memory.newest = Some(applied);
        publish();
        Ok(())
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let hot = self.memory().tables().find_map(|table| table.get(key));
        match hot {
            // What failed must not answer half.
            Some(value) => self.sound().map(|()| value),
            None if key.len() > MAX_KEY => Ok(None),
            None => self.guarded(|tree| Ok(tree.get(key, NEWEST)?.map(|value| value.to_vec()))),
        }
    }

    /// Entries from `from` on that begin with `prefix`, which ends before `end`.
    pub fn scan(
        &self,
        from: &[u8],
        prefix: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Damage> {
        merge::scan(from, limit, |from, page| {
            // Memory first: what goes into files in between is then seen twice, never missed.
            let mut layers: Vec<_> =
                self.memory().tables().map(|table| table.scan(from, prefix, page)).collect();
            if !self.is_behind_files(from, prefix) {
                layers.push(self.guarded(|tree| page_of(tree, from, end, page))?);
            }
            Ok(layers)
        })
    }

    /// True for an agency's watch from a leaf on that no file knows of yet. To be asked after memory was read.
    fn is_behind_files(&self, from: &[u8], prefix: &[u8]) -> bool {
        let leaf = keys::feed_leaf(from).filter(|_| keys::is_grouped(prefix) && from.starts_with(prefix));
        leaf.is_some_and(|leaf| leaf > self.newest_feed.load(Ordering::Acquire))
    }

    /// Compares all files with their checksums.
    pub fn verify(&self) -> Result<(), Damage> {
        for SealedFile { path, checksum } in self.sealed()? {
            let name = path.display();
            let found = disk::hash(&path);
            let found = found.map_err(|error| self.damage(format!("reading its file {name}: {error}")))?;
            if found != checksum {
                return Err(self.damage(format!("its file {name} is not what was written")));
            }
        }
        Ok(())
    }

    /// The files of the newest tree.
    pub fn sealed(&self) -> Result<Vec<SealedFile>, Damage> {
        let tables = self.dir.join("tables");
        self.guarded(|tree| {
            let version = tree.current_version();
            let files = version.iter_tables().map(|file| SealedFile {
                path: tables.join(file.id().to_string()),
                checksum: file.checksum().into_u128(),
            });
            Ok(files.collect())
        })
    }

    /// Writes everything into files, once the threads have ended.
    pub fn flush_all(&self) -> Result<(), Damage> {
        self.sound()?;
        self.flush()?;
        self.turn_over();
        self.flush()
    }

    /// Tells the threads to end.
    pub fn end(&self) {
        self.work().stop = true;
        self.changed.notify_all();
    }

    /// False once it failed.
    pub fn is_sound(&self) -> bool {
        !self.failed.load(Ordering::Acquire)
    }

    /// Fails for good: the next start must not trust what is on disk.
    pub fn damage(&self, why: String) -> Damage {
        if let Err(error) = files::remove_if_there(&self.mark) {
            tracing::error!(%error, "the index is damaged, and its mark can't be removed: run `truc rebuild`");
        }
        self.stop(why)
    }

    /// Waits for a full table and writes it. False at the end.
    pub fn flush_next(&self) -> bool {
        let mut work = self.work();
        while self.memory().full.is_none() && !work.stop {
            work = self.wait(work);
        }
        if work.stop {
            return false;
        }
        drop(work);
        if self.flush().is_err() {
            return false;
        }
        if self.count_files(true).is_err() {
            return false;
        }
        let mut work = self.work();
        while !work.stop && self.is_sound() && work.runs > MAX_UNMERGED {
            work = self.wait(work);
        }
        true
    }

    /// Waits for files to merge and merges them. False at the end.
    pub fn merge_next(&self) -> bool {
        let mut work = self.work();
        while !work.unmerged && !work.stop {
            work = self.wait(work);
        }
        if work.stop {
            return false;
        }
        work.unmerged = false;
        drop(work);
        while self.merge().is_ok_and(|merged| merged) && self.count_files(false).is_ok() && !self.work().stop
        {
        }
        self.is_sound()
    }

    /// Notes how many files wait to be merged.
    fn count_files(&self, unmerged: bool) -> Result<(), Damage> {
        let runs = self.guarded(|tree| Ok(tree.l0_run_count()))?;
        let mut work = self.work();
        work.runs = runs;
        work.unmerged |= unmerged;
        self.changed.notify_all();
        Ok(())
    }

    /// Closes the table if it is full. Waits while the one before is still being written.
    fn make_room(&self, next: &Applied) -> Result<(), Damage> {
        self.sound()?;
        if !self.memory().is_full(next) {
            return Ok(());
        }
        let mut work = self.work();
        while self.memory().full.is_some() {
            self.sound()?;
            work = self.wait(work);
        }
        drop(work);
        self.turn_over();
        self.tell();
        Ok(())
    }

    fn turn_over(&self) {
        let mut memory = self.memory_mut();
        if let Some(upto) = memory.newest.filter(|_| memory.newest != memory.before) {
            let next = memory.active.successor();
            let table = std::mem::replace(&mut memory.active, next);
            memory.before = Some(upto);
            memory.full = Some(Arc::new(Full { table, upto }));
        }
    }

    /// Writes the full table into files: whole frames, and only after what they point to is durable.
    fn flush(&self) -> Result<(), Damage> {
        let Some(full) = self.memory().full.clone() else { return Ok(()) };
        (self.sync)().map_err(|error| self.stop(format!("syncing the arrays: {error}")))?;
        let newest_feed = self.newest_feed.load(Ordering::Acquire).max(full.table.newest_feed());
        self.guarded(|tree| write_files(tree, &full, newest_feed))?;
        // Before the table goes: nobody may find its entries in neither place.
        self.newest_feed.store(newest_feed, Ordering::Release);
        self.memory_mut().full = None;
        self.tell();
        let written = Mark { applied: Some(full.upto) }.write(&self.mark);
        written.map_err(|error| self.stop(format!("writing the mark: {error}")))
    }

    /// One step of merging; false if there was nothing to do.
    fn merge(&self) -> Result<bool, Damage> {
        self.guarded(|tree| {
            let before = tree.current_version().id();
            // Readers hold the files that they look at, so nobody needs older values of a key.
            let plan = Leveled::default().with_l0_threshold(MERGE_AT).with_table_target_size(FILE_BYTES);
            tree.compact(Arc::new(plan), NEWEST)?;
            Ok(tree.current_version().id() != before)
        })
    }

    /// Calls the tree, unless it failed before. Any failure is for good.
    fn guarded<T>(&self, work: impl FnOnce(&AnyTree) -> lsm_tree::Result<T>) -> Result<T, Damage> {
        self.sound()?;
        match catch_unwind(AssertUnwindSafe(|| work(&self.tree))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_full_disk(&error) => Err(self.stop(error.to_string())),
            Ok(Err(error)) => Err(self.damage(error.to_string())),
            Err(panic) => Err(self.damage(panic_text(Engine::Fjall, &*panic))),
        }
    }

    fn sound(&self) -> Result<(), Damage> {
        if self.is_sound() { Ok(()) } else { Err(Damage("it failed before".into())) }
    }

    /// Fails for good; what is on disk stays right.
    fn stop(&self, why: String) -> Damage {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(why, "the history index failed: the store stops, the next start makes it good");
        }
        self.tell();
        Damage(why)
    }

    /// Wakes who waits. The lock is taken so that nobody is between looking and waiting.
    fn tell(&self) {
        drop(self.work());
        self.changed.notify_all();
    }

    fn wait<'a>(&self, work: MutexGuard<'a, Work>) -> MutexGuard<'a, Work> {
        self.changed.wait(work).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory_mut(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Newest first.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        std::iter::once(&self.active).chain(self.full.iter().map(|full| &full.table))
    }

    fn is_full(&self, next: &Applied) -> bool {
        let began = self.before.map_or(0, |applied| applied.position.segment);
        let segments = next.position.segment.saturating_sub(began);
        self.active.bytes() >= TABLE_BYTES || segments >= TABLE_SEGMENTS
    }
}

fn page_of(tree: &AnyTree, from: &[u8], end: Option<&[u8]>, page: usize) -> lsm_tree::Result<Vec<Put>> {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    // Bounded: behind the prefix there may lie any number of removed entries.
    let begin = if from.len() > MAX_KEY { Excluded(&from[..MAX_KEY]) } else { Included(from) };
    let bounds = (begin, end.map_or(Unbounded, Excluded));
    let entries = tree.range::<&[u8], _>(bounds, NEWEST, None).take(page);
    entries.map(|entry| entry.into_inner().map(|(key, value)| (key.to_vec(), Some(value.to_vec())))).collect()
}

/// All of the table at once, with the frame that it ends with.
fn write_files(tree: &AnyTree, full: &Full, newest_feed: u64) -> lsm_tree::Result<()> {
    let mut files = tree.ingestion()?;
    files.write(APPLIED, full.upto.encode())?;
    files.write(NEWEST_FEED, newest_feed.to_be_bytes())?;
    for (written, (key, value)) in full.table.entries().enumerate() {
        // Commits go first: nobody waits for these files.
        if written % YIELD_EVERY == 0 {
            std::thread::yield_now();
        }
        match value {
            Some(value) => files.write(key, value)?,
            None => files.write_tombstone(key)?,
        }
    }
    files.finish()
}

fn open_tree(dir: &Path) -> Result<AnyTree, Damage> {
    let seqno = SequenceNumberCounter::default();
    // In pieces from the first merged level on: the filter of a large file is megabytes, and once it does not fit into
    // the cache every question would read it whole.
    let in_pieces = PinningPolicy::new([false, true]);
    let config = Config::new(dir, seqno.clone(), SequenceNumberCounter::default())
        .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
        .filter_block_partitioning_policy(in_pieces.clone())
        .index_block_partitioning_policy(in_pieces);
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let tree = config.open()?;
        seqno.fetch_max(tree.get_highest_seqno().map_or(0, |highest| highest + 1));
        Ok(tree)
    }));
    match opened {
        Ok(Ok(tree)) => Ok(tree),
        Ok::<lsm_tree::Result<_>, _>(Err(error)) => Err(Damage(format!("opening: {error}"))),
        Err(panic) => Err(Damage(panic_text(Engine::Fjall, &*panic))),
    }
}

/// A full disk harms nothing that is there.
fn is_full_disk(error: &lsm_tree::Error) -> bool {
    let lsm_tree::Error::Io(error) = error else { return false };
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
