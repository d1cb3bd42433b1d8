//! `truc audit consistency`: whether the log still contains all that it had.

use std::path::{Path, PathBuf};

use super::checkpoint::{self, ask, opened};
use crate::{
    cli::{
        Exit, Failure, Output,
        files::{self, FileError},
        verify::{
            consistency::{beside, tell},
            docproof::Language,
        },
    },
    client::{Client, ClientError},
    proto::{GetConsistencyRequest, GetProofRequest},
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        keys::{LogKeys, Trust},
        note::MAX_NOTE,
        witness::AddCheckpoint,
    },
    verify::consistency::{History, Judged, judge},
};

/// Fetches and verifies the proof that the log of NEW contains the log of OLD.
///
/// Ends with 0 if it is the same history, with 1 if the log forked or went back. A file is a checkpoint that you kept
/// (`truc audit checkpoint -o FILE`): it shows what the hub signed then. A size is only what the hub signs now: the
/// smallest signed head of at least so many leaves.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The older head: a file with a checkpoint, or a number of leaves.
    #[arg(value_name = "OLD")]
    old: String,
    /// The newer head; else the newest.
    #[arg(value_name = "NEW")]
    new: Option<String>,
    /// Save the proof here (C2SP tlog-witness request), and the older checkpoint in FILE.old; replaced if they exist.
    /// Check it anywhere: truc verify FILE --trust KEYS
    #[arg(short = 'o', long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The newest that enough witnesses cosigned in place of the newest.
    #[arg(long, conflicts_with = "new")]
    cosigned: bool,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
    /// Language of the verdict.
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

/// A signed note and what it says.
#[derive(Clone)]
struct Head {
    note: String,
    head: Checkpoint,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        self.check_order()?;
        let (answer, keys) = ask(client, self.vkey.as_deref()).await?;
        let newest = Head::open(answer.checkpoint.clone(), &keys)?;
        let old = Head::find(&self.old, client, &keys).await?;
        let new = match &self.new {
            Some(new) => Head::find(new, client, &keys).await?,
            None if self.cosigned => Head::open(checkpoint::cosigned(answer)?, &keys)?,
            None => newest.clone(),
        };
        let largest = if old.head.size > new.head.size { &old } else { &new };
        // What the log signed once and does not have any more, whichever of the two it is.
        if largest.head.size > newest.head.size && largest.head.origin == newest.head.origin {
            let (old, new) = (largest.head.clone(), newest.head);
            return tell(&Judged { old, new, history: History::WentBack }, Vec::new(), self.lang, output);
        }
        let proof = fetch(client, &old.head, &new.head).await?;
        let history = judge(&old.head, &new.head, &proof);
        let files = match &self.out {
            Some(out) => save(out, &old, new.note, proof)?,
            None => Vec::new(),
        };
        tell(&Judged { old: old.head, new: new.head, history }, files, self.lang, output)
    }
}

impl Args {
    /// Two files may stand in any order, which is what is asked; two numbers in the wrong one are a slip.
    fn check_order(&self) -> Result<(), Failure> {
        let size = |named: &str| named.parse::<u64>().ok();
        match (size(&self.old), self.new.as_deref().and_then(size)) {
            (Some(old), Some(new)) if old > new => {
                Err(Failure::new(Exit::Usage, "OLD has more leaves than NEW")
                    .with_help("name the smaller number of leaves first"))
            }
            _ => Ok(()),
        }
    }
}

impl Head {
    fn open(note: String, keys: &LogKeys) -> Result<Self, Failure> {
        Ok(Self { head: opened(&note, keys)?, note })
    }

    /// The checkpoint in a file, or the one that the hub signs for a number of leaves.
    async fn find(named: &str, client: &Client, keys: &LogKeys) -> Result<Self, Failure> {
        if let Ok(size) = named.parse() {
            return Self::of_size(size, client, keys).await;
        }
        let path = Path::new(named);
        let note = files::read_text(path, MAX_NOTE as u64)?;
        let head = keys.open(&note).map_err(|error| {
            Failure::new(Exit::Refused, format!("{named}: {error}")).with_help(
                "it has to be a checkpoint of this log, signed by a key that leads to the one trusted",
            )
        })?;
        Ok(Self { note, head })
    }

    async fn of_size(size: u64, client: &Client, keys: &LogKeys) -> Result<Self, Failure> {
        let Some(index) = size.checked_sub(1) else {
            return Err(Failure::new(Exit::Usage, "the empty log says nothing")
                .with_help("name at least 1 leaf, or a file with a checkpoint"));
        };
        let request = GetProofRequest { index, tree_size: size, cosigned: false };
        let answer = client.audit().get_proof(request).await?.into_inner();
        let receipt = answer.receipt.ok_or_else(|| ClientError::answer("the hub's answer has no proof"))?;
        Self::open(receipt.checkpoint, keys)
    }
}

/// The hub's proof; none where there is nothing to ask for. Nothing is verified.
async fn fetch(client: &Client, old: &Checkpoint, new: &Checkpoint) -> Result<Vec<Hash>, Failure> {
    if old.size == 0 || old.size > new.size || old.origin != new.origin {
        return Ok(Vec::new());
    }
    let request = GetConsistencyRequest { first: old.size, second: new.size };
    let answer = client.audit().get_consistency(request).await?.into_inner();
    let path: Option<Vec<Hash>> = answer.path.iter().map(|hash| hash[..].try_into().ok()).collect();
    Ok(path.ok_or_else(|| ClientError::answer("a hash of the hub's proof has not 32 bytes"))?)
}

/// Saved whatever the verdict: a broken promise is proven by the two checkpoints.
fn save(out: &Path, old: &Head, note: String, proof: Vec<Hash>) -> Result<Vec<PathBuf>, FileError> {
    let kept = beside(out);
    files::replace(&kept, old.note.as_bytes())?;
    files::replace(out, AddCheckpoint { old: old.head.size, proof, note }.encode().as_bytes())?;
    Ok(vec![out.to_owned(), kept])
}
