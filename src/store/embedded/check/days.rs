//! Digests against the days that the leaves give: cut and counted anew.

use std::collections::VecDeque;

use prost::Message;

use super::{Report, What};
use crate::{
    daily::{Agencies, Day},
    proto::{AgencyDay, DailyDigest, EventKind, Evidence},
    store::Commit,
    tlog::{Hash, merkle::leaf_hash},
};

/// A day that has ended and whose digest was not met yet.
struct Ended {
    day: u32,
    start: u64,
    end: u64,
    root: Hash,
}

/// Reads the whole log once. Ends its work where leaves are lost: days behind them can't be counted.
pub struct Days {
    day: Option<Day>,
    ended: VecDeque<Ended>,
}

impl Days {
    pub fn new() -> Self {
        Self { day: Some(Day::begin(0, [])), ended: VecDeque::new() }
    }

    /// The next commit, with its leaves read.
    pub fn take(&mut self, commit: &Commit, evidence: &[Evidence], report: &mut Report<'_>) {
        if self.day.as_ref().is_some_and(|day| day.next() != commit.base_size) {
            self.day = None;
        }
        for ((leaf, evidence), index) in commit.leaves.iter().zip(evidence).zip(commit.base_size..) {
            self.leaf(leaf_hash(&leaf.evidence), evidence);
            if self.day.is_some() && evidence.event() == EventKind::DailyDigest {
                self.digest(index, evidence, report);
            }
        }
    }

    fn leaf(&mut self, hash: Hash, evidence: &Evidence) {
        let Some(day) = &mut self.day else { return };
        if day.take(hash, evidence) {
            return;
        }
        let days = day.agencies();
        let before = days.iter().map(|day| AgencyDay::decode(day.clone())).collect::<Result<Vec<_>, _>>();
        let (Ok(before), Some(agencies), Some(number)) = (before, Agencies::of(days), day.number()) else {
            self.day = None;
            return;
        };
        let (start, end) = (day.start(), day.next());
        self.ended.push_back(Ended { day: number, start, end, root: agencies.root() });
        let mut next = Day::begin(end, &before);
        next.take(hash, evidence);
        self.day = Some(next);
    }

    fn digest(&mut self, index: u64, evidence: &Evidence, report: &mut Report<'_>) {
        let said = DailyDigest::decode(evidence.daily_digest.clone()).unwrap_or_default();
        let fits = self.ended.pop_front().is_some_and(|ended| {
            (said.day, said.start, said.end) == (ended.day, ended.start, ended.end)
                && said.agencies_root[..] == ended.root
        });
        if !fits {
            let place = format!("digest in leaf {index}");
            report.loss(What::Record, place, "it is not what the leaves of its day give");
        }
    }
}
