//! Whether a file holds all evidence of an agency of some days: proven, or the exact gap.
//!
//! First the form, the hub's key and the checkpoint; a fault there ends the check. Then everything else, where each
//! deviation becomes a [`Gap`] and the check goes on. `docs/completeness.md` is the description for other
//! implementations.

mod day;
mod file;
mod gap;
mod numbers;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, ops::Range};

use bytes::Bytes;
use prost::Message;

pub use file::{MAGIC, MAX_DAYS, MAX_FILE, MAX_LEAVES, encode};
pub use gap::{Counting, Gap};

use self::{day::OpenDay, numbers::Numbers};
use crate::{
    daily::{self, Tally},
    domain::id::DocumentName,
    proto::{
        AgencyDay, CompletenessDay, CompletenessHead, DailyDigest, EventKind, ProofLeaf, Receipt,
        get_completeness_response::Page,
    },
    tlog::{Hash, checkpoint::Checkpoint, note::Verifier},
    verify::{self, Facts, HeadFault, Opened, Trusted},
};

/// Which part of a file is wrong, so that nothing in it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its form.
    File,
    /// The hub's key is not one that the reader trusts.
    HubKey,
    /// The signed head.
    Checkpoint,
}

impl Place {
    /// A stable word for scripts.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::HubKey => "hub_key",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "the file",
            Self::HubKey => "the hub's key",
            Self::Checkpoint => "the checkpoint",
        })
    }
}

/// Why a file says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct CompletenessError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub problem: String,
}

fn wrong(place: Place, problem: impl Into<String>) -> CompletenessError {
    CompletenessError { place, problem: problem.into() }
}

/// A day that the hub closed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedDay {
    /// Its number.
    pub day: u32,
    /// Leaf of its digest.
    pub digest: u64,
    /// What the hub says about the agency; all zero where it had no day.
    pub said: AgencyDay,
}

/// A document that was put at the agency's disposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consigned {
    /// Leaf of the consignment.
    pub leaf: u64,
    /// Its number among all to the agency; 0 if it was not counted.
    pub number: u64,
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Key of the hub's log that signed the head: trusted, or tied to a trusted one by proven changes.
    pub verifier: Verifier,
    /// What the reader's policy asks of witnesses, and they did; `None` without a policy.
    pub quorum: Option<String>,
    /// The head that everything is proven in.
    pub checkpoint: Checkpoint,
    /// Whose evidence.
    pub agency: String,
    /// First and last day asked for.
    pub days: (u32, u32),
    /// Days of the log among them, in order.
    pub closed: Vec<ClosedDay>,
    /// Documents that the agency received in these days.
    pub received: BTreeMap<DocumentName, Consigned>,
    /// Documents that the agency's system took over in these days, with the leaf of the handover.
    pub taken: BTreeMap<DocumentName, u64>,
    /// Leaves of the log that these days have, from the first to the last.
    pub leaf_range: Range<u64>,
    /// Leaves in the file.
    pub leaves: u64,
    /// Everything that is not as it must be; empty for a complete file.
    pub gaps: Vec<Gap>,
}

impl Answer {
    /// True if nothing is missing, and that is proven.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }
}

/// Checks a file with nothing but what the reader trusts.
pub fn completeness(file: &Bytes, trusted: &Trusted) -> Result<Answer, CompletenessError> {
    let mut pages = file::Pages::open(file)?;
    let Some(Page::Head(head)) = pages.next().transpose()? else {
        return Err(wrong(Place::File, "does not begin with a head"));
    };
    let mut check = Check::begin(head, trusted)?;
    for page in pages {
        check.page(page?)?;
    }
    check.finish()
}

/// The digest that was read last.
struct Before {
    digest: DailyDigest,
    index: u64,
    hash: Hash,
}

struct Check {
    answer: Answer,
    /// The checkpoint as it was signed.
    note: String,
    before: Option<Before>,
    /// Where the first day starts.
    start: Option<u64>,
    open: Option<OpenDay>,
    numbers: Numbers,
    /// What was pending at the end of the day before.
    pending: Option<AgencyDay>,
    ended: bool,
}

impl Check {
    fn begin(head: CompletenessHead, trusted: &Trusted) -> Result<Self, CompletenessError> {
        let opened = trusted.head(&head.verifier_key, &head.log_keys, &head.checkpoint);
        let Opened { verifier, checkpoint, quorum, .. } = opened.map_err(|fault| match fault {
            HeadFault::Key(problem) => wrong(Place::HubKey, problem),
            HeadFault::Checkpoint(problem) => wrong(Place::Checkpoint, problem),
        })?;
        if head.agency.is_empty() || head.from_day > head.to_day {
            return Err(wrong(Place::File, "names no agency, or no days"));
        }
        let answer = Answer {
            verifier,
            quorum,
            checkpoint,
            agency: head.agency,
            days: (head.from_day, head.to_day),
            closed: Vec::new(),
            received: BTreeMap::new(),
            taken: BTreeMap::new(),
            leaf_range: 0..0,
            leaves: 0,
            gaps: Vec::new(),
        };
        Ok(Self {
            answer,
            note: head.checkpoint,
            before: None,
            start: None,
            open: None,
            numbers: Numbers::default(),
            pending: None,
            ended: false,
        })
    }

    fn gap(&mut self, gap: Gap) {
        if !self.answer.gaps.contains(&gap) {
            self.answer.gaps.push(gap);
        }
    }

