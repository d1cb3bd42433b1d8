//! Agency identifiers: what their form tells, and the rules of an agency's record.

use std::{collections::BTreeSet, ops::Range};

use super::{
    id::{AgencyId, MAX_AGENCY_ID, shorten},
    reason::{Reason, ReasonCode},
    text,
};
use crate::proto::{self, AgencyState, Level};

/// Longest name of an agency in characters (Decree 30/2020, Annex VI: OrganName).
pub const MAX_NAME: usize = 200;
/// Other identifiers of one agency: two forms, abbreviations and a few predecessors.
pub const MAX_ALIASES: usize = 64;

/// Where levels 4, 3 and 2 stand in the old form `V1V2V3.Z1Z2.Y1Y2.MX1X2` (QCVN 102:2016).
const OLD_GROUPS: [Range<usize>; 3] = [0..3, 4..6, 7..9];

/// Administrative level as far as the identifier's form tells it, else `LEVEL_UNSPECIFIED`.
///
/// Letters A to G and I are central bodies at any depth. H and K: depth 1 is the province; in the old form
/// depth 2 is the district and below it the commune. The new form's deeper groups tell no level: since 2025
/// communes stand directly under the province.
#[must_use]
pub fn level_of(id: &AgencyId) -> Level {
    match (first_letter(id), depth(id)) {
        (b'A'..=b'G' | b'I', _) => Level::Central,
        (b'H' | b'K', 1) => Level::Province,
        (b'H' | b'K', 2) if id.is_old_form() => Level::District,
        (b'H' | b'K', _) if id.is_old_form() => Level::Commune,
        _ => Level::Unspecified,
    }
}

/// Identifier of the agency above as the groups tell it, in the same form; `None` at depth 1.
///
/// Whether such an agency exists, the directory knows.
#[must_use]
pub fn parent_of(id: &AgencyId) -> Option<AgencyId> {
    let text = id.as_str();
    if !id.is_old_form() {
        return text.rsplit_once('.').and_then(|(above, _)| AgencyId::parse(above).ok());
    }
    let deepest = OLD_GROUPS.into_iter().find(|group| !is_zero(&text[group.clone()]))?;
    let mut above = text.to_owned();
    above.replace_range(deepest.clone(), &"0".repeat(deepest.len()));
    AgencyId::parse(&above).ok()
}

/// True for `…W00` and the like: nodes of the axis, not agencies.
#[must_use]
pub fn is_axis_node(id: &AgencyId) -> bool {
    first_letter(id) == b'W'
}

/// True for text that can stand in the alias table: both forms, and abbreviations such as `28.22.H17`.
#[must_use]
pub fn is_alias(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'.';
    (1..=MAX_AGENCY_ID).contains(&text.len()) && text.bytes().all(legal)
}

/// Checks a record by itself and returns its identifier. What depends on other records, the directory checks.
pub fn check(agency: &proto::Agency) -> Result<AgencyId, Reason> {
    let id = AgencyId::parse(&agency.organ_id).map_err(|reason| reason.of_field("organ_id"))?;
    if is_axis_node(&id) {
        return Err(Reason::new(
            ReasonCode::BadIdentifier,
            format!("organ_id: {id} names a node of the axis, not an agency"),
        ));
    }
    text::check("name", &agency.name, 1..=MAX_NAME)?;
    check_level(&id, agency.level)?;
    AgencyState::try_from(agency.state)
        .map_err(|_| Reason::invalid("state", format_args!("{} is unknown", agency.state)))?;
    if !agency.parent.is_empty() && !is_alias(&agency.parent) {
        return Err(bad_identifier("parent", &agency.parent));
    }
    check_aliases(&id, &agency.aliases)?;
    Ok(id)
}

fn check_level(id: &AgencyId, given: i32) -> Result<(), Reason> {
    let given =
        Level::try_from(given).map_err(|_| Reason::invalid("level", format_args!("{given} is unknown")))?;
    let told = level_of(id);
    if given == Level::Unspecified || told == Level::Unspecified || given == told {
        return Ok(());
    }
    Err(Reason::invalid(
        "level",
        format_args!("{} contradicts {id}, which tells {}", given.as_str_name(), told.as_str_name()),
    ))
}

fn check_aliases(id: &AgencyId, aliases: &[String]) -> Result<(), Reason> {
    if aliases.len() > MAX_ALIASES {
        return Err(Reason::new(
            ReasonCode::TooLarge,
            format!("aliases: {}, at most {MAX_ALIASES}", aliases.len()),
        ));
    }
    let mut seen = BTreeSet::from([id.as_str()]);
    for alias in aliases {
        if !is_alias(alias) {
            return Err(bad_identifier("aliases", alias));
        }
        if !seen.insert(alias) {
            return Err(Reason::invalid("aliases", format_args!("{alias} is named twice")));
        }
    }
    Ok(())
}

fn bad_identifier(field: &str, text: &str) -> Reason {
    Reason::new(
        ReasonCode::BadIdentifier,
        format!("{field}: {:?} needs 1 to {MAX_AGENCY_ID} of 0-9 A-Z .", shorten(text)),
    )
}

