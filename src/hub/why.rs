//! Why a document is where it is: read from the evidence, the live queues, the directory and the sessions, never guessed.

use std::sync::Arc;

use prost::Message;

use super::{
    Hub,
    dispatcher::Standing,
    health::Condition,
    operate::is_ending,
    queue::rows,
    refused::{Refused, blocking},
    room::Room,
};
use crate::{
    domain::{
        cause,
        directory::{AgencyEntry, Directory},
        id::{AgencyId, NodeName},
        reason::ReasonCode,
        status::REJECTED,
        time::Timestamp,
    },
    proto::{
        AgencyState, Evidence, GetTimelineRequest, TransportState, WhyCause, WhyRecipient, WhyRequest,
        WhyResponse, WhyTotals,
    },
    store::{
        StoreError,
        records::{DeliveryRecord, DocumentRecord},
    },
};

/// Recipients of a page when the caller names no number.
const DEFAULT_PAGE: u32 = 100;
/// Deliveries read at a time.
const PAGE: usize = 512;

/// A cause with what is known of it.
#[derive(Clone, Debug, Default)]
struct Finding {
    cause: WhyCause,
    subject: String,
    since: i64,
    next: i64,
    attempts: u32,
    action_plus_one: u64,
}

impl Finding {
    fn new(cause: WhyCause) -> Self {
        Self { cause, ..Self::default() }
    }

    fn about(self, subject: impl ToString) -> Self {
        Self { subject: subject.to_string(), ..self }
    }

    fn since(self, since: i64) -> Self {
        Self { since, ..self }
    }

    fn next(self, next: i64) -> Self {
        Self { next, ..self }
    }
}

impl Hub {
    /// Where a document is with each recipient, why, and who must act.
    pub async fn why(self: &Arc<Self>, request: WhyRequest) -> Result<WhyResponse, Refused> {
        let hub = Arc::clone(self);
        blocking(move || hub.why_now(&request)).await?
    }

    fn why_now(&self, request: &WhyRequest) -> Result<WhyResponse, Refused> {
        let named = GetTimelineRequest {
            document_id: request.document_id.clone(),
            sender: request.sender.clone(),
            revision: request.revision,
            ..GetTimelineRequest::default()
        };
        let index = self.find(&named)?;
        let missing = || StoreError::Damaged(format!("the record of document {index} is missing"));
        let document = self.store.document(index)?.ok_or_else(missing)?;
        let first = request.page_token.is_empty();
        let (recipients, next_page_token) = if request.recipient.is_empty() {
            self.why_page(&document, request)?
        } else {
            (vec![self.why_one(&document, &request.recipient)?], String::new())
        };
        Ok(WhyResponse {
            totals: if first { Some(self.totals(&document)?) } else { None },
            recipients,
            next_page_token,
            now_us: self.clock.now().0,
            document_id: document.document_id,
            sender: document.sender,
            revision: document.revision,
            accepted_at_us: document.accepted_at_us,
            urgency: document.urgency,
            number: document.number,
            notation: document.notation,
        })
    }

