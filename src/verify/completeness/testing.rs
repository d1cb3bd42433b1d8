//! A log with numbers and digests as a hub makes it, and the answer as a hub gives it: for tests of what checks them.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

use super::file;
use crate::{
    daily::{self, Agencies, Day},
    domain::time::Timestamp,
    proto::get_completeness_response::Page,
    proto::*,
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        merkle::{self, Edge, Growth, NodeReader, leaf_hash},
        note::Signer,
    },
    verify::testing::{ORIGIN, base, hub},
};

pub const HOUR: i64 = 3_600_000_000;
/// Noon in Vietnam on 2026-09-21.
pub const NOON: i64 = 1_789_966_800_000_000;

/// One closed day.
pub struct Digest {
    pub leaf: u64,
    pub said: DailyDigest,
    pub agencies: Vec<Bytes>,
}

/// A log that grows.
pub struct Log {
    hub: Signer,
    growth: Growth,
    pub leaves: Vec<Bytes>,
    pub digests: Vec<Digest>,
    day: Day,
    last: HashMap<(u8, String, String), (u64, u64, Hash)>,
    /// Whether evidence is counted.
    pub counts: bool,
    /// Leaves that a dishonest hub leaves out of its digests.
    pub hidden: Vec<u64>,
}

struct Nodes<'a>(&'a [Hash]);

impl NodeReader for Nodes<'_> {
    type Error = ();

    fn node(&self, stored_index: u64) -> Result<Hash, ()> {
        self.0.get(stored_index as usize).copied().ok_or(())
    }
}

impl Log {
    pub fn new() -> Self {
        Self {
            hub: hub(),
            growth: Growth::new(Edge::empty()),
            leaves: Vec::new(),
            digests: Vec::new(),
            day: Day::begin(0, []),
            last: HashMap::new(),
            counts: true,
            hidden: Vec::new(),
        }
    }

    /// Adds a leaf; closes the day before it if it is of a later one.
    pub fn add(&mut self, evidence: &Evidence) -> u64 {
        let bytes = Bytes::from(evidence.encode_to_vec());
        let (hash, index) = (leaf_hash(&bytes), self.leaves.len() as u64);
        let seen = if self.hidden.contains(&index) {
            Evidence { event_time_us: evidence.event_time_us, ..Evidence::default() }
        } else {
            evidence.clone()
        };
        if !self.day.take(hash, &seen) {
            self.close(evidence.event_time_us);
            return self.add(evidence);
        }
        self.leaves.push(bytes);
        self.growth.push(hash)
    }

    /// Makes the digest of the day that has ended, as a leaf of this time.
    fn close(&mut self, at: i64) {
        let agencies = self.day.agencies();
        let tree = Agencies::of(agencies.clone()).unwrap();
        let mut said = DailyDigest {
            day: self.day.number().unwrap(),
            start: self.day.start(),
            end: self.day.next(),
            agencies: tree.len(),
            agencies_root: Bytes::copy_from_slice(&tree.root()),
            ..DailyDigest::default()
        };
        if let Some(before) = self.digests.last() {
            said.previous_day = before.said.day;
            said.previous_index = before.leaf;
            said.previous_sha256 = Bytes::copy_from_slice(&leaf_hash(&self.leaves[before.leaf as usize]));
        }
        let days: Vec<_> = agencies.iter().map(|day| AgencyDay::decode(day.clone()).unwrap()).collect();
        self.day = Day::begin(said.end, &days);
        let digest = Evidence {
            event: EventKind::DailyDigest.into(),
            event_time_us: at,
            daily_digest: said.encode_to_vec().into(),
            ..base()
        };
        let leaf = self.add(&digest);
        self.digests.push(Digest { leaf, said, agencies });
    }

    fn next(&mut self, kind: u8, one: &str, other: &str) -> Option<Counter> {
        if !self.counts {
            return None;
        }
        let index = self.leaves.len() as u64;
        let last = self.last.get(&(kind, one.into(), other.into())).copied();
        let counter = match last {
            None => Counter { number: 1, ..Counter::default() },
            Some((number, index, hash)) => Counter {
                number: number + 1,
                previous_index: index,
                previous_sha256: Bytes::copy_from_slice(&hash),
            },
        };
        self.last.insert((kind, one.into(), other.into()), (counter.number, index, [0; 32]));
        Some(counter)
    }

    fn counted(&mut self, evidence: &Evidence) -> u64 {
        let leaf = self.add(evidence);
        let hash = leaf_hash(&self.leaves[leaf as usize]);
        for last in self.last.values_mut().filter(|last| last.2 == [0; 32]) {
            (last.1, last.2) = (leaf, hash);
        }
        leaf
    }

