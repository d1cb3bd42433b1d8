//! The journal: the moment of durability. Append-only, one write and one sync per frame.
//!
//! Segments `00000001.seg`… are made zeroed and durable before use, so that an append changes no metadata.
//! A frame is a 64-byte header (see `frame`) and its payload, padded with zeros to 64 bytes.

mod frame;
mod reader;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use self::{
    frame::{BLOCK, FrameHeader, SegmentHeader, span},
    scan::{Begin, Scanner, Step},
    segment::{Next as NextSegment, Segment},
};
pub use self::{
    frame::{FramePosition, Kind, MAX_PAYLOAD},
    reader::JournalReader,
    scan::{Damage, TornTail},
};
use crate::store::{
    StoreError,
    files::{self, failed},
};

/// Room at the front of the write buffer: a segment header (if the frame is the segment's first) and the
/// frame's.
const HEADERS: usize = 2 * BLOCK;
/// The write buffer is cut back to this after a large frame.
const KEPT_BUFFER: usize = 4 << 20;
/// Bounds of a segment's length. The upper one keeps every offset far below 4 GiB.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4 * BLOCK as u64..=1 << 30;

/// How a journal is laid out.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// Bytes of a new segment; taken into the bounds 256 bytes to 1 GiB. Existing segments keep their length.
    pub segment_bytes: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// A frame as it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Rises by one per frame, from 1.
    pub seq: u64,
    /// What it is for.
    pub kind: Kind,
    /// Where it lies.
    pub position: FramePosition,
    /// Its content, verified; empty for a seal.
    pub payload: &'a [u8],
}

/// What was found when the journal was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Frames replayed, seals included.
    pub frames: u64,
    /// Sequence number of the newest frame, 0 in an empty journal.
    pub last_seq: u64,
    /// An unfinished write that was cut off.
    pub cut: Option<TornTail>,
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A frame that was acknowledged is damaged. Starting would lose it; the operator has to decide.
    #[error("{0}")]
    Damaged(Damage),
    /// The disk failed, the layout is wrong, or the visitor refused a frame.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<JournalError> for StoreError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Damaged(damage) => Self::Damaged(damage.to_string()),
            JournalError::Store(error) => error,
        }
    }
}

