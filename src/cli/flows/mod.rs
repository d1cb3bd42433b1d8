//! `truc flows`: what flows between the four levels, and what waits.

mod answer;

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use answer::answer;

use super::{
    Connection, Exit, Failure, Output,
    presence::{say, when},
    table::table,
    verify::docproof::Language,
};
use crate::{
    config::human::parse_duration,
    proto::{DayFlows, GetFlowsRequest, GetFlowsResponse, Level},
};

/// Shows what flows between central, province, district and commune, and what waits. For operators.
///
/// Days are Vietnam's. The numbers come from the log: they survive a restart, and say up to which leaf they are complete.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Days, today the first: 1 to 35.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=35))]
    days: u32,
    /// What waits longer than this is stuck (30m, 2h, 3d) [default: 24h].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    stuck_after: Option<Duration>,
    /// Language of the tables.
    #[arg(long, env = "TRUC_LANG", value_enum, default_value_t)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let stuck = self.stuck_after.unwrap_or_default().as_micros();
        let stuck_after_us =
            i64::try_from(stuck).map_err(|_| Failure::new(Exit::Usage, "--stuck-after: is too long"))?;
        let client = self.connection.client().await?;
        let request = GetFlowsRequest { days: self.days, stuck_after_us };
        let told = client.operator().get_flows(request).await?.into_inner();
        output.print(&answer(&told), |_| shown(&told, self.lang));
        Ok(())
    }
}

fn level_name(level: Level, lang: Language) -> &'static str {
    match level {
        Level::Central => say(lang, "central", "trung ương"),
        Level::Province => say(lang, "province", "tỉnh"),
        Level::District => say(lang, "district", "huyện"),
        Level::Commune => say(lang, "commune", "xã"),
        Level::Unspecified => say(lang, "other", "khác"),
    }
}

/// A length of time in two digits or so.
fn lasted(us: i64) -> String {
    let seconds = us as f64 / 1e6;
    match seconds {
        _ if us <= 0 => String::new(),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}

fn shown(told: &GetFlowsResponse, lang: Language) -> String {
    let mut text = compared(told, lang);
    for day in &told.days {
        // Writing to a string can't fail.
        let _ = write!(text, "\n{}", day_shown(day, lang));
    }
    let _ = write!(text, "\n{}\n{}", waiting_shown(told, lang), covered(told, lang));
    text
}

fn compared(told: &GetFlowsResponse, lang: Language) -> String {
    let mut lines = table([
        "",
        say(lang, "today until now", "hôm nay đến giờ"),
        say(lang, "yesterday until then", "hôm qua đến giờ đó"),
    ]);
    let (today, yesterday) = (told.today.unwrap_or_default(), told.yesterday_until_now.unwrap_or_default());
    for (name, now, then) in [
        (say(lang, "documents", "văn bản"), today.documents, yesterday.documents),
        (say(lang, "deliveries", "lượt gửi"), today.deliveries, yesterday.deliveries),
        (say(lang, "handed over", "đã nhận"), today.handed_over, yesterday.handed_over),
        (say(lang, "failed", "không giao được"), today.failed, yesterday.failed),
    ] {
        lines.add_row([name.to_owned(), now.to_string(), then.to_string()]);
    }
    lines.to_string()
}

fn day_shown(day: &DayFlows, lang: Language) -> String {
    let part = if day.complete { "" } else { say(lang, " (not whole)", " (chưa trọn ngày)") };
    let times = day.times.as_ref().filter(|times| times.count > 0);
    let times = times.map(|times| format!(", p50 {}, p99 {}", lasted(times.p50_us), lasted(times.p99_us)));
    let totals = day.totals.unwrap_or_default();
    let summary = match lang {
        Language::En => format!("{} documents, {} handed over", totals.documents, totals.handed_over),
        Language::Vi => format!("{} văn bản, {} lượt đã nhận", totals.documents, totals.handed_over),
    };
    let head = format!("{}{part}: {summary}{}", day.date, times.unwrap_or_default());
    if day.flows.is_empty() {
        return head;
    }
    let mut lines = table([
        say(lang, "from", "từ cấp"),
        say(lang, "to", "đến cấp"),
        say(lang, "documents", "văn bản"),
        say(lang, "deliveries", "lượt gửi"),
        say(lang, "handed over", "đã nhận"),
        say(lang, "refused", "từ chối"),
        say(lang, "expired", "quá hạn"),
        say(lang, "cancelled", "đã hủy"),
        "p50",
        "p99",
    ]);
    for flow in &day.flows {
        let times = flow.times.clone().unwrap_or_default();
        lines.add_row([
            level_name(flow.from(), lang).to_owned(),
            level_name(flow.to(), lang).to_owned(),
            flow.documents.to_string(),
            flow.deliveries.to_string(),
            flow.handed_over.to_string(),
            flow.refused.to_string(),
            flow.expired.to_string(),
            flow.cancelled.to_string(),
            lasted(times.p50_us),
            lasted(times.p99_us),
        ]);
    }
    let senders = senders(day, lang);
    format!("{head}\n{lines}\n{senders}")
}

/// "commune 12 (khẩn 3), province 4".
fn senders(day: &DayFlows, lang: Language) -> String {
    let mut levels: BTreeMap<Level, (u64, Vec<String>)> = BTreeMap::new();
    for sender in &day.senders {
        let (all, urgent) = levels.entry(sender.level()).or_default();
        *all += sender.documents;
        if sender.urgency > 0 {
            urgent.push(format!("{} {}", urgency_name(sender.urgency), sender.documents));
        }
    }
    let told = levels.into_iter().map(|(level, (all, urgent))| {
        let urgent = if urgent.is_empty() { String::new() } else { format!(" ({})", urgent.join(", ")) };
        format!("{} {all}{urgent}", level_name(level, lang))
    });
    let told = told.collect::<Vec<_>>().join("; ");
    format!("{}: {told}", say(lang, "documents by sender", "văn bản theo nơi gửi"))
}

fn urgency_name(urgency: u32) -> &'static str {
    match urgency {
        1 => "khẩn",
        2 => "thượng khẩn",
        3 => "hỏa tốc",
        _ => "hỏa tốc hẹn giờ",
    }
}

