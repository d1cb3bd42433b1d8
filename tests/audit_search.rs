//! Auditors search over real TLS: what they find, what they may not see, and the trace that they leave.

#![allow(clippy::unwrap_used)]

mod rig;

use prost::Message;
use rig::*;
use truc::{
    cli::{
        demo::world::{COMMUNE, DISTRICT, PROVINCE},
        pki::{self, ServerOptions},
    },
    client::Client,
    domain::reason::ReasonCode,
    proto::*,
};

/// The seat of another district, and its subtree.
const OTHER: &str = "000.00.22.H38";
const OTHER_COMMUNE: &str = "000.01.22.H38";

/// Documents with a number, a subject and recipients each; the index of each acceptance.
struct Town {
    rig: Rig,
    auditor: Client,
    plan: u64,
    flood: u64,
}

impl Town {
    async fn open() -> Self {
        let rig = Rig::start().await;
        let plan =
            send(&rig, "tavan", COMMUNE, "plan", ("21", "KH-UBND"), "Kế hoạch Đầu tư công", &[DISTRICT])
                .await;
        let to = [OTHER, "000.00.23.H38"];
        let flood =
            send(&rig, "laocai", PROVINCE, "flood", ("7", "CĐ-UBND"), "Phòng chống lũ quét", &to).await;
        let auditor = rig.connect("auditor").await;
        Self { rig, auditor, plan, flood }
    }

    async fn scoped(&self, agency: &str) -> Client {
        pki::issue_scoped_auditor(&self.rig.certs(), "scoped", agency, &ServerOptions::default()).unwrap();
        self.rig.connect("scoped").await
    }
}

async fn send(
    rig: &Rig,
    node: &str,
    sender: &str,
    id: &str,
    (number, notation): (&str, &str),
    subject: &str,
    recipients: &[&str],
) -> u64 {
    let mut manifest = letter(id, recipients);
    manifest.sender = sender.into();
    let document = manifest.document.as_mut().unwrap();
    (document.number, document.notation) = (number.into(), notation.into());
    (document.subject, document.urgency) = (subject.into(), 2);
    let request = submit(&manifest, rig.seal(sender), &[]);
    let client = rig.connect(node).await;
    client.submission().submit(request).await.unwrap().into_inner().receipt.unwrap().index
}

fn asking(filter: SearchFilter) -> SearchRequest {
    SearchRequest { filter: Some(filter), order: SearchOrder::Oldest.into(), ..SearchRequest::default() }
}

async fn rows(client: &Client, filter: SearchFilter) -> Vec<EvidenceRow> {
    let count = CountRequest { filter: Some(filter.clone()) };
    let counted = soon(client.audit().count(count)).await.unwrap().into_inner();
    // The log goes on growing, not least by what is asked here.
    let request = asking(SearchFilter { tree_size: counted.covers, ..filter });
    let found = soon(client.audit().search(request)).await.unwrap().into_inner();
    assert_eq!(found.next_page_token, "");
    assert_eq!(found.rows.len() as u64, counted.count);
    found.rows
}

async fn refused(client: &Client, filter: SearchFilter) -> ReasonCode {
    reason(&soon(client.audit().search(asking(filter))).await.unwrap_err())
}

