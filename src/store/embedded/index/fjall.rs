//! The index in an LSM tree: fjall's, without fjall's own log. Our journal is that log: what the tree has in memory
//! only is replayed from there, so a commit costs no second write.
//!
//! Entries go straight into the tree's memory table. When that is full it is turned over: a thread writes it into
//! files, durably and at once as a whole, and then writes the mark. A second thread merges files. So the tree on disk
//! is always the state after one frame, and after a power cut the journal is read from that frame on.

use std::{
    fs, io,
    ops::Bound,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, Guard as _, SeqNo, SequenceNumberCounter, compaction::Leveled,
};

use super::{Applied, Damage, Distrust, Engine, Entry, Index, Put, RESERVED, Sync, mark::Mark, panic_text};
use crate::store::files;

/// The memory table is turned over when its entries weigh this much; the tree's own count, about half of what they
/// take in memory.
const TABLE_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 24 << 20 };
/// It is turned over as well when the journal went on by so many segments: that bounds what a start reads.
const TABLE_SEGMENTS: u32 = 2;
/// Full tables that may wait to be written before commits wait for them.
const MAX_SEALED: usize = 2;
/// Unmerged files that may lie there before the writing of tables waits for merging.
const MAX_UNMERGED: usize = 24;
/// Cache of file blocks; small, because hot state lives elsewhere.
const CACHE_BYTES: u64 = 32 << 20;
const APPLIED: [u8; 1] = [RESERVED];

/// See the module.
pub struct Fjall {
    inner: Arc<Inner>,
    applied: Option<Applied>,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

struct Inner {
    tree: AnyTree,
    dir: PathBuf,
    mark: PathBuf,
    sync: Sync,
    /// Numbers of batches and of the tree's versions.
    seqno: SequenceNumberCounter,
    /// Readers see what is below. Held for writing while a commit is published.
    visible: RwLock<SeqNo>,
    /// Held by every reader, so that old versions go only when nobody looks at them any more.
    readers: RwLock<()>,
    writer: Mutex<Writer>,
    work: Mutex<Work>,
    changed: Condvar,
    damaged: AtomicBool,
}

/// What the tree holds, in memory or on disk.
struct Writer {
    newest: Option<Applied>,
    /// Segment of the journal in which the memory table began.
    began: u32,
}

/// What the threads do next.
#[derive(Default)]
struct Work {
    /// A full table waits to be written.
    full: bool,
    /// The newest frame in full tables and on disk.
    upto: Option<Applied>,
    /// Newly written files wait to be merged.
    unmerged: bool,
    stop: bool,
}

impl Fjall {
    /// Opens or makes the tree in `dir`. `mark` is the witness of how far it was durable.
    pub fn open(dir: &Path, mark: &Path, sync: Sync) -> Result<Self, Distrust> {
        let io = |error: io::Error| Distrust::Damaged(format!("opening: {error}"));
        let fresh = !dir.exists();
        if fresh {
            // The mark first: a tree without one has lost it.
            Mark { applied: None }.write(mark).map_err(io)?;
            files::make_dir(dir).map_err(io)?;
        }
        let Some(marked) = Mark::read(mark) else {
            return Err(Distrust::Damaged("its mark is missing or damaged".into()));
        };
        manifest(dir).map_err(io)?;
        let (tree, seqno) = open_tree(dir)?;
        let mut opened = Self::over(tree, seqno, dir, mark, sync);
        opened.applied = opened.read_applied()?;
        let (has, was) = (opened.applied, marked.applied);
        if has.map(|applied| applied.seq) < was.map(|applied| applied.seq) {
            return Err(Distrust::Damaged(
                "it is older than its mark: another copy was put in its place".into(),
            ));
        }
        if has.map(|applied| applied.seq) == was.map(|applied| applied.seq) && has != was {
            return Err(Distrust::Damaged("it does not fit its mark".into()));
        }
        let began = has.map_or(0, |applied| applied.position.segment);
        *opened.inner.writer() = Writer { newest: has, began };
        opened.inner.work().upto = has;
        opened.start().map_err(io)?;
        Ok(opened)
    }

