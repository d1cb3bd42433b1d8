//! What `truc serve` makes of a configuration's witnesses.

use std::{sync::Arc, time::Duration};

use super::{Exit, Failure, serve::read_seed};
use crate::{
    client::site::Site,
    config::Config,
    edge::witness::WitnessDoor,
    hub::{
        Hub,
        clock::Clock,
        witness::Witness,
        witnesses::{Peer, Posted, Rounds, Wire},
    },
    tlog::{cosignature::Cosigner, note::Verifier},
};

/// An answer is a few signature lines, or a line of words.
const MAX_ANSWER: usize = 16 * 1024;
/// A witness that takes longer is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to a witness over HTTPS.
struct Line(Site);

impl Wire for Line {
    fn post(&mut self, body: String) -> Posted<'_> {
        Box::pin(async move {
            let answer = self.0.post("add-checkpoint", body.into(), MAX_ANSWER, PATIENCE).await;
            let (status, body) = answer.map_err(|error| error.to_string())?;
            let text = String::from_utf8(body.to_vec()).map_err(|_| "its answer is not text".to_owned())?;
            Ok((status, text))
        })
    }
}

/// Begins to ask the witnesses of a configuration for cosignatures.
pub fn ask_witnesses(config: &Config, hub: &Arc<Hub>) -> Result<(), Failure> {
    let log = &config.log;
    if log.witnesses.is_empty() {
        return Ok(());
    }
    let ca = if log.witness_ca.as_os_str().is_empty() { &config.tls.client_ca } else { &log.witness_ca };
    let peers = log.witness_list().into_iter().map(|(url, key)| {
        let site = Site::new(&url, Some(ca))?;
        Ok(Peer::new(key, url, Box::new(Line(site))))
    });
    let peers = peers.collect::<Result<Vec<_>, Failure>>()?;
    let rounds = Rounds { every: log.witness_every, alarm: log.witness_alarm, quorum: log.witness_quorum };
    hub.ask_witnesses(peers, rounds, &config.data_dir.join("cosigned")).map_err(|error| {
        Failure::new(Exit::File, error).with_help(
            "if the folder was restored from a backup, bring back the newest copy. A log that goes on from an older one is \
             a fork, and its witnesses will say so",
        )
    })
}

/// The witness of a configuration, where it names one.
pub fn open_witness(config: &Config, hub: &Hub) -> Result<Option<WitnessDoor>, Failure> {
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
    let witness = Arc::new(witness);
    hub.be_witness(Arc::clone(&witness));
    Ok(Some(WitnessDoor::new(witness)))
}
