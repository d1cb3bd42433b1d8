//! Everything at once: several actors act at random, the clock moves, the hub is restarted and its store fails.
//! The history that comes out has to make sense by itself, and to agree with every answer that was given.
//! `TRUC_SEED=n` replays one schedule of choices (the threads still interleave as they like).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use prost::Message;
use truc::{
    domain::{
        id::NodeName,
        reason::ReasonCode,
        status::{self as rules, Business, Effect},
    },
    hub::{Hub, intake::Accepted, query::Viewer, refused::Refused},
    proto::*,
    store::memory::Fault,
};

use crate::common::*;

const ACTORS: u64 = 4;
const STEPS: usize = 25;
const ROUNDS: u64 = 4;
const DOCUMENTS: u64 = 6;

/// SplitMix64.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len() as u64) as usize]
    }
}

/// A signed message on its way in.
#[derive(Clone)]
enum Call {
    Submit(SignedEnvelope),
    Add(SignedEnvelope),
    Acknowledge(SignedEnvelope),
    Report(SignedEnvelope),
}

impl Call {
    fn envelope(&self) -> &SignedEnvelope {
        let (Self::Submit(envelope)
        | Self::Add(envelope)
        | Self::Acknowledge(envelope)
        | Self::Report(envelope)) = self;
        envelope
    }

    async fn make(self, hub: &Arc<Hub>, by: &NodeName) -> Result<Accepted, Refused> {
        match self {
            Self::Submit(envelope) => hub.submit(by, envelope, Vec::new()).await,
            Self::Add(envelope) => hub.add_recipients(by, envelope).await,
            Self::Acknowledge(envelope) => hub.acknowledge(by, envelope).await,
            Self::Report(envelope) => hub.report_status(by, envelope).await,
        }
    }
}

/// What the actors share: the documents there may be, what was said so far, and what was answered.
struct Stage {
    keys: Keys,
    documents: Vec<Manifest>,
    said: Mutex<Vec<(NodeName, Call)>>,
    answers: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    receipts: Mutex<Vec<Receipt>>,
}

impl Stage {
    fn new(keys: &Keys, dice: &mut Dice) -> Self {
        let documents = (0..DOCUMENTS).map(|at| {
            manifest(&format!("d{at}")).with(|m| {
                m.recipients = to(&COMMUNES[..1 + dice.roll(3) as usize]);
                m.delivery_deadline_us = START.0 + (1 + dice.roll(4) as i64) * HOUR;
                m.document.as_mut().unwrap().urgency = dice.roll(5) as u32;
                m.operation = if dice.roll(4) == 0 { Operation::Recall.into() } else { 0 };
                m.operation_reason = "Ban hành nhầm".into();
                m.references = vec![Reference {
                    kind: ReferenceKind::Recalls.into(),
                    number: "1".into(),
                    ..Default::default()
                }];
            })
        });
        let documents = documents.collect();
        Self {
            keys: keys.clone(),
            documents,
            said: Mutex::default(),
            answers: Mutex::default(),
            receipts: Mutex::default(),
        }
    }

    /// One thing that somebody may say now.
    fn invent(&self, dice: &mut Dice) -> (NodeName, Call) {
        let said = self.said.lock().unwrap();
        if !said.is_empty() && dice.roll(4) == 0 {
            return dice.pick(&said).clone();
        }
        drop(said);
        let document = dice.pick(&self.documents).clone();
        let commune = *dice.pick(&COMMUNES);
        let about = Evidence {
            document_id: document.document_id.clone(),
            sender: Some(Party { agency: PROVINCE.into(), ..Party::default() }),
            manifest_sha256: truc::domain::id::Digest::of(&document.encode_to_vec()).to_bytes(),
            ..Evidence::default()
        };
        let call = match dice.roll(10) {
            0..3 => Call::Submit(self.keys.manifest(&document)),
            3 => Call::Submit(self.keys.manifest(&document.with(|m| m.nonce = nonce()))),
            4 => Call::Add(self.keys.addressing(&addressing(&about, &[commune]))),
            5..7 => {
                let outcome = *dice.pick(&[Outcome::Accepted, Outcome::Accepted, Outcome::Refused]);
                Call::Acknowledge(self.keys.receipt(&receipt(&about, commune, outcome)))
            }
            7 => Call::Report(self.keys.status(&recall(&about.document_id, commune))),
            _ => {
                let code = *dice.pick(&[1, 2, 3, 3, 4, 5, 5, 6, 15, 16]);
                Call::Report(self.keys.status(&status(&about.document_id, commune, code)))
            }
        };
        let by = match &call {
            Call::Report(envelope)
                if BusinessStatus::decode(envelope.payload.clone()).unwrap().code != 13 =>
            {
                "communes"
            }
            Call::Acknowledge(_) => "communes",
            _ => "province",
        };
        self.said.lock().unwrap().push((node(by), call.clone()));
        (node(by), call)
    }

