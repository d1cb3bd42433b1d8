//! `truc verify`: what files prove, without hub and without network.

/// Picks the sentence of the language: `say!(words, "English", "Vietnamese")`, both with the same arguments.
macro_rules! say {
    ($words:expr, $en:literal, $vi:literal $(, $($args:tt)*)?) => {
        match $words.0 {
            $crate::cli::verify::docproof::Language::En => format!($en $(, $($args)*)?),
            $crate::cli::verify::docproof::Language::Vi => format!($vi $(, $($args)*)?),
        }
    };
}

pub mod completeness;
pub mod consistency;
pub mod docproof;
mod export;
mod facts;
mod folder;
mod report;
#[cfg(test)]
mod tests;
mod trusted;

use std::path::{Path, PathBuf};

pub use report::{Check, KeySource, Report};
pub use trusted::{Given, not_proven, read_policy};
use trusted::{tell, trusted};

use super::{
    Exit, Failure, Output,
    files::FileError,
    keygen::read_public_key,
    receipt_files::{EVIDENCE, TLOG_PROOF},
};
use crate::{client::folder::ENVELOPE, domain::signature::PublicKey, tlog::note::Verifier};

/// Begins every `.tlog-proof` file.
const PROOF_MARK: &[u8] = b"c2sp.org/tlog-proof@";

/// Verifies proofs and documents offline, and says what they prove and what not.
///
/// Takes NAME.evidence or NAME.tlog-proof (its twin is looked for beside it), a .receipt file, the folder of a
/// document made by `truc receive`, a folder of proofs made by `truc receipt`, a .docproof file made by `truc audit
/// bundle`, a file made by `truc audit export` with its proof beside it, an answer saved by `truc audit complete -o`, or a
/// proof of `truc audit consistency -o` with the older checkpoint beside it.
/// Ends with 1 if a check fails.
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
    /// The verifier keys that you trust, one a line, as the hubs published them.
    #[arg(long, value_name = "KEYS")]
    trust: Option<PathBuf>,
    /// Proofs of the changes of the log's key, as `truc log keys` writes them; else hub.keys beside the file. They lead from
    /// a key that you trust to the others, and need no trust of their own. A .docproof file, an export's proof and an answer
    /// of `truc audit complete` hold them.
    #[arg(long, value_name = "FILE")]
    log_keys: Option<PathBuf>,
    /// Which witnesses have to have cosigned, and how many (C2SP tlog-policy). Its logs are trusted too.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Language of the verdict, for a .docproof or completeness file, an export, a proof of consistency, and for what a policy proves.
    #[arg(long, value_enum, default_value_t)]
    lang: docproof::Language,
    /// For a .docproof file: prints a certificate on A4 as well, to this file.
    #[arg(long, value_name = "OUT.pdf")]
    pdf: Option<PathBuf>,
    /// A checkpoint that you hold: which an export has to be of, or which a proof of consistency has to begin with.
    #[arg(long, value_name = "NOTE")]
    checkpoint: Option<PathBuf>,
    /// For an export: another program may have saved the file again, as long as every row is right.
    #[arg(long)]
    resaved: bool,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let given = Given::read(&self)?;
        if completeness::is_one(&self.path)? {
            return completeness::run(&self.path, given, self.lang, output);
        }
        if consistency::is_one(&self.path)? {
            return consistency::run(&self.path, self.checkpoint.as_deref(), given, self.lang, output);
        }
        if docproof::is_one(&self.path)? {
            let (keys, policy) = (&given.keys, given.policy.as_ref());
            return docproof::run(&self.path, keys, policy, self.lang, self.pdf.as_deref(), output);
        }
        if let Some(file) = export::recognise(&self.path)? {
            let how = export::How {
                trusted: &given.trusted()?,
                checkpoint: self.checkpoint.as_deref(),
                resaved: self.resaved,
                language: self.lang,
            };
            return export::run(&file, &how, output);
        }
        let keys = self.keys.iter().map(|path| Ok((path.clone(), read_public_key(path)?)));
        let keys = keys.collect::<Result<Vec<_>, FileError>>()?;
        let report = verify_by(&self.path, given, &keys, self.lang)?;
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
    let given = Given { keys: vkey.into_iter().collect(), ..Given::default() };
    verify_by(path, given, keys, docproof::Language::En)
}

/// The same with all that may be given: several keys, proofs of their changes, a policy.
pub fn verify_by(
    path: &Path,
    given: Given,
    keys: &[(PathBuf, PublicKey)],
    language: docproof::Language,
) -> Result<Report, Failure> {
    let target = Target::recognise(path)?;
    let mut report = Report::default();
    let Some(trusted) = trusted(target.folder(), given, &mut report)? else { return Ok(report.conclude()) };
    match &target {
        Target::Pair(base) => folder::pair(base, &trusted, &mut report),
        Target::Receipt(file) => _ = folder::receipt(file, &trusted, &mut report),
        Target::Proofs(dir) => folder::proofs(dir, &trusted, &mut report)?,
        Target::Document(dir) => folder::document(dir, &trusted, &mut report),
    }
    report.check_keys(keys);
    tell(&trusted, language, &mut report);
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
