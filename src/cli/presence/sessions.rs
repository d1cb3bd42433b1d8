//! `truc sessions`: the two-way streams that stand.

use serde::Serialize;

use super::{Language, PAGE, TrafficLine, say, shown_traffic, when};
use crate::{
    cli::{Connection, Failure, Output, table::table},
    client::readable::moment,
    proto::{ListSessionsRequest, SessionInfo},
};

/// Shows the sessions in which nodes take documents over. For operators.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only sessions of this node.
    #[arg(long, default_value = "", hide_default_value = true)]
    node: String,
    /// Only sessions that receive for this agency.
    #[arg(long, default_value = "", hide_default_value = true)]
    agency: String,
    /// Language of the table.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Sessions {
    open: u32,
    hub_started: Option<String>,
    sessions: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    session: u64,
    node: String,
    address: String,
    certificate_until: Option<String>,
    since: Option<String>,
    agency_count: u32,
    agencies: Vec<String>,
    credit: u32,
    in_flight: u32,
    last_offer: Option<String>,
    offered: TrafficLine,
    #[serde(skip)]
    told: SessionInfo,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let mut request = ListSessionsRequest {
            node: self.node,
            agency: self.agency,
            page_size: PAGE,
            ..ListSessionsRequest::default()
        };
        let mut answer = Sessions { open: 0, hub_started: None, sessions: Vec::new() };
        loop {
            let page = client.operator().list_sessions(request.clone()).await?.into_inner();
            (answer.open, answer.hub_started) = (page.open, moment(page.started_us));
            answer.sessions.extend(page.sessions.into_iter().map(line));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        output.print(&answer, |answer| shown(answer, self.lang));
        Ok(())
    }
}

fn line(told: SessionInfo) -> Line {
    Line {
        session: told.session,
        node: told.node.clone(),
        address: told.address.clone(),
        certificate_until: moment(told.certificate_until_us),
        since: moment(told.since_us),
        agency_count: told.agency_count,
        agencies: told.agencies.clone(),
        credit: told.credit,
        in_flight: told.in_flight,
        last_offer: moment(told.last_offer_us),
        offered: TrafficLine::from(&told.offered),
        told,
    }
}

fn shown(answer: &Sessions, lang: Language) -> String {
    if answer.sessions.is_empty() {
        return match (answer.open, lang) {
            (0, Language::En) => "no session is open".into(),
            (0, Language::Vi) => "không có phiên nào đang mở".into(),
            (open, Language::En) => format!("none of the {open} open sessions is such a one"),
            (open, Language::Vi) => format!("không phiên nào trong {open} phiên đang mở khớp điều kiện"),
        };
    }
    let mut lines = table([
        "#",
        say(lang, "node", "nút"),
        say(lang, "address", "địa chỉ"),
        say(lang, "since", "từ lúc"),
        say(lang, "agencies", "cơ quan"),
        say(lang, "in flight", "đang giao"),
        say(lang, "credit", "còn nhận"),
        say(lang, "last offer", "lần giao gần nhất"),
        say(lang, "offered", "đã giao"),
        say(lang, "certificate until", "chứng thư đến"),
    ]);
    for Line { told, .. } in &answer.sessions {
        let agencies = match told.agencies.as_slice() {
            [only] => only.clone(),
            _ => told.agency_count.to_string(),
        };
        lines.add_row([
            told.session.to_string(),
            told.node.clone(),
            told.address.clone(),
            when(told.since_us),
            agencies,
            told.in_flight.to_string(),
            told.credit.to_string(),
            when(told.last_offer_us),
            shown_traffic(&told.offered.unwrap_or_default(), lang),
            when(told.certificate_until_us),
        ]);
    }
    lines.to_string()
}
