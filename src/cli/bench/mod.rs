//! `truc bench`: how fast a hub is. Documents are really signed, connections are real mutual TLS, receipts are really
//! verified; without `--endpoint` the hub is one of its own, in another process and a fresh folder.

mod attachment;
mod check;
mod circular;
mod floor;
mod given;
mod idle;
mod ledger;
mod letter;
mod load;
mod looks;
mod machine;
mod meter;
mod options;
mod pace;
mod questions;
mod receive;
mod report;
mod send;
mod site;
mod tally;
mod visitor;
mod waiting;
mod watch;
mod world;

use std::sync::Arc;

use tokio::signal::unix::SignalKind;

use super::{Exit, Failure, Output};
use floor::Floor;
use options::{Load, Other, Target};
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
    #[command(flatten)]
    other: Other,
}

impl Args {
    /// Runs the load and reports; fails when something acknowledged did not verify or did not arrive.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let told = told_to_end();
        tokio::select! {
            done = self.measure(output) => done,
            // Told to end, it still ends its hub and removes its folder.
            () = told => Err(Failure::new(Exit::Refused, "interrupted")),
        }
    }

    async fn measure(self, output: &Output) -> Result<(), Failure> {
        let Self { target, load, other } = self;
        let load = target.fit(load);
        load.check()?;
        match other {
            Other { bare_service: Some(certs), .. } => floor::bare::serve(&certs).await,
            Other { idle_sessions: Some(sessions), .. } => idle::run(&target, sessions, output).await,
            Other { attachment: Some(size), .. } => attachment::run(&target, size, output).await,
            Other { waiting: Some(deliveries), .. } => waiting::run(&target, deliveries, &load, output).await,
            _ => documents(&target, &load, output).await,
        }
    }
}

/// Ends by SIGINT or SIGTERM, from now on; never, where signals can't be received.
fn told_to_end() -> impl Future<Output = ()> {
    let open = tokio::signal::unix::signal;
    let signals = open(SignalKind::interrupt()).and_then(|int| Ok((int, open(SignalKind::terminate())?)));
    async move {
        let Ok((mut int, mut term)) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
    }
}

async fn documents(target: &Target, load: &Load, output: &Output) -> Result<(), Failure> {
    let site = Site::open(target).await?;
    let floor = match load.floor {
        true => Some(Floor::measure(&site, load).await?),
        false => None,
    };
    let world = Arc::new(World::found(&site, target, load).await?);
    let outcome = load::run(&site, world, load).await?;
    let questions = match load.questions {
        Some(asked) => Some(questions::ask(&site, &outcome, asked).await?),
        None => None,
    };
    let report = Report::new(machine::look(site.folder())?, load, &outcome, floor, questions);
    output.print(&report, Report::shown);
    outcome.verdict()
}
