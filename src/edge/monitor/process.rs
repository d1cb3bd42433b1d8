//! What the system says of this process. Where it does not say it, the numbers are left out.

/// Ticks of a second in `/proc`: USER_HZ, which Linux fixes for programs (proc(5)).
const TICKS: f64 = 100.0;

/// Numbers of `/proc/self`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Memory in use, in bytes.
    pub resident: Option<f64>,
    /// Time of all cores, in seconds.
    pub cpu: Option<f64>,
    /// Threads.
    pub threads: Option<f64>,
    /// Open files and sockets.
    pub open_files: Option<f64>,
    /// Most that may be open.
    pub most_files: Option<f64>,
}

impl Process {
    /// Looks.
    pub async fn look() -> Self {
        let read = async |file: &str| tokio::fs::read_to_string(file).await.unwrap_or_default();
        Self {
            resident: resident(&read("/proc/self/status").await),
            most_files: most_files(&read("/proc/self/limits").await),
            open_files: open_files().await,
            ..of_stat(&read("/proc/self/stat").await)
        }
    }
}

/// The name, in parentheses, may hold anything; fields are counted behind it.
fn of_stat(stat: &str) -> Process {
    let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // proc(5) numbers them from 1; the third is the first behind the name.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let ticks = field(14).zip(field(15)).map(|(user, system)| user + system);
    Process { cpu: ticks.map(|ticks| ticks / TICKS), threads: field(20), ..Process::default() }
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn most_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

async fn open_files() -> Option<f64> {
    let mut entries = tokio::fs::read_dir("/proc/self/fd").await.ok()?;
    let mut count = 0_u32;
    while let Ok(Some(_)) = entries.next_entry().await {
        count += 1;
    }
    Some(count.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let rest: Vec<_> = (3..=52).map(|number| number.to_string()).collect();
        let process = of_stat(&format!("17 (a) b (c) {}", rest.join(" ")));
        assert_eq!(process.threads, Some(20.0));
        assert_eq!(process.cpu, Some(0.29));
        assert_eq!(resident("Name:\tx\nVmRSS:\t  2 kB\n"), Some(2_048.0));
        assert_eq!(of_stat("nonsense"), Process::default());
    }

    #[test]
    fn limits_are_found_by_name() {
        let limits = "Limit  Soft  Hard  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(most_files(limits), Some(1024.0));
        assert_eq!(most_files("Max open files unlimited"), None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn this_process_is_seen() {
        let process = Process::look().await;
        assert!(process.resident > Some(1e5) && process.open_files > Some(2.0), "{process:?}");
        assert!(process.threads >= Some(1.0) && process.cpu >= Some(0.0), "{process:?}");
    }
}
