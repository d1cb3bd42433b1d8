//! `truc demo`: a small country in one minute. A real hub in its own process, real TLS, real signatures.

mod audit;
mod crash;
mod exchange;
mod hostile;
mod operators;
pub mod process;
mod report;
mod stage;
pub mod world;

use std::{path::PathBuf, time::Instant};

use stage::Stage;

use super::{Exit, Failure, Output};
use report::Report;

/// Shows the whole path: documents on four levels, receipts, refusals, a killed hub, an audit.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for everything that the demo makes; it must be new or empty. Default: a fresh temporary one.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Keeps the hub running afterwards and prints commands to try.
    #[arg(long)]
    stay: bool,
}

impl Args {
    /// Tells the story; fails when any of its claims does not hold.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let dir = folder(self.data)?;
        let mut report = Report::new(output);
        report.chapter(&format!("A hub starts on loopback, with TLS, in {}", dir.display()));
        let since = Instant::now();
        let mut stage = Stage::open(&dir).await?;
        report.time("start", since);
        stage.register(&mut report).await?;
        exchange::commune_reports(&mut stage, &mut report).await?;
        exchange::province_circular(&mut stage, &mut report).await?;
        hostile::forged_repeated_conflicting(&mut stage, &mut report).await?;
        exchange::silence_has_a_clock(&mut stage, &mut report).await?;
        crash::killed_in_flight(&mut stage, &mut report).await?;
        audit::receipts_verify_offline(&mut stage, &mut report).await?;
        operators::refused_and_held(&mut stage, &mut report).await?;
        let held = report.finish(output);
        if self.stay {
            stage.stay(output).await?;
        }
        if held {
            return Ok(());
        }
        Err(Failure::new(Exit::Refused, "a check of the demo failed"))
    }
}

fn folder(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let file = |error: std::io::Error| Failure::new(Exit::File, error);
    let dir = given.unwrap_or_else(|| std::env::temp_dir().join(format!("truc-demo-{}", std::process::id())));
    std::fs::create_dir_all(&dir).map_err(file)?;
    if std::fs::read_dir(&dir).map_err(file)?.next().is_some() {
        return Err(Failure::new(Exit::File, format!("{} is not empty", dir.display()))
            .with_help("Name a new folder with --data, or leave it out."));
    }
    std::path::absolute(&dir).map_err(file)
}
