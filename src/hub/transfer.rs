//! Attachments on their way in and out, in constant memory.

use std::{io::Read, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Hub,
    refused::{Begun, Refused, begin, blocking},
};
use crate::{
    domain::{
        id::{AgencyId, Digest, NodeName},
        reason::ReasonCode,
    },
    proto::{TransportState, UploadBegin, UploadResponse},
    store::payload::{self, BodyReader, PayloadError},
};

/// Bytes of one download message: more of them wait in the transport for every slow reader.
const CHUNK: usize = 64 * 1024;
/// Messages that may wait for a slow reader.
const AHEAD: usize = 2;

/// An upload under way: while a chunk is hashed and written, the next one may arrive.
pub struct Upload(Step);

enum Step {
    Ready(payload::Upload),
    Writing(Begun<(payload::Upload, Result<(), PayloadError>)>),
    Ended,
}

impl Hub {
    /// Bytes of an attachment that are held for this node.
    pub async fn query_upload(
        self: &Arc<Self>,
        node: &NodeName,
        digest: Digest,
    ) -> Result<UploadResponse, Refused> {
        let (hub, node) = (Arc::clone(self), node.clone());
        let held = blocking(move || hub.payload.query(&node, &digest)).await?;
        let (received, complete) = held.map_err(|error| refused(error.into()))?;
        Ok(UploadResponse { received, complete })
    }

