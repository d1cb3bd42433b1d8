//! Nodes.

use serde::Serialize;

use super::change;
use crate::{
    cli::{Failure, Output, table::table},
    client::Client,
    proto::{ListNodesRequest, Node, RevokeNode, directory_change::Change},
};

/// What to do with nodes.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Add a node, or replace its record: it acts for exactly these agencies.
    Add {
        /// As in its certificate.
        name: String,
        /// Agency that it acts for; repeat it for more.
        #[arg(long = "agency", value_name = "AGENCY", required = true)]
        agencies: Vec<String>,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Cut a node off at once.
    Revoke {
        /// As in its certificate.
        name: String,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// List all nodes.
    List,
}

#[derive(Serialize)]
struct NodeLine {
    name: String,
    agencies: Vec<String>,
    revoked: bool,
}

impl Command {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add { name, agencies, reason } => {
                let node = Node { name, agencies, revoked: false };
                change(client, output, Change::PutNode(node), reason).await
            }
            Self::Revoke { name, reason } => {
                change(client, output, Change::RevokeNode(RevokeNode { name }), reason).await
            }
            Self::List => list(client, output).await,
        }
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let nodes = client.directory().list_nodes(ListNodesRequest {}).await?.into_inner().nodes;
    let lines: Vec<_> = nodes
        .into_iter()
        .map(|Node { name, agencies, revoked }| NodeLine { name, agencies, revoked })
        .collect();
    output.print(&lines, |lines| {
        let mut table = table(["node", "acts for", ""]);
        for line in lines {
            let agencies = match line.agencies.len() {
                count @ 0..=8 => format!("{count}: {}", line.agencies.join(", ")),
                count => format!("{count}: {}, …", line.agencies[..8].join(", ")),
            };
            table.add_row([&*line.name, &*agencies, if line.revoked { "revoked" } else { "" }]);
        }
        table.to_string()
    });
    Ok(())
}
