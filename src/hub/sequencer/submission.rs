//! Accepting documents, and more recipients for accepted ones.

use super::{Addition, Decision, Rejection, Submission, draft::Draft, expansion::Expansions};
use crate::{
    domain::{
        document, envelope,
        evidence::{Tell, recipients_digest},
        id::{AgencyId, Digest},
        policy,
        reason::{Reason, ReasonCode},
    },
    hub::refused::Refused,
    proto::{EventKind, LegalValue},
    store::records::{DocumentRecord, RecipientList},
};

impl Draft<'_> {
    /// Accepts a document, returns the old receipt for a repeat, or refuses with evidence.
    pub fn submit(
        &mut self,
        mut submission: Submission,
        expansions: &mut Expansions,
    ) -> Result<Decision, Refused> {
        let manifest_sha256 = Digest::of(&submission.envelope.payload);
        let name = &submission.checked.name;
        if let Some(known) = self.find_document(name)? {
            if self.document(known)?.manifest_sha256 == manifest_sha256.as_bytes()[..] {
                return Ok(Decision::Leaf(known));
            }
            let conflict =
                Reason::new(ReasonCode::Conflict, format!("{name} was accepted with other content"));
            return self.reject(&rejection(&submission, vec![conflict]));
        }
        if let Err(reasons) = self.recheck_submission(&mut submission) {
            return self.reject(&rejection(&submission, reasons));
        }
        self.accept(submission, manifest_sha256, expansions)
    }

    /// The directory may have changed between verification and now: states are judged again.
    fn recheck_submission(&self, submission: &mut Submission) -> Result<(), Vec<Reason>> {
        if submission.as_of == self.directory.version() {
            return Ok(());
        }
        let sender = &submission.checked.name.sender;
        policy::may_send(&self.directory, &submission.node, sender).map_err(|reason| vec![reason])?;
        submission.judgement = envelope::recheck(
            &submission.envelope,
            &submission.judgement,
            sender,
            &*self.directory,
            self.now,
        )
        .map_err(|reason| vec![reason])?;
        let manifest = &submission.checked.manifest;
        submission.recipients = self.directory.expand(
            sender,
            &manifest.recipients,
            &manifest.groups,
            self.parts.max_recipients,
        )?;
        Ok(())
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
        let warnings = self.warnings(&checked, &info, judgement.legal_value)?;
        let mut evidence = self
            .event(EventKind::SubmissionAcceptance)?
            .about(&checked.name, &manifest_sha256)
            .by_node(node.as_str())
            .because(&warnings)
            .judged(self.verdict(&judgement));
        evidence.submission_time_us = self.now.0;
        evidence.signature_sha256 = envelope::signature_digests(&envelope);
        evidence.recipient_count = recipients.len() as u64;
        evidence.recipients_sha256 = digest(&recipients);
        evidence.delivery_deadline_us = checked.deadline.0;

        let index = self.next_leaf();
        self.add_leaf(&evidence, Some(index), vec![checked.name.sender.to_string()])?;
        let record = DocumentRecord {
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
            parts: checked.manifest.parts.iter().map(|part| part.sha256.clone()).collect(),
            node: node.into(),
            operation: checked.manifest.operation,
        };
        self.put_document(checked.name, record.clone());
        self.commit.bodies.extend(bodies);
        self.put_list(index, record, &recipients, expansions);
        Ok(Decision::Leaf(index))
    }

    fn warnings(
        &self,
        checked: &document::CheckedManifest,
        info: &crate::proto::DocumentInfo,
        legal_value: LegalValue,
    ) -> Result<Vec<Reason>, Refused> {
        let mut warnings = Vec::new();
        let natural = self.natural_key(&checked.name.sender, checked.year, &info.number, &info.notation)?;
        if let Some(older) = natural
            && self.document(older)?.document_id != *checked.name.document_id
        {
            let older = self.document(older)?.document_id;
            warnings.push(Reason::new(
                ReasonCode::NaturalKeyRepeated,
                format!("the same number, notation and year stand in {older}"),
            ));
        }
        if legal_value == LegalValue::Information {
            warnings.push(Reason::new(
                ReasonCode::ForInformation,
                "the envelope does not carry the signatures of a person and of the agency",
            ));
        }
        Ok(warnings)
    }

    /// Sends an accepted document to more recipients. Who has it already does not get it twice.
    pub fn add(&mut self, addition: Addition, expansions: &mut Expansions) -> Result<Decision, Refused> {
        let payload = Digest::of(&addition.envelope.payload);
        if let Some(leaf) = self.answered(&payload)? {
            return Ok(Decision::Leaf(leaf));
        }
        let (index, document) = match self.addressed(&addition)? {
            Ok(found) => found,
            Err(reason) => return self.reject(&addition_rejection(&addition, payload, vec![reason])),
        };
        let mut recipients = addition.recipients.clone();
        if addition.as_of != self.directory.version() {
            match self.recheck_addition(&addition) {
                Ok(fresh) => recipients = fresh,
                Err(reasons) => return self.reject(&addition_rejection(&addition, payload, reasons)),
            }
        }
        let already = expansions.pending_recipients(index);
        let mut fresh = Vec::new();
        for recipient in recipients {
            if !already.contains(recipient.as_str()) && self.delivery(index, &recipient)?.is_none() {
                fresh.push(recipient);
            }
        }
        if fresh.is_empty() {
            return Ok(Decision::Leaf(index));
        }
        let mut evidence = self
            .event(EventKind::SubmissionAcceptance)?
            .about(&addition.checked.name, &addition.checked.manifest_sha256)
            .by_node(addition.node.as_str())
            .holding(&addition.envelope)
            .judged(self.verdict(&addition.judgement));
        evidence.submission_time_us = document.accepted_at_us;
        evidence.recipient_count = fresh.len() as u64;
        evidence.recipients_sha256 = digest(&fresh);
        evidence.delivery_deadline_us = document.deadline_us;
        let (leaf, _) = self.add_leaf(&evidence, Some(index), vec![document.sender.clone()])?;
        self.put_answer(payload, leaf);
        self.put_list(leaf, document, &fresh, expansions);
        Ok(Decision::Leaf(leaf))
    }

    fn addressed(&self, addition: &Addition) -> Result<Result<(u64, DocumentRecord), Reason>, Refused> {
        let name = &addition.checked.name;
        let Some(index) = self.find_document(name)? else {
            return Ok(Err(Reason::new(ReasonCode::UnknownDocument, name.to_string())));
        };
        let document = self.document(index)?;
        if document.manifest_sha256 != addition.checked.manifest_sha256.as_bytes()[..] {
            let detail = "manifest_sha256: the accepted manifest has another digest";
            return Ok(Err(Reason::new(ReasonCode::DigestMismatch, detail)));
        }
        if document.deadline_us <= self.now.0 {
            let detail = format!("the delivery deadline of {name} has passed");
            return Ok(Err(Reason::new(ReasonCode::DeadlinePassed, detail)));
        }
        Ok(Ok((index, document)))
    }

    fn recheck_addition(&self, addition: &Addition) -> Result<Vec<AgencyId>, Vec<Reason>> {
        let sender = &addition.checked.name.sender;
        policy::may_send(&self.directory, &addition.node, sender).map_err(|reason| vec![reason])?;
        envelope::recheck(&addition.envelope, &addition.judgement, sender, &*self.directory, self.now)
            .map_err(|reason| vec![reason])?;
        let wanted = &addition.checked.addressing;
        self.directory.expand(sender, &wanted.recipients, &wanted.groups, self.parts.max_recipients)
    }

    fn put_list(
        &mut self,
        index: u64,
        document: DocumentRecord,
        recipients: &[AgencyId],
        expansions: &mut Expansions,
    ) {
        let list = RecipientList {
            index,
            document: document.index,
            recipients: recipients.iter().map(ToString::to_string).collect(),
        };
        self.weigh(recipients.len() * 16);
        self.commit.lists.push(list.clone());
        expansions.begin(self, list, document);
    }
}

fn digest(recipients: &[AgencyId]) -> bytes::Bytes {
    recipients_digest(recipients.iter().map(AgencyId::as_str)).to_bytes()
}

fn rejection(submission: &Submission, reasons: Vec<Reason>) -> Rejection {
    Rejection {
        event: EventKind::SubmissionRejection,
        node: submission.node.clone(),
        name: Some(submission.checked.name.clone()),
        message: Digest::of(&submission.envelope.payload),
        reasons,
    }
}

fn addition_rejection(addition: &Addition, message: Digest, reasons: Vec<Reason>) -> Rejection {
    Rejection {
        event: EventKind::SubmissionRejection,
        node: addition.node.clone(),
        name: Some(addition.checked.name.clone()),
        message,
        reasons,
    }
}
