//! Follows a log over C2SP tlog-tiles and keeps a verified copy. Believes nothing but the trusted keys: a checkpoint has
//! to be signed, to continue every checkpoint that was seen before, and every byte has to hash to it.

mod fault;
mod folder;
mod look;

use std::path::Path;

pub use fault::{Fault, MirrorError};
use folder::Folder;
use look::{Look, Stop};

use super::{ClientError, site::Site};
use crate::{
    domain::time::Timestamp,
    tlog::{Hash, note::Verifier, policy::Policy},
};

/// What of the log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Hashes and entries.
    Everything,
    /// Hashes alone, for logs that do not serve their entries.
    Hashes,
}

/// What one look brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which log.
    pub origin: String,
    /// Leaves before.
    pub from: u64,
    /// Leaves now.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// Tiles and bundles that were fetched.
    pub fetched: u64,
}

/// What is believed.
#[derive(Clone, Debug, Default)]
pub struct Believed {
    /// Keys, each for its own log.
    pub keys: Vec<Verifier>,
    /// Proofs of changes of a log's key (the text of a `hub.keys` file), where they are at hand already.
    pub log_keys: String,
    /// Which witnesses have to have cosigned a head before it counts.
    pub policy: Option<Policy>,
}

/// A copy of a log, which grows with each look.
pub struct Mirror {
    site: Site,
    folder: Folder,
    believed: Believed,
    keep: Keep,
}

impl Mirror {
    /// A mirror of `site` in the folder `dir`, which is made if need be. Only checkpoints that one of the believed keys
    /// signed for its own log count, and those of keys that such a log was provably handed over to; with a policy only as
    /// far as witnesses cosigned them.
    pub fn open(site: Site, dir: &Path, believed: Believed, keep: Keep) -> Result<Self, ClientError> {
        Ok(Self { site, folder: Folder::open(dir)?, believed, keep })
    }

    /// Looks once: fetches what is new, verifies it, and only then moves the folder's checkpoint forward. It may be
    /// stopped at any moment and goes on from there. `told` hears of every file: how many are done, and of how many.
    ///
    /// A [`Fault`] leaves checkpoint and tiles as they were, and its evidence in `fork-<time>`.
    pub async fn advance(
        &mut self,
        now: Timestamp,
        told: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Step, MirrorError> {
        let mut look = Look::new(&mut self.site, &self.folder, &self.believed, self.keep)?;
        match look.run(told).await {
            Ok(step) => Ok(step),
            Err(Stop::Site(error)) => Err(error.into()),
            Err(Stop::Folder(error)) => Err(error.into()),
            Err(Stop::NotCosigned(rule)) => Err(MirrorError::NotCosigned { rule }),
            Err(Stop::Fault(fault)) => {
                let evidence = self.folder.keep_evidence(now, &look.evidence(&fault))?;
                Err(MirrorError::Fault { fault, evidence })
            }
        }
    }
}
