//! The numbers themselves: what each day brought between the levels, and what waits. A pure function of the leaves.

use std::collections::BTreeMap;

use super::spread::Spread;
use crate::{
    domain::{day::Day, time::Timestamp},
    proto::Level,
};

/// Days that are kept, today among them.
pub const DAYS: i64 = 35;
/// Minutes of a day.
const MINUTES: usize = 24 * 60;
/// Urgencies of QCVN 102.
const URGENCIES: usize = 5;

/// From the sender's level to the recipient's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// The sender's.
    pub from: Level,
    /// The recipient's.
    pub to: Level,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The recipient's system signed for it.
    HandedOver,
    /// The recipient's system refused it.
    Refused,
    /// Nobody took it by the deadline.
    Expired,
    /// An operator or the sender ended it.
    Cancelled,
}

/// What a leaf adds to the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A document was accepted.
    Accepted {
        /// When.
        at: Timestamp,
        /// The sender's level.
        from: Level,
        /// 0 to 4.
        urgency: u32,
        /// Levels of its recipients, each once.
        to: Vec<Level>,
    },
    /// A submission was refused.
    Rejected {
        /// When.
        at: Timestamp,
    },
    /// A delivery was put at its recipient's disposal.
    Consigned {
        /// When.
        at: Timestamp,
        /// Between whom.
        pair: Pair,
        /// When its document was accepted.
        submitted: Timestamp,
    },
    /// A delivery that had ended waits again.
    Resumed {
        /// Between whom.
        pair: Pair,
        /// When its document was accepted.
        submitted: Timestamp,
    },
    /// A delivery ended.
    Ended {
        /// When.
        at: Timestamp,
        /// Between whom.
        pair: Pair,
        /// When its document was accepted.
        submitted: Timestamp,
        /// How.
        end: End,
    },
    /// The recipient agency sent back what its system had taken (status 02).
    SentBack {
        /// When.
        at: Timestamp,
        /// Between whom.
        pair: Pair,
    },
}

/// What a day brought between two levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Documents with at least one recipient of this level.
    pub documents: u64,
    /// Deliveries that began to wait.
    pub deliveries: u64,
    /// Ends, of deliveries of whatever day.
    pub handed_over: u64,
    pub refused: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub sent_back: u64,
    /// From acceptance to handover.
    pub times: Spread,
}

/// Counts of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    pub documents: u32,
    pub deliveries: u32,
    pub handed_over: u32,
    pub failed: u32,
}

/// One day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub flows: BTreeMap<Pair, Flow>,
    /// Documents by the sender's level and urgency.
    pub documents: BTreeMap<(Level, u32), u64>,
    pub rejected: u64,
    minutes: Vec<Minute>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            flows: BTreeMap::new(),
            documents: BTreeMap::new(),
            rejected: 0,
            minutes: vec![Minute::default(); MINUTES],
        }
    }
}

impl Figures {
    /// The sum of the minutes from one to before another.
    pub fn between(&self, minutes: std::ops::Range<usize>) -> Minute {
        let mut sum = Minute::default();
        for minute in self.minutes.iter().take(minutes.end).skip(minutes.start) {
            sum.documents += minute.documents;
            sum.deliveries += minute.deliveries;
            sum.handed_over += minute.handed_over;
            sum.failed += minute.failed;
        }
        sum
    }
}

/// Deliveries that wait between two levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub deliveries: u64,
    /// When the oldest of their documents was accepted.
    pub oldest: Timestamp,
    /// Of these, those whose document was accepted before the threshold.
    pub stuck: u64,
}

/// All numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    days: BTreeMap<Day, Figures>,
    /// By the moment of acceptance: how many wait.
    waiting: BTreeMap<Pair, BTreeMap<Timestamp, u32>>,
}

impl Tally {
    /// Takes the next leaf's part.
    pub fn take(&mut self, fact: &Fact) {
        match fact {
            Fact::Accepted { at, from, urgency, to } => self.accepted(*at, *from, *urgency, to),
            Fact::Rejected { at } => {
                if let Some(day) = self.day(*at) {
                    day.rejected += 1;
                }
            }
            Fact::Resumed { pair, submitted } => self.waits(*pair, *submitted),
            Fact::Consigned { at, pair, submitted } => {
                self.waits(*pair, *submitted);
                let Some(day) = self.day(*at) else { return };
                day.flow(*pair).deliveries += 1;
                day.minute(*at).deliveries += 1;
            }
            Fact::Ended { at, pair, submitted, end } => {
                self.waits_no_more(*pair, *submitted);
                self.ended(*at, *pair, *submitted, *end);
            }
            Fact::SentBack { at, pair } => {
                if let Some(day) = self.day(*at) {
                    day.flow(*pair).sent_back += 1;
                }
            }
        }
    }

