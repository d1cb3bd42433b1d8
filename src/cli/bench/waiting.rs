//! A hub that is killed while very much waits: how long until it serves again, and how long a rebuild takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::process::Command;

use super::{
    load,
    looks::{self, Looks},
    machine::{self, Machine},
    options::{Load, Target},
    site::Site,
    world::World,
};
use crate::{
    cli::{Exit, Failure, Output, table::facts},
    client::Client,
    proto::{GetOverviewRequest, GetOverviewResponse},
};

/// How often the hub is asked how far it is.
const LOOK: Duration = Duration::from_millis(50);
/// Longest time for queueing what was handed in.
const LIMIT: Duration = Duration::from_secs(600);

/// The answer.
#[derive(Debug, Serialize)]
struct Report {
    waiting: u64,
    documents: u64,
    leaves: u64,
    /// From the start of the process until it says that its port is open, after kill -9.
    ready_seconds: f64,
    /// Until it has answered a call, too.
    answered_seconds: f64,
    rss_mb: Option<f64>,
    /// Of `truc rebuild`, after kill -9.
    rebuild_seconds: f64,
    /// Size of the hub's folder.
    disk_mb: f64,
    acks_per_second: f64,
    /// What operators looked at, and how long it took.
    looks: Option<Looks>,
    machine: Machine,
}

/// Queues so many deliveries, kills the hub, starts it again, kills it again, rebuilds.
pub async fn run(target: &Target, waiting: u64, load: &Load, output: &Output) -> Result<(), Failure> {
    let mut site = Site::open(target).await?;
    let documents = waiting.div_ceil(load.fan_out as u64);
    let load = Load { no_receive: true, documents: Some(documents), ..load.clone() };
    let world = World::found(&site, target, &load).await?;
    let operator = site.operator().await?;
    let outcome = load::run(&site, Arc::new(world), &load).await?;
    outcome.verdict()?;
    let before = queued(&operator).await?;
    if before.waiting < waiting {
        let text = format!("{} deliveries wait instead of {waiting}", before.waiting);
        return Err(Failure::new(Exit::Refused, text));
    }
    let looks = match load.looks {
        Some(asked) => Some(looks::look(&site, &operator, &outcome, asked).await?),
        None => None,
    };
    let hub = site.hub_process()?;
    hub.kill().await?;
    let since = Instant::now();
    hub.restart_within(LIMIT).await?;
    let ready_seconds = since.elapsed().as_secs_f64();
    let after = overview(&site.operator().await?).await?;
    let answered_seconds = since.elapsed().as_secs_f64();
    if (after.waiting, after.leaves) != (before.waiting, before.leaves) {
        let text = format!("{} deliveries wait instead of {} after the kill", after.waiting, before.waiting);
        return Err(Failure::new(Exit::Refused, text));
    }
    let rss_mb = site.rss_kib().map(|kib| kib as f64 / 1024.0);
    site.hub_process()?.kill().await?;
    let rebuild_seconds = rebuild(&site).await?;
    let report = Report {
        waiting: after.waiting,
        documents: after.documents,
        leaves: after.leaves,
        ready_seconds,
        answered_seconds,
        rss_mb,
        rebuild_seconds,
        disk_mb: site.disk_bytes()? as f64 / (1 << 20) as f64,
        acks_per_second: outcome.acks_per_second(),
        looks,
        machine: machine::look(site.folder())?,
    };
    output.print(&report, |report| {
        let told = facts([
            ("deliveries waiting", report.waiting.to_string()),
            ("ready after kill -9", format!("{:.1} s", report.ready_seconds)),
            ("rebuild", format!("{:.1} s for {} leaves", report.rebuild_seconds, report.leaves)),
            ("on disk", format!("{:.0} MiB", report.disk_mb)),
        ]);
        match &report.looks {
            Some(looks) => format!("{told}\n{}", facts(looks.shown())),
            None => told,
        }
    });
    Ok(())
}

/// Waits until every list is expanded.
async fn queued(operator: &Client) -> Result<GetOverviewResponse, Failure> {
    let since = Instant::now();
    loop {
        let told = overview(operator).await?;
        if told.expanding == 0 || since.elapsed() > LIMIT {
            return Ok(told);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn overview(operator: &Client) -> Result<GetOverviewResponse, Failure> {
    Ok(operator.operator().get_overview(GetOverviewRequest {}).await?.into_inner())
}

async fn rebuild(site: &Site) -> Result<f64, Failure> {
    let file = |error: std::io::Error| Failure::new(Exit::File, error);
    let since = Instant::now();
    let mut command = Command::new(std::env::current_exe().map_err(file)?);
    command.args(["rebuild", "--json", "--config"]).arg(site.config()?).kill_on_drop(true);
    let done = command.output().await.map_err(file)?;
    if !done.status.success() {
        return Err(Failure::new(Exit::File, String::from_utf8_lossy(&done.stderr)));
    }
    Ok(since.elapsed().as_secs_f64())
}
