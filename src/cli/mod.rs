//! The commands. Each is one file with `Args` and `Args::run`, and one line below.

pub mod action;
pub mod address;
pub mod audit;
pub mod backup;
pub mod bench;
pub mod config;
mod connection;
pub mod console;
pub mod demo;
pub mod directory;
mod events;
mod failure;
pub mod files;
pub mod flows;
pub mod fsck;
pub mod hub_process;
pub mod integrity;
pub mod keygen;
pub mod log;
mod moment;
mod monitoring;
mod output;
pub mod overview;
mod paper;
pub mod ping;
pub mod pki;
pub mod presence;
pub mod queue;
pub mod rebuild;
pub mod receipt;
pub mod receipt_files;
pub mod receive;
pub mod report;
pub mod retention;
pub mod send;
pub mod serve;
mod signing;
pub mod status;
mod table;
pub mod verify;
pub mod volumes;
pub mod watch;
pub mod why;
pub mod witnesses;
mod witnessing;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
pub use connection::Connection;
pub use failure::{Exit, Failure};
pub use output::Output;
use presence::{contacts, nodes, sessions};
use verify::docproof::Language;

/// Hub through which agencies exchange signed documents, with a proof in every acknowledgement.
#[derive(Debug, Parser)]
#[command(
    name = "truc",
    version,
    after_help = "Exit codes: 0 done, 1 refused or a check failed, 2 usage, 3 the hub can't be reached, 4 a local file."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Answers as JSON on standard output, errors as JSON on standard error.
    #[arg(long, global = true)]
    json: bool,
}

/// Makes the list of commands: the name on the command line, and the module that does it.
macro_rules! commands {
    ($($name:ident => $module:ident),* $(,)?) => {
        #[derive(Debug, clap::Subcommand)]
        #[allow(clippy::large_enum_variant)] // one value in a process
        enum Command {
            $($name(Box<$module::Args>),)*
        }

        impl Command {
            async fn run(self, output: &Output) -> Result<(), Failure> {
                match self {
                    $(Self::$name(args) => args.run(output).await,)*
                }
            }
        }
    };
}

commands! {
    Demo => demo,
    Bench => bench,
    Serve => serve,
    Send => send,
    Address => address,
    Receive => receive,
    Report => report,
    Status => status,
    Audit => audit,
    Watch => watch,
    Receipt => receipt,
    Verify => verify,
    Directory => directory,
    Overview => overview,
    Retention => retention,
    Integrity => integrity,
    Console => console,
    Why => why,
    Queue => queue,
    Action => action,
    Sessions => sessions,
    Nodes => nodes,
    Contacts => contacts,
    Flows => flows,
    Volumes => volumes,
    Ping => ping,
    Witnesses => witnesses,
    Keygen => keygen,
    Log => log,
    Pki => pki,
    Backup => backup,
    Fsck => fsck,
    Rebuild => rebuild,
    Config => config,
}

/// Work that nobody waits for may take so long after a command has ended.
const LAST_WORK: std::time::Duration = std::time::Duration::from_secs(2);

/// Runs the command line of this process; wrong usage ends the process with code 2.
#[must_use]
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let lang = language(&matches);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match run(cli.command, &Output::new(cli.json)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(cli.json, lang),
    }
}

/// The language in which failures are told: what the command was given as `--lang` or `TRUC_LANG`, else English.
fn language(matches: &clap::ArgMatches) -> Language {
    let mut here = Some(matches);
    while let Some(matches) = here {
        if let Ok(Some(lang)) = matches.try_get_one::<Language>("lang")
            && matches.value_source("lang") != Some(clap::parser::ValueSource::DefaultValue)
        {
            return *lang;
        }
        here = matches.subcommand().map(|(_, matches)| matches);
    }
    language_of_the_environment()
}

/// `TRUC_LANG`, also for commands without `--lang`.
fn language_of_the_environment() -> Language {
    let asked = std::env::var("TRUC_LANG").unwrap_or_default();
    <Language as clap::ValueEnum>::from_str(&asked, true).unwrap_or_default()
}

fn run(command: Command, output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(Exit::File, format!("can't start: {error}")))?;
    let outcome = runtime.block_on(command.run(output));
    // A disk that does not answer must not keep the process from ending.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_follow_the_language_of_the_command() {
        let of = |args: &[&str]| language(&Cli::command().try_get_matches_from(args).expect("legal"));
        assert_eq!(of(&["truc", "why", "x", "--lang", "vi"]), Language::Vi);
        assert_eq!(of(&["truc", "queue", "--lang=vi", "show", "H53"]), Language::Vi);
        assert_eq!(of(&["truc", "why", "x"]), Language::En);
        // The language of its certificate is not one that was asked for.
        assert_eq!(of(&["truc", "audit", "bundle", "x", "-o", "y"]), Language::En);
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
