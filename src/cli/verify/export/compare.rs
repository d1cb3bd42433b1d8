//! The rows of the file against the rows that the proof gives.

use serde::Serialize;

use super::rows::{Found, Rows};
use crate::cli::{
    Failure,
    audit::row::{COLUMNS, Row},
};

/// Faults that are told one by one.
const MOST: usize = 20;
/// Letters of a value that are shown.
const SHOWN: usize = 120;

/// What is wrong with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// A value is another than the log's.
    RowAltered,
    /// No such leaf is in the range, or it comes twice or in another order.
    RowAdded,
    /// A leaf has no row.
    RowLeftOut,
    /// It is no row.
    RowUnreadable,
    /// Every row is right, but the bytes are not those that were written.
    OtherForm,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Row of the file, the first being 1.
    pub row: Option<u64>,
    /// Leaf of the log.
    pub leaf: Option<u64>,
    /// Column.
    pub column: Option<&'static str>,
    /// What stands there.
    pub found: Option<String>,
    /// What the log says.
    pub expected: Option<String>,
}

/// The first faults, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The first ones.
    pub told: Vec<Fault>,
    /// All.
    pub count: u64,
}

impl Faults {
    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every row is right, but the bytes are others.
    pub fn other_form(&mut self) {
        self.put(Kind::OtherForm, None, None);
    }

    fn put(&mut self, kind: Kind, row: Option<u64>, leaf: Option<u64>) {
        self.add(Fault { kind, row, leaf, column: None, found: None, expected: None });
    }

    fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.told.len() < MOST {
            self.told.push(fault);
        }
    }
}

/// A comparison under way: both sides are read once, from the first row to the last.
pub struct Compare {
    rows: Rows,
    /// Rows of the file that were read and not compared yet, at most two.
    ahead: [Option<Found>; 2],
    /// What was found out.
    pub faults: Faults,
}

impl Compare {
    /// Begins with the first row.
    pub fn new(rows: Rows) -> Self {
        Self { rows, ahead: [None, None], faults: Faults::default() }
    }

    /// The next row has to be this one.
    pub fn expect(&mut self, row: &Row) -> Result<(), Failure> {
        loop {
            self.fill()?;
            let [Some(first), second] = &self.ahead else {
                self.faults.put(Kind::RowLeftOut, None, Some(row.index));
                return Ok(());
            };
            if first.index == Some(row.index) || first.cell("leaf_hash") == Some(&row.leaf_hash[..]) {
                let found = self.ahead[0].take();
                if let Some(found) = found {
                    self.same(&found, row);
                }
                return Ok(());
            }
            let follows = |index: Option<u64>| index.is_none_or(|index| index > row.index);
            let second = second.as_ref().map(|found| found.index);
            match first.index {
                // Not to be read: it stands where this row should, if the next one is a later one.
                None if second.is_none_or(follows) => {
                    self.faults.put(Kind::RowUnreadable, Some(first.number), Some(row.index));
                    self.ahead[0] = None;
                    return Ok(());
                }
                None => self.faults.put(Kind::RowUnreadable, Some(first.number), None),
                // Behind this row, and so is the next one: this row is missing.
                Some(index) if index > row.index && second.is_none_or(follows) => {
                    self.faults.put(Kind::RowLeftOut, None, Some(row.index));
                    return Ok(());
                }
                Some(index) => self.faults.put(Kind::RowAdded, Some(first.number), Some(index)),
            }
            self.ahead[0] = None;
        }
    }

    /// No row may be left.
    pub fn end(&mut self) -> Result<(), Failure> {
        loop {
            self.fill()?;
            let Some(found) = self.ahead[0].take() else { return Ok(()) };
            let kind = if found.index.is_some() { Kind::RowAdded } else { Kind::RowUnreadable };
            self.faults.put(kind, Some(found.number), found.index);
        }
    }

    fn fill(&mut self) -> Result<(), Failure> {
        if self.ahead[0].is_none() {
            self.ahead.swap(0, 1);
        }
        for at in 0..2 {
            if self.ahead[at].is_none() {
                self.ahead[at] = self.rows.next()?;
            }
        }
        Ok(())
    }

    fn same(&mut self, found: &Found, row: &Row) {
        for (column, (stands, expected)) in COLUMNS.iter().zip(found.cells.iter().zip(self.rows.written(row)))
        {
            if *stands != expected {
                self.faults.add(Fault {
                    kind: Kind::RowAltered,
                    row: Some(found.number),
                    leaf: Some(row.index),
                    column: Some(column),
                    found: Some(shown(stands)),
                    expected: Some(shown(&expected)),
                });
            }
        }
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
