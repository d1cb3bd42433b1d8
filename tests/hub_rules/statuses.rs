//! Business statuses: the nine codes, out of order, repeated, and before their document.

use truc::{domain::reason::ReasonCode, proto::*};

use crate::common::*;

crate::on_both_stores!(
    the_usual_course,
    late_repeated_and_contradictory_statuses_are_kept,
    a_clerks_refusal_has_a_reason,
    a_recall_is_asked_and_answered,
    a_recall_document_waits_for_its_answer,
    the_same_signed_status_is_one_status,
    next_years_number_is_another_document,
    a_status_before_its_document_is_applied_later,
    a_recall_before_its_document_reaches_who_is_asked,
    only_so_many_statuses_wait_for_a_document,
);

use EventKind::{
    BusinessStatus as Moved, ConsignmentAcceptance as Registered, ConsignmentRejection as Refused,
    RecallRequested as Recall, StatusParked as Parked, StatusRecorded as Kept,
};

/// Reports these codes in turn and tells what they did.
async fn events(world: &World, id: &str, codes: &[u32]) -> Vec<EventKind> {
    let mut events = Vec::new();
    for code in codes {
        let status = if *code == 13 { recall(id, TAN_BINH) } else { status(id, TAN_BINH, *code) };
        events.push(world.report(&status).await.event());
    }
    events
}

async fn the_usual_course(world: World) {
    let document = world.send(&manifest("d1")).await;
    world.acknowledge(&document, TAN_BINH).await;
    let said = status("d1", TAN_BINH, 1);
    let arrived = world.report(&said).await;
    let evidence = &arrived.evidence;
    assert_eq!((arrived.event(), evidence.status_code), (Moved, 1));
    assert_eq!(
        evidence.recipients[0],
        Party { agency: TAN_BINH.into(), node: "communes".into(), ..Party::default() }
    );
    assert_eq!(evidence.recipient_receipt, Some(world.keys.status(&said)));
    assert_eq!((evidence.submission_time_us, evidence.event_time_us), (START.0, START.0));
    assert_eq!(evidence.manifest_sha256, document.evidence.manifest_sha256);
    let verdict = evidence.verdict.as_ref().unwrap();
    assert_eq!(verdict.as_of_index, arrived.receipt.index);
    assert_eq!(events(&world, "d1", &[3, 4, 5, 5, 6]).await, [Registered, Moved, Moved, Moved, Moved]);
    let state = world.state(&document, TAN_BINH).await;
    assert_eq!((state.status_code, state.transport()), (6, TransportState::HandedOver));
    let feed = world.feed(PROVINCE).await;
    assert_eq!(feed[2..], [Moved, Registered, Moved, Moved, Moved, Moved]);
}

async fn late_repeated_and_contradictory_statuses_are_kept(world: World) {
    let document = world.send(&manifest("d1")).await;
    assert_eq!(events(&world, "d1", &[5, 3, 5, 2, 6, 5]).await, [Moved, Kept, Moved, Kept, Moved, Kept]);
    let last = world.report(&status("d1", TAN_BINH, 1)).await;
    assert_eq!(last.codes(), [ReasonCode::OutOfOrder]);
    assert_eq!(world.state(&document, TAN_BINH).await.status_code, 6);
    // A status does not end the waiting for the receipt.
    assert_eq!(world.state(&document, TAN_BINH).await.transport(), TransportState::Ready);
}

async fn a_clerks_refusal_has_a_reason(world: World) {
    let document = world.send(&manifest("d1")).await;
    let refused = world.report(&status("d1", TAN_BINH, 2)).await;
    assert_eq!(refused.event(), Refused);
    assert_eq!(refused.codes(), [ReasonCode::RefusedByRecipient]);
    assert_eq!(events(&world, "d1", &[3]).await, [Kept]);
    assert_eq!(world.state(&document, TAN_BINH).await.status_code, 2);
}

async fn a_recall_is_asked_and_answered(world: World) {
    let document = world.send(&manifest("d1").with(|m| m.recipients = to(&[TAN_BINH, TAN_HOA]))).await;
    assert_eq!(events(&world, "d1", &[3, 15]).await, [Registered, Kept], "nobody asked");
    let asked = world.report(&recall("d1", TAN_BINH)).await;
    assert_eq!(asked.event(), Recall);
    assert_eq!(asked.evidence.recipients[0].agency, TAN_BINH);
    assert_eq!(asked.evidence.sender.as_ref().unwrap().node, "province");
    assert_eq!(world.feed(TAN_BINH).await, [Recall]);
    assert_eq!(world.feed(TAN_HOA).await, []);
    assert!(world.state(&document, TAN_BINH).await.change_pending);
    assert_eq!(events(&world, "d1", &[16, 13, 15]).await, [Moved, Recall, Moved]);
    let state = world.state(&document, TAN_BINH).await;
    assert_eq!((state.status_code, state.change_pending), (15, false));
}

