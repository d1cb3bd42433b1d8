//! One document through all its steps, as a trace collector sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, metadata::MetadataValue, transport::server::TcpIncoming};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT},
    domain::id::Digest,
    proto::*,
};

use crate::{
    door::ask,
    metrics::value,
    rig::{Rig, letter, soon, submit},
};

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let resources = request.into_inner().resource_spans;
        let spans = resources.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(spans.flat_map(|scope| scope.spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        (collector, format!("http://{address}"))
    }

    /// The spans of a document, once all of these steps are among them.
    async fn of(&self, document: &Digest, steps: &[&str]) -> Vec<Span> {
        soon(async {
            loop {
                let spans: Vec<_> = {
                    let all = self.0.lock().unwrap();
                    all.iter().filter(|span| span.trace_id == document.as_bytes()[..16]).cloned().collect()
                };
                let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
                if steps.iter().all(|step| names.contains(step)) {
                    return spans;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

const STEPS: [&str; 11] = [
    "submit",
    "verify",
    "bodies",
    "wait",
    "SUBMISSION_ACCEPTANCE",
    "CONTENT_CONSIGNMENT",
    "queue",
    "offer",
    "acknowledge",
    "CONTENT_HANDOVER",
    "watch",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_followed_through_all_steps() {
    let (collector, endpoint) = Collector::start().await;
    let config = format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n");
    let rig = Rig::start_with(&config).await;
    let sender = rig.connect("tavan").await;
    let request = submit(&letter("followed", &[DISTRICT]), rig.seal(COMMUNE), &[]);
    let document = Digest::of(&request.envelope.as_ref().unwrap().payload);
    let mut request = Request::new(request);
    let caller = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{caller}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", MetadataValue::try_from(parent).unwrap());
    sender.submission().submit(request).await.unwrap();

    let recipient = rig.connect("sapa").await;
    for offer in rig.fetch(&recipient, DISTRICT).await {
        rig.take(&recipient, &offer).await;
    }
    let watch = WatchRequest { agency: COMMUNE.into(), ..WatchRequest::default() };
    let mut watch = sender.status().watch(watch).await.unwrap().into_inner();
    let told = async {
        while let Some(Ok(entry)) = watch.next().await {
            let receipt = entry.receipt.unwrap_or_default();
            let evidence: Evidence = prost::Message::decode(receipt.evidence).unwrap();
            if evidence.event() == EventKind::ContentHandover && evidence.document_id == "followed" {
                return;
            }
        }
    };
    soon(told).await;

    let spans = collector.of(&document, &STEPS).await;
    let first: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(first.len(), 1, "{spans:#?}");
    assert_eq!((first[0].name.as_str(), &first[0].span_id[..]), ("submit", &document.as_bytes()[16..24]));
    assert_eq!(hex::encode(&first[0].links[0].trace_id), caller);
    for span in &spans {
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        assert!(span.parent_span_id.is_empty() || span.parent_span_id == first[0].span_id, "{span:?}");
        let shown = format!("{span:?}");
        assert!(!shown.contains("Kết quả") && !shown.contains("Báo cáo"), "content: {shown}");
    }
    let by_name: BTreeMap<_, _> = spans.iter().map(|span| (span.name.as_str(), span)).collect();
    assert_eq!(text(by_name["CONTENT_HANDOVER"], "truc.recipient"), Some(DISTRICT));
    assert_eq!(text(by_name["acknowledge"], "truc.node"), Some("sapa"));
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "every span has its own id");
    // The hub counts them when the collector has answered.
    let counted = async {
        loop {
            let page = ask(&rig, "GET /metrics").await.body;
            if value(&page, "truc_trace_spans_total", &[]) >= Some(STEPS.len() as f64) {
                return page;
            }
        }
    };
    let page = soon(counted).await;
    assert_eq!(value(&page, "truc_trace_spans_dropped_total", &[]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nobody() {
    // A port that nobody listens on.
    let port = truc::cli::demo::process::free_port().unwrap();
    let config = format!("[telemetry]\notlp_endpoint = \"http://127.0.0.1:{port}\"\n");
    let rig = Rig::start_with(&config).await;
    soon(async {
        loop {
            rig.serves().await;
            let page = ask(&rig, "GET /metrics").await.body;
            if value(&page, "truc_trace_spans_dropped_total", &[]) > Some(0.0) {
                return;
            }
        }
    })
    .await;
}
