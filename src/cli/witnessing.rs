//! What `truc serve` makes of a configuration's witnesses.

use std::sync::Arc;

use super::{Exit, Failure, serve::read_seed};
use crate::{
    config::Config,
    edge::witness::WitnessDoor,
    hub::{clock::Clock, witness::Witness},
    tlog::{cosignature::Cosigner, note::Verifier},
};

/// The witness of a configuration, where it names one.
pub fn open_witness(config: &Config) -> Result<Option<WitnessDoor>, Failure> {
    let settings = &config.witness;
    if settings.name.is_empty() {
        return Ok(None);
    }
    let bad = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::File, format!("the witness's key {}: {error}", settings.key.display()))
            .with_help("`truc log witness-key` makes one")
    };
    let seed = read_seed(&settings.key).map_err(|error| bad(&error))?;
    let cosigner = Cosigner::from_seed(&settings.name, &seed).map_err(|error| bad(&error))?;
    let keys = settings.logs.iter().map(|key| Verifier::parse(key)).collect::<Result<_, _>>();
    let keys = keys.map_err(|error| Failure::new(Exit::Usage, format!("witness.logs: {error}")))?;
    let witness = Witness::open(&config.data_dir.join("witness"), cosigner, keys, Clock::system());
    let witness = witness.map_err(|error| {
        Failure::new(Exit::File, format!("the witness's memory: {error}")).with_help(
            "a witness that lost it must not go on with its key: it could cosign a second history. Make a new key, \
             move the folder away, and tell who trusted the old key",
        )
    })?;
    Ok(Some(WitnessDoor::new(Arc::new(witness))))
}
