//! The hub under test, and what it handed out.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use tempfile::TempDir;
use truc::{
    domain::{document::Limits, reason::ReasonCode, retry::Backoff},
    hub::{
        Hub, LogIdentity, Settings, clock::Clock, intake::Accepted, query::Viewer, refused::Refused,
        watch::Until,
    },
    proto::*,
    store::{
        Store,
        embedded::{Embedded, EmbeddedOptions},
        memory::Memory,
        payload::{Payload, PayloadOptions},
    },
    tlog::{Hash, checkpoint::Checkpoint, merkle, note::Signer},
};

use super::{gate::Gate, messages::*};

/// Real time that anything in these tests may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

enum Backend {
    Memory { memory: Arc<Memory>, gate: Arc<Gate> },
    Embedded,
}

impl Backend {
    fn memory() -> Self {
        let memory = Arc::<Memory>::default();
        Self::Memory { gate: Arc::new(Gate::over(Arc::clone(&memory))), memory }
    }
}

/// A hub that can be restarted.
pub struct World {
    hub: Option<Arc<Hub>>,
    pub clock: Clock,
    pub keys: Keys,
    pub settings: Settings,
    backend: Backend,
    dir: TempDir,
    seen: Mutex<Seen>,
}

/// Everything that was acknowledged.
#[derive(Default)]
struct Seen {
    leaves: BTreeMap<u64, Bytes>,
    checkpoints: BTreeMap<u64, String>,
}

/// A receipt that was verified, and what it says.
#[derive(Clone, Debug)]
pub struct Proven {
    pub receipt: Receipt,
    pub evidence: Evidence,
    pub repeat: bool,
}

impl Proven {
    pub fn event(&self) -> EventKind {
        self.evidence.event()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.receipt.encode_to_vec()
    }

    pub fn codes(&self) -> Vec<ReasonCode> {
        self.evidence.reasons.iter().map(Reason::code).collect()
    }

    pub fn leaf_hash(&self) -> Hash {
        merkle::leaf_hash(&self.receipt.evidence)
    }
}

/// A refusal; its proof was verified.
#[derive(Debug)]
pub struct Refusal {
    pub code: ReasonCode,
    pub codes: Vec<ReasonCode>,
    pub proof: Option<Proven>,
}

impl Refusal {
    /// The evidence, which must be there and give the same reasons.
    pub fn evidence(&self) -> &Evidence {
        let proof = self.proof.as_ref().unwrap_or_else(|| panic!("{:?} left no evidence", self.code));
        assert_eq!(proof.codes(), self.codes);
        &proof.evidence
    }
}

pub fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        max_inline_bytes: 4 << 20,
        upload_retention_us: DAY,
        lease_us: 60 * SECOND,
        backoff: Backoff::new(10 * SECOND, 600 * SECOND, 2).unwrap(),
        max_credit: 100,
        max_waiting_requests: 4_096,
        max_batch_leaves: 1_024,
        recent_bytes: 64 * 1024,
        operator: truc::hub::operate::Rules::default(),
    }
}

impl World {
    pub async fn in_memory() -> Self {
        Self::new(Backend::memory(), settings()).await
    }

    pub async fn embedded() -> Self {
        Self::new(Backend::Embedded, settings()).await
    }

    pub async fn in_memory_with(edit: impl FnOnce(&mut Settings)) -> Self {
        Self::new(Backend::memory(), settings().with(edit)).await
    }

    async fn new(backend: Backend, settings: Settings) -> Self {
        let mut world = Self {
            hub: None,
            clock: Clock::manual(START),
            keys: Keys::new(),
            settings,
            backend,
            dir: folder(),
            seen: Mutex::default(),
        };
        world.start();
        world.populate().await;
        world
    }

    async fn populate(&self) {
        for agency in [MINISTRY, PROVINCE, DISTRICT].iter().chain(&COMMUNES) {
            self.change(put_agency(agency)).await;
            let hands = self.keys.of(agency);
            self.change(add_key(agency, &hands.seal, SignerKind::Agency)).await;
            self.change(add_key(agency, &hands.leader, SignerKind::Person)).await;
        }
        for (name, agencies) in NODES {
            self.change(put_node(name, agencies)).await;
        }
    }

    pub fn hub(&self) -> &Arc<Hub> {
        self.hub.as_ref().expect("the hub runs")
    }

