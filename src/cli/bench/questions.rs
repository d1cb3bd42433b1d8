//! After a load: what auditors ask, one question after the other over the service, and how long each takes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    load::Outcome,
    meter::Process,
    site::Site,
    tally::{Latencies, Percentiles},
    world::{RECIPIENTS, SENDERS},
};
use crate::{
    cli::{Exit, Failure},
    client::Client,
    domain::reason::ReasonCode,
    proto::{
        CountRequest, EventKind, EvidenceRow, GetCheckpointRequest, GetProofRequest, SearchFilter,
        SearchOrder, SearchRequest,
    },
    tlog::note::Verifier,
    verify,
};

/// The search index follows the log for so long before questions begin.
const CATCH_UP: Duration = Duration::from_secs(3_600);
/// Questions of each kind that go before those that are measured.
const WARM_UP: u64 = 10;
/// Rows of a page.
const PAGE: u32 = 100;

/// A question that is made from what the log says about some document.
type Ask = fn(&EvidenceRow) -> SearchFilter;

/// Questions about one document.
const SINGLE: [(&str, Ask); 3] = [
    ("document_id", |row| SearchFilter { document_id: row.document_id.clone(), ..SearchFilter::default() }),
    ("number_notation_year", |row| SearchFilter {
        number: row.number.clone(),
        notation: row.notation.to_lowercase(),
        year: row.promulgation_date.split('-').next().and_then(|year| year.parse().ok()).unwrap_or(0),
        ..SearchFilter::default()
    }),
    ("sender_number", |row| SearchFilter {
        sender: row.sender.clone(),
        number: row.number.clone(),
        ..SearchFilter::default()
    }),
];

/// Questions about many, of which a page is read.
const PAGES: [(&str, Ask); 9] = [
    ("subject_words", |row| SearchFilter { subject: row.subject.to_uppercase(), ..SearchFilter::default() }),
    ("subject_prefix", |row| SearchFilter {
        subject: format!("{}*", row.subject.split_whitespace().next_back().unwrap_or("dat")),
        ..SearchFilter::default()
    }),
    ("below_event", |_| SearchFilter {
        below: RECIPIENTS.into(),
        events: vec![EventKind::ContentHandover.into()],
        ..SearchFilter::default()
    }),
    ("sender_urgency", |row| SearchFilter {
        sender: row.sender.clone(),
        urgencies: vec![row.urgency],
        ..SearchFilter::default()
    }),
    ("below_level", |_| SearchFilter { below: RECIPIENTS.into(), level: 4, ..SearchFilter::default() }),
    ("below_subject", |row| SearchFilter {
        below: SENDERS.into(),
        subject: row.subject.clone(),
        ..SearchFilter::default()
    }),
    ("reason_event", |_| SearchFilter {
        reasons: vec![ReasonCode::ForInformation.into()],
        events: vec![EventKind::SubmissionAcceptance.into()],
        ..SearchFilter::default()
    }),
    ("time_event", |row| SearchFilter {
        from_us: row.event_time_us,
        until_us: row.event_time_us + 2_000_000,
        events: vec![EventKind::ContentConsignment.into()],
        ..SearchFilter::default()
    }),
    ("nothing", |row| SearchFilter {
        subject: "không có gì".into(),
        sender: row.sender.clone(),
        ..SearchFilter::default()
    }),
];

/// What was measured. Milliseconds from the call to the whole answer, over mutual TLS, one question at a time.
#[derive(Clone, Debug, Serialize)]
pub struct Questions {
    /// Of each of the four groups.
    asked: u64,
    /// Leaves of the log that were searched.
    leaves: u64,
    /// How long the search index needed after the load to reach the log's end.
    catch_up_seconds: f64,
    single_ms: Option<Percentiles>,
    page_ms: Option<Percentiles>,
    /// Inclusion of any leaf in the newest checkpoint; verified, but the verification is not counted.
    proof_ms: Option<Percentiles>,
    /// How many there are, over the whole log.
    count_ms: Option<Percentiles>,
    /// Each kind of question.
    kinds: BTreeMap<String, Percentiles>,
    /// Rows of all pages.
    rows: u64,
    /// Resident memory of the hub after the questions, and its largest so far.
    rss_mb: Option<f64>,
    peak_mb: Option<f64>,
}

/// Asks so many questions of each group about the documents of a run.
pub async fn ask(site: &Site, outcome: &Outcome, asked: u64) -> Result<Questions, Failure> {
    let auditor = site.auditor().await?;
    let checkpoint = auditor.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
    let verifier = Verifier::parse(&checkpoint.verifier_key)
        .map_err(|error| Failure::new(Exit::Refused, format!("the hub's key: {error}")))?;
    let (leaves, catch_up_seconds) = caught_up(&auditor).await?;
    let mut asking = Asking {
        auditor,
        verifier,
        leaves,
        documents: outcome.documents(),
        chance: 1,
        times: BTreeMap::new(),
        rows: 0,
    };
    for number in 0..asked + WARM_UP {
        let kept = number >= WARM_UP;
        let serial = asking.chance(asking.documents.max(1));
        asking.round(&outcome.document_id(serial), number, kept).await?;
    }
    let hub = site.hub().and_then(|pid| Process::read(&pid.to_string()));
    let mib = |kib: u64| kib as f64 / 1024.0;
    Ok(Questions {
        asked,
        leaves,
        catch_up_seconds,
        single_ms: asking.group("single"),
        page_ms: asking.group("page"),
        proof_ms: asking.group("proof"),
        count_ms: asking.group("count"),
        kinds: asking.kinds(),
        rows: asking.rows,
        rss_mb: hub.map(|hub| mib(hub.rss_kib)),
        peak_mb: hub.map(|hub| mib(hub.peak_kib)),
    })
}

