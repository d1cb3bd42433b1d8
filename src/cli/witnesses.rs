//! `truc witnesses`: who cosigns this log, and how far behind they are.

use serde::Serialize;

use super::{Connection, Failure, Output, table};
use crate::{
    client::calendar::{now, vietnam_time},
    domain::time::Timestamp,
    proto::{GetWitnessesRequest, GetWitnessesResponse, WitnessState},
};

/// Shows the witnesses of this log: what each cosigned last, how far behind it is, and what is wrong. Also the logs that
/// this hub is a witness of.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Serialize)]
struct Answer {
    tree_size: u64,
    quorum: u32,
    witnesses: Vec<Witness>,
    #[serde(skip_serializing_if = "String::is_empty")]
    own_key: String,
    followed: Vec<Followed>,
}

#[derive(Serialize)]
struct Witness {
    name: String,
    verifier_key: String,
    url: String,
    size: u64,
    /// Leaves that it has not cosigned yet.
    behind: u64,
    /// Absent before the first cosignature.
    #[serde(skip_serializing_if = "Option::is_none")]
    cosigned_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_ago: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
    alarm: bool,
}

#[derive(Serialize)]
struct Followed {
    origin: String,
    size: u64,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let client = self.connection.client().await?;
        let answer = client.audit().get_witnesses(GetWitnessesRequest {}).await?;
        output.print(&Answer::of(answer.into_inner()), Answer::to_text);
        Ok(())
    }
}

impl Answer {
    fn of(answer: GetWitnessesResponse) -> Self {
        let size = answer.tree_size;
        Self {
            tree_size: size,
            quorum: answer.quorum,
            witnesses: answer.witnesses.into_iter().map(|state| Witness::of(state, size)).collect(),
            own_key: answer.own_key,
            followed: answer
                .followed
                .into_iter()
                .map(|log| Followed { origin: log.origin, size: log.size })
                .collect(),
        }
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if self.witnesses.is_empty() {
            text += "No witness is asked: name some in [log] witnesses.\n";
        } else {
            let mut table = table::table(["witness", "leaves", "behind", "last cosignature", "state"]);
            for witness in &self.witnesses {
                let state = match (witness.problem.is_empty(), witness.alarm) {
                    (true, false) => "good".to_owned(),
                    (true, true) => "ALARM".to_owned(),
                    (false, false) => witness.problem.clone(),
                    (false, true) => format!("ALARM: {}", witness.problem),
                };
                let at = witness.cosigned_at.clone().unwrap_or_else(|| "never".to_owned());
                table.add_row([
                    witness.name.clone(),
                    witness.size.to_string(),
                    witness.behind.to_string(),
                    at,
                    state,
                ]);
            }
            text += &format!("{table}\n{} of {} have to cosign.\n", self.quorum, self.witnesses.len());
        }
        if !self.own_key.is_empty() {
            text += &format!("This hub is the witness {}\n", self.own_key);
            for log in &self.followed {
                text += &format!("  {}: {} leaves cosigned\n", log.origin, log.size);
            }
        }
        text.trim_end().to_owned()
    }
}

impl Witness {
    fn of(state: WitnessState, size: u64) -> Self {
        let at = Some(state.cosigned_at_us).filter(|at| *at != 0).map(Timestamp);
        Self {
            name: state.verifier_key.split('+').next().unwrap_or_default().to_owned(),
            behind: size.saturating_sub(state.size),
            cosigned_at: at.map(vietnam_time),
            seconds_ago: at.map(|at| (now().0 - at.0) / 1_000_000),
            verifier_key: state.verifier_key,
            url: state.url,
            size: state.size,
            problem: state.problem,
            alarm: state.alarm,
        }
    }
}