    /// A document is accepted.
    pub fn accept(&mut self, sender: &str, id: &str, at: i64) -> u64 {
        let sent = self.next(0, sender, "");
        let evidence = Evidence {
            event: EventKind::SubmissionAcceptance.into(),
            counters: sent.map(|sent| Counters { sent: Some(sent), ..Counters::default() }),
            ..about(sender, None, id, at)
        };
        self.counted(&evidence)
    }

    /// It is put at a recipient's disposal.
    pub fn consign(&mut self, sender: &str, recipient: &str, id: &str, at: i64) -> u64 {
        let (received, pair) = (self.next(1, recipient, ""), self.next(2, recipient, sender));
        let counters = received.is_some().then_some(Counters { sent: None, received, pair });
        let event = EventKind::ContentConsignment.into();
        self.counted(&Evidence { event, counters, ..about(sender, Some(recipient), id, at) })
    }

    /// Another event of the delivery.
    pub fn event(&mut self, event: EventKind, sender: &str, recipient: &str, id: &str, at: i64) -> u64 {
        self.add(&Evidence { event: event.into(), ..about(sender, Some(recipient), id, at) })
    }

    /// The answer of an honest hub.
    pub fn answer(&self, agency: &str, from: u32, to: u32) -> Vec<Page> {
        let size = self.leaves.len() as u64;
        let nodes = Nodes(self.growth.nodes());
        let head = Checkpoint { origin: ORIGIN.into(), size, root: self.growth.root() };
        let mut pages = vec![Page::Head(CompletenessHead {
            log_keys: String::new(),
            verifier_key: self.hub.verifier().to_string(),
            checkpoint: head.sign(&self.hub),
            agency: agency.into(),
            from_day: from,
            to_day: to,
        })];
        for digest in self.digests.iter().filter(|digest| digest.said.day >= from) {
            let path = merkle::inclusion_path(digest.leaf, size, &nodes).unwrap().unwrap();
            let wanted = digest.said.day <= to;
            let agencies = Agencies::of(digest.agencies.clone()).unwrap();
            pages.push(Page::Day(CompletenessDay {
                index: digest.leaf,
                evidence: self.leaves[digest.leaf as usize].clone(),
                path: shared(&path),
                agency: wanted.then(|| agencies.proof(agency)),
            }));
            if wanted {
                self.leaves_of(agency, digest.said.start..digest.said.end, &nodes, &mut pages);
            }
            if digest.said.day >= to {
                break;
            }
        }
        pages
    }

    fn leaves_of(&self, agency: &str, range: std::ops::Range<u64>, nodes: &Nodes<'_>, pages: &mut Vec<Page>) {
        let evidence = |index: u64| Evidence::decode(self.leaves[index as usize].clone()).unwrap();
        let belongs = |index: &u64| daily::owners(&evidence(*index)).any(|owner| owner == agency);
        let mine: Vec<u64> = range.filter(belongs).filter(|index| !self.hidden.contains(index)).collect();
        if mine.is_empty() {
            return;
        }
        let leaf = |index: &u64| {
            let evidence = self.leaves[*index as usize].clone();
            ProofLeaf { index: *index, leaf_hash: Bytes::copy_from_slice(&leaf_hash(&evidence)), evidence }
        };
        // Two pages where there is more than one leaf.
        for part in mine.chunks(mine.len().div_ceil(2)) {
            pages.push(Page::Leaves(CompletenessLeaves { leaves: part.iter().map(leaf).collect() }));
        }
        let size = self.leaves.len() as u64;
        let hashes = merkle::several_hashes(&mine, size, nodes).unwrap().unwrap();
        pages.push(Page::Hashes(CompletenessHashes { hashes: shared(&hashes) }));
    }
}

fn about(sender: &str, recipient: Option<&str>, id: &str, at: i64) -> Evidence {
    let party = |agency: &str| Party { agency: agency.into(), ..Party::default() };
    Evidence {
        event_time_us: at,
        sender: Some(party(sender)),
        recipients: recipient.map(party).into_iter().collect(),
        document_id: id.into(),
        ..base()
    }
}

fn shared(hashes: &[Hash]) -> Vec<Bytes> {
    hashes.iter().map(|hash| Bytes::copy_from_slice(hash)).collect()
}

/// The bytes of a file.
pub fn file(pages: &[Page]) -> Bytes {
    let mut bytes = file::MAGIC.to_vec();
    for page in pages {
        file::encode(&GetCompletenessResponse { page: Some(page.clone()) }, &mut bytes);
    }
    bytes.into()
}

/// The day of a moment.
pub fn day(at: i64) -> u32 {
    daily::day_of(Timestamp(at))
}
