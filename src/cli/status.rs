//! `truc status`: where a document stands, and everything that happened to it.

use serde::Serialize;

use super::{
    Connection, Failure, Output,
    events::EventLine,
    table::{facts, table},
};
use crate::{
    client::{
        Patience,
        calendar::vietnam_time,
        readable::{moment, tail},
        timeline::{Event, read},
    },
    domain::time::Timestamp,
    proto::{GetTimelineRequest, GetTimelineResponse, RecipientState},
};

/// Shows where a document stands with every recipient, and all its events. Each event's proof is verified.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The document.
    #[arg(value_name = "ID")]
    document: String,
    /// Its sender; needed only where two agencies use the same id, and for other revisions than the first.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    sender: String,
    /// Its revision.
    #[arg(long, default_value_t = 0, requires = "sender")]
    revision: u64,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Timeline {
    document_id: String,
    sender: String,
    revision: u64,
    manifest_sha256: String,
    accepted_at: Option<String>,
    recipient_count: u64,
    recipients: Vec<RecipientLine>,
    events: Vec<EventLine>,
}

#[derive(Serialize)]
struct RecipientLine {
    recipient: String,
    transport: &'static str,
    status_code: u32,
    change_pending: bool,
    attempts: u32,
    next_attempt: Option<String>,
    delivery_deadline: Option<String>,
    #[serde(skip)]
    deadline: Option<Timestamp>,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let terms = client.terms().await?;
        let request = GetTimelineRequest {
            document_id: self.document,
            sender: self.sender,
            revision: self.revision,
            ..GetTimelineRequest::default()
        };
        let mut events = Vec::new();
        let look = |event: Event| {
            events.push(EventLine::new(&event));
            true
        };
        let head = read(&client, &terms, request, &Patience::default(), look).await?;
        output.print(&timeline(head, events), shown);
        Ok(())
    }
}

fn timeline(head: GetTimelineResponse, events: Vec<EventLine>) -> Timeline {
    Timeline {
        document_id: head.document_id,
        sender: head.sender,
        revision: head.revision,
        manifest_sha256: hex::encode(&head.manifest_sha256),
        accepted_at: moment(head.accepted_at_us),
        recipient_count: head.recipient_count,
        recipients: head.recipients.iter().map(recipient).collect(),
        events,
    }
}

fn recipient(state: &RecipientState) -> RecipientLine {
    RecipientLine {
        recipient: state.recipient.clone(),
        transport: tail(state.transport().as_str_name(), "TRANSPORT_STATE_"),
        status_code: state.status_code,
        change_pending: state.change_pending,
        attempts: state.attempts,
        next_attempt: moment(state.next_attempt_us),
        delivery_deadline: moment(state.delivery_deadline_us),
        deadline: Timestamp::given(state.delivery_deadline_us),
    }
}

fn shown(timeline: &Timeline) -> String {
    let document = facts([
        ("document", timeline.document_id.clone()),
        ("sender", timeline.sender.clone()),
        ("revision", timeline.revision.to_string()),
        ("recipients", timeline.recipient_count.to_string()),
    ]);
    let mut states = table(["recipient", "transport", "status", "to be taken over by"]);
    for line in &timeline.recipients {
        let status = match (line.status_code, line.change_pending) {
            (0, pending) => if pending { "change asked" } else { "" }.to_owned(),
            (code, pending) => format!("{code:02}{}", if pending { ", change asked" } else { "" }),
        };
        let deadline = line.deadline.map(vietnam_time).unwrap_or_default();
        states.add_row([line.recipient.clone(), line.transport.to_owned(), status, deadline]);
    }
    let mut events = table(["index", "Vietnam time", "event", "recipient", "signed by", "reasons"]);
    for line in &timeline.events {
        let (index, recipient) = (line.index.to_string(), line.recipient.clone());
        events.add_row([index, line.when(), line.what(), recipient, line.who(), line.why()]);
    }
    format!("{document}\n{states}\n{events}")
}
