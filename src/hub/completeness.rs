//! "Did you give me everything?": digests of some days, one agency's evidence of each, and the proofs.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    Hub, pages,
    query::{Nodes, damaged},
    refused::{Refused, blocking},
    search::{Reader, Scope, evidence_of},
};
use crate::{
    daily::{self, Agencies},
    domain::{
        id::{AgencyId, NodeName},
        reason::ReasonCode,
        search::Query,
    },
    proto::{
        AgencyProof, CompletenessDay, CompletenessHashes, CompletenessHead, CompletenessLeaves,
        GetCompletenessRequest, GetCompletenessResponse, ProofLeaf, get_completeness_response::Page,
    },
    store::{
        records::{DigestRecord, Head},
        search::Order,
    },
    tlog::{Hash, merkle},
};

/// Answers under way for nodes; auditors share the places of bundles.
pub const MAX_FOR_NODES: usize = 4;
/// Days of one answer.
const MAX_DAYS: usize = 4_000;
/// Leaves of one answer.
const MAX_LEAVES: u64 = 1_000_000;
/// Leaves looked for at a time.
const STEP: usize = 1_000;
/// A page with so many bytes ends.
const PAGE_BYTES: usize = 512 * 1024;
/// Hashes of one page.
const PAGE_HASHES: usize = 8 * 1024;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Asker {
    /// An auditor or operator, within its scope.
    Reader(Reader),
    /// A node, for an agency of its own.
    Node(NodeName),
}

/// Pages on their way.
pub type Pages = mpsc::Receiver<Result<GetCompletenessResponse, Refused>>;

impl Hub {
    /// Pages in the order that the proto promises. They end with an error if something can't be read. `BUSY` when too
    /// many are under way, or while the search index is behind.
    pub async fn completeness(
        self: &Arc<Self>,
        asker: &Asker,
        request: GetCompletenessRequest,
    ) -> Result<Pages, Refused> {
        let begun = self.begin_completeness(asker, &request).await;
        let (answer, place) = match asker {
            Asker::Node(_) => begun,
            Asker::Reader(reader) => {
                let days = |(answer, _): &(Complete, _)| answer.digests.len() as u64;
                self.record_completeness(reader, &request, begun, days)
            }
        }?;
        let (sender, receiver) = pages::channel();
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            pages::tell(answer, stopping, sender).await;
            drop(place);
        });
        Ok(receiver)
    }

    async fn begin_completeness(
        self: &Arc<Self>,
        asker: &Asker,
        request: &GetCompletenessRequest,
    ) -> Result<(Complete, OwnedSemaphorePermit), Refused> {
        let agency = self.may_ask(asker, &request.agency)?;
        let (from, to, cosigned) = (request.from_day, request.to_day, request.cosigned);
        if from > to || (to - from) as usize >= MAX_DAYS {
            let detail = format!("from_day, to_day: need 1 to {MAX_DAYS} days");
            return Err(Refused::because(ReasonCode::InvalidField, detail));
        }
        let places = match asker {
            Asker::Reader(_) => &self.bundles,
            Asker::Node(_) => &self.own_days,
        };
        let place = place(places)?;
        let hub = Arc::clone(self);
        let answer = blocking(move || Complete::begin(hub, agency, from..to + 1, cosigned)).await??;
        self.reach_index(answer.digests.back().map_or(0, |last| last.end)).await?;
        Ok((answer, place))
    }

    /// The agency under the name that evidence has, if the caller may ask about it.
    fn may_ask(&self, asker: &Asker, agency: &str) -> Result<AgencyId, Refused> {
        let directory = self.directory();
        let id = match directory.resolve(agency) {
            Some(entry) => entry.id.clone(),
            None => AgencyId::parse(agency)?,
        };
        match asker {
            Asker::Node(node) => directory.may_act(node, &id)?,
            Asker::Reader(reader) => {
                let scope = Scope::of(reader.scope.as_ref(), &directory);
                if !scope.holds(std::iter::once(id.as_str())) {
                    return Err(scope.outside(id.as_str()).into());
                }
            }
        }
        Ok(id)
    }
}

fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refused> {
    let full = |_| Refused::because(ReasonCode::Busy, "as many answers as there is room for are being read");
    Arc::clone(places).try_acquire_owned().map_err(full)
}

/// What is left to be told.
struct Complete {
    hub: Arc<Hub>,
    head: Head,
    agency: AgencyId,
    days: Range<u32>,
    query: Query,
    told_head: bool,
    digests: VecDeque<DigestRecord>,
    open: Option<Open>,
    leaves: u64,
}

/// The day whose leaves are being told.
struct Open {
    left: Range<u64>,
    told: Vec<u64>,
    hashes: Option<std::vec::IntoIter<Hash>>,
}

impl pages::Pages for Complete {
    type Page = GetCompletenessResponse;

    fn page(&mut self) -> Result<Option<GetCompletenessResponse>, Refused> {
        Ok(self.next()?.map(|page| GetCompletenessResponse { page: Some(page) }))
    }
}

