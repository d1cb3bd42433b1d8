//! Taking documents in: everything that can be checked before the one writer is checked here, in parallel.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use prost::Message;

use super::{
    Hub, query,
    refused::Refused,
    sequencer::{Addition, Answer, Proposal, Rejection, Submission},
};
use crate::{
    domain::{
        directory::Directory,
        document::{self, CheckedManifest},
        envelope::{self, Judgement},
        evidence::RULES,
        id::{AgencyId, Digest, DocumentName, NodeName},
        policy,
        reason::{Reason, ReasonCode},
    },
    proto::{self, EventKind, SignedEnvelope},
    store::records::BodyRecord,
};

/// The answer to a submission: the same receipt bytes for every repeat.
#[derive(Debug)]
pub struct Accepted {
    /// Evidence with proof.
    pub receipt: proto::Receipt,
    /// True when an earlier request was answered with it already.
    pub repeat: bool,
}

/// What verification made of a submission.
enum Prepared {
    /// Known already: the leaf that answered it.
    Known(u64),
    /// To be decided by the writer.
    New(Box<Submission>),
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
        let (hub, owner, signed) = (Arc::clone(self), node.clone(), envelope.clone());
        let prepared = blocking(move || hub.prepare(owner, signed, &inline)).await?;
        let answer = match prepared {
            Ok(Prepared::Known(leaf)) => {
                return Ok(Accepted { receipt: query::receipt(&*self.store, leaf)?, repeat: true });
            }
            Ok(Prepared::New(submission)) => {
                let parts = submission.checked.manifest.parts.clone();
                let answer = self.sequencer.propose(Proposal::Submit(submission)).await;
                if answer.is_ok() {
                    self.release_uploads(node, &parts);
                }
                answer
            }
            Err(refused) => self.reject(EventKind::SubmissionRejection, node, &envelope, refused).await,
        };
        accepted(answer?)
    }

    /// All checks of [`Hub::submit`] but for the bodies; nothing is stored.
    pub async fn validate(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<proto::ValidateResponse, Refused> {
        let (hub, node) = (Arc::clone(self), node.clone());
        blocking(move || {
            let examined = hub.examine(&hub.directory(), &node, &envelope)?;
            let verdict = proto::Verdict {
                rules: RULES,
                as_of_index: hub.store.head().size,
                signatures: examined.judgement.reports,
                legal_value: examined.judgement.legal_value.into(),
            };
            let information = examined.judgement.legal_value == proto::LegalValue::Information;
            let warning =
                Reason::new(ReasonCode::ForInformation, "no personal signature beside the agency's");
            Ok(proto::ValidateResponse {
                verdict: Some(verdict),
                recipient_count: examined.recipients.len() as u64,
                warnings: information.then(|| warning.to_proto()).into_iter().collect(),
            })
        })
        .await?
    }

    /// Sends an accepted document to more recipients.
    pub async fn add_recipients(
        self: &Arc<Self>,
        node: &NodeName,
        envelope: SignedEnvelope,
    ) -> Result<Accepted, Refused> {
        let (hub, owner, signed) = (Arc::clone(self), node.clone(), envelope.clone());
        let answer = match blocking(move || hub.prepare_addition(owner, signed)).await? {
            Ok(addition) => self.sequencer.propose(Proposal::Add(Box::new(addition))).await,
            Err(refused) => self.reject(EventKind::SubmissionRejection, node, &envelope, refused).await,
        };
        accepted(answer?)
    }

    /// Makes a refusal evidence, unless it is about this moment rather than about the message.
    pub(super) async fn reject(
        &self,
        event: EventKind,
        node: &NodeName,
        envelope: &SignedEnvelope,
        refused: Refused,
    ) -> Result<Answer, Refused> {
        let passing =
            [ReasonCode::Busy, ReasonCode::ShuttingDown, ReasonCode::StoreFailed, ReasonCode::Damaged];
        if refused.receipt.is_some() || passing.contains(&refused.code()) {
            return Err(refused);
        }
        let rejection = Rejection {
            event,
            node: node.clone(),
            name: name_in(envelope),
            message: Digest::of(&envelope.payload),
            reasons: refused.reasons,
        };
        self.sequencer.propose(Proposal::Reject(Box::new(rejection))).await
    }

    fn prepare(
        &self,
        node: NodeName,
        envelope: SignedEnvelope,
        inline: &[Bytes],
    ) -> Result<Prepared, Refused> {
        if let Some(leaf) = self.known(&node, &envelope)? {
            return Ok(Prepared::Known(leaf));
        }
        let examined = self.examine(&self.directory(), &node, &envelope)?;
        let mut bodies = self.collect_parts(&node, &examined.checked.manifest.parts, inline)?;
        let encoded = Bytes::from(envelope.encode_to_vec());
        let envelope_sha256 = Digest::of(&encoded);
        bodies.push(self.keep(&encoded, &envelope_sha256)?);
        Ok(Prepared::New(Box::new(Submission {
            node,
            envelope,
            checked: examined.checked,
            judgement: examined.judgement,
            recipients: examined.recipients,
            as_of: examined.as_of,
            bodies,
            envelope_sha256,
        })))
    }

    /// The leaf that accepted exactly this manifest before: before any rule that may have changed since.
    fn known(&self, node: &NodeName, envelope: &SignedEnvelope) -> Result<Option<u64>, Refused> {
        if envelope.payload_type != envelope::MANIFEST {
            return Ok(None);
        }
        let Some(name) = name_in(envelope) else { return Ok(None) };
        let Some(index) = self.store.find_document(&name)? else { return Ok(None) };
        let document = self.store.document(index)?;
        let same =
            document.is_some_and(|d| d.manifest_sha256 == Digest::of(&envelope.payload).as_bytes()[..]);
        if !same {
            return Ok(None);
        }
        self.directory().may_act(node, &name.sender)?;
        Ok(Some(index))
    }

    fn examine(
        &self,
        directory: &Directory,
        node: &NodeName,
        envelope: &SignedEnvelope,
    ) -> Result<Examined, Refused> {
        let now = self.clock.now();
        let limits = &self.settings.limits;
        envelope::check_form(envelope, envelope::MANIFEST)?;
        let checked = document::check_manifest(&envelope.payload, limits, &self.log.origin, now)?;
        let sender = &checked.name.sender;
        policy::may_send(directory, node, sender)?;
        let judgement = envelope::judge(envelope, envelope::MANIFEST, sender, directory, now)?;
        let wanted = &checked.manifest;
        let recipients =
            directory.expand(sender, &wanted.recipients, &wanted.groups, limits.max_recipients)?;
        Ok(Examined { judgement, recipients, as_of: directory.version(), checked })
    }

    fn prepare_addition(&self, node: NodeName, envelope: SignedEnvelope) -> Result<Addition, Refused> {
        let now = self.clock.now();
        let limits = &self.settings.limits;
        envelope::check_form(&envelope, envelope::ADDRESSING)?;
        let checked = document::check_addressing(&envelope.payload, limits, &self.log.origin, now)?;
        let directory = self.directory();
        let sender = &checked.name.sender;
        policy::may_send(&directory, &node, sender)?;
        let judgement = envelope::judge(&envelope, envelope::ADDRESSING, sender, &*directory, now)?;
        let wanted = &checked.addressing;
        let recipients =
            directory.expand(sender, &wanted.recipients, &wanted.groups, limits.max_recipients)?;
        Ok(Addition { as_of: directory.version(), node, envelope, judgement, recipients, checked })
    }

    /// Every part, from the message or from this node's uploads; never from another node's, or a digest alone
    /// would be enough to read somebody's attachment.
    fn collect_parts(
        &self,
        node: &NodeName,
        parts: &[proto::Part],
        inline: &[Bytes],
    ) -> Result<Vec<BodyRecord>, Refused> {
        let total: u64 = inline.iter().map(|bytes| bytes.len() as u64).sum();
        if total > self.settings.max_inline_bytes {
            let detail = format!(
                "inline_parts: {total} bytes, {} may come inline; upload the rest",
                self.settings.max_inline_bytes
            );
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        let mut given: HashMap<Digest, &Bytes> =
            inline.iter().map(|bytes| (Digest::of(bytes), bytes)).collect();
        let (mut bodies, mut missing) = (Vec::new(), Vec::new());
        let mut seen = std::collections::HashSet::new();
        for part in parts {
            let digest = Digest::from_slice(&part.sha256)
                .ok_or_else(|| Reason::new(ReasonCode::InvalidField, "parts.sha256: needs 32 bytes"))?;
            if !seen.insert(digest) {
                continue;
            }
            match self.part(node, &digest, given.remove(&digest))? {
                Some(body) if body.size == part.size => bodies.push(body),
                Some(body) => missing.push(Reason::new(
                    ReasonCode::DigestMismatch,
                    format!(
                        "part {}: {} bytes are here, the manifest says {}",
                        part.name, body.size, part.size
                    ),
                )),
                None => {
                    missing.push(Reason::new(ReasonCode::BodyMissing, format!("{digest} ({})", part.name)))
                }
            }
        }
        if let Some(digest) = given.keys().next() {
            let detail = format!("inline_parts: no part of the manifest has the digest {digest}");
            missing.push(Reason::new(ReasonCode::DigestMismatch, detail));
        }
        if missing.is_empty() { Ok(bodies) } else { Err(missing.into()) }
    }

    fn part(
        &self,
        node: &NodeName,
        digest: &Digest,
        inline: Option<&Bytes>,
    ) -> Result<Option<BodyRecord>, Refused> {
        if let Some(bytes) = inline {
            // Once on disk is enough, however many documents carry it.
            return match self.store.body(digest)? {
                Some(body) => Ok(Some(body)),
                None => self.keep(bytes, digest).map(Some),
            };
        }
        let adopted =
            self.payload.adopt(node, digest).map_err(|error| super::transfer::refused(error.into()))?;
        match adopted {
            Some(body) => Ok(Some(self.store.body(digest)?.unwrap_or(body))),
            None => Ok(None),
        }
    }

    /// Writes a body that came in a message: it shares the commit's sync.
    fn keep(&self, bytes: &Bytes, digest: &Digest) -> Result<BodyRecord, Refused> {
        self.payload.put_known(digest, bytes).map_err(|error| super::transfer::refused(error.into()))
    }

    fn release_uploads(&self, node: &NodeName, parts: &[proto::Part]) {
        for digest in parts.iter().filter_map(|part| Digest::from_slice(&part.sha256)) {
            if let Err(error) = self.payload.release(node, &digest) {
                tracing::warn!(%error, "an upload that was used could not be cleared away");
            }
        }
    }
}

pub(super) fn accepted(answer: Answer) -> Result<Accepted, Refused> {
    match answer {
        Answer::Receipt { receipt, repeat } => Ok(Accepted { receipt, repeat }),
        _ => Err(Refused::because(ReasonCode::StoreFailed, "the writer gave no receipt")),
    }
}

/// The document that a signed message names, as far as it can be read.
pub(super) fn name_in(envelope: &SignedEnvelope) -> Option<DocumentName> {
    let payload = envelope.payload.clone();
    if envelope.payload_type == envelope::MANIFEST {
        let manifest = proto::Manifest::decode(payload).ok()?;
        return DocumentName::parse(&manifest.sender, &manifest.document_id, manifest.revision).ok();
    }
    // Addressing, receipt and status number these fields alike.
    let message = proto::BusinessStatus::decode(payload).ok()?;
    DocumentName::parse(&message.sender, &message.document_id, message.revision).ok()
}

/// Runs CPU or disk work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a worker ended unexpectedly");
        Refused::because(
            ReasonCode::StoreFailed,
            "a worker of the hub ended unexpectedly: repeat the same message",
        )
    })
}
