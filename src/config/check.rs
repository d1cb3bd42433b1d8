//! What a configuration must hold before a port is bound.

use std::{fmt, fs::File, path::Path, time::Duration};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::{Config, witness};

/// A value or file that the hub can't run with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key, such as `tls.key`.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub next_step: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.field, self.problem, self.next_step)
    }
}

/// The tests below read as a list; each adds at most one problem.
pub(super) struct Findings(Vec<Problem>);

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Findings(Vec::new());
    origin(&mut found, &config.origin);
    data_dir(&mut found, &config.data_dir);
    files(&mut found, config);
    bounds(&mut found, config);
    log_http(&mut found, config);
    console(&mut found, config);
    retention(&mut found, config);
    witness::log_witnesses(&mut found, config);
    witness::witness(&mut found, config);
    monitor(&mut found, config);
    telemetry(&mut found, config);
    let filter = &config.logging.filter;
    found.unless(
        EnvFilter::try_new(filter).is_ok(),
        "logging.filter",
        &format!("{filter:?} can't be read"),
        "write something like \"info\" or \"info,truc::edge=debug\"",
    );
    found.0
}

/// A log's origin is also the name of its key, for which C2SP signed-note forbids spaces and plus signs.
fn origin(found: &mut Findings, origin: &str) {
    let field = "origin";
    let next = "choose a host name that you own and a path, such as \"hub.example.gov.vn/log\"; it can't change later";
    let illegal = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    found.unless(!origin.is_empty(), field, "the log has no name", next);
    found.unless(!origin.contains(illegal), field, "spaces and '+' are not allowed", next);
}

fn data_dir(found: &mut Findings, path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let usable = if path.exists() { path.is_dir() } else { parent.is_dir() };
    let problem = format!("{} is no folder and can't become one", path.display());
    found.unless(usable, "data_dir", &problem, "make the folder, or name another one");
}

fn files(found: &mut Findings, config: &Config) {
    let tls = &config.tls;
    found.readable("tls.certificate", &tls.certificate);
    found.readable("tls.client_ca", &tls.client_ca);
    if let Some(crl) = tls.source().crl {
        found.readable("tls.crl", &crl);
    }
    found.private("tls.key", &tls.key);
    found.private("log.key", &config.log.key);
}

fn log_http(found: &mut Findings, config: &Config) {
    let Some(address) = config.log_http.address else { return };
    found.unless(
        !config.log_http.plain || address.ip().is_loopback(),
        "log_http.plain",
        &format!("without TLS on {address}, which others can reach"),
        "listen on 127.0.0.1 behind the proxy, or write plain = false",
    );
    found.unless(
        address != config.listen.address || address.port() == 0,
        "log_http.address",
        "the same as listen.address",
        "choose another port",
    );
}

fn retention(found: &mut Findings, config: &Config) {
    let retention = &config.retention;
    let field = "retention.rules";
    found.unless(retention.rules.len() <= MOST_RULES, field, "too many", "write at most 100");
    for rule in &retention.rules {
        let named = !rule.name.trim().is_empty()
            && rule.name.len() <= LONGEST_NAME
            && !rule.name.contains(char::is_control);
        found.unless(named, field, "a rule without a short name", "write name = \"…\", at most 100 bytes");
        found.unless(
            rule.after > Duration::ZERO,
            field,
            &format!("{}: after is no time at all", rule.name),
            "write a longer duration",
        );
        found.unless(
            rule.urgencies.iter().all(|urgency| *urgency <= 4),
            field,
            &format!("{}: an urgency is larger than 4", rule.name),
            "write 0 to 4",
        );
    }
    found.unless(
        retention.every > Duration::ZERO,
        "retention.every",
        "no time at all",
        "write a longer duration",
    );
    let slow = "0 would never get through";
    found.unless(retention.rate > 0, "retention.rate", slow, "write a larger number");
    found.unless(
        retention.documents_per_second > 0,
        "retention.documents_per_second",
        slow,
        "write a larger number",
    );
}

/// Each document is held against every rule.
const MOST_RULES: usize = 100;
/// A rule's name stands in evidence.
const LONGEST_NAME: usize = 100;

fn monitor(found: &mut Findings, config: &Config) {
    let Some(address) = config.monitor.address else { return };
    let taken = [Some(config.listen.address), config.log_http.address];
    found.unless(
        address.port() == 0 || !taken.contains(&Some(address)),
        "monitor.address",
        "the same as another door's",
        "choose another port",
    );
}

