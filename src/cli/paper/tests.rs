//! Pages read back: their text by the fonts' own tables, their codes by another program's eyes.

use std::collections::HashMap;

use super::*;

const VIETNAMESE: &str = "Trục liên thông văn bản: ẮẰẲẴẶ ắằẳẵặ ẤẦẨẪẬ ấầẩẫậ ẾỀỂỄỆ ếềểễệ ỐỒỔỖỘ ốồổỗộ ỚỜỞỠỢ ớờởỡợ ỨỪỬỮỰ \
                          ứừửữự ỲỴỶỸÝ ỳỵỷỹý Đđ ĂăÂâÊêÔôƠơƯư ÁÀẢÃẠ áàảãạ";

fn printed(text: &str) -> Vec<u8> {
    let mut paper = Paper::new().unwrap();
    paper.paragraph(text, Style::text(10.0));
    paper.paragraph(text, Style::bold(10.0));
    paper.finish("Tựa đề", "vi", |page, pages| (String::new(), format!("{page}/{pages}"))).unwrap()
}

/// Objects of a file by number.
fn objects(pdf: &[u8]) -> HashMap<usize, &[u8]> {
    let find = |from: usize, what: &[u8]| {
        pdf[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
    };
    let (mut objects, mut from) = (HashMap::new(), 0);
    while let Some(at) = find(from, b" 0 obj\n") {
        let begin = pdf[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |line| line + 1);
        let number = std::str::from_utf8(&pdf[begin..at]).unwrap().parse().unwrap();
        let end = find(at, b"\nendobj").unwrap();
        objects.insert(number, &pdf[at + 7..end]);
        from = end;
    }
    objects
}

/// The letters of a font by their codes, as its ToUnicode table says.
fn letters(table: &str) -> HashMap<u16, char> {
    let hex = |text: &str| u16::from_str_radix(text, 16);
    let pairs = table.lines().filter_map(|line| {
        let (code, letter) = line.strip_prefix('<')?.strip_suffix('>')?.split_once("> <")?;
        Some((hex(code).ok()?, char::from_u32(hex(letter).ok()?.into())?))
    });
    pairs.collect()
}

#[test]
fn text_can_be_copied_out_again_letter_by_letter() {
    let pdf = printed(VIETNAMESE);
    let objects = objects(&pdf);
    let tables: Vec<_> = objects
        .values()
        .map(|object| String::from_utf8_lossy(object))
        .filter(|object| object.contains("begincmap"))
        .map(|object| letters(&object))
        .collect();
    assert_eq!(tables.len(), 3, "one for each font");
    for table in tables.iter().filter(|table| table.len() > 5) {
        let told: std::collections::BTreeSet<char> = table.values().copied().collect();
        let all: std::collections::BTreeSet<char> = VIETNAMESE.chars().collect();
        assert!(all.is_subset(&told), "{:?}", all.difference(&told).collect::<String>());
        assert!(!told.contains(&'\u{25a1}'), "every letter is in the font");
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    assert_eq!(printed(VIETNAMESE), printed(VIETNAMESE));
    use unicode_normalization::UnicodeNormalization;
    let decomposed: String = VIETNAMESE.nfd().collect();
    assert_eq!(printed(&decomposed), printed(VIETNAMESE));
    assert_ne!(printed("a"), printed("b"));
}

#[test]
fn what_does_not_fit_goes_on_on_the_next_page() {
    let mut paper = Paper::new().unwrap();
    let rows = (0..200).map(|row| [row.to_string(), "UBND xã ".repeat(9)]);
    paper.table([Column { heading: "TT", share: 1.0 }, Column { heading: "Cơ quan", share: 4.0 }], rows, 8.0);
    paper.paragraph(&"x".repeat(4_000), Style::mono(8.0));
    let pages = std::cell::Cell::new(0);
    let pdf = paper.finish("t", "vi", |_, count| {
        pages.set(count);
        (String::new(), String::new())
    });
    assert!(pages.get() > 5, "{}", pages.get());
    let count = format!("/Count {}", pages.get());
    assert!(pdf.unwrap().windows(count.len()).any(|window| window == count.as_bytes()));
}

#[test]
fn letters_that_no_font_has_are_shown_as_missing() {
    let pdf = printed("tên 漢 \u{7}");
    let missing = objects(&pdf).values().any(|object| {
        let text = String::from_utf8_lossy(object);
        text.contains("begincmap") && letters(&text).values().any(|letter| *letter == '\u{25a1}')
    });
    assert!(missing);
}

#[test]
fn a_code_is_read_by_others() {
    let text = format!(
        "truc certificate v1\n26\n{}\n\nhub.test/log\n80\n{}\n\n— hub.test/log {}\n",
        "A".repeat(44),
        "B".repeat(44),
        "C".repeat(92)
    );
    let code = Code::of(&text).unwrap();
    let (unit, quiet) = (4, 4);
    let side = (code.side + 2 * quiet) * unit;
    let square = |at: usize| (at / unit).checked_sub(quiet);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
        let dark = square(x)
            .zip(square(y))
            .is_some_and(|(column, row)| row < code.side && code.is_dark(column, row));
        if dark { 0 } else { 255 }
    });
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1);
    assert_eq!(grids[0].decode().unwrap().1, text);
    let runs: usize = code.runs().iter().map(|(_, _, length)| length).sum();
    let dark = (0..code.side * code.side).filter(|at| code.is_dark(at % code.side, at / code.side)).count();
    assert_eq!(runs, dark);
    assert_eq!(Code::of(&"x".repeat(5_000)), None);
}
