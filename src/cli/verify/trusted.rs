//! What is trusted: keys that are given or lie beside the files, what their logs were handed over to, and a policy.

use std::path::Path;

use super::{
    Args,
    docproof::{self, Language},
    report::{KeySource, Report},
};
use crate::{
    cli::{
        Exit, Failure,
        files::{self, FileError},
        receipt_files::{HUB_KEYS, HUB_VKEY, read_bytes, read_vkey, read_vkey_file},
    },
    tlog::{
        keys::LogKeys,
        note::Verifier,
        policy::{MAX_POLICY, Policy},
    },
    verify::{
        Trusted,
        log_keys::{LogKeysError, MAX_LOG_KEYS},
    },
};

/// The rule of a policy that asks for no witness.
const NO_RULE: &str = "none";

/// What the reader gives.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Keys that are trusted, those of the policy's logs among them.
    pub keys: Vec<Verifier>,
    /// Proofs of changes of a log's key.
    pub log_keys: Option<String>,
    /// Which witnesses have to have cosigned.
    pub policy: Option<Policy>,
}

impl Given {
    /// Reads what the command line names.
    pub fn read(args: &Args) -> Result<Self, Failure> {
        let mut keys = args.trust.as_deref().map(docproof::read_trust).transpose()?.unwrap_or_default();
        keys.extend(args.vkey.as_deref().map(read_vkey).transpose()?);
        let policy = args.policy.as_deref().map(read_policy).transpose()?;
        keys.extend(policy.iter().flat_map(Policy::logs).cloned());
        let log_keys = args.log_keys.as_deref().map(|path| files::read_text(path, MAX_LOG_KEYS as u64));
        Ok(Self { keys, log_keys: log_keys.transpose()?, policy })
    }

    /// What is trusted of it where nothing lies beside the file.
    pub fn trusted(self) -> Result<Trusted, Failure> {
        let trusted = Trusted::new(&self.keys, self.log_keys.as_deref().unwrap_or_default(), self.policy);
        trusted.map_err(not_proven)
    }
}

/// Proofs of changes of a log's key that prove none.
pub fn not_proven(error: LogKeysError) -> Failure {
    Failure::new(Exit::Refused, format!("the proofs of the log's keys: {error}"))
        .with_help("fetch them again: truc log keys -o hub.keys")
}

/// Reads a policy.
pub fn read_policy(path: &Path) -> Result<Policy, FileError> {
    let text = read_bytes(path, MAX_POLICY)?;
    Policy::parse(&text).map_err(|error| FileError::content(path, error))
}

/// Says what the policy proves and what it does not.
pub fn tell(trusted: &Trusted, language: Language, report: &mut Report) {
    let Some(rule) = trusted.policy().map(Policy::rule).filter(|rule| rule != NO_RULE) else { return };
    if report.checks.iter().all(|check| check.ok) {
        report.proven(quorum_words(language, &rule));
    }
    report.not_proven(independence_words(language));
}

/// Adds the same to the sentences of a verdict.
pub fn tell_quorum(
    quorum: Option<&str>,
    language: Language,
    proven: &mut Vec<String>,
    not_proven: &mut Vec<String>,
) {
    let Some(rule) = quorum.filter(|rule| *rule != NO_RULE) else { return };
    proven.push(quorum_words(language, rule));
    not_proven.push(independence_words(language));
}

/// What a fulfilled quorum proves.
pub fn quorum_words(language: Language, rule: &str) -> String {
    match language {
        Language::En => format!(
            "Every head here was cosigned as your policy asks: {rule}. Each of these witnesses saw this log grow and never \
             take anything back; so the hub has not shown others another history of it, unless so many witnesses lie too."
        ),
        Language::Vi => format!(
            "Mọi điểm kiểm (checkpoint) ở đây đều được ký xác nhận đúng theo chính sách của bạn: {rule}. Mỗi bên chứng kiến \
             đã thấy sổ nhật ký này chỉ được ghi thêm, không bị rút lại; vì vậy trục không thể đưa cho người khác một lịch \
             sử khác, trừ khi từng ấy bên chứng kiến cùng gian dối."
        ),
    }
}

/// What it does not prove.
pub fn independence_words(language: Language) -> String {
    match language {
        Language::En => {
            "That the witnesses are independent of the hub and of each other: who wrote the policy vouches for that."
        }
        Language::Vi => {
            "Việc các bên chứng kiến độc lập với trục và độc lập với nhau: người lập chính sách chịu trách nhiệm về điều đó."
        }
    }
    .to_owned()
}

/// All that is trusted; `None` if what lies beside the files is damaged, which is a failed check.
pub fn trusted(dir: &Path, given: Given, report: &mut Report) -> Result<Option<Trusted>, Failure> {
    let beside = dir.join(HUB_KEYS);
    let proofs = match given.log_keys {
        Some(text) => Some(text),
        None if beside.exists() => Some(files::read_text(&beside, MAX_LOG_KEYS as u64)?),
        None => None,
    };
    let Some(keys) = keys(dir, given.keys.clone(), report)? else { return Ok(None) };
    let proofs = proofs.unwrap_or_default();
    let outcome = Trusted::new(&keys, &proofs, given.policy);
    let Some(trusted) = (match proofs.is_empty() {
        true => outcome.ok(),
        false => report.check(HUB_KEYS, outcome, |trusted| told(trusted.logs())),
    }) else {
        return Ok(None);
    };
    // With several keys the one beside the files says nothing: the proofs are of any of those logs.
    if let [only] = &given.keys[..] {
        check_beside(dir, only, trusted.logs(), report);
    }
    Ok(Some(trusted))
}

fn told(keys: &[LogKeys]) -> String {
    let changes: usize = keys.iter().map(|keys| keys.handovers().len()).sum();
    match changes {
        0 => "proves no change of a key that is trusted here".into(),
        1 => "proves the change of the log's key".into(),
        _ => format!("proves {changes} changes of the log's key"),
    }
}

/// The keys to begin with: those that were given, or else the one that lies beside the files.
fn keys(dir: &Path, given: Vec<Verifier>, report: &mut Report) -> Result<Option<Vec<Verifier>>, Failure> {
    if let Some(first) = given.first() {
        report.use_key(first.clone(), KeySource::Given);
        return Ok(Some(given));
    }
    let path = dir.join(HUB_VKEY);
    if !path.exists() {
        return Err(Failure::new(Exit::Usage, "no verifier key of the hub")
            .with_help(format!("give it with --vkey, or put it beside the file as {HUB_VKEY}")));
    }
    let found = report.check(HUB_VKEY, read_vkey_file(&path), |key| format!("the key of {}", key.name()));
    Ok(found.map(|key| vec![report.use_key(key, KeySource::BesideTheFiles)]))
}

/// The key beside the files has to be the one that was given, or one that proven changes tie to it.
fn check_beside(dir: &Path, given: &Verifier, keys: &[LogKeys], report: &mut Report) {
    let path = dir.join(HUB_VKEY);
    if !path.exists() {
        return;
    }
    let tied = |beside: &Verifier| keys.iter().any(|keys| keys.contains(given) && keys.contains(beside));
    let same = read_vkey_file(&path).map_err(|error| error.to_string()).and_then(|beside| {
        match (beside == *given, tied(&beside)) {
            (true, _) => Ok("is the key that was given"),
            (false, true) => Ok("is another key of this log, which proven changes tie to the one given"),
            (false, false) => Err(format!("names the key {beside}, not the one given")),
        }
    });
    report.check(HUB_VKEY, same, |said| (*said).to_owned());
}
