//! Accepting documents, and more recipients for accepted ones.

use std::sync::Arc;

use bytes::Bytes;

use super::{Addition, Decision, Rejection, Submission, draft::Draft, expansion::Expansions};
use crate::{
    domain::{
        document,
        envelope::{self, Judgement},
        evidence::{Tell, recipients_digest},
        id::{AgencyId, Digest, NodeName},
        policy,
        reason::{Reason, ReasonCode},
    },
    hub::refused::Refused,
    proto::{EventKind, LegalValue, SignedEnvelope},
    store::records::{DocumentRecord, RecipientList},
};

impl Draft<'_> {
    /// Accepts a document, returns the old receipt for a repeat, or refuses with evidence.
    pub fn submit(
        &mut self,
        mut submission: Submission,
        expansions: &mut Expansions,
    ) -> Result<Decision, Refused> {
        let manifest_sha256 = submission.manifest_sha256;
        let name = &submission.checked.name;
        if let Some(known) = self.find_document(name)? {
            if self.document(known)?.manifest_sha256 == manifest_sha256.as_bytes()[..] {
                return Ok(Decision::Known(known));
            }
            let conflict =
                Reason::new(ReasonCode::Conflict, format!("{name} was accepted with other content"));
            return self.reject(rejection(&submission.node, &submission.envelope, vec![conflict]));
        }
        if self.is_gone(submission.erasures, &submission.bodies) {
            let detail = "an attachment was erased at this moment: repeat the same message";
            return Err(Refused::because(ReasonCode::Busy, detail));
        }
        if let Err(reasons) = self.recheck_submission(&mut submission) {
            return self.reject(rejection(&submission.node, &submission.envelope, reasons));
        }
        self.accept(submission, manifest_sha256, expansions)
    }

    /// The clock went on and the directory may have changed since verification: states are judged again.
    fn recheck_submission(&self, submission: &mut Submission) -> Result<(), Vec<Reason>> {
        let Submission { node, envelope, checked, judgement, .. } = submission;
        let (sender, manifest) = (&checked.name.sender, &checked.manifest);
        *judgement = self.recheck_sender(node, envelope, judgement, sender)?;
        if submission.as_of != self.directory.version() {
            submission.recipients = self.directory.expand(
                sender,
                &manifest.recipients,
                &manifest.groups,
                self.parts.max_recipients,
            )?;
        }
        Ok(())
    }

    fn recheck_sender(
        &self,
        node: &NodeName,
        envelope: &SignedEnvelope,
        before: &Judgement,
        sender: &AgencyId,
    ) -> Result<Judgement, Vec<Reason>> {
        policy::may_send(&self.directory, node, sender).map_err(|reason| vec![reason])?;
        envelope::recheck(envelope, before, sender, &*self.directory, self.now).map_err(|reason| vec![reason])
    }

    fn accept(
        &mut self,
        submission: Submission,
        manifest_sha256: Digest,
        expansions: &mut Expansions,
    ) -> Result<Decision, Refused> {
        let Submission { node, envelope, checked, judgement, recipients, bodies, envelope_sha256, .. } =
            submission;
        let info = checked.manifest.document.clone().unwrap_or_default();
        let older = self.older_of_number(&checked, &info)?;
        let warnings = self.warnings(&checked, older, judgement.legal_value)?;
        let mut evidence = self
            .event(EventKind::SubmissionAcceptance)?
            .about(&checked.name, &manifest_sha256)
            .by_node(node.as_str())
            .because(&warnings)
            .judged(self.verdict(&judgement))
            .tested(checked.manifest.test);
        evidence.submission_time_us = self.now.0;
        evidence.signature_sha256 = envelope::signature_digests(&envelope);
        evidence.recipient_count = recipients.len() as u64;
        evidence.recipients_sha256 = digest(&recipients);
        evidence.delivery_deadline_us = checked.deadline.0;

        let number = self.acceptance_number(&checked.name.sender)?;
        evidence.counters = Some(number.clone());

        let index = self.next_leaf();
        let added = self.add_leaf(&evidence, Some(index), vec![checked.name.sender.to_string()])?;
        self.count_acceptance(checked.name.sender.clone(), &number, added);
        let record = Arc::new(DocumentRecord {
            index,
            sender: checked.name.sender.to_string(),
            document_id: checked.name.document_id.to_string(),
            revision: checked.name.revision,
            manifest_sha256: manifest_sha256.to_bytes(),
            envelope_sha256: envelope_sha256.to_bytes(),
            urgency: info.urgency,
            accepted_at_us: self.now.0,
            deadline_us: checked.deadline.0,
            year: checked.year,
            number: info.number,
            notation: info.notation,
            // Copied: a record lives longer than the message, whose bytes count against its sender.
            parts: checked.manifest.parts.iter().map(|part| Bytes::copy_from_slice(&part.sha256)).collect(),
            node: node.into(),
            operation: checked.manifest.operation,
            test: checked.manifest.test,
        });
        self.put_document(checked.name, Arc::clone(&record), envelope, older.is_none());
        self.commit.bodies.extend(bodies);
        self.put_list(index, record, &recipients, expansions);
        Ok(Decision::New(index))
    }

    /// An older document of the sender's year with this number and notation. Tests have no numbers.
    fn older_of_number(
        &self,
        checked: &document::CheckedManifest,
        info: &crate::proto::DocumentInfo,
    ) -> Result<Option<u64>, Refused> {
        if checked.manifest.test {
            return Ok(None);
        }
        Ok(self.natural_key(&checked.name.sender, checked.year, &info.number, &info.notation)?)
    }

    fn warnings(
        &self,
        checked: &document::CheckedManifest,
        older: Option<u64>,
        legal_value: LegalValue,
    ) -> Result<Vec<Reason>, Refused> {
        let mut warnings = Vec::new();
        if checked.manifest.test {
            return Ok(warnings);
        }
        let older = older.map(|older| self.document(older)).transpose()?;
        if let Some(older) = older
            && older.document_id != *checked.name.document_id
        {
            warnings.push(number_repeated(&older.document_id));
        }
        if legal_value == LegalValue::Information {
            warnings.push(for_information());
        }
        Ok(warnings)
    }

    /// Sends an accepted document to more recipients. Who has it already does not get it twice.
    pub fn add(&mut self, mut addition: Addition, expansions: &mut Expansions) -> Result<Decision, Refused> {
        let payload = Digest::of(&addition.envelope.payload);
        if let Some(leaf) = self.answered(&payload)? {
            return Ok(Decision::Known(leaf));
        }
        let (index, document) = match self.addressed(&addition)? {
            Ok(found) => found,
            Err(reason) => {
                return self.reject(rejection(&addition.node, &addition.envelope, vec![reason]));
            }
        };
        if let Err(reasons) = self.recheck_addition(&mut addition) {
            return self.reject(rejection(&addition.node, &addition.envelope, reasons));
        }
        let fresh = self.without_delivery(index, &addition.recipients, expansions)?;
        if fresh.is_empty() {
            self.put_answer(payload, index);
            return Ok(Decision::Known(index));
        }
        let leaf = self.record_addition(&addition, &document, &fresh)?;
        self.put_answer(payload, leaf);
        self.put_list(leaf, document, &fresh, expansions);
        Ok(Decision::New(leaf))
    }

    /// Recipients who neither have the document nor are about to get it.
    fn without_delivery(
        &self,
        document: u64,
        recipients: &[AgencyId],
        expansions: &Expansions,
    ) -> Result<Vec<AgencyId>, Refused> {
        let pending = expansions.pending_recipients(document);
        let mut fresh = Vec::new();
        for recipient in recipients {
            if !pending.contains(recipient.as_str()) && self.delivery(document, recipient)?.is_none() {
                fresh.push(recipient.clone());
            }
        }
        Ok(fresh)
    }

    fn record_addition(
        &mut self,
        addition: &Addition,
        document: &DocumentRecord,
        fresh: &[AgencyId],
    ) -> Result<u64, Refused> {
        let mut evidence = self
            .event(EventKind::SubmissionAcceptance)?
            .about(&addition.checked.name, &addition.checked.manifest_sha256)
            .by_node(addition.node.as_str())
            .holding(&addition.envelope)
            .judged(self.verdict(&addition.judgement))
            .tested(document.test);
        evidence.submission_time_us = document.accepted_at_us;
        evidence.signature_sha256 = envelope::signature_digests(&addition.envelope);
        evidence.recipient_count = fresh.len() as u64;
        evidence.recipients_sha256 = digest(fresh);
        evidence.delivery_deadline_us = document.deadline_us;
        let sender = &addition.checked.name.sender;
        let number = self.acceptance_number(sender)?;
        evidence.counters = Some(number.clone());
        let added = self.add_leaf(&evidence, Some(document.index), vec![document.sender.clone()])?;
        self.count_acceptance(sender.clone(), &number, added);
        Ok(added.0)
    }

    fn addressed(&self, addition: &Addition) -> Result<Result<(u64, Arc<DocumentRecord>), Reason>, Refused> {
        let name = &addition.checked.name;
        let Some(index) = self.find_document(name)? else {
            return Ok(Err(Reason::new(ReasonCode::UnknownDocument, name.to_string())));
        };
        let document = self.document(index)?;
        if document.manifest_sha256 != addition.checked.manifest_sha256.as_bytes()[..] {
            let detail = "manifest_sha256: the accepted manifest has another digest";
            return Ok(Err(Reason::new(ReasonCode::DigestMismatch, detail)));
        }
        if self.erasure(index)?.is_some() {
            return Ok(Err(Reason::new(ReasonCode::ContentsErased, format!("the contents of {name}"))));
        }
        if document.deadline_us <= self.now.0 {
            let detail = format!("the delivery deadline of {name} has passed");
            return Ok(Err(Reason::new(ReasonCode::DeadlinePassed, detail)));
        }
        Ok(Ok((index, document)))
    }

    fn recheck_addition(&self, addition: &mut Addition) -> Result<(), Vec<Reason>> {
        let Addition { node, envelope, checked, judgement, .. } = addition;
        let (sender, wanted) = (&checked.name.sender, &checked.addressing);
        *judgement = self.recheck_sender(node, envelope, judgement, sender)?;
        if addition.as_of != self.directory.version() {
            addition.recipients = self.directory.expand(
                sender,
                &wanted.recipients,
                &wanted.groups,
                self.parts.max_recipients,
            )?;
        }
        Ok(())
    }

    fn put_list(
        &mut self,
        index: u64,
        document: Arc<DocumentRecord>,
        recipients: &[AgencyId],
        expansions: &mut Expansions,
    ) {
        let list = Arc::new(RecipientList {
            index,
            document: document.index,
            recipients: recipients.iter().map(ToString::to_string).collect(),
        });
        self.weigh(recipients.iter().map(|recipient| recipient.as_str().len() + 2).sum());
        self.commit.lists.push(Arc::clone(&list));
        expansions.begin(self, list, document);
    }
}

fn digest(recipients: &[AgencyId]) -> bytes::Bytes {
    recipients_digest(recipients.iter().map(AgencyId::as_str)).to_bytes()
}

fn rejection(node: &NodeName, envelope: &SignedEnvelope, reasons: Vec<Reason>) -> Rejection {
    Rejection::of(EventKind::SubmissionRejection, node, envelope, reasons)
}

/// Warning: the number stands in another document of the same year.
pub fn number_repeated(document_id: &str) -> Reason {
    Reason::new(
        ReasonCode::NaturalKeyRepeated,
        format!("the same number, notation and year stand in {document_id}"),
    )
}

/// Warning: not an original by Decision 28/2018 art. 4.
pub fn for_information() -> Reason {
    let detail = "the envelope does not carry the signatures of a person and of the agency";
    Reason::new(ReasonCode::ForInformation, detail)
}
