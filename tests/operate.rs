//! Operators over mutual TLS, with the commands they use: much needs two of them, can be undone in time, survives a kill,
//! and all of it is in the evidence. `TRUC_MANY` sets how many deliveries are ended at once.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use truc::{
    cli::{demo::world::DISTRICT, pki},
    client::Client,
    domain::reason::ReasonCode,
    proto::*,
};

use rig::{Rig, letter, reason, submit};

/// A province of its own.
const ROOT: &str = "H60";
const SENDER: &str = "000.00.00.H38";
const RULES: &str = "\n[operator]\nfour_eyes_above = 10\nundo_window = \"8s\"\n";
const PATIENCE: Duration = Duration::from_secs(120);

fn many() -> usize {
    std::env::var("TRUC_MANY").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000)
}

struct Desk {
    rig: Rig,
}

impl Desk {
    /// A hub with two operators, somebody who looks on, and a circular that waits for everyone.
    async fn open() -> Self {
        let rig = Rig::start_with(RULES).await;
        pki::issue(&rig.certs(), pki::Role::Operator, "second").unwrap();
        pki::issue(&rig.certs(), pki::Role::Viewer, "viewer").unwrap();
        let registrar = rig.connect("registrar").await;
        let agency = |organ_id: String| Agency {
            organ_id,
            name: "UBND xã".into(),
            level: Level::Commune.into(),
            parent: ROOT.into(),
            ..Agency::default()
        };
        let root = Agency { organ_id: ROOT.into(), name: "UBND tỉnh".into(), ..Agency::default() };
        let communes = (0..many()).map(|number| agency(format!("{ROOT}.{}.{}", number / 90, number % 90)));
        let all: Vec<Agency> = std::iter::once(root).chain(communes).collect();
        for page in all.chunks(1_500) {
            let request = ImportAgenciesRequest { agencies: page.to_vec(), dry_run: false };
            registrar.directory().import_agencies(request).await.unwrap();
        }
        let desk = Self { rig };
        desk.send("circular").await;
        desk
    }

    async fn send(&self, id: &str) {
        let manifest = Manifest {
            sender: SENDER.into(),
            recipients: Vec::new(),
            groups: vec![RecipientGroup { root: ROOT.into(), level: Level::Commune.into() }],
            ..letter(id, &[])
        };
        let sender = self.rig.connect("laocai").await;
        sender.submission().submit(submit(&manifest, self.rig.seal(SENDER), &[])).await.unwrap();
        self.until("all are consigned", &["why", id], |why| why["waiting"] == many()).await;
    }

    fn command(&self, who: &str, args: &[&str]) -> std::process::Output {
        let certs = self.rig.certs();
        Command::new(env!("CARGO_BIN_EXE_truc"))
            .args(args)
            .args([
                "--hub",
                self.rig.world.endpoint(),
                "--pki",
                certs.to_str().unwrap(),
                "--as",
                who,
                "--json",
            ])
            .env_remove("TRUC_HUB")
            .output()
            .unwrap()
    }

