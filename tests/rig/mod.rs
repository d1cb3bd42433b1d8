//! What the tests against a running hub share: the hub in its own process, a good client, and a look at its memory.

#![allow(dead_code)]

mod clock;

use std::{
    collections::HashSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use truc::{
    cli::demo::{
        process::{HubProcess, configure, free_port},
        world::{COMMUNE, DISTRICT, World},
    },
    client::Client,
    domain::{
        envelope,
        id::Digest,
        reason::{ReasonCode, entry},
        signature::SigningKey,
    },
    proto::*,
};

pub use clock::MovedClock;

/// First line of the log of every hub here.
pub const ORIGIN: &str = "demo.truc.example/log";

const MIB: u64 = 1 << 20;
/// Debug builds and the allocator's habits included.
const MEMORY_ROOM: u64 = 64 * MIB;

const GIVES_BACK: Duration = Duration::from_secs(10);

/// A hub with the demo's directory.
pub struct Rig {
    pub dir: TempDir,
    pub world: World,
    pub hub: HubProcess,
    pub port: u16,
    rested: u64,
    sent: AtomicU64,
}

impl Drop for Rig {
    /// A test that fails shows what the hub said last.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(words) = std::fs::read_to_string(self.dir.path().join("words"))
        {
            let lines: Vec<_> = words.lines().collect();
            eprintln!("the hub said:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more lines of configuration.
    /// With a section of the usual configuration, to its end, replaced by other lines.
    pub async fn start_replaced(section: &str, lines: &str) -> Self {
        Self::start_edited(|config| {
            let (before, rest) = config.split_once(section).unwrap();
            let after = rest.find("\n[").map_or("", |end| &rest[end + 1..]);
            format!("{before}{lines}{after}")
        })
        .await
    }

    pub async fn start_with(more: &str) -> Self {
        Self::start_edited(|config| config + more).await
    }

    async fn start_edited(edit: impl FnOnce(String) -> String) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_truc"));
        Self::start_program(tempfile::tempdir().unwrap(), program, edit).await
    }

    async fn start_program(dir: TempDir, program: &Path, edit: impl FnOnce(String) -> String) -> Self {
        let port = free_port().unwrap();
        let world = World::make(dir.path(), &format!("https://localhost:{port}")).unwrap();
        let config = configure(dir.path(), port).unwrap();
        let all = edit(std::fs::read_to_string(&config).unwrap());
        std::fs::write(&config, all).unwrap();
        let hub = HubProcess::start_recorded(program, &config, &dir.path().join("words")).await.unwrap();
        world.register().await.unwrap();
        let mut rig = Self { dir, world, hub, port, rested: 0, sent: AtomicU64::new(0) };
        rig.serves().await;
        rig.rested = rig.memory("VmRSS");
        rig
    }

    /// With keys of `[monitor]`, and a hub that looks after itself all the time.
    pub async fn start_monitored(keys: &str) -> Self {
        Self::start_edited(|config| monitored(&config, keys)).await
    }

    /// As [`Rig::start_monitored`], with the hub's data in this folder.
    pub async fn start_on(data: &Path, keys: &str) -> Self {
        let place = format!("data_dir = \"{}\"", data.display());
        Self::start_edited(|config| {
            let store = "[store]\nsegment_size = \"16 MiB\"\n";
            monitored(&config, keys).replace("data_dir = \"hub\"", &place) + store
        })
        .await
    }

    /// As [`Rig::start_monitored`], with a clock that the test moves.
    pub async fn start_with_moved_clock(keys: &str) -> (Self, MovedClock) {
        let dir = tempfile::tempdir().unwrap();
        let (clock, program) = MovedClock::make(dir.path());
        (Self::start_program(dir, &program, |config| monitored(&config, keys)).await, clock)
    }

    pub fn certs(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    pub async fn connect(&self, name: &str) -> Client {
        soon(self.world.connect(name)).await.unwrap()
    }

    pub fn seal(&self, agency: &str) -> &SigningKey {
        &self.world.seal(agency)[0]
    }

    /// Bytes of a line of `/proc/PID/status`.
    pub fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.hub.id().unwrap())).unwrap();
        let found = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).unwrap();
        found.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// A document from the commune to the district, taken over and acknowledged, all on new connections.
    pub async fn serves(&self) {
        let id = format!("good-{}", self.sent.fetch_add(1, Ordering::Relaxed));
        let sender = self.connect("tavan").await;
        let request = submit(&letter(&id, &[DISTRICT]), self.seal(COMMUNE), &[]);
        sender.submission().submit(request).await.unwrap();
        let recipient = self.connect("sapa").await;
        let mut taken = false;
        while !taken {
            let offers = self.fetch(&recipient, DISTRICT).await;
            assert!(!offers.is_empty(), "{id} was not offered");
            for offer in offers {
                taken |= self.take(&recipient, &offer).await == id;
            }
        }
    }

    /// Bytes of envelopes and attachments on the hub's disk.
    pub fn bodies_on_disk(&self) -> u64 {
        bytes_below(&self.dir.path().join("hub/bodies"), &mut HashSet::new())
    }

    pub async fn fetch(&self, client: &Client, agency: &str) -> Vec<Offer> {
        let request = FetchRequest { agencies: vec![agency.into()], max: 100, wait_us: 5_000_000 };
        client.delivery().fetch(request).await.unwrap().into_inner().offers
    }

    /// Acknowledges an offer; returns the document's id.
    pub async fn take(&self, client: &Client, offer: &Offer) -> String {
        let payload = &offer.envelope.as_ref().unwrap().payload;
        let receipt = receipt_for(payload, &offer.recipient);
        let request = acknowledge(&receipt, self.seal(&offer.recipient));
        client.delivery().acknowledge(request).await.unwrap();
        receipt.document_id
    }

    /// The hub serves, has not grown, and did not panic.
    pub async fn unharmed(&self) {
        self.serves().await;
        let words = std::fs::read_to_string(self.dir.path().join("words")).unwrap();
        assert!(!words.contains("panicked"), "{words}");
        let rested = self.rested;
        let mut now = self.memory("VmRSS");
        // The allocator gives back what is free a moment later.
        for _ in 0..GIVES_BACK.as_millis() / 100 {
            if now < rested + MEMORY_ROOM {
                break;
            }
            self.serves().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            now = self.memory("VmRSS");
        }
        println!(
            "resident: {} MiB at rest, {} MiB now, {} MiB at most",
            rested / MIB,
            now / MIB,
            self.memory("VmHWM") / MIB
        );
        assert!(now < rested + MEMORY_ROOM, "the hub grew from {rested} to {now} bytes");
    }
}

