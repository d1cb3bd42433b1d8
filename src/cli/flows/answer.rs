//! The numbers as JSON.

use serde::Serialize;

use crate::{
    client::readable::{moment, tail},
    proto::{DayFlows, Flow, GetFlowsResponse, HandoverTimes, Level, Totals, WaitingFlow},
};

/// What `--json` prints.
#[derive(Serialize)]
pub struct Answer {
    complete: bool,
    covers: u64,
    size: u64,
    from: Option<String>,
    now: Option<String>,
    stuck_after_s: i64,
    today: Sum,
    yesterday_until_now: Sum,
    days: Vec<DayLine>,
    waiting: Vec<WaitingLine>,
}

#[derive(Serialize)]
struct DayLine {
    date: String,
    complete: bool,
    totals: Sum,
    times: Times,
    refused_submissions: u64,
    flows: Vec<FlowLine>,
    senders: Vec<SenderLine>,
    hours: Vec<Sum>,
}

#[derive(Serialize)]
struct FlowLine {
    from: &'static str,
    to: &'static str,
    documents: u64,
    deliveries: u64,
    handed_over: u64,
    refused: u64,
    expired: u64,
    cancelled: u64,
    sent_back: u64,
    times: Times,
}

#[derive(Serialize)]
struct SenderLine {
    level: &'static str,
    urgency: u32,
    documents: u64,
}

#[derive(Serialize)]
struct WaitingLine {
    from: &'static str,
    to: &'static str,
    deliveries: u64,
    oldest: Option<String>,
    stuck: u64,
}

#[derive(Default, Serialize)]
struct Sum {
    documents: u64,
    deliveries: u64,
    handed_over: u64,
    failed: u64,
}

#[derive(Default, Serialize)]
struct Times {
    count: u64,
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

/// The same as the tables, and more.
pub fn answer(told: &GetFlowsResponse) -> Answer {
    Answer {
        complete: told.covers >= told.size,
        covers: told.covers,
        size: told.size,
        from: moment(told.from_us),
        now: moment(told.now_us),
        stuck_after_s: told.stuck_after_us / 1_000_000,
        today: sum(told.today),
        yesterday_until_now: sum(told.yesterday_until_now),
        days: told.days.iter().map(day).collect(),
        waiting: told.waiting.iter().map(waiting).collect(),
    }
}

fn day(told: &DayFlows) -> DayLine {
    DayLine {
        date: told.date.clone(),
        complete: told.complete,
        totals: sum(told.totals),
        times: times(told.times.as_ref()),
        refused_submissions: told.refused_submissions,
        flows: told.flows.iter().map(flow).collect(),
        senders: told
            .senders
            .iter()
            .map(|sender| SenderLine {
                level: level_word(sender.level()),
                urgency: sender.urgency,
                documents: sender.documents,
            })
            .collect(),
        hours: told.hours.iter().map(|hour| sum(Some(*hour))).collect(),
    }
}

fn flow(told: &Flow) -> FlowLine {
    FlowLine {
        from: level_word(told.from()),
        to: level_word(told.to()),
        documents: told.documents,
        deliveries: told.deliveries,
        handed_over: told.handed_over,
        refused: told.refused,
        expired: told.expired,
        cancelled: told.cancelled,
        sent_back: told.sent_back,
        times: times(told.times.as_ref()),
    }
}

fn waiting(told: &WaitingFlow) -> WaitingLine {
    WaitingLine {
        from: level_word(told.from()),
        to: level_word(told.to()),
        deliveries: told.deliveries,
        oldest: moment(told.oldest_us),
        stuck: told.stuck,
    }
}

fn sum(told: Option<Totals>) -> Sum {
    let told = told.unwrap_or_default();
    Sum {
        documents: told.documents,
        deliveries: told.deliveries,
        handed_over: told.handed_over,
        failed: told.failed,
    }
}

fn times(told: Option<&HandoverTimes>) -> Times {
    let Some(told) = told.filter(|told| told.count > 0) else { return Times::default() };
    let ms = |us: i64| Some(us as f64 / 1_000.0);
    Times {
        count: told.count,
        p50_ms: ms(told.p50_us),
        p90_ms: ms(told.p90_us),
        p99_ms: ms(told.p99_us),
        max_ms: ms(told.max_us),
    }
}

fn level_word(level: Level) -> &'static str {
    tail(level.as_str_name(), "LEVEL_")
}
