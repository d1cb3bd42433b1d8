//! What can be missing, each named so that it can be asked for.

use std::fmt;

use crate::daily::date as date_of_day;

/// Whose numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counting {
    /// All that the agency sent.
    Sent,
    /// All that it received.
    Received,
    /// What it received from this agency.
    From(String),
    /// What it sent to this agency.
    To(String),
}

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The digest of this day is not in the file.
    DigestMissing {
        /// The day.
        day: u32,
    },
    /// A digest is not in the hub's log.
    DigestNotProven {
        /// The day, or the first one that it could be of.
        day: u32,
        /// What is wrong.
        problem: String,
    },
    /// The hub has not closed these days (yet).
    DaysOpen {
        /// The first.
        from: u32,
        /// The last.
        to: u32,
    },
    /// What the digest says about the agency is not shown.
    AgencyNotProven {
        /// The day.
        day: u32,
        /// What is wrong.
        problem: String,
    },
    /// A leaf that does not belong here.
    LeafForeign {
        /// Its index.
        leaf: u64,
        /// What is wrong.
        problem: String,
    },
    /// Numbers that are not in the file.
    NumberMissing {
        /// Whose.
        counting: Counting,
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A number that does not follow.
    NumberWrong {
        /// Whose.
        counting: Counting,
        /// The number.
        number: u64,
        /// The leaf that carries it.
        leaf: u64,
    },
    /// Recounting gives another value than the digest.
    CountDiffers {
        /// The day.
        day: u32,
        /// Which value.
        field: &'static str,
        /// In the digest.
        said: u64,
        /// In the file.
        found: u64,
    },
    /// The leaves have another root than the digest.
    RootDiffers {
        /// The day.
        day: u32,
    },
    /// The leaves are not at their places in the log.
    LeavesNotProven {
        /// The day.
        day: u32,
    },
}

impl Gap {
    /// A stable word for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DigestMissing { .. } => "DIGEST_MISSING",
            Self::DigestNotProven { .. } => "DIGEST_NOT_PROVEN",
            Self::DaysOpen { .. } => "DAYS_OPEN",
            Self::AgencyNotProven { .. } => "AGENCY_NOT_PROVEN",
            Self::LeafForeign { .. } => "LEAF_FOREIGN",
            Self::NumberMissing { .. } => "NUMBER_MISSING",
            Self::NumberWrong { .. } => "NUMBER_WRONG",
            Self::CountDiffers { .. } => "COUNT_DIFFERS",
            Self::RootDiffers { .. } => "ROOT_DIFFERS",
            Self::LeavesNotProven { .. } => "LEAVES_NOT_PROVEN",
        }
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent => f.write_str("sent"),
            Self::Received => f.write_str("received"),
            Self::From(agency) => write!(f, "received from {agency}"),
            Self::To(agency) => write!(f, "sent to {agency}"),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DigestMissing { day } => write!(f, "the digest of {} is missing", date_of_day(*day)),
            Self::DigestNotProven { day, problem } => {
                write!(f, "the digest of {} or later is not proven: {problem}", date_of_day(*day))
            }
            Self::DaysOpen { from, to } if from == to => {
                write!(f, "the hub has not closed {}", date_of_day(*from))
            }
            Self::DaysOpen { from, to } => {
                write!(f, "the hub has not closed {} to {}", date_of_day(*from), date_of_day(*to))
            }
            Self::AgencyNotProven { day, problem } => {
                write!(f, "what the digest of {} says about the agency: {problem}", date_of_day(*day))
            }
            Self::LeafForeign { leaf, problem } => write!(f, "leaf {leaf}: {problem}"),
            Self::NumberMissing { counting, first, last } if first == last => {
                write!(f, "number {first} of what it {counting} is missing")
            }
            Self::NumberMissing { counting, first, last } => {
                write!(f, "numbers {first} to {last} of what it {counting} are missing")
            }
            Self::NumberWrong { counting, number, leaf } => {
                write!(f, "leaf {leaf}: number {number} of what it {counting} does not follow the one before")
            }
            Self::CountDiffers { day, field, said, found } => {
                let date = date_of_day(*day);
                write!(f, "{date}: the digest says {field} {said}, the evidence gives {found}")
            }
            Self::RootDiffers { day } => {
                write!(f, "{}: the evidence has another root than the digest", date_of_day(*day))
            }
            Self::LeavesNotProven { day } => {
                write!(f, "{}: the evidence is not at these places of the log", date_of_day(*day))
            }
        }
    }
}
