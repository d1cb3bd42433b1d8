//! `truc serve`: configure, build, bind, spawn, drain.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ed25519_dalek::pkcs8::DecodePrivateKey;
use serde::Serialize;
use tokio::{net::TcpListener, signal::unix::SignalKind};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{
    Exit, Failure, Output, files, monitoring,
    witnessing::{ask_witnesses, open_witness},
};
use crate::{
    config::{Config, IndexEngine, RetainedBodies, RetentionOperation, RetentionRule},
    console::{self, Console, Terms},
    domain::{
        document::Limits,
        retention::{Rule, Rules},
        retry::Backoff,
    },
    edge::{
        https::{self, Security},
        server::{self, ServeError},
        tiles::{Entries, LogDoor},
        tls::Acceptor,
        witness::WitnessDoor,
    },
    hub::{
        Hub, LogIdentity, Settings, StartError, clock::Clock, operate, retention::Policy,
        sign_in::ConsolePlace,
    },
    proto::{ErasedScope, Operation},
    store::{
        Store,
        embedded::{Embedded, EmbeddedOptions, Opened, index::Engine},
        payload::{Payload, PayloadOptions},
    },
    telemetry,
    tlog::note::Signer,
};

const DAMAGED: &str =
    "`truc fsck` names what is damaged; `truc rebuild` makes the index again from the journal.";
/// Descriptors beside those of connections: journal, bodies, index.
const OWN_FILES: u64 = 1024;
/// Of the time for stopping, a quarter is the writer's: calls that never end may not take it.
const WRITERS_PART: u32 = 4;
/// A hub that failed has nothing to finish; it is needed again.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A key file is not longer.
const MAX_KEY_FILE: u64 = 16 * 1024;

/// Runs the hub until SIGTERM or SIGINT. SIGHUP reads certificates and revocation lists again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file; `truc config default` prints a sample.
    #[arg(long, env = "TRUC_CONFIG", default_value = "truc.toml")]
    config: PathBuf,
}

/// Printed once the port is open.
#[derive(Serialize)]
struct Ready {
    listening: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_listening: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    console_listening: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witness_listening: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    monitor_listening: Option<String>,
    origin: String,
    leaves: u64,
    replayed_commits: u64,
    rebuilt: Option<String>,
}

impl Args {
    /// Runs until told to stop.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        config.check()?;
        telemetry::init(&config.logging).map_err(|error| Failure::new(Exit::Usage, error))?;

        keep_pages_small();
        raise_file_limit(connections(&config));
        let acceptor = Acceptor::new(config.tls.source(), config.tls.limits())?;
        let (hub, opened) = build(&config, &self.config, Clock::system()).await?;

        let (listener, address) = bind(config.listen.address, "listen.address").await?;
        let log_door = bind_where(config.log_http.address, "log_http.address").await?;
        let monitor_door = bind_where(config.monitor.address, "monitor.address").await?;
        let console_door = bind_where(config.console.address, "console.address").await?;
        let mut witness = open_witness(&config, &hub)?;
        let witness_address = config.witness.address.filter(|_| witness.is_some());
        let witness_door = bind_where(witness_address, "witness.address").await?;
        let told = |door: &Option<(TcpListener, SocketAddr)>| Some(door.as_ref()?.1.to_string());
        let ready = Ready {
            listening: address.to_string(),
            log_listening: told(&log_door),
            console_listening: told(&console_door),
            witness_listening: told(&witness_door),
            monitor_listening: told(&monitor_door),
            origin: config.origin.clone(),
            leaves: opened.leaves,
            replayed_commits: opened.replayed,
            rebuilt: opened.rebuilt,
        };

