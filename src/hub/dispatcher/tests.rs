use std::collections::BTreeSet;

use super::*;
use crate::domain::reason::ReasonCode;

fn agency(text: &str) -> AgencyId {
    AgencyId::parse(text).unwrap()
}

fn delivery(document: u64, recipient: &str, urgency: u32, state: TransportState) -> DeliveryRecord {
    DeliveryRecord {
        document,
        recipient: recipient.into(),
        transport: state.into(),
        urgency,
        deadline_us: 1_000_000,
        ..DeliveryRecord::default()
    }
}

fn dispatcher(deliveries: &[DeliveryRecord]) -> Dispatcher {
    let backoff = Backoff::new(1_000, 10_000, 2).unwrap();
    let dispatcher = Dispatcher::load(&crate::store::memory::Memory::default(), 1_000, backoff).unwrap();
    dispatcher.update(deliveries, Timestamp(0));
    dispatcher
}

const READY: TransportState = TransportState::Ready;

#[test]
fn urgent_first_then_older() {
    let d = dispatcher(&[
        delivery(1, "H53", 0, READY),
        delivery(2, "H53", 3, READY),
        delivery(3, "H54", 3, READY),
    ]);
    let leases = d.lease(&[agency("H54"), agency("H53")], 10, Timestamp(0));
    assert_eq!(leases.iter().map(|lease| lease.document).collect::<Vec<_>>(), [2, 3, 1]);
}

#[test]
fn a_lease_is_held_by_one_and_comes_back_after_a_pause() {
    let d = dispatcher(&[delivery(1, "H53", 0, READY)]);
    let mine = [agency("H53")];
    let lease = d.lease(&mine, 1, Timestamp(0)).remove(0);
    assert!(d.lease(&mine, 1, Timestamp(999)).is_empty());
    d.tick(Timestamp(1_000), 10);
    assert!(matches!(d.standing(&mine[0], 1), Some((Standing::Paused { .. }, 1))));
    assert_eq!(d.release(&mine[0], 1, lease.id, Timestamp(1_000)).unwrap_err().code, ReasonCode::LeaseLost);
    d.tick(Timestamp(20_000), 10);
    assert_eq!(d.lease(&mine, 1, Timestamp(20_000))[0].attempt, 2);
    assert_eq!(d.counts(), (1, 1));
}

#[test]
fn an_extended_lease_lives_on() {
    let d = dispatcher(&[delivery(1, "H53", 0, READY)]);
    let mine = agency("H53");
    let lease = d.lease(std::slice::from_ref(&mine), 1, Timestamp(0)).remove(0);
    d.extend(&mine, 1, lease.id, Timestamp(900)).unwrap();
    d.tick(Timestamp(1_500), 10);
    assert!(matches!(d.standing(&mine, 1), Some((Standing::Leased { .. }, 1))));
}

#[test]
fn a_clock_that_is_set_back_holds_up_nothing() {
    let d = dispatcher(&[delivery(1, "H53", 0, READY), delivery(2, "H53", 0, READY)]);
    let mine = [agency("H53")];
    let (late, early) = (Timestamp(5_000_000), Timestamp(1_000_000));
    d.tick(late, 10);
    let leases = d.lease(&mine, 2, late);
    d.release(&mine[0], 2, leases[1].id, late).unwrap();
    d.tick(early, 10);
    let until = early.plus_us(1_000);
    assert_eq!(d.standing(&mine[0], 1), Some((Standing::Leased { id: leases[0].id, until }, 1)));
    // The longest pause is 10 ms.
    d.tick(early.plus_us(10_000), 10);
    assert_eq!(d.standing(&mine[0], 2), Some((Standing::Ready, 1)));
    d.tick(early.plus_us(20_000), 10);
    assert_eq!(d.lease(&mine, 2, early.plus_us(20_000)).len(), 2);
}

#[test]
fn what_ends_is_gone_and_deadlines_are_told_until_then() {
    let d = dispatcher(&[delivery(1, "H53", 0, READY), delivery(2, "H53", 0, READY)]);
    d.lease(&[agency("H53")], 2, Timestamp(0));
    assert_eq!(d.tick(Timestamp(1_000_000), 10).len(), 2);
    d.update(&[delivery(1, "H53", 0, TransportState::Expired)], Timestamp(1_000_000));
    assert_eq!(d.tick(Timestamp(1_000_000), 10).len(), 1);
    assert_eq!(d.counts(), (1, 0), "the other one is paused");
}

