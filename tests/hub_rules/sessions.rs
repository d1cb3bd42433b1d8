//! Offers: sessions with credit, leases, and fetching.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use truc::{
    domain::reason::ReasonCode,
    hub::session::{Command, Event, Session},
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    an_offer_carries_all_that_a_recipient_checks,
    no_more_offers_than_credit,
    two_sessions_share_the_work,
    urgent_first_then_older,
    what_is_not_answered_is_offered_again,
    a_lease_can_be_extended_and_released,
    a_session_that_ends_gives_its_leases_back,
    a_dead_recipient_holds_up_nobody,
    a_client_that_never_answers_is_held_back,
    receipts_are_answered_in_the_session,
    a_session_follows_the_directory,
    fetch_waits_for_the_first,
    a_fetch_that_is_given_up_leaves_nothing_behind,
);

fn open(world: &World) -> Session {
    world.hub().open_session(&node("communes"), &[]).unwrap()
}

async fn credit(session: &Session, more: u32) {
    session.commands.send(Command::Credit(more)).await.unwrap();
}

async fn event(session: &mut Session) -> Event {
    soon("an event", session.events.recv()).await.expect("the session lives")
}

async fn offer(session: &mut Session) -> Offer {
    match event(session).await {
        Event::Offer(offer) => *offer,
        other => panic!("{other:?}"),
    }
}

/// Nothing comes, although the session had the time to answer another command.
async fn assert_silent(session: &mut Session) {
    let (delivery_id, lease) = ("0/H53".to_owned(), 0);
    session.commands.send(Command::Release { delivery_id, lease }).await.unwrap();
    assert!(matches!(event(session).await, Event::Refused { .. }));
}

fn id_in(offer: &Offer) -> String {
    let envelope = offer.envelope.as_ref().unwrap();
    <Manifest as prost::Message>::decode(envelope.payload.clone()).unwrap().document_id
}

async fn fetch(world: &World, max: u32) -> Vec<Offer> {
    world.hub().fetch(&node("communes"), &[], max, Duration::ZERO).await.unwrap()
}

async fn send_many(world: &World, many: usize) -> Vec<Proven> {
    let mut documents = Vec::new();
    for at in 0..many {
        documents.push(world.send(&manifest(&format!("d{at}"))).await);
    }
    documents
}

async fn an_offer_carries_all_that_a_recipient_checks(world: World) {
    let manifest = manifest("d1");
    let document = world.send(&manifest).await;
    let mut session = open(&world);
    credit(&session, 1).await;
    let offer = offer(&mut session).await;
    assert_eq!(offer.envelope, Some(world.keys.manifest(&manifest)), "as the sender signed it");
    assert_eq!(offer.acceptance, Some(document.receipt));
    assert_eq!((offer.recipient.as_str(), offer.attempt), (TAN_BINH, 1));
    assert_eq!(offer.lease_until_us, START.0 + world.settings.lease_us);
    assert_eq!(offer.delivery_deadline_us, START.0 + 7 * DAY);
}

async fn no_more_offers_than_credit(world: World) {
    send_many(&world, 10).await;
    let mut session = open(&world);
    assert_silent(&mut session).await;
    credit(&session, 3).await;
    for _ in 0..3 {
        offer(&mut session).await;
    }
    assert_silent(&mut session).await;
    credit(&session, 1).await;
    offer(&mut session).await;
    assert_silent(&mut session).await;
    // Live: what comes later uses the credit that is left.
    credit(&session, 7).await;
    for _ in 0..6 {
        offer(&mut session).await;
    }
    world.send(&manifest("later")).await;
    assert_eq!(id_in(&offer(&mut session).await), "later");
}

async fn two_sessions_share_the_work(world: World) {
    send_many(&world, 40).await;
    let (mut one, mut two) = (open(&world), open(&world));
    for session in [&one, &two] {
        credit(session, 20).await;
    }
    let mut leases = BTreeSet::new();
    for _ in 0..20 {
        for session in [&mut one, &mut two] {
            let offer = offer(session).await;
            assert!(leases.insert((offer.delivery_id, offer.lease_id)));
        }
    }
    assert_eq!(leases.len(), 40);
    assert_eq!(world.hub().overview().await.unwrap().leased, 40);
}

async fn urgent_first_then_older(world: World) {
    let urgency = [0, 4, 1, 4, 0];
    for (at, urgency) in urgency.into_iter().enumerate() {
        let manifest = manifest(&format!("d{at}")).with(|m| {
            m.document.as_mut().unwrap().urgency = urgency;
            m.recipients = to(&[COMMUNES[at % 3]]);
        });
        world.send(&manifest).await;
    }
    let ids: Vec<_> = fetch(&world, 10).await.iter().map(id_in).collect();
    assert_eq!(ids, ["d1", "d3", "d2", "d0", "d4"]);
}

