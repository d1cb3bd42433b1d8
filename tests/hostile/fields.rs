//! Each field of each signed message wrong in turn, correctly signed.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::task::JoinSet;
use tonic::Status;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    client::Client,
    domain::{
        envelope::{self, ADDRESSING, MANIFEST, RECEIPT, STATUS},
        id::Digest,
        reason::ReasonCode,
    },
    proto::*,
};

use crate::{
    raw::{self, Value},
    rig::{ORIGIN, Rig, letter, now_us, part, reason, receipt_for, soon, submit},
};

/// Most calls under way.
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_wrong_in_one_field() {
    let rig = Arc::new(Rig::start().await);
    let client = rig.connect("tavan").await;
    let whole = whole_manifest();
    let sample = submit(&whole, rig.seal(COMMUNE), &[BODY.into()]);
    client.submission().submit(sample).await.expect("the sample itself is legal");

    let mutants = raw::mutants("Manifest", &whole.encode_to_vec());
    let outcomes = hand_in(&rig, &client, MANIFEST, COMMUNE, own_ids(mutants)).await;
    // Many free texts may say anything; what is accepted must not harm those who receive it.
    assert!(outcomes.refused > 3 * outcomes.accepted, "{outcomes:?}");
    for (node, agency) in [("sapa", DISTRICT), ("laocai", PROVINCE)] {
        let recipient = rig.connect(node).await;
        let mut taken = 0;
        loop {
            let offers = rig.fetch(&recipient, agency).await;
            if offers.is_empty() {
                break;
            }
            for offer in offers {
                rig.take(&recipient, &offer).await;
                taken += 1;
            }
        }
        assert!(taken > outcomes.accepted / 2, "{agency} got {taken}");
    }
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_messages_wrong_in_one_field() {
    let rig = Arc::new(Rig::start().await);
    let sender = rig.connect("tavan").await;
    let request = submit(&letter("d-1", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    let payload = request.envelope.clone().unwrap().payload;
    sender.submission().submit(request).await.unwrap();

    let addressing = Addressing {
        document_id: "d-1".into(),
        sender: COMMUNE.into(),
        revision: 0,
        manifest_sha256: Digest::of(&payload).to_bytes(),
        recipients: vec![PROVINCE.into()],
        groups: vec![RecipientGroup { root: DISTRICT.into(), level: Level::Commune.into() }],
        issued_at_us: now_us(),
        hub_origin: ORIGIN.into(),
    };
    let outcomes = hand_in(&rig, &sender, ADDRESSING, COMMUNE, mutants("Addressing", &addressing)).await;
    assert!(outcomes.refused > outcomes.accepted, "{outcomes:?}");

    let recipient = rig.connect("sapa").await;
    assert!(!rig.fetch(&recipient, DISTRICT).await.is_empty());
    let receipt = RecipientReceipt { reason: "x".into(), ..receipt_for(&payload, DISTRICT) };
    let outcomes = hand_in(&rig, &recipient, RECEIPT, DISTRICT, mutants("RecipientReceipt", &receipt)).await;
    assert!(outcomes.refused > outcomes.accepted, "{outcomes:?}");

    let status = BusinessStatus {
        document_id: "d-1".into(),
        sender: COMMUNE.into(),
        revision: 0,
        from: DISTRICT.into(),
        to: String::new(),
        code: 3,
        description: "x".into(),
        occurred_at_us: 1,
        hub_origin: ORIGIN.into(),
        nonce: vec![9; 16].into(),
    };
    let outcomes = hand_in(&rig, &recipient, STATUS, DISTRICT, mutants("BusinessStatus", &status)).await;
    assert!(outcomes.refused > outcomes.accepted, "{outcomes:?}");
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowds_of_recipients_and_parts() {
    let rig = Rig::start().await;
    let client = rig.connect("tavan").await;
    let plain = || letter("crowd", &[DISTRICT]);
    let part = part("a.pdf", b"");
    let group = RecipientGroup { root: PROVINCE.into(), level: 0 };
    let same_body = vec![part.clone(); 100];
    let crowds = [
        (Manifest { recipients: vec!["H38".into(); 100_000], ..plain() }, ReasonCode::TooLarge),
        (Manifest { recipients: unknown(19_000), ..plain() }, ReasonCode::UnknownRecipient),
        (Manifest { recipients: vec![DISTRICT.into(); 20_000], ..plain() }, ReasonCode::InvalidField),
        (Manifest { recipients: vec![String::new(); 20_000], ..plain() }, ReasonCode::UnknownRecipient),
        (Manifest { recipients: vec!["ệ".repeat(1_000); 300], ..plain() }, ReasonCode::UnknownRecipient),
        (Manifest { groups: vec![group; 101], ..plain() }, ReasonCode::TooLarge),
        (Manifest { parts: vec![part; 101], ..plain() }, ReasonCode::TooLarge),
        (Manifest { parts: vec![Part::default(); 100], ..plain() }, ReasonCode::InvalidField),
        (Manifest { references: vec![Reference::default(); 100], ..plain() }, ReasonCode::InvalidField),
        (Manifest { parts: same_body, ..plain() }, ReasonCode::BodyMissing),
    ];
    for (manifest, code) in crowds {
        let request = submit(&manifest, rig.seal(COMMUNE), &[]);
        let (recipients, parts) = (manifest.recipients.len(), manifest.parts.len());
        let status = soon(client.submission().submit(request.clone())).await.unwrap_err();
        assert_eq!(reason(&status), code, "{recipients} recipients, {parts} parts: {status:?}");
        // Validate has the same checks, but for the bodies.
        if code != ReasonCode::BodyMissing {
            let status = soon(client.submission().validate(request)).await.unwrap_err();
            assert_eq!(reason(&status), code);
        }
    }
    // Bodies that nobody asked for.
    let stray = submit(&plain(), rig.seal(COMMUNE), &vec![Bytes::from_static(b"stray"); 10_000]);
    let status = client.submission().submit(stray).await.unwrap_err();
    assert_eq!(reason(&status), ReasonCode::DigestMismatch);
    let heavy = submit(&plain(), rig.seal(COMMUNE), &[vec![7; 5 << 20].into()]);
    assert_eq!(reason(&client.submission().submit(heavy).await.unwrap_err()), ReasonCode::TooLarge);
    rig.unharmed().await;
}

const BODY: &[u8] = b"body";

#[derive(Debug, Default)]
struct Outcomes {
    accepted: usize,
    refused: usize,
}

async fn hand_in(
    rig: &Arc<Rig>,
    client: &Client,
    payload_type: &'static str,
    agency: &'static str,
    mutants: Vec<(String, Vec<u8>)>,
) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let mut work = JoinSet::new();
    let mut count = |done: (String, Result<(), Status>)| match done {
        (how, Ok(())) => {
            println!("{how}: accepted");
            outcomes.accepted += 1;
        }
        (how, Err(status)) => {
            println!("{how}: {}", status.message().chars().take(150).collect::<String>());
            let code = reason(&status);
            assert!(code != ReasonCode::StoreFailed && code != ReasonCode::Damaged, "{how}: {status:?}");
            outcomes.refused += 1;
        }
    };
    for (how, payload) in mutants {
        let envelope = envelope::sign(payload_type, payload.into(), &[rig.seal(agency)]);
        let client = client.clone();
        work.spawn(async move { (how, soon(call(&client, payload_type, envelope)).await) });
        if work.len() >= AT_ONCE {
            count(work.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(done) = work.join_next().await {
        count(done.unwrap());
    }
    println!("{payload_type}: {outcomes:?}");
    outcomes
}

async fn call(client: &Client, payload_type: &str, envelope: SignedEnvelope) -> Result<(), Status> {
    let envelope = Some(envelope);
    match payload_type {
        MANIFEST => {
            let request = SubmitRequest { envelope, inline_parts: vec![BODY.into()] };
            client.submission().submit(request).await.map(drop)
        }
        ADDRESSING => client.submission().add_recipients(AddRecipientsRequest { envelope }).await.map(drop),
        RECEIPT => client.delivery().acknowledge(AcknowledgeRequest { envelope }).await.map(drop),
        _ => client.status().report(ReportRequest { envelope }).await.map(drop),
    }
}

fn mutants(type_name: &str, sample: &impl Message) -> Vec<(String, Vec<u8>)> {
    // Empty texts and zeros are not on the wire: set what the sample leaves out, so that it can be changed.
    let mut fields = raw::parse(&sample.encode_to_vec());
    for (tag, default) in raw::defaults(type_name) {
        if fields.iter().all(|(other, _)| *other != tag) {
            fields.push((tag, default));
        }
    }
    raw::mutants(type_name, &raw::write(&fields))
}

/// A document id of its own for each that still has the sample's.
fn own_ids(mutants: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let own = |(number, (how, bytes)): (usize, (String, Vec<u8>))| {
        let mut fields = raw::parse(&bytes);
        for (tag, value) in &mut fields {
            if *tag == 1 && *value == Value::Bytes(b"whole".to_vec()) {
                *value = Value::Bytes(format!("whole-{number}").into_bytes());
            }
        }
        (how, raw::write(&fields))
    };
    mutants.into_iter().enumerate().map(own).collect()
}

fn unknown(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("H99.{number}")).collect()
}

/// Legal, with every field set.
fn whole_manifest() -> Manifest {
    Manifest {
        document_id: "whole".into(),
        revision: 1,
        groups: vec![RecipientGroup { root: DISTRICT.into(), level: Level::Commune.into() }],
        delivery_deadline_us: now_us() + 3_600_000_000,
        document: Some(whole_info()),
        parts: vec![part("a.pdf", BODY)],
        references: vec![Reference {
            kind: ReferenceKind::Updates.into(),
            organ_id: COMMUNE.into(),
            document_id: "older".into(),
            number: "16".into(),
            notation: "BC-UBND".into(),
            promulgation_date: "2026-01-04".into(),
        }],
        operation: Operation::Update.into(),
        operation_reason: "sai nội dung".into(),
        ..letter("whole", &[DISTRICT, PROVINCE])
    }
}

fn whole_info() -> DocumentInfo {
    DocumentInfo {
        place: "Sa Pa".into(),
        content: "Tóm tắt".into(),
        signer: Some(SignerInfo {
            competence: "TM.".into(),
            position: "Chủ tịch".into(),
            full_name: "Nguyễn Văn A".into(),
        }),
        urgency: 1,
        due_date: "2026-12-31".into(),
        paper: true,
        sphere: "Lưu hành nội bộ".into(),
        page_count: 2,
        copy_count: 3,
        appendixes: vec!["Phụ lục".into()],
        to_places: vec!["Như trên".into()],
        steering_type: 1,
        ..letter("", &[]).document.unwrap()
    }
}
