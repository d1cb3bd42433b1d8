//! Bodies by their SHA-256: small ones in packs that share the group's sync, large ones in files of their
//! own.
//!
//! ```text
//! packs/00000001.pack      small bodies, append-only
//! files/ab/<sha256>        large bodies that a commit needs
//! staged/<node>/<sha256>   complete uploads of a node that no commit needs yet
//! uploads/<node>/<sha256>  uploads under way
//! ```
//! `<node>` is the hash of the node's name: no text of a peer becomes part of a path.

mod erase;
mod pack;
mod reader;
mod sweep;
mod upload;
mod walk;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::{
    erase::{Condemned, PackRemoval},
    pack::{HEADER, MAX_PACKED},
    reader::BodyReader,
    sweep::Swept,
    upload::Upload,
    walk::PackPlace,
};
use self::{pack::Packs, upload::Claims};
use super::{
    StoreError,
    files::{self, failed},
    records::BodyRecord,
};
use crate::domain::id::{Digest, NodeName};

/// Up to this size a body belongs into a pack: there it costs no file, no rename and no sync of its own.
pub const SMALL_BODY: usize = 64 << 10;

/// Bounds of the payload store.
#[derive(Clone, Copy, Debug)]
pub struct PayloadOptions {
    /// A pack of this many bytes is full.
    pub pack_bytes: u64,
    /// Largest body that may be uploaded.
    pub max_body_bytes: u64,
}

impl Default for PayloadOptions {
    fn default() -> Self {
        Self { pack_bytes: 256 << 20, max_body_bytes: 1 << 30 }
    }
}

/// Why an upload did not go on.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The upload goes on at another place.
    #[error("the upload goes on at byte {received}")]
    WrongOffset {
        /// Bytes that are held.
        received: u64,
    },
    /// More bytes than allowed, or than announced.
    #[error("more than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// Another call writes this upload.
    #[error("another call writes this upload")]
    Busy,
    /// The bytes have another digest than announced. They are gone: the upload begins anew.
    #[error("the bytes do not have the announced SHA-256")]
    DigestMismatch,
    /// The device failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How long a count of all bytes serves at least.
const COUNT_SERVES: Duration = Duration::from_secs(1);

/// All bytes, as they were counted.
#[derive(Clone, Copy)]
struct Counted {
    bytes: u64,
    until: Instant,
}

/// The payload store. All calls block; they may come from any thread.
///
/// A body becomes reachable by a commit that holds its [`BodyRecord`], after [`sync`](Self::sync) (small) or
/// [`adopt`](Self::adopt) (large) returned. What no commit reaches is swept.
pub struct Payload {
    dir: PathBuf,
    options: PayloadOptions,
    packs: Packs,
    claims: Arc<Claims>,
    /// Held while a name under `files` or `staged` is judged and changed.
    links: Mutex<()>,
    counted: Mutex<Option<Counted>>,
}

impl Payload {
    /// Opens or creates the payload store in `dir`.
    pub fn open(dir: &Path, options: PayloadOptions) -> io::Result<Self> {
        files::make_dir(dir)?;
        files::make_dirs(&["packs", "files", "staged", "uploads"].map(|name| dir.join(name)))?;
        // All at once and before use, so that no later name hangs from a directory that is not durable.
        let shards = (0..=u8::MAX).map(|shard| dir.join("files").join(format!("{shard:02x}")));
        files::make_dirs(&shards.collect::<Vec<_>>())?;
        Ok(Self {
            dir: dir.to_owned(),
            options,
            packs: Packs::open(&dir.join("packs"), options.pack_bytes)?,
            claims: Arc::default(),
            links: Mutex::default(),
            counted: Mutex::default(),
        })
    }

    /// Where the bodies lie.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends a small body to the current pack. Readable at once, durable after [`sync`](Self::sync).
    ///
    /// More than [`MAX_PACKED`] bytes are refused with `InvalidInput`. After an I/O error every later call
    /// fails.
    pub fn put_small(&self, bytes: &[u8]) -> io::Result<BodyRecord> {
        self.put_known(&Digest::of(bytes), bytes)
    }

    /// As [`put_small`](Self::put_small) for a caller who has hashed these bytes already.
    pub fn put_known(&self, digest: &Digest, bytes: &[u8]) -> io::Result<BodyRecord> {
        self.packs.put(digest, bytes)
    }

    /// Makes every body durable whose `put_small` returned before this call. Costs nothing if there is none.
    pub fn sync(&self) -> io::Result<()> {
        self.packs.sync()
    }

