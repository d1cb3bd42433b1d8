//! A circular to very many, while others send: how fast it is queued, and what the others notice.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{load::Run, meter::Meter, world::Crowd};
use crate::{
    cli::{Exit, Failure, table::facts},
    client::draft::all_below,
    proto::{EventKind, GetOverviewResponse},
};

/// How often the hub is asked how far it is.
const LOOK: Duration = Duration::from_millis(5);
/// Longest time for one circular.
const LIMIT: Duration = Duration::from_secs(120);

/// What the circulars of a run came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Circulars {
    /// Recipients of each.
    pub recipients: usize,
    /// How many there were, one after the other.
    pub circulars: usize,
    /// From the begin of the submission until the last delivery was queued, the median.
    pub seconds: f64,
    /// Deliveries queued a second, by that.
    pub queued_per_second: f64,
    /// From submission to acknowledgement, the median.
    pub ack_ms: f64,
}

impl Circulars {
    /// For people; `others` is what the other senders noticed.
    pub fn shown(&self, others: String) -> String {
        facts([
            ("circulars", format!("{} to {} agencies", self.circulars, self.recipients)),
            ("each queued in", format!("{:.2} s, {:.0} /s", self.seconds, self.queued_per_second)),
            ("the others meanwhile", others),
        ])
    }
}

/// Sends circulars until `until`, at least one; the first half of the time before that belongs to the others alone.
pub async fn send(
    run: &Arc<Run>,
    meter: &Meter,
    crowd: &Crowd,
    until: Instant,
) -> Result<Circulars, Failure> {
    let half = until.saturating_duration_since(Instant::now()) / 2;
    tokio::time::sleep(half).await;
    run.tally.meanwhile.store(true, Relaxed);
    let mut took = Vec::new();
    while took.is_empty() || Instant::now() < until {
        let serial = u64::MAX - took.len() as u64;
        took.push(send_one(run, meter, crowd, serial).await?);
    }
    run.tally.meanwhile.store(false, Relaxed);
    let seconds = median(took.iter().map(|(_, queued)| queued.as_secs_f64()));
    Ok(Circulars {
        recipients: crowd.size,
        circulars: took.len(),
        seconds,
        queued_per_second: crowd.size as f64 / seconds,
        ack_ms: median(took.iter().map(|(acknowledged, _)| acknowledged.as_secs_f64() * 1000.0)),
    })
}

/// Time until the acknowledgement, and until everything was queued.
async fn send_one(
    run: &Run,
    meter: &Meter,
    crowd: &Crowd,
    serial: u64,
) -> Result<(Duration, Duration), Failure> {
    let letter = run.letters.write_to(&crowd.office.seats[0], serial, all_below(&crowd.root));
    let begin = Instant::now();
    let answer = crowd.office.client.submission().submit(letter.request).await?;
    let acknowledged = begin.elapsed();
    let receipt = answer.into_inner().receipt.unwrap_or_default();
    let evidence = run
        .check()
        .proves(&receipt, EventKind::SubmissionAcceptance, &letter.manifest_sha256)
        .map_err(|problem| Failure::new(Exit::Refused, format!("a circular: {problem}")))?;
    if evidence.recipient_count != crowd.size as u64 {
        let text = format!("a circular reached {} instead of {}", evidence.recipient_count, crowd.size);
        return Err(Failure::new(Exit::Refused, text));
    }
    while begin.elapsed() < LIMIT {
        if meter.overview().await.is_some_and(|overview: GetOverviewResponse| overview.expanding == 0) {
            return Ok((acknowledged, begin.elapsed()));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Failure::new(Exit::Refused, "a circular was not queued in time"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
