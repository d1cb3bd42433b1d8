//! Retention with the real binary: contents go, also when the hub is killed in between; old receipts and old bundles still
//! verify, and a check of the folder finds nothing wrong. Then a disk that loses bits: the scrub names the document.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::Bytes;
use prost::Message;
use rig::*;
use serde_json::Value;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    domain::id::Digest,
    proto::*,
};

const SLOW: &str = "rate = \"1 B\"";
const RULES: &str = "\n[retention]\nrate = \"1 B\"\nevery = \"100d\"\n\
    [[retention.rules]]\nname = \"invitations\"\ntypes = [\"giay moi\"]\nafter = \"1s\"\nbodies = \"all\"\n\
    [[retention.rules]]\nname = \"reports\"\ntypes = [\"Tờ trình\"]\nafter = \"1s\"\nbodies = \"attachments\"\n";

struct Sent {
    id: &'static str,
    request: SubmitRequest,
    acceptance: Receipt,
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_go_and_everything_still_verifies() {
    let mut rig = Rig::start_with(RULES).await;
    let mut sent = Vec::new();
    for (id, type_name, mark) in [
        ("invite-1", "Giấy mời", "MARK-AAAA"),
        ("invite-2", "Giấy mời", "MARK-BBBB"),
        ("report-3", "Tờ trình", "MARK-CCCC"),
        ("kept-4", "Công văn", "MARK-DDDD"),
    ] {
        sent.push(send(&rig, id, type_name, mark).await);
    }
    take_all(&rig, sent.len()).await;
    rig.truc(&["audit", "bundle", "invite-1", "-o", "old.docproof"], Some("auditor"), 0);
    let key = rig.truc(&["audit", "bundle", "report-3", "-o", "report.docproof"], Some("auditor"), 0);
    fs::write(rig.path("trusted.keys"), key["verifier_key"].as_str().unwrap()).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let before = export(&rig, "before.csv", &[]);
    a_hold_keeps(&rig);
    let dry = rig.truc(&["retention", "run", "--dry-run"], Some("operator"), 0);
    assert_eq!((&dry["erased"], &dry["documents"][0]["leaf"]), (&3.into(), &Value::Null));
    let ran = rig.truc(&["retention", "run"], Some("operator"), 0);
    assert_eq!((&ran["erased"], &ran["held"]), (&3.into(), &0.into()));

    // It had no time to remove all: killed after the commit, in mid-removal.
    rig.hub.kill().await.unwrap();
    assert!(rig.holds("MARK-CCCC"), "something is left to be removed");
    let config = rig.path("truc.toml");
    let faster = fs::read_to_string(&config).unwrap().replace(SLOW, "rate = \"32 MiB\"");
    fs::write(&config, faster).unwrap();
    rig.hub.restart().await.unwrap();
    rig.removed().await;
    for (mark, stays) in
        [("MARK-AAAA", false), ("MARK-BBBB", false), ("MARK-CCCC-P", false), ("MARK-DDDD", true)]
    {
        assert_eq!(rig.holds(mark), stays, "{mark}");
    }
    assert!(rig.holds("MARK-CCCC-S"), "the subject of the report stays with its envelope");

    everyone_gets_the_word(&rig, &sent).await;
    the_proofs_hold(&rig, &sent).await;
    rows_say_why_they_are_empty(&rig, before);
    the_folder_is_sound(&mut rig).await;
    everyone_gets_the_word(&rig, &sent).await;
    rows_say_why_they_are_empty(&rig, before);
    what_comes_back_is_named(&mut rig, &sent[0]).await;
    for mark in ["MARK-AAAA", "MARK-BBBB", "MARK-CCCC-P"] {
        assert!(!rig.holds(mark), "{mark}");
    }
}

/// Writes an export beside others, in any form; the size of its tree.
fn export(rig: &Rig, name: &str, more: &[&str]) -> u64 {
    let format = name.rsplit_once('.').unwrap().1;
    for old in [name.to_owned(), format!("{name}.proof"), format!("{name}.checkpoint")] {
        let _ = fs::remove_file(rig.path(&old));
    }
    let export = ["audit", "export", "--format", format, "--output", name];
    rig.truc(&[&export, more].concat(), Some("auditor"), 0)["tree_size"].as_u64().unwrap()
}

/// Rows about erased documents name the leaf that says so, and exports verify with it and without.
fn rows_say_why_they_are_empty(rig: &Rig, before: u64) {
    let verified = |name: &str| rig.truc(&["verify", name, "--trust", "trusted.keys"], None, 0);
    let erased = |told: &Value| told["facts"]["rows_of_erased_documents"].as_u64().unwrap();
    assert_eq!(verified("before.csv")["verdict"], "PROVEN", "rows from before with their subjects");
    for name in ["after.csv", "after.jsonl", "after.xlsx"] {
        export(rig, name, &[]);
        let told = verified(name);
        assert_eq!(told["verdict"], "PROVEN", "{told}");
        assert!(erased(&told) > 5, "{told}");
    }
    // That tree does not have the erasure yet.
    export(rig, "older.csv", &["--tree-size", &before.to_string()]);
    let told = verified("older.csv");
    assert_eq!((&told["verdict"], erased(&told)), (&"PROVEN".into(), 0), "{told}");
    let lines = fs::read_to_string(rig.path("after.jsonl")).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids = ["invite-1", "invite-2", "report-3", "kept-4"];
    let is = |row: &Value, id: &str| row["event"] == "SUBMISSION_ACCEPTANCE" && row["document_id"] == id;
    let said = ids.map(|id| rows.iter().find(|row| is(row, id)).unwrap());
    let is_flagged = said.map(|row| row.get("erased_leaf").is_some());
    assert_eq!(is_flagged, [true, true, false, false]);
    let leaf = usize::try_from(said[0]["erased_leaf"].as_u64().unwrap()).unwrap();
    assert_eq!((&rows[leaf]["event"], &said[0]["subject"]), (&"PAYLOAD_ERASED".into(), &"".into()));
    let asked = ["audit", "search", "--event", "submission-acceptance", "--oldest"];
    let found = rig.truc(&asked, Some("auditor"), 0);
    let found = |id: &str| found["rows"].as_array().unwrap().iter().find(|row| is(row, id)).unwrap().clone();
    assert_eq!(found("invite-1")["erased_leaf"], leaf);
    assert_eq!(found("kept-4")["erased_leaf"], Value::Null);
}

/// An erased attachment is put back, as when a copy of the bodies is.
async fn what_comes_back_is_named(rig: &mut Rig, sent: &Sent) {
    rig.hub.kill().await.unwrap();
    let payload = &sent.request.envelope.as_ref().unwrap().payload;
    let manifest = Manifest::decode(payload.clone()).unwrap();
    let digest = hex::encode(&manifest.parts[1].sha256);
    let file = rig.path(&format!("hub/bodies/files/{}/{digest}", &digest[..2]));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "MARK-AAAA-P").unwrap();
    let told = rig.truc(&["fsck", "--config", "truc.toml"], None, 1);
    let finding = &told["findings"][0];
    assert_eq!((&finding["severity"], &finding["what"]), (&"left".into(), &"erased".into()), "{told}");
    assert!(finding["where"].as_str().unwrap().contains(&digest), "{told}");
    assert_eq!(told["findings"].as_array().unwrap().len(), 1, "{told}");
    rig.truc(&["fsck", "--remove-erased", "--config", "truc.toml"], None, 0);
    assert!(!file.exists());
    rig.hub.restart().await.unwrap();
}

