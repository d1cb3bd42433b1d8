//! What is true is proven, and nothing else.

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::{
    testing::{ORIGIN, RECIPIENT, SENDER, Story, acceptance, after, base, hub, log, recipient_receipt},
    *,
};
use crate::{
    domain::{
        envelope::RECEIPT,
        signature::{Algorithm, SigningKey},
    },
    proto::{EventKind, Evidence, Manifest, Outcome, Party, signature::Value},
    tlog::note::NoteError,
};

fn facts(story: &Story, of: &Receipt) -> Facts {
    receipt(of, &story.verifier()).unwrap()
}

fn alone(event: Evidence) -> Result<Facts, VerifyError> {
    receipt(&log(&hub(), &[event])[0], &hub().verifier())
}

fn tlog_proof(of: &Receipt) -> String {
    let path = of.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
    TlogProof { extra: None, index: of.index, path, checkpoint: of.checkpoint.clone() }.encode()
}

#[test]
fn a_true_story_is_proven() {
    let story = Story::new();
    let acceptance = facts(&story, &story.acceptance);
    assert_eq!(acceptance.event(), EventKind::SubmissionAcceptance);
    assert_eq!((acceptance.index(), acceptance.tree_size()), (1, 4));
    assert_eq!(
        acceptance.document().unwrap().to_string(),
        format!("{SENDER},2026,17 of {SENDER} (revision 2)")
    );
    assert_eq!(acceptance.recipients().count(), 0);
    let manifest = document(&story.envelope, &acceptance, story.found()).unwrap();
    assert_eq!(manifest.parts.len(), 4);

    let handover = facts(&story, &story.handover);
    assert_eq!(handover.recipients().collect::<Vec<_>>(), [RECIPIENT]);
    assert_eq!(handover.previous(), Some(facts(&story, &story.consignment).leaf_hash()));
    let said = super::handover(&handover, &acceptance).unwrap();
    assert_eq!(said.recipient, RECIPIENT);
    let answer = handover.message().unwrap();
    assert_eq!(verify_signed_by(answer, &story.recipient_key.public_key()), Ok(()));
    for key in &story.sender_keys {
        assert_eq!(verify_signed_by(&story.envelope, &key.public_key()), Ok(()));
    }
}

#[test]
fn the_two_files_say_what_the_receipt_says() {
    let story = Story::new();
    let proof = tlog_proof(&story.handover);
    let two = evidence_with_proof(&story.handover.evidence, &proof, &story.verifier());
    assert_eq!(two, Ok(facts(&story, &story.handover)));
    let extra = proof.replacen('\n', "\nextra b25l\n", 1);
    let refused = evidence_with_proof(&story.handover.evidence, &extra, &story.verifier());
    assert_eq!(refused, Err(VerifyError::Extra));
}

#[test]
fn another_hub_s_key_proves_nothing() {
    let story = Story::new();
    let stranger = crate::tlog::note::Signer::from_seed(ORIGIN, &[8; 32]).unwrap().verifier();
    let refused = receipt(&story.acceptance, &stranger);
    assert_eq!(refused, Err(ProofError::Checkpoint(NoteError::NotSigned).into()));
    let issuer = Some(Party { hub: "other.test/log".into(), ..Party::default() });
    let foreign = Evidence { issuer, event: EventKind::DirectoryChange.into(), ..base() };
    assert!(matches!(alone(foreign), Err(VerifyError::WrongIssuer { .. })));
}

#[test]
fn evidence_from_the_future_is_not_guessed_at() {
    let event = EventKind::DirectoryChange.into();
    assert!(alone(Evidence { event, ..base() }).is_ok());
    for unknown in [
        Evidence { event, version: 2, ..base() },
        Evidence { event: 12_345, ..base() },
        Evidence { event: 0, ..base() },
        Evidence { event, document_id: "17".into(), ..base() },
    ] {
        assert!(matches!(alone(unknown), Err(VerifyError::Evidence(_))));
    }
    let huge = Evidence { event, directory_change: vec![0; MAX_LEAF].into(), ..base() };
    assert!(matches!(alone(huge), Err(VerifyError::Evidence(_))));
}

