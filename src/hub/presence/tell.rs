//! What operators are told of who is there.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use super::{AgencyLine, NodeLine, Presence, Receiver, SessionLine, lock};
use crate::{
    domain::{
        directory::{AgencyEntry, Directory, NodeEntry},
        id::{AgencyId, NodeName},
        reason::{Reason, ReasonCode},
        time::Timestamp,
    },
    hub::{Hub, refused::Refused},
    proto::{
        AgencyContact, Level, ListAgencyContactsRequest, ListAgencyContactsResponse, ListNodeContactsRequest,
        ListNodeContactsResponse, ListSessionsRequest, ListSessionsResponse, LogKnowledge, NodeContact,
        SessionInfo,
    },
};

/// Lines of a page when the caller names no number.
const DEFAULT_PAGE: u32 = 200;
/// Lines of a page at most.
const MAX_PAGE: u32 = 1_000;
/// Agencies looked at for one page, where not all of them are told.
const MAX_LOOKED_AT: usize = 20_000;
/// Agencies of a session that are named.
const NAMED: usize = 20;

impl Hub {
    /// A page of the sessions that stand.
    pub fn list_sessions(&self, request: &ListSessionsRequest) -> Result<ListSessionsResponse, Refused> {
        let after = session_token(&request.page_token)?;
        let agency = self.agency_named(&request.agency)?;
        let node = (!request.node.is_empty()).then_some(request.node.as_str());
        let (all, open) = self.presence.sessions_after(after);
        let wanted = all.into_iter().filter(|(_, line)| {
            node.is_none_or(|node| line.node.as_str() == node)
                && agency.as_ref().is_none_or(|agency| line.agencies.binary_search(agency).is_ok())
        });
        let limit = page_size(request.page_size);
        let mut page: Vec<_> = wanted.take(limit + 1).collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(|(id, _)| id.to_string()).unwrap_or_default();
        Ok(ListSessionsResponse {
            sessions: page.iter().map(|(id, line)| self.session_info(*id, line)).collect(),
            next_page_token: next,
            open: u32::try_from(open).unwrap_or(u32::MAX),
            started_us: self.presence.started.0,
        })
    }

    /// A page of the directory's nodes.
    pub fn list_node_contacts(
        &self,
        request: &ListNodeContactsRequest,
    ) -> Result<ListNodeContactsResponse, Refused> {
        let directory = self.directory();
        let agency = self.agency_named(&request.agency)?;
        let after = request.page_token.as_str();
        let limit = page_size(request.page_size);
        let mut page = Vec::new();
        let mut more = false;
        for entry in directory.nodes().filter(|entry| after.is_empty() || entry.name.as_str() > after) {
            if agency.as_ref().is_some_and(|agency| !entry.agencies.contains(agency)) {
                continue;
            }
            let contact = self.node_contact(entry);
            if request.away && contact.connected_since_us != 0 {
                continue;
            }
            if page.len() == limit {
                more = true;
                break;
            }
            page.push(contact);
        }
        let next = page.last().filter(|_| more).map(|contact| contact.node.clone()).unwrap_or_default();
        Ok(ListNodeContactsResponse {
            nodes: page,
            next_page_token: next,
            started_us: self.presence.started.0,
            log: Some(self.log_knowledge()),
        })
    }

    /// A page of the directory's agencies.
    pub fn list_agency_contacts(
        &self,
        request: &ListAgencyContactsRequest,
    ) -> Result<ListAgencyContactsResponse, Refused> {
        let directory = self.directory();
        let below = self.agency_named(&request.below)?;
        let level = Level::try_from(request.level)
            .map_err(|_| Reason::invalid("level", format_args!("{} is unknown", request.level)))?;
        let limit = page_size(request.page_size);
        let looked = if request.silent_for_us > 0 { MAX_LOOKED_AT } else { limit };
        let after = agency_token(&request.page_token)?;
        let found = directory.agencies(below.as_ref(), level, after.as_ref(), looked);
        let all_seen = found.len() < looked;
        let mut last = found.last().map(|entry| entry.id.clone()).filter(|_| !all_seen);
        let mut page = Vec::new();
        for entry in found {
            let contact = self.agency_contact_in(&directory, entry);
            if !self.is_silent(&contact, request.silent_for_us) {
                continue;
            }
            page.push(contact);
            if page.len() == limit {
                let more = last.is_some() || !all_seen_after(&directory, below.as_ref(), level, &entry.id);
                last = more.then(|| entry.id.clone());
                break;
            }
        }
        Ok(ListAgencyContactsResponse {
            agencies: page,
            next_page_token: last.map(|id| id.to_string()).unwrap_or_default(),
            started_us: self.presence.started.0,
            log: Some(self.log_knowledge()),
        })
    }

