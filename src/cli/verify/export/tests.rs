//! Files beside a proof: every change of a row is named.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{
    answer::{Answer, Verdict},
    compare::Kind,
    *,
};
use crate::{
    cli::audit::sink::{Format, Sink},
    proto::{SearchFilter, export_item::Item},
    verify::{
        docproof::testing::{Log, trusted},
        export::{
            Writer,
            testing::{export, item},
        },
    },
};

/// An export of a whole small log in a folder.
fn exported(format: Format, name: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let (head, items) = export(&Log::story(), &SearchFilter::default(), &[], false);
    let mut checker = Checker::begin(head.clone(), &trusted()[..].into()).unwrap();
    let mut sink = Sink::create(&path, format, &head.checkpoint).unwrap();
    fs::write(path.with_added_extension(CHECKPOINT), &head.checkpoint).unwrap();
    let mut proof = Writer::create(Vec::new()).unwrap();
    proof.put(&item(Item::Head(head))).unwrap();
    for item in items {
        proof.put(&item).unwrap();
        checker.take(item).unwrap().into_iter().for_each(|row| sink.put(&Row::from(row)).unwrap());
    }
    sink.finish(&path).unwrap();
    let digest = files::digest(&path, |_| {}).unwrap();
    let proof = proof.end(checker.end().unwrap().rows, &digest).unwrap();
    fs::write(path.with_added_extension(PROOF), proof).unwrap();
    (dir, path)
}

fn how(language: Language) -> How<'static> {
    let trusted = Box::leak(Box::new(Trusted::from(&trusted()[..])));
    How { trusted, checkpoint: None, resaved: false, language }
}

fn answer(path: &Path) -> Answer {
    let how = how(Language::En);
    let proof = path.with_added_extension(PROOF);
    Answer::of(path, check(path, &proof, &how, &row_bar(0)).unwrap(), how.language)
}

