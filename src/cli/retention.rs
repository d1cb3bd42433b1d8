//! `truc retention`: what the rules erase, and what may not be erased.

use serde::Serialize;

use super::{Connection, Failure, Output, table::table};
use crate::{
    client::{
        Client, ClientError,
        readable::{moment, tail},
    },
    config::human::print_size,
    proto::{
        ErasedScope, GetRetentionRequest, GetRetentionResponse, Hold, LiftHoldRequest, ListHoldsRequest,
        PlaceHoldRequest, Receipt, RunRetentionRequest, RunRetentionResponse,
    },
};

/// Erases contents by the rules of `[retention]` in the hub's configuration, and keeps what a legal hold names. Evidence is
/// never erased. For operators.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The rules, and how far they are followed.
    Status,
    /// Goes through all documents now.
    Run {
        /// Only tells what would be erased.
        #[arg(long)]
        dry_run: bool,
    },
    /// Keeps a document, or all documents of an agency, from being erased.
    Hold {
        /// Document id.
        #[arg(value_name = "ID", conflicts_with = "agency", required_unless_present = "agency")]
        id: Option<String>,
        /// Sending agency; needed only where two agencies use the same id.
        #[arg(long, value_name = "AGENCY", default_value = "", hide_default_value = true)]
        sender: String,
        /// Revision of the document.
        #[arg(long, default_value_t = 0)]
        revision: u64,
        /// All documents that this agency sent or was sent.
        #[arg(long, value_name = "AGENCY")]
        agency: Option<String>,
        /// Why. Stands in the log: name no persons.
        #[arg(long)]
        reason: String,
    },
    /// Ends a hold.
    Lift {
        /// The hold: the leaf that placed it.
        #[arg(value_name = "LEAF")]
        hold: u64,
        /// Why. Stands in the log: name no persons.
        #[arg(long)]
        reason: String,
    },
    /// Holds in force.
    Holds,
}

#[derive(Serialize)]
struct Status {
    rules: Vec<Rule>,
    removing: u64,
    last_run: Option<String>,
    last_erased: u64,
    holds: u64,
    problem: String,
    search_index_waits: bool,
}

#[derive(Serialize)]
struct Rule {
    name: String,
    type_names: Vec<String>,
    urgencies: Vec<u32>,
    operations: Vec<u32>,
    after_seconds: i64,
    bodies: &'static str,
}

#[derive(Serialize)]
struct Ran {
    dry_run: bool,
    erased: u64,
    held: u64,
    open: u64,
    looked_at: u64,
    bytes: u64,
    documents: Vec<Erased>,
}

#[derive(Serialize)]
struct Erased {
    document_id: String,
    sender: String,
    revision: u64,
    policy: String,
    bodies: &'static str,
    leaf: Option<u64>,
}

#[derive(Serialize)]
struct Held {
    hold: u64,
    document_id: String,
    sender: String,
    revision: u64,
    agency: String,
    reason: String,
    operator: String,
    placed: Option<String>,
}

#[derive(Serialize)]
struct Recorded {
    index: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        match self.command {
            Command::Status => status(&client, output).await,
            Command::Run { dry_run } => run(&client, dry_run, output).await,
            Command::Hold { id, sender, revision, agency, reason } => {
                let (document_id, agency) = (id.unwrap_or_default(), agency.unwrap_or_default());
                let request = PlaceHoldRequest { document_id, sender, revision, agency, reason };
                let receipt = client.retention().place_hold(request).await?.into_inner().receipt;
                recorded(&client, receipt, output, "it is kept: hold").await
            }
            Command::Lift { hold, reason } => {
                let request = LiftHoldRequest { hold, reason };
                let receipt = client.retention().lift_hold(request).await?.into_inner().receipt;
                recorded(&client, receipt, output, "the hold is lifted: leaf").await
            }
            Command::Holds => holds(&client, output).await,
        }
    }
}

async fn recorded(
    client: &Client,
    receipt: Option<Receipt>,
    output: &Output,
    what: &str,
) -> Result<(), Failure> {
    let receipt = receipt.ok_or_else(|| ClientError::answer("the hub's answer has no receipt"))?;
    client.terms().await?.check(&receipt)?;
    output.print(&Recorded { index: receipt.index }, |recorded| format!("{what} {}", recorded.index));
    Ok(())
}

async fn status(client: &Client, output: &Output) -> Result<(), Failure> {
    let told = client.retention().get_retention(GetRetentionRequest {}).await?.into_inner();
    output.print(&Status::of(told), Status::to_text);
    Ok(())
}

async fn run(client: &Client, dry_run: bool, output: &Output) -> Result<(), Failure> {
    let told = client.retention().run_retention(RunRetentionRequest { dry_run }).await?.into_inner();
    output.print(&Ran::of(told, dry_run), Ran::to_text);
    Ok(())
}

