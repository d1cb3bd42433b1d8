//! Reads single frames by position, from any thread, while the journal grows.

use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    frame::{BLOCK, FrameHeader, FramePosition, span},
    segment::EXTENSION,
};
use crate::store::{
    StoreError,
    files::{OpenFiles, failed},
};

/// Segments that a reader keeps open.
const OPEN_SEGMENTS: usize = 128;
/// Bytes that the first read of a frame takes: most frames fit, so most reads are one system call.
const FIRST_READ: usize = 4096;

/// Reads frames of a journal. Cheap to clone; every clone shares the open files.
#[derive(Clone)]
pub struct JournalReader {
    files: Arc<OpenFiles>,
}

impl JournalReader {
    /// A reader of the journal in `dir`, which may be open for appending in this process.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { files: Arc::new(OpenFiles::new(dir, EXTENSION, OPEN_SEGMENTS)) }
    }

    /// The whole payload of a frame, its checksums verified.
    pub fn read(&self, position: FramePosition) -> Result<Bytes, StoreError> {
        let file = self.file(position)?;
        let mut bytes = vec![0; FIRST_READ];
        let got = read_up_to(&file, &mut bytes, position.offset.into()).map_err(at(position))?;
        bytes.truncate(got);
        let header = FrameHeader::decode(&bytes).ok_or_else(|| damaged(position, "its header"))?;
        let end = BLOCK + header.len as usize;
        if got < end {
            bytes.resize(end, 0);
            let rest = u64::from(position.offset) + got as u64;
            file.read_exact_at(&mut bytes[got..], rest).map_err(at(position))?;
        }
        let payload = Bytes::from(bytes).slice(BLOCK..end);
        if crc32c::crc32c(&payload) != header.payload_crc {
            return Err(damaged(position, "its payload"));
        }
        Ok(payload)
    }

    /// The frame behind one whose payload has this length: in the same segment, or the first of the next.
    pub fn read_behind(
        &self,
        position: FramePosition,
        len: usize,
    ) -> Result<(FramePosition, Bytes), StoreError> {
        let offset = u32::try_from(u64::from(position.offset) + span(len)).unwrap_or(u32::MAX);
        let behind = FramePosition { offset, ..position };
        if let Ok(payload) = self.read(behind) {
            return Ok((behind, payload));
        }
        let next = FramePosition { segment: position.segment.saturating_add(1), ..FramePosition::first() };
        Ok((next, self.read(next)?))
    }

    /// The first `max` bytes of a frame's payload, or all of it if it is shorter. Verified as
    /// [`read_part`](Self::read_part) does.
    pub fn read_start(&self, position: FramePosition, max: u32) -> Result<Bytes, StoreError> {
        let file = self.file(position)?;
        let mut bytes = vec![0; BLOCK + max as usize];
        let got = read_up_to(&file, &mut bytes, position.offset.into()).map_err(at(position))?;
        bytes.truncate(got);
        let header = FrameHeader::decode(&bytes).ok_or_else(|| damaged(position, "its header"))?;
        bytes.truncate(BLOCK + header.len as usize);
        Ok(Bytes::from(bytes).slice(BLOCK..))
    }

    /// `len` bytes of a frame's payload from `offset` on. The frame's header is verified, these bytes are not:
    /// the caller knows their hash, or what they must decode to.
    pub fn read_part(&self, position: FramePosition, offset: u32, len: u32) -> Result<Bytes, StoreError> {
        let file = self.file(position)?;
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, position.offset.into()).map_err(at(position))?;
        let header = FrameHeader::decode(&block).ok_or_else(|| damaged(position, "its header"))?;
        if u64::from(offset) + u64::from(len) > header.len.into() {
            return Err(StoreError::Damaged(format!(
                "journal {position}: bytes {offset}+{len} are not within the payload of {} bytes",
                header.len
            )));
        }
        let mut part = vec![0; len as usize];
        let start = u64::from(position.offset) + BLOCK as u64 + u64::from(offset);
        file.read_exact_at(&mut part, start).map_err(at(position))?;
        Ok(part.into())
    }

    fn file(&self, position: FramePosition) -> Result<Arc<File>, StoreError> {
        self.files.get(position.segment).map_err(at(position))
    }
}

fn at(position: FramePosition) -> impl FnOnce(io::Error) -> StoreError {
    move |error| failed(format!("reading journal {position}"))(error)
}

fn damaged(position: FramePosition, what: &str) -> StoreError {
    StoreError::Damaged(format!("journal {position}: {what} is not what was written"))
}

/// Reads until the buffer is full or the file ends.
fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], offset + got as u64) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
