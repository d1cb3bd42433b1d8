//! Rows of a workbook, cell by cell, of the sheets behind the first, which holds the checkpoint.
//!
//! A thread reads ahead by some rows, so that neither sheet nor workbook is ever whole in memory.

use std::{
    cell::Cell,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use zip::ZipArchive;

use super::rows::{Budget, MAX_ROW};
use crate::cli::audit::row::{COLUMNS, FORMER};

/// Rows that are read ahead.
const AHEAD: usize = 256;
/// Text that a program which saved the workbook again keeps apart from its cells.
const MAX_SHARED: u64 = 64 << 20;
/// Sheets behind the first: a log of some billion leaves.
const MAX_SHEETS: usize = 4_096;

/// A row, or why no more can be read.
type Told = Result<Vec<String>, String>;
type Archive = ZipArchive<BufReader<File>>;

/// Begins to read a workbook.
pub fn read(path: &Path) -> std::io::Result<Receiver<Told>> {
    let file = BufReader::new(File::open(path)?);
    let (sender, receiver) = sync_channel(AHEAD);
    let work = move || {
        if let Err(problem) = workbook(file, &sender) {
            // Nobody listens any more: then it does not matter.
            let _ = sender.send(Err(problem));
        }
    };
    std::thread::Builder::new().name("truc-xlsx".into()).spawn(work)?;
    Ok(receiver)
}

fn workbook(file: BufReader<File>, rows: &SyncSender<Told>) -> Result<(), String> {
    let mut archive = ZipArchive::new(file).map_err(|error| format!("is no workbook: {error}"))?;
    let shared = shared(&mut archive)?;
    for number in 2..MAX_SHEETS {
        let name = format!("xl/worksheets/sheet{number}.xml");
        if archive.index_for_name(&name).is_none() {
            return if number > 2 { Ok(()) } else { Err("has no sheet of evidence".into()) };
        }
        let sheet = archive.by_name(&name).map_err(|error| format!("{name}: {error}"))?;
        let budget = Rc::new(Cell::new(MAX_ROW));
        let reader = BufReader::new(Budget { inner: sheet, left: Rc::clone(&budget) });
        let mut sheet = Sheet { xml: Reader::from_reader(reader), shared: &shared, budget };
        let wrong = |problem: String| format!("{name}: {problem}");
        if !sheet.row().map_err(wrong)?.is_some_and(|names| is_heading(&names)) {
            return Err(wrong("its first row does not name the columns of an export".into()));
        }
        while let Some(row) = sheet.row().map_err(wrong)? {
            if rows.send(Ok(row)).is_err() {
                return Ok(());
            }
        }
    }
    Err(format!("has more than {MAX_SHEETS} sheets"))
}

/// The names of the columns; the last one may be missing.
fn is_heading(names: &[String]) -> bool {
    let known = names.iter().zip(COLUMNS).take_while(|(name, column)| name == column).count();
    known == COLUMNS.len() || (known == FORMER && names[FORMER..].iter().all(String::is_empty))
}

/// Texts that cells name by number; what `truc audit export` writes has none.
fn shared(archive: &mut Archive) -> Result<Vec<String>, String> {
    const NAME: &str = "xl/sharedStrings.xml";
    if archive.index_for_name(NAME).is_none() {
        return Ok(Vec::new());
    }
    let file = archive.by_name(NAME).map_err(|error| format!("{NAME}: {error}"))?;
    if file.size() > MAX_SHARED {
        return Err(format!("{NAME} has more than {MAX_SHARED} bytes: export as CSV"));
    }
    let mut xml = Reader::from_reader(BufReader::new(file.take(MAX_SHARED)));
    let (mut texts, mut buffer) = (Vec::new(), Vec::new());
    loop {
        match event(&mut xml, &mut buffer)? {
            Event::Start(start) if start.local_name().as_ref() == "si" => {
                texts.push(text(&mut xml, "si")?);
            }
            Event::Empty(start) if start.local_name().as_ref() == "si" => texts.push(String::new()),
            Event::Eof => return Ok(texts),
            _ => {}
        }
    }
}

fn event<'b, R: BufRead>(xml: &mut Reader<R>, buffer: &'b mut Vec<u8>) -> Result<Event<'b>, String> {
    buffer.clear();
    xml.read_event_into(buffer).map_err(|error| error.to_string())
}

/// All text up to the end of this element.
fn text<R: BufRead>(xml: &mut Reader<R>, element: &str) -> Result<String, String> {
    let (mut text, mut buffer) = (String::new(), Vec::new());
    loop {
        match event(xml, &mut buffer)? {
            Event::Text(part) => text += &part,
            Event::CData(part) => text += &part,
            Event::GeneralRef(named) => {
                let letter = named.resolve_char_ref().map_err(|error| error.to_string())?;
                match letter {
                    Some(letter) => text.push(letter),
                    None => {
                        text += quick_xml::escape::resolve_xml_entity(&named).ok_or("an unknown entity")?
                    }
                }
            }
            Event::End(end) if end.local_name().as_ref() == element => return Ok(text),
            Event::Eof => return Err("breaks off".into()),
            _ => {}
        }
    }
}

/// A sheet under way.
struct Sheet<'a, R> {
    xml: Reader<R>,
    shared: &'a [String],
    budget: Rc<Cell<u64>>,
}

impl<R: BufRead> Sheet<'_, R> {
    /// The next row; `None` at the end.
    fn row(&mut self) -> Result<Option<Vec<String>>, String> {
        self.budget.set(MAX_ROW);
        let mut buffer = Vec::new();
        loop {
            match event(&mut self.xml, &mut buffer)? {
                Event::Start(start) if start.local_name().as_ref() == "row" => {
                    return self.cells().map(Some);
                }
                Event::Empty(start) if start.local_name().as_ref() == "row" => {}
                Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    fn cells(&mut self) -> Result<Vec<String>, String> {
        let (mut cells, mut buffer) = (vec![String::new(); COLUMNS.len()], Vec::new());
        loop {
            match event(&mut self.xml, &mut buffer)? {
                Event::Start(start) if start.local_name().as_ref() == "c" => {
                    let (column, is_shared) = (column(&start)?, attribute(&start, "t")? == "s");
                    let text = text(&mut self.xml, "c")?;
                    let text = match is_shared {
                        true => text.parse().ok().and_then(|at: usize| self.shared.get(at)).cloned(),
                        false => Some(text),
                    };
                    *cells.get_mut(column).ok_or("a cell beside the columns of an export")? =
                        text.ok_or("a cell names a text that is not there")?;
                }
                Event::End(end) if end.local_name().as_ref() == "row" => return Ok(cells),
                Event::Eof => return Err("breaks off".into()),
                _ => {}
            }
        }
    }
}

/// Number of the column in a reference such as `C7`.
fn column(cell: &BytesStart<'_>) -> Result<usize, String> {
    let reference = attribute(cell, "r")?;
    let letters = reference.bytes().take_while(u8::is_ascii_uppercase);
    let number = letters.take(3).fold(0_usize, |number, letter| number * 26 + usize::from(letter - b'A') + 1);
    number.checked_sub(1).ok_or_else(|| format!("a cell at {reference:?}"))
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<String, String> {
    let found = element.try_get_attribute(name).map_err(|error| error.to_string())?;
    Ok(found.map(|found| found.value.into_owned()).unwrap_or_default())
}
