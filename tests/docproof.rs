//! Auditors' proofs end to end: a document to several recipients over real TLS, its bundle, the verdict in both
//! languages, and a second verifier that shares no code with the hub.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use prost::Message;
use rig::*;
use serde_json::Value;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::Client,
    domain::signature::SigningKey,
    proto::*,
    tlog::note::Verifier,
    verify,
};

/// Seals with ECDSA P-256.
const P256: &str = "000.00.22.H38";
const REFUSES: &str = "000.01.22.H38";
const SILENT: &str = "000.04.23.H38";
const ID: &str = "000.01.21.H38,2026,99";

#[tokio::test(flavor = "multi_thread")]
async fn one_file_proves_the_story_of_a_document() {
    let rig = Rig::start().await;
    let deadline = now_us() + 8_000_000;
    let recipients = [DISTRICT, P256, REFUSES, SILENT];
    let sender = rig.connect("tavan").await;
    let body = b"the attachment";
    let manifest = Manifest {
        delivery_deadline_us: deadline,
        parts: vec![part("Báo cáo.pdf", body)],
        ..letter(ID, &recipients)
    };
    let keys: Vec<&SigningKey> = rig.world.keys(COMMUNE).iter().collect();
    let envelope = truc::domain::envelope::sign(
        truc::domain::envelope::MANIFEST,
        manifest.encode_to_vec().into(),
        &keys,
    );
    let request =
        SubmitRequest { envelope: Some(envelope.clone()), inline_parts: vec![body.to_vec().into()] };
    sender.submission().submit(request).await.unwrap();
    answer(&rig, "sapa", DISTRICT, Outcome::Accepted).await;
    answer(&rig, "bacha", P256, Outcome::Accepted).await;
    answer(&rig, "bacha", REFUSES, Outcome::Refused).await;
    report_status(&rig, "sapa", DISTRICT, &envelope, 3).await;

    let auditor = rig.connect("auditor").await;
    expired(&auditor).await;
    let made = rig.truc(&["audit", "bundle", ID, "-o", "one.docproof"], Some("auditor"), 0);
    assert_eq!((&made["taken_over"], &made["refused"], &made["expired"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(made["missing"], 0);
    fs::write(rig.path("trusted.keys"), format!("# hub\n{}\n", made["verifier_key"].as_str().unwrap()))
        .unwrap();

    the_verdict_is_right_in_both_languages(&rig);
    a_certificate_is_printed(&rig);
    a_changed_file_is_named(&rig);
    python_agrees(&rig);
    proofs_in_later_heads(&rig, &auditor, &made).await;
    only_readers_may_ask(&rig, &sender).await;
}

async fn answer(rig: &Rig, node: &str, agency: &str, outcome: Outcome) {
    let client = rig.connect(node).await;
    loop {
        let offers = rig.fetch(&client, agency).await;
        assert!(!offers.is_empty(), "nothing waits for {agency}");
        for offer in offers {
            let payload = &offer.envelope.as_ref().unwrap().payload;
            let mut receipt = receipt_for(payload, &offer.recipient);
            receipt.outcome = outcome.into();
            if outcome == Outcome::Refused {
                receipt.reason = "Gửi nhầm nơi nhận".into();
            }
            let request = acknowledge(&receipt, rig.seal(agency));
            client.delivery().acknowledge(request).await.unwrap();
            if receipt.document_id == ID {
                return;
            }
        }
    }
}

async fn report_status(rig: &Rig, node: &str, agency: &str, document: &SignedEnvelope, code: u32) {
    let manifest = Manifest::decode(document.payload.clone()).unwrap();
    let status = BusinessStatus {
        document_id: manifest.document_id,
        sender: manifest.sender,
        from: agency.into(),
        code,
        occurred_at_us: now_us(),
        hub_origin: ORIGIN.into(),
        nonce: vec![3; 16].into(),
        ..BusinessStatus::default()
    };
    let kind = truc::domain::envelope::STATUS;
    let envelope = truc::domain::envelope::sign(kind, status.encode_to_vec().into(), &[rig.seal(agency)]);
    let client = rig.connect(node).await;
    client.status().report(ReportRequest { envelope: Some(envelope) }).await.unwrap();
}

/// Waits until the hub wrote that the silent one is late.
async fn expired(auditor: &Client) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let request = GetTimelineRequest { document_id: ID.into(), ..GetTimelineRequest::default() };
        let timeline = auditor.status().get_timeline(request).await.unwrap().into_inner();
        if timeline.recipients.iter().any(|state| state.transport() == TransportState::Expired) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "the deadline was not recorded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn the_verdict_is_right_in_both_languages(rig: &Rig) {
    let verify = ["verify", "one.docproof", "--trust", "trusted.keys"];
    let answer = rig.truc(&verify, None, 0);
    assert_eq!(answer["verdict"], "PROVEN");
    let facts = &answer["facts"];
    assert_eq!(facts["legal_value"], "ORIGINAL");
    assert_eq!(facts["counts"]["accepted_for"], 4);
    let ends: Vec<_> = facts["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["recipient"].as_str().unwrap(), one["end"].as_str().unwrap()))
        .collect();
    let expected =
        [(DISTRICT, "TAKEN_OVER"), (P256, "TAKEN_OVER"), (REFUSES, "REFUSED_BY_SYSTEM"), (SILENT, "EXPIRED")];
    assert_eq!(ends, expected);

    let english = rig.text(&verify);
    for words in [
        "PROVEN. The document \"Báo cáo\" No. 17/BC-UBND of UBND xã Tả Van",
        "4 recipients: 2 took it over, 1 refused it, 1 did not take it over in time.",
        "Gửi nhầm nơi nhận",
        "What this does not prove",
    ] {
        assert!(english.contains(words), "{words}: {english}");
    }
    let vietnamese = rig.text(&[&verify[..], &["--lang", "vi"]].concat());
    for words in [
        "ĐÃ CHỨNG MINH. Văn bản \"Báo cáo\" số 17/BC-UBND của UBND xã Tả Van",
        "4 cơ quan nhận: 2 đã nhận, 1 từ chối, 1 quá hạn không nhận.",
        "Gửi nhầm nơi nhận",
        "Những điều KHÔNG được chứng minh",
    ] {
        assert!(vietnamese.contains(words), "{words}: {vietnamese}");
    }
}

/// The printed certificate, from the file and beside the bundle: the same paper.
fn a_certificate_is_printed(rig: &Rig) {
    let verify = ["verify", "one.docproof", "--trust", "trusted.keys", "--lang", "vi", "--pdf", "one.pdf"];
    assert_eq!(rig.truc(&verify, None, 0)["certificate"], "one.pdf");
    let bytes = fs::read(rig.path("one.pdf")).unwrap();
    assert!(bytes.starts_with(b"%PDF-"));
    let bundle = ["audit", "bundle", ID, "-o", "again.docproof", "--pdf", "again.pdf"];
    assert_eq!(rig.truc(&bundle, Some("auditor"), 0)["certificate"], "again.pdf");
    assert!(fs::read(rig.path("again.pdf")).unwrap().starts_with(b"%PDF-"));
    let mut bent = fs::read(rig.path("one.docproof")).unwrap();
    bent[400] ^= 1;
    fs::write(rig.path("bent.docproof"), bent).unwrap();
    rig.truc(&["verify", "bent.docproof", "--trust", "trusted.keys", "--pdf", "bent.pdf"], None, 1);
    assert!(!rig.path("bent.pdf").exists(), "nothing is printed that is not proven");
}

fn a_changed_file_is_named(rig: &Rig) {
    let file = fs::read(rig.path("one.docproof")).unwrap();
    let verify = ["verify", "bent.docproof", "--trust", "trusted.keys"];
    for at in [3, 60, 300, file.len() / 2, file.len() - 5] {
        let mut bent = file.clone();
        bent[at] ^= 0x20;
        fs::write(rig.path("bent.docproof"), bent).unwrap();
        let answer = rig.truc(&verify, None, 1);
        assert_eq!(answer["verdict"], "NOT_PROVEN", "byte {at}");
        assert!(answer["problem"]["place"].is_string(), "byte {at}");
    }
    let unknown = Command::new(env!("CARGO_BIN_EXE_truc"))
        .current_dir(rig.dir.path())
        .args(["verify", "one.docproof"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2), "without a trusted key nothing is said");
}

async fn proofs_in_later_heads(rig: &Rig, auditor: &Client, made: &Value) {
    let verifier = Verifier::parse(made["verifier_key"].as_str().unwrap()).unwrap();
    let newest = made["tree_size"].as_u64().unwrap();
    for size in [0, 1, 2, newest / 2, newest] {
        let request = GetProofRequest { index: 0, tree_size: size, ..Default::default() };
        let receipt = auditor.audit().get_proof(request).await.unwrap().into_inner().receipt.unwrap();
        let facts = verify::receipt(&receipt, &verifier).unwrap();
        assert!(facts.index() == 0 && facts.tree_size() >= size.max(1), "{size}");
    }
    for (index, size) in [(newest + 1_000, 0), (5, 5), (5, newest + 1_000)] {
        let request = GetProofRequest { index, tree_size: size, ..Default::default() };
        let refused = auditor.audit().get_proof(request).await.unwrap_err();
        assert_eq!(reason(&refused), ReasonCode::InvalidField);
    }
    let size = newest.to_string();
    let saved = rig.truc(
        &["audit", "proof", "7", "--size", &size, "-o", "proofs/seven.tlog-proof"],
        Some("auditor"),
        0,
    );
    assert_eq!((&saved["index"], &saved["tree_size"]), (&7.into(), &newest.into()));
    for file in ["proofs/seven.tlog-proof", "proofs/seven.receipt", "proofs"] {
        assert_eq!(rig.truc(&["verify", file], None, 0)["ok"], true, "{file}");
    }
}

async fn only_readers_may_ask(rig: &Rig, node: &Client) {
    let refused = node.audit().get_proof(GetProofRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::RoleRequired);
    let request = GetBundleRequest { document_id: ID.into(), ..GetBundleRequest::default() };
    let refused = node.audit().get_bundle(request.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::RoleRequired);
    let request = GetBundleRequest { document_id: "nobody's".into(), ..request };
    let refused = rig.connect("auditor").await.audit().get_bundle(request).await.unwrap_err();
    assert_eq!(reason(&refused), ReasonCode::UnknownDocument);
}

/// The independent verifier, on this file and on the vectors.
fn python_agrees(rig: &Rig) {
    let Some(python) = Python::find() else { return };
    let answer = python.verify(&rig.path("one.docproof"), &rig.path("trusted.keys"));
    assert_eq!((&answer["verdict"], &answer["missing"]), (&"PROVEN".into(), &0.into()), "{answer}");
    let ends: Vec<_> =
        answer["recipients"].as_array().unwrap().iter().map(|one| one["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["TAKEN_OVER", "TAKEN_OVER", "REFUSED_BY_SYSTEM", "EXPIRED"]);
}

#[test]
fn the_independent_verifier_passes_the_vectors() {
    let Some(python) = Python::find() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/docproof");
    let expected = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    assert!(expected.lines().count() >= 10);
    for line in expected.lines() {
        let (file, outcome) = line.split_once('\t').unwrap();
        let answer = python.verify(&folder.join(file), &folder.join("trusted.keys"));
        assert_eq!(shown(&answer), outcome, "{file}: {answer}");
    }
    let good = fs::read(folder.join("good.docproof")).unwrap();
    for at in (0..good.len()).step_by(997) {
        let mut bent = good.clone();
        bent[at] ^= 1;
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bent.docproof"), bent).unwrap();
        let answer = python.verify(&dir.path().join("bent.docproof"), &folder.join("trusted.keys"));
        assert_eq!(answer["verdict"], "NOT_PROVEN", "byte {at}: {answer}");
    }
}

/// As in `expected.tsv`.
fn shown(answer: &Value) -> String {
    let verdict = answer["verdict"].as_str().unwrap();
    match (answer["place"].as_str(), answer["leaf"].as_u64()) {
        (None, _) => verdict.to_owned(),
        (Some(place), None) => format!("{verdict} {place}"),
        (Some(place), Some(leaf)) => format!("{verdict} {place} {leaf}"),
    }
}

/// An interpreter that has `cryptography`.
struct Python(PathBuf);

impl Python {
    fn find() -> Option<Self> {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client/bin/python");
        let has = |python: &PathBuf| {
            let imported = Command::new(python).args(["-c", "import cryptography"]).output();
            imported.is_ok_and(|output| output.status.success())
        };
        let found = [PathBuf::from("python3"), venv].into_iter().find(has);
        if found.is_none() {
            println!("skipped: no python3 with the package cryptography");
        }
        found.map(Self)
    }

    fn verify(&self, file: &Path, trust: &Path) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/verify_docproof.py");
        let mut command = Command::new(&self.0);
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        let output = command.arg(script).arg(file).arg("--trust").arg(trust).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}: {words}", file.display()))
    }
}

impl Rig {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, None);
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command, which has to end with `code`; its JSON answer.
    fn truc(&self, arguments: &[&str], who: Option<&str>, code: i32) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat(), who);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn run(&self, arguments: &[&str], who: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.current_dir(self.dir.path()).args(arguments);
        if let Some(who) = who {
            let hub = format!("https://localhost:{}", self.port);
            command.args(["--hub", &hub, "--pki", "certs", "--as", who]);
        }
        command.output().unwrap()
    }
}
