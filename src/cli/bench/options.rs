//! The flags.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{Exit, Failure},
    config::human::{parse_duration, parse_size},
};

/// Which hub.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Hub")]
pub struct Target {
    /// Address of a running hub, such as https://localhost:7443. Without it a hub of its own is started.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Folder of certificates as `truc pki init` makes it. Without --from, CA and operator must be in it, the CA with its key: then the load
    /// registers agencies, nodes and keys of its own, which is for hubs that are there to be measured.
    #[arg(long, value_name = "DIR", env = "TRUC_PKI")]
    pub pki: Option<PathBuf>,
    /// Which NAME of that folder sends and receives, with --from.
    #[arg(long = "as", id = "as", value_name = "NAME", env = "TRUC_AS")]
    pub name: Option<String>,
    /// CA of the hub's certificate (PEM), instead of the folder's.
    #[arg(long, value_name = "FILE", env = "TRUC_CA")]
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM), instead of the folder's.
    #[arg(long, value_name = "FILE", env = "TRUC_CERT")]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", env = "TRUC_CERT_KEY")]
    pub cert_key: Option<PathBuf>,
    /// An agency that is registered already: it sends, signing with --key, to --to. Nothing is registered then.
    #[arg(long, value_name = "AGENCY", requires_all = ["endpoint", "key", "to"])]
    pub from: Option<String>,
    /// Private key that signs for --from (PKCS#8 PEM).
    #[arg(long, value_name = "FILE", requires = "from")]
    pub key: Option<PathBuf>,
    /// Recipient of all documents.
    #[arg(long, value_name = "AGENCY", requires = "from")]
    pub to: Option<String>,
    /// Private key that signs its receipts. Without it nobody receives.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub to_key: Option<PathBuf>,
    /// Folder for the hub of its own; new or empty, and kept. Default: a temporary one, removed at the end.
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint")]
    pub data: Option<PathBuf>,
}

/// What load.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Load")]
pub struct Load {
    /// Sending agencies.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub senders: usize,
    /// Receiving agencies, which sign for what they get.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub recipients: usize,
    /// Bytes of each document's body.
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    pub size: usize,
    /// Bytes of each manifest, as far as its fields can be filled.
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    pub manifest_bytes: usize,
    /// Documents that wait for their acknowledgement at a time, all senders together.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub in_flight: usize,
    /// Documents that wait for the last of their handovers at a time. Default: four times --in-flight.
    #[arg(long, value_name = "N")]
    pub backlog: Option<usize>,
    /// How documents are handed in.
    #[arg(long, value_enum, default_value_t = Mode::Stream)]
    pub mode: Mode,
    /// Recipients of each document.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub fan_out: usize,
    /// How long it is measured.
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    pub duration: Duration,
    /// How long the load runs before that. Default: 1s, or 0s with --documents.
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub warm_up: Option<Duration>,
    /// Ends after so many documents instead of after a time.
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    pub documents: Option<u64>,
    /// Documents a second, whatever the hub does; latency then counts from the moment a document was due. Without it,
    /// each acknowledgement makes room for the next document.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Only hand in: nobody receives.
    #[arg(long)]
    pub no_receive: bool,
    /// Before the load, measures what the machine's parts cost without a hub, and a bare service beside it.
    #[arg(long)]
    pub floor: bool,
    /// In the second half of the time, circulars to so many agencies go out, one after the other.
    #[arg(long, value_name = "N")]
    pub circular: Option<usize>,
    /// After the load, asks so many questions of each group as an auditor: one document, a page of 100 rows, a proof of
    /// inclusion, a count; and tells how long each took. Subjects and urgencies of the documents then differ.
    #[arg(long, value_name = "N")]
    pub questions: Option<u64>,
    /// With --waiting, looks so often at everything that operators look at, before the hub is killed: each command and
    /// each page of the web console; and tells how long each took.
    #[arg(long, value_name = "N", requires = "waiting")]
    pub looks: Option<usize>,
    /// Of so many receipts one is verified to the last signature and hash; the others by what they say and by their
    /// checkpoint.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub sample: u64,
}

/// How documents are handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A call for each.
    Unary,
    /// Many in one call.
    Stream,
}

/// Something else than a load of documents.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Instead of a load")]
#[group(multiple = false)]
pub struct Other {
    /// Opens so many sessions in which nothing happens, and tells what each costs the hub in memory.
    #[arg(long, value_name = "N")]
    pub idle_sessions: Option<usize>,
    /// Uploads one attachment of this size.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub attachment: Option<u64>,
    /// Queues so many deliveries, kills the hub with kill -9, starts it again, and rebuilds its index.
    #[arg(long, value_name = "N", conflicts_with = "endpoint")]
    pub waiting: Option<u64>,
    /// Becomes the bare service of --floor, with the certificates of this folder.
    #[arg(long, hide = true, value_name = "DIR")]
    pub bare_service: Option<PathBuf>,
}

impl Target {
    /// Fits the load to what the flags leave open.
    pub fn fit(&self, load: Load) -> Load {
        match (&self.from, &self.to_key) {
            (Some(_), None) => Load { senders: 1, recipients: 1, no_receive: true, ..load },
            (Some(_), Some(_)) => Load { senders: 1, recipients: 1, ..load },
            (None, _) => load,
        }
    }
}

impl Load {
    /// Refuses what makes no load.
    pub fn check(&self) -> Result<(), Failure> {
        let usage = |problem: &str| Err(Failure::new(Exit::Usage, problem));
        if self.senders == 0 || self.recipients == 0 || self.fan_out == 0 || self.in_flight == 0 {
            return usage("--senders, --recipients, --fan-out and --in-flight are at least 1");
        }
        if self.fan_out > self.recipients {
            return usage("--fan-out is at most --recipients");
        }
        if self.circular == Some(0) {
            return usage("--circular is at least 1");
        }
        if self.rate.is_some_and(|rate| !(0.001..=1e7).contains(&rate)) {
            return usage("--rate is more than 0 and at most 10000000");
        }
        Ok(())
    }

    /// How long the load runs before it is measured.
    pub fn warm_up(&self) -> Duration {
        let usual = if self.documents.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
        self.warm_up.unwrap_or(usual)
    }

    /// Documents on their way from end to end.
    pub fn backlog(&self) -> usize {
        self.backlog.unwrap_or(self.in_flight.saturating_mul(4)).max(1)
    }
}
