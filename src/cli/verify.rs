//! `truc verify`: what files prove, without hub and without network.

pub mod completeness;
pub mod docproof;
mod facts;
mod folder;
mod report;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use report::{Check, KeySource, Report};

use super::{
    Exit, Failure, Output,
    files::FileError,
    keygen::read_public_key,
    receipt_files::{EVIDENCE, HUB_VKEY, TLOG_PROOF, read_vkey, read_vkey_file},
};
use crate::{client::folder::ENVELOPE, domain::signature::PublicKey, tlog::note::Verifier};

/// Begins every `.tlog-proof` file.
const PROOF_MARK: &[u8] = b"c2sp.org/tlog-proof@";

/// Verifies proofs and documents offline, and says what they prove and what not.
///
/// Takes NAME.evidence or NAME.tlog-proof (its twin is looked for beside it), a .receipt file, the folder of a
/// document made by `truc receive`, a folder of proofs made by `truc receipt`, a .docproof file made by `truc audit
/// bundle`, or an answer saved by `truc audit complete -o`. Ends with 1 if a check fails.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to verify.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// The hub's verifier key, a file or its text, as the hub published it. Else hub.vkey beside the file, which
    /// proves only that the files agree with each other.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
    /// Public key of sender or recipient, to verify their signatures anew; may be repeated.
    #[arg(long = "key", value_name = "FILE.pub")]
    keys: Vec<PathBuf>,
    /// For a .docproof or completeness file: the verifier keys that you trust, one a line, as the hubs published them.
    #[arg(long, value_name = "KEYS")]
    trust: Option<PathBuf>,
    /// For a .docproof or completeness file: language of the verdict.
    #[arg(long, value_enum, default_value_t)]
    lang: docproof::Language,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let is_completeness = completeness::is_one(&self.path)?;
        if is_completeness || docproof::is_one(&self.path)? {
            let mut trusted =
                self.trust.as_deref().map(docproof::read_trust).transpose()?.unwrap_or_default();
            trusted.extend(self.vkey.as_deref().map(read_vkey).transpose()?);
            let run = if is_completeness { completeness::run } else { docproof::run };
            return run(&self.path, &trusted, self.lang, output);
        }
        let keys = self.keys.iter().map(|path| Ok((path.clone(), read_public_key(path)?)));
        let keys = keys.collect::<Result<Vec<_>, FileError>>()?;
        if self.trust.is_some() {
            return Err(Failure::new(Exit::Usage, "--trust belongs to a .docproof or completeness file")
                .with_help("name the hub's key with --vkey"));
        }
        let vkey = self.vkey.as_deref().map(read_vkey).transpose()?;
        let report = verify(&self.path, vkey, &keys)?;
        output.print(&report, Report::to_text);
        if report.ok {
            return Ok(());
        }
        let failed = report.checks.iter().filter(|check| !check.ok).count();
        Err(Failure::new(Exit::Refused, format!("{failed} of {} checks failed", report.checks.len())))
    }
}

/// Verifies what is at `path` with the hub's key as it is known, or else as it lies beside it; and the signatures of
/// these public keys. Fails only where nothing could be checked: a failed check stands in the report.
pub fn verify(path: &Path, vkey: Option<Verifier>, keys: &[(PathBuf, PublicKey)]) -> Result<Report, Failure> {
    let target = Target::recognise(path)?;
    let mut report = Report::default();
    let Some(verifier) = verifier(target.folder(), vkey, &mut report)? else { return Ok(report.conclude()) };
    match &target {
        Target::Pair(base) => folder::pair(base, &verifier, &mut report),
        Target::Receipt(file) => _ = folder::receipt(file, &verifier, &mut report),
        Target::Proofs(dir) => folder::proofs(dir, &verifier, &mut report)?,
        Target::Document(dir) => folder::document(dir, &verifier, &mut report),
    }
    report.check_keys(keys);
    Ok(report.conclude())
}

/// What there is to verify.
enum Target {
    /// `NAME.evidence` and `NAME.tlog-proof`, without their endings.
    Pair(PathBuf),
    /// A serialized `Receipt`.
    Receipt(PathBuf),
    /// A folder of pairs and receipts.
    Proofs(PathBuf),
    /// A folder with a document.
    Document(PathBuf),
}

impl Target {
    fn recognise(path: &Path) -> Result<Self, FileError> {
        if path.metadata().map_err(FileError::io(path))?.is_dir() {
            return Ok(match path.join(ENVELOPE).exists() {
                true => Self::Document(path.to_owned()),
                false => Self::Proofs(path.to_owned()),
            });
        }
        let ending = path.extension().unwrap_or_default();
        if ending == EVIDENCE || ending == TLOG_PROOF {
            return Ok(Self::Pair(path.with_extension("")));
        }
        if folder::starts_with(path, PROOF_MARK)? {
            let problem =
                format!("a proof, but its name does not end in .{TLOG_PROOF}: its evidence can't be found");
            return Err(FileError::content(path, problem));
        }
        Ok(Self::Receipt(path.to_owned()))
    }

    fn folder(&self) -> &Path {
        match self {
            Self::Pair(file) | Self::Receipt(file) => file.parent().unwrap_or(Path::new("")),
            Self::Proofs(dir) | Self::Document(dir) => dir,
        }
    }
}

/// The key to verify with; `None` if the one beside the files is damaged, which is a failed check.
fn verifier(dir: &Path, given: Option<Verifier>, report: &mut Report) -> Result<Option<Verifier>, Failure> {
    let path = dir.join(HUB_VKEY);
    let beside = match path.exists() {
        true => Some(read_vkey_file(&path)),
        false => None,
    };
    match (given, beside) {
        (Some(given), None) => Ok(Some(report.use_key(given, KeySource::Given))),
        (Some(given), Some(beside)) => {
            let same = beside.map_err(|error| error.to_string()).and_then(|beside| match beside == given {
                true => Ok(()),
                false => Err(format!("names the key {beside}, not the one given")),
            });
            report.check(HUB_VKEY, same, |()| "is the key that was given".to_owned());
            Ok(Some(report.use_key(given, KeySource::Given)))
        }
        (None, Some(beside)) => {
            let found = report.check(HUB_VKEY, beside, |key| format!("the key of {}", key.name()));
            Ok(found.map(|key| report.use_key(key, KeySource::BesideTheFiles)))
        }
        (None, None) => Err(Failure::new(Exit::Usage, "no verifier key of the hub")
            .with_help(format!("give it with --vkey, or put it beside the file as {HUB_VKEY}"))),
    }
}
