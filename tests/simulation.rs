//! The hub's rules, writer, queues, sessions and watches in a simulated world: one thread, virtual time, one seed for
//! everything that happens. Messages are lost, repeated and overtaken; clients and hub crash; commits end unknown; the
//! clock jumps; agencies are suspended and keys revoked in mid-flight. A model judges each leaf and each answer.
//!
//! An ordinary run plays the same seeds each time; `TRUC_SEEDS=n` plays n that nobody played before, `TRUC_SEED=x` replays
//! one alone. A failure prints its seed and what led to it.
#![allow(clippy::unwrap_used)] // everything here is a test

mod common;

#[path = "simulation/acts.rs"]
mod acts;
#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/outcome.rs"]
mod outcome;
#[path = "simulation/process.rs"]
mod process;
#[path = "simulation/rules.rs"]
mod rules;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/said.rs"]
mod said;
#[path = "simulation/stage.rs"]
mod stage;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use run::Country;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;
/// Lines of the trace that a failure prints.
const SHOWN: usize = 120;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The trace of one seed; fails with it.
fn play(seed: u64, country: &Country) -> Vec<String> {
    let mut trace = Vec::new();
    let played = catch_unwind(AssertUnwindSafe(|| run::run(seed, country, &mut trace)));
    if let Err(panic) = played {
        let from = trace.len().saturating_sub(SHOWN);
        eprintln!("{}\nTRUC_SEED={seed}", trace[from..].join("\n"));
        std::panic::resume_unwind(panic);
    }
    trace
}

#[test]
fn every_history_makes_sense() {
    if let Some(seed) = number("TRUC_SEED") {
        play(seed, &Country::new());
        return;
    }
    let (first, seeds) = match number("TRUC_SEEDS") {
        Some(seeds) => (number("TRUC_FIRST_SEED").unwrap_or_else(|| getrandom::u64().unwrap() >> 16), seeds),
        None => (0, SEEDS),
    };
    println!("{seeds} seeds from {first}");
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let country = Country::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    play(seed, &country);
                }
            });
        }
    });
}

#[test]
fn one_seed_is_one_history() {
    let country = Country::new();
    for seed in 0..20 {
        assert_eq!(play(seed, &country), play(seed, &country), "seed {seed}");
    }
}