fn telemetry(found: &mut Findings, config: &Config) {
    let telemetry = &config.telemetry;
    let endpoint = telemetry.otlp_endpoint.as_str();
    let next = "write something like \"http://127.0.0.1:4317\", or \"\" for no traces";
    let named = endpoint.strip_prefix("http://").is_some_and(|rest| !rest.is_empty());
    let problem = format!("{endpoint:?} is not an address of a collector without TLS");
    found.unless(endpoint.is_empty() || named, "telemetry.otlp_endpoint", &problem, next);
    let able = cfg!(feature = "otel") || endpoint.is_empty();
    let problem = "this program was built without the feature otel";
    found.unless(able, "telemetry.otlp_endpoint", problem, "write \"\", or build it with the feature");
    let percent = "more than all documents";
    found.unless(telemetry.sample_percent <= 100, "telemetry.sample_percent", percent, "write 0 to 100");
}

fn console(found: &mut Findings, config: &Config) {
    let Some(address) = config.console.address else { return };
    let taken = [Some(config.listen.address), config.log_http.address, config.monitor.address];
    found.unless(
        address.port() == 0 || !taken.contains(&Some(address)),
        "console.address",
        "the same as another door's",
        "choose another port",
    );
    let url = &config.console.url;
    found.unless(
        url.is_empty() || url.starts_with("https://"),
        "console.url",
        &format!("{url:?} is not an address that begins with https://"),
        "write something like \"https://truc.example.gov.vn\", or \"\"",
    );
}

fn bounds(found: &mut Findings, config: &Config) {
    let (tls, limits, submission) = (&config.tls, &config.limits, &config.submission);
    let (delivery, store) = (&config.delivery, &config.store);
    let counts = [
        ("tls.max_handshakes", tls.max_handshakes as u64),
        ("tls.max_connections", tls.max_connections as u64),
        ("tls.max_connections_of_caller", tls.max_connections_of_caller as u64),
        ("tls.max_connections_of_address", tls.max_connections_of_address as u64),
        ("log_http.max_connections", config.log_http.max_connections as u64),
        ("console.max_connections", config.console.max_connections as u64),
        ("monitor.max_connections", config.monitor.max_connections as u64),
        ("limits.node_messages", limits.node_messages.into()),
        ("limits.node_bytes", limits.node_bytes),
        ("limits.agency_messages", limits.agency_messages.into()),
        ("limits.agency_bytes", limits.agency_bytes),
        ("limits.node_refusals", limits.node_refusals.into()),
        ("limits.calls_of_caller", limits.calls_of_caller as u64),
        ("limits.calls", limits.calls as u64),
        ("limits.sessions_of_node", limits.sessions_of_node as u64),
        ("limits.sessions", limits.sessions as u64),
        ("submission.max_attachment", submission.max_attachment),
        ("submission.max_manifest", submission.max_manifest),
        ("submission.max_recipients", submission.max_recipients.into()),
        ("delivery.session_max_credit", delivery.session_max_credit.into()),
        ("operator.actions_per_minute", config.operator.actions_per_minute.into()),
        ("store.index_lag", store.index_lag as u64),
        ("store.batch_max", store.batch_max as u64),
    ];
    for (field, count) in counts {
        found.unless(count > 0, field, "0 lets nothing through", "write a larger number");
    }
    let durations = [
        ("tls.reload_every", tls.reload_every),
        ("tls.handshake_timeout", tls.handshake_timeout),
        ("console.session_idle", config.console.session_idle),
        ("console.session_life", config.console.session_life),
        ("limits.patience", limits.patience),
        ("limits.connection_age", limits.connection_age),
        ("limits.connection_grace", limits.connection_grace),
        ("limits.drain", limits.drain),
        ("submission.clock_skew", submission.clock_skew),
        ("submission.default_deadline", submission.default_deadline),
        ("submission.upload_retention", submission.upload_retention),
        ("operator.approval_window", config.operator.approval_window),
        ("delivery.lease", delivery.lease),
        ("delivery.retry_first", delivery.retry_first),
        ("log.witness_every", config.log.witness_every),
        ("log.witness_alarm", config.log.witness_alarm),
        ("monitor.look_every", config.monitor.look_every),
        ("monitor.queue_age", config.monitor.queue_age),
    ];
    for (field, duration) in durations {
        found.unless(duration > Duration::ZERO, field, "no time at all", "write a longer duration");
    }
    found.unless(
        delivery.retry_first <= delivery.retry_max,
        "delivery.retry_max",
        "shorter than delivery.retry_first",
        "make it at least as long",
    );
    found.unless(
        submission.max_inline.saturating_add(submission.max_manifest) < MESSAGE,
        "submission.max_inline",
        "together with max_manifest larger than a gRPC message (8 MiB) can carry",
        "make one of them smaller",
    );
    found.unless(
        limits.message_memory >= LEAST_MEMORY,
        "limits.message_memory",
        "too small for a few large messages",
        "write at least \"32 MiB\"",
    );
    found.unless(
        config.monitor.disk_reserve <= config.monitor.disk_warning,
        "monitor.disk_warning",
        "smaller than monitor.disk_reserve",
        "make it at least as large: a warning comes first",
    );
    found.unless(
        store.segment_size >= SMALLEST_SEGMENT,
        "store.segment_size",
        "too small for one commit",
        "write at least \"16 MiB\"",
    );
}