        let (stop, hurry, watched): (CancellationToken, CancellationToken, CancellationToken) =
            Default::default();
        tokio::spawn(Arc::clone(&acceptor).watch(stop.clone()));
        tokio::spawn(signals(Arc::clone(&acceptor), stop.clone(), hurry.clone()));
        if let Some((listener, _)) = witness_door
            && let Some(witness) = witness.take()
        {
            let (security, most) = (security(&config, &acceptor), config.log_http.max_connections);
            hub.spawn(https::serve(listener, security, most, Arc::new(witness), stop.clone()));
        }
        if let Some((listener, _)) = log_door {
            hub.spawn(serve_log(listener, &config, &hub, &acceptor, witness, stop.clone()));
        }
        if let Some((listener, address)) = console_door {
            serve_console(listener, address, &config, &hub, &acceptor, stop.clone());
        }
        ask_witnesses(&config, &hub)?;
        monitoring::watch(&config, &hub, &acceptor, monitor_door.map(|(listener, _)| listener), &watched);
        monitoring::follow_documents(&config, &hub, &watched)?;
        tell_ready(output, &ready);

        let bounds = config.limits.bounds();
        let serve = server::serve_with(Arc::clone(&hub), acceptor, listener, stop.clone(), &bounds);
        let end = End { stop, hurry, within: config.limits.drain };
        let served = end.drain(serve).await;
        // Until here it told that the hub stops.
        watched.cancel();
        let patience = if served.is_ok() { end.within / WRITERS_PART } else { LAST_WORDS };
        end.finish(&hub, patience).await;
        served
    }
}

/// Connections of all doors.
fn connections(config: &Config) -> usize {
    let of = |address: Option<SocketAddr>, most: usize| address.map_or(0, |_| most);
    let log = of(config.log_http.address, config.log_http.max_connections);
    let monitor = of(config.monitor.address, config.monitor.max_connections);
    let console = of(config.console.address, config.console.max_connections);
    let witness = of(config.witness.address, config.log_http.max_connections);
    [log, monitor, console, witness].into_iter().fold(config.tls.max_connections, usize::saturating_add)
}

async fn bind_where(
    address: Option<SocketAddr>,
    key: &str,
) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    match address {
        Some(address) => bind(address, key).await.map(Some),
        None => Ok(None),
    }
}

async fn bind(address: SocketAddr, key: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error| {
        Failure::new(Exit::File, format!("can't listen on {address}: {error}"))
            .with_help(format!("Choose another {key}, or end what uses this port."))
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The log's door for independent tools.
fn serve_log(
    listener: TcpListener,
    config: &Config,
    hub: &Arc<Hub>,
    acceptor: &Arc<Acceptor>,
    witness: Option<WitnessDoor>,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let log_http = &config.log_http;
    let security = security(config, acceptor);
    let entries = if log_http.entries { Entries::Served } else { Entries::Withheld };
    let mut door = LogDoor::new(Arc::clone(hub), entries);
    if let Some(witness) = witness {
        door = door.with_witness(witness);
    }
    https::serve(listener, security, log_http.max_connections, Arc::new(door), stop)
}

fn security(config: &Config, acceptor: &Arc<Acceptor>) -> Security {
    if config.log_http.plain { Security::Plain } else { Security::Tls(Arc::clone(acceptor)) }
}

/// The RFC 8032 seed in a PKCS#8 file.
pub fn read_seed(path: &Path) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let pem = Zeroizing::new(files::read_text(path, MAX_KEY_FILE)?);
    let key =
        ed25519_dalek::SigningKey::from_pkcs8_pem(&pem).map_err(|error| Failure::new(Exit::File, error))?;
    Ok(Zeroizing::new(key.to_bytes()))
}

/// The web console.
fn serve_console(
    listener: TcpListener,
    address: SocketAddr,
    config: &Config,
    hub: &Arc<Hub>,
    acceptor: &Arc<Acceptor>,
    stop: CancellationToken,
) {
    let console = &config.console;
    hub.open_console(ConsolePlace { url: console.url.clone(), port: address.port() });
    let terms = Terms { idle_us: us(console.session_idle), life_us: us(console.session_life) };
    let door = Arc::new(Console::new(Arc::clone(hub), Arc::clone(acceptor), terms));
    let security = Security::Asking(Arc::clone(acceptor));
    hub.spawn(console::keep_live(Arc::clone(&door), stop.clone()));
    hub.spawn(https::serve(listener, security, console.max_connections, door, stop));
}

/// Pages of 2 MiB would be resident as a whole for the first byte of every large buffer, and a third more for every idle
/// session.
fn keep_pages_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on: more memory is resident than is used");
    }
}

