//! `truc audit mirror`: a verified copy of a log, which says loudly when the log breaks its promise.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use super::trust;
use crate::{
    cli::{
        Exit, Failure, Output, files,
        verify::{not_proven, read_policy},
    },
    client::{
        ClientError,
        calendar::now,
        mirror::{Believed, Keep, Mirror, MirrorError, Step},
        site::{Site, SiteError},
    },
    config::human::parse_duration,
    tlog::policy::Policy,
    verify::{Trusted, log_keys::MAX_LOG_KEYS},
};

/// A long copy says how far it is after so many files.
const TELL_EVERY: u64 = 256;

/// Follows a log over HTTPS (C2SP tlog-tiles), verifies all of it, and keeps a copy that any web server can serve again.
///
/// Ends with 1 when history forks or goes back, or when a byte is not what was signed: DIR/fork-TIME then holds both
/// checkpoints and what else proves it. DIR itself stays at the last good checkpoint. It may be stopped at any moment
/// and goes on where it was. With --policy a head counts once enough witnesses cosigned it: until then it waits, and with
/// --once it ends with 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the copy.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Where the log is served.
    #[arg(long, env = "TRUC_LOG", default_value = "https://localhost:7444", value_name = "URL")]
    url: String,
    /// Verifier keys that are believed: a file with one on each line, or the key itself.
    #[arg(long, value_name = "FILE|TEXT", required_unless_present = "policy")]
    trust: Option<String>,
    /// Proofs of the changes of the log's key, as `truc log keys` writes them; else the site is asked for them.
    #[arg(long, value_name = "FILE")]
    log_keys: Option<PathBuf>,
    /// Which witnesses have to have cosigned, and how many (C2SP tlog-policy). Its logs are believed too.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// CAs of the site's certificate (PEM); for a public one the system's bundle, such as
    /// /etc/ssl/certs/ca-certificates.crt.
    #[arg(long, env = "TRUC_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Keep hashes only: for logs that do not serve their entries.
    #[arg(long)]
    hashes_only: bool,
    /// Look once, and end.
    #[arg(long)]
    once: bool,
    /// Pause between looks.
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    interval: Duration,
}

/// A line of the answer.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Fetching { done: u64, of: u64 },
    Grown { origin: &'a str, from: u64, size: u64, root: String, fetched: u64 },
    Unchanged { origin: &'a str, size: u64, root: String },
    Unreachable { problem: String },
    Waiting { problem: String },
    Fault { code: &'static str, fault: String, evidence: PathBuf },
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let site = Site::new(&self.url, self.ca.as_deref())?;
        let keep = if self.hashes_only { Keep::Hashes } else { Keep::Everything };
        let mut mirror = Mirror::open(site, &self.dir, self.believed()?, keep)?;
        let (mut first, mut reachable) = (true, true);
        loop {
            match look(&mut mirror, output).await {
                Ok(step) => {
                    if first || step.size > step.from {
                        tell(output, &grown(&step));
                    }
                    (first, reachable) = (false, true);
                }
                Err(MirrorError::Site(error)) if !self.once => {
                    if std::mem::take(&mut reachable) {
                        tell(output, &Line::Unreachable { problem: error.to_string() });
                    }
                }
                Err(error @ MirrorError::NotCosigned { .. }) if !self.once => {
                    if std::mem::take(&mut reachable) {
                        tell(output, &Line::Waiting { problem: error.to_string() });
                    }
                }
                Err(error) => return Err(failed(error, output)),
            }
            if self.once {
                return Ok(());
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}

impl Args {
    fn believed(&self) -> Result<Believed, Failure> {
        let policy = self.policy.as_deref().map(read_policy).transpose()?;
        let mut keys = self.trust.as_deref().map(trust::read).transpose()?.unwrap_or_default();
        keys.extend(policy.iter().flat_map(Policy::logs).cloned());
        let text = self.log_keys.as_deref().map(|path| files::read_text(path, MAX_LOG_KEYS as u64));
        let log_keys = text.transpose()?.unwrap_or_default();
        Trusted::new(&keys, &log_keys, None).map_err(not_proven)?;
        Ok(Believed { keys, log_keys, policy })
    }
}

async fn look(mirror: &mut Mirror, output: &Output) -> Result<Step, MirrorError> {
    let mut told = |done: u64, of: u64| {
        if done.is_multiple_of(TELL_EVERY) && done < of {
            tell(output, &Line::Fetching { done, of });
        }
    };
    mirror.advance(now(), &mut told).await
}

fn grown(step: &Step) -> Line<'_> {
    let (origin, size, root) = (&step.origin[..], step.size, hex::encode(step.root));
    if step.size == step.from {
        return Line::Unchanged { origin, size, root };
    }
    Line::Grown { origin, from: step.from, size, root, fetched: step.fetched }
}

fn tell(output: &Output, line: &Line<'_>) {
    output.print(line, |line| match line {
        Line::Fetching { done, of } => format!("{done} of {of} files"),
        Line::Grown { origin, from, size, root, .. } => {
            format!("{origin}: {size} leaves, {} new, all verified, root {root}", size - from)
        }
        Line::Unchanged { origin, size, root } => {
            format!("{origin}: {size} leaves, nothing new, root {root}")
        }
        Line::Unreachable { problem } | Line::Waiting { problem } => format!("{problem}; trying again"),
        Line::Fault { code, fault, evidence } => {
            format!("{code}: {fault}; evidence in {}", evidence.display())
        }
    });
}

fn failed(error: MirrorError, output: &Output) -> Failure {
    match error {
        MirrorError::Fault { fault, evidence } => {
            let line =
                Line::Fault { code: fault.code(), fault: fault.to_string(), evidence: evidence.clone() };
            tell(output, &line);
            Failure::new(Exit::Refused, format!("{}: {fault}", fault.code())).with_help(format!(
                "The evidence is in {}: keep it, tell the log's operator and other auditors, and trust nothing newer \
                 of this log.",
                evidence.display()
            ))
        }
        MirrorError::NotCosigned { .. } => Failure::new(Exit::Refused, error).with_help(
            "look again later; if it stays so, ask the log's operator about its witnesses: truc witnesses",
        ),
        MirrorError::Site(error) => error.into(),
        MirrorError::Folder(error) => match error {
            ClientError::File { .. } => Failure::new(Exit::File, error),
            other => other.into(),
        },
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        let (exit, help) = match error {
            SiteError::Address(_) => (Exit::Usage, "name the log's site with --url"),
            SiteError::NoCa => {
                (Exit::Usage, "name a file with --ca, such as the hub's ca.pem or the system's bundle")
            }
            SiteError::Ca { .. } => (Exit::File, "name a PEM file with certificates of CAs"),
            SiteError::Unreachable { .. } | SiteError::Status { .. } | SiteError::TooLarge { .. } => {
                (Exit::Unreachable, "look whether the hub runs with [log_http] and serves at --url")
            }
        };
        Self::new(exit, error).with_help(help)
    }
}
