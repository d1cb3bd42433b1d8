//! A data folder that a real hub wrote, made once; tests work on copies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use truc::{
    domain::{
        document::Limits,
        envelope,
        id::{Digest, DocumentName, NodeName},
        retry::Backoff,
        signature::{Algorithm, SigningKey},
        time::Timestamp,
    },
    hub::{Hub, LogIdentity, Settings, clock::Clock, intake::Accepted, query, refused::Refused},
    proto::{self, DirectoryChange, directory_change::Change},
    store::{
        Store, StoreError,
        embedded::{
            Embedded, EmbeddedOptions, Opened,
            check::{self, Counts, Finding},
            journal,
        },
        payload::{Payload, PayloadOptions},
    },
    tlog::note::{Signer, Verifier},
};

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);
const SENDER: &str = "H53.1";
const RECIPIENTS: [&str; 2] = ["H54.1", "H55.1"];
const BLOCK: u64 = 64;

pub fn origin() -> &'static str {
    "hub.test/log"
}

fn signer() -> Signer {
    Signer::from_seed(origin(), &[7; 32]).expect("a signer")
}

pub fn verifier() -> Verifier {
    signer().verifier()
}

/// What a file of the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Journal,
    Pack,
    Body,
    Array,
    Index,
    Mark,
    Lock,
}

/// The folder, and what is known about it.
pub struct Made {
    dir: TempDir,
    pub counts: Counts,
    /// `ID of SENDER`, in the order of acceptance.
    pub documents: Vec<String>,
    pub bodies: Vec<Body>,
    pub receipts: Vec<Vec<u8>>,
    /// Size of the log after each commit, ascending.
    sizes: Vec<u64>,
    /// Leaf index of each document.
    indexes: Vec<u64>,
}

/// Where a body lies, its pack header included.
pub struct Body {
    pub digest: String,
    pub documents: Vec<String>,
    file: PathBuf,
    range: Range<u64>,
}

impl Body {
    pub fn covers(&self, file: &Path, at: u64) -> bool {
        self.file == file && self.range.contains(&at)
    }

    /// First and last byte, of the header in a pack and of the content.
    pub fn edges_in(&self, file: &Path) -> Vec<u64> {
        match self.file == file {
            true => [0, BLOCK - 1, BLOCK]
                .map(|at| self.range.start + at)
                .into_iter()
                .chain([self.range.end - 1])
                .collect(),
            false => Vec::new(),
        }
    }
}

pub struct Segment {
    pub path: PathBuf,
    pub number: u32,
    pub len: u64,
    pub frames: Vec<Frame>,
    pub is_last_used: bool,
}

pub struct Frame {
    pub seq: u64,
    pub start: u64,
    pub end: u64,
    /// The newest frame of the journal.
    pub last: bool,
    pub leaves: Range<u64>,
    pub documents: Vec<String>,
}

impl Segment {
    /// What no frame was written to.
    pub fn unused(&self) -> Range<u64> {
        self.frames.last().map_or(0, |frame| frame.end)..self.len
    }
}

/// A copy to work on.
pub struct Folder {
    dir: TempDir,
    pub made: &'static Made,
}

pub fn made() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(make())
    })
}

pub fn copy() -> Folder {
    let made = made();
    let dir = tempfile::tempdir().expect("temporary folder");
    copy_into(made.dir.path(), dir.path());
    Folder { dir, made }
}

/// Flips one bit of a byte.
pub fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).expect("read");
    bytes[usize::try_from(at).expect("small")] ^= 1 << (at % 8);
    fs::write(path, bytes).expect("write");
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            fs::create_dir(&target).expect("mkdir");
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

fn options(dir: &Path) -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: 16 << 10, ..EmbeddedOptions::new(dir) }
}

fn payload(dir: &Path) -> Payload {
    Payload::open(&dir.join("bodies"), PayloadOptions::default()).expect("bodies")
}