    fn totals(&self, document: &DocumentRecord) -> Result<WhyTotals, Refused> {
        let mut totals = WhyTotals::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.deliveries(document.index, after.as_deref(), PAGE)?;
            for delivery in &page {
                *counter(&mut totals, delivery.transport_state()) += 1;
            }
            totals.recipients += page.len() as u64;
            after = page.last().map(|delivery| delivery.recipient.clone());
            if page.len() < PAGE {
                break;
            }
        }
        totals.expanding = self.pending(document.index)?.len() as u64;
        totals.recipients += totals.expanding;
        Ok(totals)
    }

    /// Recipients whose delivery is still to be made.
    fn pending(&self, document: u64) -> Result<Vec<String>, Refused> {
        let mut pending = Vec::new();
        for expansion in self.store.expansions()? {
            let Some(list) = self.store.recipient_list(expansion.list)? else { continue };
            if list.document == document {
                let next = usize::try_from(expansion.next).unwrap_or(usize::MAX);
                pending.extend(list.recipients.into_iter().skip(next));
            }
        }
        Ok(pending)
    }

    fn why_page(
        &self,
        document: &DocumentRecord,
        request: &WhyRequest,
    ) -> Result<(Vec<WhyRecipient>, String), Refused> {
        let size = rows(request.page_size, DEFAULT_PAGE);
        let mut after = (!request.page_token.is_empty()).then(|| request.page_token.clone());
        if let Some(token) = &after {
            let bad = |_| Refused::because(ReasonCode::BadCursor, "page_token: not one of this hub");
            AgencyId::parse(token).map_err(bad)?;
        }
        let (directory, mut found) = (self.directory(), Vec::new());
        loop {
            let page = self.store.deliveries(document.index, after.as_deref(), PAGE)?;
            for delivery in &page {
                if found.len() == size {
                    return Ok((found, after.unwrap_or_default()));
                }
                after = Some(delivery.recipient.clone());
                let has_it = delivery.transport_state() == TransportState::HandedOver
                    && delivery.status_code != REJECTED;
                if request.all || !has_it {
                    found.push(self.line(&directory, delivery)?);
                }
            }
            if page.len() < PAGE {
                break;
            }
        }
        let room = size - found.len();
        let pending = self.pending(document.index)?;
        found.extend(pending.iter().take(room).map(|recipient| expanding(&directory, recipient)));
        Ok((found, String::new()))
    }

    fn why_one(&self, document: &DocumentRecord, recipient: &str) -> Result<WhyRecipient, Refused> {
        let directory = self.directory();
        let id = match directory.resolve(recipient) {
            Some(agency) => agency.id.clone(),
            None => AgencyId::parse(recipient)?,
        };
        if let Some(delivery) = self.store.delivery(document.index, &id)? {
            return self.line(&directory, &delivery);
        }
        if self.pending(document.index)?.iter().any(|pending| pending == id.as_str()) {
            return Ok(expanding(&directory, id.as_str()));
        }
        let detail = format!("{} is not addressed to {id}", document.document_id);
        Err(Refused::because(ReasonCode::NotARecipient, detail))
    }

    fn line(&self, directory: &Directory, delivery: &DeliveryRecord) -> Result<WhyRecipient, Refused> {
        let finding = match delivery.transport_state() {
            TransportState::Ready => self.why_ready(directory, delivery),
            TransportState::Held => self.why_held(delivery)?,
            _ => self.why_ended(delivery)?,
        };
        let line = told(directory, &delivery.recipient, finding);
        Ok(WhyRecipient {
            state: delivery.transport_state().into(),
            delivery_deadline_us: delivery.deadline_us,
            status_code: delivery.status_code,
            final_leaf_plus_one: delivery.final_leaf_plus_one,
            ..line
        })
    }

    fn why_ended(&self, delivery: &DeliveryRecord) -> Result<Finding, Refused> {
        let evidence = match delivery.final_leaf_plus_one.checked_sub(1) {
            Some(leaf) => self.store.leaf(leaf)?.and_then(|stored| Evidence::decode(stored.evidence).ok()),
            None => None,
        };
        let evidence = evidence.unwrap_or_default();
        let actor = evidence.actor.clone().unwrap_or_default().name;
        let cause = match delivery.transport_state() {
            TransportState::HandedOver if delivery.status_code == REJECTED => WhyCause::Returned,
            TransportState::HandedOver => WhyCause::Delivered,
            TransportState::Refused => WhyCause::Refused,
            TransportState::Expired if actor.is_empty() => WhyCause::Expired,
            TransportState::Expired => WhyCause::Cancelled,
            TransportState::Cancelled if !evidence.redirected_to.is_empty() => WhyCause::Redirected,
            TransportState::Cancelled => WhyCause::Cancelled,
            _ => WhyCause::Unspecified,
        };
        let subject = if cause == WhyCause::Redirected { evidence.redirected_to } else { actor };
        let finding = Finding::new(cause).about(subject).since(evidence.event_time_us);
        Ok(Finding { action_plus_one: evidence.action_plus_one, ..finding })
    }

    fn why_held(&self, delivery: &DeliveryRecord) -> Result<Finding, Refused> {
        let action = match delivery.held_by_plus_one.checked_sub(1) {
            Some(id) => self.store.action(id)?.unwrap_or_default(),
            None => Default::default(),
        };
        let cause = if is_ending(&action) { WhyCause::Ending } else { WhyCause::Held };
        let finding = Finding::new(cause).about(&action.actor).since(action.asked_at_us);
        let finding = finding.next(action.phase_until_us);
        Ok(Finding { action_plus_one: delivery.held_by_plus_one, ..finding })
    }

    /// What stands between a delivery and its recipient, the first that has to go.
    fn why_ready(&self, directory: &Directory, delivery: &DeliveryRecord) -> Finding {
        let now = self.clock.now();
        if delivery.deadline_us <= now.0 {
            return self.by_the_clock(Finding::new(WhyCause::DeadlinePassed).since(delivery.deadline_us));
        }
        if self.stopping.is_cancelled() {
            return Finding::new(WhyCause::HubStopping);
        }
        let Ok(recipient) = AgencyId::parse(&delivery.recipient) else { return Finding::default() };
        if let Some(finding) = self.shut_off(directory, &recipient) {
            return finding;
        }
        let nodes = nodes_of(directory, &recipient);
        let standing = self.dispatcher.standing(&recipient, delivery.document);
        let attempts = standing.map_or(0, |(_, attempts)| attempts);
        let finding = match standing.map(|(standing, _)| standing) {
            Some(Standing::Leased { until, .. }) => {
                Finding::new(WhyCause::Offered).about(nodes.join(", ")).next(until.0)
            }
            Some(Standing::Paused { until }) => {
                Finding::new(WhyCause::Paused).about(nodes.join(", ")).next(until.0)
            }
            _ => self.why_unoffered(directory, &recipient, &nodes),
        };
        Finding { attempts, ..finding }
    }

    /// What keeps everything from an agency, the first that has to go; `None` while it can receive.
    pub(super) fn blocker(&self, directory: &Directory, recipient: &AgencyId) -> Option<WhyCause> {
        if let Some(finding) = self.shut_off(directory, recipient) {
            return Some(finding.cause);
        }
        let (receiving, _) = self.receiving(directory, recipient);
        let away = || self.why_away(directory, recipient, &nodes_of(directory, recipient)).cause;
        (!receiving).then(away)
    }

    /// What no session of the recipient can mend, however a delivery stands with it now.
    fn shut_off(&self, directory: &Directory, recipient: &AgencyId) -> Option<Finding> {
        if directory.nodes_of(recipient).next().is_none() {
            return Some(without_node(directory, recipient));
        }
        if let Some(finding) = without_key(directory, recipient, self.clock.now()) {
            let by_time = !["revoked", "never registered"].contains(&finding.subject.as_str());
            return Some(if by_time { self.by_the_clock(finding) } else { finding });
        }
        if let Some((nodes, since)) = self.flapping(directory, recipient) {
            return Some(Finding::new(WhyCause::SessionFlaps).about(nodes).since(since));
        }
        let is_spent = self.room() == Room::Spent && self.receiving(directory, recipient).0;
        is_spent.then(|| Finding::new(WhyCause::DiskFull).since(self.stands_since(Condition::DiskFull)))
    }

    /// A finding that the hub's clock made: where that is not right, it is the cause.
    fn by_the_clock(&self, finding: Finding) -> Finding {
        match self.stands_since(Condition::ClockJumped) {
            0 => finding,
            since => Finding::new(WhyCause::ClockOff).since(since),
        }
    }

    /// Since when a condition stands; 0 for one that does not.
    fn stands_since(&self, condition: Condition) -> i64 {
        let alarms = self.health.alarms();
        alarms.iter().find(|alarm| alarm.condition == condition).map_or(0, |alarm| alarm.since.0)
    }

    /// It is ready: either somebody receives and it stands in line, or nobody does.
    fn why_unoffered(&self, directory: &Directory, recipient: &AgencyId, nodes: &[String]) -> Finding {
        let contact = self.agency_contact(recipient).unwrap_or_default();
        if !contact.receiving.is_empty() {
            let finding = Finding::new(WhyCause::InLine).about(contact.receiving.join(", "));
            return finding.since(contact.receiving_since_us);
        }
        self.why_away(directory, recipient, nodes)
    }

    fn why_away(&self, directory: &Directory, recipient: &AgencyId, nodes: &[String]) -> Finding {
        // Nobody received since the start, and before it nothing is known.
        let last = match self.receiving(directory, recipient).1 {
            0 => self.presence.started().0,
            left => left,
        };
        match directory.agency(recipient).map(|agency| agency.state) {
            Some(AgencyState::Suspended) => return Finding::new(WhyCause::AgencySuspended).since(last),
            Some(AgencyState::Closed) => return Finding::new(WhyCause::AgencyClosed).since(last),
            _ => {}
        }
        match self.expired_certificates(nodes) {
            Some((expired, at)) => {
                self.by_the_clock(Finding::new(WhyCause::CertificateExpired).about(expired).since(at))
            }
            None => Finding::new(WhyCause::NodeAway).about(nodes.join(", ")).since(last),
        }
    }

    /// The nodes and the first moment, if the certificates with which all of them came last have ended.
    fn expired_certificates(&self, nodes: &[String]) -> Option<(String, i64)> {
        let now = self.clock.now().0;
        let mut first = i64::MAX;
        for node in nodes {
            let until = self.certificate_until(&NodeName::parse(node).ok()?)?;
            if until.0 > now {
                return None;
            }
            first = first.min(until.0);
        }
        Some((nodes.join(", "), first))
    }
}

