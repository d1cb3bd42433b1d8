//! The queue of one agency.

use serde::Serialize;

use super::age;
use crate::{
    cli::{Failure, Output, table::table, verify::docproof::Language},
    client::{
        Client,
        calendar::vietnam_time,
        readable::{moment, tail},
    },
    domain::time::Timestamp,
    proto::{QueueEntry, QueueListRequest, QueueListResponse, TransportState},
};

/// Documents of one call.
const PAGE: usize = 1_000;

#[derive(Serialize)]
struct Queue {
    waiting: u64,
    held: u64,
    documents: Vec<Entry>,
    /// More than the limit.
    more: bool,
    #[serde(skip)]
    told: QueueListResponse,
}

#[derive(Serialize)]
struct Entry {
    document_id: String,
    sender: String,
    revision: u64,
    number: String,
    notation: String,
    urgency: u32,
    accepted_at: Option<String>,
    delivery_deadline: Option<String>,
    state: &'static str,
    attempts: u32,
    leased: bool,
    next: Option<String>,
}

/// Asks and prints.
pub async fn run(
    client: &Client,
    agency: String,
    limit: usize,
    lang: Language,
    output: &Output,
) -> Result<(), Failure> {
    let page_size = u32::try_from(limit.clamp(1, PAGE)).unwrap_or(1);
    let mut request = QueueListRequest { agency, page_token: String::new(), page_size };
    let mut told = client.operator().queue_list(request.clone()).await?.into_inner();
    while told.entries.len() < limit && !told.next_page_token.is_empty() {
        request.page_token.clone_from(&told.next_page_token);
        let page = client.operator().queue_list(request.clone()).await?.into_inner();
        told.entries.extend(page.entries);
        told.next_page_token = page.next_page_token;
    }
    let more = told.entries.len() > limit || !told.next_page_token.is_empty();
    told.entries.truncate(limit);
    let count = told.count.unwrap_or_default();
    let documents = told.entries.iter().map(entry).collect();
    let queue = Queue { waiting: count.waiting, held: count.held, documents, more, told };
    output.print(&queue, |queue| shown(queue, lang));
    Ok(())
}

fn entry(entry: &QueueEntry) -> Entry {
    Entry {
        document_id: entry.document_id.clone(),
        sender: entry.sender.clone(),
        revision: entry.revision,
        number: entry.number.clone(),
        notation: entry.notation.clone(),
        urgency: entry.urgency,
        accepted_at: moment(entry.accepted_at_us),
        delivery_deadline: moment(entry.delivery_deadline_us),
        state: tail(entry.state().as_str_name(), "TRANSPORT_STATE_"),
        attempts: entry.attempts,
        leased: entry.leased,
        next: moment(entry.next_us),
    }
}

fn shown(queue: &Queue, lang: Language) -> String {
    let mut rows = match lang {
        Language::En => table(["document", "from", "urgency", "waits", "attempts", "state", "deadline"]),
        Language::Vi => {
            table(["văn bản", "nơi gửi", "độ khẩn", "đã chờ", "số lần chuyển", "tình trạng", "hạn tiếp nhận"])
        }
    };
    for entry in &queue.told.entries {
        rows.add_row([
            format!("{} ({}/{})", entry.document_id, entry.number, entry.notation),
            entry.sender.clone(),
            entry.urgency.to_string(),
            age(queue.told.now_us, entry.accepted_at_us),
            entry.attempts.to_string(),
            state(entry, lang).to_owned(),
            Timestamp::given(entry.delivery_deadline_us).map(vietnam_time).unwrap_or_default(),
        ]);
    }
    let more = match (queue.more, lang) {
        (false, _) => "",
        (true, Language::En) => "\nMore documents: raise --limit.",
        (true, Language::Vi) => "\nCòn văn bản khác: tăng --limit.",
    };
    match lang {
        Language::En => format!("{} waiting, {} held\n{rows}{more}", queue.waiting, queue.held),
        Language::Vi => format!("{} đang chờ, {} tạm giữ\n{rows}{more}", queue.waiting, queue.held),
    }
}

fn state(entry: &QueueEntry, lang: Language) -> &'static str {
    let (en, vi) = match (entry.state(), entry.leased, entry.next_us) {
        (TransportState::Held, ..) => ("held", "tạm giữ"),
        (_, true, _) => ("with a session", "đang chuyển"),
        (_, false, 0) => ("ready", "sẵn sàng"),
        _ => ("in a pause", "tạm chờ"),
    };
    if lang == Language::En { en } else { vi }
}
