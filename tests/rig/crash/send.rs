//! Senders: small letters, a stream, large attachments, circulars.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE, SILENT_COMMUNE},
    client::Client,
    domain::{envelope, id::Digest},
    proto::{upload_request::Step, *},
};

use super::{Asked, CROWD, Outside, is_open};
use crate::rig::{Chance, ORIGIN, letter, now_us, part, submit};

/// A commune that gets documents by later addressing only.
const LATER: &str = "000.02.21.H38";
/// Sends by stream, and seals with ECDSA.
const STREAMING: &str = "000.00.22.H38";
/// Too short for anyone, and for this the recipient is switched off.
const SHORT_DEADLINE_US: i64 = 1_500_000;
const CHUNK: usize = 128 << 10;

/// Letters one by one: small ones, larger ones, some with a deadline that passes, some with recipients added later.
pub async fn letters(outside: Arc<Outside>, client: Client, name: String) {
    for number in 0u64.. {
        let body = body(&format!("{name}-{number}"), if number % 7 == 3 { 200_000 } else { 700 });
        let mut manifest = letter(&format!("k-{name}-{number}"), &[DISTRICT, PROVINCE]);
        manifest.parts = vec![part("a.pdf", &body)];
        if number % 6 == 1 {
            manifest.recipients = vec![SILENT_COMMUNE.into()];
            manifest.delivery_deadline_us = now_us() + SHORT_DEADLINE_US;
        }
        let request = submit(&manifest, outside.seal(COMMUNE), &[body]);
        let payload = request.envelope.as_ref().unwrap().payload.clone();
        if outside.ask("tavan", &client, Asked::Submit(request)).await.is_none() {
            return;
        }
        if number % 5 == 2 && number % 6 != 1 {
            let asked = addition(&outside, &manifest, &payload);
            if outside.ask("tavan", &client, asked).await.is_none() {
                return;
            }
        }
    }
}

fn addition(outside: &Outside, manifest: &Manifest, payload: &Bytes) -> Asked {
    let addressing = Addressing {
        document_id: manifest.document_id.clone(),
        sender: manifest.sender.clone(),
        manifest_sha256: Digest::of(payload).to_bytes(),
        recipients: vec![LATER.into()],
        issued_at_us: now_us(),
        hub_origin: ORIGIN.into(),
        ..Addressing::default()
    };
    let bytes = addressing.encode_to_vec().into();
    let envelope = envelope::sign(envelope::ADDRESSING, bytes, &[outside.seal(&manifest.sender)]);
    Asked::Add(AddRecipientsRequest { envelope: Some(envelope) })
}

/// Letters by SubmitStream, up to 16 under way.
pub async fn streamed(outside: Arc<Outside>, client: Client, name: String) {
    let (requests, receiver) = tokio::sync::mpsc::channel(16);
    let Ok(answers) = client.submission().submit_stream(ReceiverStream::new(receiver)).await else { return };
    let mut answers = answers.into_inner();
    let asking = async {
        for number in 0.. {
            let manifest =
                Manifest { sender: STREAMING.into(), ..letter(&format!("k-{name}-{number}"), &[DISTRICT]) };
            let request = submit(&manifest, outside.seal(STREAMING), &[]);
            let tag = outside.ledger().begin("bacha", &Asked::Submit(request.clone()));
            if requests.send(SubmitStreamRequest { tag, request: Some(request) }).await.is_err() {
                return;
            }
            // As fast as the others, not faster.
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let hearing = async {
        while let Ok(Some(answer)) = answers.message().await {
            match answer.answer {
                Some(submit_stream_response::Answer::Accepted(accepted)) => {
                    let receipt = accepted.receipt.unwrap();
                    outside.prove(&receipt);
                    outside.ledger().done(answer.tag, &receipt);
                }
                Some(submit_stream_response::Answer::Refused(refused)) => {
                    let retry = [tonic::Code::Unavailable as i32, tonic::Code::ResourceExhausted as i32];
                    assert!(retry.contains(&refused.status), "refused in the stream: {refused:?}");
                }
                None => panic!("an answer without an answer"),
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = hearing => {}
    }
}

/// Large attachments: uploaded, resumed after a stop, then submitted.
pub async fn uploads(outside: Arc<Outside>, client: Client) {
    loop {
        let number = outside.ledger().uploads;
        let name = format!("upload-{number}");
        let body = body(&name, 300_000 + 170_003 * (number % 9));
        if upload(&outside, &client, &body).await.is_none() {
            return;
        }
        let manifest = Manifest {
            sender: PROVINCE.into(),
            parts: vec![part("l.pdf", &body)],
            ..letter(&name, &[DISTRICT])
        };
        let open = outside.ledger().take_open(&name);
        let request = open.unwrap_or_else(|| submit(&manifest, outside.seal(PROVINCE), &[]));
        // From now on it may be a part of a document.
        outside.ledger().staged.clear();
        if outside.ask("laocai", &client, Asked::Submit(request)).await.is_none() {
            return;
        }
        outside.ledger().uploads += 1;
    }
}

async fn upload(outside: &Outside, client: &Client, body: &Bytes) -> Option<()> {
    let sha256 = Digest::of(body).to_bytes();
    loop {
        let query = QueryUploadRequest { sha256: sha256.clone() };
        let held = client.submission().query_upload(query).await.ok()?.into_inner();
        let offset = held.received;
        let begin = UploadBegin { sha256: sha256.clone(), size: body.len() as u64, offset };
        let rest = body.slice(usize::try_from(offset).unwrap()..);
        let chunks = rest.chunks(CHUNK).map(|chunk| Step::Data(rest.slice_ref(chunk)));
        let steps: Vec<_> = std::iter::once(Step::Begin(begin)).chain(chunks).collect();
        let messages = steps.into_iter().map(|step| UploadRequest { step: Some(step) });
        match client.submission().upload(tokio_stream::iter(messages)).await {
            Ok(answer) => {
                assert!(answer.into_inner().complete, "all bytes were sent");
                outside.ledger().staged.insert(("laocai", sha256));
                return Some(());
            }
            Err(status) if is_open(&status) => return None,
            // What was there before the stop was not what was sent: the hub has removed it.
            Err(status) => {
                let word = crate::rig::reason(&status);
                let harmless = [ReasonCode::DigestMismatch, ReasonCode::WrongOffset].contains(&word);
                assert!(harmless && offset > 0, "{status:?}");
            }
        }
    }
}

/// One document to everyone below, now and then.
pub async fn circulars(outside: Arc<Outside>, client: Client, name: String) {
    for number in 0.. {
        let manifest = Manifest {
            sender: PROVINCE.into(),
            groups: vec![
                RecipientGroup { root: CROWD.into(), level: Level::Commune.into() },
                RecipientGroup { root: DISTRICT.into(), level: Level::Commune.into() },
            ],
            ..letter(&format!("k-{name}-{number}"), &[DISTRICT])
        };
        let request = submit(&manifest, outside.seal(PROVINCE), &[]);
        if outside.ask("laocai", &client, Asked::Submit(request)).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

/// Bytes that follow from a name.
pub fn body(name: &str, len: usize) -> Bytes {
    let seed = name.bytes().fold(17u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let mut chance = Chance(seed);
    (0..len.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes()).take(len).collect()
}
