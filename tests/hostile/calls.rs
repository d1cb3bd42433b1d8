//! Messages that are none, on every method.

use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::{Code, Request};
use truc::{client::Client, domain::reason::ReasonCode, proto::*};

use crate::{
    raw::{self, Value},
    rig::{Chance, Rig, reason, soon},
};

const SUBMIT: &str = "/truc.v1.SubmissionService/Submit";

#[tokio::test(flavor = "multi_thread")]
async fn every_method_survives_garbage() {
    let rig = Rig::start().await;
    let mut chance = Chance::new();
    let mut calls = JoinSet::new();
    for caller in ["tavan", "operator", "auditor"] {
        let client = rig.connect(caller).await;
        for path in raw::methods() {
            for messages in garbage(&mut chance) {
                let (client, path) = (client.clone(), path.clone());
                let messages = without_long_waits(&path, messages);
                calls.spawn(async move { judged(&client, caller, &path, messages).await });
            }
            if calls.len() > 100 {
                calls.join_next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    rig.unharmed().await;
}

async fn judged(client: &Client, caller: &str, path: &str, messages: Vec<Bytes>) {
    let said = format!("{caller} {path} {:?}", messages.first());
    if let Err(status) = raw::call(client, path, messages).await {
        println!("{said}: {}", status.code());
        reason(&status);
    }
}

/// A Fetch may ask to wait for a minute, and gets that minute. The last value of a field counts: one microsecond.
fn without_long_waits(path: &str, messages: Vec<Bytes>) -> Vec<Bytes> {
    if !path.ends_with("/Fetch") {
        return messages;
    }
    let wait = raw::write(&vec![(3, Value::Varint(1))]);
    messages.into_iter().map(|message| [message.as_ref(), wait.as_slice()].concat().into()).collect()
}

/// Nothing, an empty message, noise, well-formed nonsense, and several of them.
fn garbage(chance: &mut Chance) -> Vec<Vec<Bytes>> {
    let mut all = vec![vec![], vec![Bytes::new()], vec![Bytes::new(); 3]];
    for len in [1, 7, 64, 5_000] {
        all.push(vec![chance.bytes(len).into()]);
    }
    for _ in 0..8 {
        let count = 1 + chance.below(3) as usize;
        all.push((0..count).map(|_| nonsense(chance, 3).into()).collect());
    }
    all
}

fn nonsense(chance: &mut Chance, depth: u32) -> Vec<u8> {
    let mut fields = Vec::new();
    for _ in 0..1 + chance.below(5) {
        let tag = 1 + chance.below(12) as u32;
        let len = chance.below(40) as usize;
        let value = match chance.below(6) {
            0 => Value::Varint(chance.next()),
            1 => Value::Varint(chance.below(8)),
            2 => Value::Fixed64(chance.next()),
            3 => Value::Bytes(chance.bytes(len)),
            4 => Value::Bytes(vec![b'7'; len]),
            _ if depth == 0 => Value::Fixed32(7),
            _ => Value::Bytes(nonsense(chance, depth - 1)),
        };
        fields.push((tag, value));
    }
    raw::write(&fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_hold_no_message_are_malformed() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    for path in raw::methods() {
        let streamed = ["Deliver", "SubmitStream"].iter().any(|name| path.ends_with(name));
        for (what, frames) in [
            ("no frame", ""),
            ("half a header", "\0\0\0"),
            ("a body cut short", "\0\0\0\0\x09abc"),
            ("an unknown flag", "\x07\0\0\0\0"),
            ("compressed by nobody", "\x01\0\0\0\x03abc"),
            ("a field cut short", "\0\0\0\0\x02\x0a\x7f"),
            ("an impossible tag", "\0\0\0\0\x02\x07\x07"),
        ] {
            // SubmitStream may end without a message, and answers the rest at its end.
            let Some(status) = raw::post(&client, &path, frames).await else {
                assert!(path.ends_with("SubmitStream"), "{path}: {what} was taken");
                continue;
            };
            assert!(!streamed || path.ends_with("Deliver"));
            let code = reason(&status);
            let known_before = [ReasonCode::Malformed, ReasonCode::RoleRequired];
            assert!(known_before.contains(&code), "{path}: {what}: {status:?}");
        }
    }
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_can_not_be_read_on_says_why() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    let submissions = "/truc.v1.SubmissionService/SubmitStream";
    let status =
        raw::call(&client, submissions, vec![Bytes::new(), b"\x0a\x7f"[..].into()]).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::Malformed);

    let hello = DeliverRequest { step: Some(deliver_request::Step::Hello(Hello::default())) };
    let hello = prost::Message::encode_to_vec(&hello).into();
    let deliveries = "/truc.v1.DeliveryService/Deliver";
    let status = raw::call(&client, deliveries, vec![hello, b"\x0a\x7f"[..].into()]).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::Malformed);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_told_so() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    for path in raw::methods() {
        let status = raw::call(&client, &path, vec![vec![7; 9 << 20].into()]).await.unwrap_err();
        let code = reason(&status);
        assert!(matches!(code, ReasonCode::TooLarge | ReasonCode::RoleRequired), "{path}: {status:?}");
    }
    // Announced only: nothing of it is waited for or made room for.
    let status = raw::post(&client, SUBMIT, "\0\x7f\x7f\x7f\x7fabc").await.unwrap();
    assert_eq!(reason(&status), ReasonCode::TooLarge);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_calls_and_huge_headers_end_nothing_but_themselves() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    for path in ["/truc.v1.SubmissionService/Nothing", "/truc.v2.None/Submit", "/", "/%00", "/a/b/c/d"] {
        let status = raw::call(&client, path, vec![Bytes::new()]).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
    for size in [1_000, 100_000, 1_000_000] {
        let client = rig.connect("tavan").await;
        let mut request = Request::new(GetCapabilitiesRequest {});
        request.metadata_mut().insert("x-long", "a".repeat(size).parse().unwrap());
        // Above the limit HTTP/2 itself refuses: no handler ever sees it.
        let answer = soon(client.submission().get_capabilities(request)).await;
        assert_eq!(answer.is_ok(), size == 1_000, "{size}");
    }
    client.submission().get_capabilities(GetCapabilitiesRequest {}).await.expect("another connection stands");
    rig.unharmed().await;
}