/// The journal, open for appending. One process, one writer: the owner of the directory holds its lock.
///
/// After any I/O error in an append it is poisoned: what is on disk is unknown, and every later append fails.
pub struct Journal {
    dir: PathBuf,
    options: JournalOptions,
    /// Random number that all headers carry.
    id: u64,
    segment: Segment,
    /// Where the next frame goes; 0 while the segment has no header.
    offset: u64,
    next_seq: u64,
    sealed: bool,
    poisoned: bool,
    next: NextSegment,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens or creates the journal in `dir` and shows every frame from `from` on (`None`: from the start) to
    /// `visit`. The frame at `from`, given with its number, must exist: it was synced before anybody could name it.
    ///
    /// A torn tail is cut, synced and told in [`Recovery`]. Any other bad frame is [`JournalError::Damaged`].
    pub fn open(
        dir: &Path,
        options: JournalOptions,
        from: Option<(FramePosition, u64)>,
        visit: &mut dyn FnMut(Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<(Self, Recovery), JournalError> {
        let options = JournalOptions {
            segment_bytes: options
                .segment_bytes
                .clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end())
                .next_multiple_of(BLOCK as u64),
        };
        let segments = settle(dir, options).map_err(failed("opening the journal"))?;
        all_there(dir, &segments)?;
        let begin = from.map_or(Begin::Start, |(position, seq)| Begin::At(position, seq));
        let mut scanner = Scanner::new(dir, &segments, begin)?;
        let mut recovery = Recovery::default();
        let mut sealed = true;
        let end = loop {
            match scanner.step()? {
                Step::Frame { seq, kind, position, len } => {
                    visit(Frame { seq, kind, position, payload: scanner.payload(position, len)? })?;
                    recovery.frames += 1;
                    sealed = kind == Kind::Seal;
                }
                Step::Damage(damage) => return Err(JournalError::Damaged(damage)),
                Step::Torn(tail) => {
                    recovery.cut = Some(tail);
                    break tail.position;
                }
                Step::End(position) => break position,
            }
        };
        recovery.last_seq = scanner.next_seq() - 1;
        let id = scanner.journal();
        let journal = Self::ready(dir, options, end, id, &recovery, sealed);
        Ok((journal.map_err(failed("opening the journal's last segment"))?, recovery))
    }

    fn ready(
        dir: &Path,
        options: JournalOptions,
        end: FramePosition,
        id: Option<u64>,
        recovery: &Recovery,
        sealed: bool,
    ) -> io::Result<Self> {
        let segment = Segment::open(dir, end.segment)?;
        if let Some(tail) = recovery.cut {
            segment.clear(end.offset.into(), u64::from(end.offset) + tail.bytes)?;
        }
        let next = match Segment::open(dir, end.segment.saturating_add(1)) {
            _ if end.segment == u32::MAX => NextSegment::default(),
            Ok(unused) => NextSegment::found(unused),
            Err(error) if error.kind() == io::ErrorKind::NotFound => NextSegment::default(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            dir: dir.to_owned(),
            options,
            id: id.map_or_else(|| getrandom::u64().map_err(io::Error::other), Ok)?,
            segment,
            offset: end.offset.into(),
            next_seq: recovery.last_seq + 1,
            sealed,
            poisoned: false,
            next,
            buffer: Vec::new(),
        })
    }

    /// Appends a commit. When this returns, it survives power loss.
    ///
    /// A payload of more than [`MAX_PAYLOAD`] is refused with `InvalidInput`, and nothing is written.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<(u64, FramePosition)> {
        self.append_with(|buffer| buffer.extend_from_slice(payload))
    }

    /// As [`append`](Self::append), but `encode` writes the payload behind what the buffer holds already,
    /// which saves a copy.
    pub fn append_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<(u64, FramePosition)> {
        self.write(Kind::Commit, encode)
    }

    /// Appends a seal if the newest frame is a commit. For moments when nothing waits: from now on a bad bit
    /// in that commit is seen as damage and not taken for a torn tail.
    pub fn seal(&mut self) -> io::Result<()> {
        if self.sealed {
            return Ok(());
        }
        self.write(Kind::Seal, |_| {}).map(drop)
    }

    /// Begins to make the next segment in the background, if that has not happened yet. Never waits.
    ///
    /// An error is told once and poisons nothing: no frame depends on that file, and the append that needs it
    /// makes it anew.
    pub fn prepare(&mut self) -> io::Result<()> {
        let Some(number) = self.segment.number.checked_add(1) else { return Ok(()) };
        self.next.ask(&self.dir, number, self.options.segment_bytes)?;
        self.next.collect()
    }

