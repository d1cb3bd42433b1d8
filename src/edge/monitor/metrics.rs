//! `/metrics`. Every name here is explained in `docs/observability.md`; a test compares the two.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    StatusCode,
    header::{ACCEPT, HeaderMap},
};
use prometheus_client::registry::Unit;
use tonic::Code;

use super::{
    Answer, Monitor, answer,
    page::{self, CLASSIC, Fill, OPEN_METRICS, Page},
    process::Process,
};
use crate::{
    domain::cause,
    edge::{
        grpc_status,
        tls::{Acceptor, Role},
    },
    hub::{
        Hub,
        blocked::CAUSES,
        gauges::{Gauges, LEVELS, Waiting},
        health::{ALL, Alarm},
        refused::Refused,
    },
    proto::Level,
};

/// Gauges are looked at at most so often, whoever asks.
const FRESH: Duration = Duration::from_secs(1);

impl Monitor {
    pub(super) async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let open_metrics = wants_open_metrics(headers);
        let seen = match self.seen().await {
            Ok(seen) => seen,
            Err(refused) => {
                return answer(StatusCode::INTERNAL_SERVER_ERROR, super::TEXT, format!("{refused}\n"));
            }
        };
        match page::print(seen, open_metrics) {
            Ok(text) => answer(StatusCode::OK, if open_metrics { OPEN_METRICS } else { CLASSIC }, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, super::TEXT, format!("{error}\n")),
        }
    }

    async fn seen(&self) -> Result<Seen, Refused> {
        let now = self.hub.clock().now().0 as f64 / 1e6;
        Ok(Seen {
            gauges: self.gauges().await?,
            process: Process::look().await,
            alarms: self.hub.health().alarms(),
            ready: self.hub.is_ready(),
            now,
            uptime: self.began.elapsed().as_secs_f64(),
            began: self.began_us as f64 / 1e6,
            hub: Arc::clone(&self.hub),
            acceptor: Arc::clone(&self.acceptor),
        })
    }

    async fn gauges(&self) -> Result<Arc<Gauges>, Refused> {
        let mut kept = self.gauges.lock().await;
        if let Some((at, gauges)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(gauges));
        }
        let gauges = Arc::new(self.hub.gauges().await?);
        *kept = Some((Instant::now(), Arc::clone(&gauges)));
        Ok(gauges)
    }
}

fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let mut accepts = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepts.any(|accept| accept.contains("application/openmetrics-text"))
}

/// What is told, as it was seen at one moment.
struct Seen {
    hub: Arc<Hub>,
    acceptor: Arc<Acceptor>,
    gauges: Arc<Gauges>,
    process: Process,
    alarms: Vec<Alarm>,
    ready: bool,
    now: f64,
    uptime: f64,
    began: f64,
}

impl Fill for Seen {
    fn fill(&self, page: &mut Page<'_>) -> fmt::Result {
        self.build(page)?;
        self.health(page)?;
        self.calls(page)?;
        self.work(page)?;
        self.queues(page)?;
        self.disk(page)?;
        self.process(page)
    }
}

impl Seen {
    fn build(&self, page: &mut Page<'_>) -> fmt::Result {
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        page.gauges("truc_build_info", "Always 1; the label is the version of the program", None, version)?;
        let help = "Time since the hub began to serve";
        page.gauge("truc_uptime", help, Some(Unit::Seconds), self.uptime)
    }

    fn health(&self, page: &mut Page<'_>) -> fmt::Result {
        let ready = f64::from(u8::from(self.ready));
        page.gauge("truc_ready", "1 while the hub can accept and deliver, as /readyz says", None, ready)?;
        let standing = ALL.iter().map(|condition| {
            let stands = self.alarms.iter().any(|alarm| alarm.condition == *condition);
            let labels = [("condition", condition.name()), ("severity", condition.severity().name())];
            (labels, f64::from(u8::from(stands)))
        });
        page.gauges(
            "truc_condition",
            "1 while this condition stands; /readyz tells its cause",
            None,
            standing,
        )?;
        let endings = self.acceptor.endings();
        let roles = [("server", Role::Server), ("client_ca", Role::ClientCa), ("crl", Role::RevocationList)];
        let left = roles.iter().filter_map(|(name, role)| {
            let first =
                endings.iter().filter(|ending| ending.role == *role).map(|ending| ending.until).min()?;
            Some(([("what", *name)], first as f64 - self.now))
        });
        let help = "Time until the first of these ends";
        page.gauges("truc_certificate_left", help, Some(Unit::Seconds), left)?;
        let Some(scrub) = self.hub.health().scrub() else { return Ok(()) };
        let finished = scrub.finished_us as f64 / 1e6;
        let help = "When the last whole check of the stored bytes ended, in unix time; 0 before the first";
        page.gauge("truc_scrub_finished_timestamp", help, Some(Unit::Seconds), finished)?;
        let help = "Bytes that were checked since the hub started";
        page.counter("truc_scrub_read", help, Some(Unit::Bytes), scrub.bytes as f64)?;
        page.gauge(
            "truc_scrub_damaged",
            "Places that the last check found damaged",
            None,
            scrub.damaged as f64,
        )
    }

