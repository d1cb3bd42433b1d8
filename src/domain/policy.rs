//! Who may send.

use super::{
    directory::{AgencyEntry, Directory},
    id::{AgencyId, NodeName},
    reason::{Reason, ReasonCode},
};

/// Lets an active agency of the directory send through a node that acts for it, and returns its record.
///
/// `UNKNOWN_NODE`, `UNKNOWN_AGENCY` and `NOT_AUTHORISED` as [`Directory::may_act`]; `AGENCY_CLOSED` for a closed
/// or suspended sender.
pub fn may_send<'d>(
    directory: &'d Directory,
    node: &NodeName,
    sender: &AgencyId,
) -> Result<&'d AgencyEntry, Reason> {
    directory.may_act(node, sender)?;
    let agency = directory
        .agency(sender)
        .ok_or_else(|| Reason::new(ReasonCode::UnknownAgency, format!("sender {sender}")))?;
    if !agency.is_active() {
        return Err(Reason::new(ReasonCode::AgencyClosed, format!("sender {sender}")));
    }
    Ok(agency)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::directory::testing::*, proto::AgencyState};

    #[test]
    fn an_active_agency_sends_through_its_own_node() {
        let mut directory = directory(&["H53", "H54"]);
        change(&mut directory, put_node("tayninh", &["H53"]));
        let send = |directory: &Directory, node: &str, sender: &str| {
            let node = NodeName::parse(node).expect("node");
            let sender = AgencyId::parse(sender).expect("agency");
            may_send(directory, &node, &sender)
                .map(|agency| agency.id.to_string())
                .map_err(|reason| reason.code)
        };
        assert_eq!(send(&directory, "tayninh", "H53"), Ok("H53".into()));
        assert_eq!(send(&directory, "tayninh", "H54"), Err(ReasonCode::NotAuthorised));
        assert_eq!(send(&directory, "tayninh", "H55"), Err(ReasonCode::UnknownAgency));
        assert_eq!(send(&directory, "stranger", "H53"), Err(ReasonCode::UnknownNode));

        change(&mut directory, set_state("H53", AgencyState::Suspended));
        assert_eq!(send(&directory, "tayninh", "H53"), Err(ReasonCode::AgencyClosed));
    }
}
