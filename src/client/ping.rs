//! A test document on its whole way, with the time of each step.

use std::time::{Duration, Instant};

use tonic::Streaming;

use super::{
    Client, ClientError, Draft, Patience, Terms,
    calendar::now,
    is_about,
    send::{Sent, nonce, pack, submit},
    timeline,
};
use crate::{
    domain::{
        id::{AgencyId, DocumentName},
        signature::SigningKey,
        time::Timestamp,
    },
    proto::{
        EventKind, Evidence, GetTimelineRequest, GetTimelineResponse, RecipientState, WatchRequest,
        WatchResponse,
    },
};

/// A test document that is longer on its way is given up; the hub's own deadline for it is a minute later.
pub const LONGEST: Duration = Duration::from_secs(9 * 60);
/// Pause before the first look at the timeline, and the longest.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);

/// From whom to whom.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Sends; its node is the one that calls.
    pub sender: &'a AgencyId,
    /// Keys of the sender.
    pub keys: &'a [SigningKey],
    /// Receives.
    pub recipient: &'a AgencyId,
    /// How long it may take.
    pub within: Duration,
}

/// Which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The hub's proof that it verified and keeps the document is here.
    Acknowledged,
    /// At the recipient's disposal.
    Consigned,
    /// Offered to a system of the recipient.
    Offered,
    /// The recipient's system signed for it.
    HandedOver,
    /// The sender's watch told of it.
    Watched,
}

impl Step {
    /// Measured here from the sending on, and not by the hub's clock from the acceptance on.
    #[must_use]
    pub fn is_measured_here(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Watched)
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All steps were taken.
    Through {
        /// The node that signed for it.
        node: String,
        /// The key that the receipt was signed with.
        key_id: String,
    },
    /// The recipient's system refused it.
    Refused {
        /// The node that did.
        node: String,
    },
    /// Nobody receives for the recipient.
    NobodyReceives {
        /// When somebody last did; `None`: nobody since the hub's start.
        last: Option<Timestamp>,
        /// The hub's start.
        hub_started: Timestamp,
    },
    /// Somebody receives, and takes no offers: no credit, or others wait before it.
    NotOffered,
    /// It was offered, and nobody signed for it.
    NotSigned {
        /// When it was offered first.
        offered: Timestamp,
        /// How often.
        attempts: u32,
    },
    /// The hub did not come to it.
    NotConsigned,
    /// An operator or a deadline ended it.
    Ended(EventKind),
    /// The recipient signed for it; the sender's watch did not tell.
    NotWatched,
}

/// A test document's way.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// The document.
    pub name: DocumentName,
    /// Log index of its acceptance.
    pub index: u64,
    /// Steps that were taken, each with its time: see [`Step::is_measured_here`].
    pub steps: Vec<(Step, Duration)>,
    /// How it ended.
    pub end: End,
}

/// Sends a test document and follows it to the recipient's signed receipt and back to the sender's watch.
pub async fn ping(client: &Client, terms: &Terms, route: Route<'_>) -> Result<Course, ClientError> {
    let watch = WatchRequest { agency: route.sender.to_string(), from_now: true, ..WatchRequest::default() };
    let watch = client.status().watch(watch).await?.into_inner();
    let package = pack(&draft(&route)?, route.keys, terms).await?;
    let began = Instant::now();
    let sent = submit(client, terms, &package.request, &Patience::default()).await?;
    let mut way = Way { client, terms, route, sent, began, acknowledged: began.elapsed(), watched: None };
    let story = way.follow(watch).await?;
    Ok(way.course(&story))
}

fn draft(route: &Route<'_>) -> Result<Draft, ClientError> {
    let random = nonce()?;
    Ok(Draft {
        sender: route.sender.to_string(),
        recipients: vec![route.recipient.to_string()],
        document_id: Some(format!("{},ping,{}", route.sender, hex::encode(&random[..8]))),
        number: "0".into(),
        notation: "PING".into(),
        type_name: "Kiểm tra kết nối".into(),
        subject: format!("Kiểm tra kết nối, không đăng ký ({})", super::calendar::vietnam_time(now())),
        test: true,
        ..Draft::default()
    })
}

/// What the hub tells of the document.
#[derive(Default)]
struct Story {
    consigned: Option<Timestamp>,
    /// What ended the delivery.
    end: Option<Evidence>,
    state: RecipientState,
    hub_started: Timestamp,
}

struct Way<'a> {
    client: &'a Client,
    terms: &'a Terms,
    route: Route<'a>,
    sent: Sent,
    began: Instant,
    acknowledged: Duration,
    watched: Option<Duration>,
}

