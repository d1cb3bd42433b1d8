//! Taking documents in: everything that can be checked before the one writer is checked here, in parallel.

mod parts;

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tokio::sync::oneshot;

use super::{
    Hub,
    claim::Claim,
    refused::{Refused, stopping},
    sequencer::{Addition, Answer, Proof, Proposal, Rejection, Submission, for_information},
};
use crate::{
    domain::{
        directory::Directory,
        document::{self, CheckedManifest},
        envelope::{self, Judgement},
        evidence::{MAX_LEAF, RULES},
        id::{AgencyId, Digest, NodeName},
        policy,
        reason::{Reason, ReasonCode},
    },
    proto::{self, EventKind, SignedEnvelope},
};

/// Refusals that are about this moment, not about the message: they become no evidence.
const PASSING: [ReasonCode; 6] = [
    ReasonCode::DiskFull,
    ReasonCode::Busy,
    ReasonCode::RateLimited,
    ReasonCode::ShuttingDown,
    ReasonCode::StoreFailed,
    ReasonCode::Damaged,
];

/// Largest envelope that stands in a leaf, beside names, verdict and reasons.
const MAX_HELD: usize = MAX_LEAF - 8 * 1024;

/// The answer to a submission: the same receipt bytes for every repeat.
#[derive(Debug)]
pub struct Accepted {
    /// Evidence with proof.
    pub receipt: proto::Receipt,
    /// True when an earlier request was answered with it already.
    pub repeat: bool,
}

/// What verification made of a signed message.
pub(super) enum Prepared {
    /// Answered before, with this leaf.
    Known(u64),
    /// To be decided by the writer.
    New(Proposal),
}

/// What a manifest comes to without its bodies.
struct Examined {
    checked: CheckedManifest,
    judgement: Judgement,
    recipients: Vec<AgencyId>,
    as_of: u64,
}

impl Hub {
    /// Accepts a document, or refuses it with evidence.
    pub async fn submit(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
        inline: Vec<Bytes>,
    ) -> Result<Accepted, Refused> {
        let (note, mut noted) = oneshot::channel();
        let began = self.steps.now();
        let prepare = move |hub: &Self, node: &NodeName, envelope: &SignedEnvelope| {
            let step = hub.steps.begin_at("verify", || Some(Digest::of(&envelope.payload)), began);
            let prepared = hub.prepare(node, envelope, &inline);
            drop(step.map(|step| step.by(node)));
            if let Ok(Prepared::New(Proposal::Submit(submission))) = &prepared {
                // Whoever went away needs no note.
                let _ = note.send(submission.note());
            }
            prepared
        };
        let accepted = self.pass(EventKind::SubmissionRejection, node, envelope, prepare).await?;
        if let Ok(Noted { sender, bytes, uploaded }) = noted.try_recv() {
            self.release_uploads(node, uploaded);
            if !accepted.repeat {
                self.presence.submitted(node, bytes);
                self.heard_from(node, Some(sender));
            }
        }
        Ok(accepted)
    }

