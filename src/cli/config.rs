//! `truc config`: the sample file, and a check without starting the hub.

use std::path::PathBuf;

use serde::Serialize;

use super::{Failure, Output};
use crate::config::{Config, ConfigError, Problem};

/// Shows and checks the hub's configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the sample file: every key with its default and its meaning.
    Default,
    /// Check a file, and the files that it names, as `truc serve` does before it starts.
    Check {
        /// The configuration.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Checked {
    ok: bool,
    problems: Vec<Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        match self.command {
            Command::Default => output.print(&Config::default(), |_| Config::default_toml()),
            Command::Check { file } => {
                let config = Config::load(&file)?;
                let outcome = config.check();
                let problems = match &outcome {
                    Err(ConfigError::Check { problems }) => problems.clone(),
                    _ => Vec::new(),
                };
                if output.json() || outcome.is_ok() {
                    let checked = Checked { ok: problems.is_empty(), problems, config: Some(config) };
                    output.print(&checked, |_| format!("{} is good", file.display()));
                }
                outcome?;
            }
        }
        Ok(())
    }
}
