//! `truc fsck`: reads a whole data folder while no hub uses it, and names all damage.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use serde::Serialize;

use super::{
    Exit, Failure, Output, files,
    serve::{log_identity, store_options},
};
use crate::{
    config::Config,
    store::{
        StoreError,
        embedded::{
            EmbeddedOptions,
            check::{self, Counts, Finding, Severity, Stage},
        },
        payload::{Payload, PayloadOptions},
    },
    tlog::note::Verifier,
};

/// Findings that are kept for the answer; more are only counted.
const MAX_LISTED: usize = 10_000;
/// A file with a verifier key is not longer.
const MAX_KEY_FILE: u64 = 4 * 1024;

/// Checks journal, bodies, signatures of the log and index of a hub that does not run.
///
/// Every damage is named: segment and frame, leaf, document and sender, body. `loss` means that something
/// acknowledged is damaged; `rebuildable` means that the next start, or `truc rebuild`, makes it good; `left` means that contents which the log
/// says are erased are still there.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    folder: Folder,
    /// The log's public key (or a file with it) when there is no configuration. Without it, the
    /// checkpoints are compared with the tree, but their signatures are not checked.
    #[arg(long, value_name = "VKEY")]
    log_key: Option<String>,
    /// First remove contents that the log says are erased, where they are there again, as after a copy was put back.
    #[arg(long)]
    remove_erased: bool,
}

/// Which data folder a command works on.
#[derive(Debug, clap::Args)]
pub struct Folder {
    /// The hub's configuration, which names folder and log key.
    #[arg(long, env = "TRUC_CONFIG", default_value = "truc.toml")]
    config: PathBuf,
    /// The data folder itself, instead of the configuration.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Checked {
    ok: bool,
    frames: u64,
    leaves: u64,
    documents: u64,
    bodies: u64,
    /// Documents whose contents a retention rule erased: nobody looks for them.
    erased: u64,
    /// Erasures among them whose bytes the next start of the hub goes on removing.
    removing: u64,
    /// False when no key was given.
    signatures_checked: bool,
    findings: Vec<Listed>,
    /// Findings that are not listed.
    more_findings: u64,
}

#[derive(Debug, Serialize)]
struct Listed {
    severity: &'static str,
    what: &'static str,
    r#where: String,
    detail: String,
}

impl Args {
    /// Runs the check; findings end the process with code 1.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let config = self.folder.load()?;
        let verifier = self.verifier(config.as_ref())?;
        let (options, payload) = self.folder.open(config.as_ref())?;
        if self.remove_erased {
            check::remove_erased(&options, &payload).map_err(|error| unusable(&options.dir, &error))?;
        }
        let bar = bar();
        let mut findings = Findings {
            json: output.json(),
            bar: &bar,
            output,
            listed: Vec::new(),
            more: 0,
            losses: 0,
            left: 0,
        };
        let counts = check::check(
            &options,
            &payload,
            verifier.as_ref(),
            &mut |stage, counts| show(&bar, stage, counts),
            &mut |finding| findings.take(finding),
        );
        bar.finish_and_clear();
        findings.answer(counts.map_err(|error| unusable(&options.dir, &error))?, verifier.is_some())
    }

    fn verifier(&self, config: Option<&Config>) -> Result<Option<Verifier>, Failure> {
        if let Some(config) = config.filter(|_| self.log_key.is_none()) {
            return Ok(Some(log_identity(config)?.verifier()));
        }
        let Some(key) = &self.log_key else { return Ok(None) };
        let path = Path::new(key);
        let text = if path.exists() { files::read_text(path, MAX_KEY_FILE)? } else { key.clone() };
        let parsed = Verifier::parse(text.trim());
        parsed.map(Some).map_err(|error| Failure::new(Exit::Usage, format!("--log-key: {error}")))
    }
}

impl Folder {
    /// The configuration, unless the folder was named directly.
    pub fn load(&self) -> Result<Option<Config>, Failure> {
        match self.data {
            Some(_) => Ok(None),
            None => Ok(Some(Config::load(&self.config)?)),
        }
    }

