//! Agencies that documents wait for in vain, by the cause that `truc why` tells for each of them.

use super::{Hub, health::Condition};
use crate::{
    domain::{cause, directory::Directory, id::AgencyId},
    proto::WhyCause,
};

/// Causes that keep everything from an agency.
pub const CAUSES: [WhyCause; 10] = [
    WhyCause::NodeAway,
    WhyCause::NoNode,
    WhyCause::NodeRevoked,
    WhyCause::NoValidKey,
    WhyCause::CertificateExpired,
    WhyCause::SessionFlaps,
    WhyCause::AgencySuspended,
    WhyCause::AgencyClosed,
    WhyCause::ClockOff,
    WhyCause::DiskFull,
];

/// Causes that somebody has to mend in the directory or with a new certificate: no node does so by coming back.
const FOR_SECURITY: [WhyCause; 4] =
    [WhyCause::NoNode, WhyCause::NodeRevoked, WhyCause::NoValidKey, WhyCause::CertificateExpired];

/// Agencies named in a cause.
const NAMED: usize = 5;

/// Agencies that something waits for and nothing reaches.
#[derive(Clone, Debug, Default)]
pub struct Blocked {
    /// How many, in the order of [`CAUSES`].
    pub counts: [u64; CAUSES.len()],
    /// The first ones of each cause.
    first: [Vec<AgencyId>; CAUSES.len()],
}

impl Blocked {
    fn add(&mut self, cause: WhyCause, agency: AgencyId) {
        let Some(at) = CAUSES.iter().position(|known| *known == cause) else { return };
        self.counts[at] += 1;
        if self.first[at].len() < NAMED {
            self.first[at].push(agency);
        }
    }

    fn of(&self, causes: &[WhyCause]) -> Option<String> {
        let told: Vec<_> = (0..CAUSES.len())
            .filter(|at| self.counts[*at] > 0 && causes.contains(&CAUSES[*at]))
            .map(|at| {
                let names: Vec<_> = self.first[at].iter().map(AgencyId::as_str).collect();
                let more = if self.counts[at] > names.len() as u64 { ", …" } else { "" };
                format!("{} ({}): {}{more}", cause::name(CAUSES[at]), self.counts[at], names.join(", "))
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

impl Hub {
    /// Looks at every agency that something waits for: some microseconds each.
    #[must_use]
    pub fn blocked(&self) -> Blocked {
        let (directory, mut blocked) = (self.directory(), Blocked::default());
        for agency in self.dispatcher.awaited() {
            if let Some(cause) = self.blocker(&directory, &agency) {
                blocked.add(cause, agency);
            }
        }
        blocked
    }

    pub(super) fn look_at_recipients(&self) {
        let blocked = self.blocked();
        self.health.set(Condition::RecipientBlocked, blocked.of(&FOR_SECURITY));
        self.health.set(Condition::SessionFlaps, blocked.of(&[WhyCause::SessionFlaps]));
    }

    /// The recipient's nodes that flap, and since when, if no other node receives for it.
    pub(super) fn flapping(&self, directory: &Directory, agency: &AgencyId) -> Option<(String, i64)> {
        let (mut names, mut first) = (Vec::new(), i64::MAX);
        for node in directory.nodes_of(agency) {
            match self.presence.flaps_since(&node.name) {
                Some(since) => {
                    names.push(node.name.as_str());
                    first = first.min(since.0);
                }
                None if self.presence.receives(&node.name, agency) => return None,
                None => {}
            }
        }
        (!names.is_empty()).then(|| (names.join(", "), first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_names_the_first_and_counts_all() {
        let mut blocked = Blocked::default();
        assert_eq!(blocked.of(&CAUSES), None);
        for number in 0..7 {
            blocked.add(WhyCause::NoNode, AgencyId::parse(&format!("000.0{number}.21.H38")).unwrap());
        }
        blocked.add(WhyCause::InLine, AgencyId::parse("000.00.21.H38").unwrap());
        blocked.add(WhyCause::NoValidKey, AgencyId::parse("000.00.22.H38").unwrap());
        let told = blocked.of(&FOR_SECURITY).unwrap();
        assert!(told.starts_with("no-node (7): 000.00.21.H38, "), "{told}");
        assert!(told.ends_with("000.04.21.H38, …; no-valid-key (1): 000.00.22.H38"), "{told}");
        assert_eq!(blocked.of(&[WhyCause::SessionFlaps]), None);
        assert_eq!(blocked.counts.iter().sum::<u64>(), 8);
    }
}
