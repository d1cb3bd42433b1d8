//! Envelopes (DSSE) and the judgement over their signatures: one verdict for hub, tools and auditors.

use std::cell::OnceCell;

use bytes::Bytes;

use super::{
    id::{AgencyId, Digest, shorten},
    reason::{Reason, ReasonCode},
    signature::{PublicKey, SigningKey},
    time::Timestamp,
};
use crate::proto::{LegalValue, Signature, SignatureReport, SignedEnvelope, SignerKind, signature::Value};

/// Payload type of a `Manifest`.
pub const MANIFEST: &str = "application/vnd.truc.manifest.v1+protobuf";
/// Payload type of an `Addressing`.
pub const ADDRESSING: &str = "application/vnd.truc.addressing.v1+protobuf";
/// Payload type of a `RecipientReceipt`.
pub const RECEIPT: &str = "application/vnd.truc.receipt.v1+protobuf";
/// Payload type of a `BusinessStatus`.
pub const STATUS: &str = "application/vnd.truc.status.v1+protobuf";

/// Largest payload in bytes.
pub const MAX_PAYLOAD: usize = 2 * 1024 * 1024;
/// Most signatures on an envelope.
pub const MAX_SIGNATURES: usize = 8;
/// Largest signature in bytes: room for kinds to come, such as ML-DSA.
pub const MAX_SIGNATURE: usize = 8 * 1024;

/// A public key as the directory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredKey {
    /// Agency that it signs for.
    pub agency: AgencyId,
    /// The key.
    pub public: PublicKey,
    /// Agency seal or person.
    pub kind: SignerKind,
    /// First moment at which it is valid.
    pub valid_from: Timestamp,
    /// First moment at which it is no longer valid.
    pub valid_until: Option<Timestamp>,
    /// Moment of its revocation.
    pub revoked_at: Option<Timestamp>,
}

impl RegisteredKey {
    /// Why the key may not sign at this moment, if so. Revoked is revoked from that leaf on: a clock that goes back does
    /// not wake a key that was stolen.
    fn problem(&self, at: Timestamp) -> Option<ReasonCode> {
        if self.revoked_at.is_some() {
            return Some(ReasonCode::KeyRevoked);
        }
        let ended = self.valid_until.is_some_and(|valid_until| valid_until <= at);
        (at < self.valid_from || ended).then_some(ReasonCode::KeyNotValid)
    }
}

/// The registered keys, as of one point of the log.
pub trait KeyRing {
    /// The key with this id.
    fn key(&self, id: &Digest) -> Option<&RegisteredKey>;
}

/// What was found out about an envelope that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// One report for each signature, in the envelope's order.
    pub reports: Vec<SignatureReport>,
    /// By Decision 28/2018 art. 4: original with a valid signature of a person and of the agency.
    pub legal_value: LegalValue,
}

/// The bytes that are signed (DSSE's pre-authentication encoding).
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs a payload with each of the keys.
#[must_use]
pub fn sign(payload_type: &str, payload: Bytes, keys: &[&SigningKey]) -> SignedEnvelope {
    let message = pae(payload_type, &payload);
    let signatures = keys.iter().map(|key| key.sign(&message)).collect();
    SignedEnvelope { payload_type: payload_type.to_owned(), payload, signatures }
}

/// Judges every signature on an envelope that `agency` is said to have made.
///
/// Accepted if at least one signature is valid, by a key registered for `agency`, at the moment `at`. The others are
/// judged and reported all the same; a second good one by the same key is reported as `DUPLICATE`.
///
/// Refused with `WRONG_PAYLOAD_TYPE`, `TOO_LARGE` or `INVALID_FIELD` for its form, else with the most telling problem of
/// its signatures: `BAD_SIGNATURE`, `KEY_REVOKED`, `KEY_NOT_VALID`, `UNSUPPORTED_ALGORITHM`, `UNKNOWN_KEY`.
pub fn judge(
    envelope: &SignedEnvelope,
    expected_type: &str,
    agency: &AgencyId,
    keys: &impl KeyRing,
    at: Timestamp,
) -> Result<Judgement, Reason> {
    check_form(envelope, expected_type)?;
    conclude(report_each(envelope, &[], keys, at), agency)
}

