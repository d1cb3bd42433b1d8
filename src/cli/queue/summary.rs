//! All queues at a glance.

use std::fmt::Write;

use serde::Serialize;

use super::age;
use crate::{
    cli::{Failure, Output, table::table, verify::docproof::Language},
    client::{
        Client,
        readable::{moment, tail},
    },
    proto::{QueueCount, QueueGroup, QueueSummaryRequest, QueueSummaryResponse},
};

#[derive(Serialize)]
struct Summary {
    all: Count,
    levels: Vec<Group>,
    provinces: Vec<Group>,
    urgencies: Vec<Group>,
    ages: Vec<Group>,
    recipients: Vec<Recipient>,
    recipient_count: u64,
    #[serde(skip)]
    told: QueueSummaryResponse,
}

#[derive(Serialize)]
struct Count {
    waiting: u64,
    leased: u64,
    paused: u64,
    held: u64,
    oldest: Option<String>,
}

#[derive(Serialize)]
struct Group {
    key: String,
    name: String,
    #[serde(flatten)]
    count: Count,
}

#[derive(Serialize)]
struct Recipient {
    recipient: String,
    name: String,
    level: String,
    province: String,
    urgency: u32,
    connected: bool,
    #[serde(flatten)]
    count: Count,
}

fn count(count: Option<QueueCount>) -> Count {
    let QueueCount { waiting, leased, paused, held, oldest_us } = count.unwrap_or_default();
    Count { waiting, leased, paused, held, oldest: moment(oldest_us) }
}

fn groups(groups: &[QueueGroup]) -> Vec<Group> {
    let group = |g: &QueueGroup| Group { key: g.key.clone(), name: g.name.clone(), count: count(g.count) };
    groups.iter().map(group).collect()
}

/// Asks and prints.
pub async fn tell(
    client: &Client,
    request: QueueSummaryRequest,
    lang: Language,
    output: &Output,
) -> Result<(), Failure> {
    let told = client.operator().queue_summary(request).await?.into_inner();
    let recipients = told.recipients.iter().map(|recipient| Recipient {
        recipient: recipient.recipient.clone(),
        name: recipient.name.clone(),
        level: tail(recipient.level().as_str_name(), "LEVEL_").to_ascii_lowercase(),
        province: recipient.province.clone(),
        urgency: recipient.urgency,
        connected: recipient.connected,
        count: count(recipient.count),
    });
    let summary = Summary {
        all: count(told.all),
        levels: groups(&told.levels),
        provinces: groups(&told.provinces),
        urgencies: groups(&told.urgencies),
        ages: groups(&told.ages),
        recipients: recipients.collect(),
        recipient_count: told.recipient_count,
        told,
    };
    output.print(&summary, |summary| shown(summary, lang));
    Ok(())
}

fn shown(summary: &Summary, lang: Language) -> String {
    let (all, told) = (&summary.all, &summary.told);
    let oldest = age(told.now_us, told.all.unwrap_or_default().oldest_us);
    let mut text = match lang {
        Language::En => format!(
            "{} waiting for {} agencies: {} with a session, {} in a pause, {} held; the oldest for {oldest}",
            all.waiting, summary.recipient_count, all.leased, all.paused, all.held
        ),
        Language::Vi => format!(
            "{} văn bản đang chờ {} cơ quan: {} đang chuyển, {} tạm chờ, {} tạm giữ; lâu nhất {oldest}",
            all.waiting, summary.recipient_count, all.leased, all.paused, all.held
        ),
    };
    if all.waiting == 0 {
        return match lang {
            Language::En => "Nothing waits.".to_owned(),
            Language::Vi => "Không có văn bản nào đang chờ.".to_owned(),
        };
    }
    let titles = match lang {
        Language::En => ["level", "province", "urgency", "age up to"],
        Language::Vi => ["cấp", "tỉnh", "độ khẩn", "đã chờ"],
    };
    let parts = [&told.levels, &told.provinces, &told.urgencies, &told.ages];
    for (title, groups) in titles.iter().zip(parts) {
        let told: Vec<_> = groups.iter().take(8).map(|group| one(group, lang)).collect();
        let rest = if groups.len() > 8 { ", …" } else { "" };
        let _ = write!(text, "\n{title}: {}{rest}", told.join(", "));
    }
    let _ = write!(text, "\n{}", recipients(summary, lang));
    text
}

fn one(group: &QueueGroup, lang: Language) -> String {
    let name = match (group.key.as_str(), lang) {
        ("central", Language::Vi) => "trung ương",
        ("province", Language::Vi) => "tỉnh",
        ("district", Language::Vi) => "huyện",
        ("commune", Language::Vi) => "xã",
        ("older", Language::Vi) => "lâu hơn",
        (key, _) if group.name.is_empty() => key,
        _ => &group.name,
    };
    format!("{name} {}", group.count.unwrap_or_default().waiting)
}

fn recipients(summary: &Summary, lang: Language) -> String {
    let mut rows = match lang {
        Language::En => table(["recipient", "waiting", "held", "oldest", "urgency", "connected"]),
        Language::Vi => table(["nơi nhận", "đang chờ", "tạm giữ", "lâu nhất", "độ khẩn", "kết nối"]),
    };
    for recipient in &summary.told.recipients {
        let count = recipient.count.unwrap_or_default();
        let connected = match (recipient.connected, lang) {
            (true, Language::En) => "yes",
            (true, Language::Vi) => "có",
            (false, Language::En) => "no",
            (false, Language::Vi) => "không",
        };
        rows.add_row([
            format!("{} {}", recipient.recipient, recipient.name),
            count.waiting.to_string(),
            count.held.to_string(),
            age(summary.told.now_us, count.oldest_us),
            recipient.urgency.to_string(),
            connected.to_owned(),
        ]);
    }
    rows.to_string()
}
