//! The bodies of a submission: every part once, from the message or from this node's uploads.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    domain::{
        id::{Digest, NodeName},
        reason::{Reason, ReasonCode},
    },
    hub::{Hub, refused::Refused, transfer::refused},
    proto::Part,
    store::{payload::MAX_PACKED, records::BodyRecord},
};

/// Problems of parts that are named one by one: with the count of the rest, as many as an evidence keeps.
const MOST_NAMED: usize = 9;

/// The bodies of a submission.
pub(super) struct Collected {
    /// A record of every part.
    pub bodies: Vec<BodyRecord>,
    /// Parts that did not come in the message.
    pub uploaded: Vec<Digest>,
}

impl Hub {
    /// A record of every part. Never from another node's uploads, or a digest alone would be enough to read
    /// somebody's attachment.
    pub(super) fn collect_parts(
        &self,
        node: &NodeName,
        parts: &[Part],
        inline: &[Bytes],
    ) -> Result<Collected, Refused> {
        let given = self.inline_parts(inline)?;
        let mut found: HashMap<Digest, Option<BodyRecord>> = HashMap::new();
        let mut problems = Vec::new();
        for part in parts {
            let digest = Digest::from_slice(&part.sha256)
                .ok_or_else(|| Reason::new(ReasonCode::InvalidField, "parts.sha256: needs 32 bytes"))?;
            let body = match found.entry(digest) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.part(node, &digest, given.get(&digest).copied())?),
            };
            problems.extend(problem(part, &digest, body.as_ref()));
        }
        if let Some(digest) = given.keys().find(|digest| !found.contains_key(digest)) {
            let detail = format!("inline_parts: no part of the manifest has the digest {digest}");
            problems.push(Reason::new(ReasonCode::DigestMismatch, detail));
        }
        if !problems.is_empty() {
            return Err(some(problems));
        }
        let uploaded = found.keys().filter(|digest| !given.contains_key(digest)).copied().collect();
        Ok(Collected { bodies: found.into_values().flatten().collect(), uploaded })
    }

    fn inline_parts<'a>(&self, inline: &'a [Bytes]) -> Result<HashMap<Digest, &'a Bytes>, Refused> {
        let total: u64 = inline.iter().map(|bytes| bytes.len() as u64).sum();
        let most = self.settings.max_inline_bytes.min(MAX_PACKED as u64);
        if total > most {
            let detail = format!("inline_parts: {total} bytes, {most} may come inline; upload the rest");
            return Err(Refused::because(ReasonCode::TooLarge, detail));
        }
        Ok(inline.iter().map(|bytes| (Digest::of(bytes), bytes)).collect())
    }

    fn part(
        &self,
        node: &NodeName,
        digest: &Digest,
        inline: Option<&Bytes>,
    ) -> Result<Option<BodyRecord>, Refused> {
        if let Some(bytes) = inline {
            // Once on disk is enough, however many documents carry it.
            return match self.store.body(digest)? {
                Some(body) => Ok(Some(body)),
                None => self.keep(bytes, digest).map(Some),
            };
        }
        if self.erasures.is_removing(digest) {
            // A file has its name by its digest: it must be gone before it may come back.
            let detail = format!("{digest} was erased and is being removed: repeat the same message");
            return Err(Refused::because(ReasonCode::Busy, detail));
        }
        let adopted = self.payload.adopt(node, digest).map_err(|error| refused(error.into()))?;
        match adopted {
            Some(body) => Ok(Some(self.store.body(digest)?.unwrap_or(body))),
            None => Ok(None),
        }
    }

    /// Writes a body that came in a message: it shares the commit's sync.
    pub(super) fn keep(&self, bytes: &Bytes, digest: &Digest) -> Result<BodyRecord, Refused> {
        self.payload.put_known(digest, bytes).map_err(|error| refused(error.into()))
    }

    /// Clears away uploads that became parts of a document, behind the answer.
    pub(super) fn release_uploads(self: &Arc<Self>, node: &NodeName, uploaded: Vec<Digest>) {
        if uploaded.is_empty() {
            return;
        }
        let (hub, node) = (Arc::clone(self), node.clone());
        self.tasks.spawn_blocking(move || {
            for digest in &uploaded {
                if let Err(error) = hub.payload.release(&node, digest) {
                    tracing::warn!(%error, "an upload that was used could not be cleared away");
                }
            }
        });
    }
}

/// The first problems, and how many more there are: they have to fit into the trailers of a call.
fn some(mut problems: Vec<Reason>) -> Refused {
    problems.dedup();
    let more = problems.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        let code = problems[MOST_NAMED].code;
        problems.truncate(MOST_NAMED);
        problems.push(Reason::new(code, format!("and {more} more")));
    }
    problems.into()
}

fn problem(part: &Part, digest: &Digest, body: Option<&BodyRecord>) -> Option<Reason> {
    match body {
        Some(body) if body.size == part.size => None,
        Some(body) => Some(Reason::new(
            ReasonCode::DigestMismatch,
            format!("part {}: {} bytes are here, the manifest says {}", part.name, body.size, part.size),
        )),
        None => Some(Reason::new(ReasonCode::BodyMissing, format!("{digest} ({})", part.name))),
    }
}