    fn page(&mut self, page: Page) -> Result<(), CompletenessError> {
        match page {
            Page::Head(_) => Err(wrong(Place::File, "a second head")),
            Page::Day(day) => self.day(&day),
            Page::Leaves(page) => {
                let mut open = self.open.take().ok_or_else(|| wrong(Place::File, "leaves before a day"))?;
                for leaf in page.leaves {
                    self.leaf(&mut open, &leaf);
                }
                self.open = Some(open);
                Ok(())
            }
            Page::Hashes(page) => {
                let open = self.open.as_mut().ok_or_else(|| wrong(Place::File, "hashes before a day"))?;
                open.add_hashes(&page.hashes);
                Ok(())
            }
        }
    }

    fn day(&mut self, page: &CompletenessDay) -> Result<(), CompletenessError> {
        self.close_day();
        if self.ended {
            return Err(wrong(Place::File, "more days than were asked for"));
        }
        let (from, to) = self.answer.days;
        let last = self.before.as_ref().map_or(from, |before| before.digest.day.saturating_add(1));
        let (digest, hash) = match self.digest(page) {
            Ok(read) => read,
            Err(problem) => {
                self.gap(Gap::DigestNotProven { day: last, problem });
                return Ok(());
            }
        };
        self.follows(&digest);
        self.start.get_or_insert(digest.start);
        self.ended = digest.day >= to;
        if (from..=to).contains(&digest.day) {
            self.open_day(&digest, page);
        }
        self.before = Some(Before { digest, index: page.index, hash });
        Ok(())
    }

    fn digest(&self, page: &CompletenessDay) -> Result<(DailyDigest, Hash), String> {
        let receipt = Receipt {
            evidence: page.evidence.clone(),
            index: page.index,
            path: page.path.clone(),
            checkpoint: self.note.clone(),
        };
        let facts = verify::receipt(&receipt, &self.answer.verifier).map_err(|error| error.to_string())?;
        facts.require(EventKind::DailyDigest).map_err(|error| error.to_string())?;
        let digest = DailyDigest::decode(facts.evidence().daily_digest.clone());
        let digest = digest.map_err(|error| error.to_string())?;
        let in_order = digest.start < digest.end && digest.end <= page.index;
        if !in_order || digest.agencies_root.len() != size_of::<Hash>() {
            return Err("it is about leaves that are not before it".into());
        }
        Ok((digest, facts.leaf_hash()))
    }

    /// Nothing lies between two digests.
    fn follows(&mut self, digest: &DailyDigest) {
        let from = self.answer.days.0;
        let missing = match &self.before {
            None => digest.day < from || (digest.start > 0 && digest.previous_day >= from),
            Some(before) => {
                digest.previous_day != before.digest.day
                    || digest.previous_index != before.index
                    || digest.previous_sha256[..] != before.hash
                    || digest.start != before.digest.end
                    || digest.day <= before.digest.day
            }
        };
        if missing {
            self.gap(Gap::DigestMissing { day: digest.previous_day });
        }
    }

    fn open_day(&mut self, digest: &DailyDigest, page: &CompletenessDay) {
        let agency = self.answer.agency.clone();
        let range = &mut self.answer.leaf_range;
        *range = if range.is_empty() { digest.start } else { range.start }..digest.end;
        let root: Hash = digest.agencies_root[..].try_into().unwrap_or_default();
        let proven = match &page.agency {
            None => Err("it is not here".to_owned()),
            Some(proof) => daily::verify_agency(&agency, proof, digest.agencies, &root)
                .map_err(|fault| fault.to_string()),
        };
        let said = match proven {
            Ok(said) => Some(said.unwrap_or_else(|| Tally::default().day(&agency))),
            Err(problem) => {
                self.gap(Gap::AgencyNotProven { day: digest.day, problem });
                None
            }
        };
        if let Some(said) = &said {
            self.answer.closed.push(ClosedDay { day: digest.day, digest: page.index, said: said.clone() });
        }
        self.open = Some(OpenDay::begin(digest, said, self.pending.as_ref()));
    }

    fn leaf(&mut self, open: &mut OpenDay, leaf: &ProofLeaf) {
        self.answer.leaves += 1;
        let facts = match open.include(leaf, &self.answer.agency, &self.answer.checkpoint) {
            Ok(facts) => facts,
            Err(problem) => return self.gap(Gap::LeafForeign { leaf: leaf.index, problem }),
        };
        let mut gaps = Vec::new();
        self.numbers.take(&facts, &self.answer.agency, self.start.unwrap_or(0), &mut gaps);
        gaps.into_iter().for_each(|gap| self.gap(gap));
        self.note_document(&facts);
    }

    fn note_document(&mut self, facts: &Facts) {
        let mine = facts.recipients().any(|recipient| recipient == self.answer.agency);
        let Some(document) = facts.document().filter(|_| mine) else { return };
        match facts.event() {
            EventKind::ContentConsignment => {
                let number = facts.received().map_or(0, |counter| counter.number);
                self.answer.received.insert(document.clone(), Consigned { leaf: facts.index(), number });
            }
            EventKind::ContentHandover => {
                self.answer.taken.insert(document.clone(), facts.index());
            }
            _ => {}
        }
    }

    fn close_day(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut gaps = Vec::new();
        open.close(&self.answer.agency, &self.answer.checkpoint, &mut self.numbers, &mut gaps);
        gaps.into_iter().for_each(|gap| self.gap(gap));
        self.pending = open.said().cloned();
    }

    fn finish(mut self) -> Result<Answer, CompletenessError> {
        self.close_day();
        let (from, to) = self.answer.days;
        let last = self.before.as_ref().map(|before| before.digest.day);
        if last.is_none_or(|last| last < to) {
            let from = last.map_or(from, |last| last + 1).max(from);
            self.gap(Gap::DaysOpen { from, to });
        }
        Ok(self.answer)
    }
}
