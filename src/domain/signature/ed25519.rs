//! Ed25519 verification (RFC 8032 section 5.1.7, cofactorless), one signature at a time, with the strict rules of
//! `verify_strict`: canonical scalar, canonical point, no points of small order.
//!
//! A batch verdict would be quicker, but it passes crafted signatures that a single check refuses. What is quick here
//! is the single check itself: the base point and each key in frequent use keep a table of their multiples, and the
//! equation `R = s·B − k·A` needs next to no doublings any more.

use std::sync::{
    LazyLock, OnceLock,
    atomic::{AtomicU32, AtomicUsize, Ordering},
};

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    constants::ED25519_BASEPOINT_POINT,
    traits::{Identity, IsIdentity},
};
use ring::digest::{Context, SHA512};

use super::comb::Comb;

/// Signatures of one key after which its table pays.
const FREQUENT: u32 = 32;
/// Tables of all keys together: 65 KiB each.
const MAX_TABLES: usize = 512;

static TABLES: AtomicUsize = AtomicUsize::new(0);
/// 640 KiB, made in a millisecond.
static BASE: LazyLock<Comb<8, 1>> = LazyLock::new(|| Comb::new(&ED25519_BASEPOINT_POINT));

type KeyTable = Comb<5, 2>;

/// A public key that passed the checks of registration.
pub struct VerifyingKey {
    bytes: [u8; 32],
    minus: EdwardsPoint,
    uses: AtomicU32,
    table: OnceLock<KeyTable>,
}

impl VerifyingKey {
    /// The key of a point of prime order, and its canonical form.
    pub fn new(point: EdwardsPoint, bytes: [u8; 32]) -> Self {
        Self { bytes, minus: -point, uses: AtomicU32::new(0), table: OnceLock::new() }
    }

    /// The same verdict as `verify_strict` for every message and signature.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some((r, s)) = signature.split_first_chunk::<32>() else { return false };
        let Ok(s) = <[u8; 32]>::try_from(s) else { return false };
        let Some(s) = Option::<Scalar>::from(Scalar::from_canonical_bytes(s)) else { return false };
        let expected = self.expected(&s, &challenge(r, &self.bytes, message));
        // Only the canonical form of the point equals its compression.
        expected.compress().as_bytes() == r && !expected.mul_by_cofactor().is_identity()
    }

    /// `s·B − k·A`.
    fn expected(&self, s: &Scalar, k: &Scalar) -> EdwardsPoint {
        match self.table() {
            Some(table) => BASE.times(s, table.times(k, EdwardsPoint::identity())),
            None => EdwardsPoint::vartime_double_scalar_mul_basepoint(k, &self.minus, s),
        }
    }

    fn table(&self) -> Option<&KeyTable> {
        if let Some(table) = self.table.get() {
            return Some(table);
        }
        // Exactly one use makes the table; a key that finds no room never asks again.
        let makes = self.uses.load(Ordering::Relaxed) <= FREQUENT
            && self.uses.fetch_add(1, Ordering::Relaxed) == FREQUENT
            && take_room();
        makes.then(|| self.table.get_or_init(|| Comb::new(&self.minus)))
    }
}

