//! `truc fsck` against folders whose checksums are all right, and whose records do not agree.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use truc::{
    daily::{Agencies, Day},
    domain::{
        envelope,
        evidence::{self, Tell, recipients_digest},
        id::{Digest, DocumentName},
        signature::{Algorithm, SigningKey},
        time::Timestamp,
    },
    proto::{self, EventKind, Evidence, TransportState},
    store::{
        Commit, Store,
        embedded::{
            Embedded, EmbeddedOptions,
            check::{self, Counts, Finding, Severity, What},
        },
        payload::{Payload, PayloadOptions},
        records::*,
    },
    tlog::{
        checkpoint::Checkpoint,
        merkle::{Edge, Growth, leaf_hash},
        note::Signer,
    },
};

const ORIGIN: &str = "hub.test/log";

fn signer() -> Signer {
    Signer::from_seed(ORIGIN, &[7; 32]).expect("a signer")
}

/// A commit before it is signed: what a careless or malicious writer may put into a store.
struct Forge {
    folder: TempDir,
    payload: Arc<Payload>,
    leaves: Vec<Evidence>,
    commit: Commit,
}

impl Forge {
    /// One document to one recipient, all in order.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let payload =
            Payload::open(&folder.path().join("bodies"), PayloadOptions::default()).expect("bodies");
        let part = payload.put_small(b"the attachment").expect("kept");
        let manifest = proto::Manifest {
            document_id: "one".into(),
            sender: "H53.1".into(),
            parts: vec![proto::Part { size: part.size, sha256: part.sha256.clone(), ..Default::default() }],
            ..Default::default()
        };
        let key = SigningKey::generate(Algorithm::Ed25519).expect("a key");
        let signed = envelope::sign(envelope::MANIFEST, manifest.encode_to_vec().into(), &[&key]);
        let body = payload.put_small(&signed.encode_to_vec()).expect("kept");
        let manifest_sha256 = Digest::of(&signed.payload);

        let name = DocumentName::parse("H53.1", "one", 0).expect("a name");
        let event =
            |kind, id| evidence::event(kind, [id; 16], Timestamp(1), ORIGIN).about(&name, &manifest_sha256);
        let acceptance = Evidence {
            signature_sha256: envelope::signature_digests(&signed),
            recipient_count: 1,
            recipients_sha256: recipients_digest(["H54"].into_iter()).to_bytes(),
            ..event(EventKind::SubmissionAcceptance, 1)
        };
        let document = DocumentRecord {
            sender: "H53.1".into(),
            document_id: "one".into(),
            manifest_sha256: manifest_sha256.to_bytes(),
            envelope_sha256: body.sha256.clone(),
            parts: vec![part.sha256.clone()],
            ..DocumentRecord::default()
        };
        let delivery = DeliveryRecord {
            recipient: "H54".into(),
            transport: TransportState::Ready.into(),
            ..Default::default()
        };
        let commit = Commit {
            documents: vec![document.into()],
            lists: vec![RecipientList { index: 0, document: 0, recipients: vec!["H54".into()] }.into()],
            expansions: vec![ExpansionRecord { list: 0, next: 1, total: 1 }],
            deliveries: vec![delivery],
            bodies: vec![part, body],
            head: Head { documents: 1, ..Head::default() },
            ..Commit::default()
        };
        let leaves = vec![acceptance, event(EventKind::ContentConsignment, 2)];
        Self { folder, payload: Arc::new(payload), leaves, commit }
    }

    fn document(&mut self) -> &mut DocumentRecord {
        Arc::make_mut(&mut self.commit.documents[0])
    }

    fn list(&mut self) -> &mut RecipientList {
        Arc::make_mut(&mut self.commit.lists[0])
    }

    /// Replaces the envelope by this one, with the right digests everywhere.
    fn envelop(&mut self, signed: &proto::SignedEnvelope) {
        let body = self.payload.put_small(&signed.encode_to_vec()).expect("kept");
        self.document().envelope_sha256 = body.sha256.clone();
        self.document().manifest_sha256 = Digest::of(&signed.payload).to_bytes();
        self.leaves[0].manifest_sha256 = Digest::of(&signed.payload).to_bytes();
        self.leaves[0].signature_sha256 = envelope::signature_digests(signed);
        self.commit.bodies[1] = body;
    }

    fn manifest(&mut self, change: impl FnOnce(&mut proto::Manifest)) {
        let old = self.payload.read(&self.commit.bodies[1]).expect("kept");
        let mut signed = proto::SignedEnvelope::decode(old).expect("an envelope");
        let mut manifest = proto::Manifest::decode(signed.payload).expect("a manifest");
        change(&mut manifest);
        signed.payload = manifest.encode_to_vec().into();
        self.envelop(&signed);
    }

    /// Signs and commits; `last` may still change what is signed already.
    fn check(mut self, last: impl FnOnce(&mut Commit)) -> (Counts, Vec<Finding>) {
        let leaves = self.leaves.iter().map(Message::encode_to_vec).map(Bytes::from);
        if self.commit.leaves.is_empty() {
            self.commit.leaves =
                leaves.map(|evidence| LeafRecord { evidence, ..LeafRecord::default() }).collect();
        }
        let mut growth = Growth::new(Edge::empty());
        self.commit.leaves.iter().for_each(|leaf| {
            growth.push(leaf_hash(&leaf.evidence));
        });
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: growth.size(), root: growth.root() };
        self.commit.head.size = growth.size();
        self.commit.head.root = Bytes::copy_from_slice(&growth.root());
        self.commit.head.checkpoint = checkpoint.sign(&signer());
        self.commit.nodes = growth.nodes().to_vec();
        last(&mut self.commit);

        let options = EmbeddedOptions { segment_bytes: 1 << 16, ..EmbeddedOptions::new(self.folder.path()) };
        let store = Embedded::open(&options, Arc::clone(&self.payload), &mut |_| {}).expect("opens").store;
        store.commit(&self.commit).expect("written");
        store.close().expect("closed");
        let mut findings = Vec::new();
        let verifier = signer().verifier();
        let counts = check::check(&options, &self.payload, Some(&verifier), &mut |_, _| {}, &mut |finding| {
            findings.push(finding);
        });
        (counts.expect("checked"), findings)
    }
}

