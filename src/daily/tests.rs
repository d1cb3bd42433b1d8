//! Days, and what they were, as properties.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    proto::{EventKind, Party},
    tlog::merkle::leaf_hash,
};

#[test]
fn a_day_begins_at_midnight_in_vietnam() {
    // 2026-11-21 17:00 UTC is midnight of the 22nd.
    let midnight_us = 1_795_280_400_000_000;
    let day = parse_date("2026-11-22").unwrap();
    assert_eq!(day_of(Timestamp(midnight_us)), day);
    assert_eq!(day_of(Timestamp(midnight_us - 1)), day - 1);
    assert_eq!(midnight(day), Timestamp(midnight_us));
    assert_eq!(date(day), "2026-11-22");
    assert_eq!((date(0).as_str(), parse_date("1970-01-01")), ("1970-01-01", Some(0)));
    for wrong in ["", "2026-11-31", "22.11.2026", "2026-11-22T00:00", "1969-12-31", "+02026-11-22"] {
        assert_eq!(parse_date(wrong), None, "{wrong}");
    }
    assert_eq!((day_of(Timestamp(i64::MIN)), day_of(Timestamp(-1))), (0, 0));
    assert_eq!(date(u32::MAX), format!("day {}", u32::MAX), "beyond the calendar");
}

/// Frozen: made by hand from docs/completeness.md, not by this program.
#[test]
fn golden_digest_and_day() {
    use crate::{
        domain::id::Digest,
        proto::{DailyDigest, Deliveries},
    };

    let digest = DailyDigest {
        day: 20_717,
        start: 0,
        end: 9,
        agencies: 2,
        agencies_root: vec![4; 32].into(),
        previous_day: 20_716,
        previous_index: 5,
        previous_sha256: vec![5; 32].into(),
    };
    let golden = "a1c39e32912ad4a08a18266323f549ce3bf35de9e9a2dcd5ed4f6c5f36098029";
    assert_eq!(Digest::of(&digest.encode_to_vec()).to_string(), golden);
    let day = AgencyDay {
        agency: "000.00.31.H53".into(),
        evidence: 2,
        root: vec![6; 32].into(),
        sent: 1,
        sent_first: 3,
        sent_last: 3,
        rejected: 0,
        received_first: 7,
        received_last: 7,
        outgoing: Some(Deliveries { consigned: 1, pending: 1, ..Deliveries::default() }),
        incoming: Some(Deliveries { consigned: 1, handed_over: 1, ..Deliveries::default() }),
    };
    let day = Digest::of(&day.encode_to_vec());
    assert_eq!(day.to_string(), "5e9b7749a8377457c4fb93e4d18e1d8df5a78ad5181e35e3af647bd63c7d7a4e");
    let entry = entry_hash("000.00.31.H53", day.as_bytes());
    assert_eq!(hex::encode(entry), "816002dd779cbbd2abad107a040c646ea4d0b65712d8c4615f38ab2e46eb385c");
}

fn event(kind: EventKind, time_us: i64, sender: &str, to: &str) -> Evidence {
    let party = |agency: &str| Party { agency: agency.into(), ..Party::default() };
    Evidence {
        event: kind.into(),
        event_time_us: time_us,
        sender: Some(party(sender)),
        recipients: if to.is_empty() { Vec::new() } else { vec![party(to)] },
        ..Evidence::default()
    }
}

#[test]
fn who_sends_to_itself_owns_its_evidence_once() {
    let evidence = event(EventKind::ContentConsignment, 0, "A", "A");
    assert_eq!(owners(&evidence).collect::<Vec<_>>(), ["A"]);
    assert_eq!(owners(&event(EventKind::DailyDigest, 0, "", "")).count(), 0);
    let mut day = Day::begin(0, []);
    assert!(day.take([1; 32], &evidence));
    let said = AgencyDay::decode(day.agencies()[0].clone()).unwrap();
    assert_eq!((said.evidence, said.outgoing, said.incoming), (1, said.incoming, said.outgoing));
    assert_eq!(said.incoming.unwrap().pending, 1);
}

fn any_event() -> impl Strategy<Value = Evidence> {
    let kinds = prop::sample::select(vec![
        EventKind::SubmissionAcceptance,
        EventKind::SubmissionRejection,
        EventKind::ContentConsignment,
        EventKind::ContentHandover,
        EventKind::ContentHandoverFailure,
        EventKind::ConsignmentRejection,
        EventKind::DeliveryCancelled,
    ]);
    let agency = || prop::sample::select(vec!["A", "B", "C"]);
    (kinds, -3i64..80, agency(), agency())
        .prop_map(|(kind, hour, sender, to)| event(kind, hour * HOUR_US, sender, to))
}

/// Cuts a log into days.
fn cut(log: &[Evidence]) -> Vec<Day> {
    let mut days = vec![Day::begin(0, [])];
    for evidence in log {
        let hash = leaf_hash(&evidence.encode_to_vec());
        let day = days.last_mut().unwrap();
        if !day.take(hash, evidence) {
            let before: Vec<_> =
                day.agencies().into_iter().map(|day| AgencyDay::decode(day).unwrap()).collect();
            let mut next = Day::begin(day.next(), &before);
            assert!(next.take(hash, evidence), "the first leaf of a day belongs to it");
            days.push(next);
        }
    }
    days
}

proptest! {
    #[test]
    fn nothing_falls_between_two_days(log in prop::collection::vec(any_event(), 1..60)) {
        let days = cut(&log);
        prop_assert_eq!(days[0].start(), 0);
        prop_assert_eq!(days[days.len() - 1].next(), log.len() as u64);
        for pair in days.windows(2) {
            prop_assert_eq!(pair[0].next(), pair[1].start());
            prop_assert!(pair[0].number() < pair[1].number());
        }
    }

    #[test]
    fn every_leaf_is_counted_once_for_each_owner(log in prop::collection::vec(any_event(), 1..60)) {
        let days = cut(&log).into_iter().flat_map(|day| day.agencies());
        let said: Vec<_> = days.map(|day| AgencyDay::decode(day).unwrap()).collect();
        for agency in ["A", "B", "C"] {
            let mine = said.iter().filter(|day| day.agency == agency);
            let counted: u64 = mine.map(|day| day.evidence).sum();
            let owned = log.iter().filter(|evidence| owners(evidence).any(|owner| owner == agency));
            prop_assert_eq!(counted, owned.count() as u64);
        }
    }

    #[test]
    fn an_agency_is_shown_or_shown_to_be_absent(names in prop::collection::btree_set("[A-D]{1,3}", 0..20)) {
        let day = |agency: &String| AgencyDay { agency: agency.clone(), evidence: 1, ..AgencyDay::default() };
        let agencies = Agencies::of(names.iter().map(|name| day(name).encode_to_vec().into()).collect());
        let agencies = agencies.unwrap();
        for name in ["A", "AB", "B", "CCC", "D", "DDDD", "0", "Z"] {
            let proof = agencies.proof(name);
            let said = verify_agency(name, &proof, agencies.len(), &agencies.root());
            prop_assert_eq!(said, Ok(names.contains(name).then(|| day(&name.to_owned()))));
            prop_assert!(agencies.is_empty() || verify_agency(name, &proof, agencies.len(), &[7; 32]).is_err());
        }
    }
}