async fn what_is_not_answered_is_offered_again(world: World) {
    world.send(&manifest("d1")).await;
    let mut session = open(&world);
    credit(&session, 2).await;
    let first = offer(&mut session).await;
    world.clock.advance_us(world.settings.lease_us);
    eventually("the lease ends", async || world.hub().overview().await.unwrap().leased == 0).await;
    // After the pause, which grows.
    world.clock.advance_us(10 * SECOND);
    let again = offer(&mut session).await;
    assert_eq!((again.delivery_id.as_str(), again.attempt), (first.delivery_id.as_str(), 2));
    assert_ne!(again.lease_id, first.lease_id);
    let lost = world.hub().release(&node("communes"), &first.delivery_id, first.lease_id).unwrap_err();
    assert_eq!(lost.code(), ReasonCode::LeaseLost);
}

async fn a_lease_can_be_extended_and_released(world: World) {
    let document = world.send(&manifest("d1")).await;
    let mut session = open(&world);
    credit(&session, 2).await;
    let first = offer(&mut session).await;
    let (delivery_id, lease) = (first.delivery_id.clone(), first.lease_id);
    world.clock.advance_us(50 * SECOND);
    session.commands.send(Command::Extend { delivery_id: delivery_id.clone(), lease }).await.unwrap();
    let Event::Extended { until_us, .. } = event(&mut session).await else { panic!("not extended") };
    assert_eq!(until_us, START.0 + 110 * SECOND);
    world.clock.advance_us(50 * SECOND);
    tokio::time::sleep(Duration::from_millis(300)).await; // the hub's clockwork looks three times
    assert_eq!(world.hub().overview().await.unwrap().leased, 1);

    session.commands.send(Command::Release { delivery_id, lease }).await.unwrap();
    eventually("the pause shows", async || world.state(&document, TAN_BINH).await.next_attempt_us > 0).await;
    let state = world.state(&document, TAN_BINH).await;
    assert_eq!(state.attempts, 1);
    assert!(state.next_attempt_us >= START.0 + 105 * SECOND);
    world.clock.advance_us(10 * SECOND);
    assert_eq!(offer(&mut session).await.attempt, 2);
    let foreign = world.hub().extend_lease(&node("province"), &first.delivery_id, 1).unwrap_err();
    assert_eq!(foreign.code(), ReasonCode::NotAuthorised);
}

async fn a_session_that_ends_gives_its_leases_back(world: World) {
    send_many(&world, 5).await;
    let mut session = open(&world);
    credit(&session, 5).await;
    for _ in 0..5 {
        offer(&mut session).await;
    }
    assert_eq!(world.hub().overview().await.unwrap().leased, 5);
    drop(session);
    eventually("the leases come back", async || world.hub().overview().await.unwrap().leased == 0).await;
    assert_eq!(world.hub().overview().await.unwrap().sessions, 0);
    let again = fetch(&world, 10).await;
    assert_eq!(again.len(), 5, "at once");
    assert!(again.iter().all(|offer| offer.attempt == 2));
}

/// One session takes and never reads; the others are served.
async fn a_dead_recipient_holds_up_nobody(world: World) {
    let mut dead = world.hub().open_session(&node("communes"), &to(&[TAN_BINH])).unwrap();
    credit(&dead, 1_000).await;
    for at in 0..200 {
        let recipients = to(&[TAN_BINH, TAN_HOA]);
        world.send(&manifest(&format!("d{at}")).with(|m| m.recipients = recipients)).await;
    }
    let mut alive = world.hub().open_session(&node("communes"), &to(&[TAN_HOA])).unwrap();
    for at in 0..200 {
        credit(&alive, 1).await;
        assert_eq!(id_in(&offer(&mut alive).await), format!("d{at}"));
    }
    assert!(!dead.events.is_empty());
    dead.events.close();
}

async fn a_client_that_never_answers_is_held_back(mut world: World) {
    world.settings.max_credit = 5;
    world.restart().await;
    let documents = send_many(&world, 15).await;
    let mut session = open(&world);
    for _ in 0..10 {
        credit(&session, 1).await;
        offer(&mut session).await;
    }
    credit(&session, 5).await;
    assert_silent(&mut session).await;
    // An answer from elsewhere makes room.
    world.acknowledge(&documents[0], TAN_BINH).await;
    offer(&mut session).await;
}