#[test]
fn what_agrees_is_not_found() {
    let (counts, findings) = Forge::new().check(|_| ());
    assert_eq!(findings, []);
    // The commit and the seal.
    assert_eq!(counts, Counts { frames: 2, leaves: 2, documents: 1, bodies: 2, ..Counts::default() });
}

#[test]
fn a_store_without_a_commit_is_whole() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let options = EmbeddedOptions { segment_bytes: 1 << 16, ..EmbeddedOptions::new(folder.path()) };
    let payload = Payload::open(&folder.path().join("bodies"), PayloadOptions::default()).expect("bodies");
    let payload = Arc::new(payload);
    Embedded::open(&options, Arc::clone(&payload), &mut |_| {})
        .expect("opens")
        .store
        .close()
        .expect("closed");
    let checked =
        check::check(&options, &payload, None, &mut |_, _| {}, &mut |finding| panic!("{finding:?}"));
    assert_eq!(checked.expect("checked"), Counts::default());
}

#[test]
fn records_that_do_not_agree_are_found() {
    type Change = fn(&mut Forge);
    let document = "document one of H53.1, leaf 0";
    let cases: [(&str, Change, What, &str); 21] = [
        ("revision", |f| f.document().revision = 1, What::Record, "document one of H53.1 revision 1, leaf 0"),
        ("sender", |f| f.leaves[0].sender = None, What::Record, document),
        ("event", |f| f.leaves[0].set_event(EventKind::ContentConsignment), What::Record, document),
        ("other manifest", |f| f.leaves[0].manifest_sha256 = vec![1; 32].into(), What::Record, document),
        ("signatures", |f| f.leaves[0].signature_sha256.clear(), What::Envelope, document),
        ("envelope nowhere", |f| drop(f.commit.bodies.pop()), What::Envelope, document),
        ("part nowhere", |f| drop(f.commit.bodies.remove(0)), What::Body, document),
        ("part of other size", |f| f.manifest(|m| m.parts[0].size += 1), What::Envelope, document),
        ("parts", |f| f.manifest(|m| m.parts.clear()), What::Envelope, document),
        ("other document", |f| f.manifest(|m| m.document_id = "two".into()), What::Envelope, document),
        ("no manifest", |f| f.envelop(&no_manifest(envelope::MANIFEST, b"\xff")), What::Envelope, document),
        ("other type", |f| f.envelop(&no_manifest(envelope::RECEIPT, b"")), What::Envelope, document),
        ("digest", |f| f.document().manifest_sha256 = vec![2; 32].into(), What::Envelope, document),
        ("body", |f| f.commit.bodies[0].offset += 64, What::Body, "body "),
        ("list", |f| f.list().recipients.push("H55".into()), What::Record, "recipient list of leaf 0"),
        ("list of a leaf", |f| f.list().index = 1, What::Record, "recipient list of leaf 1"),
        ("list before its document", |f| f.list().document = 1, What::Record, "recipient list of leaf 0"),
        ("expansion", |f| f.commit.expansions[0].list = 2, What::Record, "segment 1 offset 64, frame 1"),
        ("delivery", |f| f.commit.deliveries[0].document = 2, What::Record, "segment 1 offset 64, frame 1"),
        (
            "final",
            |f| f.commit.deliveries[0].final_leaf_plus_one = 3,
            What::Record,
            "segment 1 offset 64, frame 1",
        ),
        ("directory", |f| f.commit.directory.push(DirectoryRecord { leaf: 1 }), What::Record, "leaf 1"),
    ];
    for (what, change, expected, place) in cases {
        let mut forge = Forge::new();
        change(&mut forge);
        assert_found(what, &forge.check(|_| ()).1, expected, place);
    }
}

fn no_manifest(payload_type: &str, payload: &'static [u8]) -> proto::SignedEnvelope {
    proto::SignedEnvelope { payload_type: payload_type.into(), payload: payload.into(), ..Default::default() }
}

