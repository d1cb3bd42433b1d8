//! More recipients for a document that was accepted before.

use std::time::Duration;

use bytes::Bytes;
use truc::{
    domain::{envelope, evidence::recipients_digest, reason::ReasonCode},
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    who_is_new_gets_it_and_nobody_twice,
    a_repeated_addressing_returns_the_same_bytes,
    an_addressing_has_to_fit_its_document,
    a_long_list_needs_a_group,
);

async fn deliveries(world: &World, document: &Proven) -> Vec<String> {
    let timeline = world.timeline(truc::hub::query::Viewer::Auditor, &document.evidence).await.unwrap();
    timeline.recipients.into_iter().map(|state| state.recipient).collect()
}

async fn who_is_new_gets_it_and_nobody_twice(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    let wanted = addressing(&document.evidence, &[TAN_BINH, TAN_HOA]);
    let added = world.accepted(world.try_add(&wanted).await);
    let evidence = &added.evidence;
    assert_eq!(added.event(), EventKind::SubmissionAcceptance);
    assert_eq!(evidence.recipient_count, 1);
    assert_eq!(evidence.recipients_sha256, recipients_digest([TAN_HOA].into_iter()).to_bytes());
    assert_eq!(evidence.manifest_sha256, document.evidence.manifest_sha256);
    let envelope = world.keys.addressing(&wanted);
    assert_eq!(evidence.signature_sha256, envelope::signature_digests(&envelope));
    assert_eq!(evidence.recipient_receipt, Some(envelope));
    assert_eq!(deliveries(&world, &document).await, [TAN_BINH, TAN_HOA]);
    let consigned = world.events(&document).await.pop().unwrap();
    assert_eq!(consigned.evidence.previous_evidence_sha256, added.leaf_hash()[..]);

    world.restart().await;
    let more = addressing(&document.evidence, &COMMUNES);
    assert_eq!(world.accepted(world.try_add(&more).await).evidence.recipient_count, 1);
    assert_eq!(deliveries(&world, &document).await, COMMUNES);
    let offers = world.hub().fetch(&node("communes"), &[], 10, Duration::ZERO).await.unwrap();
    assert_eq!(offers.len(), 3);
    for recipient in COMMUNES {
        world.acknowledge(&document, recipient).await;
    }
    world.audit().await;
}

async fn a_repeated_addressing_returns_the_same_bytes(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    let by_group = addressing(&document.evidence, &[]).with(|a| {
        a.groups = vec![RecipientGroup { root: DISTRICT.into(), level: Level::Commune.into() }];
    });
    let added = world.accepted(world.try_add(&by_group).await);
    let nobody_new = addressing(&document.evidence, &[TAN_BINH]);
    let nothing = world.accepted(world.try_add(&nobody_new).await);
    assert_eq!(nothing.bytes(), document.bytes(), "the acceptance says it already");

    // Neither time, nor a new commune, nor a revoked key makes the old request a new one.
    world.change(put_agency("000.24.31.H53")).await;
    world.clock.advance_us(3 * DAY);
    world.change(revoke_key(&world.keys.of(PROVINCE).seal)).await;
    world.restart().await;
    for (request, first) in [(&by_group, &added), (&nobody_new, &nothing)] {
        let again = world.accepted(world.try_add(request).await);
        assert_eq!(again.bytes(), first.bytes());
        assert!(again.repeat);
    }
    assert_eq!(deliveries(&world, &document).await, COMMUNES);
}

async fn an_addressing_has_to_fit_its_document(world: World) {
    let document = world.send(&manifest("d1")).await;
    let good = addressing(&document.evidence, &[TAN_HOA]);
    type Breaks = fn(&mut Addressing);
    let cases: [(Breaks, ReasonCode); 6] = [
        (|a| a.document_id = "unheard-of".into(), ReasonCode::UnknownDocument),
        (|a| a.revision = 1, ReasonCode::UnknownDocument),
        (|a| a.manifest_sha256 = Bytes::from(vec![7; 32]), ReasonCode::DigestMismatch),
        (|a| a.recipients = to(&["000.99.31.H53"]), ReasonCode::UnknownRecipient),
        (|a| a.issued_at_us -= 30 * HOUR, ReasonCode::ClockSkew),
        (|a| a.hub_origin = "elsewhere".into(), ReasonCode::WrongHub),
    ];
    for (breaks, code) in cases {
        let refusal = world.refused(world.try_add(&good.clone().with(breaks)).await);
        assert_eq!(refusal.code, code);
        assert_eq!(refusal.evidence().event(), EventKind::SubmissionRejection);
    }
    world.clock.advance_us(8 * DAY);
    let late = good.with(|a| a.issued_at_us += 8 * DAY);
    let refusal = world.refused(world.try_add(&late).await);
    assert_eq!(refusal.code, ReasonCode::DeadlinePassed);
    refusal.evidence();
    assert_eq!(deliveries(&world, &document).await, [TAN_BINH]);
}

/// The signed addressing stands whole in the evidence: what no leaf can hold is refused, with evidence.
async fn a_long_list_needs_a_group(world: World) {
    let document = world.send(&manifest("d1")).await;
    let names: Vec<String> = (0..6_000).map(|at| format!("H53.{at:05}")).collect();
    let long = addressing(&document.evidence, &[]).with(|a| a.recipients = names);
    let refusal = world.refused(world.try_add(&long).await);
    assert_eq!(refusal.code, ReasonCode::TooLarge);
    refusal.evidence();
}