#[tokio::test]
async fn listeners_hear_of_new_work_and_of_ended_leases() {
    let d = dispatcher(&[]);
    let mine = [agency("H53")];
    let listening = d.listen(&mine);
    d.update(&[delivery(1, "H53", 0, READY)], Timestamp(0));
    listening.rung().await;
    d.lease(&mine, 1, Timestamp(0));
    d.update(&[delivery(1, "H53", 0, TransportState::HandedOver)], Timestamp(0));
    listening.rung().await;
    assert_eq!(d.counts(), (0, 0));
}

#[test]
fn what_is_held_is_not_offered_and_its_deadline_goes_on() {
    const HELD: TransportState = TransportState::Held;
    let d = dispatcher(&[delivery(1, "H53", 0, READY), delivery(2, "H53", 0, READY)]);
    let mine = [agency("H53")];
    let mut leases = d.lease(&mine, 1, Timestamp(0));
    d.update(&[delivery(1, "H53", 0, HELD), delivery(2, "H53", 0, HELD)], Timestamp(0));
    d.retain_held(&mut leases);
    assert!(leases.is_empty() && d.lease(&mine, 5, Timestamp(0)).is_empty());
    assert_eq!((d.standing(&mine[0], 1).unwrap().0, d.counts()), (Standing::Held, (2, 0)));
    assert_eq!(d.requeue(&mine[0], None), 0, "a hold is no pause");
    d.update(&[delivery(2, "H53", 0, READY)], Timestamp(0));
    assert_eq!(d.lease(&mine, 5, Timestamp(0)).len(), 1);
    assert_eq!(d.requeue(&mine[0], Some(2)), 1);
    assert_eq!(d.lease(&mine, 5, Timestamp(0))[0].attempt, 2);
    assert_eq!(d.tick(Timestamp(1_000_000), 10).len(), 2);
    d.update(&[delivery(1, "H53", 0, TransportState::Cancelled)], Timestamp(0));
    assert_eq!(d.counts().0, 1);
}

#[test]
fn all_queues_are_looked_at_once_and_in_order() {
    let deliveries = crowd(5_000, 37);
    let d = dispatcher(&deliveries);
    let everyone: BTreeSet<_> = deliveries.iter().map(|d| agency(&d.recipient)).collect();
    d.lease(&everyone.iter().cloned().collect::<Vec<_>>(), 700, Timestamp(0));
    let mut seen = Vec::new();
    d.visit(&mut |recipient, one| seen.push((recipient.to_string(), one.document)));
    let mut expected: Vec<_> = deliveries.iter().map(|d| (d.recipient.clone(), d.document)).collect();
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(sorted, expected);
    let one = everyone.first().unwrap();
    let (whole, none) = d.page(one, After::Nothing, usize::MAX);
    let (mut pages, mut after) = (Vec::new(), Some(After::Nothing));
    while let Some(from) = after {
        let (page, next) = d.page(one, from, 7);
        pages.extend(page);
        after = next;
    }
    assert_eq!((pages, none), (whole, None));
}

#[test]
fn what_is_given_back_is_ready_at_once_and_ended_leases_are_forgotten() {
    let d = dispatcher(&[delivery(1, "H53", 0, READY), delivery(2, "H53", 0, READY)]);
    let mine = [agency("H53")];
    let mut leases = d.lease(&mine, 2, Timestamp(0));
    d.give_back(&leases[..1]);
    d.retain_held(&mut leases);
    assert_eq!(leases.iter().map(|lease| lease.document).collect::<Vec<_>>(), [2]);
    assert_eq!(d.lease(&mine, 2, Timestamp(0))[0].attempt, 2);
}

#[test]
fn a_lease_without_an_offer_is_no_attempt() {
    let d = dispatcher(&[delivery(1, "H53", 0, READY)]);
    let mine = [agency("H53")];
    let lease = d.lease(&mine, 1, Timestamp(0));
    d.undo(&lease);
    d.undo(&lease);
    assert_eq!(d.counts(), (1, 0));
    assert_eq!(d.lease(&mine, 1, Timestamp(0))[0].attempt, 1);
}

/// What waits for `recipients` agencies, documents in turn.
fn crowd(deliveries: u64, recipients: u64) -> Vec<DeliveryRecord> {
    let record = |n| delivery(n / 3, &format!("H{:02}.{}", n % 63 + 1, n % recipients), 0, READY);
    let spread = |n| DeliveryRecord { deadline_us: (n * 7_919 % 604_800) as i64, ..record(n) };
    (0..deliveries).map(spread).collect()
}