/// What is wrong, in which row, at which leaf, in which column.
type Named = (Kind, Option<u64>, Option<u64>, Option<&'static str>);

fn kinds(path: &Path) -> Vec<Named> {
    answer(path).faults.iter().map(|fault| (fault.kind, fault.row, fault.leaf, fault.column)).collect()
}

#[test]
fn an_untouched_export_is_proven_in_both_languages() {
    for (format, name) in
        [(Format::Csv, "rows.csv"), (Format::Jsonl, "rows.jsonl"), (Format::Xlsx, "rows.xlsx")]
    {
        let (_dir, path) = exported(format, name);
        let said = answer(&path);
        assert_eq!((said.verdict, said.ok), (Verdict::Proven, true), "{}", said.to_text());
        assert!(said.sentence.contains("one for each of the leaves 0 to"), "{}", said.sentence);
        let how = how(Language::Vi);
        let proof = path.with_added_extension(PROOF);
        let vi = Answer::of(&path, check(&path, &proof, &how, &row_bar(0)).unwrap(), how.language);
        assert!(vi.to_text().contains("ĐÃ CHỨNG MINH.") && vi.to_text().contains("KHÔNG được chứng minh"));
        assert_eq!((vi.proven.len(), vi.not_proven.len()), (said.proven.len(), said.not_proven.len()));
        assert_eq!(recognise(&proof).unwrap(), Some(path));
    }
}

#[test]
fn rows_of_a_workbook_that_are_dropped_added_or_altered_are_named() {
    let log = Log::story();
    let (head, items) = export(&log, &SearchFilter::default(), &[], false);
    let with = |edit: &dyn Fn(&mut Vec<Row>)| {
        let (_dir, path) = exported(Format::Xlsx, "rows.xlsx");
        let mut checker = Checker::begin(head.clone(), &trusted()[..].into()).unwrap();
        let rows = items.iter().filter_map(|item| checker.take(item.clone()).unwrap());
        let mut rows: Vec<Row> = rows.map(Row::from).collect();
        edit(&mut rows);
        let mut sink = Sink::create(&path, Format::Xlsx, &head.checkpoint).unwrap();
        rows.iter().for_each(|row| sink.put(row).unwrap());
        sink.finish(&path).unwrap();
        kinds(&path)
    };
    assert_eq!(with(&|rows| drop(rows.remove(7))), [(Kind::RowLeftOut, None, Some(7), None)]);
    let twice = with(&|rows| rows.insert(3, rows[3].clone()));
    assert_eq!(twice, [(Kind::RowAdded, Some(5), Some(3), None)]);
    let altered = with(&|rows| rows[2].sender = "H99".into());
    assert_eq!(altered, [(Kind::RowAltered, Some(3), Some(2), Some("sender"))]);
}

#[test]
fn an_export_from_before_the_last_column_is_read() {
    let without_last = |line: &str| line.rsplit_once(',').map(|(kept, _)| format!("{kept}\n"));
    let (_dir, path) = exported(Format::Csv, "rows.csv");
    let text = fs::read_to_string(&path).unwrap();
    let former: String = text.lines().filter_map(without_last).collect();
    assert!(!former.contains("erased_leaf") && former.lines().count() == text.lines().count());
    fs::write(&path, former).unwrap();
    assert_eq!(kinds(&path), [(Kind::OtherForm, None, None, None)], "its rows are right");
    fs::write(&path, text.replacen("erased_leaf", "erased", 1)).unwrap();
    let proof = path.with_added_extension(PROOF);
    assert!(check(&path, &proof, &how(Language::En), &row_bar(0)).is_err(), "no such column");
}

#[test]
fn rows_that_are_dropped_added_moved_or_altered_are_named() {
    for (format, name, first) in [(Format::Csv, "rows.csv", 1), (Format::Jsonl, "rows.jsonl", 0)] {
        let (_dir, path) = exported(format, name);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let with = |edit: &dyn Fn(&mut Vec<String>)| {
            let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            edit(&mut lines);
            fs::write(&path, lines.join("\n") + "\n").unwrap();
            kinds(&path)
        };
        let last = lines.len() - 1;
        for row in [first, first + 7, last] {
            let leaf = (row - first) as u64;
            let number = Some(leaf + 1);
            assert_eq!(
                with(&|l| drop(l.remove(row))),
                [(Kind::RowLeftOut, None, Some(leaf), None)],
                "{name}"
            );
            let twice = with(&|l| l.insert(row, l[row].clone()));
            assert_eq!(twice, [(Kind::RowAdded, Some(leaf + 2), Some(leaf), None)], "{name}");
            let (old, new) = match format {
                Format::Jsonl => ("event\":\"", "event\":\"X"),
                _ => ("_", "-"),
            };
            let altered = with(&|l| l[row] = l[row].replacen(old, new, 1));
            assert_eq!(altered, [(Kind::RowAltered, number, Some(leaf), Some("event"))], "{name}");
            let unreadable = with(&|l| l[row].truncate(20));
            assert_eq!(unreadable, [(Kind::RowUnreadable, number, Some(leaf), None)], "{name}");
        }
        let index = with(&|l| l[first + 3] = l[first + 3].replacen('3', "9999", 1));
        assert_eq!(index, [(Kind::RowAltered, Some(4), Some(3), Some("index"))], "{name}");
        let swapped = with(&|l| l.swap(first + 4, first + 5));
        assert_eq!(swapped.len(), 2, "{swapped:?}");
        assert_eq!(with(&|l| drop(l.drain(first..))).len(), 20, "the first ones are told");
        fs::write(&path, &text).unwrap();
        assert_eq!(kinds(&path), []);
    }
}

#[test]
fn an_altered_value_is_shown_with_what_the_log_says() {
    let (_dir, path) = exported(Format::Csv, "rows.csv");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("phòng chống lũ", "phòng chống bão", 1)).unwrap();
    let said = answer(&path);
    let [fault] = &said.faults[..] else { panic!("{:?}", said.faults) };
    assert_eq!((fault.kind, fault.column), (Kind::RowAltered, Some("subject")));
    assert_eq!(fault.found.as_deref(), Some("Về việc phòng chống bão"));
    assert_eq!(fault.expected.as_deref(), Some("Về việc phòng chống lũ"));
    assert!(said.to_text().contains("column subject says \"Về việc phòng chống bão\""), "{}", said.to_text());
}

/// Also where only the form changed, which the digest at the end of the proof tells.
#[test]
fn every_flipped_bit_of_a_file_is_noticed() {
    for (format, name, step) in
        [(Format::Csv, "rows.csv", 41), (Format::Jsonl, "rows.jsonl", 41), (Format::Xlsx, "rows.xlsx", 101)]
    {
        let (_dir, path) = exported(format, name);
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(step) {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << (at % 8);
            fs::write(&path, &bent).unwrap();
            let how = how(Language::En);
            let proof = path.with_added_extension(PROOF);
            // A first line that names other columns is no export at all.
            let noticed = check(&path, &proof, &how, &row_bar(0))
                .map_or(true, |outcome| !Answer::of(&path, outcome, how.language).ok);
            assert!(noticed, "byte {at} of {name}");
        }
    }
}

