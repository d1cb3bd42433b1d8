//! Numbers without gaps: what an agency sent, what it received, and from whom.

use std::sync::Arc;

use truc::proto::*;

use crate::common::*;

crate::on_both_stores!(
    numbers_have_no_gaps,
    numbers_go_on_after_a_restart,
    what_meets_in_one_group_is_counted_once_each,
    a_refusal_takes_no_number,
);

async fn numbers_have_no_gaps(world: World) {
    for at in 0..3 {
        let document = world.send(&manifest(&format!("d{at}"))).await;
        delivered(&world, &document).await;
        world.accepted(world.try_add(&addressing(&document.evidence, &[TAN_HOA, TAN_LAP])).await);
    }
    everyone_served(&world).await;
    let counted = world.countings().await;
    assert_eq!(counted.sent[PROVINCE].0, 6, "three documents and three additions");
    for commune in COMMUNES {
        assert_eq!(counted.received[commune].0, 3);
        assert_eq!(counted.pairs[&(PROVINCE.into(), commune.into())].0, 3);
    }
}

async fn numbers_go_on_after_a_restart(mut world: World) {
    for round in 0..3 {
        for at in 0..2 {
            world.send(&manifest(&format!("d{round}-{at}"))).await;
            world.send(&manifest(&format!("m{round}-{at}")).with(|m| m.sender = MINISTRY.into())).await;
        }
        if round < 2 {
            world.restart().await;
        }
    }
    everyone_served(&world).await;
    let counted = world.countings().await;
    assert_eq!((counted.sent[PROVINCE].0, counted.sent[MINISTRY].0), (6, 6));
    let to = &manifest("x").recipients[0];
    assert_eq!(counted.received[to].0, 12, "of both senders");
    assert_eq!(counted.pairs[&(PROVINCE.into(), to.clone())].0, 6);
    assert_eq!(counted.pairs[&(MINISTRY.into(), to.clone())].0, 6);
}

async fn what_meets_in_one_group_is_counted_once_each(world: World) {
    let world = Arc::new(world);
    let sent = (0..40).map(|at| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let document = manifest(&format!("d{at}"));
            let first = world.send(&document).await;
            assert_eq!(world.send(&document).await.bytes(), first.bytes(), "a repeat is no new number");
        })
    });
    for task in sent.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    everyone_served(&world).await;
    assert_eq!(world.countings().await.sent[PROVINCE].0, 40);
}

async fn a_refusal_takes_no_number(world: World) {
    let document = manifest("d0");
    world.send(&document).await;
    world.refused(world.try_send(&document.with(|m| m.nonce = vec![9; 16].into())).await);
    world.send(&manifest("d1")).await;
    everyone_served(&world).await;
    assert_eq!(world.countings().await.sent[PROVINCE].0, 2);
}

async fn delivered(world: &World, document: &Proven) {
    eventually("everyone is served", async || {
        world.events(document).await.iter().any(|event| event.event() == EventKind::ContentConsignment)
    })
    .await;
}

async fn everyone_served(world: &World) {
    eventually("everyone is served", async || world.hub().overview().await.unwrap().expanding == 0).await;
}