fn open(dir: &Path) -> Result<Opened, StoreError> {
    Embedded::open(&options(dir), Arc::new(payload(dir)), &mut |_| {})
}

impl Folder {
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, file: &Path) -> PathBuf {
        self.dir().join(file)
    }

    pub fn options(&self) -> EmbeddedOptions {
        options(self.dir())
    }

    pub fn payload(&self) -> Payload {
        payload(self.dir())
    }

    pub fn open(&self) -> Result<Opened, StoreError> {
        open(self.dir())
    }

    pub fn check(&self) -> (Counts, Vec<Finding>) {
        check(self.dir())
    }

    /// What is found while one bit of this byte is flipped; then it is as before.
    pub fn check_flipped(&self, file: &Path, at: u64) -> Vec<Finding> {
        flip(&self.path(file), at);
        let (_, findings) = self.check();
        flip(&self.path(file), at);
        findings
    }

    /// Every leaf's receipt, from a start to a clean stop.
    pub fn receipts(&self) -> Vec<Vec<u8>> {
        receipts(&self.open().expect("opens").store)
    }
}

pub fn check(dir: &Path) -> (Counts, Vec<Finding>) {
    let mut findings = Vec::new();
    let counts =
        check::check(&options(dir), &payload(dir), Some(&verifier()), &mut |_, _| {}, &mut |finding| {
            findings.push(finding);
        });
    (counts.expect("checked"), findings)
}

fn receipts(store: &Embedded) -> Vec<Vec<u8>> {
    let receipt = |leaf| query::receipt(store, leaf).expect("a receipt").encode_to_vec();
    (0..store.head().size).map(receipt).collect()
}

impl Made {
    pub fn path(&self, file: &Path) -> PathBuf {
        self.dir.path().join(file)
    }

    pub fn len(&self, file: &Path) -> u64 {
        self.path(file).metadata().expect("metadata").len()
    }

    /// Paths of files of these kinds, relative to the folder.
    pub fn files(&self, wanted: impl Fn(Kind) -> bool) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(self.dir.path(), &mut |path| {
            let file = path.strip_prefix(self.dir.path()).expect("below").to_owned();
            if wanted(self.kind(&file)) {
                found.push(file);
            }
        });
        found.sort();
        found
    }

    pub fn kind(&self, file: &Path) -> Kind {
        let text = file.to_str().expect("text");
        let kinds = [
            ("journal/", Kind::Journal),
            ("bodies/packs/", Kind::Pack),
            ("bodies/files/", Kind::Body),
            ("history/leaves", Kind::Array),
            ("history/nodes", Kind::Array),
            ("history/mark", Kind::Mark),
            ("history/fjall/", Kind::Index),
            ("lock", Kind::Lock),
        ];
        kinds.iter().find(|(start, _)| text.starts_with(start)).unwrap_or_else(|| panic!("what is {text}?")).1
    }

    /// True if cutting a file to this length takes nothing away that was ever written.
    pub fn cuts_nothing(&self, file: &Path, to: u64) -> bool {
        match self.kind(file) {
            Kind::Pack => !self.bodies.iter().any(|body| body.file == file && body.range.end > to),
            Kind::Journal => self.is_unused_segment(file) && to >= 4 * BLOCK && to.is_multiple_of(BLOCK),
            _ => false,
        }
    }

    pub fn is_unused_segment(&self, file: &Path) -> bool {
        self.segments().iter().any(|segment| segment.path == file && segment.frames.is_empty())
    }

    pub fn segments(&self) -> Vec<Segment> {
        let mut segments: Vec<_> = self
            .files(|kind| kind == Kind::Journal)
            .into_iter()
            .map(|path| {
                let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a number");
                Segment { number, len: self.len(&path), frames: Vec::new(), is_last_used: false, path }
            })
            .collect();
        let mut commits = 0_usize;
        let read = journal::check(&self.dir.path().join("journal"), &mut |finding| {
            let journal::Finding::Frame(frame) = finding else { panic!("{finding:?}") };
            let start = u64::from(frame.position.offset);
            let end = start + BLOCK + (frame.payload.len() as u64).next_multiple_of(BLOCK);
            let leaves = match frame.kind {
                journal::Kind::Seal => 0..0,
                journal::Kind::Commit => {
                    commits += 1;
                    commits.checked_sub(2).map_or(0, |before| self.sizes[before])..self.sizes[commits - 1]
                }
            };
            let accepted =
                self.indexes.iter().zip(&self.documents).filter(|(index, _)| leaves.contains(index));
            let documents = accepted.map(|(_, name)| name.clone()).collect();
            let segment =
                segments.iter_mut().find(|segment| segment.number == frame.position.segment).expect("listed");
            segment.frames.push(Frame { seq: frame.seq, start, end, last: false, leaves, documents });
            Ok(())
        });
        read.expect("readable");
        let last = segments.iter_mut().rfind(|segment| !segment.frames.is_empty()).expect("used");
        last.is_last_used = true;
        last.frames.last_mut().expect("a frame").last = true;
        segments
    }
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).expect("list") {
        let entry = entry.expect("entry");
        match entry.file_type().expect("type").is_dir() {
            true => walk(&entry.path(), visit),
            false => visit(&entry.path()),
        }
    }
}

