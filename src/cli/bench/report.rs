//! What is reported, for programs and for people.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

use serde::Serialize;

use super::{
    circular::Circulars,
    floor::Floor,
    load::Outcome,
    machine::Machine,
    meter::{Process, Reading},
    options::{Load, Mode},
    questions::Questions,
    tally::Percentiles,
};
use crate::{cli::table::facts, proto::GetOverviewResponse};

/// The answer; what can't be measured is null.
#[derive(Debug, Serialize)]
pub struct Report {
    acks_per_second: f64,
    /// From the moment a document went, or was due, until its acknowledgement was read.
    ack_ms: Option<Percentiles>,
    deliveries_per_second: Option<f64>,
    /// Until the sender's watch told of the handover.
    end_to_end_ms: Option<Percentiles>,
    /// Of the hub's process.
    cpu_us_per_document: Option<f64>,
    fsyncs_per_document: Option<f64>,
    /// Bytes that the hub's process made the disk write; of a hub elsewhere, what it counts itself.
    bytes_per_document: Option<f64>,
    /// Largest so far.
    rss_mb: Option<f64>,
    machine: Machine,

    hub_cpu_us_per_document: Option<f64>,
    generator_cpu_us_per_document: Option<f64>,
    /// What the hub counts itself: journal, bodies and arrays, without the index.
    store_bytes_per_document: Option<f64>,
    /// What waits at the hub at the end.
    waiting: Option<u64>,
    seconds: f64,
    mode: Mode,
    in_flight: usize,
    fan_out: usize,
    body_bytes: usize,
    manifest_bytes: usize,
    documents: u64,
    deliveries: u64,
    refused: u64,
    wrong: u64,
    unanswered: u64,
    undelivered: u64,
    verified_sample: u64,
    /// Acknowledgements a second in each tenth of the time.
    speed: Vec<f64>,
    /// The last tenth by the first.
    speed_end_by_start: f64,
    /// What the documents of the whole run came to: manifests and bodies.
    accepted_mb: f64,
    /// Events in the log.
    leaves: Option<u64>,
    /// Size of the own hub's folder at the end.
    disk_mb: Option<f64>,
    /// Acknowledgements of the others while circulars were on their way; `ack_ms` is of the time before.
    ack_ms_meanwhile: Option<Percentiles>,
    circular: Option<Circulars>,
    /// Part of the computed ceiling of this machine.
    of_ceiling: Option<f64>,
    /// Part of what a service reaches that only verifies and makes durable.
    of_bare: Option<f64>,
    floor: Option<Floor>,
    /// What auditors asked after the load.
    questions: Option<Questions>,
    problems: BTreeMap<String, u64>,
}

impl Report {
    /// The report of a run.
    pub fn new(
        machine: Machine,
        load: &Load,
        outcome: &Outcome,
        floor: Option<Floor>,
        questions: Option<Questions>,
    ) -> Self {
        let tally = &outcome.run.tally;
        let span = Span::of(&outcome.readings);
        let deliveries = (!load.no_receive).then_some(());
        let hub = |pick: fn(&Process) -> u64| Some(span.each(pick(&span.last.hub?) - pick(&span.first.hub?)));
        let own = Some(()).and_then(|()| Some(span.each(span.last.own?.cpu_us - span.first.own?.cpu_us)));
        let disk = span.last.disk_bytes.zip(span.first.disk_bytes);
        let disk = disk.map(|(last, first)| span.each(last.saturating_sub(first)));
        let said = |pick: fn(&GetOverviewResponse) -> u64| {
            let (first, last) = (span.first.overview.as_ref()?, span.last.overview.as_ref()?);
            Some(span.each(pick(last).saturating_sub(pick(first))))
        };
        let stored = said(|overview| overview.written_bytes);
        let cpu = hub(|process| process.cpu_us);
        let speed = outcome.acks_per_second();
        let speeds = tenths(&outcome.readings);
        let documents = tally.acknowledged.load(Relaxed);
        let manifest_bytes = outcome.run.letters.manifest_bytes();
        Self {
            acks_per_second: speed,
            ack_ms: tally.acknowledgement(),
            deliveries_per_second: deliveries.map(|()| span.delivered() as f64 / span.seconds),
            end_to_end_ms: tally.end_to_end(),
            cpu_us_per_document: cpu,
            fsyncs_per_document: said(|overview| overview.syncs),
            bytes_per_document: disk.or(stored),
            rss_mb: span.last.hub.map(|hub| hub.peak_kib as f64 / 1024.0),
            machine,
            hub_cpu_us_per_document: cpu,
            generator_cpu_us_per_document: own,
            store_bytes_per_document: stored,
            waiting: outcome.overview.as_ref().map(|overview| overview.waiting),
            seconds: span.seconds,
            mode: load.mode,
            in_flight: load.in_flight,
            fan_out: load.fan_out,
            body_bytes: load.size,
            manifest_bytes,
            documents,
            deliveries: tally.delivered.load(Relaxed),
            refused: tally.refused.load(Relaxed),
            wrong: tally.wrong.load(Relaxed),
            unanswered: outcome.left.0,
            undelivered: outcome.left.1,
            verified_sample: tally.sampled.load(Relaxed),
            ack_ms_meanwhile: tally.acknowledgement_meanwhile(),
            circular: outcome.circulars.clone(),
            speed_end_by_start: speeds[9] / speeds[0].max(1e-9),
            speed: speeds.to_vec(),
            accepted_mb: mib(documents * (manifest_bytes + load.size) as u64),
            leaves: outcome.overview.as_ref().map(|overview| overview.leaves),
            disk_mb: outcome.disk_bytes.map(mib),
            of_ceiling: floor.map(|floor| speed / floor.ceiling),
            of_bare: floor.map(|floor| speed / floor.bare()),
            floor,
            questions,
            problems: tally.problems(),
        }
    }