/// Each connection needs a descriptor; what the system allows by default is often too few.
fn raise_file_limit(connections: usize) {
    let wanted = OWN_FILES.saturating_add(connections as u64);
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => {
            tracing::warn!(got, wanted, "the system allows fewer open files than tls.max_connections needs");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, wanted, "the limit of open files can't be raised"),
    }
}

/// What the start had to do, for the ready line.
#[derive(Debug)]
pub struct Started {
    leaves: u64,
    replayed: u64,
    rebuilt: Option<String>,
}

/// The hub of a configuration, with all that it does by itself, before any door is open. An index that fails on the way is
/// made again, once.
pub async fn build(config: &Config, file: &Path, clock: Clock) -> Result<(Arc<Hub>, Started), Failure> {
    let (hub, started) = match begin(config, file, clock.clone()).await? {
        Begun::Ready(hub, started) => (hub, started),
        Begun::IndexFailed(failure) => {
            tracing::warn!(error = %failure.message, "starting again: the index is made again from the journal");
            match begin(config, file, clock).await? {
                Begun::Ready(hub, started) => (hub, started),
                Begun::IndexFailed(failure) => return Err(failure),
            }
        }
    };
    let (follower, history) = (Arc::clone(&hub), store_options(config).history_dir());
    let following = tokio::task::spawn_blocking(move || follower.follow(&history)).await;
    let following = following.map_err(|error| Failure::new(Exit::File, error))?;
    following.map_err(|error| Failure::new(Exit::File, error).with_help(DAMAGED))?;
    hub.keep_days();
    hub.retain(retention(config));
    hub.scrub_at(config.scrub.rate);
    hub.count_flows().map_err(|error| Failure::new(Exit::File, error))?;
    Ok((hub, started))
}

/// What came of opening the store and starting a hub on it.
enum Begun {
    Ready(Arc<Hub>, Started),
    /// The store is closed again; its next opening makes the index.
    IndexFailed(Failure),
}

async fn begin(config: &Config, file: &Path, clock: Clock) -> Result<Begun, Failure> {
    let log = log_identity(config)?;
    let other_log = format!(
        "The data folder belongs to another log: `origin` in {} or the key {} is not the one that it was made with.",
        file.display(),
        config.log.key.display()
    );
    let settings = settings(config)?;
    let config = config.clone();
    let opened = tokio::task::spawn_blocking(move || open_store(&config)).await;
    let (payload, opened) = opened.map_err(|error| Failure::new(Exit::File, error))??;
    if opened.torn_bytes > 0 {
        tracing::info!(bytes = opened.torn_bytes, "an unfinished write was cut; nobody was told of it");
    }
    let store: Arc<dyn Store> = Arc::new(opened.store);
    let hub = match Hub::start(Arc::clone(&store), payload, log, settings, clock) {
        Ok(hub) => hub,
        Err(error @ StartError::Store(_)) if store.health().is_err() => {
            return Ok(Begun::IndexFailed(Failure::new(Exit::File, error).with_help(DAMAGED)));
        }
        Err(error @ StartError::Store(_)) => return Err(Failure::new(Exit::File, error).with_help(DAMAGED)),
        Err(error @ StartError::KeyWasChanged { .. }) => {
            return Err(Failure::new(Exit::File, error).with_help(
                "a change of the key was interrupted, or log.key is an old one: run `truc log rotate`, which finishes it, or \
                 put the newest key there",
            ));
        }
        Err(error @ StartError::ForeignLog(_)) => {
            return Err(Failure::new(Exit::File, error).with_help(other_log));
        }
        Err(other) => return Err(Failure::new(Exit::File, other)),
    };
    let started = Started { leaves: hub.size(), replayed: opened.replayed, rebuilt: opened.rebuilt };
    Ok(Begun::Ready(hub, started))
}

