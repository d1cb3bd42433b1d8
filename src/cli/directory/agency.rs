//! Agencies, one by one.

use serde::Serialize;

use super::change;
use crate::{
    cli::{
        Failure, Output,
        table::{facts, table},
    },
    client::{
        Client,
        calendar::vietnam_time,
        readable::{moment, tail},
    },
    domain::time::Timestamp,
    proto::{
        Agency, AgencyState, GetAgencyRequest, Level, ListAgenciesRequest, SetAgencyState, SigningKey,
        directory_change::Change,
    },
};

/// Lists agencies.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Only this agency and everything below.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    below: String,
    /// Only this level.
    #[arg(long, value_enum)]
    level: Option<LevelName>,
}

/// Shows an agency with its keys and nodes.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// Identifier or alias.
    agency: String,
}

/// Adds an agency, or replaces its record.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// Identifier.
    agency: String,
    /// Name.
    #[arg(long = "name", id = "agency_name", value_name = "NAME")]
    name: String,
    /// Level, where the identifier does not tell it.
    #[arg(long, value_enum)]
    level: Option<LevelName>,
    /// Agency above, where the identifier does not tell it.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "AGENCY")]
    parent: String,
    /// Another identifier that means this agency; repeat it for more.
    #[arg(long = "alias", value_name = "ID")]
    aliases: Vec<String>,
    /// Why, for the record.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

/// Activates, suspends or closes an agency. Closing is for ever.
#[derive(Debug, clap::Args)]
pub struct State {
    /// Identifier.
    agency: String,
    /// The state.
    #[arg(value_enum)]
    state: StateName,
    /// Why, for the record.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LevelName {
    Central,
    Province,
    District,
    Commune,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StateName {
    Active,
    Suspended,
    Closed,
}

#[derive(Serialize)]
struct AgencyLine {
    organ_id: String,
    name: String,
    level: &'static str,
    parent: String,
    aliases: Vec<String>,
    state: &'static str,
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    agency: AgencyLine,
    nodes: Vec<String>,
    keys: Vec<KeyLine>,
}

#[derive(Serialize)]
struct KeyLine {
    key_id: String,
    kind: &'static str,
    valid_from: Option<String>,
    valid_until: Option<String>,
    revoked_at: Option<String>,
}

impl List {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let mut request = ListAgenciesRequest {
            below: self.below,
            level: level(self.level).into(),
            page_size: 1_000,
            ..ListAgenciesRequest::default()
        };
        let mut lines = Vec::new();
        loop {
            let page = client.directory().list_agencies(request.clone()).await?.into_inner();
            lines.extend(page.agencies.into_iter().map(AgencyLine::new));
            // A token that does not move on would lead nowhere.
            if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
                break;
            }
            request.page_token = page.next_page_token;
        }
        output.print(&lines, |lines| {
            let mut table = table(["agency", "name", "level", "above", "state"]);
            for line in lines {
                table.add_row([&line.organ_id, &line.name, line.level, &line.parent, line.state]);
            }
            format!("{table}\n{} agencies", lines.len())
        });
        Ok(())
    }
}

impl Show {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let request = GetAgencyRequest { organ_id: self.agency };
        let told = client.directory().get_agency(request).await?.into_inner();
        let whole = Whole {
            agency: AgencyLine::new(told.agency.unwrap_or_default()),
            nodes: told.nodes,
            keys: told.keys.iter().map(KeyLine::new).collect(),
        };
        output.print(&whole, |whole| shown(whole, &told.keys));
        Ok(())
    }
}

impl Add {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let agency = Agency {
            organ_id: self.agency,
            name: self.name,
            level: level(self.level).into(),
            parent: self.parent,
            aliases: self.aliases,
            state: AgencyState::Active.into(),
        };
        change(client, output, Change::PutAgency(agency), self.reason).await
    }
}

impl State {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let state = match self.state {
            StateName::Active => AgencyState::Active,
            StateName::Suspended => AgencyState::Suspended,
            StateName::Closed => AgencyState::Closed,
        };
        let set = SetAgencyState { organ_id: self.agency, state: state.into() };
        change(client, output, Change::SetAgencyState(set), self.reason).await
    }
}

impl AgencyLine {
    fn new(agency: Agency) -> Self {
        Self {
            level: tail(agency.level().as_str_name(), "LEVEL_"),
            state: tail(agency.state().as_str_name(), "AGENCY_STATE_"),
            organ_id: agency.organ_id,
            name: agency.name,
            parent: agency.parent,
            aliases: agency.aliases,
        }
    }
}

impl KeyLine {
    fn new(key: &SigningKey) -> Self {
        Self {
            key_id: hex::encode(&key.key_id),
            kind: tail(key.signer_kind().as_str_name(), "SIGNER_KIND_"),
            valid_from: moment(key.valid_from_us),
            valid_until: moment(key.valid_until_us),
            revoked_at: moment(key.revoked_at_us),
        }
    }
}

fn shown(whole: &Whole, keys: &[SigningKey]) -> String {
    let agency = &whole.agency;
    let about = facts([
        ("agency", format!("{}  {}", agency.organ_id, agency.name)),
        ("level", agency.level.to_owned()),
        ("above", agency.parent.clone()),
        ("aliases", agency.aliases.join(", ")),
        ("state", agency.state.to_owned()),
        ("nodes", whole.nodes.join(", ")),
    ]);
    let mut table = table(["key", "kind", "valid from", "valid until", "revoked"]);
    let when = |us| Timestamp::given(us).map(vietnam_time).unwrap_or_default();
    for (line, key) in whole.keys.iter().zip(keys) {
        let (from, until) = (when(key.valid_from_us), when(key.valid_until_us));
        table.add_row([line.key_id.clone(), line.kind.to_owned(), from, until, when(key.revoked_at_us)]);
    }
    format!("{about}\n{table}")
}

fn level(name: Option<LevelName>) -> Level {
    match name {
        None => Level::Unspecified,
        Some(LevelName::Central) => Level::Central,
        Some(LevelName::Province) => Level::Province,
        Some(LevelName::District) => Level::District,
        Some(LevelName::Commune) => Level::Commune,
    }
}
