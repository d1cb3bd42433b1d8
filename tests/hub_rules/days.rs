//! Days: each is closed once with a digest, whatever happens around midnight, and proves who got what.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use prost::Message;
use truc::{
    daily::{self, Agencies, Day},
    domain::{
        id::{AgencyId, NodeName},
        reason::ReasonCode,
        time::Timestamp,
    },
    hub::{completeness::Asker, refused::Refused, search::Reader},
    proto::*,
    store::memory::Fault,
    verify::completeness::{self, Answer, Gap},
};

use crate::common::*;

crate::on_both_stores!(
    a_closed_day_is_complete,
    days_are_made_up_for_after_a_downtime,
    a_clock_that_goes_back_moves_nothing,
    only_who_may_ask_is_answered,
);

fn today() -> u32 {
    daily::day_of(START)
}

fn reader(scope: Option<&str>) -> Asker {
    let scope = scope.map(|agency| AgencyId::parse(agency).unwrap());
    Asker::Reader(Reader { name: "lan".into(), recorded: true, scope })
}

/// Lets the hub keep its days and its search index.
fn keep(world: &World, folder: &tempfile::TempDir) -> PathBuf {
    let history = folder.path().join(format!("history-{}", fresh()));
    std::fs::create_dir(&history).unwrap();
    world.hub().follow(&history).unwrap();
    world.hub().keep_days();
    history
}

async fn fetch(world: &World, asker: &Asker, request: GetCompletenessRequest) -> Result<Bytes, Refused> {
    let mut file = completeness::MAGIC.to_vec();
    let mut pages = world.hub().completeness(asker, request).await?;
    while let Some(page) = pages.recv().await {
        completeness::encode(&page?, &mut file);
    }
    Ok(file.into())
}

async fn asked(world: &World, agency: &str, from_day: u32, to_day: u32) -> Answer {
    let request = GetCompletenessRequest { agency: agency.into(), from_day, to_day, cosigned: false };
    let file = fetch(world, &reader(None), request).await.unwrap();
    completeness::completeness(&file, &[log().verifier()][..].into()).unwrap()
}

/// Waits until the last of these days is closed.
async fn closed(world: &World, agency: &str, from_day: u32, to_day: u32) -> Answer {
    let mut answer = asked(world, agency, from_day, to_day).await;
    eventually("the day is closed", async || {
        answer = asked(world, agency, from_day, to_day).await;
        !answer.gaps.iter().any(|gap| matches!(gap, Gap::DaysOpen { .. }))
    })
    .await;
    answer
}

/// Cuts the whole log anew, and finds exactly its digests in the log.
async fn recut(world: &World) -> Vec<u32> {
    let (mut day, mut ended, mut found) = (Day::begin(0, []), Vec::new(), Vec::new());
    for index in 0..world.hub().size() {
        let leaf = world.verify(world.hub().receipt(index).await.unwrap());
        if leaf.event() == EventKind::DailyDigest {
            found.push(DailyDigest::decode(leaf.evidence.daily_digest.clone()).unwrap());
        }
        if !day.take(leaf.leaf_hash(), &leaf.evidence) {
            let agencies = day.agencies();
            let before: Vec<_> = agencies.iter().map(|day| AgencyDay::decode(day.clone()).unwrap()).collect();
            let root = Agencies::of(agencies).unwrap().root();
            ended.push((day.number().unwrap(), day.start(), day.next(), root.to_vec()));
            day = Day::begin(day.next(), &before);
            assert!(day.take(leaf.leaf_hash(), &leaf.evidence));
        }
    }
    let told = found.iter().map(|said| (said.day, said.start, said.end, said.agencies_root.to_vec()));
    assert_eq!(told.collect::<Vec<_>>(), ended);
    ended.into_iter().map(|(day, ..)| day).collect()
}

async fn a_closed_day_is_complete(world: World) {
    let folder = tempfile::tempdir().unwrap();
    keep(&world, &folder);
    let taken = world.send(&manifest("d1")).await;
    served(&world).await;
    world.acknowledge(&taken, TAN_BINH).await;
    let refused = world.send(&manifest("d2")).await;
    served(&world).await;
    let word = receipt(&refused.evidence, TAN_BINH, Outcome::Refused);
    world.accepted(world.try_acknowledge(&word).await);
    world.send(&manifest("d3")).await;
    served(&world).await;
    let open = asked(&world, TAN_BINH, today(), today()).await;
    assert_eq!(open.gaps, [Gap::DaysOpen { from: today(), to: today() }]);

    world.clock.advance_us(4 * HOUR);
    let answer = closed(&world, TAN_BINH, today(), today()).await;
    assert_eq!(answer.gaps, []);
    let said = &answer.closed[0].said;
    assert_eq!((said.received_first, said.received_last, said.evidence), (1, 3, 5));
    let expected =
        Deliveries { consigned: 3, handed_over: 1, refused: 1, pending: 1, ..Deliveries::default() };
    assert_eq!(said.incoming, Some(expected));
    assert_eq!((answer.received.len(), answer.taken.len()), (3, 1));
    let sender = closed(&world, PROVINCE, today(), today()).await;
    assert_eq!((sender.gaps.len(), sender.closed[0].said.sent), (0, 3));
    let nobody = closed(&world, TAN_LAP, today(), today()).await;
    assert_eq!((nobody.gaps.len(), nobody.leaves), (0, 0));
    assert_eq!(recut(&world).await, [today()]);
}

