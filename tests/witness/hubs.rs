//! Two hubs that witness each other: cosigned heads, a witness that goes away, a log that forks.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use serde_json::Value;
use truc::{
    cli::demo::process::free_port,
    client::site::Site,
    proto::{GetCheckpointRequest, GetCheckpointResponse},
    tlog::{checkpoint::Checkpoint, cosignature::WitnessKey},
};

use super::{rig::Rig, stage::truc};

/// A hub that is a witness, and asks one.
struct Hub {
    rig: Rig,
    log: u16,
    witness: WitnessKey,
}

impl Hub {
    async fn start(name: &str) -> Self {
        let log = free_port().unwrap();
        let rig = Rig::start_with(&format!("[log_http]\naddress = \"127.0.0.1:{log}\"\n")).await;
        let key = rig.certs().join("witness.key");
        let made = truc(&["log", "witness-key", "--name", name, "--out", key.to_str().unwrap()]);
        Self { rig, log, witness: WitnessKey::parse(made.trim()).unwrap() }
    }

    /// Witnesses the other's log, and asks it to witness this one.
    async fn join(&mut self, other: &str, at: u16, key: &WitnessKey, ca: &Path) {
        let path = self.path("truc.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let name = self.witness.name();
        let more = format!(
            "[witness]\nname = \"{name}\"\nlogs = [\"{other}\"]\n[log]\nwitnesses = [\"https://localhost:{at} {key}\"]\n\
             witness_ca = {ca:?}\nwitness_every = \"100ms\"\nwitness_alarm = \"2s\"\n"
        );
        std::fs::write(path, config + &more).unwrap();
        self.restart().await;
    }

    async fn restart(&mut self) {
        self.rig.hub.kill().await.unwrap();
        self.rig.hub.restart().await.unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.dir.path().join(name)
    }

    async fn heads(&self) -> GetCheckpointResponse {
        let operator = self.rig.connect("operator").await;
        operator.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap().into_inner()
    }

    /// What everyone is shown.
    async fn shown(&self) -> String {
        let ca = self.rig.certs().join("ca.pem");
        let mut site = Site::new(&format!("https://localhost:{}", self.log), Some(&ca)).unwrap();
        String::from_utf8(site.get("checkpoint", 1 << 16).await.unwrap().unwrap().to_vec()).unwrap()
    }

    /// The program, as the auditor of this hub.
    fn audit(&self, args: &[&str]) -> Output {
        let hub = format!("https://localhost:{}", self.rig.port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.args(args).env_clear().env("TRUC_HUB", hub).env("TRUC_PKI", self.rig.certs());
        command.env("TRUC_AS", "auditor").output().unwrap()
    }

    /// `truc audit mirror` by a policy alone, to this folder beside the hub's.
    fn mirror(&self, dir: &str, policy: &str) -> (Option<i32>, String) {
        let dir = self.path(dir);
        let (url, ca) = (format!("https://localhost:{}", self.log), self.rig.certs().join("ca.pem"));
        let mirror = ["audit", "mirror", dir.to_str().unwrap(), "--once", "--url", &url, "--json"];
        let output = self.audit(&[&mirror[..], &["--ca", ca.to_str().unwrap(), "--policy", policy]].concat());
        (output.status.code(), said(&output))
    }

    /// `check_log.py --policy`.
    fn python(&self, policy: &str) -> (Option<i32>, String) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python/check_log.py");
        let (url, ca) = (format!("https://localhost:{}", self.log), self.rig.certs().join("ca.pem"));
        let text = std::fs::read_to_string(policy).unwrap();
        let key = text.lines().next().unwrap().strip_prefix("log ").unwrap();
        let mut command = Command::new("python3");
        command.args([script, "--url", &url, "--vkey", key, "--policy", policy, "--ca"]).arg(ca);
        let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
        (output.status.code(), said(&output))
    }

    fn good(&self, args: &[&str]) -> Value {
        let output = self.audit(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn witness_state(&self) -> Value {
        self.good(&["witnesses", "--json"])["witnesses"][0].clone()
    }

    /// Waits until the witness is found in this state.
    async fn until(&self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let state = self.witness_state();
            if found(&state) {
                return state;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "not {what}: {state}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn caught_up(&self) -> Value {
        self.until("caught up", |state| state["behind"] == 0 && state["size"] != 0).await
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Two hubs that witness each other.
async fn pair() -> (Hub, Hub) {
    let (mut one, mut two) = (Hub::start("w.test/one").await, Hub::start("w.test/two").await);
    let [first, second] = [one.heads().await.verifier_key, two.heads().await.verifier_key];
    let [ca_one, ca_two] = [&one, &two].map(|hub| hub.rig.certs().join("ca.pem"));
    one.join(&second, two.log, &two.witness, &ca_two).await;
    let key = one.witness.clone();
    two.join(&first, one.log, &key, &ca_one).await;
    (one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_cosign_each_other_and_a_policy_holds() {
    let (one, mut two) = pair().await;
    for hub in [&one, &two] {
        hub.rig.serves().await;
        assert_eq!(hub.caught_up().await["alarm"], false);
    }
    // Readers after the traffic: the same head for all, cosigned.
    let heads = one.heads().await;
    assert!(two.witness.find(&heads.cosigned).unwrap().is_some());
    assert_eq!(one.shown().await, heads.cosigned);
    let followed = two.good(&["witnesses", "--json"])["followed"][0].clone();
    assert_eq!(followed["size"], Checkpoint::unverified(&heads.checkpoint).unwrap().size);

    let policy = one.path("policy");
    let key = &heads.verifier_key;
    let write = |witness: &WitnessKey| {
        std::fs::write(&policy, format!("log {key}\nwitness other {witness}\nquorum other\n")).unwrap();
    };
    write(&two.witness);
    let (proof, bundle) = (one.path("leaf"), one.path("good-0.docproof"));
    let [proof_text, bundle_text] = [&proof, &bundle].map(|path| path.to_str().unwrap().to_owned());
    one.good(&["audit", "proof", "3", "--cosigned", "--json", "-o", &proof_text]);
    one.good(&["audit", "bundle", "good-0", "--cosigned", "--json", "-o", &bundle_text]);
    one.good(&["receipt", "good-0", "--cosigned", "--json", "--out", one.path("receipts").to_str().unwrap()]);
    let policy = policy.to_str().unwrap();
    let receipts = one.path("receipts");
    let rows = one.path("rows.csv");
    let rows = rows.to_str().unwrap();
    one.good(&["audit", "export", "--cosigned", "--format", "csv", "--output", rows, "--json"]);
    let files = [&format!("{proof_text}.tlog-proof")[..], &bundle_text, receipts.to_str().unwrap(), rows];
    for file in files {
        let told = one.good(&["verify", file, "--policy", policy, "--json"]);
        assert!(told["proven"].to_string().contains("cosigned as your policy asks: other"), "{told}");
        let told = one.good(&["verify", file, "--policy", policy, "--json", "--lang", "vi"]);
        assert!(told["proven"].to_string().contains("theo chính sách của bạn: other"), "{told}");
    }
    assert_eq!(one.mirror("copy", policy).0, Some(0));
    assert_eq!(one.python(policy).0, Some(0));
    write(&one.witness);
    let (code, told) = one.mirror("other", policy);
    assert_eq!((code, told.contains("not cosigned as the policy asks (other)")), (Some(1), true), "{told}");
    assert!(!told.contains("fault"), "nobody forked: {told}");
    let (code, told) = one.python(policy);
    assert_eq!((code, told.contains("not cosigned as the policy asks")), (Some(1), true), "{told}");
    for file in files {
        let refused = one.audit(&["verify", file, "--policy", policy, "--json"]);
        assert_eq!(refused.status.code(), Some(1), "{file}");
        assert!(
            String::from_utf8_lossy(&refused.stdout).contains("not cosigned as the policy asks"),
            "{file}"
        );
    }

    // A witness that is away costs the traffic nothing, and is told after its time.
    two.rig.hub.kill().await.unwrap();
    one.rig.serves().await;
    let away = one.until("an alarm", |state| state["alarm"] == true).await;
    assert!(away["problem"].as_str().unwrap().contains("can't be asked"), "{away}");
    one.rig.serves().await;
    two.rig.hub.restart().await.unwrap();
    assert_eq!(one.caught_up().await["alarm"], false);
    let again = one.heads().await;
    assert!(
        Checkpoint::unverified(&again.cosigned).unwrap().size
            > Checkpoint::unverified(&heads.cosigned).unwrap().size
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_forks_gets_no_cosignature() {
    let (mut one, two) = pair().await;
    one.caught_up().await;
    one.rig.hub.kill().await.unwrap();
    let (data, backup) = (one.path("hub"), one.path("backup"));
    copy(&data, &backup);
    one.rig.hub.restart().await.unwrap();
    one.rig.serves().await;
    one.caught_up().await;
    let heads = one.heads().await;
    let policy = one.path("policy");
    let (key, witness) = (&heads.verifier_key, &two.witness);
    std::fs::write(&policy, format!("log {key}\nwitness other {witness}\nquorum other\n")).unwrap();
    let policy = policy.to_str().unwrap();
    assert_eq!(one.mirror("copy", policy).0, Some(0));
    let cosigned = heads.cosigned;

    // An old copy of the whole folder: the witness remembers what the hub forgot.
    one.rig.hub.kill().await.unwrap();
    std::fs::rename(&data, one.path("newest")).unwrap();
    copy(&backup, &data);
    one.rig.hub.restart().await.unwrap();
    let old = one.until("an old copy", |state| state["alarm"] == true).await;
    assert!(old["problem"].as_str().unwrap().contains("an old copy"), "{old}");
    for _ in 0..3 {
        one.rig.serves().await;
    }
    let forked =
        one.until("a fork", |state| state["problem"].as_str().unwrap_or("").contains("forked")).await;
    assert_eq!(forked["alarm"], true);
    let (code, told) = one.mirror("copy", policy);
    assert_eq!((code, told.contains("FORKED")), (Some(1), true), "a fork, not a wait for witnesses: {told}");
    let kept = one.heads().await.cosigned;
    let size = |note: &str| Checkpoint::unverified(note).map_or(0, |head| head.size);
    assert!(size(&kept) < size(&cosigned), "nothing new was cosigned");
    let known = two.good(&["witnesses", "--json"])["followed"][0]["size"].clone();
    assert_eq!(known, size(&cosigned), "the witness stays where it was");

    // An old journal beside the newest cosigned head: the hub itself refuses to fork.
    one.rig.hub.kill().await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    std::fs::remove_dir_all(data.join("cosigned")).unwrap();
    copy(&one.path("newest/cosigned"), &data.join("cosigned"));
    let refused = start(&one);
    assert!(refused.contains("older copy"), "{refused}");
}

/// The words of a hub that does not start.
fn start(hub: &Hub) -> String {
    let config = hub.path("truc.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_truc"))
        .arg("serve")
        .arg("--config")
        .arg(config)
        .env_clear()
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
