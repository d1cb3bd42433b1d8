//! What is fuzzed: one function for each parser of foreign bytes. Shared by cargo-fuzz (`fuzz/fuzz_targets`) and by
//! `tests/fuzz_corpus.rs`, which runs them with the stable toolchain. A panic is a finding; so is a broken law.

use prost::Message;
use truc::{
    config::Config,
    domain::{
        agency,
        directory::{Directory, Prepared},
        directory_import,
        document::{self, Limits},
        envelope,
        id::{AgencyId, DocumentName, NodeName},
        signature::PublicKey,
        time::Timestamp,
    },
    edge::caller::Identity,
    proto::*,
    tlog::{
        checkpoint::Checkpoint,
        cosignature::Cosigner,
        keys::Handover,
        note::{self, Signer, Verifier},
        policy::Policy,
        proof::TlogProof,
        witness::AddCheckpoint,
    },
    verify,
};

/// 2026-09-21.
pub const NOW: Timestamp = Timestamp(1_790_000_000_000_000);
pub const ORIGIN: &str = "hub.test/log";

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Target] = &[
    ("wire", wire),
    ("envelope", envelope),
    ("signed", signed),
    ("names", names),
    ("note", note),
    ("proof", proof),
    ("receipt", receipt),
    ("csv", csv),
    ("config", config),
    ("certificate", certificate),
    ("directory", directory),
    ("door", super::hub::door),
    ("journal", super::disk::journal),
    ("commits", super::disk::commits),
    ("pack", super::disk::pack),
];

pub fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).expect("a good name")
}

/// The first byte chooses, the others are the input.
fn choose(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// Decodes; what was read is written and read again as the same.
fn again<M: Message + Default + PartialEq>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    let bytes = message.encode_to_vec();
    assert_eq!(bytes.len(), message.encoded_len());
    assert!(M::decode(&bytes[..]).expect("own bytes") == message);
    Some(message)
}

/// Every message that a client may send.
fn wire(data: &[u8]) {
    let (kind, data) = choose(data);
    match kind % 14 {
        0 => drop(again::<SubmitRequest>(data)),
        1 => drop(again::<SubmitStreamRequest>(data)),
        2 => drop(again::<AddRecipientsRequest>(data)),
        3 => drop(again::<UploadRequest>(data)),
        4 => drop(again::<DeliverRequest>(data)),
        5 => drop(again::<FetchRequest>(data)),
        6 => drop(again::<AcknowledgeRequest>(data)),
        7 => drop(again::<ReportRequest>(data)),
        8 => drop(again::<WatchRequest>(data)),
        9 => drop(again::<GetTimelineRequest>(data)),
        10 => drop(again::<ChangeRequest>(data)),
        11 => drop(again::<ImportAgenciesRequest>(data)),
        12 => drop(again::<DownloadRequest>(data)),
        _ => drop(again::<GetConsistencyRequest>(data)),
    }
}

/// An envelope, and its payload as whatever it says that it is.
fn envelope(data: &[u8]) {
    let Some(envelope) = again::<SignedEnvelope>(data) else { return };
    let agency = AgencyId::parse("000.00.00.H53").expect("an identifier");
    for kind in [envelope::MANIFEST, envelope::ADDRESSING, envelope::RECEIPT, envelope::STATUS] {
        let judged = envelope::judge(&envelope, kind, &agency, &Directory::default(), NOW);
        assert!(judged.is_err(), "nobody is registered");
    }
    assert_eq!(envelope::signature_digests(&envelope).len(), envelope.signatures.len());
    payloads(&envelope.payload);
}

/// What an agency signs.
fn signed(data: &[u8]) {
    payloads(&bytes::Bytes::copy_from_slice(data));
}

fn payloads(payload: &bytes::Bytes) {
    let limits = Limits::default();
    if let Ok(checked) = document::check_manifest(payload, &limits, ORIGIN, NOW) {
        assert!(checked.deadline > NOW && checked.manifest.document.is_some());
        let shown =
            truc::client::readable::manifest(&checked.manifest, &truc::domain::id::Digest::of(payload));
        assert!(shown.is_object());
    }
    if let Ok(checked) = document::check_addressing(payload, &limits, ORIGIN, NOW) {
        assert_eq!(checked.name.sender.as_str(), checked.addressing.sender);
    }
    if let Ok(checked) = document::check_receipt(payload, ORIGIN) {
        assert_ne!(checked.outcome, Outcome::Unspecified);
    }
    if let Ok(checked) = document::check_status(payload, &limits, ORIGIN, NOW) {
        assert!(truc::domain::status::is_known(checked.code));
    }
}

/// Identifiers and small texts. What is taken is printed as it was given.
fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(agency) = AgencyId::parse(text) {
        assert_eq!(agency.as_str(), text);
        let _ = agency::level_of(&agency);
        let mut above = agency::parent_of(&agency);
        for _ in 0..text.len() {
            above = above.and_then(|parent| agency::parent_of(&parent));
        }
        assert!(above.is_none(), "parents go on for ever");
    }
    if let Ok(node) = NodeName::parse(text) {
        assert_eq!(node.as_str(), text);
    }
    if let Ok(name) = DocumentName::parse("000.00.00.H53", text, 1) {
        assert_eq!(&*name.document_id, text);
    }
    if let Ok((document, recipient)) = truc::hub::session::parse_delivery_id(text) {
        let (again, same) =
            truc::hub::session::parse_delivery_id(&truc::hub::session::delivery_id(document, &recipient))
                .expect("own words");
        assert_eq!((again, same), (document, recipient));
    }
    if let Ok(span) = truc::config::human::parse_duration(text) {
        let printed = truc::config::human::print_duration(span);
        assert_eq!(truc::config::human::parse_duration(&printed), Ok(span), "{printed}");
    }
    if let Ok(size) = truc::config::human::parse_size(text) {
        let printed = truc::config::human::print_size(size);
        assert_eq!(truc::config::human::parse_size(&printed), Ok(size), "{printed}");
    }
    let _ = truc::domain::text::check("field", text, 0..=100);
}

