//! The Python example against a real hub: a client made from the published proto alone sends, receives, reports and
//! proves; `truc receipt` and `truc verify` then check its files.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use truc::cli::{
    demo::{
        process::{HubProcess, configure, free_port},
        world::{COMMUNE, DISTRICT, World},
    },
    pki::Paths,
};

const SENDER_NODE: &str = "tavan";
const RECIPIENT_NODE: &str = "sapa";

struct Rig {
    dir: PathBuf,
    python: PathBuf,
    endpoint: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_from_the_proto_alone_does_everything() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (rig, _hub) = start(dir.path(), python).await;
    rig.pure_functions_hold();

    let small = rig.file("Báo cáo.txt", b"a small one".to_vec());
    let large = rig.file("large.bin", (0..3_000_000u32).map(|at| at as u8).collect());
    let sent = rig.send("k-1", &["--file", &small, "--file", &small]);
    assert_eq!(sent["event"], "SUBMISSION_ACCEPTANCE");
    rig.send("k-2", &["--file", &large, "--file", &small, "--upload"]);
    rig.another_document_under_the_same_id_is_a_conflict("k-1");

    let received = rig.receive();
    assert_eq!(received.len(), 2);
    for document in &received {
        assert_eq!(document["event"], "CONTENT_HANDOVER");
        rig.received_folder_is_proven(Path::new(document["folder"].as_str().unwrap()));
    }
    assert!(rig.receive().is_empty(), "acknowledged documents are not offered again");

    rig.report("k-1", 3, "CONSIGNMENT_ACCEPTANCE");
    rig.report("k-1", 6, "BUSINESS_STATUS");
    rig.proofs_are_exported_and_proven("k-1");
}

async fn start(dir: &Path, python: PathBuf) -> (Rig, HubProcess) {
    let port = free_port().unwrap();
    let endpoint = format!("localhost:{port}");
    let world = World::make(dir, &format!("https://{endpoint}")).unwrap();
    let config = configure(dir, port).unwrap();
    let hub = HubProcess::start(Path::new(env!("CARGO_BIN_EXE_truc")), &config).await.unwrap();
    world.register().await.unwrap();
    (Rig { dir: dir.to_owned(), python, endpoint }, hub)
}

impl Rig {
    fn pure_functions_hold(&self) {
        let tests = run(self.python().args(["-m", "unittest"]));
        assert!(tests.status.success(), "{}", stderr(&tests));
    }

    fn send(&self, id: &str, more: &[&str]) -> Value {
        let proofs = self.path("proofs");
        let arguments = ["--to", DISTRICT, "--subject", "Thử nghiệm", "--id", id, "--out", &proofs];
        let sent = self.example("send", SENDER_NODE, COMMUNE, &[&arguments[..], more].concat());
        assert_eq!(sent["document_id"], id);
        self.proven_by_python(&self.dir.join("proofs/acceptance.receipt"));
        sent
    }

