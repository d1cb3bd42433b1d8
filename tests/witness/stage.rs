//! A witness: a hub with a key for cosigning, and its door.

use std::{path::Path, process::Command, time::Duration};

use truc::{
    cli::demo::process::free_port,
    client::site::Site,
    tlog::{cosignature::WitnessKey, note::Signer},
};

use super::rig::Rig;

pub const NAME: &str = "w.test/one";

/// A hub that is a witness of one log.
pub struct Stage {
    pub rig: Rig,
    pub port: u16,
    pub key: WitnessKey,
}

impl Stage {
    /// A witness of the log of this key, behind the log's own door.
    pub async fn of(log: &str) -> Self {
        let (port, keys) = (free_port().unwrap(), tempfile::tempdir().unwrap());
        let path = keys.path().join("witness.key");
        let key = truc(&["log", "witness-key", "--name", NAME, "--out", path.to_str().unwrap()]);
        let config = format!(
            "[log_http]\naddress = \"127.0.0.1:{port}\"\n[witness]\nname = \"{NAME}\"\nlogs = [\"{log}\"]\n\
             key = {path:?}\n"
        );
        let rig = Rig::start_with(&config).await;
        std::fs::copy(&path, rig.certs().join("witness.key")).unwrap();
        let text = std::fs::read_to_string(rig.dir.path().join("truc.toml")).unwrap();
        let text = text.replace(&format!("key = {path:?}"), "key = \"certs/witness.key\"");
        std::fs::write(rig.dir.path().join("truc.toml"), text).unwrap();
        Self { rig, port, key: WitnessKey::parse(key.trim()).unwrap() }
    }

    /// Its door over TLS.
    pub fn site(&self) -> Site {
        let ca = self.rig.certs().join("ca.pem");
        Site::new(&format!("https://localhost:{}", self.port), Some(&ca)).unwrap()
    }

    /// Posts a request; status and body.
    pub async fn ask(&self, body: &str) -> (u16, String) {
        post(&mut self.site(), body).await
    }

    /// Kills the hub and starts it again.
    pub async fn restart(&mut self) {
        self.rig.hub.kill().await.unwrap();
        self.rig.hub.restart().await.unwrap();
    }
}

pub async fn post(site: &mut Site, body: &str) -> (u16, String) {
    let body = body.to_owned().into();
    let (status, body) = site.post("add-checkpoint", body, 1 << 16, Duration::from_secs(20)).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Runs the program; what it printed.
pub fn truc(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_truc")).args(args).env_clear().output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A log of our own making.
pub fn signer(name: &str) -> Signer {
    Signer::from_seed(name, &[7; 32]).unwrap()
}

/// The only file in the folder where the witness remembers.
pub fn memory(hub: &Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(hub.join("witness")).unwrap();
    files.next().unwrap().unwrap().path()
}
