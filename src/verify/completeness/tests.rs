//! What is complete is told so; every deviation is named.

use bytes::Bytes;
use prost::Message;

use super::{
    testing::{HOUR, Log, NOON, day, file},
    *,
};
use crate::{
    proto::*,
    tlog::note::Signer,
    verify::{
        log_keys::testing::KeyLog,
        testing::{ORIGIN, hub},
    },
};

const A: &str = "000.00.31.H53";
const B: &str = "000.21.31.H53";
const C: &str = "000.22.31.H53";
const DAY: i64 = 24 * HOUR;

/// Three days of three agencies, a quiet one between, and a fourth that is not closed.
fn town() -> Log {
    let mut log = Log::new();
    for (at, id) in [(0, "a1"), (1, "a2"), (DAY, "a3"), (DAY + HOUR, "a4"), (3 * DAY, "a5")] {
        let at = NOON + at;
        log.accept(A, id, at);
        log.consign(A, B, id, at + 1);
        log.consign(A, C, id, at + 2);
    }
    log.accept(C, "c1", NOON + 3 * DAY + HOUR);
    log.consign(C, B, "c1", NOON + 3 * DAY + HOUR);
    log.event(EventKind::ContentHandover, A, B, "a5", NOON + 3 * DAY + HOUR);
    log.event(EventKind::ContentHandoverFailure, A, C, "a1", NOON + 3 * DAY + 2 * HOUR);
    log.accept(A, "a6", NOON + 4 * DAY);
    log
}

fn judged(pages: &[Page]) -> Answer {
    completeness(&file(pages), &[hub().verifier()][..].into()).unwrap()
}

fn codes(answer: &Answer) -> Vec<&'static str> {
    answer.gaps.iter().map(Gap::code).collect()
}

fn missing(counting: Counting, first: u64, last: u64) -> Gap {
    Gap::NumberMissing { counting, first, last }
}

/// Edits every leaf of the answer; `None` takes it out.
fn edit(pages: &mut [Page], mut change: impl FnMut(u64, Evidence) -> Option<Evidence>) {
    for page in pages {
        let Page::Leaves(page) = page else { continue };
        page.leaves.retain_mut(|leaf| {
            let evidence = Evidence::decode(leaf.evidence.clone()).unwrap();
            let Some(changed) = change(leaf.index, evidence) else { return false };
            leaf.evidence = changed.encode_to_vec().into();
            leaf.leaf_hash = Bytes::copy_from_slice(&crate::tlog::merkle::leaf_hash(&leaf.evidence));
            true
        });
    }
}

#[test]
fn a_head_may_tell_the_changes_of_the_log_s_key() {
    let (old, mut log) = (Signer::from_seed(ORIGIN, &[41; 32]).unwrap(), KeyLog::new(ORIGIN));
    log.change(&old, &hub());
    let mut pages = town().answer(A, day(NOON), day(NOON) + 3);
    let Page::Head(head) = &mut pages[0] else { panic!("a head") };
    head.log_keys = log.text;
    let by = |pages: &[Page], key: Verifier| completeness(&file(pages), &[key][..].into());
    for key in [old.verifier(), hub().verifier()] {
        assert!(by(&pages, key).unwrap().is_complete());
    }
    let Page::Head(head) = &mut pages[0] else { panic!("a head") };
    head.log_keys.clear();
    assert_eq!(by(&pages, old.verifier()).unwrap_err().place, Place::HubKey);
}

#[test]
fn everything_is_here() {
    let log = town();
    for agency in [A, B, C] {
        let answer = judged(&log.answer(agency, day(NOON), day(NOON) + 3));
        assert_eq!(answer.gaps, [], "{agency}");
        assert_eq!(answer.closed.len(), 3, "one day has no leaf");
    }
    let answer = judged(&log.answer(B, day(NOON) + 1, day(NOON) + 3));
    assert!(answer.is_complete());
    let said = &answer.closed[1].said;
    assert_eq!((said.received_first, said.received_last, said.evidence), (5, 6, 3));
    let incoming = said.incoming.unwrap();
    assert_eq!((incoming.consigned, incoming.handed_over, incoming.pending), (2, 1, 5));
    assert_eq!((answer.received.len(), answer.taken.len()), (4, 1));
    assert_eq!(answer.closed[1].said.outgoing.unwrap(), Deliveries::default());
}

