//! A true file is proven; whatever was changed is named.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use prost::Message;

use super::{testing::*, *};
use crate::{
    domain::id::Digest,
    proto::{DocProof, ErasedScope, Erasure, EventKind, Evidence, WitnessSignature},
    tlog::{cosignature::Cosigner, note::Signer},
};

fn check(proof: &DocProof) -> Result<Proven, DocProofError> {
    docproof(&encode(proof).into(), &trusted())
}

fn place(proof: &DocProof) -> Place {
    check(proof).map(|proven| proven.missing()).unwrap_err().place
}

fn end_of(proven: &Proven, who: &str) -> End {
    proven.recipients.iter().find(|course| course.recipient.as_str() == who).unwrap().end
}

/// The leaf of an event at a recipient.
fn leaf_of(log: &Log, event: EventKind, who: &str) -> u64 {
    let is = |index: &u64| {
        let evidence = log.leaf(*index);
        evidence.event() == event && evidence.recipients.iter().any(|party| party.agency == who)
    };
    (0..log.leaves.len() as u64).find(is).unwrap()
}

#[test]
fn a_true_story_is_proven() {
    let log = Log::story();
    let proven = check(&log.file()).unwrap();
    assert_eq!(proven.missing(), 0);
    let ends = [TAKES, REFUSES, SILENT, EARLY, ADDED].map(|who| end_of(&proven, who));
    assert_eq!(ends, [End::TakenOver, End::RefusedBySystem, End::Expired, End::Waiting, End::Waiting]);
    let codes: Vec<_> = proven.recipients.iter().map(|course| course.business.code).collect();
    assert_eq!(codes, [3, 0, 0, 1, 0]);
    let refused = proven.recipients.iter().find(|course| course.end == End::RefusedBySystem).unwrap();
    assert_eq!(refused.reason, "Gửi nhầm nơi nhận");
    assert_eq!(proven.lists.iter().map(|list| list.count).collect::<Vec<_>>(), [4, 1]);
    // Two on the envelope, one on the addressing, two receipts, two statuses.
    assert_eq!(proven.signatures_checked, 7);
    assert!(proven.signatures.iter().all(|signed| signed.report.valid));
    assert_eq!(proven.names[TAKES], "UBND xã Tân Bình");
    let revoked: Vec<_> = proven.keys.iter().filter(|key| key.revoked.is_some()).collect();
    assert_eq!((revoked.len(), revoked[0].agency.as_str()), (1, TAKES));
}

#[test]
fn what_was_erased_is_told_and_the_rest_is_still_proven() {
    let mut log = Log::story();
    let accepted = log.accepted();
    log.hold(accepted);
    let attachments = log.erase(accepted, ErasedScope::Attachments);
    let proven = check(&log.file()).unwrap();
    assert!(!proven.is_whole_erased() && proven.manifest.document.is_some());
    let told: Vec<_> = proven.erased.iter().map(|erased| (erased.leaf, erased.envelope)).collect();
    assert_eq!(told, [(attachments, None)]);
    assert_eq!(proven.erased[0].parts, [Digest::of(b"the document")]);

    let all = log.erase(accepted, ErasedScope::All);
    let with_envelope = log.file();
    assert!(!check(&with_envelope).unwrap().is_whole_erased(), "who has the envelope may still show it");
    let without = DocProof { envelope: None, ..with_envelope };
    let proven = check(&without).unwrap();
    assert!(proven.is_whole_erased());
    assert_eq!((proven.erased[1].leaf, proven.missing()), (all, 0));
    assert_eq!((proven.manifest.document_id.as_str(), proven.manifest.sender.as_str()), (ID, SENDER));
    let ends = [TAKES, REFUSES, SILENT, EARLY, ADDED].map(|who| end_of(&proven, who));
    assert_eq!(ends, [End::TakenOver, End::RefusedBySystem, End::Expired, End::Waiting, End::Waiting]);
    assert!(proven.signatures.is_empty());
    assert_eq!(proven.signatures_checked, 5, "all but those on the envelope");
}

