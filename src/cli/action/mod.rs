//! `truc action`: doing something about deliveries, with a reason, a look before, and a second person where it is much.

mod tell;

use super::{Connection, Exit, Failure, Output, moment::parse_deadline, verify::docproof::Language};
use crate::{
    client::{Client, ClientError, calendar::now},
    proto::{ActRequest, ActionKind, ActionTarget, ApproveRequest, ListActionsRequest, Receipt, UndoRequest},
};

/// Rows of one call.
const PAGE: u32 = 1_000;

/// Does something about deliveries. Each action is evidence, with the operator's name and reason.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Language of the answer.
    #[arg(long, env = "TRUC_LANG", default_value = "en", global = true)]
    lang: Language,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Offer nothing until it is released, or until an end. Of an agency or node: what comes meanwhile is held too.
    Hold {
        #[command(flatten)]
        common: Common,
        /// End of the hold: 12h, 3d or a moment in RFC 3339.
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
    },
    /// End what holds the target.
    Release {
        #[command(flatten)]
        common: Common,
    },
    /// End leases and pauses: offer it again now.
    Requeue {
        #[command(flatten)]
        common: Common,
    },
    /// Send it to another agency instead.
    Redirect {
        #[command(flatten)]
        common: Common,
        /// The other agency.
        #[arg(long, value_name = "AGENCY")]
        to: String,
    },
    /// Take it out of the queue, for good.
    Cancel {
        #[command(flatten)]
        common: Common,
    },
    /// End it as if the deadline had passed.
    Expire {
        #[command(flatten)]
        common: Common,
    },
    /// Put what expired or was cancelled into the queue again.
    Resend {
        #[command(flatten)]
        common: Common,
        /// The new deadline: 12h, 3d or a moment in RFC 3339. Without it as long as the first time.
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
    },
    /// List actions, the newest first.
    List {
        /// Only those that wait for approval, can be undone, or are in force.
        #[arg(long)]
        open: bool,
        /// Actions told at most.
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
    /// Show one action.
    Show {
        /// Its number.
        id: u64,
    },
    /// Approve another operator's action.
    Approve {
        /// Its number.
        id: u64,
        /// Why.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Take an action back before it took effect; end a hold.
    Undo {
        /// Its number.
        id: u64,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// What it is about, and why.
#[derive(Debug, clap::Args)]
struct Common {
    /// The document; with --agency its delivery there alone.
    #[arg(value_name = "ID", default_value = "", hide_default_value = true)]
    document: String,
    /// Sender of the document; needed only where two agencies use the same id, and for other revisions than the first.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    sender: String,
    /// Revision of the document.
    #[arg(long, default_value_t = 0, requires = "sender")]
    revision: u64,
    /// The recipient: everything that waits for it, or with ID that document.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    agency: String,
    /// Everything that waits for the agencies of this node.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    node: String,
    /// Why; it stands in the evidence for ever, so no content of documents and no personal data.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// List what it would touch; change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl Common {
    fn request(self, kind: ActionKind) -> ActRequest {
        let Self { document, sender, revision, agency, node, reason, dry_run } = self;
        let target = ActionTarget { document_id: document, sender, revision, agency, node };
        let page_size = if dry_run { PAGE } else { 0 };
        ActRequest {
            kind: kind.into(),
            target: Some(target),
            reason,
            dry_run,
            page_size,
            ..Default::default()
        }
    }
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let lang = self.lang;
        match self.command {
            Command::List { open, limit } => list(&client, open, limit, lang, output).await,
            Command::Show { id } => {
                let request = ListActionsRequest { id_plus_one: id.saturating_add(1), ..Default::default() };
                let found = client.operator().list_actions(request).await?.into_inner().actions;
                let action = found.first().ok_or_else(|| ClientError::answer("the hub told no action"))?;
                tell::action(action, None, lang, output);
                Ok(())
            }
            Command::Approve { id, reason } => {
                let request = ApproveRequest { id, reason };
                let done = client.operator().approve(request).await?.into_inner();
                let leaf = proven(&client, done.receipt).await?;
                tell::action(&done.action.unwrap_or_default(), Some(leaf), lang, output);
                Ok(())
            }
            Command::Undo { id, reason } => {
                let done = client.operator().undo(UndoRequest { id, reason }).await?.into_inner();
                let leaf = proven(&client, done.receipt).await?;
                tell::action(&done.action.unwrap_or_default(), Some(leaf), lang, output);
                Ok(())
            }
            acting => act(&client, acting.request()?, lang, output).await,
        }
    }
}

impl Command {
    fn request(self) -> Result<ActRequest, Failure> {
        let until = |until: Option<String>| match until {
            None => Ok(0),
            Some(text) => parse_deadline(&text, now())
                .map(|at| at.0)
                .map_err(|problem| Failure::new(Exit::Usage, format!("--until: {problem}"))),
        };
        Ok(match self {
            Self::Hold { common, until: end } => {
                ActRequest { until_us: until(end)?, ..common.request(ActionKind::Hold) }
            }
            Self::Resend { common, until: end } => {
                ActRequest { until_us: until(end)?, ..common.request(ActionKind::Resend) }
            }
            Self::Redirect { common, to } => {
                ActRequest { redirect_to: to, ..common.request(ActionKind::Redirect) }
            }
            Self::Release { common } => common.request(ActionKind::Release),
            Self::Requeue { common } => common.request(ActionKind::Requeue),
            Self::Cancel { common } => common.request(ActionKind::Cancel),
            Self::Expire { common } => common.request(ActionKind::Expire),
            Self::List { .. } | Self::Show { .. } | Self::Approve { .. } | Self::Undo { .. } => {
                ActRequest::default()
            }
        })
    }
}

async fn act(
    client: &Client,
    mut request: ActRequest,
    lang: Language,
    output: &Output,
) -> Result<(), Failure> {
    let mut told = client.operator().act(request.clone()).await?.into_inner();
    if !request.dry_run {
        let leaf = proven(client, told.receipt.take()).await?;
        tell::action(&told.action.unwrap_or_default(), Some(leaf), lang, output);
        return Ok(());
    }
    while !told.next_page_token.is_empty() {
        request.page_token.clone_from(&told.next_page_token);
        let page = client.operator().act(request.clone()).await?.into_inner();
        told.touched.extend(page.touched);
        told.next_page_token = page.next_page_token;
    }
    tell::dry_run(&told, lang, output);
    Ok(())
}

async fn list(
    client: &Client,
    open: bool,
    limit: u32,
    lang: Language,
    output: &Output,
) -> Result<(), Failure> {
    let request = ListActionsRequest { open, page_size: limit.clamp(1, PAGE), ..Default::default() };
    let told = client.operator().list_actions(request).await?.into_inner();
    tell::actions(&told.actions, lang, output);
    Ok(())
}

/// The leaf of a receipt that was checked.
async fn proven(client: &Client, receipt: Option<Receipt>) -> Result<u64, Failure> {
    let receipt = receipt.ok_or_else(|| ClientError::answer("the hub's answer has no receipt"))?;
    client.terms().await?.check(&receipt)?;
    Ok(receipt.index)
}
