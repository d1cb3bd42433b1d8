//! Erasures and legal holds. Both are evidence first: no byte goes before the leaf that says so is durable.

use bytes::Bytes;
use prost::Message;

use super::{Decision, draft::Draft};
use crate::{
    domain::{
        evidence::Tell,
        id::{AgencyId, Digest, DocumentName},
        reason::{Reason, ReasonCode},
    },
    hub::refused::Refused,
    proto::{ErasedScope, Erasure, EventKind, LegalHold},
    store::{
        StoreError,
        payload::PackPlace,
        records::{BodyRecord, DocumentRecord, ErasureRecord, HoldRecord},
    },
    tlog::merkle,
};

/// Leaves that came since a proposal was prepared and that the writer looks through itself.
const MOST_SINCE: u64 = 1_024;

/// Contents of one document that are to go.
pub struct Erasing {
    /// The document.
    pub document: DocumentRecord,
    /// Attachments, or all.
    pub scope: ErasedScope,
    /// Rule that says so.
    pub policy: String,
    /// Who began the run; empty for the hub's own.
    pub operator: String,
    /// Bodies that no other document of the log below `unused_as_of` needs.
    pub remove: Vec<BodyRecord>,
    /// Digests of bodies that others need.
    pub kept: Vec<Bytes>,
    /// Size of the log when all its deliveries were seen to have ended.
    pub ended_as_of: u64,
    /// Size of the log up to which all documents were asked what they need.
    pub unused_as_of: u64,
    /// Where the packs ended.
    pub packs_end: PackPlace,
}

/// A hold to be placed.
pub struct Holding {
    /// The document, or ...
    pub document: Option<u64>,
    /// ... the agency.
    pub agency: Option<AgencyId>,
    /// Why.
    pub reason: String,
    /// Who places it.
    pub operator: String,
}

/// A hold to be lifted.
pub struct Lifting {
    /// Leaf that placed it.
    pub hold: u64,
    /// Why.
    pub reason: String,
    /// Who lifts it.
    pub operator: String,
}

