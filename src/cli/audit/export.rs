//! `truc audit export`: evidence as a file, and beside it what proves that the file is right.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    checkpoint,
    filter::Filter,
    row::Row,
    sink::{Format, Sink},
};
use crate::{
    cli::{
        Connection, Exit, Failure, Output,
        files::{self, FileError, Readers},
        receipt_files,
        table::row_bar,
    },
    client::{Client, export},
    proto::{
        CountRequest, ExportHead, ExportItem, ExportRequest, GetCheckpointRequest, SearchFilter,
        export_item::Item,
    },
    tlog::keys::LogKeys,
    verify::export::{Checker, Writer},
};

/// The hub may follow its log for so long before an export begins.
const CATCH_UP: usize = 600;
/// Ending of the proof beside an export.
pub const PROOF: &str = "proof";
/// Ending of the checkpoint beside an export.
pub const CHECKPOINT: &str = "checkpoint";

/// Writes evidence to a file, oldest first, with what proves it in FILE.proof and the checkpoint in FILE.checkpoint.
///
/// Check it anywhere, without the hub: truc verify FILE --trust KEYS. Without a filter it is proven that no row of the
/// range was added, altered or left out; with one, that none was added or altered, and with --complete also that none was
/// left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only leaves of the log from this index on.
    #[arg(long, value_name = "INDEX", default_value_t = 0, hide_default_value = true)]
    from_index: u64,
    /// Only leaves of the tree of this size; else of the newest.
    #[arg(long, value_name = "SIZE", default_value_t = 0, hide_default_value = true)]
    tree_size: u64,
    /// Put the evidence of all leaves of the range into the proof, so that it shows that those which are no rows do not
    /// answer the filter.
    #[arg(long)]
    complete: bool,
    /// Of the newest checkpoint that witnesses cosigned, with their lines, for `truc verify --policy`.
    #[arg(long, conflicts_with = "tree_size")]
    cosigned: bool,
    /// Form of the file.
    #[arg(long)]
    format: Format,
    /// The file; it must not exist.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The hub's verifier key, a file or its text, if you know it already; else the hub is asked.
    #[arg(long, value_name = "FILE|TEXT")]
    vkey: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    checkpoint: PathBuf,
    proof: PathBuf,
    rows: u64,
    from_index: u64,
    tree_size: u64,
    nothing_left_out: bool,
    verifier_key: String,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let paths = Paths::beside(self.output);
        paths.are_free()?;
        let filter = SearchFilter { from_index: self.from_index, ..self.filter.to_proto()? };
        let client = self.connection.client().await?;
        let mut terms = client.terms().await?;
        if let Some(known) = &self.vkey {
            terms = terms.trusting(&receipt_files::read_vkey(known)?)?;
        }
        let newest = newest(&client, &terms.keys, self.cosigned).await?;
        let tree_size = if self.tree_size == 0 { newest } else { self.tree_size };
        let filter = SearchFilter { tree_size, ..filter };
        caught_up(&client, &filter).await?;
        let filter = SearchFilter { tree_size: if self.cosigned { 0 } else { tree_size }, ..filter };
        let request =
            ExportRequest { filter: Some(filter), complete: self.complete, cosigned: self.cosigned };
        let bar = row_bar(0);
        let written = write(&client, request, terms.keys, self.format, &paths, &bar).await;
        bar.finish_and_clear();
        if written.is_err() {
            // Half a file looks like a whole one.
            paths.clear();
        }
        let exported = written?;
        output.print(&exported, Exported::to_text);
        Ok(())
    }
}

impl Exported {
    fn to_text(&self) -> String {
        let (file, proof, note) = (self.file.display(), self.proof.display(), self.checkpoint.display());
        let range = format!("leaves {} to {}", self.from_index, self.tree_size.saturating_sub(1));
        let left_out = match self.nothing_left_out {
            true => "the proof shows that none is left out",
            false => "the proof does not show that none is left out: --complete does",
        };
        format!(
            "{} rows of the {range} are in {file}, their proof in {proof}, the checkpoint in {note}; {left_out}\n\
             Check it anywhere: truc verify {file} --vkey '{}'",
            self.rows, self.verifier_key
        )
    }
}

/// The files, and what they are called while they are made.
struct Paths {
    file: PathBuf,
    proof: PathBuf,
    note: PathBuf,
}

impl Paths {
    fn beside(file: PathBuf) -> Self {
        let (proof, note) = (file.with_added_extension(PROOF), file.with_added_extension(CHECKPOINT));
        Self { file, proof, note }
    }

    fn are_free(&self) -> Result<(), FileError> {
        let mut taken = [&self.file, &self.proof, &self.note].into_iter().filter(|path| path.exists());
        taken.next().map_or(Ok(()), |path| Err(FileError::Exists { path: path.clone() }))
    }

