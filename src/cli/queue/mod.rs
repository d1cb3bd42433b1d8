//! `truc queue`: what waits, for whom, how long.

mod show;
mod summary;

use std::time::Duration;

use super::{Connection, Exit, Failure, Output, verify::docproof::Language};
use crate::{
    client::Client,
    proto::{Level, QueueSummaryRequest},
};

/// How often `--top` looks again.
const REFRESH: Duration = Duration::from_secs(2);
/// Clears the screen and goes to its corner.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Shows what waits, by recipient, level, province, urgency and age, the oldest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only this agency and those below it.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    below: String,
    /// Only this level: central, province, district or commune.
    #[arg(long, value_parser = parse_level)]
    level: Option<Level>,
    /// Recipients told.
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: u32,
    /// Looks again every two seconds, until Ctrl-C.
    #[arg(long)]
    top: bool,
    /// Language of the answer.
    #[arg(long, env = "TRUC_LANG", default_value = "en", global = true)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the documents that wait for one agency, in the order in which they go out.
    Show {
        /// The recipient.
        agency: String,
        /// Documents told at most.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        if let Some(Command::Show { agency, limit }) = self.command {
            return show::run(&client, agency, limit, self.lang, output).await;
        }
        let request = QueueSummaryRequest {
            below: self.below,
            level: self.level.unwrap_or_default().into(),
            limit: self.limit.clamp(1, 1_000),
        };
        if !self.top {
            return summary::tell(&client, request, self.lang, output).await;
        }
        top(&client, &request, self.lang, output).await
    }
}

async fn top(
    client: &Client,
    request: &QueueSummaryRequest,
    lang: Language,
    output: &Output,
) -> Result<(), Failure> {
    loop {
        if !output.json() {
            output.line(CLEAR);
        }
        summary::tell(client, request.clone(), lang, output).await?;
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            ended = tokio::signal::ctrl_c() => {
                return ended.map_err(|error| Failure::new(Exit::File, error));
            }
        }
    }
}

fn parse_level(text: &str) -> Result<Level, String> {
    match text {
        "central" => Ok(Level::Central),
        "province" => Ok(Level::Province),
        "district" => Ok(Level::District),
        "commune" => Ok(Level::Commune),
        _ => Err("is none of central, province, district, commune".to_owned()),
    }
}

/// How long ago, as people say it.
fn age(now_us: i64, at_us: i64) -> String {
    if at_us == 0 {
        return String::new();
    }
    let seconds = now_us.saturating_sub(at_us).max(0) / 1_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let ago = |seconds: i64| age(1_000_000_000_000, 1_000_000_000_000 - seconds * 1_000_000);
        assert_eq!([ago(5), ago(125), ago(3_700), ago(90_000)], ["5 s", "2 min", "1 h 1 min", "1 d 1 h"]);
        assert_eq!((age(5, 0), age(5, 900)), (String::new(), "0 s".to_owned()));
    }
}
