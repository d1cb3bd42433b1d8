//! From recipients and groups to agencies, at the moment of acceptance.

use std::collections::BTreeSet;

use super::{AgencyEntry, Directory};
use crate::{
    domain::{
        id::{AgencyId, shorten},
        reason::{Reason, ReasonCode},
    },
    proto::{Level, RecipientGroup},
};

/// How many recipients an error names before it counts the rest.
const NAMED: usize = 20;

impl Directory {
    /// The agencies that a document goes to: sorted, without repeats, at least one and at most `max`.
    ///
    /// A recipient given by an alias becomes the agency that the alias means. Groups mean the active agencies
    /// below their root, of their level; the sender is left out of them.
    ///
    /// Errors, all at once: `UNKNOWN_RECIPIENT` and `AGENCY_CLOSED` (also for suspended ones) for named
    /// recipients, `INVALID_FIELD` for those named twice, `TOO_LARGE`, `NO_RECIPIENTS`.
    pub fn expand(
        &self,
        sender: &AgencyId,
        recipients: &[String],
        groups: &[RecipientGroup],
        max: usize,
    ) -> Result<Vec<AgencyId>, Vec<Reason>> {
        if recipients.len() > max {
            return Err(vec![too_many(max)]);
        }
        let mut problems = Problems::default();
        let mut expanded = self.expand_named(recipients, &mut problems);
        for group in groups {
            self.expand_group(sender, group, &mut expanded, &mut problems);
            if expanded.len() > max {
                problems.other.push(too_many(max));
                break;
            }
        }
        let problems = problems.into_reasons();
        if !problems.is_empty() {
            return Err(problems);
        }
        if expanded.is_empty() {
            return Err(vec![Reason::new(ReasonCode::NoRecipients, "recipients, groups: no agency is left")]);
        }
        Ok(expanded.into_iter().cloned().collect())
    }

    fn expand_named<'d>(&'d self, recipients: &[String], problems: &mut Problems) -> BTreeSet<&'d AgencyId> {
        let mut expanded = BTreeSet::new();
        for text in recipients {
            match self.resolve(text) {
                None => problems.unknown.push(format!("{:?}", shorten(text))),
                Some(agency) if !agency.is_active() => problems.closed.push(text.clone()),
                Some(agency) if !expanded.insert(&agency.id) => problems.twice.push(twice(text, agency)),
                Some(_) => {}
            }
        }
        expanded
    }

    fn expand_group<'d>(
        &'d self,
        sender: &AgencyId,
        group: &RecipientGroup,
        expanded: &mut BTreeSet<&'d AgencyId>,
        problems: &mut Problems,
    ) {
        let Ok(level) = Level::try_from(group.level) else {
            problems.other.push(Reason::invalid("groups", format_args!("level {} is unknown", group.level)));
            return;
        };
        let Some(root) = self.resolve(&group.root) else {
            problems.unknown.push(format!("group {:?}", shorten(&group.root)));
            return;
        };
        let meant = |agency: &&AgencyEntry| {
            agency.is_active()
                && agency.id != *sender
                && (level == Level::Unspecified || agency.level == level)
        };
        expanded.extend(self.descendants(root).into_iter().filter(meant).map(|agency| &agency.id));
    }
}

/// What is wrong, by kind.
#[derive(Default)]
struct Problems {
    unknown: Vec<String>,
    closed: Vec<String>,
    twice: Vec<String>,
    other: Vec<Reason>,
}

impl Problems {
    fn into_reasons(self) -> Vec<Reason> {
        let mut reasons = name_some(ReasonCode::UnknownRecipient, &self.unknown);
        reasons.extend(name_some(ReasonCode::AgencyClosed, &self.closed));
        reasons.extend(name_some(ReasonCode::InvalidField, &self.twice));
        reasons.extend(self.other);
        reasons
    }
}

/// One reason for each of the first recipients, then one for how many more.
fn name_some(code: ReasonCode, recipients: &[String]) -> Vec<Reason> {
    let named = recipients.iter().take(NAMED).map(|text| Reason::new(code, format!("recipients: {text}")));
    let mut reasons: Vec<Reason> = named.collect();
    if recipients.len() > NAMED {
        reasons.push(Reason::new(code, format!("recipients: and {} more", recipients.len() - NAMED)));
    }
    reasons
}

fn twice(text: &str, agency: &AgencyEntry) -> String {
    if text == agency.id.as_str() {
        return format!("{text} is named twice");
    }
    format!("{text} means {}, which is named twice", agency.id)
}