fn waiting_shown(told: &GetFlowsResponse, lang: Language) -> String {
    if told.waiting.is_empty() {
        return say(lang, "nothing waits", "không có văn bản nào đang chờ").into();
    }
    let mut lines = table([
        say(lang, "from", "từ cấp"),
        say(lang, "to", "đến cấp"),
        say(lang, "waiting", "đang chờ"),
        say(lang, "stuck", "ách tắc"),
        say(lang, "oldest since", "lâu nhất từ"),
        say(lang, "for", "đã chờ"),
    ]);
    for waiting in &told.waiting {
        lines.add_row([
            level_name(waiting.from(), lang).to_owned(),
            level_name(waiting.to(), lang).to_owned(),
            waiting.deliveries.to_string(),
            waiting.stuck.to_string(),
            when(waiting.oldest_us),
            lasted(told.now_us.saturating_sub(waiting.oldest_us)),
        ]);
    }
    lines.to_string()
}

fn covered(told: &GetFlowsResponse, lang: Language) -> String {
    let (covers, size) = (told.covers, told.size);
    match (lang, told.from_us, covers >= size) {
        (Language::En, 0, _) => "The hub has not begun to count yet.".into(),
        (Language::Vi, 0, _) => "Trục chưa bắt đầu đếm.".into(),
        (Language::En, from, true) => {
            format!("Complete for the {size} leaves of the log; events since {}.", when(from))
        }
        (Language::Vi, from, true) => {
            format!("Đủ cho {size} mục của sổ; sự kiện từ {}.", when(from))
        }
        (Language::En, _, false) => format!("Not complete yet: {covers} of {size} leaves are counted."),
        (Language::Vi, _, false) => format!("Chưa đủ: mới đếm {covers} trên {size} mục."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{Flow, SenderTotal, WaitingFlow};

    #[test]
    fn lengths_are_short() {
        let cases = [
            (0, ""),
            (1_500, "2 ms"),
            (2_340_000, "2.3 s"),
            (600_000_000, "10 min"),
            (9_000_000_000, "2.5 h"),
            (260_000_000_000, "3.0 d"),
        ];
        for (us, text) in cases {
            assert_eq!(lasted(us), text);
        }
    }

    #[test]
    fn both_languages_tell_the_same_numbers() {
        let pair = Flow {
            from: Level::Commune.into(),
            to: Level::District.into(),
            deliveries: 41,
            ..Flow::default()
        };
        let sender = SenderTotal { level: Level::Commune.into(), urgency: 3, documents: 7 };
        let waits = WaitingFlow { deliveries: 5, stuck: 2, oldest_us: 1, ..WaitingFlow::default() };
        let day = DayFlows {
            date: "2026-11-22".into(),
            flows: vec![pair],
            senders: vec![sender],
            ..DayFlows::default()
        };
        let told = GetFlowsResponse {
            days: vec![day],
            waiting: vec![waits],
            covers: 3,
            size: 9,
            from_us: 1,
            ..GetFlowsResponse::default()
        };
        for (lang, words) in [
            (Language::En, ["commune", "(not whole)", "hỏa tốc 7", "3 of 9"]),
            (Language::Vi, ["xã", "(chưa trọn ngày)", "hỏa tốc 7", "3 trên 9"]),
        ] {
            let text = shown(&told, lang);
            for word in words.iter().chain(&["41", "2026-11-22"]) {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
}
