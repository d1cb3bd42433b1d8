//! `truc verify` of a completeness file, and the verdict of `truc audit complete`.

mod inbox;
mod words;

use std::path::Path;

use serde::Serialize;

pub use self::inbox::Inbox;
use self::{inbox::Compared, words::Words};
use super::{
    docproof::Language,
    trusted::{Given, tell_quorum},
};
use crate::{
    cli::{Exit, Failure, Output, files::FileError, receipt_files, table::table},
    daily,
    proto::{AgencyDay, Deliveries},
    verify::{
        Trusted,
        completeness::{self, Answer, CompletenessError, Gap, MAGIC, MAX_FILE},
    },
};

/// Gaps that are told one by one.
const MAX_TOLD: usize = 1_000;

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Nothing is missing, and that is proven.
    Complete,
    /// Something is missing.
    Incomplete,
    /// The file says nothing.
    NotProven,
}

/// The answer for people and scripts.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The verdict.
    pub verdict: Verdict,
    /// True for `COMPLETE` alone, where the inbox agrees if one was given.
    pub ok: bool,
    /// The verdict in a sentence.
    pub sentence: String,
    /// What is missing, all of it up to a thousand.
    pub gaps: Vec<ToldGap>,
    /// How many there are.
    pub gap_count: usize,
    /// The part of the file that is wrong.
    pub place: Option<&'static str>,
    /// Whose evidence.
    pub agency: String,
    /// First day.
    pub from: String,
    /// Last day.
    pub to: String,
    /// Leaves that were checked.
    pub leaves: u64,
    /// Size of the tree in which all is proven.
    pub tree_size: u64,
    /// What the hub signed of each day.
    pub days: Vec<ToldDay>,
    /// The own folder against it.
    pub inbox: Option<Compared>,
    /// What is proven, in words.
    pub proven: Vec<String>,
    /// What is not proven, in words.
    pub not_proven: Vec<String>,
    #[serde(skip)]
    headings: [&'static str; 4],
}

/// One thing that is missing.
#[derive(Debug, Serialize)]
pub struct ToldGap {
    /// A stable word.
    pub code: &'static str,
    /// What is missing.
    pub detail: String,
}

/// One day.
#[derive(Debug, Serialize)]
pub struct ToldDay {
    /// The date.
    pub day: String,
    /// Leaf of the digest.
    pub digest: u64,
    /// All evidence of the agency.
    pub evidence: u64,
    /// RFC 6962 root over it.
    pub root: String,
    /// Documents and additions sent.
    pub sent: u64,
    /// Their numbers, first and last.
    pub sent_numbers: [u64; 2],
    /// Numbers of what was received, first and last.
    pub received_numbers: [u64; 2],
    /// Submissions refused by the hub.
    pub rejected: u64,
    /// Deliveries sent.
    pub outgoing: ToldDeliveries,
    /// Deliveries to it.
    pub incoming: ToldDeliveries,
}

/// Deliveries of one day.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // as in the proto
pub struct ToldDeliveries {
    pub consigned: u64,
    pub handed_over: u64,
    pub refused: u64,
    pub returned: u64,
    pub expired: u64,
    pub cancelled: u64,
    pub pending: u64,
}

/// Whether this is such a file, by its first bytes.
pub fn is_one(path: &Path) -> Result<bool, FileError> {
    if path.is_dir() {
        return Ok(false);
    }
    super::folder::starts_with(path, MAGIC)
}

/// Verifies the file and prints the verdict.
pub fn run(path: &Path, given: Given, language: Language, output: &Output) -> Result<(), Failure> {
    let file = bytes::Bytes::from(receipt_files::read_bytes(path, MAX_FILE)?);
    if given.keys.is_empty() {
        return Err(Failure::new(Exit::Usage, "no trusted key of a hub").with_help(
            "give a file with the keys that the hub published, one a line, with --trust, or one key with --vkey",
        ));
    }
    judge(&file, &given.trusted()?, None, language, output)
}

/// Checks the bytes of a file, and an own folder against it, and prints the verdict.
pub fn judge(
    file: &bytes::Bytes,
    trusted: &Trusted,
    inbox: Option<&Inbox>,
    language: Language,
    output: &Output,
) -> Result<(), Failure> {
    let words = Words(language);
    let told = match completeness::completeness(file, trusted) {
        Ok(answer) => Told::of(&answer, inbox.map(|inbox| inbox.compare(&answer)), &words),
        Err(error) => Told::fault(&error, &words),
    };
    output.print(&told, Told::to_text);
    if told.ok {
        return Ok(());
    }
    let short = match told.verdict {
        Verdict::Complete => "the folder and the hub's log differ",
        Verdict::Incomplete => "not complete",
        Verdict::NotProven => "not proven",
    };
    Err(Failure::new(Exit::Refused, short))
}

