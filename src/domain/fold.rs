//! Vietnamese text for searching: however it was typed, it reads the same.
//!
//! Composed and decomposed letters (NFC, NFD) are equal, with and without diacritics, `Đ` and `d`, large and small.

use std::collections::BTreeSet;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

/// Longest word in characters; the rest of a longer one does not count.
pub const MAX_WORD: usize = 32;

/// The different words of a text, folded: runs of letters and digits.
#[must_use]
pub fn words(text: &str) -> BTreeSet<String> {
    let folded = fold(text);
    let words = folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word.chars().take(MAX_WORD).collect()).collect()
}

/// A short text that is compared as a whole, such as a notation: folded, without white space.
#[must_use]
pub fn line(text: &str) -> String {
    fold(text).chars().filter(|c| !c.is_whitespace()).collect()
}

fn fold(text: &str) -> String {
    let base = text.nfd().flat_map(char::to_lowercase).filter(|c| !is_combining_mark(*c));
    base.map(|c| if c == 'đ' { 'd' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_ways_to_write_a_word_are_one() {
        let one = words("Kế hoạch Đầu tư");
        assert_eq!(one.iter().map(String::as_str).collect::<Vec<_>>(), ["dau", "hoach", "ke", "tu"]);
        let decomposed: String = "Kế hoạch Đầu tư".nfd().collect();
        for other in ["KẾ HOẠCH ĐẦU TƯ", "ke hoach dau tu", &decomposed, "Đầu tư; kế-hoạch (kế hoạch)."]
        {
            assert_eq!(words(other), one, "{other}");
        }
        assert_eq!(words("Hoà"), words("Hòa"), "both places of the tone mark");
        assert_eq!(words("17/BC-UBND, số 2"), words("17 bc ubnd so 2"));
        assert!(words(" .,– ").is_empty());
    }

    #[test]
    fn notations_are_compared_as_a_whole() {
        assert_eq!(line("QĐ-UBND"), "qd-ubnd");
        assert_eq!(line(" qđ - ubnd"), line("QĐ-UBND"));
        assert_ne!(line("QĐUBND"), line("QĐ-UBND"));
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(text in "\\PC{0,60}") {
            let once = words(&text);
            let again: BTreeSet<String> = once.iter().flat_map(|word| words(word)).collect();
            prop_assert_eq!(&again, &once);
            prop_assert!(once.iter().all(|word| word.chars().count() <= MAX_WORD));
            prop_assert_eq!(words(&text.nfd().collect::<String>()), words(&text.nfc().collect::<String>()));
        }
    }
}
