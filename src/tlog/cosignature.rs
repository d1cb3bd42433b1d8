//! C2SP cosignatures (<https://c2sp.org/tlog-cosignature>), Ed25519 (`cosignature/v1`): a witness says that it saw this
//! head at this time, and that it continues every head that it saw before.

use std::fmt;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use super::note::{self, NoteError};

/// Signature type of a timestamped Ed25519 cosignature.
const COSIGNATURE_V1: u8 = 0x04;

/// A witness's key. Shows nothing secret.
#[derive(Debug)]
pub struct Cosigner {
    name: String,
    key_hash: [u8; 4],
    key: SigningKey,
}

impl Cosigner {
    /// The key of this RFC 8032 secret seed, under this name.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        note::check_name(name)?;
        let key = SigningKey::from_bytes(seed);
        let key_hash = note::key_hash(name, COSIGNATURE_V1, &key.verifying_key());
        Ok(Self { name: name.to_owned(), key_hash, key })
    }

    /// What others need to check this key's cosignatures.
    #[must_use]
    pub fn verifier(&self) -> WitnessKey {
        WitnessKey { name: self.name.clone(), key_hash: self.key_hash, key: self.key.verifying_key() }
    }

    /// The signature line over a checkpoint's text, with its line feed. `time` is in seconds since 1970.
    #[must_use]
    pub fn cosign(&self, text: &str, time: u64) -> String {
        let signature = self.key.sign(message(text, time).as_bytes()).to_bytes();
        let stamped = [&time.to_be_bytes()[..], &signature].concat();
        note::write_line(&self.name, self.key_hash, &stamped) + "\n"
    }
}

/// A witness's public key with its name. Displays as `name+hash+key`, the form that [`WitnessKey::parse`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key_hash: [u8; 4],
    key: VerifyingKey,
}

/// A cosignature that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Seconds since 1970, by the witness's clock.
    pub time: u64,
    /// Its line in the note, with the line feed.
    pub line: String,
}

/// Names and times of the cosignatures on a note. **Nothing is verified**: anybody can write such a line.
pub fn unverified(signed_note: &str) -> Result<Vec<(String, u64)>, NoteError> {
    let (_, lines) = note::split(signed_note)?;
    // 8 bytes of time before the 64 of Ed25519 tell a cosignature/v1 from a log's own signature.
    let stamped = lines.iter().filter(|line| line.signature.len() == 72);
    let read = |line: &note::SignatureLine<'_>| {
        Some((line.name.to_owned(), u64::from_be_bytes(*line.signature.first_chunk::<8>()?)))
    };
    Ok(stamped.filter_map(read).collect())
}

impl WitnessKey {
    /// Reads `name+hex8+base64(0x04 || key)`. The hash must be right, and the key must not be weak.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, key_hash, key) = note::parse_vkey(text, COSIGNATURE_V1)?;
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