#[test]
fn a_day_without_evidence_is_proven_too() {
    let log = town();
    for stranger in ["000.00.00.A", "000.21.31.H5", "000.21.31.H533", "Z"] {
        let answer = judged(&log.answer(stranger, day(NOON), day(NOON) + 3));
        assert_eq!((answer.gaps.len(), answer.leaves), (0, 0), "{stranger}");
    }
    let answer = judged(&log.answer(A, day(NOON) + 2, day(NOON) + 2));
    assert!(answer.is_complete() && answer.closed.is_empty(), "{:?}", answer.gaps);
}

#[test]
fn days_that_are_not_closed_are_named() {
    let log = town();
    let (from, to) = (day(NOON) + 1, day(NOON) + 6);
    assert_eq!(judged(&log.answer(A, from, to)).gaps, [Gap::DaysOpen { from: day(NOON) + 4, to }]);
    let (from, to) = (day(NOON) + 5, day(NOON) + 6);
    assert_eq!(judged(&log.answer(A, from, to)).gaps, [Gap::DaysOpen { from, to }]);
}

#[test]
fn a_leaf_that_is_left_out_is_named() {
    let log = town();
    let pages = log.answer(B, day(NOON), day(NOON) + 3);
    let mut indexes = Vec::new();
    edit(&mut pages.clone(), |index, evidence| {
        indexes.push((index, evidence.counters.clone()));
        Some(evidence)
    });
    assert_eq!(indexes.len(), 7);
    for (left_out, counters) in indexes {
        let mut pages = pages.clone();
        edit(&mut pages, |index, evidence| (index != left_out).then_some(evidence));
        let answer = judged(&pages);
        for code in ["COUNT_DIFFERS", "ROOT_DIFFERS", "LEAVES_NOT_PROVEN"] {
            assert!(codes(&answer).contains(&code), "{left_out}: {:?}", answer.gaps);
        }
        if let Some(number) = counters.and_then(|counters| counters.received).map(|counter| counter.number) {
            let gap = missing(Counting::Received, number, number);
            let named = answer.gaps.iter().filter(|found| **found == gap).count();
            assert_eq!(named, 1, "{number}: {:?}", answer.gaps);
        }
    }
}

#[test]
fn another_number_is_named() {
    let log = town();
    let mut pages = log.answer(B, day(NOON), day(NOON) + 3);
    edit(&mut pages, |_, mut evidence| {
        let counters = evidence.counters.as_mut().and_then(|counters| counters.received.as_mut());
        if let Some(counter) = counters.filter(|counter| counter.number == 3) {
            counter.number = 4;
        }
        Some(evidence)
    });
    let answer = judged(&pages);
    assert!(answer.gaps.contains(&missing(Counting::Received, 3, 3)), "{:?}", answer.gaps);
    for code in ["NUMBER_WRONG", "COUNT_DIFFERS", "ROOT_DIFFERS", "LEAVES_NOT_PROVEN"] {
        assert!(codes(&answer).contains(&code), "{code}: {:?}", answer.gaps);
    }
}