/// Documents of one sender to two recipients: with small and large, own and shared attachments; two are taken over,
/// one moves on, one submission is refused.
async fn make() -> Made {
    let dir = tempfile::tempdir().expect("temporary folder");
    let desk = Desk::start(dir.path());
    desk.register().await;
    let (shared, large) = (Bytes::from(vec![b's'; 3_000]), Bytes::from(vec![b'l'; 150_000]));
    desk.upload(&large).await;
    desk.tell_status(7, RECIPIENTS[0]).await;
    let mut sent = Vec::new();
    for number in 0..9_u8 {
        let own = Bytes::from(vec![number; 500 + usize::from(number) * 37]);
        let parts = match number {
            0 => vec![own, large.clone()],
            1 | 4 => vec![own, shared.clone()],
            8 => Vec::new(),
            _ => vec![own],
        };
        let inline = parts.iter().filter(|part| **part != large).cloned().collect();
        sent.push(desk.send(number, parts, inline).await);
    }
    desk.receive(&sent[0].1, RECIPIENTS[0], proto::Outcome::Accepted).await;
    desk.receive(&sent[3].1, RECIPIENTS[1], proto::Outcome::Refused).await;
    desk.tell_status(0, RECIPIENTS[0]).await;
    desk.send_nonsense().await;
    desk.stop().await;

    let opened = open(dir.path()).expect("opens");
    assert_eq!((opened.replayed, opened.rebuilt), (0, None), "the hub stopped in order");
    Made::look(dir, &opened.store, &sent)
}

pub type Sent = (Vec<Bytes>, proto::SignedEnvelope);

impl Made {
    fn look(dir: TempDir, store: &Embedded, sent: &[Sent]) -> Self {
        let mut bodies: Vec<Body> = Vec::new();
        let (mut documents, mut indexes) = (Vec::new(), Vec::new());
        for (parts, envelope) in sent {
            let manifest = proto::Manifest::decode(envelope.payload.clone()).expect("a manifest");
            let name = DocumentName::parse(&manifest.sender, &manifest.document_id, 0).expect("a name");
            indexes.push(store.find_document(&name).expect("read").expect("accepted"));
            documents.push(name.to_string());
            let digests =
                parts.iter().map(|part| Digest::of(part)).chain([Digest::of(&envelope.encode_to_vec())]);
            for digest in digests {
                match bodies.iter_mut().find(|body| body.digest == digest.to_string()) {
                    Some(body) => body.documents.push(name.to_string()),
                    None => bodies.push(body(store, &digest, &name)),
                }
            }
        }
        let head = store.head();
        let sizes: BTreeSet<u64> =
            (0..head.size).map(|leaf| store.leaf(leaf).expect("read").expect("a leaf").head.size).collect();
        let mut made = Self {
            counts: Counts {
                leaves: head.size,
                documents: 9,
                bodies: bodies.len() as u64,
                ..Counts::default()
            },
            receipts: receipts(store),
            sizes: sizes.into_iter().collect(),
            dir,
            documents,
            bodies,
            indexes,
        };
        made.counts.frames = made.segments().iter().map(|segment| segment.frames.len() as u64).sum();
        made
    }
}

