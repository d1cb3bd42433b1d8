//! Counting what a day was for one agency.

use bytes::Bytes;

use crate::{
    proto::{AgencyDay, Deliveries, EventKind, Evidence},
    tlog::{Hash, merkle::Edge},
};

/// One agency's day while its evidence is read.
#[derive(Clone, Debug)]
pub struct Tally {
    evidence: Edge,
    day: AgencyDay,
}

impl Default for Tally {
    fn default() -> Self {
        let day = AgencyDay {
            outgoing: Some(Deliveries::default()),
            incoming: Some(Deliveries::default()),
            ..AgencyDay::default()
        };
        Self { evidence: Edge::empty(), day }
    }
}

impl Tally {
    /// The next day begins with what was pending at the end of this one.
    #[must_use]
    pub fn after(day: &AgencyDay) -> Self {
        let pending = |of: &Option<Deliveries>| {
            Some(Deliveries { pending: of.map_or(0, |of| of.pending), ..Deliveries::default() })
        };
        let mut tally = Self::default();
        tally.day.outgoing = pending(&day.outgoing);
        tally.day.incoming = pending(&day.incoming);
        tally
    }

    /// True for an agency without evidence and without anything pending: it has no day.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let waits = |of: &Option<Deliveries>| of.is_some_and(|of| of.pending > 0);
        self.evidence.size() == 0 && !waits(&self.day.outgoing) && !waits(&self.day.incoming)
    }

    /// Takes the next evidence that belongs to the agency.
    pub fn take(&mut self, agency: &str, hash: Hash, evidence: &Evidence) {
        self.evidence.append(hash);
        let event = evidence.event();
        if evidence.sender.as_ref().is_some_and(|sender| sender.agency == agency) {
            self.sent(event, evidence);
            count(self.day.outgoing.get_or_insert_default(), event, evidence);
        }
        if evidence.recipients.iter().any(|recipient| recipient.agency == agency) {
            self.received(event, evidence);
            count(self.day.incoming.get_or_insert_default(), event, evidence);
        }
    }

    fn sent(&mut self, event: EventKind, evidence: &Evidence) {
        match event {
            EventKind::SubmissionAcceptance => self.day.sent += 1,
            EventKind::SubmissionRejection => self.day.rejected += 1,
            _ => {}
        }
        let counters = evidence.counters.as_ref();
        if let Some(counter) = counters.and_then(|counters| counters.sent.as_ref()) {
            span(&mut self.day.sent_first, &mut self.day.sent_last, counter.number);
        }
    }

    fn received(&mut self, event: EventKind, evidence: &Evidence) {
        let counters = evidence.counters.as_ref().filter(|_| event == EventKind::ContentConsignment);
        if let Some(counter) = counters.and_then(|counters| counters.received.as_ref()) {
            span(&mut self.day.received_first, &mut self.day.received_last, counter.number);
        }
    }

    /// What the digest commits to.
    #[must_use]
    pub fn day(&self, agency: &str) -> AgencyDay {
        AgencyDay {
            agency: agency.to_owned(),
            evidence: self.evidence.size(),
            root: Bytes::copy_from_slice(&self.evidence.root()),
            ..self.day.clone()
        }
    }
}

fn span(first: &mut u64, last: &mut u64, number: u64) {
    if *first == 0 {
        *first = number;
    }
    *last = number;
}

fn count(deliveries: &mut Deliveries, event: EventKind, evidence: &Evidence) {
    let ended = match event {
        EventKind::ContentConsignment => {
            deliveries.consigned += 1;
            deliveries.pending += 1;
            return;
        }
        EventKind::ContentHandover => &mut deliveries.handed_over,
        EventKind::ContentHandoverFailure => &mut deliveries.expired,
        EventKind::DeliveryCancelled => &mut deliveries.cancelled,
        EventKind::ConsignmentRejection if evidence.status_code == 0 => &mut deliveries.refused,
        EventKind::ConsignmentRejection => {
            deliveries.returned += 1;
            return;
        }
        _ => return,
    };
    *ended += 1;
    // What ends was consigned before, in any log that a hub wrote.
    deliveries.pending = deliveries.pending.saturating_sub(1);
}
