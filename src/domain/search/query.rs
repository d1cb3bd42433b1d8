//! From what is asked to what is looked for.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use super::{Leaf, Term, field, term};
use crate::{
    domain::{
        fold,
        id::MAX_DOCUMENT_ID,
        reason::{Reason, ReasonCode},
    },
    proto::SearchFilter,
};

/// Values of a repeated field, and words.
const MAX_VALUES: usize = 16;
/// Bytes of the subject's words.
const MAX_SUBJECT: usize = 500;
/// Letters before a `*`.
const MIN_PREFIX: usize = 2;

/// One condition.
#[derive(Clone, Debug)]
pub enum Clause {
    /// It has one of these terms.
    Any(Vec<Term>),
    /// It has a value of this field that is in the set.
    In(u8, Arc<BTreeSet<String>>),
    /// It has a term that begins so.
    Prefix(Term),
    /// It does not have this term.
    Not(Term),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// In the order in which they are tried: what costs little and leaves little goes first.
    pub clauses: Vec<Clause>,
    /// When it happened.
    pub times: Option<RangeInclusive<i64>>,
}

impl Query {
    /// True if every leaf answers it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clauses.is_empty() && self.times.is_none()
    }

    /// True if this leaf answers it.
    #[must_use]
    pub fn holds(&self, leaf: &Leaf) -> bool {
        let in_time = self.times.as_ref().is_none_or(|times| times.contains(&leaf.time_us));
        in_time && self.clauses.iter().all(|clause| clause.holds(leaf))
    }

    /// True if a condition is about what the accepted document says.
    #[must_use]
    pub fn asks_the_document(&self) -> bool {
        const OF_DOCUMENT: [u8; 6] =
            [field::NUMBER, field::NOTATION, field::YEAR, field::URGENCY, field::LEGAL, field::WORD];
        let mut fields = self.clauses.iter().filter_map(Clause::field);
        fields.any(|field| OF_DOCUMENT.contains(&field))
    }
}

impl Clause {
    /// Leaves out what is about test documents.
    #[must_use]
    pub fn no_tests() -> Self {
        Self::Not(term(field::TEST, "1"))
    }

    fn holds(&self, leaf: &Leaf) -> bool {
        match self {
            Self::Any(terms) => terms.iter().any(|term| leaf.terms.contains(term)),
            Self::In(field, values) => leaf.terms.iter().any(|term| {
                let value = term.strip_prefix(&[*field]).and_then(|value| std::str::from_utf8(value).ok());
                value.is_some_and(|value| values.contains(value))
            }),
            Self::Prefix(begin) => leaf.terms.iter().any(|term| term.starts_with(begin)),
            Self::Not(term) => !leaf.terms.contains(term),
        }
    }

    fn field(&self) -> Option<u8> {
        match self {
            Self::Any(terms) => terms.first()?.first().copied(),
            Self::In(field, _) => Some(*field),
            Self::Prefix(term) | Self::Not(term) => term.first().copied(),
        }
    }
}

