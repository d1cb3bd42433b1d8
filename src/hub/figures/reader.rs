//! From leaves to what they add to the numbers. Levels are those of the directory at that leaf, so that the same log
//! always gives the same numbers.

use std::{collections::BTreeSet, sync::Arc};

use prost::Message;

use super::tally::{End, Fact, Pair};
use crate::{
    domain::{
        agency,
        directory::Directory,
        id::{AgencyId, Digest},
        time::Timestamp,
    },
    proto::{ActionKind, DirectoryChange, EventKind, Evidence, Level, Party},
    store::{Store, StoreError},
};

/// Waiting deliveries read at a time.
const PAGE: usize = 1_000;

/// Reads the log from a leaf on.
pub struct Reader {
    pub store: Arc<dyn Store>,
    directory: Directory,
}

/// A signed message that a leaf tells of.
pub struct Signed<'e> {
    pub node: &'e str,
    pub agency: &'e str,
}

impl Reader {
    /// A reader before the first leaf.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, directory: Directory::default() }
    }

    /// Makes it ready to read the leaf `first`.
    pub fn go_to(&mut self, first: u64) -> Result<(), StoreError> {
        for (leaf, change) in self.store.directory_changes()? {
            if leaf >= first {
                break;
            }
            self.change(leaf, &change);
        }
        Ok(())
    }

    /// What it adds to the numbers.
    pub fn fact(&mut self, leaf: u64, evidence: &Evidence) -> Result<Option<Fact>, StoreError> {
        let at = Timestamp(evidence.event_time_us);
        if evidence.test {
            return Ok(None);
        }
        Ok(match evidence.event() {
            EventKind::DirectoryChange => {
                self.change(leaf, &evidence.directory_change);
                None
            }
            EventKind::SubmissionAcceptance => self.accepted(leaf, evidence)?,
            EventKind::SubmissionRejection => Some(Fact::Rejected { at }),
            EventKind::ContentConsignment => {
                let submitted = Timestamp(evidence.submission_time_us);
                self.pair(evidence).map(|pair| Fact::Consigned { at, pair, submitted })
            }
            EventKind::ContentHandover => self.ended(evidence, End::HandedOver),
            EventKind::ContentHandoverFailure => self.ended(evidence, End::Expired),
            EventKind::DeliveryReleased if self.is_resent(evidence)? => {
                let submitted = Timestamp(evidence.submission_time_us);
                self.pair(evidence).map(|pair| Fact::Resumed { pair, submitted })
            }
            EventKind::DeliveryCancelled => self.ended(evidence, End::Cancelled),
            // Without a status code it is the system's signed refusal; with one (02), the agency's word afterwards.
            EventKind::ConsignmentRejection if evidence.status_code == 0 => {
                self.ended(evidence, End::Refused)
            }
            EventKind::ConsignmentRejection => self.pair(evidence).map(|pair| Fact::SentBack { at, pair }),
            _ => None,
        })
    }

    /// Who signed the message that this leaf tells of, and through which node. A refused one proves no agency.
    pub fn signed<'e>(&self, leaf: u64, evidence: &'e Evidence) -> Result<Option<Signed<'e>>, StoreError> {
        let parties = evidence.sender.iter().chain(&evidence.recipients);
        let Some(Party { node, agency, .. }) = parties.rev().find(|party| !party.node.is_empty()) else {
            return Ok(None);
        };
        let refused = matches!(evidence.event(), EventKind::SubmissionRejection | EventKind::ReportRejection);
        if !refused && evidence.status_code > 0 && !self.is_its_answer(leaf, evidence)? {
            return Ok(None);
        }
        Ok(Some(Signed { node, agency: if refused { "" } else { agency } }))
    }

    /// False for a status that was signed long before this leaf, and waited for its document.
    fn is_its_answer(&self, leaf: u64, evidence: &Evidence) -> Result<bool, StoreError> {
        let Some(message) = Digest::from_slice(&evidence.message_sha256) else { return Ok(false) };
        Ok(self.store.answered(&message)? == Some(leaf))
    }

    fn accepted(&self, leaf: u64, evidence: &Evidence) -> Result<Option<Fact>, StoreError> {
        // More recipients of a known document are no document.
        let Some(record) = self.store.document(leaf)? else { return Ok(None) };
        let recipients = self.store.recipient_list(leaf)?.map(|list| list.recipients).unwrap_or_default();
        let to: BTreeSet<Level> = recipients.iter().map(|recipient| self.level(recipient)).collect();
        Ok(Some(Fact::Accepted {
            at: Timestamp(evidence.event_time_us),
            from: self.level(&record.sender),
            urgency: record.urgency,
            to: to.into_iter().collect(),
        }))
    }

    /// A release from a hold changes nothing: what is held waits.
    fn is_resent(&self, evidence: &Evidence) -> Result<bool, StoreError> {
        let Some(action) = evidence.action_plus_one.checked_sub(1) else { return Ok(false) };
        Ok(self.store.action(action)?.is_some_and(|action| action.action_kind() == ActionKind::Resend))
    }

    fn ended(&self, evidence: &Evidence, end: End) -> Option<Fact> {
        let (at, submitted) = (Timestamp(evidence.event_time_us), Timestamp(evidence.submission_time_us));
        self.pair(evidence).map(|pair| Fact::Ended { at, pair, submitted, end })
    }

    fn pair(&self, evidence: &Evidence) -> Option<Pair> {
        let (sender, recipient) = (evidence.sender.as_ref()?, evidence.recipients.first()?);
        Some(Pair { from: self.level(&sender.agency), to: self.level(&recipient.agency) })
    }

    fn level(&self, text: &str) -> Level {
        match self.directory.resolve(text) {
            Some(entry) => entry.level,
            None => AgencyId::parse(text).map_or(Level::Unspecified, |id| agency::level_of(&id)),
        }
    }

    /// A change that can't be read changes no level; the hub itself would not have started with it.
    fn change(&mut self, leaf: u64, change: &[u8]) {
        if let Ok(change) = DirectoryChange::decode(change)
            && let Err(reason) = self.directory.apply(leaf, &change)
        {
            tracing::error!(%reason, leaf, "a directory change does not count in the figures");
        }
    }
}