/// Opens bodies and store of a configuration.
pub fn open_store(config: &Config) -> Result<(Arc<Payload>, Opened), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::File, format!("can't open {}: {error}", config.data_dir.display()))
            .with_help(DAMAGED)
    };
    let bodies =
        PayloadOptions { max_body_bytes: config.submission.max_attachment, ..PayloadOptions::default() };
    std::fs::create_dir_all(&config.data_dir).map_err(|error| failed(&error))?;
    let payload = Payload::open(&config.data_dir.join("bodies"), bodies).map_err(|error| failed(&error))?;
    let payload = Arc::new(payload);
    let opened = Embedded::open(&store_options(config), Arc::clone(&payload), &mut |leaves| {
        tracing::info!(leaves, "reading the journal");
    });
    Ok((payload, opened.map_err(|error| failed(&error))?))
}

/// How the store of a configuration is laid out.
pub fn store_options(config: &Config) -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: config.store.segment_size,
        engine: match config.store.index {
            IndexEngine::Fjall => Engine::Fjall,
            IndexEngine::Sled => Engine::Sled,
        },
        max_index_lag: config.store.index_lag,
        ..EmbeddedOptions::new(&config.data_dir)
    }
}

/// The log's name and key.
pub fn log_identity(config: &Config) -> Result<LogIdentity, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::File, format!("the log key {}: {error}", config.log.key.display())).with_help(
            "`truc pki init` makes one, and `truc log rotate` changes it: never replace it by hand.",
        )
    };
    let seed = read_seed(&config.log.key).map_err(|error| bad(&error))?;
    let signer = Signer::from_seed(&config.origin, &seed).map_err(|error| bad(&error))?;
    Ok(LogIdentity { origin: config.origin.clone(), signer })
}

fn settings(config: &Config) -> Result<Settings, Failure> {
    let (submission, delivery) = (&config.submission, &config.delivery);
    let backoff = Backoff::new(us(delivery.retry_first), us(delivery.retry_max), 2)
        .map_err(|reason| Failure::new(Exit::Usage, format!("[delivery] {reason}")))?;
    Ok(Settings {
        limits: Limits {
            max_manifest_bytes: usize::try_from(submission.max_manifest).unwrap_or(usize::MAX),
            max_recipients: submission.max_recipients as usize,
            max_part_bytes: submission.max_attachment,
            clock_skew_us: us(submission.clock_skew),
            default_deadline_us: us(submission.default_deadline),
            ..Limits::default()
        },
        max_inline_bytes: submission.max_inline,
        upload_retention_us: us(submission.upload_retention),
        lease_us: us(delivery.lease),
        backoff,
        max_credit: delivery.session_max_credit,
        max_waiting_requests: config.store.batch_max * 4,
        max_batch_leaves: config.store.batch_max,
        recent_bytes: usize::try_from(config.store.recent).unwrap_or(usize::MAX),
        operator: operate::Rules {
            four_eyes_above: config.operator.four_eyes_above,
            undo_window_us: us(config.operator.undo_window),
            approval_window_us: us(config.operator.approval_window),
            actions_per_minute: config.operator.actions_per_minute,
        },
    })
}