    /// This witness's newest cosignature on a note; `None` when it has none. A bad one in its name refuses the note.
    pub fn find(&self, signed_note: &str) -> Result<Option<Cosignature>, NoteError> {
        let (text, lines) = note::split(signed_note)?;
        let own = lines.iter().filter(|line| line.name == self.name && line.key_hash == self.key_hash);
        let mut newest: Option<Cosignature> = None;
        for line in own {
            let found = self.verify(text, &line.signature)?;
            if newest.as_ref().is_none_or(|known| known.time < found.time) {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    fn verify(&self, text: &str, stamped: &[u8]) -> Result<Cosignature, NoteError> {
        let bad = || NoteError::BadSignature(self.name.clone());
        let (time, signature) = stamped.split_first_chunk::<8>().ok_or_else(bad)?;
        let time = u64::from_be_bytes(*time);
        if i64::try_from(time).is_err() {
            return Err(bad());
        }
        let signature = Signature::from_slice(signature).map_err(|_| bad())?;
        self.key.verify_strict(message(text, time).as_bytes(), &signature).map_err(|_| bad())?;
        Ok(Cosignature { time, line: note::write_line(&self.name, self.key_hash, stamped) + "\n" })
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        note::write_vkey(f, &self.name, self.key_hash, COSIGNATURE_V1, &self.key)
    }
}

/// What is signed: the whole text of the checkpoint, below the kind of the signature and its time.
fn message(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::note::{Signer, Verifier};

    // Made by another implementation (Python, cryptography) from the seed 00 01 … 1f.
    const KEY: &str = "w.example/one+209c42bd+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const TEXT: &str = "hub.example/log\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n";
    const LINE: &str = "— w.example/one IJxCvQAAAABkGFDLQnPntVdOxcVioaTXJIDvukNQZdR5BxngYv1b6nmxs/WmnAzEtBEI3r8hofcC5t9AjZ2rDpolV0U0hhdirDHsDg==\n";

    #[test]
    fn lines_of_witnesses_are_told_apart_from_the_log_s_own() {
        let signer = Signer::from_seed("hub.example/log", &[1; 32]).unwrap();
        let note = note::sign(TEXT, &signer);
        assert_eq!(unverified(&note), Ok(Vec::new()));
        let time =
            cosigner("w.example/one").verifier().find(&format!("{TEXT}\n{LINE}")).unwrap().unwrap().time;
        assert_eq!(unverified(&(note + LINE)), Ok(vec![("w.example/one".into(), time)]));
        assert!(unverified("no note").is_err());
    }

    fn cosigner(name: &str) -> Cosigner {
        Cosigner::from_seed(name, &std::array::from_fn(|at| u8::try_from(at).unwrap())).unwrap()
    }

    #[test]
    fn bytes_are_frozen() {
        let witness = cosigner("w.example/one");
        assert_eq!(witness.verifier().to_string(), KEY);
        assert_eq!(WitnessKey::parse(KEY), Ok(witness.verifier()));
        assert_eq!(witness.cosign(TEXT, 1_679_315_147), LINE);
        let found = WitnessKey::parse(KEY).unwrap().find(&format!("{TEXT}\n{LINE}")).unwrap();
        assert_eq!(found, Some(Cosignature { time: 1_679_315_147, line: LINE.into() }));
    }

    #[test]
    fn a_cosignature_is_over_text_and_time() {
        let witness = cosigner("w.example/one");
        let key = witness.verifier();
        let line = witness.cosign(TEXT, 5);
        assert!(key.find(&format!("{TEXT}\n{line}")).unwrap().is_some());
        let other = TEXT.replace("\n3\n", "\n4\n");
        assert!(matches!(key.find(&format!("{other}\n{line}")), Err(NoteError::BadSignature(_))));

        let later = note::split(&format!("{TEXT}\n{line}")).unwrap().1.remove(0).signature;
        let moved = [&6u64.to_be_bytes()[..], &later[8..]].concat();
        let moved = note::write_line(key.name(), key.key_hash, &moved);
        assert!(matches!(key.find(&format!("{TEXT}\n{moved}\n")), Err(NoteError::BadSignature(_))));
    }

    #[test]
    fn the_newest_of_several_counts_and_strangers_do_not() {
        let (one, two) = (cosigner("one"), cosigner("two"));
        let note = [TEXT, "\n", &one.cosign(TEXT, 7), &one.cosign(TEXT, 9), &one.cosign(TEXT, 8)].concat();
        assert_eq!(one.verifier().find(&note).unwrap().unwrap().time, 9);
        assert_eq!(two.verifier().find(&note), Ok(None));
        assert!(one.verifier().is_same_key(&two.verifier()));
    }

    #[test]
    fn the_two_kinds_of_keys_are_never_taken_for_each_other() {
        let seed = [3; 32];
        let (log, witness) =
            (Signer::from_seed("x", &seed).unwrap(), Cosigner::from_seed("x", &seed).unwrap());
        assert!(WitnessKey::parse(&log.verifier().to_string()).is_err());
        assert!(Verifier::parse(&witness.verifier().to_string()).is_err());
        let note = format!("{TEXT}\n{}", witness.cosign(TEXT, 1));
        assert_eq!(note::open(&note, &[log.verifier()]), Err(NoteError::NotSigned));
        assert_eq!(witness.verifier().find(&note::sign(TEXT, &log)), Ok(None));
    }

    #[test]
    fn times_beyond_the_standard_are_refused() {
        let witness = cosigner("one");
        let note = format!("{TEXT}\n{}", witness.cosign(TEXT, 1 << 63));
        assert!(matches!(witness.verifier().find(&note), Err(NoteError::BadSignature(_))));
    }
}
