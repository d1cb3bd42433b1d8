//! The mirror's folder: laid out as the log is served, so that any web server can serve it again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    client::{ClientError, calendar::file_time},
    domain::time::Timestamp,
    tlog::{note::MAX_NOTE, tile::Tile},
    verify::log_keys::MAX_LOG_KEYS,
};

/// The newest checkpoint of which everything is here.
const CHECKPOINT: &str = "checkpoint";
/// Proofs of the changes of the log's key, where there was one.
const LOG_KEYS: &str = "hub.keys";
/// A checkpoint that was seen, and whose tiles are being fetched: it counts as known after an interruption too.
const PENDING: &str = "checkpoint.pending";

/// Signed notes that the folder holds, and where.
pub struct Known {
    pub complete: Option<(PathBuf, String)>,
    pub pending: Option<(PathBuf, String)>,
}

/// A folder.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`; made when it is not there.
    pub fn open(root: &Path) -> Result<Self, ClientError> {
        fs::create_dir_all(root).map_err(ClientError::file(root))?;
        Ok(Self { root: root.to_owned() })
    }

    /// What was seen before. Nothing is verified.
    pub fn known(&self) -> Result<Known, ClientError> {
        Ok(Known { complete: self.note(CHECKPOINT)?, pending: self.note(PENDING)? })
    }

    fn note(&self, name: &str) -> Result<Option<(PathBuf, String)>, ClientError> {
        let path = self.root.join(name);
        let Some(bytes) = read(&path, MAX_NOTE).map_err(ClientError::file(&path))? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| wrong(&path, "is not text"))?;
        Ok(Some((path, text)))
    }

    /// Proofs of the changes of the log's key that were followed before; empty where there are none. Nothing is verified.
    pub fn log_keys(&self) -> Result<String, ClientError> {
        let path = self.root.join(LOG_KEYS);
        let Some(bytes) = read(&path, MAX_LOG_KEYS).map_err(ClientError::file(&path))? else {
            return Ok(String::new());
        };
        String::from_utf8(bytes).map_err(|_| wrong(&path, "is not text"))
    }

    /// Keeps proofs that were followed.
    pub fn keep_log_keys(&self, proofs: &str) -> Result<(), ClientError> {
        self.write(LOG_KEYS, proofs.as_bytes())
    }

    /// True once entries are kept too.
    pub fn has_entries(&self) -> bool {
        self.root.join("tile/entries").exists()
    }

    /// Remembers a checkpoint before its tiles are fetched.
    pub fn begin(&self, note: &str) -> Result<(), ClientError> {
        self.write(PENDING, note.as_bytes())
    }

    /// Everything of this checkpoint is here: durable when this returns.
    pub fn complete(&self, note: &str) -> Result<(), ClientError> {
        self.write(CHECKPOINT, note.as_bytes())?;
        let pending = self.root.join(PENDING);
        match fs::remove_file(&pending) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ClientError::file(&pending)(error)),
            _ => Ok(()),
        }
    }

    /// Bytes of a tile or bundle of at most `limit` bytes, if it is here. **They may have been changed: verify them.**
    pub fn tile(&self, tile: Tile, limit: usize) -> Result<Option<Vec<u8>>, ClientError> {
        let path = self.root.join(tile.path());
        read(&path, limit).map_err(ClientError::file(&path))
    }

    /// Puts a verified tile or bundle there.
    pub fn put(&self, tile: Tile, bytes: &[u8]) -> Result<(), ClientError> {
        self.write(&tile.path(), bytes)
    }

    /// Partial tiles of a place are of no use once the full one is there.
    pub fn forget_partial(&self, full: Tile) -> Result<(), ClientError> {
        let partial = self.root.join(full.path()).with_added_extension("p");
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ClientError::file(&partial)(error)),
            _ => Ok(()),
        }
    }

    /// Keeps what proves a fault in a folder of its own, which is never overwritten; returns where.
    pub fn keep_evidence(&self, at: Timestamp, files: &[(String, Vec<u8>)]) -> Result<PathBuf, ClientError> {
        let name = format!("fork-{}", file_time(at));
        let free = |number: u32| match number {
            0 => self.root.join(&name),
            number => self.root.join(format!("{name}-{number}")),
        };
        let mut number = 0;
        while let Err(error) = fs::create_dir(free(number)) {
            if error.kind() != io::ErrorKind::AlreadyExists || number == u32::MAX {
                return Err(ClientError::file(&free(number))(error));
            }
            number += 1;
        }
        let place = free(number);
        for (file, bytes) in files {
            let path = place.join(file);
            replace(&path, bytes).map_err(ClientError::file(&path))?;
        }
        sync(&self.root).map_err(ClientError::file(&self.root))?;
        Ok(place)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ClientError> {
        let path = self.root.join(name);
        replace(&path, bytes).map_err(ClientError::file(&path))
    }
}

/// What is known can't be used.
pub fn wrong(path: &Path, problem: impl ToString) -> ClientError {
    ClientError::file(path)(io::Error::new(io::ErrorKind::InvalidData, problem.to_string()))
}

/// A reader sees the old content or the new one, also after a power cut.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_added_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}
