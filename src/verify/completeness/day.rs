//! One day: its leaves against what the digest says about the agency.

use bytes::Bytes;

use super::{
    gap::{Counting, Gap},
    numbers::Numbers,
};
use crate::{
    daily::{self, Tally},
    proto::{AgencyDay, DailyDigest, Deliveries, ProofLeaf},
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        merkle::{leaf_hash, several_root},
    },
    verify::{Facts, MAX_LEAF},
};

/// A day whose leaves are being read.
pub struct OpenDay {
    day: u32,
    range: std::ops::Range<u64>,
    said: Option<AgencyDay>,
    found: Tally,
    /// True for the first day: what was pending before it is not known.
    is_first: bool,
    leaves: Vec<(u64, Hash)>,
    /// `None` if one of them is no hash.
    hashes: Option<Vec<Hash>>,
}

impl OpenDay {
    /// Begins a day; `before` is what the day before was for the agency.
    pub fn begin(digest: &DailyDigest, said: Option<AgencyDay>, before: Option<&AgencyDay>) -> Self {
        Self {
            day: digest.day,
            range: digest.start..digest.end,
            said,
            found: before.map(Tally::after).unwrap_or_default(),
            is_first: before.is_none(),
            leaves: Vec::new(),
            hashes: Some(Vec::new()),
        }
    }

    /// What the digest says.
    pub fn said(&self) -> Option<&AgencyDay> {
        self.said.as_ref()
    }

    /// Takes the next leaf of the agency.
    pub fn include(
        &mut self,
        leaf: &ProofLeaf,
        agency: &str,
        checkpoint: &Checkpoint,
    ) -> Result<Facts, String> {
        let ProofLeaf { index, evidence, leaf_hash: beside } = leaf;
        let index = *index;
        if evidence.len() > MAX_LEAF {
            return Err("larger than a leaf can be".into());
        }
        if !self.range.contains(&index) {
            return Err("is not of this day".into());
        }
        if self.leaves.last().is_some_and(|(last, _)| index <= *last) {
            return Err("does not come behind the leaf before".into());
        }
        let hash = leaf_hash(evidence);
        self.leaves.push((index, hash));
        if hash[..] != *beside {
            return Err("its bytes do not have the hash that stands beside them".into());
        }
        let facts = Facts::read(evidence, index, checkpoint.clone()).map_err(|error| error.to_string())?;
        if !daily::owners(facts.evidence()).any(|owner| owner == agency) {
            return Err("does not belong to the agency".into());
        }
        self.found.take(agency, facts.leaf_hash(), facts.evidence());
        Ok(facts)
    }

    /// Takes hashes of the proof for all leaves.
    pub fn add_hashes(&mut self, hashes: &[Bytes]) {
        let hashes = hashes.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<Vec<Hash>>>();
        match (&mut self.hashes, hashes) {
            (Some(all), Some(hashes)) => all.extend(hashes),
            (all, _) => *all = None,
        }
    }

    /// Holds the leaves against the digest.
    pub fn close(&self, agency: &str, checkpoint: &Checkpoint, numbers: &mut Numbers, gaps: &mut Vec<Gap>) {
        let day = self.day;
        if !self.is_proven(checkpoint) {
            gaps.push(Gap::LeavesNotProven { day });
        }
        let Some(said) = &self.said else { return };
        let mut found = self.found.day(agency);
        if self.is_first {
            take_over_pending(&mut found, said);
        }
        let spans =
            |day: &AgencyDay| [(day.sent_first, day.sent_last), (day.received_first, day.received_last)];
        for ((counting, said), found) in
            [Counting::Sent, Counting::Received].into_iter().zip(spans(said)).zip(spans(&found))
        {
            numbers.end_of_day(counting, said, found, gaps);
        }
        for ((field, said), (_, found)) in values(said).into_iter().zip(values(&found)) {
            if said != found {
                gaps.push(Gap::CountDiffers { day, field, said, found });
            }
        }
        if said.root != found.root {
            gaps.push(Gap::RootDiffers { day });
        }
    }

    fn is_proven(&self, checkpoint: &Checkpoint) -> bool {
        match &self.hashes {
            None => false,
            Some(hashes) if self.leaves.is_empty() => hashes.is_empty(),
            Some(hashes) => several_root(&self.leaves, checkpoint.size, hashes) == Some(checkpoint.root),
        }
    }
}

/// Of the first day only the change of what is pending can be counted again.
fn take_over_pending(found: &mut AgencyDay, said: &AgencyDay) {
    let sides = [(&mut found.outgoing, &said.outgoing), (&mut found.incoming, &said.incoming)];
    for (found, said) in sides {
        if let (Some(found), Some(said)) = (found, said) {
            found.pending = said.pending;
        }
    }
}

fn values(day: &AgencyDay) -> [(&'static str, u64); 21] {
    let (out, inn) = (day.outgoing.unwrap_or_default(), day.incoming.unwrap_or_default());
    let [o0, o1, o2, o3, o4, o5, o6] = parts(&out);
    let [i0, i1, i2, i3, i4, i5, i6] = parts(&inn);
    [
        ("evidence", day.evidence),
        ("sent", day.sent),
        ("sent_first", day.sent_first),
        ("sent_last", day.sent_last),
        ("rejected", day.rejected),
        ("received_first", day.received_first),
        ("received_last", day.received_last),
        ("outgoing.consigned", o0),
        ("outgoing.handed_over", o1),
        ("outgoing.refused", o2),
        ("outgoing.returned", o3),
        ("outgoing.expired", o4),
        ("outgoing.pending", o5),
        ("outgoing.cancelled", o6),
        ("incoming.consigned", i0),
        ("incoming.handed_over", i1),
        ("incoming.refused", i2),
        ("incoming.returned", i3),
        ("incoming.expired", i4),
        ("incoming.pending", i5),
        ("incoming.cancelled", i6),
    ]
}

fn parts(of: &Deliveries) -> [u64; 7] {
    [of.consigned, of.handed_over, of.refused, of.returned, of.expired, of.pending, of.cancelled]
}
