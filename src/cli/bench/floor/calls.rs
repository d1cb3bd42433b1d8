//! What messages and calls cost over mutual TLS, and how many documents the bare service takes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{process::Command, task::JoinSet};
use tonic::Status;

use super::{bare, certificates, connect, cpu_us};
use crate::{
    cli::{
        Exit, Failure,
        bench::{letter::Letters, options::Load, world::Seat},
        hub_process::{START, ready},
        keygen,
    },
    client::{Client, Terms},
    domain::signature::Algorithm,
    proto::{GetCapabilitiesResponse, SubmitRequest},
    tlog::note::Signer,
};

/// How long each is measured, after as long a start.
const SPAN: Duration = Duration::from_millis(700);
/// How long the bare service is measured.
const LOAD: Duration = Duration::from_secs(3);

/// Costs of messages and calls.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Calls {
    /// CPU time of both sides for one message of a two-way stream: the mean of a document up and a receipt down.
    pub stream_message_us: f64,
    /// CPU time of both sides for one call with a document, whose answer is empty.
    pub unary_call_us: f64,
    /// Documents a second of a service that verifies one signature and makes the bytes durable.
    pub bare_per_second: f64,
}

/// Measures in a process of its own.
pub async fn measure(folder: &Path, load: &Load) -> Result<Calls, Failure> {
    let file = |error: std::io::Error| Failure::new(Exit::File, error);
    let certs = certificates(folder)?;
    let (seat, public) = seat(&certs)?;
    std::fs::rename(public, certs.join(bare::KEY)).map_err(file)?;
    let mut command = Command::new(std::env::current_exe().map_err(file)?);
    command.args(["bench", "--bare-service"]).arg(&certs);
    let (child, line) = ready(&mut command, START).await?;
    let pid = child.id().unwrap_or_default();
    let port = line.trim().parse().map_err(|_| Failure::new(Exit::File, "the bare service did not start"))?;
    let client = connect(&certs, port).await?;

    let load = Load { fan_out: 1, ..load.clone() };
    let letters = Letters::new(&load, &terms()?, Arc::from(["Z91.0".to_owned()]), "floor".into());
    let work =
        Arc::new(Work { client, letters, seat, done: AtomicU64::new(0), stop: AtomicBool::new(false) });
    let failed = |status: Status| Failure::from(crate::client::ClientError::from(status));
    let stream = work.cost_us(pid, echo(Arc::clone(&work), load.in_flight)).await.map_err(failed)?;
    let call = work.cost_us(pid, validate(Arc::clone(&work), load.in_flight)).await.map_err(failed)?;
    let bare = work.speed(submit(Arc::clone(&work), load.in_flight)).await.map_err(failed)?;
    drop(child);
    Ok(Calls { stream_message_us: stream / 2.0, unary_call_us: call, bare_per_second: bare })
}

/// An agency of its own, and where its public key lies.
fn seat(certs: &Path) -> Result<(Seat, std::path::PathBuf), Failure> {
    let made = keygen::generate(&certs.join("floor-signer.key"), Algorithm::Ed25519)?;
    Ok((Seat { agency: "Z90.0".into(), key: keygen::read_signing_key(&made.key)? }, made.public_key))
}

/// Of no hub.
fn terms() -> Result<Terms, Failure> {
    let signer = Signer::from_seed("bare.truc.example/log", &[1; 32]);
    let verifier = signer.map_err(|error| Failure::new(Exit::File, error))?.verifier();
    let announced =
        GetCapabilitiesResponse { origin: verifier.name().into(), ..GetCapabilitiesResponse::default() };
    Ok(Terms::new(announced, &verifier)?)
}

struct Work {
    client: Client,
    letters: Letters,
    seat: Seat,
    done: AtomicU64,
    stop: AtomicBool,
}

impl Work {
    /// CPU time of both processes for one piece of work.
    async fn cost_us(&self, pid: u32, work: impl Future<Output = Result<(), Status>>) -> Result<f64, Status> {
        let measured = async {
            tokio::time::sleep(SPAN).await;
            let before = (cpu_us(pid), self.done.load(Relaxed));
            tokio::time::sleep(SPAN).await;
            let after = (cpu_us(pid), self.done.load(Relaxed));
            self.stop.store(true, Relaxed);
            (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64
        };
        self.until_measured(measured, work).await
    }

    /// Pieces of work a second.
    async fn speed(&self, work: impl Future<Output = Result<(), Status>>) -> Result<f64, Status> {
        let measured = async {
            tokio::time::sleep(SPAN).await;
            let (before, since) = (self.done.load(Relaxed), Instant::now());
            tokio::time::sleep(LOAD).await;
            let speed = (self.done.load(Relaxed) - before) as f64 / since.elapsed().as_secs_f64();
            self.stop.store(true, Relaxed);
            speed
        };
        self.until_measured(measured, work).await
    }

    async fn until_measured(
        &self,
        measured: impl Future<Output = f64>,
        work: impl Future<Output = Result<(), Status>>,
    ) -> Result<f64, Status> {
        self.stop.store(false, Relaxed);
        let (measured, worked) = tokio::join!(measured, work);
        worked.map(|()| measured)
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn write(&self, serial: u64) -> SubmitRequest {
        self.letters.write(&self.seat, serial).request
    }
}

/// Messages up and down one stream, so many on their way at a time. What is sent is the same each time.
async fn echo(work: Arc<Work>, in_flight: usize) -> Result<(), Status> {
    let request = work.write(0);
    let (requests, mut answers) = work.client.submit_stream(in_flight).await?;
    for tag in 0..in_flight as u64 {
        requests.send(tag, request.clone()).await;
    }
    while work.goes_on() {
        let broken = || Status::unavailable("the stream ended");
        let (tag, _) = answers.next().await.map_err(|_| broken())?.ok_or_else(broken)?;
        work.done.fetch_add(1, Relaxed);
        requests.send(tag, request.clone()).await;
    }
    Ok(())
}

async fn validate(work: Arc<Work>, in_flight: usize) -> Result<(), Status> {
    let request = work.write(0);
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (work, request) = (Arc::clone(&work), request.clone());
        tasks.spawn(async move {
            let mut service = work.client.submission();
            while work.goes_on() {
                service.validate(request.clone()).await?;
                work.done.fetch_add(1, Relaxed);
            }
            Ok(())
        });
    }
    all(tasks).await
}

/// Documents that are signed one by one, as the load does it.
async fn submit(work: Arc<Work>, in_flight: usize) -> Result<(), Status> {
    let serial = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (work, serial) = (Arc::clone(&work), Arc::clone(&serial));
        tasks.spawn(async move {
            let mut service = work.client.submission();
            while work.goes_on() {
                service.submit(work.write(serial.fetch_add(1, Relaxed))).await?;
                work.done.fetch_add(1, Relaxed);
            }
            Ok(())
        });
    }
    all(tasks).await
}

async fn all(mut tasks: JoinSet<Result<(), Status>>) -> Result<(), Status> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| Status::internal(error.to_string()))??;
    }
    Ok(())
}
