//! Circulars: one document to thousands, in bounded commits.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use truc::{
    domain::reason::ReasonCode,
    hub::query::Viewer,
    proto::{directory_change::Change, *},
    tlog::checkpoint::Checkpoint,
};

use crate::common::*;

crate::on_both_stores!(
    a_circular_holds_up_nobody,
    a_restart_in_the_middle_goes_on_from_the_marker,
    what_comes_before_its_delivery_waits_for_it,
);

const MANY: usize = 3_000;

/// 3,000 communes right under the ministry, and a node for all of them.
async fn populate(world: &World) -> Vec<String> {
    let names: Vec<String> = (0..MANY).map(|at| format!("G01.{at:04}")).collect();
    for names in names.chunks(1_000) {
        let agencies = names.iter().map(|name| Agency {
            organ_id: name.clone(),
            name: "Xã".into(),
            parent: MINISTRY.into(),
            ..Default::default()
        });
        let imported = world.hub().import_agencies(agencies.collect(), false).await.unwrap();
        assert_eq!((imported.imported, imported.quarantined.len()), (names.len() as u32, 0));
    }
    for (at, names) in names.chunks(1_000).enumerate() {
        let node = Node { name: format!("many{at}"), agencies: names.to_vec(), revoked: false };
        world.change(change(Change::PutNode(node))).await;
    }
    names
}

fn circular(id: &str) -> Manifest {
    manifest(id).with(|m| {
        m.sender = MINISTRY.into();
        m.recipients.clear();
        m.groups = vec![RecipientGroup { root: MINISTRY.into(), level: 0 }];
    })
}

/// The checkpoint sizes in which the events of a document were committed, one by one.
async fn groups_of(world: &World, document: &Proven) -> Vec<(u64, Vec<String>)> {
    let mut request = GetTimelineRequest {
        document_id: document.evidence.document_id.clone(),
        page_size: 1_000,
        ..Default::default()
    };
    let mut groups: Vec<(u64, Vec<String>)> = Vec::new();
    loop {
        let page = world.hub().timeline(Viewer::Auditor, request.clone()).await.unwrap();
        for receipt in page.events {
            let event = world.verify(receipt);
            let size = Checkpoint::unverified(&event.receipt.checkpoint).unwrap().size;
            if groups.last().is_none_or(|(last, _)| *last != size) {
                groups.push((size, Vec::new()));
            }
            let recipients = event.evidence.recipients.iter().map(|party| party.agency.clone());
            groups.last_mut().unwrap().1.extend(recipients);
        }
        if page.next_page_token.is_empty() {
            return groups;
        }
        request.page_token = page.next_page_token;
    }
}

async fn expanded(world: &World) {
    eventually("the circular is expanded", async || world.hub().overview().await.unwrap().expanding == 0)
        .await;
}

/// Everyone has it, nobody twice, and no commit made more than its share.
async fn assert_complete(world: &World, document: &Proven, names: &[String]) {
    let groups = groups_of(world, document).await;
    assert!(groups.iter().all(|(_, recipients)| recipients.len() <= 512));
    let all: Vec<String> = groups.into_iter().flat_map(|(_, recipients)| recipients).collect();
    assert_eq!(all.len(), names.len());
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), names.iter().cloned().collect());
}

async fn a_circular_holds_up_nobody(world: World) {
    let names = populate(&world).await;
    let circular = circular("circular");
    let document = world.send(&circular).await;
    assert_eq!(document.evidence.recipient_count, MANY as u64);
    let during = world.send(&manifest("d1")).await;
    assert!(during.receipt.index < document.receipt.index + MANY as u64, "answered meanwhile");
    assert_eq!(world.send(&circular).await.bytes(), document.bytes());
    expanded(&world).await;
    assert_complete(&world, &document, &names).await;
    eventually("all queues are told", async || {
        world.hub().overview().await.unwrap().waiting == MANY as u64 + 1
    })
    .await;

    // A second list of the same document finds everyone served.
    let again = addressing(&document.evidence, &[&names[0], &names[MANY - 1], TAN_BINH]);
    assert_eq!(world.accepted(world.try_add(&again).await).evidence.recipient_count, 1);
    let offers = world.hub().fetch(&node("many2"), &[], 100, Duration::ZERO).await.unwrap();
    assert_eq!(offers.len(), 100);
}

