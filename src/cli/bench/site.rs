//! Where the load goes: a hub of its own, or one that runs already.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{meter::Process, options::Target};
use crate::{
    cli::{
        Exit, Failure,
        demo::world::Keepers,
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
    config: PathBuf,
    folder: Folder,
}

/// A folder; a temporary one goes with its value.
pub struct Folder {
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
        if let Some(endpoint) = target.endpoint.clone() {
            if target.pki.is_none() && target.from.is_none() {
                return Err(Failure::new(Exit::Usage, "--pki is missing")
                    .with_help("or name --from, --key and --to, and the certificate of a node"));
            }
            return Ok(Self { endpoint, certs: target.pki.clone().unwrap_or_default(), own: None });
        }
        let folder = Folder::make(target.data.as_deref())?;
        let certs = folder.path.join("certs");
        pki::init(&certs, &pki::InitOptions::default())?;
        let port = free_port()?;
        let config = configure(&folder.path, port)?;
        let program = std::env::current_exe().map_err(file)?;
        let hub = HubProcess::start(&program, &config).await?;
        Ok(Self {
            endpoint: format!("https://localhost:{port}"),
            certs,
            own: Some(Own { hub, config, folder }),
        })
    }

    /// Process of the hub, when it is an own one.
    pub fn hub(&self) -> Option<u32> {
        self.own.as_ref().and_then(|own| own.hub.id())
    }

    /// The own hub, to be killed and started.
    pub fn hub_process(&mut self) -> Result<&mut HubProcess, Failure> {
        self.own.as_mut().map(|own| &mut own.hub).ok_or_else(not_own)
    }

    /// Configuration of the own hub.
    pub fn config(&self) -> Result<&Path, Failure> {
        self.own.as_ref().map(|own| own.config.as_path()).ok_or_else(not_own)
    }

    /// Bytes that the own hub's folder takes on the disk.
    pub fn disk_bytes(&self) -> Result<u64, Failure> {
        let folder = self.folder().ok_or_else(not_own)?;
        disk_bytes(&folder.join("hub")).map_err(file)
    }

    /// Resident memory of the own hub.
    pub fn rss_kib(&self) -> Option<u64> {
        Process::read(&self.hub()?.to_string()).map(|hub| hub.rss_kib)
    }

    /// Folder on the disk of the hub, when it is an own one.
    pub fn folder(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.folder.path.as_path())
    }

    /// A temporary folder, on the disk of an own hub.
    pub fn scratch(&self) -> Result<Folder, Failure> {
        let path = match &self.own {
            Some(own) => own.folder.path.join("scratch"),
            None => std::env::temp_dir().join(format!("truc-bench-{}-scratch", std::process::id())),
        };
        std::fs::create_dir_all(&path).map_err(file)?;
        Ok(Folder { path, temporary: true })
    }

    /// A connection as an operator.
    pub async fn operator(&self) -> Result<Client, Failure> {
        self.connect("operator").await
    }

    /// Connections of those who keep the directory; their certificates are made where there are none yet.
    pub async fn keepers(&self) -> Result<Keepers, Failure> {
        self.certify_as(pki::Role::Registrar, "registrar")?;
        self.certify_as(pki::Role::Security, "security")?;
        Ok(Keepers { registrar: self.connect("registrar").await?, security: self.connect("security").await? })
    }

    /// A connection as an auditor who sees everything.
    pub async fn auditor(&self) -> Result<Client, Failure> {
        self.certify_as(pki::Role::Auditor, "auditor")?;
        self.connect("auditor").await
    }

    /// A connection as a node, whose certificate is made where there is none yet.
    pub async fn node(&self, name: &str) -> Result<Client, Failure> {
        self.certify(name)?;
        self.connect(name).await
    }

    /// Makes a node's certificate where there is none yet.
    pub fn certify(&self, name: &str) -> Result<(), Failure> {
        self.certify_as(pki::Role::Node, name)
    }

    fn certify_as(&self, role: pki::Role, name: &str) -> Result<(), Failure> {
        if !pki::Paths::of(&self.certs, name).certificate.exists() {
            pki::issue(&self.certs, role, name)?;
        }
        Ok(())
    }

    async fn connect(&self, name: &str) -> Result<Client, Failure> {
        Ok(Client::connect(&self.options(name)).await?)
    }

    /// How the holder of a certificate connects.
    pub fn options(&self, name: &str) -> ClientOptions {
        let paths = pki::Paths::of(&self.certs, name);
        ClientOptions {
            endpoint: self.endpoint.clone(),
            ca: self.certs.join("ca.pem"),
            cert: paths.certificate,
            key: paths.key,
            domain: None,
        }
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

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
         [listen]\naddress = \"127.0.0.1:{port}\"\n[monitor]\naddress = \"127.0.0.1:0\"\n[console]\naddress = \"127.0.0.1:0\"\n[logging]\nfilter = \"warn,truc::cli::serve=error,truc::hub::health=off\"\n"
    );
    std::fs::write(&path, text).map_err(file)?;
    Ok(path)
}

/// As the file system counts: holes take nothing.
fn disk_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { disk_bytes(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(sum)
}

fn not_own() -> Failure {
    Failure::new(Exit::Usage, "this needs a hub of its own: leave --endpoint out")
}

fn file(error: std::io::Error) -> Failure {
    Failure::new(Exit::File, error)
}