    /// What a day brought.
    pub fn figures(&self, day: Day) -> Option<&Figures> {
        self.days.get(&day)
    }

    /// What waits, and what has waited since before `stuck_before`.
    pub fn waiting(&self, stuck_before: Timestamp) -> BTreeMap<Pair, Waiting> {
        let mut all = BTreeMap::new();
        for (pair, times) in &self.waiting {
            let Some((oldest, _)) = times.first_key_value() else { continue };
            let sum = |times: &mut dyn Iterator<Item = &u32>| times.map(|count| u64::from(*count)).sum();
            let told = Waiting {
                oldest: *oldest,
                deliveries: sum(&mut times.values()),
                stuck: sum(&mut times.range(..stuck_before).map(|(_, count)| count)),
            };
            all.insert(*pair, told);
        }
        all
    }

    fn accepted(&mut self, at: Timestamp, from: Level, urgency: u32, to: &[Level]) {
        let Some(day) = self.day(at) else { return };
        let urgency = urgency.min(URGENCIES as u32 - 1);
        *day.documents.entry((from, urgency)).or_default() += 1;
        day.minute(at).documents += 1;
        for to in to {
            day.flow(Pair { from, to: *to }).documents += 1;
        }
    }

    fn ended(&mut self, at: Timestamp, pair: Pair, submitted: Timestamp, end: End) {
        let Some(day) = self.day(at) else { return };
        match end {
            End::HandedOver => day.minute(at).handed_over += 1,
            End::Refused | End::Expired | End::Cancelled => day.minute(at).failed += 1,
        }
        let flow = day.flow(pair);
        match end {
            End::HandedOver => {
                flow.handed_over += 1;
                flow.times.add(u64::try_from(at.0.saturating_sub(submitted.0)).unwrap_or(0));
            }
            End::Refused => flow.refused += 1,
            End::Expired => flow.expired += 1,
            End::Cancelled => flow.cancelled += 1,
        }
    }

    fn waits(&mut self, pair: Pair, submitted: Timestamp) {
        *self.waiting.entry(pair).or_default().entry(submitted).or_default() += 1;
    }

    /// An agency may have changed its level while the delivery waited: then it is counted under the old one.
    fn waits_no_more(&mut self, pair: Pair, submitted: Timestamp) {
        let holds = |times: &BTreeMap<Timestamp, u32>| times.contains_key(&submitted);
        let counted = if self.waiting.get(&pair).is_some_and(holds) {
            Some(pair)
        } else {
            self.waiting.iter().find(|(_, times)| holds(times)).map(|(pair, _)| *pair)
        };
        let Some(times) = counted.and_then(|pair| self.waiting.get_mut(&pair)) else { return };
        if let Some(count) = times.get_mut(&submitted) {
            *count -= 1;
            if *count == 0 {
                times.remove(&submitted);
            }
        }
        self.waiting.retain(|_, times| !times.is_empty());
    }

    /// The day of a moment; `None` when it is older than all that is kept.
    fn day(&mut self, at: Timestamp) -> Option<&mut Figures> {
        let day = Day::of(at);
        let newest = self.days.last_key_value().map_or(day, |(newest, _)| (*newest).max(day));
        let oldest = newest.plus(1 - DAYS);
        if day < oldest {
            return None;
        }
        self.days = self.days.split_off(&oldest);
        Some(self.days.entry(day).or_default())
    }
}

impl Figures {
    fn flow(&mut self, pair: Pair) -> &mut Flow {
        self.flows.entry(pair).or_default()
    }

