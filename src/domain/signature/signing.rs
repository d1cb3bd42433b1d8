//! Private keys: the part of the domain that clients and tools use, and the hub does not.

use std::fmt;

use bytes::Bytes;
use ed25519_dalek::{
    Signer as _,
    pkcs8::{
        BitStringRef, EncodePrivateKey, KeypairBytes, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument,
        spki::{
            AlgorithmIdentifier, SubjectPublicKeyInfoRef,
            der::{Encode, asn1::AnyRef, pem::LineEnding},
        },
    },
};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use zeroize::Zeroizing;

use super::{Algorithm, EC_PUBLIC_KEY, ED25519, P256, PublicKey};
use crate::{
    domain::reason::{Reason, ReasonCode},
    proto::{self, signature::Value},
};

/// Of unencrypted PKCS#8 (RFC 7468).
const PEM_LABEL: &str = "PRIVATE KEY";

/// A private key, for clients and tools: the hub holds none that signs envelopes. Shows nothing secret.
pub struct SigningKey {
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    P256 { pair: EcdsaKeyPair, pkcs8: SecretDocument },
}

impl SigningKey {
    /// A new key from the system's randomness. Fails only if there is none.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Reason> {
        let random = SystemRandom::new();
        let no_randomness = |_| Reason::new(ReasonCode::Unspecified, "the system gives no randomness");
        match algorithm {
            Algorithm::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                random.fill(&mut *seed).map_err(no_randomness)?;
                Self::ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))
            }
            Algorithm::EcdsaP256Sha256 => {
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
                Self::p256(pkcs8.map_err(no_randomness)?.as_ref())
            }
        }
    }

    /// Reads an unencrypted PKCS#8 key, as `openssl genpkey` writes it.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, Reason> {
        let (label, pkcs8) = SecretDocument::from_pem(pem).map_err(|_| unreadable("not PEM"))?;
        if label != PEM_LABEL {
            return Err(unreadable("needs unencrypted PKCS#8: BEGIN PRIVATE KEY"));
        }
        let info = PrivateKeyInfoRef::try_from(pkcs8.as_bytes()).map_err(|_| unreadable("not PKCS#8"))?;
        match info.algorithm.oid {
            ED25519 => Self::ed25519(info.try_into().map_err(|_| unreadable("not an Ed25519 key"))?),
            EC_PUBLIC_KEY => Self::p256(pkcs8.as_bytes()),
            other => Err(Reason::new(
                ReasonCode::UnsupportedAlgorithm,
                format!("private key: keys of kind {other} are not supported"),
            )),
        }
    }

    /// Unencrypted PKCS#8 in PEM, which OpenSSL and others read.
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        let pem = match &self.secret {
            Secret::Ed25519(key) => ed25519_pkcs8(key).to_pem(PEM_LABEL, LineEnding::LF),
            Secret::P256 { pkcs8, .. } => pkcs8.to_pem(PEM_LABEL, LineEnding::LF),
        };
        pem.expect("a key fits into PEM")
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs `message`; names the key by its id.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> proto::Signature {
        let value = match &self.secret {
            Secret::Ed25519(key) => Value::Ed25519(Bytes::copy_from_slice(&key.sign(message).to_bytes())),
            Secret::P256 { pair, .. } => {
                let signature = pair.sign(&SystemRandom::new(), message);
                let signature = signature.expect("the system gave randomness when the key was read");
                Value::EcdsaP256Sha256(Bytes::copy_from_slice(signature.as_ref()))
            }
        };
        proto::Signature { key_id: self.public.key_id.to_bytes(), value: Some(value) }
    }

    fn ed25519(key: ed25519_dalek::SigningKey) -> Result<Self, Reason> {
        let public = PublicKey::from_spki_der(&spki(ED25519, None, key.verifying_key().as_bytes())?)?;
        Ok(Self { secret: Secret::Ed25519(key), public })
    }

    fn p256(pkcs8: &[u8]) -> Result<Self, Reason> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &SystemRandom::new())
            .map_err(|rejected| unreadable(&format!("not a P-256 key with its public key: {rejected}")))?;
        let pkcs8 = SecretDocument::try_from(pkcs8).map_err(|_| unreadable("not PKCS#8"))?;
        let public = PublicKey::from_spki_der(&spki(
            EC_PUBLIC_KEY,
            Some(AnyRef::from(&P256)),
            pair.public_key().as_ref(),
        )?)?;
        Ok(Self { secret: Secret::P256 { pair, pkcs8 }, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

fn spki(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, key: &[u8]) -> Result<Vec<u8>, Reason> {
    let impossible = |_| unreadable("its public key has no DER form");
    let subject_public_key = BitStringRef::from_bytes(key).map_err(impossible)?;
    let spki =
        SubjectPublicKeyInfoRef { algorithm: AlgorithmIdentifier { oid, parameters }, subject_public_key };
    spki.to_der().map_err(impossible)
}

/// PKCS#8 version 1, without the public key: OpenSSL does not read version 2.
fn ed25519_pkcs8(key: &ed25519_dalek::SigningKey) -> SecretDocument {
    let bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    bytes.to_pkcs8_der().expect("32 bytes have a DER form")
}

fn unreadable(detail: &str) -> Reason {
    Reason::new(ReasonCode::Malformed, format!("private key: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::Digest;

    fn pem(body: &str) -> String {
        format!("-----BEGIN {PEM_LABEL}-----\n{body}\n-----END {PEM_LABEL}-----\n")
    }

    fn code(pem: &str) -> ReasonCode {
        SigningKey::from_pkcs8_pem(pem).unwrap_err().code
    }

    // RFC 8410 section 10.3 and its public key in section 10.1.
    const RFC_8410: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
    const RFC_8410_POINT: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
    // Written by `openssl genpkey`, for this test only.
    const OPENSSL_P256: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgIHdYNOwPjmpFn87w\n\
        On+9zgfzUaXbuBSqIoezvHco1bShRANCAAS52plJFGAeWY0cawCBuFHxpzxvtDn0\n\
        hdEMTEgmHjSLXSCeno8sQHTeHTayjBZlra9hFc5LUi8Sk6YPypEGy6pp";

    #[test]
    fn what_is_generated_signs_and_reads_back() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256Sha256] {
            let key = SigningKey::generate(algorithm).unwrap();
            let read = SigningKey::from_pkcs8_pem(&key.to_pkcs8_pem()).unwrap();
            assert_eq!(read.public_key(), key.public_key());
            assert_eq!(key.public_key().algorithm(), algorithm);

            let signature = read.sign(b"a message");
            assert_eq!(Digest::from_slice(&signature.key_id), Some(key.public_key().key_id()));
            let value = signature.value.unwrap();
            assert_eq!(key.public_key().verify(b"a message", &value), Ok(()));
            assert_eq!(key.public_key().verify(b"another", &value), Err(ReasonCode::BadSignature));
        }
    }

    #[test]
    fn keys_of_others_are_read_and_written_alike() {
        let ed25519 = SigningKey::from_pkcs8_pem(&pem(RFC_8410)).unwrap();
        assert_eq!(hex::encode(&ed25519.public_key().spki_der()[12..]), RFC_8410_POINT);
        assert_eq!(*ed25519.to_pkcs8_pem(), pem(RFC_8410));
        let p256 = SigningKey::from_pkcs8_pem(&pem(OPENSSL_P256)).unwrap();
        assert_eq!(p256.public_key().algorithm(), Algorithm::EcdsaP256Sha256);
        assert_eq!(*p256.to_pkcs8_pem(), pem(OPENSSL_P256));
    }

    #[test]
    fn signatures_of_ed25519_are_frozen() {
        // RFC 8032 section 7.1, test 2.
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = ed25519_dalek::SigningKey::from_bytes(&seed.try_into().unwrap());
        let Some(Value::Ed25519(value)) = SigningKey::ed25519(key).unwrap().sign(&[0x72]).value else {
            panic!("another kind");
        };
        assert_eq!(
            hex::encode(value),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn other_files_are_refused() {
        let of_kind = |label: &str| pem(RFC_8410).replace(PEM_LABEL, label);
        for wrong in [
            String::new(),
            "junk".into(),
            of_kind("EC PRIVATE KEY"),
            of_kind("ENCRYPTED PRIVATE KEY"),
            pem(&RFC_8410[..40]),
            pem(&OPENSSL_P256.replace("6pp", "6pq")),
        ] {
            assert_eq!(code(&wrong), ReasonCode::Malformed, "{wrong}");
        }
        assert_eq!(code(&pem(&RFC_8410.replace("K2Vw", "K2Vu"))), ReasonCode::UnsupportedAlgorithm);
    }

    #[test]
    fn a_key_shows_nothing_secret() {
        let shown = format!("{:?}", SigningKey::from_pkcs8_pem(&pem(RFC_8410)).unwrap());
        assert!(!shown.contains("d4ee72db") && !shown.contains("212, 238"), "{shown}");
        assert!(shown.contains("Ed25519"), "{shown}");
    }
}
