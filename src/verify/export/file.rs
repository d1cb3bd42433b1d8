//! The file: items one after the other, each in its one allowed form.

use std::io::{self, BufRead, Read, Write};

use prost::{
    Message,
    encoding::{encode_varint, encoded_len_varint},
};
use ring::digest::{Context, SHA256};

use super::{ExportError, Place};
use crate::{
    domain::id::Digest,
    proto::{ExportEnd, ExportHead, ExportItem, export_item::Item},
};

/// Begins every file.
pub const MAGIC: &[u8] = b"truc export v1\n";
/// Largest item: a manifest or a list with 20,000 recipients, a head with all agencies of a country.
const MAX_ITEM: u64 = 8 << 20;

/// Reads a file item by item.
pub struct Items<R> {
    reader: R,
    read: Context,
    /// Items so far.
    count: u64,
    end: Option<ExportEnd>,
}

impl<R: BufRead> Items<R> {
    /// Opens a file; its head.
    pub fn open(reader: R) -> Result<(Self, ExportHead), ExportError> {
        let mut items = Self { reader, read: Context::new(&SHA256), count: 0, end: None };
        let mut magic = [0; MAGIC.len()];
        items.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(Place::File.problem("does not begin with \"truc export v1\""));
        }
        match items.item()?.and_then(|item| item.item) {
            Some(Item::Head(head)) => Ok((items, head)),
            _ => Err(Place::File.problem("has no head")),
        }
    }

    /// The next item; `None` behind the end, which has to fit to all before it.
    pub fn read(&mut self) -> Result<Option<ExportItem>, ExportError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let before = Digest::from_slice(self.read.clone().finish().as_ref());
        let item = self.item()?.ok_or_else(|| Place::File.problem("breaks off: it has no end"))?;
        let Some(Item::End(end)) = item.item else { return Ok(Some(item)) };
        if before.map(Digest::to_bytes).as_ref() != Some(&end.proof_sha256) {
            return Err(Place::File.problem("damaged: its bytes do not have the digest at its end"));
        }
        if !self.reader.fill_buf().map_err(unreadable)?.is_empty() {
            return Err(Place::File.problem("goes on behind its end"));
        }
        self.end = Some(end);
        Ok(None)
    }

    /// The end, once it was read.
    pub fn end(&self) -> Option<&ExportEnd> {
        self.end.as_ref()
    }

    /// `None` at the end of the bytes.
    fn item(&mut self) -> Result<Option<ExportItem>, ExportError> {
        let (at, wrong) = (self.count, |problem: String| Place::File.problem(problem));
        let Some(length) = self.length()? else { return Ok(None) };
        if length > MAX_ITEM {
            return Err(wrong(format!("item {at} has more than {MAX_ITEM} bytes")));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        if read as u64 != length {
            return Err(wrong(format!("breaks off within item {at}")));
        }
        self.read.update(&bytes);
        let bytes = bytes::Bytes::from(bytes);
        let item = ExportItem::decode(bytes.clone()).map_err(|error| wrong(format!("item {at}: {error}")))?;
        if item.encode_to_vec() != bytes {
            return Err(wrong(format!("item {at} is not in its one allowed form")));
        }
        self.count += 1;
        Ok(Some(item))
    }

    /// A varint in its shortest form.
    fn length(&mut self) -> Result<Option<u64>, ExportError> {
        let (mut value, mut taken) = (0_u64, 0);
        if self.reader.fill_buf().map_err(unreadable)?.is_empty() {
            return Ok(None);
        }
        loop {
            let mut byte = [0];
            self.fill(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << (7 * taken);
            taken += 1;
            if byte[0] < 0x80 {
                break;
            }
            if taken == 4 {
                return Err(Place::File.problem(format!("item {} is too long", self.count)));
            }
        }
        if encoded_len_varint(value) != taken {
            return Err(Place::File.problem(format!("item {} is not in its one allowed form", self.count)));
        }
        Ok(Some(value))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ExportError> {
        self.reader.read_exact(bytes).map_err(unreadable)?;
        self.read.update(bytes);
        Ok(())
    }
}

fn unreadable(error: io::Error) -> ExportError {
    let problem = match error.kind() {
        io::ErrorKind::UnexpectedEof => "breaks off".to_owned(),
        _ => format!("can't be read: {error}"),
    };
    Place::File.problem(problem)
}

/// Writes a file item by item.
pub struct Writer<W> {
    writer: W,
    written: Context,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn create(writer: W) -> io::Result<Self> {
        let mut file = Self { writer, written: Context::new(&SHA256) };
        file.bytes(MAGIC)?;
        Ok(file)
    }

    /// Writes an item.
    pub fn put(&mut self, item: &ExportItem) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(item.encoded_len() + 4);
        encode_varint(item.encoded_len() as u64, &mut bytes);
        item.encode_raw(&mut bytes);
        self.bytes(&bytes)
    }

    /// Ends the file: how many rows, and the digest of the export.
    pub fn end(mut self, rows: u64, file_sha256: &Digest) -> io::Result<W> {
        let proof_sha256 = bytes::Bytes::copy_from_slice(self.written.clone().finish().as_ref());
        let end = ExportEnd { rows, file_sha256: file_sha256.to_bytes(), proof_sha256 };
        self.put(&ExportItem { item: Some(Item::End(end)) })?;
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written.update(bytes);
        self.writer.write_all(bytes)
    }
}
