//! Packs: small bodies one behind the other. An entry is a 64-byte header and the bytes, padded to 64. Entries gather in
//! memory until their commit syncs them: one write for all, and nobody else waits for the disk.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use super::walk::PackPlace;
use crate::{
    domain::id::Digest,
    store::{
        StoreError,
        files::{self, OpenFiles, failed},
        records::BodyRecord,
        written,
    },
};

/// Largest body that a pack takes.
pub const MAX_PACKED: usize = 16 << 20;

const EXTENSION: &str = "pack";
/// Entries begin at multiples of it, and so long is a header.
pub(super) const BLOCK: usize = 64;
/// Bytes of an entry before its body.
pub const HEADER: u64 = BLOCK as u64;
const MAGIC: [u8; 4] = *b"TRP1";
const CRC_AT: usize = BLOCK - 4;
/// Entries in memory are written when they are so many bytes.
const MAX_PENDING: usize = 1 << 20;
/// Packs that stay open for reading.
const OPEN_PACKS: usize = 64;

pub(super) struct Packs {
    dir: PathBuf,
    full_at: u64,
    head: Mutex<Head>,
    /// Held during a sync, so that a second caller does not return before what it waits for is durable.
    syncing: Mutex<()>,
    failed: AtomicBool,
    open: OpenFiles,
}

/// Where the next entry goes.
struct Head {
    number: u32,
    /// `None` until the first entry after the start.
    file: Option<Arc<File>>,
    end: u64,
    /// The last bytes before `end`, which are not in the file yet.
    pending: Vec<u8>,
    unsynced: Vec<Arc<File>>,
}

impl Head {
    /// Writes what is only in memory.
    fn write(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_ref().filter(|_| !self.pending.is_empty()) else { return Ok(()) };
        written::write_all_at(file, &self.pending, self.end - self.pending.len() as u64)?;
        self.pending.clear();
        // One large entry must not take memory for ever.
        self.pending.shrink_to(MAX_PENDING);
        Ok(())
    }

    /// True when bytes before `end` in this pack are only in memory.
    fn holds(&self, pack: u32, end: u64) -> bool {
        !self.pending.is_empty() && pack == self.number && end > self.end - self.pending.len() as u64
    }
}

impl Packs {
    /// Continues behind the last byte of the last pack: what a crash left there is not written over.
    pub fn open(dir: &Path, full_at: u64) -> io::Result<Self> {
        let number = files::numbered(dir, EXTENSION)?.last().copied().unwrap_or(0);
        Ok(Self {
            dir: dir.to_owned(),
            full_at,
            head: Mutex::new(Head { number, file: None, end: 0, pending: Vec::new(), unsynced: Vec::new() }),
            syncing: Mutex::default(),
            failed: AtomicBool::new(false),
            open: OpenFiles::new(dir, EXTENSION, OPEN_PACKS),
        })
    }

    pub fn put(&self, digest: &Digest, bytes: &[u8]) -> io::Result<BodyRecord> {
        if bytes.len() > MAX_PACKED {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the body is too large for a pack"));
        }
        self.fail_stop(|| {
            let mut head = files::lock(&self.head);
            let file = self.file_for(&mut head, entry_len(bytes.len()) as u64)?;
            if !head.unsynced.iter().any(|other| Arc::ptr_eq(other, &file)) {
                head.unsynced.push(file);
            }
            let offset = head.end + BLOCK as u64;
            encode(digest, bytes, &mut head.pending);
            head.end += entry_len(bytes.len()) as u64;
            if head.pending.len() >= MAX_PENDING {
                head.write()?;
            }
            Ok(BodyRecord {
                sha256: digest.to_bytes(),
                size: bytes.len() as u64,
                pack_plus_one: head.number + 1,
                offset,
            })
        })
    }

    pub fn sync(&self) -> io::Result<()> {
        self.fail_stop(|| {
            let _one_at_a_time = files::lock(&self.syncing);
            let unsynced = {
                let mut head = files::lock(&self.head);
                head.write()?;
                std::mem::take(&mut head.unsynced)
            };
            unsynced.iter().try_for_each(|file| written::sync_data(file))
        })
    }

    /// True after an I/O error: nothing is taken any more.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The bytes of an entry whose header fits the record.
    pub fn read(&self, record: &BodyRecord, digest: &Digest) -> Result<Bytes, StoreError> {
        let damaged = || StoreError::Damaged(format!("body {digest} is not where its record says"));
        let number = record.pack_plus_one.checked_sub(1).ok_or_else(damaged)?;
        let start = record.offset.checked_sub(BLOCK as u64).ok_or_else(damaged)?;
        let len = usize::try_from(record.size).ok().filter(|len| *len <= MAX_PACKED).ok_or_else(damaged)?;
        let mut entry = vec![0; BLOCK + len];
        let end = start.saturating_add(entry.len() as u64);
        let read = self.file(number, end).and_then(|file| file.read_exact_at(&mut entry, start));
        read.map_err(failed(format!("reading body {digest}")))?;
        if entry[..BLOCK] != header(digest, len) {
            return Err(damaged());
        }
        Ok(Bytes::from(entry).slice(BLOCK..))
    }