/// Signed notes, checkpoints and verifier keys, and what is made of them: requests to a witness, cosignatures, policies,
/// changes of a log's key. What is taken is written as it was.
fn note(data: &[u8]) {
    if let Ok(policy) = Policy::parse(data) {
        let _ = (policy.rule(), policy.judge(&String::from_utf8_lossy(data)));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = note::unverified_text(text);
    if let Ok(opened) = note::open(text, &[signer().verifier()]) {
        assert!(text.starts_with(&opened.text));
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert!(text.starts_with(&checkpoint.text()), "another text: {:?}", checkpoint.text());
    }
    let _ = Checkpoint::unverified(text);
    if let Ok(verifier) = Verifier::parse(text.trim()) {
        assert_eq!(verifier.to_string(), text.trim());
    }
    if let Ok(asked) = AddCheckpoint::parse(text) {
        assert_eq!(asked.encode(), text);
        let _ = (asked.origin(), asked.judge(&[signer().verifier()], None));
    }
    let _ = (cosigner().verifier().find(text), Handover::open(text), verify::log_keys::read(text));
}

pub fn cosigner() -> Cosigner {
    Cosigner::from_seed("w.test", &[7; 32]).expect("a good name")
}

/// A leaf and its proof file, as `truc verify` reads them.
fn proof(data: &[u8]) {
    let (len, data) = choose(data);
    let (leaf, text) = data.split_at(data.len().min(usize::from(len)));
    let Ok(text) = std::str::from_utf8(text) else { return };
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(TlogProof::parse(&proof.encode()).map(|again| again.encode()), Ok(proof.encode()));
    }
    let _ = verify::evidence_with_proof(leaf, text, &signer().verifier());
}

/// A receipt as the hub hands it out, and all that can be read from it.
fn receipt(data: &[u8]) {
    let Some(receipt) = again::<Receipt>(data) else { return };
    let _ = again::<Evidence>(&receipt.evidence);
    let Ok(facts) = verify::receipt(&receipt, &signer().verifier()) else { return };
    assert!(facts.index() < facts.tree_size());
    let _ = (facts.reasons().count(), facts.recipients().count(), facts.previous(), facts.time());
    let _ = verify::handover(&facts, &facts);
    let _ = verify::manifest(&SignedEnvelope::default(), &facts);
}

/// A list of agencies.
fn csv(data: &[u8]) {
    let Ok(import) = directory_import::parse_csv(data) else { return };
    let rows = import.rows.len() + import.quarantined.len();
    assert!(rows <= data.len());
    for (_, agency) in import.rows {
        assert!(agency::check(&agency).is_ok(), "{agency:?}");
    }
}

/// A configuration file.
fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mut config) = Config::parse(text) else { return };
    config.resolve(std::path::Path::new("/etc/truc"));
    let _ = config.check();
}

/// A peer's certificate, and a key's record.
fn certificate(data: &[u8]) {
    if let Ok(identity) = Identity::from_certificate(data) {
        assert!(identity.to_string().contains(' '));
    }
    if let Ok(key) = PublicKey::from_spki_der(data) {
        assert_eq!(key.spki_der(), data);
        let value = signature::Value::Ed25519(vec![0; 64].into());
        assert!(key.verify(b"nobody signed this", &value).is_err());
    }
}

/// Changes one after the other: what is prepared can be applied, and done again it is no change.
fn directory(data: &[u8]) {
    let Ok(changes) = ImportAgenciesRequest::decode(data) else {
        return one_change(data, &mut Directory::default());
    };
    let mut directory = Directory::default();
    for agency in changes.agencies.into_iter().take(64) {
        let change = DirectoryChange {
            change: Some(directory_change::Change::PutAgency(agency)),
            ..Default::default()
        };
        one_change(&change.encode_to_vec(), &mut directory);
    }
    let all = directory.agencies(None, Level::Unspecified, None, 100);
    let roots: Vec<_> =
        all.iter().map(|agency| RecipientGroup { root: agency.id.to_string(), level: 0 }).collect();
    let sender = AgencyId::parse("000.00.00.H53").expect("an identifier");
    let _ = directory.expand(&sender, &[], &roots, 50);
}

fn one_change(data: &[u8], directory: &mut Directory) {
    let Some(change) = again::<DirectoryChange>(data) else { return };
    let Ok(Prepared::Change(complete)) = directory.prepare(&change, NOW) else { return };
    let leaf = directory.version();
    directory.apply(leaf, &complete).expect("what prepare made can be applied");
    if !matches!(change.change, Some(directory_change::Change::RevokeKey(_))) {
        assert_eq!(directory.prepare(&change, NOW), Ok(Prepared::Unchanged { leaf }), "{change:?}");
    }
}
