//! The parts that need no network.

use std::{
    path::Path,
    sync::Barrier,
    time::{Duration, Instant},
};

use ed25519_dalek::{Signer, SigningKey};
use serde::Serialize;

use crate::{
    cli::{
        Exit, Failure,
        bench::{machine::disk_sync_ms, options::Load},
    },
    domain::{
        envelope::{MANIFEST, pae},
        id::Digest,
    },
};

/// How long each part is measured.
const SPAN: Duration = Duration::from_millis(400);
/// Size from which on a hash's begin and end cost nothing.
const LARGE: usize = 8 << 20;

/// What one does, alone and with all cores at the same work.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// One thread, the others idle.
    pub one_thread: f64,
    /// Each of as many threads as there are cores.
    pub all_cores: f64,
}

/// Costs of the parts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Parts {
    /// Ed25519 signature over an envelope.
    pub sign_us: Cost,
    /// ed25519-dalek's `verify_strict` of it.
    pub verify_strict_us: Cost,
    /// SHA-256 of manifest and body.
    pub hash_us: Cost,
    /// SHA-256 of large bodies, of each thread.
    pub sha256_mb_per_second: Cost,
    /// A sync after 4 KiB at the end of a file.
    pub sync_ms: f64,
}

/// Measures them for documents of these sizes.
pub fn measure(load: &Load, cores: usize, folder: &Path) -> Result<Parts, Failure> {
    let mut seed = [0; 32];
    // Any key does.
    let _ = getrandom::fill(&mut seed);
    let key = SigningKey::from_bytes(&seed);
    let message = pae(MANIFEST, &vec![b'n'; load.manifest_bytes]);
    let signature = key.sign(&message);
    let public = key.verifying_key();
    let document = vec![b'n'; load.manifest_bytes + load.size];
    let each =
        |work: &(dyn Fn() + Sync)| Cost { one_thread: cost_us(1, work), all_cores: cost_us(cores, work) };
    Ok(Parts {
        sign_us: each(&|| {
            std::hint::black_box(key.sign(&message));
        }),
        verify_strict_us: each(&|| {
            let verdict = public.verify_strict(&message, &signature);
            drop(std::hint::black_box(verdict));
        }),
        hash_us: each(&|| {
            std::hint::black_box(Digest::of(&document));
        }),
        sha256_mb_per_second: Cost {
            one_thread: sha256_mb_per_second(1),
            all_cores: sha256_mb_per_second(cores),
        },
        sync_ms: disk_sync_ms(folder).map_err(|error| Failure::new(Exit::File, error))?,
    })
}

/// Speed of SHA-256 on large bodies, of each of so many threads that do it at the same time.
pub fn sha256_mb_per_second(threads: usize) -> f64 {
    let large = vec![b'n'; LARGE];
    let us = cost_us(threads, &|| {
        std::hint::black_box(Digest::of(&large));
    });
    LARGE as f64 / us
}

/// Microseconds of CPU time that a thread needs for one piece of work while `threads` of them do it. CPU time, because
/// others may be at work on this machine too.
fn cost_us(threads: usize, work: &(dyn Fn() + Sync)) -> f64 {
    let start = Barrier::new(threads);
    let one = || {
        work();
        start.wait();
        let (since, before, mut done) = (Instant::now(), thread_cpu_us(), 0_u32);
        while since.elapsed() < SPAN {
            work();
            done += 1;
        }
        let wall_us = since.elapsed().as_secs_f64() * 1e6;
        let cpu_us = thread_cpu_us().zip(before).map(|(after, before)| after - before);
        cpu_us.filter(|us| *us > 0.0).unwrap_or(wall_us) / f64::from(done)
    };
    let sum: f64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(f64::NAN)).sum()
    });
    sum / threads as f64
}

/// CPU time of this thread so far.
fn thread_cpu_us() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1000.0)
}
