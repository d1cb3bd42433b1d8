//! While very much waits: what operators look at, with the commands that they use and in the web console, and how long
//! each look takes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::process::Command;

use super::{
    load::Outcome,
    site::Site,
    tally::{Latencies, Percentiles},
    visitor::Visitor,
    world::RECIPIENTS,
};
use crate::{
    cli::{Exit, Failure},
    client::{Client, site},
    proto::CreateSignInLinkRequest,
};

/// Rounds before those that are measured.
const WARM_UP: usize = 1;

/// What was measured. Milliseconds: of a command from its start to its end, connection included; of a page to its last byte.
#[derive(Clone, Debug, Serialize)]
pub struct Looks {
    /// How often each was asked.
    asked: usize,
    /// Each command.
    commands_ms: BTreeMap<String, Percentiles>,
    /// Each page of the console.
    pages_ms: BTreeMap<String, Percentiles>,
    /// The slowest of all looks, and what it was.
    slowest_ms: f64,
    slowest: String,
    /// The largest page, without pictures and style, which are small and come once.
    largest_page_kib: f64,
    largest_page: String,
}

/// Looks so often at everything, about the documents of a run.
pub async fn look(site: &Site, operator: &Client, outcome: &Outcome, asked: usize) -> Result<Looks, Failure> {
    let mut looking = Looking {
        visitor: visitor(site, operator).await?,
        commands: BTreeMap::new(),
        pages: BTreeMap::new(),
        slowest: (Duration::ZERO, String::new()),
        largest: (0, String::new()),
        kept: false,
    };
    let recipients = outcome.run.load.recipients.max(1);
    for round in 0..asked + WARM_UP {
        looking.kept = round >= WARM_UP;
        let document = outcome.document_id(round as u64 * 7 % outcome.documents().max(1));
        let agency = format!("{RECIPIENTS}.{}", round * 13 % recipients);
        looking.commands(site, &document, &agency).await?;
        looking.pages(&document, &agency).await?;
    }
    let kinds = |times: &BTreeMap<String, Latencies>| {
        times.iter().filter_map(|(kind, times)| Some((kind.clone(), times.percentiles()?))).collect()
    };
    let ((slowest, what), (bytes, page)) = (looking.slowest, looking.largest);
    Ok(Looks {
        asked,
        commands_ms: kinds(&looking.commands),
        pages_ms: kinds(&looking.pages),
        slowest_ms: slowest.as_secs_f64() * 1_000.0,
        slowest: what,
        largest_page_kib: bytes as f64 / 1024.0,
        largest_page: page,
    })
}

async fn visitor(site: &Site, operator: &Client) -> Result<Visitor, Failure> {
    let link = operator.console().create_sign_in_link(CreateSignInLinkRequest {}).await?.into_inner();
    let ca = site.options("operator").ca;
    let console = site::Site::new(&format!("https://localhost:{}", link.port), Some(&ca))
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    Visitor::sign_in(console, &link.path).await
}

struct Looking {
    visitor: Visitor,
    commands: BTreeMap<String, Latencies>,
    pages: BTreeMap<String, Latencies>,
    slowest: (Duration, String),
    largest: (usize, String),
    kept: bool,
}

impl Looking {
    async fn commands(&mut self, site: &Site, document: &str, agency: &str) -> Result<(), Failure> {
        let commands: [&[&str]; 6] = [
            &["queue"],
            &["queue", "--lang", "vi", "--below", RECIPIENTS],
            &["queue", "show", agency],
            &["why", document],
            &["why", document, "--recipient", agency],
            &["overview"],
        ];
        for command in commands {
            // Not every document goes to every agency.
            let may_fail = command.contains(&"--recipient");
            let since = Instant::now();
            let done = run(site, command).await?;
            if !done.status.success() && !may_fail {
                let words = String::from_utf8_lossy(&done.stderr).into_owned();
                return Err(Failure::new(Exit::Refused, format!("truc {}: {words}", command.join(" "))));
            }
            let named = command.iter().filter(|word| **word != document && **word != agency);
            let named = named.copied().collect::<Vec<_>>().join(" ");
            self.took(true, format!("truc {named}"), since.elapsed());
        }
        Ok(())
    }

    async fn pages(&mut self, document: &str, agency: &str) -> Result<(), Failure> {
        let pages = [
            ("overview", String::new()),
            ("documents", "documents".into()),
            ("documents found", "documents?q=b%C3%A1o+c%C3%A1o".into()),
            ("document", format!("document?id={document}")),
            ("agencies", "agencies".into()),
            ("communes", "agencies?level=commune".into()),
            ("agency", format!("agency?id={agency}")),
            ("queues", "queues".into()),
            ("queue", format!("queue?agency={agency}")),
            ("nodes", "nodes".into()),
            ("changes", "changes".into()),
            ("actions", "actions".into()),
            ("action", format!("act?agency={agency}")),
            ("health", "health".into()),
            ("help", "help".into()),
        ];
        for (name, path) in pages {
            let (time, bytes) = self.visitor.look(&format!("vi/{path}")).await?;
            self.took(false, name.to_owned(), time);
            if bytes > self.largest.0 {
                self.largest = (bytes, name.to_owned());
            }
        }
        Ok(())
    }

    fn took(&mut self, command: bool, name: String, time: Duration) {
        if !self.kept {
            return;
        }
        if time > self.slowest.0 {
            self.slowest = (time, name.clone());
        }
        let times = if command { &mut self.commands } else { &mut self.pages };
        times.entry(name).or_insert_with(Latencies::new).took(time);
    }
}

/// This very program, as an operator calls it.
async fn run(site: &Site, words: &[&str]) -> Result<std::process::Output, Failure> {
    let file = |error: std::io::Error| Failure::new(Exit::File, error);
    let options = site.options("operator");
    let mut command = Command::new(std::env::current_exe().map_err(file)?);
    command.args(words).args(["--hub", &options.endpoint]).kill_on_drop(true);
    command.arg("--ca").arg(options.ca).arg("--cert").arg(options.cert).arg("--cert-key").arg(options.key);
    command.output().await.map_err(file)
}

impl Looks {
    /// For people.
    pub fn shown(&self) -> [(&'static str, String); 2] {
        [
            ("slowest look", format!("{:.0} ms: {}", self.slowest_ms, self.slowest)),
            ("largest page", format!("{:.0} KiB: {}", self.largest_page_kib, self.largest_page)),
        ]
    }
}