#[test]
fn what_waits_is_counted_as_it_moves() {
    use super::depths::{Depth, Totals};

    let d = dispatcher(&[
        delivery(5, "H53", 0, READY),
        delivery(3, "H53", 4, READY),
        delivery(4, "H54", 1, READY),
    ]);
    // H54 is a group of its own, others are left out.
    let group = |agency: &AgencyId| usize::from(agency.as_str() != "H53");
    let totals = |leased, paused| Totals { by_urgency: [1, 1, 0, 0, 1], leased, paused, held: 0 };
    let one = |deliveries, oldest| Depth { deliveries, recipients: 1, oldest: Some(oldest) };
    assert_eq!(d.depths(group), [one(2, 3), one(1, 4)]);
    assert_eq!(d.depths(|_| 7), [Depth::default()]);
    assert_eq!(d.totals(), totals(0, 0));
    let leases = d.lease(&[agency("H53")], 2, Timestamp(0));
    assert_eq!((d.depths(group), d.totals()), ([one(2, 3), one(1, 4)], totals(2, 0)));
    d.release(&leases[0].recipient, leases[0].document, leases[0].id, Timestamp(0)).unwrap();
    assert_eq!(d.totals(), totals(1, 1));
    d.update(&[delivery(3, "H53", 4, TransportState::HandedOver)], Timestamp(0));
    assert_eq!(d.depths(group), [one(1, 5), one(1, 4)]);
    assert_eq!(d.totals(), Totals { by_urgency: [1, 1, 0, 0, 0], leased: 1, paused: 0, held: 0 });
}

#[test]
fn a_crowd_is_counted_whole_and_as_after_a_restart() {
    let deliveries = crowd(2_000, 300);
    let d = dispatcher(&deliveries);
    let counted: [depths::Depth; 1] = d.depths(|_| 0);
    let recipients: BTreeSet<_> = deliveries.iter().map(|d| &d.recipient).collect();
    assert_eq!(counted[0].deliveries, d.counts().0 as u64);
    assert_eq!(counted[0].recipients, recipients.len() as u64);
    assert_eq!(counted[0].oldest, Some(0));
    assert_eq!(d.totals().by_urgency.iter().sum::<u64>(), d.counts().0 as u64);
}

#[test]
fn a_restart_finds_the_same_queues() {
    let deliveries = crowd(2_000, 37);
    let before = dispatcher(&deliveries);
    let mut board = Board::new(1_000, Backoff::default(), Arc::default());
    let mut waiting: Vec<_> =
        deliveries.iter().map(|d| (d.recipient.as_str(), d.document, d.deadline_us)).collect();
    waiting.sort_unstable();
    let mut fill = |(recipient, document, deadline): (&str, u64, i64)| {
        (board.number(recipient).unwrap(), rank(0), document, Timestamp(deadline), false)
    };
    let waiting = waiting.into_iter().map(&mut fill).collect();
    board.fill(waiting);
    let after = Dispatcher { board: Mutex::new(board), tests: AtomicUsize::new(0), bells: Arc::default() };
    assert_eq!(after.counts(), before.counts());
    assert_eq!(after.totals(), before.totals());
    let due = |d: &Dispatcher| {
        let mut due = d.tick(Timestamp(300_000), 5_000);
        due.sort();
        due
    };
    assert_eq!(due(&after), due(&before));
    let everyone: Vec<_> = deliveries.iter().map(|d| agency(&d.recipient)).collect();
    let documents = |d: &Dispatcher| {
        let leases = d.lease(&everyone, 5_000, Timestamp(0));
        leases.into_iter().map(|lease| (lease.document, lease.recipient)).collect::<BTreeSet<_>>()
    };
    assert_eq!(documents(&after), documents(&before));
}

/// Run alone: `cargo test --lib a_hundred_thousand_are_counted -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_are_counted() {
    let d = dispatcher(&crowd(100_000, 2_000));
    let began = std::time::Instant::now();
    let depths: [depths::Depth; 1] = d.depths(|_| 0);
    println!("{depths:?} and {:?} within {:?}", d.totals(), began.elapsed());
}

/// Run alone, optimised: `cargo test --release --lib a_million_wait -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn a_million_wait() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let (bytes, start) = (resident(), std::time::Instant::now());
    let d = dispatcher(&[]);
    for batch in 0..1_000 {
        let mut records = crowd(1_000, 10_599);
        records.iter_mut().for_each(|record| record.document += batch * 1_000);
        d.update(&records, Timestamp(-1));
    }
    let each = (resident() - bytes) / d.counts().0 as u64;
    println!("{each} bytes each, {:?}", start.elapsed());
}