#[test]
fn another_form_is_accepted_on_request() {
    let (_dir, path) = exported(Format::Csv, "rows.csv");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace('\n', "\r\n")).unwrap();
    assert_eq!(kinds(&path), [(Kind::OtherForm, None, None, None)]);
    let how = How { resaved: true, ..how(Language::En) };
    let outcome = check(&path, &path.with_added_extension(PROOF), &how, &row_bar(0)).unwrap();
    assert!(Answer::of(&path, outcome, how.language).ok);
}

#[test]
fn another_checkpoint_is_named() {
    let (dir, path) = exported(Format::Csv, "rows.csv");
    let note = path.with_added_extension(CHECKPOINT);
    let own = fs::read_to_string(&note).unwrap();
    let old = Log::new().head().sign(&crate::verify::docproof::testing::hub());
    let held = dir.path().join("held");
    for (text, ok) in [(&own, true), (&old, false)] {
        fs::write(&held, text).unwrap();
        let how = How { checkpoint: Some(&held), ..how(Language::En) };
        let outcome = check(&path, &path.with_added_extension(PROOF), &how, &row_bar(0)).unwrap();
        let said = Answer::of(&path, outcome, how.language);
        assert_eq!(said.ok, ok, "{}", said.sentence);
        assert!(ok || said.sentence.contains("the export is of hub.test/log at"), "{}", said.sentence);
    }
    fs::write(&note, old).unwrap();
    assert!(answer(&path).sentence.contains("another checkpoint"));
}

#[test]
fn an_open_quote_does_not_fill_the_memory() {
    let (_dir, path) = exported(Format::Csv, "rows.csv");
    let text = fs::read_to_string(&path).unwrap();
    let (first, _) = text.split_once('\n').unwrap();
    fs::write(&path, format!("{first}\n0,\"{}", "x\n".repeat(1 << 20))).unwrap();
    let failure = check(&path, &path.with_added_extension(PROOF), &how(Language::En), &row_bar(0));
    assert_eq!(failure.err().map(|failure| failure.exit), Some(Exit::File));
}

/// A workbook as another program would save it: packed anew, a row left out, a letter told by its number.
#[test]
fn rows_of_a_workbook_are_compared_cell_by_cell() {
    let (_dir, path) = exported(Format::Xlsx, "rows.xlsx");
    let other = |edit: &dyn Fn(String) -> String| {
        let mut old = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
        let mut new = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for at in 0..old.len() {
            let mut entry = old.by_index(at).unwrap();
            let name = entry.name().unwrap().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            if name == "xl/worksheets/sheet2.xml" {
                bytes = edit(String::from_utf8(bytes).unwrap()).into_bytes();
            }
            new.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            std::io::Write::write_all(&mut new, &bytes).unwrap();
        }
        let bytes = new.finish().unwrap().into_inner();
        let bent = path.with_file_name("bent.xlsx");
        fs::write(&bent, bytes).unwrap();
        fs::copy(path.with_added_extension(PROOF), bent.with_added_extension(PROOF)).unwrap();
        bent
    };
    assert_eq!(kinds(&other(&|sheet| sheet + "\n")), [(Kind::OtherForm, None, None, None)]);
    let altered = kinds(&other(&|sheet| sheet.replacen("phòng chống lũ", "phòng chống b&#227;o", 1)));
    assert_eq!((altered.len(), altered[0].0, altered[0].3), (1, Kind::RowAltered, Some("subject")));
    let dropped = kinds(&other(&|sheet| {
        let at = sheet.find("<row r=\"5\"").unwrap();
        let end = at + sheet[at..].find("</row>").unwrap() + "</row>".len();
        format!("{}<row r=\"5\"/>{}", &sheet[..at], &sheet[end..])
    }));
    assert_eq!(dropped, [(Kind::RowLeftOut, None, Some(3), None)]);
    for broken in ["<row", "</sheetData>"] {
        let bent = other(&|sheet| sheet[..sheet.rfind(broken).unwrap() + 3].to_owned());
        let how = how(Language::En);
        let checked = check(&bent, &bent.with_added_extension(PROOF), &how, &row_bar(0));
        assert!(checked.map_or(true, |outcome| !Answer::of(&bent, outcome, how.language).ok), "{broken}");
    }
}