async fn send(rig: &Rig, id: &'static str, type_name: &str, mark: &'static str) -> Sent {
    let small = Bytes::from(format!("{mark}-P small of {id} ").repeat(20));
    let large = format!("{mark}-P large of {id} ").repeat(9_000).into_bytes();
    let client = rig.connect("tavan").await;
    let upload = |body: &[u8]| {
        let (size, sha256) = (body.len() as u64, Digest::of(body).to_bytes());
        let begin = UploadRequest {
            step: Some(upload_request::Step::Begin(UploadBegin { sha256, size, offset: 0 })),
        };
        let chunks = body.chunks(60_000).map(Bytes::copy_from_slice);
        let chunks = chunks.map(|data| UploadRequest { step: Some(upload_request::Step::Data(data)) });
        tokio_stream::iter([begin].into_iter().chain(chunks).collect::<Vec<_>>())
    };
    let uploaded = client.submission().upload(upload(&large)).await.unwrap().into_inner();
    assert!(uploaded.complete);
    let mut manifest = letter(id, &[DISTRICT]);
    manifest.parts = vec![part("nhỏ.pdf", &small), part("lớn.pdf", &large)];
    let info = manifest.document.as_mut().unwrap();
    (info.type_name, info.subject) = (type_name.into(), format!("{mark}-S"));
    let request = submit(&manifest, rig.seal(COMMUNE), std::slice::from_ref(&small));
    let answer = client.submission().submit(request.clone()).await.unwrap().into_inner();
    Sent { id, request, acceptance: answer.receipt.unwrap() }
}

