//! Closing a day: its digest becomes a leaf, if it is the next one and the day ends where it says.

use prost::Message;

use super::{Decision, draft::Draft};
use crate::{
    daily,
    domain::time::Timestamp,
    hub::{daily::Closed, refused::Refused},
    proto::{DailyDigest, EventKind, Evidence},
    store::{StoreError, records::DigestRecord},
    tlog::merkle,
};

impl Draft<'_> {
    /// Closes a day. Nothing is done if it can't be closed (yet): whoever asks reads on and asks again.
    pub fn close_day(&mut self, closed: &Closed) -> Result<Decision, Refused> {
        if !self.is_next(closed)? || !self.has_ended(closed)? {
            return Ok(Decision::Done);
        }
        let mut digest = DailyDigest {
            day: closed.day,
            start: closed.start,
            end: closed.end,
            agencies: closed.agencies.len() as u64,
            agencies_root: bytes::Bytes::copy_from_slice(&closed.root),
            ..DailyDigest::default()
        };
        if let Some((day, leaf)) = closed.previous {
            let hash = self.store.node(merkle::stored_index(0, leaf))?;
            digest.previous_day = day;
            digest.previous_index = leaf;
            digest.previous_sha256 = bytes::Bytes::copy_from_slice(&hash);
        }
        let mut evidence = self.event(EventKind::DailyDigest)?;
        evidence.daily_digest = digest.encode_to_vec().into();
        let (leaf, _) = self.add_leaf(&evidence, None, Vec::new())?;
        self.weigh(closed.agencies.iter().map(|day| day.len() + 4).sum());
        self.commit.digests.push(DigestRecord {
            day: closed.day,
            leaf,
            start: closed.start,
            end: closed.end,
            agencies: closed.agencies.clone(),
        });
        Ok(Decision::New(leaf))
    }

    /// It follows the newest digest of the log.
    fn is_next(&self, closed: &Closed) -> Result<bool, StoreError> {
        if !self.commit.digests.is_empty() {
            return Ok(false);
        }
        let known = self.store.digests(closed.previous.map_or(0, |(day, _)| day), 2)?;
        Ok(match (closed.previous, known.as_slice()) {
            (None, []) => closed.start == 0,
            (Some(previous), [only]) => previous == (only.day, only.leaf) && only.end == closed.start,
            _ => false,
        })
    }

    /// The leaf at its end, or else the digest that will be that leaf, is of a later day.
    fn has_ended(&self, closed: &Closed) -> Result<bool, StoreError> {
        if closed.end >= self.next_leaf() {
            return Ok(closed.end == self.next_leaf() && daily::day_of(self.now) > closed.day);
        }
        let evidence = Evidence::decode(self.evidence_bytes(closed.end)?)
            .map_err(|error| StoreError::Damaged(format!("leaf {}: {error}", closed.end)))?;
        Ok(daily::day_of(Timestamp(evidence.event_time_us)) > closed.day)
    }
}
