//! Refusals: each is typed, and each is evidence.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use truc::{
    domain::{envelope, id::Digest, reason::ReasonCode, signature::SigningKey},
    hub::intake::Accepted,
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    every_refused_submission_is_typed_and_evidence,
    every_refused_report_is_typed_and_evidence,
    keys_count_by_their_time,
    the_writer_sees_what_changed_since_verification,
    a_repeated_refusal_does_not_grow_the_log,
    what_is_about_this_moment_is_no_evidence,
);

/// Submits an envelope for the province, expects a refusal and its evidence.
async fn refused_as(world: &World, by: &str, envelope: SignedEnvelope, code: ReasonCode) -> Evidence {
    let message = Digest::of(&envelope.payload).to_bytes();
    let refusal = world.refused(world.hub().submit(&node(by), envelope, Vec::new()).await);
    assert_eq!(refusal.code, code);
    let evidence = refusal.evidence();
    assert_eq!(evidence.event(), EventKind::SubmissionRejection);
    assert_eq!(evidence.sender.as_ref().unwrap().node, by);
    assert_eq!(evidence.message_sha256, message);
    assert!(evidence.recipient_receipt.is_none() && evidence.manifest_sha256.is_empty());
    evidence.clone()
}

async fn every_refused_submission_is_typed_and_evidence(world: World) {
    use ReasonCode::*;
    world.change(set_state(TAN_LAP, AgencyState::Closed)).await;
    type Breaks = fn(&mut Manifest);
    let cases: [(Breaks, ReasonCode); 11] = [
        (|m| m.recipients = to(&["000.99.31.H53"]), UnknownRecipient),
        (|m| m.recipients = to(&[TAN_LAP]), AgencyClosed),
        (|m| m.recipients.clear(), NoRecipients),
        (|m| m.hub_origin = "elsewhere".into(), WrongHub),
        (|m| m.issued_at_us = START.0 - 25 * HOUR, ClockSkew),
        (|m| m.issued_at_us = START.0 + 25 * HOUR, ClockSkew),
        (|m| m.document.as_mut().unwrap().secrecy = Secrecy::Mat.into(), StateSecret),
        (|m| m.parts = vec![part("a.pdf", b"never sent")], BodyMissing),
        (|m| m.parts = vec![part("a.pdf", b"x").with(|p| p.size = 3 << 30)], TooLarge),
        (|m| m.delivery_deadline_us = START.0, InvalidField),
        (|m| m.operation = Operation::Recall.into(), ReasonRequired),
    ];
    for (at, (breaks, code)) in cases.into_iter().enumerate() {
        let manifest = manifest(&format!("d{at}")).with(breaks);
        let evidence = refused_as(&world, "province", world.keys.manifest(&manifest), code).await;
        assert_eq!(evidence.document_id, manifest.document_id);
        assert_eq!(evidence.sender.as_ref().unwrap().agency, PROVINCE);
    }

    let good = manifest("good");
    let signed = world.keys.manifest(&good);
    refused_as(&world, "ministry", signed.clone(), NotAuthorised).await;
    refused_as(&world, "nobody", signed.clone(), UnknownNode).await;
    let spoiled = signed.clone().with(|e| {
        e.signatures[0].value = Some(signature::Value::Ed25519(Bytes::from(vec![1; 64])));
    });
    refused_as(&world, "province", spoiled, BadSignature).await;
    let foreign = world.keys.sign(MINISTRY, envelope::MANIFEST, &good);
    refused_as(&world, "province", foreign, UnknownKey).await;
    let unknown = envelope::sign(envelope::MANIFEST, good.encode_to_vec().into(), &[&new_key()]);
    refused_as(&world, "province", unknown, UnknownKey).await;
    let unsigned = signed.clone().with(|e| e.signatures.clear());
    refused_as(&world, "province", unsigned, InvalidField).await;
    let cms = signed.clone().with(|e| {
        e.signatures[0].value = Some(signature::Value::CmsDetached(Bytes::from(vec![1; 64])));
    });
    refused_as(&world, "province", cms, UnsupportedAlgorithm).await;
    let mistyped = signed.clone().with(|e| e.payload_type = envelope::RECEIPT.into());
    refused_as(&world, "province", mistyped, WrongPayloadType).await;
    let garbage = signed.clone().with(|e| e.payload = Bytes::from(vec![0xff; 40]));
    let evidence = refused_as(&world, "province", garbage, Malformed).await;
    assert!(evidence.document_id.is_empty() && evidence.sender.unwrap().agency.is_empty());
    let crowd = signed.clone().with(|e| e.payload = Bytes::from([0x5a, 0].repeat(500_000)));
    refused_as(&world, "province", crowd, TooLarge).await;
    world.change(set_state(PROVINCE, AgencyState::Suspended)).await;
    refused_as(&world, "province", signed, AgencyClosed).await;
    world.change(revoke_node("province")).await;
    refused_as(&world, "province", world.keys.manifest(&good), UnknownNode).await;

    assert_eq!(world.hub().overview().await.unwrap().documents, 0, "none of them came in");
    world.audit().await;
}

