//! `truc why`: where a document is, why it waits, who must act.

use std::fmt::Write;

use serde::Serialize;

use super::{Connection, Failure, Output, table::table, verify::docproof::Language};
use crate::{
    client::{
        calendar::vietnam_time,
        readable::{moment, tail},
    },
    domain::{cause::owner_words, time::Timestamp},
    proto::{WhyRecipient, WhyRequest, WhyResponse, WhyTotals},
};

/// Recipients of one call.
const PAGE: u32 = 1_000;

/// Tells where a document is with every recipient, why, who must act, since when, and what would change it.
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
    /// Only this recipient.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    recipient: String,
    /// Also the recipients that have it.
    #[arg(long)]
    all: bool,
    /// Recipients told at most.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: usize,
    /// Language of the answer.
    #[arg(long, env = "TRUC_LANG", default_value = "en")]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Answer {
    document_id: String,
    sender: String,
    revision: u64,
    number: String,
    notation: String,
    accepted_at: Option<String>,
    recipients: u64,
    delivered: u64,
    waiting: u64,
    held: u64,
    refused: u64,
    expired: u64,
    cancelled: u64,
    expanding: u64,
    lines: Vec<Line>,
    /// More recipients than the limit.
    more: bool,
    #[serde(skip)]
    told: WhyResponse,
}

#[derive(Serialize)]
struct Line {
    recipient: String,
    name: String,
    state: &'static str,
    cause: &'static str,
    subject: String,
    owner: &'static str,
    since: Option<String>,
    next: Option<String>,
    attempts: u32,
    delivery_deadline: Option<String>,
    action: Option<u64>,
    says: String,
    help: String,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let size = u32::try_from(self.limit).unwrap_or(PAGE).clamp(1, PAGE);
        let mut request = WhyRequest {
            document_id: self.document,
            sender: self.sender,
            revision: self.revision,
            recipient: self.recipient,
            all: self.all,
            page_size: size,
            page_token: String::new(),
        };
        let mut told = client.operator().why(request.clone()).await?.into_inner();
        while told.recipients.len() < self.limit && !told.next_page_token.is_empty() {
            request.page_token.clone_from(&told.next_page_token);
            let page = client.operator().why(request.clone()).await?.into_inner();
            told.recipients.extend(page.recipients);
            told.next_page_token = page.next_page_token;
        }
        let more = told.recipients.len() > self.limit || !told.next_page_token.is_empty();
        told.recipients.truncate(self.limit);
        let answer = answer(told, more, self.lang);
        output.print(&answer, |answer| shown(answer, self.lang));
        Ok(())
    }
}

fn answer(mut told: WhyResponse, more: bool, lang: Language) -> Answer {
    let totals = told.totals.take().unwrap_or_default();
    Answer {
        document_id: told.document_id.clone(),
        sender: told.sender.clone(),
        revision: told.revision,
        number: told.number.clone(),
        notation: told.notation.clone(),
        accepted_at: moment(told.accepted_at_us),
        recipients: totals.recipients,
        delivered: totals.delivered,
        waiting: totals.waiting,
        held: totals.held,
        refused: totals.refused,
        expired: totals.expired,
        cancelled: totals.cancelled,
        expanding: totals.expanding,
        lines: told.recipients.iter().map(|line| self::line(line, lang)).collect(),
        more,
        told: WhyResponse { totals: Some(totals), ..told },
    }
}

fn line(line: &WhyRecipient, lang: Language) -> Line {
    let (says, help) = words(line, lang);
    Line {
        recipient: line.recipient.clone(),
        name: line.name.clone(),
        state: tail(line.state().as_str_name(), "TRANSPORT_STATE_"),
        cause: tail(line.cause().as_str_name(), "WHY_CAUSE_"),
        subject: line.subject.clone(),
        owner: tail(line.owner().as_str_name(), "WHY_OWNER_"),
        since: moment(line.since_us),
        next: moment(line.next_us),
        attempts: line.attempts,
        delivery_deadline: moment(line.delivery_deadline_us),
        action: line.action_plus_one.checked_sub(1),
        says: says.to_owned(),
        help: help.to_owned(),
    }
}

fn words(line: &WhyRecipient, lang: Language) -> (&str, &str) {
    match lang {
        Language::En => (&line.says_en, &line.help_en),
        Language::Vi => (&line.says_vi, &line.help_vi),
    }
}

