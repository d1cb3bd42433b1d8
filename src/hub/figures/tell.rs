//! The numbers as operators are told them.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    Counted,
    spread::Spread,
    tally::{self, Figures, Minute, Pair},
};
use crate::{
    domain::{day::Day, reason::ReasonCode, time::Timestamp},
    hub::{Hub, refused::Refused},
    proto::{
        DayFlows, Flow, GetFlowsRequest, GetFlowsResponse, HandoverBucket, HandoverTimes, SenderTotal,
        Totals, WaitingFlow,
    },
};

/// A question waits so long for the numbers to reach the log's end.
const PATIENCE: Duration = Duration::from_millis(100);
/// Days when the caller names no number.
const DEFAULT_DAYS: u32 = 2;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// What waits longer is stuck, unless the caller says otherwise.
const STUCK_AFTER_US: i64 = 24 * HOUR;
/// Steps of a chart.
const BUCKETS: [i64; 9] =
    [SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR, 72 * HOUR, 168 * HOUR];

impl Hub {
    /// What flowed between the levels, and what waits. Says up to which leaf it is complete.
    pub async fn flows(self: &Arc<Self>, request: &GetFlowsRequest) -> Result<GetFlowsResponse, Refused> {
        let none = || Refused::because(ReasonCode::StoreFailed, "this hub does not count what flows");
        let flows = self.figures.get().ok_or_else(none)?;
        let size = self.size();
        flows.follower.reach(size, PATIENCE).await;
        let now = self.clock.now();
        let counted = flows.counted.read().unwrap_or_else(PoisonError::into_inner);
        Ok(GetFlowsResponse { size: size.max(counted.covers), ..counted.told(request, now, size) })
    }
}

impl Counted {
    fn told(&self, request: &GetFlowsRequest, now: Timestamp, size: u64) -> GetFlowsResponse {
        let asked = if request.days == 0 { DEFAULT_DAYS } else { request.days };
        let today = Day::of(now);
        let stuck_after_us = if request.stuck_after_us > 0 { request.stuck_after_us } else { STUCK_AFTER_US };
        let waiting = self.tally.waiting(now.plus_us(-stuck_after_us));
        let back = (0..i64::from(asked).clamp(1, tally::DAYS)).map(|back| today.plus(-back));
        let until_now = |day: Day| {
            let figures = self.tally.figures(day);
            figures.map(|figures| totals(figures.between(0..Day::minute_of(now) + 1)))
        };
        GetFlowsResponse {
            days: back.map(|day| self.day(day, now, size)).collect(),
            waiting: waiting.iter().map(|(pair, waiting)| waits(*pair, waiting)).collect(),
            covers: self.covers,
            size,
            from_us: self.from.map_or(0, |from| from.0),
            now_us: now.0,
            stuck_after_us,
            today: Some(until_now(today).unwrap_or_default()),
            yesterday_until_now: Some(until_now(today.plus(-1)).unwrap_or_default()),
        }
    }

    fn day(&self, day: Day, now: Timestamp, size: u64) -> DayFlows {
        let begins = self.from.is_some_and(|from| from <= day.start());
        let ends = day.end() <= now && self.covers >= size;
        let told = DayFlows { date: day.to_string(), complete: begins && ends, ..DayFlows::default() };
        let empty = Figures::default();
        let figures = self.tally.figures(day).unwrap_or(&empty);
        let mut all = Spread::default();
        figures.flows.values().for_each(|flow| all.join(&flow.times));
        let hours = (0..24).map(|hour| totals(figures.between(hour * 60..(hour + 1) * 60)));
        let sender = |((level, urgency), documents): (&(_, u32), &u64)| SenderTotal {
            level: i32::from(*level),
            urgency: *urgency,
            documents: *documents,
        };
        DayFlows {
            flows: figures.flows.iter().map(|(pair, flow)| flows(*pair, flow)).collect(),
            senders: figures.documents.iter().map(sender).collect(),
            totals: Some(totals(figures.between(0..24 * 60))),
            times: Some(times(&all)),
            hours: hours.collect(),
            refused_submissions: figures.rejected,
            ..told
        }
    }
}

fn flows(pair: Pair, flow: &tally::Flow) -> Flow {
    Flow {
        from: pair.from.into(),
        to: pair.to.into(),
        documents: flow.documents,
        deliveries: flow.deliveries,
        handed_over: flow.handed_over,
        refused: flow.refused,
        expired: flow.expired,
        cancelled: flow.cancelled,
        sent_back: flow.sent_back,
        times: Some(times(&flow.times)),
    }
}

fn waits(pair: Pair, waiting: &tally::Waiting) -> WaitingFlow {
    WaitingFlow {
        from: pair.from.into(),
        to: pair.to.into(),
        deliveries: waiting.deliveries,
        oldest_us: waiting.oldest.0,
        stuck: waiting.stuck,
    }
}

fn totals(minutes: Minute) -> Totals {
    Totals {
        documents: minutes.documents.into(),
        deliveries: minutes.deliveries.into(),
        handed_over: minutes.handed_over.into(),
        failed: minutes.failed.into(),
    }
}

fn times(spread: &Spread) -> HandoverTimes {
    let us = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
    let bucket = |up_to_us: i64| HandoverBucket {
        up_to_us,
        count: spread.up_to(u64::try_from(up_to_us).unwrap_or(0)),
    };
    HandoverTimes {
        count: spread.count(),
        p50_us: us(spread.quantile(500)),
        p90_us: us(spread.quantile(900)),
        p99_us: us(spread.quantile(990)),
        max_us: us(spread.max()),
        buckets: if spread.count() == 0 { Vec::new() } else { BUCKETS.map(bucket).to_vec() },
    }
}