impl Told {
    fn of(answer: &Answer, inbox: Option<Compared>, words: &Words) -> Self {
        let verdict = if answer.is_complete() { Verdict::Complete } else { Verdict::Incomplete };
        let mut proven = if answer.is_complete() { words.proven(answer) } else { Vec::new() };
        let mut not_proven = words.not_proven(answer);
        tell_quorum(answer.quorum.as_deref(), words.0, &mut proven, &mut not_proven);
        Self {
            verdict,
            ok: answer.is_complete() && inbox.as_ref().is_none_or(Compared::agrees),
            sentence: words.verdict(answer),
            gaps: answer.gaps.iter().take(MAX_TOLD).map(|gap| ToldGap::of(gap, words)).collect(),
            gap_count: answer.gaps.len(),
            place: None,
            agency: answer.agency.clone(),
            from: daily::date(answer.days.0),
            to: daily::date(answer.days.1),
            leaves: answer.leaves,
            tree_size: answer.checkpoint.size,
            days: answer.closed.iter().map(|day| ToldDay::of(day.day, day.digest, &day.said)).collect(),
            inbox: inbox.map(|inbox| Compared { heading: words.inbox().to_owned(), ..inbox }),
            proven,
            not_proven,
            headings: words.headings(),
        }
    }

    fn fault(error: &CompletenessError, words: &Words) -> Self {
        Self {
            verdict: Verdict::NotProven,
            ok: false,
            sentence: words.fault(error),
            gaps: Vec::new(),
            gap_count: 0,
            place: Some(error.place.code()),
            agency: String::new(),
            from: String::new(),
            to: String::new(),
            leaves: 0,
            tree_size: 0,
            days: Vec::new(),
            inbox: None,
            proven: Vec::new(),
            not_proven: Vec::new(),
            headings: words.headings(),
        }
    }

    fn to_text(&self) -> String {
        let [gaps, days, proven, open] = self.headings;
        let mut told: Vec<String> = self.gaps.iter().map(|gap| gap.detail.clone()).collect();
        if self.gap_count > told.len() {
            told.push(format!("… (+{})", self.gap_count - told.len()));
        }
        let rows = self.days.iter().map(ToldDay::row);
        let table = match self.days.is_empty() {
            true => String::new(),
            false => {
                let heads = ["", "sent", "received", "taken", "refused", "expired", "pending", "root"];
                table(heads).add_rows(rows).to_string()
            }
        };
        let mut text = format!("{}\n", self.sentence);
        let mut section = |heading: &str, lines: &[String], mark: &str| {
            if !lines.is_empty() {
                text += &format!("\n{heading}\n");
                lines.iter().for_each(|line| text += &format!("{mark}{line}\n"));
            }
        };
        section(gaps, &told, "- ");
        section(days, &table.lines().map(str::to_owned).collect::<Vec<_>>(), "");
        if let Some(inbox) = &self.inbox {
            section(&inbox.heading, &inbox.lines(), "- ");
        }
        section(proven, &self.proven, "- ");
        section(open, &self.not_proven, "- ");
        text
    }
}

impl ToldGap {
    fn of(gap: &Gap, words: &Words) -> Self {
        Self { code: gap.code(), detail: words.gap(gap) }
    }
}

impl ToldDay {
    fn of(day: u32, digest: u64, said: &AgencyDay) -> Self {
        Self {
            day: daily::date(day),
            digest,
            evidence: said.evidence,
            root: hex::encode(&said.root),
            sent: said.sent,
            sent_numbers: [said.sent_first, said.sent_last],
            received_numbers: [said.received_first, said.received_last],
            rejected: said.rejected,
            outgoing: ToldDeliveries::of(said.outgoing),
            incoming: ToldDeliveries::of(said.incoming),
        }
    }

    fn row(&self) -> Vec<String> {
        let numbered = |count: u64, [first, last]: [u64; 2]| match first {
            0 => count.to_string(),
            _ => format!("{count} (no. {first}-{last})"),
        };
        let both =
            |of: fn(&ToldDeliveries) -> u64| format!("{} / {}", of(&self.outgoing), of(&self.incoming));
        vec![
            self.day.clone(),
            numbered(self.sent, self.sent_numbers),
            numbered(self.incoming.consigned, self.received_numbers),
            both(|of| of.handed_over),
            both(|of| of.refused + of.returned),
            both(|of| of.expired),
            both(|of| of.pending),
            self.root.chars().take(16).collect(),
        ]
    }
}

impl ToldDeliveries {
    fn of(of: Option<Deliveries>) -> Self {
        let of = of.unwrap_or_default();
        Self {
            consigned: of.consigned,
            handed_over: of.handed_over,
            refused: of.refused,
            returned: of.returned,
            expired: of.expired,
            cancelled: of.cancelled,
            pending: of.pending,
        }
    }
}
