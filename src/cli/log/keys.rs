//! `truc log keys`: the proofs that lead from one key of the log to the next.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cli::{Connection, Exit, Failure, Output, audit::trust, files},
    client::ClientError,
    proto::GetCheckpointRequest,
    tlog::{keys::LogKeys, note::Verifier},
    verify::log_keys,
};

/// Fetches the proofs of all changes of the log's key, verifies them, and writes them as one file: hub.keys. Beside
/// hub.vkey it lets `truc verify` follow the log from any of its keys to the newest.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write; replaced if it exists.
    #[arg(short = 'o', long, value_name = "FILE", default_value = "hub.keys")]
    out: PathBuf,
    /// Verifier keys that you trust already: a file with one on each line, or the key itself. One of them has to be among
    /// the log's keys.
    #[arg(long, value_name = "FILE|TEXT")]
    trust: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Saved {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    newest: String,
    keys: Vec<Era>,
}

#[derive(Serialize)]
struct Era {
    verifier_key: String,
    from_size: u64,
    /// Absent for the key that signs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    to_size: Option<u64>,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let answer = client.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
        let named = Verifier::parse(&answer.verifier_key)
            .map_err(|error| ClientError::answer(format!("the hub's verifier key: {error}")))?;
        let trusted = match &self.trust {
            Some(trust) => trust::read(trust)?,
            None => vec![named.clone()],
        };
        let keys = log_keys::trusted(&answer.log_keys, &trusted)
            .map_err(|error| Failure::new(Exit::Refused, format!("not proven: {error}")))?;
        let keys = keys.into_iter().find(|keys| keys.contains(&named)).ok_or_else(|| {
            let problem =
                format!("the hub names the key {named}, which nothing ties to a key that you trust");
            Failure::new(Exit::Refused, problem)
                .with_help("ask the hub's operator by another way which key is right")
        })?;
        let file = if answer.log_keys.is_empty() {
            None
        } else {
            files::replace(&self.out, answer.log_keys.as_bytes())?;
            Some(self.out)
        };
        let saved = Saved { file, newest: keys.newest().to_string(), keys: eras(&keys) };
        output.print(&saved, |saved| {
            let wrote = saved.file.as_ref().map_or_else(
                || "The log has had one key only: there is nothing to write.".to_owned(),
                |file| format!("The proofs of all changes are in {}.", file.display()),
            );
            format!("{}\n{wrote}", saved.newest)
        });
        Ok(())
    }
}

fn eras(keys: &LogKeys) -> Vec<Era> {
    let era = |(key, sizes): (&Verifier, std::ops::RangeInclusive<u64>)| Era {
        verifier_key: key.to_string(),
        from_size: *sizes.start(),
        to_size: Some(*sizes.end()).filter(|end| *end != u64::MAX),
    };
    keys.eras().map(era).collect()
}
