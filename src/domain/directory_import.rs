//! Agencies from a CSV file. A row that breaks a rule is set aside with its reason and the others go on; nothing is
//! guessed or repaired.

use std::collections::BTreeSet;

use csv::{ByteRecord, ReaderBuilder};

use super::{
    agency,
    id::{AgencyId, shorten},
    reason::{Reason, ReasonCode},
};
use crate::proto::{Agency, AgencyState, Level};

/// Largest file in bytes.
pub const MAX_FILE: usize = 64 * 1024 * 1024;
/// Most rows of a file. The national list has about 125,000.
pub const MAX_ROWS: usize = 500_000;
/// Largest field in bytes.
pub const MAX_FIELD: usize = 4 * 1024;

/// What a file held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Import {
    /// Good rows in the order of the file, each with its number.
    pub rows: Vec<(usize, Agency)>,
    /// Rows set aside, in the order of the file.
    pub quarantined: Vec<Quarantined>,
}

/// A row that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Number of the row.
    pub row: usize,
    /// Its identifier as far as it can be shown, at most 60 bytes.
    pub organ_id: String,
    /// What is wrong.
    pub reason: Reason,
}

/// Reads a CSV file in UTF-8, with or without byte order mark.
///
/// The first line names the columns: `organ_id` and `name`, and where wanted `level` (central, province, district,
/// commune, or trung ương, tỉnh, huyện, xã), `parent`, `aliases` (separated by `;` or spaces) and `state` (active,
/// suspended, closed). Other columns are ignored. Rows are numbered by the line on which they begin; the header is
/// line 1, so the first row is usually 2.
///
/// Set aside: identifiers of no form (`BAD_IDENTIFIER`), an identifier again (`DUPLICATE`; the first row stays), a
/// field that breaks its rule (`INVALID_FIELD`), another number of fields than the header (`MALFORMED`). An error for
/// the whole file: no usable header (`MALFORMED`), above a limit (`TOO_LARGE`).
pub fn parse_csv(bytes: &[u8]) -> Result<Import, Reason> {
    if bytes.len() > MAX_FILE {
        return Err(too_large(format!("file: {} bytes, at most {MAX_FILE}", bytes.len())));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
    let columns = Columns::find(reader.byte_headers().map_err(unreadable)?)?;

    let mut import = Import::default();
    let mut seen = BTreeSet::new();
    let mut lines = Lines::new(bytes);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        if import.rows.len() + import.quarantined.len() == MAX_ROWS {
            return Err(too_large(format!("file: more than {MAX_ROWS} rows")));
        }
        let row = lines.number_at(record.position().map_or(0, csv::Position::byte));
        match columns.read(&record).and_then(|(id, agency)| first_of(&mut seen, id, agency)) {
            Ok(agency) => import.rows.push((row, agency)),
            Err(reason) => {
                import.quarantined.push(Quarantined { row, organ_id: columns.shown_id(&record), reason });
            }
        }
    }
    Ok(import)
}

fn first_of(seen: &mut BTreeSet<AgencyId>, id: AgencyId, agency: Agency) -> Result<Agency, Reason> {
    if seen.insert(id) {
        return Ok(agency);
    }
    Err(Reason::new(ReasonCode::Duplicate, format!("organ_id: {} stands in an earlier row", agency.organ_id)))
}

/// Where the columns stand.
struct Columns {
    count: usize,
    organ_id: usize,
    name: usize,
    level: Option<usize>,
    parent: Option<usize>,
    aliases: Option<usize>,
    state: Option<usize>,
}

impl Columns {
    fn find(header: &ByteRecord) -> Result<Self, Reason> {
        let find = |name: &str| -> Result<Option<usize>, Reason> {
            let mut places =
                header.iter().enumerate().filter(|(_, field)| field.trim_ascii() == name.as_bytes());
            let first = places.next().map(|(at, _)| at);
            if places.next().is_some() {
                return Err(Reason::new(ReasonCode::Malformed, format!("header: {name} stands there twice")));
            }
            Ok(first)
        };
        let required = |name: &str| {
            find(name)?.ok_or_else(|| {
                Reason::new(ReasonCode::Malformed, format!("header: column {name} is missing"))
            })
        };
        Ok(Self {
            count: header.len(),
            organ_id: required("organ_id")?,
            name: required("name")?,
            level: find("level")?,
            parent: find("parent")?,
            aliases: find("aliases")?,
            state: find("state")?,
        })
    }

