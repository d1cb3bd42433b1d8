//! `truc audit search`: evidence that answers a filter, or how much there is.

use serde::Serialize;

use super::{filter::Filter, row::Row};
use crate::{
    cli::{Connection, Failure, Output, table::table},
    client::{Patience, search},
    proto::{CountRequest, SearchOrder, SearchRequest},
};

/// Rows asked for at a time.
const PAGE: u32 = 1_000;

/// Searches the log for evidence.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only how many there are.
    #[arg(long)]
    count: bool,
    /// Newest first: the default.
    #[arg(long, conflicts_with = "oldest")]
    newest: bool,
    /// Oldest first.
    #[arg(long)]
    oldest: bool,
    /// Rows at most.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Counted {
    count: u64,
    covers: u64,
}

#[derive(Serialize)]
struct Found {
    rows: Vec<Row>,
    /// More than the limit were found.
    more: bool,
    covers: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let filter = Some(self.filter.to_proto()?);
        let client = self.connection.client().await?;
        if self.count {
            let counted = client.audit().count(CountRequest { filter }).await?.into_inner();
            let counted = Counted { count: counted.count, covers: counted.covers };
            output.print(&counted, |counted| {
                format!("{} in the first {} leaves of the log", counted.count, counted.covers)
            });
            return Ok(());
        }
        let order = if self.oldest { SearchOrder::Oldest } else { SearchOrder::Newest };
        let page_size = PAGE.min(self.limit.saturating_add(1));
        let request = SearchRequest { filter, order: order.into(), page_size, ..SearchRequest::default() };
        let (mut rows, mut more) = (Vec::new(), false);
        let covers = search::read(&client, request, &Patience::default(), |row| {
            more = rows.len() == self.limit as usize;
            if !more {
                rows.push(Row::from(row));
            }
            !more
        })
        .await?;
        let found = Found { covers, rows, more };
        output.print(&found, shown);
        Ok(())
    }
}

fn shown(found: &Found) -> String {
    let mut rows =
        table(["index", "Vietnam time", "event", "document", "subject", "sender", "recipient", "reasons"]);
    for row in &found.rows {
        let (index, subject) = (row.index.to_string(), row.about());
        let (sender, recipient) = (row.sender.clone(), row.recipient.clone());
        rows.add_row([index, row.when(), row.what(), row.document(), subject, sender, recipient, row.why()]);
    }
    let count = found.rows.len();
    let more = if found.more { ", there are more: raise --limit, or narrow it down" } else { "" };
    format!("{rows}\n{count} shown of the first {} leaves of the log{more}", found.covers)
}
