//! Small files: read with a bound, keys written once, others replaced whole.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use crate::domain::id::Digest;

/// A local file that stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system's word.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It would be overwritten.
    #[error("{} exists already and is never overwritten", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// It does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl FileError {
    /// The file at `path` does not hold what it should.
    pub fn content(path: &Path, problem: impl ToString) -> Self {
        Self::Content { path: path.to_owned(), problem: problem.to_string() }
    }

    /// For `map_err` on an operation with the file at `path`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path },
            _ => Self::Io { path, source },
        }
    }

    /// What the person at the keyboard can do.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Exists { .. } => Some("move it away first, or name another place"),
            Self::Io { .. } | Self::Content { .. } => None,
        }
    }
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The owner alone: keys.
    Owner,
    /// Everyone whom the process's mask allows: certificates.
    All,
}

/// Makes a file that did not exist, durable when this returns.
pub fn create(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    restrict(&mut options, readers);
    let mut file = options.open(path).map_err(FileError::io(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(FileError::io(path))
}

/// Puts `bytes` at `path` so that a reader sees the old content or the new one, never a part.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let new = path.with_added_extension("new");
    let mut file = File::create(&new).map_err(FileError::io(&new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(FileError::io(&new))?;
    std::fs::rename(&new, path).map_err(FileError::io(path))
}

/// Reads text of at most `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let mut text = String::new();
    let file = File::open(path).map_err(FileError::io(path))?;
    file.take(limit + 1).read_to_string(&mut text).map_err(FileError::io(path))?;
    if text.len() as u64 > limit {
        return Err(FileError::content(path, format!("larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(unix)]
fn restrict(options: &mut OpenOptions, readers: Readers) {
    use std::os::unix::fs::OpenOptionsExt;
    if readers == Readers::Owner {
        options.mode(0o600);
    }
}

/// SHA-256 of a file of any size; `seen` is told how many bytes were read each time.
pub fn digest(path: &Path, mut seen: impl FnMut(u64)) -> Result<Digest, FileError> {
    let mut file = File::open(path).map_err(FileError::io(path))?;
    let (mut context, mut chunk) = (Context::new(&SHA256), vec![0; 128 * 1024]);
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(FileError::io(path)(error)),
        };
        context.update(&chunk[..count]);
        seen(count as u64);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(Digest(digest))
}

#[cfg(not(unix))]
fn restrict(_: &mut OpenOptions, _: Readers) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.key");
        create(&path, b"first", Readers::Owner).expect("new");
        assert!(matches!(create(&path, b"second", Readers::Owner), Err(FileError::Exists { .. })));
        assert_eq!(read_text(&path, 5).expect("reads"), "first");
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.key");
        create(&path, b"secret", Readers::Owner).expect("new");
        assert_eq!(path.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a");
        replace(&path, b"123456").expect("writes");
        assert!(matches!(read_text(&path, 5), Err(FileError::Content { .. })));
        replace(&path, b"12345").expect("replaces");
        assert!(read_text(&path, 5).is_ok());
    }
}
