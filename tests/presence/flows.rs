//! What flows between the levels, with a clock by hand, and again after a restart.

use truc::proto::*;

use crate::common::*;

/// START is 2026-09-21 21:13 in Vietnam; this is its next midnight there.
const UNTIL_MIDNIGHT: i64 = 10_000 * SECOND;

async fn flows(world: &World) -> GetFlowsResponse {
    let mut told = GetFlowsResponse::default();
    eventually("all leaves are counted", async || {
        told = world.hub().flows(&GetFlowsRequest { days: 35, stuck_after_us: 0 }).await.unwrap();
        told.covers == told.size && told.from_us != 0
    })
    .await;
    told
}

fn between(day: &DayFlows, from: Level, to: Level) -> Flow {
    let found = day.flows.iter().find(|flow| flow.from() == from && flow.to() == to);
    found.cloned().unwrap_or_default()
}

fn totals(documents: u64, deliveries: u64, handed_over: u64, failed: u64) -> Option<Totals> {
    Some(Totals { documents, deliveries, handed_over, failed })
}

/// Two days: on the first evening a letter to a commune and a circular to three communes and the district; one is taken
/// over that evening and one after midnight, one is refused, one expires, one waits.
async fn two_days(world: &World) -> Proven {
    let letter = world.send(&manifest("letter")).await;
    let circular = manifest("circular")
        .with(|m| m.recipients = to(&[TAN_BINH, TAN_HOA, TAN_LAP, DISTRICT]))
        .with(|m| m.document.as_mut().unwrap().urgency = 3)
        .with(|m| m.delivery_deadline_us = START.plus_us(DAY).0);
    let circular = world.send(&circular).await;
    world.clock.advance_us(60 * SECOND);
    world.acknowledge(&letter, TAN_BINH).await;
    // The last moment before midnight, and midnight itself.
    world.clock.advance_us(UNTIL_MIDNIGHT - 60 * SECOND - 1);
    world.acknowledge(&circular, TAN_BINH).await;
    world.clock.advance_us(1);
    world.acknowledge(&circular, DISTRICT).await;
    let refusal = receipt(&circular.evidence, TAN_HOA, Outcome::Refused);
    world.accepted(world.try_acknowledge(&refusal).await);
    world.clock.advance_us(DAY - UNTIL_MIDNIGHT);
    eventually("the deadline passes", async || {
        world.state(&circular, TAN_LAP).await.transport() == TransportState::Expired
    })
    .await;
    let late = world.send(&manifest("late").with(|m| m.issued_at_us = START.plus_us(DAY).0)).await;
    world.refused(world.try_send(&manifest("late").with(|m| m.recipients = to(&[TAN_HOA]))).await);
    late
}

fn check(told: &GetFlowsResponse) {
    assert_eq!(told.days.len(), 35);
    let (second, first) = (&told.days[0], &told.days[1]);
    assert_eq!((first.date.as_str(), second.date.as_str()), ("2026-09-21", "2026-09-22"));
    assert!(first.complete && !second.complete);
    assert_eq!(first.totals, totals(2, 5, 2, 0));
    assert_eq!(second.totals, totals(1, 1, 1, 2));
    let down = between(first, Level::Province, Level::Commune);
    assert_eq!((down.documents, down.deliveries, down.handed_over), (2, 4, 2));
    assert_eq!(between(first, Level::Province, Level::District).documents, 1);
    let down = between(second, Level::Province, Level::Commune);
    assert_eq!((down.refused, down.expired, down.deliveries), (1, 1, 1));
    let times = between(second, Level::Province, Level::District).times.unwrap();
    assert_eq!(times.count, 1);
    assert_eq!(times.max_us, UNTIL_MIDNIGHT);
    assert!((times.p50_us as f64 / UNTIL_MIDNIGHT as f64 - 1.0).abs() < 0.04, "{times:?}");
    let sent: Vec<_> = first.senders.iter().map(|s| (s.level(), s.urgency, s.documents)).collect();
    assert_eq!(sent, [(Level::Province, 0, 1), (Level::Province, 3, 1)]);
    assert_eq!(second.refused_submissions, 1);
    assert_eq!(first.hours.iter().map(|hour| hour.handed_over).collect::<Vec<_>>()[21..], [1, 0, 1]);
    // Now it is the minute of the day at which the story began.
    assert_eq!((told.today, told.yesterday_until_now), (totals(1, 1, 1, 2), totals(2, 5, 0, 0)));
    let [waiting] = &told.waiting[..] else { panic!("{:?}", told.waiting) };
    assert_eq!((waiting.from(), waiting.to(), waiting.deliveries), (Level::Province, Level::Commune, 1));
    assert_eq!((waiting.oldest_us, waiting.stuck), (START.plus_us(DAY).0, 0));
}

async fn a_restart_gives_the_same_numbers(mut world: World) {
    world.hub().count_flows().unwrap();
    two_days(&world).await;
    let told = flows(&world).await;
    check(&told);
    world.restart().await;
    assert!(world.hub().flows(&GetFlowsRequest::default()).await.is_err(), "not counted yet");
    world.hub().count_flows().unwrap();
    let again = flows(&world).await;
    // It began to read on the next day, with a window of its own.
    assert!(again.from_us >= told.from_us);
    assert!(GetFlowsResponse { from_us: told.from_us, ..again } == told, "not the same numbers");

    // What waited over the restart ends in the same numbers as well.
    world.clock.advance_us(DAY + 1);
    let told = flows(&world).await;
    assert_eq!(told.waiting[0].stuck, 1);
    assert!(told.days[1].complete && told.days[0].flows.is_empty());
    world.stop().await;
}

async fn the_log_tells_who_was_heard_of_before_the_start(mut world: World) {
    let document = world.send(&manifest("1")).await;
    world.clock.advance_us(HOUR);
    world.acknowledge(&document, TAN_BINH).await;
    world.clock.advance_us(HOUR);
    world.restart().await;
    let contacts = || world.hub().list_node_contacts(&ListNodeContactsRequest::default()).unwrap();
    assert_eq!(contacts().log, Some(LogKnowledge { size: world.hub().size(), ..Default::default() }));
    world.hub().count_flows().unwrap();
    eventually("the log is read", async || {
        let log = contacts().log.unwrap();
        log.from_us != 0 && log.covers == log.size
    })
    .await;
    let of = |name: &str| contacts().nodes.into_iter().find(|node| node.node == name).unwrap();
    let (communes, ministry) = (of("communes"), of("ministry"));
    assert_eq!((communes.last_contact_us, communes.contact_from_log), (START.plus_us(HOUR).0, true));
    assert_eq!(ministry.last_contact_us, 0, "it never spoke");
    let agency =
        |text: &str| world.hub().agency_contact(&truc::domain::id::AgencyId::parse(text).unwrap()).unwrap();
    assert_eq!((agency(PROVINCE).last_signed_us, agency(PROVINCE).signed_from_log), (START.0, true));
    assert_eq!(agency(TAN_BINH).last_signed_us, START.plus_us(HOUR).0);
    assert_eq!((agency(TAN_HOA).last_signed_us, agency(TAN_BINH).last_receiving_us), (0, 0));
}

crate::on_both_stores!(a_restart_gives_the_same_numbers, the_log_tells_who_was_heard_of_before_the_start,);
