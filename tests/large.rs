//! Large attachments: byte for byte, in little memory, over cuts and kills.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    client::Client,
    domain::{id::Digest, reason::ReasonCode},
    proto::{upload_request::Step, *},
};

use rig::{Rig, letter, reason, soon, submit};

const MIB: u64 = 1 << 20;
const CHUNK: u64 = MIB;

/// Bytes that are never held as a whole: noise, with the chunk's place in front.
#[derive(Clone)]
struct Body {
    noise: Arc<[u8]>,
    size: u64,
    digest: Digest,
}

impl Body {
    fn new(seed: u64, size: u64) -> Self {
        let noise = rig::Chance(seed).bytes(CHUNK as usize).into();
        let mut body = Self { noise, size, digest: Digest([0; 32]) };
        body.digest = body.digest_from(0);
        body
    }

    fn chunk(&self, at: u64) -> Bytes {
        let len = CHUNK.min(self.size - at) as usize;
        [&at.to_le_bytes(), &self.noise[8..len]].concat().into()
    }

    fn chunks(&self, from: u64) -> impl Iterator<Item = Bytes> + use<> {
        assert_eq!(from % CHUNK, 0);
        let body = self.clone();
        (from..self.size).step_by(CHUNK as usize).map(move |at| body.chunk(at))
    }

    fn digest_from(&self, offset: u64) -> Digest {
        let mut context = Context::new(&SHA256);
        let mut skip = (offset % CHUNK) as usize;
        for chunk in self.chunks(offset - offset % CHUNK) {
            context.update(&chunk[skip..]);
            skip = 0;
        }
        Digest::from_slice(context.finish().as_ref()).unwrap()
    }

    fn part(&self) -> Part {
        Part {
            name: "large.bin".into(),
            media_type: "application/octet-stream".into(),
            size: self.size,
            sha256: self.digest.to_bytes(),
        }
    }

    fn begin(&self, offset: u64) -> UploadRequest {
        let begin = UploadBegin { sha256: self.digest.to_bytes(), size: self.size, offset };
        UploadRequest { step: Some(Step::Begin(begin)) }
    }
}