async fn every_refused_report_is_typed_and_evidence(world: World) {
    use ReasonCode::*;
    let document = world.send(&manifest("d1")).await;
    let good = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
    type Breaks = fn(&mut RecipientReceipt);
    let cases: [(Breaks, ReasonCode); 6] = [
        (|r| r.document_id = "unheard-of".into(), UnknownDocument),
        (|r| r.manifest_sha256 = Bytes::from(vec![7; 32]), DigestMismatch),
        (|r| r.recipient = TAN_HOA.into(), NotARecipient),
        (|r| r.hub_origin = "elsewhere".into(), WrongHub),
        (|r| r.outcome = 0, InvalidField),
        (|r| r.outcome = Outcome::Refused.into(), ReasonRequired),
    ];
    for (breaks, code) in cases {
        let bad = good.clone().with(breaks);
        let refusal = world.refused(world.try_acknowledge(&bad).await);
        assert_eq!(refusal.code, code);
        let evidence = refusal.evidence();
        assert_eq!(evidence.event(), EventKind::ReportRejection);
        let speaker = &evidence.recipients[0];
        assert_eq!((speaker.agency.as_str(), speaker.node.as_str()), (bad.recipient.as_str(), "communes"));
        assert!(evidence.sender.as_ref().unwrap().node.is_empty(), "the sender did not speak");
    }
    let foreign = world.keys.sign(TAN_HOA, envelope::RECEIPT, &good);
    let refusal = world.refused(world.hub().acknowledge(&node("communes"), foreign).await);
    assert_eq!(refusal.code, UnknownKey, "the right node with the wrong agency's key");
    refusal.evidence();
    let stranger = world.hub().acknowledge(&node("province"), world.keys.receipt(&good)).await;
    let refusal = world.refused(stranger);
    assert_eq!(refusal.code, NotAuthorised);
    refusal.evidence();

    let cases: [(BusinessStatus, ReasonCode); 6] = [
        (status("d1", TAN_HOA, 3), NotARecipient),
        (status("d1", TAN_BINH, 7), UnknownStatusCode),
        (status("d1", TAN_BINH, 2).with(|s| s.description.clear()), ReasonRequired),
        (status("d1", TAN_BINH, 3).with(|s| s.nonce = Bytes::new()), InvalidField),
        (status("d1", TAN_BINH, 3).with(|s| s.occurred_at_us = START.0 + 2 * DAY), ClockSkew),
        (status("d1", TAN_BINH, 13), InvalidField),
    ];
    for (bad, code) in cases {
        let refusal = world.refused(world.try_report(&bad).await);
        assert_eq!(refusal.code, code, "{refusal:?}");
        assert_eq!(refusal.evidence().event(), EventKind::ReportRejection);
    }
    let refusal = world.refused(world.try_report(&recall("d1", TAN_HOA)).await);
    assert_eq!(refusal.code, NotARecipient);
    assert_eq!(refusal.evidence().sender.as_ref().unwrap().node, "province", "13 is the sender's word");
    let bulky = world.keys.receipt(&good).with(|e| {
        let padding = signature::Value::EcdsaP256Sha256(Bytes::from(vec![0; 8 * 1024]));
        let extra = Signature { value: Some(padding), ..e.signatures[0].clone() };
        e.signatures.extend(vec![extra; 7]);
    });
    let refusal = world.refused(world.hub().acknowledge(&node("communes"), bulky).await);
    assert_eq!(refusal.code, TooLarge, "no leaf could hold it");
    refusal.evidence();
    assert_eq!(world.state(&document, TAN_BINH).await.transport(), TransportState::Ready);
}

