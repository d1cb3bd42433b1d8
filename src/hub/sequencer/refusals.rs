//! Refusals of late. A client that repeats a refused message over and over gets the first refusal's proof
//! again, and the log does not grow.

use std::collections::{BTreeMap, HashMap};

use super::Rejection;
use crate::domain::{evidence::recipients_digest, id::Digest};

/// Refusals remembered. A client that tries again does so soon; what is forgotten costs one leaf.
const KEPT: usize = 4_096;

/// Leaves of recent refusals, the least recently used forgotten first.
#[derive(Default)]
pub struct Refusals {
    leaves: HashMap<Digest, (u64, u64)>,
    by_use: BTreeMap<u64, Digest>,
    uses: u64,
}

impl Refusals {
    /// The leaf of the same refusal: same event, node, message and reason codes.
    pub fn find(&mut self, rejection: &Rejection) -> Option<u64> {
        let key = key(rejection);
        let (leaf, _) = self.leaves.get(&key).copied()?;
        self.put(key, leaf);
        Some(leaf)
    }

    /// Remembers a refusal.
    pub fn remember(&mut self, rejection: &Rejection, leaf: u64) {
        self.put(key(rejection), leaf);
        while self.leaves.len() > KEPT
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.leaves.remove(&oldest);
        }
    }

    fn put(&mut self, key: Digest, leaf: u64) {
        self.uses += 1;
        if let Some((_, used)) = self.leaves.insert(key, (leaf, self.uses)) {
            self.by_use.remove(&used);
        }
        self.by_use.insert(self.uses, key);
    }
}

/// Codes only: details of the same fault may differ (how far a clock is off).
fn key(rejection: &Rejection) -> Digest {
    let message = rejection.message.to_string();
    let codes = rejection.reasons.iter().map(|reason| reason.code.as_str_name());
    let head = [rejection.event.as_str_name(), rejection.node.as_str(), &message];
    recipients_digest(head.into_iter().chain(codes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            id::NodeName,
            reason::{Reason, ReasonCode},
        },
        hub::claim::Claim,
        proto::EventKind,
    };

    fn rejection(message: u64, code: ReasonCode, detail: &str) -> Rejection {
        Rejection {
            event: EventKind::SubmissionRejection,
            node: NodeName::parse("one").unwrap(),
            claim: Claim::default(),
            message: Digest::of(&message.to_be_bytes()),
            reasons: vec![Reason::new(code, detail)],
        }
    }

    #[test]
    fn the_same_refusal_is_found_whatever_its_detail() {
        let mut refusals = Refusals::default();
        refusals.remember(&rejection(1, ReasonCode::ClockSkew, "90001 s"), 7);
        assert_eq!(refusals.find(&rejection(1, ReasonCode::ClockSkew, "90002 s")), Some(7));
        assert_eq!(refusals.find(&rejection(1, ReasonCode::WrongHub, "")), None);
        assert_eq!(refusals.find(&rejection(2, ReasonCode::ClockSkew, "90001 s")), None);
        let other =
            Rejection { node: NodeName::parse("two").unwrap(), ..rejection(1, ReasonCode::ClockSkew, "") };
        assert_eq!(refusals.find(&other), None);
    }

    #[test]
    fn few_are_kept_and_the_used_ones_stay() {
        let mut refusals = Refusals::default();
        for message in 0..KEPT as u64 + 10 {
            refusals.remember(&rejection(message, ReasonCode::Malformed, ""), message);
            assert_eq!(refusals.find(&rejection(0, ReasonCode::Malformed, "")), Some(0));
        }
        assert_eq!((refusals.leaves.len(), refusals.by_use.len()), (KEPT, KEPT));
        assert_eq!(refusals.find(&rejection(1, ReasonCode::Malformed, "")), None);
    }
}