#[test]
fn a_day_that_is_left_out_is_named() {
    let log = town();
    let mut pages = log.answer(B, day(NOON), day(NOON) + 3);
    let days: Vec<usize> = (0..pages.len()).filter(|at| matches!(pages[*at], Page::Day(_))).collect();
    pages.drain(days[1]..days[2]);
    let answer = judged(&pages);
    assert_eq!(answer.gaps[0], Gap::DigestMissing { day: day(NOON) + 1 });
    assert!(answer.gaps.contains(&missing(Counting::Received, 3, 4)), "{:?}", answer.gaps);

    let mut pages = log.answer(B, day(NOON), day(NOON) + 3);
    pages.drain(days[0]..days[1]);
    assert_eq!(judged(&pages).gaps[0], Gap::DigestMissing { day: day(NOON) });
    let mut pages = log.answer(B, day(NOON), day(NOON) + 3);
    pages.truncate(days[2]);
    let (from, to) = (day(NOON) + 2, day(NOON) + 3);
    assert_eq!(judged(&pages).gaps, [Gap::DaysOpen { from, to }]);
}

#[test]
fn another_root_or_count_is_named() {
    let log = town();
    let pages = log.answer(B, day(NOON), day(NOON) + 1);
    let bend = |change: &dyn Fn(&mut AgencyDay)| {
        let mut pages = pages.clone();
        let Page::Day(page) = &mut pages[1] else { panic!("a day") };
        let proof = page.agency.as_mut().unwrap();
        let mut said = AgencyDay::decode(proof.day.clone()).unwrap();
        change(&mut said);
        proof.day = said.encode_to_vec().into();
        judged(&pages)
    };
    assert_eq!(codes(&bend(&|said| said.root = vec![7; 32].into())), ["AGENCY_NOT_PROVEN"]);
    assert_eq!(codes(&bend(&|said| said.evidence = 1)), ["AGENCY_NOT_PROVEN"]);
    assert_eq!(codes(&bend(&|said| said.agency = A.into())), ["AGENCY_NOT_PROVEN"]);
}

#[test]
fn an_agency_is_not_absent_because_somebody_says_so() {
    let log = town();
    let mut pages = log.answer(B, day(NOON), day(NOON));
    let Page::Day(page) = &mut pages[1] else { panic!("a day") };
    let agencies = crate::daily::Agencies::of(log.digests[0].agencies.clone()).unwrap();
    let (around, first) = (agencies.proof("000.21.31.H54"), agencies.proof("0"));
    let liars = [
        AgencyProof::default(),
        around.clone(),
        AgencyProof { before: None, ..around.clone() },
        first.clone(),
        AgencyProof { before: first.after.clone(), after: around.after.clone(), ..AgencyProof::default() },
    ];
    page.agency = None;
    pages.retain(|page| !matches!(page, Page::Leaves(_) | Page::Hashes(_)));
    assert_eq!(codes(&judged(&pages)), ["AGENCY_NOT_PROVEN"]);
    for liar in liars {
        let Page::Day(page) = &mut pages[1] else { panic!("a day") };
        page.agency = Some(liar);
        assert_eq!(codes(&judged(&pages)), ["AGENCY_NOT_PROVEN"]);
    }
}

#[test]
fn evidence_of_others_and_of_other_days_is_named() {
    let log = town();
    let pages = log.answer(B, day(NOON), day(NOON) + 1);
    let foreign = log.answer(C, day(NOON), day(NOON) + 1);
    let (Page::Leaves(other), at) = (&foreign[2], 2) else { panic!("leaves") };
    let mut mixed = pages.clone();
    let Page::Leaves(page) = &mut mixed[at] else { panic!("leaves") };
    page.leaves.extend(other.leaves.clone());
    assert!(codes(&judged(&mixed)).contains(&"LEAF_FOREIGN"));
    let mut moved = pages.clone();
    let days: Vec<usize> = (0..moved.len()).filter(|at| matches!(moved[*at], Page::Leaves(_))).collect();
    moved.swap(days[0], days[2]);
    assert!(codes(&judged(&moved)).contains(&"LEAF_FOREIGN"));
}