#[test]
fn an_envelope_is_not_left_out_without_evidence() {
    let mut log = Log::story();
    let accepted = log.accepted();
    assert_eq!(place(&DocProof { envelope: None, ..log.file() }), Place::Envelope);
    log.erase(accepted, ErasedScope::Attachments);
    assert_eq!(place(&DocProof { envelope: None, ..log.file() }), Place::Envelope);
}

#[test]
fn an_erasure_fits_its_document() {
    type Bend = fn(&mut Evidence, &mut Erasure);
    let bends: [Bend; 6] = [
        |_, erasure| erasure.scope = 0,
        |_, erasure| erasure.parts_sha256.clear(),
        |_, erasure| erasure.parts_sha256[0] = Bytes::from_static(&[1; 31]),
        |_, erasure| erasure.envelope_sha256 = Bytes::from_static(&[1; 32]),
        |_, erasure| erasure.operation = 1,
        |event, _| event.previous_evidence_sha256 = Bytes::from_static(&[1; 32]),
    ];
    for (at, bend) in bends.iter().enumerate() {
        let mut log = Log::story();
        let accepted = log.accepted();
        let leaf = log.erase(accepted, ErasedScope::All);
        let mut event = log.leaf(leaf);
        log.leaves.pop();
        let mut erasure = Erasure::decode(event.erasure.clone()).unwrap();
        bend(&mut event, &mut erasure);
        event.erasure = erasure.encode_to_vec().into();
        log.push(&event);
        assert_eq!(place(&log.file()), Place::Leaf(leaf), "bend {at}");
    }
}

#[test]
fn only_a_trusted_hub_proves() {
    let file = Bytes::from(encode(&Log::story().file()));
    let stranger = Signer::from_seed(ORIGIN, &[8; 32]).unwrap().verifier();
    assert_eq!(docproof(&file, &[]).unwrap_err().place, Place::HubKey);
    assert_eq!(docproof(&file, std::slice::from_ref(&stranger)).unwrap_err().place, Place::HubKey);
    assert!(docproof(&file, &[stranger, hub().verifier()]).is_ok());
}

/// Seeds of a later key of the hub, and of two witnesses.
const LATER: u8 = 70;

fn later() -> Signer {
    Signer::from_seed(ORIGIN, &[LATER; 32]).unwrap()
}

fn witness(seed: u8) -> Cosigner {
    Cosigner::from_seed(&format!("w{seed}.test"), &[seed; 32]).unwrap()
}

/// A file under a later key of the hub, cosigned by these witnesses.
fn witnessed(seeds: &[u8]) -> DocProof {
    let mut log = Log::story();
    let log_keys = log.hand_over(&later());
    log.unrelated();
    let text = log.head().text();
    let cosignature = |seed: &u8| WitnessSignature {
        verifier_key: witness(*seed).verifier().to_string(),
        line: witness(*seed).cosign(&text, 1_790_000_000),
    };
    let cosignatures = seeds.iter().map(cosignature).collect();
    DocProof { log_keys, cosignatures, ..log.file_of(&log.told, &later()) }
}

#[test]
fn a_file_of_a_later_key_holds_for_who_trusts_the_first() {
    let proof = witnessed(&[]);
    let proven = check(&proof).unwrap();
    assert_eq!((proven.verifier, proven.keys_of_log.handovers().len()), (later().verifier(), 1));
    let file = Bytes::from(encode(&proof));
    assert!(docproof(&file, &[later().verifier()]).is_ok());
    let stranger = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    assert_eq!(docproof(&file, &[stranger.verifier()]).unwrap_err().place, Place::HubKey);
    assert_eq!(place(&DocProof { log_keys: String::new(), ..proof.clone() }), Place::HubKey);

    // The old key signs nothing any more, and the new one nothing of before.
    let mut log = Log::story();
    let log_keys = log.hand_over(&later());
    let early = DocProof { log_keys: log_keys.clone(), ..log.file_of(&log.told, &later()) };
    assert_eq!(place(&early), Place::Checkpoint);
    log.unrelated();
    let thief = DocProof { log_keys, ..log.file_of(&log.told, &hub()) };
    assert_eq!(place(&thief), Place::Checkpoint);
    let foreign = DocProof { log_keys: proof.log_keys, ..Log::story().file_of(&log.told, &stranger) };
    let trusted = [stranger.verifier()];
    assert_eq!(docproof(&encode(&foreign).into(), &trusted).unwrap_err().place, Place::HubKey);
}

