//! Proofs as files: `NAME.evidence`, `NAME.tlog-proof` and `hub.vkey`, which others can check without this program.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Exit, Failure,
    files::{self, FileError},
};
use crate::{
    client::Terms,
    domain::id::AgencyId,
    proto::Receipt,
    tlog::{
        keys::Trust,
        note::Verifier,
        proof::{MAX_PROOF, TlogProof},
    },
    verify::{self, Facts, VerifyError},
};

/// Ending of the exact leaf.
pub const EVIDENCE: &str = "evidence";
/// Ending of the C2SP proof.
pub const TLOG_PROOF: &str = "tlog-proof";
/// Ending of a serialized `Receipt`.
pub const RECEIPT: &str = "receipt";
/// The hub's C2SP verifier key, once in each folder.
pub const HUB_VKEY: &str = "hub.vkey";

/// Longest verifier key that is read, in bytes: room for long names.
const MAX_VKEY: u64 = 4 * 1024;

/// A pair of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Leaf index.
    pub index: u64,
    /// Event.
    pub event: &'static str,
    /// The exact leaf.
    pub evidence: PathBuf,
    /// Its proof.
    pub tlog_proof: PathBuf,
}

/// The proofs of all changes of the log's key, once in a folder where there was one.
pub const HUB_KEYS: &str = "hub.keys";

/// Puts the hub's key into the folder, which it makes if need be. A different key there is never overwritten.
pub fn write_vkey(folder: &Path, verifier: &Verifier) -> Result<PathBuf, FileError> {
    std::fs::create_dir_all(folder).map_err(FileError::io(folder))?;
    let path = folder.join(HUB_VKEY);
    put(&path, format!("{verifier}\n").as_bytes())?;
    Ok(path)
}

/// The same for a hub whose key may have been changed: an older key of its that stands there stays, with the proofs of the
/// changes beside it.
pub fn write_keys(folder: &Path, terms: &Terms) -> Result<PathBuf, FileError> {
    std::fs::create_dir_all(folder).map_err(FileError::io(folder))?;
    let proofs = &terms.announced.log_keys;
    if !proofs.is_empty() {
        files::replace(&folder.join(HUB_KEYS), proofs.as_bytes())?;
    }
    let path = folder.join(HUB_VKEY);
    let known = read_vkey_file(&path).is_ok_and(|known| terms.keys.contains(&known));
    if known { Ok(path) } else { write_vkey(folder, &terms.verifier) }
}

/// Verifies a receipt and writes its two files. To write it again changes nothing; other content is never overwritten.
pub fn write(folder: &Path, receipt: &Receipt, trust: &(impl Trust + ?Sized)) -> Result<Written, Failure> {
    let facts = verify::receipt(receipt, trust).map_err(|error| {
        Failure::new(Exit::Refused, format!("leaf {} is not proven: {error}", receipt.index))
    })?;
    let (evidence, tlog_proof) = write_at(&folder.join(name(&facts)), receipt, trust)?;
    Ok(Written { index: facts.index(), event: facts.event().as_str_name(), evidence, tlog_proof })
}

/// The same under a name of the caller's choice; returns the paths of leaf and proof.
pub fn write_at(
    base: &Path,
    receipt: &Receipt,
    trust: &(impl Trust + ?Sized),
) -> Result<(PathBuf, PathBuf), Failure> {
    let proof = tlog_proof(receipt)?;
    // As a stranger will read them.
    verify::evidence_with_proof(&receipt.evidence, &proof, trust)?;
    let paths = (base.with_added_extension(EVIDENCE), base.with_added_extension(TLOG_PROOF));
    put(&paths.0, &receipt.evidence)?;
    put(&paths.1, proof.as_bytes())?;
    Ok(paths)
}

/// Such as `000012-SUBMISSION_ACCEPTANCE` or `000013-CONTENT_CONSIGNMENT-000.00.31.H53`.
#[must_use]
pub fn name(facts: &Facts) -> String {
    let mut name = format!("{:06}-{}", facts.index(), facts.event().as_str_name());
    let mut recipients = facts.recipients();
    // What is no identifier has no place in a file name.
    if let (Some(Ok(only)), None) = (recipients.next().map(AgencyId::parse), recipients.next()) {
        name = format!("{name}-{only}");
    }
    name
}