#[test]
fn a_wrong_attachment_is_named() {
    let story = Story::new();
    let acceptance = facts(&story, &story.acceptance);
    let outcome = |change: &dyn Fn(&mut Vec<FoundPart>)| {
        let mut found = story.found();
        change(&mut found);
        document(&story.envelope, &acceptance, found)
    };
    assert!(outcome(&|found| found.reverse()).is_ok());
    let missing = outcome(&|found| _ = found.remove(1));
    assert_eq!(missing, Err(VerifyError::PartMissing("empty.txt".into())));
    let unknown = outcome(&|found| found.push(FoundPart { name: "x".into(), ..found[0].clone() }));
    assert_eq!(unknown, Err(VerifyError::PartUnknown("x".into())));
    assert!(matches!(outcome(&|found| found[0].size += 1), Err(VerifyError::PartSize { .. })));
    let changed = outcome(&|found| found[0].sha256 = Digest::of(b"another"));
    assert!(matches!(changed, Err(VerifyError::WrongDigest { .. })));
    let swapped = outcome(&|found| {
        found[0].name = "empty.txt".into();
        found[1].name = "Công văn.pdf".into();
    });
    assert!(swapped.is_err());
    let twice_the_same_twin = outcome(&|found| found[3] = found[2].clone());
    assert!(twice_the_same_twin.is_err());
}

#[test]
fn what_signature_digests_do_not_cover_is_checked_too() {
    let story = Story::new();
    let acceptance = facts(&story, &story.acceptance);
    let outcome = |change: &dyn Fn(&mut SignedEnvelope)| {
        let mut envelope = story.envelope.clone();
        change(&mut envelope);
        manifest(&envelope, &acceptance).map(drop)
    };
    assert_eq!(outcome(&|_| ()), Ok(()));
    assert!(outcome(&|envelope| envelope.payload_type = RECEIPT.into()).is_err());
    assert!(outcome(&|envelope| envelope.signatures[0].key_id = Digest::of(b"x").to_bytes()).is_err());
    assert!(outcome(&|envelope| envelope.signatures.truncate(1)).is_err());
    assert!(outcome(&|envelope| envelope.signatures.reverse()).is_err());
    for kind in [Value::Ed25519, Value::EcdsaP256Sha256, Value::CmsDetached] {
        let relabelled = |at: usize| {
            outcome(&|envelope| {
                let Some(Value::Ed25519(value) | Value::EcdsaP256Sha256(value)) =
                    envelope.signatures[at].value.clone()
                else {
                    panic!("no value");
                };
                envelope.signatures[at].value = Some(kind(value));
            })
        };
        let kept = [kind(Bytes::new()), Value::Ed25519(Bytes::new())];
        assert_eq!(relabelled(0).is_ok(), kept[0] == kept[1]);
        assert_eq!(relabelled(1).is_ok(), kept[0] == Value::EcdsaP256Sha256(Bytes::new()));
    }
}

#[test]
fn a_manifest_has_to_agree_with_its_evidence() {
    let story = Story::new();
    let good = acceptance(&story.envelope);
    for (wrong, change) in [
        ("document id", Evidence { document_id: "other".into(), ..good.clone() }),
        ("revision", Evidence { revision: 3, ..good.clone() }),
        (
            "sender",
            Evidence { sender: Some(Party { agency: RECIPIENT.into(), ..Party::default() }), ..good.clone() },
        ),
    ] {
        let outcome = manifest(&story.envelope, &alone(change).unwrap());
        assert!(matches!(outcome, Err(VerifyError::Differs { what, .. }) if what == wrong), "{wrong}");
    }
    let consignment = facts(&story, &story.consignment);
    assert!(matches!(manifest(&story.envelope, &consignment), Err(VerifyError::WrongEvent { .. })));

    let mut elsewhere = Manifest::decode(story.envelope.payload.clone()).unwrap();
    elsewhere.hub_origin = "other.test/log".into();
    let payload = elsewhere.encode_to_vec().into();
    let envelope = envelope::sign(envelope::MANIFEST, payload, &[&story.sender_keys[0]]);
    let outcome = manifest(&envelope, &alone(acceptance(&envelope)).unwrap());
    assert!(matches!(outcome, Err(VerifyError::Differs { what: "hub", .. })));
}

