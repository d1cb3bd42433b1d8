//! The keys of one log, one after the other, and the hand-overs between them.
//!
//! A hand-over is a signed note by the old and the new key, and a leaf of the log. The head with this leaf as its last one
//! is the last that the old key signs: the leaf's place divides the sizes that each key signs.

use std::ops::RangeInclusive;

use super::{
    checkpoint::{Checkpoint, decimal},
    note::{self, NoteError, Signer, Verifier},
};

/// First line of the statement.
const HEADER: &str = "truc log key change v1";

/// What opens checkpoints: a key, the keys of a log, a policy.
pub trait Trust {
    /// Verifies a signed note by what is trusted here.
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError>;
}

impl Trust for Verifier {
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        Checkpoint::open(note, self)
    }
}

/// The statement that a log goes on with another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The key that ends.
    pub old: Verifier,
    /// The key that begins.
    pub new: Verifier,
    /// Index of the leaf that holds the statement: the old key signs heads of at most one leaf more.
    pub leaf: u64,
}

impl Handover {
    /// The statement, signed by both. The keys must have the log's origin as their names.
    #[must_use]
    pub fn sign(old: &Signer, new: &Signer, leaf: u64) -> String {
        let text = Self { old: old.verifier(), new: new.verifier(), leaf }.text();
        let by_new = note::sign(&text, new).split_off(text.len() + 1);
        note::sign(&text, old) + &by_new
    }

    /// Reads a statement that both keys signed, in its one form. Whether the old key is trusted is for the caller to say.
    pub fn open(statement: &str) -> Result<Self, NoteError> {
        let malformed = || NoteError::Malformed("not a change of a log's key");
        let text = note::unverified_text(statement)?;
        let mut lines = text.split('\n');
        let (Some(HEADER), Some(old), Some(new), Some(leaf), Some(""), None) =
            (lines.next(), lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed());
        };
        let (old, new) = (Verifier::parse(old)?, Verifier::parse(new)?);
        let leaf = decimal(leaf).filter(|leaf| *leaf < u64::MAX).ok_or_else(malformed)?;
        // An empty line, and one for each signature: nothing in it is left unchecked.
        if old.name() != new.name() || old == new || statement[text.len()..].matches('\n').count() != 3 {
            return Err(malformed());
        }
        for key in [&old, &new] {
            note::open(statement, std::slice::from_ref(key))?;
        }
        Ok(Self { old, new, leaf })
    }

    /// Size of the last head that the old key signs.
    #[must_use]
    pub fn last_size(&self) -> u64 {
        self.leaf + 1
    }

    fn text(&self) -> String {
        format!("{HEADER}\n{}\n{}\n{}\n", self.old, self.new, self.leaf)
    }
}

/// The keys of one log, each for the heads that it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    first: Verifier,
    handovers: Vec<Handover>,
}

impl From<Verifier> for LogKeys {
    fn from(only: Verifier) -> Self {
        Self { first: only, handovers: Vec::new() }
    }
}

impl LogKeys {
    /// A chain of hand-overs in their order, each by the key that the one before named. `None` for none at all.
    pub fn chain(handovers: Vec<Handover>) -> Result<Option<Self>, NoteError> {
        let breaks = handovers.windows(2).any(|two| two[0].new != two[1].old || two[0].leaf >= two[1].leaf);
        if breaks {
            return Err(NoteError::Malformed("changes of the log's key that do not follow each other"));
        }
        Ok(handovers.first().map(|first| first.old.clone()).map(|first| Self { first, handovers }))
    }

    /// Name of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.first.name()
    }

    /// The key that signs now.
    #[must_use]
    pub fn newest(&self) -> &Verifier {
        self.handovers.last().map_or(&self.first, |last| &last.new)
    }

    /// All keys, oldest first, with the sizes of the heads that each signs.
    pub fn eras(&self) -> impl Iterator<Item = (&Verifier, RangeInclusive<u64>)> {
        let keys = std::iter::once(&self.first).chain(self.handovers.iter().map(|handover| &handover.new));
        let ends = self.handovers.iter().map(Handover::last_size).chain([u64::MAX]);
        let begins = std::iter::once(0).chain(self.handovers.iter().map(|handover| handover.last_size() + 1));
        keys.zip(begins.zip(ends).map(|(begin, end)| begin..=end))
    }

    /// The key that signs heads of this size.
    #[must_use]
    pub fn of_size(&self, size: u64) -> &Verifier {
        self.eras().find(|(_, sizes)| sizes.contains(&size)).map_or(self.newest(), |(key, _)| key)
    }

    /// True when it is one of them.
    #[must_use]
    pub fn contains(&self, key: &Verifier) -> bool {
        self.eras().any(|(own, _)| own == key)
    }

    /// The changes, oldest first.
    #[must_use]
    pub fn handovers(&self) -> &[Handover] {
        &self.handovers
    }
}

impl Trust for LogKeys {
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        for (key, sizes) in self.eras() {
            match Checkpoint::open(note, key) {
                Ok(head) if sizes.contains(&head.size) => return Ok(head),
                Ok(head) => return Err(NoteError::KeyOfOtherSizes { size: head.size, sizes }),
                Err(NoteError::NotSigned) => {}
                Err(error) => return Err(error),
            }
        }
        Err(NoteError::NotSigned)
    }
}

