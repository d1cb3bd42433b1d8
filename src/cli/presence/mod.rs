//! Who is connected, and who was last heard of when: `truc sessions`, `truc nodes`, `truc contacts`.

pub mod contacts;
pub mod nodes;
pub mod sessions;

use super::verify::docproof::Language;
use crate::{client::calendar::vietnam_time, domain::time::Timestamp, proto::Traffic};

/// Lines asked for at a time.
const PAGE: u32 = 1_000;

/// Picks the words of a language.
pub fn say(language: Language, english: &'static str, vietnamese: &'static str) -> &'static str {
    match language {
        Language::En => english,
        Language::Vi => vietnamese,
    }
}

/// A moment in Vietnam's time; empty for none.
pub fn when(us: i64) -> String {
    Timestamp::given(us).map(vietnam_time).unwrap_or_default()
}

/// Bytes for people, in at most four digits.
pub fn size(bytes: f64) -> String {
    let mut amount = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1_000.0 {
            return if unit == "B" { format!("{amount:.0} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1_024.0;
    }
    format!("{amount:.1} TiB")
}

/// How much, and how fast now.
fn shown_traffic(traffic: &Traffic, language: Language) -> String {
    let (documents, bytes) = (traffic.documents, size(traffic.bytes as f64));
    let per_minute = traffic.documents_per_minute;
    if per_minute < 0.05 {
        return format!("{documents} · {bytes}");
    }
    let unit = say(language, "a minute", "mỗi phút");
    format!("{documents} · {bytes} · {per_minute:.1} {unit}")
}

/// As JSON.
#[derive(Debug, Default, serde::Serialize)]
struct TrafficLine {
    documents: u64,
    bytes: u64,
    documents_per_minute: f64,
    bytes_per_second: f64,
}

impl From<&Option<Traffic>> for TrafficLine {
    fn from(traffic: &Option<Traffic>) -> Self {
        let traffic = traffic.unwrap_or_default();
        Self {
            documents: traffic.documents,
            bytes: traffic.bytes,
            documents_per_minute: traffic.documents_per_minute,
            bytes_per_second: traffic.bytes_per_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let cases =
            [(0.0, "0 B"), (999.0, "999 B"), (1_536.0, "1.5 KiB"), (5e6, "4.8 MiB"), (3e13, "27.3 TiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_speed_is_told_while_there_is_one() {
        let busy = Traffic { documents: 7, bytes: 2_048, documents_per_minute: 3.25, bytes_per_second: 1.0 };
        assert_eq!(shown_traffic(&busy, Language::Vi), "7 · 2.0 KiB · 3.2 mỗi phút");
        let idle = Traffic { documents_per_minute: 0.01, ..busy };
        assert_eq!(shown_traffic(&idle, Language::En), "7 · 2.0 KiB");
    }
}
