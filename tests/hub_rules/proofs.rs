//! The log: one history, and a chain of evidence for every delivery.

use truc::{domain::reason::ReasonCode, proto::*, tlog::checkpoint::Checkpoint};

use crate::common::*;

crate::on_both_stores!(
    each_delivery_is_a_chain_of_evidence,
    every_change_of_the_directory_is_a_leaf,
    leaves_can_be_asked_for_by_anyone,
);

async fn each_delivery_is_a_chain_of_evidence(world: World) {
    let document = world.send(&manifest("d1").with(|m| m.recipients = to(&COMMUNES))).await;
    world.acknowledge(&document, TAN_HOA).await;
    for code in [1, 3, 5, 5, 1, 6] {
        world.report(&status("d1", TAN_BINH, code)).await;
        world.report(&status("d1", TAN_HOA, code)).await;
    }
    world.acknowledge(&document, TAN_BINH).await;
    world.clock.advance_us(8 * DAY);
    eventually("the third one expires", async || {
        world.state(&document, TAN_LAP).await.transport() == TransportState::Expired
    })
    .await;
    let events = world.events(&document).await;
    for (recipient, length) in [(TAN_BINH, 8), (TAN_HOA, 8), (TAN_LAP, 2)] {
        let chain: Vec<&Proven> =
            events.iter().filter(|e| e.evidence.recipients.iter().any(|to| to.agency == recipient)).collect();
        assert_eq!(chain.len(), length, "{recipient}");
        let mut previous = document.leaf_hash();
        for link in chain {
            assert_eq!(link.evidence.previous_evidence_sha256, previous[..]);
            assert_eq!(link.evidence.submission_time_us, START.0);
            previous = link.leaf_hash();
        }
    }
    let mut ids: Vec<_> = events.iter().map(|event| event.evidence.evidence_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "each event has its own name");
    world.audit().await;
}

async fn every_change_of_the_directory_is_a_leaf(mut world: World) {
    let first = world.change(put_agency("000.24.31.H53")).await;
    assert_eq!(first.event(), EventKind::DirectoryChange);
    assert!(!first.evidence.directory_change.is_empty());
    let again = world.change(put_agency("000.24.31.H53")).await;
    assert_eq!((again.bytes(), again.repeat), (first.bytes(), true));
    let revoked = world.change(revoke_key(&world.keys.of(TAN_LAP).seal)).await;
    let state = set_state(TAN_HOA, AgencyState::Suspended);
    world.change(state.clone()).await;
    let before = (world.hub().directory().version(), world.hub().directory().counts());
    world.restart().await;
    assert_eq!((world.hub().directory().version(), world.hub().directory().counts()), before);
    assert!(world.change(state).await.repeat, "the replayed directory knows");
    assert_eq!(world.change(revoke_key(&world.keys.of(TAN_LAP).seal)).await.bytes(), revoked.bytes());

    let size = world.hub().size();
    let bad = world.hub().change_directory(put_agency("nonsense")).await.unwrap_err();
    assert_eq!(bad.code(), ReasonCode::BadIdentifier);
    let agency = |id: &str| Agency { organ_id: id.into(), name: "Xã".into(), ..Default::default() };
    let rows = vec![agency("000.25.31.H53"), agency("nonsense"), agency(TAN_HOA)];
    let dry = world.hub().import_agencies(rows.clone(), true).await.unwrap();
    assert_eq!(world.hub().size(), size, "dry");
    let wet = world.hub().import_agencies(rows, false).await.unwrap();
    assert_eq!(dry, wet);
    assert_eq!((wet.imported, wet.quarantined.len(), wet.quarantined[0].position), (2, 1, 1));
    assert_eq!(world.hub().size(), size + 2);
    let hoa = truc::domain::id::AgencyId::parse(TAN_HOA).unwrap();
    let directory = world.hub().directory();
    assert_eq!(directory.agency(&hoa).unwrap().state, AgencyState::Suspended, "a list wakes nobody");
    world.audit().await;
}

async fn leaves_can_be_asked_for_by_anyone(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    world.restart().await;
    assert_eq!(world.hub().receipt(document.receipt.index).await.unwrap(), document.receipt);
    let beyond = world.hub().receipt(world.hub().size()).await.unwrap_err();
    assert_eq!(beyond.code(), ReasonCode::UnknownDocument);
    let head = Checkpoint::open(&world.hub().checkpoint(), &log().verifier()).unwrap();
    assert_eq!(head.size, world.hub().size());
    for (first, second) in [(0, 1), (3, 2), (1, head.size + 1)] {
        assert_eq!(
            world.hub().consistency(first, second).await.unwrap_err().code(),
            ReasonCode::InvalidField
        );
    }
    assert_eq!(world.hub().consistency(head.size, 0).await.unwrap().path.len(), 0);
}