#[test]
fn a_digest_that_leaves_something_out_is_betrayed_by_the_numbers() {
    let mut log = Log::new();
    log.accept(A, "a1", NOON);
    log.consign(A, B, "a1", NOON);
    log.accept(A, "a2", NOON);
    log.hidden = vec![3];
    assert_eq!(log.consign(A, B, "a2", NOON), 3);
    log.accept(A, "a3", NOON);
    log.consign(A, B, "a3", NOON);
    log.accept(A, "a4", NOON + DAY);
    let answer = judged(&log.answer(B, day(NOON), day(NOON)));
    let of_a = Counting::From(A.into());
    assert_eq!(answer.gaps, [missing(Counting::Received, 2, 2), missing(of_a, 2, 2)]);
}

#[test]
fn counting_begins_with_the_first_leaf_that_is_counted() {
    let mut log = Log::new();
    log.counts = false;
    log.accept(A, "a1", NOON);
    log.consign(A, B, "a1", NOON);
    log.counts = true;
    for (id, at) in [("a2", 0), ("a3", DAY), ("a4", 2 * DAY)] {
        log.accept(A, id, NOON + at);
        log.consign(A, B, id, NOON + at);
    }
    for agency in [A, B] {
        let answer = judged(&log.answer(agency, day(NOON), day(NOON) + 1));
        assert_eq!(answer.gaps, []);
        assert_eq!(answer.closed[1].said.incoming.unwrap().pending, if agency == B { 3 } else { 0 });
    }
}

#[test]
fn a_clock_that_goes_back_moves_nothing() {
    let mut log = Log::new();
    log.accept(A, "a1", NOON);
    log.accept(A, "a2", NOON + DAY);
    log.accept(A, "a3", NOON);
    log.consign(A, B, "a3", NOON + 1);
    log.accept(A, "a4", NOON + 2 * DAY);
    let answer = judged(&log.answer(A, day(NOON), day(NOON) + 1));
    assert_eq!(answer.gaps, []);
    assert_eq!(answer.closed.iter().map(|day| day.said.sent).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn strangers_and_other_forms_prove_nothing() {
    let log = town();
    let pages = log.answer(B, day(NOON), day(NOON));
    let good = file(&pages);
    let place = |bytes: Bytes, keys: &[Verifier]| completeness(&bytes, &keys.into()).unwrap_err().place;
    let keys = [hub().verifier()];
    assert_eq!(place(good.clone(), &[]), Place::HubKey);
    assert_eq!(place(Bytes::from_static(b"truc"), &keys), Place::File);
    assert_eq!(place(Bytes::copy_from_slice(MAGIC), &keys), Place::File);
    assert_eq!(place(good.slice(..good.len() - 1), &keys), Place::File);
    assert_eq!(place([&good[..], &[0]].concat().into(), &keys), Place::File);
    assert_eq!(place([MAGIC, &[0x80, 0x00], &good[MAGIC.len()..]].concat().into(), &keys), Place::File);
    let mut other = pages.clone();
    let Page::Head(head) = &mut other[0] else { panic!("a head") };
    head.checkpoint = head.checkpoint.replacen(crate::verify::testing::ORIGIN, "hub.other/log", 1);
    assert_eq!(place(file(&other), &keys), Place::Checkpoint);
    for order in [vec![1], vec![0, 0], vec![0, 2], vec![0, 3]] {
        let pages: Vec<Page> = order.iter().map(|at: &usize| pages[*at].clone()).collect();
        assert_eq!(place(file(&pages), &keys), Place::File, "{order:?}");
    }
}

#[test]
fn no_flipped_bit_stays_complete() {
    let log = town();
    let good = file(&log.answer(B, day(NOON), day(NOON) + 1));
    let keys = [hub().verifier()];
    let honest = completeness(&good, &keys[..].into()).unwrap();
    for at in (0..good.len()).step_by(5) {
        let mut bent = good.to_vec();
        bent[at] ^= 1 << (at % 8);
        match completeness(&bent.into(), &keys[..].into()) {
            Err(_) => {}
            Ok(answer) => {
                // The question itself is not signed: another one that is complete too may be read.
                let same_question = answer.agency == honest.agency && answer.days == honest.days;
                assert!(!answer.is_complete() || !same_question, "byte {at}");
            }
        }
    }
}
