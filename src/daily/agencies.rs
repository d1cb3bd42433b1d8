//! The tree of agencies under a digest: one entry for each, so that one is shown without the others.

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::id::Digest,
    proto::{AgencyDay, AgencyProof, Neighbour},
    tlog::{
        Hash,
        merkle::{Edge, Growth, Paths, leaf_hash, verify_inclusion},
    },
};

/// Hash of an agency's entry: RFC 6962 leaf over its identifier, a line feed, and the SHA-256 of its day.
#[must_use]
pub fn entry_hash(agency: &str, day_sha256: &[u8]) -> Hash {
    let mut entry = Vec::with_capacity(agency.len() + 1 + day_sha256.len());
    entry.extend_from_slice(agency.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(day_sha256);
    leaf_hash(&entry)
}

/// All agencies of a digest.
pub struct Agencies {
    days: Vec<(String, Bytes)>,
    root: Hash,
    paths: Paths,
}

impl Agencies {
    /// Of the serialized days; `None` unless they can be read and ascend by their agencies.
    #[must_use]
    pub fn of(days: Vec<Bytes>) -> Option<Self> {
        let named = days.into_iter().map(|day| Some((AgencyDay::decode(day.clone()).ok()?.agency, day)));
        let days: Vec<(String, Bytes)> = named.collect::<Option<_>>()?;
        if !days.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
        let mut growth = Growth::new(Edge::empty());
        for (agency, day) in &days {
            growth.push(entry_hash(agency, &sha256(day)));
        }
        Some(Self { days, root: growth.root(), paths: growth.paths() })
    }

    /// Number of agencies.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.days.len() as u64
    }

    /// True if nobody had a day.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.days.is_empty()
    }

    /// Root over all.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// What the digest says about an agency.
    #[must_use]
    pub fn proof(&self, agency: &str) -> AgencyProof {
        match self.days.binary_search_by(|(name, _)| name.as_str().cmp(agency)) {
            Ok(at) => AgencyProof {
                day: self.days[at].1.clone(),
                position: at as u64,
                path: self.path(at),
                ..AgencyProof::default()
            },
            Err(at) => AgencyProof {
                before: at.checked_sub(1).map(|before| self.neighbour(before)),
                after: (at < self.days.len()).then(|| self.neighbour(at)),
                ..AgencyProof::default()
            },
        }
    }

    fn neighbour(&self, at: usize) -> Neighbour {
        let (agency, day) = &self.days[at];
        Neighbour {
            agency: agency.clone(),
            day_sha256: Bytes::copy_from_slice(&sha256(day)),
            position: at as u64,
            path: self.path(at),
        }
    }

    fn path(&self, at: usize) -> Vec<Bytes> {
        let path = self.paths.inclusion(at as u64).unwrap_or_default();
        path.iter().map(|hash| Bytes::copy_from_slice(hash)).collect()
    }
}

/// Why a proof about an agency is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// The day in it is of another agency, or not a day.
    #[error("the agency's day can't be read, or is another agency's")]
    Day,
    /// It is not under the digest's root.
    #[error("it is not under the digest's root")]
    Path,
    /// The neighbours do not stand around the agency.
    #[error("it does not show that the agency has no day")]
    Absence,
}

/// What a digest of `agencies` entries with this root says about an agency; `None` if it has no day.
pub fn verify_agency(
    agency: &str,
    proof: &AgencyProof,
    agencies: u64,
    root: &Hash,
) -> Result<Option<AgencyDay>, ProofFault> {
    if proof.day.is_empty() {
        return verify_absence(agency, proof, agencies, root).map(|()| None);
    }
    if proof.before.is_some() || proof.after.is_some() {
        return Err(ProofFault::Absence);
    }
    let day = AgencyDay::decode(proof.day.clone()).ok().filter(|day| day.agency == agency);
    let day = day.ok_or(ProofFault::Day)?;
    let entry = entry_hash(agency, &sha256(&proof.day));
    is_under(&entry, proof.position, agencies, &proof.path, root)?;
    Ok(Some(day))
}

fn verify_absence(agency: &str, proof: &AgencyProof, agencies: u64, root: &Hash) -> Result<(), ProofFault> {
    if proof.position != 0 || !proof.path.is_empty() {
        return Err(ProofFault::Absence);
    }
    let neighbours = [&proof.before, &proof.after];
    for neighbour in neighbours.into_iter().flatten() {
        let entry = entry_hash(&neighbour.agency, &neighbour.day_sha256);
        is_under(&entry, neighbour.position, agencies, &neighbour.path, root)?;
    }
    let fits = match neighbours {
        [None, None] => agencies == 0,
        [Some(before), None] => before.agency.as_str() < agency && before.position + 1 == agencies,
        [None, Some(after)] => agency < after.agency.as_str() && after.position == 0,
        [Some(before), Some(after)] => {
            before.agency.as_str() < agency
                && agency < after.agency.as_str()
                && before.position.checked_add(1) == Some(after.position)
        }
    };
    if fits { Ok(()) } else { Err(ProofFault::Absence) }
}

fn is_under(
    entry: &Hash,
    position: u64,
    agencies: u64,
    path: &[Bytes],
    root: &Hash,
) -> Result<(), ProofFault> {
    let path = path.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<Vec<Hash>>>();
    let path = path.ok_or(ProofFault::Path)?;
    match verify_inclusion(entry, position, agencies, &path, root) {
        true => Ok(()),
        false => Err(ProofFault::Path),
    }
}

fn sha256(bytes: &[u8]) -> Hash {
    *Digest::of(bytes).as_bytes()
}
