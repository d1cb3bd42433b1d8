//! `truc rebuild`: makes the history index again from the journal.

use std::{sync::Arc, time::Instant};

use serde::Serialize;

use super::{
    Failure, Output,
    fsck::{Folder, bar, unusable},
};
use crate::store::{Store, embedded::Embedded};

/// Removes the history index and makes it again from the journal, while no hub runs.
///
/// Nothing can be lost by it. If it is interrupted, run it again; the hub's start would do the same.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    folder: Folder,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Rebuilt {
    commits: u64,
    leaves: u64,
    seconds: f64,
}

impl Args {
    /// Runs until the index is complete and closed.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let begun = Instant::now();
        let config = self.folder.load()?;
        let (options, payload) = self.folder.open(config.as_ref())?;
        let bar = bar();
        bar.set_message("reading the journal");
        let opened = Embedded::rebuild(&options, Arc::new(payload), &mut |leaves| {
            bar.set_message(format!("{leaves} leaves"));
        });
        let opened = opened.map_err(|error| unusable(&options.dir, &error))?;
        let (commits, leaves) = (opened.replayed, opened.store.head().size);
        bar.set_message("closing the index");
        opened.store.close().map_err(|error| unusable(&options.dir, &error))?;
        bar.finish_and_clear();
        let rebuilt = Rebuilt { commits, leaves, seconds: begun.elapsed().as_secs_f64() };
        output.print(&rebuilt, |done| {
            format!("{} commits with {} leaves in {:.1} s", done.commits, done.leaves, done.seconds)
        });
        Ok(())
    }
}
