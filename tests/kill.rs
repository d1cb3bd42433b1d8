//! kill -9 at random points under load. The client keeps its own ledger of what was acknowledged; after each restart
//! everything in it must be there, byte for byte, and nothing may reach a wrong agency.
//!
//! `TRUC_KILLS=50 cargo test --test kill` runs longer; `TRUC_SEED=…` replays the moments of the kills.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use prost::Message;
use truc::{
    cli::demo::{
        process::{HubProcess, configure, free_port},
        world::{COMMUNE, DISTRICT, PROVINCE, World},
    },
    client::Client,
    domain::{envelope, id::Digest, signature::SigningKey},
    proto::{self, *},
    tlog::{checkpoint::Checkpoint, merkle, note::Verifier},
};

const RECIPIENTS: [&str; 2] = [DISTRICT, PROVINCE];

/// What the hub acknowledged, kept outside of it.
#[derive(Default)]
struct Ledger {
    documents: HashMap<String, (SubmitRequest, Vec<u8>)>,
    receipts: HashMap<(String, String), (AcknowledgeRequest, Vec<u8>)>,
    statuses: Vec<(ReportRequest, Vec<u8>)>,
    offered: HashSet<(String, String)>,
    checkpoints: Vec<Checkpoint>,
}

struct Rig {
    world: World,
    ledger: Mutex<Ledger>,
    verifier: Verifier,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let kills = number("TRUC_KILLS", 6);
    let mut chance = Chance(number("TRUC_SEED", u64::from(std::process::id())));
    println!("TRUC_SEED={} TRUC_KILLS={kills}", chance.0);
    let dir = tempfile::tempdir().unwrap();
    let (rig, mut hub) = start(dir.path()).await;
    for round in 0..kills {
        let load = tokio::spawn(load(Arc::clone(&rig), round));
        tokio::time::sleep(Duration::from_millis(30 + chance.next() % 400)).await;
        hub.kill().await.unwrap();
        load.abort();
        let _ = load.await;
        hub.restart().await.unwrap();
        check(&rig).await;
    }
    drain(&rig).await;
    settle(&rig).await;
    let ledger = rig.ledger.lock().unwrap();
    println!(
        "{} documents, {} receipts, {} statuses",
        ledger.documents.len(),
        ledger.receipts.len(),
        ledger.statuses.len()
    );
    assert!(ledger.documents.len() as u64 > kills, "the load was no load");
    for id in ledger.documents.keys() {
        for recipient in RECIPIENTS {
            let key = (id.clone(), recipient.to_owned());
            assert!(ledger.receipts.contains_key(&key), "{id} never reached {recipient}");
        }
    }
}

async fn start(dir: &Path) -> (Arc<Rig>, HubProcess) {
    let port = free_port().unwrap();
    let world = World::make(dir, &format!("https://localhost:{port}")).unwrap();
    let config = configure(dir, port).unwrap();
    let hub = HubProcess::start(Path::new(env!("CARGO_BIN_EXE_truc")), &config).await.unwrap();
    world.register(&world.connect("operator").await.unwrap()).await.unwrap();
    let client = world.connect("tavan").await.unwrap();
    let capabilities =
        client.submission().get_capabilities(GetCapabilitiesRequest {}).await.unwrap().into_inner();
    let verifier = Verifier::parse(&capabilities.verifier_key).unwrap();
    (Arc::new(Rig { world, ledger: Mutex::default(), verifier }), hub)
}

/// Sends, receives and reports until it is ended.
async fn load(rig: Arc<Rig>, round: u64) {
    let mut work = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let rig = Arc::clone(&rig);
        work.spawn(async move {
            let client = rig.world.connect("tavan").await.unwrap();
            let key = &rig.world.seal(COMMUNE)[0];
            for number in 0.. {
                let request = submission(&format!("k-{round}-{sender}-{number}"), key, number % 7 == 0);
                if !submit(&rig, &client, request).await {
                    return;
                }
            }
        });
    }
    for (node, agency) in [("sapa", DISTRICT), ("laocai", PROVINCE)] {
        let rig = Arc::clone(&rig);
        work.spawn(async move {
            let client = rig.world.connect(node).await.unwrap();
            while take(&rig, &client, agency, 100).await.is_some() {}
        });
    }
    while work.join_next().await.is_some() {}
}

async fn submit(rig: &Rig, client: &Client, request: SubmitRequest) -> bool {
    let Ok(answer) = client.submission().submit(request.clone()).await else { return false };
    let receipt = answer.into_inner().receipt.unwrap();
    let evidence = proof(rig, &receipt);
    let mut ledger = rig.ledger.lock().unwrap();
    ledger.documents.insert(evidence.document_id, (request, receipt.encode_to_vec()));
    true
}

