//! Signatures that are none.

use bytes::Bytes;
use prost::Message;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    domain::{
        envelope::{self, MANIFEST, RECEIPT},
        reason::ReasonCode,
        signature::{Algorithm, SigningKey},
    },
    proto::{signature::Value, *},
};

use crate::rig::{Rig, letter, reason, soon};

type Forges = fn(&mut SignedEnvelope);

#[tokio::test(flavor = "multi_thread")]
async fn no_forged_signature_passes() {
    use ReasonCode::{BadSignature, InvalidField, TooLarge, UnknownKey, UnsupportedAlgorithm};

    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    let forgeries: [(&str, Forges, ReasonCode); 20] = [
        ("none", |e| e.signatures.clear(), InvalidField),
        ("nine", |e| e.signatures = vec![e.signatures[0].clone(); 9], InvalidField),
        ("no value", |e| e.signatures[0].value = None, UnsupportedAlgorithm),
        ("empty", |e| set(e, Value::Ed25519(Bytes::new())), BadSignature),
        ("63 bytes", |e| set(e, Value::Ed25519(good(e).slice(..63))), BadSignature),
        ("65 bytes", |e| set(e, Value::Ed25519([&good(e)[..], &[0]].concat().into())), BadSignature),
        ("zeros", |e| set(e, Value::Ed25519(vec![0; 64].into())), BadSignature),
        ("ones", |e| set(e, Value::Ed25519(vec![0xff; 64].into())), BadSignature),
        ("identity point", |e| set(e, Value::Ed25519(identity())), BadSignature),
        ("S + L", |e| set(e, Value::Ed25519(plus_order(&good(e)))), BadSignature),
        ("other kind", |e| set(e, Value::EcdsaP256Sha256(good(e))), BadSignature),
        ("other kind, empty", |e| set(e, Value::EcdsaP256Sha256(Bytes::new())), BadSignature),
        ("cms", |e| set(e, Value::CmsDetached(good(e))), UnsupportedAlgorithm),
        ("huge", |e| set(e, Value::CmsDetached(vec![7; 8 * 1024 + 1].into())), TooLarge),
        ("short key id", |e| cut_key_id(e, 31), InvalidField),
        ("no key id", |e| cut_key_id(e, 0), InvalidField),
        ("unknown key id", |e| e.signatures[0].key_id = vec![7; 32].into(), UnknownKey),
        ("stranger's", |e| *e = signed_by(e, &SigningKey::generate(Algorithm::Ed25519).unwrap()), UnknownKey),
        ("of another payload", |e| flip(e, 3), BadSignature),
        ("trailing byte", |e| e.payload = [&e.payload[..], b"\xa2\x06\0"].concat().into(), BadSignature),
    ];
    for (number, (what, forge, code)) in forgeries.into_iter().enumerate() {
        let payload = letter(&format!("f-{number}"), &[DISTRICT]).encode_to_vec();
        let mut envelope = envelope::sign(MANIFEST, payload.into(), &[rig.seal(COMMUNE)]);
        forge(&mut envelope);
        let request = SubmitRequest { envelope: Some(envelope), inline_parts: Vec::new() };
        let status = soon(client.submission().validate(request.clone())).await.expect_err(what);
        assert!(matching(what, reason(&status), code), "{what}: {status:?}");
        let status = soon(client.submission().submit(request)).await.expect_err(what);
        assert!(matching(what, reason(&status), code), "{what}: {status:?}");
    }

    // Signed as something else, or by somebody else who is registered.
    let payload = Bytes::from(letter("f-else", &[DISTRICT]).encode_to_vec());
    let mut receipt = envelope::sign(RECEIPT, payload.clone(), &[rig.seal(COMMUNE)]);
    receipt.payload_type = MANIFEST.into();
    let district = envelope::sign(MANIFEST, payload, &[rig.seal(DISTRICT)]);
    for (envelope, code) in [(receipt, BadSignature), (district, UnknownKey)] {
        let request = SubmitRequest { envelope: Some(envelope), inline_parts: Vec::new() };
        let status = client.submission().submit(request).await.expect_err("forged");
        assert_eq!(reason(&status), code, "{status:?}");
    }
    rig.unharmed().await;
}

/// A flipped byte may also make the manifest unreadable before its signature is looked at.
fn matching(what: &str, told: ReasonCode, expected: ReasonCode) -> bool {
    let another_kind = what.starts_with("other kind") && told == ReasonCode::UnsupportedAlgorithm;
    told == expected || another_kind
}

fn set(envelope: &mut SignedEnvelope, value: Value) {
    envelope.signatures[0].value = Some(value);
}

fn good(envelope: &SignedEnvelope) -> Bytes {
    match &envelope.signatures[0].value {
        Some(Value::Ed25519(value)) => value.clone(),
        other => panic!("{other:?}"),
    }
}

fn cut_key_id(envelope: &mut SignedEnvelope, len: usize) {
    let key_id = envelope.signatures[0].key_id.slice(..len);
    envelope.signatures[0].key_id = key_id;
}

fn signed_by(envelope: &SignedEnvelope, key: &SigningKey) -> SignedEnvelope {
    envelope::sign(MANIFEST, envelope.payload.clone(), &[key])
}

/// Another letter in the document id: still a legal manifest.
fn flip(envelope: &mut SignedEnvelope, at: usize) {
    let mut payload = envelope.payload.to_vec();
    payload[at] ^= 1;
    envelope.payload = payload.into();
}

/// R is the identity, S is 0: valid for every message under a key of small order.
fn identity() -> Bytes {
    let mut bytes = vec![0; 64];
    bytes[0] = 1;
    bytes.into()
}

/// The same point with S + L: verifiers that do not check the range take it.
fn plus_order(signature: &[u8]) -> Bytes {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut sum = signature.to_vec();
    let mut carry = 0;
    for (byte, order) in sum[32..].iter_mut().zip(ORDER) {
        let total = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (total as u8, total >> 8);
    }
    sum.into()
}