    /// Store options and bodies of the folder, which must exist.
    pub fn open(&self, config: Option<&Config>) -> Result<(EmbeddedOptions, Payload), Failure> {
        let dir = match (config, &self.data) {
            (Some(config), _) => &config.data_dir,
            (None, Some(data)) => data,
            (None, None) => return Err(Failure::new(Exit::Usage, "needs --config or --data")),
        };
        if !dir.join("journal").is_dir() {
            let message = format!("{} is no data folder: it holds no journal", dir.display());
            return Err(Failure::new(Exit::File, message));
        }
        let options = config.map_or_else(|| EmbeddedOptions::new(dir), store_options);
        let payload = Payload::open(&dir.join("bodies"), PayloadOptions::default());
        Ok((options, payload.map_err(|error| unusable(dir, &error))?))
    }
}

/// The folder is in use, or its disk failed.
pub fn unusable(dir: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let busy = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    let busy = busy.is_some_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy);
    let failure = Failure::new(Exit::File, format!("{}: {error}", dir.display()));
    match (busy, error.downcast_ref::<StoreError>()) {
        (true, _) => failure.with_help("A hub runs on this folder. Stop it first."),
        (_, Some(StoreError::Damaged(_))) => failure.with_help("`truc fsck` names all damage."),
        _ => failure,
    }
}

/// A progress line on standard error, if that is a terminal.
pub fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}

fn show(bar: &ProgressBar, stage: Stage, counts: &Counts) {
    bar.set_message(match stage {
        Stage::Journal => {
            format!("{} frames, {} documents, {} bodies", counts.frames, counts.documents, counts.bodies)
        }
        Stage::Index => "comparing the index".into(),
    });
}

/// Collects for JSON, and prints at once for people.
struct Findings<'a> {
    json: bool,
    bar: &'a ProgressBar,
    output: &'a Output,
    listed: Vec<Listed>,
    more: u64,
    losses: u64,
    left: u64,
}

impl Findings<'_> {
    fn take(&mut self, finding: Finding) {
        self.losses += u64::from(finding.severity == Severity::Loss);
        self.left += u64::from(finding.severity == Severity::Left);
        let Finding { severity, what, place, detail } = finding;
        if !self.json {
            let line = format!("{}: {} {place}: {detail}", severity.as_str(), what.as_str());
            self.bar.suspend(|| self.output.line(&line));
        }
        if self.listed.len() == MAX_LISTED {
            self.more += 1;
            return;
        }
        let (severity, what) = (severity.as_str(), what.as_str());
        self.listed.push(Listed { severity, what, r#where: place, detail });
    }

    fn answer(self, counts: Counts, signatures_checked: bool) -> Result<(), Failure> {
        let Counts { frames, leaves, documents, bodies, erased, removing } = counts;
        let found = self.listed.len() as u64 + self.more;
        let checked = Checked {
            ok: found == 0,
            frames,
            leaves,
            documents,
            bodies,
            erased,
            removing,
            signatures_checked,
            findings: self.listed,
            more_findings: self.more,
        };
        self.output.print(&checked, |_| {
            let unsigned = if signatures_checked { "" } else { "; signatures of the log were not checked" };
            format!("{frames} frames, {leaves} leaves, {documents} documents, {bodies} bodies{unsigned}")
        });
        if found == 0 {
            return Ok(());
        }
        let failure =
            Failure::new(Exit::Refused, format!("{found} findings, {} of them a loss", self.losses));
        Err(match self.losses {
            0 if self.left > 0 => failure.with_help(
                "Contents that were erased are still here, as after a copy was put back: `truc fsck --remove-erased` removes them.",
            ),
            0 => failure.with_help("Nothing acknowledged is touched: start the hub, or run `truc rebuild`."),
            _ => failure.with_help("Keep this folder as it is, and bring back what is named from a copy."),
        })
    }
}