fn shown(answer: &Answer, lang: Language) -> String {
    let mut text = summary(answer, lang);
    if answer.told.recipients.is_empty() {
        return text;
    }
    let mut rows = match lang {
        Language::En => table(["recipient", "why", "who must act", "since", "next", "deadline"]),
        Language::Vi => {
            table(["nơi nhận", "nguyên nhân", "ai phải xử lý", "từ lúc", "bước kế tiếp", "hạn tiếp nhận"])
        }
    };
    let time = |us: i64| Timestamp::given(us).map(vietnam_time).unwrap_or_default();
    let mut helps: Vec<String> = Vec::new();
    for line in &answer.told.recipients {
        let (says, help) = words(line, lang);
        let (owner_en, owner_vi) = owner_words(line.owner());
        let owner = if lang == Language::En { owner_en } else { owner_vi };
        let mut who = format!("{}\n{}", line.recipient, line.name);
        who.truncate(who.trim_end().len());
        let mut why = says.to_owned();
        if let Some(action) = line.action_plus_one.checked_sub(1) {
            let _ = write!(why, " (truc action show {action})");
        }
        rows.add_row([
            who,
            why,
            owner.to_owned(),
            time(line.since_us),
            time(line.next_us),
            time(line.delivery_deadline_us),
        ]);
        if !helps.iter().any(|known| known == help) {
            helps.push(help.to_owned());
        }
    }
    let _ = write!(text, "\n{rows}");
    for help in helps {
        let _ = write!(text, "\n→ {help}");
    }
    if answer.more {
        text += match lang {
            Language::En => "\nMore recipients: raise --limit.",
            Language::Vi => "\nCòn nơi nhận khác: tăng --limit.",
        };
    }
    text
}

/// "61 of 63 delivered; missing: …".
fn summary(answer: &Answer, lang: Language) -> String {
    let totals = answer.told.totals.unwrap_or_default();
    let mut text = match lang {
        Language::En => format!(
            "{} of {}: {} of {} delivered",
            answer.document_id, answer.sender, totals.delivered, totals.recipients
        ),
        Language::Vi => format!(
            "{} của {}: {}/{} nơi nhận đã tiếp nhận",
            answer.document_id, answer.sender, totals.delivered, totals.recipients
        ),
    };
    for (count, en, vi) in others(&totals) {
        let words = if lang == Language::En { en } else { vi };
        let _ = write!(text, ", {count} {words}");
    }
    let names: Vec<_> = answer
        .told
        .recipients
        .iter()
        .filter(|line| line.cause() != crate::proto::WhyCause::Delivered)
        .take(3)
        .map(|line| if line.name.is_empty() { line.recipient.clone() } else { line.name.clone() })
        .collect();
    if !names.is_empty() {
        let missing = if lang == Language::En { "missing" } else { "còn thiếu" };
        let rest = if totals.recipients - totals.delivered > names.len() as u64 { ", …" } else { "" };
        let _ = write!(text, "; {missing}: {}{rest}", names.join(", "));
    }
    text
}

fn others(totals: &WhyTotals) -> impl Iterator<Item = (u64, &'static str, &'static str)> {
    [
        (totals.waiting, "waiting", "đang chờ"),
        (totals.held, "held", "đang tạm giữ"),
        (totals.refused, "refused", "từ chối"),
        (totals.expired, "expired", "quá hạn"),
        (totals.cancelled, "cancelled", "đã hủy"),
        (totals.expanding, "being expanded", "đang xử lý danh sách"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{TransportState, WhyCause};

    #[test]
    fn the_roll_up_names_who_is_missing_in_both_languages() {
        let line = |name: &str| WhyRecipient {
            recipient: "H53".into(),
            name: name.into(),
            state: TransportState::Ready.into(),
            cause: WhyCause::NodeAway.into(),
            says_en: "away".into(),
            says_vi: "vắng".into(),
            ..WhyRecipient::default()
        };
        let told = WhyResponse {
            document_id: "d".into(),
            sender: "H54".into(),
            totals: Some(WhyTotals { recipients: 63, delivered: 61, waiting: 2, ..WhyTotals::default() }),
            recipients: vec![line("UBND xã A"), line("UBND xã B")],
            ..WhyResponse::default()
        };
        let english = summary(&answer(told.clone(), false, Language::En), Language::En);
        assert_eq!(english, "d of H54: 61 of 63 delivered, 2 waiting; missing: UBND xã A, UBND xã B");
        let vietnamese = shown(&answer(told, true, Language::Vi), Language::Vi);
        assert!(
            vietnamese.contains("61/63 nơi nhận đã tiếp nhận") && vietnamese.contains("vắng"),
            "{vietnamese}"
        );
        assert!(vietnamese.contains("--limit"));
    }
}