    fn over(tree: AnyTree, seqno: SequenceNumberCounter, dir: &Path, mark: &Path, sync: Sync) -> Self {
        let inner = Inner {
            tree,
            dir: dir.to_owned(),
            mark: mark.to_owned(),
            sync,
            visible: RwLock::new(seqno.get()),
            seqno,
            readers: RwLock::default(),
            writer: Mutex::new(Writer { newest: None, began: 0 }),
            work: Mutex::default(),
            changed: Condvar::new(),
            damaged: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), applied: None, threads: Vec::new(), closed: false }
    }

    fn read_applied(&self) -> Result<Option<Applied>, Damage> {
        let bytes = self.inner.read(|tree, at| tree.get(APPLIED, at))?;
        let unreadable = || self.inner.damage("what was applied is unreadable".into());
        bytes.map(|bytes| Applied::decode(&bytes).ok_or_else(unreadable)).transpose()
    }

    fn start(&mut self) -> io::Result<()> {
        let jobs: [(&str, fn(&Inner) -> bool); 2] =
            [("truc-index", Inner::flush_next), ("truc-merge", Inner::merge_next)];
        for (name, job) in jobs {
            let inner = Arc::clone(&self.inner);
            let thread = std::thread::Builder::new().name(name.into());
            self.threads.push(thread.spawn(move || while job(&inner) {})?);
        }
        Ok(())
    }

    fn end_threads(&mut self) {
        self.inner.work().stop = true;
        self.inner.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in the tree was caught, and has marked it as damaged.
            let _ = thread.join();
        }
    }
}

