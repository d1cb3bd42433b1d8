//! Uploads of large bodies: streamed to disk, hashed on the way, resumed after a cut.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

use ring::digest::{Context, SHA256};

use super::{PayloadError, len_if_there, reader};
use crate::{
    domain::id::Digest,
    store::{files, written},
};

/// What arrived is synced every so often, while the next bytes come: a large body must not hand the disk all its bytes at
/// once, while commits wait behind them. At most twice as many wait for the disk.
const SYNC_EVERY: u64 = 8 << 20;

/// Uploads that a call is writing.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashSet<PathBuf>>);

impl Claims {
    /// Claims an upload until the result is dropped.
    pub fn claim(claims: &Arc<Self>, path: &Path) -> Result<Claim, PayloadError> {
        if !files::lock(&claims.0).insert(path.to_owned()) {
            return Err(PayloadError::Busy);
        }
        Ok(Claim { claims: Arc::clone(claims), path: path.to_owned() })
    }
}

pub(super) struct Claim {
    claims: Arc<Claims>,
    path: PathBuf,
}

impl Drop for Claim {
    fn drop(&mut self) {
        files::lock(&self.claims.0).remove(&self.path);
    }
}

/// An upload under way. Dropping it keeps what arrived, synced, so that it can be resumed.
pub struct Upload {
    state: State,
    size: u64,
    _claim: Claim,
}

enum State {
    Open(Box<Partial>),
    /// It was complete before it began.
    Complete,
}

pub(super) fn begin(
    claim: Claim,
    partial: PathBuf,
    staged: PathBuf,
    sha256: &Digest,
    size: u64,
    offset: u64,
) -> Result<Upload, PayloadError> {
    let at = |received| if offset == received { Ok(()) } else { Err(PayloadError::WrongOffset { received }) };
    if let Some(received) = len_if_there(&staged)? {
        at(received)?;
        return Ok(Upload { state: State::Complete, size: received, _claim: claim });
    }
    partial.parent().map_or(Ok(()), files::make_dir)?;
    staged.parent().map_or(Ok(()), files::make_dir)?;
    if len_if_there(&partial)?.is_some_and(|held| held > size) {
        // Begun with another size: one of the two was wrong.
        fs::remove_file(&partial)?;
    }
    let received = len_if_there(&partial)?.unwrap_or(0);
    at(received)?;
    let file = Arc::new(files::open_private(&partial)?);
    let mut hash = Context::new(&SHA256);
    reader::hash_into(&mut hash, reader::BodyReader::new(Arc::clone(&file), 0, received))?;
    let partial = Partial {
        file,
        path: partial,
        staged,
        sha256: *sha256,
        hash,
        received,
        unsynced: 0,
        syncing: None,
        ended: false,
    };
    Ok(Upload { state: State::Open(Box::new(partial)), size, _claim: claim })
}

impl Upload {
    /// Bytes held.
    #[must_use]
    pub fn received(&self) -> u64 {
        match &self.state {
            State::Open(partial) => partial.received,
            State::Complete => self.size,
        }
    }

    /// Takes the next bytes. More than announced are refused, and none of them is kept.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PayloadError> {
        if self.size - self.received() < bytes.len() as u64 {
            return Err(PayloadError::TooLarge { limit: self.size });
        }
        match &mut self.state {
            State::Open(partial) => Ok(partial.write(bytes)?),
            State::Complete => Ok(()),
        }
    }

    /// Ends this call. `true`: all bytes are there, have the announced digest, and are durable as a complete
    /// upload. `false`: bytes are missing; what arrived is kept.
    pub fn finish(mut self) -> Result<bool, PayloadError> {
        if self.received() < self.size {
            return Ok(false);
        }
        match &mut self.state {
            State::Open(partial) => partial.complete().map(|()| true),
            State::Complete => Ok(true),
        }
    }
}

struct Partial {
    file: Arc<File>,
    path: PathBuf,
    staged: PathBuf,
    sha256: Digest,
    hash: Context,
    received: u64,
    unsynced: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// Renamed or removed: nothing is left to keep.
    ended: bool,
}

impl Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        written::write_all_at(&self.file, bytes, self.received)?;
        self.hash.update(bytes);
        self.received += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY { self.begin_sync() } else { Ok(()) }
    }

    fn complete(&mut self) -> Result<(), PayloadError> {
        if reader::finish(self.hash.clone()) != self.sha256 {
            self.discard()?;
            return Err(PayloadError::DigestMismatch);
        }
        // Always: a part of it may come from a process that was killed before it synced.
        self.unsynced = self.unsynced.max(1);
        self.sync()?;
        fs::rename(&self.path, &self.staged)?;
        self.ended = true;
        self.staged.parent().map_or(Ok(()), files::sync_dir)?;
        Ok(())
    }

    /// Syncs in a thread of its own; the one before must have ended.
    fn begin_sync(&mut self) -> io::Result<()> {
        self.end_sync()?;
        let file = Arc::clone(&self.file);
        let sync = move || written::sync_data(&file);
        self.syncing = Some(thread::Builder::new().name("upload-sync".into()).spawn(sync)?);
        self.unsynced = 0;
        Ok(())
    }

    fn end_sync(&mut self) -> io::Result<()> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        let synced = syncing.join().unwrap_or_else(|_| Err(io::Error::other("a sync did not end well")));
        self.or_discard(synced)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.end_sync()?;
        if std::mem::take(&mut self.unsynced) == 0 {
            return Ok(());
        }
        let synced = written::sync_data(&self.file);
        self.or_discard(synced)
    }

    /// A failed sync is not tried again on the same file: the bytes may be gone although a second one
    /// succeeds.
    fn or_discard(&mut self, synced: io::Result<()>) -> io::Result<()> {
        let Err(error) = synced else { return Ok(()) };
        self.discard()?;
        Err(error)
    }

    fn discard(&mut self) -> io::Result<()> {
        self.ended = true;
        files::remove_if_there(&self.path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Nobody listens to an error any more; what is missing or wrong shows when the upload is resumed.
        if self.ended {
        } else if self.received == 0 {
            let _ = self.discard();
        } else {
            let _ = self.sync();
        }
    }
}
