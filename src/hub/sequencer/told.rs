//! What the writer tells meters and followers of documents.

use std::time::Duration;

use super::{Parts, Proposal};
use crate::{
    domain::{id::Digest, time::Timestamp},
    proto::{EventKind, Evidence},
    store::Commit,
};

/// What is told of a leaf, once it is durable.
pub struct Told {
    leaf: u64,
    event: EventKind,
    /// Of a test document: followed, but not counted.
    test: bool,
    at: Timestamp,
    /// When its document was accepted, in microseconds; 0 where it has none.
    accepted_us: i64,
    /// Digest of its document and the first recipient, where somebody follows documents.
    followed: Option<(Digest, String)>,
}

impl Parts {
    /// Notes what will be told of a leaf.
    pub fn note(&self, leaf: u64, evidence: &Evidence) -> Told {
        let followed = self.steps.are_followed().then(|| {
            let recipient = evidence.recipients.first().map(|party| party.agency.clone());
            Some((Digest::from_slice(&evidence.manifest_sha256)?, recipient.unwrap_or_default()))
        });
        Told {
            leaf,
            event: evidence.event(),
            test: evidence.test,
            at: Timestamp(evidence.event_time_us),
            accepted_us: evidence.submission_time_us,
            followed: followed.flatten(),
        }
    }

    /// A request waited so long for the writer.
    pub fn waited(&self, proposal: &Proposal, time: Duration) {
        self.meters.waits.took(time);
        let Proposal::Submit(submission) = proposal else { return };
        let us = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let began = Timestamp(self.clock.now().0.saturating_sub(us));
        let document = || Some(submission.manifest_sha256);
        drop(self.steps.begin_at("wait", document, began).map(|step| step.by(&submission.node)));
    }

    /// A commit is durable.
    pub fn count(&self, commit: &Commit, told: &[Told], took: Duration) {
        let meters = &self.meters;
        meters.commits.took(took);
        meters.commit_leaves.observe(commit.leaves.len() as u64);
        meters.documents.add(commit.documents.iter().filter(|document| !document.test).count() as u64);
        meters.body_bytes.add(commit.bodies.iter().map(|body| body.size).sum());
        for told in told {
            if !told.test {
                meters.event(told.event);
            }
            if !told.test && told.event == EventKind::ContentHandover && told.accepted_us > 0 {
                let us = told.at.0.saturating_sub(told.accepted_us);
                meters.handovers.observe(u64::try_from(us).unwrap_or(0));
            }
            let Some((document, recipient)) = &told.followed else { continue };
            let step = self.steps.begin_at(told.event.as_str_name(), || Some(*document), told.at);
            let step = step.map(|step| step.with(|step| step.leaf = Some(told.leaf)));
            drop(step.map(|step| if recipient.is_empty() { step } else { step.to(recipient.as_str()) }));
        }
    }
}
