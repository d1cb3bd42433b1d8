//! Handing in documents: sign once, bring the attachments, submit; after a cut the very same bytes again.

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use tokio::io::AsyncReadExt;
use tonic::Response;

use super::{
    Client, ClientError, MAX_MESSAGE, Patience, Terms,
    calendar::now,
    draft::{Draft, Issue, part},
    upload::{Hashed, Progress, hash_file, upload},
};
use crate::{
    domain::{
        envelope::{ADDRESSING, MANIFEST, MAX_PAYLOAD, sign},
        id::{Digest, DocumentName},
        reason::{Reason, ReasonCode},
        signature::SigningKey,
    },
    proto::{
        AddRecipientsRequest, Addressing, EventKind, Evidence, Manifest, Part, Receipt, SignedEnvelope,
        SubmitRequest, SubmitResponse, ValidateResponse,
    },
};

/// Set to `true` by the hub on the answer to a repeat.
const REPEAT_HEADER: &str = "truc-repeat";
/// What a message carries beside its payload and inline parts: signatures, tags and lengths.
const ROOM: u64 = 256 * 1024;

/// A signed document with what has to travel.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// Repeat exactly this, for ever.
    pub request: SubmitRequest,
    /// To be uploaded before.
    pub uploads: Vec<Hashed>,
}

/// The hub's word that it accepted something, verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The document.
    pub name: DocumentName,
    /// Digest of its manifest.
    pub manifest_sha256: Digest,
    /// The proof.
    pub receipt: Receipt,
    /// What it proves.
    pub evidence: Evidence,
    /// True when the hub had accepted it before.
    pub repeat: bool,
}

/// Reads the attachments and signs. Small ones go inline as long as there is room, the others are uploaded.
pub async fn pack(draft: &Draft, keys: &[SigningKey], terms: &Terms) -> Result<Package, ClientError> {
    let mut inline = Inline { room: inline_room(terms), bodies: Vec::new() };
    let (mut parts, mut uploads) = (Vec::<Part>::new(), Vec::new());
    for path in &draft.files {
        let (size, sha256, upload) = inline.take(path).await?;
        let seen = parts.iter().any(|part| part.sha256 == sha256.as_bytes()[..]);
        parts.push(part(path, size, &sha256)?);
        if let Some(file) = upload.filter(|_| !seen) {
            uploads.push(file);
        }
    }
    let issue = Issue { nonce: nonce()?, at: now(), origin: terms.origin(), parts };
    let payload = draft.manifest(issue).encode_to_vec();
    if payload.len() > MAX_PAYLOAD {
        return Err(Reason::new(ReasonCode::TooLarge, "the manifest has more than 2 MiB").into());
    }
    let envelope = signed(MANIFEST, payload.into(), keys)?;
    let request = SubmitRequest { envelope: Some(envelope), inline_parts: inline.bodies };
    Ok(Package { request, uploads })
}

/// Uploads what has to be, submits, verifies the answer.
pub async fn send(
    client: &Client,
    terms: &Terms,
    package: &Package,
    patience: &Patience,
    progress: Progress<'_>,
) -> Result<Sent, ClientError> {
    for file in &package.uploads {
        upload(client, terms, file, patience, progress).await?;
    }
    submit(client, terms, &package.request, patience).await
}

/// Submits, repeats the same bytes while the connection fails, verifies the answer.
pub async fn submit(
    client: &Client,
    terms: &Terms,
    request: &SubmitRequest,
    patience: &Patience,
) -> Result<Sent, ClientError> {
    let (manifest, sha256) = signed_manifest(request)?;
    let name = DocumentName::parse(&manifest.sender, &manifest.document_id, manifest.revision)?;
    let answer = patience.call(client.submission(), request.clone(), |mut hub, request| async move {
        hub.submit(request).await
    });
    answered(client, terms, name, sha256, answer.await?).await
}

/// All of the hub's checks of a submission but for the attachments; nothing is sent.
pub async fn validate(
    client: &Client,
    package: &Package,
    patience: &Patience,
) -> Result<ValidateResponse, ClientError> {
    // The attachments are not looked at.
    let request = SubmitRequest { inline_parts: Vec::new(), ..package.request.clone() };
    let answer = patience
        .call(client.submission(), request, |mut hub, request| async move { hub.validate(request).await });
    Ok(answer.await?.into_inner())
}

