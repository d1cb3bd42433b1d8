//! Requests that meet in one group: each sees what those before it did.

use std::{sync::Arc, time::Duration};

use truc::{
    domain::{envelope, reason::ReasonCode},
    hub::{intake::Accepted, refused::Refused},
    proto::*,
};

use crate::common::*;

/// Starts a request and waits until it stands in the queue, as far as that can be seen from outside.
async fn queue<F>(request: F) -> tokio::task::JoinHandle<Result<Accepted, Refused>>
where
    F: Future<Output = Result<Accepted, Refused>> + Send + 'static,
{
    let handle = tokio::spawn(request);
    tokio::time::sleep(Duration::from_millis(60)).await;
    handle
}

fn submit(
    world: &World,
    envelope: SignedEnvelope,
) -> impl Future<Output = Result<Accepted, Refused>> + use<> {
    let hub = Arc::clone(world.hub());
    async move { hub.submit(&node("province"), envelope, Vec::new()).await }
}

fn change(world: &World, change: DirectoryChange) -> impl Future<Output = Result<Accepted, Refused>> + use<> {
    let hub = Arc::clone(world.hub());
    async move { hub.change_directory(change).await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_revoked_in_the_same_group_signs_no_more() {
    let world = World::in_memory().await;
    let person = Arc::clone(&world.keys.of(PROVINCE).leader);
    let seal = Arc::clone(&world.keys.of(PROVINCE).seal);
    let both = |id: &str| {
        let payload = prost::Message::encode_to_vec(&manifest(id));
        envelope::sign(envelope::MANIFEST, payload.into(), &[&person, &seal])
    };
    let held = world.close_gate().await;
    let before = queue(submit(&world, both("before"))).await;
    let one_less = queue(change(&world, revoke_key(&person))).await;
    let between = queue(submit(&world, both("between"))).await;
    let none_left = queue(change(&world, revoke_key(&seal))).await;
    let after = queue(submit(&world, both("after"))).await;
    world.gate().open();
    held.await.unwrap().unwrap();
    for change in [one_less, none_left] {
        world.accepted(change.await.unwrap());
    }
    let value = |answer: Proven| answer.evidence.verdict.unwrap().legal_value();
    assert_eq!(value(world.accepted(before.await.unwrap())), LegalValue::Original);
    let between = world.accepted(between.await.unwrap());
    let report = &between.evidence.verdict.as_ref().unwrap().signatures[0];
    assert_eq!((report.valid, report.problem()), (false, ReasonCode::KeyRevoked), "the verdict is of now");
    assert_eq!(value(between), LegalValue::Information);
    let refusal = world.refused(after.await.unwrap());
    assert_eq!(refusal.code, ReasonCode::KeyRevoked);
    refusal.evidence();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_closes_in_the_same_group_gets_nothing() {
    let world = World::in_memory().await;
    let held = world.close_gate().await;
    let closing = queue(change(&world, set_state(TAN_BINH, AgencyState::Closed))).await;
    let sent = queue(submit(&world, world.keys.manifest(&manifest("d1")))).await;
    let suspending = queue(change(&world, set_state(PROVINCE, AgencyState::Suspended))).await;
    let other = manifest("d2").with(|m| m.recipients = to(&[TAN_HOA]));
    let late = queue(submit(&world, world.keys.manifest(&other))).await;
    world.gate().open();
    held.await.unwrap().unwrap();
    closing.await.unwrap().unwrap();
    suspending.await.unwrap().unwrap();
    for refused in [sent, late] {
        let refusal = world.refused(refused.await.unwrap());
        assert_eq!(refusal.code, ReasonCode::AgencyClosed);
        refusal.evidence();
    }
}

/// Document, repeat, conflict, addition, status and receipt in one breath.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_life_in_one_group() {
    let world = World::in_memory().await;
    let first = manifest("d1");
    let digest = truc::domain::id::Digest::of(&world.keys.manifest(&first).payload).to_bytes();
    let about = Evidence {
        document_id: "d1".into(),
        sender: Some(Party { agency: PROVINCE.into(), ..Party::default() }),
        manifest_sha256: digest,
        ..Evidence::default()
    };
    let word = |code: u32| world.keys.status(&status("d1", TAN_BINH, code));
    let report = |envelope: SignedEnvelope| {
        let hub = Arc::clone(world.hub());
        async move { hub.report_status(&node("communes"), envelope).await }
    };
    let held = world.close_gate().await;
    let early = queue(report(word(3))).await;
    let accepted = queue(submit(&world, world.keys.manifest(&first))).await;
    let repeated = queue(submit(&world, world.keys.manifest(&first))).await;
    let conflict = queue(submit(&world, world.keys.manifest(&manifest("d1")))).await;
    let again = queue(submit(&world, world.keys.manifest(&manifest("d1")))).await;
    let added = {
        let envelope = world.keys.addressing(&addressing(&about, &[TAN_BINH, TAN_HOA]));
        let hub = Arc::clone(world.hub());
        queue(async move { hub.add_recipients(&node("province"), envelope).await }).await
    };
    let status = queue(report(word(4))).await;
    let receipt = {
        let envelope = world.keys.receipt(&receipt(&about, TAN_BINH, Outcome::Accepted));
        let hub = Arc::clone(world.hub());
        queue(async move { hub.acknowledge(&node("communes"), envelope).await }).await
    };
    world.gate().open();
    held.await.unwrap().unwrap();
    let size_before = world.hub().size();
    let early = world.accepted(early.await.unwrap());
    assert_eq!(early.event(), EventKind::StatusParked);
    let accepted = world.accepted(accepted.await.unwrap());
    let repeated = world.accepted(repeated.await.unwrap());
    assert_eq!((repeated.bytes(), accepted.repeat, repeated.repeat), (accepted.bytes(), false, true));
    for conflict in [conflict, again] {
        assert_eq!(world.refused(conflict.await.unwrap()).code, ReasonCode::Conflict);
    }
    assert_eq!(world.accepted(added.await.unwrap()).evidence.recipient_count, 1);
    assert_eq!(world.accepted(status.await.unwrap()).event(), EventKind::StatusParked, "no delivery yet");
    let refusal = world.refused(receipt.await.unwrap());
    assert_eq!(refusal.code, ReasonCode::LeaseLost, "nobody was offered it yet");
    refusal.evidence();
    assert!(world.hub().size() >= size_before);
    let state = world.state(&accepted, TAN_BINH).await;
    assert_eq!((state.status_code, state.transport()), (4, TransportState::Ready), "both statuses count");
    assert_eq!(world.state(&accepted, TAN_HOA).await.transport(), TransportState::Ready);
    world.acknowledge(&accepted, TAN_BINH).await;
    world.audit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_busy_and_leaves_no_evidence() {
    // One node alone gets half.
    let world = World::in_memory_with(|settings| settings.max_waiting_requests = 8).await;
    let held = world.close_gate().await;
    let mut waiting = Vec::new();
    for at in 0..4 {
        waiting.push(queue(submit(&world, world.keys.manifest(&manifest(&format!("d{at}"))))).await);
    }
    for bad in [manifest("d5"), manifest("d6").with(|m| m.recipients.clear())] {
        let refused = world.try_send(&bad).await.unwrap_err();
        assert_eq!((refused.code(), refused.receipt), (ReasonCode::Busy, None));
    }
    world.gate().open();
    held.await.unwrap().unwrap();
    for waiting in waiting {
        world.accepted(waiting.await.unwrap());
    }
    world.send(&manifest("d5")).await;
}
