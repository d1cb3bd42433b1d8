//! Files of rows: how they are written.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use rust_xlsxwriter::{Workbook, XlsxError};

use super::row::{COLUMNS, Row};

/// Rows of a sheet; a spreadsheet takes 1,048,576.
const SHEET_ROWS: u32 = 1_000_000;

/// How the rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// One JSON object on each line.
    Jsonl,
    /// A spreadsheet.
    Xlsx,
}

/// A file in the making.
pub enum Sink {
    Csv(Box<csv::Writer<File>>),
    Jsonl(BufWriter<File>),
    Xlsx { book: Box<Workbook>, sheet: usize, row: u32 },
}

/// A file that can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
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
    /// Begins a file.
    pub fn create(path: &Path, format: Format, note: &str) -> Result<Self, WriteError> {
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

    /// Writes a row.
    pub fn put(&mut self, row: &Row) -> Result<(), WriteError> {
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

    /// Ends the file.
    pub fn finish(self, path: &Path) -> Result<(), WriteError> {
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
pub fn inert(cell: String) -> String {
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
