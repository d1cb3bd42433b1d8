//! Contents go by the rules, evidence stays; what a hold names is kept.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use prost::Message;
use truc::{
    domain::{
        id::Digest,
        reason::ReasonCode,
        retention::{Rule, Rules},
    },
    hub::{intake::Accepted, refused::Refused, retention::Policy},
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    attachments_go_and_evidence_stays,
    the_envelope_goes_too_where_the_rule_says_all,
    the_same_bytes_may_come_again,
    a_hold_keeps_what_it_names,
    a_removal_that_was_cut_goes_on,
);

/// Nothing is erased by itself within a test.
const NEVER: Duration = Duration::from_secs(1 << 30);

fn rules(type_name: &str, scope: ErasedScope) -> Rules {
    let type_names = vec![type_name.to_owned()];
    let (urgencies, operations) = (Vec::new(), Vec::new());
    let name = "thirty days".to_owned();
    Rules::new(vec![Rule { name, type_names, urgencies, operations, after_us: 30 * DAY, scope }])
}

fn policy(scope: ErasedScope) -> Policy {
    let rules = rules("giấy mời", scope);
    Policy { rules, every: NEVER, documents_per_second: u32::MAX, bytes_per_second: 1 << 30 }
}

fn invitation(id: &str, parts: &[&[u8]]) -> Manifest {
    manifest(id).with(|m| {
        m.parts = (0..).zip(parts).map(|(at, bytes)| part(&format!("{at}.pdf"), bytes)).collect();
        let info = m.document.as_mut().unwrap();
        (info.type_name, info.subject) = ("Giấy mời".into(), format!("MARK-SUBJECT-{id}"));
    })
}

async fn submit(world: &World, manifest: &Manifest, inline: &[&[u8]]) -> Result<Accepted, Refused> {
    let inline = inline.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
    world.hub().submit(&node_of(&manifest.sender), world.keys.manifest(manifest), inline).await
}

async fn upload(world: &World, bytes: &[u8]) {
    let begin = UploadBegin { sha256: Digest::of(bytes).to_bytes(), size: bytes.len() as u64, offset: 0 };
    let mut upload = world.hub().begin_upload(&node("province"), &begin).await.unwrap();
    upload.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    assert!(upload.finish().await.unwrap().complete);
}

async fn run(world: &World, dry_run: bool) -> RunRetentionResponse {
    world.hub().run_retention("an", dry_run).await.unwrap()
}

async fn removed(world: &World) {
    eventually("the bytes are gone", async || {
        let retention = world.hub().retention().await.unwrap();
        assert_eq!(retention.problem, "");
        retention.removing == 0
    })
    .await;
}

async fn download(world: &World, document: &Proven, bytes: &[u8]) -> Result<Vec<u8>, ReasonCode> {
    let id = format!("{}/{TAN_BINH}", document.receipt.index);
    let chunks = world.hub().download(&node("communes"), &id, Digest::of(bytes), 0).await;
    let (mut chunks, mut read) = (chunks.map_err(|refused| refused.code())?, Vec::new());
    while let Some(chunk) = chunks.recv().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    Ok(read)
}