    fn calls(&self, page: &mut Page<'_>) -> fmt::Result {
        let methods = self.acceptor.calls().methods();
        let labels =
            |at: usize| [("service", methods[at].service.as_str()), ("method", methods[at].name.as_str())];
        let all = || 0..methods.len();
        let started = all().map(|at| (labels(at), methods[at].started.get() as f64));
        page.counters("truc_rpc_started", "Calls begun", None, started)?;
        let running = all().map(|at| (labels(at), methods[at].running() as f64));
        page.gauges("truc_rpc_running", "Calls under way; sessions and watches live long", None, running)?;
        let ended = all().flat_map(|at| {
            let [service, name] = labels(at);
            let counts = methods[at].ended.iter().enumerate().map(|(code, count)| (code, count.get()));
            let counts = counts.filter(|(code, count)| *count > 0 || *code == 0);
            counts.map(move |(code, count)| ([service, name, ("code", CODE_NAMES[code])], count as f64))
        });
        page.counters("truc_rpc_handled", "Calls ended, by gRPC code", None, ended)?;
        let times = all().map(|at| (labels(at), &methods[at].times));
        page.times("truc_rpc_duration", "Time of a call until its last byte; streams live long", times)?;
        let refusals =
            grpc_status::told().map(|(code, count)| ([("reason", code.as_str_name())], count as f64));
        let refusals: Vec<_> = refusals.collect();
        page.counters("truc_refusals", "Refusals told to callers, by reason", None, refusals)?;
        let connections = self.acceptor.connections() as f64;
        page.gauge("truc_connections", "TLS connections that stand on the gRPC port", None, connections)?;
        let sessions = self.gauges.sessions as f64;
        page.gauge("truc_sessions", "Two-way delivery sessions that are open", None, sessions)
    }

    fn work(&self, page: &mut Page<'_>) -> fmt::Result {
        let meters = self.hub.meters();
        let events = meters.events().map(|(kind, count)| ([("event", kind.as_str_name())], count as f64));
        let events: Vec<_> = events.collect();
        page.counters("truc_events", "Events that became evidence, by kind", None, events)?;
        let help = "Documents accepted since the hub started";
        page.counter("truc_documents_accepted", help, None, meters.documents.get() as f64)?;
        let help = "Time from a document's acceptance to the recipient's signed receipt";
        page.times("truc_handover_time", help, [([], &meters.handovers)])?;
        page.counter("truc_offers", "Offers made to recipients", None, meters.offers.get() as f64)?;
        let help = "Bytes of envelopes and attachments that commits made reachable";
        page.counter("truc_bodies", help, Some(Unit::Bytes), meters.body_bytes.get() as f64)?;
        let help = "Time that a message waits for a thread that verifies it";
        page.times("truc_verify_wait", help, [([], &meters.verify_waits)])?;
        let help = "Time of a message's verification, its bodies included";
        page.times("truc_verify_duration", help, [([], &meters.verifications)])?;
        page.times("truc_commit_wait", "Time that a request waits for the writer", [([], &meters.waits)])?;
        let help = "Time of a commit, until it survives power loss and readers see it";
        page.times("truc_commit_duration", help, [([], &meters.commits)])?;
        let leaves = [([], &meters.commit_leaves)];
        page.histograms("truc_commit_leaves", "Leaves of a commit", None, 1.0, leaves)?;
        let traces = &meters.traces;
        let help = "Spans that the trace collector took";
        page.counter("truc_trace_spans", help, None, traces.sent.get() as f64)?;
        let help = "Spans that found no room, or that the collector did not take";
        page.counter("truc_trace_spans_dropped", help, None, traces.dropped.get() as f64)?;
        let Some(store) = self.hub.store_meters() else { return Ok(()) };
        let syncs =
            [([("what", "journal")], &store.journal_syncs), ([("what", "bodies")], &store.body_syncs)];
        page.times("truc_sync_duration", "Time of making a commit durable: write and fdatasync", syncs)
    }

