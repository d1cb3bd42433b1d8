//! What all chapters of the demo share: the hub, the world, and the usual moves of senders and recipients.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    process::{self, HubProcess},
    report::Report,
    world::{self, World},
};
use crate::{
    cli::{Exit, Failure, Output},
    client::{
        Client, ClientError, Draft, Patience, Terms,
        receive::{Desk, Taken},
        send::{self, Package, Sent},
        session::{self, Event, Until},
    },
    domain::{id::AgencyId, signature::SigningKey},
    proto::SubmitRequest,
};

/// The running demo.
pub struct Stage {
    /// Where everything lies.
    pub dir: PathBuf,
    /// Certificates and keys.
    pub world: World,
    /// The hub.
    pub hub: HubProcess,
    /// Limits, origin and verifier key of the hub.
    pub terms: Terms,
    /// What the commune's report became; the auditor looks at it.
    pub report_id: String,
    /// Port of the web console.
    console: u16,
    serial: u32,
}

impl Stage {
    /// Makes the world and starts the hub.
    pub async fn open(dir: &Path) -> Result<Self, Failure> {
        let port = process::free_port()?;
        let world = World::make(dir, &format!("https://localhost:{port}"))?;
        let config = process::configure(dir, port)?;
        let console = process::open_console(&config)?;
        let program = std::env::current_exe().map_err(|error| Failure::new(Exit::File, error))?;
        let hub = HubProcess::start(&program, &config).await?;
        let terms = world.connect("operator").await?.terms().await?;
        Ok(Self { dir: dir.to_owned(), world, hub, terms, console, report_id: String::new(), serial: 0 })
    }

    /// Fills the directory.
    pub async fn register(&self, report: &mut Report) -> Result<(), Failure> {
        report.chapter("The directory: a ministry, a province, three districts, eleven communes");
        let changes = self.world.register().await?;
        report.say(&format!("{changes} changes, each a leaf of the log"));
        report.count("directory_changes", changes);
        Ok(())
    }

    /// A number for the next document.
    pub fn number(&mut self) -> String {
        self.serial += 1;
        format!("{:02}", self.serial)
    }

    /// A file to attach: looks like a PDF, `size` bytes, different for each name.
    pub fn attachment(&self, name: &str, size: usize) -> Result<PathBuf, Failure> {
        let file = |error: std::io::Error| Failure::new(Exit::File, error);
        let folder = self.dir.join("outbox");
        std::fs::create_dir_all(&folder).map_err(file)?;
        let path = folder.join(name);
        let mut bytes = format!("%PDF-1.7\n% {name}\n").into_bytes();
        let mut word = 0x9E37_79B9_u32;
        while bytes.len() < size {
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes.truncate(size);
        std::fs::write(&path, bytes).map_err(file)?;
        Ok(path)
    }

    /// Signs a document.
    pub async fn pack(&self, draft: &Draft, keys: &[SigningKey]) -> Result<Package, Failure> {
        Ok(send::pack(draft, keys, &self.terms).await?)
    }

    /// Uploads and submits as a node.
    pub async fn send(&self, node: &str, package: &Package) -> Result<Sent, Failure> {
        let client = self.world.connect(node).await?;
        Ok(send::send(&client, &self.terms, package, &patience(), &|_, _| {}).await?)
    }

    /// Submits as a node and wants a refusal.
    pub async fn refused(
        &self,
        node: &str,
        request: &SubmitRequest,
    ) -> Result<Option<tonic::Status>, Failure> {
        let client = self.world.connect(node).await?;
        match send::submit(&client, &self.terms, request, &patience()).await {
            Ok(_) => Ok(None),
            Err(ClientError::Call(status)) => Ok(Some(status)),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over everything that waits for the agencies of a node, `credit` documents at a time.
    pub async fn receive(&self, node: &str, credit: u32) -> Result<Vec<Taken>, Failure> {
        let desk = Arc::new(self.desk(node, self.world.connect(node).await?)?);
        let mut taken = Vec::new();
        session::receive(desk, credit, Until::Empty, |event| {
            if let Event::Taken(one) = event {
                taken.push(*one);
            }
        })
        .await?;
        Ok(taken)
    }

    /// Where a node's documents are taken over.
    pub fn desk(&self, node: &str, client: Client) -> Result<Desk, Failure> {
        let mut keys = BTreeMap::new();
        for agency in world::agencies_of_node(node) {
            if agency != world::SILENT_COMMUNE {
                keys.insert(AgencyId::parse(&agency)?, self.world.load_seal(&agency)?);
            }
        }
        Ok(Desk {
            client,
            terms: self.terms.clone(),
            keys,
            folder: self.dir.join("inbox"),
            refuse: None,
            patience: patience(),
        })
    }

    /// Waits until `done` says yes, at most `limit`.
    pub async fn until(
        &self,
        limit: Duration,
        mut done: impl AsyncFnMut() -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        let since = Instant::now();
        while since.elapsed() < limit {
            if done().await? {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }

    /// Keeps the hub running, with commands to try, until Ctrl-C.
    pub async fn stay(self, output: &Output) -> Result<(), Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::new(Exit::File, error))?;
        let (truc, dir) = (program.display(), self.dir.display());
        let flags = format!("--hub {} --pki {dir}/certs", self.world.endpoint());
        output.line(&format!(
            "\nThe hub runs on {}. Try:\n  \
             {truc} directory {flags} --as operator list\n  \
             {truc} status {flags} --as auditor \"{id}\"\n  \
             {truc} overview {flags} --as operator\n  \
             {truc} console login {flags} --as operator      # a link to the web console on https://localhost:{console}\n  \
             {truc} receipt {flags} --as auditor \"{id}\" --out {dir}/proofs && {truc} verify {dir}/proofs\n\
             Ctrl-C ends it.",
            self.world.endpoint(),
            console = self.console,
            id = self.report_id,
        ));
        tokio::signal::ctrl_c().await.map_err(|error| Failure::new(Exit::File, error))
    }
}

/// The demo's hub is near, and is killed now and then.
pub fn patience() -> Patience {
    Patience::default()
}