    fn run(&self, who: &str, args: &[&str]) -> Value {
        let output = self.command(who, args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{args:?}: {out}{err}");
        serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap()
    }

    /// A refusal with this code.
    fn refused(&self, who: &str, args: &[&str], code: &str) {
        let output = self.command(who, args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(code), "{who} {args:?}: {told}");
    }

    async fn until(&self, what: &str, args: &[&str], is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let told = self.run("viewer", args);
            if is(&told) {
                return told;
            }
            assert!(Instant::now() < end, "{what}: {told}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn phase(&self, id: u64, phase: &str) -> Value {
        let number = id.to_string();
        self.until(phase, &["action", "show", &number], |action| action["phase"] == phase).await
    }
}

fn id(action: &Value) -> u64 {
    action["id"].as_u64().unwrap_or_else(|| panic!("{action}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn much_is_ended_by_two_and_taken_back_in_time_and_survives_a_kill() {
    let mut desk = Desk::open().await;
    let cancel = ["action", "cancel", "circular", "--reason", "gửi nhầm"];
    let dry = desk.run("operator", &[&cancel[..], &["--dry-run"]].concat());
    assert_eq!((dry["count"].as_u64(), &dry["needs_approval"]), (Some(many() as u64), &Value::Bool(true)));
    assert_eq!(dry["touched"].as_array().unwrap().len(), many(), "each of them is listed");
    desk.refused("viewer", &cancel, "ROLE_REQUIRED");
    desk.refused("security", &cancel, "of role operator");
    desk.refused("auditor", &["why", "circular"], "ROLE_REQUIRED");

    let action = desk.run("operator", &cancel);
    let number = id(&action).to_string();
    assert_eq!(action["phase"], "PENDING");
    desk.refused("operator", &["action", "approve", &number], "SECOND_PERSON_REQUIRED");
    desk.rig.hub.kill().await.unwrap();
    desk.rig.hub.restart().await.unwrap();
    desk.run("second", &["action", "approve", &number]);
    desk.run("second", &["action", "undo", &number, "--reason", "không nhầm"]);
    let undone = desk.phase(id(&action), "UNDONE").await;
    assert_eq!((&undone["approved_by"], &undone["undone_by"]), (&"second".into(), &"second".into()));
    let why = desk.run("operator", &["why", "circular", "--limit", "5"]);
    assert_eq!((why["waiting"].as_u64(), why["held"].as_u64()), (Some(many() as u64), Some(0)));

    // Now in earnest, and the hub is killed while it holds them, and while it ends them.
    let action = desk.run("operator", &cancel);
    let number = id(&action).to_string();
    desk.run("second", &["action", "approve", &number]);
    desk.rig.hub.kill().await.unwrap();
    desk.rig.hub.restart().await.unwrap();
    desk.until("it takes effect", &["why", "circular", "--limit", "1"], |why| why["cancelled"] != 0).await;
    desk.rig.hub.kill().await.unwrap();
    desk.rig.hub.restart().await.unwrap();
    desk.phase(id(&action), "DONE").await;
    let why = desk.run("viewer", &["why", "circular", "--limit", "1", "--lang", "vi"]);
    assert_eq!((why["cancelled"].as_u64(), why["held"].as_u64()), (Some(many() as u64), Some(0)));
    assert_eq!(why["lines"][0]["cause"], "CANCELLED");
    assert!(why["lines"][0]["says"].as_str().unwrap().contains("operator đã kết thúc"), "{why}");
    ended_once(&desk.rig.connect("auditor").await, id(&action)).await;
    desk.rig.serves().await;
}

/// Each delivery ended once on the word of this action, and an auditor finds every step of it.
async fn ended_once(auditor: &Client, action: u64) {
    use prost::Message as _;

    let mut request =
        GetTimelineRequest { document_id: "circular".into(), page_size: 1_000, ..Default::default() };
    let mut ends = std::collections::HashSet::new();
    loop {
        let page = auditor.status().get_timeline(request.clone()).await.unwrap().into_inner();
        for event in page.events {
            let evidence = Evidence::decode(event.evidence).unwrap();
            if evidence.event() == EventKind::DeliveryCancelled {
                let actor = evidence.actor.clone().unwrap();
                assert_eq!((evidence.action_plus_one, actor.name.as_str()), (action + 1, "operator"));
                assert!(ends.insert(evidence.recipients[0].agency.clone()), "{evidence:?}");
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ends.len(), many());
    let filter = SearchFilter { events: vec![EventKind::AdminAction.into()], ..Default::default() };
    let request = SearchRequest { filter: Some(filter), ..Default::default() };
    let end = Instant::now() + PATIENCE;
    // Asked, approved, undone; asked, approved, finished.
    while auditor.audit().search(request.clone()).await.unwrap().into_inner().rows.len() != 6 {
        assert!(Instant::now() < end, "the index for auditors does not come up to the log");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_did_is_in_the_proof_of_the_document() {
    let rig = Rig::start_with("\n[operator]\nundo_window = \"1s\"\n").await;
    let desk = Desk { rig };
    let sender = desk.rig.connect("tavan").await;
    let quiet = "000.04.23.H38";
    let letter = letter("letter", &[DISTRICT, quiet]);
    sender.submission().submit(submit(&letter, desk.rig.seal(&letter.sender), &[])).await.unwrap();
    pki::issue(&desk.rig.certs(), pki::Role::Viewer, "viewer").unwrap();
    desk.until("both are consigned", &["why", "letter"], |why| why["waiting"] == 2).await;
    let act = |args: &[&str]| id(&desk.run("operator", &[args, &["--reason", "thử"]].concat()));
    let hold = act(&["action", "hold", "--agency", DISTRICT, "--until", "1h"]);
    desk.phase(hold, "ACTIVE").await;
    let queue = desk.run("viewer", &["queue", "--lang", "vi"]);
    assert_eq!((&queue["all"]["waiting"], &queue["all"]["held"]), (&2.into(), &1.into()));
    let shown = desk.run("viewer", &["queue", "show", DISTRICT]);
    assert_eq!(shown["documents"][0]["state"], "HELD");
    act(&["action", "release", "--agency", DISTRICT]);
    desk.phase(hold, "UNDONE").await;
    let redirect = act(&["action", "redirect", "letter", "--agency", quiet, "--to", SENDER]);
    desk.phase(redirect, "DONE").await;
    let expire = act(&["action", "expire", "letter", "--agency", DISTRICT]);
    desk.phase(expire, "DONE").await;
    let resend = act(&["action", "resend", "letter", "--agency", DISTRICT, "--until", "2h"]);
    desk.phase(resend, "DONE").await;
    for (node, agency) in [("sapa", DISTRICT), ("laocai", SENDER)] {
        let client = desk.rig.connect(node).await;
        let offers = desk.rig.fetch(&client, agency).await;
        assert_eq!(offers.len(), 1, "{agency}");
        desk.rig.take(&client, &offers[0]).await;
    }
    let folder = desk.rig.dir.path();
    let proof = folder.join("letter.docproof");
    desk.run("auditor", &["audit", "bundle", "letter", "-o", proof.to_str().unwrap()]);
    let key =
        desk.rig.connect("auditor").await.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap();
    let trust = folder.join("trusted.keys");
    std::fs::write(&trust, key.into_inner().verifier_key + "\n").unwrap();
    let verified = Command::new(env!("CARGO_BIN_EXE_truc"))
        .args([
            "verify",
            proof.to_str().unwrap(),
            "--trust",
            trust.to_str().unwrap(),
            "--lang",
            "vi",
            "--json",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{told}{}", String::from_utf8_lossy(&verified.stderr));
    for word in ["TAKEN_OVER", "CANCELLED"] {
        assert!(told.contains(word), "{told}");
    }
    python_agrees(&proof, &trust);
    let operator = desk.rig.connect("operator").await;
    let late = UndoRequest { id: expire, reason: "muộn".into() };
    assert_eq!(reason(&operator.operator().undo(late).await.unwrap_err()), ReasonCode::ActionClosed);
}

/// The second verifier, which shares no code with the hub, comes to the same ends.
fn python_agrees(proof: &std::path::Path, trust: &std::path::Path) {
    let imported = Command::new("python3").args(["-c", "import cryptography"]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        println!("skipped: no python3 with the package cryptography");
        return;
    }
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/verify_docproof.py");
    let output = Command::new("python3").arg(script).arg(proof).arg("--trust").arg(trust).output().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["verdict"], "PROVEN", "{told}");
    let ends: std::collections::BTreeMap<_, _> = told["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["recipient"].as_str().unwrap(), one["end"].as_str().unwrap()))
        .collect();
    let expected = [("000.04.23.H38", "CANCELLED"), (DISTRICT, "TAKEN_OVER"), (SENDER, "TAKEN_OVER")];
    assert_eq!(ends, expected.into());
}
