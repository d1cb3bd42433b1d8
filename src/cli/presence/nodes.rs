//! `truc nodes`: every node of the directory, connected or not.

use serde::Serialize;

use super::{Language, PAGE, TrafficLine, say, shown_traffic, when};
use crate::{
    cli::{Connection, Failure, Output, table::table},
    client::readable::moment,
    proto::{ListNodeContactsRequest, LogKnowledge, NodeContact},
};

/// Shows every node: whether it is connected, and when it was last heard of. For operators.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only nodes that act for this agency.
    #[arg(long, default_value = "", hide_default_value = true)]
    agency: String,
    /// Only nodes that are not connected.
    #[arg(long)]
    away: bool,
    /// Language of the table.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Nodes {
    hub_started: Option<String>,
    /// Since when signed messages are known from the log.
    log_from: Option<String>,
    log_complete: bool,
    nodes: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    node: String,
    revoked: bool,
    agency_count: u32,
    connected: bool,
    sessions: u32,
    fetches: u32,
    connected_since: Option<String>,
    left: Option<String>,
    last_contact: Option<String>,
    contact_from_log: bool,
    last_fetch: Option<String>,
    last_offer: Option<String>,
    last_receipt: Option<String>,
    last_submission: Option<String>,
    address: String,
    certificate_until: Option<String>,
    in_flight: u32,
    offered: TrafficLine,
    answered: TrafficLine,
    submitted: TrafficLine,
    #[serde(skip)]
    told: NodeContact,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let mut request = ListNodeContactsRequest {
            agency: self.agency,
            away: self.away,
            page_size: PAGE,
            ..ListNodeContactsRequest::default()
        };
        let mut nodes = Vec::new();
        let (started, log) = loop {
            let page = client.operator().list_node_contacts(request.clone()).await?.into_inner();
            nodes.extend(page.nodes.into_iter().map(line));
            if page.next_page_token.is_empty() {
                break (page.started_us, page.log.unwrap_or_default());
            }
            request.page_token = page.next_page_token;
        };
        let answer = Nodes {
            hub_started: moment(started),
            log_from: moment(log.from_us),
            log_complete: is_complete(&log),
            nodes,
        };
        output.print(&answer, |answer| shown(answer, started, &log, self.lang));
        Ok(())
    }
}

fn line(told: NodeContact) -> Line {
    Line {
        node: told.node.clone(),
        revoked: told.revoked,
        agency_count: told.agency_count,
        connected: told.connected_since_us != 0,
        sessions: told.sessions,
        fetches: told.fetches,
        connected_since: moment(told.connected_since_us),
        left: moment(told.left_us),
        last_contact: moment(told.last_contact_us),
        contact_from_log: told.contact_from_log,
        last_fetch: moment(told.last_fetch_us),
        last_offer: moment(told.last_offer_us),
        last_receipt: moment(told.last_receipt_us),
        last_submission: moment(told.last_submission_us),
        address: told.address.clone(),
        certificate_until: moment(told.certificate_until_us),
        in_flight: told.in_flight,
        offered: TrafficLine::from(&told.offered),
        answered: TrafficLine::from(&told.answered),
        submitted: TrafficLine::from(&told.submitted),
        told,
    }
}

/// True when every leaf was read.
pub fn is_complete(log: &LogKnowledge) -> bool {
    log.from_us != 0 && log.covers >= log.size
}

fn shown(answer: &Nodes, started_us: i64, log: &LogKnowledge, lang: Language) -> String {
    let mut lines = table([
        say(lang, "node", "nút"),
        say(lang, "agencies", "cơ quan"),
        say(lang, "connection", "kết nối"),
        say(lang, "last contact", "liên lạc gần nhất"),
        say(lang, "last receipt", "biên nhận gần nhất"),
        say(lang, "in flight", "đang giao"),
        say(lang, "offered", "đã giao"),
        say(lang, "submitted", "đã gửi"),
        say(lang, "address", "địa chỉ"),
        say(lang, "certificate until", "chứng thư đến"),
    ]);
    for Line { told, .. } in &answer.nodes {
        lines.add_row([
            told.node.clone(),
            told.agency_count.to_string(),
            connection(told, lang),
            contact(told, lang),
            when(told.last_receipt_us),
            told.in_flight.to_string(),
            shown_traffic(&told.offered.unwrap_or_default(), lang),
            shown_traffic(&told.submitted.unwrap_or_default(), lang),
            told.address.clone(),
            when(told.certificate_until_us),
        ]);
    }
    format!("{lines}\n{}", horizon(started_us, log, lang))
}

fn connection(told: &NodeContact, lang: Language) -> String {
    let word = |english: &str, vietnamese: &str, us: i64| match lang {
        Language::En => format!("{english} {}", when(us)),
        Language::Vi => format!("{vietnamese} {}", when(us)),
    };
    match told {
        NodeContact { revoked: true, .. } => say(lang, "revoked", "đã thu hồi").into(),
        NodeContact { connected_since_us: 0, left_us: 0, .. } => {
            say(lang, "not since the hub's start", "chưa từ khi trục khởi động").into()
        }
        NodeContact { connected_since_us: 0, left_us, .. } => word("away since", "mất từ", *left_us),
        NodeContact { connected_since_us, .. } => word("since", "từ", *connected_since_us),
    }
}

fn contact(told: &NodeContact, lang: Language) -> String {
    match (told.last_contact_us, told.contact_from_log) {
        (0, _) => say(lang, "none known", "chưa rõ").into(),
        (us, true) => format!("{} ({})", when(us), say(lang, "by the log", "theo sổ")),
        (us, false) => when(us),
    }
}

/// What the hub can't know, in a sentence.
pub fn horizon(started_us: i64, log: &LogKnowledge, lang: Language) -> String {
    let (started, from) = (when(started_us), when(log.from_us));
    match (lang, log.from_us, is_complete(log)) {
        (Language::En, 0, _) => {
            format!("The hub started {started}; of what was before, the log has not been read yet.")
        }
        (Language::Vi, 0, _) => format!("Trục khởi động lúc {started}; chưa đọc sổ về trước đó."),
        (Language::En, _, true) => {
            format!(
                "The hub started {started}. Before that, what was signed since {from} is known by the log."
            )
        }
        (Language::Vi, _, true) => {
            format!("Trục khởi động lúc {started}. Trước đó, biết theo sổ những gì được ký từ {from}.")
        }
        (Language::En, _, false) => format!(
            "The hub started {started} and is still reading its log: {} of {} leaves.",
            log.covers, log.size
        ),
        (Language::Vi, _, false) => {
            format!("Trục khởi động lúc {started} và đang đọc sổ: {} trên {} mục.", log.covers, log.size)
        }
    }
}