async fn days_are_made_up_for_after_a_downtime(mut world: World) {
    let folder = tempfile::tempdir().unwrap();
    for day in 0..4 {
        world.send(&manifest(&format!("d{day}")).with(|m| m.issued_at_us = world.clock.now().0)).await;
        served(&world).await;
        // Two days pass while it stands, the second time with the clerk at work before.
        if day == 1 {
            keep(&world, &folder);
        }
        world.stop().await;
        world.clock.advance_us(2 * DAY);
        world.start();
    }
    keep(&world, &folder);
    let answer = closed(&world, TAN_BINH, today(), today() + 6).await;
    assert_eq!(answer.gaps, []);
    let closed_days = recut(&world).await;
    assert_eq!(closed_days.iter().filter(|day| **day <= today() + 6).count(), 4, "{closed_days:?}");
    // Stopped and started at any moment, it makes none twice.
    world.restart().await;
    keep(&world, &folder);
    world.clock.advance_us(DAY);
    closed(&world, TAN_BINH, today(), today() + 8).await;
    recut(&world).await;
}

async fn a_clock_that_goes_back_moves_nothing(world: World) {
    let folder = tempfile::tempdir().unwrap();
    keep(&world, &folder);
    world.send(&manifest("d1")).await;
    served(&world).await;
    world.clock.advance_us(4 * HOUR);
    closed(&world, TAN_BINH, today(), today()).await;
    world.clock.advance_us(-HOUR);
    world.send(&manifest("d2")).await;
    served(&world).await;
    world.clock.advance_us(DAY + 2 * HOUR);
    let answer = closed(&world, TAN_BINH, today(), today() + 1).await;
    assert_eq!(answer.gaps, []);
    let received: Vec<_> = answer.closed.iter().map(|day| day.said.received_last).collect();
    assert_eq!(received, [1, 2], "what came at the earlier time is of the later day");
    assert_eq!(recut(&world).await, [today(), today() + 1]);
}

async fn only_who_may_ask_is_answered(world: World) {
    let folder = tempfile::tempdir().unwrap();
    keep(&world, &folder);
    let request = |agency: &str, to_day| GetCompletenessRequest {
        agency: agency.into(),
        from_day: today(),
        to_day,
        cosigned: false,
    };
    let code = async |asker: &Asker, agency: &str| {
        fetch(&world, asker, request(agency, today())).await.err().map(|refused| refused.code())
    };
    let node = |name: &str| Asker::Node(NodeName::parse(name).unwrap());
    assert_eq!(code(&node("communes"), TAN_BINH).await, None);
    assert_eq!(code(&node("communes"), PROVINCE).await, Some(ReasonCode::NotAuthorised));
    assert_eq!(code(&reader(Some(PROVINCE)), TAN_BINH).await, None);
    assert_eq!(code(&reader(Some(DISTRICT)), MINISTRY).await, Some(ReasonCode::OutsideScope));
    assert_eq!(code(&reader(None), "not an agency\n").await, Some(ReasonCode::BadIdentifier));
    let endless = fetch(&world, &reader(None), request(TAN_BINH, u32::MAX)).await;
    assert_eq!(endless.unwrap_err().code(), ReasonCode::InvalidField);

    // Who asked, and what was refused, is in the log.
    let mut trace = Vec::new();
    eventually("the questions are recorded", async || {
        trace.clear();
        for index in 0..world.hub().size() {
            let leaf = world.verify(world.hub().receipt(index).await.unwrap());
            let queries = AuditQueries::decode(leaf.evidence.audit_queries.clone()).unwrap();
            trace.extend(queries.queries);
        }
        trace.len() == 4
    })
    .await;
    assert!(trace.iter().all(|query| query.call() == AuditCall::Completeness && query.auditor == "lan"));
    let first = trace[0].filter.clone().unwrap();
    assert_eq!((first.below.as_str(), first.from_us), (TAN_BINH, daily::midnight(today()).0));
    assert_eq!(trace[1].refused(), ReasonCode::OutsideScope);
}

/// A commit that fails around midnight, in either way, closes the day once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_store_closes_no_day_twice() {
    for fault in [Fault::FailedNotSaved, Fault::FailedButSaved] {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::in_memory().await;
        world.send(&manifest("d1")).await;
        served(&world).await;
        keep(&world, &folder);
        world.memory().inject(fault);
        let before = world.hub().size();
        world.clock.advance_us(4 * HOUR);
        let mut notices = world.hub().notices();
        let failed = tokio::time::timeout(PATIENCE, notices.recv()).await;
        assert!(failed.is_ok(), "the digest's commit failed");
        world.restart().await;
        assert_eq!(world.hub().size() - before, u64::from(fault == Fault::FailedButSaved));
        keep(&world, &folder);
        let answer = closed(&world, TAN_BINH, today(), today()).await;
        assert_eq!(answer.gaps, []);
        assert_eq!(recut(&world).await, [today()]);
    }
}

/// A circular and many small ones around midnight: the numbers run through, whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn midnight_in_the_middle_of_traffic_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_memory().await;
    keep(&world, &folder);
    for at in 0..30 {
        world
            .send(&manifest(&format!("d{at}")).with(|m| m.recipients = COMMUNES.map(String::from).into()))
            .await;
        world.clock.advance_us(HOUR / 2);
        if at % 7 == 0 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
    served(&world).await;
    world.clock.advance_us(DAY);
    let last = daily::day_of(Timestamp(world.clock.now().0)) - 1;
    for agency in COMMUNES.into_iter().chain([PROVINCE]) {
        let answer = closed(&world, agency, today(), last).await;
        assert_eq!(answer.gaps, [], "{agency}");
        assert_eq!(answer.closed.iter().map(|day| day.said.evidence).sum::<u64>(), answer.leaves);
    }
    recut(&world).await;
    world.countings().await;
}

async fn served(world: &World) {
    eventually("everyone is served", async || world.hub().overview().await.unwrap().expanding == 0).await;
}