/// Sends an accepted document to more recipients. `addressing` names both; time and origin are
/// filled in.
pub async fn address(
    client: &Client,
    terms: &Terms,
    addressing: Addressing,
    keys: &[SigningKey],
    patience: &Patience,
) -> Result<Sent, ClientError> {
    let name = DocumentName::parse(&addressing.sender, &addressing.document_id, addressing.revision)?;
    let sha256 = Digest::from_slice(&addressing.manifest_sha256)
        .ok_or_else(|| Reason::invalid("manifest_sha256", "needs 32 bytes"))?;
    let addressing =
        Addressing { issued_at_us: now().0, hub_origin: terms.origin().to_owned(), ..addressing };
    let envelope = signed(ADDRESSING, addressing.encode_to_vec().into(), keys)?;
    let request = AddRecipientsRequest { envelope: Some(envelope) };
    let answer = patience.call(client.submission(), request, |mut hub, request| async move {
        hub.add_recipients(request).await
    });
    answered(client, terms, name, sha256, answer.await?).await
}

/// The manifest that a request carries, and its digest. Signatures are not judged.
pub fn signed_manifest(request: &SubmitRequest) -> Result<(Manifest, Digest), Reason> {
    let envelope = request.envelope.as_ref().ok_or_else(|| Reason::invalid("envelope", "is missing"))?;
    if envelope.payload_type != MANIFEST {
        return Err(Reason::new(ReasonCode::WrongPayloadType, "the envelope holds no manifest"));
    }
    let manifest = Manifest::decode(envelope.payload.clone())
        .map_err(|error| Reason::new(ReasonCode::Malformed, format!("manifest: {error}")))?;
    Ok((manifest, Digest::of(&envelope.payload)))
}

/// 16 random bytes.
pub(super) fn nonce() -> Result<[u8; 16], ClientError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| {
        ClientError::Reason(Reason::new(ReasonCode::Unspecified, "the system gives no randomness"))
    })?;
    Ok(nonce)
}

pub(super) fn signed(
    payload_type: &str,
    payload: Bytes,
    keys: &[SigningKey],
) -> Result<SignedEnvelope, Reason> {
    if keys.is_empty() {
        return Err(Reason::invalid("signatures", "needs a key to sign with"));
    }
    Ok(sign(payload_type, payload, &keys.iter().collect::<Vec<_>>()))
}

/// Verifies the answer, by a later key of the log where it was handed over meanwhile.
async fn answered(
    client: &Client,
    terms: &Terms,
    name: DocumentName,
    manifest_sha256: Digest,
    response: Response<SubmitResponse>,
) -> Result<Sent, ClientError> {
    let newer = terms.newer_for(client, response.get_ref().receipt.as_ref()).await;
    accepted(newer.as_deref().unwrap_or(terms), name, manifest_sha256, response)
}

fn accepted(
    terms: &Terms,
    name: DocumentName,
    manifest_sha256: Digest,
    response: Response<SubmitResponse>,
) -> Result<Sent, ClientError> {
    let repeat = response.metadata().get(REPEAT_HEADER).is_some_and(|value| value == "true");
    let receipt = response.into_inner().receipt;
    let evidence = terms.check_about(receipt.as_ref(), &name, Some(&manifest_sha256))?;
    if evidence.event() != EventKind::SubmissionAcceptance {
        let event = evidence.event().as_str_name();
        return Err(ClientError::answer(format!("the hub's answer is evidence of {event}")));
    }
    Ok(Sent { name, manifest_sha256, receipt: receipt.unwrap_or_default(), evidence, repeat })
}

/// Attachments that travel in the message itself.
struct Inline {
    room: u64,
    bodies: Vec<Bytes>,
}