    /// Starts or resumes an upload.
    pub async fn begin_upload(
        self: &Arc<Self>,
        node: &NodeName,
        begin: &UploadBegin,
    ) -> Result<Upload, Refused> {
        let digest = Digest::from_slice(&begin.sha256)
            .ok_or_else(|| Refused::because(ReasonCode::InvalidField, "sha256: needs 32 bytes"))?;
        let max = self.settings.limits.max_part_bytes;
        if begin.size > max {
            let detail = format!("size: {} bytes, at most {max} are taken", begin.size);
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        if self.directory().node(node).is_none_or(|entry| entry.revoked) {
            return Err(Refused::because(ReasonCode::UnknownNode, node.to_string()));
        }
        self.need_room()?;
        let (hub, node, begin) = (Arc::clone(self), node.clone(), begin.clone());
        let upload = blocking(move || hub.payload.begin(&node, &digest, begin.size, begin.offset)).await?;
        upload.map(|upload| Upload(Step::Ready(upload))).map_err(refused)
    }

    /// The bytes of a part of a document that was delivered to an agency of this node, as they are read.
    pub async fn download(
        self: &Arc<Self>,
        node: &NodeName,
        delivery_id: &str,
        digest: Digest,
        offset: u64,
    ) -> Result<mpsc::Receiver<Result<Bytes, Refused>>, Refused> {
        let (document, recipient) = super::session::parse_delivery_id(delivery_id)?;
        self.directory().may_act(node, &recipient)?;
        let (hub, name) = (Arc::clone(self), delivery_id.to_owned());
        let reader = blocking(move || hub.open_part(&name, document, &recipient, &digest, offset)).await??;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (presence, node) = (Arc::clone(&self.presence), node.clone());
        let counted = move |bytes| presence.downloaded(&node, bytes);
        self.tasks.spawn(stream(reader, sender, self.stopping.clone(), counted));
        Ok(receiver)
    }

    fn open_part(
        &self,
        delivery_id: &str,
        document: u64,
        recipient: &AgencyId,
        digest: &Digest,
        offset: u64,
    ) -> Result<BodyReader, Refused> {
        let unknown = || {
            Refused::because(ReasonCode::NotARecipient, format!("no delivery {delivery_id} is open to you"))
        };
        let delivery = self.store.delivery(document, recipient)?.ok_or_else(unknown)?;
        if !matches!(delivery.transport_state(), TransportState::Ready | TransportState::HandedOver) {
            return Err(unknown());
        }
        let record = self.store.document(document)?.ok_or_else(unknown)?;
        if !record.parts.iter().any(|part| part[..] == digest.as_bytes()[..]) {
            let detail = format!("{digest} is no part of this document");
            return Err(Refused::because(ReasonCode::BodyMissing, detail));
        }
        if let Some(erasure) = self.store.erasure(document)? {
            let detail = format!("{digest} was erased, see leaf {}", erasure.leaf);
            return Err(Refused::because(ReasonCode::ContentsErased, detail));
        }
        let body = self.store.body(digest)?.ok_or_else(unknown)?;
        if offset > body.size {
            let detail = format!("offset: {offset}, the part has {} bytes", body.size);
            return Err(Refused::because(ReasonCode::WrongOffset, detail));
        }
        Ok(self.payload.open_body(&body, offset)?)
    }
}

/// Sends a body chunk by chunk. A slow reader holds neither a thread nor the hub's stop.
async fn stream(
    mut reader: BodyReader,
    sender: mpsc::Sender<Result<Bytes, Refused>>,
    stopping: CancellationToken,
    counted: impl Fn(u64) + Send,
) {
    loop {
        let read = blocking(move || {
            let chunk = next_chunk(&mut reader).transpose();
            (reader, chunk)
        });
        let chunk = match read.await {
            Ok((back, chunk)) => {
                reader = back;
                chunk
            }
            Err(refused) => {
                // Without a reader there is nothing more to say; a client that went away needs no word.
                let _ = sender.try_send(Err(refused));
                return;
            }
        };
        let Some(chunk) = chunk else { return };
        let failed = chunk.is_err();
        counted(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        let sent = stopping.run_until_cancelled(sender.send(chunk)).await;
        if failed || !matches!(sent, Some(Ok(()))) {
            return;
        }
    }
}

fn next_chunk(reader: &mut impl Read) -> Result<Option<Bytes>, Refused> {
    let mut chunk = BytesMut::zeroed(CHUNK);
    let mut filled = 0;
    while filled < CHUNK {
        match reader.read(&mut chunk[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(refused(error.into())),
        }
    }
    chunk.truncate(filled);
    Ok((filled > 0).then(|| chunk.freeze()))
}

impl Upload {
    /// Takes the next bytes; whether they could be written is told by the next call. When one fails, or the call is
    /// dropped, what arrived before is kept.
    pub async fn write(&mut self, data: Bytes) -> Result<(), Refused> {
        let mut upload = self.written().await?;
        self.0 = Step::Writing(begin(move || {
            let written = upload.write(&data);
            (upload, written)
        }));
        Ok(())
    }

    /// Ends the call: complete and durable, or to be resumed.
    pub async fn finish(mut self) -> Result<UploadResponse, Refused> {
        let upload = self.written().await?;
        let finished = blocking(move || {
            let received = upload.received();
            upload.finish().map(|complete| UploadResponse { received, complete })
        });
        finished.await?.map_err(refused)
    }

    /// The upload, once its last bytes are written.
    async fn written(&mut self) -> Result<payload::Upload, Refused> {
        match std::mem::replace(&mut self.0, Step::Ended) {
            Step::Ready(upload) => Ok(upload),
            Step::Writing(begun) => {
                let (upload, written) = begun.end().await?;
                match written {
                    Ok(()) => Ok(upload),
                    Err(error) => {
                        self.0 = Step::Ready(upload);
                        Err(refused(error))
                    }
                }
            }
            Step::Ended => Err(ended()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Keeping what arrived syncs a file: not on an async thread. What is being written is dropped where it is.
        if let Step::Ready(upload) = std::mem::replace(&mut self.0, Step::Ended)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(upload));
        }
    }
}

fn ended() -> Refused {
    Refused::because(ReasonCode::WrongOffset, "this upload ended: ask QueryUpload and begin again")
}

/// The payload store's word as a refusal.
pub(super) fn refused(error: PayloadError) -> Refused {
    match error {
        PayloadError::WrongOffset { received } => {
            Refused::because(ReasonCode::WrongOffset, format!("continue at offset {received}"))
        }
        PayloadError::TooLarge { limit } => Refused::because(
            ReasonCode::TooLarge,
            format!("more than the {limit} bytes that are possible here"),
        ),
        PayloadError::DigestMismatch => Refused::because(
            ReasonCode::DigestMismatch,
            "the bytes do not have the announced digest; they were removed: upload again from offset 0",
        ),
        PayloadError::Busy => {
            Refused::because(ReasonCode::Busy, "another call is writing this upload: wait for it, or end it")
        }
        PayloadError::Io(error) => {
            tracing::error!(%error, "the payload store failed");
            Refused::because(ReasonCode::StoreFailed, "the hub's disk did not take the bytes: repeat")
        }
    }
}
