//! Uploads that break their own announcements.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    domain::{id::Digest, reason::ReasonCode},
    proto::{upload_request::Step, *},
};

use crate::rig::{Rig, letter, part, reason, soon, submit};

const BODY: &[u8] = b"an attachment";

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_what_it_announced_or_nothing() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    let len = BODY.len() as u64;
    let wrong: Vec<(Vec<Option<Step>>, ReasonCode)> = vec![
        (vec![], ReasonCode::Malformed),
        (vec![None], ReasonCode::Malformed),
        (vec![data(BODY)], ReasonCode::Malformed),
        (vec![begin(BODY, len, 0), begin(BODY, len, 0)], ReasonCode::Malformed),
        (vec![begin(BODY, len, 0), None], ReasonCode::Malformed),
        (vec![begin(BODY, len, 5)], ReasonCode::WrongOffset),
        (vec![begin(BODY, len, u64::MAX)], ReasonCode::WrongOffset),
        (vec![begin(BODY, 3 << 30, 0)], ReasonCode::TooLarge),
        (vec![begin(BODY, u64::MAX, 0)], ReasonCode::TooLarge),
        (vec![begin(BODY, u64::MAX, u64::MAX)], ReasonCode::TooLarge),
        (vec![begin(BODY, 5, 0), data(BODY)], ReasonCode::TooLarge),
        (vec![begin(BODY, 0, 0), data(b"x")], ReasonCode::TooLarge),
        (vec![begin(BODY, 5 << 20, 0), data(&[7; (1 << 20) + 1])], ReasonCode::TooLarge),
        (vec![begin(BODY, len, 0), data(b"another one !")], ReasonCode::DigestMismatch),
        (vec![begin(BODY, 0, 0)], ReasonCode::DigestMismatch),
        (vec![digest_of_len(31)], ReasonCode::InvalidField),
        (vec![digest_of_len(0)], ReasonCode::InvalidField),
        (vec![digest_of_len(100_000)], ReasonCode::InvalidField),
    ];
    for (number, (steps, code)) in wrong.into_iter().enumerate() {
        let status = upload(&client, steps).await.expect_err("taken");
        assert_eq!(reason(&status), code, "upload {number}: {status:?}");
        let held = query(&client, BODY).await;
        assert!(!held.complete && held.received <= len, "upload {number}: {held:?}");
    }
    for len in [0, 31, 33, 100_000] {
        let request = QueryUploadRequest { sha256: vec![7; len].into() };
        let status = client.submission().query_upload(request).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::InvalidField);
    }

    // What is cut short is kept, other sizes and offsets notwithstanding; then it is completed.
    let half = upload(&client, vec![begin(BODY, len, 0), data(&BODY[..5])]).await.unwrap();
    assert_eq!((half.received, half.complete), (5, false));
    let status = upload(&client, vec![begin(BODY, len, 0), data(BODY)]).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::WrongOffset);
    assert!(upload(&client, vec![begin(BODY, len, 5), data(&BODY[5..])]).await.unwrap().complete);
    let status = upload(&client, vec![begin(BODY, len, len), data(b"more")]).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::TooLarge);
    assert!(upload(&client, vec![begin(BODY, len, len)]).await.unwrap().complete);

    let wrong_size = Part { size: len + 1, ..part("a.pdf", BODY) };
    let manifest = Manifest { parts: vec![wrong_size], ..letter("u-1", &[DISTRICT]) };
    let status = client.submission().submit(submit(&manifest, rig.seal(COMMUNE), &[])).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::DigestMismatch);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_upload_has_one_writer() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    let len = BODY.len() as u64;
    let (steps, receiver) = mpsc::channel(4);
    steps.send(UploadRequest { step: begin(BODY, len, 0) }).await.unwrap();
    steps.send(UploadRequest { step: data(&BODY[..5]) }).await.unwrap();
    let first = {
        let client = client.clone();
        tokio::spawn(async move { client.submission().upload(ReceiverStream::new(receiver)).await })
    };
    while query(&client, BODY).await.received < 5 {}
    for steps in [vec![begin(BODY, len, 0), data(BODY)], vec![begin(BODY, len, 5), data(&BODY[5..])]] {
        let status = upload(&client, steps).await.unwrap_err();
        assert_eq!(reason(&status), ReasonCode::Busy, "{status:?}");
    }
    // The same attachment of another node is another upload.
    let other = rig.connect("bacha").await;
    assert!(upload(&other, vec![begin(BODY, len, 0), data(BODY)]).await.unwrap().complete);

    steps.send(UploadRequest { step: data(&BODY[5..]) }).await.unwrap();
    drop(steps);
    assert!(soon(first).await.unwrap().unwrap().into_inner().complete);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_stall_hold_up_nobody() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    let mut stalled = Vec::new();
    for number in 0..200_u8 {
        let body = vec![number; 600_000];
        let (steps, receiver) = mpsc::channel(4);
        steps.send(UploadRequest { step: begin(&body, 700_000, 0) }).await.unwrap();
        steps.send(UploadRequest { step: data(&body) }).await.unwrap();
        let client = client.clone();
        let call = async move { client.submission().upload(ReceiverStream::new(receiver)).await };
        stalled.push((steps, tokio::spawn(call)));
    }
    rig.unharmed().await;
    let mut busy = 0;
    for (steps, call) in stalled {
        if call.is_finished() {
            assert_eq!(reason(&call.await.unwrap().unwrap_err()), ReasonCode::Busy);
            busy += 1;
        } else {
            drop(steps);
            let held = soon(call).await.unwrap().unwrap().into_inner();
            assert_eq!((held.received, held.complete), (600_000, false));
        }
    }
    assert!(busy > 100, "only {busy} were refused");
    rig.unharmed().await;
}

fn begin(body: &[u8], size: u64, offset: u64) -> Option<Step> {
    Some(Step::Begin(UploadBegin { sha256: Digest::of(body).to_bytes(), size, offset }))
}

fn data(bytes: &[u8]) -> Option<Step> {
    Some(Step::Data(bytes.to_vec().into()))
}

fn digest_of_len(len: usize) -> Option<Step> {
    Some(Step::Begin(UploadBegin { sha256: vec![7; len].into(), size: 5, offset: 0 }))
}

async fn upload(client: &Client, steps: Vec<Option<Step>>) -> Result<UploadResponse, Status> {
    let steps: Vec<_> = steps.into_iter().map(|step| UploadRequest { step }).collect();
    soon(client.submission().upload(tokio_stream::iter(steps))).await.map(tonic::Response::into_inner)
}

async fn query(client: &Client, body: &[u8]) -> UploadResponse {
    let request = QueryUploadRequest { sha256: Digest::of(body).to_bytes() };
    client.submission().query_upload(request).await.unwrap().into_inner()
}