impl Inline {
    /// Size and digest of a file; the file itself when it has to be uploaded.
    async fn take(&mut self, path: &Path) -> Result<(u64, Digest, Option<Hashed>), ClientError> {
        let file = tokio::fs::File::open(path).await.map_err(ClientError::file(path))?;
        let mut bytes = Vec::new();
        let read = file.take(self.room + 1).read_to_end(&mut bytes).await;
        let size = read.map_err(ClientError::file(path))? as u64;
        if size > self.room {
            let file = hash_file(path).await?;
            return Ok((file.size, file.sha256, Some(file)));
        }
        let body = Bytes::from(bytes);
        if !self.bodies.contains(&body) {
            self.room -= size;
            self.bodies.push(body.clone());
        }
        Ok((size, Digest::of(&body), None))
    }
}

/// Room for attachments in one message, whatever the hub would take.
fn inline_room(terms: &Terms) -> u64 {
    terms.announced.max_inline_bytes.min((MAX_MESSAGE - MAX_PAYLOAD) as u64 - ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{draft::testing::draft, terms::testing::*},
        domain::signature::Algorithm,
        proto::Party,
    };

    fn key() -> SigningKey {
        SigningKey::generate(Algorithm::Ed25519).expect("a key")
    }

    #[tokio::test]
    async fn small_files_go_inline_and_the_others_are_uploaded() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("writes");
            path
        };
        let files = vec![
            write("a.txt", &[1; 60]),
            write("b.txt", &[2; 60]),
            write("again.txt", &[1; 60]),
            write("c.txt", &[3; 40]),
            write("b-again.txt", &[2; 60]),
            write("empty.txt", &[]),
        ];
        let (terms, _) = terms();
        let draft = Draft { files, ..draft() };
        let package = pack(&draft, &[key(), key()], &terms).await.expect("packs");
        let inline: Vec<_> = package.request.inline_parts.iter().map(|body| body.to_vec()).collect();
        assert_eq!(inline, [vec![1; 60], vec![3; 40], vec![]]);
        let uploads: Vec<_> =
            package.uploads.iter().map(|file| file.path.file_name().expect("a name")).collect();
        assert_eq!(uploads, ["b.txt"]);

        let (manifest, sha256) = signed_manifest(&package.request).expect("a manifest");
        let names: Vec<_> = manifest.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["a.txt", "b.txt", "again.txt", "c.txt", "b-again.txt", "empty.txt"]);
        assert_eq!(manifest.hub_origin, "hub.test/log");
        let envelope = package.request.envelope.expect("signed");
        assert_eq!(envelope.signatures.len(), 2);
        assert_eq!(sha256, Digest::of(&envelope.payload));
    }

    #[tokio::test]
    async fn nothing_is_signed_twice_alike_and_nothing_without_a_key() {
        let (terms, _) = terms();
        let one = pack(&draft(), &[key()], &terms).await.expect("packs");
        let other = pack(&draft(), &[key()], &terms).await.expect("packs");
        let digest = |package: &Package| signed_manifest(&package.request).expect("a manifest").1;
        assert_ne!(digest(&one), digest(&other));
        assert!(matches!(pack(&draft(), &[], &terms).await, Err(ClientError::Reason(_))));
    }

    #[test]
    fn an_answer_must_prove_the_acceptance() {
        let (terms, signer) = terms();
        let name = DocumentName::parse("H53", "17", 0).expect("legal");
        let answer = |event: EventKind, manifest: [u8; 32]| {
            let evidence = Evidence {
                event: event.into(),
                document_id: "17".into(),
                sender: Some(Party { agency: "H53".into(), ..Party::default() }),
                manifest_sha256: Digest(manifest).to_bytes(),
                ..Evidence::default()
            };
            let mut response = Response::new(SubmitResponse { receipt: Some(receipt(&evidence, &signer)) });
            response.metadata_mut().insert(REPEAT_HEADER, "true".parse().expect("a value"));
            accepted(&terms, name.clone(), Digest([1; 32]), response)
        };
        assert!(answer(EventKind::SubmissionAcceptance, [1; 32]).expect("proven").repeat);
        assert!(answer(EventKind::SubmissionRejection, [1; 32]).is_err());
        assert!(answer(EventKind::SubmissionAcceptance, [2; 32]).is_err());
        let empty = Response::new(SubmitResponse { receipt: None });
        assert!(accepted(&terms, name.clone(), Digest([1; 32]), empty).is_err());
    }
}
