//! Where the load goes: a hub of its own, or one that runs already.

use std::path::{Path, PathBuf};

use super::options::Target;
use crate::{
    cli::{
        Exit, Failure,
        hub_process::{HubProcess, free_port},
        pki,
    },
    client::{Client, ClientOptions},
};

/// The hub, and the CA that makes certificates for it.
pub struct Site {
    endpoint: String,
    certs: PathBuf,
    own: Option<Own>,
}

struct Own {
    hub: HubProcess,
    folder: Folder,
}

/// The folder of an own hub; a temporary one goes with its value.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // What can't be removed is left to the system's own cleaning.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

impl Site {
    /// Starts a hub, or takes the one that is named.
    pub async fn open(target: &Target) -> Result<Self, Failure> {
        if let Some((endpoint, certs)) = target.endpoint.clone().zip(target.pki.clone()) {
            return Ok(Self { endpoint, certs, own: None });
        }
        let folder = Folder::make(target.data.as_deref())?;
        let certs = folder.path.join("certs");
        pki::init(&certs, &pki::InitOptions::default())?;
        let port = free_port()?;
        let config = configure(&folder.path, port)?;
        let program = std::env::current_exe().map_err(file)?;
        let hub = HubProcess::start(&program, &config).await?;
        Ok(Self { endpoint: format!("https://localhost:{port}"), certs, own: Some(Own { hub, folder }) })
    }

    /// Process of the hub, when it is an own one.
    pub fn hub(&self) -> Option<u32> {
        self.own.as_ref().and_then(|own| own.hub.id())
    }

    /// Folder on the disk of the hub, when it is an own one.
    pub fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.path.as_path())
    }

    /// A connection as an operator.
    pub async fn operator(&self) -> Result<Client, Failure> {
        self.connect("operator").await
    }

    /// A connection as a node, whose certificate is made where there is none yet.
    pub async fn node(&self, name: &str) -> Result<Client, Failure> {
        if !pki::Paths::of(&self.certs, name).certificate.exists() {
            pki::issue(&self.certs, pki::Role::Node, name)?;
        }
        self.connect(name).await
    }

    async fn connect(&self, name: &str) -> Result<Client, Failure> {
        let paths = pki::Paths::of(&self.certs, name);
        let options = ClientOptions {
            endpoint: self.endpoint.clone(),
            ca: self.certs.join("ca.pem"),
            cert: paths.certificate,
            key: paths.key,
            domain: None,
        };
        Ok(Client::connect(&options).await?)
    }
}

impl Folder {
    fn make(named: Option<&Path>) -> Result<Self, Failure> {
        let temporary = named.is_none();
        let path = match named {
            Some(path) => std::path::absolute(path).map_err(file)?,
            None => std::env::temp_dir().join(format!("truc-bench-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path).map_err(file)?;
        if std::fs::read_dir(&path).map_err(file)?.next().is_some() {
            return Err(Failure::new(Exit::File, format!("{} is not empty", path.display())));
        }
        Ok(Self { path, temporary })
    }
}

/// All defaults: what is measured is what everybody gets.
fn configure(dir: &Path, port: u16) -> Result<PathBuf, Failure> {
    let path = dir.join("truc.toml");
    let text = format!(
        "origin = \"bench.truc.example/log\"\ndata_dir = \"hub\"\n\
         [listen]\naddress = \"127.0.0.1:{port}\"\n[logging]\nfilter = \"warn\"\n"
    );
    std::fs::write(&path, text).map_err(file)?;
    Ok(path)
}

fn file(error: std::io::Error) -> Failure {
    Failure::new(Exit::File, error)
}
