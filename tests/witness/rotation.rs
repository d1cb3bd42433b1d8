//! The log goes on with another key: receipts of both, the proof of the change, and a kill at every moment of it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Instant,
};

use serde_json::Value;
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    client::{
        Patience,
        receive::Desk,
        send,
        session::{self, Event, Until},
        stream::Answer,
    },
    domain::id::AgencyId,
    proto::{GetCheckpointRequest, GetCheckpointResponse, Outcome},
};

use super::rig::{Rig, letter, submit};

struct Stage {
    rig: Rig,
}

impl Stage {
    async fn start() -> Self {
        Self { rig: Rig::start().await }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Output {
        let hub = format!("https://localhost:{}", self.rig.port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.args(args).env_clear().env("TRUC_HUB", hub).env("TRUC_PKI", self.rig.certs());
        command.env("TRUC_CONFIG", self.path("truc.toml")).env("TRUC_AS", "auditor").output().unwrap()
    }

    fn good(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn bad(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    async fn heads(&self) -> GetCheckpointResponse {
        let operator = self.rig.connect("operator").await;
        operator.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap().into_inner()
    }

    async fn stop(&mut self) {
        self.rig.hub.kill().await.unwrap();
    }

    async fn rotate(&mut self) -> Value {
        self.stop().await;
        let rotated = self.good(&["log", "rotate", "--json"]);
        self.rig.hub.restart().await.unwrap();
        rotated
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_of_both_keys_hold() {
    let mut stage = Stage::start().await;
    let old = stage.heads().await.verifier_key;
    let [before, after, again, keys] = ["before", "after", "again", "changes"].map(|name| stage.text(name));
    stage.good(&["receipt", "good-0", "--out", &before, "--json"]);
    assert!(stage.bad(&["log", "rotate"], 4).contains("Stop it first"), "while it runs");

    let rotated = stage.rotate().await;
    assert_eq!(rotated["old"], old);
    let new = rotated["new"].as_str().unwrap().to_owned();
    let heads = stage.heads().await;
    assert_eq!(heads.verifier_key, old, "the newest head is still the last one of the old key");
    stage.rig.serves().await;
    let heads = stage.heads().await;
    assert_eq!(heads.verifier_key, new);

    // Old receipts hold as they were, and are the same when they are asked for again.
    assert_eq!(stage.good(&["verify", &before, "--json"])["ok"], true);
    stage.good(&["receipt", "good-0", "--out", &before, "--json"]);
    assert_eq!(stage.good(&["verify", &before, "--vkey", &old, "--json"])["ok"], true);

    // New ones too, for those who know only the old key: the proof of the change lies beside them.
    stage.good(&["receipt", "good-1", "--out", &after, "--vkey", &old, "--json"]);
    for key in [&old, &new] {
        let told = stage.good(&["verify", &after, "--vkey", key, "--json"]);
        assert_eq!(told["ok"], true, "{told}");
    }
    std::fs::rename(stage.path("after/hub.keys"), &keys).unwrap();
    stage.bad(&["verify", &after, "--vkey", &old], 1);
    assert_eq!(stage.good(&["verify", &after, "--vkey", &old, "--log-keys", &keys, "--json"])["ok"], true);
    let proofs = std::fs::read_to_string(&keys).unwrap();
    std::fs::write(&keys, proofs.replacen("index ", "index 1", 1)).unwrap();
    stage.bad(&["verify", &after, "--vkey", &old, "--log-keys", &keys], 1);
    let told = stage.good(&["log", "keys", "-o", &keys, "--trust", &old, "--json"]);
    assert_eq!((&told["newest"], std::fs::read_to_string(&keys).unwrap()), (&new.clone().into(), proofs));

    // A bundle carries the proof with it, for this verifier and the one in Python.
    let trust = stage.text("trust");
    std::fs::write(&trust, &old).unwrap();
    for document in ["good-0", "good-1"] {
        let file = stage.text(&format!("{document}.docproof"));
        stage.good(&["audit", "bundle", document, "-o", &file, "--json"]);
        let told = stage.good(&["verify", &file, "--trust", &trust, "--json"]);
        assert_eq!(told["verdict"], "PROVEN", "{told}");
        assert!(told["proven"].to_string().contains("changed its key 1 time(s)"), "{told}");
        assert!(python("verify_docproof.py", &file, &trust).contains("PROVEN"));
    }
    assert_eq!(stage.good(&["audit", "proof", "1", "-o", &again, "--vkey", &old, "--json"])["index"], 1);

    stage.stop().await;
    assert_eq!(stage.good(&["fsck", "--json"])["findings"], Value::Array(Vec::new()));
    assert_eq!(stage.good(&["fsck", "--json", "--data", &stage.text("hub"), "--log-key", &old])["ok"], true);
    stage.rig.hub.restart().await.unwrap();
    let second = stage.rotate().await;
    assert_eq!(second["old"], new);
    stage.rig.serves().await;
    stage.good(&["receipt", "good-1", "--out", &after, "--vkey", &old, "--json"]);
    assert_eq!(stage.good(&["verify", &after, "--vkey", &old, "--json"])["ok"], true, "two changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_and_answers_about_days_hold_across_changes_of_the_key() {
    let mut stage = Stage::start().await;
    let old = stage.heads().await.verifier_key;
    let size = |note: &str| truc::tlog::checkpoint::Checkpoint::unverified(note).unwrap().size;
    let early = size(&stage.heads().await.checkpoint).to_string();
    stage.rotate().await;
    let last = size(&stage.heads().await.checkpoint).to_string();
    stage.rig.serves().await;
    let new = stage.heads().await.verifier_key;

    let export = |size: &str, vkey: &str| {
        let file = stage.text(&format!("{size}-{}.csv", vkey == old));
        let export = ["audit", "export", "--format", "csv", "--output", &file, "--vkey", vkey, "--json"];
        let more: &[&str] = if size == "newest" { &[] } else { &["--tree-size", size] };
        (stage.good(&[&export[..], more].concat())["verifier_key"].clone(), file)
    };
    // A tree of the first key, its last one, and the newest: each is signed by the key of its size.
    for (size, signer) in [(&early[..], &old), (&last, &old), ("newest", &new)] {
        for vkey in [&old, &new] {
            let (by, file) = export(size, vkey);
            assert_eq!(by, **signer, "{size}");
            for trusted in [&old, &new] {
                let told = stage.good(&["verify", &file, "--vkey", trusted, "--json"]);
                assert_eq!(told["verdict"], "PROVEN", "{told}");
            }
        }
    }
    // The days are not over; what counts here is that the head is believed.
    let today = truc::daily::date(truc::daily::day_of(truc::client::calendar::now()));
    let answer = stage.text("days");
    for vkey in [&old, &new] {
        let complete = ["audit", "complete", "--agency", "000.01.22.H38", "--from", &today];
        let told = stage.bad(&[&complete[..], &["-o", &answer, "--vkey", vkey, "--json"]].concat(), 1);
        assert!(told.contains("INCOMPLETE"), "{told}");
        assert!(stage.bad(&["verify", &answer, "--vkey", vkey, "--json"], 1).contains("INCOMPLETE"));
        let trust = stage.text("trust");
        std::fs::write(&trust, vkey).unwrap();
        assert!(python("check_completeness.py", &answer, &trust).contains("INCOMPLETE"));
    }
    let stranger = truc::tlog::note::Signer::from_seed(old.split('+').next().unwrap(), &[9; 32]).unwrap();
    let stranger = stranger.verifier().to_string();
    assert!(stage.bad(&["verify", &answer, "--vkey", &stranger, "--json"], 1).contains("hub_key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stay_connected_follow_the_log_to_its_next_key() {
    let mut stage = Stage::start().await;
    let (sender, recipient) = (stage.rig.connect("tavan").await, stage.rig.connect("sapa").await);
    let (terms, theirs) = (sender.terms().await.unwrap(), recipient.terms().await.unwrap());
    let district = AgencyId::parse(DISTRICT).unwrap();
    let desk = Arc::new(Desk {
        client: recipient,
        terms: theirs,
        keys: BTreeMap::from([(district, stage.rig.world.load_seal(DISTRICT).unwrap())]),
        folder: stage.path("inbox"),
        refuse: None,
        patience: Patience::default(),
    });
    stage.rotate().await;
    // From the next leaf on it is the new key, which none of these clients was told of.
    let request = |id: &str| submit(&letter(id, &[DISTRICT]), stage.rig.seal(COMMUNE), &[]);
    let sent = send::submit(&sender, &terms, &request("unary"), &Patience::default()).await.unwrap();
    assert!(terms.check(&sent.receipt).is_err(), "it is under the new key");

    let (requests, mut answers) = sender.submit_stream(1).await.unwrap();
    assert!(requests.send(7, request("streamed")).await);
    let Some((7, Answer::Accepted(receipt))) = answers.next().await.unwrap() else { panic!("refused") };
    terms.check_following(&sender, &receipt).await.unwrap();

    let mut taken = Vec::new();
    session::receive(desk, 4, Until::Empty, |event| match event {
        Event::Taken(one) => taken.push(*one),
        Event::Failed { error, .. } => panic!("{error}"),
        _ => {}
    })
    .await
    .unwrap();
    assert_eq!(taken.len(), 2);
    for one in taken {
        assert_eq!((one.outcome, &one.reason[..]), (Outcome::Accepted, ""), "not refused for its receipt");
        let folder = one.folder.unwrap();
        let folder = folder.to_str().unwrap();
        for key in [&terms.verifier.to_string(), &stage.heads().await.verifier_key] {
            assert_eq!(stage.good(&["verify", folder, "--vkey", key, "--json"])["ok"], true, "{folder}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_change_is_finished_and_never_lost() {
    let mut stage = Stage::start().await;
    let (key, next) = (stage.path("certs/log.key"), stage.path("certs/log.key.next"));
    let first = std::fs::read(&key).unwrap();
    stage.stop().await;
    let rotated = stage.good(&["log", "rotate", "--json"]);
    let second = std::fs::read(&key).unwrap();

    // As after a kill between the commit and the new key's taking its place.
    std::fs::copy(&key, &next).unwrap();
    std::fs::write(&key, &first).unwrap();
    let refused = stage.bad(&["serve"], 4);
    assert!(refused.contains("truc log rotate") && refused.contains("was changed at leaf"), "{refused}");
    let finished = stage.good(&["log", "rotate", "--json"]);
    assert_eq!((&finished["leaf"], &finished["new"]), (&rotated["leaf"], &rotated["new"]));
    assert_eq!(std::fs::read(&key).unwrap(), second);
    assert!(!next.exists());

    // With the new key lost, nothing is made up.
    std::fs::write(&key, &first).unwrap();
    assert!(stage.bad(&["log", "rotate"], 4).contains("was handed over to"));
    assert!(!next.exists());
    std::fs::write(&key, &second).unwrap();

    // A kill at any moment; at the end the log and its key agree, and it goes on.
    let began = Instant::now();
    stage.good(&["log", "rotate", "--json"]);
    let whole = began.elapsed();
    for step in 0..16 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.args(["log", "rotate"]).env_clear().env("TRUC_CONFIG", stage.path("truc.toml"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * step / 14);
        child.kill().unwrap();
        child.wait().unwrap();
        if stage.path("certs/log.key.next").exists() {
            stage.good(&["log", "rotate", "--json"]);
        }
    }
    stage.rig.hub.restart().await.unwrap();
    stage.rig.serves().await;
    stage.stop().await;
    assert_eq!(stage.good(&["fsck", "--json"])["findings"], Value::Array(Vec::new()));
}

/// What the second verifier says, which shares no code with the hub.
fn python(script: &str, file: &str, trust: &str) -> String {
    let script = format!("{}/examples/python/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("python3");
    let output = command.args([&script, file, "--trust", trust]).env("PYTHONDONTWRITEBYTECODE", "1");
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}
