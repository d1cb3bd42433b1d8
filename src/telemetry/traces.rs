//! Traces to an OpenTelemetry collector (OTLP over gRPC). Bounded, and nobody waits for it: what finds no room is
//! counted and dropped.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    config::Telemetry,
    domain::{id::Digest, time::Timestamp},
    hub::{
        meters::TraceMeters,
        steps::{Observer, Step, TraceParent, first_span_id, trace_id},
    },
};

/// Spans that wait for the collector: some megabytes.
const ROOM: usize = 16 * 1024;
/// Spans of one export.
const AT_ONCE: usize = 512;
/// A span waits so long for others.
const GATHER: Duration = Duration::from_secs(1);
/// A collector that takes longer is given up for this batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// What waits when the hub stops has this long to go out.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Takes the steps of documents.
pub struct Traces {
    spans: mpsc::Sender<SpanData>,
    meters: Arc<TraceMeters>,
    scope: InstrumentationScope,
    /// Of 2^32: documents whose trace begins below it are followed.
    share: u64,
}

/// Traces that can't be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint: {0}")]
pub struct TraceError(String);

/// Connects to the collector, when the first spans go out; and what has to run as long as the hub does.
pub fn start(
    telemetry: &Telemetry,
    origin: &str,
    meters: Arc<TraceMeters>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(Traces, impl Future<Output = ()> + Send + 'static), TraceError> {
    let builder = OtlpExporter::builder().with_tonic();
    let builder = builder.with_endpoint(&telemetry.otlp_endpoint).with_timeout(PATIENCE);
    let mut exporter = builder.build().map_err(|error| TraceError(error.to_string()))?;
    let about = [
        KeyValue::new("service.instance.id", origin.to_owned()),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    exporter
        .set_resource(&Resource::builder_empty().with_service_name("truc").with_attributes(about).build());
    let (spans, waiting) = mpsc::channel(ROOM);
    let share = u64::from(telemetry.sample_percent) * (1 << 32) / 100;
    let scope = InstrumentationScope::builder("truc").with_version(env!("CARGO_PKG_VERSION")).build();
    let traces = Traces { spans, meters: Arc::clone(&meters), scope, share };
    Ok((traces, export(exporter, waiting, meters, stop)))
}

async fn export(
    exporter: OtlpExporter,
    mut waiting: mpsc::Receiver<SpanData>,
    meters: Arc<TraceMeters>,
    stop: impl Future<Output = ()>,
) {
    let mut told = false;
    let mut send = async |batch: Vec<SpanData>| {
        let spans = batch.len() as u64;
        let failed = match timeout(PATIENCE, exporter.export(batch)).await {
            Ok(Ok(())) => {
                meters.sent.add(spans);
                told = false;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        meters.dropped.add(spans);
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                error = failed,
                "the trace collector takes nothing; spans are dropped until it does"
            );
        }
    };
    let mut stop = std::pin::pin!(stop);
    loop {
        let batch = tokio::select! {
            batch = gather(&mut waiting) => batch,
            () = stop.as_mut() => break,
        };
        if batch.is_empty() {
            return;
        }
        send(batch).await;
    }
    waiting.close();
    let rest = async {
        while let Some(first) = waiting.recv().await {
            let mut batch = vec![first];
            while batch.len() < AT_ONCE
                && let Ok(span) = waiting.try_recv()
            {
                batch.push(span);
            }
            send(batch).await;
        }
    };
    let _ = timeout(LAST_WORDS, rest).await;
}

/// The next spans; none when no more can come.
async fn gather(waiting: &mut mpsc::Receiver<SpanData>) -> Vec<SpanData> {
    let Some(first) = waiting.recv().await else { return Vec::new() };
    let mut batch = vec![first];
    let more = async {
        while batch.len() < AT_ONCE
            && let Some(span) = waiting.recv().await
        {
            batch.push(span);
        }
    };
    let _ = timeout(GATHER, more).await;
    batch
}

impl Observer for Traces {
    fn follows(&self, document: &Digest) -> bool {
        let [a, b, c, d, ..] = *document.as_bytes();
        u64::from(u32::from_be_bytes([a, b, c, d])) < self.share
    }

    fn step(&self, step: Step) {
        if self.spans.try_send(span(step, &self.scope)).is_err() {
            self.meters.dropped.add(1);
        }
    }
}

fn span(step: Step, scope: &InstrumentationScope) -> SpanData {
    let trace = TraceId::from_bytes(trace_id(&step.document));
    let first = SpanId::from_bytes(first_span_id(&step.document));
    let (id, parent) = if step.first { (first, SpanId::INVALID) } else { (new_id(), first) };
    let context = SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default());
    let mut links = opentelemetry_sdk::trace::SpanLinks::default();
    links.links.extend(step.caller.map(|caller| Link::with_context(remote(caller))));
    SpanData {
        span_context: context,
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: if step.first { SpanKind::Server } else { SpanKind::Internal },
        name: step.name.into(),
        start_time: moment(step.began),
        end_time: moment(step.ended),
        attributes: attributes(&step),
        dropped_attributes_count: 0,
        events: opentelemetry_sdk::trace::SpanEvents::default(),
        links,
        status: step.failed.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

/// Identifiers and numbers only.
fn attributes(step: &Step) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new("truc.document.sha256", step.document.to_string())];
    let texts = [("truc.node", &step.node), ("truc.recipient", &step.recipient)];
    attributes.extend(texts.into_iter().filter_map(|(key, text)| Some(KeyValue::new(key, text.clone()?))));
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    attributes.extend(step.leaf.map(|leaf| KeyValue::new("truc.leaf", number(leaf))));
    attributes.extend(step.attempt.map(|attempt| KeyValue::new("truc.attempt", i64::from(attempt))));
    attributes.extend(step.failed.map(|reason| KeyValue::new("truc.reason", reason)));
    attributes
}

fn remote(caller: TraceParent) -> SpanContext {
    let flags = if caller.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(caller.trace), SpanId::from_bytes(caller.span));
    SpanContext::new(trace, span, flags, true, TraceState::default())
}