/// Message limit of the gRPC services, less room for signatures and framing.
const MESSAGE: u64 = (8 << 20) - (64 << 10);
/// One caller alone gets half, and a message counts twice while it is taken over.
const LEAST_MEMORY: u64 = 32 << 20;
/// Holds the largest message with everything that a commit adds to it.
const SMALLEST_SEGMENT: u64 = 16 << 20;

impl Findings {
    pub fn unless(&mut self, good: bool, field: &'static str, problem: &str, next_step: &str) {
        if !good {
            self.0.push(Problem { field, problem: problem.into(), next_step: next_step.into() });
        }
    }

    pub fn readable(&mut self, field: &'static str, path: &Path) -> bool {
        let Err(error) = File::open(path).and_then(|file| is_file(&file)) else { return true };
        let problem = format!("{}: {error}", path.display());
        self.unless(false, field, &problem, "make it with `truc pki init`, or name another file");
        false
    }

    pub fn private(&mut self, field: &'static str, path: &Path) {
        if self.readable(field, path) && others_may_read(path) {
            let problem = format!("{} can be read by every user", path.display());
            self.unless(false, field, &problem, &format!("run: chmod 600 {}", path.display()));
        }
    }
}

fn is_file(file: &File) -> std::io::Result<()> {
    if file.metadata()?.is_file() {
        return Ok(());
    }
    Err(std::io::Error::other("not a file"))
}

#[cfg(unix)]
fn others_may_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn others_may_read(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogHttp;

    /// A configuration whose files exist.
    fn good(folder: &Path) -> Config {
        let mut config = Config { origin: "hub.example.vn/log".into(), ..Config::default() };
        config.resolve(folder);
        std::fs::create_dir(folder.join("certs")).expect("folder");
        for path in [
            &config.tls.certificate,
            &config.tls.client_ca,
            &config.tls.crl,
            &config.tls.key,
            &config.log.key,
        ] {
            std::fs::write(path, "").expect("write");
            mode(path, 0o600);
        }
        config
    }

    #[cfg(unix)]
    fn mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    }

    fn fields(config: &Config) -> Vec<&'static str> {
        problems(config).into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn a_good_configuration_passes() {
        let folder = tempfile::tempdir().expect("temporary folder");
        assert_eq!(problems(&good(folder.path())), []);
    }

    #[test]
    fn each_bad_value_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let good = good(folder.path());
        type Break = fn(&mut Config);
        let breaks: [(&str, Break); 23] = [
            ("origin", |c| c.origin.clear()),
            ("origin", |c| c.origin = "a b".into()),
            ("origin", |c| c.origin = "a+b".into()),
            ("data_dir", |c| c.data_dir = c.tls.key.clone()),
            ("data_dir", |c| c.data_dir = c.data_dir.join("a/b")),
            ("tls.certificate", |c| c.tls.certificate.push("missing")),
            ("tls.crl", |c| c.tls.crl = "missing".into()),
            ("tls.client_ca", |c| c.tls.client_ca = c.tls.key.parent().expect("folder").into()),
            ("tls.max_connections", |c| c.tls.max_connections = 0),
            ("log_http.max_connections", |c| c.log_http.max_connections = 0),
            ("log_http.address", |c| c.log_http.address = Some(c.listen.address)),
            ("log_http.plain", |c| {
                c.log_http =
                    LogHttp { address: "192.0.2.1:80".parse().ok(), plain: true, ..LogHttp::default() };
            }),
            ("delivery.lease", |c| c.delivery.lease = Duration::ZERO),
            ("delivery.retry_max", |c| c.delivery.retry_max = Duration::from_secs(1)),
            ("submission.max_inline", |c| c.submission.max_inline = 8 << 20),
            ("telemetry.otlp_endpoint", |c| c.telemetry.otlp_endpoint = "https://collector:4317".into()),
            ("telemetry.sample_percent", |c| c.telemetry.sample_percent = 101),
            ("monitor.address", |c| c.monitor.address = Some(c.listen.address)),
            ("monitor.look_every", |c| c.monitor.look_every = Duration::ZERO),
            ("monitor.disk_warning", |c| c.monitor.disk_reserve = c.monitor.disk_warning + 1),
            ("retention.rate", |c| c.retention.rate = 0),
            ("store.segment_size", |c| c.store.segment_size = 1),
            ("logging.filter", |c| c.logging.filter = "info=what=".into()),
        ];
        for (field, spoil) in breaks {
            let mut config = good.clone();
            spoil(&mut config);
            assert_eq!(fields(&config), [field]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_private() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let config = good(folder.path());
        mode(&config.log.key, 0o644);
        assert_eq!(fields(&config), ["log.key"]);
        mode(&config.log.key, 0o640);
        assert_eq!(fields(&config), [""; 0]);
    }

    #[test]
    fn all_problems_come_together() {
        assert!(problems(&Config::default()).len() > 4);
    }
}
