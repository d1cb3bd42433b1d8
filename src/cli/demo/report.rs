//! What the demo tells: a story for people, and at its end one object of checks, counts and times.

use std::{collections::BTreeMap, time::Instant};

use serde::Serialize;

use crate::cli::Output;

/// Collects and, for people, prints as it goes.
pub struct Report {
    people: bool,
    started: Instant,
    answer: Answer,
}

/// The last line with `--json`.
#[derive(Debug, Default, Serialize)]
pub struct Answer {
    /// Every claim of the story, and whether it held.
    pub checks: BTreeMap<&'static str, bool>,
    /// What was done.
    pub counts: BTreeMap<&'static str, u64>,
    /// How long steps took.
    pub timings_ms: BTreeMap<&'static str, u64>,
    /// Where the receipts are.
    pub receipts_dir: String,
}

impl Report {
    /// Nothing told yet.
    pub fn new(output: &Output) -> Self {
        Self { people: !output.json(), started: Instant::now(), answer: Answer::default() }
    }

    /// A heading of the story.
    pub fn chapter(&self, text: &str) {
        if self.people {
            println!("\n{:>6.2} s  {text}", self.started.elapsed().as_secs_f32());
        }
    }

    /// A sentence of the story.
    pub fn say(&self, text: &str) {
        if self.people {
            println!("          {text}");
        }
    }

    /// A claim, and whether it held.
    pub fn check(&mut self, name: &'static str, text: &str, held: bool) {
        let before = self.answer.checks.entry(name).or_insert(true);
        *before &= held;
        self.say(&format!("{} {text}", if held { "✓" } else { "✗" }));
    }

    /// A number.
    pub fn count(&mut self, name: &'static str, number: usize) {
        *self.answer.counts.entry(name).or_default() += number as u64;
    }

    /// How long something took since `since`.
    pub fn time(&mut self, name: &'static str, since: Instant) {
        let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answer.timings_ms.insert(name, ms);
        self.say(&format!("{} ms", ms));
    }

    /// Where the receipts are.
    pub fn receipts_dir(&mut self, dir: &std::path::Path) {
        self.answer.receipts_dir = dir.display().to_string();
    }

    /// Ends the story; true when every claim held.
    pub fn finish(mut self, output: &Output) -> bool {
        self.time("total", self.started);
        let held = self.answer.checks.values().all(|held| *held);
        let checks = self.answer.checks.len();
        output.print(&self.answer, |answer| {
            let failed: Vec<_> =
                answer.checks.iter().filter(|(_, held)| !**held).map(|(name, _)| *name).collect();
            match failed.is_empty() {
                true => format!("\nAll {checks} checks held. Receipts: {}", answer.receipts_dir),
                false => format!("\nThese checks failed: {}", failed.join(", ")),
            }
        });
        held
    }
}
