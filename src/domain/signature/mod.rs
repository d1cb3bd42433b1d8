//! Keys and signatures: the algorithm comes from the key, never from the message.

mod comb;
mod ed25519;
mod signing;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::pkcs8::{
    ObjectIdentifier,
    spki::{SubjectPublicKeyInfoRef, der::Encode},
};
use num_bigint::BigUint;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

pub use signing::SigningKey;

use super::{
    id::Digest,
    reason::{Reason, ReasonCode},
};
use crate::proto::signature::Value;

/// Largest public key that is looked at, in bytes of DER: room for kinds that are refused by name.
pub const MAX_SPKI: usize = 4096;

/// id-Ed25519 (RFC 8410).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-ecPublicKey (RFC 5480).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1 (RFC 5480).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 8032.
    Ed25519,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256Sha256,
}

/// A public key that passed the checks of registration.
#[derive(Clone)]
pub struct PublicKey {
    key_id: Digest,
    spki_der: Bytes,
    point: Point,
}

#[derive(Clone)]
enum Point {
    Ed25519(Arc<ed25519::VerifyingKey>),
    /// Uncompressed (SEC 1 section 2.3.3).
    P256([u8; 65]),
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo. One key has one encoding and so one [`PublicKey::key_id`].
    ///
    /// `MALFORMED`: not exactly that. `UNSUPPORTED_ALGORITHM`: another kind, curve or point form. `KEY_WEAK`: not a
    /// point, or an Ed25519 point of small or mixed order or in another than its canonical form, on which verifiers
    /// would disagree.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, Reason> {
        if der.len() > MAX_SPKI {
            return Err(refused(ReasonCode::TooLarge, "larger than 4096 bytes"));
        }
        let malformed = || refused(ReasonCode::Malformed, "not a SubjectPublicKeyInfo in DER");
        let spki = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| malformed())?;
        // That a key has one encoding is not left to the parser's strictness.
        if spki.to_der().map_err(|_| malformed())? != der {
            return Err(malformed());
        }
        let key = spki.subject_public_key.as_bytes().ok_or_else(malformed)?;
        let point = match spki.algorithm.oid {
            ED25519 if spki.algorithm.parameters.is_some() => return Err(malformed()),
            ED25519 => Point::Ed25519(Arc::new(ed25519_key(key.try_into().map_err(|_| malformed())?)?)),
            EC_PUBLIC_KEY if spki.algorithm.parameters_oid() != Ok(P256) => {
                return Err(refused(ReasonCode::UnsupportedAlgorithm, "a curve other than P-256"));
            }
            EC_PUBLIC_KEY => Point::P256(p256_point(key)?),
            other => {
                return Err(refused(ReasonCode::UnsupportedAlgorithm, format!("keys of kind {other}")));
            }
        };
        Ok(Self { key_id: Digest::of(der), spki_der: Bytes::copy_from_slice(der), point })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_id(&self) -> Digest {
        self.key_id
    }

    /// What the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.point {
            Point::Ed25519(_) => Algorithm::Ed25519,
            Point::P256(_) => Algorithm::EcdsaP256Sha256,
        }
    }

    /// The SubjectPublicKeyInfo, as it was registered.
    #[must_use]
    pub fn spki_der(&self) -> &Bytes {
        &self.spki_der
    }

    /// Checks one signature over `message`.
    ///
    /// `UNSUPPORTED_ALGORITHM` for CMS; `BAD_SIGNATURE` for all else that does not verify, also for a value of another
    /// kind than the key's.
    pub fn verify(&self, message: &[u8], value: &Value) -> Result<(), ReasonCode> {
        let good = match (&self.point, value) {
            (_, Value::CmsDetached(_)) => return Err(ReasonCode::UnsupportedAlgorithm),
            (Point::Ed25519(key), Value::Ed25519(value)) => key.verify(message, value),
            (Point::P256(point), Value::EcdsaP256Sha256(value)) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, value).is_ok()
            }
            _ => false,
        };
        if good { Ok(()) } else { Err(ReasonCode::BadSignature) }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der == other.spki_der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.algorithm(), self.key_id)
    }
}