async fn take_all(rig: &Rig, count: usize) {
    let recipient = rig.connect("sapa").await;
    let mut taken = 0;
    while taken < count {
        for offer in rig.fetch(&recipient, DISTRICT).await {
            rig.take(&recipient, &offer).await;
            taken += 1;
        }
    }
}

fn a_hold_keeps(rig: &Rig) {
    let placed = rig.truc(&["retention", "hold", "invite-1", "--reason", "vụ việc 12"], Some("operator"), 0);
    let dry = rig.truc(&["retention", "run", "--dry-run"], Some("operator"), 0);
    assert_eq!((&dry["erased"], &dry["held"]), (&2.into(), &1.into()));
    let holds = rig.truc(&["retention", "holds"], Some("operator"), 0);
    assert_eq!((&holds[0]["document_id"], &holds[0]["hold"]), (&"invite-1".into(), &placed["index"]));
    let leaf = placed["index"].to_string();
    rig.truc(&["retention", "lift", &leaf, "--reason", "xong"], Some("operator"), 0);
    rig.truc(&["retention", "lift", &leaf, "--reason", "xong"], Some("operator"), 1);
    rig.truc(&["retention", "status"], Some("auditor"), 1);
}

/// Repeats get the old bytes; contents are refused with the word for it, and searched for in vain.
async fn everyone_gets_the_word(rig: &Rig, sent: &[Sent]) {
    let (sender, recipient) = (rig.connect("tavan").await, rig.connect("sapa").await);
    for one in sent {
        let again = sender.submission().submit(one.request.clone()).await.unwrap().into_inner();
        assert_eq!(again.receipt.as_ref(), Some(&one.acceptance), "{}", one.id);
        let payload = &one.request.envelope.as_ref().unwrap().payload;
        let manifest = Manifest::decode(payload.clone()).unwrap();
        for part in &manifest.parts {
            let request = DownloadRequest {
                delivery_id: format!("{}/{DISTRICT}", one.acceptance.index),
                sha256: part.sha256.clone(),
                offset: 0,
            };
            let outcome = recipient.delivery().download(request).await;
            match (one.id, outcome) {
                ("kept-4", outcome) => assert!(outcome.is_ok()),
                (_, outcome) => assert_eq!(reason(&outcome.unwrap_err()), ReasonCode::ContentsErased),
            }
        }
    }
    for (word, rows) in [("MARK-AAAA-S", 0), ("MARK-DDDD-S", 1)] {
        let found = rig.truc(
            &["audit", "search", "--subject", word, "--event", "submission-acceptance"],
            Some("auditor"),
            0,
        );
        assert_eq!(found["rows"].as_array().unwrap().len(), rows, "{word}: {found}");
    }
}

async fn the_proofs_hold(rig: &Rig, sent: &[Sent]) {
    fs::write(rig.path("acceptance.receipt"), sent[0].acceptance.encode_to_vec()).unwrap();
    for file in ["old.docproof", "report.docproof"] {
        let answer = rig.truc(&["verify", file, "--trust", "trusted.keys"], None, 0);
        assert_eq!(
            (&answer["verdict"], &answer["facts"]["erased"]),
            (&"PROVEN".into(), &Value::Array(Vec::new()))
        );
    }
    rig.truc(&["audit", "bundle", "invite-1", "-o", "new.docproof"], Some("auditor"), 0);
    rig.truc(&["audit", "bundle", "report-3", "-o", "newer.docproof"], Some("auditor"), 0);
    assert!(!fs::read(rig.path("new.docproof")).unwrap().windows(4).any(|part| part == b"MARK"));
    let answer = rig.truc(&["verify", "new.docproof", "--trust", "trusted.keys"], None, 0);
    assert_eq!(answer["verdict"], "PROVEN");
    let erased = &answer["facts"]["erased"][0];
    assert_eq!(
        (&erased["policy"], erased["parts_sha256"].as_array().unwrap().len()),
        (&"invitations".into(), 2)
    );
    let envelope = Digest::of(&sent[0].request.envelope.as_ref().unwrap().encode_to_vec());
    assert_eq!(erased["envelope_sha256"], envelope.to_string());
    assert_eq!(answer["facts"]["counts"]["taken_over"], 1);
    let answer = rig.truc(&["verify", "newer.docproof", "--trust", "trusted.keys"], None, 0);
    assert_eq!((&answer["verdict"], &answer["facts"]["subject"]), (&"PROVEN".into(), &"MARK-CCCC-S".into()));
    assert_eq!(answer["facts"]["erased"][0]["envelope_sha256"], Value::Null);
    let words = rig.run(&["verify", "new.docproof", "--trust", "trusted.keys", "--lang", "vi"], None);
    assert!(String::from_utf8(words.stdout).unwrap().contains("đã xóa gói văn bản"));
    python_agrees(rig);
}

