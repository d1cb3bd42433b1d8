//! Reads bodies as streams.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use crate::{
    domain::id::Digest,
    store::{StoreError, files::failed},
};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// A body from some place on; ends at the body's end.
#[derive(Debug)]
pub struct BodyReader {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl BodyReader {
    pub(super) fn new(file: Arc<File>, at: u64, end: u64) -> Self {
        Self { file, at, end }
    }

    /// Bytes to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(buffer.len());
        if len == 0 {
            return Ok(0);
        }
        let got = self.file.read_at(&mut buffer[..len], self.at)?;
        if got == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file of the body became shorter"));
        }
        self.at += got as u64;
        Ok(got)
    }
}

/// Reads to the end; the caller has bounded the size.
pub(super) fn read_all(mut reader: BodyReader, digest: &Digest) -> Result<Bytes, StoreError> {
    let mut bytes = Vec::with_capacity(usize::try_from(reader.remaining()).unwrap_or_default());
    reader.read_to_end(&mut bytes).map_err(failed(format!("reading body {digest}")))?;
    Ok(bytes.into())
}

/// Hashes to the end.
pub(super) fn hash(reader: BodyReader) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    hash_into(&mut context, reader)?;
    Ok(finish(context))
}

/// Hashes to the end, on top of what was hashed before.
pub(super) fn hash_into(context: &mut Context, mut reader: BodyReader) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(reader.remaining()).unwrap_or(CHUNK).min(CHUNK)];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => context.update(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of what was hashed.
pub(super) fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest(digest)
}