/// [`judge`] again, for keys and a moment that moved on: the same result as judging anew, but signatures that were
/// verified before are not verified again. `before` must be a judgement of this envelope.
pub fn recheck(
    envelope: &SignedEnvelope,
    before: &Judgement,
    agency: &AgencyId,
    keys: &impl KeyRing,
    at: Timestamp,
) -> Result<Judgement, Reason> {
    conclude(report_each(envelope, &before.reports, keys, at), agency)
}

/// SHA-256 of the value of each signature, in the envelope's order.
#[must_use]
pub fn signature_digests(envelope: &SignedEnvelope) -> Vec<Bytes> {
    envelope.signatures.iter().map(|signature| Digest::of(value_bytes(signature)).to_bytes()).collect()
}

/// Refuses an envelope for its form alone: `WRONG_PAYLOAD_TYPE`, `TOO_LARGE`, `INVALID_FIELD`.
pub fn check_form(envelope: &SignedEnvelope, expected_type: &str) -> Result<(), Reason> {
    if envelope.payload_type != expected_type {
        return Err(Reason::new(
            ReasonCode::WrongPayloadType,
            format!("payload_type: needs {expected_type}, is {:?}", shorten(&envelope.payload_type)),
        ));
    }
    if envelope.payload.is_empty() {
        return Err(Reason::new(ReasonCode::InvalidField, "payload: is empty"));
    }
    if envelope.payload.len() > MAX_PAYLOAD {
        return Err(Reason::new(ReasonCode::TooLarge, "payload: more than 2 MiB"));
    }
    if !(1..=MAX_SIGNATURES).contains(&envelope.signatures.len()) {
        return Err(Reason::new(ReasonCode::InvalidField, "signatures: needs 1 to 8"));
    }
    for (position, signature) in envelope.signatures.iter().enumerate() {
        if Digest::from_slice(&signature.key_id).is_none() {
            let detail = format!("signatures[{position}].key_id: needs 32 bytes");
            return Err(Reason::new(ReasonCode::InvalidField, detail));
        }
        if value_bytes(signature).len() > MAX_SIGNATURE {
            return Err(Reason::new(
                ReasonCode::TooLarge,
                format!("signatures[{position}]: more than 8 KiB"),
            ));
        }
    }
    Ok(())
}

/// Reports in order. A verdict in `before` about the signature itself is kept, whatever became of its key.
fn report_each(
    envelope: &SignedEnvelope,
    before: &[SignatureReport],
    keys: &impl KeyRing,
    at: Timestamp,
) -> Vec<SignatureReport> {
    let message = OnceCell::new();
    let mut good: Vec<&Bytes> = Vec::new();
    let mut reports = Vec::with_capacity(envelope.signatures.len());
    for (position, signature) in envelope.signatures.iter().enumerate() {
        let Some(key) = Digest::from_slice(&signature.key_id).and_then(|id| keys.key(&id)) else {
            reports.push(report(signature, None, Some(ReasonCode::UnknownKey)));
            continue;
        };
        if good.contains(&&signature.key_id) {
            reports.push(report(signature, Some(key), Some(ReasonCode::Duplicate)));
            continue;
        }
        let verdict = before.get(position).and_then(kept_verdict).unwrap_or_else(|| {
            let message = message.get_or_init(|| pae(&envelope.payload_type, &envelope.payload));
            verify(key, message, signature)
        });
        if verdict.is_ok() {
            good.push(&signature.key_id);
        }
        reports.push(report(signature, Some(key), verdict.err().or_else(|| key.problem(at))));
    }
    reports
}

/// What a report says about the signature itself, apart from its key; `None` if it was not verified.
fn kept_verdict(report: &SignatureReport) -> Option<Result<(), ReasonCode>> {
    match report.problem() {
        ReasonCode::UnknownKey => None,
        bad @ (ReasonCode::BadSignature | ReasonCode::UnsupportedAlgorithm) => Some(Err(bad)),
        _ => Some(Ok(())),
    }
}

