//! Large attachments: uploaded in chunks, and resumed where a cut left off.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Client, ClientError, Patience, Terms, refusal::Refusal};
use crate::{
    domain::{id::Digest, reason::ReasonCode},
    proto::{QueryUploadRequest, UploadBegin, UploadRequest, UploadResponse, upload_request::Step},
};

/// Bytes of one message: small enough for a slow line, large enough not to cost more than it carries.
const CHUNK: usize = 512 * 1024;
/// Chunks read ahead of the connection.
const AHEAD: usize = 4;

/// A file whose digest is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Told how far work is: `(done, total)` bytes.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Hashes a file in constant memory.
pub async fn hash_file(path: &Path) -> Result<Hashed, ClientError> {
    let owned = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash_blocking(&owned)).await;
    let (size, sha256) =
        hashed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(ClientError::file(path))?;
    Ok(Hashed { path: path.to_owned(), size, sha256 })
}

fn hash_blocking(path: &Path) -> std::io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let (mut size, mut buffer) = (0, vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                context.update(&buffer[..read]);
                size += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let digest = Digest::from_slice(context.finish().as_ref());
    Ok((size, digest.ok_or_else(|| std::io::Error::other("SHA-256 has 32 bytes"))?))
}

/// Brings a file to the hub, where it is then held for this node; returns at once when it is there already.
///
/// After a cut it goes on at the byte that the hub holds. Patience counts failures without any new byte.
pub async fn upload(
    client: &Client,
    terms: &Terms,
    file: &Hashed,
    patience: &Patience,
    progress: Progress<'_>,
) -> Result<(), ClientError> {
    let (mut failed, mut furthest) = (0, 0);
    loop {
        let held = query(client, &file.sha256, patience).await?;
        if held.complete {
            progress(file.size, file.size);
            return Ok(());
        }
        if held.received > furthest {
            (failed, furthest) = (0, held.received);
        }
        let status = match send_rest(client, terms, file, held.received, progress).await? {
            Ok(answer) if answer.complete => return Ok(()),
            Ok(_) => Status::unavailable("the upload ended before its end"),
            Err(status) if is_wrong_offset(&status) => Status::unavailable("the upload has moved on"),
            Err(status) => status,
        };
        if !patience.after(&status, &mut failed).await {
            return Err(status.into());
        }
    }
}

async fn query(client: &Client, sha256: &Digest, patience: &Patience) -> Result<UploadResponse, Status> {
    let request = QueryUploadRequest { sha256: sha256.to_bytes() };
    let answer = patience.call(client.submission(), request, |mut hub, request| async move {
        hub.query_upload(request).await
    });
    Ok(answer.await?.into_inner())
}

/// One Upload call. The outer error is the file's, the inner one the call's.
async fn send_rest(
    client: &Client,
    terms: &Terms,
    file: &Hashed,
    offset: u64,
    progress: Progress<'_>,
) -> Result<Result<UploadResponse, Status>, ClientError> {
    let (messages, receiver) = mpsc::channel(AHEAD);
    let mut service = client.submission();
    let call = service.upload(ReceiverStream::new(receiver));
    let reader = read_rest(file, offset, chunk_size(terms), messages, progress);
    tokio::pin!(call, reader);
    let mut all_read = false;
    loop {
        tokio::select! {
            answer = &mut call => return Ok(answer.map(tonic::Response::into_inner)),
            read = &mut reader, if !all_read => {
                read.map_err(ClientError::file(&file.path))?;
                all_read = true;
            }
        }
    }
}

/// Hands the file's bytes from `offset` on to the call. A call that ends early knows why: that is no error here.
async fn read_rest(
    file: &Hashed,
    offset: u64,
    chunk: usize,
    messages: mpsc::Sender<UploadRequest>,
    progress: Progress<'_>,
) -> std::io::Result<()> {
    let begin = UploadBegin { sha256: file.sha256.to_bytes(), size: file.size, offset };
    let source = Arc::new(tokio::fs::File::open(&file.path).await?.into_std().await);
    let (mut next, mut done) = (Step::Begin(begin), offset);
    while messages.send(UploadRequest { step: Some(next) }).await.is_ok() {
        progress(done, file.size);
        let (source, at) = (Arc::clone(&source), done);
        let read = tokio::task::spawn_blocking(move || read_chunk(&source, at, chunk)).await;
        let data = read.unwrap_or_else(|error| Err(std::io::Error::other(error)))?;
        if data.is_empty() {
            break;
        }
        done += data.len() as u64;
        next = Step::Data(data);
    }
    Ok(())
}

/// Read where it is sent from: no copy in between.
fn read_chunk(source: &File, mut at: u64, chunk: usize) -> std::io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(chunk);
    let mut filled = 0;
    while filled < chunk {
        match source.read_at(&mut buffer[filled..], at) {
            Ok(0) => break,
            Ok(read) => (filled, at) = (filled + read, at + read as u64),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.freeze())
}

fn chunk_size(terms: &Terms) -> usize {
    match terms.announced.max_chunk_bytes as usize {
        0 => CHUNK,
        announced => announced.min(CHUNK),
    }
}

/// Another call of this node moved the upload on: ask again, go on there.
fn is_wrong_offset(status: &Status) -> bool {
    Refusal::of(status).code() == Some(ReasonCode::WrongOffset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_hashed_and_read_in_chunks() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.bin");
        let bytes: Vec<u8> = (0..CHUNK + 1000).map(|n| n as u8).collect();
        std::fs::write(&path, &bytes).expect("writes");
        let file = hash_file(&path).await.expect("hashes");
        assert_eq!((file.size, file.sha256), (bytes.len() as u64, Digest::of(&bytes)));

        let (messages, mut receiver) = mpsc::channel(AHEAD);
        let reader = read_rest(&file, 10, 1000, messages, &|_, _| ());
        let taker = async {
            let begin = receiver.recv().await.and_then(|first| first.step);
            let expected = UploadBegin { sha256: file.sha256.to_bytes(), size: file.size, offset: 10 };
            assert_eq!(begin, Some(Step::Begin(expected)));
            let mut sent = Vec::new();
            while let Some(message) = receiver.recv().await {
                let Some(Step::Data(data)) = message.step else { panic!("no data") };
                assert!((1..=1000).contains(&data.len()));
                sent.extend_from_slice(&data);
            }
            sent
        };
        let (read, sent) = tokio::join!(reader, taker);
        read.expect("reads");
        assert!(sent == bytes[10..]);
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let error = hash_file(Path::new("missing/a.pdf")).await.expect_err("missing");
        assert!(error.to_string().starts_with("missing/a.pdf: "), "{error}");
    }
}
