//! Directory changes: each is a leaf, so that an auditor can replay who could sign when.

use prost::Message;

use super::{Decision, draft::Draft};
use crate::{
    domain::{
        directory::{Directory, Prepared},
        id::{AgencyId, NodeName},
        reason::Reason,
    },
    hub::refused::Refused,
    proto::{self, Actor, AgencyState, DirectoryChange, EventKind, directory_change::Change},
    store::records::DirectoryRecord,
};

impl Draft<'_> {
    /// Applies one change; one that changes nothing is answered with the leaf that made it so.
    pub fn change(&mut self, change: &DirectoryChange, actor: Option<&Actor>) -> Result<Decision, Refused> {
        match self.directory.prepare(change, self.now)? {
            Prepared::Unchanged { leaf } => Ok(Decision::Known(leaf)),
            Prepared::Change(change) => Ok(Decision::New(self.record_change(&change, actor)?)),
        }
    }

    fn record_change(&mut self, change: &DirectoryChange, actor: Option<&Actor>) -> Result<u64, Refused> {
        let mut evidence = self.event(EventKind::DirectoryChange)?;
        evidence.directory_change = change.encode_to_vec().into();
        evidence.actor = actor.cloned();
        let leaf = self.next_leaf();
        self.change_directory(leaf, change)?;
        self.add_leaf(&evidence, None, Vec::new())?;
        self.commit.directory.push(DirectoryRecord { leaf });
        if let Some(Change::RevokeNode(revoked)) = &change.change
            && let Ok(node) = NodeName::parse(&revoked.name)
        {
            self.revoke(node);
        }
        Ok(leaf)
    }

    /// Adds many agencies; a bad one is quarantined and the others go on.
    pub fn import(&mut self, agencies: &[proto::Agency], actor: Option<&Actor>) -> Result<Decision, Refused> {
        let mut response = proto::ImportAgenciesResponse::default();
        for (position, agency) in (0..).zip(agencies) {
            let change = import_of(&self.directory, agency);
            match self.directory.prepare(&change, self.now) {
                Ok(Prepared::Unchanged { .. }) => response.unchanged += 1,
                Ok(Prepared::Change(change)) => {
                    self.record_change(&change, actor)?;
                    response.imported += 1;
                }
                Err(reason) => response.quarantined.push(quarantined(position, agency, &reason)),
            }
        }
        Ok(Decision::Imported(response))
    }
}

/// The change that imports an agency. A list that says nothing of states does not wake a suspended agency.
pub fn import_of(directory: &Directory, agency: &proto::Agency) -> DirectoryChange {
    let mut agency = agency.clone();
    let known = AgencyId::parse(&agency.organ_id).ok().and_then(|id| directory.agency(&id));
    if let Some(known) = known
        && agency.state() == AgencyState::Active
        && known.state == AgencyState::Suspended
    {
        agency.state = known.state.into();
    }
    DirectoryChange { change: Some(Change::PutAgency(agency)), reason: "import".into() }
}

/// A row that was left out.
pub fn quarantined(position: u32, agency: &proto::Agency, reason: &Reason) -> proto::QuarantinedAgency {
    proto::QuarantinedAgency {
        position,
        organ_id: agency.organ_id.chars().take(64).collect(),
        reason: Some(reason.to_proto()),
    }
}