impl Draft<'_> {
    /// Erases document by document; one that may not be erased (now) does not stop the others.
    pub fn erase(&mut self, all: Vec<Erasing>) -> Result<Decision, Refused> {
        let mut outcomes = Vec::with_capacity(all.len());
        for erasing in all {
            outcomes.push(match self.may_erase(&erasing)? {
                Ok(()) => Ok(self.record_erasure(erasing)?),
                Err(reason) => Err(reason),
            });
        }
        Ok(Decision::Erased(outcomes))
    }

    fn may_erase(&self, erasing: &Erasing) -> Result<Result<(), Reason>, Refused> {
        let document = &erasing.document;
        let refuse = |code, detail: &str| Ok(Err(Reason::new(code, detail)));
        if let Some(before) = self.erasure(document.index)? {
            if before.is_whole() || erasing.scope != ErasedScope::All {
                return refuse(ReasonCode::ContentsErased, "these contents were erased before");
            }
            if !before.removed {
                return refuse(ReasonCode::Busy, "an earlier erasure is not finished");
            }
        }
        if let Some(hold) = self.hold_on(document)? {
            return refuse(ReasonCode::AlreadyHeld, &format!("hold {}", hold.leaf));
        }
        let moved = self.commit.leaves.iter().any(|leaf| leaf.document_plus_one == document.index + 1)
            || !self.store.timeline(document.index, erasing.ended_as_of, 1)?.is_empty();
        if moved || self.is_used_since(erasing)? {
            return refuse(ReasonCode::Busy, "something happened to the document or its attachments");
        }
        Ok(Ok(()))
    }

    /// True if a document that came meanwhile needs a body, or if too many came to look at.
    fn is_used_since(&self, erasing: &Erasing) -> Result<bool, StoreError> {
        let head = self.store.head().size;
        if head.saturating_sub(erasing.unused_as_of) > MOST_SINCE {
            return Ok(true);
        }
        let came = self.store.documents(erasing.unused_as_of..head)?;
        let mut came = came.iter().chain(self.commit.documents.iter().map(|document| &**document));
        Ok(came.any(|other| erasing.remove.iter().any(|body| needs(other, &body.sha256))))
    }

    fn record_erasure(&mut self, erasing: Erasing) -> Result<u64, Refused> {
        let document = &erasing.document;
        let whole = erasing.scope == ErasedScope::All;
        let told = Erasure {
            scope: erasing.scope.into(),
            parts_sha256: document.parts.clone(),
            envelope_sha256: if whole { document.envelope_sha256.clone() } else { Bytes::new() },
            kept_sha256: erasing.kept.clone(),
            policy: erasing.policy.clone(),
            operator: erasing.operator.clone(),
            operation: u32::try_from(document.operation).unwrap_or(0),
        };
        let mut evidence = self.about_document(EventKind::PayloadErased, document)?;
        evidence.erasure = told.encode_to_vec().into();
        let (leaf, _) = self.add_leaf(&evidence, Some(document.index), vec![document.sender.clone()])?;
        self.weigh(erasing.remove.len() * 64);
        self.commit.erasures.push(ErasureRecord {
            document: document.index,
            leaf,
            scope: erasing.scope.into(),
            remove: erasing.remove,
            pack: erasing.packs_end.pack,
            pack_offset: erasing.packs_end.offset,
            removed: false,
        });
        Ok(leaf)
    }

    /// Records that the bytes of these erasures are gone.
    pub fn removed(&mut self, erasures: Vec<ErasureRecord>) -> Decision {
        for erasure in erasures {
            self.commit.erasures.push(ErasureRecord { remove: Vec::new(), removed: true, ..erasure.clone() });
            self.ended.push(erasure);
        }
        Decision::Done
    }

    /// What was erased of a document, staged or stored.
    pub fn erasure(&self, document: u64) -> Result<Option<ErasureRecord>, StoreError> {
        let staged = self.commit.erasures.iter().rev().find(|erasure| erasure.document == document);
        staged.map_or_else(|| self.store.erasure(document), |erasure| Ok(Some(erasure.clone())))
    }

    /// True if a body that was looked up when there were `count` erasures may be gone.
    pub fn is_gone(&self, count: u64, bodies: &[BodyRecord]) -> bool {
        let staged = self.commit.erasures.iter().flat_map(|erasure| &erasure.remove);
        self.parts.erasures.touch(count, bodies)
            || staged.into_iter().any(|gone| bodies.iter().any(|body| body.sha256 == gone.sha256))
    }

    /// Places a hold.
    pub fn hold(&mut self, holding: Holding) -> Result<Decision, Refused> {
        let document = holding.document.map(|index| self.document(index)).transpose()?;
        let agency = holding.agency.map(|agency| agency.to_string()).unwrap_or_default();
        let document_plus_one = document.as_ref().map_or(0, |document| document.index + 1);
        let same = |hold: &HoldRecord| hold.document_plus_one == document_plus_one && hold.agency == agency;
        if let Some(hold) = self.holds().into_iter().find(same) {
            return Err(Refused::because(ReasonCode::AlreadyHeld, format!("hold {}", hold.leaf)));
        }
        if let Some(document) = &document
            && self.erasure(document.index)?.is_some_and(|erasure| erasure.is_whole())
        {
            return Err(Refused::because(ReasonCode::ContentsErased, "there is nothing left to keep"));
        }
        let told = LegalHold {
            agency: agency.clone(),
            reason: holding.reason.clone(),
            operator: holding.operator.clone(),
            ..LegalHold::default()
        };
        let leaf = self.record_hold(&told, document.as_deref())?;
        self.commit.holds.push(HoldRecord {
            leaf,
            document_plus_one,
            agency,
            reason: holding.reason,
            operator: holding.operator,
            placed_at_us: self.now.0,
            lifted: false,
        });
        Ok(Decision::New(leaf))
    }

    /// Lifts a hold.
    pub fn lift(&mut self, lifting: Lifting) -> Result<Decision, Refused> {
        let Some(hold) = self.holds().into_iter().find(|hold| hold.leaf == lifting.hold) else {
            return Err(Refused::because(ReasonCode::UnknownHold, lifting.hold.to_string()));
        };
        let document = hold.document_plus_one.checked_sub(1).map(|index| self.document(index)).transpose()?;
        let told = LegalHold {
            placed_leaf: hold.leaf,
            lifted: true,
            agency: hold.agency.clone(),
            reason: lifting.reason,
            operator: lifting.operator,
        };
        let leaf = self.record_hold(&told, document.as_deref())?;
        self.commit.holds.push(HoldRecord { lifted: true, ..hold });
        Ok(Decision::New(leaf))
    }

    fn record_hold(&mut self, told: &LegalHold, document: Option<&DocumentRecord>) -> Result<u64, Refused> {
        let mut evidence = match document {
            Some(document) => self.about_document(EventKind::LegalHold, document)?,
            None => self.event(EventKind::LegalHold)?,
        };
        evidence.legal_hold = told.encode_to_vec().into();
        let (leaf, _) = self.add_leaf(&evidence, document.map(|document| document.index), Vec::new())?;
        Ok(leaf)
    }

    /// An event of a document as a whole: it follows the acceptance.
    fn about_document(
        &self,
        kind: EventKind,
        document: &DocumentRecord,
    ) -> Result<crate::proto::Evidence, Refused> {
        let name = DocumentName::parse(&document.sender, &document.document_id, document.revision)?;
        let damaged = || StoreError::Damaged(format!("the record of document {}", document.index));
        let manifest = Digest::from_slice(&document.manifest_sha256).ok_or_else(damaged)?;
        let acceptance = merkle::leaf_hash(&self.evidence_bytes(document.index)?);
        let mut evidence = self.event(kind)?.about(&name, &manifest).after(&acceptance);
        evidence.submission_time_us = document.accepted_at_us;
        Ok(evidence)
    }

    /// The hold that keeps a document.
    fn hold_on(&self, document: &DocumentRecord) -> Result<Option<HoldRecord>, Refused> {
        for hold in self.holds() {
            if hold.document_plus_one == document.index + 1 || hold.agency == document.sender {
                return Ok(Some(hold));
            }
            if !hold.agency.is_empty()
                && self.delivery(document.index, &AgencyId::parse(&hold.agency)?)?.is_some()
            {
                return Ok(Some(hold));
            }
        }
        Ok(None)
    }

    /// Holds in force, with those of this draft.
    fn holds(&self) -> Vec<HoldRecord> {
        let mut holds = self.parts.erasures.holds();
        for staged in &self.commit.holds {
            holds.retain(|hold| hold.leaf != staged.leaf);
            holds.extend((!staged.lifted).then(|| staged.clone()));
        }
        holds
    }
}

/// True if a document carries a body.
pub fn needs(document: &DocumentRecord, sha256: &[u8]) -> bool {
    document.envelope_sha256 == sha256 || document.parts.iter().any(|part| part[..] == *sha256)
}
