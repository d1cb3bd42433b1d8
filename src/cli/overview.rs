//! `truc overview`: what the hub holds and does, in numbers.

use serde::Serialize;

use super::{Connection, Failure, Output, table::facts};
use crate::{config::human::print_size, proto::GetOverviewRequest};

/// Shows what the hub holds and does. For operators.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Overview {
    origin: String,
    version: String,
    leaves: u64,
    documents: u64,
    waiting: u64,
    leased: u64,
    expanding: u64,
    sessions: u32,
    agencies: u64,
    nodes: u64,
    body_bytes: u64,
    index_lag: u64,
    syncs: u64,
    written_bytes: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let told = client.operator().get_overview(GetOverviewRequest {}).await?.into_inner();
        let overview = Overview {
            origin: told.origin,
            version: told.version,
            leaves: told.leaves,
            documents: told.documents,
            waiting: told.waiting,
            leased: told.leased,
            expanding: told.expanding,
            sessions: told.sessions,
            agencies: told.agencies,
            nodes: told.nodes,
            body_bytes: told.body_bytes,
            index_lag: told.index_lag,
            syncs: told.syncs,
            written_bytes: told.written_bytes,
        };
        output.print(&overview, shown);
        Ok(())
    }
}

fn shown(overview: &Overview) -> String {
    facts([
        ("hub", format!("{}, version {}", overview.origin, overview.version)),
        ("leaves in the log", overview.leaves.to_string()),
        ("documents", overview.documents.to_string()),
        ("deliveries waiting", format!("{}, of these leased {}", overview.waiting, overview.leased)),
        ("circulars being expanded", overview.expanding.to_string()),
        ("sessions", overview.sessions.to_string()),
        ("agencies", overview.agencies.to_string()),
        ("nodes", overview.nodes.to_string()),
        ("attachments and envelopes", print_size(overview.body_bytes)),
        ("commits not yet indexed", overview.index_lag.to_string()),
        ("syncs of the disk since the start", overview.syncs.to_string()),
        ("written since the start", print_size(overview.written_bytes)),
    ])
}
