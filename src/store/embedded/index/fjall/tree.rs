//! The tree: one writer, many readers, one thread that writes full tables, one that merges files.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use lsm_tree::{
    AbstractTree as _, AnyTree, Cache, Config, SeqNo, SequenceNumberCounter, compaction::Leveled,
};

use super::{
    super::{Engine, panic_text},
    Applied, Damage, Mark, Put, RESERVED, Sync, disk,
};
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

/// The tree and what its writer, its readers and its two threads share.
pub struct Inner {
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

impl Inner {
    /// Opens or makes the tree in `dir`.
    pub fn open(dir: &Path, mark: &Path, sync: Sync) -> Result<Self, Damage> {
        let (tree, seqno) = open_tree(dir)?;
        Ok(Self {
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
        })
    }

    /// Finds out which frame it ends with.
    pub fn begin(&self) -> Result<Option<Applied>, Damage> {
        let bytes = self.read(|tree, at| tree.get(APPLIED, at))?;
        let unreadable = || self.damage("what was applied is unreadable".into());
        let newest = bytes.map(|bytes| Applied::decode(&bytes).ok_or_else(unreadable)).transpose()?;
        *self.writer() = Writer { newest, began: newest.map_or(0, |applied| applied.position.segment) };
        self.work().upto = newest;
        Ok(newest)
    }

    /// See [`Index::apply`](super::Index::apply).
    pub fn write(&self, applied: Applied, puts: Vec<Put>, publish: &mut dyn FnMut()) -> Result<(), Damage> {
        let mut writer = self.writer();
        if self.is_full(&writer, &applied)? {
            self.turn_over(&mut writer, applied.position.segment)?;
        }
        let batch = self.seqno.next();
        self.guarded(|tree| {
            for (key, value) in puts {
                match value {
                    Some(value) => tree.insert(key, value, batch),
                    None => tree.remove(key, batch),
                };
            }
            Ok(())
        })?;
        writer.newest = Some(applied);
        self.publish(batch + 1, publish);
        Ok(())
    }

    /// Compares all files with their checksums.
    pub fn verify(&self) -> Result<(), Damage> {
        let files: Vec<_> = self.guarded(|tree| {
            let version = tree.current_version();
            Ok(version.iter_tables().map(|file| (file.id(), file.checksum().into_u128())).collect())
        })?;
        for (id, checksum) in files {
            let found = disk::hash(&self.dir.join("tables").join(id.to_string()));
            let found = found.map_err(|error| self.damage(format!("reading its file {id}: {error}")))?;
            if found != checksum {
                return Err(self.damage(format!("its file {id} is not what was written")));
            }
        }
        Ok(())
    }

    /// Writes everything into files, once the threads have ended.
    pub fn flush_all(&self) -> Result<(), Damage> {
        self.turn_over(&mut self.writer(), 0)?;
        self.flush()
    }

    /// Tells the threads to end.
    pub fn end(&self) {
        self.work().stop = true;
        self.changed.notify_all();
    }

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

    /// Fails for good: the next start must not trust what is on disk.
    pub fn damage(&self, why: String) -> Damage {
        if let Err(error) = files::remove_if_there(&self.mark) {
            tracing::error!(%error, "the index is damaged, and its mark can't be removed: run `truc rebuild`");
        }
        self.stop(why)
    }

    /// Fails for good; what is on disk stays right.
    fn stop(&self, why: String) -> Damage {
        if !self.damaged.swap(true, Ordering::AcqRel) {
            tracing::error!(why, "the history index failed: the store stops, the next start makes it good");
        }
        self.changed.notify_all();
        Damage(why)
    }

    /// Reads one state: everything that was published, nothing that is being written.
    pub fn read<T>(&self, read: impl FnOnce(&AnyTree, SeqNo) -> lsm_tree::Result<T>) -> Result<T, Damage> {
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
    pub fn flush_next(&self) -> bool {
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
    pub fn merge_next(&self) -> bool {
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

    /// False once it failed.
    pub fn is_sound(&self) -> bool {
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