    /// Makes a call and holds its answer against what was answered before.
    async fn call(&self, hub: &Arc<Hub>, by: &NodeName, call: Call) {
        let message = call.envelope().encode_to_vec();
        let taken_before = self.answers.lock().unwrap().contains_key(&message);
        match call.make(hub, by).await {
            Ok(accepted) => {
                let bytes = accepted.receipt.encode_to_vec();
                let first = self.answers.lock().unwrap().entry(message).or_insert(bytes.clone()).clone();
                assert_eq!(first, bytes, "two answers to one message");
                self.receipts.lock().unwrap().push(accepted.receipt);
            }
            Err(refused) => {
                let passing = [ReasonCode::StoreFailed, ReasonCode::ShuttingDown].contains(&refused.code());
                assert_eq!(refused.receipt.is_none(), passing, "{refused}");
                assert!(passing || !taken_before, "taken before, now {refused}");
                self.receipts.lock().unwrap().extend(refused.receipt.map(|receipt| *receipt));
            }
        }
    }
}

async fn act(stage: Arc<Stage>, hub: Arc<Hub>, mut dice: Dice) {
    for _ in 0..STEPS {
        let (by, call) = stage.invent(&mut dice);
        stage.call(&hub, &by, call).await;
        if dice.roll(8) == 0 {
            let wait = std::time::Duration::ZERO;
            for offer in hub.fetch(&node("communes"), &[], 1, wait).await.unwrap_or_default() {
                // Lost by now is as good as released.
                let _ = hub.release(&node("communes"), &offer.delivery_id, offer.lease_id);
            }
        }
    }
}

/// A delivery as its evidence tells it.
#[derive(Default)]
struct Told {
    last: Vec<u8>,
    ends: Vec<EventKind>,
    business: Business,
}

/// Waits until the hub's own clockwork has recorded every deadline that passed.
async fn settled(world: &World) {
    eventually("passed deadlines are recorded", async || {
        let now = world.clock.now().0;
        for at in 0..DOCUMENTS {
            let request = GetTimelineRequest { document_id: format!("d{at}"), ..Default::default() };
            let timeline = world.hub().timeline(Viewer::Auditor, request).await.unwrap_or_default();
            let is_late = |state: &RecipientState| {
                state.transport() == TransportState::Ready && state.delivery_deadline_us <= now
            };
            if timeline.recipients.iter().any(is_late) {
                return false;
            }
        }
        true
    })
    .await;
}

/// Replays one document's history by the rules and compares it with what the hub says now.
async fn check_history(world: &World, document: &Manifest) {
    let request = GetTimelineRequest {
        document_id: document.document_id.clone(),
        sender: PROVINCE.into(),
        page_size: 1_000,
        ..Default::default()
    };
    let Ok(timeline) = world.hub().timeline(Viewer::Auditor, request).await else { return };
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let mut acceptances = Vec::new();
    for receipt in timeline.events {
        let event = world.verify(receipt);
        let Some(recipient) = event.evidence.recipients.first().map(|party| party.agency.clone()) else {
            assert_eq!(event.event(), EventKind::SubmissionAcceptance);
            acceptances.push(event.leaf_hash().to_vec());
            continue;
        };
        let previous = event.evidence.previous_evidence_sha256.to_vec();
        let delivery = told.entry(recipient).or_default();
        if event.event() == EventKind::ContentConsignment {
            assert!(delivery.last.is_empty(), "consigned twice");
            assert!(acceptances.contains(&previous));
            delivery.business.change_pending = document.operation() == Operation::Recall;
        } else {
            assert_eq!(previous, delivery.last, "the chain of evidence is broken");
            replay(delivery, &event);
        }
        delivery.last = event.leaf_hash().to_vec();
    }
    for state in timeline.recipients {
        let delivery = &told[&state.recipient];
        assert!(delivery.ends.len() <= 1, "{:?}", delivery.ends);
        let transport = match delivery.ends.first() {
            None => TransportState::Ready,
            Some(EventKind::ContentHandover) => TransportState::HandedOver,
            Some(EventKind::ConsignmentRejection) => TransportState::Refused,
            Some(_) => TransportState::Expired,
        };
        assert_eq!(state.transport(), transport);
        let business = Business { code: state.status_code, change_pending: state.change_pending };
        assert_eq!(business, delivery.business);
    }
}

