//! Segment files: made zeroed and durable before they are used, read through a window.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use super::frame::{BLOCK, FrameHeader};
use crate::store::{files, written};

/// Extension of segment files.
pub(super) const EXTENSION: &str = "seg";
/// Bytes read or zeroed at a time.
const CHUNK: usize = 1 << 20;
/// Zeros written between two syncs: the sync of a commit must not wait behind a whole segment.
const STEP: u64 = 4 << 20;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// What the journal does with the file that it appends to. A trait, so that tests can let it fail.
pub(super) trait SegmentFile: Send + Sync {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync_data(&self) -> io::Result<()>;
}

impl SegmentFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        written::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        written::sync_data(self)
    }
}

/// A segment that can be appended to.
pub(super) struct Segment {
    pub number: u32,
    pub len: u64,
    pub file: Box<dyn SegmentFile>,
}

impl Segment {
    /// Makes a zeroed segment under its name, durably; replaces an unused one.
    pub fn create(dir: &Path, number: u32, len: u64) -> io::Result<Self> {
        let temporary = files::numbered_path(dir, number, "tmp");
        let file = match zeroed(&temporary, len) {
            Ok(file) => file,
            Err(error) => {
                // Best effort: room that a full disk needs; the next start removes it too.
                let _ = fs::remove_file(&temporary);
                return Err(error);
            }
        };
        fs::rename(&temporary, files::numbered_path(dir, number, EXTENSION))?;
        files::sync_dir(dir)?;
        Ok(Self { number, len, file: Box::new(file) })
    }

    /// Opens an existing segment.
    pub fn open(dir: &Path, number: u32) -> io::Result<Self> {
        let path = files::numbered_path(dir, number, EXTENSION);
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { number, len: file.metadata()?.len(), file: Box::new(file) })
    }

    /// Writes zeros over a range and syncs.
    pub fn clear(&self, mut from: u64, to: u64) -> io::Result<()> {
        while from < to {
            let len = chunk(to - from);
            self.file.write_all_at(&ZEROS[..len], from)?;
            from += len as u64;
        }
        self.file.sync_data()
    }
}

/// Numbers of the segments in a directory.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u32>> {
    files::numbered(dir, EXTENSION)
}

/// Removes segments that were still being made when the process ended.
pub(super) fn remove_unfinished(dir: &Path) -> io::Result<()> {
    files::numbered(dir, "tmp")?
        .into_iter()
        .try_for_each(|number| files::remove_if_there(&files::numbered_path(dir, number, "tmp")))
}

fn zeroed(path: &Path, len: u64) -> io::Result<File> {
    let file = files::create_private(path)?;
    let mut offset = 0;
    while offset < len {
        let part = chunk(len - offset);
        written::write_all_at(&file, &ZEROS[..part], offset)?;
        offset += part as u64;
        if offset.is_multiple_of(STEP) {
            written::sync_data(&file)?;
        }
    }
    written::sync_all(&file)?;
    Ok(file)
}

fn chunk(len: u64) -> usize {
    usize::try_from(len).unwrap_or(CHUNK).min(CHUNK)
}

/// The next segment, made by a thread so that nobody waits for it. Dropping it waits for the thread.
#[derive(Default)]
pub(super) struct Next {
    asked: bool,
    making: Option<JoinHandle<io::Result<Segment>>>,
    ready: Option<Segment>,
}

impl Next {
    /// A segment that already lies there.
    pub fn found(segment: Segment) -> Self {
        Self { asked: true, making: None, ready: Some(segment) }
    }

    /// Begins to make the segment, once.
    pub fn ask(&mut self, dir: &Path, number: u32, len: u64) -> io::Result<()> {
        if self.asked {
            return Ok(());
        }
        self.asked = true;
        let dir: PathBuf = dir.to_owned();
        let thread = std::thread::Builder::new().name("journal-next".into());
        self.making = Some(thread.spawn(move || Segment::create(&dir, number, len))?);
        Ok(())
    }

    /// Takes the result over if it is there; the error is told once.
    pub fn collect(&mut self) -> io::Result<()> {
        match self.making.take_if(|thread| thread.is_finished()) {
            Some(thread) => self.join(thread),
            None => Ok(()),
        }
    }