fn ed25519_key(bytes: [u8; 32]) -> Result<ed25519::VerifyingKey, Reason> {
    let weak = |detail: &str| refused(ReasonCode::KeyWeak, detail);
    let point = CompressedEdwardsY(bytes).decompress().ok_or_else(|| weak("not a point"))?;
    if point.compress().to_bytes() != bytes {
        return Err(weak("not the canonical form of the point"));
    }
    if point.is_small_order() {
        return Err(weak("a point of small order"));
    }
    if !point.is_torsion_free() {
        return Err(weak("a point of mixed order"));
    }
    Ok(ed25519::VerifyingKey::new(point, bytes))
}

fn p256_point(bytes: &[u8]) -> Result<[u8; 65], Reason> {
    let Ok(point @ [0x04, xy @ ..]) = <&[u8; 65]>::try_from(bytes) else {
        return Err(refused(ReasonCode::UnsupportedAlgorithm, "a P-256 point that is not uncompressed"));
    };
    let (x, y) = xy.split_at(32);
    if !is_on_p256(x, y) {
        return Err(refused(ReasonCode::KeyWeak, "not a point of P-256"));
    }
    Ok(*point)
}

/// Public key validation of SEC 1 section 3.2.2.1: `y² = x³ - 3x + b (mod p)`. All points have the curve's prime order.
/// ring repeats it at each verification, but tells it only there.
fn is_on_p256(x: &[u8], y: &[u8]) -> bool {
    // FIPS 186-4 D.1.2.3, least significant word first.
    const P: [u32; 8] = [!0, !0, !0, 0, 0, 0, 1, !0];
    const B: [u32; 8] = [
        0x27d2_604b,
        0x3bce_3c3e,
        0xcc53_b0f6,
        0x651d_06b0,
        0x7698_86bc,
        0xb3eb_bd55,
        0xaa3a_93e7,
        0x5ac6_35d8,
    ];
    let (p, b) = (&BigUint::from_slice(&P), BigUint::from_slice(&B));
    let (x, y) = (&BigUint::from_bytes_be(x), &BigUint::from_bytes_be(y));
    let minus_3 = p - 3u32;
    x < p && y < p && (y * y) % p == (x * x * x + minus_3 * x + b) % p
}

