//! C2SP checkpoints (<https://c2sp.org/tlog-checkpoint>): a signed tree head.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    Hash,
    note::{self, NoteError, Signer, Verifier},
};

/// Head of a log: which log, how many leaves, and the root over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, which is also that of the key that signs for it.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree (RFC 6962).
    pub root: Hash,
}

impl Checkpoint {
    /// The note's text: origin, size and root on a line each.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// The signed note. The origin has to be the signer's name; [`Checkpoint::open`] refuses it otherwise.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> String {
        note::sign(&self.text(), signer)
    }

    /// Verifies a signed note: signed by this key, and of the log that the key is named for.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NoteError> {
        let opened = note::open(note, std::slice::from_ref(verifier))?;
        let checkpoint = Self::parse(&opened.text)?;
        if checkpoint.origin != verifier.name() {
            return Err(NoteError::WrongOrigin(checkpoint.origin));
        }
        Ok(checkpoint)
    }

    /// Reads a signed note without a key. **Nothing is verified.**
    pub fn unverified(note: &str) -> Result<Self, NoteError> {
        Self::parse(note::unverified_text(note)?)
    }

    /// Reads the text of a note: exactly three lines, since our logs write no extension lines. Nothing is verified.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let text = text.strip_suffix('\n').ok_or(NoteError::Malformed("last line of the checkpoint"))?;
        let lines: Vec<_> = text.splitn(4, '\n').collect();
        let [origin, size, root] = lines[..] else {
            return Err(NoteError::Malformed("a checkpoint has three lines"));
        };
        Self::of_lines(origin, size, root)
    }

    /// As [`Checkpoint::parse`] for logs that others wrote, which may add extension lines; those say nothing here.
    pub fn parse_any(text: &str) -> Result<Self, NoteError> {
        let text = text.strip_suffix('\n').ok_or(NoteError::Malformed("last line of the checkpoint"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(NoteError::Malformed("a checkpoint has three lines"));
        };
        if lines.any(str::is_empty) {
            return Err(NoteError::Malformed("an empty extension line"));
        }
        Self::of_lines(origin, size, root)
    }

    fn of_lines(origin: &str, size: &str, root: &str) -> Result<Self, NoteError> {
        if origin.is_empty() {
            return Err(NoteError::Malformed("no origin"));
        }
        let size = decimal(size).ok_or(NoteError::Malformed("tree size"))?;
        let root = base64_hash(root).ok_or(NoteError::Malformed("root hash"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// A number in the one form that is allowed: no sign, no leading zero.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    canonical.then(|| text.parse().ok()).flatten()
}

/// A hash in standard base64 with padding.
pub(super) fn base64_hash(text: &str) -> Option<Hash> {
    BASE64.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by another implementation (Python, cryptography) from the seed 00 01 … 1f and the leaves "one", "two", "three".
    const KEY: &str = "hub.example/log+73c6f775+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const NOTE: &str = "hub.example/log\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n\n\
        — hub.example/log c8b3dUoNXeo8RYTH/q0qF/c8EsBsHLajwTMPAc+gNfymcUxNJB65pdf4nHTL0DaMPEDD+HNGTBDjkn0p4XmuqIUBCgE=\n";

    fn signer(name: &str) -> Signer {
        Signer::from_seed(name, &std::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap()
    }

    #[test]
    fn bytes_are_frozen() {
        let signer = signer("hub.example/log");
        assert_eq!(signer.verifier().to_string(), KEY);
        let checkpoint = Checkpoint::open(NOTE, &Verifier::parse(KEY).unwrap()).unwrap();
        assert_eq!((&checkpoint.origin[..], checkpoint.size), ("hub.example/log", 3));
        assert_eq!(checkpoint.sign(&signer), NOTE);
        assert_eq!(Checkpoint::unverified(NOTE), Ok(checkpoint));
    }

    #[test]
    fn a_key_signs_for_its_own_log_only() {
        let signer = signer("hub.example/other");
        let checkpoint = Checkpoint::unverified(NOTE).unwrap();
        assert_eq!(
            Checkpoint::open(&checkpoint.sign(&signer), &signer.verifier()),
            Err(NoteError::WrongOrigin("hub.example/log".into()))
        );
        assert_eq!(Checkpoint::open(NOTE, &signer.verifier()), Err(NoteError::NotSigned));
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(decimal("0"), Some(0));
        assert_eq!(decimal("18446744073709551615"), Some(u64::MAX));
        for wrong in ["", "00", "01", "+1", "-1", "1 ", " 1", "1_0", "0x1", "١", "18446744073709551616"] {
            assert_eq!(decimal(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_the_three_lines_are_read() {
        let text = Checkpoint::unverified(NOTE).unwrap().text();
        assert!(Checkpoint::parse(&text).is_ok());
        for wrong in [
            String::new(),
            "\n".into(),
            text.trim_end().into(),
            format!("{text}extension\n"),
            format!("{text}\n"),
            format!("\n{text}"),
            text.replace("hub.example/log", ""),
            text.replace("\n3\n", "\n03\n"),
            text.replace("vKk=", "vKk"),
            text.replace("vKk=", "vKl="),
            text.replace("Wqx3", ""),
        ] {
            assert!(matches!(Checkpoint::parse(&wrong), Err(NoteError::Malformed(_))), "{wrong:?}");
        }
    }
}