fn replay(delivery: &mut Told, event: &Proven) {
    if event.evidence.status_code == 0 {
        delivery.ends.push(event.event());
        return;
    }
    match rules::on_status(&delivery.business, event.evidence.status_code) {
        Effect::Moves { state, event: expected } => {
            delivery.business = state;
            assert_eq!(event.event(), expected);
        }
        Effect::Recorded { event: expected, .. } => assert_eq!(event.event(), expected),
    }
}

/// Every event of the documents that is the sender's business is in its watch, once.
async fn check_watch(world: &World) {
    let feed = world.feed_from(PROVINCE, "c0").await;
    let mut indexes: Vec<u64> = feed.iter().map(|(_, entry)| entry.receipt.index).collect();
    assert!(indexes.is_sorted());
    indexes.dedup();
    assert_eq!(indexes.len(), feed.len());
    let mut expected = 0;
    for at in 0..DOCUMENTS {
        let request =
            GetTimelineRequest { document_id: format!("d{at}"), page_size: 1_000, ..Default::default() };
        let Ok(timeline) = world.hub().timeline(Viewer::Auditor, request).await else {
            continue;
        };
        let events = timeline.events.into_iter().map(|receipt| world.verify(receipt).event());
        expected += events.filter(|event| *event != EventKind::ContentConsignment).count();
    }
    assert_eq!(feed.len(), expected);
}

async fn run(mut world: World, seed: u64, faults: bool) {
    println!("TRUC_SEED={seed}");
    let mut dice = Dice(seed);
    let stage = Arc::new(Stage::new(&world.keys, &mut dice));
    for round in 0..ROUNDS {
        let actors: Vec<_> = (0..ACTORS)
            .map(|actor| {
                let dice = Dice(seed ^ (round * ACTORS + actor + 1) << 32);
                tokio::spawn(act(Arc::clone(&stage), Arc::clone(world.hub()), dice))
            })
            .collect();
        if faults && dice.roll(2) == 0 {
            world.memory().inject(*dice.pick(&[Fault::FailedNotSaved, Fault::FailedButSaved]));
        }
        world.clock.advance_us(dice.roll(2) as i64 * HOUR);
        for actor in actors {
            soon("an actor", actor).await.unwrap();
        }
        if faults || dice.roll(2) == 0 {
            world.restart().await;
        }
        for receipt in std::mem::take(&mut *stage.receipts.lock().unwrap()) {
            world.verify(receipt);
        }
        check(&world, &stage).await;
    }
    end(&world, &stage).await;
}

/// After the last deadline nothing waits, and what was answered is answered the same.
async fn end(world: &World, stage: &Stage) {
    world.clock.advance_us(DAY);
    eventually("everything has ended", async || world.hub().overview().await.unwrap().waiting == 0).await;
    let said = stage.said.lock().unwrap().clone();
    for (by, call) in said {
        stage.call(world.hub(), &by, call).await;
    }
    check(world, stage).await;
}

async fn check(world: &World, stage: &Stage) {
    settled(world).await;
    for document in &stage.documents {
        check_history(world, document).await;
    }
    check_watch(world).await;
    world.countings().await;
    world.audit().await;
}

fn seeds(many: u64) -> Vec<u64> {
    match std::env::var("TRUC_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => vec![seed],
        None => {
            let base = getrandom::u64().unwrap();
            (0..many).map(|at| base.wrapping_add(at)).collect()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_random_history_makes_sense() {
    for seed in seeds(4) {
        run(World::in_memory().await, seed, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_random_history_makes_sense_although_the_store_fails() {
    for seed in seeds(6) {
        run(World::in_memory().await, seed, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_random_history_makes_sense_on_disk() {
    for seed in seeds(2) {
        run(World::embedded().await, seed, false).await;
    }
}