fn verify(key: &RegisteredKey, message: &[u8], signature: &Signature) -> Result<(), ReasonCode> {
    // A kind that this build does not know arrives as no value.
    let value = signature.value.as_ref().ok_or(ReasonCode::UnsupportedAlgorithm)?;
    key.public.verify(message, value)
}

fn report(
    signature: &Signature,
    key: Option<&RegisteredKey>,
    problem: Option<ReasonCode>,
) -> SignatureReport {
    SignatureReport {
        key_id: signature.key_id.clone(),
        valid: problem.is_none(),
        problem: problem.unwrap_or_default().into(),
        signer_kind: key.map_or(SignerKind::Unspecified, |key| key.kind).into(),
        agency: key.map_or_else(String::new, |key| key.agency.to_string()),
    }
}

fn conclude(reports: Vec<SignatureReport>, agency: &AgencyId) -> Result<Judgement, Reason> {
    let ours = || reports.iter().filter(|report| report.valid && report.agency == agency.as_str());
    if ours().next().is_none() {
        return Err(most_telling(&reports, agency));
    }
    let signed_by = |kind| ours().any(|report| report.signer_kind() == kind);
    let legal_value = match signed_by(SignerKind::Agency) && signed_by(SignerKind::Person) {
        true => LegalValue::Original,
        false => LegalValue::Information,
    };
    Ok(Judgement { reports, legal_value })
}

fn most_telling(reports: &[SignatureReport], agency: &AgencyId) -> Reason {
    use ReasonCode::{BadSignature, KeyNotValid, KeyRevoked, UnknownKey, UnsupportedAlgorithm};
    for code in [BadSignature, KeyRevoked, KeyNotValid, UnsupportedAlgorithm, UnknownKey] {
        let keys = short_ids(reports.iter().filter(|report| report.problem() == code));
        if !keys.is_empty() {
            return Reason::new(code, format!("signatures: of key {keys}"));
        }
    }
    let keys = short_ids(reports.iter());
    Reason::new(UnknownKey, format!("signatures: key {keys} is not of {agency}"))
}

fn short_ids<'a>(reports: impl Iterator<Item = &'a SignatureReport>) -> String {
    let ids = reports.map(|report| hex::encode(&report.key_id[..report.key_id.len().min(4)]));
    ids.collect::<Vec<_>>().join(", ")
}