fn body(store: &Embedded, digest: &Digest, name: &DocumentName) -> Body {
    let index = store.find_document(name).expect("read").expect("accepted");
    let document = store.document(index).expect("read").expect("accepted");
    let record = match store.body(digest).expect("read") {
        Some(part) => part,
        None => store.envelope(&document).expect("read").expect("kept"),
    };
    let digest = digest.to_string();
    let (file, start) = match record.pack_plus_one.checked_sub(1) {
        Some(pack) => (format!("bodies/packs/{pack:08}.pack"), record.offset - BLOCK),
        None => (format!("bodies/files/{}/{digest}", &digest[..2]), 0),
    };
    let end = if record.pack_plus_one > 0 { record.offset + record.size } else { record.size };
    Body { digest, documents: vec![name.to_string()], file: file.into(), range: start..end }
}

/// A hub, and the keys of everyone who writes to it.
pub struct Desk {
    pub hub: Arc<Hub>,
    node: NodeName,
    keys: BTreeMap<&'static str, SigningKey>,
}

impl Desk {
    pub fn start(dir: &Path) -> Self {
        let payload = Arc::new(payload(dir));
        let opened = Embedded::open(&options(dir), Arc::clone(&payload), &mut |_| {}).expect("opens");
        let settings = Settings {
            limits: Limits::default(),
            max_inline_bytes: 4 << 20,
            upload_retention_us: 3_600_000_000,
            lease_us: 60_000_000,
            backoff: Backoff::default(),
            max_credit: 16,
            max_waiting_requests: 64,
            max_batch_leaves: 64,
            recent_bytes: 1024,
            operator: truc::hub::operate::Rules::default(),
        };
        let log = LogIdentity { origin: origin().into(), signer: signer() };
        let hub =
            Hub::start(Arc::new(opened.store), payload, log, settings, Clock::manual(NOW)).expect("starts");
        let key = |agency| (agency, SigningKey::generate(Algorithm::Ed25519).expect("a key"));
        let keys = [SENDER, RECIPIENTS[0], RECIPIENTS[1]].map(key).into();
        Self { hub, node: NodeName::parse("node-1").expect("a name"), keys }
    }

    pub async fn stop(self) {
        self.hub.stop().await;
        assert_eq!(Arc::strong_count(&self.hub), 1, "nobody else holds the store");
    }

    /// All agencies, on one node.
    pub async fn register(&self) {
        let agency =
            |id: &&str| proto::Agency { organ_id: (*id).into(), name: (*id).into(), ..Default::default() };
        let names = self.keys.keys().map(ToString::to_string).collect();
        let node = proto::Node { name: self.node.to_string(), agencies: names, revoked: false };
        let key = |(id, key): (&&str, &SigningKey)| proto::SigningKey {
            agency: (*id).into(),
            spki_der: key.public_key().spki_der().clone(),
            signer_kind: proto::SignerKind::Agency.into(),
            ..Default::default()
        };
        let agencies = self.keys.keys().map(|id| Change::PutAgency(agency(id)));
        let keys = self.keys.iter().map(|pair| Change::AddKey(key(pair)));
        for change in agencies.chain([Change::PutNode(node)]).chain(keys) {
            let change = DirectoryChange { change: Some(change), reason: "test".into() };
            self.hub.change_directory(change).await.expect("changed");
        }
    }