impl Complete {
    fn begin(hub: Arc<Hub>, agency: AgencyId, days: Range<u32>, cosigned: bool) -> Result<Self, Refused> {
        let mut digests: VecDeque<_> = hub.store.digests(days.start, MAX_DAYS + 1)?.into();
        // Read after the digests: all that are told are in it.
        let head = hub.head_for(cosigned)?;
        digests.retain(|digest| digest.leaf < head.size);
        let last = digests.iter().position(|digest| digest.day + 1 >= days.end);
        digests.truncate(last.map_or(digests.len(), |last| last + 1));
        let query = evidence_of(&agency);
        Ok(Self { hub, head, agency, days, query, told_head: false, digests, open: None, leaves: 0 })
    }

    fn next(&mut self) -> Result<Option<Page>, Refused> {
        if !std::mem::replace(&mut self.told_head, true) {
            return Ok(Some(self.first()));
        }
        if let Some(page) = self.next_of_day()? {
            return Ok(Some(page));
        }
        self.digests.pop_front().map(|digest| self.begin_day(&digest)).transpose()
    }

    fn first(&self) -> Page {
        Page::Head(CompletenessHead {
            verifier_key: self.hub.keys.signer_of(&self.head.checkpoint),
            checkpoint: self.head.checkpoint.clone(),
            agency: self.agency.to_string(),
            from_day: self.days.start,
            to_day: self.days.end - 1,
            log_keys: self.hub.keys.proofs.clone(),
        })
    }

    fn begin_day(&mut self, digest: &DigestRecord) -> Result<Page, Refused> {
        let evidence = self.evidence(digest.leaf)?;
        let path = merkle::inclusion_path(digest.leaf, self.head.size, &Nodes(&*self.hub.store))?;
        let path = path.ok_or_else(|| damaged(digest.leaf))?;
        let agency = match self.days.contains(&digest.day) {
            true => Some(self.said(digest)?),
            false => None,
        };
        if agency.is_some() {
            let left = digest.start..digest.end;
            self.open = Some(Open { left, told: Vec::new(), hashes: None });
        }
        let path = path.iter().map(|hash| Bytes::copy_from_slice(hash)).collect();
        Ok(Page::Day(CompletenessDay { index: digest.leaf, evidence, path, agency }))
    }

    fn said(&self, digest: &DigestRecord) -> Result<AgencyProof, Refused> {
        let days = self.hub.store.digest_agencies(digest.leaf)?;
        let agencies = days.and_then(Agencies::of).ok_or_else(|| damaged(digest.leaf))?;
        Ok(agencies.proof(self.agency.as_str()))
    }

    /// More of the day: leaves, then the proof for all of them.
    fn next_of_day(&mut self) -> Result<Option<Page>, Refused> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let leaves = self.next_leaves(&mut open)?;
        if !leaves.is_empty() {
            self.open = Some(open);
            return Ok(Some(Page::Leaves(CompletenessLeaves { leaves })));
        }
        if open.told.is_empty() {
            return Ok(None);
        }
        let rest = match &mut open.hashes {
            Some(rest) => rest,
            none => none.insert(self.hashes(&open.told)?.into_iter()),
        };
        let hashes: Vec<_> = rest.take(PAGE_HASHES).map(|hash| Bytes::copy_from_slice(&hash)).collect();
        if hashes.is_empty() {
            return Ok(None);
        }
        self.open = Some(open);
        Ok(Some(Page::Hashes(CompletenessHashes { hashes })))
    }

    fn next_leaves(&mut self, open: &mut Open) -> Result<Vec<ProofLeaf>, Refused> {
        let (mut leaves, mut bytes) = (Vec::new(), 0);
        let found = self.hub.find_evidence(&self.query, open.left.clone(), Order::Oldest, STEP)?;
        if found.is_empty() {
            open.left.start = open.left.end;
        }
        for index in found {
            let evidence = self.evidence(index)?;
            bytes += evidence.len();
            open.left.start = index + 1;
            open.told.push(index);
            let leaf_hash = Bytes::copy_from_slice(&merkle::leaf_hash(&evidence));
            leaves.push(ProofLeaf { index, evidence, leaf_hash });
            if bytes >= PAGE_BYTES {
                break;
            }
        }
        self.leaves += leaves.len() as u64;
        if self.leaves > MAX_LEAVES {
            let detail = format!("more than {MAX_LEAVES} leaves: ask for fewer days");
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        Ok(leaves)
    }

    fn evidence(&self, index: u64) -> Result<Bytes, Refused> {
        Ok(self.hub.store.leaf(index)?.ok_or_else(|| damaged(index))?.evidence)
    }

    fn hashes(&self, leaves: &[u64]) -> Result<Vec<Hash>, Refused> {
        let hashes = merkle::several_hashes(leaves, self.head.size, &Nodes(&*self.hub.store))?;
        hashes.ok_or_else(|| damaged(leaves.first().copied().unwrap_or_default()))
    }
}

/// The moments of a range of days, for the record of a question.
pub(super) fn moments(from_day: u32, to_day: u32) -> (i64, i64) {
    (daily::midnight(from_day).0, daily::midnight(to_day.saturating_add(1)).0)
}