    /// A pack for reading. What was put before `end` is in it; what a commit holds always is.
    pub fn file(&self, number: u32, end: u64) -> io::Result<Arc<File>> {
        let mut head = files::lock(&self.head);
        if head.holds(number, end) {
            self.fail_stop(|| head.write())?;
        }
        drop(head);
        self.open.get(number)
    }

    /// Where the next entry goes: everything that was put lies before it, in the packs' files.
    pub fn end(&self) -> io::Result<PackPlace> {
        let mut head = files::lock(&self.head);
        self.fail_stop(|| head.write())?;
        let offset = match head.file {
            Some(_) => head.end,
            None if head.number == 0 => 0,
            None => self.path(head.number).metadata()?.len(),
        };
        Ok(PackPlace { pack: head.number, offset })
    }

    /// The first pack with this number or a larger one.
    pub fn at_or_behind(&self, number: u32) -> io::Result<Option<u32>> {
        Ok(files::numbered(&self.dir, EXTENSION)?.into_iter().find(|there| *there >= number))
    }

    pub fn path(&self, number: u32) -> PathBuf {
        files::numbered_path(&self.dir, number, EXTENSION)
    }

    /// The current pack, or a new one if this entry does not fit any more.
    fn file_for(&self, head: &mut Head, len: u64) -> io::Result<Arc<File>> {
        if head.file.is_none() && head.number > 0 {
            let file = files::open_private(&files::numbered_path(&self.dir, head.number, EXTENSION))?;
            head.end = file.metadata()?.len().next_multiple_of(BLOCK as u64);
            head.file = Some(Arc::new(file));
        }
        let has_room = head.end == 0 || head.end + len <= self.full_at;
        if let Some(file) = head.file.as_ref().filter(|_| has_room) {
            return Ok(Arc::clone(file));
        }
        head.write()?;
        let number = head.number.checked_add(1).filter(|number| *number < u32::MAX);
        let number = number.ok_or_else(|| io::Error::other("too many packs"))?;
        let file = Arc::new(files::create_new(&files::numbered_path(&self.dir, number, EXTENSION))?);
        files::sync_dir(&self.dir)?;
        (head.number, head.end, head.file) = (number, 0, Some(Arc::clone(&file)));
        Ok(file)
    }

    /// After an error nobody knows what is on disk: it is not tried again.
    fn fail_stop<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.has_failed() {
            return Err(io::Error::other("the packs stopped after an I/O error"));
        }
        let done = work();
        if done.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        done
    }
}

/// Bytes of an entry with a body of this length.
fn entry_len(body: usize) -> usize {
    BLOCK + body.next_multiple_of(BLOCK)
}

/// Appends header and bytes of an entry, padded.
pub(super) fn encode(digest: &Digest, bytes: &[u8], to: &mut Vec<u8>) {
    let end = to.len() + entry_len(bytes.len());
    to.extend(header(digest, bytes.len()));
    to.extend_from_slice(bytes);
    to.resize(end, 0);
}

/// Magic, length, digest and the header's CRC-32C.
pub(super) fn header(digest: &Digest, len: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..4].copy_from_slice(&MAGIC);
    // At most MAX_PACKED.
    block[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    block[8..40].copy_from_slice(digest.as_bytes());
    let crc = crc32c::crc32c(&block[..CRC_AT]);
    block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    block
}

