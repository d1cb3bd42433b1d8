//! `truc integrity`: what the running hub finds when it reads its own store again.

use serde::Serialize;

use super::{Connection, Exit, Failure, Output};
use crate::{
    client::readable::moment,
    config::human::print_size,
    proto::{DamageFound, GetIntegrityRequest, GetIntegrityResponse},
};

/// Shows the damage that the hub's scrub has found, and how far it is. Ends with 1 if there is damage. For operators and
/// viewers. `truc fsck` checks more, while no hub runs.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Integrity {
    ok: bool,
    damage: Vec<Place>,
    mended: Vec<Place>,
    more: u64,
    finished: Option<String>,
    frames: u64,
    of_frames: u64,
    bytes: u64,
    bytes_per_second: u64,
    problem: String,
}

#[derive(Serialize)]
struct Place {
    what: String,
    r#where: String,
    detail: String,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let told = client.integrity().get_integrity(GetIntegrityRequest {}).await?.into_inner();
        let integrity = Integrity::of(told);
        output.print(&integrity, Integrity::to_text);
        if integrity.ok {
            return Ok(());
        }
        let count = integrity.damage.len();
        let failure = Failure::new(Exit::Refused, format!("{count} damaged places"));
        if integrity.damage.iter().all(|place| place.what == "index") {
            return Err(failure.with_help(
                "Nothing acknowledged is touched: stop the hub when that is possible, run `truc rebuild`, and start it again.",
            ));
        }
        Err(failure.with_help(
            "The hub serves on; what is named can't be read. Stop it when that is possible, run `truc fsck`, and bring the \
             named files back from a copy.",
        ))
    }
}

impl Integrity {
    fn of(told: GetIntegrityResponse) -> Self {
        let places = |all: Vec<DamageFound>| {
            let place = |one: DamageFound| Place { what: one.what, r#where: one.place, detail: one.detail };
            all.into_iter().map(place).collect::<Vec<_>>()
        };
        Self {
            ok: told.damage.is_empty(),
            damage: places(told.damage),
            mended: places(told.mended),
            more: told.more,
            finished: moment(told.finished_us),
            frames: told.frames,
            of_frames: told.of_frames,
            bytes: told.bytes,
            bytes_per_second: told.bytes_per_second,
            problem: told.problem,
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (word, places) in [("DAMAGED", &self.damage), ("made good", &self.mended)] {
            for place in places {
                text += &format!("{word}: {} {}: {}\n", place.what, place.r#where, place.detail);
            }
        }
        if self.more > 0 {
            text += &format!("and {} more findings\n", self.more);
        }
        if self.bytes_per_second == 0 {
            return text
                + "The hub does not read its store again by itself: see [scrub] in its configuration.";
        }
        if !self.problem.is_empty() {
            text += &format!("It does not go on: {}\n", self.problem);
        }
        let finished = self.finished.as_ref().map_or("none since the start".to_owned(), ToString::to_string);
        let done = (self.frames * 100).checked_div(self.of_frames).unwrap_or(100);
        text + &format!(
            "This round: {done} % ({} of {} frames), at most {} a second. Last whole round: {finished}.",
            self.frames,
            self.of_frames,
            print_size(self.bytes_per_second)
        )
    }
}