#[test]
fn heads_that_do_not_fit_are_found() {
    type Change = fn(&mut Commit);
    let cases: [(&str, Change, What); 6] = [
        ("documents", |c| c.head.documents = 2, What::Record),
        ("root", |c| c.head.root = vec![3; 32].into(), What::Tree),
        ("root alone", |c| c.head.root = vec![3; 32].into(), What::Checkpoint),
        ("no checkpoint", |c| c.head.checkpoint.clear(), What::Checkpoint),
        (
            "changed",
            |c| c.head.checkpoint = c.head.checkpoint.replacen("\n2\n", "\n3\n", 1),
            What::Checkpoint,
        ),
        (
            "another log's",
            |c| {
                let other = Signer::from_seed("other.test/log", &[7; 32]).expect("a signer");
                let mut checkpoint = Checkpoint::unverified(&c.head.checkpoint).expect("ours");
                checkpoint.origin = other.name().into();
                c.head.checkpoint = checkpoint.sign(&other);
            },
            What::Checkpoint,
        ),
    ];
    for (what, change, expected) in cases {
        let (_, findings) = Forge::new().check(change);
        assert_found(what, &findings, expected, "segment 1 offset 64, frame 1");
    }
}

#[test]
fn a_leaf_that_is_no_evidence_is_found() {
    let mut forge = Forge::new();
    let leaves = [forge.leaves[0].encode_to_vec(), b"\xff\xff".to_vec()];
    let leaf =
        |evidence: &Vec<u8>| LeafRecord { evidence: Bytes::copy_from_slice(evidence), ..Default::default() };
    forge.commit.leaves = leaves.iter().map(leaf).collect();
    assert_found("garbage", &forge.check(|_| ()).1, What::Evidence, "leaf 1");
}

fn assert_found(what: &str, findings: &[Finding], expected: What, place: &str) {
    let found = findings.iter().find(|finding| finding.what == expected && finding.place.starts_with(place));
    let found = found.unwrap_or_else(|| panic!("{what}: {expected:?} at {place} is not in {findings:?}"));
    assert_eq!(found.severity, Severity::Loss, "{what}");
}

/// Numbers on both leaves, and the digest of their day in a third, all in order.
fn counted() -> Forge {
    let mut forge = Forge::new();
    let counter = proto::Counter { number: 1, ..Default::default() };
    let of = |sent, received: Option<proto::Counter>| {
        Some(proto::Counters { sent, pair: received.clone(), received })
    };
    forge.leaves[0].counters = of(Some(counter.clone()), None);
    forge.leaves[1].counters = of(None, Some(counter));
    forge.leaves[1].recipients = vec![proto::Party { agency: "H54".into(), ..Default::default() }];
    let (to, from) = ("H54".to_owned(), "H53.1".to_owned());
    let pair = PairRecord { recipient: to, sender: from.clone(), number: 1, received: 1, leaf: 1 };
    forge.commit.pairs.push(pair);
    forge.commit.sent.push(SentRecord { sender: from, number: 1, leaf: 0 });

    let mut day = Day::begin(0, []);
    for leaf in &forge.leaves {
        assert!(day.take(leaf_hash(&leaf.encode_to_vec()), leaf));
    }
    let agencies = day.agencies();
    let tree = Agencies::of(agencies.clone()).expect("in order");
    let said = proto::DailyDigest {
        start: 0,
        end: 2,
        agencies: tree.len(),
        agencies_root: Bytes::copy_from_slice(&tree.root()),
        ..Default::default()
    };
    let next_day = Timestamp(24 * 3_600_000_000);
    let mut digest = evidence::event(EventKind::DailyDigest, [3; 16], next_day, ORIGIN);
    digest.daily_digest = said.encode_to_vec().into();
    forge.leaves.push(digest);
    forge.commit.digests.push(DigestRecord { day: 0, leaf: 2, start: 0, end: 2, agencies });
    forge
}

#[test]
fn numbers_and_digests_that_do_not_agree_are_found() {
    type Change = fn(&mut Forge);
    let digest = "digest in leaf 2";
    let cases: [(&str, Change, &str); 7] = [
        ("pair", |f| f.commit.pairs[0].number = 2, "counting from H53.1 to H54"),
        ("received", |f| f.commit.pairs[0].received = 2, "counting from H53.1 to H54"),
        ("leaf of a pair", |f| f.commit.pairs[0].leaf = 0, "counting from H53.1 to H54"),
        ("sent", |f| f.commit.sent[0].number = 2, "counting of what H53.1 sent"),
        ("agency left out", |f| drop(f.commit.digests[0].agencies.pop()), digest),
        ("another day", |f| f.commit.digests[0].day = 1, digest),
        ("a digest that leaves something out", |f| f.leaves[0].reasons.push(Default::default()), digest),
    ];
    assert_eq!(counted().check(|_| ()).1, []);
    for (what, change, place) in cases {
        let mut forge = counted();
        change(&mut forge);
        assert_found(what, &forge.check(|_| ()).1, What::Record, place);
    }
}
