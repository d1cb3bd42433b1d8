//! From what an auditor asks to what the index looks for.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::scope::Scope;
use crate::{
    domain::{
        directory::Directory,
        id::AgencyId,
        reason::{Reason, ReasonCode},
        search::{self, Query},
    },
    hub::refused::Refused,
    proto::{Level, SearchFilter},
};

/// Agencies of a condition.
pub type Set = Arc<BTreeSet<String>>;

/// A filter as the index and every verifier understand it.
pub struct Plain {
    /// Agencies are named as evidence names them.
    pub filter: SearchFilter,
    /// A party is in each of these: what lies below an agency or is of a level, what the reader may see.
    pub within: Vec<Set>,
    /// Both.
    pub query: Query,
}

/// The conditions of a filter, within a scope.
pub fn plain(filter: &SearchFilter, scope: &Scope, directory: &Directory) -> Result<Plain, Refused> {
    search::query(filter, [])?;
    scope.permits(filter, directory)?;
    let filter = SearchFilter {
        sender: canonical(directory, &filter.sender).to_owned(),
        recipient: canonical(directory, &filter.recipient).to_owned(),
        ..filter.clone()
    };
    let within: Vec<_> = agencies(&filter, scope, directory)?.into_iter().chain(scope.agencies()).collect();
    let query = search::query(&filter, within.iter().map(Arc::clone))?;
    Ok(Plain { filter, within, query })
}

/// The leaves that a filter looks at, of those that are indexed.
pub fn leaves(filter: &SearchFilter, covers: u64) -> Range<u64> {
    let end = if filter.tree_size == 0 { covers } else { filter.tree_size.min(covers) };
    filter.from_index.min(end)..end
}

/// The identifier that stands in evidence; an alias leads to it.
fn canonical<'a>(directory: &'a Directory, agency: &'a str) -> &'a str {
    directory.resolve(agency).map_or(agency, |entry| entry.id.as_str())
}

/// Agencies of `below` and `level`; `None` without both.
fn agencies(filter: &SearchFilter, scope: &Scope, directory: &Directory) -> Result<Option<Set>, Reason> {
    let level = Level::try_from(filter.level)
        .map_err(|_| Reason::invalid("level", format_args!("{} is unknown", filter.level)))?;
    if filter.below.is_empty() && level == Level::Unspecified {
        return Ok(None);
    }
    if level == Level::Unspecified && scope.is_root(&filter.below, directory) {
        return Ok(None);
    }
    let root = if filter.below.is_empty() {
        None
    } else {
        let root = directory.resolve(&filter.below);
        let unknown = || Reason::new(ReasonCode::UnknownAgency, format!("below: {}", filter.below));
        Some(root.ok_or_else(unknown)?.id.clone())
    };
    let found = directory.agencies(root.as_ref(), level, None, usize::MAX);
    Ok(Some(Arc::new(found.into_iter().map(|agency| AgencyId::to_string(&agency.id)).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_breaks_a_bound_is_named() {
        let filter = |edit: fn(&mut SearchFilter)| {
            let mut filter = SearchFilter::default();
            edit(&mut filter);
            plain(&filter, &Scope::all(), &Directory::default()).map(|_| ()).expect_err("refused").to_string()
        };
        assert!(filter(|f| f.events = vec![1; 17]).contains("events"));
        assert!(filter(|f| f.document_id = "x".repeat(201)).contains("document_id"));
        assert!(filter(|f| f.sender = "h53".into()).contains("sender"));
        assert!(filter(|f| f.below = "H53".into()).contains("UNKNOWN_AGENCY"));
        assert!(filter(|f| f.level = 99).contains("level"));
    }

    #[test]
    fn the_range_is_that_of_one_tree() {
        let filter = SearchFilter { from_index: 5, tree_size: 9, ..SearchFilter::default() };
        assert_eq!(leaves(&filter, 100), 5..9);
        assert_eq!(leaves(&filter, 7), 5..7);
        assert_eq!(leaves(&filter, 3), 3..3);
        assert_eq!(leaves(&SearchFilter::default(), 3), 0..3);
    }
}