/// Any of several.
impl<T: Trust> Trust for [T] {
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let mut outcome = Err(NoteError::NotSigned);
        for trust in self {
            match trust.open(note) {
                Err(NoteError::NotSigned) => {}
                Ok(head) => return Ok(head),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "hub.example/log";

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(ORIGIN, &[seed; 32]).unwrap()
    }

    fn head(size: u64, by: u8) -> String {
        Checkpoint { origin: ORIGIN.into(), size, root: [1; 32] }.sign(&signer(by))
    }

    fn chain() -> LogKeys {
        let handovers = [(1, 2, 9), (2, 3, 30)].map(|(old, new, leaf)| {
            Handover::open(&Handover::sign(&signer(old), &signer(new), leaf)).unwrap()
        });
        LogKeys::chain(handovers.to_vec()).unwrap().unwrap()
    }

    #[test]
    fn bytes_are_frozen() {
        let statement = Handover::sign(&signer(1), &signer(2), 9);
        // Made by another implementation (Python, cryptography).
        let expected = "truc log key change v1\n\
            hub.example/log+bd12bf17+AYqI4910CfGV/VLbLTy6XXLKZwm/HZQSG/N0iAG0D29c\n\
            hub.example/log+f22614fa+AYE5dw6ofRdfVqNUZsNMfszLjYqRtO43ol32D1uPybOU\n\
            9\n\n\
            — hub.example/log vRK/F8hlX37oxt9XfFDu89iDKOsgUkS7E7eJbvnOIh6MXgyaElaQZU1LG/yZsAos1qFMXLAluQu5lv6CiAQxTodj7wc=\n\
            — hub.example/log 8iYU+oVhN75yzeiyuJ2Wg6P3LBuWowoFDCgImEhccy+4qtko8JCbIMO30LtFkZ5k0slwndfbucv3GHhIwWvK4hIapgo=\n";
        assert_eq!(statement, expected);
    }

    #[test]
    fn each_key_signs_its_own_sizes() {
        let keys = chain();
        for (size, by) in [(0, 1), (1, 1), (10, 1), (11, 2), (31, 2), (32, 3), (u64::MAX, 3)] {
            assert_eq!(keys.open(&head(size, by)).unwrap().size, size, "{size} by {by}");
            assert_eq!(*keys.of_size(size), signer(by).verifier());
        }
        for (size, by) in [(11, 1), (32, 1), (10, 2), (32, 2), (31, 3), (0, 3)] {
            assert!(
                matches!(keys.open(&head(size, by)), Err(NoteError::KeyOfOtherSizes { .. })),
                "{size} by {by}"
            );
        }
        assert_eq!(keys.open(&head(5, 4)), Err(NoteError::NotSigned));
        assert_eq!((keys.newest(), keys.eras().count()), (&signer(3).verifier(), 3));
        assert!(keys.contains(&signer(1).verifier()) && !keys.contains(&signer(4).verifier()));
        let bent = head(5, 1).replace("\n5\n", "\n6\n");
        assert!(matches!(keys.open(&bent), Err(NoteError::BadSignature(_))));
    }

    #[test]
    fn both_keys_have_to_sign() {
        let good = Handover::sign(&signer(1), &signer(2), 9);
        assert!(Handover::open(&good).is_ok());
        let lines: Vec<_> = good.split_inclusive('\n').collect();
        for gone in [5, 6] {
            let one: String = (0..7).filter(|at| *at != gone).map(|at| lines[at]).collect();
            assert!(Handover::open(&one).is_err(), "without line {gone}");
        }
        let other = Handover::sign(&signer(3), &signer(4), 9);
        let other: Vec<_> = other.split_inclusive('\n').collect();
        for strange in [5, 6] {
            let mut mixed = lines.clone();
            mixed[strange] = other[strange];
            assert!(Handover::open(&mixed.concat()).is_err(), "line {strange} by another key");
        }
        for (from, to) in [("\n9\n", "\n8\n"), ("\n9\n", "\n09\n"), ("v1", "v2")] {
            assert!(Handover::open(&good.replace(from, to)).is_err(), "{to}");
        }
        assert!(Handover::open(&(good.clone() + lines[5])).is_err(), "a third signature");
        assert!(Handover::open(&Handover::sign(&signer(1), &signer(1), 9)).is_err(), "to itself");
        let renamed = Signer::from_seed("other.example/log", &[2; 32]).unwrap();
        assert!(Handover::open(&Handover::sign(&signer(1), &renamed, 9)).is_err(), "another log");
        assert!(Handover::open(&Handover::sign(&signer(1), &signer(2), u64::MAX)).is_err());
    }

    #[test]
    fn a_chain_has_no_gaps() {
        let keys = chain();
        let [one, two] = keys.handovers() else { panic!("two") };
        assert!(LogKeys::chain(vec![two.clone(), one.clone()]).is_err());
        let early = Handover { leaf: 9, ..two.clone() };
        assert!(LogKeys::chain(vec![one.clone(), early]).is_err());
        assert_eq!(LogKeys::chain(Vec::new()), Ok(None));
    }

    #[test]
    fn a_statement_is_no_checkpoint_and_a_checkpoint_no_statement() {
        let statement = Handover::sign(&signer(1), &signer(2), 9);
        assert!(Checkpoint::open(&statement, &signer(1).verifier()).is_err());
        assert!(Handover::open(&head(9, 1)).is_err());
    }
}