    /// True when small bodies can't be kept any more, for good: the process has to recover.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.packs.has_failed()
    }

    /// How much of an upload is held, and whether it is complete.
    pub fn query(&self, node: &NodeName, sha256: &Digest) -> io::Result<(u64, bool)> {
        if let Some(size) = len_if_there(&self.staged(node, sha256))? {
            return Ok((size, true));
        }
        Ok((len_if_there(&self.partial(node, sha256))?.unwrap_or(0), false))
    }

    /// Begins or resumes an upload of `size` bytes at `offset`, which must be what [`query`](Self::query)
    /// tells.
    ///
    /// Resuming hashes again what is held. An upload that is complete may be begun at its end, and finished.
    pub fn begin(
        &self,
        node: &NodeName,
        sha256: &Digest,
        size: u64,
        offset: u64,
    ) -> Result<Upload, PayloadError> {
        if size > self.options.max_body_bytes {
            return Err(PayloadError::TooLarge { limit: self.options.max_body_bytes });
        }
        let partial = self.partial(node, sha256);
        let claim = Claims::claim(&self.claims, &partial)?;
        upload::begin(claim, partial, self.staged(node, sha256), sha256, size, offset)
    }

    /// Makes a complete upload of this node durable as a body, or tells `None` if this node holds none
    /// (whatever others hold). To be followed by the commit, and then by [`release`](Self::release).
    pub fn adopt(&self, node: &NodeName, sha256: &Digest) -> io::Result<Option<BodyRecord>> {
        let (staged, body) = (self.staged(node, sha256), self.body(sha256));
        let size = {
            let _held = files::lock(&self.links);
            let Some(size) = len_if_there(&staged)? else { return Ok(None) };
            match len_if_there(&body)? {
                None => fs::hard_link(&staged, &body)?,
                Some(there) if there == size => touch(&body)?,
                Some(_) => replace_by_link(&staged, &body)?,
            }
            size
        };
        body.parent().map_or(Ok(()), files::sync_dir)?;
        Ok(Some(BodyRecord { sha256: sha256.to_bytes(), size, pack_plus_one: 0, offset: 0 }))
    }

    /// Forgets a complete upload of this node; to be called after the commit that adopted it.
    pub fn release(&self, node: &NodeName, sha256: &Digest) -> io::Result<()> {
        files::remove_if_there(&self.staged(node, sha256))
    }

    /// A whole body of at most [`MAX_PACKED`] bytes, its digest verified.
    pub fn read(&self, record: &BodyRecord) -> Result<Bytes, StoreError> {
        let digest = digest_of(record)?;
        if record.size > MAX_PACKED as u64 {
            return Err(StoreError::Damaged(format!("body {digest}: too large to be read as a whole")));
        }
        let bytes = match record.pack_plus_one {
            0 => reader::read_all(self.open_body(record, 0)?, &digest)?,
            _ => self.packs.read(record, &digest)?,
        };
        if Digest::of(&bytes) != digest {
            return Err(StoreError::Damaged(format!("body {digest} has other bytes now")));
        }
        Ok(bytes)
    }

    /// A reader from `offset` on, in constant memory. It does not verify the digest: see
    /// [`verify`](Self::verify).
    pub fn open_body(&self, record: &BodyRecord, offset: u64) -> Result<BodyReader, StoreError> {
        let digest = digest_of(record)?;
        let reading = || failed(format!("opening body {digest}"));
        let (file, start) = match record.pack_plus_one.checked_sub(1) {
            Some(pack) => (
                self.packs.file(pack, record.offset.saturating_add(record.size)).map_err(reading())?,
                record.offset,
            ),
            None => (Arc::new(File::open(self.body(&digest)).map_err(reading())?), 0),
        };
        let len = file.metadata().map_err(reading())?.len();
        let end = start.checked_add(record.size).filter(|end| *end <= len);
        let (Some(end), true) = (end, offset <= record.size) else {
            return Err(StoreError::Damaged(format!(
                "body {digest}: {len} bytes do not hold it from {offset} on"
            )));
        };
        Ok(BodyReader::new(file, start + offset, end))
    }

    /// Hashes a body again and compares its length, or its header in the pack; memory is bounded.
    pub fn verify(&self, record: &BodyRecord) -> Result<(), StoreError> {
        if record.pack_plus_one > 0 {
            return self.read(record).map(drop);
        }
        let digest = digest_of(record)?;
        let len = self.body(&digest).metadata().map_err(failed(format!("opening body {digest}")))?.len();
        if len != record.size {
            return Err(StoreError::Damaged(format!("body {digest} has {len} bytes, not {}", record.size)));
        }
        let found =
            reader::hash(self.open_body(record, 0)?).map_err(failed(format!("reading body {digest}")))?;
        if found != digest {
            return Err(StoreError::Damaged(format!("body {digest} has other bytes now")));
        }
        Ok(())
    }

    /// Bytes of all packs, files and uploads. That is a look at every file, so an answer serves for a second, or for
    /// fifty times as long as the look took.
    pub fn bytes_on_disk(&self) -> io::Result<u64> {
        let mut counted = files::lock(&self.counted);
        if let Some(counted) = counted.filter(|counted| Instant::now() < counted.until) {
            return Ok(counted.bytes);
        }
        let began = Instant::now();
        let bytes = sweep::bytes_on_disk(&self.dir)?;
        let serves = COUNT_SERVES.max(began.elapsed() * 50);
        *counted = Some(Counted { bytes, until: Instant::now() + serves });
        Ok(bytes)
    }

    fn body(&self, sha256: &Digest) -> PathBuf {
        let name = sha256.to_string();
        self.dir.join("files").join(&name[..2]).join(name)
    }

    fn staged(&self, node: &NodeName, sha256: &Digest) -> PathBuf {
        self.of_node("staged", node, sha256)
    }

    fn partial(&self, node: &NodeName, sha256: &Digest) -> PathBuf {
        self.of_node("uploads", node, sha256)
    }

    fn of_node(&self, kind: &str, node: &NodeName, sha256: &Digest) -> PathBuf {
        let node = Digest::of(node.as_str().as_bytes());
        self.dir.join(kind).join(node.to_string()).join(sha256.to_string())
    }
}

fn digest_of(record: &BodyRecord) -> Result<Digest, StoreError> {
    Digest::from_slice(&record.sha256)
        .ok_or_else(|| StoreError::Damaged("a body record without a SHA-256".into()))
}

fn len_if_there(path: &Path) -> io::Result<Option<u64>> {
    match path.metadata() {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renews the change time of a file, by which a sweep sees that it is wanted again.
fn touch(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, path.metadata()?.permissions())
}

/// Puts a good file in the place of one that can't be: its length is wrong.
fn replace_by_link(from: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_extension("tmp");
    files::remove_if_there(&temporary)?;
    fs::hard_link(from, &temporary)?;
    fs::rename(temporary, to)
}

#[cfg(test)]
mod tests;
