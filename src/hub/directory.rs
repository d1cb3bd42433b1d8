//! Changing the directory.

use std::sync::Arc;

use prost::Message;

use super::{
    Hub,
    intake::Accepted,
    refused::{Refused, blocking},
    sequencer::{Answer, Proposal},
};
use crate::{
    domain::{directory::Prepared, reason::ReasonCode},
    proto::{Actor, Agency, DirectoryChange, ImportAgenciesResponse},
};

/// Agencies of one import call.
pub const MAX_IMPORT: usize = 2_000;

/// A change stands whole in a leaf.
const MAX_CHANGE: usize = 60_000;

impl Hub {
    /// Applies one change.
    pub async fn change_directory(self: &Arc<Self>, change: DirectoryChange) -> Result<Accepted, Refused> {
        self.change_directory_by(None, change).await
    }

    /// The same on this person's word, which stands in the evidence.
    pub async fn change_directory_by(
        self: &Arc<Self>,
        actor: Option<Actor>,
        change: DirectoryChange,
    ) -> Result<Accepted, Refused> {
        let len = change.encoded_len();
        if len > MAX_CHANGE {
            let detail =
                format!("the change has {len} bytes, at most {MAX_CHANGE} fit into a leaf: split it");
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        self.settle(Proposal::Change(Box::new(change), actor)).await
    }

    /// Adds many agencies; bad ones are quarantined.
    pub async fn import_agencies(
        self: &Arc<Self>,
        agencies: Vec<Agency>,
        dry_run: bool,
    ) -> Result<ImportAgenciesResponse, Refused> {
        self.import_agencies_by(None, agencies, dry_run).await
    }

    /// The same on this person's word, which stands in the evidence.
    pub async fn import_agencies_by(
        self: &Arc<Self>,
        actor: Option<Actor>,
        agencies: Vec<Agency>,
        dry_run: bool,
    ) -> Result<ImportAgenciesResponse, Refused> {
        if agencies.len() > MAX_IMPORT {
            let detail = format!("agencies: {} in one call, at most {MAX_IMPORT}", agencies.len());
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        if dry_run {
            let hub = Arc::clone(self);
            return blocking(move || hub.dry_import(&agencies)).await;
        }
        match self.sequencer.propose(Proposal::Import(agencies, actor)).await? {
            Answer::Imported(response) => Ok(response),
            _ => Err(Refused::because(ReasonCode::StoreFailed, "the writer gave no import result")),
        }
    }

    /// What an import would do, on a copy that is thrown away.
    fn dry_import(&self, agencies: &[Agency]) -> ImportAgenciesResponse {
        let mut directory = (*self.directory()).clone();
        let mut response = ImportAgenciesResponse::default();
        for (position, agency) in (0..).zip(agencies) {
            let change = super::sequencer::import_of(&directory, agency);
            let applied = match directory.prepare(&change, self.clock.now()) {
                Ok(Prepared::Unchanged { .. }) => {
                    response.unchanged += 1;
                    continue;
                }
                Ok(Prepared::Change(change)) => directory.apply(directory.version(), &change),
                Err(reason) => Err(reason),
            };
            match applied {
                Ok(()) => response.imported += 1,
                Err(reason) => {
                    response.quarantined.push(super::sequencer::quarantined(position, agency, &reason));
                }
            }
        }
        response
    }
}
