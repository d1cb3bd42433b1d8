//! A disk with a volatile cache: one file over FUSE, `disk.img`. What is written stays in memory until FSYNC; a cut
//! decides by its policy what of that survives, and from then on the disk answers EIO.

#![allow(dead_code)]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::rig::Chance;

const BLOCK: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
const NAME: &str = "disk.img";
const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3600);

/// What survives of the writes that no FSYNC covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    None,
    /// Each block or not.
    Random,
    /// Each sector or not.
    Torn,
    /// Everything that reached the disk; only the machine's memory is lost.
    All,
}

pub const POLICIES: [Policy; 4] = [Policy::None, Policy::Random, Policy::Torn, Policy::All];

/// What the disk does wrong while it has power.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub write_fails: bool,
    pub sync_fails: bool,
    pub sync_takes: Duration,
}

/// What happened to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub syncs: u64,
    pub failed_syncs: u64,
    /// Blocks that waited for an FSYNC at the cut, and how many of them survived at least in part.
    pub waiting: usize,
    pub survived: usize,
}

/// The disk, mounted; dropping it unmounts.
pub struct Disk {
    shared: Arc<Shared>,
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

struct Shared {
    platter: File,
    size: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: BTreeMap<u64, Box<[u8]>>,
    frozen: bool,
    /// Writes until it freezes by itself.
    fuse: Option<u64>,
    faults: Faults,
    tally: Tally,
}

impl Disk {
    /// Serves the image `platter` as `disk.img` in `folder`.
    pub fn mount(platter: &Path, folder: &Path) -> io::Result<Self> {
        let platter = File::options().read(true).write(true).open(platter)?;
        let size = platter.metadata()?.len();
        let shared = Arc::new(Shared { platter, size, state: Mutex::default() });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("truc-disk".into())];
        config.n_threads = Some(4);
        let session = fuser::spawn_mount(Volatile(Arc::clone(&shared)), folder, &config)?;
        Ok(Self { shared, folder: folder.to_owned(), session: Some(session) })
    }

    /// The file that behaves as a disk.
    pub fn image(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    pub fn set(&self, faults: Faults) {
        self.shared.state().faults = faults;
    }

    pub fn tally(&self) -> Tally {
        self.shared.state().tally
    }

    /// The power goes at the `writes`-th write from now: in the middle of something.
    pub fn arm(&self, writes: u64) {
        self.shared.state().fuse = Some(writes);
    }

    pub fn is_frozen(&self) -> bool {
        self.shared.state().frozen
    }

    /// The power goes, or has gone: tells and decides what survives.
    pub fn cut(&self, policy: Policy, chance: &mut Chance) -> Tally {
        let mut state = self.shared.state();
        state.frozen = true;
        let cache = std::mem::take(&mut state.cache);
        state.tally.waiting = cache.len();
        for (block, bytes) in cache {
            let survived = self.shared.survive(block, &bytes, policy, chance);
            state.tally.survived += usize::from(survived);
        }
        state.tally
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn survive(&self, block: u64, bytes: &[u8], policy: Policy, chance: &mut Chance) -> bool {
        let step = if policy == Policy::Torn { SECTOR } else { BLOCK };
        let mut survived = false;
        for (number, piece) in bytes.chunks(step).enumerate() {
            let lives = match policy {
                Policy::None => false,
                Policy::All => true,
                Policy::Random | Policy::Torn => chance.below(2) == 0,
            };
            if lives {
                let at = block * BLOCK as u64 + (number * step) as u64;
                self.platter.write_all_at(piece, at).unwrap();
            }
            survived |= lives;
        }
        survived
    }

    fn load(&self, block: u64) -> io::Result<Box<[u8]>> {
        let mut bytes = vec![0; BLOCK].into_boxed_slice();
        self.platter.read_exact_at(&mut bytes, block * BLOCK as u64)?;
        Ok(bytes)
    }

    fn read(&self, offset: u64, size: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        if state.frozen {
            return Err(eio());
        }
        let end = (offset + size).min(self.size);
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(offset)).unwrap()];
        self.platter.read_exact_at(&mut bytes, offset)?;
        for (&block, cached) in state.cache.range(offset / BLOCK as u64..end.div_ceil(BLOCK as u64)) {
            let begin = block * BLOCK as u64;
            let (from, to) = (begin.max(offset), (begin + BLOCK as u64).min(end));
            let [at, a, b] = [from - offset, from - begin, to - begin].map(|n| usize::try_from(n).unwrap());
            bytes[at..at + b - a].copy_from_slice(&cached[a..b]);
        }
        Ok(bytes)
    }

    fn write(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Some(left) = &mut state.fuse {
            *left -= 1;
            state.frozen |= *left == 0;
            state.fuse = state.fuse.filter(|left| *left > 0);
        }
        if state.frozen || state.faults.write_fails {
            return Err(eio());
        }
        while !data.is_empty() {
            let (block, at) = (offset / BLOCK as u64, usize::try_from(offset % BLOCK as u64).unwrap());
            let len = data.len().min(BLOCK - at);
            if let std::collections::btree_map::Entry::Vacant(new) = state.cache.entry(block) {
                new.insert(self.load(block)?);
            }
            state.cache.get_mut(&block).unwrap()[at..at + len].copy_from_slice(&data[..len]);
            offset += len as u64;
            data = &data[len..];
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let takes = self.state().faults.sync_takes;
        std::thread::sleep(takes);
        let mut state = self.state();
        if state.frozen || state.faults.sync_fails {
            state.tally.failed_syncs += 1;
            return Err(eio());
        }
        for (block, bytes) in std::mem::take(&mut state.cache) {
            self.platter.write_all_at(&bytes, block * BLOCK as u64)?;
        }
        state.tally.syncs += 1;
        Ok(())
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

struct Volatile(Arc<Shared>);

impl Volatile {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let is_file = ino == FILE;
        let size = if is_file { self.0.size } else { 0 };
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Volatile {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&TTL, &self.attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(offset, size.into()) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing is no FSYNC.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.0.sync() {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error.into()),
        }
    }
}