    /// Whether somebody receives for an agency now, and when somebody last did; 0 for never since the start.
    #[must_use]
    pub fn receiving(&self, directory: &Directory, agency: &AgencyId) -> (bool, i64) {
        let mut left = self.presence.known_agency(agency).map_or(0, |line| line.left.us());
        for node in directory.nodes_of(agency) {
            let Some(line) = self.presence.known_node(&node.name) else { continue };
            if line.receives_since(agency).is_some() {
                return (true, self.clock.now().0);
            }
            left = left.max(line.left_all.us());
        }
        (false, left)
    }

    /// Whether anybody takes an agency's documents; `None` for one that the directory does not know.
    #[must_use]
    pub fn agency_contact(&self, agency: &AgencyId) -> Option<AgencyContact> {
        let directory = self.directory();
        directory.resolve(agency.as_str()).map(|entry| self.agency_contact_in(&directory, entry))
    }

    /// Last moment of the certificate with which a node came last; `None` if it did not since the start.
    pub(in crate::hub) fn certificate_until(&self, node: &NodeName) -> Option<Timestamp> {
        let line = self.presence.known_node(node)?;
        lock(&line.peer).certificate_until
    }

    fn agency_contact_in(&self, directory: &Directory, entry: &AgencyEntry) -> AgencyContact {
        let presence = &self.presence;
        let line = presence.known_agency(&entry.id);
        let mut contact = AgencyContact {
            organ_id: entry.id.to_string(),
            name: entry.name.clone(),
            level: entry.level.into(),
            last_receiving_us: line.as_ref().map_or(0, |line| line.left.us()),
            last_signed_us: line.as_ref().map_or(0, |line| line.signed.us()),
            waiting: self.dispatcher.waiting_for(&entry.id) as u64,
            started_us: presence.started.0,
            ..AgencyContact::default()
        };
        contact.signed_from_log = presence.is_before_start(contact.last_signed_us);
        for node in directory.nodes_of(&entry.id) {
            contact.nodes.push(node.name.to_string());
            let Some(line) = presence.known_node(&node.name) else { continue };
            contact.last_receiving_us = contact.last_receiving_us.max(line.left_all.us());
            let Some(since) = line.receives_since(&entry.id) else { continue };
            contact.receiving.push(node.name.to_string());
            contact.last_receiving_us = presence.clock.now().0;
            contact.receiving_since_us = match contact.receiving_since_us {
                0 => since.0,
                earlier => earlier.min(since.0),
            };
        }
        contact
    }

    fn is_silent(&self, contact: &AgencyContact, for_us: i64) -> bool {
        if for_us <= 0 {
            return true;
        }
        let last = contact.last_receiving_us.max(contact.started_us);
        contact.receiving.is_empty() && self.clock.now().0.saturating_sub(last) >= for_us
    }

    fn node_contact(&self, entry: &NodeEntry) -> NodeContact {
        let told = NodeContact {
            node: entry.name.to_string(),
            revoked: entry.revoked,
            agency_count: u32::try_from(entry.agencies.len()).unwrap_or(u32::MAX),
            ..NodeContact::default()
        };
        let Some(line) = self.presence.known_node(&entry.name) else { return told };
        let now = self.clock.now();
        let peer = *lock(&line.peer);
        let mut leases = lock(&line.leases).clone();
        for session in self.presence.sessions_of(&entry.name) {
            leases.extend(lock(&session.leases).iter().cloned());
        }
        self.dispatcher.retain_held(&mut leases);
        let receivers = lock(&line.receivers);
        let sessions = receivers.open.values().filter(|receiver| receiver.is_session).count();
        NodeContact {
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
            fetches: u32::try_from(receivers.open.len() - sessions).unwrap_or(u32::MAX),
            connected_since_us: if receivers.open.is_empty() { 0 } else { receivers.since.0 },
            left_us: receivers.left.0,
            last_contact_us: line.heard.us(),
            contact_from_log: self.presence.is_before_start(line.heard.us()),
            last_fetch_us: line.fetched.us(),
            last_offer_us: line.offered_at.us(),
            last_receipt_us: line.answered_at.us(),
            last_submission_us: line.submitted_at.us(),
            address: peer.address.map(|address| address.to_string()).unwrap_or_default(),
            certificate_until_us: peer.certificate_until.map_or(0, |until| until.0),
            in_flight: u32::try_from(leases.len()).unwrap_or(u32::MAX),
            offered: Some(line.offered.traffic(now)),
            answered: Some(line.answered.traffic(now)),
            submitted: Some(line.submitted.traffic(now)),
            ..told
        }
    }

