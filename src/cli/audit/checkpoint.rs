//! `truc audit checkpoint`: the newest signed head of the log.

use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cli::{Exit, Failure, Output, files, receipt_files},
    client::{Client, ClientError},
    proto::{GetCheckpointRequest, GetCheckpointResponse},
    tlog::{
        checkpoint::Checkpoint,
        cosignature,
        keys::{LogKeys, Trust},
    },
};

/// Fetches the newest signed checkpoint of the log as a C2SP note.
///
/// Keep it: `truc audit consistency FILE` shows later whether the log still contains all that it had.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write; replaced if it exists.
    #[arg(short = 'o', long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The newest that enough witnesses cosigned, with their lines.
    #[arg(long)]
    cosigned: bool,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    origin: String,
    size: u64,
    root: String,
    verifier_key: String,
    /// Cosignatures by their names and times; whether they are good, `truc verify --policy` finds out.
    cosignatures: Vec<By>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    checkpoint: String,
}

#[derive(Serialize)]
struct By {
    witness: String,
    /// Seconds since 1970, by the witness's clock.
    time: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let (answer, keys) = ask(client, self.vkey.as_deref()).await?;
        let note = if self.cosigned { cosigned(answer)? } else { answer.checkpoint };
        let head = opened(&note, &keys)?;
        if let Some(out) = &self.out {
            files::replace(out, note.as_bytes())?;
        }
        let named = cosignature::unverified(&note).map_err(|error| ClientError::answer(error.to_string()))?;
        let shown = Shown {
            verifier_key: keys.of_size(head.size).to_string(),
            origin: head.origin,
            size: head.size,
            root: hex::encode(head.root),
            cosignatures: named.into_iter().map(|(witness, time)| By { witness, time }).collect(),
            file: self.out,
            checkpoint: note,
        };
        output.print(&shown, Shown::to_text);
        Ok(())
    }
}

/// The hub's heads, and the keys of its log as far as they are believed.
pub async fn ask(client: &Client, vkey: Option<&str>) -> Result<(GetCheckpointResponse, LogKeys), Failure> {
    let mut terms = client.terms().await?;
    if let Some(known) = vkey {
        terms = terms.trusting(&receipt_files::read_vkey(known)?)?;
    }
    let answer = client.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
    Ok((answer, terms.keys))
}

/// The newest cosigned note.
pub fn cosigned(answer: GetCheckpointResponse) -> Result<String, Failure> {
    if answer.cosigned.is_empty() {
        let help = "ask again in some seconds, look at truc witnesses, or leave --cosigned away";
        return Err(Failure::new(Exit::Refused, "no checkpoint is cosigned yet").with_help(help));
    }
    Ok(answer.cosigned)
}

/// Opens a checkpoint of this log.
pub fn opened(note: &str, keys: &LogKeys) -> Result<Checkpoint, Failure> {
    keys.open(note).map_err(|error| Failure::new(Exit::Refused, format!("the hub's checkpoint: {error}")))
}

impl Shown {
    fn to_text(&self) -> String {
        let mut text = format!("{}: {} leaves, root {}\n", self.origin, self.size, self.root);
        let witnesses: Vec<_> = self.cosignatures.iter().map(|by| &by.witness[..]).collect();
        text += &match witnesses[..] {
            [] => "Signed by the log alone.\n".to_owned(),
            _ => format!("Cosigned in the name of {}.\n", witnesses.join(", ")),
        };
        match &self.file {
            Some(file) => {
                let file = file.display();
                text + &format!("In {file}. Later: truc audit consistency {file}")
            }
            None => format!("{text}\n{}", self.checkpoint.trim_end()),
        }
    }
}
