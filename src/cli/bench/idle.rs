//! Sessions in which nothing happens: what each costs the hub in memory.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{
    machine::{self, Machine},
    meter::Process,
    options::Target,
    site::Site,
    world::Nodes,
};
use crate::{
    cli::{Exit, Failure, Output, table::facts},
    client::Client,
    proto::{DeliverRequest, DeliverResponse, Hello, deliver_request},
};

/// Sessions of each node: less than the hub lets one have.
const OF_A_NODE: usize = 60;
/// Connections from one address.
const OF_AN_ADDRESS: usize = 12_000;
/// Handshakes at a time.
const AT_ONCE: usize = 32;
/// The hub's memory is read after such a rest.
const REST: Duration = Duration::from_secs(3);

/// The answer.
#[derive(Debug, Serialize)]
struct Report {
    idle_sessions: usize,
    /// Resident memory of the hub that came with the sessions, for each.
    rss_kib_per_session: Option<f64>,
    rss_mb: Option<f64>,
    /// Handshakes and sessions opened a second.
    opened_per_second: f64,
    machine: Machine,
}

/// A session that is held open.
type Held = (mpsc::Sender<DeliverRequest>, Streaming<DeliverResponse>);

/// Opens so many sessions, each over a connection of its own, and looks at the hub's memory.
pub async fn run(target: &Target, sessions: usize, output: &Output) -> Result<(), Failure> {
    let site = Site::open(target).await?;
    let nodes = Nodes::found(&site, "bench-idle", sessions.div_ceil(OF_A_NODE)).await?;
    let rss = || site.hub().and_then(|pid| Process::read(&pid.to_string())).map(|hub| hub.rss_kib);
    let before = rss();
    let since = Instant::now();
    let held = open(&site, &nodes, sessions).await?;
    let opened_per_second = sessions as f64 / since.elapsed().as_secs_f64();
    tokio::time::sleep(REST).await;
    let after = rss();
    let each = after.zip(before).map(|(after, before)| after.saturating_sub(before) as f64 / sessions as f64);
    let report = Report {
        idle_sessions: held.len(),
        rss_kib_per_session: each,
        rss_mb: after.map(|kib| kib as f64 / 1024.0),
        opened_per_second,
        machine: machine::look(site.folder())?,
    };
    drop(held);
    output.print(&report, |report| {
        facts([
            ("idle sessions", report.idle_sessions.to_string()),
            (
                "the hub's memory for each",
                report.rss_kib_per_session.map_or("?".into(), |kib| format!("{kib:.1} KiB")),
            ),
            ("opened", format!("{:.0} /s", report.opened_per_second)),
        ])
    });
    Ok(())
}

async fn open(site: &Site, nodes: &Nodes, sessions: usize) -> Result<Vec<Held>, Failure> {
    let (mut work, mut held) = (JoinSet::new(), Vec::with_capacity(sessions));
    for at in 0..sessions {
        if work.len() >= AT_ONCE {
            held.extend(joined(work.join_next().await)?);
        }
        let options = site.options(&nodes.names[at / OF_A_NODE]);
        work.spawn(async move { session(Client::connect_from(&options, source(at)).await?).await });
    }
    while let Some(done) = work.join_next().await {
        held.extend(joined(Some(done))?);
    }
    Ok(held)
}

fn joined(
    done: Option<Result<Result<Held, Failure>, tokio::task::JoinError>>,
) -> Result<Option<Held>, Failure> {
    let Some(done) = done else { return Ok(None) };
    done.map_err(|error| Failure::new(Exit::Refused, error))?.map(Some)
}

/// Where a connection comes from: an address has ports, and a hub room, for so many.
fn source(at: usize) -> Option<IpAddr> {
    let address = u8::try_from(at / OF_AN_ADDRESS).unwrap_or(u8::MAX);
    (address > 0).then(|| Ipv4Addr::new(127, 0, 1, address).into())
}

/// Greets, gives credit, and waits for the welcome.
async fn session(client: Client) -> Result<Held, Failure> {
    let (steps, receiver) = mpsc::channel(2);
    for step in [deliver_request::Step::Hello(Hello::default()), deliver_request::Step::Credit(8)] {
        // Both fit into a fresh channel.
        let _ = steps.send(DeliverRequest { step: Some(step) }).await;
    }
    let mut said = client.delivery().deliver(ReceiverStream::new(receiver)).await?.into_inner();
    said.message().await?;
    Ok((steps, said))
}