    fn session_info(&self, id: u64, line: &SessionLine) -> SessionInfo {
        let mut leases = lock(&line.leases).clone();
        self.dispatcher.retain_held(&mut leases);
        SessionInfo {
            session: id,
            node: line.node.to_string(),
            address: line.peer.address.map(|address| address.to_string()).unwrap_or_default(),
            certificate_until_us: line.peer.certificate_until.map_or(0, |until| until.0),
            since_us: line.since.0,
            agency_count: u32::try_from(line.agencies.len()).unwrap_or(u32::MAX),
            agencies: line.agencies.iter().take(NAMED).map(ToString::to_string).collect(),
            credit: line.credit.load(Ordering::Relaxed),
            in_flight: u32::try_from(leases.len()).unwrap_or(u32::MAX),
            last_offer_us: line.offered_at.us(),
            offered: Some(line.offered.traffic(self.clock.now())),
        }
    }

    fn log_knowledge(&self) -> LogKnowledge {
        let learned = *lock(&self.presence.learned);
        LogKnowledge { from_us: learned.from.0, covers: learned.covers, size: self.size() }
    }

    /// The agency of a field, by identifier or alias.
    fn agency_named(&self, text: &str) -> Result<Option<AgencyId>, Refused> {
        if text.is_empty() {
            return Ok(None);
        }
        let unknown = || Refused::because(ReasonCode::UnknownAgency, crate::domain::id::shorten(text));
        Ok(Some(self.directory().resolve(text).ok_or_else(unknown)?.id.clone()))
    }
}

impl Presence {
    /// Whether a session or fetch of a node for this agency is there.
    pub(in crate::hub) fn receives(&self, node: &NodeName, agency: &AgencyId) -> bool {
        self.known_node(node).is_some_and(|line| line.receives_since(agency).is_some())
    }

    pub(super) fn known_node(&self, node: &NodeName) -> Option<Arc<NodeLine>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    fn known_agency(&self, agency: &AgencyId) -> Option<Arc<AgencyLine>> {
        self.agencies.read().unwrap_or_else(PoisonError::into_inner).get(agency).cloned()
    }

    fn is_before_start(&self, us: i64) -> bool {
        us != 0 && us < self.started.0
    }

    /// Sessions behind an id, and how many there are in all.
    fn sessions_after(&self, after: u64) -> (Vec<(u64, Arc<SessionLine>)>, usize) {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let behind = sessions.range(after.saturating_add(1)..);
        (behind.map(|(id, line)| (*id, Arc::clone(line))).collect(), sessions.len())
    }

    fn sessions_of(&self, node: &NodeName) -> Vec<Arc<SessionLine>> {
        let Some(line) = self.known_node(node) else { return Vec::new() };
        let ids: Vec<u64> = lock(&line.receivers).open.keys().copied().collect();
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        ids.iter().filter_map(|id| sessions.get(id).cloned()).collect()
    }
}

impl NodeLine {
    /// Since when it receives for this agency; `None` when it does not.
    fn receives_since(&self, agency: &AgencyId) -> Option<Timestamp> {
        let receivers = lock(&self.receivers);
        let covering = |receiver: &&Receiver| receiver.scope.covers(agency);
        receivers.open.values().filter(covering).map(|receiver| receiver.since).min()
    }
}

fn all_seen_after(directory: &Directory, below: Option<&AgencyId>, level: Level, after: &AgencyId) -> bool {
    directory.agencies(below, level, Some(after), 1).is_empty()
}

fn agency_token(token: &str) -> Result<Option<AgencyId>, Refused> {
    if token.is_empty() {
        return Ok(None);
    }
    AgencyId::parse(token).map(Some).map_err(|_| bad_token())
}

fn session_token(token: &str) -> Result<u64, Refused> {
    if token.is_empty() { Ok(0) } else { token.parse().map_err(|_| bad_token()) }
}

fn bad_token() -> Refused {
    Refused::because(ReasonCode::BadCursor, "page_token: not one of this hub")
}

fn page_size(asked: u32) -> usize {
    (if asked == 0 { DEFAULT_PAGE } else { asked.min(MAX_PAGE) }) as usize
}
