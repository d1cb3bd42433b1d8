//! `truc bench`: how fast a hub is. Documents are really signed, connections are real mutual TLS, receipts are really
//! verified; without `--endpoint` the hub is one of its own, in another process and a fresh folder.

mod check;
mod ledger;
mod letter;
mod load;
mod machine;
mod meter;
mod options;
mod pace;
mod receive;
mod report;
mod send;
mod site;
mod tally;
mod watch;
mod world;

use super::{Failure, Output};
use options::{Load, Target};
use report::Report;
use site::Site;
use world::World;

/// Measures a hub: acknowledgements and deliveries each second, latencies, and what a document costs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    load: Load,
}

impl Args {
    /// Runs the load and reports; fails when something acknowledged did not verify or did not arrive.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        self.load.check()?;
        let site = Site::open(&self.target).await?;
        let world = World::found(&site, &self.load).await?;
        let outcome = load::run(&site, world, &self.load).await?;
        let report = Report::new(machine::look(site.folder())?, &self.load, &outcome);
        output.print(&report, Report::shown);
        outcome.verdict()
    }
}
