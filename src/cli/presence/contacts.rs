//! `truc contacts`: does anybody take an agency's documents, and when was it last heard of.

use std::time::Duration;

use serde::Serialize;

use super::{Language, PAGE, nodes, say, when};
use crate::{
    cli::{Connection, Exit, Failure, Output, table::table},
    client::readable::{moment, tail},
    config::human::parse_duration,
    proto::{AgencyContact, Level, ListAgencyContactsRequest, LogKnowledge},
};

/// Shows every agency: whether somebody receives for it, what waits, and when it last signed anything. For operators.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this agency and everything below it.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    below: String,
    /// Only agencies of this level: central, province, district or commune.
    #[arg(long, value_parser = level)]
    level: Option<Level>,
    /// Only agencies for which nobody has received for so long (30m, 2h, 3d).
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    silent: Option<Duration>,
    /// Only agencies for which documents wait.
    #[arg(long)]
    waiting: bool,
    /// Language of the table.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Contacts {
    hub_started: Option<String>,
    log_from: Option<String>,
    log_complete: bool,
    agencies: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    agency: String,
    name: String,
    level: &'static str,
    nodes: Vec<String>,
    receiving: Vec<String>,
    receiving_since: Option<String>,
    last_receiving: Option<String>,
    last_signed: Option<String>,
    signed_from_log: bool,
    waiting: u64,
    #[serde(skip)]
    told: AgencyContact,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let silent = self.silent.unwrap_or_default().as_micros();
        let mut request = ListAgencyContactsRequest {
            below: self.below,
            level: self.level.unwrap_or_default().into(),
            silent_for_us: i64::try_from(silent)
                .map_err(|_| Failure::new(Exit::Usage, "--silent: is too long"))?,
            page_size: PAGE,
            ..ListAgencyContactsRequest::default()
        };
        let client = self.connection.client().await?;
        let mut agencies = Vec::new();
        let (started, log) = loop {
            let page = client.operator().list_agency_contacts(request.clone()).await?.into_inner();
            let wanted = page.agencies.into_iter().filter(|told| !self.waiting || told.waiting > 0);
            agencies.extend(wanted.map(line));
            if page.next_page_token.is_empty() {
                break (page.started_us, page.log.unwrap_or_default());
            }
            request.page_token = page.next_page_token;
        };
        let answer = Contacts {
            hub_started: moment(started),
            log_from: moment(log.from_us),
            log_complete: nodes::is_complete(&log),
            agencies,
        };
        output.print(&answer, |answer| shown(answer, started, &log, self.lang));
        Ok(())
    }
}

fn level(text: &str) -> Result<Level, String> {
    Level::from_str_name(&format!("LEVEL_{}", text.to_ascii_uppercase()))
        .filter(|level| *level != Level::Unspecified)
        .ok_or_else(|| "one of central, province, district, commune".into())
}

fn line(told: AgencyContact) -> Line {
    Line {
        agency: told.organ_id.clone(),
        name: told.name.clone(),
        level: tail(told.level().as_str_name(), "LEVEL_"),
        nodes: told.nodes.clone(),
        receiving: told.receiving.clone(),
        receiving_since: moment(told.receiving_since_us),
        last_receiving: moment(told.last_receiving_us),
        last_signed: moment(told.last_signed_us),
        signed_from_log: told.signed_from_log,
        waiting: told.waiting,
        told,
    }
}

fn shown(answer: &Contacts, started_us: i64, log: &LogKnowledge, lang: Language) -> String {
    let mut lines = table([
        say(lang, "agency", "cơ quan"),
        say(lang, "name", "tên"),
        say(lang, "receives", "nhận văn bản"),
        say(lang, "last signed", "ký gần nhất"),
        say(lang, "waiting", "đang chờ"),
        say(lang, "nodes", "nút"),
    ]);
    for Line { told, .. } in &answer.agencies {
        lines.add_row([
            told.organ_id.clone(),
            told.name.clone(),
            receives(told, lang),
            signed(told, lang),
            told.waiting.to_string(),
            told.nodes.join(", "),
        ]);
    }
    format!("{lines}\n{}", nodes::horizon(started_us, log, lang))
}

fn receives(told: &AgencyContact, lang: Language) -> String {
    let (since, last) = (when(told.receiving_since_us), when(told.last_receiving_us));
    match (told.nodes.is_empty(), told.receiving.is_empty(), told.last_receiving_us, lang) {
        (true, ..) => say(lang, "no node acts for it", "không có nút nào").into(),
        (_, false, _, Language::En) => format!("{} since {since}", told.receiving.join(", ")),
        (_, false, _, Language::Vi) => format!("{} từ {since}", told.receiving.join(", ")),
        (_, true, 0, _) => {
            say(lang, "nobody since the hub's start", "chưa có ai từ khi trục khởi động").into()
        }
        (_, true, _, Language::En) => format!("nobody since {last}"),
        (_, true, _, Language::Vi) => format!("không có ai từ {last}"),
    }
}

fn signed(told: &AgencyContact, lang: Language) -> String {
    match (told.last_signed_us, told.signed_from_log) {
        (0, _) => say(lang, "nothing known", "chưa rõ").into(),
        (us, true) => format!("{} ({})", when(us), say(lang, "by the log", "theo sổ")),
        (us, false) => when(us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_said_so() {
        let told = AgencyContact { nodes: vec!["sapa".into()], ..AgencyContact::default() };
        assert_eq!(receives(&told, Language::En), "nobody since the hub's start");
        assert_eq!(signed(&told, Language::Vi), "chưa rõ");
        let gone = AgencyContact { last_receiving_us: 1_795_291_200_000_000, ..told.clone() };
        assert_eq!(receives(&gone, Language::Vi), "không có ai từ 2026-11-22 03:00:00");
        let here = AgencyContact {
            receiving: vec!["sapa".into()],
            receiving_since_us: 1_795_291_200_000_000,
            ..gone
        };
        assert_eq!(receives(&here, Language::En), "sapa since 2026-11-22 03:00:00");
        assert_eq!(receives(&AgencyContact::default(), Language::En), "no node acts for it");
    }

    #[test]
    fn levels_are_named() {
        assert_eq!(level("commune"), Ok(Level::Commune));
        assert!(level("unspecified").is_err() && level("xã").is_err());
    }
}
