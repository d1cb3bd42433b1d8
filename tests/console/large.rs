//! A circular to every commune of the country: each recipient is reached, and no page grows with their number.

use std::{collections::BTreeSet, time::Instant};

use truc::proto::*;

use crate::{
    Town,
    browser::{Answer, Browser},
    rig::{letter, soon, submit},
};

/// Communes of the country before the mergers; `TRUC_RECIPIENTS` sets another number.
const COMMUNES: usize = 10_599;
const ROOT: &str = "H60";
const SENDER: &str = "000.00.00.H38";
/// Recipients of a page.
const ROWS: usize = 25;
const MAX_WEIGHT: usize = 300 * 1024;

fn communes() -> usize {
    std::env::var("TRUC_RECIPIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(COMMUNES)
}

fn name(number: usize) -> String {
    format!("{ROOT}.{}.{}", number / 90, number % 90)
}

async fn circular(town: &Town) {
    let registrar = town.rig.connect("registrar").await;
    let root = Agency { organ_id: ROOT.into(), name: "UBND tỉnh".into(), ..Agency::default() };
    let agency = |number| Agency {
        organ_id: name(number),
        name: format!("UBND xã {number}"),
        level: Level::Commune.into(),
        parent: ROOT.into(),
        ..Agency::default()
    };
    let all: Vec<Agency> = std::iter::once(root).chain((0..communes()).map(agency)).collect();
    for agencies in all.chunks(1_500) {
        let request = ImportAgenciesRequest { agencies: agencies.to_vec(), dry_run: false };
        registrar.directory().import_agencies(request).await.unwrap();
    }
    let manifest = Manifest {
        sender: SENDER.into(),
        recipients: Vec::new(),
        groups: vec![RecipientGroup { root: ROOT.into(), level: Level::Commune.into() }],
        ..letter("circular", &[])
    };
    let sender = town.rig.connect("laocai").await;
    sender.submission().submit(submit(&manifest, town.rig.seal(SENDER), &[])).await.unwrap();
    let operator = town.rig.connect("operator").await;
    let request = WhyRequest { document_id: "circular".into(), page_size: 1, ..WhyRequest::default() };
    let waiting =
        async || operator.operator().why(request.clone()).await.unwrap().into_inner().totals.unwrap().waiting;
    tokio::time::timeout(std::time::Duration::from_secs(120), async {
        while waiting().await != communes() as u64 {}
    })
    .await
    .expect("all are consigned");
}

/// Operators act on three of them: held, cancelled.
async fn act(town: &Town, kind: ActionKind, agency: &str) {
    let target = ActionTarget { document_id: "circular".into(), agency: agency.into(), ..Default::default() };
    let request =
        ActRequest {
            kind: kind.into(), target: Some(target), reason: "thử".into(), ..ActRequest::default()
        };
    town.rig.connect("operator").await.operator().act(request).await.unwrap();
}

async fn light(browser: &mut Browser, path: &str) -> Answer {
    let began = Instant::now();
    let page = browser.page(path).await;
    println!("{path}: {} KiB, {:?}", page.body.len() >> 10, began.elapsed());
    assert!(page.body.len() < MAX_WEIGHT, "{path}: {} bytes", page.body.len());
    page
}

/// Where a link of the recipients' pager leads.
fn way(page: &Answer, rel: &str) -> Option<String> {
    let (_, recipients) = page.body.split_once("id=\"recipients\"").unwrap();
    let (recipients, _) = recipients.split_once("id=\"evidence\"").unwrap();
    let (before, _) = recipients.split_once(&format!("\" rel=\"{rel}\""))?;
    Some(before.rsplit("href=\"").next().unwrap().replace("&#38;", "&").replace("&amp;", "&"))
}

fn shown(page: &Answer) -> BTreeSet<String> {
    let (_, recipients) = page.body.split_once("id=\"recipients\"").unwrap();
    let (recipients, _) = recipients.split_once("id=\"evidence\"").unwrap();
    let names = recipients.split("<span class=\"code\">").skip(1);
    names.map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recipient_of_a_large_circular_is_reached() {
    let town = Town::open("[operator]\nundo_window = \"1s\"\n").await;
    circular(&town).await;
    act(&town, ActionKind::Hold, &name(7)).await;
    act(&town, ActionKind::Expire, &name(communes() - 1)).await;
    let mut browser = town.signed_in("operator").await;
    let document = format!("/vi/document?id=circular&sender={SENDER}");

    // What needs attention stands first, whatever its name.
    let first = light(&mut browser, &document).await;
    soon(async { while !shown(&browser.page(&document).await).contains(&name(communes() - 1)) {} }).await;
    assert!(shown(&first).contains(&name(7)), "{:?}", shown(&first));

    // To the end and back by links alone; between them each is shown once.
    let last = light(&mut browser, &way(&first, "last").unwrap()).await;
    assert!(way(&last, "next").is_none() && way(&last, "prev").is_some());
    let mut seen = BTreeSet::new();
    let mut path = format!("{document}&state=ready");
    let mut pages = 0;
    loop {
        let page = browser.page(&path).await;
        assert!(page.body.len() < MAX_WEIGHT);
        let names = shown(&page);
        assert!(names.len() <= ROWS && names.is_disjoint(&seen), "{path}");
        seen.extend(names);
        pages += 1;
        match way(&page, "next") {
            // In large countries a few pages and the last ones tell enough.
            Some(_) if pages == 5 && communes() > 500 => path = way(&page, "last").unwrap(),
            Some(next) => path = next,
            None => break,
        }
    }
    assert!(!seen.contains(&name(7)) && !seen.contains(&name(communes() - 1)), "only what is ready");
    assert!(pages >= 5 && seen.len() > 4 * ROWS, "{pages} pages, {} recipients", seen.len());

    // One of them, by its name: state, stage and evidence are its own.
    let one = light(&mut browser, &format!("{document}&recipient={}", name(7).to_lowercase())).await;
    assert_eq!(shown(&one), [name(7)].into());
    assert!(one.body.contains("đang tạm giữ"), "{}", one.body);
    assert!(one.body.contains("class=\"done\""), "the picture knows of what is beyond the first events");
    let none = light(&mut browser, &format!("{document}&recipient=H99")).await;
    assert!(none.body.contains("Không có nơi nhận nào như vậy"));
    assert!(shown(&none).is_empty());
}