    fn read(&self, record: &ByteRecord) -> Result<(AgencyId, Agency), Reason> {
        if record.len() != self.count {
            let detail = format!("row: {} fields, the header has {}", record.len(), self.count);
            return Err(Reason::new(ReasonCode::Malformed, detail));
        }
        let optional = |field: &str, at: Option<usize>| at.map_or(Ok(""), |at| text_of(record, field, at));
        let aliases = optional("aliases", self.aliases)?;
        let mut agency = Agency {
            organ_id: text_of(record, "organ_id", self.organ_id)?.to_owned(),
            name: text_of(record, "name", self.name)?.to_owned(),
            parent: optional("parent", self.parent)?.to_owned(),
            aliases: aliases.split([';', ' ']).filter(|alias| !alias.is_empty()).map(str::to_owned).collect(),
            ..Default::default()
        };
        agency.set_level(level_of_word(optional("level", self.level)?)?);
        agency.set_state(state_of_word(optional("state", self.state)?)?);
        Ok((agency::check(&agency)?, agency))
    }

    fn shown_id(&self, record: &ByteRecord) -> String {
        let field = record.get(self.organ_id).unwrap_or_default();
        let start = &field[..field.len().min(64)];
        shorten(&String::from_utf8_lossy(start)).to_owned()
    }
}

fn text_of<'r>(record: &'r ByteRecord, field: &str, at: usize) -> Result<&'r str, Reason> {
    let bytes = record.get(at).unwrap_or_default();
    if bytes.len() > MAX_FIELD {
        return Err(Reason::invalid(field, format_args!("has {} bytes, at most {MAX_FIELD}", bytes.len())));
    }
    std::str::from_utf8(bytes).map_err(|_| Reason::invalid(field, "is not UTF-8"))
}

fn level_of_word(word: &str) -> Result<Level, Reason> {
    match word.to_lowercase().as_str() {
        "" => Ok(Level::Unspecified),
        "central" | "trung ương" => Ok(Level::Central),
        "province" | "tỉnh" => Ok(Level::Province),
        "district" | "huyện" => Ok(Level::District),
        "commune" | "xã" => Ok(Level::Commune),
        _ => Err(Reason::invalid("level", format_args!("{:?} is unknown", shorten(word)))),
    }
}

fn state_of_word(word: &str) -> Result<AgencyState, Reason> {
    match word.to_lowercase().as_str() {
        "" | "active" => Ok(AgencyState::Active),
        "suspended" => Ok(AgencyState::Suspended),
        "closed" => Ok(AgencyState::Closed),
        _ => Err(Reason::invalid("state", format_args!("{:?} is unknown", shorten(word)))),
    }
}

/// Line numbers of growing offsets. The reader's own are off by one after CRLF and empty lines.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    line: usize,
}

impl<'b> Lines<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, line: 1 }
    }

    /// Line of the first byte from `offset` on that is no line end.
    fn number_at(&mut self, offset: u64) -> usize {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).clamp(self.at, self.bytes.len());
        let ends = self.bytes[offset..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let start = offset + ends;
        self.line += self.bytes[self.at..start].iter().filter(|byte| **byte == b'\n').count();
        self.at = start;
        self.line
    }
}

fn unreadable(error: csv::Error) -> Reason {
    Reason::new(ReasonCode::Malformed, format!("file: {error}"))
}