    fn another_document_under_the_same_id_is_a_conflict(&self, id: &str) {
        let mut command = self.command("send", SENDER_NODE, COMMUNE);
        let output = run(command.args(["--to", DISTRICT, "--subject", "Another", "--id", id]));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("ALREADY_EXISTS: CONFLICT"), "{}", stderr(&output));
    }

    fn receive(&self) -> Vec<Value> {
        let (inbox, sender_key) = (self.path("inbox"), self.public_key(COMMUNE));
        let arguments = ["--out", &inbox, "--wait", "1", "--sender-key", &sender_key];
        let received = self.example("receive", RECIPIENT_NODE, DISTRICT, &arguments);
        received["received"].as_array().unwrap().clone()
    }

    fn report(&self, id: &str, code: u32, event: &str) {
        let (code, out) = (code.to_string(), self.path("statuses"));
        let arguments = ["--id", id, "--sender", COMMUNE, "--code", &code, "--out", &out];
        let reported = self.example("status", RECIPIENT_NODE, DISTRICT, &arguments);
        assert_eq!(reported["event"], event);
        self.proven_by_python(&self.dir.join(format!("statuses/status-0{code}.receipt")));
    }

    /// The hub's own tool agrees with the folder that the Python client made, and notices a changed attachment.
    fn received_folder_is_proven(&self, folder: &Path) {
        let shown = folder.display().to_string();
        let (sender, recipient) = (self.public_key(COMMUNE), self.public_key(DISTRICT));
        let verify = ["verify", &shown, "--key", &sender, "--key", &recipient, "--json"];
        let report = truc(&verify, 0);
        assert_eq!(report["events"][1]["recipients"][0], DISTRICT, "{report}");
        self.proven_by_python(&folder.join("handover.receipt"));

        let part = fs::read_dir(folder.join("parts")).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(&part).unwrap();
        let mut bent = bytes.clone();
        bent[0] ^= 1;
        fs::write(&part, bent).unwrap();
        assert_eq!(truc(&verify, 1)["ok"], false);
        fs::write(&part, bytes).unwrap();
    }

    fn proofs_are_exported_and_proven(&self, id: &str) {
        let out = self.path("exported");
        let (hub, certs) = (format!("https://{}", self.endpoint), self.path("certs"));
        let connection = ["--hub", &hub, "--pki", &certs, "--as", SENDER_NODE];
        let arguments =
            [&["receipt", id, "--sender", COMMUNE, "--out", &out, "--json"], &connection[..]].concat();
        for _ in 0..2 {
            let saved = truc(&arguments, 0);
            let events: Vec<_> =
                saved["receipts"].as_array().unwrap().iter().map(|one| &one["event"]).collect();
            let expected = [
                "SUBMISSION_ACCEPTANCE",
                "CONTENT_CONSIGNMENT",
                "CONTENT_HANDOVER",
                "CONSIGNMENT_ACCEPTANCE",
                "BUSINESS_STATUS",
            ];
            assert_eq!(events, expected);
        }
        let report = truc(&["verify", &out, "--key", &self.public_key(DISTRICT), "--json"], 0);
        assert_eq!(report["events"].as_array().unwrap().len(), 5);
        let gaps = report["not_proven"].as_array().unwrap().iter();
        assert!(gaps.clone().all(|line| !line.as_str().unwrap().contains("before leaf")), "{report}");
    }

    fn proven_by_python(&self, receipt: &Path) {
        let vkey = receipt.with_file_name("hub.vkey");
        let verify = |file: &Path| {
            run(self.python().args(["example.py", "verify", text(file), "--vkey", text(&vkey)]))
        };
        let output = verify(receipt);
        assert!(output.status.success(), "{}", stderr(&output));
        let mut bent = fs::read(receipt).unwrap();
        let middle = bent.len() / 2;
        bent[middle] ^= 1;
        let path = self.dir.join("bent.receipt");
        fs::write(&path, bent).unwrap();
        assert_eq!(verify(&path).status.code(), Some(1), "{}", receipt.display());
    }

    /// One step of the example that succeeds.
    fn example(&self, step: &str, node: &str, agency: &str, arguments: &[&str]) -> Value {
        let output = run(self.command(step, node, agency).args(arguments));
        assert!(output.status.success(), "{step}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn command(&self, step: &str, node: &str, agency: &str) -> Command {
        let paths = Paths::of(&self.certs(), node);
        let mut command = self.python();
        command.args(["example.py", step, "--endpoint", &self.endpoint, "--agency", agency]);
        command.arg("--ca").arg(self.certs().join("ca.pem"));
        command.arg("--cert").arg(paths.certificate).arg("--key").arg(paths.key);
        command.arg("--agency-key").arg(self.dir.join(format!("keys/{agency}.key")));
        command
    }

    fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        command.current_dir(example_folder()).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        command
    }

    fn public_key(&self, agency: &str) -> String {
        self.path(&format!("keys/{agency}.pub"))
    }

    fn certs(&self) -> PathBuf {
        self.dir.join("certs")
    }

    fn path(&self, name: &str) -> String {
        text(&self.dir.join(name)).to_owned()
    }

    fn file(&self, name: &str, bytes: Vec<u8>) -> String {
        fs::write(self.dir.join(name), bytes).unwrap();
        self.path(name)
    }
}

/// The interpreter of an environment with the example's requirements; `None`, said aloud, where it can't be made.
fn python() -> Option<PathBuf> {
    let requirements = example_folder().join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client");
    let (python, installed) = (venv.join("bin/python"), venv.join("installed.txt"));
    if fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
        return Some(python);
    }
    let steps = [
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).output(),
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&requirements).output(),
    ];
    for step in steps {
        let problem = match step {
            Ok(output) if output.status.success() => continue,
            Ok(output) => stderr(&output),
            Err(error) => error.to_string(),
        };
        println!("skipped: the Python environment can't be made: {problem}");
        return None;
    }
    fs::write(installed, wanted).unwrap();
    Some(python)
}

fn example_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python")
}

/// Runs the hub's own tool, which has to end with `code`.
fn truc(arguments: &[&str], code: i32) -> Value {
    let output = run(Command::new(env!("CARGO_BIN_EXE_truc")).args(arguments).env_clear());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
