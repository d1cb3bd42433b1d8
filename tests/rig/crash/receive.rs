//! Recipients: one that fetches, one with a session, and a sender that watches.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use truc::{
    cli::demo::world::{COMMUNE, PROVINCE, agencies_of_node},
    client::Client,
    domain::{envelope, id::Digest},
    proto::{deliver_request, deliver_response, *},
};

use super::{Asked, Outside, ledger::Pair};
use crate::rig::{acknowledge, receipt_for};

/// Fetches for all agencies of its node.
pub async fn fetching(outside: Arc<Outside>, client: Client) {
    while fetch(&outside, "sapa", &client, 100_000).await.is_some() {}
}

/// Takes over what waits; tells how much it was, `None` when the hub is gone.
pub async fn fetch(outside: &Outside, node: &'static str, client: &Client, wait_us: i64) -> Option<usize> {
    let request = FetchRequest { agencies: Vec::new(), max: 20, wait_us };
    let offers = client.delivery().fetch(request).await.ok()?.into_inner().offers;
    let count = offers.len();
    for offer in offers {
        // Fetched after everything before was acknowledged.
        let (pair, _) = addressed(&offer);
        assert!(!outside.ledger().ended.contains_key(&pair), "{pair:?} has ended and was offered again");
        take(outside, node, client, offer).await?;
    }
    Some(count)
}

/// The two-way stream, with acknowledgements beside it.
pub async fn session(outside: Arc<Outside>, client: Client) {
    let (steps, receiver) = tokio::sync::mpsc::channel(8);
    let step = |step| DeliverRequest { step: Some(step) };
    let hello = Hello { agencies: vec![PROVINCE.into()] };
    let _ = steps.send(step(deliver_request::Step::Hello(hello))).await;
    let _ = steps.send(step(deliver_request::Step::Credit(8))).await;
    let Ok(answers) = client.delivery().deliver(ReceiverStream::new(receiver)).await else { return };
    let mut answers = answers.into_inner();
    while let Ok(Some(answer)) = answers.message().await {
        let Some(deliver_response::Step::Offer(offer)) = answer.step else { continue };
        if take(&outside, "laocai", &client, offer).await.is_none() {
            return;
        }
        let _ = steps.send(step(deliver_request::Step::Credit(1))).await;
    }
}

/// Checks an offer, then hands over or refuses, then reports.
async fn take(outside: &Outside, node: &'static str, client: &Client, offer: Offer) -> Option<()> {
    let ours = agencies_of_node(node);
    assert!(ours.contains(&offer.recipient), "{} was handed to {node}", offer.recipient);
    outside.prove(offer.acceptance.as_ref().unwrap());
    let payload = &offer.envelope.as_ref().unwrap().payload;
    let (pair, manifest) = addressed(&offer);
    let parts = manifest.parts.iter().map(|part| part.sha256.clone()).collect();
    outside.ledger().offered.insert(pair, (offer.delivery_id.clone(), parts));
    hand_over(outside, node, client, payload, &offer.recipient).await?;
    if manifest.document_id.ends_with(['1', '2', '3']) {
        let status = status(outside, &manifest, &offer.recipient);
        outside.ask(node, client, status).await?;
    }
    Some(())
}

fn addressed(offer: &Offer) -> (Pair, Manifest) {
    let payload = &offer.envelope.as_ref().unwrap().payload;
    let manifest = Manifest::decode(payload.clone()).unwrap();
    ((manifest.document_id.clone(), offer.recipient.clone()), manifest)
}

/// The recipient's verdict follows from the document, so that it is the same when it has to be given again.
pub async fn hand_over(
    outside: &Outside,
    node: &'static str,
    client: &Client,
    payload: &Bytes,
    recipient: &str,
) -> Option<()> {
    let mut receipt = receipt_for(payload, recipient);
    if is_refused(&receipt.document_id) {
        receipt.outcome = Outcome::Refused.into();
        receipt.reason = "không đúng nơi nhận".into();
    }
    let request = acknowledge(&receipt, outside.seal(recipient));
    outside.ask(node, client, Asked::Acknowledge(request)).await.map(drop)
}

pub fn is_refused(document_id: &str) -> bool {
    document_id.ends_with('9')
}

fn status(outside: &Outside, manifest: &Manifest, from: &str) -> Asked {
    let status = BusinessStatus {
        document_id: manifest.document_id.clone(),
        sender: manifest.sender.clone(),
        from: from.into(),
        code: 3,
        occurred_at_us: 1,
        hub_origin: manifest.hub_origin.clone(),
        nonce: vec![9; 16].into(),
        ..BusinessStatus::default()
    };
    let bytes = status.encode_to_vec().into();
    let envelope = envelope::sign(envelope::STATUS, bytes, &[outside.seal(from)]);
    Asked::Report(ReportRequest { envelope: Some(envelope) })
}

/// Follows what happens to the commune's documents, and tells the hub how far it is.
pub async fn watching(outside: Arc<Outside>, client: Client) {
    let cursor = outside.ledger().watched.clone();
    let request = WatchRequest { agency: COMMUNE.into(), cursor, once: false, from_now: false };
    let Ok(entries) = client.status().watch(request).await else { return };
    let mut entries = entries.into_inner();
    while let Ok(Some(entry)) = entries.message().await {
        watched(&outside, &entry);
        if entry.receipt.unwrap().index % 20 == 0 {
            let request = SaveCursorRequest { agency: COMMUNE.into(), cursor: entry.cursor.clone() };
            if client.status().save_cursor(request).await.is_err() {
                return;
            }
            outside.ledger().saved = entry.cursor;
        }
    }
}

/// Entries go upwards and are in the log.
pub fn watched(outside: &Outside, entry: &WatchResponse) {
    let receipt = entry.receipt.as_ref().unwrap();
    outside.prove(receipt);
    let mut ledger = outside.ledger();
    assert!(place(&entry.cursor) > place(&ledger.watched), "the watch went back to {}", entry.cursor);
    ledger.watched.clone_from(&entry.cursor);
}

/// Cursors of this hub count upwards.
pub fn place(cursor: &str) -> u64 {
    cursor.strip_prefix('c').map_or(0, |digits| u64::from_str_radix(digits, 16).unwrap())
}

/// Downloads a part of a delivery, and compares its digest, as every recipient does.
pub async fn comes_whole(client: &Client, delivery: &str, sha256: &Bytes) -> bool {
    let request = DownloadRequest { delivery_id: delivery.into(), sha256: sha256.clone(), offset: 0 };
    let mut body = Vec::new();
    let mut chunks = match client.delivery().download(request).await {
        Ok(chunks) => chunks.into_inner(),
        Err(status) if status.code() == tonic::Code::DataLoss => return false,
        Err(status) => panic!("{delivery}: {status:?}"),
    };
    while let Ok(Some(chunk)) = chunks.message().await {
        body.extend_from_slice(&chunk.data);
    }
    Digest::of(&body).as_bytes()[..] == sha256[..]
}
