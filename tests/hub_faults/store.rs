//! A commit with an unknown outcome: nobody is told a lie, and a repeat after recovery makes one effect.

use std::sync::Arc;

use truc::{
    domain::reason::ReasonCode,
    hub::{Hub, LogIdentity, Notice, StartError, clock::Clock},
    proto::*,
    store::{
        Store,
        memory::{Fault, Memory},
        payload::{Payload, PayloadOptions},
    },
    tlog::note::Signer,
};

use crate::common::*;

const FAULTS: [Fault; 2] = [Fault::FailedNotSaved, Fault::FailedButSaved];

/// The writer is gone: nothing else may come into the log.
async fn assert_stopped(world: &World, size: u64) {
    let refused = world.try_send(&manifest("after")).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::ShuttingDown);
    let refused = world.try_send(&manifest("bad").with(|m| m.recipients.clear())).await.unwrap_err();
    assert_eq!((refused.code(), refused.receipt), (ReasonCode::ShuttingDown, None));
    world.clock.advance_us(30 * DAY);
    tokio::time::sleep(std::time::Duration::from_millis(250)).await; // the clockwork finds the writer gone
    assert_eq!(world.memory().head().size, size);
    world.clock.advance_us(-30 * DAY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_an_unknown_commit_is_accepted_once() {
    for fault in FAULTS {
        let mut world = World::in_memory().await;
        let mut notices = world.hub().notices();
        let kept = world.send(&manifest("kept")).await;
        let before = world.memory().head();
        let lost = manifest("lost");
        world.memory().inject(fault);
        let refused = world.try_send(&lost).await.unwrap_err();
        assert_eq!((refused.code(), refused.receipt), (ReasonCode::StoreFailed, None));
        assert!(matches!(soon("a notice", notices.recv()).await, Ok(Notice::StoreFailed)));
        let saved = fault == Fault::FailedButSaved;
        assert_eq!(world.memory().head().size > before.size, saved);
        assert_stopped(&world, world.memory().head().size).await;

        world.restart().await;
        let again = world.send(&lost).await;
        assert_eq!(again.repeat, saved, "{fault:?}");
        assert_eq!(world.send(&lost).await.bytes(), again.bytes());
        assert_eq!(world.send(&manifest("kept2")).await.event(), EventKind::SubmissionAcceptance);
        let overview = world.hub().overview().await.unwrap();
        assert_eq!((overview.documents, overview.waiting), (3, 3));
        let kinds: Vec<_> = world.events(&again).await.iter().map(Proven::event).collect();
        assert_eq!(kinds, [EventKind::SubmissionAcceptance, EventKind::ContentConsignment]);
        assert_eq!(world.hub().receipt(kept.receipt.index).await.unwrap(), kept.receipt);
        world.audit().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_and_statuses_of_an_unknown_commit_count_once() {
    for fault in FAULTS {
        let mut world = World::in_memory().await;
        let document = world.send(&manifest("d1")).await;
        let word = status("d1", TAN_BINH, 5);
        world.memory().inject(fault);
        assert_eq!(world.try_report(&word).await.unwrap_err().code(), ReasonCode::StoreFailed);
        world.restart().await;
        world.report(&word).await;
        let signed = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
        world.memory().inject(fault);
        assert_eq!(world.try_acknowledge(&signed).await.unwrap_err().code(), ReasonCode::StoreFailed);
        world.restart().await;
        let handed = world.accepted(world.try_acknowledge(&signed).await);
        assert_eq!(handed.repeat, fault == Fault::FailedButSaved);
        let kinds: Vec<_> = world.events(&document).await.iter().map(Proven::event).skip(2).collect();
        assert_eq!(kinds, [EventKind::BusinessStatus, EventKind::ContentHandover], "{fault:?}");
        assert_eq!(world.hub().overview().await.unwrap().waiting, 0);
        world.audit().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_in_a_failed_group_is_told_and_those_behind_may_come_again() {
    for fault in FAULTS {
        let mut world = World::in_memory_with(|settings| settings.max_batch_leaves = 8).await;
        let held = world.close_gate().await;
        let waiting: Vec<_> = (0..32)
            .map(|at| {
                let (hub, envelope) =
                    (Arc::clone(world.hub()), world.keys.manifest(&manifest(&format!("d{at}"))));
                tokio::spawn(async move { hub.submit(&node("province"), envelope, Vec::new()).await })
            })
            .collect();
        tokio::time::sleep(std::time::Duration::from_millis(100)).await; // most of them are in the queue now
        world.memory().inject(fault);
        world.gate().open();
        assert_eq!(held.await.unwrap().unwrap_err().code(), ReasonCode::StoreFailed);
        for waiter in waiting {
            let refused = soon("an answer", waiter).await.unwrap().unwrap_err();
            assert!(matches!(refused.code(), ReasonCode::StoreFailed | ReasonCode::ShuttingDown));
        }
        world.restart().await;
        assert_eq!(world.hub().overview().await.unwrap().documents, 0, "none of them reached the disk");
    }
}

/// The disk fails between the first commit of a circular and the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circular_survives_a_failure_in_the_middle() {
    for fault in FAULTS {
        let mut world = World::in_memory().await;
        let agencies = (0..1_500).map(|at| Agency {
            organ_id: format!("H53.{at}"),
            name: "Xã".into(),
            parent: PROVINCE.into(),
            ..Default::default()
        });
        world.hub().import_agencies(agencies.collect(), false).await.unwrap();
        let circular = manifest("circular").with(|m| {
            m.recipients.clear();
            m.groups = vec![RecipientGroup { root: PROVINCE.into(), level: 0 }];
        });
        let held = world.close_gate().await;
        let sending = {
            let (hub, envelope) = (Arc::clone(world.hub()), world.keys.manifest(&circular));
            tokio::spawn(async move { hub.submit(&node("province"), envelope, Vec::new()).await })
        };
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        world.gate().open();
        held.await.unwrap().unwrap();
        let document = world.accepted(sending.await.unwrap());
        world.memory().inject(fault);
        let mut notices = world.hub().notices();
        if world.hub().overview().await.unwrap().expanding > 0 {
            soon("a notice", notices.recv()).await.unwrap();
        }
        world.restart().await;
        let expected = document.evidence.recipient_count;
        eventually("everyone has it", async || world.hub().overview().await.unwrap().waiting == expected)
            .await;
        assert_eq!(world.hub().overview().await.unwrap().expanding, 0, "{fault:?}");
        let leaves = world.hub().size() - document.receipt.index - 1;
        assert_eq!(leaves, expected, "nobody twice");
        world.audit().await;
    }
}

#[tokio::test]
async fn a_log_of_another_key_or_name_is_not_taken_over() {
    let world = World::in_memory().await;
    let dir = tempfile::tempdir().unwrap();
    let start = |origin: &str, name: &str, seed: u8, memory: Arc<Memory>| {
        let signer = Signer::from_seed(name, &[seed; 32]).unwrap();
        let payload = Arc::new(Payload::open(dir.path(), PayloadOptions::default()).unwrap());
        let identity = LogIdentity { origin: origin.into(), signer };
        Hub::start(memory, payload, identity, settings(), Clock::manual(START)).map(drop)
    };
    let memory = world.memory();
    assert!(matches!(start(ORIGIN, ORIGIN, 8, Arc::clone(memory)), Err(StartError::ForeignLog(_))));
    assert!(matches!(start("other", "other", 7, Arc::clone(memory)), Err(StartError::ForeignLog(_))));
    let misnamed = start("other", ORIGIN, 7, Arc::default());
    assert!(matches!(misnamed, Err(StartError::ForeignLog(_))), "its checkpoints would be nobody's");
}
