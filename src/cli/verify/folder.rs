//! The files: pairs, receipts, and the folder of a document.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use prost::Message;

use super::report::Report;
use crate::{
    cli::{
        Failure,
        files::{self, FileError},
        receipt_files::{EVIDENCE, RECEIPT, TLOG_PROOF, read_bytes},
    },
    client::{
        folder::{ACCEPTANCE, ENVELOPE, HANDOVER, MANIFEST, PARTS, part_names},
        readable,
    },
    domain::id::Digest,
    proto::{Manifest, Outcome, Receipt, SignedEnvelope},
    tlog::proof::MAX_PROOF,
    verify::{self, Facts, FoundPart, Trusted, VerifyError},
};

/// Largest file with a receipt: leaf, checkpoint, path.
const MAX_RECEIPT: usize = 256 * 1024;
/// Largest file with an envelope: payload and signatures.
const MAX_ENVELOPE: usize = 3 * 1024 * 1024;
/// Largest manifest for people: each byte of an envelope may take six.
const MAX_VIEW: usize = 8 * MAX_ENVELOPE;
const MAX_LEAF: usize = 65_535;

/// Why a file proves nothing.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error("not a {0}")]
    Message(&'static str),
    #[error("holds bytes that are not part of the {0}")]
    Surplus(&'static str),
    #[error("says something else than the signed manifest")]
    View,
}

/// Verifies `BASE.evidence` with `BASE.tlog-proof`.
pub fn pair(base: &Path, trust: &Trusted, report: &mut Report) {
    let outcome = read_pair(base, trust);
    report.proof(&shown(base), outcome);
}

/// Verifies a serialized `Receipt`.
pub fn receipt(path: &Path, trust: &Trusted, report: &mut Report) -> Option<Facts> {
    let outcome = read_receipt(path, trust);
    report.proof(&shown(path), outcome)
}

/// Verifies all pairs and receipts in a folder. Other files are not looked at.
pub fn proofs(dir: &Path, trust: &Trusted, report: &mut Report) -> Result<(), Failure> {
    let (mut pairs, mut receipts) = (BTreeSet::new(), BTreeSet::new());
    for path in list(dir)? {
        let ending = path.extension().unwrap_or_default();
        if ending == EVIDENCE || ending == TLOG_PROOF {
            pairs.insert(path.with_extension(""));
        } else if ending == RECEIPT {
            receipts.insert(path);
        }
    }
    pairs.iter().for_each(|base| pair(base, trust, report));
    receipts.iter().for_each(|path| _ = receipt(path, trust, report));
    Ok(())
}

/// Verifies the folder of a document.
pub fn document(dir: &Path, trust: &Trusted, report: &mut Report) {
    let acceptance = receipt(&dir.join(ACCEPTANCE), trust, report);
    let handover = match dir.join(HANDOVER) {
        path if path.exists() => receipt(&path, trust, report),
        _ => {
            report.not_proven("That the recipient took it over.");
            None
        }
    };
    let Some(acceptance) = acceptance else { return };
    envelope(dir, &acceptance, report);
    if let Some(end) = handover {
        let outcome = verify::handover(&end, &acceptance);
        report.check("recipient's receipt", outcome, |said| match said.outcome() {
            Outcome::Refused => format!("{} refuses this document", said.recipient),
            _ => format!("{} took this document over", said.recipient),
        });
    }
}

fn envelope(dir: &Path, acceptance: &Facts, report: &mut Report) {
    let read = read_message::<SignedEnvelope>(&dir.join(ENVELOPE), MAX_ENVELOPE, "signed envelope");
    let checked = read.and_then(|envelope| {
        let manifest = verify::manifest(&envelope, acceptance)?;
        Ok((envelope, manifest))
    });
    let said = |_: &(SignedEnvelope, Manifest)| "is the one that the hub accepted".to_owned();
    let Some((envelope, manifest)) = report.check(ENVELOPE, checked, said) else { return };
    let view = dir.join(MANIFEST);
    if view.exists() {
        report
            .check(MANIFEST, check_view(&view, &envelope, &manifest), |()| "says what was signed".to_owned());
    }
    report.signed_message("the document's envelope", envelope);
    let outcome = found_parts(&dir.join(PARTS), &manifest)
        .and_then(|found| verify::parts(&manifest, found).map_err(Problem::from));
    let count = manifest.parts.len();
    if report.check(PARTS, outcome, |()| format!("{count} attachments, each as signed")).is_some() {
        report.proven(format!(
            "The document in this folder, with its {count} attachments, is byte for byte the one that the hub accepted."
        ));
    }
}

/// Whether a file begins with these bytes.
pub fn starts_with(path: &Path, mark: &[u8]) -> Result<bool, FileError> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(FileError::io(path))?;
    file.take(mark.len() as u64).read_to_end(&mut head).map_err(FileError::io(path))?;
    Ok(head == mark)
}

fn read_pair(base: &Path, trust: &Trusted) -> Result<Facts, Problem> {
    let leaf = read_bytes(&base.with_added_extension(EVIDENCE), MAX_LEAF)?;
    let proof = files::read_text(&base.with_added_extension(TLOG_PROOF), MAX_PROOF as u64)?;
    Ok(verify::evidence_with_proof(&leaf, &proof, trust)?)
}

fn read_receipt(path: &Path, trust: &Trusted) -> Result<Facts, Problem> {
    let receipt: Receipt = read_message(path, MAX_RECEIPT, "receipt")?;
    Ok(verify::receipt(&receipt, trust)?)
}

/// Reads a message that fills its file. What prost would silently drop is refused, so that every byte counts.
fn read_message<M: Message + Default>(path: &Path, limit: usize, what: &'static str) -> Result<M, Problem> {
    let bytes = read_bytes(path, limit)?;
    let message = M::decode(&bytes[..]).map_err(|_| Problem::Message(what))?;
    if message.encode_to_vec() != bytes {
        return Err(Problem::Surplus(what));
    }
    Ok(message)
}

/// The manifest for people is written from the signed one: the same words, or it was changed.
fn check_view(path: &Path, envelope: &SignedEnvelope, manifest: &Manifest) -> Result<(), Problem> {
    let view = readable::manifest(manifest, &Digest::of(&envelope.payload));
    let view = serde_json::to_vec_pretty(&view).map_err(|_| Problem::View)?;
    if read_bytes(path, MAX_VIEW)? != view {
        return Err(Problem::View);
    }
    Ok(())
}

/// The attachments, hashed, under their names in the manifest. A file that stands for none keeps its own name.
fn found_parts(dir: &Path, manifest: &Manifest) -> Result<Vec<FoundPart>, Problem> {
    if manifest.parts.is_empty() && !dir.exists() {
        return Ok(Vec::new());
    }
    let files = part_names(&manifest.parts);
    let name_of = |file: String| match files.iter().position(|name| *name == file) {
        Some(at) => manifest.parts[at].name.clone(),
        None => format!("{PARTS}/{file}"),
    };
    let found = list(dir)?.into_iter().map(|path| hash(&path, name_of(shown(&path))));
    Ok(found.collect::<Result<_, _>>()?)
}

fn hash(path: &Path, name: String) -> Result<FoundPart, FileError> {
    let mut size = 0;
    let sha256 = files::digest(path, |count| size += count)?;
    Ok(FoundPart { name, size, sha256 })
}

/// Paths in a folder, in their order.
fn list(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = std::fs::read_dir(dir).map_err(FileError::io(dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(FileError::io(dir))?;
    paths.sort();
    Ok(paths)
}

/// File name as it is shown.
fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