async fn receipts_are_answered_in_the_session(world: World) {
    let documents = send_many(&world, 50).await;
    let mut session = open(&world);
    credit(&session, 50).await;
    for _ in 0..50 {
        offer(&mut session).await;
    }
    for document in &documents {
        let receipt = receipt(&document.evidence, TAN_BINH, Outcome::Accepted);
        let envelope = world.keys.receipt(&receipt);
        session.commands.send(Command::Acknowledge(envelope)).await.unwrap();
    }
    for _ in 0..50 {
        let Event::Acknowledged(accepted) = event(&mut session).await else { panic!("not acknowledged") };
        assert_eq!(world.accepted(Ok(accepted)).event(), EventKind::ContentHandover);
    }
    let bad = receipt(&documents[0].evidence, TAN_HOA, Outcome::Accepted);
    session.commands.send(Command::Acknowledge(world.keys.receipt(&bad))).await.unwrap();
    let Event::Refused { refused, .. } = event(&mut session).await else { panic!("not refused") };
    assert_eq!(world.refused::<()>(Err(refused)).code, ReasonCode::NotARecipient);
    // Half-closing lets what was said be answered.
    let last = receipt(&documents[0].evidence, TAN_BINH, Outcome::Accepted);
    session.commands.send(Command::Acknowledge(world.keys.receipt(&last))).await.unwrap();
    let (idle, _) = tokio::sync::mpsc::channel(1);
    session.commands = idle;
    assert!(matches!(event(&mut session).await, Event::Acknowledged(accepted) if accepted.repeat));
    assert!(soon("the end", session.events.recv()).await.is_none());
}

async fn a_session_follows_the_directory(world: World) {
    let mut session = open(&world);
    credit(&session, 10).await;
    world.send(&manifest("d1")).await;
    offer(&mut session).await;
    world.change(put_node("communes", &[TAN_HOA])).await;
    world.send(&manifest("d2").with(|m| m.recipients = to(&[TAN_BINH, TAN_HOA]))).await;
    assert_eq!(offer(&mut session).await.recipient, TAN_HOA);
    assert_silent(&mut session).await;
    world.change(revoke_node("communes")).await;
    world.send(&manifest("d3").with(|m| m.recipients = to(&[TAN_HOA]))).await;
    let Some(Event::Ended(why)) = soon("a word", session.events.recv()).await else { panic!("no word") };
    assert_eq!(why.code(), ReasonCode::UnknownNode);
    assert!(soon("the end", session.events.recv()).await.is_none());
    let refused = world.hub().open_session(&node("communes"), &[]).err().unwrap();
    assert_eq!(refused.code(), ReasonCode::UnknownNode);
}

async fn fetch_waits_for_the_first(world: World) {
    assert!(fetch(&world, 10).await.is_empty());
    let (hub, wait) = (Arc::clone(world.hub()), Duration::from_secs(60));
    let waiting = tokio::spawn(async move { hub.fetch(&node("communes"), &[], 10, wait).await });
    tokio::task::yield_now().await;
    let document = world.send(&manifest("first")).await;
    let offers = soon("the fetch", waiting).await.unwrap().unwrap();
    assert_eq!(offers[0].acceptance, Some(document.receipt));
    assert!(fetch(&world, 10).await.is_empty(), "leased");
    let foreign = world.hub().fetch(&node("communes"), &to(&[PROVINCE]), 1, wait).await.unwrap_err();
    assert_eq!(foreign.code(), ReasonCode::NotAuthorised);
    send_many(&world, 5).await;
    assert_eq!(fetch(&world, 0).await.len(), 1, "at least one");
}

async fn a_fetch_that_is_given_up_leaves_nothing_behind(world: World) {
    for _ in 0..50 {
        let (hub, wait) = (Arc::clone(world.hub()), Duration::from_secs(60));
        let waiting = tokio::spawn(async move { hub.fetch(&node("communes"), &[], 10, wait).await });
        tokio::task::yield_now().await;
        let document = world.send(&manifest(&format!("d{}", fresh()))).await;
        waiting.abort();
        let _ = waiting.await;
        // Either it was answered (and holds a lease), or the document is still to be had.
        let mut offers = fetch(&world, 10).await;
        if offers.is_empty() {
            assert_eq!(world.hub().overview().await.unwrap().leased, 1);
        } else {
            let offer = offers.pop().unwrap();
            assert_eq!(offer.acceptance, Some(document.receipt.clone()));
        }
        world.acknowledge(&document, TAN_BINH).await;
    }
    assert_eq!(world.hub().overview().await.unwrap().waiting, 0);
}
