//! "Did you give me everything?" end to end: real TLS, the commands of the binary, and a hub whose clock passes midnight
//! when the test says so.

#![allow(clippy::unwrap_used)]

mod rig;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use rig::*;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use truc::{
    cli::{
        demo::{
            process::{configure, free_port},
            world::{COMMUNE, DISTRICT, World},
        },
        pki::{self, ServerOptions},
        serve,
    },
    config::Config,
    daily,
    domain::time::Timestamp,
    edge::{server, tls::Acceptor},
    hub::{Hub, clock::Clock},
    proto::*,
    verify::completeness::{MAGIC, encode},
};

const PYTHON: &str = "examples/python/check_completeness.py";

/// A hub in this process, behind its real doors.
struct Town {
    dir: tempfile::TempDir,
    world: World,
    clock: Clock,
    hub: Arc<Hub>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Town {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let world = World::make(dir.path(), &format!("https://localhost:{port}")).unwrap();
        let file = configure(dir.path(), port).unwrap();
        let config = Config::load(&file).unwrap();
        let clock = Clock::manual(Timestamp(now_us()));
        let acceptor = Acceptor::new(config.tls.source(), config.tls.limits()).unwrap();
        let (hub, _) = serve::build(&config, &file, clock.clone()).await.unwrap();
        let listener = TcpListener::bind(config.listen.address).await.unwrap();
        let (stop, bounds) = (CancellationToken::new(), config.limits.bounds());
        let (serving, ended) = (Arc::clone(&hub), stop.clone());
        let served = tokio::spawn(async move {
            server::serve_with(serving, acceptor, listener, ended, &bounds).await.unwrap();
        });
        world.register().await.unwrap();
        for name in ["lan", "below"] {
            let certs = dir.path().join("certs");
            match name {
                "lan" => pki::issue(&certs, pki::Role::Auditor, name).unwrap(),
                _ => pki::issue_scoped_auditor(&certs, name, "000.00.22.H38", &ServerOptions::default())
                    .unwrap(),
            };
        }
        Self { dir, world, clock, hub, stop, served }
    }

    async fn close(self) {
        self.stop.cancel();
        self.served.await.unwrap();
        self.hub.stop().await;
    }