    /// A reader of this journal for any thread.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(&self.dir)
    }

    /// Sequence number that the next frame gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Where the next frame goes if it fits into the segment.
    #[must_use]
    pub fn end(&self) -> FramePosition {
        FramePosition { segment: self.segment.number, offset: offset(self.offset.max(BLOCK as u64)) }
    }

    /// True if the newest frame is a seal, or there is no frame.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// True after an I/O error in an append.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn write(&mut self, kind: Kind, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<(u64, FramePosition)> {
        if self.poisoned {
            return Err(io::Error::other("the journal stopped after an I/O error"));
        }
        self.buffer.clear();
        self.buffer.resize(HEADERS, 0);
        encode(&mut self.buffer);
        let len = self.buffer.len().saturating_sub(HEADERS);
        if len > MAX_PAYLOAD {
            self.buffer = Vec::new();
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a frame of {len} bytes")));
        }
        let written = self.write_buffer(kind, len);
        self.poisoned = written.is_err();
        self.buffer.truncate(KEPT_BUFFER);
        self.buffer.shrink_to(KEPT_BUFFER);
        written
    }

    fn write_buffer(&mut self, kind: Kind, len: usize) -> io::Result<(u64, FramePosition)> {
        self.make_room(span(len))?;
        let seq = self.next_seq;
        let header = FrameHeader {
            kind,
            // At most MAX_PAYLOAD, checked above.
            len: len as u32,
            payload_crc: crc32c::crc32c(&self.buffer[HEADERS..]),
            seq,
            journal: self.id,
        };
        self.buffer[BLOCK..HEADERS].copy_from_slice(&header.encode());
        self.buffer.resize(HEADERS + len.next_multiple_of(BLOCK), 0);
        if self.offset == 0 {
            let header = SegmentHeader {
                number: self.segment.number,
                journal: self.id,
                first_seq: seq,
                len: self.segment.len,
            };
            self.buffer[..BLOCK].copy_from_slice(&header.encode());
            self.segment.file.write_all_at(&self.buffer, 0)?;
            self.offset = BLOCK as u64;
        } else {
            self.segment.file.write_all_at(&self.buffer[BLOCK..], self.offset)?;
        }
        self.segment.file.sync_data()?;
        let position = FramePosition { segment: self.segment.number, offset: offset(self.offset) };
        self.offset += header.span();
        self.next_seq += 1;
        self.sealed = kind == Kind::Seal;
        if self.offset > self.segment.len / 2 {
            // Told again, and then for good, by the append that needs the segment.
            let _ = self.prepare();
        }
        Ok((seq, position))
    }

    /// Goes to a new segment if the frame does not fit into this one.
    fn make_room(&mut self, span: u64) -> io::Result<()> {
        let need = BLOCK as u64 + span;
        if self.offset.max(BLOCK as u64) + span <= self.segment.len {
            return Ok(());
        }
        let unused = self.offset == 0;
        let number = match unused {
            true => self.segment.number,
            false => {
                self.segment.number.checked_add(1).ok_or_else(|| io::Error::other("too many segments"))?
            }
        };
        let prepared = if unused { None } else { self.next.take() };
        self.segment = match prepared.filter(|segment| segment.number == number && segment.len >= need) {
            Some(segment) => segment,
            None => Segment::create(&self.dir, number, self.options.segment_bytes.max(need))?,
        };
        self.offset = 0;
        Ok(())
    }
}