    /// The report for people.
    pub fn shown(&self) -> String {
        let latency = |percentiles: &Option<Percentiles>| match percentiles {
            Some(ms) => format!("p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", ms.p50, ms.p99, ms.p999),
            None => "not measured".into(),
        };
        let number = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| "not measured".into(), |value| format!("{value:.2} {unit}"))
        };
        let told = facts([
            ("acknowledgements", format!("{:.0} /s over {:.1} s", self.acks_per_second, self.seconds)),
            ("latency of these", latency(&self.ack_ms)),
            ("deliveries", number(self.deliveries_per_second, "/s")),
            ("latency end to end", latency(&self.end_to_end_ms)),
            ("the hub's CPU", number(self.cpu_us_per_document, "µs a document")),
            ("the load's CPU", number(self.generator_cpu_us_per_document, "µs a document")),
            ("syncs of the disk", number(self.fsyncs_per_document, "a document")),
            ("bytes written", number(self.bytes_per_document, "a document")),
            ("the hub's memory", number(self.rss_mb, "MiB at most")),
            ("documents", format!("{}, refused {}, wrong {}", self.documents, self.refused, self.wrong)),
            ("verified offline", format!("{} receipts", self.verified_sample)),
            ("machine", self.machine.shown()),
        ]);
        let told = match &self.circular {
            Some(circular) => format!("{told}\n{}", circular.shown(latency(&self.ack_ms_meanwhile))),
            None => told,
        };
        let told = match &self.questions {
            Some(questions) => format!("{told}\n{}", facts(questions.shown(latency))),
            None => told,
        };
        let Some(floor) = &self.floor else { return told };
        let of = |part: Option<f64>| format!("{:.0} %", part.unwrap_or_default() * 100.0);
        let parts =
            facts([("of the ceiling", of(self.of_ceiling)), ("of the bare service", of(self.of_bare))]);
        format!("{told}\n{}\n{parts}", floor.shown())
    }
}

impl Machine {
    fn shown(&self) -> String {
        let model = self.model.as_deref().unwrap_or("unknown processor");
        let sync = self.disk_sync_ms.map(|ms| format!(", a disk sync {ms:.2} ms")).unwrap_or_default();
        format!("{} cores of {model}{sync}", self.cores)
    }
}

/// From the first reading to the last.
struct Span<'a> {
    first: &'a Reading,
    last: &'a Reading,
    seconds: f64,
}

impl<'a> Span<'a> {
    fn of(readings: &'a [Reading]) -> Self {
        let (first, last) = (&readings[0], &readings[readings.len() - 1]);
        let seconds = last.at.duration_since(first.at).as_secs_f64().max(1e-9);
        Self { first, last, seconds }
    }

    fn acknowledged(&self) -> u64 {
        self.last.acknowledged - self.first.acknowledged
    }

    fn delivered(&self) -> u64 {
        self.last.delivered - self.first.delivered
    }

    /// Of a sum, the part of one document.
    fn each(&self, sum: u64) -> f64 {
        sum as f64 / self.acknowledged().max(1) as f64
    }
}

/// Acknowledgements a second in each tenth of the time, as far as the readings tell them apart.
fn tenths(readings: &[Reading]) -> [f64; 10] {
    let span = Span::of(readings);
    let tenth = |at: usize| {
        let until = span.first.at + span.last.at.duration_since(span.first.at).mul_f64(at as f64 / 10.0);
        &readings[readings.partition_point(|reading| reading.at < until).min(readings.len() - 1)]
    };
    std::array::from_fn(|at| {
        let (from, to) = (tenth(at), tenth(at + 1));
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        if seconds > 0.0 { (to.acknowledged - from.acknowledged) as f64 / seconds } else { 0.0 }
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
