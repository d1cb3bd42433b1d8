//! Recipients' signed receipts, and what happens when none comes.

use std::sync::Arc;

use truc::{domain::reason::ReasonCode, proto::*};

use crate::common::*;

crate::on_both_stores!(
    a_receipt_hands_the_document_over,
    the_same_outcome_again_returns_the_first_bytes,
    another_outcome_comes_too_late,
    a_recipients_system_may_refuse,
    silence_becomes_signed_evidence,
    a_passed_deadline_is_seen_after_a_restart,
);

async fn a_receipt_hands_the_document_over(world: World) {
    let document = world.send(&manifest("d1")).await;
    let consigned = world.events(&document).await.pop().unwrap();
    let signed = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
    world.clock.advance_us(HOUR);
    let handed = world.accepted(world.try_acknowledge(&signed).await);
    let evidence = &handed.evidence;
    assert_eq!(handed.event(), EventKind::ContentHandover);
    assert_eq!(evidence.recipients[0].agency, TAN_BINH);
    assert_eq!(evidence.recipients[0].node, "communes");
    assert_eq!(evidence.recipient_receipt, Some(world.keys.receipt(&signed)));
    assert_eq!(evidence.previous_evidence_sha256, consigned.leaf_hash()[..]);
    assert_eq!(evidence.submission_time_us, START.0);
    assert_eq!(evidence.event_time_us, START.0 + HOUR);
    assert!(evidence.verdict.as_ref().unwrap().signatures[0].valid);
    let state = world.state(&document, TAN_BINH).await;
    assert_eq!(state.transport(), TransportState::HandedOver);
    assert_eq!(world.feed(PROVINCE).await, [EventKind::SubmissionAcceptance, EventKind::ContentHandover]);
    assert_eq!(world.hub().overview().await.unwrap().waiting, 0);
}

async fn the_same_outcome_again_returns_the_first_bytes(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    let signed = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
    let envelope = world.keys.receipt(&signed);
    let many = (0..10).map(|_| {
        let (hub, envelope) = (Arc::clone(world.hub()), envelope.clone());
        tokio::spawn(async move { hub.acknowledge(&node("communes"), envelope).await })
    });
    let mut answers = Vec::new();
    for answer in many.collect::<Vec<_>>() {
        answers.push(world.accepted(answer.await.unwrap()));
    }
    assert!(answers.iter().all(|answer| answer.bytes() == answers[0].bytes()));
    assert_eq!(answers.iter().filter(|answer| !answer.repeat).count(), 1);
    // Signed anew, after the deadline, after a restart, and the same bytes after the key was revoked.
    world.clock.advance_us(30 * DAY);
    world.restart().await;
    let anew = signed.clone().with(|r| r.received_at_us += HOUR);
    assert_eq!(world.accepted(world.try_acknowledge(&anew).await).bytes(), answers[0].bytes());
    world.change(revoke_key(&world.keys.of(TAN_BINH).seal)).await;
    for repeated in [&signed, &anew] {
        let again = world.accepted(world.try_acknowledge(repeated).await);
        assert_eq!(again.bytes(), answers[0].bytes());
        assert!(again.repeat);
    }
    // But not for whom the node does not act.
    let other = world.hub().acknowledge(&node("province"), world.keys.receipt(&signed)).await;
    assert_eq!(world.refused(other).code, ReasonCode::NotAuthorised);
}

async fn another_outcome_comes_too_late(world: World) {
    let document = world.send(&manifest("d1")).await;
    let handed = world.acknowledge(&document, TAN_BINH).await;
    let refuse = receipt(&document.evidence, TAN_BINH, Outcome::Refused);
    let refusal = world.refused(world.try_acknowledge(&refuse).await);
    assert_eq!(refusal.code, ReasonCode::AlreadyFinal);
    assert_eq!(refusal.evidence().event(), EventKind::ReportRejection);
    assert_eq!(world.acknowledge(&document, TAN_BINH).await.bytes(), handed.bytes());
}

async fn a_recipients_system_may_refuse(world: World) {
    let document = world.send(&manifest("d1").with(|m| m.recipients = to(&[TAN_BINH, TAN_HOA]))).await;
    let refuse = receipt(&document.evidence, TAN_BINH, Outcome::Refused);
    let refused = world.accepted(world.try_acknowledge(&refuse).await);
    assert_eq!(refused.event(), EventKind::ConsignmentRejection);
    assert_eq!(refused.codes(), [ReasonCode::RefusedByRecipient]);
    assert_eq!(world.state(&document, TAN_BINH).await.transport(), TransportState::Refused);
    assert_eq!(
        world.state(&document, TAN_HOA).await.transport(),
        TransportState::Ready,
        "no matter of others"
    );
    let late =
        world.refused(world.try_acknowledge(&receipt(&document.evidence, TAN_BINH, Outcome::Accepted)).await);
    assert_eq!(late.code, ReasonCode::AlreadyFinal);
}

async fn expired(world: &World, document: &Proven, recipient: &str) {
    eventually("the deadline is recorded", async || {
        world.state(document, recipient).await.transport() == TransportState::Expired
    })
    .await;
}

async fn silence_becomes_signed_evidence(world: World) {
    let urgent = manifest("d1").with(|m| {
        m.recipients = to(&[TAN_BINH, TAN_HOA]);
        m.delivery_deadline_us = START.0 + HOUR;
    });
    let document = world.send(&urgent).await;
    world.acknowledge(&document, TAN_HOA).await;
    world.clock.advance_us(HOUR);
    expired(&world, &document, TAN_BINH).await;
    let (_, failure) = world.feed_from(PROVINCE, "c0").await.pop().unwrap();
    assert_eq!(failure.event(), EventKind::ContentHandoverFailure);
    assert_eq!(failure.codes(), [ReasonCode::DeadlinePassed]);
    let evidence = &failure.evidence;
    assert_eq!(evidence.recipients[0].agency, TAN_BINH);
    assert_eq!(evidence.delivery_deadline_us, START.0 + HOUR);
    assert_eq!(evidence.submission_time_us, START.0);
    let consigned = &world.events(&document).await[1];
    assert_eq!(evidence.previous_evidence_sha256, consigned.leaf_hash()[..]);
    let late = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
    let refusal = world.refused(world.try_acknowledge(&late).await);
    assert_eq!(refusal.code, ReasonCode::DeadlinePassed);
    refusal.evidence();
    assert_eq!(world.state(&document, TAN_HOA).await.transport(), TransportState::HandedOver);
    assert_eq!(world.hub().overview().await.unwrap().waiting, 0);
}

async fn a_passed_deadline_is_seen_after_a_restart(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    world.stop().await;
    world.clock.advance_us(8 * DAY);
    world.start();
    // Also when the receipt comes before the hub's own clockwork.
    let late = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
    assert_eq!(world.refused(world.try_acknowledge(&late).await).code, ReasonCode::DeadlinePassed);
    expired(&world, &document, TAN_BINH).await;
    world.restart().await;
    let ends: Vec<_> = world.events(&document).await.iter().map(Proven::event).skip(2).collect();
    assert_eq!(ends, [EventKind::ContentHandoverFailure], "once");
    world.audit().await;
}