fn data(data: Bytes) -> UploadRequest {
    UploadRequest { step: Some(Step::Data(data)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_attachment_passes_in_little_memory() {
    let rig = Rig::start().await;
    let body = Body::new(1, 100 * MIB);
    let (resident, disk) = (rig.memory("VmRSS"), rig.bodies_on_disk());
    let sender = rig.connect("tavan").await;
    assert!(upload(&sender, &body, 0).await.unwrap().complete);
    send(&rig, &sender, "large-1", &body).await.unwrap();

    let recipient = rig.connect("sapa").await;
    let offer = rig.fetch(&recipient, DISTRICT).await.remove(0);
    assert_eq!(download(&recipient, &offer, &body, 0).await, body.digest);
    // From any place, not only from a chunk's edge.
    let offset = 77 * MIB + 12_345;
    assert_eq!(download(&recipient, &offer, &body, offset).await, body.digest_from(offset));

    // Another document with the same attachment: the same bytes on disk.
    assert!(upload(&sender, &body, 0).await.unwrap().complete);
    send(&rig, &sender, "large-2", &body).await.unwrap();
    // The uploads are cleared away behind the answer.
    let mut grown = rig.bodies_on_disk() - disk;
    for _ in 0..200 {
        if grown < body.size + 2 * MIB {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        grown = rig.bodies_on_disk() - disk;
    }
    assert!((body.size..body.size + 2 * MIB).contains(&grown), "{grown} more bytes on disk");

    let peak = rig.memory("VmHWM");
    println!("resident: {} MiB before, at most {} MiB", resident / MIB, peak / MIB);
    assert!(peak < resident + 64 * MIB);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_after_a_cut_and_after_a_kill() {
    let mut rig = Rig::start().await;
    let body = Body::new(2, 24 * MIB);
    let client = rig.connect("tavan").await;

    // The client goes away.
    let held = cut_after(&client, &body, 0, 7).await;
    assert_eq!(held, 7 * MIB);
    // The hub is killed.
    let before = cut_off_guard(&client, &body, held, 6, &mut rig).await;
    let client = rig.connect("tavan").await;
    let held = query(&client, &body).await.received;
    assert!((7 * MIB..=before).contains(&held) && held % MIB == 0, "{held} of {before}");
    // Going on elsewhere is refused with the right place.
    let status = upload(&client, &body, 0).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::WrongOffset);

    assert!(upload(&client, &body, held).await.unwrap().complete);
    assert_eq!(query(&client, &body).await, UploadResponse { received: body.size, complete: true });
    send(&rig, &client, "cut", &body).await.unwrap();
    // Once more, now that it is a body.
    rig.hub.kill().await.unwrap();
    rig.hub.restart().await.unwrap();
    let recipient = rig.connect("sapa").await;
    let offer = rig.fetch(&recipient, DISTRICT).await.remove(0);
    assert_eq!(download(&recipient, &offer, &body, 0).await, body.digest);
    rig.serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knowing_a_digest_is_not_having_the_bytes() {
    let rig = Rig::start().await;
    let body = Body::new(3, 3 * MIB);
    let owner = rig.connect("bacha").await;
    assert!(upload(&owner, &body, 0).await.unwrap().complete);
    let other = rig.connect("tavan").await;
    assert_eq!(query(&other, &body).await, UploadResponse::default());
    let status = send(&rig, &other, "stolen", &body).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::BodyMissing);

    // Nor when it is a document's already.
    let manifest =
        Manifest { sender: "000.00.22.H38".into(), parts: vec![body.part()], ..letter("owned", &[PROVINCE]) };
    owner.submission().submit(submit(&manifest, rig.seal("000.00.22.H38"), &[])).await.unwrap();
    let status = send(&rig, &other, "stolen", &body).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::BodyMissing);
    assert_eq!(query(&other, &body).await, UploadResponse::default());
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_manifests_do_not_burst_an_answer() {
    let rig = Rig::start().await;
    let sender = rig.connect("tavan").await;
    for number in 0..100 {
        let mut manifest = letter(&format!("wordy-{number}"), &[DISTRICT]);
        let info = manifest.document.as_mut().unwrap();
        info.to_places = vec!["ệ".repeat(150); 100];
        info.appendixes = vec!["ệ".repeat(200); 100];
        sender.submission().submit(submit(&manifest, rig.seal(COMMUNE), &[])).await.unwrap();
    }
    let recipient = rig.connect("sapa").await;
    let mut taken = 0;
    while taken < 100 {
        let offers = rig.fetch(&recipient, DISTRICT).await;
        assert!(!offers.is_empty(), "{taken} of 100");
        for offer in offers {
            rig.take(&recipient, &offer).await;
            taken += 1;
        }
    }
    rig.unharmed().await;
}

async fn upload(client: &Client, body: &Body, offset: u64) -> Result<UploadResponse, Status> {
    let steps = std::iter::once(body.begin(offset)).chain(body.chunks(offset).map(data));
    soon(client.submission().upload(tokio_stream::iter(steps))).await.map(tonic::Response::into_inner)
}

/// Begins, sends some chunks, and drops the call once the hub holds them; returns what it holds then.
async fn cut_after(client: &Client, body: &Body, offset: u64, chunks: u64) -> u64 {
    let (_steps, call) = begin(client, body, offset, chunks).await;
    while query(client, body).await.received < offset + chunks * MIB {}
    call.abort();
    let _ = call.await;
    // Until the hub has noticed, the upload belongs to that call.
    loop {
        let probe = UploadRequest { step: body.begin(offset + chunks * MIB).step };
        match client.submission().upload(tokio_stream::once(probe)).await {
            Ok(held) => return held.into_inner().received,
            Err(status) => assert_eq!(reason(&status), ReasonCode::Busy, "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As [`cut_after`], but it is the hub that goes; it is started again.
async fn cut_off_guard(client: &Client, body: &Body, offset: u64, chunks: u64, rig: &mut Rig) -> u64 {
    let (_steps, call) = begin(client, body, offset, chunks).await;
    while query(client, body).await.received <= offset {}
    rig.hub.kill().await.unwrap();
    let status = call.await.unwrap().unwrap_err();
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status:?}");
    rig.hub.restart().await.unwrap();
    offset + chunks * MIB
}

type Call = tokio::task::JoinHandle<Result<tonic::Response<UploadResponse>, Status>>;

async fn begin(
    client: &Client,
    body: &Body,
    offset: u64,
    chunks: u64,
) -> (mpsc::Sender<UploadRequest>, Call) {
    let (steps, receiver) = mpsc::channel(64);
    let call = {
        let client = client.clone();
        tokio::spawn(async move { client.submission().upload(ReceiverStream::new(receiver)).await })
    };
    steps.send(body.begin(offset)).await.unwrap();
    for chunk in body.chunks(offset).take(chunks as usize) {
        steps.send(data(chunk)).await.unwrap();
    }
    (steps, call)
}

async fn query(client: &Client, body: &Body) -> UploadResponse {
    let request = QueryUploadRequest { sha256: body.digest.to_bytes() };
    soon(client.submission().query_upload(request)).await.unwrap().into_inner()
}

async fn send(rig: &Rig, client: &Client, id: &str, body: &Body) -> Result<(), Status> {
    let manifest = Manifest { parts: vec![body.part()], ..letter(id, &[DISTRICT]) };
    soon(client.submission().submit(submit(&manifest, rig.seal(COMMUNE), &[]))).await.map(drop)
}

/// The digest of what comes from `offset` on; its length is checked.
async fn download(client: &Client, offer: &Offer, body: &Body, offset: u64) -> Digest {
    let request =
        DownloadRequest { delivery_id: offer.delivery_id.clone(), sha256: body.digest.to_bytes(), offset };
    let mut chunks = soon(client.delivery().download(request)).await.unwrap().into_inner();
    let (mut context, mut len) = (Context::new(&SHA256), 0);
    while let Some(chunk) = soon(chunks.message()).await.unwrap() {
        assert!(chunk.data.len() <= 256 * 1024);
        len += chunk.data.len() as u64;
        context.update(&chunk.data);
    }
    assert_eq!(len, body.size - offset);
    Digest::from_slice(context.finish().as_ref()).unwrap()
}
