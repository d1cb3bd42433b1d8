//! Stopping: what waits is answered, nobody can hold it up, nothing that was acknowledged is lost.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use truc::{
    domain::{id::Digest, reason::ReasonCode},
    hub::{
        session::{Command, Event},
        watch::Until,
    },
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    everyone_is_answered_and_what_was_accepted_stays,
    clients_that_do_not_read_hold_up_no_stop,
    a_session_says_goodbye,
);

async fn everyone_is_answered_and_what_was_accepted_stays(mut world: World) {
    for round in 0..5 {
        let documents: Vec<_> = (0..60).map(|at| manifest(&format!("{round}-{at}"))).collect();
        let sending: Vec<_> = documents
            .iter()
            .map(|document| {
                let (hub, envelope) = (Arc::clone(world.hub()), world.keys.manifest(document));
                tokio::spawn(async move { hub.submit(&node("province"), envelope, Vec::new()).await })
            })
            .collect();
        for _ in 0..round * 10 {
            tokio::task::yield_now().await;
        }
        world.stop().await;
        let mut answers = Vec::new();
        for answer in sending {
            answers.push(soon("an answer", answer).await.unwrap());
        }
        world.start();
        for (document, answer) in documents.iter().zip(answers) {
            match answer {
                Ok(accepted) => {
                    let first = world.accepted(Ok(accepted));
                    assert_eq!(world.send(document).await.bytes(), first.bytes());
                }
                Err(refused) => {
                    assert_eq!((refused.code(), refused.receipt), (ReasonCode::ShuttingDown, None));
                    world.send(document).await;
                }
            }
        }
        let documents = (round + 1) * 60;
        assert_eq!(world.hub().overview().await.unwrap().documents, documents);
    }
    world.audit().await;
}

async fn clients_that_do_not_read_hold_up_no_stop(mut world: World) {
    let bytes = Bytes::from(vec![5; 3 << 20]);
    for at in 0..150 {
        let mut manifest = manifest(&format!("d{at}")).with(|m| m.recipients = to(&COMMUNES));
        let mut inline = Vec::new();
        if at == 0 {
            manifest.parts = vec![part("a.pdf", &bytes)];
            inline.push(bytes.clone());
        }
        let envelope = world.keys.manifest(&manifest);
        world.accepted(world.hub().submit(&node("province"), envelope, inline).await);
    }
    let index = world.feed_from(PROVINCE, "c0").await[0].1.receipt.index;
    let (hub, name) = (Arc::clone(world.hub()), format!("{index}/{TAN_BINH}"));
    let download = hub.download(&node("communes"), &name, Digest::of(&bytes), 0).await.unwrap();
    let watch = hub.watch(&node("province"), PROVINCE, "c0", Until::Stopped).unwrap();
    let mut session = hub.open_session(&node("communes"), &[]).unwrap();
    session.commands.send(Command::Credit(100)).await.unwrap();
    let document = world.feed_from(PROVINCE, "c0").await.swap_remove(1).1;
    for _ in 0..60 {
        let receipt = receipt(&document.evidence, TAN_LAP, Outcome::Accepted);
        let envelope = world.keys.receipt(&receipt);
        session.commands.send(Command::Acknowledge(envelope)).await.unwrap();
    }
    let fetching = {
        let hub = Arc::clone(&hub);
        tokio::spawn(async move {
            let nobody = to(&[DISTRICT]);
            hub.fetch(&node("province"), &nobody, 10, Duration::from_secs(60)).await
        })
    };
    eventually("all of them are stuck", async || {
        download.capacity() == 0 && watch.capacity() == 0 && session.events.capacity() == 0
    })
    .await;
    drop(hub);
    world.stop().await;
    assert!(soon("the fetch", fetching).await.unwrap().unwrap().is_empty());
    while session.events.recv().await.is_some() {}
    world.start();
    assert_eq!(world.hub().overview().await.unwrap().documents, 150);
    drop((download, watch));
}

async fn a_session_says_goodbye(mut world: World) {
    let document = world.send(&manifest("d1")).await;
    let mut session = world.hub().open_session(&node("communes"), &[]).unwrap();
    session.commands.send(Command::Credit(1)).await.unwrap();
    assert!(matches!(soon("the offer", session.events.recv()).await, Some(Event::Offer(_))));
    let hub = Arc::clone(world.hub());
    let stopping = tokio::spawn(async move { hub.stop().await });
    assert!(matches!(soon("goodbye", session.events.recv()).await, Some(Event::Goodbye)));
    assert!(soon("the end", session.events.recv()).await.is_none());
    soon("the stop", stopping).await.unwrap();
    let refused = world.hub().open_session(&node("communes"), &[]).err().unwrap();
    assert_eq!(refused.code(), ReasonCode::ShuttingDown);
    world.restart().await;
    world.acknowledge(&document, TAN_BINH).await;
}
