//! The floor under every hub on this machine: what its parts cost without a hub, and how fast a service is that only
//! verifies and makes durable. Measured in the same run as the load, because machines drift.

pub mod bare;
mod calls;
mod parts;

use std::path::PathBuf;

use serde::Serialize;

use super::{meter::Process, options::Load, site::Site};
use crate::{
    cli::{Failure, pki},
    client::{Client, ClientOptions},
};
use calls::Calls;
use parts::Parts;
pub use parts::sha256_mb_per_second;

/// Node whose certificate the measuring client shows.
const NODE: &str = "bench-floor";

/// What the parts cost, and what follows.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Floor {
    /// Sign, verify, hash, sync.
    #[serde(flatten)]
    parts: Parts,
    /// Calls and messages over mutual TLS.
    #[serde(flatten)]
    calls: Calls,
    /// Documents a second that two cores could carry if a hub did nothing but sign, verify, hash, and two messages:
    /// all cores ÷ (sign + verify_strict + 2 stream messages + hash), with the costs when all cores are busy.
    pub ceiling: f64,
    /// The same with the costs of one thread on an otherwise idle machine.
    pub ceiling_one_thread: f64,
}

impl Floor {
    /// Measures; `load` tells sizes and how much is in flight.
    pub async fn measure(site: &Site, load: &Load) -> Result<Self, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let folder = site.scratch()?;
        let parts = {
            let (load, folder) = (load.clone(), folder.path().to_owned());
            let measured = tokio::task::spawn_blocking(move || parts::measure(&load, cores, &folder)).await;
            measured.map_err(|error| Failure::new(crate::cli::Exit::File, error))??
        };
        let calls = calls::measure(folder.path(), load).await?;
        let ceiling = |at: fn(&parts::Cost) -> f64| {
            let document = at(&parts.sign_us) + at(&parts.verify_strict_us) + at(&parts.hash_us);
            cores as f64 * 1e6 / (document + 2.0 * calls.stream_message_us)
        };
        Ok(Self {
            parts,
            calls,
            ceiling: ceiling(|cost| cost.all_cores),
            ceiling_one_thread: ceiling(|cost| cost.one_thread),
        })
    }

    /// Documents a second of the bare service.
    pub fn bare(&self) -> f64 {
        self.calls.bare_per_second
    }

    /// For people.
    pub fn shown(&self) -> String {
        let (parts, calls) = (&self.parts, &self.calls);
        let cost = |cost: &parts::Cost| {
            format!("{:.1} µs, all cores busy {:.1} µs", cost.one_thread, cost.all_cores)
        };
        crate::cli::table::facts([
            ("sign", cost(&parts.sign_us)),
            ("verify_strict", cost(&parts.verify_strict_us)),
            ("SHA-256 of manifest and body", cost(&parts.hash_us)),
            ("SHA-256 of large bodies", format!("{:.0} MB/s", parts.sha256_mb_per_second.one_thread)),
            ("disk sync", format!("{:.3} ms", parts.sync_ms)),
            ("message of a stream", format!("{:.1} µs, both sides together", calls.stream_message_us)),
            ("unary call", format!("{:.1} µs, both sides together", calls.unary_call_us)),
            ("bare service", format!("{:.0} /s", calls.bare_per_second)),
            ("computed ceiling", format!("{:.0} /s", self.ceiling)),
        ])
    }
}

/// The bare service's own certificates.
fn certificates(folder: &std::path::Path) -> Result<PathBuf, Failure> {
    let certs = folder.join("floor-certs");
    pki::init(&certs, &pki::InitOptions::default())?;
    pki::issue(&certs, pki::Role::Node, NODE)?;
    Ok(certs)
}

async fn connect(certs: &std::path::Path, port: u16) -> Result<Client, Failure> {
    let paths = pki::Paths::of(certs, NODE);
    let options = ClientOptions {
        endpoint: format!("https://localhost:{port}"),
        ca: certs.join("ca.pem"),
        cert: paths.certificate,
        key: paths.key,
        domain: None,
    };
    Ok(Client::connect(&options).await?)
}

/// CPU time so far of this process and another, in microseconds.
fn cpu_us(other: u32) -> u64 {
    let read = |process: &str| Process::read(process).map_or(0, |process| process.cpu_us);
    read("self") + read(&other.to_string())
}