    /// All checks of [`Hub::submit`] but for the bodies; nothing is stored.
    pub async fn validate(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<proto::ValidateResponse, Refused> {
        let (hub, owner) = (Arc::clone(self), node.clone());
        self.workers.run(node, move || hub.validate_now(&owner, &envelope)).await?
    }

    /// Sends an accepted document to more recipients.
    pub async fn add_recipients(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Accepted, Refused> {
        self.take(EventKind::SubmissionRejection, node, envelope, Self::prepare_addition).await
    }

    /// The agency that a signed message says it speaks for, if this node may act for it: in whose name it counts.
    #[must_use]
    pub fn speaks_for(&self, node: &NodeName, envelope: &SignedEnvelope) -> Option<AgencyId> {
        let agency = Claim::of(envelope).agency?;
        self.directory().may_act(node, &agency).is_ok().then_some(agency)
    }

    /// Verifies a signed message off the async threads, lets the writer decide it, and proves the outcome.
    pub(super) async fn take(
        self: &Arc<Self>,
        refusal: EventKind,
        node: &NodeName,
        envelope: SignedEnvelope,
        prepare: impl FnOnce(&Self, NodeName, SignedEnvelope) -> Result<Proposal, Refused> + Send + 'static,
    ) -> Result<Accepted, Refused> {
        let prepare = move |hub: &Self, node: &NodeName, envelope: &SignedEnvelope| {
            if let Some(leaf) = hub.answered(node, envelope)? {
                return Ok(Prepared::Known(leaf));
            }
            hub.need_reserve()?;
            prepare(hub, node.clone(), envelope.clone()).map(Prepared::New)
        };
        self.pass(refusal, node, envelope, prepare).await
    }

    /// Lets a signed message pass through verification and decision. The thread that verified it hands it to the writer
    /// itself: its caller is woken once, when all is durable.
    async fn pass(
        self: &Arc<Self>,
        refusal: EventKind,
        node: &NodeName,
        envelope: SignedEnvelope,
        prepare: impl FnOnce(&Self, &NodeName, &SignedEnvelope) -> Result<Prepared, Refused> + Send + 'static,
    ) -> Result<Accepted, Refused> {
        let (reply, answer) = oneshot::channel();
        let (hub, owner) = (Arc::clone(self), node.clone());
        let work = move || {
            let prepared = prepare(&hub, &owner, &envelope);
            let prepared = prepared.or_else(|refused| refusal_of(refusal, &owner, &envelope, refused));
            (hub, prepared)
        };
        self.workers.put(node, reply, work, |(hub, prepared), reply| match prepared {
            Ok(Prepared::New(proposal)) => hub.sequencer.put(proposal, reply),
            Ok(Prepared::Known(leaf)) => {
                let known = Answer::Receipt { proof: Proof::Stored(leaf), repeat: true };
                // A caller that went away repeats, here and below.
                let _ = reply.send(Ok(known));
            }
            Err(passing) => drop(reply.send(Err(passing))),
        })?;
        self.accepted(answer.await.unwrap_or_else(|_| Err(stopping()))?).await
    }

    /// Lets the writer decide, and reads the proof where it is an old one.
    pub(super) async fn settle(self: &Arc<Self>, proposal: Proposal) -> Result<Accepted, Refused> {
        self.accepted(self.sequencer.propose(proposal).await?).await
    }

    /// What the answer means to the caller, with its proof.
    async fn accepted(self: &Arc<Self>, answer: Answer) -> Result<Accepted, Refused> {
        match answer {
            Answer::Receipt { proof, repeat } => Ok(Accepted { receipt: self.proven(proof).await?, repeat }),
            Answer::Refused { reasons, proof } => {
                let receipt = Some(Box::new(self.proven(proof).await?));
                Err(Refused { reasons, receipt })
            }
            _ => Err(Refused::because(ReasonCode::StoreFailed, "the writer gave no receipt")),
        }
    }

    async fn proven(self: &Arc<Self>, proof: Proof) -> Result<proto::Receipt, Refused> {
        match proof {
            Proof::Fresh(receipt) => Ok(receipt),
            Proof::Stored(leaf) => self.receipt(leaf).await,
        }
    }

    fn prepare(
        &self,
        node: &NodeName,
        envelope: &SignedEnvelope,
        inline: &[Bytes],
    ) -> Result<Prepared, Refused> {
        let checked = self.check_manifest(envelope);
        if let Some(leaf) = self.known(node, envelope, checked.as_ref().ok())? {
            return Ok(Prepared::Known(leaf));
        }
        self.need_room()?;
        let examined = self.examine(&self.directory(), node, envelope, checked?)?;
        let erasures = self.erasures.count();
        let step = self.steps.begin("bodies", || Some(Digest::of(&envelope.payload)));
        let parts::Collected { mut bodies, uploaded } =
            self.collect_parts(node, &examined.checked.manifest.parts, inline)?;
        let (encoded, envelope) = own_copy(envelope)?;
        let envelope_sha256 = Digest::of(&encoded);
        bodies.push(self.keep(&encoded, &envelope_sha256)?);
        drop(step);
        Ok(Prepared::New(Proposal::Submit(Box::new(Submission {
            node: node.clone(),
            manifest_sha256: Digest::of(&envelope.payload),
            envelope,
            checked: examined.checked,
            judgement: examined.judgement,
            recipients: examined.recipients,
            as_of: examined.as_of,
            bodies,
            uploaded,
            envelope_sha256,
            erasures,
        }))))
    }

    /// The leaf that accepted exactly this manifest before: before any rule that may have changed since.
    fn known(
        &self,
        node: &NodeName,
        envelope: &SignedEnvelope,
        checked: Option<&CheckedManifest>,
    ) -> Result<Option<u64>, Refused> {
        if envelope.payload_type != envelope::MANIFEST {
            return Ok(None);
        }
        let name = checked.map(|checked| checked.name.clone());
        let Some(name) = name.or_else(|| Claim::of(envelope).name) else { return Ok(None) };
        let Some(index) = self.store.find_document(&name)? else { return Ok(None) };
        if !self.is_published(index) || !self.is_same(index, envelope)? {
            return Ok(None);
        }
        self.directory().may_act(node, &name.sender)?;
        Ok(Some(index))
    }

    fn is_same(&self, document: u64, envelope: &SignedEnvelope) -> Result<bool, Refused> {
        let document = self.store.document(document)?;
        Ok(document.is_some_and(|d| d.manifest_sha256 == Digest::of(&envelope.payload).as_bytes()[..]))
    }

    /// The leaf that answered exactly this message before, whatever became of keys and clocks since.
    fn answered(&self, node: &NodeName, envelope: &SignedEnvelope) -> Result<Option<u64>, Refused> {
        let answered = self.store.answered(&Digest::of(&envelope.payload))?;
        let Some(leaf) = answered.filter(|leaf| self.is_published(*leaf)) else { return Ok(None) };
        let Some(agency) = Claim::of(envelope).agency else { return Ok(None) };
        self.directory().may_act(node, &agency)?;
        Ok(Some(leaf))
    }

    fn check_manifest(&self, envelope: &SignedEnvelope) -> Result<CheckedManifest, Refused> {
        envelope::check_form(envelope, envelope::MANIFEST)?;
        let limits = &self.settings.limits;
        Ok(document::check_manifest(&envelope.payload, limits, &self.log.origin, self.clock.now())?)
    }

    fn examine(
        &self,
        directory: &Directory,
        node: &NodeName,
        envelope: &SignedEnvelope,
        checked: CheckedManifest,
    ) -> Result<Examined, Refused> {
        let now = self.clock.now();
        let limits = &self.settings.limits;
        let sender = &checked.name.sender;
        policy::may_send(directory, node, sender)?;
        let judgement = envelope::judge(envelope, envelope::MANIFEST, sender, directory, now)?;
        let wanted = &checked.manifest;
        let recipients =
            directory.expand(sender, &wanted.recipients, &wanted.groups, limits.max_recipients)?;
        Ok(Examined { judgement, recipients, as_of: directory.version(), checked })
    }

    fn validate_now(
        &self,
        node: &NodeName,
        envelope: &SignedEnvelope,
    ) -> Result<proto::ValidateResponse, Refused> {
        let checked = self.check_manifest(envelope)?;
        let examined = self.examine(&self.directory(), node, envelope, checked)?;
        let Examined { checked, judgement, recipients, .. } = examined;
        if let Some(index) = self.store.find_document(&checked.name)?
            && !self.is_same(index, envelope)?
        {
            let detail = format!("{} was accepted with other content", checked.name);
            return Err(Refused::because(ReasonCode::Conflict, detail));
        }
        let mut warnings = Vec::new();
        if judgement.legal_value == proto::LegalValue::Information {
            warnings.push(for_information().to_proto());
        }
        let verdict = proto::Verdict {
            rules: RULES,
            as_of_index: self.store.head().size,
            signatures: judgement.reports,
            legal_value: judgement.legal_value.into(),
        };
        Ok(proto::ValidateResponse {
            verdict: Some(verdict),
            recipient_count: recipients.len() as u64,
            warnings,
        })
    }

    fn prepare_addition(&self, node: NodeName, envelope: SignedEnvelope) -> Result<Proposal, Refused> {
        self.need_room()?;
        let now = self.clock.now();
        let limits = &self.settings.limits;
        envelope::check_form(&envelope, envelope::ADDRESSING)?;
        refuse_what_no_leaf_holds(&envelope)?;
        let checked = document::check_addressing(&envelope.payload, limits, &self.log.origin, now)?;
        let directory = self.directory();
        let sender = &checked.name.sender;
        policy::may_send(&directory, &node, sender)?;
        let judgement = envelope::judge(&envelope, envelope::ADDRESSING, sender, &*directory, now)?;
        let wanted = &checked.addressing;
        let recipients =
            directory.expand(sender, &wanted.recipients, &wanted.groups, limits.max_recipients)?;
        let as_of = directory.version();
        let addition = Addition { as_of, node, envelope, judgement, recipients, checked };
        Ok(Proposal::Add(Box::new(addition)))
    }
}

/// What is done about an accepted submission behind the answer.
struct Noted {
    sender: AgencyId,
    /// With all parts.
    bytes: u64,
    uploaded: Vec<Digest>,
}

impl Submission {
    fn note(&self) -> Noted {
        let parts = self.checked.manifest.parts.iter().map(|part| part.size);
        let bytes = parts.fold(self.envelope.encoded_len() as u64, u64::saturating_add);
        Noted { sender: self.checked.name.sender.clone(), bytes, uploaded: self.uploaded.clone() }
    }
}

/// A refusal becomes evidence, unless it is about this moment rather than about the message.
fn refusal_of(
    event: EventKind,
    node: &NodeName,
    envelope: &SignedEnvelope,
    refused: Refused,
) -> Result<Prepared, Refused> {
    if PASSING.contains(&refused.code()) {
        return Err(refused);
    }
    let rejection = Rejection::of(event, node, envelope, refused.reasons);
    Ok(Prepared::New(Proposal::Reject(Box::new(rejection))))
}

/// A copy with bytes of its own, and these: the message it came in, with all parts, is not held any longer.
fn own_copy(envelope: &SignedEnvelope) -> Result<(Bytes, SignedEnvelope), Refused> {
    let encoded = Bytes::from(envelope.encode_to_vec());
    // Decoding makes all parts slices of one piece.
    let copy = SignedEnvelope::decode(encoded.clone());
    let copy = copy.map_err(|error| Refused::because(ReasonCode::Malformed, format!("envelope: {error}")))?;
    Ok((encoded, copy))
}

/// Addressings, receipts and statuses stand whole in the evidence, and leaves are bounded.
pub(super) fn refuse_what_no_leaf_holds(envelope: &SignedEnvelope) -> Result<(), Reason> {
    let len = envelope.encoded_len();
    if len <= MAX_HELD {
        return Ok(());
    }
    let detail = format!("envelope: {len} bytes, at most {MAX_HELD} for a message of this kind; use groups");
    Err(Reason::new(ReasonCode::TooLarge, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Signature;

    #[test]
    fn the_message_that_a_document_came_in_is_let_go() {
        let message = Bytes::from(vec![7; 5000]);
        let key_id = message.slice(3000..3032);
        let signatures = vec![Signature { key_id, ..Signature::default() }];
        let payload = message.slice(10..3000);
        let envelope = SignedEnvelope { payload, signatures, ..SignedEnvelope::default() };
        let (encoded, copy) = own_copy(&envelope).unwrap();
        assert_eq!((&copy, encoded), (&envelope, envelope.encode_to_vec().into()));
        drop(envelope);
        assert!(message.is_unique());
    }
}
