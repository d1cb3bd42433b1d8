//! One run: find what is due, find out which of its bodies nobody else needs, let the writer record it.
//!
//! Everything that is found out here may be old when the writer decides: it says as of which leaf it holds, and the
//! writer looks at what came since.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        delivery::Transport,
        id::{AgencyId, Digest},
        reason::{Reason, ReasonCode},
        retention::{Kind, Rules},
        time::Timestamp,
    },
    hub::{
        Hub,
        refused::{Refused, blocking, stopping},
        sequencer::{Answer, Erasing, Proposal},
    },
    proto::{ErasedDocument, ErasedScope, Manifest, RunRetentionResponse, SignedEnvelope},
    store::{
        StoreError,
        records::{BodyRecord, DocumentRecord, HoldRecord},
    },
};

/// Leaves looked at in one step.
const STEP: u64 = 512;
/// Documents found before they are worked off.
const MAX_FOUND: usize = if cfg!(test) { 3 } else { 20_000 };
/// Documents of one proposal.
const GROUP: usize = 64;
/// Leaves that may come before all documents since are looked at again.
const MAX_BEHIND: u64 = 256;
/// Documents that the answer lists.
const MAX_LISTED: usize = 1_000;
/// Deliveries read at a time.
const PAGE: usize = 1_000;
/// Rest when the writer is busy.
const BUSY: Duration = Duration::from_millis(200);

pub struct Run {
    hub: Arc<Hub>,
    operator: String,
    dry_run: bool,
    rules: Rules,
    holds: Vec<HoldRecord>,
    now: Timestamp,
    report: RunRetentionResponse,
}

/// A document whose contents are due.
struct Found {
    document: DocumentRecord,
    scope: ErasedScope,
    policy: String,
    /// Bodies that it would lose, each once.
    bodies: Vec<(Bytes, Option<BodyRecord>)>,
    ended_as_of: u64,
}

/// How many documents that are not erased need each of some bodies, by the log below `as_of`.
#[derive(Default)]
struct Users {
    counts: HashMap<Bytes, u32>,
    as_of: u64,
}

impl Run {
    pub fn new(hub: Arc<Hub>, operator: &str, dry_run: bool) -> Self {
        let (rules, holds, now) = (hub.retention.rules(), hub.erasures.holds(), hub.clock.now());
        let operator = operator.to_owned();
        Self { hub, operator, dry_run, rules, holds, now, report: RunRetentionResponse::default() }
    }

    pub async fn run(mut self) -> Result<RunRetentionResponse, Refused> {
        let Some(newest) = self.rules.newest(self.now) else { return Ok(self.report) };
        let mut from = Some(0);
        while let Some(next) = from {
            let found;
            (found, from) = self.find(next, newest).await?;
            if !found.is_empty() {
                self.work_off(found).await?;
            }
        }
        Ok(self.report)
    }

    /// Documents that are due, from a leaf on, and where to go on.
    async fn find(&mut self, from: u64, newest: Timestamp) -> Result<(Vec<Found>, Option<u64>), Refused> {
        let (mut found, mut next) = (Vec::new(), from);
        while found.len() < MAX_FOUND {
            let head = self.hub.size();
            if next >= head {
                return Ok((found, None));
            }
            let end = head.min(next + STEP);
            let documents = self.documents(next..end).await?;
            next = end;
            for document in documents {
                if document.accepted_at_us > newest.0 {
                    // Documents come in the order of time, but for a clock that was set back: the next run gets those.
                    return Ok((found, None));
                }
                self.report.looked_at += 1;
                found.extend(self.judge(document).await?);
            }
        }
        Ok((found, Some(next)))
    }

    async fn documents(&self, leaves: std::ops::Range<u64>) -> Result<Vec<DocumentRecord>, Refused> {
        if self.hub.stopping.is_cancelled() {
            return Err(stopping());
        }
        let hub = Arc::clone(&self.hub);
        let documents = blocking(move || hub.store.documents(leaves)).await??;
        self.rest(documents.len()).await;
        Ok(documents)
    }

    async fn rest(&self, documents: usize) {
        let rate = self.hub.retention.policy.get().map_or(u32::MAX, |policy| policy.documents_per_second);
        tokio::time::sleep(Duration::from_secs_f64(documents as f64 / f64::from(rate.max(1)))).await;
    }

