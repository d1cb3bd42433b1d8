//! The machine that was measured on.

use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Instant};

use serde::Serialize;

use crate::cli::{Exit, Failure};

/// Syncs of the disk that are measured.
const SYNCS: usize = 64;
/// Bytes that each makes durable.
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// What a number depends on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// Processors that the load may use.
    pub cores: usize,
    /// Their name.
    pub model: Option<String>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// Linux.
    pub kernel: Option<String>,
    /// Time to append 4 KiB to a file and make it durable, on the hub's disk: the median, in milliseconds.
    pub disk_sync_ms: Option<f64>,
    /// File system of the hub's folder.
    pub file_system: Option<String>,
}

/// Looks at this machine; at the disk only where the hub's folder is on it.
pub fn look(folder: Option<&Path>) -> Result<Machine, Failure> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = read("/proc/meminfo").and_then(|text| field(&text, "MemTotal"));
    let sync = folder.map(disk_sync_ms).transpose().map_err(|error| Failure::new(Exit::File, error))?;
    Ok(Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        model: read("/proc/cpuinfo").and_then(|text| field(&text, "model name")),
        memory_mb: memory.and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).map(|kib| kib / 1024),
        kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
        disk_sync_ms: sync,
        file_system: folder.and_then(|folder| file_system(folder, &read("/proc/self/mounts")?)),
    })
}

/// Time to append 4 KiB to a file there and make it durable: the median.
pub fn disk_sync_ms(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join("sync.probe");
    let file = File::create(&path)?;
    let mut took = Vec::with_capacity(SYNCS);
    for at in 0..SYNCS {
        file.write_all_at(&BLOCK, (at * BLOCK.len()) as u64)?;
        let since = Instant::now();
        file.sync_data()?;
        took.push(since.elapsed());
    }
    std::fs::remove_file(&path)?;
    took.sort_unstable();
    Ok(took[SYNCS / 2].as_secs_f64() * 1000.0)
}

/// Of the mount that is deepest above the folder.
fn file_system(folder: &Path, mounts: &str) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}
