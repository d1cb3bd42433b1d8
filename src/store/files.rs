//! The few things about files that every part of the store needs, done the same way.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{StoreError, written};

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    written::sync_all(&File::open(dir)?)
}

/// Makes a directory that only the owner may enter, and its name durable. No error if it exists.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    make_dirs(std::slice::from_ref(&dir.to_owned()))
}

/// As [`make_dir`], for directories in one parent: one sync for all of them. The parent is synced also if
/// nothing was made, since a process that was killed may have left names that are not durable.
pub(super) fn make_dirs(dirs: &[PathBuf]) -> io::Result<()> {
    for dir in dirs {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    let parent = dirs.first().and_then(|dir| dir.parent());
    parent.filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_dir)
}

/// Bytes of all files below a folder. Files that go away meanwhile count nothing.
pub(super) fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(bytes).sum()
}

/// Room on the disk of a folder; `None` where the system does not tell: some file systems say that they have no blocks at all.
pub(super) fn space(dir: &Path) -> Option<super::Space> {
    let found = rustix::fs::statvfs(dir).ok()?;
    let total = found.f_blocks.saturating_mul(found.f_frsize);
    (total > 0).then(|| super::Space { free: found.f_bavail.saturating_mul(found.f_frsize), total })
}

/// Opens for reading and writing a file that only the owner may read; creates it if it is missing.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Creates an empty file that only the owner may read; what was there is gone.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Creates a file that only the owner may read; an error if it exists.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Replaces a file whole: after a power cut either the old or the new content stands there.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = create_private(&temporary)?;
    io::Write::write_all(&mut &file, content)?;
    written::sync_all(&file)?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Removes a file; no error if it is gone already.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Numbers of the files `<8 digits>.<extension>` in a directory, ascending. Other names are left alone.
pub(super) fn numbered(dir: &Path, extension: &str) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(extension)?.strip_suffix('.'));
        numbers
            .extend(number.filter(|digits| digits.len() == 8).and_then(|digits| digits.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Path of a numbered file.
pub(super) fn numbered_path(dir: &Path, number: u32, extension: &str) -> PathBuf {
    dir.join(format!("{number:08}.{extension}"))
}

/// A lock whose holder may have panicked: the data behind our locks is whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wraps an I/O error with what was being done.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StoreError {
    |source| StoreError::Io { what: what.into(), source }
}

/// Numbered files kept open for reading, a bounded number of them; the one unused for longest goes first.
pub(super) struct OpenFiles {
    dir: PathBuf,
    extension: &'static str,
    limit: usize,
    open: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    clock: u64,
    files: HashMap<u32, (Arc<File>, u64)>,
}

impl OpenFiles {
    pub(super) fn new(dir: &Path, extension: &'static str, limit: usize) -> Self {
        Self { dir: dir.to_owned(), extension, limit, open: Mutex::default() }
    }

    /// The file of this number, from the cache or freshly opened.
    pub(super) fn get(&self, number: u32) -> io::Result<Arc<File>> {
        let mut opened = lock(&self.open);
        opened.clock += 1;
        let now = opened.clock;
        if let Some((file, used)) = opened.files.get_mut(&number) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(numbered_path(&self.dir, number, self.extension))?);
        if opened.files.len() >= self.limit {
            let oldest = opened.files.iter().min_by_key(|(_, (_, used))| *used).map(|(number, _)| *number);
            oldest.map(|number| opened.files.remove(&number));
        }
        opened.files.insert(number, (Arc::clone(&file), now));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bounded_number_of_files_stays_open() {
        let dir = tempfile::tempdir().expect("temp");
        for number in 1..=5 {
            create_private(&numbered_path(dir.path(), number, "x")).expect("create");
        }
        fs::write(dir.path().join("note.txt"), "left alone").expect("write");
        assert_eq!(numbered(dir.path(), "x").expect("list"), [1, 2, 3, 4, 5]);
        let files = OpenFiles::new(dir.path(), "x", 2);
        let first = files.get(1).expect("open");
        for number in [2, 1, 3, 1] {
            files.get(number).expect("open");
        }
        let open = lock(&files.open);
        assert_eq!(open.files.len(), 2);
        assert!(Arc::ptr_eq(&first, &open.files[&1].0), "the one in use was kept");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("marker");
        replace_file(&path, b"one").expect("write");
        replace_file(&path, b"two").expect("write");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        remove_if_there(&path).expect("remove");
        remove_if_there(&path).expect("twice is fine");
    }
}
