//! Accepting documents.

use std::sync::Arc;

use truc::{
    domain::{envelope, evidence::recipients_digest, id::Digest, reason::ReasonCode},
    proto::*,
};

use crate::common::*;
use prost::Message;

crate::on_both_stores!(
    the_acceptance_says_what_was_accepted,
    a_repeat_returns_the_same_bytes_for_ever,
    other_content_under_the_same_name_is_a_conflict,
    a_repeated_number_is_a_warning,
    two_signatures_make_an_original,
    groups_reach_everyone_below,
    another_node_of_the_agency_may_repeat,
);

async fn the_acceptance_says_what_was_accepted(world: World) {
    let manifest = manifest("d1").with(|m| m.recipients = to(&[TAN_HOA, TAN_BINH]));
    let accepted = world.send(&manifest).await;
    let evidence = &accepted.evidence;
    let envelope = world.keys.manifest(&manifest);
    assert_eq!(accepted.event(), EventKind::SubmissionAcceptance);
    assert_eq!((evidence.document_id.as_str(), evidence.revision, evidence.version), ("d1", 0, 1));
    assert_eq!(evidence.manifest_sha256, Digest::of(&envelope.payload).to_bytes());
    assert_eq!(evidence.signature_sha256, envelope::signature_digests(&envelope));
    assert_eq!(evidence.sender.as_ref().unwrap().agency, PROVINCE);
    assert_eq!(evidence.sender.as_ref().unwrap().node, "province");
    assert_eq!(evidence.issuer.as_ref().unwrap().hub, ORIGIN);
    assert_eq!(evidence.event_time_us, START.0);
    assert_eq!(evidence.submission_time_us, START.0);
    assert_eq!(evidence.delivery_deadline_us, START.0 + 7 * DAY);
    assert_eq!(evidence.recipient_count, 2);
    assert_eq!(
        evidence.recipients_sha256,
        recipients_digest([TAN_BINH, TAN_HOA].into_iter()).to_bytes(),
        "sorted"
    );
    let verdict = evidence.verdict.as_ref().unwrap();
    assert_eq!(verdict.as_of_index, accepted.receipt.index);
    assert!(verdict.signatures[0].valid && verdict.signatures[0].agency == PROVINCE);
    assert!(!accepted.repeat);
}

async fn a_repeat_returns_the_same_bytes_for_ever(mut world: World) {
    let manifest = manifest("d1");
    let envelope = world.keys.manifest(&manifest);
    // All at once: most of them meet in one group.
    let many = (0..20).map(|_| {
        let (hub, envelope) = (Arc::clone(world.hub()), envelope.clone());
        tokio::spawn(async move { hub.submit(&node("province"), envelope, Vec::new()).await })
    });
    let mut answers = Vec::new();
    for answer in many.collect::<Vec<_>>() {
        answers.push(world.accepted(answer.await.unwrap()));
    }
    assert_eq!(answers.iter().filter(|answer| !answer.repeat).count(), 1, "one document");
    assert!(answers.iter().all(|answer| answer.bytes() == answers[0].bytes()));

    for _ in 0..30 {
        world.send(&manifest_of_others()).await;
    }
    // Neither time nor rules that changed since make it another answer.
    world.clock.advance_us(40 * DAY);
    world.change(revoke_key(&world.keys.of(PROVINCE).seal)).await;
    world.change(set_state(TAN_BINH, AgencyState::Closed)).await;
    world.restart().await;
    let again = world.send(&manifest).await;
    assert!(again.repeat);
    assert_eq!(again.bytes(), answers[0].bytes());
    assert_eq!(world.hub().overview().await.unwrap().documents, 31);
    world.audit().await;
}

fn manifest_of_others() -> Manifest {
    manifest(&format!("other-{}", fresh())).with(|m| m.sender = DISTRICT.into())
}

async fn other_content_under_the_same_name_is_a_conflict(world: World) {
    let first = manifest("d1");
    let accepted = world.send(&first).await;
    let other = first.clone().with(|m| m.nonce = nonce());
    let refusal = world.refused(world.try_send(&other).await);
    assert_eq!(refusal.code, ReasonCode::Conflict);
    let evidence = refusal.evidence();
    assert_eq!(evidence.event(), EventKind::SubmissionRejection);
    assert_eq!(evidence.document_id, "d1");
    assert_eq!(evidence.message_sha256, Digest::of(&other.encode_to_vec()).to_bytes());
    assert_eq!(world.send(&first).await.bytes(), accepted.bytes(), "nothing was overwritten");
    // A revision is a document of its own.
    let revised = world.send(&other.with(|m| m.revision = 1)).await;
    assert_eq!(revised.evidence.revision, 1);

    let dry = world.keys.manifest(&first.with(|m| m.nonce = nonce()));
    let dry = world.hub().validate(&node("province"), dry).await.unwrap_err();
    assert_eq!((dry.code(), dry.receipt), (ReasonCode::Conflict, None));
}

