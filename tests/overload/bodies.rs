//! Messages that never become whole, and what they may cost.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use tokio::task::JoinSet;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    domain::reason::ReasonCode,
    proto::*,
};

use crate::rig::{Rig, letter, part, reason, soon, submit};

const MIB: usize = 1 << 20;
const SUBMIT: &str = "/truc.v1.SubmissionService/Submit";
const SUBMIT_STREAM: &str = "/truc.v1.SubmissionService/SubmitStream";

/// A message of `announced` bytes of which `there` come, then silence.
struct Half {
    prefix: Option<Bytes>,
    there: usize,
}

impl Half {
    fn new(announced: usize, there: usize) -> Self {
        let mut prefix = vec![0];
        prefix.extend(u32::try_from(announced).unwrap().to_be_bytes());
        Self { prefix: Some(prefix.into()), there }
    }
}

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        if let Some(prefix) = self.prefix.take() {
            return Poll::Ready(Some(Ok(Frame::data(prefix))));
        }
        let len = self.there.min(ZEROS.len());
        if len == 0 {
            return Poll::Pending;
        }
        self.there -= len;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..len])))))
    }
}

async fn post(client: &Client, path: &str, body: Half) -> Option<Status> {
    let request = http::Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(body))
        .unwrap();
    let mut channel = client.channel();
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let answer = channel.call(request).await.unwrap();
    Status::from_header_map(answer.headers())
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_messages_stay_within_the_budget() {
    let rig = Rig::start_with("[limits]\nmessage_memory = \"32 MiB\"\npatience = \"2s\"\n").await;
    let before = rig.memory("VmHWM");
    let client = rig.connect("tavan").await;
    let mut calls = JoinSet::new();
    for _ in 0..256 {
        let client = client.clone();
        calls.spawn(async move { post(&client, SUBMIT, Half::new(8 * MIB - 64, 6 * MIB)).await.unwrap() });
    }
    // Meanwhile others have their share.
    rig.serves().await;
    let (mut busy, mut too_slow) = (0, 0);
    while let Some(status) = soon(calls.join_next()).await {
        match reason(&status.unwrap()) {
            ReasonCode::Busy => busy += 1,
            ReasonCode::TooSlow => too_slow += 1,
            other => panic!("{other:?}"),
        }
    }
    let grown = rig.memory("VmHWM") - before;
    println!("{busy} had no room, {too_slow} were given up, the hub grew by {} MiB", grown as usize / MIB);
    assert!(busy > 200 && busy + too_slow == 256, "{busy} {too_slow}");
    assert!(grown < 100 * MIB as u64, "{grown}");
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_may_rest_between_messages_but_not_within_one() {
    let rig = Rig::start_with("[limits]\npatience = \"300ms\"\n").await;
    let client = rig.connect("tavan").await;
    let calls = [(SUBMIT, 0), (SUBMIT, 3), (SUBMIT, 100_000)];
    for (path, there) in calls {
        let body = if there == 0 { Half { prefix: None, there } } else { Half::new(MIB, there) };
        let status = soon(post(&client, path, body)).await.unwrap();
        assert_eq!(reason(&status), ReasonCode::TooSlow, "{path} {there}");
    }
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let receiver = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = client.submission().submit_stream(receiver).await.unwrap().into_inner();
    for tag in 0..2 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let request = Some(submit(&letter(&format!("rest-{tag}"), &[DISTRICT]), rig.seal(COMMUNE), &[]));
        requests.send(SubmitStreamRequest { tag, request }).await.unwrap();
        assert_eq!(soon(answers.message()).await.unwrap().unwrap().tag, tag);
    }
    let _unread = post(&client, SUBMIT_STREAM, Half::new(MIB, 9)).await;
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_in_work_stay_within_the_budget() {
    let rig = Rig::start_with("[limits]\nmessage_memory = \"32 MiB\"\n").await;
    let mut calls = JoinSet::new();
    for number in 0..60_u8 {
        let body = vec![number; 3 * MIB];
        let name = format!("large-{number}");
        let manifest = Manifest { parts: vec![part("a.pdf", &body)], ..letter(&name, &[DISTRICT]) };
        let request = submit(&manifest, rig.seal(COMMUNE), &[body.into()]);
        let client = rig.connect("tavan").await;
        calls.spawn(async move {
            let mut busy = 0;
            while let Err(status) = client.submission().submit(request.clone()).await {
                assert_eq!(reason(&status), ReasonCode::Busy);
                busy += 1;
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            }
            busy
        });
    }
    let busy: u32 = calls.join_all().await.into_iter().sum();
    println!("{busy} times busy, then all were taken");
    rig.unharmed().await;
}