async fn keys_count_by_their_time(world: World) {
    let later = new_key();
    let registration = add_key(PROVINCE, &later, SignerKind::Agency);
    world
        .change(SigningKeyChange(registration.0.with(|key| {
            (key.valid_from_us, key.valid_until_us) = (START.0 + HOUR, START.0 + 2 * HOUR);
        })))
        .await;
    let sign = |key: &SigningKey, id: &str| {
        envelope::sign(envelope::MANIFEST, manifest(id).encode_to_vec().into(), &[key])
    };
    refused_as(&world, "province", sign(&later, "early"), ReasonCode::KeyNotValid).await;
    world.clock.advance_us(HOUR);
    world.accepted(world.hub().submit(&node("province"), sign(&later, "in time"), Vec::new()).await);
    world.clock.advance_us(HOUR);
    refused_as(&world, "province", sign(&later, "late"), ReasonCode::KeyNotValid).await;
    let seal = Arc::clone(&world.keys.of(PROVINCE).seal);
    world.change(revoke_key(&seal)).await;
    refused_as(&world, "province", sign(&seal, "revoked"), ReasonCode::KeyRevoked).await;
}

/// The change of the directory and the message that it forbids race; whoever comes first in the log decides.
async fn the_writer_sees_what_changed_since_verification(world: World) {
    for round in 0..40 {
        let key = new_key();
        world.change(add_key(PROVINCE, &key, SignerKind::Agency)).await;
        let payload = manifest(&format!("d{round}")).encode_to_vec();
        let envelope = envelope::sign(envelope::MANIFEST, payload.into(), &[&key]);
        let hub = Arc::clone(world.hub());
        let sending = tokio::spawn(async move { hub.submit(&node("province"), envelope, Vec::new()).await });
        for _ in 0..round % 8 {
            tokio::task::yield_now().await;
        }
        let revoked = world.change(revoke_key(&key)).await;
        match sending.await.unwrap() {
            Ok(accepted) => {
                let accepted = world.accepted(Ok(accepted));
                assert!(accepted.receipt.index < revoked.receipt.index, "accepted after the revocation");
                let as_of = accepted.evidence.verdict.as_ref().unwrap().as_of_index;
                assert!(as_of <= revoked.receipt.index);
            }
            refused @ Err(_) => {
                let refusal = world.refused::<Accepted>(refused);
                assert_eq!(refusal.code, ReasonCode::KeyRevoked);
                let rejected = refusal.proof.unwrap().receipt.index;
                assert!(revoked.receipt.index < rejected, "refused before the revocation");
            }
        }
    }
}

async fn a_repeated_refusal_does_not_grow_the_log(world: World) {
    let bad = manifest("d1").with(|m| m.issued_at_us = START.0 - 30 * HOUR);
    let first = world.refused(world.try_send(&bad).await).proof.unwrap();
    let size = world.hub().size();
    for _ in 0..10 {
        world.clock.advance_us(SECOND);
        let again = world.refused(world.try_send(&bad).await);
        assert_eq!(again.code, ReasonCode::ClockSkew);
        assert_eq!(again.proof.unwrap().bytes(), first.bytes());
    }
    assert_eq!(world.hub().size(), size);
    // Another fault of the same message is told, and so is another message.
    world.change(set_state(PROVINCE, AgencyState::Suspended)).await;
    let other = manifest("d2").with(|m| m.issued_at_us = START.0 - 30 * HOUR);
    assert!(world.refused(world.try_send(&other).await).proof.unwrap().receipt.index > size);

    world.change(set_state(PROVINCE, AgencyState::Active)).await;
    world.send(&manifest("d3")).await;
    let conflict = manifest("d3");
    let one = world.refused(world.try_send(&conflict).await).proof.unwrap();
    let two = world.refused(world.try_send(&conflict).await).proof.unwrap();
    assert_eq!(one.bytes(), two.bytes(), "the writer's own refusals are remembered as well");
}

async fn what_is_about_this_moment_is_no_evidence(mut world: World) {
    let hub = Arc::clone(world.hub());
    let size = hub.size();
    let sending = world.keys.manifest(&manifest("d1"));
    hub.stop().await;
    let refused = hub.submit(&node("province"), sending, Vec::new()).await.unwrap_err();
    assert_eq!((refused.code(), refused.receipt), (ReasonCode::ShuttingDown, None));
    assert_eq!(hub.size(), size);
    drop(hub);
    world.restart().await;
    world.send(&manifest("d1")).await;
}
