//! C2SP signed notes (<https://c2sp.org/signed-note>): text with Ed25519 signatures of named keys.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use ring::digest::{Context, SHA256};

/// Largest note that is opened, in bytes.
pub const MAX_NOTE: usize = 64 * 1024;
/// Most signatures that a note may carry; the standard asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// Signature type of plain Ed25519.
const ED25519: u8 = 0x01;
/// Begins each signature line.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// Why a key, a note or a checkpoint was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Key names are not empty and have neither spaces, nor `+`, nor control characters.
    #[error("not a key name")]
    BadName,
    /// Not a verifier key, or one whose hash or point is wrong.
    #[error("not a verifier key: {0}")]
    BadKey(&'static str),
    /// The bytes do not have the form that the standard asks for.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Larger than is read.
    #[error("too large")]
    TooLarge,
    /// A signature in the name of a known key does not verify.
    #[error("bad signature in the name of {0}")]
    BadSignature(String),
    /// No known key signed it.
    #[error("not signed by a known key")]
    NotSigned,
    /// The checkpoint is of another log than its signer's.
    #[error("origin is {0:?}, not the name of the key")]
    WrongOrigin(String),
    /// The log's key was changed: this one signs heads of other sizes.
    #[error("a head of {size} leaves by the key that signed those of {} to {} leaves", sizes.start(), sizes.end())]
    KeyOfOtherSizes {
        /// Leaves of the head.
        size: u64,
        /// Sizes that this key signed.
        sizes: std::ops::RangeInclusive<u64>,
    },
    /// Fewer witnesses cosigned it than the policy asks for.
    #[error("not cosigned as the policy asks: {0}")]
    TooFewWitnesses(String),
}

/// A key that signs notes. Shows nothing secret.
#[derive(Debug)]
pub struct Signer {
    name: String,
    key_hash: [u8; 4],
    key: SigningKey,
}

impl Signer {
    /// The key of this RFC 8032 secret seed, under this name.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        check_name(name)?;
        let key = SigningKey::from_bytes(seed);
        let key_hash = key_hash(name, ED25519, &key.verifying_key());
        Ok(Self { name: name.to_owned(), key_hash, key })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What others need to check this key's signatures.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key_hash: self.key_hash, key: self.key.verifying_key() }
    }
}

/// A public key with its name. Displays as `name+hash+key`, the form that [`Verifier::parse`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key_hash: [u8; 4],
    key: VerifyingKey,
}

impl Verifier {
    /// Reads `name+hex8+base64(0x01 || key)`. The hash must be right, and the key must not be weak.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key_hash, key) = parse_vkey(text, ED25519)?;
        Ok(Self { name, key_hash, key })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True when both wrap the same public key, whatever they are called.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    fn verify(&self, text: &str, signature: &[u8]) -> Result<(), NoteError> {
        Signature::from_slice(signature)
            .and_then(|signature| self.key.verify_strict(text.as_bytes(), &signature))
            .map_err(|_| NoteError::BadSignature(self.name.clone()))
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_vkey(f, &self.name, self.key_hash, ED25519, &self.key)
    }
}

/// A note of which at least one signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The signed text, with its last line feed.
    pub text: String,
    /// Names of the keys whose signatures were verified, each once.
    pub verified: Vec<String>,
}

/// Signs `text`, which must end with a line feed and hold no other control character: nobody opens it otherwise.
#[must_use]
pub fn sign(text: &str, signer: &Signer) -> String {
    let signature = signer.key.sign(text.as_bytes()).to_bytes();
    format!("{text}\n{}\n", write_line(&signer.name, signer.key_hash, &signature))
}

/// Verifies a note. Signatures of unknown keys are ignored; a bad one by a known key refuses the note, and so does the
/// absence of a good one.
pub fn open(note: &str, verifiers: &[Verifier]) -> Result<Opened, NoteError> {
    let (text, signatures) = split(note)?;
    let mut verified: Vec<String> = Vec::new();
    for line in signatures {
        let known = |key: &&Verifier| key.name == line.name && key.key_hash == line.key_hash;
        let Some(verifier) = verifiers.iter().find(known) else { continue };
        verifier.verify(text, &line.signature)?;
        if !verified.contains(&verifier.name) {
            verified.push(verifier.name.clone());
        }
    }
    if verified.is_empty() {
        return Err(NoteError::NotSigned);
    }
    Ok(Opened { text: text.to_owned(), verified })
}

/// The text of a note whose form is right. **Nothing is verified.**
pub fn unverified_text(note: &str) -> Result<&str, NoteError> {
    Ok(split(note)?.0)
}

/// A signature of a note, not verified.
pub(super) struct SignatureLine<'a> {
    pub name: &'a str,
    pub key_hash: [u8; 4],
    pub signature: Vec<u8>,
}

/// The line of a signature, without its line feed.
pub(super) fn write_line(name: &str, key_hash: [u8; 4], signature: &[u8]) -> String {
    format!("{SIGNATURE_MARK}{name} {}", BASE64.encode([&key_hash[..], signature].concat()))
}