async fn a_repeated_number_is_a_warning(world: World) {
    let numbered = |id: &str, date: &str| {
        manifest(id).with(|m| {
            let info = m.document.as_mut().unwrap();
            (info.number, info.promulgation_date) = ("17".into(), date.into());
        })
    };
    let first = world.send(&numbered("d1", "2026-01-02")).await;
    assert!(!first.codes().contains(&ReasonCode::NaturalKeyRepeated));
    let second = world.send(&numbered("d2", "2026-09-20")).await;
    assert!(second.codes().contains(&ReasonCode::NaturalKeyRepeated));
    assert!(second.evidence.reasons[0].detail.contains("d1"));
    for unlike in [
        numbered("d3", "2025-09-20"),
        numbered("d1", "2026-01-02").with(|m| m.revision = 1),
        numbered("d4", "2026-09-20").with(|m| m.sender = DISTRICT.into()),
    ] {
        assert!(!world.send(&unlike).await.codes().contains(&ReasonCode::NaturalKeyRepeated));
    }
}

async fn two_signatures_make_an_original(world: World) {
    let alone = world.send(&manifest("d1")).await;
    assert_eq!(alone.codes(), [ReasonCode::ForInformation]);
    assert_eq!(alone.evidence.verdict.as_ref().unwrap().legal_value(), LegalValue::Information);

    let hands = world.keys.of(PROVINCE);
    let payload = manifest("d2").encode_to_vec();
    let envelope = envelope::sign(envelope::MANIFEST, payload.into(), &[&hands.leader, &hands.seal]);
    let valid = world.hub().validate(&node("province"), envelope.clone()).await.unwrap();
    assert_eq!((valid.recipient_count, valid.warnings.len()), (1, 0));
    let both = world.accepted(world.hub().submit(&node("province"), envelope, Vec::new()).await);
    assert_eq!(both.codes(), []);
    let verdict = both.evidence.verdict.as_ref().unwrap();
    assert_eq!(verdict.legal_value(), LegalValue::Original);
    assert_eq!(verdict.signatures, valid.verdict.unwrap().signatures);
}

async fn groups_reach_everyone_below(world: World) {
    let group = |root: &str, level: Level| RecipientGroup { root: root.into(), level: level.into() };
    world.change(set_state(TAN_LAP, AgencyState::Suspended)).await;
    let communes = manifest("d1").with(|m| {
        m.recipients.clear();
        m.groups = vec![group(PROVINCE, Level::Commune)];
    });
    let communes = world.send(&communes).await;
    assert_eq!(communes.evidence.recipient_count, 2);
    let everyone = manifest("d2").with(|m| {
        m.recipients = to(&[MINISTRY, TAN_BINH]);
        m.groups = vec![group(PROVINCE, Level::Unspecified)];
        m.sender = DISTRICT.into();
    });
    let everyone = world.send(&everyone).await;
    let timeline = world.events(&everyone).await;
    let recipients: Vec<_> =
        timeline[1..].iter().map(|event| event.evidence.recipients[0].agency.as_str()).collect();
    assert_eq!(recipients, [MINISTRY, TAN_BINH, TAN_HOA], "neither the sender nor the suspended one");
}

async fn another_node_of_the_agency_may_repeat(world: World) {
    let manifest = manifest("d1");
    let first = world.send(&manifest).await;
    world.change(put_node("second", &[PROVINCE])).await;
    let repeat = |name: &'static str| {
        let (hub, envelope) = (Arc::clone(world.hub()), world.keys.manifest(&manifest));
        async move { hub.submit(&node(name), envelope, Vec::new()).await }
    };
    assert_eq!(world.accepted(repeat("second").await).bytes(), first.bytes());
    assert_eq!(
        world.refused(repeat("communes").await).code,
        ReasonCode::NotAuthorised,
        "a stranger learns nothing"
    );
}
