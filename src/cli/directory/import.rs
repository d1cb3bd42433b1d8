//! Agencies from a file.

use std::{fs::File, io::Read, path::PathBuf};

use prost::Message;
use serde::Serialize;

use crate::{
    cli::{
        Failure, Output,
        files::FileError,
        table::{row_bar, table},
    },
    client::{Client, Patience},
    domain::{
        directory_import::{Import, MAX_FILE, Quarantined, parse_csv},
        reason::Reason,
    },
    proto::{Agency, ImportAgenciesRequest, ImportAgenciesResponse, QuarantinedAgency},
};

/// Rows of one call; the hub takes no more.
const MAX_ROWS: usize = 2_000;
/// Bytes of one call, far below what a gRPC server takes by default.
const MAX_BYTES: usize = 2 << 20;

/// Adds agencies from a CSV file (columns organ_id, name; level, parent, aliases, state where wanted). Rows that break
/// a rule are set aside with a reason; the others go on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, in UTF-8.
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Say what would happen; change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What came of the rows.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Imported {
    imported: u64,
    unchanged: u64,
    quarantined: Vec<Row>,
}

/// A row that was set aside.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Row {
    row: usize,
    organ_id: String,
    reason: String,
}

impl Args {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let import = parse_csv(&self.read()?)?;
        let bar = row_bar(import.rows.len());
        let mut result = Imported::of_file(&import);
        let mut rows = import.rows.as_slice();
        while !rows.is_empty() {
            let (page, rest) = rows.split_at(page_len(rows));
            let agencies = page.iter().map(|(_, agency)| agency.clone()).collect();
            let request = ImportAgenciesRequest { agencies, dry_run: self.dry_run };
            result.add(page, send(client, request).await?);
            bar.inc(page.len() as u64);
            rows = rest;
        }
        bar.finish_and_clear();
        result.quarantined.sort();
        output.print(&result, |result| result.shown(self.dry_run));
        Ok(())
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let file = File::open(&self.file).map_err(FileError::io(&self.file))?;
        // One byte more, so that the parser sees that it is too large.
        file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(FileError::io(&self.file))?;
        Ok(bytes)
    }
}

/// A repeat after a cut finds unchanged what the first call imported: nothing is lost or doubled, only counted so.
async fn send(client: &Client, request: ImportAgenciesRequest) -> Result<ImportAgenciesResponse, Failure> {
    let patience = Patience::default();
    let answer = patience.call(client.directory(), request, |mut hub, request| async move {
        hub.import_agencies(request).await
    });
    Ok(answer.await?.into_inner())
}

/// How many of the rows fit into one call; at least one.
fn page_len(rows: &[(usize, Agency)]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take(MAX_ROWS).take_while(|(_, agency)| {
        bytes += agency.encoded_len() + 8;
        bytes <= MAX_BYTES
    });
    fits.count().max(1)
}

impl Imported {
    fn of_file(import: &Import) -> Self {
        let row = |set_aside: &Quarantined| Row {
            row: set_aside.row,
            organ_id: set_aside.organ_id.clone(),
            reason: set_aside.reason.to_string(),
        };
        Self { quarantined: import.quarantined.iter().map(row).collect(), ..Self::default() }
    }

    fn add(&mut self, page: &[(usize, Agency)], answer: ImportAgenciesResponse) {
        self.imported += u64::from(answer.imported);
        self.unchanged += u64::from(answer.unchanged);
        self.quarantined.extend(answer.quarantined.into_iter().map(|set_aside| row(page, set_aside)));
    }

    fn shown(&self, dry_run: bool) -> String {
        let would = if dry_run { " (dry run, nothing was changed)" } else { "" };
        let Self { imported, unchanged, quarantined } = self;
        let counts =
            format!("{imported} imported, {unchanged} unchanged, {} set aside{would}", quarantined.len());
        if quarantined.is_empty() {
            return counts;
        }
        let mut table = table(["row", "agency", "reason"]);
        for row in quarantined {
            table.add_row([&row.row.to_string(), &row.organ_id, &row.reason]);
        }
        format!("{table}\n{counts}")
    }
}

fn row(page: &[(usize, Agency)], set_aside: QuarantinedAgency) -> Row {
    let reason = set_aside.reason.unwrap_or_default();
    let at = page.get(set_aside.position as usize);
    Row {
        row: at.map_or(0, |(row, _)| *row),
        organ_id: set_aside.organ_id,
        reason: Reason::new(reason.code(), reason.detail).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::ReasonCode;

    fn rows(count: usize, name: &str) -> Vec<(usize, Agency)> {
        (0..count).map(|row| (row + 2, Agency { name: name.into(), ..Agency::default() })).collect()
    }

    #[test]
    fn pages_are_bounded_by_rows_and_bytes() {
        assert_eq!(page_len(&rows(3, "a")), 3);
        assert_eq!(page_len(&rows(2_001, "a")), 2_000);
        let large = "x".repeat(MAX_BYTES / 4);
        assert_eq!(page_len(&rows(10, &large)), 3);
        assert_eq!(page_len(&rows(2, &large.repeat(5))), 1);
    }

    #[test]
    fn both_lists_of_rows_become_one() {
        let import = parse_csv(b"organ_id,name\nH53,A\nbad,B\nH54,C\n").expect("a header");
        let mut result = Imported::of_file(&import);
        let reason = Reason::new(ReasonCode::Conflict, "aliases: taken").to_proto();
        let set_aside = QuarantinedAgency { position: 1, organ_id: "H54".into(), reason: Some(reason) };
        let answer = ImportAgenciesResponse { imported: 1, unchanged: 0, quarantined: vec![set_aside] };
        result.add(&import.rows, answer);
        result.quarantined.sort();
        let json = serde_json::to_value(&result).expect("JSON");
        assert_eq!(json["imported"], 1);
        assert_eq!(json["quarantined"][0]["row"], 3);
        assert!(json["quarantined"][0]["reason"].as_str().expect("text").starts_with("BAD_IDENTIFIER: "));
        let last = serde_json::json!({ "row": 4, "organ_id": "H54", "reason": "CONFLICT: aliases: taken" });
        assert_eq!(json["quarantined"][1], last);
    }
}