async fn a_restart_in_the_middle_goes_on_from_the_marker(mut world: World) {
    let names = populate(&world).await;
    let document = world.send(&circular("circular")).await;
    world.restart().await;
    let made = world.hub().size() - document.receipt.index;
    assert!(made < MANY as u64, "stopped in the middle, after {made} leaves");
    expanded(&world).await;
    assert_complete(&world, &document, &names).await;
    world.countings().await;
    world.restart().await;
    assert_eq!(world.hub().overview().await.unwrap().waiting, MANY as u64);
    assert_complete(&world, &document, &names).await;
    world.audit().await;
}

/// Receipts and statuses for a delivery that is about to be made, in the same group as the document itself.
async fn what_comes_before_its_delivery_waits_for_it(world: World) {
    let mut names = populate(&world).await;
    let last = names.pop().unwrap();
    let key = new_key();
    world.change(add_key(&last, &key, SignerKind::Agency)).await;
    let sign = |status: &BusinessStatus| {
        truc::domain::envelope::sign(
            truc::domain::envelope::STATUS,
            prost::Message::encode_to_vec(status).into(),
            &[&key],
        )
    };
    let word = status("circular", &last, 3).with(|s| s.sender = MINISTRY.into());
    let (hub, manifest) = (Arc::clone(world.hub()), world.keys.manifest(&circular("circular")));
    let document = tokio::spawn(async move { hub.submit(&node("ministry"), manifest, Vec::new()).await });
    let early = world.accepted(world.hub().report_status(&node("many2"), sign(&word)).await);
    let document = world.accepted(document.await.unwrap());
    // Reported again and again while the list is worked off.
    let mut reports = vec![early];
    for _ in 0..5 {
        let next = word.clone().with(|s| (s.code, s.nonce) = (5, nonce()));
        reports.push(world.accepted(world.hub().report_status(&node("many2"), sign(&next)).await));
    }
    let asked = recall("circular", &last).with(|s| (s.sender, s.from) = (MINISTRY.into(), MINISTRY.into()));
    reports.push(world.report(&asked).await);
    expanded(&world).await;
    let delivery = format!("{}/{last}", document.receipt.index);
    assert!(reports.iter().any(|report| report.event() == EventKind::StatusParked), "{delivery}");

    let request = GetTimelineRequest { document_id: "circular".into(), ..Default::default() };
    let part = world.hub().timeline(Viewer::Node(node("many2")), request).await.unwrap();
    let mine = part.recipients.into_iter().find(|state| state.recipient == last).unwrap();
    assert_eq!((mine.status_code, mine.change_pending), (5, true));
    let feed: Vec<EventKind> = world
        .feed(MINISTRY)
        .await
        .into_iter()
        .filter(|event| *event != EventKind::SubmissionAcceptance)
        .collect();
    assert_eq!(feed.len(), 7, "each status moved the delivery once");
    assert_eq!(feed.iter().filter(|event| **event == EventKind::RecallRequested).count(), 1);
    let heard: Vec<_> = {
        let mut entries =
            world.hub().watch(&node("many2"), &last, "c0", truc::hub::watch::Until::Now).unwrap();
        let mut heard = Vec::new();
        while let Some(entry) = entries.recv().await {
            heard.push(world.verify(entry.unwrap().receipt).event());
        }
        heard
    };
    assert_eq!(heard, [EventKind::RecallRequested], "who is asked hears of it");
    let stranger = world.refused(
        world.try_report(&status("circular", TAN_BINH, 3).with(|s| s.sender = MINISTRY.into())).await,
    );
    assert_eq!(stranger.code, ReasonCode::NotARecipient);
}