    fn clear(&self) {
        for path in [&self.file, &self.proof] {
            let _ = std::fs::remove_file(part(path));
        }
    }

    fn publish(&self) -> Result<(), Failure> {
        for path in [&self.proof, &self.file] {
            std::fs::rename(part(path), path).map_err(|error| failed(path, error))?;
        }
        Ok(())
    }
}

fn part(path: &Path) -> PathBuf {
    path.with_added_extension("part")
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::File, format!("{}: {error}", path.display()))
}

fn not_proven(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Refused, format!("what the hub sent does not prove the export: {error}"))
}

/// Size of the newest checkpoint, or of the newest that witnesses cosigned; it has to be signed by a key of this log.
async fn newest(client: &Client, keys: &LogKeys, cosigned: bool) -> Result<u64, Failure> {
    let answer = client.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
    let note = if cosigned { checkpoint::cosigned(answer)? } else { answer.checkpoint };
    Ok(checkpoint::opened(&note, keys)?.size)
}

/// Waits until the hub can search up to the tree's end.
async fn caught_up(client: &Client, filter: &SearchFilter) -> Result<(), Failure> {
    for _ in 0..CATCH_UP {
        let counted = client.audit().count(CountRequest { filter: Some(filter.clone()) }).await?.into_inner();
        if counted.covers >= filter.tree_size {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    Err(Failure::new(Exit::Refused, "the hub's search is far behind its log").with_help("try again later"))
}

async fn write(
    client: &Client,
    request: ExportRequest,
    keys: LogKeys,
    format: Format,
    paths: &Paths,
    bar: &ProgressBar,
) -> Result<Exported, Failure> {
    let (head, mut items) = export::read(client, request).await?;
    let mut making = Making::begin(head, keys, format, paths)?;
    bar.set_length(making.checker.leaves());
    let from_index = making.checker.next();
    while let Some(item) = items.next().await? {
        making.take(item)?;
        bar.set_position(making.checker.next() - from_index);
    }
    making.end(paths)
}

/// An export and its proof in the making: a row is written from what will prove it, and from nothing else.
struct Making {
    checker: Checker,
    note: String,
    from_index: u64,
    sink: Sink,
    proof: Writer<BufWriter<File>>,
}

impl Making {
    fn begin(head: ExportHead, keys: LogKeys, format: Format, paths: &Paths) -> Result<Self, Failure> {
        let note = head.checkpoint.clone();
        let checker = Checker::begin(head.clone(), &keys.into()).map_err(not_proven)?;
        let (file_path, proof_path) = (part(&paths.file), part(&paths.proof));
        let file = File::create(&proof_path).map_err(|error| failed(&proof_path, error))?;
        let writing = |error| failed(&proof_path, error);
        let mut proof = Writer::create(BufWriter::new(file)).map_err(writing)?;
        proof.put(&ExportItem { item: Some(Item::Head(head)) }).map_err(writing)?;
        let sink = Sink::create(&file_path, format, &note).map_err(|error| failed(&file_path, error))?;
        Ok(Self { from_index: checker.next(), checker, note, sink, proof })
    }

    fn take(&mut self, item: ExportItem) -> Result<(), Failure> {
        self.proof.put(&item).map_err(|error| Failure::new(Exit::File, format!("the proof: {error}")))?;
        let row = self.checker.take(item).map_err(not_proven)?;
        row.map_or(Ok(()), |row| self.sink.put(&Row::from(row)))
            .map_err(|error| Failure::new(Exit::File, format!("the export: {error}")))
    }

    fn end(self, paths: &Paths) -> Result<Exported, Failure> {
        let file = part(&paths.file);
        self.sink.finish(&file).map_err(|error| failed(&paths.file, error))?;
        let proven = self.checker.end().map_err(not_proven)?;
        let digest = files::digest(&file, |_| {})?;
        let written = self.proof.end(proven.rows, &digest);
        let written = written.and_then(|writer| writer.into_inner().map_err(|error| error.into_error()));
        let synced = written.and_then(|file| file.sync_all());
        synced.map_err(|error| failed(&paths.proof, error))?;
        files::create(&paths.note, self.note.as_bytes(), Readers::Owner)?;
        paths.publish()?;
        Ok(Exported {
            file: paths.file.clone(),
            checkpoint: paths.note.clone(),
            proof: paths.proof.clone(),
            rows: proven.rows,
            from_index: self.from_index,
            tree_size: proven.checkpoint.size,
            nothing_left_out: proven.nothing_left_out(),
            verifier_key: proven.verifier.to_string(),
        })
    }
}
