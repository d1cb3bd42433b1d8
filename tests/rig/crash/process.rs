//! The hub under test: the real binary, over a folder that the rig can break.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Ends a test that hangs; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(300);

/// `truc serve`, stopped or running.
pub struct Hub {
    config: PathBuf,
    words: PathBuf,
    child: Option<Child>,
}

/// A start that ended before the port was open.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    /// What it said on standard error.
    pub words: String,
}

impl Hub {
    /// Writes the configuration into `dir`; the hub keeps its data in `data`, which may lie elsewhere.
    pub fn configure(dir: &Path, data: &Path, port: u16, more: &str) -> Self {
        let config = dir.join("truc.toml");
        let text = format!(
            "origin = \"{}\"\ndata_dir = {data:?}\n\
             [listen]\naddress = \"127.0.0.1:{port}\"\n\
             [monitor]\naddress = \"127.0.0.1:0\"\ndisk_reserve = \"0 B\"\ndisk_warning = \"0 B\"\n\
             [delivery]\nlease = \"3s\"\nretry_first = \"100ms\"\nretry_max = \"1s\"\n\
             [logging]\nfilter = \"warn\"\n{more}",
            crate::rig::ORIGIN
        );
        fs::write(&config, text).unwrap();
        Self { config, words: dir.join("words"), child: None }
    }

    /// Starts it and waits for its port; returns its ready line.
    pub async fn start(&mut self) -> Value {
        self.try_start().await.unwrap_or_else(|refusal| panic!("the hub did not start: {refusal:#?}"))
    }

    /// As [`Hub::start`], for a start that may be refused.
    pub async fn try_start(&mut self) -> Result<Value, Refusal> {
        self.spawn();
        let child = self.child.as_mut().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let id = child.id().unwrap();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("neither ready nor ended: {}", threads(id))).unwrap();
        let Some(line) = line else {
            let status = self.ended().await;
            return Err(Refusal { code: status.code(), words: self.words() });
        };
        Ok(serde_json::from_str(&line).unwrap())
    }

    /// Starts it and does not wait. What it says replaces what it said before.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let words = File::create(&self.words).unwrap();
        let child = Command::new(program())
            .args(["serve", "--json", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(words)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
        self.said_no_panic();
    }

    /// SIGTERM, then waits: a clean stop.
    pub async fn stop(&mut self) {
        let id = self.child.as_ref().unwrap().id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.words());
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let status = timeout(PATIENCE, child.wait()).await;
        self.said_no_panic();
        status.unwrap_or_else(|_| panic!("it does not end: {}", self.words())).unwrap()
    }

    /// What the last process said on standard error.
    pub fn words(&self) -> String {
        fs::read_to_string(&self.words).unwrap_or_default()
    }

    /// Runs another command of the binary on the stopped hub; returns its exit code and all it said.
    pub async fn run(&self, command: &[&str]) -> (Option<i32>, String) {
        assert!(self.child.is_none(), "the hub runs");
        let mut process = Command::new(program());
        let output = process.args(command).arg("--config").arg(&self.config).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn said_no_panic(&self) {
        let words = self.words();
        assert!(!words.contains("panicked"), "{words}");
    }
}

/// What the threads of a process that does not go on are doing.
fn threads(id: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let tell = |task: fs::DirEntry| {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        format!("{} in {}: {}\n", read("comm").trim(), read("wchan"), read("stat").trim())
    };
    tasks.map(|task| tell(task.unwrap())).collect()
}

/// The binary of this build, or the one that `TRUC_BIN` names.
fn program() -> PathBuf {
    std::env::var_os("TRUC_BIN").map_or_else(|| env!("CARGO_BIN_EXE_truc").into(), PathBuf::from)
}
