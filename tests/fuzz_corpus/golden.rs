//! Bytes that a hub or its clients really make: where the fuzzing begins.

use std::{fs, sync::Arc};

use prost::Message;
use truc::{
    config::Config,
    domain::{
        document::Limits,
        envelope,
        id::{Digest, NodeName},
        retry::Backoff,
        signature::{Algorithm, SigningKey},
    },
    hub::{Hub, LogIdentity, Settings, clock::Clock},
    proto::{directory_change::Change, *},
    store::{
        embedded::{
            Embedded, EmbeddedOptions,
            journal::{self, Finding, Journal, JournalOptions},
        },
        payload::{Payload, PayloadOptions},
    },
    tlog::{Hash, keys::Handover, note::Signer, proof::TlogProof, witness::AddCheckpoint},
};

use super::all::targets::{NOW, ORIGIN, cosigner, signer};

const SENDER: &str = "000.00.00.H53";
const RECIPIENT: &str = "000.21.31.H53";

pub type Golden = (&'static str, String, Vec<u8>);

/// Inputs with their target and a name.
pub fn all() -> Vec<Golden> {
    let mut all = Vec::new();
    let mut add =
        |target: &'static str, name: &str, bytes: Vec<u8>| all.push((target, name.to_owned(), bytes));
    let told = live();
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    for (number, (kind, payload)) in (0u8..).zip(messages()) {
        let envelope = envelope::sign(kind, payload.clone().into(), &[&key]);
        let name = format!("{number}");
        add("door", &name, [&[number], &payload[..]].concat());
        add("envelope", &name, envelope.encode_to_vec());
        let submit =
            SubmitRequest { envelope: Some(envelope.clone()), inline_parts: vec![b"part"[..].into()] };
        add("wire", &format!("submit-{name}"), [&[0], &submit.encode_to_vec()[..]].concat());
        add("door", &format!("whole-{name}"), [&[4], &submit.encode_to_vec()[..]].concat());
        add("signed", &name, payload);
    }
    let timeline =
        GetTimelineRequest { document_id: "d1".into(), page_token: "3".into(), ..Default::default() };
    add("wire", "timeline", [&[9], &timeline.encode_to_vec()[..]].concat());
    add("door", "timeline", [&[5], &timeline.encode_to_vec()[..]].concat());
    for text in [
        SENDER,
        "H53.31.21",
        "node-1.province",
        "000.00.00.H53,2026,17",
        "17/000.21.31.H53",
        "1h 30m",
        "90s",
        "64 MiB",
    ] {
        add("names", &Digest::of(text.as_bytes()).to_string()[..8], text.into());
    }
    add("note", "checkpoint", told.receipts[0].checkpoint.clone().into());
    add(
        "note",
        "text",
        told.receipts[0].checkpoint.split("\n\n").next().map(|text| format!("{text}\n")).unwrap().into(),
    );
    add("note", "vkey", signer().verifier().to_string().into());
    let head = &told.receipts[0].checkpoint;
    let cosignature = cosigner().cosign(truc::tlog::note::unverified_text(head).unwrap(), 1_790_000_000);
    add("note", "cosigned", format!("{head}{cosignature}").into());
    let asked = AddCheckpoint { old: 0, proof: vec![[1; 32]], note: head.clone() };
    add("note", "add-checkpoint", asked.encode().into());
    let other = Signer::from_seed(ORIGIN, &[8; 32]).unwrap();
    add("note", "change-of-key", Handover::sign(&signer(), &other, 3).into());
    let (log, witness) = (signer().verifier(), cosigner().verifier());
    let policy = format!("# who counts\nlog {log}\nwitness w {witness}\ngroup g any w\nquorum g\n");
    add("note", "policy", policy.into());
    for (at, receipt) in told.receipts.iter().enumerate() {
        add("receipt", &at.to_string(), receipt.encode_to_vec());
        let leaf = &receipt.evidence[..receipt.evidence.len().min(255)];
        add("proof", &at.to_string(), [&[leaf.len() as u8], leaf, proof(receipt).as_bytes()].concat());
    }
    add("csv", "list", "organ_id,name,level,parent,aliases,state\n000.00.00.H53,Tỉnh,tỉnh,,H53;H53.0,active\nH53.31,\"Huyện \"\"A\"\"\",,H53,,\n".into());
    add("config", "default", Config::default_toml().into());
    add("certificate", "node", certificate());
    add("certificate", "ed25519", key.public_key().spki_der().to_vec());
    let p256 = SigningKey::generate(Algorithm::EcdsaP256Sha256).unwrap();
    add("certificate", "p256", p256.public_key().spki_der().to_vec());
    for (at, change) in changes(&key).into_iter().enumerate() {
        add("directory", &format!("change-{at}"), change.encode_to_vec());
    }
    add(
        "directory",
        "import",
        ImportAgenciesRequest {
            agencies: vec![agency(SENDER), agency(RECIPIENT), agency("H53.31")],
            dry_run: false,
        }
        .encode_to_vec(),
    );
    let frames = told.frames.iter().map(|frame| [&(frame.len() as u16).to_le_bytes(), &frame[..]].concat());
    let frames: Vec<Vec<u8>> = frames.collect();
    frames.iter().enumerate().for_each(|(at, frame)| add("commits", &at.to_string(), frame.clone()));
    add("commits", "all", frames.concat());
    add("journal", "two", segment());
    add("pack", "real", [vec![0; 16], told.pack].concat());
    all
}

fn messages() -> [(&'static str, Vec<u8>); 4] {
    let manifest = manifest().encode_to_vec();
    let manifest_sha256 = Digest::of(&manifest).to_bytes();
    let addressing = Addressing {
        document_id: "d1".into(),
        sender: SENDER.into(),
        manifest_sha256: manifest_sha256.clone(),
        recipients: vec!["000.22.31.H53".into()],
        groups: vec![RecipientGroup { root: SENDER.into(), level: 0 }],
        issued_at_us: NOW.0,
        hub_origin: ORIGIN.into(),
        ..Default::default()
    };
    let receipt = RecipientReceipt {
        document_id: "d1".into(),
        sender: SENDER.into(),
        manifest_sha256,
        recipient: RECIPIENT.into(),
        outcome: Outcome::Accepted.into(),
        received_at_us: NOW.0,
        hub_origin: ORIGIN.into(),
        ..Default::default()
    };
    let status = BusinessStatus {
        document_id: "d1".into(),
        sender: SENDER.into(),
        from: SENDER.into(),
        to: RECIPIENT.into(),
        code: 13,
        description: "Thu hồi".into(),
        occurred_at_us: NOW.0,
        hub_origin: ORIGIN.into(),
        nonce: vec![1; 16].into(),
        ..Default::default()
    };
    [
        (envelope::MANIFEST, manifest),
        (envelope::ADDRESSING, addressing.encode_to_vec()),
        (envelope::RECEIPT, receipt.encode_to_vec()),
        (envelope::STATUS, status.encode_to_vec()),
    ]
}

fn manifest() -> Manifest {
    Manifest {
        document_id: "d1".into(),
        nonce: vec![2; 16].into(),
        sender: SENDER.into(),
        recipients: vec![RECIPIENT.into()],
        issued_at_us: NOW.0,
        hub_origin: ORIGIN.into(),
        operation: Operation::Update.into(),
        operation_reason: "Sửa".into(),
        references: vec![Reference {
            kind: ReferenceKind::Updates.into(),
            number: "1".into(),
            ..Default::default()
        }],
        document: Some(DocumentInfo {
            number: "17".into(),
            notation: "CV-UBND".into(),
            promulgation_date: "2026-09-20".into(),
            type_name: "Công văn".into(),
            subject: "Kiểm thử".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn agency(id: &str) -> Agency {
    Agency { organ_id: id.into(), name: "Cơ quan".into(), ..Default::default() }
}

fn changes(key: &SigningKey) -> Vec<DirectoryChange> {
    let agencies = vec![SENDER.to_owned(), RECIPIENT.to_owned()];
    let changes = [
        Change::PutAgency(agency(SENDER)),
        Change::PutAgency(Agency {
            aliases: vec!["H53.31.21".into()],
            parent: SENDER.into(),
            ..agency(RECIPIENT)
        }),
        Change::PutNode(Node { name: "node".into(), agencies, revoked: false }),
        Change::AddKey(truc::proto::SigningKey {
            agency: SENDER.into(),
            spki_der: key.public_key().spki_der().clone(),
            signer_kind: SignerKind::Agency.into(),
            ..Default::default()
        }),
        Change::SetAgencyState(SetAgencyState {
            organ_id: RECIPIENT.into(),
            state: AgencyState::Active.into(),
        }),
    ];
    changes.map(|change| DirectoryChange { change: Some(change), reason: "x".into() }).to_vec()
}

/// What a hub on a disk told and wrote.
struct Told {
    receipts: Vec<Receipt>,
    frames: Vec<Vec<u8>>,
    pack: Vec<u8>,
}

fn live() -> Told {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let options = EmbeddedOptions { segment_bytes: 64 << 10, ..EmbeddedOptions::new(dir.path()) };
    let payload = Arc::new(Payload::open(&dir.path().join("bodies"), PayloadOptions::default()).unwrap());
    let store = Embedded::open(&options, Arc::clone(&payload), &mut |_| {}).unwrap().store;
    let log = LogIdentity { origin: ORIGIN.into(), signer: signer() };
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let node = NodeName::parse("node").unwrap();
    let receipts = runtime.block_on(async {
        let hub = Hub::start(Arc::new(store), payload, log, settings(), Clock::manual(NOW)).unwrap();
        let mut receipts = Vec::new();
        for change in changes(&key).into_iter().take(4) {
            receipts.push(hub.change_directory(change).await.unwrap().receipt);
        }
        let [(_, manifest), _, _, (_, status)] = messages();
        let signed = envelope::sign(envelope::MANIFEST, manifest.into(), &[&key]);
        receipts.push(hub.submit(&node, signed, Vec::new()).await.unwrap().receipt);
        let signed = envelope::sign(envelope::STATUS, status.into(), &[&key]);
        receipts.push(hub.report_status(&node, signed).await.unwrap().receipt);
        hub.stop().await;
        receipts
    });
    drop(runtime);
    let mut frames = Vec::new();
    journal::check(&dir.path().join("journal"), &mut |finding| {
        if let Finding::Frame(frame) = finding
            && !frame.payload.is_empty()
        {
            frames.push(frame.payload.to_vec());
        }
        Ok(())
    })
    .unwrap();
    let pack = fs::read_dir(dir.path().join("bodies/packs")).unwrap().next().unwrap().unwrap().path();
    Told { receipts, frames, pack: fs::read(pack).unwrap() }
}

fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        max_inline_bytes: 1 << 20,
        upload_retention_us: 1,
        lease_us: 1_000_000,
        backoff: Backoff::default(),
        max_credit: 1,
        max_waiting_requests: 16,
        max_batch_leaves: 16,
        recent_bytes: 64 << 10,
        operator: truc::hub::operate::Rules::default(),
    }
}

fn proof(receipt: &Receipt) -> String {
    let path: Vec<Hash> = receipt.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
    TlogProof { extra: None, index: receipt.index, path, checkpoint: receipt.checkpoint.clone() }.encode()
}

fn certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.subject_alt_names.push(rcgen::SanType::URI("urn:truc:node:province".try_into().unwrap()));
    params.self_signed(&key).unwrap().der().to_vec()
}

fn segment() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 4_096 };
    let (mut journal, _) = Journal::open(dir.path(), options, None, &mut |_| Ok(())).unwrap();
    journal.append(b"one").unwrap();
    journal.append(&[7; 500]).unwrap();
    journal.seal().unwrap();
    drop(journal);
    fs::read(dir.path().join("00000001.seg")).unwrap()
}
