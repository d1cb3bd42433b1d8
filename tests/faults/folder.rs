//! A folder that fails on order: everything is passed through to another folder, except for the write or sync that the
//! rig has chosen.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fuser::{BackgroundSession, Config, FileAttr, FileHandle, INodeNo, MountOption};

use super::through::attr;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// ENOSPC from now on.
    Full,
    /// EIO once; the next one would succeed.
    WriteFails,
    /// Half of the bytes are written, and the rest fails.
    ShortWrite,
    /// EIO once; the next one would succeed.
    SyncFails,
    /// Nothing, but each sync takes its time.
    SlowSync,
}

/// A fault at the `after`-th write or sync of files whose path begins with `below`.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub wrong: Wrong,
    pub below: &'static str,
    pub after: u64,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub writes: u64,
    pub syncs: u64,
    /// Where the fault struck.
    pub struck: Option<PathBuf>,
    /// Syncs of that file after a failed one: a hub that tries again believes a lie.
    pub syncs_after: u64,
}

/// The folder, mounted; dropping it unmounts.
pub struct Folder {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

#[derive(Default)]
pub struct State {
    paths: HashMap<u64, PathBuf>,
    pub open: HashMap<u64, (Arc<File>, PathBuf)>,
    last: u64,
    fault: Option<Fault>,
    tally: Tally,
}

impl Folder {
    /// Shows `from` at `at`.
    pub fn mount(from: &Path, at: &Path) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("truc-folder".into())];
        config.n_threads = Some(4);
        let through = Through { root: from.to_owned(), state: Arc::clone(&state) };
        Ok(Self { state, session: Some(fuser::spawn_mount(through, at, &config)?) })
    }

    /// Orders a fault, or none; the tally begins anew.
    pub fn order(&self, fault: Option<Fault>) {
        let mut state = lock(&self.state);
        state.fault = fault;
        state.tally = Tally::default();
    }

    pub fn tally(&self) -> Tally {
        lock(&self.state).tally.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

pub fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Whether this write has to fail, and with which bytes written before.
    fn judge_write(&mut self, path: &Path, len: usize) -> Result<usize, i32> {
        let Some(fault) = self.fault.filter(|fault| path.starts_with(fault.below)) else { return Ok(len) };
        if matches!(fault.wrong, Wrong::SyncFails | Wrong::SlowSync) {
            return Ok(len);
        }
        self.tally.writes += 1;
        if self.tally.writes < fault.after {
            return Ok(len);
        }
        self.tally.struck.get_or_insert_with(|| path.to_owned());
        match fault.wrong {
            Wrong::Full => Err(ENOSPC),
            Wrong::ShortWrite if self.tally.writes == fault.after && len > 1 => Ok(len / 2),
            Wrong::WriteFails if self.tally.writes == fault.after => Err(EIO),
            Wrong::ShortWrite if self.tally.writes == fault.after + 1 => Err(EIO),
            _ => Ok(len),
        }
    }

    fn judge_sync(&mut self, path: &Path) -> Result<Duration, i32> {
        if self.tally.struck.as_deref() == Some(path) {
            self.tally.syncs_after += 1;
        }
        let Some(fault) = self.fault.filter(|fault| path.starts_with(fault.below)) else {
            return Ok(Duration::ZERO);
        };
        self.tally.syncs += 1;
        match fault.wrong {
            Wrong::SyncFails if self.tally.syncs == fault.after => {
                self.tally.struck = Some(path.to_owned());
                Err(EIO)
            }
            Wrong::SlowSync => Ok(Duration::from_millis(200)),
            _ => Ok(Duration::ZERO),
        }
    }
}

pub struct Through {
    pub root: PathBuf,
    pub state: Arc<Mutex<State>>,
}

impl Through {
    pub fn path(&self, ino: INodeNo) -> PathBuf {
        if ino == INodeNo::ROOT {
            return PathBuf::new();
        }
        lock(&self.state).paths.get(&ino.0).cloned().unwrap_or_else(|| "gone".into())
    }

    pub fn child(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.path(parent).join(name)
    }

    pub fn known(&self, path: PathBuf) -> io::Result<FileAttr> {
        let attr = attr(&self.root.join(&path).symlink_metadata()?);
        lock(&self.state).paths.insert(attr.ino.0, path);
        Ok(attr)
    }

    pub fn opened(&self, file: File, path: PathBuf) -> FileHandle {
        let mut state = lock(&self.state);
        state.last += 1;
        let handle = state.last;
        state.open.insert(handle, (Arc::new(file), path));
        FileHandle(handle)
    }

    pub fn file(&self, handle: FileHandle) -> io::Result<(Arc<File>, PathBuf)> {
        lock(&self.state).open.get(&handle.0).cloned().ok_or_else(|| io::Error::from_raw_os_error(9))
    }

    pub fn write_at(&self, handle: FileHandle, offset: u64, data: &[u8]) -> io::Result<usize> {
        let (file, path) = self.file(handle)?;
        let len = lock(&self.state).judge_write(&path, data.len()).map_err(io::Error::from_raw_os_error)?;
        file.write_all_at(&data[..len], offset)?;
        Ok(len)
    }

    pub fn sync(&self, handle: FileHandle) -> io::Result<()> {
        let (file, path) = self.file(handle)?;
        let takes = lock(&self.state).judge_sync(&path).map_err(io::Error::from_raw_os_error)?;
        std::thread::sleep(takes);
        file.sync_all()
    }

    pub fn read_at(&self, handle: FileHandle, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let (file, _) = self.file(handle)?;
        let mut bytes = vec![0; size as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// A folder that moves takes what is below along.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))?;
        let mut state = lock(&self.state);
        for path in state.paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
        Ok(())
    }
}
