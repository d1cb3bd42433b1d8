//! What a reader trusts: logs, each with the keys that it had one after the other, and what a policy asks of witnesses.

use super::log_keys::{self, LogKeysError};
use crate::tlog::{
    checkpoint::Checkpoint,
    keys::{LogKeys, Trust},
    note::{NoteError, Verifier},
    policy::Policy,
};

/// What is trusted. A policy's logs are trusted only where their keys are given as well.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    logs: Vec<LogKeys>,
    policy: Option<Policy>,
}

/// The head of a file, opened by what is trusted.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The key that signed it.
    pub verifier: Verifier,
    /// All keys of its log, as far as they are known.
    pub keys: LogKeys,
    /// The head.
    pub checkpoint: Checkpoint,
    /// What the policy asks of witnesses, and they did; `None` without a policy.
    pub quorum: Option<String>,
}

/// Why a head is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// The key that the file names is not trusted, nor tied to a trusted one.
    Key(String),
    /// The checkpoint is not signed by that key, or too few witnesses cosigned it.
    Checkpoint(String),
}

impl From<&[Verifier]> for Trusted {
    fn from(keys: &[Verifier]) -> Self {
        Self { logs: keys.iter().cloned().map(LogKeys::from).collect(), policy: None }
    }
}

impl From<LogKeys> for Trusted {
    fn from(log: LogKeys) -> Self {
        Self { logs: vec![log], policy: None }
    }
}

impl Trusted {
    /// These keys, what proven changes (the text of a `hub.keys` file, or nothing) tie to them, and a policy.
    pub fn new(keys: &[Verifier], changes: &str, policy: Option<Policy>) -> Result<Self, LogKeysError> {
        Ok(Self { logs: log_keys::trusted(changes, keys)?, policy })
    }

    /// The logs.
    #[must_use]
    pub fn logs(&self) -> &[LogKeys] {
        &self.logs
    }

    /// What is asked of witnesses.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Opens the head of a file that names the key of its log and may hold proofs of that key's changes.
    pub fn head(&self, named: &str, changes: &str, note: &str) -> Result<Opened, HeadFault> {
        let untrusted = || HeadFault::Key(format!("it names {named:?}, which is not a trusted key"));
        let key = Verifier::parse(named).map_err(|_| untrusted())?;
        let logs = self.with(changes).map_err(HeadFault::Key)?;
        let keys = logs.into_iter().find(|keys| keys.contains(&key)).ok_or_else(untrusted)?;
        let wrong = |error: NoteError| HeadFault::Checkpoint(error.to_string());
        let checkpoint = keys.open(note).map_err(wrong)?;
        if *keys.of_size(checkpoint.size) != key {
            return Err(HeadFault::Checkpoint("signed by another key than the file names".into()));
        }
        self.ask_policy(note).map_err(wrong)?;
        let quorum = self.policy.as_ref().map(Policy::rule);
        Ok(Opened { verifier: key, keys, checkpoint, quorum })
    }

    /// The logs, with changes of the key of one of them.
    fn with(&self, changes: &str) -> Result<Vec<LogKeys>, String> {
        let changes = log_keys::read(changes).map_err(|error| error.to_string())?;
        let told = LogKeys::chain(changes.into_iter().map(|change| change.handover).collect());
        let Some(mut told) = told.map_err(|error| error.to_string())? else { return Ok(self.logs.clone()) };
        let is_same = |own: &LogKeys| own.eras().any(|(key, _)| told.contains(key));
        let (same, mut logs): (Vec<_>, Vec<_>) = self.logs.iter().cloned().partition(is_same);
        if same.is_empty() {
            return Err("the changes of a log's key in it are of no trusted log".into());
        }
        // A key that is known to have ended must not come to life again because a file keeps silent about its end.
        for own in same {
            told =
                longer(own, told).ok_or("the changes of the log's key in it are not those that are known")?;
        }
        logs.push(told);
        Ok(logs)
    }

    fn ask_policy(&self, note: &str) -> Result<(), NoteError> {
        match &self.policy {
            Some(policy) if !policy.judge(note)?.enough => Err(NoteError::TooFewWitnesses(policy.rule())),
            _ => Ok(()),
        }
    }
}

/// The longer of two chains, of which one begins with the other.
fn longer(own: LogKeys, told: LogKeys) -> Option<LogKeys> {
    match (own.handovers(), told.handovers()) {
        ([], _) => Some(told),
        (known, new) if new.starts_with(known) => Some(told),
        (known, new) if known.starts_with(new) => Some(own),
        _ => None,
    }
}

