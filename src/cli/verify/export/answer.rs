//! The answer for one export.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    compare::{Fault, Faults},
    words::Words,
};
use crate::{
    cli::verify::{docproof::Language, trusted::tell_quorum},
    verify::export::{ExportError, Place, Proven},
};

/// What the check found out.
pub struct Outcome {
    /// What is wrong with the file.
    pub faults: Faults,
    /// What is wrong with the proof.
    pub problem: Option<ExportError>,
    /// What the proof proves, where it holds.
    pub proven: Option<Proven>,
}

impl Outcome {
    /// The proof is wrong from the beginning.
    pub fn broken(error: ExportError) -> Self {
        Self { faults: Faults::default(), problem: Some(error), proven: None }
    }
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// No row was added or altered, and none was left out.
    Proven,
    /// No row was added or altered; whether one was left out, the proof does not show.
    RowsProven,
    /// Something is wrong.
    NotProven,
}

/// Answer for one export.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// False for `NOT_PROVEN` alone.
    pub ok: bool,
    /// The verdict in a sentence.
    pub sentence: String,
    file: PathBuf,
    /// What the proof is of, where it holds.
    facts: Option<Facts>,
    /// What is wrong with the proof.
    problem: Option<Problem>,
    /// The first faults of the file.
    pub faults: Vec<Fault>,
    fault_count: u64,
    /// What is proven, in words.
    pub proven: Vec<String>,
    /// What is not proven, in words.
    pub not_proven: Vec<String>,
    #[serde(skip)]
    fault_lines: Vec<String>,
    #[serde(skip)]
    headings: [&'static str; 3],
}

#[derive(Debug, Serialize)]
struct Facts {
    hub: String,
    verifier_key: String,
    tree_size: u64,
    root: String,
    from_index: u64,
    rows: u64,
    unfiltered: bool,
    nothing_left_out: bool,
    leaves_by_hash_alone: u64,
    leaves_undecided: u64,
    rows_without_document: u64,
    rows_of_erased_documents: u64,
}

#[derive(Debug, Serialize)]
struct Problem {
    place: &'static str,
    leaf: Option<u64>,
    detail: String,
}

impl Answer {
    /// The answer in a language.
    pub fn of(file: &Path, outcome: Outcome, language: Language) -> Self {
        let words = Words(language);
        let Outcome { faults, problem, proven } = outcome;
        let good = proven.as_ref().filter(|_| faults.is_empty() && problem.is_none());
        let verdict = match good {
            Some(proven) if proven.nothing_left_out() => Verdict::Proven,
            Some(_) => Verdict::RowsProven,
            None => Verdict::NotProven,
        };
        let sentence = match good {
            Some(proven) => words.good(file, proven),
            None => words.bad(file, &faults, problem.as_ref()),
        };
        let mut points = good.map(|proven| words.proven(proven)).unwrap_or_default();
        let mut open = good.map(|proven| words.not_proven(proven)).unwrap_or_default();
        let quorum = good.and_then(|proven| proven.quorum.as_deref());
        tell_quorum(quorum, language, &mut points, &mut open);
        Self {
            verdict,
            ok: verdict != Verdict::NotProven,
            sentence,
            file: file.to_owned(),
            proven: points,
            not_proven: open,
            fault_lines: faults.told.iter().map(|fault| words.fault(fault)).collect(),
            facts: proven.map(Facts::of),
            problem: problem.map(Problem::of),
            fault_count: faults.count,
            faults: faults.told,
            headings: words.headings(),
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.sentence);
        let [faults, proven, open] = self.headings;
        for (heading, lines) in
            [(faults, &self.fault_lines), (proven, &self.proven), (open, &self.not_proven)]
        {
            if lines.is_empty() {
                continue;
            }
            text += &format!("\n{heading}\n");
            lines.iter().for_each(|line| text += &format!("- {line}\n"));
        }
        let more = self.fault_count - self.faults.len() as u64;
        if more > 0 {
            text += &format!("- … (+{more})\n");
        }
        text
    }
}

impl Facts {
    fn of(proven: Proven) -> Self {
        Self {
            nothing_left_out: proven.nothing_left_out(),
            hub: proven.checkpoint.origin,
            verifier_key: proven.verifier.to_string(),
            tree_size: proven.checkpoint.size,
            root: hex::encode(proven.checkpoint.root),
            from_index: proven.filter.from_index,
            rows: proven.rows,
            unfiltered: proven.unfiltered,
            leaves_by_hash_alone: proven.hidden,
            leaves_undecided: proven.undecided,
            rows_without_document: proven.without_document,
            rows_of_erased_documents: proven.erased,
        }
    }
}

impl Problem {
    fn of(error: ExportError) -> Self {
        let leaf = match error.place {
            Place::Leaf(leaf) => Some(leaf),
            _ => None,
        };
        Self { place: error.place.code(), leaf, detail: error.problem }
    }
}