/// Text and signatures; the last empty line stands between them.
pub(super) fn split(note: &str) -> Result<(&str, Vec<SignatureLine<'_>>), NoteError> {
    if note.len() > MAX_NOTE {
        return Err(NoteError::TooLarge);
    }
    if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(NoteError::Malformed("control character"));
    }
    let end = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
    let (text, lines) = (&note[..=end], &note[end + 2..]);
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("does not end with a line feed"))?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return Err(NoteError::TooLarge);
    }
    let signatures = lines.split('\n').map(signature_line);
    let signatures = signatures.collect::<Option<_>>().ok_or(NoteError::Malformed("signature line"))?;
    Ok((text, signatures))
}

fn signature_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    check_name(name).ok()?;
    let bytes = BASE64.decode(encoded).ok()?;
    let (key_hash, signature) = bytes.split_first_chunk::<4>()?;
    (!signature.is_empty()).then(|| SignatureLine {
        name,
        key_hash: *key_hash,
        signature: signature.to_vec(),
    })
}

pub(super) fn check_name(name: &str) -> Result<(), NoteError> {
    let illegal = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(illegal) {
        return Err(NoteError::BadName);
    }
    Ok(())
}

/// `SHA-256(name || 0x0A || type || key)[..4]`.
pub(super) fn key_hash(name: &str, kind: u8, key: &VerifyingKey) -> [u8; 4] {
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', kind]);
    context.update(key.as_bytes());
    let mut hash = [0; 4];
    hash.copy_from_slice(&context.finish().as_ref()[..4]);
    hash
}

/// Reads `name+hex8+base64(kind || key)` with an Ed25519 key for signatures of this kind.
pub(super) fn parse_vkey(text: &str, kind: u8) -> Result<(String, [u8; 4], VerifyingKey), NoteError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(NoteError::BadKey("needs name+hash+key"));
    };
    check_name(name)?;
    let encoded = BASE64.decode(key).map_err(|_| NoteError::BadKey("not base64"))?;
    let Some((_, key)) = encoded.split_first().filter(|(found, _)| **found == kind) else {
        return Err(NoteError::BadKey("of another signature type"));
    };
    let key = <&[u8; 32]>::try_from(key).map_err(|_| NoteError::BadKey("not 32 bytes"))?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::BadKey("not a point"))?;
    if key.is_weak() {
        return Err(NoteError::BadKey("weak"));
    }
    let key_hash = key_hash(name, kind, &key);
    if hash != hex::encode(key_hash) {
        return Err(NoteError::BadKey("its hash is wrong"));
    }
    Ok((name.to_owned(), key_hash, key))
}

