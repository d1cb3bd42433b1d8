//! `truc log witness-key`: a key for a witness.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cli::{
        Exit, Failure, Output,
        files::{self, Readers},
        serve::read_seed,
    },
    domain::signature::{Algorithm, SigningKey},
    tlog::cosignature::Cosigner,
};

/// Makes the key of a witness: FILE (PKCS#8, for its owner only). Prints the verifier key that others need.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the witness, such as hub.example.gov.vn/witness: the same as in [witness] name.
    #[arg(long)]
    name: String,
    /// Where the private key goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Made {
    name: String,
    key: PathBuf,
    verifier_key: String,
}

impl Args {
    /// Runs the command.
    pub fn run(self, output: &Output) -> Result<(), Failure> {
        // A name that can't be used is found out before anything is written.
        Cosigner::from_seed(&self.name, &[1; 32]).map_err(|error| Failure::new(Exit::Usage, error))?;
        let key = SigningKey::generate(Algorithm::Ed25519)?;
        files::create(&self.out, key.to_pkcs8_pem().as_bytes(), Readers::Owner)?;
        let cosigner = Cosigner::from_seed(&self.name, &*read_seed(&self.out)?)
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        let made = Made { name: self.name, key: self.out, verifier_key: cosigner.verifier().to_string() };
        output.print(&made, |made| made.verifier_key.clone());
        Ok(())
    }
}