    fn minute(&mut self, at: Timestamp) -> &mut Minute {
        let at = Day::minute_of(at).min(self.minutes.len() - 1);
        &mut self.minutes[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: Timestamp = Timestamp(1_795_280_400_000_000);
    const HOUR: i64 = 3_600_000_000;
    const UP: Pair = Pair { from: Level::Commune, to: Level::District };
    const DOWN: Pair = Pair { from: Level::Province, to: Level::Commune };

    fn consigned(at: Timestamp, pair: Pair) -> Fact {
        Fact::Consigned { at, pair, submitted: at }
    }

    fn ended(submitted: Timestamp, after_us: i64, pair: Pair, end: End) -> Fact {
        Fact::Ended { at: submitted.plus_us(after_us), pair, submitted, end }
    }

    fn tally(facts: &[Fact]) -> Tally {
        let mut tally = Tally::default();
        facts.iter().for_each(|fact| tally.take(fact));
        tally
    }

    #[test]
    fn the_last_moment_of_a_day_is_not_the_next_day() {
        let last = MIDNIGHT.plus_us(-1);
        let accepted =
            |at| Fact::Accepted { at, from: Level::Commune, urgency: 3, to: vec![Level::District] };
        let tally = tally(&[accepted(last), accepted(MIDNIGHT), accepted(MIDNIGHT)]);
        let (before, after) =
            (tally.figures(Day::of(last)).unwrap(), tally.figures(Day::of(MIDNIGHT)).unwrap());
        assert_eq!((before.flows[&UP].documents, after.flows[&UP].documents), (1, 2));
        assert_eq!(before.documents[&(Level::Commune, 3)], 1);
        assert_eq!((before.between(0..1_439).documents, before.between(0..1_440).documents), (0, 1));
        assert_eq!(after.between(0..1).documents, 2);
    }

    #[test]
    fn a_handover_counts_on_its_own_day_with_its_whole_time() {
        let evening = MIDNIGHT.plus_us(-HOUR);
        let tally = tally(&[consigned(evening, UP), ended(evening, 2 * HOUR, UP, End::HandedOver)]);
        let (before, after) =
            (tally.figures(Day::of(evening)).unwrap(), tally.figures(Day::of(MIDNIGHT)).unwrap());
        assert_eq!((before.flows[&UP].deliveries, before.flows[&UP].handed_over), (1, 0));
        assert_eq!((after.flows[&UP].deliveries, after.flows[&UP].handed_over), (0, 1));
        let told = after.flows[&UP].times.quantile(500) as f64;
        assert!((told / (2 * HOUR) as f64 - 1.0).abs() < 0.04, "{told}");
        assert!(tally.waiting(MIDNIGHT).is_empty());
    }

    #[test]
    fn what_waits_is_told_with_its_oldest_and_what_is_stuck() {
        let at = |hours: i64| MIDNIGHT.plus_us(hours * HOUR);
        let tally = tally(&[
            consigned(at(1), UP),
            consigned(at(1), UP),
            consigned(at(5), UP),
            consigned(at(2), DOWN),
            ended(at(2), HOUR, DOWN, End::Expired),
            ended(at(1), HOUR, UP, End::Refused),
            // Accepted before all that is known here.
            ended(at(-900), 901 * HOUR, UP, End::HandedOver),
        ]);
        let waiting = tally.waiting(at(5));
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[&UP], Waiting { deliveries: 2, oldest: at(1), stuck: 1 });
        let day = tally.figures(Day::of(MIDNIGHT)).unwrap();
        assert_eq!((day.flows[&UP].refused, day.flows[&DOWN].expired), (1, 1));
        assert_eq!(day.between(0..1_440).failed, 2);
    }

    #[test]
    fn what_is_sent_again_waits_again_and_is_no_new_delivery() {
        let again = Fact::Resumed { pair: UP, submitted: MIDNIGHT };
        let tally = tally(&[consigned(MIDNIGHT, UP), ended(MIDNIGHT, HOUR, UP, End::Expired), again]);
        assert_eq!(tally.waiting(Timestamp(0))[&UP].deliveries, 1);
        assert_eq!(tally.figures(Day::of(MIDNIGHT)).unwrap().flows[&UP].deliveries, 1);
    }

    #[test]
    fn an_agency_that_changed_its_level_leaves_nothing_behind() {
        let other = Pair { from: Level::Commune, to: Level::Province };
        let tally = tally(&[consigned(MIDNIGHT, UP), ended(MIDNIGHT, HOUR, other, End::HandedOver)]);
        assert!(tally.waiting(Timestamp(i64::MAX)).is_empty());
    }

    #[test]
    fn days_beyond_the_window_are_let_go_and_old_leaves_change_nothing() {
        let mut tally = Tally::default();
        for day in 0..100 {
            tally.take(&Fact::Rejected { at: MIDNIGHT.plus_us(day * 24 * HOUR) });
        }
        assert_eq!(tally.days.len() as i64, DAYS);
        let before = tally.clone();
        tally.take(&Fact::Rejected { at: MIDNIGHT });
        assert_eq!(tally, before);
        let today = Day::of(MIDNIGHT).plus(99);
        assert!(tally.figures(today.plus(1 - DAYS)).is_some() && tally.figures(today.plus(-DAYS)).is_none());
    }
}