#[test]
fn a_policy_asks_for_its_witnesses() {
    let policy = |least: u8| {
        let lines: Vec<_> =
            [1, 2, 3].map(|seed| format!("witness w{seed} {}", witness(seed).verifier())).into();
        let text = format!("{}\ngroup all {least} w1 w2 w3\nquorum all\n", lines.join("\n"));
        Policy::parse(text.as_bytes()).unwrap()
    };
    let file = Bytes::from(encode(&witnessed(&[1, 3])));
    let by = |policy: &Policy| docproof_by(&file, &trusted(), Some(policy));
    let proven = by(&policy(2)).unwrap();
    assert_eq!(proven.quorum.as_deref(), Some("2 of (w1, w2, w3)"));
    assert_eq!(proven.cosigned.len(), 2);
    assert_eq!(by(&policy(3)).unwrap_err().place, Place::Checkpoint);
    assert_eq!(
        check(&witnessed(&[4])).unwrap().cosigned[0].key,
        witness(4).verifier(),
        "verified, not trusted"
    );

    assert_eq!(place(&witnessed(&[1, 1])), Place::Checkpoint, "one witness counts once");
    let mut moved = witnessed(&[1, 2]);
    moved.cosignatures[0].line = moved.cosignatures[1].line.clone();
    assert_eq!(place(&moved), Place::Checkpoint);
    let mut doubled = witnessed(&[1]);
    doubled.cosignatures[0].line = doubled.cosignatures[0].line.repeat(2);
    assert_eq!(place(&doubled), Place::Checkpoint);
}

#[test]
fn every_flipped_byte_of_keys_and_cosignatures_is_noticed() {
    let file = encode(&witnessed(&[1, 2]));
    let begin = file.len() - 2500;
    for at in begin..file.len() {
        let mut bent = file.clone();
        bent[at] ^= 1 << (at % 8);
        assert!(docproof(&bent.into(), &trusted()).is_err(), "byte {at}");
    }
}

#[test]
fn every_flipped_byte_is_noticed_and_named() {
    let file = encode(&Log::story().file());
    for at in 0..file.len() {
        let mut bent = file.clone();
        bent[at] ^= 1 << (at % 8);
        let fault = docproof(&bent.into(), &trusted()).map(|proven| proven.missing());
        assert!(fault.is_err(), "byte {at}");
    }
}

#[test]
fn every_shorter_file_is_refused() {
    let file = Bytes::from(encode(&Log::story().file()));
    for end in 0..file.len() {
        assert!(docproof(&file.slice(..end), &trusted()).is_err(), "{end} bytes");
    }
}

#[test]
fn a_damaged_leaf_is_named() {
    let log = Log::story();
    let refusal = leaf_of(&log, EventKind::ConsignmentRejection, REFUSES);
    let mut proof = log.file();
    let leaf = proof.leaves.iter_mut().find(|leaf| leaf.index == refusal).unwrap();
    let mut bytes = leaf.evidence.to_vec();
    bytes[100] ^= 1;
    leaf.evidence = bytes.into();
    assert_eq!(place(&proof), Place::Leaf(refusal));
}