    fn queues(&self, page: &mut Page<'_>) -> fmt::Result {
        let Gauges { waiting, totals, .. } = &*self.gauges;
        let level = |value: fn(&Waiting) -> f64| {
            LEVELS
                .iter()
                .zip(waiting)
                .map(move |(level, waiting)| ([("level", level_name(*level))], value(waiting)))
        };
        let help = "Deliveries that wait, by level of the recipient";
        page.gauges("truc_queue_deliveries", help, None, level(|waiting| waiting.deliveries as f64))?;
        let help = "Agencies that something waits for, by level";
        page.gauges("truc_queue_agencies", help, None, level(|waiting| waiting.agencies as f64))?;
        let help = "Age of the oldest document that waits, by level of the recipient; 0 where nothing waits";
        let ages = level(|waiting| waiting.oldest_age_us as f64 / 1e6);
        page.gauges("truc_queue_oldest_age", help, Some(Unit::Seconds), ages)?;
        let urgencies = URGENCIES.iter().zip(totals.by_urgency);
        let urgencies = urgencies.map(|(name, count)| ([("urgency", *name)], count as f64));
        page.gauges("truc_queue_urgency_deliveries", "Deliveries that wait, by urgency", None, urgencies)?;
        let standing = [
            ([("state", "leased")], totals.leased),
            ([("state", "paused")], totals.paused),
            ([("state", "held")], totals.held),
        ];
        let standing = standing.map(|(labels, count)| (labels, count as f64));
        let help = "Of the deliveries that wait: offered and unanswered, in a pause after that, or held by an operator";
        page.gauges("truc_queue_away_deliveries", help, None, standing)?;
        let blocked = self.gauges.blocked.counts;
        let blocked =
            CAUSES.iter().zip(blocked).map(|(cause, count)| ([("cause", cause::name(*cause))], count));
        let blocked: Vec<_> = blocked.collect();
        let blocked =
            blocked.iter().map(|([(label, cause)], count)| ([(*label, cause.as_str())], *count as f64));
        let help =
            "Agencies that something waits for and nothing reaches, by the cause that `truc why` tells";
        page.gauges("truc_queue_blocked_agencies", help, None, blocked)?;
        let requests = self.gauges.requests as f64;
        page.gauge("truc_commit_queue", "Requests that wait for the writer", None, requests)
    }

    fn disk(&self, page: &mut Page<'_>) -> fmt::Result {
        let gauges = &*self.gauges;
        page.gauge("truc_log_leaves", "Leaves of the log", None, gauges.leaves as f64)?;
        let help = "Documents accepted since the log began";
        page.gauge("truc_log_documents", help, None, gauges.documents as f64)?;
        let [agencies, nodes, keys] = gauges.directory;
        let entries = [("agencies", agencies), ("nodes", nodes), ("keys", keys)];
        let entries = entries.map(|(kind, count)| ([("kind", kind)], count as f64));
        page.gauges("truc_directory_entries", "What is registered in the directory", None, entries)?;
        let sizes = gauges.sizes;
        let parts = [("journal", sizes.journal), ("index", sizes.index), ("packs", sizes.packs)];
        let parts = parts.map(|(part, bytes)| ([("part", part)], bytes as f64));
        page.gauges("truc_store", "Bytes on the disk, by part of the store", Some(Unit::Bytes), parts)?;
        let help = "Entries that the history index has yet to write out (sled only)";
        page.gauge("truc_index_lag", help, None, gauges.index_lag as f64)?;
        if let Some(lag) = gauges.search_lag {
            page.gauge("truc_search_lag", "Leaves that auditors can't search for yet", None, lag as f64)?;
        }
        let Some(space) = gauges.space else { return Ok(()) };
        page.gauge("truc_disk_free", "Free room on the store's disk", Some(Unit::Bytes), space.free as f64)?;
        page.gauge("truc_disk_size", "Size of the store's disk", Some(Unit::Bytes), space.total as f64)
    }

    /// Named as every Prometheus client names them.
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let Process { resident, cpu, threads, open_files, most_files } = self.process;
        if let Some(bytes) = resident {
            page.gauge("process_resident_memory", "Memory in use", Some(Unit::Bytes), bytes)?;
        }
        if let Some(seconds) = cpu {
            page.counter("process_cpu", "Time of all cores, user and system", Some(Unit::Seconds), seconds)?;
        }
        for (name, help, value) in [
            ("process_threads", "Threads", threads),
            ("process_open_fds", "Open files and sockets", open_files),
            ("process_max_fds", "Most files and sockets that may be open", most_files),
        ] {
            if let Some(value) = value {
                page.gauge(name, help, None, value)?;
            }
        }
        let help = "When the hub began to serve, in unix time";
        page.gauge("process_start_time", help, Some(Unit::Seconds), self.began)
    }
}

const URGENCIES: [&str; 5] = ["normal", "urgent", "very-urgent", "express", "express-timed"];

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Central => "central",
        Level::Province => "province",
        Level::District => "district",
        Level::Commune => "commune",
        Level::Unspecified => "unknown",
    }
}

/// As gRPC writes its codes.
const CODE_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

// The names stand in the order of the codes.
const _: () = assert!(Code::Unauthenticated as usize + 1 == CODE_NAMES.len());