async fn holds(client: &Client, output: &Output) -> Result<(), Failure> {
    let told = client.retention().list_holds(ListHoldsRequest {}).await?.into_inner();
    let holds: Vec<_> = told.holds.into_iter().map(Held::of).collect();
    output.print(&holds, |holds| {
        if holds.is_empty() {
            return "no hold is in force".into();
        }
        let mut table = table(["hold", "keeps", "since", "by", "reason"]);
        for hold in holds {
            let keeps = match hold.agency.as_str() {
                "" => format!("{} of {}", hold.document_id, hold.sender),
                agency => format!("all of {agency}"),
            };
            let since = hold.placed.clone().unwrap_or_default();
            table.add_row([hold.hold.to_string(), keeps, since, hold.operator.clone(), hold.reason.clone()]);
        }
        table.to_string()
    });
    Ok(())
}

fn bodies(scope: i32) -> &'static str {
    let scope = ErasedScope::try_from(scope).unwrap_or_default();
    match tail(scope.as_str_name(), "ERASED_SCOPE_") {
        "ATTACHMENTS" => "attachments",
        "ALL" => "all",
        _ => "unknown",
    }
}

impl Status {
    fn of(told: GetRetentionResponse) -> Self {
        let rules = told.rules.into_iter().map(|rule| Rule {
            name: rule.name,
            type_names: rule.type_names,
            urgencies: rule.urgencies,
            operations: rule.operations,
            after_seconds: rule.after_us / 1_000_000,
            bodies: bodies(rule.scope),
        });
        Self {
            rules: rules.collect(),
            removing: told.removing,
            last_run: moment(told.last_run_us),
            last_erased: told.last_erased,
            holds: told.holds,
            problem: told.problem,
            search_index_waits: told.search_index_waits,
        }
    }

    fn to_text(&self) -> String {
        let mut text = if self.rules.is_empty() {
            "No rule: everything is kept for ever.\n".to_owned()
        } else {
            let mut table = table(["rule", "types", "urgencies", "operations", "after days", "erases"]);
            let listed = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            for rule in &self.rules {
                table.add_row([
                    rule.name.clone(),
                    rule.type_names.join(", "),
                    listed(&rule.urgencies),
                    listed(&rule.operations),
                    (rule.after_seconds / 86_400).to_string(),
                    rule.bodies.to_owned(),
                ]);
            }
            format!("{table}\n")
        };
        if let Some(at) = &self.last_run {
            text += &format!("Last run {at}: {} documents erased.\n", self.last_erased);
        }
        if self.removing > 0 {
            text +=
                &format!("{} erasures are recorded and still being removed from the disk.\n", self.removing);
        }
        if self.search_index_waits {
            text += "Erased subjects stand in the search index until it was made again.\n";
        }
        if !self.problem.is_empty() {
            text += &format!("PROBLEM: {}\n", self.problem);
        }
        text + &format!("{} legal holds in force.", self.holds)
    }
}

impl Ran {
    fn of(told: RunRetentionResponse, dry_run: bool) -> Self {
        let documents = told.documents.into_iter().map(|document| Erased {
            document_id: document.document_id,
            sender: document.sender,
            revision: document.revision,
            policy: document.policy,
            bodies: bodies(document.scope),
            leaf: (!dry_run).then_some(document.leaf),
        });
        Self {
            dry_run,
            erased: told.erased,
            held: told.held,
            open: told.open,
            looked_at: told.looked_at,
            bytes: told.bytes,
            documents: documents.collect(),
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for one in &self.documents {
            let leaf = one.leaf.map(|leaf| format!(", leaf {leaf}")).unwrap_or_default();
            text += &format!(
                "{} of {}: {} (rule {}{leaf})\n",
                one.document_id, one.sender, one.bodies, one.policy
            );
        }
        let more = self.erased.saturating_sub(self.documents.len() as u64);
        if more > 0 {
            text += &format!("and {more} more\n");
        }
        let word = if self.dry_run { "would be erased" } else { "erased" };
        text + &format!(
            "{} of {} documents {word}, {} of contents; kept: {} by a hold, {} still open.",
            self.erased,
            self.looked_at,
            print_size(self.bytes),
            self.held,
            self.open
        )
    }
}

impl Held {
    fn of(hold: Hold) -> Self {
        Self {
            hold: hold.hold,
            document_id: hold.document_id,
            sender: hold.sender,
            revision: hold.revision,
            agency: hold.agency,
            reason: hold.reason,
            operator: hold.operator,
            placed: moment(hold.placed_at_us),
        }
    }
}