#[test]
fn one_event_of_any_kind_can_t_be_left_out_unnoticed() {
    let log = Log::story();
    for gone in &log.told {
        let mut told = log.told.clone();
        told.remove(gone);
        let outcome = check(&log.file_of(&told, &hub()));
        let evidence = log.leaf(*gone);
        let last_of_its_course = matches!(
            evidence.event(),
            EventKind::ConsignmentRejection
                | EventKind::ContentHandoverFailure
                | EventKind::ConsignmentAcceptance
        );
        match outcome {
            Err(_) => {}
            Ok(proven) if proven.missing() > 0 => assert_eq!(evidence.event(), EventKind::ContentConsignment),
            Ok(proven) if last_of_its_course => assert_eq!(proven.leaves + 1, log.told.len()),
            // Agencies' names, and what came after all that the key signed.
            Ok(_) => assert_eq!(evidence.event(), EventKind::DirectoryChange, "leaf {gone}"),
        }
    }
}

#[test]
fn a_recipient_left_out_is_missed() {
    let log = Log::story();
    let told = without(&log, REFUSES);
    let proven = check(&log.file_of(&told, &hub())).unwrap();
    assert_eq!(proven.missing(), 1);
    assert_eq!(proven.count(End::RefusedBySystem), 0);
}

#[test]
fn a_hub_that_lies_about_a_key_is_caught() {
    let mut log = Log::new();
    let accepted = log.accept(&[TAKES]);
    let consigned = log.consign(accepted, TAKES);
    let handover = log.receipt(consigned, TAKES, 2, crate::proto::Outcome::Accepted, "");
    assert!(check(&log.file()).is_ok());

    // The same words after the key was revoked, with the verdict from before.
    let mut evidence = log.leaf(handover);
    log.leaves.pop();
    log.told.remove(&handover);
    log.revoke_key(TAKES, 2);
    let liar = log.leaves.len() as u64;
    evidence.verdict.as_mut().unwrap().as_of_index = liar;
    log.push(&evidence);
    assert_eq!(place(&log.file()), Place::Leaf(liar));
    // To say that it was judged before does not help either: nothing came with it there.
    evidence.verdict.as_mut().unwrap().as_of_index = handover;
    log.leaves.pop();
    log.push(&evidence);
    assert_eq!(place(&log.file()), Place::Leaf(liar));
}

#[test]
fn what_is_of_no_use_is_refused() {
    let mut log = Log::story();
    let foreign = log.unrelated();
    log.told.insert(foreign);
    assert_eq!(place(&log.file()), Place::Leaf(foreign));

    let log = Log::story();
    let mut twice = log.file();
    twice.leaves.insert(0, twice.leaves[0].clone());
    assert_eq!(place(&twice), Place::Proof);
    let mut surplus = log.file();
    surplus.hashes.push(surplus.hashes[0].clone());
    assert_eq!(place(&surplus), Place::Proof);
    let mut signed_twice = log.file();
    let line = signed_twice.checkpoint.lines().last().unwrap().to_owned();
    signed_twice.checkpoint += &format!("{line}\n");
    assert_eq!(place(&signed_twice), Place::Checkpoint);
    let mut other = log.file();
    other.envelope.as_mut().unwrap().signatures.swap(0, 1);
    assert_eq!(place(&other), Place::Envelope);
    assert_eq!(place(&DocProof { envelope: None, ..log.file() }), Place::Envelope);
}

fn without(log: &Log, who: &str) -> std::collections::BTreeSet<u64> {
    let about = |index: &u64| log.leaf(*index).recipients.iter().any(|party| party.agency == who);
    log.told.iter().copied().filter(|index| !about(index)).collect()
}

/// The story, then a hold and an erasure.
fn erased(scope: ErasedScope) -> DocProof {
    let mut log = Log::story();
    let accepted = log.accepted();
    log.hold(accepted);
    log.erase(accepted, scope);
    log.file()
}

