//! The meters: counts of the run, of the two processes, and of the hub itself.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::load::Run;
use crate::{
    client::Client,
    proto::{GetOverviewRequest, GetOverviewResponse},
};

/// One look at everything.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Acknowledgements so far.
    pub acknowledged: u64,
    /// Handovers so far.
    pub delivered: u64,
    /// The hub's process, where it is on this machine and ours.
    pub hub: Option<Process>,
    /// This process.
    pub own: Option<Process>,
    /// Bytes that the disk below the hub's folder wrote, for whomever. What the system counts for a process would not do:
    /// it counts the whole piece of cache that a small write changed.
    pub disk_bytes: Option<u64>,
    /// What the hub says about itself.
    pub overview: Option<GetOverviewResponse>,
}

/// What the system says about a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// CPU time of all its threads, in microseconds, to a hundredth of a second.
    pub cpu_us: u64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Largest resident memory so far in KiB.
    pub peak_kib: u64,
}

/// Reads the meters.
pub struct Meter {
    hub: Option<u32>,
    /// What the system tells about the disk below the hub's folder.
    disk: Option<PathBuf>,
    operator: Option<Client>,
    run: Arc<Run>,
}

impl Meter {
    /// Meters of a run; `hub` is the hub's process, and where its folder lies.
    pub fn new(hub: Option<u32>, folder: Option<&Path>, operator: Option<Client>, run: Arc<Run>) -> Self {
        Self { hub, disk: folder.and_then(disk_below), operator, run }
    }

    /// A cheap look.
    pub fn read(&self) -> Reading {
        Reading {
            at: Instant::now(),
            acknowledged: self.run.tally.acknowledged.load(Relaxed),
            delivered: self.run.tally.delivered.load(Relaxed),
            hub: self.hub.and_then(|pid| Process::read(&pid.to_string())),
            own: Process::read("self"),
            disk_bytes: self.disk.as_deref().and_then(written_bytes),
            overview: None,
        }
    }

    /// What the hub says about itself.
    pub async fn overview(&self) -> Option<GetOverviewResponse> {
        let told = self.operator.as_ref()?.operator().get_overview(GetOverviewRequest {}).await;
        told.ok().map(tonic::Response::into_inner)
    }

    /// A look that asks the hub too.
    pub async fn read_all(&self) -> Reading {
        Reading { overview: self.overview().await, ..self.read() }
    }
}

impl Process {
    /// Reads `/proc`; `None` where there is none.
    pub fn read(process: &str) -> Option<Self> {
        let text = |name: &str| std::fs::read_to_string(format!("/proc/{process}/{name}")).ok();
        let (stat, status) = (text("stat")?, text("status")?);
        let kib = |name: &str| number(&status, name);
        Some(Self { cpu_us: cpu_us(&stat)?, rss_kib: kib("VmRSS:")?, peak_kib: kib("VmHWM:")? })
    }
}

/// Where sysfs tells about the device that a folder lies on; `None` for devices without a disk, such as overlays.
fn disk_below(folder: &Path) -> Option<PathBuf> {
    let device = std::fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Some(format!("/sys/dev/block/{major}:{minor}/stat").into()).filter(|path: &PathBuf| path.exists())
}

/// The seventh figure: sectors of 512 bytes written (Linux, Documentation/block/stat.rst).
fn written_bytes(stat: &Path) -> Option<u64> {
    let figures = std::fs::read_to_string(stat).ok()?;
    Some(figures.split_whitespace().nth(6)?.parse::<u64>().ok()? * 512)
}

/// User and system time, of which Linux counts hundredths of a second (proc_pid_stat(5), fields 14 and 15).
fn cpu_us(stat: &str) -> Option<u64> {
    // The name in brackets may hold anything, blanks too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 10_000)
}

/// The number after a name at the begin of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let mine = Process::read("self").expect("this is Linux");
        assert!(mine.rss_kib > 100 && mine.peak_kib >= mine.rss_kib);
        assert_eq!(cpu_us("1 (a ) b) S 1 1 1 0 -1 4 5 0 0 0 120 30 0 0 20 0"), Some(1_500_000));
        assert_eq!(number("a: 1\nb:\t 22 kB\n", "b:"), Some(22));
        assert_eq!(Process::read("nobody"), None);
    }
}