impl Index for Fjall {
    fn apply(&self, applied: Applied, puts: Vec<Put>, publish: &mut dyn FnMut()) -> Result<(), Damage> {
        let mut writer = self.inner.writer();
        if self.inner.is_full(&writer, &applied)? {
            self.inner.turn_over(&mut writer, applied.position.segment)?;
        }
        let batch = self.inner.seqno.next();
        self.inner.guarded(|tree| {
            for (key, value) in puts {
                match value {
                    Some(value) => tree.insert(key, value, batch),
                    None => tree.remove(key, batch),
                };
            }
            Ok(())
        })?;
        writer.newest = Some(applied);
        self.inner.publish(batch + 1, publish);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        if key.first().is_none_or(|first| *first == RESERVED) {
            return Ok(None);
        }
        self.inner.read(|tree, at| Ok(tree.get(key, at)?.map(|value| value.to_vec())))
    }

    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<Entry>, Damage> {
        let start = from.max(prefix).max(&[RESERVED + 1]).to_vec();
        let end = end_of(prefix);
        if end.as_ref().is_some_and(|end| *end <= start) {
            return Ok(Vec::new());
        }
        // Both ends: to find out that nothing follows, the tree would walk over all that was removed behind it.
        let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        self.inner.read(|tree, at| {
            let entries = tree.range(bounds, at, None).take(limit);
            entries
                .map(|entry| entry.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        })
    }

    fn applied(&self) -> Option<Applied> {
        self.applied
    }

    fn is_fit(&self) -> bool {
        !self.inner.damaged.load(Ordering::Acquire)
    }

    fn verify(&self) -> Result<(), Damage> {
        let expected = self.inner.guarded(|tree| {
            Ok(tree
                .current_version()
                .iter_tables()
                .map(|table| (table.id(), table.checksum().into_u128()))
                .collect::<Vec<_>>())
        })?;
        for (id, checksum) in expected {
            let found = hash(&self.inner.dir.join("tables").join(id.to_string()));
            let found =
                found.map_err(|error| self.inner.damage(format!("reading its file {id}: {error}")))?;
            if found != checksum {
                return Err(self.inner.damage(format!("its file {id} is not what was written")));
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Damage> {
        self.end_threads();
        let mut writer = self.inner.writer();
        self.inner.turn_over(&mut writer, 0)?;
        drop(writer);
        self.inner.flush()?;
        self.closed = true;
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    #[cfg(test)]
    fn fail(&self) {
        self.inner.damage("by a test".into());
    }

    #[cfg(test)]
    fn abandon(&mut self) {
        self.end_threads();
        self.closed = true;
    }
}

impl Drop for Fjall {
    fn drop(&mut self) {
        self.end_threads();
    }
}

impl Inner {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the tree, unless it failed before. Any failure is damage.
    fn guarded<T>(&self, work: impl FnOnce(&AnyTree) -> lsm_tree::Result<T>) -> Result<T, Damage> {
        if self.damaged.load(Ordering::Acquire) {
            return Err(Damage("it failed before".into()));
        }
        match catch_unwind(AssertUnwindSafe(|| work(&self.tree))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if is_full_disk(&error) => Err(self.stop(error.to_string())),
            Ok(Err(error)) => Err(self.damage(error.to_string())),
            Err(panic) => Err(self.damage(panic_text(Engine::Fjall, &*panic))),
        }
    }

    /// The next start must not trust what is on disk.
    fn damage(&self, why: String) -> Damage {
        if let Err(error) = files::remove_if_there(&self.mark) {
            tracing::error!(%error, "the index is damaged, and its mark can't be removed: run `truc rebuild`");
        }
        self.stop(why)
    }

    /// What is on disk stays right.
    fn stop(&self, why: String) -> Damage {
        if !self.damaged.swap(true, Ordering::AcqRel) {
            tracing::error!(why, "the history index failed: the store stops, the next start makes it good");
        }
        self.changed.notify_all();
        Damage(why)
    }

    /// Reads one state: everything that was published, nothing that is being written.
    fn read<T>(&self, read: impl FnOnce(&AnyTree, SeqNo) -> lsm_tree::Result<T>) -> Result<T, Damage> {
        let _looking = self.readers.read().unwrap_or_else(PoisonError::into_inner);
        let at = *self.visible.read().unwrap_or_else(PoisonError::into_inner);
        self.guarded(|tree| read(tree, at))
    }

    fn publish(&self, below: SeqNo, publish: &mut dyn FnMut()) {
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        publish();
        *visible = below;
    }

    fn is_full(&self, writer: &Writer, next: &Applied) -> Result<bool, Damage> {
        let segments = next.position.segment.saturating_sub(writer.began);
        let bytes = self.guarded(|tree| Ok(tree.active_memtable().size()))?;
        Ok(bytes >= TABLE_BYTES || segments >= TABLE_SEGMENTS)
    }

    /// Closes the memory table behind the newest frame, and begins another one. Waits while too many are full.
    fn turn_over(&self, writer: &mut Writer, began: u32) -> Result<(), Damage> {
        writer.began = began;
        let mut work = self.work();
        let Some(newest) = writer.newest.filter(|_| writer.newest != work.upto) else { return Ok(()) };
        while work.full && !work.stop && self.guarded(|tree| Ok(tree.sealed_memtable_count()))? >= MAX_SEALED
        {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        self.guarded(|tree| {
            tree.insert(APPLIED, newest.encode(), self.seqno.next());
            tree.rotate_memtable();
            Ok(())
        })?;
        (work.full, work.upto) = (true, Some(newest));
        self.changed.notify_all();
        Ok(())
    }

    /// Nothing that a reader may still look at is older than this.
    fn oldest_read(&self) -> SeqNo {
        let visible = *self.visible.read().unwrap_or_else(PoisonError::into_inner);
        // Whoever began before has ended, whoever begins later sees at least this.
        drop(self.readers.write().unwrap_or_else(PoisonError::into_inner));
        visible
    }

    /// Lets readers see the newest version of the tree's files, so that older ones can go. The next commit does so
    /// too; one that is being written must not be seen yet.
    fn refresh(&self) {
        if let Ok(_nothing_is_written) = self.writer.try_lock() {
            self.publish(self.seqno.get(), &mut || {});
        }
    }

    /// Waits for a full table and writes it. False at the end.
    fn flush_next(&self) -> bool {
        let mut work = self.work();
        while !work.full && !work.stop {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        if work.stop {
            return false;
        }
        work.full = false;
        drop(work);
        if self.flush().is_err() {
            return false;
        }
        let mut work = self.work();
        work.unmerged = true;
        self.changed.notify_all();
        while !work.stop && self.guarded(|tree| Ok(tree.l0_run_count())).is_ok_and(|runs| runs > MAX_UNMERGED)
        {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Writes the full tables into files: whole frames, and only after what they point to is durable.
    fn flush(&self) -> Result<(), Damage> {
        let applied = self.work().upto;
        (self.sync)().map_err(|error| self.stop(format!("syncing the arrays: {error}")))?;
        let oldest = self.oldest_read();
        self.guarded(|tree| {
            let lock = tree.get_flush_lock();
            tree.flush(&lock, oldest).map(drop)
        })?;
        self.changed.notify_all();
        self.refresh();
        Mark { applied }.write(&self.mark).map_err(|error| self.stop(format!("writing the mark: {error}")))
    }

    /// Waits for files to merge and merges them. False at the end.
    fn merge_next(&self) -> bool {
        let mut work = self.work();
        while !work.unmerged && !work.stop {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        if work.stop {
            return false;
        }
        work.unmerged = false;
        drop(work);
        while self.merge().is_ok_and(|merged| merged) && !self.work().stop {}
        self.changed.notify_all();
        self.is_sound()
    }

    /// One step of merging; false if there was nothing to do.
    fn merge(&self) -> Result<bool, Damage> {
        let oldest = self.oldest_read();
        let merged = self.guarded(|tree| {
            let before = tree.current_version().id();
            tree.compact(Arc::new(Leveled::default()), oldest)?;
            Ok(tree.current_version().id() != before)
        })?;
        self.refresh();
        Ok(merged)
    }

    fn is_sound(&self) -> bool {
        !self.damaged.load(Ordering::Acquire)
    }
}

fn open_tree(dir: &Path) -> Result<(AnyTree, SequenceNumberCounter), Damage> {
    let seqno = SequenceNumberCounter::new(1);
    // The tree raises its own idea of what is visible whenever its files change: readers go by ours.
    let config = Config::new(dir, seqno.clone(), SequenceNumberCounter::default())
        .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)));
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let tree = config.open()?;
        seqno.fetch_max(tree.get_highest_seqno().map_or(1, |highest| highest + 1));
        Ok(tree)
    }));
    match opened {
        Ok(Ok(tree)) => Ok((tree, seqno)),
        Ok::<lsm_tree::Result<_>, _>(Err(error)) => Err(Damage(format!("opening: {error}"))),
        Err(panic) => Err(Damage(panic_text(Engine::Fjall, &*panic))),
    }
}

fn is_full_disk(error: &lsm_tree::Error) -> bool {
    let lsm_tree::Error::Io(error) = error else { return false };
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Compares the list of files with its checksum, which the tree writes and does not look at.
fn manifest(dir: &Path) -> io::Result<()> {
    let current = match fs::read(dir.join("current")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the list of its files is damaged");
    let (version, rest) = current.split_first_chunk().ok_or_else(wrong)?;
    let (checksum, kind) = rest.split_first_chunk().ok_or_else(wrong)?;
    let found = hash(&dir.join(format!("v{}", u64::from_le_bytes(*version))))?;
    if kind != [0] || found != u128::from_le_bytes(*checksum) {
        return Err(wrong());
    }
    Ok(())
}

/// The checksum of a file as the tree takes it: XXH3 with 128 bits.
fn hash(path: &Path) -> io::Result<u128> {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.digest128())
}

/// The smallest key behind all that begin with `prefix`; `None` when there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