/// Files for other implementations: name, bytes, and the verdict or the place of the fault.
fn vectors() -> Vec<(&'static str, Vec<u8>, String)> {
    let log = Log::story();
    let good = log.file();
    let bent = |change: &dyn Fn(&mut DocProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        encode(&proof)
    };
    let told_without = |leaf: u64| {
        let mut told = log.told.clone();
        told.remove(&leaf);
        encode(&log.file_of(&told, &hub()))
    };
    let mut foreign = Log::story();
    let other = foreign.unrelated();
    foreign.told.insert(other);
    let stranger = Signer::from_seed("stranger.test/log", &[8; 32]).unwrap();
    let mut flipped = encode(&good);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let surplus = [encode(&good), vec![0x30, 0x01]].concat();
    let bytes = vec![
        ("good", encode(&good)),
        ("recipient-left-out", encode(&log.file_of(&without(&log, REFUSES), &hub()))),
        ("event-left-out", told_without(leaf_of(&log, EventKind::ContentHandover, TAKES))),
        ("key-left-out", told_without(2)),
        ("flipped-byte", flipped),
        ("truncated", encode(&good)[..encode(&good).len() - 7].to_vec()),
        ("unknown-field", surplus),
        ("stranger-s-hub", encode(&log.file_of(&log.told, &stranger))),
        ("foreign-event", encode(&foreign.file())),
        ("moved-leaf", bent(&|proof| proof.leaves.last_mut().unwrap().index += 1)),
        ("hash-changed", bent(&|proof| proof.hashes[0] = vec![7; 32].into())),
        ("envelope-signature-swapped", bent(&|proof| proof.envelope.as_mut().unwrap().signatures.swap(0, 1))),
        (
            "checkpoint-of-another-size",
            bent(&|proof| {
                proof.checkpoint = proof.checkpoint.replacen("\n3", "\n2", 1);
            }),
        ),
        ("attachments-erased", encode(&erased(ErasedScope::Attachments))),
        ("all-erased", encode(&DocProof { envelope: None, ..erased(ErasedScope::All) })),
        ("all-erased-envelope-shown", encode(&erased(ErasedScope::All))),
        ("envelope-left-out", encode(&DocProof { envelope: None, ..erased(ErasedScope::Attachments) })),
        ("later-key-and-witnesses", encode(&witnessed(&[1, 2]))),
        ("change-of-key-left-out", encode(&DocProof { log_keys: String::new(), ..witnessed(&[]) })),
        ("cosignature-of-another", {
            let mut proof = witnessed(&[1, 2]);
            proof.cosignatures[0].line = proof.cosignatures[1].line.clone();
            encode(&proof)
        }),
    ];
    let outcome = |bytes: &[u8]| match docproof(&Bytes::copy_from_slice(bytes), &trusted()) {
        Ok(proven) if proven.missing() == 0 => "PROVEN".to_owned(),
        Ok(_) => "INCOMPLETE".to_owned(),
        Err(DocProofError { place: Place::Leaf(leaf), .. }) => format!("NOT_PROVEN leaf {leaf}"),
        Err(error) => format!("NOT_PROVEN {}", error.place.code()),
    };
    bytes.into_iter().map(|(name, bytes)| (name, bytes.clone(), outcome(&bytes))).collect()
}

/// The files in `tests/vectors/docproof` are these, byte for byte. `TRUC_BLESS=1` writes them anew.
#[test]
fn the_vectors_are_frozen() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/docproof");
    let mut list = String::new();
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (name, bytes, outcome) in vectors() {
        list += &format!("{name}.docproof\t{outcome}\n");
        files.push((folder.join(format!("{name}.docproof")), bytes));
    }
    files.push((folder.join("expected.tsv"), list.into_bytes()));
    files.push((
        folder.join("trusted.keys"),
        format!("# the hub of these files\n{}\n", hub().verifier()).into_bytes(),
    ));
    if std::env::var_os("TRUC_BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
    for (path, bytes) in files {
        assert!(fs::read(&path).unwrap() == bytes, "{} is another one", path.display());
    }
}

proptest! {
    #[test]
    fn strangers_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let file = [MAGIC, &bytes].concat();
        prop_assert!(docproof(&file.into(), &trusted()).is_err());
        prop_assert!(docproof(&bytes.into(), &trusted()).is_err());
    }
}
