//! `truc audit export`: evidence as a file, with the checkpoint it was taken at.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use rust_xlsxwriter::{Workbook, XlsxError};
use serde::Serialize;

use super::{
    filter::Filter,
    row::{COLUMNS, Row},
};
use crate::{
    cli::{
        Connection, Exit, Failure, Output,
        files::{self, FileError, Readers},
        table::row_bar,
    },
    client::{Client, Patience, search},
    proto::{CountRequest, GetCheckpointRequest, SearchFilter, SearchOrder, SearchRequest},
    tlog::{checkpoint::Checkpoint, note::Verifier},
};

/// Rows asked for at a time.
const PAGE: u32 = 1_000;
/// Rows of a sheet; a spreadsheet takes 1,048,576.
const SHEET_ROWS: u32 = 1_000_000;
/// The hub may follow its log for so long before an export begins.
const CATCH_UP: usize = 600;

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Comma-separated values.
    Csv,
    /// One JSON object on each line.
    Jsonl,
    /// A spreadsheet.
    Xlsx,
}

/// Writes evidence to a file, oldest first, with the checkpoint it was taken at in FILE.checkpoint.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Form of the file.
    #[arg(long)]
    format: Format,
    /// The file; it must not exist.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    checkpoint: PathBuf,
    rows: u64,
    tree_size: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let note_path = beside(&self.output);
        for path in [&self.output, &note_path] {
            if path.exists() {
                return Err(FileError::Exists { path: path.clone() }.into());
            }
        }
        let filter = self.filter.to_proto()?;
        let client = self.connection.client().await?;
        let (note, tree_size) = checkpoint(&client).await?;
        let filter = SearchFilter { tree_size, ..filter };
        let bar = row_bar(usize::try_from(expected(&client, &filter).await?).unwrap_or(0));
        let part = self.output.with_added_extension("part");
        let sink = Sink::create(&part, self.format, &note).map_err(|error| failed(&part, error))?;
        let written = write(&client, filter, sink, &bar, &part).await;
        bar.finish_and_clear();
        let rows = match written {
            Ok(rows) => rows,
            Err(failure) => {
                // Half a file looks like a whole one.
                let _ = std::fs::remove_file(&part);
                return Err(failure);
            }
        };
        files::create(&note_path, note.as_bytes(), Readers::Owner)?;
        std::fs::rename(&part, &self.output).map_err(|error| failed(&self.output, error))?;
        let exported = Exported { file: self.output, checkpoint: note_path, rows, tree_size };
        output.print(&exported, |done| {
            let (file, note) = (done.file.display(), done.checkpoint.display());
            format!(
                "{} rows of the first {} leaves are in {file}, the checkpoint in {note}",
                done.rows, done.tree_size
            )
        });
        Ok(())
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("checkpoint")
}

fn failed(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::File, format!("{}: {error}", path.display()))
}

/// The newest checkpoint, verified with the key that the hub gives, and its size.
async fn checkpoint(client: &Client) -> Result<(String, u64), Failure> {
    let answer = client.audit().get_checkpoint(GetCheckpointRequest {}).await?.into_inner();
    let wrong =
        |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, format!("the hub's checkpoint: {error}"));
    let verifier = Verifier::parse(&answer.verifier_key).map_err(|error| wrong(&error))?;
    let opened = Checkpoint::open(&answer.checkpoint, &verifier).map_err(|error| wrong(&error))?;
    Ok((answer.checkpoint, opened.size))
}