fn retention(config: &Config) -> Policy {
    let retention = &config.retention;
    let operation = |one: &RetentionOperation| match one {
        RetentionOperation::New => Operation::New,
        RetentionOperation::Recall => Operation::Recall,
        RetentionOperation::Update => Operation::Update,
        RetentionOperation::Replacement => Operation::Replacement,
    };
    let rule = |rule: &RetentionRule| Rule {
        name: rule.name.clone(),
        type_names: rule.types.clone(),
        urgencies: rule.urgencies.clone(),
        operations: rule.operations.iter().map(operation).collect(),
        after_us: us(rule.after),
        scope: match rule.bodies {
            RetainedBodies::Attachments => ErasedScope::Attachments,
            RetainedBodies::All => ErasedScope::All,
        },
    };
    Policy {
        rules: Rules::new(retention.rules.iter().map(rule).collect()),
        every: retention.every,
        documents_per_second: retention.documents_per_second,
        bytes_per_second: retention.rate,
    }
}

fn us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn tell_ready(output: &Output, ready: &Ready) {
    output.print(ready, |ready| {
        let rebuilt =
            ready.rebuilt.as_ref().map(|why| format!(" (index made again: {why})")).unwrap_or_default();
        let log = ready.log_listening.as_ref().map(|at| format!(" (the log for everyone on {at})"));
        let console = ready.console_listening.as_ref().map(|at| format!(" (the web console on {at})"));
        let log = log.unwrap_or_default() + &console.unwrap_or_default();
        format!("{} listens on {}{log}, {} leaves{rebuilt}", ready.origin, ready.listening, ready.leaves)
    });
}

/// Cancels `stop` on SIGTERM or SIGINT, and `hurry` on a second one; reloads certificates on SIGHUP. Signals are received
/// from the call on, not from the first poll: a hub that says that it is ready can be told to stop.
fn signals(
    acceptor: Arc<Acceptor>,
    stop: CancellationToken,
    hurry: CancellationToken,
) -> impl Future<Output = ()> + Send {
    let open = tokio::signal::unix::signal;
    let opened = (open(SignalKind::terminate()), open(SignalKind::interrupt()), open(SignalKind::hangup()));
    async move {
        let (Ok(mut term), Ok(mut int), Ok(mut hup)) = opened else {
            tracing::error!("signals can't be received; end the process to stop the hub");
            return;
        };
        while !hurry.is_cancelled() {
            tokio::select! {
                _ = term.recv() => stop_or_hurry(&stop, &hurry),
                _ = int.recv() => stop_or_hurry(&stop, &hurry),
                _ = hup.recv() => match acceptor.reload() {
                    Ok(cut) => tracing::info!(connections_cut = cut, "certificates read again"),
                    Err(error) => tracing::error!(%error, "certificates not read again, the old ones stay"),
                },
            }
        }
    }
}

fn stop_or_hurry(stop: &CancellationToken, hurry: &CancellationToken) {
    if stop.is_cancelled() {
        tracing::warn!("told to stop again: running calls are cut");
        hurry.cancel();
    }
    stop.cancel();
}

/// How the hub ends.
struct End {
    stop: CancellationToken,
    /// Cuts what still runs.
    hurry: CancellationToken,
    /// Time for all of it.
    within: Duration,
}

impl End {
    /// Serves; once stopping, running calls have most of the time.
    async fn drain(&self, serve: impl Future<Output = Result<(), ServeError>>) -> Result<(), Failure> {
        let too_late = async {
            self.stop.cancelled().await;
            self.after(self.within - self.within / WRITERS_PART).await;
        };
        let served = tokio::select! {
            served = serve => served.map_err(|error| Failure::new(Exit::File, error)),
            () = too_late => {
                tracing::warn!("some calls did not finish in time and were ended");
                Ok(())
            }
        };
        self.stop.cancel();
        served
    }

    /// Lets the commits that wait become durable, and ends the writer.
    async fn finish(&self, hub: &Hub, patience: Duration) {
        tokio::select! {
            () = hub.stop() => {}
            () = self.after(patience) => {
                tracing::warn!("some work did not end in time; nothing that was acknowledged is lost");
            }
        }
    }

    async fn after(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.hurry.cancelled() => {}
        }
    }
}