fn too_large(detail: String) -> Reason {
    Reason::new(ReasonCode::TooLarge, detail)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    type Numbered<T> = Vec<(usize, T)>;

    /// Row numbers and identifiers that passed, and row numbers and codes that did not.
    fn sorted_out(file: &[u8]) -> (Numbered<String>, Numbered<ReasonCode>) {
        let import = parse_csv(file).expect("a header");
        let rows = import.rows.into_iter().map(|(row, agency)| (row, agency.organ_id));
        let quarantined = import.quarantined.into_iter().map(|bad| (bad.row, bad.reason.code));
        (rows.collect(), quarantined.collect())
    }

    #[test]
    fn all_columns_are_read_and_others_ignored() {
        let file = "\u{feff}name,organ_id,note,state,aliases,parent,level\n\
                    \"UBND xã An Thạnh, Bến Cầu\",H53.31.21,ghi chú,suspended,21.31.H53;000.21.31.H53,H53.31,Xã\n";
        let import = parse_csv(file.as_bytes()).expect("legal");
        let (row, agency) = &import.rows[0];
        assert_eq!(*row, 2);
        assert_eq!(agency.organ_id, "H53.31.21");
        assert_eq!(agency.name, "UBND xã An Thạnh, Bến Cầu");
        assert_eq!(agency.level(), Level::Commune);
        assert_eq!(agency.parent, "H53.31");
        assert_eq!(agency.aliases, ["21.31.H53", "000.21.31.H53"]);
        assert_eq!(agency.state(), AgencyState::Suspended);
        assert!(import.quarantined.is_empty());
    }

    #[test]
    fn dirt_is_set_aside_and_the_rest_goes_on() {
        let mut file = b"organ_id,name,level\n".to_vec();
        for row in ["H53,A,", "000.1137.H53,B,", "H53,C,", "H54,,", "H55,D,nowhere", "H56,D", "H57,E,tỉnh"]
        {
            file.extend_from_slice(row.as_bytes());
            file.push(b'\n');
        }
        file.extend_from_slice(b"H58,\xff\xfe,\n\xffH59,F,\n");
        file.extend_from_slice(format!("H60,{},\n", "x".repeat(201)).as_bytes());
        file.extend_from_slice(format!("H61,{},\n", "x".repeat(MAX_FIELD + 1)).as_bytes());
        file.extend_from_slice(b" H62,G,\nH63,\"two\nlines\",\n");
        let (rows, quarantined) = sorted_out(&file);
        assert_eq!(rows, [(2, "H53".into()), (8, "H57".into())]);
        use ReasonCode::{BadIdentifier, Duplicate, InvalidField, Malformed};
        assert_eq!(
            quarantined,
            [
                (3, BadIdentifier),
                (4, Duplicate),
                (5, InvalidField),
                (6, InvalidField),
                (7, Malformed),
                (9, InvalidField),
                (10, InvalidField),
                (11, InvalidField),
                (12, InvalidField),
                (13, BadIdentifier),
                (14, InvalidField),
            ]
        );
    }

    #[test]
    fn rows_are_numbered_as_an_editor_shows_them() {
        for end in ["\n", "\r\n"] {
            let file = ["organ_id,name", "", "H53,A", "H54,\"B", "\"", "H55,C", "", "H56,D"].join(end);
            let (rows, quarantined) = sorted_out(file.as_bytes());
            assert_eq!(rows, [(3, "H53".into()), (6, "H55".into()), (8, "H56".into())], "{end:?}");
            assert_eq!(quarantined, [(4, ReasonCode::InvalidField)], "{end:?}");
        }
    }

    #[test]
    fn the_first_good_row_stays() {
        let (rows, quarantined) = sorted_out(b"organ_id,name\nH53,\nH53,A\nH53,B\n");
        assert_eq!(rows, [(3, "H53".into())]);
        assert_eq!(quarantined, [(2, ReasonCode::InvalidField), (4, ReasonCode::Duplicate)]);
    }

    #[test]
    fn a_file_without_a_usable_header_is_refused() {
        for file in ["", "H53,A\n", "organ_id\nH53\n", "organ_id,name,name\nH53,A,B\n"] {
            assert_eq!(parse_csv(file.as_bytes()).expect_err(file).code, ReasonCode::Malformed);
        }
        assert!(parse_csv(b" organ_id , name \nH53,A\n").is_ok());
    }

    #[test]
    fn limits_hold() {
        let long = format!("organ_id,name\nH53,{}\n", "x".repeat(MAX_FIELD + 1));
        let import = parse_csv(long.as_bytes()).expect("a header");
        assert_eq!(import.quarantined[0].reason.detail, "name: has 4097 bytes, at most 4096");
        let reason = parse_csv(&vec![b'x'; MAX_FILE + 1]).expect_err("large");
        assert_eq!(reason.code, ReasonCode::TooLarge);
        let many = format!("organ_id,name\n{}", "x,y\n".repeat(MAX_ROWS + 1));
        assert_eq!(parse_csv(many.as_bytes()).expect_err("many").code, ReasonCode::TooLarge);
    }

    #[test]
    fn the_real_list_of_tay_ninh() {
        let file = "shared/data/edxml/bkav-edoc-integrator/tayninh_agencies_2020.csv";
        let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let Some(file) = folders.map(|folder| folder.join(file)).find(|file| file.exists()) else { return };
        let import = parse_csv(&std::fs::read(file).expect("readable")).expect("legal");
        assert_eq!(import.rows.len(), 447);
        let count = |code| import.quarantined.iter().filter(|bad| bad.reason.code == code).count();
        assert_eq!(import.quarantined.len(), 8);
        assert_eq!((count(ReasonCode::BadIdentifier), count(ReasonCode::Duplicate)), (1, 7));
    }

    proptest! {
        #[test]
        fn any_file_is_answered(body in prop::collection::vec(prop::sample::select(b"H53.A,;\"\r\n \xff".to_vec()), 0..200)) {
            let mut file = b"organ_id,name,aliases\n".to_vec();
            file.extend(body);
            let import = parse_csv(&file).expect("a header");
            let mut rows: Vec<usize> = import.rows.iter().map(|(row, _)| *row).collect();
            rows.extend(import.quarantined.iter().map(|bad| bad.row));
            rows.sort_unstable();
            let lines = file.iter().filter(|byte| **byte == b'\n').count() + 1;
            prop_assert!(rows.iter().all(|row| (1..=lines).contains(row)));
        }
    }
}