async fn a_recall_document_waits_for_its_answer(world: World) {
    world.send(&manifest("d1")).await;
    let withdraw = manifest("d2").with(|m| {
        m.operation = Operation::Recall.into();
        m.operation_reason = "Ban hành nhầm".into();
        m.references = vec![Reference {
            kind: ReferenceKind::Recalls.into(),
            document_id: "d1".into(),
            ..Default::default()
        }];
    });
    let document = world.send(&withdraw).await;
    assert!(world.state(&document, TAN_BINH).await.change_pending);
    assert_eq!(events(&world, "d2", &[15]).await, [Moved]);
    assert!(!world.state(&document, TAN_BINH).await.change_pending);
}

async fn the_same_signed_status_is_one_status(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    let said = status("d1", TAN_BINH, 5);
    let (one, two) = tokio::join!(world.try_report(&said), world.try_report(&said));
    let (one, two) = (world.accepted(one), world.accepted(two));
    assert_eq!(one.bytes(), two.bytes());
    assert_ne!(one.repeat, two.repeat);
    world.change(revoke_key(&world.keys.of(TAN_BINH).seal)).await;
    world.restart().await;
    let again = world.report(&said).await;
    assert_eq!((again.bytes(), again.repeat), (one.bytes(), true));
    assert_eq!(world.events(&document).await.len(), 3);
}

async fn next_years_number_is_another_document(world: World) {
    let numbered = |id: &str, date: &str| {
        manifest(id).with(|m| {
            let info = m.document.as_mut().unwrap();
            (info.number, info.promulgation_date) = ("01".into(), date.into());
        })
    };
    let old = world.send(&numbered("000.00.00.H53,2025,01", "2025-01-02")).await;
    let new = world.send(&numbered("000.00.00.H53,2026,01", "2026-01-02")).await;
    assert!(!new.codes().contains(&ReasonCode::NaturalKeyRepeated));
    world.report(&status("000.00.00.H53,2026,01", TAN_BINH, 6)).await;
    assert_eq!(world.state(&old, TAN_BINH).await.status_code, 0);
    assert_eq!(world.state(&new, TAN_BINH).await.status_code, 6);
}

async fn a_status_before_its_document_is_applied_later(mut world: World) {
    let early = status("d1", TAN_BINH, 3);
    let parked = world.report(&early).await;
    assert_eq!((parked.event(), parked.codes()), (Parked, vec![ReasonCode::Parked]));
    assert_eq!(world.report(&early).await.bytes(), parked.bytes());
    assert_eq!(events(&world, "d1", &[1]).await, [Parked]);
    // For somebody who will not be a recipient.
    world.report(&status("d1", TAN_LAP, 3)).await;
    world.restart().await;
    let document = world.send(&manifest("d1")).await;
    let history = world.events(&document).await;
    let kinds: Vec<_> = history.iter().map(Proven::event).collect();
    assert_eq!(
        kinds,
        [EventKind::SubmissionAcceptance, EventKind::ContentConsignment, Registered, Kept],
        "in the order in which they came"
    );
    let applied = &history[2].evidence;
    assert_eq!(applied.recipient_receipt, Some(world.keys.status(&early)));
    assert_eq!(applied.previous_evidence_sha256, history[1].leaf_hash()[..]);
    assert_eq!(applied.verdict, parked.evidence.verdict, "judged when it came");
    assert_eq!(applied.recipients[0].node, "communes");
    assert_eq!(world.feed(PROVINCE).await[1..], [Registered, Kept]);
    assert_eq!(world.report(&early).await.bytes(), parked.bytes(), "the first answer, for ever");
    assert_eq!(world.state(&document, TAN_BINH).await.status_code, 3);
    assert_eq!(events(&world, "d1", &[4]).await, [Moved]);
    world.restart().await;
    assert_eq!(world.events(&document).await.len(), 5, "applied once");
    // Added later, the other one's early word counts too.
    world.accepted(world.try_add(&addressing(&document.evidence, &[TAN_LAP])).await);
    assert_eq!(world.state(&document, TAN_LAP).await.status_code, 3);
}

async fn a_recall_before_its_document_reaches_who_is_asked(world: World) {
    let early = world.report(&recall("d1", TAN_BINH)).await;
    assert_eq!(early.event(), Parked);
    assert_eq!(early.evidence.sender.as_ref().unwrap().node, "province");
    let document = world.send(&manifest("d1")).await;
    assert!(world.state(&document, TAN_BINH).await.change_pending);
    assert_eq!(world.feed(TAN_BINH).await, [Recall]);
    assert_eq!(world.feed(PROVINCE).await, [EventKind::SubmissionAcceptance, Recall]);
    assert_eq!(events(&world, "d1", &[15]).await, [Moved]);
}

async fn only_so_many_statuses_wait_for_a_document(world: World) {
    for _ in 0..64 {
        assert_eq!(world.report(&status("d1", TAN_BINH, 5)).await.event(), Parked);
    }
    let refusal = world.refused(world.try_report(&status("d1", TAN_BINH, 5)).await);
    assert_eq!(refusal.code, ReasonCode::TooLarge);
    refusal.evidence();
    assert_eq!(world.report(&status("d1", TAN_HOA, 5)).await.event(), Parked, "another recipient's place");
    let document = world.send(&manifest("d1")).await;
    assert_eq!(world.events(&document).await.len(), 2 + 64);
}
