//! The rows of a file, in each of its forms, one after the other. A row that is none does not end the reading.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
    sync::mpsc::Receiver,
};

use serde_json::Value;

use super::xlsx;
use crate::cli::{
    Exit, Failure,
    audit::{
        row::{COLUMNS, FORMER, Row},
        sink,
    },
    files::FileError,
};

/// Largest row: 20 cells of what a spreadsheet takes.
pub const MAX_ROW: u64 = 1 << 20;

/// One row of a file.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number, the first being 1.
    pub number: u64,
    /// The leaf that it says it is of; `None` if it is no row.
    pub index: Option<u64>,
    /// As text, in the order of [`COLUMNS`].
    pub cells: Vec<String>,
}

impl Found {
    fn new(number: u64, cells: Option<Vec<String>>) -> Self {
        let mut cells = cells.filter(|cells| is_row(cells.len())).unwrap_or_default();
        if cells.len() == FORMER {
            cells.push(String::new());
        }
        Self { number, index: cells.first().and_then(|index| index.parse().ok()), cells }
    }

    /// What stands in a column.
    pub fn cell(&self, column: &str) -> Option<&str> {
        let at = COLUMNS.iter().position(|name| *name == column)?;
        self.cells.get(at).map(String::as_str)
    }
}

/// A file that is read row by row.
pub struct Rows {
    number: u64,
    form: Form,
}

enum Form {
    Csv(csv::Reader<Budget<File>>, Rc<Cell<u64>>),
    Jsonl(BufReader<File>),
    Xlsx(Receiver<Result<Vec<String>, String>>),
}

impl Rows {
    /// Opens a file; its form is told by its ending, else by its first byte.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut file = BufReader::new(File::open(path).map_err(FileError::io(path))?);
        let first = file.fill_buf().map_err(FileError::io(path))?.first().copied();
        let ending = path.extension().unwrap_or_default();
        let form = if ending == "jsonl" || (ending != "csv" && first == Some(b'{')) {
            Form::Jsonl(file)
        } else if ending == "xlsx" || (ending != "csv" && first == Some(b'P')) {
            Form::Xlsx(xlsx::read(path).map_err(FileError::io(path))?)
        } else {
            csv(path, File::open(path).map_err(FileError::io(path))?)?
        };
        Ok(Self { number: 0, form })
    }

    /// The next row; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Found>, Failure> {
        let number = self.number + 1;
        let cells = match &mut self.form {
            Form::Csv(reader, budget) => {
                budget.set(MAX_ROW);
                let mut record = csv::StringRecord::new();
                match reader.read_record(&mut record) {
                    Ok(false) => return Ok(None),
                    Ok(true) => Some(record.iter().map(str::to_owned).collect()),
                    Err(error) if error.is_io_error() => {
                        return Err(Failure::new(Exit::File, format!("row {number}: {error}")));
                    }
                    Err(_) => None,
                }
            }
            Form::Jsonl(reader) => {
                let mut line = Vec::new();
                let read = reader.take(MAX_ROW).read_until(b'\n', &mut line);
                let read =
                    read.map_err(|error| Failure::new(Exit::File, format!("row {number}: {error}")))?;
                if read == 0 {
                    return Ok(None);
                }
                json(&line)
            }
            Form::Xlsx(rows) => match rows.recv() {
                Ok(row) => Some(row.map_err(|problem| Failure::new(Exit::File, problem))?),
                // The other side is through.
                Err(_) => return Ok(None),
            },
        };
        self.number = number;
        Ok(Some(Found::new(number, cells)))
    }

    /// The cells of a row as this form has them.
    pub fn written(&self, row: &Row) -> Vec<String> {
        match &self.form {
            Form::Csv(..) => row.cells().into_iter().map(sink::inert).collect(),
            Form::Xlsx(_) => row.cells().into(),
            Form::Jsonl(_) => {
                let cells = serde_json::to_value(row).ok().and_then(|value| object(&value));
                Found::new(row.index, cells).cells
            }
        }
    }
}

fn csv(path: &Path, file: File) -> Result<Form, Failure> {
    let budget = Rc::new(Cell::new(MAX_ROW));
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(Budget { inner: file, left: Rc::clone(&budget) });
    let names = reader.headers().map_err(|error| FileError::content(path, error))?;
    if !is_row(names.len()) || !names.iter().eq(COLUMNS.into_iter().take(names.len())) {
        return Err(FileError::content(path, "its first line does not name the columns of an export").into());
    }
    Ok(Form::Csv(reader, budget))
}

/// A line of JSON with exactly the columns.
fn json(line: &[u8]) -> Option<Vec<String>> {
    object(&serde_json::from_slice(line).ok()?)
}

fn object(value: &Value) -> Option<Vec<String>> {
    let object = value.as_object().filter(|object| is_row(object.len()))?;
    COLUMNS.iter().take(object.len()).map(|column| object.get(*column).map(cell)).collect()
}

/// Whether so many columns are those of an export, of today's or of one from before the last column.
pub fn is_row(columns: usize) -> bool {
    columns == COLUMNS.len() || columns == FORMER
}

fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A reader that gives so many bytes, until it is allowed more: an open quote must not fill the memory.
pub struct Budget<R> {
    /// Gives the bytes.
    pub inner: R,
    /// How many more it may give.
    pub left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budget<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.left.get()).unwrap_or(usize::MAX);
        if left == 0 {
            let problem = format!("has more than {MAX_ROW} bytes: a quote is open, or this is no export");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let most = left.min(buffer.len());
        let read = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - read as u64);
        Ok(read)
    }
}
