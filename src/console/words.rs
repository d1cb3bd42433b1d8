//! Every word of the console, once, in Vietnamese and in English.

mod table;

pub(crate) use table::Words;
use table::{EN, VI};

/// Language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lang {
    Vi,
    En,
}

impl Lang {
    /// From the first part of a path.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "vi" => Some(Self::Vi),
            "en" => Some(Self::En),
            _ => None,
        }
    }

    /// What a browser asks for: English only where it stands first.
    pub fn wished(accepted: Option<&str>) -> Self {
        let first = accepted.and_then(|list| list.split(',').next()).unwrap_or_default().trim();
        if first.get(..2).is_some_and(|name| name.eq_ignore_ascii_case("en")) { Self::En } else { Self::Vi }
    }

    /// As in paths and in the `lang` attribute.
    pub fn name(self) -> &'static str {
        self.pick("vi", "en")
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Vi => Self::En,
            Self::En => Self::Vi,
        }
    }

    /// The words.
    pub fn words(self) -> &'static Words {
        match self {
            Self::Vi => &VI,
            Self::En => &EN,
        }
    }

    /// One of two texts.
    pub fn pick<T>(self, vi: T, en: T) -> T {
        match self {
            Self::Vi => vi,
            Self::En => en,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{table::ALL, *};

    #[test]
    fn every_word_is_there_in_both_languages() {
        assert!(ALL.len() > 100);
        for (key, vi, en) in ALL {
            for text in [vi, en] {
                assert!(!text.trim().is_empty() && *text == text.trim(), "{key}: {text:?}");
            }
            let decomposed = |c: char| ('\u{300}'..='\u{36f}').contains(&c);
            assert!(!vi.chars().any(decomposed), "{key}: precomposed letters, please");
            assert!(vi != en || SAME.contains(key), "{key}: {vi:?} in both languages");
        }
    }

    /// Words that are the same in both languages.
    const SAME: &[&str] = &["app_short", "p50", "p99"];

    /// Pages hold no words of their own: every letter between tags comes from the table.
    #[test]
    fn templates_hold_no_words() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        let mut looked = 0;
        for entry in std::fs::read_dir(folder).expect("templates") {
            let path = entry.expect("entry").path();
            let text = std::fs::read_to_string(&path).expect("text");
            for (number, line) in (1..).zip(bare(&text).lines()) {
                let words: Vec<_> =
                    line.split(|c: char| !c.is_alphabetic()).filter(|w| w.len() > 1).collect();
                assert!(words.is_empty(), "{}:{number}: {words:?}", path.display());
            }
            looked += 1;
        }
        assert!(looked > 5);
    }

    /// A template without tags, expressions and comments; lines stay.
    fn bare(text: &str) -> String {
        let mut rest = text;
        let mut out = String::new();
        let pairs = [("{#", "#}"), ("{{", "}}"), ("{%", "%}"), ("<", ">")];
        while let Some((at, (open, close))) =
            pairs.iter().filter_map(|pair| rest.find(pair.0).map(|at| (at, *pair))).min_by_key(|(at, _)| *at)
        {
            out.push_str(&rest[..at]);
            let skipped_from = &rest[at + open.len()..];
            let end = skip(skipped_from, open, close);
            out.extend(rest[at..at + open.len() + end].chars().filter(|c| *c == '\n'));
            rest = &rest[at + open.len() + end..];
        }
        out.push_str(rest);
        out
    }

    /// Where a piece ends. Tags may hold expressions.
    fn skip(text: &str, open: &str, close: &str) -> usize {
        let mut from = 0;
        loop {
            let Some(end) = text[from..].find(close).map(|at| from + at) else { return text.len() };
            let inner = &text[from..end];
            match inner.find("{{").map(|_| "}}").or(inner.find("{%").map(|_| "%}")) {
                Some(until) if open == "<" => {
                    from = text[from..].find(until).map_or(end + close.len(), |at| from + at + until.len());
                }
                _ => return end + close.len(),
            }
        }
    }

    #[test]
    fn browsers_choose_english_only_when_it_stands_first() {
        for (accepted, name) in [
            (None, "vi"),
            (Some("vi-VN,vi;q=0.9,en;q=0.8"), "vi"),
            (Some("en-GB,en;q=0.9"), "en"),
            (Some("de"), "vi"),
            (Some("é"), "vi"),
        ] {
            assert_eq!(Lang::wished(accepted).name(), name);
        }
    }
}