/// Writes what [`parse_vkey`] reads.
pub(super) fn write_vkey(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    key_hash: [u8; 4],
    kind: u8,
    key: &VerifyingKey,
) -> fmt::Result {
    let key = [&[kind], &key.as_bytes()[..]].concat();
    write!(f, "{name}+{}+{}", hex::encode(key_hash), BASE64.encode(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The example of Go's golang.org/x/mod/sumdb/note.
    const FOREIGN_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const FOREIGN_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn signer(name: &str) -> Signer {
        Signer::from_seed(name, &[7; 32]).unwrap()
    }

    #[test]
    fn a_note_of_another_implementation_opens() {
        let opened = open(FOREIGN_NOTE, &[Verifier::parse(FOREIGN_KEY).unwrap()]).unwrap();
        assert!(opened.text.ends_with("what your problem is.\n"));
        assert_eq!(opened.verified, ["PeterNeumann"]);
    }

    #[test]
    fn a_verifier_key_reads_as_it_displays() {
        assert_eq!(Verifier::parse(FOREIGN_KEY).unwrap().to_string(), FOREIGN_KEY);
        let ours = signer("hub.example/log").verifier();
        assert_eq!(Verifier::parse(&ours.to_string()), Ok(ours));
    }

    #[test]
    fn wrong_verifier_keys_are_refused() {
        let identity = format!("x+00000000+{}", BASE64.encode([&[ED25519, 1][..], &[0; 31]].concat()));
        assert_eq!(Verifier::parse(&identity), Err(NoteError::BadKey("weak")));
        for (wrong, name) in [
            (FOREIGN_KEY.replace("c74f20a3", "c74f20a4"), "hash"),
            (FOREIGN_KEY.replace("c74f20a3", "C74F20A3"), "case of the hash"),
            (FOREIGN_KEY.replace("PeterNeumann", "Peter"), "name"),
            (FOREIGN_KEY.replace("+ARpc", "+BBpc"), "type"),
            (FOREIGN_KEY.replace("10TW", "10T="), "length"),
            ("PeterNeumann+c74f20a3".into(), "no key"),
            (String::new(), "nothing"),
        ] {
            assert!(Verifier::parse(&wrong).is_err(), "{name}");
        }
    }

    #[test]
    fn names_follow_their_rule() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b", "a\u{0}b"] {
            assert_eq!(Signer::from_seed(name, &[7; 32]).unwrap_err(), NoteError::BadName, "{name:?}");
        }
        assert!(Signer::from_seed("trục.vn/sổ", &[7; 32]).is_ok());
    }

    #[test]
    fn a_signer_shows_nothing_secret() {
        let shown = format!("{:?}", signer("hub"));
        assert!(!shown.contains("7, 7, 7") && !shown.contains("070707"), "{shown}");
    }

    #[test]
    fn unknown_signers_are_ignored_and_bad_signatures_are_not() {
        let (ours, witness) = (signer("hub"), Signer::from_seed("witness", &[8; 32]).unwrap());
        let text = "first\n\nlast\n";
        let note = sign(text, &ours);
        let cosignature = sign(text, &witness).split_off(text.len() + 1);
        let both = note.clone() + &cosignature;

        assert_eq!(open(&both, &[ours.verifier()]).unwrap().verified, ["hub"]);
        assert_eq!(
            open(&both, &[witness.verifier(), ours.verifier()]).unwrap(),
            Opened { text: text.into(), verified: vec!["hub".into(), "witness".into()] }
        );
        assert_eq!(open(&note, &[witness.verifier()]), Err(NoteError::NotSigned));
        assert_eq!(open(&note, &[]), Err(NoteError::NotSigned));

        let altered = both.replace("first", "First");
        assert_eq!(open(&altered, &[ours.verifier()]), Err(NoteError::BadSignature("hub".into())));
        // Same name, other key: unknown, so ignored.
        let namesake = Signer::from_seed("hub", &[9; 32]).unwrap();
        assert_eq!(open(&note, &[namesake.verifier()]), Err(NoteError::NotSigned));
    }

    #[test]
    fn a_good_signature_does_not_excuse_a_bad_one() {
        let ours = signer("hub");
        let other_text = sign("other\n", &ours).split_off("other\n\n".len());
        let note = sign("text\n", &ours) + &other_text;
        assert_eq!(open(&note, &[ours.verifier()]), Err(NoteError::BadSignature("hub".into())));
    }

    #[test]
    fn a_repeated_signature_counts_once() {
        let ours = signer("hub");
        let note = sign("text\n", &ours);
        let twice = note.clone() + &note["text\n\n".len()..];
        assert_eq!(open(&twice, &[ours.verifier()]).unwrap().verified, ["hub"]);
    }

    #[test]
    fn malformed_notes_are_refused() {
        let ours = signer("hub");
        let note = sign("text\n", &ours);
        for wrong in [
            String::new(),
            "\n\n".into(),
            "text\n\n".into(),
            note.trim_end().into(),
            format!("{note}\n"),
            format!("{note}junk\n"),
            note.replace("\n\n", "\n"),
            note.replace('—', "-"),
            note.replace("— hub ", "— hub  "),
            note.replace("text", "te\txt"),
            note.replace('\n', "\r\n"),
            "text\n\n— hub AAAAAA==\n".into(),
            "text\n\n— hub AAAA\n".into(),
        ] {
            assert!(matches!(open(&wrong, &[ours.verifier()]), Err(NoteError::Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn large_notes_are_refused() {
        let ours = signer("hub");
        let large = sign(&format!("{}\n", "x".repeat(MAX_NOTE)), &ours);
        assert_eq!(open(&large, &[ours.verifier()]), Err(NoteError::TooLarge));
        let note = sign("text\n", &ours);
        let line = &note["text\n\n".len()..];
        let many = format!("text\n\n{}", line.repeat(MAX_SIGNATURES + 1));
        assert_eq!(open(&many, &[ours.verifier()]), Err(NoteError::TooLarge));
        assert!(open(&format!("text\n\n{}", line.repeat(16)), &[ours.verifier()]).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_signed_opens(text in "([^\\p{Cc}]{0,20}\n){1,4}") {
            let ours = signer("hub");
            prop_assert_eq!(open(&sign(&text, &ours), &[ours.verifier()]).unwrap().text, text);
        }

        #[test]
        fn any_altered_byte_is_refused(at in 0usize..1000, xor in 1u8..128) {
            let ours = signer("hub");
            let mut bytes = sign("some text\n", &ours).into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= xor;
            if let Ok(note) = String::from_utf8(bytes) {
                prop_assert!(open(&note, &[ours.verifier()]).is_err());
            }
        }

        #[test]
        fn no_text_is_fatal(note in "(text\n)?\n\n?(— )?[a-z+ ]{0,4}[A-Za-z0-9+/=\n—]{0,40}", key in "[a-z]*\\+[0-9a-f]{8}\\+[A-Za-z0-9+/=]{0,48}") {
            let ours = signer("hub").verifier();
            prop_assert!(open(&note, &[ours]).is_err());
            prop_assert!(Verifier::parse(&key).is_err());
        }
    }
}
