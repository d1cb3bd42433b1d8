//! What the crash rigs share: the real binary, a mixed load on it, a ledger of what it acknowledged, and the checks after
//! each restart. How the hub is brought down is each rig's own.

#![allow(dead_code)]

mod able;
mod check;
mod ledger;
mod load;
mod operate;
mod process;
mod receive;
mod send;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

#[allow(unused_imports)]
pub use able::able;
use ledger::{Asked, Ledger, ask, is_open};
pub use process::Hub;
use tempfile::TempDir;
use truc::{
    cli::demo::{process::free_port, world::World},
    client::Client,
    domain::signature::SigningKey,
    proto::*,
    tlog::{checkpoint::Checkpoint, note::Verifier},
};

/// A province of its own, below which the circulars go. Nobody takes them over.
const CROWD: &str = "H60";
const CROWD_SIZE: usize = 400;

/// Everything outside the hub.
pub struct Outside {
    world: World,
    verifier: Verifier,
    ledger: Mutex<Ledger>,
    /// Every checkpoint up to this one was found consistent with it.
    proven: Mutex<Option<Checkpoint>>,
    rounds: std::sync::atomic::AtomicU64,
}

/// A hub and its outside.
pub struct CrashRig {
    pub hub: Hub,
    pub outside: Arc<Outside>,
    dir: TempDir,
}

impl CrashRig {
    /// A hub with the demo's directory and a crowd, its data in `data`, or beside the certificates.
    pub async fn start(data: Option<&Path>) -> Self {
        Self::start_with(data, "").await
    }

    /// With more lines of configuration.
    pub async fn start_with(data: Option<&Path>, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let world = World::make(dir.path(), &format!("https://localhost:{port}")).unwrap();
        let data = data.map_or_else(|| dir.path().join("hub"), Path::to_owned);
        let mut hub = Hub::configure(dir.path(), &data, port, more);
        hub.start().await;
        world.register().await.unwrap();
        let operator = world.connect("operator").await.unwrap();
        operate::register_crowd(&world.keepers().await.unwrap().registrar).await;
        let capabilities = operator.submission().get_capabilities(GetCapabilitiesRequest {}).await;
        let verifier = Verifier::parse(&capabilities.unwrap().into_inner().verifier_key).unwrap();
        let outside = Outside {
            world,
            verifier,
            ledger: Mutex::default(),
            proven: Mutex::default(),
            rounds: std::sync::atomic::AtomicU64::default(),
        };
        Self { hub, outside: Arc::new(outside), dir }
    }

    /// Where the certificates, the configuration and, by default, the data are.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

/// Copies a folder with everything in it.
pub fn copy_folder(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success(), "cp {from:?} {to:?}");
}

impl Outside {
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub async fn connect(&self, name: &str) -> Client {
        crate::rig::soon(self.world.connect(name)).await.unwrap()
    }

    pub fn seal(&self, agency: &str) -> &SigningKey {
        &self.world.seal(agency)[0]
    }

    /// Asks, and writes down what comes of it; `None` when the outcome is open. A refusal is a fault: the load asks
    /// for nothing that may be refused.
    async fn ask(&self, by: &'static str, client: &Client, asked: Asked) -> Option<Receipt> {
        let number = self.ledger().begin(by, &asked);
        match ask(client, &asked).await {
            Ok((receipt, _)) => {
                self.prove(&receipt);
                self.ledger().done(number, &receipt);
                Some(receipt)
            }
            Err(status) if is_open(&status) => None,
            Err(status) => panic!("{by} was refused: {status:?}\n{asked:?}"),
        }
    }

    /// Checks a receipt as an auditor would, without the hub.
    fn prove(&self, receipt: &Receipt) {
        let facts = truc::verify::receipt(receipt, &self.verifier);
        facts.unwrap_or_else(|error| panic!("leaf {}: {error}", receipt.index));
        let checkpoint = Checkpoint::open(&receipt.checkpoint, &self.verifier).unwrap();
        self.ledger().saw(receipt, checkpoint);
    }

    /// One line for the record.
    pub fn sum(&self) -> String {
        let ledger = self.ledger();
        let count = |which: fn(&Asked) -> bool| ledger.deeds.iter().filter(|deed| which(&deed.asked)).count();
        format!(
            "{} documents, {} additions, {} receipts, {} statuses, {} directory changes, {} uploads; {} leaves seen",
            count(|asked| matches!(asked, Asked::Submit(_))),
            count(|asked| matches!(asked, Asked::Add(_))),
            count(|asked| matches!(asked, Asked::Acknowledge(_))),
            count(|asked| matches!(asked, Asked::Report(_))),
            count(|asked| matches!(asked, Asked::Change(_))),
            ledger.uploads,
            ledger.leaves.len()
        )
    }
}
