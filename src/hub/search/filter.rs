//! From what an auditor asks to what the index looks for.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::{facts::field, scope::Scope};
use crate::{
    domain::{
        directory::Directory,
        fold,
        id::{AgencyId, MAX_DOCUMENT_ID},
        reason::{Reason, ReasonCode},
    },
    hub::refused::Refused,
    proto::{Level, SearchFilter},
    store::search::{Clause, Query, term},
};

/// Values of a repeated field, and words.
const MAX_VALUES: usize = 16;
/// Bytes of the subject's words.
const MAX_SUBJECT: usize = 500;
/// Letters before a `*`.
const MIN_PREFIX: usize = 2;

/// The conditions of a filter, within a scope.
pub fn query(filter: &SearchFilter, scope: &Scope, directory: &Directory) -> Result<Query, Refused> {
    check(filter)?;
    scope.permits(filter, directory)?;
    let mut clauses = Vec::new();
    let mut one = |field: u8, value: &str| {
        if !value.is_empty() {
            clauses.push(Clause::Any(vec![term(field, value)]));
        }
    };
    one(field::ID, &filter.document_id);
    one(field::NOTATION, &fold::line(&filter.notation));
    one(field::NUMBER, &fold::line(&filter.number));
    one(field::SENDER, canonical(directory, &filter.sender));
    one(field::RECIPIENT, canonical(directory, &filter.recipient));
    if filter.year > 0 {
        one(field::YEAR, &filter.year.to_string());
    }
    if filter.legal_value != 0 {
        one(field::LEGAL, &filter.legal_value.to_string());
    }
    let (whole, begun) = words(&filter.subject)?;
    whole.iter().for_each(|word| one(field::WORD, word));
    any(&mut clauses, field::EVENT, &filter.events);
    any(&mut clauses, field::STATUS, &filter.status_codes);
    any(&mut clauses, field::REASON, &filter.reasons);
    any(&mut clauses, field::URGENCY, &filter.urgencies);
    clauses.extend(begun.iter().map(|word| Clause::Prefix(term(field::WORD, word))));
    clauses.extend(agencies(filter, scope, directory)?.map(|set| Clause::In(field::PARTY, set)));
    clauses.extend(scope.agencies().map(|set| Clause::In(field::PARTY, set)));
    if !filter.tests {
        clauses.push(Clause::Not(term(field::TEST, "1")));
    }
    Ok(Query { clauses, times: times(filter) })
}

/// The leaves that a filter looks at, of those that are indexed.
pub fn leaves(filter: &SearchFilter, covers: u64) -> Range<u64> {
    let end = if filter.tree_size == 0 { covers } else { filter.tree_size.min(covers) };
    filter.from_index.min(end)..end
}

fn check(filter: &SearchFilter) -> Result<(), Reason> {
    let lists = [
        ("events", filter.events.len()),
        ("status_codes", filter.status_codes.len()),
        ("reasons", filter.reasons.len()),
        ("urgencies", filter.urgencies.len()),
    ];
    if let Some((name, _)) = lists.into_iter().find(|(_, len)| *len > MAX_VALUES) {
        return Err(Reason::invalid(name, format_args!("at most {MAX_VALUES} values")));
    }
    let texts = [
        ("document_id", &filter.document_id, MAX_DOCUMENT_ID),
        ("number", &filter.number, MAX_SUBJECT),
        ("notation", &filter.notation, MAX_SUBJECT),
        ("subject", &filter.subject, MAX_SUBJECT),
    ];
    if let Some((name, _, max)) = texts.into_iter().find(|(_, text, max)| text.len() > *max) {
        return Err(Reason::invalid(name, format_args!("at most {max} bytes")));
    }
    for (name, agency) in
        [("sender", &filter.sender), ("recipient", &filter.recipient), ("below", &filter.below)]
    {
        if !agency.is_empty() && !crate::domain::agency::is_alias(agency) {
            return Err(Reason::new(ReasonCode::BadIdentifier, format!("{name}: no agency's identifier")));
        }
    }
    Ok(())
}

/// The identifier that stands in evidence; an alias leads to it.
fn canonical<'a>(directory: &'a Directory, agency: &'a str) -> &'a str {
    directory.resolve(agency).map_or(agency, |entry| entry.id.as_str())
}

fn any<T: ToString>(clauses: &mut Vec<Clause>, field: u8, values: &[T]) {
    if !values.is_empty() {
        let terms = values.iter().map(|value| term(field, &value.to_string())).collect();
        clauses.push(Clause::Any(terms));
    }
}

/// Whole words, and beginnings of words.
fn words(subject: &str) -> Result<(BTreeSet<String>, BTreeSet<String>), Reason> {
    let (mut whole, mut begun) = (BTreeSet::new(), BTreeSet::new());
    for piece in subject.split_whitespace() {
        let mut found = fold::words(piece.trim_end_matches('*'));
        if piece.ends_with('*') && found.len() == 1 {
            begun.append(&mut found);
        } else {
            whole.append(&mut found);
        }
    }
    if begun.iter().any(|word| word.chars().count() < MIN_PREFIX) {
        let rule = format_args!("at least {MIN_PREFIX} letters before *");
        return Err(Reason::invalid("subject", rule));
    }
    if whole.len() + begun.len() > MAX_VALUES {
        return Err(Reason::invalid("subject", format_args!("at most {MAX_VALUES} words")));
    }
    if !subject.trim().is_empty() && whole.is_empty() && begun.is_empty() {
        return Err(Reason::invalid("subject", "no word in it"));
    }
    Ok((whole, begun))
}

/// Agencies of `below` and `level`; `None` without both.
fn agencies(
    filter: &SearchFilter,
    scope: &Scope,
    directory: &Directory,
) -> Result<Option<Arc<BTreeSet<String>>>, Reason> {
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

fn times(filter: &SearchFilter) -> Option<std::ops::RangeInclusive<i64>> {
    let until = if filter.until_us == 0 { i64::MAX } else { filter.until_us.saturating_sub(1) };
    (filter.from_us != 0 || filter.until_us != 0).then_some(filter.from_us..=until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_may_be_whole_or_begun() {
        let (whole, begun) = words("Kế hoạch đầu* 17/BC-UBND*").expect("words");
        assert_eq!(Vec::from_iter(whole), ["17", "bc", "hoach", "ke", "ubnd"]);
        assert_eq!(Vec::from_iter(begun), ["dau"]);
        for wrong in ["đ*", "* ?", "a b c d e f g h i j k l m n o p q"] {
            assert_eq!(words(wrong).expect_err("no words").code, ReasonCode::InvalidField, "{wrong}");
        }
        assert!(words(" ").is_ok());
    }

    #[test]
    fn a_filter_that_breaks_a_bound_is_named() {
        let filter = |edit: fn(&mut SearchFilter)| {
            let mut filter = SearchFilter::default();
            edit(&mut filter);
            query(&filter, &Scope::all(), &Directory::default()).map(|_| ()).expect_err("refused").to_string()
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