impl Drop for VerifyingKey {
    fn drop(&mut self) {
        if self.table.get().is_some() {
            TABLES.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn take_room() -> bool {
    let room = |tables: usize| (tables < MAX_TABLES).then_some(tables + 1);
    TABLES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
}

/// `SHA-512(R ‖ A ‖ M)` as a scalar.
fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    let mut hash = Context::new(&SHA512);
    [r, a, message].into_iter().for_each(|part: &[u8]| hash.update(part));
    let digest = hash.finish();
    let wide = digest.as_ref().first_chunk().expect("SHA-512 has 64 bytes");
    Scalar::from_bytes_mod_order_wide(wide)
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::{
        constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION},
        edwards::CompressedEdwardsY,
    };
    use ed25519_dalek::{Signature, Signer, SigningKey};
    use proptest::prelude::*;

    use super::*;

    /// Our key twice, without and with its table, and the oracle.
    fn keys(bytes: &[u8; 32]) -> (VerifyingKey, VerifyingKey, ed25519_dalek::VerifyingKey) {
        let theirs = ed25519_dalek::VerifyingKey::from_bytes(bytes).unwrap();
        let new = || VerifyingKey::new(theirs.to_edwards(), *bytes);
        let frequent = new();
        frequent.table.set(Comb::new(&frequent.minus)).ok().unwrap();
        TABLES.fetch_add(1, Ordering::Relaxed);
        (new(), frequent, theirs)
    }

    /// The one verdict of all three.
    fn verdict(bytes: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let (plain, frequent, theirs) = keys(bytes);
        let good = theirs.verify_strict(message, &Signature::from_bytes(signature)).is_ok();
        assert_eq!(plain.verify(message, signature), good);
        assert_eq!(frequent.verify(message, signature), good);
        good
    }

    fn signature(r: EdwardsPoint, s: Scalar) -> [u8; 64] {
        [r.compress().to_bytes(), s.to_bytes()].concat().try_into().unwrap()
    }

    #[test]
    fn crafted_signatures_get_the_verdict_of_verify_strict() {
        let a = Scalar::from(7u64);
        let key = (ED25519_BASEPOINT_POINT * a).compress().to_bytes();
        for torsion in EIGHT_TORSION {
            for nonce in [0u64, 1, 5] {
                let r = ED25519_BASEPOINT_POINT * Scalar::from(nonce) + torsion;
                let k = challenge(&r.compress().to_bytes(), &key, b"m");
                let crafted = signature(r, Scalar::from(nonce) + k * a);
                let sound = torsion.is_identity() && nonce != 0;
                assert_eq!(verdict(&key, b"m", &crafted), sound, "nonce {nonce}");
            }
        }
    }

    #[test]
    fn a_point_in_another_than_its_canonical_form_is_refused() {
        let a = Scalar::from(7u64);
        let key = (ED25519_BASEPOINT_POINT * a).compress().to_bytes();
        // y = p + 3 decodes, and is not how the point is written.
        let second_form: [u8; 32] = [&[0xf0][..], &[0xff; 30], &[0x7f]].concat().try_into().unwrap();
        assert!(CompressedEdwardsY(second_form).decompress().is_some());
        let crafted = [second_form, [0; 32]].concat().try_into().unwrap();
        assert!(!verdict(&key, b"m", &crafted));
    }

    #[test]
    fn a_key_gets_its_table_when_it_is_used_often_and_gives_the_room_back() {
        let signing = SigningKey::from_bytes(&[3; 32]);
        let bytes = signing.verifying_key().to_bytes();
        let key = VerifyingKey::new(signing.verifying_key().to_edwards(), bytes);
        let signed = signing.sign(b"m").to_bytes();
        for _ in 0..FREQUENT {
            assert!(key.verify(b"m", &signed));
        }
        assert!(key.table.get().is_none());
        assert!(key.verify(b"m", &signed) && key.table.get().is_some());
        assert!(key.verify(b"m", &signed) && !key.verify(b"n", &signed));
    }

    proptest! {
        #[test]
        fn any_signature_gets_the_verdict_of_verify_strict(
            seed: [u8; 32],
            message in prop::collection::vec(any::<u8>(), 0..200),
            flip in prop::option::of((0usize..64, 0u8..8)),
        ) {
            let signing = SigningKey::from_bytes(&seed);
            let mut signed = signing.sign(&message).to_bytes();
            if let Some((at, bit)) = flip {
                signed[at] ^= 1 << bit;
            }
            prop_assert_eq!(verdict(&signing.verifying_key().to_bytes(), &message, &signed), flip.is_none());
        }

        #[test]
        fn no_bytes_are_fatal(noise in prop::collection::vec(any::<u8>(), 0..130)) {
            let (plain, frequent, _) = keys(&ED25519_BASEPOINT_POINT.compress().to_bytes());
            prop_assert!(!plain.verify(b"m", &noise) && !frequent.verify(b"m", &noise));
        }
    }
}
