//! What a reader may see.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{
        directory::Directory,
        id::AgencyId,
        reason::{Reason, ReasonCode},
    },
    proto::{Level, SearchFilter},
};

/// An auditor or an operator, as its certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Name in the certificate.
    pub name: String,
    /// What an auditor asks is recorded.
    pub recorded: bool,
    /// Agency whose subtree it may see; `None` for all.
    pub scope: Option<AgencyId>,
}

/// A subtree as of one directory.
#[derive(Clone, Debug)]
pub struct Scope(Option<Subtree>);

#[derive(Clone, Debug)]
struct Subtree {
    root: String,
    agencies: Arc<BTreeSet<String>>,
}

impl Scope {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// The agency `root` with all below it, by this directory; everything for `None`. An agency that the directory
    /// does not know has nothing below it.
    #[must_use]
    pub fn of(root: Option<&AgencyId>, directory: &Directory) -> Self {
        let Some(root) = root else { return Self::all() };
        let root = directory.resolve(root.as_str()).map_or_else(|| root.clone(), |entry| entry.id.clone());
        let found = directory.agencies(Some(&root), Level::Unspecified, None, usize::MAX);
        let agencies = found.into_iter().map(|agency| agency.id.to_string()).collect();
        Self(Some(Subtree { root: root.to_string(), agencies: Arc::new(agencies) }))
    }

    /// Its agencies; `None` for all.
    #[must_use]
    pub fn agencies(&self) -> Option<Arc<BTreeSet<String>>> {
        self.0.as_ref().map(|subtree| Arc::clone(&subtree.agencies))
    }

    /// True if it is all below this agency, under whatever name.
    #[must_use]
    pub fn is_root(&self, agency: &str, directory: &Directory) -> bool {
        let id = directory.resolve(agency).map_or(agency, |entry| entry.id.as_str());
        self.0.as_ref().is_some_and(|subtree| subtree.root == id)
    }

    /// True if it holds one of these agencies.
    pub fn holds<'a>(&self, mut agencies: impl Iterator<Item = &'a str>) -> bool {
        self.0.as_ref().is_none_or(|subtree| agencies.any(|agency| subtree.agencies.contains(agency)))
    }

    /// `OUTSIDE_SCOPE` for a filter that asks for what lies below an agency outside, or that names only agencies
    /// outside.
    pub fn permits(&self, filter: &SearchFilter, directory: &Directory) -> Result<(), Reason> {
        let inside = |name: &String| {
            let id = directory.resolve(name).map_or(name.as_str(), |entry| entry.id.as_str());
            self.holds(std::iter::once(id))
        };
        let below = Some(&filter.below).filter(|name| !name.is_empty());
        if let Some(below) = below.filter(|below| !inside(below)) {
            return Err(self.outside(below));
        }
        let mut named = [&filter.sender, &filter.recipient].into_iter().filter(|name| !name.is_empty());
        match named.clone().next() {
            Some(first) if below.is_none() && !named.any(inside) => Err(self.outside(first)),
            _ => Ok(()),
        }
    }

    /// Why something is not shown.
    #[must_use]
    pub fn outside(&self, what: &str) -> Reason {
        let root = self.0.as_ref().map(|subtree| subtree.root.as_str()).unwrap_or_default();
        Reason::new(
            ReasonCode::OutsideScope,
            format!("{what}: the certificate sees what concerns {root} and below"),
        )
    }
}