fn monitored(config: &str, keys: &str) -> String {
    let often = format!("[monitor]\nlook_every = \"50ms\"\n{keys}\n");
    config.replace("[monitor]\n", &often) + "[tls]\nreload_every = \"50ms\"\n"
}

/// A file with two names counts once.
fn bytes_below(folder: &Path, seen: &mut HashSet<u64>) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(metadata) = path.symlink_metadata() else { continue };
        if metadata.is_dir() {
            bytes += bytes_below(&path, seen);
        } else if seen.insert(metadata.ino()) {
            bytes += metadata.len();
        }
    }
    bytes
}

/// A legal manifest of the commune.
pub fn letter(id: &str, recipients: &[&str]) -> Manifest {
    Manifest {
        document_id: id.into(),
        nonce: vec![1; 16].into(),
        sender: COMMUNE.into(),
        recipients: recipients.iter().map(ToString::to_string).collect(),
        issued_at_us: now_us(),
        hub_origin: ORIGIN.into(),
        document: Some(DocumentInfo {
            number: "17".into(),
            notation: "BC-UBND".into(),
            promulgation_date: "2026-01-05".into(),
            type_name: "Báo cáo".into(),
            subject: "Kết quả".into(),
            ..DocumentInfo::default()
        }),
        ..Manifest::default()
    }
}

pub fn now_us() -> i64 {
    truc::hub::clock::Clock::system().now().0
}

pub fn part(name: &str, body: &[u8]) -> Part {
    Part {
        name: name.into(),
        media_type: "application/pdf".into(),
        size: body.len() as u64,
        sha256: Digest::of(body).to_bytes(),
    }
}

pub fn submit(manifest: &Manifest, key: &SigningKey, inline: &[Bytes]) -> SubmitRequest {
    let envelope = envelope::sign(envelope::MANIFEST, manifest.encode_to_vec().into(), &[key]);
    SubmitRequest { envelope: Some(envelope), inline_parts: inline.to_vec() }
}

pub fn receipt_for(payload: &Bytes, recipient: &str) -> RecipientReceipt {
    let manifest = Manifest::decode(payload.clone()).unwrap();
    RecipientReceipt {
        document_id: manifest.document_id,
        sender: manifest.sender,
        revision: manifest.revision,
        manifest_sha256: Digest::of(payload).to_bytes(),
        recipient: recipient.into(),
        outcome: Outcome::Accepted.into(),
        received_at_us: 1,
        hub_origin: manifest.hub_origin,
        ..RecipientReceipt::default()
    }
}

pub fn acknowledge(receipt: &RecipientReceipt, key: &SigningKey) -> AcknowledgeRequest {
    let envelope = envelope::sign(envelope::RECEIPT, receipt.encode_to_vec().into(), &[key]);
    AcknowledgeRequest { envelope: Some(envelope) }
}

/// The reason of a refusal, which must be one of the hub's own and fit its status.
pub fn reason(status: &Status) -> ReasonCode {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "truc", "{status:?}");
    assert!(status.details().len() < 6_000, "{} bytes of details", status.details().len());
    let code = ReasonCode::from_str_name(&info.reason).unwrap_or_else(|| panic!("{}", info.reason));
    assert!(!matches!(status.code(), Code::Internal | Code::Unknown | Code::Ok), "{status:?}");
    assert_eq!(status.code(), Code::from(entry(code).grpc as i32), "{status:?}");
    code
}

/// Waits for an answer that must come.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), work).await.expect("no answer")
}

/// Splitmix64: a seed replays.
pub struct Chance(pub u64);

impl Chance {
    /// Seeded by `TRUC_SEED`, or anew.
    pub fn new() -> Self {
        let given = std::env::var("TRUC_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("TRUC_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
