//! A hub with its log's door open, and agencies to make it grow.

use std::path::{Path, PathBuf};

use serde_json::Value;
use truc::{
    cli::demo::process::free_port,
    client::Client,
    proto::{Agency, GetCheckpointRequest, ImportAgenciesRequest},
};

use super::rig::Rig;

/// A hub, and where its log is served.
pub struct Stage {
    pub rig: Rig,
    pub port: u16,
}

impl Stage {
    /// Over TLS.
    pub async fn open() -> Self {
        Self::open_with("").await
    }

    /// With more lines in `[log_http]`.
    pub async fn open_with(more: &str) -> Self {
        let port = free_port().unwrap();
        let config = format!("[log_http]\naddress = \"127.0.0.1:{port}\"\n{more}");
        let stage = Self { rig: Rig::start_with(&config).await, port };
        std::fs::write(stage.trust(), stage.key().await).unwrap();
        stage
    }

    pub fn ca(&self) -> PathBuf {
        self.rig.certs().join("ca.pem")
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn trust(&self) -> PathBuf {
        self.path("trusted")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.rig.dir.path().join(name)
    }

    pub async fn operator(&self) -> Client {
        self.rig.connect("operator").await
    }

    /// The verifier key, as the hub tells it over mutual TLS.
    pub async fn key(&self) -> String {
        let answer = self.operator().await.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap();
        answer.into_inner().verifier_key
    }

    /// Registers these of the endless row of agencies: each is a leaf.
    pub async fn grow(&self, which: std::ops::Range<usize>) {
        let count = which.len();
        let agencies = agencies().skip(which.start).take(count).collect();
        let request = ImportAgenciesRequest { agencies, dry_run: false };
        let registrar = self.rig.connect("registrar").await;
        let imported = registrar.directory().import_agencies(request).await.unwrap().into_inner();
        assert_eq!(imported.imported as usize, count, "{imported:?}");
    }

    /// Keeps a copy of the hub's folder, as a backup would.
    pub async fn back_up(&mut self) {
        self.rig.hub.kill().await.unwrap();
        copy(&self.path("hub"), &self.path("backup"));
        self.rig.hub.restart().await.unwrap();
    }

    /// Puts the copy back.
    pub async fn restore(&mut self) {
        self.rig.hub.kill().await.unwrap();
        std::fs::remove_dir_all(self.path("hub")).unwrap();
        copy(&self.path("backup"), &self.path("hub"));
        self.rig.hub.restart().await.unwrap();
    }

    /// Hands the log over to a new key.
    pub async fn rotate(&mut self) {
        self.rig.hub.kill().await.unwrap();
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_truc"));
        command.args(["log", "rotate", "--config"]).arg(self.path("truc.toml"));
        let output = command.env_clear().output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.rig.hub.restart().await.unwrap();
    }

    /// `truc audit mirror DIR --once` of the hub's log.
    pub async fn mirror(&self, dir: &str) -> Outcome {
        mirror(&self.path(dir), &self.url(), &self.trust(), &["--ca", self.ca().to_str().unwrap()]).await
    }
}

/// What `truc audit mirror --once --json` did.
pub struct Outcome {
    pub code: i32,
    /// Its lines.
    pub lines: Vec<Value>,
    /// Its error.
    pub error: String,
}

impl Outcome {
    /// The last line, of a run that went well.
    pub fn good(self) -> Value {
        assert_eq!(self.code, 0, "{}", self.error);
        self.lines.last().unwrap().clone()
    }

    /// The folder of evidence of a run that found this fault.
    pub fn fault(self, code: &str) -> PathBuf {
        let last = self.lines.last().unwrap_or_else(|| panic!("no fault: {}", self.error));
        assert_eq!(
            (self.code, last["event"].as_str(), last["code"].as_str()),
            (1, Some("fault"), Some(code)),
            "{last}"
        );
        assert!(self.error.contains(code), "{}", self.error);
        last["evidence"].as_str().unwrap().into()
    }
}

pub async fn mirror(dir: &Path, url: &str, trust: &Path, more: &[&str]) -> Outcome {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_truc"));
    command
        .args(["audit", "mirror", "--once", "--json", "--url", url])
        .arg("--trust")
        .arg(trust)
        .args(more)
        .arg(dir);
    let output = command.env_clear().kill_on_drop(true).output().await.unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    Outcome {
        code: output.status.code().unwrap(),
        lines: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), to.to_owned());
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Districts of the demo's province, each with its communes.
fn agencies() -> impl Iterator<Item = Agency> {
    let ids =
        (30..90).flat_map(|district| (0..60).map(move |commune| format!("000.{commune:02}.{district}.H38")));
    ids.map(|organ_id| Agency { name: format!("UBND {organ_id}"), organ_id, ..Agency::default() })
}