    async fn judge(&mut self, document: DocumentRecord) -> Result<Option<Found>, Refused> {
        let (hub, rules, now) = (Arc::clone(&self.hub), self.rules.clone(), self.now);
        let found = blocking(move || hub.due(document, &rules, now)).await??;
        let Some(found) = found else { return Ok(None) };
        if self.is_held(&found.document).await? {
            self.report.held += 1;
            return Ok(None);
        }
        let (hub, document) = (Arc::clone(&self.hub), found.document.index);
        if !blocking(move || hub.has_ended(document)).await?? {
            self.report.open += 1;
            return Ok(None);
        }
        Ok(Some(found))
    }

    async fn is_held(&self, document: &DocumentRecord) -> Result<bool, Refused> {
        for hold in &self.holds {
            if hold.document_plus_one == document.index + 1 || hold.agency == document.sender {
                return Ok(true);
            }
            if !hold.agency.is_empty() {
                let (hub, index) = (Arc::clone(&self.hub), document.index);
                let agency = AgencyId::parse(&hold.agency)?;
                if blocking(move || hub.store.delivery(index, &agency)).await??.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn work_off(&mut self, found: Vec<Found>) -> Result<(), Refused> {
        let mut users = Users::default();
        users
            .counts
            .extend(found.iter().flat_map(|found| &found.bodies).map(|(digest, _)| (digest.clone(), 0)));
        self.catch_up(&mut users).await?;
        let mut found = found.into_iter().peekable();
        while found.peek().is_some() {
            if self.hub.size() - users.as_of > MAX_BEHIND {
                self.catch_up(&mut users).await?;
            }
            // Documents of one group share no body: each outcome counts before the next one is looked at.
            let (mut group, mut shared) = (Vec::new(), HashSet::new());
            while let Some(next) = found.next_if(|next| {
                group.len() < GROUP && next.bodies.iter().all(|(digest, _)| !shared.contains(digest))
            }) {
                shared.extend(next.bodies.iter().map(|(digest, _)| digest.clone()));
                group.push(next);
            }
            self.erase(group, &mut users).await?;
        }
        Ok(())
    }

    /// Asks the documents that were not asked yet what they need.
    async fn catch_up(&self, users: &mut Users) -> Result<(), Refused> {
        let head = self.hub.size();
        while users.as_of < head {
            let end = head.min(users.as_of + STEP);
            for document in self.documents(users.as_of..end).await? {
                let wanted: BTreeSet<&Bytes> = document
                    .parts
                    .iter()
                    .chain([&document.envelope_sha256])
                    .filter(|digest| users.counts.contains_key(*digest))
                    .collect();
                if wanted.is_empty() {
                    continue;
                }
                let (hub, index) = (Arc::clone(&self.hub), document.index);
                let erased = blocking(move || hub.store.erasure(index)).await??;
                for digest in wanted {
                    let is_envelope = *digest == document.envelope_sha256;
                    let gone = erased.as_ref().is_some_and(|erasure| erasure.is_whole() || !is_envelope);
                    if let Some(count) = users.counts.get_mut(digest).filter(|_| !gone) {
                        *count += 1;
                    }
                }
            }
            users.as_of = end;
        }
        Ok(())
    }

    async fn erase(&mut self, group: Vec<Found>, users: &mut Users) -> Result<(), Refused> {
        if self.dry_run {
            for found in group {
                let bytes = alone(&found, users).map(|body| body.size).sum();
                self.count(&found, bytes, 0, users);
            }
            return Ok(());
        }
        let hub = Arc::clone(&self.hub);
        let packs_end = blocking(move || hub.payload.packs_end()).await?;
        let packs_end =
            packs_end.map_err(|source| StoreError::Io { what: "looking at packs".into(), source })?;
        let erasing = |found: &Found| Erasing {
            document: found.document.clone(),
            scope: found.scope,
            policy: found.policy.clone(),
            operator: self.operator.clone(),
            remove: alone(found, users).cloned().collect(),
            kept: kept(found, users),
            ended_as_of: found.ended_as_of,
            unused_as_of: users.as_of,
            packs_end,
        };
        let proposal: Vec<_> = group.iter().map(erasing).collect();
        for (found, outcome) in group.iter().zip(self.propose(proposal).await?) {
            let bytes = alone(found, users).map(|body| body.size).sum();
            match outcome {
                Ok(leaf) => self.count(found, bytes, leaf, users),
                Err(reason) if reason.code == ReasonCode::AlreadyHeld => self.report.held += 1,
                // Something happened to it meanwhile: the next run looks again.
                Err(_) => self.report.open += 1,
            }
        }
        Ok(())
    }

    async fn propose(&self, erasing: Vec<Erasing>) -> Result<Vec<Result<u64, Reason>>, Refused> {
        let count = erasing.len();
        match self.hub.sequencer.propose(Proposal::Erase(erasing)).await {
            Ok(Answer::Erased(outcomes)) => Ok(outcomes),
            Ok(_) => Err(Refused::because(ReasonCode::StoreFailed, "the writer gave no outcome")),
            Err(refused) if refused.code() == ReasonCode::Busy => {
                // Traffic goes first.
                tokio::time::sleep(BUSY).await;
                Ok((0..count).map(|_| Err(Reason::new(ReasonCode::Busy, "the writer"))).collect())
            }
            Err(refused) => Err(refused),
        }
    }

    fn count(&mut self, found: &Found, bytes: u64, leaf: u64, users: &mut Users) {
        for (digest, _) in &found.bodies {
            if let Some(count) = users.counts.get_mut(digest) {
                *count = count.saturating_sub(1);
            }
        }
        self.report.erased += 1;
        self.report.bytes += bytes;
        if self.report.documents.len() < MAX_LISTED {
            self.report.documents.push(ErasedDocument {
                document_id: found.document.document_id.clone(),
                sender: found.document.sender.clone(),
                revision: found.document.revision,
                policy: found.policy.clone(),
                scope: found.scope.into(),
                leaf,
            });
        }
    }
}

/// Bodies that no other document needs.
fn alone<'a>(found: &'a Found, users: &'a Users) -> impl Iterator<Item = &'a BodyRecord> {
    let mine =
        found.bodies.iter().filter(|(digest, _)| users.counts.get(digest).is_none_or(|count| *count <= 1));
    mine.filter_map(|(_, body)| body.as_ref())
}

fn kept(found: &Found, users: &Users) -> Vec<Bytes> {
    let others = |digest: &Bytes| users.counts.get(digest).is_some_and(|count| *count > 1);
    found.bodies.iter().map(|(digest, _)| digest).filter(|digest| others(digest)).cloned().collect()
}

impl Hub {
    /// The document with its rule, if its contents are due.
    fn due(&self, document: DocumentRecord, rules: &Rules, now: Timestamp) -> Result<Option<Found>, Refused> {
        let ended_as_of = self.size();
        let erased = self.store.erasure(document.index)?;
        if erased.as_ref().is_some_and(|erasure| erasure.is_whole() || !erasure.removed) {
            return Ok(None);
        }
        let mut type_name = String::new();
        if rules.ask_for_type(document.urgency, document.operation) {
            type_name = self.type_name(&document)?;
        }
        let kind = Kind { type_name: &type_name, urgency: document.urgency, operation: document.operation };
        let Some(rule) = rules.due(kind, Timestamp(document.accepted_at_us), now) else { return Ok(None) };
        if erased.is_some() && rule.scope != ErasedScope::All {
            return Ok(None);
        }
        let mut bodies = Vec::new();
        if erased.is_none() {
            for part in document.parts.iter().collect::<BTreeSet<_>>() {
                let digest = Digest::from_slice(part);
                let body = digest.map(|digest| self.store.body(&digest)).transpose()?.flatten();
                bodies.push((part.clone(), body));
            }
        }
        if rule.scope == ErasedScope::All {
            bodies.push((document.envelope_sha256.clone(), self.store.envelope(&document)?));
        }
        if bodies.is_empty() {
            return Ok(None);
        }
        Ok(Some(Found { scope: rule.scope, policy: rule.name.clone(), document, bodies, ended_as_of }))
    }

    fn type_name(&self, document: &DocumentRecord) -> Result<String, Refused> {
        let damaged = || StoreError::Damaged(format!("the envelope of document {}", document.index));
        let body = self.store.envelope(document)?.ok_or_else(damaged)?;
        let envelope = SignedEnvelope::decode(self.payload.read(&body)?).map_err(|_| damaged())?;
        let manifest = Manifest::decode(envelope.payload).map_err(|_| damaged())?;
        Ok(manifest.document.unwrap_or_default().type_name)
    }

    /// True if every delivery of a document ended, and none is still to be made.
    fn has_ended(&self, document: u64) -> Result<bool, Refused> {
        for expansion in self.store.expansions()? {
            let list = self.store.recipient_list(expansion.list)?;
            if list.is_none_or(|list| list.document == document) {
                return Ok(false);
            }
        }
        let mut after = None;
        loop {
            let page = self.store.deliveries(document, after.as_deref(), PAGE)?;
            let open = |transport: i32| Transport::from_wire(transport).is_none_or(|state| !state.is_final());
            if page.iter().any(|delivery| open(delivery.transport)) {
                return Ok(false);
            }
            match page.into_iter().nth(PAGE - 1) {
                Some(last) => after = Some(last.recipient),
                None => return Ok(true),
            }
        }
    }
}