/// Opens checkpoints of trusted logs, as far as witnesses cosigned them as the policy asks.
impl Trust for Trusted {
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let head = self.logs[..].open(note)?;
        self.ask_policy(note)?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        tlog::{cosignature::Cosigner, note::Signer},
        verify::log_keys::testing::KeyLog,
    };

    const ORIGIN: &str = "hub.test/log";

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(ORIGIN, &[seed; 32]).unwrap()
    }

    fn key(seed: u8) -> Verifier {
        signer(seed).verifier()
    }

    /// Keys 1, 2, 3; they sign up to 3 leaves, up to 5, and more.
    fn changes(keys: &[u8]) -> String {
        let mut log = KeyLog::new(ORIGIN);
        log.push(b"one");
        for two in keys.windows(2) {
            log.push(b"between");
            log.change(&signer(two[0]), &signer(two[1]));
        }
        log.text
    }

    fn head(size: u64, by: u8) -> String {
        Checkpoint { origin: ORIGIN.into(), size, root: [1; 32] }.sign(&signer(by))
    }

    fn trusting(seed: u8, changes: &str) -> Trusted {
        Trusted::new(&[key(seed)], changes, None).unwrap()
    }

    fn opens(trusted: &Trusted, by: u8, told: &str, size: u64) -> Result<u64, HeadFault> {
        let opened = trusted.head(&key(by).to_string(), told, &head(size, by))?;
        assert_eq!(opened.verifier, key(by));
        Ok(opened.checkpoint.size)
    }

    #[test]
    fn a_head_of_any_key_of_the_chain_opens_in_its_own_sizes() {
        let all = changes(&[1, 2, 3]);
        for one in [1, 2, 3] {
            for (told, given) in [(&all[..], ""), ("", &all[..]), (&all, &all)] {
                let trusted = trusting(one, given);
                for (by, size) in [(1, 3), (2, 4), (2, 5), (3, 6), (3, 900)] {
                    assert_eq!(opens(&trusted, by, told, size), Ok(size), "{one}: {size} by {by}");
                }
                for (by, size) in [(1, 4), (2, 3), (2, 6), (3, 5)] {
                    let fault = opens(&trusted, by, told, size).unwrap_err();
                    assert!(matches!(fault, HeadFault::Checkpoint(_)), "{one}: {size} by {by}");
                }
            }
        }
        assert!(matches!(opens(&trusting(1, ""), 2, "", 4), Err(HeadFault::Key(_))), "nothing ties them");
        assert!(matches!(opens(&trusting(9, ""), 2, &all, 4), Err(HeadFault::Key(_))), "a stranger's log");
    }

    #[test]
    fn a_known_end_of_a_key_is_not_forgotten() {
        let (all, short, other) = (changes(&[1, 2, 3]), changes(&[1, 2]), changes(&[1, 7]));
        let trusted = trusting(1, &all);
        for told in ["", &short] {
            assert!(opens(&trusted, 2, told, 6).is_err(), "the second key ended with 5 leaves");
            assert_eq!(opens(&trusted, 3, told, 6), Ok(6));
        }
        assert!(matches!(opens(&trusted, 7, &other, 6), Err(HeadFault::Key(_))), "another history");
        let both = Trusted::new(&[key(1), key(2)], "", None).unwrap();
        assert!(opens(&both, 1, &short, 4).is_err(), "both stand in one chain now");
        assert_eq!(opens(&both, 2, &short, 4), Ok(4));
    }

    #[test]
    fn a_policy_asks_for_its_witnesses() {
        let cosigner = Cosigner::from_seed("w.test", &[5; 32]).unwrap();
        let policy = format!("log {}\nwitness w {}\nquorum w\n", key(1), cosigner.verifier());
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let trusted = Trusted::new(&[key(1)], &changes(&[1, 2]), Some(policy)).unwrap();
        let plain = head(9, 2);
        let text = Checkpoint::open(&plain, &key(2)).unwrap().text();
        let cosigned = plain.clone() + &cosigner.cosign(&text, 1_000);
        let named = key(2).to_string();
        assert_eq!(trusted.head(&named, "", &cosigned).unwrap().quorum.as_deref(), Some("w"));
        assert!(matches!(trusted.head(&named, "", &plain), Err(HeadFault::Checkpoint(_))));
        assert!(trusted.open(&cosigned).is_ok() && trusted.open(&plain).is_err());
    }
}