impl Way<'_> {
    /// Looks until the watch told the end, or the time is over.
    async fn follow(&mut self, mut watch: Streaming<WatchResponse>) -> Result<Story, ClientError> {
        let mut pause = FIRST_LOOK;
        loop {
            let left = self.route.within.saturating_sub(self.began.elapsed());
            tokio::select! {
                told = watch.message() => match told? {
                    Some(told) if self.is_the_end(&told).await? => {
                        self.watched = Some(self.began.elapsed());
                        return self.story().await;
                    }
                    Some(_) => continue,
                    None => return Err(ClientError::answer("the hub ended the watch")),
                },
                () = tokio::time::sleep(pause.min(left)) => pause = (pause * 2).min(LAST_LOOK),
            }
            let story = self.story().await?;
            if self.began.elapsed() >= self.route.within {
                return Ok(story);
            }
        }
    }

    async fn is_the_end(&self, told: &WatchResponse) -> Result<bool, ClientError> {
        let Some(receipt) = &told.receipt else { return Ok(false) };
        let evidence = self.terms.check_following(self.client, receipt).await?;
        Ok(is_about(&evidence, &self.sent.name, Some(&self.sent.manifest_sha256)) && ends(&evidence))
    }

    async fn story(&self) -> Result<Story, ClientError> {
        let name = &self.sent.name;
        let request = GetTimelineRequest {
            document_id: name.document_id.to_string(),
            sender: name.sender.to_string(),
            revision: name.revision,
            ..GetTimelineRequest::default()
        };
        let mut story = Story::default();
        let look = |event: timeline::Event| {
            if event.evidence.event() == EventKind::ContentConsignment {
                story.consigned = Some(Timestamp(event.evidence.event_time_us));
            } else if ends(&event.evidence) {
                story.end = Some(event.evidence);
            }
            true
        };
        let patience = Patience::default();
        let told: GetTimelineResponse =
            timeline::read(self.client, self.terms, request, &patience, look).await?;
        story.hub_started = Timestamp(told.hub_started_us);
        story.state = told.recipients.into_iter().next().unwrap_or_default();
        Ok(story)
    }

    fn course(&self, story: &Story) -> Course {
        let accepted = self.sent.evidence.event_time_us;
        let since = |us: i64| Duration::from_micros(u64::try_from(us - accepted).unwrap_or(0));
        let mut steps = vec![(Step::Acknowledged, self.acknowledged)];
        steps.extend(story.consigned.map(|at| (Step::Consigned, since(at.0))));
        let offered = Timestamp::given(story.state.first_offer_us);
        steps.extend(offered.map(|at| (Step::Offered, since(at.0))));
        let end = story.end.as_ref();
        let handed_over = end.filter(|end| end.event() == EventKind::ContentHandover);
        steps.extend(handed_over.map(|end| (Step::HandedOver, since(end.event_time_us))));
        steps.extend(self.watched.map(|after| (Step::Watched, after)));
        Course {
            name: self.sent.name.clone(),
            index: self.sent.receipt.index,
            steps,
            end: self.end(story, offered),
        }
    }

    fn end(&self, story: &Story, offered: Option<Timestamp>) -> End {
        let state = &story.state;
        let Some(end) = &story.end else {
            return match (story.consigned, offered) {
                (None, _) => End::NotConsigned,
                (_, Some(offered)) => End::NotSigned { offered, attempts: state.attempts },
                (_, None) if state.receiving => End::NotOffered,
                (_, None) => End::NobodyReceives {
                    last: Timestamp::given(state.last_receiving_us),
                    hub_started: story.hub_started,
                },
            };
        };
        let node = end.recipients.first().map(|party| party.node.clone()).unwrap_or_default();
        match end.event() {
            EventKind::ContentHandover if self.watched.is_none() => End::NotWatched,
            EventKind::ContentHandover => End::Through { node, key_id: key_id(end) },
            EventKind::ConsignmentRejection => End::Refused { node },
            other => End::Ended(other),
        }
    }
}

fn ends(evidence: &Evidence) -> bool {
    matches!(
        evidence.event(),
        EventKind::ContentHandover
            | EventKind::ContentHandoverFailure
            | EventKind::ConsignmentRejection
            | EventKind::DeliveryCancelled
    )
}

fn key_id(evidence: &Evidence) -> String {
    let reports = evidence.verdict.iter().flat_map(|verdict| &verdict.signatures);
    reports.filter(|report| report.valid).map(|report| hex::encode(&report.key_id)).next().unwrap_or_default()
}
