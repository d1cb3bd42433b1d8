//! Numbers without gaps, over all days of a file.

use std::collections::BTreeMap;

use super::gap::{Counting, Gap};
use crate::{proto::Counter, tlog::Hash, verify::Facts};

/// The newest number of a counting.
struct Last {
    number: u64,
    /// Where it stands; `None` if it is not in the file.
    at: Option<(u64, Hash)>,
}

/// How far each counting is.
#[derive(Default)]
pub struct Numbers {
    last: BTreeMap<Counting, Last>,
}

impl Numbers {
    /// Takes the numbers on an evidence of the agency. `start` is the first leaf of the first day.
    pub fn take(&mut self, facts: &Facts, agency: &str, start: u64, gaps: &mut Vec<Gap>) {
        let mut next = |counting, counter| self.next(counting, counter, facts, start, gaps);
        let (sender, recipient) = (facts.sender(), facts.recipients().next().unwrap_or_default());
        if let Some(sent) = facts.sent() {
            next(Counting::Sent, sent);
        }
        if let Some(received) = facts.received().filter(|_| recipient == agency) {
            next(Counting::Received, received);
        }
        if let Some(pair) = facts.pair() {
            if recipient == agency {
                next(Counting::From(sender.to_owned()), pair);
            }
            if sender == agency {
                next(Counting::To(recipient.to_owned()), pair);
            }
        }
    }

    fn next(
        &mut self,
        counting: Counting,
        counter: &Counter,
        facts: &Facts,
        start: u64,
        gaps: &mut Vec<Gap>,
    ) {
        let number = counter.number;
        let previous = (counter.previous_index, &counter.previous_sha256[..]);
        let missing = |first| Gap::NumberMissing { counting: counting.clone(), first, last: number - 1 };
        match self.last.get(&counting) {
            // What stands before the first day is not asked for.
            None if number > 1 && counter.previous_index >= start => gaps.push(missing(number - 1)),
            Some(last) if number > last.number + 1 => gaps.push(missing(last.number + 1)),
            Some(Last { number: before, at: Some((index, hash)) })
                if number <= *before || previous != (*index, &hash[..]) =>
            {
                gaps.push(Gap::NumberWrong { counting: counting.clone(), number, leaf: facts.index() });
            }
            Some(last) if number <= last.number => {
                gaps.push(Gap::NumberWrong { counting: counting.clone(), number, leaf: facts.index() });
            }
            _ => {}
        }
        let at = Some((facts.index(), facts.leaf_hash()));
        self.last.insert(counting, Last { number, at });
    }

    /// The digest says that a day's numbers were these; in the file are those.
    pub fn end_of_day(
        &mut self,
        counting: Counting,
        said: (u64, u64),
        found: (u64, u64),
        gaps: &mut Vec<Gap>,
    ) {
        let mut missing = |first: u64, last: u64| {
            if first > 0 && first <= last {
                gaps.push(Gap::NumberMissing { counting: counting.clone(), first, last });
            }
        };
        if said == found {
            return;
        }
        if found.1 == 0 {
            missing(said.0, said.1);
        } else {
            missing(said.0, found.0 - 1);
            missing(found.1 + 1, said.1);
        }
        let known = self.last.get(&counting).map_or(0, |last| last.number);
        if said.1 > known {
            self.last.insert(counting, Last { number: said.1, at: None });
        }
    }
}
