//! `truc verify` of a proof that a log continues, and the verdict of `truc audit consistency`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{docproof::Language, trusted::Given};
use crate::{
    cli::{
        Exit, Failure, Output,
        files::{self, FileError},
        receipt_files,
    },
    tlog::{
        checkpoint::Checkpoint,
        note::MAX_NOTE,
        witness::{AddCheckpoint, MAX_REQUEST},
    },
    verify::consistency::{self, History, Judged},
};

/// Ending of the older checkpoint beside a proof.
pub const OLD: &str = "old";

/// The answer for people and scripts.
#[derive(Debug, Serialize)]
pub struct Told {
    /// `SAME_HISTORY`, `FORKED`, `WENT_BACK`, `OTHER_LOG`.
    pub verdict: &'static str,
    /// True for `SAME_HISTORY` alone.
    pub ok: bool,
    /// The verdict in a sentence.
    pub sentence: String,
    old: ToldHead,
    new: ToldHead,
    /// The proof and the older checkpoint, where they were written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<PathBuf>,
}

/// A head.
#[derive(Debug, Serialize)]
pub struct ToldHead {
    origin: String,
    size: u64,
    root: String,
}

impl ToldHead {
    /// The head in words that are safe to compare.
    pub fn of(head: &Checkpoint) -> Self {
        Self { origin: head.origin.clone(), size: head.size, root: hex::encode(head.root) }
    }
}

/// Whether this is such a file: a C2SP tlog-witness request.
pub fn is_one(path: &Path) -> Result<bool, FileError> {
    if path.is_dir() || !super::folder::starts_with(path, b"old ")? {
        return Ok(false);
    }
    let text = receipt_files::read_bytes(path, MAX_REQUEST)?;
    Ok(str::from_utf8(&text).is_ok_and(|text| AddCheckpoint::parse(text).is_ok()))
}

/// Where the older checkpoint of a proof lies.
pub fn beside(proof: &Path) -> PathBuf {
    proof.with_added_extension(OLD)
}

/// Verifies the file and prints the verdict. `held` is the older checkpoint, if it is not beside the file.
pub fn run(
    path: &Path,
    held: Option<&Path>,
    given: Given,
    language: Language,
    output: &Output,
) -> Result<(), Failure> {
    if given.keys.is_empty() {
        return Err(Failure::new(Exit::Usage, "no trusted key of a hub").with_help(
            "give a file with the keys that the hub published, one a line, with --trust, or one key with --vkey",
        ));
    }
    let old = held.map_or_else(|| beside(path), Path::to_owned);
    if !old.exists() {
        let problem = format!("{}: the older checkpoint is not there", old.display());
        return Err(Failure::new(Exit::File, problem).with_help(
            "name the checkpoint that you hold with --checkpoint: the proof shows that it is continued",
        ));
    }
    let proof = files::read_text(path, MAX_REQUEST as u64)?;
    let old = files::read_text(&old, MAX_NOTE as u64)?;
    let trusted = given.trusted()?;
    let judged = consistency::file(&proof, &old, trusted.logs(), &trusted)
        .map_err(|error| Failure::new(Exit::Refused, format!("not proven: {error}")))?;
    tell(&judged, Vec::new(), language, output)
}

/// Prints the verdict, and ends with 1 for a log that broke its promise.
pub fn tell(
    judged: &Judged,
    files: Vec<PathBuf>,
    language: Language,
    output: &Output,
) -> Result<(), Failure> {
    let told = Told {
        verdict: judged.history.code(),
        ok: judged.history == History::Same,
        sentence: sentence(judged, language),
        old: ToldHead::of(&judged.old),
        new: ToldHead::of(&judged.new),
        files,
    };
    output.print(&told, Told::to_text);
    if told.ok {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, told.verdict)
        .with_help("Keep both checkpoints: they are the evidence. Show them to the log's operator and to other auditors."))
}

fn sentence(judged: &Judged, language: Language) -> String {
    let (from, to, origin) = (judged.old.size, judged.new.size, &judged.old.origin);
    let (other, words) = (&judged.new.origin, Words(language));
    match judged.history {
        History::Same => say!(
            words,
            "SAME HISTORY. The log {origin} of {to} leaves contains the log of {from} leaves: nothing in it was changed or \
             taken back.",
            "CÙNG MỘT LỊCH SỬ. Sổ nhật ký {origin} với {to} bản ghi chứa trọn sổ nhật ký với {from} bản ghi: không bản ghi \
             nào bị sửa hay bị rút lại.",
        ),
        History::Forked => say!(
            words,
            "FORKED. The signed log {origin} of {to} leaves is not shown to contain the signed log of {from} leaves: these are \
             two histories.",
            "LỊCH SỬ BỊ RẼ NHÁNH. Không chứng minh được sổ nhật ký {origin} với {to} bản ghi chứa sổ nhật ký đã ký với {from} \
             bản ghi: đây là hai lịch sử khác nhau.",
        ),
        History::WentBack => say!(
            words,
            "WENT BACK. The log {origin} had {from} leaves by its own signature, and now has {to}.",
            "LỊCH SỬ BỊ QUAY LUI. Sổ nhật ký {origin} đã ký {from} bản ghi, nay chỉ còn {to}.",
        ),
        History::OtherLog => say!(
            words,
            "OTHER LOG. One checkpoint is of {origin}, the other of {other}: there is nothing to compare.",
            "KHÁC SỔ NHẬT KÝ. Một điểm kiểm là của {origin}, điểm kiểm kia của {other}: không thể so sánh.",
        ),
    }
}

struct Words(Language);

impl Told {
    fn to_text(&self) -> String {
        let line = |what, head: &ToldHead| format!("{what} {} leaves, root {}\n", head.size, head.root);
        let mut text = format!("{}\n{}{}", self.sentence, line("old", &self.old), line("new", &self.new));
        if let Some(proof) = self.files.first() {
            text += &format!("Check it anywhere: truc verify {} --trust KEYS\n", proof.display());
        }
        text
    }
}