/// Digest and length that a header names; `None` if these bytes are no header.
pub(super) fn parse_header(block: &[u8]) -> Option<(Digest, u64)> {
    let (magic, len) = (block.get(..4)?, block.get(4..8)?);
    let (digest, crc) = (block.get(8..40)?, block.get(CRC_AT..BLOCK)?);
    let len = u32::from_le_bytes(len.try_into().ok()?);
    let fits =
        magic == MAGIC && len as usize <= MAX_PACKED && crc32c::crc32c(&block[..CRC_AT]).to_le_bytes() == crc;
    fits.then(|| Some((Digest::from_slice(digest)?, len.into()))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(packs: &Packs, bytes: &[u8]) -> BodyRecord {
        packs.put(&Digest::of(bytes), bytes).expect("put")
    }

    fn read(packs: &Packs, record: &BodyRecord) -> Result<Bytes, StoreError> {
        packs.read(record, &Digest::from_slice(&record.sha256).expect("digest"))
    }

    #[test]
    fn packs_roll_and_every_entry_stays_readable() {
        let dir = tempfile::tempdir().expect("temp");
        let packs = Packs::open(dir.path(), 1000).expect("open");
        let records: Vec<_> = (0..20_u8).map(|i| put(&packs, &[i; 200])).collect();
        packs.sync().expect("sync");
        assert!(files::lock(&packs.head).unsynced.is_empty());
        assert_eq!(records.last().map(|record| record.pack_plus_one), Some(8), "three fit into each");
        let huge = put(&packs, &[7; 5000]);
        packs.sync().expect("sync");
        let packs = Packs::open(dir.path(), 1000).expect("open");
        for (i, record) in records.iter().enumerate() {
            assert_eq!(&read(&packs, record).expect("read")[..], [i as u8; 200]);
        }
        assert_eq!(&read(&packs, &huge).expect("read")[..], [7; 5000]);
    }

    #[test]
    fn a_torn_tail_is_left_alone_and_nothing_is_written_over() {
        let dir = tempfile::tempdir().expect("temp");
        let packs = Packs::open(dir.path(), 10_000).expect("open");
        let (kept, torn) = (put(&packs, b"kept"), put(&packs, &[1; 300]));
        packs.sync().expect("sync");
        let path = files::numbered_path(dir.path(), 1, EXTENSION);
        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..torn.offset as usize + 101]).expect("write");
        let packs = Packs::open(dir.path(), 10_000).expect("open");
        let after = put(&packs, b"after");
        packs.sync().expect("sync");
        assert_eq!(after.offset, (torn.offset + 101).next_multiple_of(64) + 64);
        assert_eq!(&read(&packs, &kept).expect("read")[..], b"kept");
        assert_eq!(&read(&packs, &after).expect("read")[..], b"after");
        assert_eq!(
            std::fs::read(&path).expect("read")[..torn.offset as usize + 101],
            bytes[..torn.offset as usize + 101]
        );
    }

    #[test]
    fn records_that_do_not_fit_are_refused() {
        let dir = tempfile::tempdir().expect("temp");
        let packs = Packs::open(dir.path(), 10_000).expect("open");
        let good = put(&packs, b"body");
        let wrong = [
            BodyRecord { offset: good.offset + 64, ..good.clone() },
            BodyRecord { offset: 3, ..good.clone() },
            BodyRecord { offset: u64::MAX, ..good.clone() },
            BodyRecord { size: 3, ..good.clone() },
            BodyRecord { size: u64::MAX, ..good.clone() },
            BodyRecord { pack_plus_one: 9, ..good.clone() },
            BodyRecord { pack_plus_one: 0, ..good.clone() },
        ];
        for record in wrong {
            read(&packs, &record).expect_err(&format!("{record:?}"));
        }
        let error = packs.put(&Digest([0; 32]), &vec![0; MAX_PACKED + 1]).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        put(&packs, b"still works");
    }

    #[test]
    fn what_is_only_in_memory_can_be_read_and_is_written_when_it_is_much() {
        let dir = tempfile::tempdir().expect("temp");
        let packs = Packs::open(dir.path(), 64 << 20).expect("open");
        let len = || std::fs::metadata(files::numbered_path(dir.path(), 1, EXTENSION)).expect("there").len();
        let (one, two) = (put(&packs, b"one"), put(&packs, b"two"));
        assert_eq!(len(), 0);
        assert_eq!(&read(&packs, &one).expect("read")[..], b"one");
        assert_eq!(len(), 256, "both were written");
        assert_eq!(&read(&packs, &two).expect("read")[..], b"two");
        put(&packs, b"three");
        assert_eq!(packs.end().expect("end"), PackPlace { pack: 1, offset: 384 });
        assert_eq!(len(), 384);
        put(&packs, &vec![4; MAX_PENDING]);
        assert_eq!(len(), 384 + 64 + MAX_PENDING as u64);
        put(&packs, b"five");
        packs.sync().expect("sync");
        assert_eq!(len(), 384 + 64 + MAX_PENDING as u64 + 128);
    }

    #[test]
    fn after_an_error_nothing_is_taken() {
        let dir = tempfile::tempdir().expect("temp");
        let packs = Packs::open(dir.path(), 10_000).expect("open");
        std::fs::create_dir(files::numbered_path(dir.path(), 1, EXTENSION)).expect("mkdir");
        packs.put(&Digest([0; 32]), b"x").expect_err("no file can be made");
        std::fs::remove_dir(files::numbered_path(dir.path(), 1, EXTENSION)).expect("rmdir");
        packs.put(&Digest([0; 32]), b"x").expect_err("stopped");
        packs.sync().expect_err("stopped");
        assert!(packs.has_failed());
    }

    #[test]
    fn many_threads_may_put_and_sync() {
        let dir = tempfile::tempdir().expect("temp");
        let packs = Packs::open(dir.path(), 4_000).expect("open");
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let packs = &packs;
                scope.spawn(move || {
                    for i in 0..50_u8 {
                        let body = [[thread, i]; 30].concat();
                        let record = put(packs, &body);
                        packs.sync().expect("sync");
                        assert_eq!(read(packs, &record).expect("read"), body);
                    }
                });
            }
        });
    }
}
