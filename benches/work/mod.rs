//! The pieces of work that every document costs, each as a closure that does it once.

use std::hint::black_box;

use bytes::Bytes;
use prost::Message;
use truc::{
    domain::{
        document::{self, Limits},
        envelope::{self, KeyRing, RegisteredKey},
        evidence::{self, Tell},
        id::{AgencyId, Digest, DocumentName},
        signature::{Algorithm, SigningKey},
        time::Timestamp,
    },
    proto::{DocumentInfo, EventKind, Manifest, Part, SignedEnvelope, SignerKind},
    tlog::{
        checkpoint::Checkpoint,
        merkle::{self, Edge, Growth},
        note::Signer,
    },
};

/// A piece of work, ready to be done again and again.
pub type Piece = Box<dyn FnMut()>;

/// Makes a piece of work.
type Make = fn() -> Piece;

/// Every piece, by name.
pub const PIECES: &[(&str, Make)] = &[
    ("sign_manifest", sign_manifest),
    ("verify_first", verify_first),
    ("verify_frequent", verify_frequent),
    ("check_manifest", check_manifest),
    ("hash_1_kib", || hash(1024)),
    ("hash_1_mib", || hash(1024 * 1024)),
    ("evidence_leaf", evidence_leaf),
    ("grow_100_leaves", grow),
    ("prove_100_leaves", prove),
    ("sign_checkpoint", sign_checkpoint),
];

const ORIGIN: &str = "hub.example/bench";
const SENDER: &str = "000.00.00.H53";
const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

struct OneKey(RegisteredKey);

impl KeyRing for OneKey {
    fn key(&self, id: &Digest) -> Option<&RegisteredKey> {
        (*id == self.0.public.key_id()).then_some(&self.0)
    }
}

fn sender() -> AgencyId {
    AgencyId::parse(SENDER).expect("an identifier")
}

/// Always the same key: counts of instructions must not depend on chance.
fn key() -> SigningKey {
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n\
        -----END PRIVATE KEY-----\n";
    let key = SigningKey::from_pkcs8_pem(PEM).expect("a key of this test bench");
    assert_eq!(key.public_key().algorithm(), Algorithm::Ed25519);
    key
}

/// A manifest of about 1 KiB with one part.
fn manifest() -> Bytes {
    let part = Part {
        name: "van-ban.pdf".into(),
        media_type: "application/pdf".into(),
        size: 1024,
        sha256: Digest::of(b"part").to_bytes(),
    };
    let document = DocumentInfo {
        number: "123".into(),
        notation: "UBND-VX".into(),
        promulgation_date: "2026-09-20".into(),
        type_name: "Công văn".into(),
        subject: "v".repeat(500),
        ..DocumentInfo::default()
    };
    let manifest = Manifest {
        document_id: "01920000-0000-7000-8000-000000000001".into(),
        sender: SENDER.into(),
        recipients: vec!["000.00.00.H38".into()],
        document: Some(document),
        parts: vec![part],
        hub_origin: ORIGIN.into(),
        issued_at_us: NOW.0,
        nonce: vec![1; 16].into(),
        ..Manifest::default()
    };
    manifest.encode_to_vec().into()
}

fn signed() -> SignedEnvelope {
    envelope::sign(envelope::MANIFEST, manifest(), &[&key()])
}

fn ring() -> OneKey {
    let (public, kind) = (key().public_key(), SignerKind::Agency);
    let (valid_from, valid_until, revoked_at) = (Timestamp(0), None, None);
    OneKey(RegisteredKey { agency: sender(), public, kind, valid_from, valid_until, revoked_at })
}

fn sign_manifest() -> Piece {
    let (key, manifest) = (key(), manifest());
    Box::new(move || drop(black_box(envelope::sign(envelope::MANIFEST, manifest.clone(), &[&key]))))
}

fn judge(ring: &OneKey, signed: &SignedEnvelope, sender: &AgencyId) {
    let judged = envelope::judge(signed, envelope::MANIFEST, sender, ring, NOW);
    black_box(judged.expect("a good signature"));
}

/// By a key that was hardly used before: the directory's entry is new each time.
fn verify_first() -> Piece {
    let (signed, sender) = (signed(), sender());
    let spki = key().public_key().spki_der().clone();
    let mut ring = ring();
    let mut uses = 0;
    Box::new(move || {
        uses += 1;
        if uses % 16 == 0 {
            let fresh = truc::domain::signature::PublicKey::from_spki_der(&spki);
            ring.0.public = fresh.expect("a registered key");
        }
        judge(&ring, &signed, &sender);
    })
}

/// By a key in frequent use.
fn verify_frequent() -> Piece {
    let (ring, signed, sender) = (ring(), signed(), sender());
    (0..100).for_each(|_| judge(&ring, &signed, &sender));
    Box::new(move || judge(&ring, &signed, &sender))
}

fn check_manifest() -> Piece {
    let (manifest, limits) = (manifest(), Limits::default());
    Box::new(move || {
        drop(black_box(document::check_manifest(&manifest, &limits, ORIGIN, NOW).expect("a good manifest")))
    })
}

fn hash(bytes: usize) -> Piece {
    let bytes = vec![7; bytes];
    Box::new(move || {
        black_box(Digest::of(black_box(&bytes)));
    })
}

fn leaf() -> Bytes {
    let name = DocumentName::parse(SENDER, "01920000-0000-7000-8000-000000000001", 0).expect("a name");
    let evidence = evidence::event(EventKind::SubmissionAcceptance, [1; 16], NOW, ORIGIN)
        .about(&name, &Digest::of(b"manifest"))
        .by_node("node-a");
    evidence::encode(&evidence).expect("a leaf")
}

fn evidence_leaf() -> Piece {
    Box::new(|| {
        black_box(merkle::leaf_hash(&leaf()));
    })
}

/// A tree of about a million leaves.
fn large() -> Edge {
    let mut growth = Growth::new(Edge::empty());
    (0..1_000_003u64).for_each(|index| _ = growth.push(merkle::leaf_hash(&index.to_be_bytes())));
    growth.finish().0
}

fn batch(edge: &Edge) -> Growth {
    let mut growth = Growth::new(edge.clone());
    (0..100u64).for_each(|index| _ = growth.push(merkle::leaf_hash(&index.to_be_bytes())));
    growth
}

fn grow() -> Piece {
    let edge = large();
    Box::new(move || drop(black_box(batch(&edge))))
}

fn prove() -> Piece {
    let growth = batch(&large());
    Box::new(move || {
        let first = growth.base_size();
        let paths = growth.clone().paths();
        (first..first + 100).for_each(|leaf| drop(black_box(paths.inclusion(leaf))));
    })
}

fn sign_checkpoint() -> Piece {
    let signer = Signer::from_seed(ORIGIN, &[7; 32]).expect("a log key of this test bench");
    Box::new(move || {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 1_000_003, root: [9; 32] };
        black_box(checkpoint.sign(&signer));
    })
}
