//! Tables and progress for people.

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

/// An empty table with its header; it wraps at the terminal's width, where there is one.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

/// Two columns without a header: what is told about one thing.
pub fn facts<const N: usize>(rows: [(&str, String); N]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_rows(rows.map(|(name, value)| [name.to_owned(), value]));
    table.trim_fmt()
}

/// A bar of bytes on standard error; nothing is drawn when that is no terminal.
pub fn byte_bar() -> ProgressBar {
    let form = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}";
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

/// A bar of rows on standard error; nothing is drawn when that is no terminal.
pub fn row_bar(rows: usize) -> ProgressBar {
    ProgressBar::new(rows as u64)
}
