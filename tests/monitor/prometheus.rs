//! A real Prometheus scrapes real hubs with our rules: they fire where something is broken, and nowhere else.
//! Ignored, because it needs the program `prometheus`: `.ci/observability` installs and runs it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use truc::cli::demo::process::free_port;

use crate::{
    broken::{self, NO_DISK, WAITS},
    certificate,
    door::ask_at,
    rig::Rig,
    small_disk::SmallDisk,
};

/// Time for scrapes, rules and hubs in debug builds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends with its value.
struct Prometheus {
    child: Child,
    address: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Firing = BTreeMap<String, BTreeSet<String>>;

impl Prometheus {
    fn start(dir: &Path, targets: &[(&str, &Rig)]) -> Self {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/truc.rules.yml");
        let rules = std::fs::read_to_string(rules).unwrap();
        // The same rules, without their patience.
        let hasty = rules.lines().map(|line| match line.trim_start().starts_with("for: ") {
            true => format!("{}for: 0s\n", &line[..line.len() - line.trim_start().len()]),
            // A busy machine may have a slow disk that fills up: that is not what is tried here.
            false => {
                line.replace("> 86400", "> 1").replace("4 * 86400", "1").replace(") > 0.5", ") > 30") + "\n"
            }
        });
        std::fs::write(dir.join("rules.yml"), hasty.collect::<String>()).unwrap();
        let target = |(name, rig): &(&str, &Rig)| {
            let address = rig.hub.monitor().unwrap();
            format!("      - targets: [\"{address}\"]\n        labels: {{instance: {name}}}\n")
        };
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: truc\n    static_configs:\n{}",
            targets.iter().map(target).collect::<String>()
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        Self { child, address }
    }

    async fn query(&self, path: &str) -> Option<serde_json::Value> {
        tokio::net::TcpStream::connect(&self.address).await.ok()?;
        serde_json::from_str(&ask_at(&self.address, &format!("GET {path}")).await.body).ok()
    }

    /// Alerts that fire, by hub.
    async fn firing(&self) -> Firing {
        let mut firing = Firing::new();
        let Some(told) = self.query("/api/v1/alerts").await else { return firing };
        for alert in told["data"]["alerts"].as_array().into_iter().flatten() {
            let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
            assert!(!alert["annotations"]["summary_vi"].as_str().unwrap_or_default().is_empty(), "{alert}");
            if alert["state"] == "firing" {
                firing.entry(label("instance")).or_default().insert(label("alertname"));
            }
        }
        firing
    }

    async fn until(&self, wanted: &[(&str, &[&str])]) {
        let name = |name: &&str| (*name).to_owned();
        let wanted: Firing =
            wanted.iter().map(|(hub, alerts)| (name(hub), alerts.iter().map(name).collect())).collect();
        let mut last = Firing::new();
        let reached = async {
            while last != wanted {
                tokio::time::sleep(Duration::from_millis(200)).await;
                last = self.firing().await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        assert!(reached.is_ok(), "firing: {last:#?}, wanted: {wanted:#?}");
    }

    /// Scrapes of each hub that went well.
    async fn scrapes_of(&self, hub: &str) -> f64 {
        let path = format!("/api/v1/query?query=sum_over_time(up%7Binstance=%22{hub}%22%7D%5B5m%5D)");
        let told = self.query(&path).await.unwrap_or_default();
        told["data"]["result"][0]["value"][1].as_str().and_then(|sum| sum.parse().ok()).unwrap_or(0.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus: see .ci/observability"]
async fn rules_fire_where_something_is_broken_and_only_there() {
    let Some(disk) = SmallDisk::make() else { return };
    let healthy = Rig::start_monitored(NO_DISK).await;
    let mut waiting = Rig::start_monitored(NO_DISK).await;
    let full = Rig::start_on(&disk.data(), &SmallDisk::limits()).await;
    let expired = Rig::start_monitored(NO_DISK).await;
    let (keyless, lapsed) = (Rig::start_monitored(NO_DISK).await, Rig::start_monitored(NO_DISK).await);
    let flapping = Rig::start_monitored(NO_DISK).await;
    let (off, clock) = Rig::start_with_moved_clock(NO_DISK).await;
    for rig in [&waiting, &keyless, &lapsed, &flapping, &off] {
        broken::send(rig, WAITS).await.unwrap();
    }
    // A day cannot be waited for: see `start`.
    disk.fill();
    certificate::let_expire(&expired);
    broken::revoke_key(&keyless).await;
    broken::let_node_lapse(&lapsed).await;
    broken::flap(&flapping).await;
    let _stays = broken::open(&off.connect("sapa").await).await.unwrap();
    clock.set(-1_800);

    let dir = tempfile::tempdir().unwrap();
    let hubs = [
        ("healthy", &healthy),
        ("waiting", &waiting),
        ("full", &full),
        ("expired", &expired),
        ("keyless", &keyless),
        ("lapsed", &lapsed),
        ("flapping", &flapping),
        ("off", &off),
    ];
    let prometheus = Prometheus::start(dir.path(), &hubs);
    let mut broken: [(&str, &[&str]); 7] = [
        ("waiting", &["TrucQueueOld"]),
        ("full", &["TrucNotReady", "TrucCondition"]),
        ("expired", &["TrucNotReady", "TrucCondition", "TrucCertificateExpired"]),
        ("keyless", &["TrucQueueOld", "TrucRecipientBlocked"]),
        ("lapsed", &["TrucQueueOld", "TrucRecipientBlocked"]),
        ("flapping", &["TrucQueueOld", "TrucSessionFlaps"]),
        ("off", &["TrucSeriousCondition"]),
    ];
    prometheus.until(&broken).await;
    waiting.hub.kill().await.unwrap();
    broken[0] = ("waiting", &["TrucDown"]);
    prometheus.until(&broken).await;
    let scrapes = prometheus.scrapes_of("healthy").await;
    assert!(scrapes > 0.0, "the healthy hub was scraped");
}

/// What promtool says of a page that a working hub tells: nothing.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs promtool: see .ci/observability"]
async fn promtool_finds_nothing_to_say_about_the_metrics() {
    use std::io::Write;

    let rig = Rig::start().await;
    let page = ask_at(rig.hub.monitor().unwrap(), "GET /metrics").await.body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let told = promtool.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && words.trim().is_empty(), "{words}");
}
