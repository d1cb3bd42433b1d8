//! The main path as people walk it: every step a command of its own, against a hub in its own process.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

const PROVINCE: &str = "000.00.00.H53";
const DISTRICT: &str = "000.00.31.H53";
const COMMUNE: &str = "000.21.31.H53";
const DOCUMENT: &str = "000.21.31.H53,2026,17/BC-UBND";

/// A folder, a hub, and a way to run commands.
struct Town {
    dir: tempfile::TempDir,
    hub: Child,
    endpoint: String,
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = self.hub.kill();
        let _ = self.hub.wait();
    }
}

impl Town {
    fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| assert!(truc(dir.path(), args).status.success(), "{args:?}");
        run(&["pki", "init", "--out", "certs"]);
        for node in ["xa", "huyen", "tinh"] {
            run(&["pki", "issue", "--out", "certs", "--role", "node", "--name", node]);
        }
        fs::write(
            dir.path().join("truc.toml"),
            "origin = \"hub.test/log\"\n[listen]\naddress = \"127.0.0.1:0\"\n[monitor]\naddress = \"127.0.0.1:0\"\n[logging]\nfilter = \"warn\"\n",
        )
        .unwrap();
        let (hub, endpoint) = serve(dir.path());
        Self { dir, hub, endpoint }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a client command as the holder of a certificate; its JSON answer.
    fn run(&self, who: &str, args: &[&str]) -> Value {
        let output = self.try_run(who, args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        last_json(&text)
    }

    fn try_run(&self, who: &str, args: &[&str]) -> std::process::Output {
        let mut all = args.to_vec();
        all.extend(["--hub", &self.endpoint, "--pki", "certs", "--as", who, "--json"]);
        truc(self.dir.path(), &all)
    }

    /// Registers nodes and keys for the three agencies.
    fn furnish(&self) {
        for (node, agency) in [("xa", COMMUNE), ("huyen", DISTRICT), ("tinh", PROVINCE)] {
            self.run("security", &["directory", "node", "add", node, "--agency", agency]);
            let (key, public) = (format!("{node}.key"), format!("{node}.pub"));
            assert!(truc(self.dir.path(), &["keygen", "--out", &key]).status.success());
            self.run("security", &["directory", "key", "add", "--agency", agency, "--public", &public]);
        }
    }

    fn restart(&mut self) {
        let _ = self.hub.kill();
        let _ = self.hub.wait();
        (self.hub, self.endpoint) = serve(self.dir.path());
    }
}

fn truc(dir: &Path, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_truc")).current_dir(dir).args(args).output().unwrap()
}

fn serve(dir: &Path) -> (Child, String) {
    let mut hub = Command::new(env!("CARGO_BIN_EXE_truc"))
        .current_dir(dir)
        .args(["serve", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(hub.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).expect("the hub is ready");
    let port = ready["listening"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    (hub, format!("https://localhost:{port}"))
}

fn last_json(text: &str) -> Value {
    text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
}

/// The real directory and documents when they lie beside the project; else our own.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("shared/data").join(name);
    path.exists().then_some(path)
}

fn attachments(town: &Town) -> Vec<PathBuf> {
    let real = [
        "documents/congbao__28-2018-qd-ttg__gui-nhan-van-ban-dien-tu.pdf",
        "documents/congbao__30-2020-nd-cp__cong-tac-van-thu.pdf",
    ];
    if let Some(files) = real.iter().map(|name| shared(name)).collect::<Option<Vec<_>>>() {
        return files;
    }
    let own = [("a.pdf", 340_000), ("b.pdf", 1_100_000)].map(|(name, size)| {
        fs::write(
            town.path(name),
            (0..size).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>(),
        )
        .unwrap();
        town.path(name)
    });
    own.to_vec()
}

fn import(town: &Town) {
    match shared("edxml/bkav-edoc-integrator/tayninh_agencies_2020.csv") {
        Some(real) => {
            let path = real.to_str().unwrap();
            let dry = town.run("registrar", &["directory", "import", path, "--dry-run"]);
            assert_eq!(dry["imported"], 447);
            let answer = town.run("registrar", &["directory", "import", path]);
            assert_eq!(answer["imported"], 447);
            let quarantined = answer["quarantined"].as_array().unwrap();
            assert_eq!(quarantined.len(), 8);
            assert!(quarantined.iter().any(|row| row["organ_id"] == "000.1137.H53"
                && row["reason"].as_str().unwrap().contains("BAD_IDENTIFIER")));
            let again = town.run("registrar", &["directory", "import", path]);
            assert_eq!((&again["imported"], &again["unchanged"]), (&0.into(), &447.into()));
        }
        None => {
            let csv = format!(
                "organ_id,name\n{PROVINCE},Tỉnh\n{DISTRICT},Huyện\n{COMMUNE},Xã\n000.21.31.H53,Lặp\nH5,Sai\n"
            );
            fs::write(town.path("agencies.csv"), csv).unwrap();
            let answer = town.run("registrar", &["directory", "import", "agencies.csv"]);
            assert_eq!(answer["imported"], 3);
            assert_eq!(answer["quarantined"].as_array().unwrap().len(), 2);
        }
    }
}

#[test]
fn a_commune_sends_real_documents_to_district_and_province() {
    let mut town = Town::open();
    import(&town);
    town.furnish();
    let files = attachments(&town);

    let mut send = vec![
        "send",
        "--from",
        COMMUNE,
        "--key",
        "xa.key",
        "--to",
        DISTRICT,
        "--to",
        PROVINCE,
        "--number",
        "17",
        "--notation",
        "BC-UBND",
        "--date",
        "2026-11-20",
        "--type",
        "Báo cáo",
        "--subject",
        "Báo cáo công tác văn thư",
    ];
    for file in &files {
        send.extend(["--attach", file.to_str().unwrap()]);
    }
    let sent = town.run("xa", &send);
    assert_eq!(sent["document_id"], DOCUMENT);
    assert_eq!(sent["legal_value"], "INFORMATION", "no person signed: for information, not refused");

    town.restart();
    for (node, agency) in [("huyen", DISTRICT), ("tinh", PROVINCE)] {
        let agency_key = format!("{agency}={node}.key");
        town.run(node, &["receive", "--agency", &agency_key, "--out", "inbox", "--once"]);
    }
    for agency in [DISTRICT, PROVINCE] {
        let folder = only_folder(&town.path("inbox").join(agency));
        for file in &files {
            let copy = folder.join("parts").join(file.file_name().unwrap());
            assert!(fs::read(copy).unwrap() == fs::read(file).unwrap(), "{agency}: other bytes");
        }
        verify_and_tamper(&town, &folder);
    }

    let args = |code| {
        [
            "report",
            "--agency",
            DISTRICT,
            "--key",
            "huyen.key",
            "--document",
            DOCUMENT,
            "--of",
            COMMUNE,
            "--code",
            code,
        ]
    };
    for code in ["1", "3", "6"] {
        town.run("huyen", &args(code));
    }
    timeline_is_complete(&town);
    proofs_verify(&town);
    watch_tells_everything(&town);
}

/// Checks a received document offline, then flips one byte in every file of it in turn.
fn verify_and_tamper(town: &Town, folder: &Path) {
    let check = |folder: &Path| truc(town.dir.path(), &["verify", folder.to_str().unwrap(), "--json"]);
    let good = check(folder);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stdout));
    let files = walk(folder);
    assert!(files.len() >= 5);
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let mut changed = bytes.clone();
        let at = changed.len() / 2;
        changed[at] ^= 1;
        fs::write(&file, changed).unwrap();
        assert_eq!(check(folder).status.code(), Some(1), "a flipped byte in {}", file.display());
        fs::write(&file, bytes).unwrap();
    }
}

