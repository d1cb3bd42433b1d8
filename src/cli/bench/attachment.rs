//! One large attachment: how fast it goes in, and what it costs the hub in memory.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    floor::sha256_mb_per_second,
    machine::{self, Machine},
    meter::Process,
    options::Target,
    site::Site,
    world::Nodes,
};
use crate::{
    cli::{Exit, Failure, Output, table::facts},
    client::{
        Patience,
        upload::{hash_file, upload},
    },
};

/// How often the hub's memory is read.
const LOOK: Duration = Duration::from_millis(20);

/// The answer.
#[derive(Debug, Serialize)]
struct Report {
    attachment_bytes: u64,
    seconds: f64,
    mb_per_second: f64,
    /// SHA-256 of one core, just before.
    sha256_mb_per_second: f64,
    of_sha256: f64,
    /// The same bytes written to the same disk and synced once, by nobody but the load generator, just before.
    disk_mb_per_second: f64,
    /// By how much the hub's resident memory grew at most meanwhile.
    rss_growth_mb: Option<f64>,
    machine: Machine,
}

/// Uploads so many bytes.
pub async fn run(target: &Target, size: u64, output: &Output) -> Result<(), Failure> {
    let site = Site::open(target).await?;
    let nodes = Nodes::found(&site, "bench-upload", 1).await?;
    let client = site.node(&nodes.names[0]).await?;
    let terms = client.terms().await?;
    let scratch = site.scratch()?;
    let path = scratch.path().join("attachment.bin");
    let written = path.clone();
    let made = tokio::task::spawn_blocking(move || make(&written, size)).await;
    let made = made.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let write_took = made.map_err(|error| Failure::new(Exit::File, error))?;
    let file = hash_file(&path).await?;
    let hash = tokio::task::spawn_blocking(|| sha256_mb_per_second(1)).await.unwrap_or(f64::NAN);

    let rss = || site.hub().and_then(|pid| Process::read(&pid.to_string())).map(|hub| hub.rss_kib);
    let (before, since) = (rss(), Instant::now());
    let patience = Patience::default();
    let uploading = upload(&client, &terms, &file, &patience, &|_, _| ());
    tokio::pin!(uploading);
    let mut most = before;
    loop {
        tokio::select! {
            done = &mut uploading => break done?,
            () = tokio::time::sleep(LOOK) => most = most.max(rss()),
        }
    }
    let seconds = since.elapsed().as_secs_f64();
    let mb_per_second = size as f64 / 1e6 / seconds;
    let report = Report {
        attachment_bytes: size,
        seconds,
        mb_per_second,
        sha256_mb_per_second: hash,
        of_sha256: mb_per_second / hash,
        disk_mb_per_second: size as f64 / 1e6 / write_took.as_secs_f64(),
        rss_growth_mb: most.max(rss()).zip(before).map(|(most, before)| (most - before) as f64 / 1024.0),
        machine: machine::look(site.folder())?,
    };
    output.print(&report, |report| {
        facts([
            ("upload", format!("{:.0} MB/s in {:.1} s", report.mb_per_second, report.seconds)),
            ("SHA-256 of one core", format!("{:.0} MB/s", report.sha256_mb_per_second)),
            ("the disk alone", format!("{:.0} MB/s", report.disk_mb_per_second)),
            (
                "the hub's memory grew by",
                report.rss_growth_mb.map_or("?".into(), |mb| format!("{mb:.1} MiB")),
            ),
        ])
    });
    Ok(())
}

/// Bytes that no file system can make smaller, durable before the upload begins; and how long that took.
fn make(path: &Path, size: u64) -> std::io::Result<Duration> {
    let since = Instant::now();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut block = vec![0; 1 << 20];
    let _ = getrandom::fill(&mut block);
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(block.len()).min(block.len());
        block[..8].copy_from_slice(&left.to_le_bytes());
        file.write_all(&block[..part])?;
        left -= part as u64;
    }
    file.into_inner()?.sync_data()?;
    Ok(since.elapsed())
}