/// True if a text stands anywhere below a folder.
fn holds(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

fn marked(mark: &str, len: usize) -> Vec<u8> {
    mark.as_bytes().iter().copied().cycle().take(len).collect()
}

/// What the evidence says was erased.
fn told(erased: &Proven) -> Erasure {
    assert_eq!(erased.event(), EventKind::PayloadErased);
    Erasure::decode(erased.evidence.erasure.clone()).unwrap()
}

async fn attachments_go_and_evidence_stays(mut world: World) {
    world.hub().retain(policy(ErasedScope::Attachments));
    let (own, large, shared) =
        (marked("MARK-OWN ", 3_000), marked("MARK-LARGE ", 300_000), marked("MARK-SHARED ", 500));
    upload(&world, &large).await;
    let wanted = invitation("d1", &[&own, &large, &shared]);
    let document = world.accepted(submit(&world, &wanted, &[&own, &shared]).await);
    let other = manifest("d2").with(|m| m.parts = vec![part("0.pdf", &shared)]);
    let other = world.accepted(submit(&world, &other, &[&shared]).await);
    world.acknowledge(&other, TAN_BINH).await;
    world.clock.advance_us(5 * DAY);
    assert_eq!(run(&world, false).await.looked_at, 0, "too young");
    world.acknowledge(&document, TAN_BINH).await;
    let third = world.accepted(
        submit(
            &world,
            &invitation("d3", &[&own]).with(|m| {
                m.issued_at_us += 5 * DAY;
                m.delivery_deadline_us = START.0 + 90 * DAY;
            }),
            &[&own],
        )
        .await,
    );
    world.clock.advance_us(31 * DAY);

    let dry = run(&world, true).await;
    assert_eq!((dry.erased, dry.open, dry.held, dry.looked_at), (1, 1, 0, 3));
    assert_eq!(dry.bytes, 300_000, "the third document needs the first one's own part still");
    assert_eq!(download(&world, &document, &own).await.unwrap(), own, "a dry run does nothing");

    world.acknowledge(&third, TAN_BINH).await;
    let ran = run(&world, false).await;
    assert_eq!((ran.erased, ran.open, ran.bytes), (2, 0, 303_000));
    let event = world.events(&document).await.pop().unwrap();
    assert_eq!(ran.documents[0].leaf, event.receipt.index);
    let erasure = told(&event);
    assert_eq!((erasure.scope(), erasure.policy.as_str()), (ErasedScope::Attachments, "thirty days"));
    assert_eq!(erasure.operator, "an");
    let digests: Vec<_> = [&own, &large, &shared].map(|bytes| Digest::of(bytes).to_bytes()).into();
    assert_eq!(erasure.parts_sha256, digests);
    let mut kept = erasure.kept_sha256.clone();
    kept.sort();
    let mut expected = vec![digests[0].clone(), digests[2].clone()];
    expected.sort();
    assert_eq!(kept, expected, "others need them");
    assert!(erasure.envelope_sha256.is_empty());
    assert_eq!(event.evidence.previous_evidence_sha256, document.leaf_hash()[..]);
    assert!(told(&world.events(&third).await.pop().unwrap()).kept_sha256.is_empty());

    removed(&world).await;
    for mark in ["MARK-OWN", "MARK-LARGE"] {
        assert!(!holds(world.folder(), mark), "{mark}");
    }
    for round in 0..2 {
        for bytes in [&own, &large, &shared] {
            assert_eq!(download(&world, &document, bytes).await.unwrap_err(), ReasonCode::ContentsErased);
        }
        assert_eq!(download(&world, &other, &shared).await.unwrap(), shared, "it is another document's");
        let again = world.accepted(submit(&world, &wanted, &[&own, &shared]).await);
        assert_eq!((again.bytes(), again.repeat), (document.bytes(), true));
        assert_eq!(run(&world, true).await.erased, 0);
        if round == 0 {
            world.restart().await;
            world.hub().retain(policy(ErasedScope::Attachments));
        }
    }
    let more = addressing(&document.evidence, &[TAN_HOA]).with(|a| a.issued_at_us += 36 * DAY);
    let refusal = world.refused(world.try_add(&more).await);
    assert_eq!(refusal.code, ReasonCode::ContentsErased);
    refusal.evidence();
    world.report(&status("d1", TAN_BINH, 3).with(|s| s.occurred_at_us += 36 * DAY)).await;
    assert_eq!(world.feed(PROVINCE).await.iter().filter(|e| **e == EventKind::PayloadErased).count(), 2);
    world.audit().await;
}

async fn the_envelope_goes_too_where_the_rule_says_all(mut world: World) {
    world.hub().retain(policy(ErasedScope::All));
    let own = marked("MARK-OWN ", 900);
    let wanted = invitation("d1", &[&own]);
    let document = world.accepted(submit(&world, &wanted, &[&own]).await);
    world.acknowledge(&document, TAN_BINH).await;
    assert!(holds(world.folder(), "MARK-SUBJECT-d1"));
    world.clock.advance_us(31 * DAY);
    assert_eq!(run(&world, false).await.erased, 1);
    removed(&world).await;
    for mark in ["MARK-SUBJECT", "MARK-OWN"] {
        assert!(!holds(world.folder(), mark), "{mark}");
    }
    world.restart().await;
    let erasure = told(&world.events(&document).await.pop().unwrap());
    assert_eq!(erasure.scope(), ErasedScope::All);
    assert_eq!(erasure.envelope_sha256.len(), 32);
    assert_eq!(erasure.operation, 0);
    let again = world.accepted(submit(&world, &wanted, &[&own]).await);
    assert_eq!((again.bytes(), again.repeat), (document.bytes(), true));
    let bent = wanted.with(|m| m.document.as_mut().unwrap().subject = "khác".into());
    let refusal = world.refused(submit(&world, &bent, &[&own]).await);
    assert_eq!(refusal.code, ReasonCode::ClockSkew, "judged as any other: the name is still taken");
    world.audit().await;
}

async fn the_same_bytes_may_come_again(mut world: World) {
    world.hub().retain(policy(ErasedScope::Attachments));
    let (small, large) = (marked("MARK-SMALL ", 800), marked("MARK-LARGE ", 200_000));
    upload(&world, &large).await;
    let document = world.accepted(submit(&world, &invitation("d1", &[&small, &large]), &[&small]).await);
    world.acknowledge(&document, TAN_BINH).await;
    world.clock.advance_us(31 * DAY);
    assert_eq!(run(&world, false).await.erased, 1);
    removed(&world).await;
    upload(&world, &large).await;
    let later = invitation("d2", &[&small, &large]).with(|m| m.issued_at_us += 31 * DAY);
    let later = world.accepted(submit(&world, &later, &[&small]).await);
    assert_eq!(run(&world, false).await.erased, 0, "it is young");
    world.restart().await;
    for bytes in [&small, &large] {
        assert_eq!(download(&world, &later, bytes).await.unwrap(), *bytes);
        assert_eq!(download(&world, &document, bytes).await.unwrap_err(), ReasonCode::ContentsErased);
    }
}

async fn a_hold_keeps_what_it_names(mut world: World) {
    world.hub().retain(policy(ErasedScope::Attachments));
    let mut documents = Vec::new();
    for (id, sender) in [("d1", PROVINCE), ("d2", PROVINCE), ("d3", MINISTRY)] {
        let own = marked(&format!("MARK-{id} "), 700);
        let document = invitation(id, &[&own]).with(|m| m.sender = sender.into());
        let document = world.accepted(submit(&world, &document, &[&own]).await);
        world.acknowledge(&document, TAN_BINH).await;
        documents.push((document, own));
    }
    let by_document = |id: &str| PlaceHoldRequest {
        document_id: id.into(),
        reason: "vụ việc 12".into(),
        ..PlaceHoldRequest::default()
    };
    let by_agency = |agency: &str| PlaceHoldRequest {
        agency: agency.into(),
        reason: "thanh tra".into(),
        ..PlaceHoldRequest::default()
    };
    let place = async |world: &World, request| world.hub().place_hold("an", request).await;
    let first = world.accepted(place(&world, by_document("d1")).await);
    let placed = LegalHold::decode(first.evidence.legal_hold.clone()).unwrap();
    assert_eq!(
        (placed.reason.as_str(), placed.operator.as_str(), placed.lifted),
        ("vụ việc 12", "an", false)
    );
    assert_eq!((first.event(), first.evidence.document_id.as_str()), (EventKind::LegalHold, "d1"));
    let second = world.accepted(place(&world, by_agency(MINISTRY)).await);
    for (request, code) in [
        (by_document("d1"), ReasonCode::AlreadyHeld),
        (by_agency(MINISTRY), ReasonCode::AlreadyHeld),
        (by_document("unheard-of"), ReasonCode::UnknownDocument),
        (by_agency("000.99.99.H99"), ReasonCode::UnknownAgency),
        (PlaceHoldRequest::default(), ReasonCode::ReasonRequired),
        (by_document("d1").with(|r| r.agency = MINISTRY.into()), ReasonCode::InvalidField),
    ] {
        assert_eq!(place(&world, request).await.unwrap_err().code(), code);
    }
    world.clock.advance_us(31 * DAY);
    world.restart().await;
    world.hub().retain(policy(ErasedScope::Attachments));
    let holds: Vec<_> = world.hub().holds().await.unwrap().into_iter().map(|hold| hold.hold).collect();
    assert_eq!(holds, [first.receipt.index, second.receipt.index]);
    let ran = run(&world, false).await;
    assert_eq!((ran.erased, ran.held), (1, 2));
    let lift = async |world: &World, hold: u64| {
        world.hub().lift_hold("binh", LiftHoldRequest { hold, reason: "xong".into() }).await
    };
    assert_eq!(lift(&world, 1).await.unwrap_err().code(), ReasonCode::UnknownHold);
    let lifted = world.accepted(lift(&world, second.receipt.index).await);
    let ended = LegalHold::decode(lifted.evidence.legal_hold.clone()).unwrap();
    assert_eq!(
        (ended.placed_leaf, ended.lifted, ended.agency.as_str()),
        (second.receipt.index, true, MINISTRY)
    );
    assert_eq!(lift(&world, second.receipt.index).await.unwrap_err().code(), ReasonCode::UnknownHold);
    // A hold on the recipient keeps what was sent to it.
    let third = world.accepted(place(&world, by_agency(TAN_BINH)).await);
    assert_eq!(run(&world, false).await.held, 2);
    world.accepted(lift(&world, third.receipt.index).await);
    assert_eq!(run(&world, false).await.erased, 1);
    for ((document, own), gone) in documents.iter().zip([false, true, true]) {
        assert_eq!(download(&world, document, own).await.is_err(), gone, "{}", document.evidence.document_id);
    }
    world.audit().await;
}

async fn a_removal_that_was_cut_goes_on(mut world: World) {
    world.hub().retain(Policy { bytes_per_second: 1, ..policy(ErasedScope::Attachments) });
    let mut marks = Vec::new();
    for at in 0..3 {
        let mark = format!("MARK-{at}-");
        let own = marked(&mark, 5_000);
        let document = world.accepted(submit(&world, &invitation(&mark, &[&own]), &[&own]).await);
        world.acknowledge(&document, TAN_BINH).await;
        marks.push(mark + "MARK");
    }
    world.clock.advance_us(31 * DAY);
    assert_eq!(run(&world, false).await.erased, 3);
    assert_eq!(world.hub().retention().await.unwrap().removing, 3);
    world.stop().await;
    assert!(holds(world.folder(), &marks[2]), "it had no time");
    world.start();
    removed(&world).await;
    for mark in marks {
        assert!(!holds(world.folder(), &mark), "{mark}");
    }
}