/// How many rows there will be, once the hub can search up to the checkpoint.
async fn expected(client: &Client, filter: &SearchFilter) -> Result<u64, Failure> {
    for _ in 0..CATCH_UP {
        let counted = client.audit().count(CountRequest { filter: Some(filter.clone()) }).await?.into_inner();
        if counted.covers >= filter.tree_size {
            return Ok(counted.count);
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    Err(Failure::new(Exit::Refused, "the hub's search is far behind its log").with_help("try again later"))
}

async fn write(
    client: &Client,
    filter: SearchFilter,
    mut sink: Sink,
    bar: &ProgressBar,
    path: &Path,
) -> Result<u64, Failure> {
    let order = SearchOrder::Oldest.into();
    let request = SearchRequest { filter: Some(filter), order, page_size: PAGE, ..SearchRequest::default() };
    let (mut rows, mut error) = (0_u64, None);
    search::read(client, request, &Patience::default(), |row| {
        rows += 1;
        bar.inc(1);
        error = sink.put(&Row::from(row)).err();
        error.is_none()
    })
    .await?;
    let finished = error.map_or_else(|| sink.finish(path), Err);
    finished.map_err(|error| failed(path, error))?;
    Ok(rows)
}

/// A file in the making.
enum Sink {
    Csv(Box<csv::Writer<File>>),
    Jsonl(BufWriter<File>),
    Xlsx { book: Box<Workbook>, sheet: usize, row: u32 },
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Xlsx(#[from] XlsxError),
}

impl Sink {
    fn create(path: &Path, format: Format, note: &str) -> Result<Self, WriteError> {
        if format == Format::Xlsx {
            let mut book = Workbook::new();
            // Rows go through a temporary file beside the export, not through memory.
            book.set_tempdir(
                path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            )?;
            let about = book.add_worksheet().set_name("checkpoint")?;
            about.write_string(0, 0, note)?;
            let mut sink = Self::Xlsx { book: Box::new(book), sheet: 0, row: 0 };
            sink.next_sheet()?;
            return Ok(sink);
        }
        let file = File::create(path)?;
        if format == Format::Jsonl {
            return Ok(Self::Jsonl(BufWriter::new(file)));
        }
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(COLUMNS)?;
        Ok(Self::Csv(Box::new(writer)))
    }

    fn next_sheet(&mut self) -> Result<(), WriteError> {
        let Self::Xlsx { book, sheet, row } = self else { return Ok(()) };
        (*sheet, *row) = (*sheet + 1, 1);
        let next = book.add_worksheet_with_constant_memory()?.set_name(format!("evidence {sheet}"))?;
        for (column, name) in (0..).zip(COLUMNS) {
            next.write_string(0, column, name)?;
        }
        Ok(())
    }

    fn put(&mut self, row: &Row) -> Result<(), WriteError> {
        match self {
            Self::Csv(writer) => writer.write_record(row.cells().map(inert))?,
            Self::Jsonl(writer) => {
                serde_json::to_writer(&mut *writer, row)?;
                writer.write_all(b"\n")?;
            }
            Self::Xlsx { book, sheet, row: at } => {
                let page = book.worksheet_from_index(*sheet)?;
                for (column, text) in (0..).zip(row.cells()) {
                    page.write_string(*at, column, text)?;
                }
                *at += 1;
                if *at > SHEET_ROWS {
                    self.next_sheet()?;
                }
            }
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<(), WriteError> {
        match self {
            Self::Csv(mut writer) => writer.flush()?,
            Self::Jsonl(mut writer) => writer.flush()?,
            Self::Xlsx { mut book, .. } => {
                let file = BufWriter::new(File::create(path)?);
                book.save_to_writer(file)?;
            }
        }
        Ok(())
    }
}

/// A spreadsheet takes text that begins so for a formula, and a subject comes from a stranger.
fn inert(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::EvidenceRow;

    fn written(format: Format) -> Vec<u8> {
        let temp = tempfile::tempdir().expect("temp");
        let path = temp.path().join("rows");
        let mut sink = Sink::create(&path, format, "hub.test\n1\n").expect("made");
        let row =
            EvidenceRow {
                index: 7, subject: "=HYPERLINK(\"x\"), Kế hoạch".into(), ..EvidenceRow::default()
            };
        sink.put(&Row::from(row)).expect("written");
        sink.finish(&path).expect("finished");
        std::fs::read(path).expect("there")
    }

    #[test]
    fn a_subject_is_never_a_formula() {
        let text = written(Format::Csv);
        let mut reader = csv::Reader::from_reader(&text[..]);
        assert_eq!(reader.headers().expect("names").iter().collect::<Vec<_>>(), COLUMNS);
        let record = reader.records().next().expect("a row").expect("legal");
        assert_eq!((&record[0], &record[13]), ("7", "'=HYPERLINK(\"x\"), Kế hoạch"));
    }

    #[test]
    fn every_line_is_json_and_a_workbook_is_a_zip() {
        let line: serde_json::Value = serde_json::from_slice(&written(Format::Jsonl)).expect("JSON");
        assert_eq!((&line["index"], &line["subject"]), (&7.into(), &"=HYPERLINK(\"x\"), Kế hoạch".into()));
        assert!(written(Format::Xlsx).starts_with(b"PK"));
    }
}