/// The evidence of a leaf below the head.
pub fn evidence(store: &dyn Store, leaf: u64) -> Result<Evidence, StoreError> {
    let damaged = |what: String| StoreError::Damaged(format!("leaf {leaf}: {what}"));
    let stored = store.leaf(leaf)?.ok_or_else(|| damaged("is missing".into()))?;
    Evidence::decode(stored.evidence).map_err(|error| damaged(error.to_string()))
}

/// Where to begin: at the first leaf of a time, and before all that waits.
pub fn first_leaf(store: &dyn Store, from: Timestamp) -> Result<u64, StoreError> {
    let mut first = first_since(store, from)?;
    if let Some(oldest) = oldest_waiting(store)?
        && oldest < first
    {
        first = oldest;
    }
    // Documents of one commit share a moment, and deliveries are told apart by it.
    while first > 0 && time(store, first - 1)? == time(store, first)? {
        first -= 1;
    }
    Ok(first)
}

/// Leaves stand in the order of time, but for a clock that was set back.
fn first_since(store: &dyn Store, from: Timestamp) -> Result<u64, StoreError> {
    let (mut low, mut high) = (0, store.head().size);
    while low < high {
        let middle = low + (high - low) / 2;
        if time(store, middle)? < from { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// When a leaf was written; behind the last one, never.
pub fn time(store: &dyn Store, leaf: u64) -> Result<Timestamp, StoreError> {
    if leaf >= store.head().size {
        return Ok(Timestamp(i64::MAX));
    }
    Ok(Timestamp(evidence(store, leaf)?.event_time_us))
}

fn oldest_waiting(store: &dyn Store) -> Result<Option<u64>, StoreError> {
    let (mut oldest, mut after) = (None, None);
    loop {
        let mut page = store.waiting(after.as_ref(), PAGE)?;
        let least = page.iter().map(|waiting| waiting.document).min();
        oldest = [oldest, least].into_iter().flatten().min();
        after = page.pop();
        if after.is_none() {
            return Ok(oldest);
        }
    }
}