/// Waits until everything is indexed.
async fn caught_up(auditor: &Client) -> Result<(u64, f64), Failure> {
    let since = Instant::now();
    loop {
        let checkpoint = auditor.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
        let size = checkpoint.checkpoint.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0);
        let filter = Some(SearchFilter { document_id: "-".into(), ..SearchFilter::default() });
        let covers = auditor.audit().count(CountRequest { filter }).await?.into_inner().covers;
        if covers >= size {
            return Ok((size, since.elapsed().as_secs_f64()));
        }
        if since.elapsed() > CATCH_UP {
            let text = format!("the search index covers {covers} of {size} leaves");
            return Err(Failure::new(Exit::Refused, text));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Asking {
    auditor: Client,
    verifier: Verifier,
    leaves: u64,
    documents: u64,
    chance: u64,
    /// By group and kind.
    times: BTreeMap<(&'static str, &'static str), Latencies>,
    rows: u64,
}

impl Asking {
    /// One question of each group.
    async fn round(&mut self, document_id: &str, number: u64, kept: bool) -> Result<(), Failure> {
        let at = |kinds: usize| usize::try_from(number).unwrap_or(0) % kinds;
        let filter = SearchFilter { document_id: document_id.to_owned(), ..SearchFilter::default() };
        let rows = self.search(filter, PAGE).await?;
        let about = rows.into_iter().find(|row| row.event() == EventKind::SubmissionAcceptance);
        let about = about.ok_or_else(|| wrong(format!("{document_id} is not found")))?;
        let (kind, ask) = SINGLE[at(SINGLE.len())];
        let since = Instant::now();
        let found = self.search(ask(&about), PAGE).await?;
        self.took("single", kind, since, kept);
        if !found.iter().any(|row| row.document_id == about.document_id) {
            return Err(wrong(format!("{document_id} is not found by {kind}")));
        }
        let (kind, ask) = PAGES[at(PAGES.len())];
        let since = Instant::now();
        let found = self.search(ask(&about), PAGE).await?;
        self.took("page", kind, since, kept);
        if found.is_empty() != (kind == "nothing") {
            return Err(wrong(format!("{} rows are found by {kind}", found.len())));
        }
        self.rows += found.len() as u64;
        let since = Instant::now();
        self.auditor.audit().count(CountRequest { filter: Some(ask(&about)) }).await?;
        self.took("count", kind, since, kept);
        self.prove(kept).await
    }

    async fn prove(&mut self, kept: bool) -> Result<(), Failure> {
        let index = self.chance(self.leaves);
        let since = Instant::now();
        let request = GetProofRequest { index, ..GetProofRequest::default() };
        let receipt = self.auditor.audit().get_proof(request).await?.into_inner().receipt;
        self.took("proof", "inclusion", since, kept);
        let proven = verify::receipt(&receipt.unwrap_or_default(), &self.verifier);
        proven.map(drop).map_err(|error| wrong(format!("leaf {index}: {error}")))
    }

    async fn search(&self, filter: SearchFilter, page_size: u32) -> Result<Vec<EvidenceRow>, Failure> {
        let order = SearchOrder::Newest.into();
        let request = SearchRequest { filter: Some(filter), order, page_size, ..SearchRequest::default() };
        Ok(self.auditor.audit().search(request).await?.into_inner().rows)
    }

    fn took(&mut self, group: &'static str, kind: &'static str, since: Instant, kept: bool) {
        if kept {
            self.times.entry((group, "")).or_insert_with(Latencies::new).add(since);
            self.times.entry((group, kind)).or_insert_with(Latencies::new).add(since);
        }
    }

    fn group(&self, group: &'static str) -> Option<Percentiles> {
        self.times.get(&(group, ""))?.percentiles()
    }

    fn kinds(&self) -> BTreeMap<String, Percentiles> {
        let kinds = self.times.iter().filter(|((_, kind), _)| !kind.is_empty());
        kinds
            .filter_map(|((group, kind), times)| Some((format!("{group}.{kind}"), times.percentiles()?)))
            .collect()
    }

    /// A number below `end`: the same ones in every run.
    fn chance(&mut self, end: u64) -> u64 {
        // Constants of Knuth's MMIX.
        self.chance =
            self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.chance >> 33) % end.max(1)
    }
}

fn wrong(what: String) -> Failure {
    Failure::new(Exit::Refused, what)
}

impl Questions {
    /// For people.
    pub fn shown(&self, latency: impl Fn(&Option<Percentiles>) -> String) -> [(&'static str, String); 5] {
        [
            ("one document", latency(&self.single_ms)),
            ("a page of 100", latency(&self.page_ms)),
            ("a proof of inclusion", latency(&self.proof_ms)),
            ("a count", latency(&self.count_ms)),
            (
                "searched",
                format!("{} leaves, the hub takes {:.0} MiB", self.leaves, self.rss_mb.unwrap_or(0.0)),
            ),
        ]
    }
}
