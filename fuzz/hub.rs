//! A hub in memory that takes whatever agencies of the directory sign.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use truc::{
    domain::{
        document::Limits,
        envelope,
        id::NodeName,
        retry::Backoff,
        signature::{Algorithm, SigningKey},
    },
    hub::{ByHand, Hub, LogIdentity, Settings, clock::Clock, query::Viewer},
    proto::{directory_change::Change, *},
    store::{
        memory::Memory,
        payload::{Payload, PayloadOptions},
    },
};

use super::targets::{NOW, ORIGIN, signer};

/// A hub is thrown away after so many messages: its memory grows with each.
const LIFE: u32 = 2_000;
const AGENCIES: [&str; 3] = ["000.00.00.H53", "000.21.31.H53", "000.22.31.H53"];

thread_local! {
    static HUB: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Fields drop in this order.
struct World {
    runtime: Runtime,
    hub: Arc<Hub>,
    writer: ByHand,
    key: SigningKey,
    node: NodeName,
    said: u32,
    _dir: tempfile::TempDir,
}

/// Whatever is signed by somebody who may, the hub answers it, and its log stays whole.
pub fn door(data: &[u8]) {
    HUB.with_borrow_mut(|slot| {
        let world = slot.get_or_insert_with(World::new);
        world.say(data);
        if world.said >= LIFE {
            *slot = None;
        }
    });
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        let payload =
            Arc::new(Payload::open(dir.path(), PayloadOptions::default()).expect("a payload store"));
        let log = LogIdentity { origin: ORIGIN.into(), signer: signer() };
        let (hub, writer) = {
            let _inside = runtime.enter();
            Hub::start_by_hand(Arc::<Memory>::default(), payload, log, settings(), Clock::manual(NOW))
                .expect("a hub")
        };
        let key = SigningKey::generate(Algorithm::Ed25519).expect("a key");
        let node = NodeName::parse("node").expect("a name");
        let mut world = Self { runtime, hub, writer, key, node, said: 0, _dir: dir };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let agency = |id: &str| Agency { organ_id: id.into(), name: "x".into(), ..Default::default() };
        let mut changes: Vec<Change> = AGENCIES.iter().map(|id| Change::PutAgency(agency(id))).collect();
        let agencies = AGENCIES.map(str::to_owned).to_vec();
        changes.push(Change::PutNode(Node { name: "node".into(), agencies, revoked: false }));
        changes.push(Change::AddKey(truc::proto::SigningKey {
            agency: AGENCIES[0].into(),
            spki_der: self.key.public_key().spki_der().clone(),
            signer_kind: SignerKind::Agency.into(),
            ..Default::default()
        }));
        for change in changes {
            let change = DirectoryChange { change: Some(change), reason: String::new() };
            let hub = Arc::clone(&self.hub);
            assert!(self.answer(async move { hub.change_directory(change).await.is_ok() }));
        }
    }

    /// Runs a call to its end, with turns of the writer.
    fn answer<T: Send + 'static>(&mut self, call: impl Future<Output = T> + Send + 'static) -> T {
        let call = self.runtime.spawn(call);
        while !call.is_finished() {
            self.runtime.block_on(tokio::task::yield_now());
            self.writer.turn();
        }
        self.runtime.block_on(call).expect("no panic in the hub")
    }

    fn say(&mut self, data: &[u8]) {
        self.said += 1;
        let Some((kind, data)) = data.split_first() else { return };
        let (hub, node) = (Arc::clone(&self.hub), self.node.clone());
        let payload = Bytes::copy_from_slice(data);
        let sign = |kind| envelope::sign(kind, payload.clone(), &[&self.key]);
        let (manifest, addressing) = (sign(envelope::MANIFEST), sign(envelope::ADDRESSING));
        let (receipt, status) = (sign(envelope::RECEIPT), sign(envelope::STATUS));
        let told = match kind % 6 {
            0 => self.answer(async move { hub.submit(&node, manifest, Vec::new()).await.map(|a| a.receipt) }),
            1 => self.answer(async move { hub.add_recipients(&node, addressing).await.map(|a| a.receipt) }),
            2 => self.answer(async move { hub.acknowledge(&node, receipt).await.map(|a| a.receipt) }),
            3 => self.answer(async move { hub.report_status(&node, status).await.map(|a| a.receipt) }),
            4 => return self.whole(data),
            _ => return self.ask(data),
        };
        let proof = match told {
            Ok(receipt) => receipt,
            Err(refused) => *refused.receipt.expect("a refusal of a known node is evidence"),
        };
        truc::verify::receipt(&proof, &signer().verifier()).expect("every answer is proven");
    }

    /// A whole submission as it comes from the wire.
    fn whole(&mut self, data: &[u8]) {
        use prost::Message;
        let Ok(request) = SubmitRequest::decode(data) else { return };
        let (hub, node) = (Arc::clone(&self.hub), self.node.clone());
        let envelope = request.envelope.unwrap_or_default();
        let told = self.answer(async move { hub.submit(&node, envelope, request.inline_parts).await });
        // A known manifest is answered with its receipt, whoever signed the copy.
        assert!(told.is_err() || told.is_ok_and(|accepted| accepted.repeat), "only this program has the key");
    }

    fn ask(&mut self, data: &[u8]) {
        use prost::Message;
        let hub = Arc::clone(&self.hub);
        let Ok(request) = GetTimelineRequest::decode(data) else { return };
        let viewer = Viewer::Node(self.node.clone());
        let _ = self.answer(async move { hub.timeline(viewer, request).await });
    }
}

fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        max_inline_bytes: 1 << 20,
        upload_retention_us: i64::MAX / 4,
        lease_us: 60_000_000,
        backoff: Backoff::default(),
        max_credit: 8,
        max_waiting_requests: 16,
        max_batch_leaves: 16,
        recent_bytes: 64 << 10,
        operator: truc::hub::operate::Rules::default(),
    }
}
