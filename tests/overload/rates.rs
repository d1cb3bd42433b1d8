//! Token buckets, as a client sees them.

use std::time::Duration;

use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    domain::reason::ReasonCode,
    proto::*,
};

use crate::rig::{Rig, letter, reason, soon, submit};

fn pause(status: &Status) -> Duration {
    assert_eq!(status.code(), Code::ResourceExhausted);
    status.get_details_retry_info().and_then(|info| info.retry_delay).expect("RetryInfo")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_fast_is_told_when_to_come_again() {
    let rig = Rig::start_with("[limits]\nnode_messages = 5\n").await;
    let client = rig.connect("tavan").await;
    let mut calls = JoinSet::new();
    for number in 0..40 {
        let request = submit(&letter(&format!("r-{number}"), &[DISTRICT]), rig.seal(COMMUNE), &[]);
        let client = client.clone();
        calls.spawn(async move { (client.submission().submit(request.clone()).await.err(), request) });
    }
    let mut refused = Vec::new();
    for (status, request) in calls.join_all().await {
        let Some(status) = status else { continue };
        assert_eq!(reason(&status), ReasonCode::RateLimited);
        assert!(pause(&status) < Duration::from_secs(10));
        refused.push(request);
    }
    assert!(!refused.is_empty());
    // Others are not concerned, and whoever waits as told gets through.
    let recipient = rig.connect("sapa").await;
    assert!(!rig.fetch(&recipient, DISTRICT).await.is_empty());
    for request in refused.into_iter().take(3) {
        while let Err(status) = soon(client.submission().submit(request.clone())).await {
            tokio::time::sleep(pause(&status)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_fill_the_log_are_slowed_down() {
    let rig = Rig::start_with("[limits]\nnode_refusals = 2\n").await;
    let client = rig.connect("tavan").await;
    let mut recorded = 0;
    let limited = loop {
        let mut letter = letter(&format!("bad-{recorded}"), &[DISTRICT]);
        letter.recipients.clear();
        let status = client.submission().submit(submit(&letter, rig.seal(COMMUNE), &[])).await.unwrap_err();
        if reason(&status) == ReasonCode::RateLimited {
            break status;
        }
        recorded += 1;
        assert!(recorded < 1_000, "nothing slows this node down");
    };
    tokio::time::sleep(pause(&limited)).await;
    let good = submit(&letter("good", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    soon(client.submission().submit(good)).await.expect("after the pause");
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_says_when_to_come_again_in_streams_too() {
    let rig = Rig::start_with("[limits]\nnode_messages = 3\n").await;
    let client = rig.connect("tavan").await;
    let request = |tag| SubmitStreamRequest {
        tag,
        request: Some(submit(&letter(&format!("s-{tag}"), &[DISTRICT]), rig.seal(COMMUNE), &[])),
    };
    let requests: Vec<_> = (0..30).map(request).collect();
    let mut answers =
        client.submission().submit_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut refused = 0;
    while let Some(answer) = soon(answers.message()).await.unwrap() {
        let Some(submit_stream_response::Answer::Refused(refusal)) = answer.answer else { continue };
        assert_eq!(refusal.status, Code::ResourceExhausted as i32);
        assert!(refusal.retry_after_us > 0);
        refused += 1;
    }
    assert!(refused > 0);
}
