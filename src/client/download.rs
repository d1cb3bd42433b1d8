//! Fetching one attachment: hashed while it comes, resumed after a cut, put in place only when it is right.

use std::{
    io::{self, SeekFrom},
    path::Path,
};

use ring::digest::{Context, SHA256};
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt},
};
use tonic::Status;

use super::{Client, ClientError, Patience, folder::sync_folder, upload::hash_file};
use crate::{
    domain::id::Digest,
    proto::{DownloadRequest, Part},
};

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It lies in its place, durable.
    There,
    /// The hub's bytes are not what the sender signed. Says how, and never what the attachment is called: this goes
    /// into the log.
    Mismatch(String),
}

/// Fetches `part` of a delivery to `target`, collecting it in `partial` until it is whole. What is there already and
/// right is not fetched again; what a run before collected is gone on with.
pub async fn fetch(
    client: &Client,
    delivery_id: &str,
    part: &Part,
    target: &Path,
    partial: &Path,
    patience: &Patience,
) -> Result<Fetched, ClientError> {
    let Some(sha256) = Digest::from_slice(&part.sha256) else {
        return Ok(Fetched::Mismatch("the manifest gives no digest".into()));
    };
    if is_there(target, part.size, &sha256).await? {
        return Ok(Fetched::There);
    }
    loop {
        let mut collected = Collected::open(partial, part.size).await?;
        let resumed = collected.size > 0;
        let request = DownloadRequest {
            delivery_id: delivery_id.to_owned(),
            sha256: sha256.to_bytes(),
            offset: collected.size,
        };
        collect(client, request, part.size, &mut collected, patience).await?;
        if collected.size == part.size && collected.has(&sha256) {
            collected.finish(target).await?;
            return Ok(Fetched::There);
        }
        let problem = match collected.size == part.size {
            true => "the bytes have another digest".to_owned(),
            false => format!("{} bytes, the manifest says {}", collected.size, part.size),
        };
        collected.discard().await?;
        // What an earlier run left may be our own damage: the hub gets blamed only for all of its bytes.
        if !resumed {
            return Ok(Fetched::Mismatch(problem));
        }
    }
}

async fn is_there(target: &Path, size: u64, sha256: &Digest) -> Result<bool, ClientError> {
    match fs::metadata(target).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ClientError::file(target)(error)),
        Ok(found) if found.len() != size => Ok(false),
        Ok(_) => Ok(hash_file(target).await?.sha256 == *sha256),
    }
}

/// Calls until all bytes are there, or the hub has no more; patience counts failures without any new byte.
async fn collect(
    client: &Client,
    mut request: DownloadRequest,
    whole: u64,
    collected: &mut Collected<'_>,
    patience: &Patience,
) -> Result<(), ClientError> {
    let mut failed = 0;
    while collected.size < whole {
        request.offset = collected.size;
        let broken = match stream(client, &request, whole, collected).await {
            Ok(()) if collected.size == request.offset => break, // the hub has no more
            Ok(()) => continue,
            Err(ClientError::Call(status)) => status,
            Err(error) => return Err(error),
        };
        if collected.size > request.offset {
            failed = 0;
        }
        if !patience.after(&broken, &mut failed).await {
            return Err(broken.into());
        }
    }
    Ok(())
}

/// One call, to its end or until there is more than there should be.
async fn stream(
    client: &Client,
    request: &DownloadRequest,
    whole: u64,
    collected: &mut Collected<'_>,
) -> Result<(), ClientError> {
    let answer: Result<_, Status> = client.delivery().download(request.clone()).await;
    let mut chunks = answer?.into_inner();
    while collected.size <= whole
        && let Some(chunk) = chunks.message().await?
    {
        collected.write(&chunk.data).await?;
    }
    Ok(())
}

/// The bytes so far, in a file that no other process of ours writes meanwhile.
struct Collected<'p> {
    path: &'p Path,
    file: File,
    context: Context,
    size: u64,
}

impl<'p> Collected<'p> {
    /// Takes up what a run before left; what is larger than the whole can't be right and is dropped.
    async fn open(path: &'p Path, whole: u64) -> Result<Self, ClientError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).await;
        let file = file.map_err(ClientError::file(path))?.into_std().await;
        file.try_lock().map_err(|error| ClientError::file(path)(io::Error::other(error)))?;
        let mut collected =
            Self { path, file: File::from_std(file), context: Context::new(&SHA256), size: 0 };
        collected.read_back(whole).await.map_err(ClientError::file(path))?;
        Ok(collected)
    }

    async fn read_back(&mut self, whole: u64) -> io::Result<()> {
        if self.file.metadata().await?.len() > whole {
            return self.file.set_len(0).await;
        }
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = self.file.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            self.context.update(&buffer[..read]);
            self.size += read as u64;
        }
        self.file.seek(SeekFrom::Start(self.size)).await.map(drop)
    }

    async fn write(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.file.write_all(data).await.map_err(ClientError::file(self.path))?;
        self.context.update(data);
        self.size += data.len() as u64;
        Ok(())
    }

    fn has(&self, sha256: &Digest) -> bool {
        self.context.clone().finish().as_ref() == sha256.as_bytes()
    }

    async fn discard(self) -> Result<(), ClientError> {
        fs::remove_file(self.path).await.map_err(ClientError::file(self.path))
    }

    /// Makes the bytes durable, then gives them their name, durably too.
    async fn finish(mut self, target: &Path) -> Result<(), ClientError> {
        let moved = async {
            self.file.flush().await?;
            self.file.sync_all().await?;
            fs::rename(self.path, target).await?;
            sync_folder(target.parent().unwrap_or(target))
        };
        moved.await.map_err(ClientError::file(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_gone_on_with_where_it_was_left() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (partial, target) = (folder.path().join(".partial"), folder.path().join("a.bin"));
        let mut first = Collected::open(&partial, 6).await.expect("new");
        first.write(b"abc").await.expect("writes");
        first.file.flush().await.expect("flushes");
        assert!(Collected::open(&partial, 6).await.is_err(), "another writer has it");
        drop(first);

        let mut second = Collected::open(&partial, 6).await.expect("again");
        assert_eq!(second.size, 3);
        second.write(b"def").await.expect("writes");
        assert!(second.has(&Digest::of(b"abcdef")) && !second.has(&Digest::of(b"abc")));
        second.finish(&target).await.expect("moves");
        assert_eq!(std::fs::read(&target).expect("reads"), b"abcdef");
        assert!(is_there(&target, 6, &Digest::of(b"abcdef")).await.expect("looks"));
        assert!(!is_there(&target, 6, &Digest::of(b"abcdeX")).await.expect("looks"));
        assert!(!is_there(&partial, 6, &Digest::of(b"abcdef")).await.expect("looks"));
    }

    #[tokio::test]
    async fn more_than_the_whole_is_dropped() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let partial = folder.path().join(".partial");
        std::fs::write(&partial, b"abcdefg").expect("writes");
        assert_eq!(Collected::open(&partial, 6).await.expect("opens").size, 0);
        assert_eq!(std::fs::metadata(&partial).expect("there").len(), 0);
    }
}