/// The conditions of a filter whose agencies are named as evidence names them, and that a party is in each of some sets
/// of agencies (what lies below one, what a certificate may see). Its range of leaves is no condition.
pub fn query(
    filter: &SearchFilter,
    within: impl IntoIterator<Item = Arc<BTreeSet<String>>>,
) -> Result<Query, Reason> {
    check(filter)?;
    let mut clauses = Vec::new();
    let mut one = |field: u8, value: &str| {
        if !value.is_empty() {
            clauses.push(Clause::Any(vec![term(field, value)]));
        }
    };
    one(field::ID, &filter.document_id);
    one(field::NOTATION, &fold::line(&filter.notation));
    one(field::NUMBER, &fold::line(&filter.number));
    one(field::SENDER, &filter.sender);
    one(field::RECIPIENT, &filter.recipient);
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
    clauses.extend(within.into_iter().map(|set| Clause::In(field::PARTY, set)));
    Ok(Query { clauses, times: times(filter) })
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

fn times(filter: &SearchFilter) -> Option<RangeInclusive<i64>> {
    let until = if filter.until_us == 0 { i64::MAX } else { filter.until_us.saturating_sub(1) };
    (filter.from_us != 0 || filter.until_us != 0).then_some(filter.from_us..=until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::search::{Accepted, leaf},
        proto::{DocumentInfo, EventKind, Evidence, LegalValue, Party, Reason as ProtoReason},
    };

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

    fn one() -> Leaf {
        let party = |agency: &str| Party { agency: agency.into(), ..Party::default() };
        let evidence = Evidence {
            event: EventKind::ConsignmentRejection.into(),
            event_time_us: 50,
            document_id: "H38,2026,17".into(),
            sender: Some(party("000.00.31.H53")),
            recipients: vec![party("000.01.31.H53")],
            reasons: vec![ProtoReason {
                code: ReasonCode::RefusedByRecipient.into(),
                ..ProtoReason::default()
            }],
            status_code: 2,
            ..Evidence::default()
        };
        let info = DocumentInfo {
            number: "17".into(),
            notation: "QĐ-UBND".into(),
            promulgation_date: "2026-09-20".into(),
            subject: "Kế hoạch phòng chống lũ".into(),
            urgency: 2,
            ..DocumentInfo::default()
        };
        leaf(&evidence, Some(&Accepted::of(info, LegalValue::Original)), &["000.02.31.H53".into()])
    }

    /// Each field alone: one value that is the leaf's, and one that is not.
    #[test]
    fn every_condition_is_asked() {
        type Edit = fn(&mut SearchFilter, bool);
        let pick = |good: bool, yes: &str, no: &str| if good { yes.to_owned() } else { no.to_owned() };
        let edits: [(&str, Edit); 14] = [
            ("id", |f, good| f.document_id = if good { "H38,2026,17" } else { "H38,2026,18" }.into()),
            ("number", |f, good| f.number = if good { "17" } else { "18" }.into()),
            ("notation", |f, good| f.notation = if good { "qd-ubnd" } else { "BC-UBND" }.into()),
            ("year", |f, good| f.year = if good { 2026 } else { 2025 }),
            ("sender", |f, good| f.sender = if good { "000.00.31.H53" } else { "000.01.31.H53" }.into()),
            ("recipient", |f, good| {
                f.recipient = if good { "000.01.31.H53" } else { "000.02.31.H53" }.into()
            }),
            ("event", |f, good| f.events = vec![if good { 8 } else { 5 }, 1]),
            ("status", |f, good| f.status_codes = vec![if good { 2 } else { 3 }, 4]),
            ("reason", |f, good| {
                let code = if good { ReasonCode::RefusedByRecipient } else { ReasonCode::DeadlinePassed };
                f.reasons = vec![code.into()];
            }),
            ("urgency", |f, good| f.urgencies = vec![if good { 2 } else { 0 }, 1]),
            ("legal", |f, good| f.legal_value = if good { 1 } else { 2 }),
            ("from", |f, good| f.from_us = if good { 50 } else { 51 }),
            ("until", |f, good| f.until_us = if good { 51 } else { 50 }),
            ("subject", |f, good| f.subject = if good { "LU\u{303} ke* phong" } else { "lũ kéo" }.into()),
        ];
        for (name, edit) in edits {
            for good in [true, false] {
                let mut filter = SearchFilter::default();
                edit(&mut filter, good);
                let query = query(&filter, []).expect("legal");
                assert!(!query.is_empty(), "{name}");
                assert_eq!(query.holds(&one()), good, "{name}");
            }
        }
        for (agency, good) in [("000.02.31.H53", true), ("000.03.31.H53", false)] {
            let set = Arc::new(BTreeSet::from([pick(true, agency, "")]));
            assert_eq!(query(&SearchFilter::default(), [set]).expect("legal").holds(&one()), good);
        }
        assert!(query(&SearchFilter::default(), []).expect("legal").is_empty());
    }

    #[test]
    fn tests_can_be_left_out() {
        let query = Query { clauses: vec![Clause::no_tests()], ..Query::default() };
        let test = Evidence { test: true, ..Evidence::default() };
        assert!(query.holds(&one()) && !query.holds(&leaf(&test, None, &[])));
    }

    #[test]
    fn what_the_document_says_is_told_apart() {
        let asks = |filter: SearchFilter| query(&filter, []).expect("legal").asks_the_document();
        assert!(asks(SearchFilter { subject: "lũ".into(), ..SearchFilter::default() }));
        assert!(asks(SearchFilter { subject: "lũ*".into(), ..SearchFilter::default() }));
        assert!(!asks(SearchFilter { events: vec![1], sender: "H53".into(), ..SearchFilter::default() }));
    }
}