    pub fn memory(&self) -> &Arc<Memory> {
        match &self.backend {
            Backend::Memory { memory, .. } => memory,
            Backend::Embedded => panic!("this story needs the store in memory"),
        }
    }

    /// Holds up commits from now on, and sees to it that the writer stands before the closed gate.
    pub async fn close_gate(&self) -> tokio::task::JoinHandle<Result<Accepted, Refused>> {
        self.gate().close();
        let (hub, filler) = (Arc::clone(self.hub()), put_agency(&format!("H99.{}", fresh())));
        let held = tokio::spawn(async move { hub.change_directory(filler).await });
        eventually("the writer is held up", async || self.gate().is_waiting()).await;
        held
    }

    /// Everything that the hub keeps on disk.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    pub fn gate(&self) -> &Gate {
        match &self.backend {
            Backend::Memory { gate, .. } => gate,
            Backend::Embedded => panic!("this story needs the store in memory"),
        }
    }

    /// Starts the hub on what the store holds.
    pub fn start(&mut self) {
        let payload = Payload::open(&self.dir.path().join("bodies"), PayloadOptions::default()).unwrap();
        let payload = Arc::new(payload);
        let store: Arc<dyn Store> = match &self.backend {
            Backend::Memory { memory, gate } => {
                memory.recover();
                gate.keep(&payload);
                Arc::clone(gate) as Arc<dyn Store>
            }
            Backend::Embedded => Arc::new(open_embedded(self.dir.path(), &payload)),
        };
        let hub = Hub::start(store, payload, log(), self.settings.clone(), self.clock.clone());
        self.hub = Some(hub.unwrap());
    }

    /// Stops the hub and lets go of its store.
    pub async fn stop(&mut self) {
        let hub = self.hub.take().expect("the hub runs");
        tokio::time::timeout(PATIENCE, hub.stop()).await.expect("the hub stops");
        eventually("everyone lets go of the hub", async || Arc::strong_count(&hub) == 1).await;
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.start();
    }

    pub async fn change(&self, change: impl Into<DirectoryChange>) -> Proven {
        self.accepted(self.hub().change_directory(change.into()).await)
    }

    /// Submits as the sender's node does; no attachments.
    pub async fn send(&self, manifest: &Manifest) -> Proven {
        self.accepted(self.try_send(manifest).await)
    }

    pub async fn try_send(&self, manifest: &Manifest) -> Result<Accepted, Refused> {
        self.hub().submit(&node_of(&manifest.sender), self.keys.manifest(manifest), Vec::new()).await
    }

    pub async fn try_add(&self, addressing: &Addressing) -> Result<Accepted, Refused> {
        self.hub().add_recipients(&node_of(&addressing.sender), self.keys.addressing(addressing)).await
    }

    pub async fn try_acknowledge(&self, receipt: &RecipientReceipt) -> Result<Accepted, Refused> {
        self.hub().acknowledge(&node_of(&receipt.recipient), self.keys.receipt(receipt)).await
    }

    pub async fn acknowledge(&self, document: &Proven, recipient: &str) -> Proven {
        let receipt = receipt(&document.evidence, recipient, Outcome::Accepted);
        self.accepted(self.try_acknowledge(&receipt).await)
    }

    pub async fn try_report(&self, status: &BusinessStatus) -> Result<Accepted, Refused> {
        self.hub().report_status(&node_of(&status.from), self.keys.status(status)).await
    }

    pub async fn report(&self, status: &BusinessStatus) -> Proven {
        self.accepted(self.try_report(status).await)
    }

    #[track_caller]
    pub fn accepted(&self, result: Result<Accepted, Refused>) -> Proven {
        let accepted = result.expect("accepted");
        Proven { repeat: accepted.repeat, ..self.verify(accepted.receipt) }
    }

    #[track_caller]
    pub fn refused<T: std::fmt::Debug>(&self, result: Result<T, Refused>) -> Refusal {
        let refused = result.expect_err("refused");
        let codes = refused.reasons.iter().map(|reason| reason.code).collect();
        let proof = refused.receipt.as_ref().map(|receipt| self.verify((**receipt).clone()));
        Refusal { code: refused.code(), codes, proof }
    }

    /// Checks a receipt as anyone could offline, and that it agrees with all that was handed out before.
    #[track_caller]
    pub fn verify(&self, receipt: Receipt) -> Proven {
        let checkpoint =
            Checkpoint::open(&receipt.checkpoint, &log().verifier()).expect("signed by this log");
        let path: Vec<Hash> = receipt.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
        let hash = merkle::leaf_hash(&receipt.evidence);
        let (index, size) = (receipt.index, checkpoint.size);
        assert!(
            merkle::verify_inclusion(&hash, index, size, &path, &checkpoint.root),
            "leaf {index} of {size}"
        );
        let mut seen = self.seen();
        let leaf = seen.leaves.entry(index).or_insert_with(|| receipt.evidence.clone());
        assert_eq!(*leaf, receipt.evidence, "leaf {index} is another one now");
        let note = seen.checkpoints.entry(size).or_insert_with(|| receipt.checkpoint.clone());
        assert_eq!(*note, receipt.checkpoint, "two checkpoints of size {size}");
        drop(seen);
        let evidence = Evidence::decode(receipt.evidence.clone()).unwrap();
        Proven { receipt, evidence, repeat: false }
    }

    /// Everything that was handed out is still there, and one history leads through all checkpoints.
    pub async fn audit(&self) {
        let (leaves, checkpoints) = {
            let seen = self.seen();
            (seen.leaves.clone(), seen.checkpoints.clone())
        };
        for (index, evidence) in leaves {
            assert_eq!(self.hub().receipt(index).await.unwrap().evidence, evidence, "leaf {index}");
        }
        let heads: Vec<Checkpoint> =
            checkpoints.values().map(|note| Checkpoint::open(note, &log().verifier()).unwrap()).collect();
        for pair in heads.windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            let proof = self.hub().consistency(old.size, new.size).await.unwrap();
            let path: Vec<Hash> = proof.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
            assert!(merkle::verify_consistency(old.size, new.size, &old.root, &new.root, &path));
        }
    }

    pub async fn timeline(
        &self,
        viewer: Viewer,
        document: &Evidence,
    ) -> Result<GetTimelineResponse, Refused> {
        let request = GetTimelineRequest {
            document_id: document.document_id.clone(),
            sender: document.sender.clone().unwrap().agency,
            revision: document.revision,
            ..Default::default()
        };
        self.hub().timeline(viewer, request).await
    }

    /// All events of a document.
    pub async fn events(&self, document: &Proven) -> Vec<Proven> {
        let timeline = self.timeline(Viewer::Auditor, &document.evidence).await.unwrap();
        timeline.events.into_iter().map(|receipt| self.verify(receipt)).collect()
    }

    pub async fn state(&self, document: &Proven, recipient: &str) -> RecipientState {
        let timeline = self.timeline(Viewer::Auditor, &document.evidence).await.unwrap();
        timeline.recipients.into_iter().find(|state| state.recipient == recipient).expect("a delivery")
    }

    /// Everything in an agency's watch from a cursor on.
    pub async fn feed_from(&self, agency: &str, cursor: &str) -> Vec<(String, Proven)> {
        let mut entries = self.hub().watch(&node_of(agency), agency, cursor, Until::Now).unwrap();
        let mut found = Vec::new();
        while let Some(entry) = entries.recv().await {
            let entry = entry.unwrap();
            found.push((entry.cursor, self.verify(entry.receipt)));
        }
        found
    }

    /// Events in an agency's watch.
    pub async fn feed(&self, agency: &str) -> Vec<EventKind> {
        self.feed_from(agency, "c0").await.iter().map(|(_, entry)| entry.event()).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

pub fn log() -> LogIdentity {
    LogIdentity { origin: ORIGIN.into(), signer: Signer::from_seed(ORIGIN, &[7; 32]).unwrap() }
}

/// In memory where the system offers that: no story here pulls the plug, and a disk's syncs take most of the time.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn open_embedded(dir: &Path, payload: &Arc<Payload>) -> Embedded {
    let options = EmbeddedOptions { segment_bytes: 4 << 20, ..EmbeddedOptions::new(&dir.join("store")) };
    Embedded::open(&options, Arc::clone(payload), &mut |_| {}).unwrap().store
}

/// Waits for something that comes by itself.
pub async fn eventually(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is().await {
        assert!(tokio::time::Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A future that must end by itself.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
