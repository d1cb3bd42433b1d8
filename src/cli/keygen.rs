//! `truc keygen`: a key with which an agency signs.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Serialize;

use super::{
    Failure, Output,
    files::{self, FileError, Readers},
};
use crate::domain::signature::{Algorithm, PublicKey, SigningKey};

const MAX_PEM: u64 = 16 << 10;

/// Makes a signing key for an agency: FILE.key (PKCS#8, for its owner only) and FILE.pub.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the private key goes; the public one goes beside it.
    #[arg(long, value_name = "FILE.key")]
    out: PathBuf,
    /// Kind of key.
    #[arg(long, value_enum, default_value_t = Kind::Ed25519)]
    algorithm: Kind,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// The exchange's own.
    Ed25519,
    /// ECDSA P-256 with SHA-256.
    P256,
}

/// What [`generate`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Generated {
    /// SHA-256 of the public key's SPKI DER, in hex.
    pub key_id: String,
    /// The private key.
    pub key: PathBuf,
    /// The public key (SPKI PEM), for the directory.
    pub public_key: PathBuf,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let algorithm = match self.algorithm {
            Kind::Ed25519 => Algorithm::Ed25519,
            Kind::P256 => Algorithm::EcdsaP256Sha256,
        };
        output.print(&generate(&self.out, algorithm)?, |made| made.key_id.clone());
        Ok(())
    }
}

/// Makes a key pair at `path` and, with the ending `.pub`, beside it. Overwrites nothing.
pub fn generate(path: &Path, algorithm: Algorithm) -> Result<Generated, Failure> {
    let public_path = path.with_extension("pub");
    if public_path == path || public_path.exists() {
        return Err(FileError::Exists { path: public_path }.into());
    }
    let key = SigningKey::generate(algorithm)?;
    files::create(path, key.to_pkcs8_pem().as_bytes(), Readers::Owner)?;
    let public = key.public_key();
    files::create(&public_path, spki_pem(public.spki_der()).as_bytes(), Readers::All)?;
    Ok(Generated { key_id: public.key_id().to_string(), key: path.to_owned(), public_key: public_path })
}

/// Reads a private key (PKCS#8 PEM).
pub fn read_signing_key(path: &Path) -> Result<SigningKey, FileError> {
    let pem = zeroize::Zeroizing::new(files::read_text(path, MAX_PEM)?);
    SigningKey::from_pkcs8_pem(&pem).map_err(|reason| FileError::content(path, reason))
}

/// Reads a public key (SPKI PEM); refuses weak ones.
pub fn read_public_key(path: &Path) -> Result<PublicKey, FileError> {
    let pem = files::read_text(path, MAX_PEM)?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| FileError::content(path, "no public key in PEM form"))?;
    PublicKey::from_spki_der(&der).map_err(|reason| FileError::content(path, reason))
}

/// Lines of 64 characters (RFC 7468 section 2).
fn spki_pem(der: &[u8]) -> String {
    let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
    for line in der.chunks(48) {
        pem.push_str(&BASE64_STANDARD.encode(line));
        pem.push('\n');
    }
    pem + "-----END PUBLIC KEY-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_read_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for (name, algorithm) in [("a.key", Algorithm::Ed25519), ("b", Algorithm::EcdsaP256Sha256)] {
            let made = generate(&folder.path().join(name), algorithm).expect("made");
            let public = read_public_key(&made.public_key).expect("public");
            assert_eq!(public, read_signing_key(&made.key).expect("private").public_key());
            assert_eq!((public.key_id().to_string(), public.algorithm()), (made.key_id, algorithm));
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.key");
        let made = generate(&path, Algorithm::Ed25519).expect("made");
        assert!(generate(&path, Algorithm::Ed25519).is_err());
        std::fs::remove_file(&path).expect("remove");
        assert!(generate(&path, Algorithm::Ed25519).is_err(), "the public half is still there");
        assert!(generate(&made.public_key, Algorithm::Ed25519).is_err());
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_private_half_is_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("temporary folder");
        let made = generate(&folder.path().join("a.key"), Algorithm::EcdsaP256Sha256).expect("made");
        assert_eq!(made.key.metadata().expect("metadata").permissions().mode() & 0o777, 0o600);
    }
}