/// Fetches, acknowledges and reports; `None` when the hub is gone.
async fn take(rig: &Rig, client: &Client, agency: &str, wait_ms: i64) -> Option<usize> {
    let request = FetchRequest { agencies: vec![agency.into()], max: 20, wait_us: wait_ms * 1000 };
    let offers = client.delivery().fetch(request).await.ok()?.into_inner().offers;
    let count = offers.len();
    let key = &rig.world.seal(agency)[0];
    for offer in offers {
        assert_eq!(offer.recipient, agency, "handed to a wrong agency");
        let payload = offer.envelope.unwrap().payload;
        let manifest = Manifest::decode(payload.clone()).unwrap();
        assert!(manifest.recipients.iter().any(|to| to == agency), "not addressed to {agency}");
        rig.ledger.lock().unwrap().offered.insert((manifest.document_id.clone(), agency.into()));
        acknowledge(rig, client, agency, key, &manifest, &payload).await?;
        report(rig, client, agency, key, &manifest).await?;
    }
    Some(count)
}

async fn acknowledge(
    rig: &Rig,
    client: &Client,
    agency: &str,
    key: &SigningKey,
    manifest: &Manifest,
    payload: &bytes::Bytes,
) -> Option<()> {
    let receipt = RecipientReceipt {
        document_id: manifest.document_id.clone(),
        sender: manifest.sender.clone(),
        manifest_sha256: Digest::of(payload).to_bytes(),
        recipient: agency.into(),
        outcome: Outcome::Accepted.into(),
        received_at_us: 1,
        hub_origin: manifest.hub_origin.clone(),
        ..RecipientReceipt::default()
    };
    let envelope = envelope::sign(envelope::RECEIPT, receipt.encode_to_vec().into(), &[key]);
    let request = AcknowledgeRequest { envelope: Some(envelope) };
    let answer = client.delivery().acknowledge(request.clone()).await.ok()?.into_inner();
    let receipt = answer.receipt.unwrap();
    assert_eq!(proof(rig, &receipt).event(), EventKind::ContentHandover);
    let key = (manifest.document_id.clone(), agency.to_owned());
    let bytes = receipt.encode_to_vec();
    let mut ledger = rig.ledger.lock().unwrap();
    if let Some((_, before)) = ledger.receipts.insert(key, (request, bytes.clone())) {
        assert_eq!(before, bytes, "two handovers of one delivery");
    }
    Some(())
}

async fn report(
    rig: &Rig,
    client: &Client,
    agency: &str,
    key: &SigningKey,
    manifest: &Manifest,
) -> Option<()> {
    let status = BusinessStatus {
        document_id: manifest.document_id.clone(),
        sender: manifest.sender.clone(),
        from: agency.into(),
        code: 3,
        occurred_at_us: 1,
        hub_origin: manifest.hub_origin.clone(),
        nonce: vec![9; 16].into(),
        ..BusinessStatus::default()
    };
    let envelope = envelope::sign(envelope::STATUS, status.encode_to_vec().into(), &[key]);
    let request = ReportRequest { envelope: Some(envelope) };
    let answer = client.status().report(request.clone()).await.ok()?.into_inner();
    let receipt = answer.receipt.unwrap();
    proof(rig, &receipt);
    rig.ledger.lock().unwrap().statuses.push((request, receipt.encode_to_vec()));
    Some(())
}

/// Everything acknowledged is there, with the same bytes; the log extends every checkpoint handed out.
async fn check(rig: &Rig) {
    let sender = rig.world.connect("tavan").await.unwrap();
    let (district, province) =
        (rig.world.connect("sapa").await.unwrap(), rig.world.connect("laocai").await.unwrap());
    let client_of = |agency: &str| if agency == DISTRICT { &district } else { &province };
    let (documents, receipts, statuses, checkpoints) = {
        let ledger = rig.ledger.lock().unwrap();
        (
            ledger.documents.clone(),
            ledger.receipts.clone(),
            ledger.statuses.clone(),
            ledger.checkpoints.clone(),
        )
    };
    for (id, (request, before)) in documents {
        let again = sender.submission().submit(request).await.unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(
            again.metadata().get("truc-repeat").map(|v| v.as_bytes()),
            Some(&b"true"[..]),
            "{id} was lost"
        );
        assert_eq!(again.into_inner().receipt.unwrap().encode_to_vec(), before, "{id}: other bytes");
    }
    for ((id, agency), (request, before)) in receipts {
        let again =
            client_of(&agency).delivery().acknowledge(request).await.unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(again.into_inner().receipt.unwrap().encode_to_vec(), before, "{id} {agency}: other bytes");
    }
    for (request, before) in statuses {
        let from = BusinessStatus::decode(request.envelope.as_ref().unwrap().payload.clone()).unwrap().from;
        let again = client_of(&from).status().report(request).await.unwrap().into_inner();
        assert_eq!(again.receipt.unwrap().encode_to_vec(), before, "a status changed");
    }
    consistent(rig, &sender, &checkpoints).await;
}