fn timeline_is_complete(town: &Town) {
    let status = town.run("xa", &["status", DOCUMENT]);
    let events = status["events"].as_array().unwrap();
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(of("SUBMISSION_ACCEPTANCE"), 1);
    assert_eq!(of("CONTENT_CONSIGNMENT"), 2);
    assert_eq!(of("CONTENT_HANDOVER"), 2);
    assert_eq!(of("BUSINESS_STATUS") + of("CONSIGNMENT_ACCEPTANCE"), 3);
    assert!(!town.try_run("tinh", &["status", "000.21.31.H53,2026,99/X"]).status.success());
}

fn proofs_verify(town: &Town) {
    town.run("auditor", &["receipt", DOCUMENT, "--out", "proofs"]);
    let proofs = walk(&town.path("proofs"));
    assert!(proofs.iter().any(|file| file.ends_with("hub.vkey")));
    assert_eq!(proofs.iter().filter(|file| file.extension().is_some_and(|e| e == "evidence")).count(), 8);
    assert!(truc(town.dir.path(), &["verify", "proofs", "--json"]).status.success());
}

fn watch_tells_everything(town: &Town) {
    let output = town.try_run("xa", &["watch", "--agency", COMMUNE, "--once"]);
    let entries: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let codes: Vec<_> =
        entries.iter().filter_map(|entry| entry["status_code"].as_u64()).filter(|code| *code > 0).collect();
    assert_eq!(codes, [1, 3, 6], "{entries:?}");
}

fn only_folder(parent: &Path) -> PathBuf {
    let mut folders =
        fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folder = folders.next().expect("one document");
    assert!(folders.next().is_none(), "only one document");
    folder
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn commands_say_what_went_wrong_and_end_with_meaning() {
    let town = Town::open();
    let unknown = town.try_run("operator", &["directory", "show", "000.00.00.H99"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("UNKNOWN_AGENCY"));
    let role = town.try_run("auditor", &["directory", "node", "add", "x", "--agency", PROVINCE]);
    assert_eq!(role.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&role.stderr).contains("ROLE_REQUIRED"));
    for (who, args, needed) in [
        ("operator", &["directory", "node", "revoke", "xa"][..], "of role security"),
        ("security", &["directory", "import", "agencies.csv"], "of role registrar"),
        ("registrar", &["directory", "node", "add", "x", "--agency", PROVINCE], "of role security"),
    ] {
        fs::write(town.path("agencies.csv"), format!("organ_id,name\n{PROVINCE},Tỉnh\n")).unwrap();
        let refused = town.try_run(who, args);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && told.contains(needed), "{who}: {told}");
    }
    let args = ["overview", "--hub", "https://localhost:1", "--pki", "certs", "--as", "operator"];
    assert_eq!(truc(town.dir.path(), &args).status.code(), Some(3));
    assert_eq!(truc(town.dir.path(), &["verify", "nothing-here"]).status.code(), Some(4));
    assert_eq!(truc(town.dir.path(), &["send", "--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn a_revoked_node_is_cut_off() {
    let town = Town::open();
    import(&town);
    town.furnish();
    town.run("xa", &["watch", "--agency", COMMUNE, "--once"]);
    town.run("security", &["directory", "node", "revoke", "xa"]);
    let refused = town.try_run("xa", &["watch", "--agency", COMMUNE, "--once"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("UNKNOWN_NODE"));
}