fn python_agrees(rig: &Rig) {
    let has = Command::new("python3").args(["-c", "import cryptography"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!("skipped: no python3 with the package cryptography");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/verify_docproof.py");
    for (file, erased) in [("old.docproof", 0), ("new.docproof", 1), ("newer.docproof", 1)] {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1").arg(&script);
        let output =
            command.arg(rig.path(file)).arg("--trust").arg(rig.path("trusted.keys")).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = answer["erased"].as_array().map(Vec::len);
        assert_eq!((&answer["verdict"], count), (&"PROVEN".into(), Some(erased)), "{file}: {answer}");
    }
}

async fn the_folder_is_sound(rig: &mut Rig) {
    rig.hub.kill().await.unwrap();
    for command in ["fsck", "rebuild", "fsck"] {
        let answer = rig.truc(&[command, "--config", "truc.toml"], None, 0);
        if command == "fsck" {
            assert_eq!((&answer["ok"], &answer["erased"]), (&true.into(), &3.into()), "{answer}");
        }
    }
    rig.hub.restart().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disk_loses_is_named_while_the_hub_serves() {
    let mut rig = Rig::start_with("\n[scrub]\nrate = \"1 GiB\"\n").await;
    let sent = send(&rig, "letter-1", "Công văn", "MARK-EEEE").await;
    take_all(&rig, 1).await;
    rig.scrubbed(0).await;
    let healthy = rig.truc(&["integrity"], Some("operator"), 0);
    assert_eq!((&healthy["ok"], &healthy["damage"]), (&true.into(), &Value::Array(Vec::new())));

    let manifest = Manifest::decode(sent.request.envelope.as_ref().unwrap().payload.clone()).unwrap();
    let large = hex::encode(&manifest.parts[1].sha256);
    let path = rig.path(&format!("hub/bodies/files/{}/{large}", &large[..2]));
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let flip = |file: &fs::File| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, 5_000).unwrap();
        file.write_all_at(&[byte[0] ^ 4], 5_000).unwrap();
    };
    flip(&file);
    // A restart begins a round soon; the place where the last one ended is kept.
    rig.hub.kill().await.unwrap();
    rig.hub.restart().await.unwrap();
    let found = rig.scrubbed(1).await;
    let place = found["damage"][0]["where"].as_str().unwrap();
    assert!(place.contains(&large) && place.contains("letter-1"), "{place}");
    rig.serves().await;
    flip(&file);
    rig.hub.kill().await.unwrap();
    rig.hub.restart().await.unwrap();
    rig.scrubbed(0).await;
}

impl Rig {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// True if a text stands anywhere in the data folder.
    fn holds(&self, text: &str) -> bool {
        fn below(folder: &Path, text: &str) -> bool {
            fs::read_dir(folder).unwrap().any(|entry| {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    return below(&path, text);
                }
                let bytes = fs::read(&path).unwrap_or_default();
                bytes.windows(text.len()).any(|part| part == text.as_bytes())
            })
        }
        below(&self.path("hub"), text)
    }

    async fn removed(&self) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        // The words of subjects go while the hub runs.
        let is_over = |told: Value| told["removing"] == 0 && told["search_index_waits"] == false;
        while !is_over(self.truc(&["retention", "status"], Some("operator"), 0)) {
            assert!(tokio::time::Instant::now() < end, "not removed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for a whole round that finds this many damaged places.
    async fn scrubbed(&self, damaged: usize) -> Value {
        let end = tokio::time::Instant::now() + Duration::from_secs(90);
        loop {
            let code = i32::from(damaged > 0);
            let output = self.run(&["integrity", "--json"], Some("operator"));
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
            let found = answer["damage"].as_array().map(Vec::len);
            if found == Some(damaged) && (damaged > 0 || answer["finished"].is_string()) {
                assert_eq!(output.status.code(), Some(code));
                return answer;
            }
            assert!(tokio::time::Instant::now() < end, "{answer}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Runs a command, which has to end with `code`; its JSON answer.
    fn truc(&self, arguments: &[&str], who: Option<&str>, code: i32) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat(), who);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn run(&self, arguments: &[&str], who: Option<&str>) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.current_dir(self.dir.path()).args(arguments);
        if let Some(who) = who {
            let hub = format!("https://localhost:{}", self.port);
            command.args(["--hub", &hub, "--pki", "certs", "--as", who]);
        }
        command.output().unwrap()
    }
}