/// Letter of the level-1 group.
fn first_letter(id: &AgencyId) -> u8 {
    let at = if id.is_old_form() { 10 } else { 0 };
    id.as_str().as_bytes()[at]
}

/// 1 for a level-1 agency.
fn depth(id: &AgencyId) -> usize {
    let text = id.as_str();
    if !id.is_old_form() {
        return text.split('.').count();
    }
    let zero_groups = OLD_GROUPS.into_iter().take_while(|group| is_zero(&text[group.clone()])).count();
    4 - zero_groups
}

fn is_zero(group: &str) -> bool {
    group.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> AgencyId {
        AgencyId::parse(text).expect(text)
    }

    fn ancestors(text: &str) -> Vec<String> {
        std::iter::successors(Some(id(text)), parent_of).skip(1).map(String::from).collect()
    }

    #[test]
    fn the_old_form_reads_from_right_to_left() {
        assert_eq!(ancestors("000.21.31.H53"), ["000.00.31.H53", "000.00.00.H53"]);
        assert_eq!(ancestors("007.21.31.H53"), ["000.21.31.H53", "000.00.31.H53", "000.00.00.H53"]);
        assert_eq!(ancestors("000.00.00.H53"), Vec::<String>::new());
    }

    #[test]
    fn the_new_form_reads_from_left_to_right() {
        assert_eq!(ancestors("H53.31.21"), ["H53.31", "H53"]);
        assert_eq!(ancestors("H53"), Vec::<String>::new());
    }

    #[test]
    fn levels_are_told_only_where_the_form_tells_them() {
        for (text, level) in [
            ("000.00.00.H53", Level::Province),
            ("000.00.31.H53", Level::District),
            ("000.21.31.H53", Level::Commune),
            ("001.21.31.K53", Level::Commune),
            ("000.00.22.G14", Level::Central),
            ("000.00.01.A53", Level::Central),
            ("000.21.36.I03", Level::Central),
            ("G12.18", Level::Central),
            ("H53", Level::Province),
            ("H55.242", Level::Unspecified),
            ("H53.31.21", Level::Unspecified),
            ("Z01", Level::Unspecified),
            ("000.00.53.W00", Level::Unspecified),
        ] {
            assert_eq!(level_of(&id(text)), level, "{text}");
        }
    }

    fn agency(organ_id: &str) -> proto::Agency {
        proto::Agency { organ_id: organ_id.into(), name: "UBND xã An Thạnh".into(), ..Default::default() }
    }

    #[test]
    fn a_plain_record_is_accepted() {
        let mut record = agency("000.21.31.H53");
        record.aliases = vec!["H53.31.21".into(), "21.31.H53".into()];
        record.level = Level::Commune.into();
        assert_eq!(check(&record), Ok(id("000.21.31.H53")));
    }

    #[test]
    fn each_broken_rule_has_its_code() {
        type Breaks = fn(&mut proto::Agency);
        let cases: [(Breaks, ReasonCode); 11] = [
            (|a| a.organ_id = "000.1137.H53".into(), ReasonCode::BadIdentifier),
            (|a| a.organ_id = "000.00.53.W00".into(), ReasonCode::BadIdentifier),
            (|a| a.name = " ".into(), ReasonCode::InvalidField),
            (|a| a.name = "ơ".repeat(201), ReasonCode::InvalidField),
            (|a| a.name = "a\tb".into(), ReasonCode::InvalidField),
            (|a| a.level = Level::Province.into(), ReasonCode::InvalidField),
            (|a| a.level = 9, ReasonCode::InvalidField),
            (|a| a.state = 9, ReasonCode::InvalidField),
            (|a| a.parent = "h53".into(), ReasonCode::BadIdentifier),
            (|a| a.aliases = vec!["21-31".into()], ReasonCode::BadIdentifier),
            (|a| a.aliases = vec!["000.21.31.H53".into()], ReasonCode::InvalidField),
        ];
        for (number, (breaks, code)) in cases.into_iter().enumerate() {
            let mut record = agency("000.21.31.H53");
            breaks(&mut record);
            assert_eq!(check(&record).expect_err("broken").code, code, "case {number}");
        }
        let mut record = agency("H53");
        record.aliases = (0..=MAX_ALIASES).map(|n| format!("H{n}")).collect();
        assert_eq!(check(&record).expect_err("many").code, ReasonCode::TooLarge);
    }

    proptest! {
        #[test]
        fn going_up_always_ends(text in "[0-9]{3}\\.[0-9]{2}\\.[0-9]{2}\\.[A-Z][0-9]{2}|[A-Z][0-9]{2}(\\.[A-Z0-9]{1,4}){0,6}") {
            let id = id(&text);
            let above = ancestors(&text);
            prop_assert_eq!(above.len() < 17, true);
            for parent in &above {
                let parent = AgencyId::parse(parent).expect("an identifier");
                prop_assert_eq!(parent.is_old_form(), id.is_old_form());
                prop_assert_eq!(first_letter(&parent), first_letter(&id));
                prop_assert!(depth(&parent) < depth(&id));
            }
        }
    }
}