/// Never zero: that means none.
fn new_id() -> SpanId {
    SpanId::from_bytes(getrandom::u64().unwrap_or(1).max(1).to_be_bytes())
}

fn moment(at: Timestamp) -> SystemTime {
    crate::hub::clock::system_time(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(first: bool) -> Step {
        Step {
            document: Digest(std::array::from_fn(|at| at as u8 + 1)),
            name: "submit",
            first,
            began: Timestamp(1_000_000),
            ended: Timestamp(3_000_000),
            node: Some("tavan".into()),
            recipient: None,
            leaf: Some(7),
            attempt: None,
            failed: Some("BUSY"),
            caller: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        }
    }

    #[test]
    fn steps_of_a_document_meet_in_one_trace_below_the_first() {
        let scope = InstrumentationScope::builder("test").build();
        let (first, other) = (span(step(true), &scope), span(step(false), &scope));
        assert_eq!(first.span_context.trace_id().to_string(), "0102030405060708090a0b0c0d0e0f10");
        assert_eq!(first.span_context.trace_id(), other.span_context.trace_id());
        assert_eq!(first.span_context.span_id().to_string(), "1112131415161718");
        assert_eq!(
            (first.parent_span_id, other.parent_span_id),
            (SpanId::INVALID, first.span_context.span_id())
        );
        assert_eq!(first.links.len(), 1);
        assert_eq!(first.status, Status::error("BUSY"));
        assert_eq!(first.end_time.duration_since(first.start_time).unwrap(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn who_finds_no_room_is_counted_and_does_not_wait() {
        let meters = Arc::<TraceMeters>::default();
        let (spans, _never_read) = mpsc::channel(2);
        let scope = InstrumentationScope::builder("test").build();
        let traces = Traces { spans, meters: Arc::clone(&meters), scope, share: 1 << 32 };
        (0..5).for_each(|_| traces.step(step(false)));
        assert_eq!(meters.dropped.get(), 3);
    }

    #[test]
    fn the_share_is_of_documents() {
        let followed = |percent: u64| {
            let (spans, _receiver) = mpsc::channel(1);
            let scope = InstrumentationScope::builder("test").build();
            let share = percent * (1 << 32) / 100;
            let traces = Traces { spans, meters: Arc::default(), scope, share };
            (0..1_000_u32).filter(|n| traces.follows(&Digest::of(&n.to_be_bytes()))).count()
        };
        assert_eq!((followed(0), followed(100)), (0, 1_000));
        assert!((50..150).contains(&followed(10)), "{}", followed(10));
    }
}