fn counter(totals: &mut WhyTotals, state: TransportState) -> &mut u64 {
    match state {
        TransportState::HandedOver => &mut totals.delivered,
        TransportState::Refused => &mut totals.refused,
        TransportState::Expired => &mut totals.expired,
        TransportState::Cancelled => &mut totals.cancelled,
        TransportState::Held => &mut totals.held,
        TransportState::Ready | TransportState::Scheduled | TransportState::Unspecified => {
            &mut totals.waiting
        }
    }
}

fn nodes_of(directory: &Directory, recipient: &AgencyId) -> Vec<String> {
    directory.nodes_of(recipient).map(|node| node.name.to_string()).collect()
}

fn without_node(directory: &Directory, recipient: &AgencyId) -> Finding {
    let revoked: Vec<_> = directory
        .nodes()
        .filter(|node| node.revoked && node.agencies.contains(recipient))
        .map(|node| node.name.to_string())
        .collect();
    if revoked.is_empty() {
        return Finding::new(WhyCause::NoNode);
    }
    Finding::new(WhyCause::NodeRevoked).about(revoked.join(", "))
}

/// A recipient without a key that is valid now.
fn without_key(directory: &Directory, recipient: &AgencyId, now: Timestamp) -> Option<Finding> {
    let mut last = ("never registered", 0);
    for entry in directory.keys_of(recipient) {
        let key = &entry.key;
        let over = key.valid_until.filter(|until| *until <= now);
        last = match (key.revoked_at, over) {
            (Some(at), _) => ("revoked", at.0),
            (None, Some(at)) => ("expired", at.0),
            (None, None) if key.valid_from > now => ("not valid yet", 0),
            (None, None) => return None,
        };
    }
    Some(Finding::new(WhyCause::NoValidKey).about(last.0).since(last.1))
}

fn expanding(directory: &Directory, recipient: &str) -> WhyRecipient {
    let line = told(directory, recipient, Finding::new(WhyCause::Expanding));
    WhyRecipient { state: TransportState::Scheduled.into(), ..line }
}

fn told(directory: &Directory, recipient: &str, finding: Finding) -> WhyRecipient {
    let entry = cause::entry(finding.cause);
    let says = |words: &str| words.replace("{}", &finding.subject);
    WhyRecipient {
        recipient: recipient.to_owned(),
        name: directory
            .resolve(recipient)
            .map(|agency: &AgencyEntry| agency.name.clone())
            .unwrap_or_default(),
        cause: finding.cause.into(),
        owner: entry.owner.into(),
        says_en: says(entry.says_en),
        says_vi: says(entry.says_vi),
        help_en: entry.help_en.into(),
        help_vi: entry.help_vi.into(),
        subject: finding.subject,
        since_us: finding.since,
        next_us: finding.next,
        attempts: finding.attempts,
        action_plus_one: finding.action_plus_one,
        ..WhyRecipient::default()
    }
}
