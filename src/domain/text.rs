//! Texts from strangers: lengths in characters, nothing invisible that changes how they read.

use std::ops::RangeInclusive;

use super::reason::Reason;

/// Checks one line of text: its length in characters, and no control characters. A lower bound above 0
/// also asks for something besides white space. The reason names the field and never repeats the text.
pub fn check(field: &str, text: &str, characters: RangeInclusive<usize>) -> Result<(), Reason> {
    if *characters.start() > 0 && text.trim().is_empty() {
        return Err(Reason::invalid(field, "is required"));
    }
    if text.chars().any(misleads) {
        return Err(Reason::invalid(field, "control and direction characters are not allowed"));
    }
    let length = text.chars().count();
    if !characters.contains(&length) {
        return Err(Reason::invalid(
            field,
            format_args!(
                "has {length} characters, allowed are {} to {}",
                characters.start(),
                characters.end()
            ),
        ));
    }
    Ok(())
}

/// Control characters, and those that turn the reading direction: "fdp.exe" could be shown as "exe.pdf".
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}' | '\u{061C}')
}

/// Checks one line of text whose limit is in bytes. A lower bound above 0 also asks for something besides white
/// space.
pub fn check_bytes(field: &str, text: &str, bytes: RangeInclusive<usize>) -> Result<(), Reason> {
    if !bytes.contains(&text.len()) {
        return Err(Reason::invalid(
            field,
            format_args!("has {} bytes, allowed are {} to {}", text.len(), bytes.start(), bytes.end()),
        ));
    }
    check(field, text, usize::from(*bytes.start() > 0)..=usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_the_eye_is_refused() {
        for text in ["a\u{202E}fdp.exe", "a\u{2066}b", "a\nb", "a\u{200F}"] {
            assert!(check("name", text, 0..=50).is_err(), "{text:?}");
        }
        assert!(check_bytes("name", "  ", 1..=50).is_err());
        assert!(check_bytes("name", "Báo cáo tuần 47.pdf", 1..=50).is_ok());
    }

    #[test]
    fn lengths_count_characters_not_bytes() {
        assert!(check("place", &"ộ".repeat(50), 0..=50).is_ok());
        assert!(check("place", &"ộ".repeat(51), 0..=50).is_err());
        assert!(check_bytes("name", &"ộ".repeat(51), 1..=100).is_err());
    }

    #[test]
    fn required_means_more_than_white_space() {
        assert!(check("subject", " \u{a0} ", 1..=500).is_err());
        assert!(check("place", "", 0..=50).is_ok());
    }

    #[test]
    fn control_characters_are_refused_and_not_repeated() {
        for text in ["a\nb", "a\u{7f}", "a\u{85}b", "\0"] {
            let reason = check("subject", text, 1..=500).expect_err("control");
            assert_eq!(reason.detail, "subject: control and direction characters are not allowed");
        }
    }
}