fn value_bytes(signature: &Signature) -> &[u8] {
    match &signature.value {
        Some(Value::Ed25519(value) | Value::EcdsaP256Sha256(value) | Value::CmsDetached(value)) => value,
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::signature::Algorithm;

    const NOW: Timestamp = Timestamp(1_000);

    struct Ring(HashMap<Digest, RegisteredKey>);

    impl KeyRing for Ring {
        fn key(&self, id: &Digest) -> Option<&RegisteredKey> {
            self.0.get(id)
        }
    }

    fn agency(id: &str) -> AgencyId {
        AgencyId::parse(id).unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::generate(Algorithm::Ed25519).unwrap()
    }

    fn registered(key: &SigningKey, of: &str, kind: SignerKind) -> RegisteredKey {
        let (public, valid_from) = (key.public_key(), Timestamp(0));
        RegisteredKey { agency: agency(of), public, kind, valid_from, valid_until: None, revoked_at: None }
    }

    fn ring(keys: impl IntoIterator<Item = RegisteredKey>) -> Ring {
        Ring(keys.into_iter().map(|key| (key.public.key_id(), key)).collect())
    }

    fn signed(keys: &[&SigningKey]) -> SignedEnvelope {
        sign(MANIFEST, Bytes::from_static(b"payload"), keys)
    }

    fn judged(envelope: &SignedEnvelope, keys: &impl KeyRing) -> Result<Judgement, Reason> {
        judge(envelope, MANIFEST, &agency("H53"), keys, NOW)
    }

    fn refusal(envelope: &SignedEnvelope, keys: &impl KeyRing) -> ReasonCode {
        judged(envelope, keys).unwrap_err().code
    }

    fn problems(judgement: &Judgement) -> Vec<ReasonCode> {
        judgement.reports.iter().map(SignatureReport::problem).collect()
    }

    fn spoil(signature: &mut Signature) {
        signature.value = Some(Value::Ed25519(vec![1; 64].into()));
    }

    #[test]
    fn what_is_signed_is_frozen() {
        // The example of the DSSE specification.
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        // Lengths count bytes.
        assert_eq!(pae("sổ", b"x"), "DSSEv1 4 sổ 1 x".as_bytes());
    }

    #[test]
    fn the_agency_alone_informs_and_a_person_makes_it_an_original() {
        let (seal, leader) = (key(), key());
        let keys = ring([
            registered(&seal, "H53", SignerKind::Agency),
            registered(&leader, "H53", SignerKind::Person),
        ]);
        for (signers, legal_value) in [
            (&[&seal][..], LegalValue::Information),
            (&[&leader], LegalValue::Information),
            (&[&leader, &seal], LegalValue::Original),
        ] {
            let judgement = judged(&signed(signers), &keys).unwrap();
            assert_eq!(judgement.legal_value, legal_value);
            assert!(judgement.reports.iter().all(|report| report.valid && report.agency == "H53"));
        }
    }

    #[test]
    fn p256_seals_are_as_good() {
        let seal = SigningKey::generate(Algorithm::EcdsaP256Sha256).unwrap();
        let keys = ring([registered(&seal, "H53", SignerKind::Agency)]);
        assert!(judged(&signed(&[&seal]), &keys).is_ok());
        let mut altered = signed(&[&seal]);
        altered.payload = Bytes::from_static(b"Payload");
        assert_eq!(refusal(&altered, &keys), ReasonCode::BadSignature);
    }

    #[test]
    fn a_key_of_another_agency_is_reported_but_does_not_count() {
        let (ours, theirs, leader) = (key(), key(), key());
        let keys = ring([
            registered(&ours, "H53", SignerKind::Agency),
            registered(&theirs, "H54", SignerKind::Agency),
            registered(&leader, "H54", SignerKind::Person),
        ]);
        let reason = judged(&signed(&[&theirs]), &keys).unwrap_err();
        assert_eq!(reason.code, ReasonCode::UnknownKey);
        assert!(reason.detail.contains("H53"), "{reason}");

        let judgement = judged(&signed(&[&theirs, &leader, &ours]), &keys).unwrap();
        assert_eq!(judgement.legal_value, LegalValue::Information);
        assert!(judgement.reports[0].valid);
        assert_eq!(judgement.reports[0].agency, "H54");
    }

    #[test]
    fn keys_are_valid_from_and_until_and_not_once_revoked() {
        let seal = key();
        let envelope = signed(&[&seal]);
        let at = |valid_from, valid_until, revoked_at| {
            let key = RegisteredKey {
                valid_from: Timestamp(valid_from),
                valid_until: Timestamp::given(valid_until),
                revoked_at: Timestamp::given(revoked_at),
                ..registered(&seal, "H53", SignerKind::Agency)
            };
            judged(&envelope, &ring([key])).map(|_| ()).map_err(|reason| reason.code)
        };
        assert_eq!(at(1_000, 0, 0), Ok(()));
        assert_eq!(at(1_001, 0, 0), Err(ReasonCode::KeyNotValid));
        assert_eq!(at(0, 1_001, 0), Ok(()));
        assert_eq!(at(0, 1_000, 0), Err(ReasonCode::KeyNotValid));
        assert_eq!(at(0, 0, 1_001), Err(ReasonCode::KeyRevoked), "a clock that went back");
        assert_eq!(at(0, 0, 1_000), Err(ReasonCode::KeyRevoked));
        assert_eq!(at(0, 999, 998), Err(ReasonCode::KeyRevoked));
    }

    #[test]
    fn the_most_telling_problem_refuses() {
        let (seal, other, stranger) = (key(), key(), key());
        let revoked =
            RegisteredKey { revoked_at: Some(Timestamp(1)), ..registered(&other, "H53", SignerKind::Agency) };
        let keys = ring([registered(&seal, "H53", SignerKind::Agency), revoked]);
        assert_eq!(refusal(&signed(&[&stranger]), &keys), ReasonCode::UnknownKey);
        assert_eq!(refusal(&signed(&[&stranger, &other]), &keys), ReasonCode::KeyRevoked);

        let mut envelope = signed(&[&stranger, &other, &seal]);
        spoil(&mut envelope.signatures[2]);
        let reason = judged(&envelope, &keys).unwrap_err();
        assert_eq!(reason.code, ReasonCode::BadSignature);
        let short = &seal.public_key().key_id().to_string()[..8];
        assert_eq!(reason.detail, format!("signatures: of key {short}"));
    }

    #[test]
    fn a_bad_signature_beside_a_good_one_is_reported() {
        let (seal, leader, stranger) = (key(), key(), key());
        let keys = ring([
            registered(&seal, "H53", SignerKind::Agency),
            registered(&leader, "H53", SignerKind::Person),
        ]);
        let mut envelope = signed(&[&leader, &stranger, &seal]);
        spoil(&mut envelope.signatures[0]);
        let judgement = judged(&envelope, &keys).unwrap();
        let expected = [ReasonCode::BadSignature, ReasonCode::UnknownKey, ReasonCode::Unspecified];
        assert_eq!(problems(&judgement), expected);
        assert_eq!(judgement.legal_value, LegalValue::Information);
    }

    #[test]
    fn kinds_to_come_are_unsupported_not_unsigned() {
        let seal = key();
        let keys = ring([registered(&seal, "H53", SignerKind::Agency)]);
        for value in [None, Some(Value::CmsDetached(Bytes::from_static(b"cms")))] {
            let mut envelope = signed(&[&seal]);
            envelope.signatures[0].value = value;
            assert_eq!(refusal(&envelope, &keys), ReasonCode::UnsupportedAlgorithm);
        }
    }

    #[test]
    fn a_repeated_key_counts_once_and_a_bad_copy_does_not_hide_the_good_one() {
        let seal = key();
        let keys = ring([registered(&seal, "H53", SignerKind::Agency)]);
        let twice = signed(&[&seal, &seal]);
        let judgement = judged(&twice, &keys).unwrap();
        assert_eq!(problems(&judgement), [ReasonCode::Unspecified, ReasonCode::Duplicate]);
        assert!(!judgement.reports[1].valid);

        let mut bad_first = twice;
        spoil(&mut bad_first.signatures[0]);
        let judgement = judged(&bad_first, &keys).unwrap();
        assert_eq!(problems(&judgement), [ReasonCode::BadSignature, ReasonCode::Unspecified]);
    }

    #[test]
    fn a_signature_is_for_one_payload_type() {
        let seal = key();
        let keys = ring([registered(&seal, "H53", SignerKind::Agency)]);
        let types = [MANIFEST, ADDRESSING, RECEIPT, STATUS];
        for signed_as in types {
            for used_as in types {
                let mut envelope = sign(signed_as, Bytes::from_static(b"payload"), &[&seal]);
                let judged = judge(&envelope, used_as, &agency("H53"), &keys, NOW);
                assert_eq!(judged.is_ok(), signed_as == used_as);
                let Err(reason) = judged else { continue };
                assert_eq!(reason.code, ReasonCode::WrongPayloadType);

                // Renaming it does not help.
                envelope.payload_type = used_as.to_owned();
                let reason = judge(&envelope, used_as, &agency("H53"), &keys, NOW).unwrap_err();
                assert_eq!(reason.code, ReasonCode::BadSignature);
            }
        }
    }

    #[test]
    fn the_form_has_bounds() {
        let seal = key();
        let keys = ring([registered(&seal, "H53", SignerKind::Agency)]);
        let payload = |size| sign(MANIFEST, vec![0; size].into(), &[&seal]);
        assert!(judged(&payload(MAX_PAYLOAD), &keys).is_ok());
        assert_eq!(refusal(&payload(MAX_PAYLOAD + 1), &keys), ReasonCode::TooLarge);
        assert_eq!(refusal(&payload(0), &keys), ReasonCode::InvalidField);

        let signatures = |count| signed(&vec![&seal; count]);
        assert!(judged(&signatures(MAX_SIGNATURES), &keys).is_ok());
        assert_eq!(refusal(&signatures(MAX_SIGNATURES + 1), &keys), ReasonCode::InvalidField);
        assert_eq!(refusal(&signatures(0), &keys), ReasonCode::InvalidField);

        let mut odd = signatures(2);
        odd.signatures[1].key_id = odd.signatures[1].key_id.slice(..31);
        let reason = judged(&odd, &keys).unwrap_err();
        assert_eq!(reason.code, ReasonCode::InvalidField);
        assert!(reason.detail.starts_with("signatures[1].key_id"), "{reason}");
        odd = signatures(2);
        odd.signatures[1].value = Some(Value::CmsDetached(vec![0; MAX_SIGNATURE + 1].into()));
        assert_eq!(refusal(&odd, &keys), ReasonCode::TooLarge);
    }

    #[test]
    fn each_signature_has_its_digest() {
        let seal = key();
        let mut envelope = signed(&[&seal, &seal]);
        envelope.signatures[1].value = None;
        let Some(Value::Ed25519(value)) = &envelope.signatures[0].value else { panic!("another kind") };
        let expected = [Digest::of(value).to_bytes(), Digest::of(b"").to_bytes()];
        assert_eq!(signature_digests(&envelope), expected);
    }

    #[test]
    fn a_recheck_verifies_nothing_twice() {
        let seal = key();
        let keys = ring([registered(&seal, "H53", SignerKind::Agency)]);
        let mut envelope = signed(&[&seal]);
        let before = judged(&envelope, &keys).unwrap();
        // Nobody may do this: it shows that the signature is not looked at again.
        spoil(&mut envelope.signatures[0]);
        assert_eq!(recheck(&envelope, &before, &agency("H53"), &keys, NOW), Ok(before));
    }

    /// Of which agency, whether a seal, valid from, valid until, revoked at; `None` while it is not registered.
    type KeyState = Option<(bool, bool, i64, Option<i64>, Option<i64>)>;

    fn states() -> impl Strategy<Value = KeyState> {
        let moment = || prop::option::of(0i64..4);
        prop::option::weighted(0.8, (any::<bool>(), any::<bool>(), 0i64..3, moment(), moment()))
    }

    proptest! {
        #[test]
        fn a_recheck_says_what_a_new_judgement_says(
            signatures in prop::collection::vec((0usize..3, 0u8..6), 1..=8),
            before in prop::array::uniform3(states()),
            after in prop::array::uniform3(states()),
            at in 0i64..4,
            later in 0i64..4,
        ) {
            let signers = [key(), key(), SigningKey::generate(Algorithm::EcdsaP256Sha256).unwrap()];
            let keys = |states: [KeyState; 3]| {
                let registered = signers.iter().zip(states).filter_map(|(key, state)| {
                    let (ours, seal, valid_from, valid_until, revoked_at) = state?;
                    Some(RegisteredKey {
                        agency: agency(if ours { "H53" } else { "H54" }),
                        public: key.public_key(),
                        kind: if seal { SignerKind::Agency } else { SignerKind::Person },
                        valid_from: Timestamp(valid_from),
                        valid_until: valid_until.map(Timestamp),
                        revoked_at: revoked_at.map(Timestamp),
                    })
                });
                ring(registered)
            };
            let mut envelope = signed(&signatures.iter().map(|(signer, _)| &signers[*signer]).collect::<Vec<_>>());
            for (signature, (_, fault)) in envelope.signatures.iter_mut().zip(&signatures) {
                match fault {
                    0 => spoil(signature),
                    1 => signature.value = None,
                    _ => {}
                }
            }
            let (sender, at, later) = (agency("H53"), Timestamp(at), Timestamp(later));
            if let Ok(judgement) = judge(&envelope, MANIFEST, &sender, &keys(before), at) {
                let anew = judge(&envelope, MANIFEST, &sender, &keys(after), later);
                prop_assert_eq!(recheck(&envelope, &judgement, &sender, &keys(after), later), anew);
            }
        }
    }
}
