//! Flags of commands that sign for an agency or name recipients.

use std::path::PathBuf;

use super::{Failure, keygen::read_signing_key};
use crate::{
    client::draft::{all_below, communes_of},
    domain::signature::SigningKey,
    proto::RecipientGroup,
};

/// The keys to sign with.
#[derive(Clone, Debug, clap::Args)]
pub struct Keys {
    /// Private key that signs for the agency (PKCS#8 PEM); repeat it to sign as agency and as person.
    #[arg(long = "key", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Keys {
    /// Reads them.
    pub fn read(&self) -> Result<Vec<SigningKey>, Failure> {
        read_keys(&self.files)
    }
}

/// Reads private keys.
pub fn read_keys(files: &[PathBuf]) -> Result<Vec<SigningKey>, Failure> {
    Ok(files.iter().map(|file| read_signing_key(file)).collect::<Result<_, _>>()?)
}

/// Who gets a document.
#[derive(Clone, Debug, clap::Args)]
pub struct Recipients {
    /// Recipient agency; repeat it for more.
    #[arg(long = "to", value_name = "AGENCY")]
    agencies: Vec<String>,
    /// All communes below this agency.
    #[arg(long = "to-communes-of", value_name = "AGENCY")]
    communes: Vec<String>,
    /// Every agency below this one.
    #[arg(long = "to-all-below", value_name = "AGENCY")]
    below: Vec<String>,
}

impl Recipients {
    /// Agencies, and groups that the hub expands.
    pub fn split(&self) -> (Vec<String>, Vec<RecipientGroup>) {
        let communes = self.communes.iter().map(|root| communes_of(root));
        let below = self.below.iter().map(|root| all_below(root));
        (self.agencies.clone(), communes.chain(below).collect())
    }
}
