//! One circular to three thousand communes: one body, no one else held up, and after a kill exactly one delivery each.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message;
use tokio::task::JoinSet;
use truc::{
    cli::demo::world::{DISTRICT, PROVINCE},
    client::Client,
    proto::*,
};

use rig::{Rig, letter, part, submit};

const COMMUNES: usize = 3_000;
/// A province of its own, so that the demo's agencies stay out of the group.
const ROOT: &str = "H60";
/// Another sender, far from the circular.
const OTHER: &str = "000.00.22.H38";

#[tokio::test(flavor = "multi_thread")]
async fn a_circular_reaches_every_commune_and_holds_up_nobody() {
    let rig = Arc::new(with_communes().await);
    let operator = rig.connect("operator").await;
    let disk = rig.bodies_on_disk();
    let quiet = overview(&operator).await.waiting;

    let over = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    for sender in 0..4 {
        others.spawn(send_until(Arc::clone(&rig), sender, Arc::clone(&over)));
    }
    let sender = rig.connect("laocai").await;
    let index = circular(&rig, &sender, "circular").await;
    expanded(&operator).await;
    over.store(true, Ordering::Relaxed);
    let acknowledged: Vec<(u64, Duration)> = others.join_all().await.into_iter().flatten().collect();

    let consignments = consignments(&operator, "circular").await;
    assert_eq!(consignments.len(), COMMUNES);
    let (first, last) = (consignments[0].0, consignments[COMMUNES - 1].0);
    assert!(first > index);
    let mut between: Vec<Duration> =
        acknowledged.iter().filter(|(leaf, _)| (first..last).contains(leaf)).map(|(_, took)| *took).collect();
    between.sort();
    println!(
        "{} submissions of others answered, {} of them while the circular was expanded: median {:?}, slowest {:?}",
        acknowledged.len(),
        between.len(),
        between.get(between.len() / 2),
        between.last()
    );
    assert!(!between.is_empty(), "the circular held up the others");

    let grown = rig.bodies_on_disk() - disk;
    let envelopes = (acknowledged.len() as u64 + 10) * 2_048;
    assert!(grown < (1 << 20) + envelopes + 100_000, "{grown} more bytes on disk");
    let waiting = overview(&operator).await.waiting - quiet;
    assert_eq!(waiting, (COMMUNES + acknowledged.len()) as u64);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_loses_and_doubles_nothing() {
    let mut rig = with_communes().await;
    let mut unfinished = 0;
    for round in 0..3 {
        let id = format!("circular-{round}");
        let sender = rig.connect("laocai").await;
        circular(&rig, &sender, &id).await;
        tokio::time::sleep(Duration::from_millis(round * 40)).await;
        rig.hub.kill().await.unwrap();
        rig.hub.restart().await.unwrap();
        let operator = rig.connect("operator").await;
        unfinished += overview(&operator).await.expanding;
        expanded(&operator).await;
        let consignments = consignments(&operator, &id).await;
        let recipients: HashSet<&str> =
            consignments.iter().map(|(_, recipient)| recipient.as_str()).collect();
        assert_eq!((consignments.len(), recipients.len()), (COMMUNES, COMMUNES), "round {round}");
        assert_eq!(overview(&operator).await.waiting as u64, (round + 1) * COMMUNES as u64);
    }
    println!("{unfinished} expansions went on after a kill");
    rig.serves().await;
}

/// Agencies of the new form, whose level is given.
async fn with_communes() -> Rig {
    let rig = Rig::start().await;
    let registrar = rig.connect("registrar").await;
    let root = Agency { organ_id: ROOT.into(), name: "UBND tỉnh".into(), ..Agency::default() };
    let communes = (0..COMMUNES).map(|number| Agency {
        organ_id: format!("{ROOT}.{}.{}", number / 30, number % 30),
        name: format!("UBND xã {number}"),
        level: Level::Commune.into(),
        parent: ROOT.into(),
        ..Agency::default()
    });
    let all: Vec<Agency> = std::iter::once(root).chain(communes).collect();
    for page in all.chunks(1_500) {
        let request = ImportAgenciesRequest { agencies: page.to_vec(), dry_run: false };
        let imported = registrar.directory().import_agencies(request).await.unwrap().into_inner();
        assert_eq!(imported.imported as usize, page.len(), "{:?}", imported.quarantined.first());
    }
    rig
}

/// Sends one; returns the leaf that accepted it.
async fn circular(rig: &Rig, client: &Client, id: &str) -> u64 {
    let body = vec![7; 1 << 20];
    let manifest = Manifest {
        sender: PROVINCE.into(),
        groups: vec![RecipientGroup { root: ROOT.into(), level: Level::Commune.into() }],
        parts: vec![part("circular.pdf", &body)],
        ..letter(id, &[])
    };
    let request = submit(&manifest, rig.seal(PROVINCE), &[body.into()]);
    let receipt = client.submission().submit(request).await.unwrap().into_inner().receipt.unwrap();
    assert_eq!(Evidence::decode(receipt.evidence).unwrap().recipient_count, COMMUNES as u64);
    receipt.index
}

/// Sends small documents until told; returns leaf and time of each acknowledgement.
async fn send_until(rig: Arc<Rig>, sender: usize, over: Arc<AtomicBool>) -> Vec<(u64, Duration)> {
    let client = rig.connect("bacha").await;
    let mut acknowledged = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let id = format!("other-{sender}-{}", acknowledged.len());
        let manifest = Manifest { sender: OTHER.into(), ..letter(&id, &[DISTRICT]) };
        let request = submit(&manifest, rig.seal(OTHER), &[]);
        let begun = Instant::now();
        let answer = client.submission().submit(request).await.unwrap().into_inner();
        acknowledged.push((answer.receipt.unwrap().index, begun.elapsed()));
    }
    acknowledged
}

async fn overview(operator: &Client) -> GetOverviewResponse {
    operator.operator().get_overview(GetOverviewRequest {}).await.unwrap().into_inner()
}

async fn expanded(operator: &Client) {
    while overview(operator).await.expanding > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Leaf and recipient of each CONTENT_CONSIGNMENT of a document, in log order.
async fn consignments(operator: &Client, id: &str) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = GetTimelineRequest {
            document_id: id.into(),
            page_token,
            page_size: 1_000,
            ..GetTimelineRequest::default()
        };
        let page = operator.status().get_timeline(request).await.unwrap().into_inner();
        for event in page.events {
            let evidence = Evidence::decode(event.evidence).unwrap();
            if evidence.event() == EventKind::ContentConsignment {
                found.push((event.index, evidence.recipients[0].agency.clone()));
            }
        }
        if page.next_page_token.is_empty() {
            return found;
        }
        page_token = page.next_page_token;
    }
}
