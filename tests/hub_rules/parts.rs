//! Attachments: inline, uploaded, and never somebody else's.

use bytes::Bytes;
use truc::{
    domain::{id::Digest, reason::ReasonCode},
    hub::intake::Accepted,
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    inline_parts_come_with_the_message,
    uploads_are_resumed_and_used_once,
    a_digest_is_no_key_to_other_peoples_uploads,
    sizes_and_digests_are_checked,
    recipients_download_what_was_sent,
);

fn with_parts(id: &str, parts: &[&[u8]]) -> Manifest {
    manifest(id)
        .with(|m| m.parts = (0..).zip(parts).map(|(at, bytes)| part(&format!("{at}.pdf"), bytes)).collect())
}

async fn submit(
    world: &World,
    manifest: &Manifest,
    inline: &[&[u8]],
) -> Result<Accepted, truc::hub::refused::Refused> {
    let inline = inline.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
    world.hub().submit(&node_of(&manifest.sender), world.keys.manifest(manifest), inline).await
}

async fn upload(world: &World, name: &str, bytes: &[u8], offset: usize, until: usize) -> UploadResponse {
    let begin =
        UploadBegin { sha256: Digest::of(bytes).to_bytes(), size: bytes.len() as u64, offset: offset as u64 };
    let mut upload = world.hub().begin_upload(&node(name), &begin).await.unwrap();
    upload.write(Bytes::copy_from_slice(&bytes[offset..until])).await.unwrap();
    upload.finish().await.unwrap()
}

async fn inline_parts_come_with_the_message(world: World) {
    let document = with_parts("d1", &[b"one", b"two", b"one"]);
    world.accepted(submit(&world, &document, &[b"two", b"one"]).await);
    // The same bytes again, in another document: they are here, and still have to be shown.
    world.accepted(submit(&world, &with_parts("d2", &[b"one"]), &[b"one"]).await);
    let missing = world.refused(submit(&world, &with_parts("d3", &[b"one"]), &[]).await);
    assert_eq!(missing.code, ReasonCode::BodyMissing);
}

async fn uploads_are_resumed_and_used_once(world: World) {
    let bytes = vec![7; 300_000];
    let half = upload(&world, "province", &bytes, 0, 100_000).await;
    assert_eq!((half.received, half.complete), (100_000, false));
    let document = with_parts("d1", &[&bytes]);
    assert_eq!(world.refused(submit(&world, &document, &[]).await).code, ReasonCode::BodyMissing);
    let held = world.hub().query_upload(&node("province"), Digest::of(&bytes)).await.unwrap();
    assert_eq!(held.received, 100_000);
    assert!(upload(&world, "province", &bytes, 100_000, 300_000).await.complete);
    let accepted = world.accepted(submit(&world, &document, &[]).await);
    assert!(!accepted.repeat);
    eventually("the upload is cleared away", async || {
        world.hub().query_upload(&node("province"), Digest::of(&bytes)).await.unwrap().received == 0
    })
    .await;
    assert_eq!(world.accepted(submit(&world, &document, &[]).await).bytes(), accepted.bytes());
}

async fn a_digest_is_no_key_to_other_peoples_uploads(world: World) {
    let secret = vec![9; 200_000];
    upload(&world, "ministry", &secret, 0, secret.len()).await;
    let thief = with_parts("d1", &[&secret]);
    let refusal = world.refused(submit(&world, &thief, &[]).await);
    assert_eq!(refusal.code, ReasonCode::BodyMissing);
    refusal.evidence();
    let owner = with_parts("d2", &[&secret]).with(|m| m.sender = MINISTRY.into());
    world.accepted(submit(&world, &owner, &[]).await);
    // Also not after a document made it a body of the hub.
    assert_eq!(world.refused(submit(&world, &thief, &[]).await).code, ReasonCode::BodyMissing);
}

async fn sizes_and_digests_are_checked(world: World) {
    let lying = with_parts("d1", &[b"one", b"one"]).with(|m| m.parts[1].size = 4);
    let refusal = world.refused(submit(&world, &lying, &[b"one"]).await);
    assert_eq!((refusal.code, refusal.codes.len()), (ReasonCode::DigestMismatch, 1));
    refusal.evidence();
    let refusal = world.refused(submit(&world, &with_parts("d2", &[b"one"]), &[b"one", b"stray"]).await);
    assert_eq!(refusal.code, ReasonCode::DigestMismatch);
    refusal.evidence();
    let bodies: Vec<Vec<u8>> = (0..100_u8).map(|at| vec![at; 9]).collect();
    let absent = with_parts("d4", &bodies.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let refusal = world.refused(submit(&world, &absent, &[]).await);
    assert_eq!((refusal.code, refusal.codes.len()), (ReasonCode::BodyMissing, 10));
    assert!(refusal.evidence().reasons[9].detail.contains("91 more"));
    let large = vec![0; (world.settings.max_inline_bytes + 1) as usize];
    let refusal = world.refused(submit(&world, &with_parts("d3", &[&large]), &[&large]).await);
    assert_eq!(refusal.code, ReasonCode::TooLarge);
    refusal.evidence();
}

async fn recipients_download_what_was_sent(mut world: World) {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let document = world.accepted(submit(&world, &with_parts("d1", &[&bytes]), &[&bytes]).await);
    world.restart().await;
    let id = format!("{}/{TAN_BINH}", document.receipt.index);
    let digest = Digest::of(&bytes);
    for offset in [0, 999_000, bytes.len()] {
        let mut chunks =
            world.hub().download(&node("communes"), &id, digest, offset as u64).await.expect("a recipient");
        let mut read = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            read.extend_from_slice(&chunk.unwrap());
        }
        assert!(read == bytes[offset..]);
    }
    let code = async |name: &str, id: &str, digest, offset| {
        world.hub().download(&node(name), id, digest, offset).await.unwrap_err().code()
    };
    assert_eq!(code("province", &id, digest, 0).await, ReasonCode::NotAuthorised);
    let other = format!("{}/{TAN_HOA}", document.receipt.index);
    assert_eq!(code("communes", &other, digest, 0).await, ReasonCode::NotARecipient);
    assert_eq!(code("communes", &id, Digest::of(b"x"), 0).await, ReasonCode::BodyMissing);
    assert_eq!(code("communes", &id, digest, 1_000_001).await, ReasonCode::WrongOffset);
    assert_eq!(code("communes", "nonsense", digest, 0).await, ReasonCode::InvalidField);
    // A refused document is open no more.
    let refused = receipt(&document.evidence, TAN_BINH, Outcome::Refused);
    world.accepted(world.try_acknowledge(&refused).await);
    assert_eq!(code("communes", &id, digest, 0).await, ReasonCode::NotARecipient);
}