async fn consistent(rig: &Rig, client: &Client, checkpoints: &[Checkpoint]) {
    let newest = client.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap().into_inner();
    let newest = Checkpoint::open(&newest.checkpoint, &rig.verifier).unwrap();
    for old in checkpoints.iter().rev().take(20) {
        let request = GetConsistencyRequest { first: old.size, second: newest.size };
        let proof = client.audit().get_consistency(request).await.unwrap().into_inner();
        let path: Vec<_> = proof.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
        assert!(
            merkle::verify_consistency(old.size, newest.size, &old.root, &newest.root, &path),
            "history changed"
        );
    }
}

/// Takes what still waits.
async fn drain(rig: &Rig) {
    for (node, agency) in [("sapa", DISTRICT), ("laocai", PROVINCE)] {
        let client = rig.world.connect(node).await.unwrap();
        // Leases of sessions that died with the hub are free at once; pauses are at most a second.
        while take(rig, &client, agency, 4_000).await.unwrap() > 0 {}
    }
}

/// A receipt whose answer was cut by a kill may have been taken: handing it in again must tell.
async fn settle(rig: &Rig) {
    let documents = rig.ledger.lock().unwrap().documents.clone();
    for (node, agency) in [("sapa", DISTRICT), ("laocai", PROVINCE)] {
        let client = rig.world.connect(node).await.unwrap();
        let key = &rig.world.seal(agency)[0];
        for (id, (request, _)) in &documents {
            let pair = (id.clone(), agency.to_owned());
            let offered = {
                let ledger = rig.ledger.lock().unwrap();
                ledger.offered.contains(&pair) && !ledger.receipts.contains_key(&pair)
            };
            if offered {
                let payload = &request.envelope.as_ref().unwrap().payload;
                let manifest = Manifest::decode(payload.clone()).unwrap();
                acknowledge(rig, &client, agency, key, &manifest, payload).await.expect("taken");
            }
        }
    }
}

/// Checks a receipt as an auditor would.
fn proof(rig: &Rig, receipt: &Receipt) -> Evidence {
    let checkpoint = Checkpoint::open(&receipt.checkpoint, &rig.verifier).expect("signed");
    let path: Vec<_> = receipt.path.iter().map(|hash| hash[..].try_into().expect("32 bytes")).collect();
    let leaf = merkle::leaf_hash(&receipt.evidence);
    assert!(merkle::verify_inclusion(&leaf, receipt.index, checkpoint.size, &path, &checkpoint.root));
    rig.ledger.lock().unwrap().checkpoints.push(checkpoint);
    Evidence::decode(receipt.evidence.clone()).expect("evidence")
}

fn submission(id: &str, key: &SigningKey, large: bool) -> SubmitRequest {
    let body = vec![7; if large { 200_000 } else { 700 }];
    let part = Part {
        name: "a.pdf".into(),
        media_type: "application/pdf".into(),
        size: body.len() as u64,
        sha256: Digest::of(&body).to_bytes(),
    };
    let manifest = Manifest {
        document_id: id.into(),
        nonce: vec![1; 16].into(),
        sender: COMMUNE.into(),
        recipients: RECIPIENTS.map(str::to_owned).to_vec(),
        issued_at_us: truc::hub::clock::Clock::system().now().0,
        hub_origin: "demo.truc.example/log".into(),
        document: Some(DocumentInfo {
            number: "17".into(),
            notation: "BC-UBND".into(),
            promulgation_date: "2026-01-05".into(),
            type_name: "Báo cáo".into(),
            subject: "Kết quả".into(),
            ..DocumentInfo::default()
        }),
        parts: vec![part],
        ..Manifest::default()
    };
    let envelope = envelope::sign(envelope::MANIFEST, manifest.encode_to_vec().into(), &[key]);
    proto::SubmitRequest { envelope: Some(envelope), inline_parts: vec![body.into()] }
}

/// Splitmix64: a seed replays.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
