//! How long the contents of a document are kept: by its kind, counted from acceptance. Without a rule, for ever.

use super::{fold, time::Timestamp};
use crate::proto::{ErasedScope, Operation};

/// One rule. An empty list fits every document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stands in the evidence of what it erased.
    pub name: String,
    /// Document types, as people write them.
    pub type_names: Vec<String>,
    /// Urgencies, 0 to 4.
    pub urgencies: Vec<u32>,
    /// What the package does.
    pub operations: Vec<Operation>,
    /// Age from which on the contents go.
    pub after_us: i64,
    /// Which contents.
    pub scope: ErasedScope,
}

/// What a rule asks of a document.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    /// Name of its type.
    pub type_name: &'a str,
    /// Urgency.
    pub urgency: u32,
    /// `proto::Operation`.
    pub operation: i32,
}

/// Rules in order: the first that fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<(Rule, Vec<String>)>);

impl Rules {
    /// Rules in the order of the configuration.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        let folded = |rule: Rule| {
            let types = rule.type_names.iter().map(|name| fold::line(name)).collect();
            (rule, types)
        };
        Self(rules.into_iter().map(folded).collect())
    }

    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter().map(|(rule, _)| rule)
    }

    /// A document that was accepted later than this is kept by every rule; `None` where nothing is ever erased.
    #[must_use]
    pub fn newest(&self, now: Timestamp) -> Option<Timestamp> {
        self.iter().map(|rule| now.plus_us(-rule.after_us)).max()
    }

    /// True if the name of the type decides about such a document.
    #[must_use]
    pub fn ask_for_type(&self, urgency: u32, operation: i32) -> bool {
        let first = self.0.iter().find(|(rule, _)| rule.fits(urgency, operation));
        first.is_some_and(|(_, types)| !types.is_empty())
    }

    /// The rule that erases a document of this kind and age now.
    #[must_use]
    pub fn due(&self, kind: Kind<'_>, accepted: Timestamp, now: Timestamp) -> Option<&Rule> {
        let name = fold::line(kind.type_name);
        let fits = |(rule, types): &&(Rule, Vec<String>)| {
            rule.fits(kind.urgency, kind.operation) && (types.is_empty() || types.contains(&name))
        };
        let (rule, _) = self.0.iter().find(fits)?;
        (accepted <= now.plus_us(-rule.after_us)).then_some(rule)
    }
}

impl Rule {
    fn fits(&self, urgency: u32, operation: i32) -> bool {
        (self.urgencies.is_empty() || self.urgencies.contains(&urgency))
            && (self.operations.is_empty() || self.operations.iter().any(|one| i32::from(*one) == operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, after_us: i64) -> Rule {
        Rule {
            name: name.into(),
            type_names: Vec::new(),
            urgencies: Vec::new(),
            operations: Vec::new(),
            after_us,
            scope: ErasedScope::Attachments,
        }
    }

    fn due(rules: &Rules, type_name: &str, urgency: u32, operation: i32, age: i64) -> Option<String> {
        let now = Timestamp(1_000_000);
        let kind = Kind { type_name, urgency, operation };
        rules.due(kind, now.plus_us(-age), now).map(|rule| rule.name.clone())
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = Rules::new(vec![
            Rule { type_names: vec!["Giấy mời".into()], ..rule("invitations", 10) },
            Rule { urgencies: vec![3, 4], ..rule("urgent", 1_000) },
            Rule { operations: vec![Operation::Recall], ..rule("recalls", 50) },
        ]);
        for (type_name, urgency, operation, age, expected) in [
            ("GIAY MOI", 0, 0, 10, Some("invitations")),
            ("Giấy mời", 4, 0, 9, None),
            ("Công văn", 4, 1, 999, None),
            ("Công văn", 4, 1, 1_000, Some("urgent")),
            ("Công văn", 0, 1, 60, Some("recalls")),
            ("Công văn", 0, 0, 900_000, None),
        ] {
            let found = due(&rules, type_name, urgency, operation, age);
            assert_eq!(found.as_deref(), expected, "{type_name} {urgency} {operation} {age}");
        }
        assert!(rules.ask_for_type(0, 0));
        assert_eq!(rules.newest(Timestamp(100)), Some(Timestamp(90)));
    }

    #[test]
    fn without_rules_all_is_kept() {
        let none = Rules::default();
        assert_eq!(due(&none, "Công văn", 0, 0, i64::MAX / 4), None);
        assert_eq!(none.newest(Timestamp(5)), None);
        assert!(!none.ask_for_type(0, 0));
        let all = Rules::new(vec![rule("all", 0)]);
        assert!(!all.ask_for_type(0, 0));
        assert_eq!(due(&all, "", 0, 0, 0).as_deref(), Some("all"));
    }
}