    fn today(&self) -> u32 {
        daily::day_of(self.clock.now())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn send(&self, id: &str) {
        let mut letter = letter(id, &[DISTRICT, "000.00.22.H38"]);
        letter.issued_at_us = self.clock.now().0;
        let client = self.world.connect("tavan").await.unwrap();
        let request = submit(&letter, &self.world.seal(COMMUNE)[0], &[]);
        client.submission().submit(request).await.unwrap();
    }

    async fn truc(&self, who: Option<&str>, args: &[&str], code: i32) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
        command.current_dir(self.dir.path()).arg("--json").args(args);
        if let Some(who) = who {
            command.env("TRUC_HUB", self.world.endpoint()).env("TRUC_PKI", "certs").env("TRUC_AS", who);
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{err}");
        let start = out.find('{').unwrap_or(out.len());
        serde_json::from_str(&out[start..]).unwrap_or(Value::Null)
    }

    /// Asks until the day is closed.
    async fn complete(&self, who: &str, args: &[&str]) -> Value {
        for _ in 0..200 {
            let mut command = Command::new(env!("CARGO_BIN_EXE_truc"));
            command.current_dir(self.dir.path()).args(["--json", "audit", "complete"]).args(args);
            command.env("TRUC_HUB", self.world.endpoint()).env("TRUC_PKI", "certs").env("TRUC_AS", who);
            let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
            let answer = text(&output.stdout);
            let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{output:?}"));
            if answer["gaps"].as_array().unwrap().iter().all(|gap| gap["code"] != "DAYS_OPEN") {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the day was not closed");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn only_folder(dir: &Path) -> PathBuf {
    let mut folders: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn complete_or_the_exact_gap() {
    let town = Town::open().await;
    let day = daily::date(town.today());
    for id in ["one", "two"] {
        town.send(id).await;
    }
    let key = format!("{DISTRICT}=keys/{DISTRICT}.key");
    let receive = ["receive", "--agency", &key, "--out", "inbox", "--once"];
    town.truc(Some("sapa"), &receive, 0).await;
    let asked = ["--agency", DISTRICT, "--from", &day];
    let open = town.truc(Some("lan"), &[&["audit", "complete"], &asked[..]].concat(), 1).await;
    assert_eq!((&open["verdict"], &open["gaps"][0]["code"]), (&"INCOMPLETE".into(), &"DAYS_OPEN".into()));

    let midnight = daily::midnight(town.today() + 1).0;
    town.clock.advance_us(midnight - town.clock.now().0);
    let inbox = format!("inbox/{DISTRICT}");
    let saving = [&asked[..], &["-o", "answer", "--inbox", &inbox]].concat();
    let answer = town.complete("lan", &saving).await;
    assert_eq!(answer["verdict"], "COMPLETE", "{answer}");
    assert!(answer["sentence"].as_str().unwrap().starts_with("complete, proven"));
    assert_eq!((&answer["ok"], &answer["inbox"]["documents"]), (&true.into(), &2.into()));
    let today = &answer["days"][0];
    assert_eq!(today["received_numbers"], serde_json::json!([1, 2]));
    assert_eq!((&today["incoming"]["handed_over"], &today["incoming"]["pending"]), (&2.into(), &0.into()));

    the_folder_is_compared(&town, &saving, &inbox).await;
    only_who_may_ask(&town, &asked).await;
    let key = format!("# hub\n{}\n", town.hub.log().verifier());
    fs::write(town.path("trusted.keys"), key).unwrap();
    let verify = ["verify", "answer", "--trust", "trusted.keys"];
    town.truc(None, &verify, 0).await;
    let said = town.truc(None, &[&verify[..], &["--lang", "vi"]].concat(), 0).await;
    assert!(said["sentence"].as_str().unwrap().starts_with("ĐẦY ĐỦ, ĐÃ CHỨNG MINH"));
    a_changed_answer_is_named(&town, &verify).await;
    town.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn volumes_are_the_sums_of_closed_days() {
    let town = Town::open().await;
    let (today, day) = (town.today(), daily::date(town.today()));
    for id in ["one", "two"] {
        town.send(id).await;
    }
    let key = format!("{DISTRICT}=keys/{DISTRICT}.key");
    town.truc(Some("sapa"), &["receive", "--agency", &key, "--out", "inbox", "--once"], 0).await;
    let until = daily::date(today + 7);
    let ask = ["volumes", "--from", &day, "--to", &until, "--period", "week", "--by", "agency"];
    let open = town.truc(Some("lan"), &ask, 0).await;
    assert_eq!((&open["days"], open["rows"].as_array().unwrap().len()), (&0.into(), 0), "no day has ended");

    town.clock.advance_us(daily::midnight(today + 1).0 - town.clock.now().0);
    town.complete("lan", &["--agency", DISTRICT, "--from", &day]).await;
    let told = town.truc(Some("operator"), &ask, 0).await;
    assert_eq!(
        (&told["days"], &told["first_day"], &told["last_day"]),
        (&1.into(), &day.clone().into(), &day.clone().into())
    );
    let of = |told: &Value, agency: &str| {
        let rows = told["rows"].as_array().unwrap();
        rows.iter().find(|row| row["agency"] == agency).cloned().unwrap_or_default()
    };
    let (sender, taker, silent) = (of(&told, COMMUNE), of(&told, DISTRICT), of(&told, "000.00.22.H38"));
    assert_eq!((&sender["sent"], &sender["outgoing"]["deliveries"]), (&2.into(), &4.into()));
    assert_eq!(
        (&taker["incoming"]["handed_over"], &taker["incoming"]["on_time"]),
        (&2.into(), &100.0.into())
    );
    assert_eq!((&silent["incoming"]["pending"], &silent["incoming"]["on_time"]), (&2.into(), &Value::Null));
    assert_eq!(sender["level"], "COMMUNE");

    // An auditor of a subtree is told of it alone, and a node of nothing.
    let below = town.truc(Some("below"), &ask, 0).await;
    let rows = below["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["agency"]), (1, &"000.00.22.H38".into()), "{below}");
    town.truc(Some("sapa"), &ask, 1).await;
    let levels =
        ["volumes", "--from", &daily::date(today), "--to", &until, "--by", "level", "--level", "district"];
    let told = town.truc(Some("lan"), &levels, 0).await;
    let [district] = &told["rows"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&district["agencies"], &district["incoming"]["deliveries"]), (&2.into(), &4.into()));
    town.close().await;
}

async fn the_folder_is_compared(town: &Town, saving: &[&str], inbox: &str) {
    let folder = only_folder(&town.path(inbox));
    let aside = town.path("aside");
    fs::rename(&folder, &aside).unwrap();
    let command = [&["audit", "complete"], saving].concat();
    let answer = town.truc(Some("lan"), &command, 1).await;
    assert_eq!((&answer["verdict"], &answer["ok"]), (&"COMPLETE".into(), &false.into()));
    assert_eq!(answer["inbox"]["not_in_folder"].as_array().unwrap().len(), 1);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("handover.receipt"), b"x").unwrap();
    let answer = town.truc(Some("lan"), &command, 1).await;
    assert_eq!(answer["inbox"]["damaged"].as_array().unwrap().len(), 1);
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    town.truc(Some("lan"), &command, 0).await;
}

async fn only_who_may_ask(town: &Town, asked: &[&str]) {
    let command = [&["audit", "complete"], asked].concat();
    town.truc(Some("sapa"), &command, 0).await;
    town.truc(Some("bacha"), &command, 1).await;
    town.truc(Some("below"), &command, 1).await;
    let own = ["audit", "complete", "--agency", "000.00.22.H38", "--from", asked[3]];
    town.truc(Some("below"), &own, 0).await;
    town.truc(Some("lan"), &[&command[..], &["--to", "1999-01-01"]].concat(), 2).await;
    let trace = ["audit", "search", "--event", "AUDIT_QUERY"];
    for _ in 0..100 {
        let rows = town.truc(Some("lan"), &trace, 0).await;
        if !rows["rows"].as_array().unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the questions left no trace");
}

/// Page by page: what is taken out or bent is named.
async fn a_changed_answer_is_named(town: &Town, verify: &[&str]) {
    let pages = pages_of(&fs::read(town.path("answer")).unwrap());
    let keep = |drop: &dyn Fn(usize, &GetCompletenessResponse) -> Option<GetCompletenessResponse>| {
        let mut file = MAGIC.to_vec();
        let kept = pages.iter().enumerate().filter_map(|(at, page)| drop(at, page));
        kept.for_each(|page| encode(&page, &mut file));
        fs::write(town.path("answer"), file).unwrap();
    };
    use get_completeness_response::Page;
    keep(&|_, page| (!matches!(page.page, Some(Page::Day(_)))).then(|| page.clone()));
    let answer = town.truc(None, verify, 1).await;
    assert_eq!((&answer["verdict"], &answer["place"]), (&"NOT_PROVEN".into(), &"file".into()));
    keep(&|_, page| {
        let mut page = page.clone();
        if let Some(Page::Leaves(leaves)) = &mut page.page {
            leaves.leaves.remove(0);
        }
        Some(page)
    });
    let answer = town.truc(None, verify, 1).await;
    let gaps: Vec<&str> =
        answer["gaps"].as_array().unwrap().iter().map(|gap| gap["code"].as_str().unwrap()).collect();
    assert!(gaps.contains(&"NUMBER_MISSING") && gaps.contains(&"ROOT_DIFFERS"), "{gaps:?}");
    let said = answer["gaps"][0]["detail"].as_str().unwrap();
    assert!(said.contains("number 1 of what it received"), "{said}");
    python_agrees(town, 1, &gaps);
    keep(&|_, page| Some(page.clone()));
    python_agrees(town, 0, &[]);
}

/// The second verifier, which shares no code with the hub.
fn python_agrees(town: &Town, code: i32, gaps: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(PYTHON);
    let answer = town.path("answer");
    let Some(output) = python(&script, &[answer.as_path(), Path::new("--trust"), &town.path("trusted.keys")])
    else {
        eprintln!("no python3 with `cryptography` here: the second verifier was not asked");
        return;
    };
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut named: Vec<&str> =
        said["gaps"].as_array().unwrap().iter().map(|gap| gap["code"].as_str().unwrap()).collect();
    let mut expected = gaps.to_vec();
    named.sort_unstable();
    expected.sort_unstable();
    named.dedup();
    expected.dedup();
    assert_eq!(named, expected);
}

fn python(script: &Path, args: &[&Path]) -> Option<Output> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client/bin/python");
    let has = |python: &PathBuf| {
        let imported = Command::new(python).args(["-c", "import cryptography"]).output();
        imported.is_ok_and(|output| output.status.success())
    };
    let python = [PathBuf::from("python3"), venv].into_iter().find(has)?;
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
    Some(command.arg(script).args(args).output().unwrap())
}

fn pages_of(file: &[u8]) -> Vec<GetCompletenessResponse> {
    let mut rest = bytes::Bytes::copy_from_slice(&file[MAGIC.len()..]);
    let mut pages = Vec::new();
    while !rest.is_empty() {
        pages.push(prost::Message::decode_length_delimited(&mut rest).unwrap());
    }
    pages
}
