//! Goes through a pack entry by entry, whatever a crash or a disk left in it.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc};

use ring::digest::{Context, SHA256};

use super::{
    pack::{self, BLOCK},
    reader,
};
use crate::domain::id::Digest;

/// Bytes read at a time.
const WINDOW: usize = 1 << 20;

/// A place in the packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackPlace {
    /// Number of the pack; 0 before the first.
    pub pack: u32,
    /// Offset in it.
    pub offset: u64,
}

/// What stands at a place of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// An entry whose bytes have the digest of its header.
    Entry(Digest),
    /// The header of an entry that is not whole: torn by a crash, or damaged.
    Broken(Digest, u64),
    /// A block that is no part of an entry.
    Nothing,
}

/// One pack. A valid header proves nothing: bodies may hold what looks like one. So each is believed only if the bytes
/// behind it have its digest, and then nothing inside of it is looked at.
pub(super) struct Walk {
    file: Arc<File>,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Walk {
    /// From an offset, which is where an entry begins or a block that belongs to none, to `end` or the file's.
    pub fn new(file: Arc<File>, from: u64, end: u64) -> io::Result<Self> {
        let end = end.min(file.metadata()?.len());
        Ok(Self { file, at: from.next_multiple_of(BLOCK as u64), end, window: Vec::new(), window_at: 0 })
    }

    /// Where the next step begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next stretch with its offset and length, the header included; `None` at the end.
    pub fn step(&mut self) -> io::Result<Option<(u64, u64, Stretch)>> {
        let at = self.at;
        if at + BLOCK as u64 > self.end {
            return Ok(None);
        }
        let (len, stretch) = match pack::parse_header(self.bytes(at, BLOCK)?) {
            None => (BLOCK as u64, Stretch::Nothing),
            Some((digest, len)) => {
                let whole = BLOCK as u64 + len.next_multiple_of(BLOCK as u64);
                match self.has_digest(at + BLOCK as u64, len, &digest)? {
                    true => (whole, Stretch::Entry(digest)),
                    false => (BLOCK as u64, Stretch::Broken(digest, whole)),
                }
            }
        };
        self.at += len;
        Ok(Some((at, len, stretch)))
    }

    fn has_digest(&mut self, from: u64, len: u64, digest: &Digest) -> io::Result<bool> {
        let file_end = self.file.metadata()?.len();
        if from.checked_add(len).is_none_or(|end| end > file_end) {
            return Ok(false);
        }
        let mut context = Context::new(&SHA256);
        let (mut at, mut left) = (from, len);
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(WINDOW).min(WINDOW);
            context.update(self.bytes(at, part)?);
            at += part as u64;
            left -= part as u64;
        }
        Ok(reader::finish(context) == *digest)
    }

    /// Bytes that are there, read with what follows them.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let inside = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            self.window.resize(WINDOW.max(len), 0);
            let got = read_up_to(&self.file, &mut self.window, at)?;
            self.window.truncate(got);
            self.window_at = at;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "the pack became shorter");
        self.window.get(from..from.saturating_add(len)).ok_or_else(ended)
    }
}

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