    async fn upload(&self, body: &Bytes) {
        let sha256 = Digest::of(body).to_bytes();
        let begin = proto::UploadBegin { sha256, size: body.len() as u64, offset: 0 };
        let mut upload = self.hub.begin_upload(&self.node, &begin).await.expect("begun");
        upload.write(body.clone()).await.expect("written");
        assert!(upload.finish().await.expect("finished").complete);
    }

    pub async fn send(&self, number: u8, parts: Vec<Bytes>, inline: Vec<Bytes>) -> Sent {
        let envelope = self.sign(SENDER, envelope::MANIFEST, &manifest(number, &parts));
        self.try_send(envelope.clone(), inline).await.expect("accepted");
        (parts, envelope)
    }

    async fn try_send(
        &self,
        envelope: proto::SignedEnvelope,
        inline: Vec<Bytes>,
    ) -> Result<Accepted, Refused> {
        self.hub.submit(&self.node, envelope, inline).await
    }

    /// A document without attachments.
    pub async fn send_bare(&self, number: u8) -> Result<Accepted, Refused> {
        self.try_send(self.sign(SENDER, envelope::MANIFEST, &manifest(number, &[])), Vec::new()).await
    }

    /// A submission without its attachment: refused, with evidence.
    async fn send_nonsense(&self) {
        let envelope =
            self.sign(SENDER, envelope::MANIFEST, &manifest(99, &[Bytes::from_static(b"nowhere")]));
        self.try_send(envelope, Vec::new()).await.expect_err("refused");
    }

    async fn receive(&self, document: &proto::SignedEnvelope, recipient: &str, outcome: proto::Outcome) {
        let manifest = proto::Manifest::decode(document.payload.clone()).expect("a manifest");
        let receipt = proto::RecipientReceipt {
            document_id: manifest.document_id,
            sender: manifest.sender,
            manifest_sha256: Digest::of(&document.payload).to_bytes(),
            recipient: recipient.into(),
            outcome: outcome.into(),
            reason: "test".into(),
            received_at_us: NOW.0,
            hub_origin: origin().into(),
            ..Default::default()
        };
        let envelope = self.sign(recipient, envelope::RECEIPT, &receipt);
        self.hub.acknowledge(&self.node, envelope).await.expect("taken");
    }

    /// Status 03 of a document, also before the document is there.
    async fn tell_status(&self, number: u8, from: &str) {
        let status = proto::BusinessStatus {
            document_id: document_id(number),
            sender: SENDER.into(),
            from: from.into(),
            code: 3,
            occurred_at_us: NOW.0,
            hub_origin: origin().into(),
            nonce: vec![3; 16].into(),
            ..Default::default()
        };
        let envelope = self.sign(from, envelope::STATUS, &status);
        self.hub.report_status(&self.node, envelope).await.expect("taken");
    }

    fn sign(&self, agency: &str, payload_type: &str, message: &impl Message) -> proto::SignedEnvelope {
        envelope::sign(payload_type, message.encode_to_vec().into(), &[&self.keys[agency]])
    }
}

fn document_id(number: u8) -> String {
    format!("{SENDER},2026,{number}")
}

fn manifest(number: u8, parts: &[Bytes]) -> proto::Manifest {
    let part = |(at, bytes): (usize, &Bytes)| proto::Part {
        name: format!("part {at}"),
        media_type: "application/octet-stream".into(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes).to_bytes(),
    };
    proto::Manifest {
        document_id: document_id(number),
        nonce: vec![number; 16].into(),
        sender: SENDER.into(),
        recipients: RECIPIENTS.map(str::to_owned).to_vec(),
        issued_at_us: NOW.0,
        hub_origin: origin().into(),
        document: Some(proto::DocumentInfo {
            // Twice each: the second one does not take the natural key over.
            number: (number / 2).to_string(),
            notation: "BC".into(),
            promulgation_date: "2026-09-01".into(),
            type_name: "Báo cáo".into(),
            subject: "Về một việc".into(),
            ..Default::default()
        }),
        parts: parts.iter().enumerate().map(part).collect(),
        ..Default::default()
    }
}