#[test]
fn a_handover_needs_the_recipient_s_own_word_about_this_document() {
    let story = Story::new();
    let accepted = facts(&story, &story.acceptance);
    let outcome = |event, change: &dyn Fn(&mut crate::proto::RecipientReceipt), kind: &str| {
        let mut said = recipient_receipt(&story.envelope, Outcome::Accepted);
        change(&mut said);
        let answer = envelope::sign(kind, said.encode_to_vec().into(), &[&story.recipient_key]);
        let mut evidence = after(&acceptance(&story.envelope), event);
        evidence.message_sha256 = Digest::of(&answer.payload).to_bytes();
        evidence.recipient_receipt = Some(answer);
        handover(&alone(evidence).unwrap(), &accepted).map(drop)
    };
    let end = EventKind::ContentHandover;
    assert_eq!(outcome(end, &|_| (), RECEIPT), Ok(()));
    let refuse = |said: &mut crate::proto::RecipientReceipt| said.outcome = Outcome::Refused.into();
    assert_eq!(outcome(EventKind::ConsignmentRejection, &refuse, RECEIPT), Ok(()));
    assert!(outcome(EventKind::ConsignmentRejection, &|_| (), RECEIPT).is_err());
    assert!(outcome(EventKind::ContentConsignment, &|_| (), RECEIPT).is_err());
    assert!(outcome(end, &refuse, RECEIPT).is_err());
    assert!(outcome(end, &|_| (), envelope::STATUS).is_err());
    assert!(outcome(end, &|said| said.document_id += "x", RECEIPT).is_err());
    assert!(outcome(end, &|said| said.revision += 1, RECEIPT).is_err());
    assert!(outcome(end, &|said| said.sender = RECIPIENT.into(), RECEIPT).is_err());
    assert!(outcome(end, &|said| said.recipient = SENDER.into(), RECEIPT).is_err());
    assert!(outcome(end, &|said| said.hub_origin += "x", RECEIPT).is_err());
    assert!(outcome(end, &|said| said.manifest_sha256 = Digest::of(b"x").to_bytes(), RECEIPT).is_err());

    let silent = alone(after(&acceptance(&story.envelope), end)).unwrap();
    assert!(matches!(handover(&silent, &accepted), Err(VerifyError::Message { .. })));
}

#[test]
fn a_message_inside_has_the_digest_that_the_hub_wrote() {
    let story = Story::new();
    let mut evidence = Evidence::decode(story.handover.evidence.clone()).unwrap();
    evidence.message_sha256 = Digest::of(b"another").to_bytes();
    assert!(matches!(alone(evidence), Err(VerifyError::WrongDigest { .. })));
}

#[test]
fn signatures_are_by_a_key_or_not() {
    let story = Story::new();
    let key = story.sender_keys[0].public_key();
    let stranger = SigningKey::generate(Algorithm::Ed25519).unwrap().public_key();
    assert_eq!(
        verify_signed_by(&story.envelope, &stranger),
        Err(VerifyError::NotSignedBy(stranger.key_id()))
    );

    let mut bent = story.envelope.clone();
    bent.payload = Bytes::from([&bent.payload[..], b"x"].concat());
    let problem = ReasonCode::BadSignature;
    assert_eq!(verify_signed_by(&bent, &key), Err(VerifyError::BadSignature { key: key.key_id(), problem }));
    // A good one beside a bad one of the same key is good.
    let mut both = story.envelope.clone();
    both.signatures.insert(0, crate::proto::Signature { value: None, ..both.signatures[0].clone() });
    assert_eq!(verify_signed_by(&both, &key), Ok(()));
}

#[test]
fn every_flipped_byte_of_a_receipt_is_noticed() {
    let story = Story::new();
    let key = story.verifier();
    let bytes = story.handover.encode_to_vec();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x20, 0x80, 0xff] {
            let mut bent = bytes.clone();
            bent[at] ^= mask;
            let Ok(read) = Receipt::decode(&bent[..]) else { continue };
            assert!(receipt(&read, &key).is_err(), "byte {at}, mask {mask:02x}");
        }
    }
}

proptest! {
    #[test]
    fn strangers_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400), text in ".{0,200}") {
        let verifier = hub().verifier();
        prop_assert!(evidence_with_proof(&bytes, &text, &verifier).is_err());
        if let Ok(read) = Receipt::decode(&bytes[..]) {
            prop_assert!(receipt(&read, &verifier).is_err());
        }
        // A log may hold any bytes: what is no evidence is refused after the proof.
        let mut growth = crate::tlog::merkle::Growth::new(crate::tlog::merkle::Edge::empty());
        growth.push(crate::tlog::merkle::leaf_hash(&bytes));
        let head = crate::tlog::checkpoint::Checkpoint { origin: ORIGIN.into(), size: 1, root: growth.root() };
        let leaf = Receipt { evidence: bytes.into(), checkpoint: head.sign(&hub()), ..Receipt::default() };
        prop_assert!(receipt(&leaf, &verifier).is_err());
    }
}