/// The verifier key in a file, or the text itself.
pub fn read_vkey(file_or_text: &str) -> Result<Verifier, Failure> {
    let path = Path::new(file_or_text);
    if !path.exists()
        && let Ok(verifier) = Verifier::parse(file_or_text)
    {
        return Ok(verifier);
    }
    Ok(read_vkey_file(path)?)
}

/// The verifier key in a file: one line, nothing else.
pub fn read_vkey_file(path: &Path) -> Result<Verifier, FileError> {
    let text = files::read_text(path, MAX_VKEY)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Verifier::parse(line).map_err(|error| FileError::content(path, error))
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_bytes(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::io(path))?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(FileError::io(path))?;
    if bytes.len() > limit {
        return Err(FileError::content(path, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The text of the `.tlog-proof` file.
fn tlog_proof(receipt: &Receipt) -> Result<String, VerifyError> {
    let path = receipt.path.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<_>>();
    let path =
        path.ok_or(crate::tlog::proof::ProofError::Malformed("a hash of the path has not 32 bytes"))?;
    let proof = TlogProof { extra: None, index: receipt.index, path, checkpoint: receipt.checkpoint.clone() };
    Ok(proof.encode())
}

/// Writes a file whole, unless these bytes are there already. Other content is never overwritten.
pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if !path.exists() {
        return files::replace(path, bytes);
    }
    match read_bytes(path, MAX_PROOF) {
        Ok(there) if there == bytes => Ok(()),
        Ok(_) | Err(FileError::Content { .. }) => Err(FileError::Exists { path: path.to_owned() }),
        Err(error) => Err(error),
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        Self::new(Exit::Refused, format!("not proven: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::{RECIPIENT, Story};

    #[test]
    fn files_are_named_by_what_they_prove() {
        let (story, folder) = (Story::new(), tempfile::tempdir().unwrap());
        let key = story.verifier();
        write_vkey(folder.path(), &key).unwrap();
        for _ in 0..2 {
            for (receipt, name) in [
                (&story.acceptance, "000001-SUBMISSION_ACCEPTANCE".to_owned()),
                (&story.handover, format!("000003-CONTENT_HANDOVER-{RECIPIENT}")),
            ] {
                let written = write(folder.path(), receipt, &key).unwrap();
                assert_eq!(written.evidence, folder.path().join(format!("{name}.evidence")));
                let proof = std::fs::read_to_string(&written.tlog_proof).unwrap();
                assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nindex "));
                let leaf = std::fs::read(&written.evidence).unwrap();
                assert_eq!(leaf, receipt.evidence);
                assert!(verify::evidence_with_proof(&leaf, &proof, &key).is_ok());
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5);
        assert_eq!(read_vkey_file(&folder.path().join(HUB_VKEY)).unwrap(), key);
    }

    #[test]
    fn what_is_not_proven_is_not_written() {
        let (story, folder) = (Story::new(), tempfile::tempdir().unwrap());
        let bent = Receipt { index: 2, ..story.acceptance.clone() };
        let failure = write(folder.path(), &bent, &story.verifier()).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        assert!(failure.message.starts_with("leaf 2 is not proven"), "{failure}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_content_is_never_overwritten() {
        let (story, folder) = (Story::new(), tempfile::tempdir().unwrap());
        let path = folder.path().join(HUB_VKEY);
        std::fs::write(&path, "another").unwrap();
        assert!(matches!(write_vkey(folder.path(), &story.verifier()), Err(FileError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"another");
    }

    #[test]
    fn a_verifier_key_is_a_file_or_a_text() {
        let (story, folder) = (Story::new(), tempfile::tempdir().unwrap());
        let path = write_vkey(folder.path(), &story.verifier()).unwrap();
        assert_eq!(read_vkey(path.to_str().unwrap()), Ok(story.verifier()));
        assert_eq!(read_vkey(&story.verifier().to_string()), Ok(story.verifier()));
        for wrong in ["", "missing.vkey", "hub.test+00000000+AQ=="] {
            assert_eq!(read_vkey(wrong).unwrap_err().exit, Exit::File, "{wrong:?}");
        }
    }
}