/// True if `dir` holds a segment.
pub fn exists(dir: &Path) -> io::Result<bool> {
    match segment::list(dir) {
        Ok(segments) => Ok(!segments.is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// An error names the first segment that is missing, or has a length that no segment is made with. The journal does
/// not open then.
pub fn layout(dir: &Path) -> Result<(), StoreError> {
    all_there(dir, &segment::list(dir).map_err(failed("listing the journal"))?)
}

/// What a check of the journal finds, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding<'a> {
    /// A good frame.
    Frame(Frame<'a>),
    /// A damaged one; the check goes on behind it.
    Damage(&'a Damage),
    /// An unfinished write at the end: normal after a crash, and while the journal is being written to.
    TornTail(TornTail),
}

/// Reads the whole journal in `dir`, changes nothing, and does not stop at damage.
pub fn check(
    dir: &Path,
    visit: &mut dyn FnMut(Finding<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let segments = segment::list(dir).map_err(failed("listing the journal"))?;
    if segments.is_empty() {
        return Ok(());
    }
    let mut scanner = Scanner::new(dir, &segments, Begin::Start)?;
    loop {
        match scanner.step()? {
            Step::Frame { seq, kind, position, len } => {
                let payload = scanner.payload(position, len)?;
                visit(Finding::Frame(Frame { seq, kind, position, payload }))?;
            }
            Step::Damage(damage) => visit(Finding::Damage(&damage))?,
            Step::Torn(tail) => return visit(Finding::TornTail(tail)),
            Step::End(_) => return Ok(()),
        }
    }
}

/// Where a [partial check](check_part) goes on: the frame of this number, which comes here or with the next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Behind the frame before.
    pub position: FramePosition,
    /// Number of the frame.
    pub seq: u64,
}

/// As [`check`] for a part of a journal that grows: from a frame on, at least one, until `bytes` are read or the frame
/// `last` is. Frames after `last` must not be asked for: they may be half written. `None` at the end.
pub fn check_part(
    dir: &Path,
    from: Option<Next>,
    last: u64,
    bytes: u64,
    visit: &mut dyn FnMut(Finding<'_>) -> Result<(), StoreError>,
) -> Result<Option<Next>, StoreError> {
    let segments = segment::list(dir).map_err(failed("listing the journal"))?;
    if segments.is_empty() || last == 0 || from.is_some_and(|next| next.seq > last) {
        return Ok(None);
    }
    let begin = from.map_or(Begin::Start, |next| Begin::Exactly(next.position, next.seq));
    let mut scanner = Scanner::new(dir, &segments, begin)?;
    let mut read = 0;
    loop {
        match scanner.step()? {
            Step::Frame { seq, kind, position, len } => {
                let payload = scanner.payload(position, len)?;
                visit(Finding::Frame(Frame { seq, kind, position, payload }))?;
                read += span(len as usize);
                let next = scanner.next();
                if seq >= last || read >= bytes {
                    return Ok((seq < last).then_some(next));
                }
            }
            Step::Damage(damage) => {
                visit(Finding::Damage(&damage))?;
                match damage.next_seq {
                    Some(next) if next <= last => {}
                    _ => return Ok(None),
                }
            }
            // The journal is known to be longer.
            Step::Torn(_) | Step::End(_) => return Ok(None),
        }
    }
}

/// The bytes of a damaged payload as they are now, to find out which documents they belonged to.
pub fn damaged_payload(dir: &Path, damage: &Damage) -> io::Result<Bytes> {
    let file = File::open(files::numbered_path(dir, damage.position.segment, segment::EXTENSION))?;
    let len = damage.payload.end.saturating_sub(damage.payload.start).min(MAX_PAYLOAD as u64);
    // At most MAX_PAYLOAD.
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, damage.payload.start)?;
    Ok(bytes.into())
}

/// Makes the directory fit for a scan and returns its segments.
///
/// A process that was killed may have left frames in the page cache only. They will be acted upon, so they
/// are synced first.
fn settle(dir: &Path, options: JournalOptions) -> io::Result<Vec<u32>> {
    files::make_dir(dir)?;
    segment::remove_unfinished(dir)?;
    let mut segments = segment::list(dir)?;
    if segments.is_empty() {
        Segment::create(dir, 1, options.segment_bytes)?;
        segments.push(1);
    }
    for number in segments.iter().rev().take(2) {
        Segment::open(dir, *number)?.file.sync_data()?;
    }
    files::sync_dir(dir)?;
    Ok(segments)
}

/// Refuses a journal with a missing segment, or one of a length that no segment is made with.
fn all_there(dir: &Path, segments: &[u32]) -> Result<(), StoreError> {
    for (number, expected) in segments.iter().zip(1..) {
        if *number != expected {
            return Err(StoreError::Damaged(format!("journal: segment {expected} is missing")));
        }
        let path = files::numbered_path(dir, *number, segment::EXTENSION);
        let len = path.metadata().map_err(failed(format!("opening journal segment {number}")))?.len();
        if len < *SEGMENT_BYTES.start() || !len.is_multiple_of(BLOCK as u64) || len > u32::MAX.into() {
            return Err(StoreError::Damaged(format!("journal: segment {number} is {len} bytes long")));
        }
    }
    Ok(())
}

/// Offsets stay below 4 GiB: a frame begins within its segment, which is at most 1 GiB long (see
/// `SEGMENT_BYTES`).
fn offset(offset: u64) -> u32 {
    debug_assert!(offset <= u32::MAX.into());
    offset as u32
}
