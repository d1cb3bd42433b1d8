//! `truc watch`: what happens to an agency's documents, as it happens.

use std::time::Duration;

use serde::Serialize;
use tonic::{Status, Streaming};

use super::{Connection, Failure, Output, events::EventLine};
use crate::{
    client::{Client, ClientError, Patience, Terms, timeline::Event},
    proto::{SaveCursorRequest, WatchRequest, WatchResponse},
};

/// Entries after which the cursor is saved.
const PAGE: usize = 64;
/// A page also ends when nothing came for so long.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints what happens to an agency's documents and what is asked of it, oldest first, then live. Each entry's proof
/// is verified.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The agency.
    #[arg(long, value_name = "AGENCY")]
    agency: String,
    /// Go on after this entry [default: the cursor saved on the hub, else the beginning].
    #[arg(long, default_value = "", hide_default_value = true)]
    cursor: String,
    /// End after what is there.
    #[arg(long)]
    once: bool,
    /// Save the cursor on the hub after each printed page.
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Line {
    cursor: String,
    #[serde(flatten)]
    event: EventLine,
}

/// A watch, and how far it is.
struct Watch {
    client: Client,
    terms: Terms,
    agency: String,
    cursor: String,
    saving: bool,
    unsaved: usize,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let patience = if self.once { Patience::default() } else { Patience::endless() };
        let mut watch =
            Watch { client, terms, agency: self.agency, cursor: self.cursor, saving: self.save, unsaved: 0 };
        let mut failed = 0;
        loop {
            let before = watch.cursor.clone();
            let status = match watch.follow(self.once, output).await {
                Ok(()) if self.once => return Ok(()),
                Ok(()) => Status::unavailable("the hub ended the watch"),
                Err(ClientError::Call(status)) => status,
                Err(error) => return Err(error.into()),
            };
            if watch.cursor != before {
                failed = 0;
            }
            if !patience.after(&status, &mut failed).await {
                return Err(status.into());
            }
        }
    }
}

impl Watch {
    /// Follows one stream to its end.
    async fn follow(&mut self, once: bool, output: &Output) -> Result<(), ClientError> {
        let request =
            WatchRequest { agency: self.agency.clone(), cursor: self.cursor.clone(), once, from_now: false };
        let mut entries = self.client.status().watch(request).await?.into_inner();
        while let Some(entry) = self.next(&mut entries).await? {
            self.print(entry, output).await?;
            if self.unsaved >= PAGE {
                self.save().await?;
            }
        }
        self.save().await
    }

    /// The next entry; while it does not come, the page ends.
    async fn next(
        &mut self,
        entries: &mut Streaming<WatchResponse>,
    ) -> Result<Option<WatchResponse>, ClientError> {
        if let Ok(next) = tokio::time::timeout(PAUSE, entries.message()).await {
            return Ok(next?);
        }
        self.save().await?;
        Ok(entries.message().await?)
    }

    async fn print(&mut self, entry: WatchResponse, output: &Output) -> Result<(), ClientError> {
        let receipt = entry.receipt.ok_or_else(|| ClientError::answer("a watch entry has no receipt"))?;
        let evidence = self.terms.check_following(&self.client, &receipt).await?;
        let line = Line { cursor: entry.cursor, event: EventLine::new(&Event { receipt, evidence }) };
        output.print(&line, shown);
        self.cursor = line.cursor;
        self.unsaved += 1;
        Ok(())
    }

    async fn save(&mut self) -> Result<(), ClientError> {
        if self.saving && self.unsaved > 0 {
            let request = SaveCursorRequest { agency: self.agency.clone(), cursor: self.cursor.clone() };
            self.client.status().save_cursor(request).await?;
        }
        self.unsaved = 0;
        Ok(())
    }
}

fn shown(line: &Line) -> String {
    let event = &line.event;
    let to = if event.recipient.is_empty() { String::new() } else { format!("  to {}", event.recipient) };
    let why = event.why().replace('\n', "; ");
    let why = if why.is_empty() { String::new() } else { format!("  {why}") };
    format!(
        "{}  {:>8}  {}  {} of {}{to}{why}  [{}]",
        event.when(),
        event.index,
        event.what(),
        event.document_id,
        event.sender,
        line.cursor
    )
}