fn too_many(max: usize) -> Reason {
    Reason::new(ReasonCode::TooLarge, format!("recipients, groups: more than {max} agencies"))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::proto::AgencyState;

    fn group(root: &str, level: Level) -> RecipientGroup {
        RecipientGroup { root: root.into(), level: level.into() }
    }

    fn expand(
        directory: &Directory,
        recipients: &[&str],
        groups: &[RecipientGroup],
    ) -> Result<Vec<String>, Vec<Reason>> {
        let sender = AgencyId::parse("000.00.31.H53").expect("sender");
        let recipients: Vec<String> = recipients.iter().map(ToString::to_string).collect();
        let expanded = directory.expand(&sender, &recipients, groups, 5)?;
        Ok(expanded.into_iter().map(String::from).collect())
    }

    fn refusals(
        directory: &Directory,
        recipients: &[&str],
        groups: &[RecipientGroup],
    ) -> Vec<(ReasonCode, String)> {
        let reasons = expand(directory, recipients, groups).expect_err("refused");
        reasons.into_iter().map(|reason| (reason.code, reason.detail)).collect()
    }

    fn tay_ninh() -> Directory {
        directory(&[
            "000.00.00.H53",
            "000.00.31.H53",
            "000.21.31.H53",
            "000.22.31.H53",
            "000.00.32.H53",
            "000.21.32.H53",
            "000.00.00.H54",
        ])
    }

    #[test]
    fn named_recipients_come_out_sorted() {
        let expanded = expand(&tay_ninh(), &["000.22.31.H53", "000.00.00.H54"], &[]);
        assert_eq!(expanded, Ok(vec!["000.00.00.H54".into(), "000.22.31.H53".into()]));
    }

    #[test]
    fn a_group_means_what_is_below_its_root() {
        let communes = expand(&tay_ninh(), &[], &[group("000.00.31.H53", Level::Commune)]);
        assert_eq!(communes, Ok(vec!["000.21.31.H53".into(), "000.22.31.H53".into()]));
        let everything =
            expand(&tay_ninh(), &[], &[group("000.00.00.H53", Level::Unspecified)]).expect("all");
        assert_eq!(everything.len(), 4, "without root and sender: {everything:?}");
    }

    #[test]
    fn groups_and_names_may_overlap() {
        let groups = [group("000.00.31.H53", Level::Commune), group("000.00.00.H53", Level::Commune)];
        let expanded = expand(&tay_ninh(), &["000.21.31.H53"], &groups).expect("overlap");
        assert_eq!(expanded, ["000.21.31.H53", "000.21.32.H53", "000.22.31.H53"]);
    }

    #[test]
    fn closed_agencies_are_refused_by_name_and_left_out_of_groups() {
        let mut directory = tay_ninh();
        change(&mut directory, set_state("000.21.31.H53", AgencyState::Closed));
        let communes = expand(&directory, &[], &[group("000.00.31.H53", Level::Commune)]);
        assert_eq!(communes, Ok(vec!["000.22.31.H53".into()]));
        assert_eq!(
            refusals(&directory, &["000.21.31.H53"], &[]),
            [(ReasonCode::AgencyClosed, "recipients: 000.21.31.H53".into())]
        );
    }

    #[test]
    fn an_alias_becomes_its_agency_and_a_repeat_is_told() {
        let mut directory = tay_ninh();
        change(&mut directory, put_agency_with("H53.31.23", |a| a.aliases = vec!["23.31.H53".into()]));
        assert_eq!(expand(&directory, &["23.31.H53"], &[]), Ok(vec!["H53.31.23".into()]));
        assert_eq!(
            refusals(&directory, &["H53.31.23", "23.31.H53"], &[]),
            [(
                ReasonCode::InvalidField,
                "recipients: 23.31.H53 means H53.31.23, which is named twice".into()
            )]
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let groups = [group("H99", Level::Unspecified), RecipientGroup { root: "H53".into(), level: 9 }];
        let codes: Vec<ReasonCode> =
            refusals(&tay_ninh(), &["H98", "000.00.00.H54", "000.00.00.H54"], &groups)
                .into_iter()
                .map(|(code, _)| code)
                .collect();
        use ReasonCode::{InvalidField, UnknownRecipient};
        assert_eq!(codes, [UnknownRecipient, UnknownRecipient, InvalidField, InvalidField]);
    }

    #[test]
    fn at_most_twenty_are_named() {
        let sender = AgencyId::parse("H53").expect("sender");
        let strangers: Vec<String> = (0..50).map(|n| format!("H53.{n}")).collect();
        let reasons = Directory::default().expand(&sender, &strangers, &[], 100).expect_err("unknown");
        assert_eq!(reasons.len(), 21);
        assert_eq!(reasons[20].detail, "recipients: and 30 more");
    }

    #[test]
    fn too_many_and_none_are_refused() {
        let directory = tay_ninh();
        let named = ["000.21.31.H53", "000.00.00.H54"];
        let groups = [group("000.00.00.H53", Level::Unspecified)];
        assert!(expand(&directory, &named[..1], &groups).is_ok());
        assert!(expand(&directory, &named, &groups).is_ok(), "five are allowed");
        assert_eq!(refusals(&directory, &["x"; 6], &[])[0].0, ReasonCode::TooLarge);
        assert_eq!(refusals(&directory, &[], &[])[0].0, ReasonCode::NoRecipients);
        let nobody = [group("000.00.00.H54", Level::Unspecified)];
        assert_eq!(refusals(&directory, &[], &nobody)[0].0, ReasonCode::NoRecipients);
        let sender = AgencyId::parse("G01").expect("sender");
        let reasons = directory.expand(&sender, &[], &groups, 4).expect_err("five below, four allowed");
        assert_eq!(reasons[0].code, ReasonCode::TooLarge);
    }

    #[test]
    fn a_circular_to_twenty_thousand_expands() {
        let organ_ids: Vec<String> = (0..20_000).map(|n| format!("H53.{n}")).collect();
        let mut all: Vec<&str> = organ_ids.iter().map(String::as_str).collect();
        all.push("H53");
        let directory = directory(&all);
        let sender = AgencyId::parse("H53").expect("sender");
        let groups = [group("H53", Level::Unspecified)];
        let expanded = directory.expand(&sender, &organ_ids, &groups, 20_000).expect("all");
        assert_eq!(expanded.len(), 20_000);
    }
}
