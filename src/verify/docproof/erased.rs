//! Contents that the hub erased by a retention rule: what the evidence says of them, and what stands in for an envelope
//! that is gone.

use prost::Message;

use crate::{
    domain::{id::Digest, time::Timestamp},
    proto::{ErasedScope, Erasure, LegalHold, Manifest, SignedEnvelope},
    verify::Facts,
};

/// One erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Its leaf.
    pub leaf: u64,
    /// When, by the hub's clock.
    pub at: Timestamp,
    /// Attachments, or all.
    pub scope: ErasedScope,
    /// The rule by which.
    pub policy: String,
    /// Digests of the attachments, in the manifest's order.
    pub parts: Vec<Digest>,
    /// Digest of the serialized envelope, where that went too.
    pub envelope: Option<Digest>,
    /// `proto::Operation` of the document.
    operation: i32,
}

impl Erased {
    /// Reads the evidence, which is about the document as a whole and follows its acceptance.
    pub fn read(event: &Facts, acceptance: &Facts) -> Result<Self, String> {
        of_document(event, acceptance)?;
        let erasure = Erasure::decode(event.evidence().erasure.clone()).map_err(|error| error.to_string())?;
        let digests = |all: &[bytes::Bytes]| all.iter().map(|one| Digest::from_slice(one)).collect();
        let parts: Option<Vec<Digest>> = digests(&erasure.parts_sha256);
        let envelope = Digest::from_slice(&erasure.envelope_sha256);
        let fits = match erasure.scope() {
            ErasedScope::Unspecified => false,
            ErasedScope::Attachments => erasure.envelope_sha256.is_empty(),
            ErasedScope::All => envelope.is_some(),
        };
        Ok(Self {
            leaf: event.index(),
            at: event.time(),
            scope: erasure.scope(),
            parts: parts.filter(|_| fits).ok_or("does not say what was erased")?,
            envelope,
            operation: i32::try_from(erasure.operation).unwrap_or_default(),
            policy: erasure.policy,
        })
    }

    /// Compares it with an envelope that is still there.
    pub fn fits(&self, manifest: &Manifest, envelope: &SignedEnvelope) -> Result<(), String> {
        let same = manifest
            .parts
            .iter()
            .map(|part| &part.sha256[..])
            .eq(self.parts.iter().map(|part| &part.as_bytes()[..]));
        let whole = Digest::of(&envelope.encode_to_vec());
        if !same || self.operation != manifest.operation || self.envelope.is_some_and(|said| said != whole) {
            return Err("says that other contents were erased than the document has".into());
        }
        Ok(())
    }

    /// What is known of the manifest without it: names, and what the course of statuses depends on.
    pub fn manifest(&self, acceptance: &Facts) -> Manifest {
        let evidence = acceptance.evidence();
        Manifest {
            document_id: evidence.document_id.clone(),
            revision: evidence.revision,
            sender: acceptance.sender().to_owned(),
            hub_origin: acceptance.checkpoint().origin.clone(),
            operation: self.operation,
            ..Manifest::default()
        }
    }
}

/// A hold says nothing about the course of the document; it only has to be what it says.
pub fn hold(event: &Facts, acceptance: &Facts) -> Result<(), String> {
    of_document(event, acceptance)?;
    LegalHold::decode(event.evidence().legal_hold.clone()).map(drop).map_err(|error| error.to_string())
}

fn of_document(event: &Facts, acceptance: &Facts) -> Result<(), String> {
    if event.recipients().next().is_some() || event.message().is_some() {
        return Err("is about one recipient, or holds a message".into());
    }
    if event.previous() != Some(acceptance.leaf_hash()) {
        return Err("does not follow the acceptance".into());
    }
    Ok(())
}