/// Until fan-out has come to an end, so that later answers stand still.
async fn settled(town: &Town) -> Vec<EvidenceRow> {
    loop {
        let found =
            rows(&town.auditor, SearchFilter { document_id: "flood".into(), ..Default::default() }).await;
        if found.len() == 3 {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_what_it_should() {
    let town = Town::open().await;
    let flood = settled(&town).await;
    let (acceptance, consigned) = (&flood[0], &flood[1]);
    assert_eq!((acceptance.index, acceptance.event()), (town.flood, EventKind::SubmissionAcceptance));
    assert_eq!((acceptance.subject.as_str(), acceptance.recipient_count), ("Phòng chống lũ quét", 2));
    assert_eq!((consigned.event(), consigned.recipient.as_str()), (EventKind::ContentConsignment, OTHER));
    assert_eq!((consigned.number.as_str(), consigned.notation.as_str()), ("7", "CĐ-UBND"));

    let ids = async |edit: fn(&mut SearchFilter)| {
        let mut filter = SearchFilter::default();
        edit(&mut filter);
        rows(&town.auditor, filter).await.into_iter().map(|row| row.document_id).collect::<Vec<_>>()
    };
    let all = ["flood"; 3];
    assert_eq!(ids(|f| (f.number, f.notation) = ("7".into(), "cd-ubnd".into())).await, all);
    assert_eq!(ids(|f| (f.sender, f.year) = (PROVINCE.into(), 2026)).await, all);
    assert_eq!(ids(|f| f.recipient = OTHER.into()).await, all[..1]);
    assert_eq!(ids(|f| f.below = OTHER.into()).await, all[..2], "the acceptance names it");
    assert_eq!(ids(|f| (f.below, f.level) = (PROVINCE.into(), Level::Province.into())).await, all);
    for subject in ["lũ quét", "LU QUET", "lũ quét", "phong chong l\u{169}", "qué*", "quet phòng"] {
        let filter = SearchFilter { subject: subject.into(), ..SearchFilter::default() };
        assert_eq!(rows(&town.auditor, filter).await.len(), 3, "{subject}");
    }
    assert!(ids(|f| f.subject = "lũ kế".into()).await.is_empty(), "all words");
    let plan = ids(|f| (f.urgencies, f.sender) = (vec![2, 3], COMMUNE.into())).await;
    assert!(plan.len() >= 2 && plan.iter().all(|id| id == "plan"), "{plan:?}");
    let information = ids(|f| {
        f.legal_value = LegalValue::Information.into();
        f.reasons = vec![ReasonCode::ForInformation.into()];
        f.events = vec![EventKind::SubmissionAcceptance.into()];
        f.document_id = "plan".into();
    });
    assert_eq!(information.await, ["plan"]);
    let (from, until) = (acceptance.event_time_us, acceptance.event_time_us + 1);
    let at =
        SearchFilter { from_us: from, until_us: until, document_id: "flood".into(), ..Default::default() };
    assert_eq!(rows(&town.auditor, at).await[0].index, town.flood);
    let later = SearchFilter { from_us: from + 3_600_000_000, ..Default::default() };
    assert!(rows(&town.auditor, later).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_where_they_are_while_the_log_grows() {
    let town = Town::open().await;
    let size = settled(&town).await.last().unwrap().index + 1;
    for order in [SearchOrder::Newest, SearchOrder::Oldest] {
        let mut request =
            SearchRequest { order: order.into(), page_size: 7, ..asking(SearchFilter::default()) };
        let mut seen = Vec::new();
        while seen.len() < usize::try_from(size).unwrap() {
            let page = soon(town.auditor.audit().search(request.clone())).await.unwrap().into_inner();
            seen.extend(page.rows.iter().map(|row| row.index));
            town.rig.serves().await;
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let steps = seen.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
        assert!(
            steps.into_iter().all(|step| step == 1),
            "{order:?}: nothing twice, nothing left out: {seen:?}"
        );
        let other = SearchRequest { filter: None, ..request };
        assert_eq!(
            reason(&soon(town.auditor.audit().search(other)).await.unwrap_err()),
            ReasonCode::BadCursor,
            "a token of another question"
        );
    }
    let small = SearchRequest { page_bytes: 1, ..asking(SearchFilter::default()) };
    let page = soon(town.auditor.audit().search(small)).await.unwrap().into_inner();
    assert_eq!((page.rows.len(), page.next_page_token.is_empty()), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_a_district_sees_nothing_of_another_and_leaves_a_trace() {
    let town = Town::open().await;
    settled(&town).await;
    let scoped = town.scoped(OTHER).await;
    let seen = rows(&scoped, SearchFilter::default()).await;
    let seen: Vec<_> = seen.iter().map(|row| (row.document_id.as_str(), row.recipient.as_str())).collect();
    assert_eq!(seen, [("flood", ""), ("flood", OTHER)]);
    assert_eq!(rows(&scoped, SearchFilter { below: OTHER.into(), ..Default::default() }).await.len(), 2);
    assert!(
        rows(&scoped, SearchFilter { recipient: OTHER_COMMUNE.into(), ..Default::default() })
            .await
            .is_empty()
    );
    assert!(
        rows(&scoped, SearchFilter { subject: "kế hoạch".into(), ..Default::default() }).await.is_empty()
    );

    for filter in [
        SearchFilter { below: PROVINCE.into(), ..Default::default() },
        SearchFilter { below: DISTRICT.into(), ..Default::default() },
        SearchFilter { sender: COMMUNE.into(), ..Default::default() },
        SearchFilter { sender: PROVINCE.into(), recipient: DISTRICT.into(), ..Default::default() },
        SearchFilter { document_id: "plan".into(), ..Default::default() },
    ] {
        assert_eq!(refused(&scoped, filter.clone()).await, ReasonCode::OutsideScope, "{filter:?}");
    }
    exported_within_the_scope(&scoped).await;
    let receipt = |index| soon_receipt(&scoped, index);
    assert_eq!(receipt(town.flood).await.unwrap().index, town.flood);
    assert_eq!(reason(&receipt(town.plan).await.unwrap_err()), ReasonCode::OutsideScope);
    assert_eq!(reason(&receipt(0).await.unwrap_err()), ReasonCode::OutsideScope, "the directory is nobody's");
    let timeline = async |id: &str| {
        let request = GetTimelineRequest { document_id: id.into(), ..GetTimelineRequest::default() };
        soon(scoped.status().get_timeline(request)).await
    };
    assert_eq!(
        timeline("flood").await.unwrap().into_inner().events.len(),
        2,
        "not that of the other recipient"
    );
    assert_eq!(reason(&timeline("plan").await.unwrap_err()), ReasonCode::OutsideScope);

    let trace = trace(&town.auditor, "scoped", 20).await;
    assert!(trace.iter().all(|query| query.scope == OTHER && query.time_us > 0));
    let refused: Vec<_> = trace.iter().filter(|q| q.refused() == ReasonCode::OutsideScope).collect();
    assert_eq!(refused.len(), 9);
    assert_eq!(refused[0].filter.as_ref().unwrap().below, PROVINCE);
    let receipts: Vec<_> =
        refused.iter().filter(|q| q.call() == AuditCall::Receipt).map(|q| q.index).collect();
    assert_eq!(receipts, [town.plan, 0]);
    let subject = trace.iter().find(|query| !query.subject_sha256.is_empty()).unwrap();
    assert_eq!(subject.filter.as_ref().unwrap().subject, "", "words of a subject stay out of the log");
    assert_eq!((trace[0].call(), trace[0].rows, trace[1].rows), (AuditCall::Count, 2, 2));
}

/// Who sees a part gets the evidence of that part, and of the rest hashes only.
async fn exported_within_the_scope(scoped: &Client) {
    let request = ExportRequest { complete: true, ..ExportRequest::default() };
    let refused = soon(scoped.audit().export(request)).await.map(|_| ()).unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::OutsideScope);
    let mut pages = soon(scoped.audit().export(ExportRequest::default())).await.unwrap().into_inner();
    let (mut told, mut hidden) = (Vec::new(), 0);
    while let Some(page) = pages.message().await.unwrap() {
        for item in page.items {
            match item.item.unwrap() {
                export_item::Item::Leaf(leaf) => {
                    told.push(Evidence::decode(leaf.evidence).unwrap().document_id);
                }
                export_item::Item::Hashes(hashes) => hidden += hashes.hashes.len() / 32,
                export_item::Item::Document(document) => {
                    assert_eq!(Manifest::decode(document.manifest).unwrap().document_id, "flood");
                }
                export_item::Item::Head(head) => assert_eq!(head.within.len(), 1),
                export_item::Item::Erased(_) => panic!("nothing was erased"),
                export_item::Item::End(_) => panic!("only in files"),
            }
        }
    }
    assert_eq!(told, ["flood", "flood"]);
    assert!(hidden > 10, "{hidden}");
}

async fn soon_receipt(client: &Client, index: u64) -> Result<Receipt, tonic::Status> {
    let answer = soon(client.audit().get_receipt(GetReceiptRequest { index })).await?;
    Ok(answer.into_inner().receipt.unwrap())
}

/// What the log says that this auditor asked, once it says so much.
async fn trace(client: &Client, auditor: &str, at_least: usize) -> Vec<AuditQuery> {
    soon(async {
        loop {
            let kind = vec![EventKind::AuditQuery.into()];
            let mut queries = Vec::new();
            for row in rows(client, SearchFilter { events: kind, ..SearchFilter::default() }).await {
                let receipt = soon_receipt(client, row.index).await.unwrap();
                let evidence = Evidence::decode(receipt.evidence).unwrap();
                queries.extend(AuditQueries::decode(evidence.audit_queries).unwrap().queries);
            }
            queries.retain(|query| query.auditor == auditor);
            if queries.len() >= at_least {
                return queries;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_leave_as_files_with_their_checkpoint() {
    let town = Town::open().await;
    settled(&town).await;
    let folder = town.rig.dir.path().to_owned();
    let truc = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_truc"))
            .current_dir(&folder)
            .args(args)
            .args(["--hub", town.rig.world.endpoint(), "--pki", "certs", "--as", "auditor", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let found = truc(&["audit", "search", "--subject", "lu quet", "--oldest", "--limit", "2"]);
    assert_eq!((found["rows"].as_array().unwrap().len(), &found["more"]), (2, &true.into()));
    assert_eq!(truc(&["audit", "search", "--subject", "lu quet", "--count"])["count"], 3);
    exports_are_verified(&town, &truc);
    for format in ["csv", "jsonl", "xlsx"] {
        let file = format!("rows.{format}");
        let done = truc(&["audit", "export", "--format", format, "-o", &file, "--below", PROVINCE]);
        let note = std::fs::read_to_string(folder.join(format!("{file}.checkpoint"))).unwrap();
        assert_eq!(note.lines().nth(1).unwrap(), done["tree_size"].to_string());
        let text = std::fs::read(folder.join(&file)).unwrap();
        let rows = done["rows"].as_u64().unwrap();
        assert!(rows > 5, "{rows}");
        match format {
            "csv" => assert_eq!(csv::Reader::from_reader(&text[..]).records().count() as u64, rows),
            "jsonl" => assert_eq!(text.iter().filter(|byte| **byte == b'\n').count() as u64, rows),
            _ => assert!(text.starts_with(b"PK")),
        }
    }
}

/// What `truc audit export` writes, `truc verify` proves without the hub, and finds out what was changed.
fn exports_are_verified(town: &Town, truc: &dyn Fn(&[&str]) -> serde_json::Value) {
    let folder = town.rig.dir.path();
    let verify = |arguments: &[&str], code: i32| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_truc"))
            .current_dir(folder)
            .arg("verify")
            .args(arguments)
            .args(["--trust", "trusted.keys", "--json"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let whole = truc(&["audit", "export", "--format", "csv", "-o", "whole.csv"]);
    assert_eq!((&whole["rows"], &whole["nothing_left_out"]), (&whole["tree_size"], &true.into()));
    std::fs::write(folder.join("trusted.keys"), whole["verifier_key"].as_str().unwrap()).unwrap();
    assert_eq!(verify(&["whole.csv"], 0)["verdict"], "PROVEN");

    let flood = town.flood.to_string();
    let range = ["--from-index", &flood, "--tree-size", &(town.flood + 2).to_string()];
    let asked = [&["audit", "export", "--format", "jsonl", "-o", "range.jsonl"][..], &range].concat();
    let done = truc(&asked);
    assert!(done["rows"].as_u64().unwrap() >= 2 && done["from_index"] == town.flood);
    assert_eq!(verify(&["range.jsonl", "--checkpoint", "range.jsonl.checkpoint"], 0)["verdict"], "PROVEN");
    let note = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    // A busy hub may have committed both ends of the range at once: then it is the same checkpoint.
    if note("range.jsonl.checkpoint") != note("whole.csv.checkpoint") {
        let other = verify(&["range.jsonl", "--checkpoint", "whole.csv.checkpoint"], 1);
        assert_eq!(other["problem"]["place"], "checkpoint");
    }

    let filter = ["--subject", "lu quet", "--below", PROVINCE, "--format", "csv"];
    let some = truc(&[&["audit", "export", "-o", "some.csv"][..], &filter].concat());
    assert_eq!((&some["rows"], &some["nothing_left_out"]), (&3.into(), &false.into()));
    let said = verify(&["some.csv"], 0);
    assert_eq!(
        (&said["verdict"], &said["facts"]["nothing_left_out"]),
        (&"ROWS_PROVEN".into(), &false.into())
    );
    let all = truc(&[&["audit", "export", "--complete", "-o", "all.csv"][..], &filter].concat());
    assert_eq!((&all["rows"], &all["nothing_left_out"]), (&3.into(), &true.into()));
    assert_eq!(verify(&["all.csv", "--lang", "vi"], 0)["verdict"], "PROVEN");

    let text = std::fs::read_to_string(folder.join("all.csv")).unwrap();
    let short: String =
        text.lines().filter(|line| !line.contains(OTHER)).map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.join("all.csv"), short).unwrap();
    let said = verify(&["all.csv"], 1);
    assert_eq!(said["verdict"], "NOT_PROVEN");
    assert_eq!((&said["faults"][0]["kind"], &said["fault_count"]), (&"ROW_LEFT_OUT".into(), &1.into()));
}
