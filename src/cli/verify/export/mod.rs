//! `truc verify EXPORT`: whether a file of rows is what the log says.

mod answer;
mod compare;
mod rows;
#[cfg(test)]
mod tests;
mod words;
mod xlsx;

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;

use self::{
    answer::{Answer, Outcome},
    compare::Compare,
    rows::Rows,
};
use super::docproof::Language;
use crate::{
    cli::{
        Exit, Failure, Output,
        audit::{
            export::{CHECKPOINT, PROOF},
            row::Row,
        },
        files::{self, FileError},
        table::row_bar,
    },
    tlog::keys::Trust,
    verify::{
        Trusted,
        export::{Checker, ExportError, Items, MAGIC, Place, Proven},
    },
};

/// Endings of exports.
const ENDINGS: [&str; 3] = ["csv", "jsonl", "xlsx"];
/// Largest checkpoint.
const MAX_NOTE: u64 = 64 * 1024;

/// How to verify an export.
pub struct How<'a> {
    /// What the reader trusts.
    pub trusted: &'a Trusted,
    /// A checkpoint that the reader holds; the export has to be of its tree.
    pub checkpoint: Option<&'a Path>,
    /// Any form of the file will do, as long as its rows are right.
    pub resaved: bool,
    /// Language of the verdict.
    pub language: Language,
}

/// The export that is meant, if it is one: the path may also name its proof.
pub fn recognise(path: &Path) -> Result<Option<PathBuf>, FileError> {
    if path.is_dir() {
        return Ok(None);
    }
    if super::folder::starts_with(path, MAGIC)? {
        return Ok(Some(path.with_extension("")));
    }
    let has_ending = path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known));
    Ok((has_ending || path.with_added_extension(PROOF).exists()).then(|| path.to_owned()))
}

/// Verifies the export and prints the verdict.
pub fn run(path: &Path, how: &How<'_>, output: &Output) -> Result<(), Failure> {
    let proof = path.with_added_extension(PROOF);
    if !proof.exists() {
        let problem = format!("{}: the proof of the export is not there", proof.display());
        return Err(Failure::new(Exit::File, problem)
            .with_help("keep the file that truc audit export wrote beside it, or export again"));
    }
    let bar = row_bar(0);
    let outcome = check(path, &proof, how, &bar);
    bar.finish_and_clear();
    let answer = Answer::of(path, outcome?, how.language);
    output.print(&answer, Answer::to_text);
    if answer.ok { Ok(()) } else { Err(Failure::new(Exit::Refused, "not proven")) }
}

fn check(path: &Path, proof: &Path, how: &How<'_>, bar: &ProgressBar) -> Result<Outcome, Failure> {
    let file = File::open(proof).map_err(FileError::io(proof))?;
    let (mut items, head) = match Items::open(BufReader::new(file)) {
        Ok(opened) => opened,
        Err(error) => return Ok(Outcome::broken(error)),
    };
    if how.trusted.logs().is_empty() {
        return Err(no_trust(&head.verifier_key));
    }
    let note = head.checkpoint.clone();
    let checker = match Checker::begin(head, how.trusted) {
        Ok(checker) => checker,
        Err(error) => return Ok(Outcome::broken(error)),
    };
    if let Some(problem) = other_checkpoint(path, how, &note, &checker)? {
        return Ok(Outcome::broken(ExportError { place: Place::Checkpoint, problem }));
    }
    bar.set_length(checker.leaves());
    let mut compare = Compare::new(Rows::open(path)?);
    let proven = match replay(&mut items, checker, &mut compare, bar) {
        Ok(proven) => proven,
        Err(Stop::Proof(error)) => {
            return Ok(Outcome { faults: compare.faults, problem: Some(error), proven: None });
        }
        Err(Stop::File(failure)) => return Err(failure),
    };
    let end = items.end();
    let (rows, written) = end.map_or((0, &[][..]), |end| (end.rows, &end.file_sha256[..]));
    let problem = (rows != proven.rows).then(|| ExportError {
        place: Place::File,
        problem: format!("its end tells of {rows} rows, it holds {}", proven.rows),
    });
    if compare.faults.is_empty() && !how.resaved && files::digest(path, |_| {})?.as_bytes()[..] != *written {
        compare.faults.other_form();
    }
    Ok(Outcome { faults: compare.faults, problem, proven: Some(proven) })
}

/// Why the comparison ended early.
enum Stop {
    Proof(ExportError),
    File(Failure),
}

impl From<ExportError> for Stop {
    fn from(error: ExportError) -> Self {
        Self::Proof(error)
    }
}

fn replay<R: std::io::BufRead>(
    items: &mut Items<R>,
    mut checker: Checker,
    compare: &mut Compare,
    bar: &ProgressBar,
) -> Result<Proven, Stop> {
    let from = checker.next();
    while let Some(item) = items.read()? {
        if let Some(row) = checker.take(item)? {
            compare.expect(&Row::from(row)).map_err(Stop::File)?;
        }
        bar.set_position(checker.next() - from);
    }
    let proven = checker.end()?;
    compare.end().map_err(Stop::File)?;
    Ok(proven)
}

/// What is wrong with the checkpoint, as far as others are at hand: the one beside the file, and one that the reader
/// holds.
fn other_checkpoint(
    path: &Path,
    how: &How<'_>,
    note: &str,
    checker: &Checker,
) -> Result<Option<String>, Failure> {
    let beside = path.with_added_extension(CHECKPOINT);
    if beside.exists() {
        let mut text = Vec::new();
        let file = File::open(&beside).map_err(FileError::io(&beside))?;
        file.take(MAX_NOTE).read_to_end(&mut text).map_err(FileError::io(&beside))?;
        if text != note.as_bytes() {
            return Ok(Some(format!("{} holds another checkpoint than the proof", beside.display())));
        }
    }
    let Some(held) = how.checkpoint else { return Ok(None) };
    let text = files::read_text(held, MAX_NOTE)?;
    let opened = checker.keys().open(&text).or_else(|_| how.trusted.logs().open(&text));
    let Ok(opened) = opened else {
        return Ok(Some(format!("{} is not signed by a trusted key", held.display())));
    };
    let own = checker.checkpoint();
    if opened == *own {
        return Ok(None);
    }
    let (origin, size) = (&own.origin, own.size);
    Ok(Some(format!(
        "the export is of {origin} at {size} leaves, {} is of {} at {} leaves{}",
        held.display(),
        opened.origin,
        opened.size,
        if opened.size == size { ", with another root" } else { "" },
    )))
}

fn no_trust(named: &str) -> Failure {
    Failure::new(Exit::Usage, "no trusted key of a hub").with_help(format!(
        "give a file with the keys that the hub published, one a line, with --trust, or one key with --vkey; the proof \
         names {named}, to be compared with it"
    ))
}
