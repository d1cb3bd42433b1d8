//! `truc verify FILE.docproof`: the story of one document, for a lawyer.

mod certificate;
mod facts;
mod recipients;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::{facts::Told, words::Words};
use crate::{
    cli::{
        Exit, Failure, Output,
        files::{self, FileError},
        receipt_files,
    },
    tlog::{note::Verifier, policy::Policy},
    verify::docproof::{self, DocProofError, MAGIC, MAX_FILE, Proven},
};

/// Ending of these files.
pub const ENDING: &str = "docproof";
/// Largest file with trusted keys.
const MAX_TRUST: u64 = 256 * 1024;

/// Language of the verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Vietnamese.
    Vi,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// Everything was checked, and all recipients are in the file.
    Proven,
    /// What is in the file is proven, but recipients are missing.
    Incomplete,
    /// Something is wrong.
    NotProven,
}

/// Answer for one file.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// True for `PROVEN` alone.
    pub ok: bool,
    /// The verdict in a sentence.
    pub sentence: String,
    /// What is wrong.
    pub problem: Option<Problem>,
    /// What is proven, as data.
    pub facts: Option<Told>,
    /// What is proven, in words.
    pub proven: Vec<String>,
    /// What is not proven, in words.
    pub not_proven: Vec<String>,
    /// The printed certificate, where one was asked for.
    pub certificate: Option<PathBuf>,
    #[serde(skip)]
    table: String,
    #[serde(skip)]
    headings: [&'static str; 3],
}

/// The first thing that is wrong.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// Stable word for the part of the file.
    pub place: &'static str,
    /// Leaf, where one is wrong.
    pub leaf: Option<u64>,
    /// What is wrong, in English.
    pub detail: String,
}

/// Whether this is such a file, by its name or its first bytes.
pub fn is_one(path: &Path) -> Result<bool, FileError> {
    if path.is_dir() {
        return Ok(false);
    }
    Ok(path.extension().is_some_and(|ending| ending == ENDING) || super::folder::starts_with(path, MAGIC)?)
}

/// Reads the keys that the reader trusts: one verifier key a line; empty lines and lines with `#` are skipped.
pub fn read_trust(path: &Path) -> Result<Vec<Verifier>, FileError> {
    let text = files::read_text(path, MAX_TRUST)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|line| {
        Verifier::parse(line).map_err(|error| FileError::content(path, format!("{error}: {line:?}")))
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(FileError::content(path, "holds no verifier key"));
    }
    Ok(keys)
}

/// Verifies the file and prints the verdict.
///
/// With a path for a certificate, prints that too, if everything that is in the file is proven.
pub fn run(
    path: &Path,
    trusted: &[Verifier],
    policy: Option<&Policy>,
    language: Language,
    pdf: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let file = bytes::Bytes::from(receipt_files::read_bytes(path, MAX_FILE)?);
    if trusted.is_empty() {
        return Err(no_trust(&file));
    }
    let outcome = docproof::docproof_by(&file, trusted, policy);
    let certificate = match (pdf, &outcome) {
        (Some(pdf), Ok(proven)) => Some(print(proven, language, path, pdf)?),
        _ => None,
    };
    let answer = Answer { certificate, ..Answer::of(outcome, language) };
    output.print(&answer, Answer::to_text);
    if answer.ok {
        return Ok(());
    }
    let short = if answer.verdict == Verdict::Incomplete { "the file is not complete" } else { "not proven" };
    Err(Failure::new(Exit::Refused, short))
}

/// Writes the certificate; where.
pub fn print(proven: &Proven, language: Language, file: &Path, pdf: &Path) -> Result<PathBuf, Failure> {
    let words = Words(language);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let bytes = words.certificate(proven, &words.verdict(proven), &name);
    let bytes = bytes.ok_or_else(|| Failure::new(Exit::File, "the certificate can't be printed"))?;
    files::replace(pdf, &bytes)?;
    Ok(pdf.to_owned())
}

fn no_trust(file: &bytes::Bytes) -> Failure {
    let named = docproof::decode(file).map(|proof| proof.verifier_key);
    let named =
        named.map_or_else(|_| String::new(), |key| format!("; the file names {key}, to be compared with it"));
    Failure::new(Exit::Usage, "no trusted key of a hub").with_help(format!(
        "give a file with the keys that the hub published, one a line, with --trust, or one key with --vkey{named}"
    ))
}

impl Answer {
    /// The answer in a language.
    pub fn of(outcome: Result<Proven, DocProofError>, language: Language) -> Self {
        let words = Words(language);
        match outcome {
            Ok(proven) => Self::good(&proven, &words),
            Err(error) => Self::bad(&error, &words),
        }
    }

    fn good(proven: &Proven, words: &Words) -> Self {
        let verdict = if proven.missing() == 0 { Verdict::Proven } else { Verdict::Incomplete };
        Self {
            verdict,
            ok: verdict == Verdict::Proven,
            sentence: words.verdict(proven),
            problem: None,
            facts: Some(Told::of(proven)),
            proven: words.proven(proven),
            not_proven: words.not_proven(proven),
            certificate: None,
            table: words.table(proven),
            headings: words.headings(),
        }
    }

    fn bad(error: &DocProofError, words: &Words) -> Self {
        let leaf = match error.place {
            docproof::Place::Leaf(leaf) => Some(leaf),
            _ => None,
        };
        let problem = Problem { place: error.place.code(), leaf, detail: error.problem.clone() };
        Self {
            verdict: Verdict::NotProven,
            ok: false,
            sentence: words.fault(error),
            problem: Some(problem),
            facts: None,
            proven: Vec::new(),
            not_proven: Vec::new(),
            certificate: None,
            table: String::new(),
            headings: words.headings(),
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.sentence);
        let [proven, recipients, open] = self.headings;
        let table: Vec<String> = self.table.lines().map(str::to_owned).collect();
        for (heading, lines, mark) in
            [(proven, &self.proven, "- "), (recipients, &table, ""), (open, &self.not_proven, "- ")]
        {
            if lines.is_empty() {
                continue;
            }
            text += &format!("\n{heading}\n");
            for line in lines {
                text += &format!("{mark}{line}\n");
            }
        }
        if let Some(certificate) = &self.certificate {
            text += &format!("\n{}\n", certificate.display());
        }
        text
    }
}