fn refused(code: ReasonCode, detail: impl fmt::Display) -> Reason {
    Reason::new(code, format!("spki_der: {detail}"))
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use proptest::prelude::*;
    use ring::{
        agreement::{self, ECDH_P256, EphemeralPrivateKey},
        rand::SystemRandom,
    };

    use super::*;

    const ED25519_SPKI: &str = "302a300506032b6570032100";
    // Written by OpenSSL 3, which also signed "a message" with each.
    const OPENSSL_ED25519: &str =
        "302a300506032b65700321008480690c9012b53e9a2a0a0b0ccc856bd297859c8a029ea1c50a721c928ec007";
    const OPENSSL_ED25519_SIGNATURE: &str = "de43b401d09375df2942676633c68cfcedd11613648e44a47f600b00428448f07188\
         85251f5010f7b6278f8ff79be9f2791dc3cc03f19af9b6b931047c9d1904";
    const OPENSSL_P256: &str = "3059301306072a8648ce3d020106082a8648ce3d03010703420004b9da994914601e598d1c6b0081b851f1\
         a73c6fb439f485d10c4c48261e348b5d209e9e8f2c4074de1d36b28c1665adaf6115ce4b522f1293a60fca9106cbaa69";
    const OPENSSL_P256_SIGNATURE: &str = "3046022100b5fd857442275d2afaa20d67b50dc76a41547cc2d8686ae5dc571115fca1dbd4\
         022100e1d86ca15811f9990001b195c308f3f6b2da50e1c88d17430db7293a6477d1fa";
    const OPENSSL_P256_COMPRESSED: &str = "3039301306072a8648ce3d020106082a8648ce3d03010703220003b9da994914601e598d\
         1c6b0081b851f1a73c6fb439f485d10c4c48261e348b5d";

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    fn ed25519(point: &[u8]) -> Result<PublicKey, Reason> {
        PublicKey::from_spki_der(&[&bytes(ED25519_SPKI), point].concat())
    }

    fn code(der: &[u8]) -> ReasonCode {
        PublicKey::from_spki_der(der).unwrap_err().code
    }

    #[test]
    fn keys_and_signatures_of_openssl_are_read() {
        for (spki, algorithm, value) in [
            (OPENSSL_ED25519, Algorithm::Ed25519, Value::Ed25519(bytes(OPENSSL_ED25519_SIGNATURE).into())),
            (
                OPENSSL_P256,
                Algorithm::EcdsaP256Sha256,
                Value::EcdsaP256Sha256(bytes(OPENSSL_P256_SIGNATURE).into()),
            ),
        ] {
            let key = PublicKey::from_spki_der(&bytes(spki)).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(key.spki_der()[..], bytes(spki));
            assert_eq!(key.key_id(), Digest::of(&bytes(spki)));
            assert_eq!(key.verify(b"a message", &value), Ok(()));
            assert_eq!(key.verify(b"another", &value), Err(ReasonCode::BadSignature));
        }
    }

    #[test]
    fn a_value_of_another_kind_is_never_good() {
        let ed25519 = PublicKey::from_spki_der(&bytes(OPENSSL_ED25519)).unwrap();
        let p256 = PublicKey::from_spki_der(&bytes(OPENSSL_P256)).unwrap();
        let (of_ed25519, of_p256) =
            (Bytes::from(bytes(OPENSSL_ED25519_SIGNATURE)), Bytes::from(bytes(OPENSSL_P256_SIGNATURE)));
        for (key, value) in [
            (&ed25519, Value::EcdsaP256Sha256(of_p256.clone())),
            (&ed25519, Value::EcdsaP256Sha256(of_ed25519.clone())),
            (&ed25519, Value::Ed25519(of_p256.clone())),
            (&ed25519, Value::Ed25519(Bytes::new())),
            (&p256, Value::Ed25519(of_ed25519)),
            (&p256, Value::Ed25519(of_p256)),
            (&p256, Value::EcdsaP256Sha256(Bytes::new())),
        ] {
            assert_eq!(key.verify(b"a message", &value), Err(ReasonCode::BadSignature), "{key:?} {value:?}");
        }
        let cms = Value::CmsDetached(Bytes::from_static(b"cms"));
        assert_eq!(p256.verify(b"a message", &cms), Err(ReasonCode::UnsupportedAlgorithm));
    }

    #[test]
    fn points_of_small_order_are_weak() {
        for point in EIGHT_TORSION {
            assert_eq!(ed25519(point.compress().as_bytes()).unwrap_err().code, ReasonCode::KeyWeak);
        }
    }

    #[test]
    fn points_that_are_not_canonical_are_weak() {
        // p = 2^255 - 19; y = p and p + 1 mean 0 and 1, and the sign bit of x = 0 means nothing.
        let p = |low: u8, high: u8| [&[low][..], &[0xff; 30], &[high]].concat();
        let one = |high: u8| [&[1][..], &[0; 30], &[high]].concat();
        for point in [p(0xed, 0x7f), p(0xed, 0xff), p(0xee, 0x7f), p(0xee, 0xff), p(0xec, 0xff), one(0x80)] {
            assert_eq!(ed25519(&point).unwrap_err().code, ReasonCode::KeyWeak, "{}", hex::encode(point));
        }
        // y = p + 3 is a point of full order in a second form: only the check of the form finds it.
        let second_form = p(0xf0, 0x7f);
        let accepted_by_dalek =
            ed25519_dalek::VerifyingKey::from_bytes(&second_form.clone().try_into().unwrap());
        assert!(accepted_by_dalek.is_ok_and(|key| !key.is_weak()));
        let reason = ed25519(&second_form).unwrap_err();
        assert_eq!(reason.code, ReasonCode::KeyWeak);
        assert!(reason.detail.contains("canonical"), "{reason}");
    }

    #[test]
    fn points_of_mixed_order_are_weak() {
        for torsion in &EIGHT_TORSION[1..] {
            let mixed = ED25519_BASEPOINT_POINT + torsion;
            let reason = ed25519(mixed.compress().as_bytes()).unwrap_err();
            assert_eq!(reason.code, ReasonCode::KeyWeak);
            assert!(reason.detail.contains("mixed"), "{reason}");
        }
        assert!(ed25519(ED25519_BASEPOINT_POINT.compress().as_bytes()).is_ok());
    }

    #[test]
    fn bytes_that_are_no_point_are_weak() {
        let y_2 = [&[2][..], &[0; 31]].concat();
        assert_eq!(ed25519(&y_2).unwrap_err().code, ReasonCode::KeyWeak);
        let mut p256 = bytes(OPENSSL_P256);
        *p256.last_mut().unwrap() ^= 1;
        assert_eq!(code(&p256), ReasonCode::KeyWeak);
        let zero = [&bytes(OPENSSL_P256)[..27], &[0; 64]].concat();
        assert_eq!(code(&zero), ReasonCode::KeyWeak);
    }

    #[test]
    fn coordinates_are_below_the_prime() {
        let y = bytes("459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc");
        let five = [&[0; 31][..], &[5]].concat();
        let five_plus_p = bytes("ffffffff00000001000000000000000000000001000000000000000000000004");
        let key = |x: &[u8]| PublicKey::from_spki_der(&[&bytes(OPENSSL_P256)[..27], x, &y].concat());
        assert!(key(&five).is_ok());
        assert_eq!(key(&five_plus_p).unwrap_err().code, ReasonCode::KeyWeak);
    }

    #[test]
    fn one_key_has_one_encoding() {
        let der = bytes(OPENSSL_P256);
        let trailing = [&der[..], &[0]].concat();
        // The same lengths in a longer form, which BER allows.
        let long_form = [&[0x30, 0x81, 0x59][..], &der[2..]].concat();
        let no_parameters = [&[0x30, 0x4f, 0x30, 0x09][..], &der[4..13], &der[23..]].concat();
        let null_parameters = bytes(&OPENSSL_ED25519.replace("302a300506032b6570", "302c300706032b65700500"));
        let unused_bits = bytes(&OPENSSL_ED25519.replace("032100", "032101"));
        for wrong in [&trailing, &long_form, &null_parameters, &unused_bits, &der[..40].to_vec(), &vec![]] {
            assert_eq!(code(wrong), ReasonCode::Malformed, "{}", hex::encode(wrong));
        }
        assert_eq!(code(&no_parameters), ReasonCode::UnsupportedAlgorithm);
        assert_eq!(ed25519(&[1; 31]).unwrap_err().code, ReasonCode::Malformed);
        assert_eq!(code(&vec![0x30; MAX_SPKI + 1]), ReasonCode::TooLarge);
    }

    #[test]
    fn other_kinds_are_named() {
        let x25519 = OPENSSL_ED25519.replace("2b6570", "2b656e");
        let p384 = OPENSSL_P256.replace("2a8648ce3d030107", "2a8648ce3d030122");
        for (spki, named) in [
            (&x25519[..], "1.3.101.110"),
            (&p384, "other than P-256"),
            (OPENSSL_P256_COMPRESSED, "uncompressed"),
        ] {
            let reason = PublicKey::from_spki_der(&bytes(spki)).unwrap_err();
            assert_eq!(reason.code, ReasonCode::UnsupportedAlgorithm);
            assert!(reason.detail.contains(named), "{reason}");
        }
    }

    #[test]
    fn a_moved_scalar_is_refused() {
        // The order L of the group; S + L verifies wherever S < L is not asked for.
        let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut signature = bytes(OPENSSL_ED25519_SIGNATURE);
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        let key = PublicKey::from_spki_der(&bytes(OPENSSL_ED25519)).unwrap();
        let moved = Value::Ed25519(signature.into());
        assert_eq!(key.verify(b"a message", &moved), Err(ReasonCode::BadSignature));
    }

    proptest! {
        #[test]
        fn the_curve_equation_agrees_with_ring(flip in prop::option::of((1usize..65, 0u8..8))) {
            let random = SystemRandom::new();
            let key = || EphemeralPrivateKey::generate(&ECDH_P256, &random).unwrap();
            let mut point: [u8; 65] = key().compute_public_key().unwrap().as_ref().try_into().unwrap();
            if let Some((at, bit)) = flip {
                point[at] ^= 1 << bit;
            }
            let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, point);
            let theirs = agreement::agree_ephemeral(key(), &peer, |_| ()).is_ok();
            prop_assert_eq!(p256_point(&point).is_ok(), theirs);
        }

        #[test]
        fn no_bytes_are_fatal(noise in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..91, byte: u8) {
            _ = PublicKey::from_spki_der(&noise);
            let mut nearly = bytes(OPENSSL_P256);
            nearly[at] = byte;
            _ = PublicKey::from_spki_der(&nearly);
        }
    }
}