    /// The segment if it was made; waits for it. A failure is not told here: the caller makes its own.
    pub fn take(&mut self) -> Option<Segment> {
        if let Some(thread) = self.making.take() {
            let _ = self.join(thread);
        }
        self.asked = false;
        self.ready.take()
    }

    fn join(&mut self, thread: JoinHandle<io::Result<Segment>>) -> io::Result<()> {
        let made = thread.join().unwrap_or_else(|_| Err(io::Error::other("making a segment panicked")));
        self.ready = Some(made?);
        Ok(())
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        self.take();
    }
}

/// A segment under inspection: positioned reads through a buffer, so that small frames cost no system call
/// each.
pub(super) struct Window {
    pub number: u32,
    pub len: u64,
    file: File,
    base: u64,
    buffer: Vec<u8>,
}

/// What stands at a place.
pub(super) enum Found {
    /// A frame with every checksum right.
    Whole(FrameHeader),
    /// No frame of this journal, or a broken header.
    NoHeader,
    /// The header is right, the payload is not.
    BadPayload(FrameHeader),
    /// Header and payload are right, but the padding is not zero: no torn write does that.
    BadPadding(FrameHeader),
}

impl Window {
    pub fn open(dir: &Path, number: u32) -> io::Result<Self> {
        let file = File::open(files::numbered_path(dir, number, EXTENSION))?;
        Ok(Self { number, len: file.metadata()?.len(), file, base: 0, buffer: Vec::new() })
    }

    /// The bytes at `offset`; `None` if the segment ends before them.
    pub fn bytes(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(len as u64).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        if offset < self.base || end > self.base + self.buffer.len() as u64 {
            let want = chunk(self.len - offset).max(len);
            self.buffer.resize(want, 0);
            self.base = offset;
            self.file.read_exact_at(&mut self.buffer, offset).inspect_err(|_| self.buffer.clear())?;
        }
        // Fits usize: it lies within the buffer.
        let start = (offset - self.base) as usize;
        Ok(Some(&self.buffer[start..start + len]))
    }

    /// Judges the frame at `offset`; `journal` is the journal's number if it is known.
    pub fn inspect(&mut self, offset: u64, journal: Option<u64>) -> io::Result<Found> {
        let header = self.bytes(offset, BLOCK)?.and_then(FrameHeader::decode);
        let Some(header) = header.filter(|header| journal.is_none_or(|journal| journal == header.journal))
        else {
            return Ok(Found::NoHeader);
        };
        let len = header.len as usize;
        let Some(body) = self.bytes(offset + BLOCK as u64, len.next_multiple_of(BLOCK))? else {
            return Ok(Found::BadPayload(header));
        };
        let (payload, padding) = body.split_at(len);
        Ok(match crc32c::crc32c(payload) == header.payload_crc {
            false => Found::BadPayload(header),
            true if padding.iter().any(|byte| *byte != 0) => Found::BadPadding(header),
            true => Found::Whole(header),
        })
    }

    /// The first whole frame at or after `offset` whose sequence is at least `seq`.
    pub fn search(
        &mut self,
        mut offset: u64,
        journal: Option<u64>,
        seq: u64,
    ) -> io::Result<Option<(u64, FrameHeader)>> {
        while let Some(candidate) = self.candidate(offset)? {
            if let Found::Whole(header) = self.inspect(candidate, journal)?
                && header.seq >= seq
            {
                return Ok(Some((candidate, header)));
            }
            offset = candidate + BLOCK as u64;
        }
        Ok(None)
    }

    fn candidate(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        while offset < self.len {
            let len = chunk(self.len - offset);
            let Some(bytes) = self.bytes(offset, len)? else { return Ok(None) };
            if let Some(block) = bytes.chunks(BLOCK).position(FrameHeader::begins) {
                return Ok(Some(offset + (block * BLOCK) as u64));
            }
            offset += len as u64;
        }
        Ok(None)
    }

    /// End of the last byte at or after `offset` that is not zero; `None` if all are.
    pub fn written_end(&mut self, mut offset: u64) -> io::Result<Option<u64>> {
        let mut end = None;
        while offset < self.len {
            let len = chunk(self.len - offset);
            let Some(bytes) = self.bytes(offset, len)? else { break };
            if bytes != &ZEROS[..len] {
                let last = bytes.iter().rposition(|byte| *byte != 0);
                end = last.map(|last| offset + last as u64 + 1);
            }
            offset += len as u64;
        }
        Ok(end)
    }
}
