//! Changes before they are written: checked, and completed so that a replay needs nothing else.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;

use super::{AgencyEntry, Directory, KeyEntry, NodeEntry};
use crate::{
    domain::{
        agency,
        envelope::RegisteredKey,
        id::{AgencyId, Digest, NodeName, shorten},
        reason::{Reason, ReasonCode},
        signature::PublicKey,
        text,
        time::Timestamp,
    },
    proto::{self, AgencyState, DirectoryChange, Level, SignerKind, directory_change::Change},
};

/// Longest reason of a change in characters.
pub const MAX_REASON: usize = 200;
/// Largest change. It stands inside a leaf, and leaves are at most 65,535 bytes (C2SP tlog-tiles).
pub const MAX_CHANGE_BYTES: usize = 60_000;

/// A change that passed the rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// To be written and applied as it stands: complete, so that a replay needs nothing else.
    Change(DirectoryChange),
    /// Nothing to do: `leaf` made it so.
    Unchanged {
        /// Leaf of the earlier change.
        leaf: u64,
    },
}

/// What a rule makes of a change.
enum Judged {
    Change(Change),
    Unchanged(u64),
}

impl Directory {
    /// Checks a change and completes it: level and parent as the identifier tells them, aliases sorted and
    /// resolved, key id, `valid_from` (`now` where not given).
    ///
    /// A revocation of a key becomes the key's whole record with `revoked_at_us`, because the change alone must
    /// tell the moment.
    pub fn prepare(&self, change: &DirectoryChange, now: Timestamp) -> Result<Prepared, Reason> {
        text::check("reason", &change.reason, 0..=MAX_REASON)?;
        refuse_large(change)?;
        let judged = match &change.change {
            None => return Err(Reason::invalid("change", "is required")),
            Some(Change::PutAgency(agency)) => self.judge_agency(agency),
            Some(Change::SetAgencyState(set)) => self.judge_state(set),
            Some(Change::PutNode(node)) => self.judge_node(node),
            Some(Change::RevokeNode(revoke)) => self.judge_node_revocation(revoke),
            Some(Change::AddKey(key)) => self.judge_key(key, now),
            Some(Change::RevokeKey(revoke)) => self.judge_key_revocation(revoke, now),
            Some(Change::ChangeLogKey(_)) => {
                return Err(Reason::invalid(
                    "change_log_key",
                    "is made by the hub alone: see `truc log rotate`",
                ));
            }
        };
        match judged? {
            Judged::Unchanged(leaf) => Ok(Prepared::Unchanged { leaf }),
            Judged::Change(complete) => {
                let complete = DirectoryChange { change: Some(complete), reason: change.reason.clone() };
                refuse_large(&complete)?;
                Ok(Prepared::Change(complete))
            }
        }
    }

    fn judge_agency(&self, given: &proto::Agency) -> Result<Judged, Reason> {
        let id = agency::check(given)?;
        self.refuse_taken_names(&id, &given.aliases)?;
        let complete = self.complete_agency(&id, given)?;
        if self.makes_a_cycle(&id, &complete) {
            return Err(Reason::invalid("parent", format_args!("{} is below {id}", complete.parent)));
        }
        let Some(old) = self.agency(&id) else { return Ok(Judged::Change(Change::PutAgency(complete))) };
        if old.to_proto() == complete {
            return Ok(Judged::Unchanged(old.leaf));
        }
        refuse_reopening(old, complete.state())?;
        Ok(Judged::Change(Change::PutAgency(complete)))
    }

    fn refuse_taken_names(&self, id: &AgencyId, aliases: &[String]) -> Result<(), Reason> {
        let names = std::iter::once(("organ_id", id.as_str()));
        let names = names.chain(aliases.iter().map(|alias| ("aliases", alias.as_str())));
        for (field, name) in names {
            if let Some(owner) = self.resolve(name).filter(|owner| owner.id != *id) {
                return Err(Reason::new(
                    ReasonCode::Duplicate,
                    format!("{field}: {name} already means {}", owner.id),
                ));
            }
        }
        Ok(())
    }

    fn complete_agency(&self, id: &AgencyId, given: &proto::Agency) -> Result<proto::Agency, Reason> {
        let mut complete = given.clone();
        complete.aliases.sort();
        if given.level() == Level::Unspecified {
            complete.set_level(agency::level_of(id));
        }
        let parent = match self.resolve(&given.parent) {
            Some(parent) => Some(parent.id.clone()),
            None if given.parent.is_empty() => agency::parent_of(id),
            None => Some(AgencyId::parse(&given.parent).map_err(|reason| reason.of_field("parent"))?),
        };
        complete.parent = parent.map(String::from).unwrap_or_default();
        Ok(complete)
    }

    /// Whether the way up from the new record's parent would come back to it.
    fn makes_a_cycle(&self, id: &AgencyId, complete: &proto::Agency) -> bool {
        let is_self = |name: &AgencyId| {
            name == id
                || complete.aliases.iter().any(|alias| alias == name.as_str())
                || self.resolve(name.as_str()).is_some_and(|agency| agency.id == *id)
        };
        let mut seen = BTreeSet::new();
        let mut step = AgencyId::parse(&complete.parent).ok();
        while let Some(name) = step {
            if is_self(&name) || !seen.insert(name.clone()) {
                return true;
            }
            step = self.above(&name);
        }
        false
    }

    fn judge_state(&self, set: &proto::SetAgencyState) -> Result<Judged, Reason> {
        let state = AgencyState::try_from(set.state)
            .map_err(|_| Reason::invalid("state", format_args!("{} is unknown", set.state)))?;
        let agency = self.known_agency("organ_id", &set.organ_id)?;
        if agency.state == state {
            return Ok(Judged::Unchanged(agency.leaf));
        }
        refuse_reopening(agency, state)?;
        let complete = proto::SetAgencyState { organ_id: agency.id.to_string(), state: state.into() };
        Ok(Judged::Change(Change::SetAgencyState(complete)))
    }

    fn judge_node(&self, given: &proto::Node) -> Result<Judged, Reason> {
        let name = NodeName::parse(&given.name).map_err(|reason| reason.of_field("name"))?;
        if given.revoked {
            return Err(Reason::invalid("revoked", "use revoke_node"));
        }
        let mut agencies = BTreeSet::new();
        for text in &given.agencies {
            let agency = self.known_agency("agencies", text)?;
            if !agencies.insert(agency.id.clone()) {
                return Err(Reason::invalid("agencies", format_args!("{} is named twice", agency.id)));
            }
        }
        let old = self.node(&name);
        if old.is_some_and(|old| old.revoked) {
            return Err(Reason::new(
                ReasonCode::UnknownNode,
                format!("name: {name} was revoked and is never used again"),
            ));
        }
        if let Some(same) = old.filter(|old| old.agencies == agencies) {
            return Ok(Judged::Unchanged(same.leaf));
        }
        let complete = NodeEntry { name, agencies, revoked: false, leaf: 0 };
        Ok(Judged::Change(Change::PutNode(complete.to_proto())))
    }

    fn judge_node_revocation(&self, revoke: &proto::RevokeNode) -> Result<Judged, Reason> {
        let name = NodeName::parse(&revoke.name).map_err(|reason| reason.of_field("name"))?;
        match self.node(&name) {
            None => Err(Reason::new(ReasonCode::UnknownNode, format!("name: {name}"))),
            Some(node) if node.revoked => Ok(Judged::Unchanged(node.leaf)),
            Some(_) => Ok(Judged::Change(Change::RevokeNode(revoke.clone()))),
        }
    }

    fn judge_key(&self, given: &proto::SigningKey, now: Timestamp) -> Result<Judged, Reason> {
        let agency = self.known_agency("agency", &given.agency)?;
        let kind = SignerKind::try_from(given.signer_kind).unwrap_or_default();
        if kind == SignerKind::Unspecified {
            return Err(Reason::invalid("signer_kind", "needs AGENCY or PERSON"));
        }
        if given.revoked_at_us != 0 {
            return Err(Reason::invalid("revoked_at_us", "use revoke_key"));
        }
        let public = PublicKey::from_spki_der(&given.spki_der)?;
        let key_id = public.key_id();
        if !given.key_id.is_empty() && given.key_id != key_id.as_bytes()[..] {
            return Err(Reason::invalid("key_id", "is not the SHA-256 of spki_der"));
        }
        if let Some(old) = self.key_entry(&key_id) {
            return judge_repeated_key(old, &agency.id, kind, given);
        }
        if agency.state == AgencyState::Closed {
            return Err(Reason::new(ReasonCode::AgencyClosed, format!("agency: {}", agency.id)));
        }
        let valid_from = Timestamp::given(given.valid_from_us).unwrap_or(now);
        let valid_until = Timestamp::given(given.valid_until_us);
        if valid_from.0 < 0 || valid_until.is_some_and(|until| until <= valid_from) {
            return Err(Reason::invalid("valid_until_us", "needs to be later than valid_from_us"));
        }
        let key = RegisteredKey {
            agency: agency.id.clone(),
            public,
            kind,
            valid_from,
            valid_until,
            revoked_at: None,
        };
        Ok(Judged::Change(Change::AddKey(KeyEntry { key, leaf: 0 }.to_proto())))
    }

    fn judge_key_revocation(&self, revoke: &proto::RevokeKey, now: Timestamp) -> Result<Judged, Reason> {
        let id = key_id(&revoke.key_id)?;
        let Some(entry) = self.key_entry(&id) else {
            return Err(Reason::new(ReasonCode::UnknownKey, format!("key_id: {id}")));
        };
        if entry.key.revoked_at.is_some() {
            return Ok(Judged::Unchanged(entry.leaf));
        }
        Ok(Judged::Change(Change::AddKey(proto::SigningKey { revoked_at_us: now.0, ..entry.to_proto() })))
    }

    fn known_agency(&self, field: &str, text: &str) -> Result<&AgencyEntry, Reason> {
        if !agency::is_alias(text) {
            let detail = format!("{field}: {:?} needs 1 to 35 of 0-9 A-Z .", shorten(text));
            return Err(Reason::new(ReasonCode::BadIdentifier, detail));
        }
        self.resolve(text).ok_or_else(|| Reason::new(ReasonCode::UnknownAgency, format!("{field}: {text}")))
    }
}

fn refuse_large(change: &DirectoryChange) -> Result<(), Reason> {
    let size = change.encoded_len();
    if size > MAX_CHANGE_BYTES {
        let detail = format!("change: {size} bytes, at most {MAX_CHANGE_BYTES}");
        return Err(Reason::new(ReasonCode::TooLarge, detail));
    }
    Ok(())
}

fn refuse_reopening(agency: &AgencyEntry, state: AgencyState) -> Result<(), Reason> {
    if agency.state == AgencyState::Closed && state != AgencyState::Closed {
        return Err(Reason::new(
            ReasonCode::AgencyClosed,
            format!("state: {} is closed for ever", agency.id),
        ));
    }
    Ok(())
}

/// The very same registration again is no change; anything else would give one key two meanings.
fn judge_repeated_key(
    old: &KeyEntry,
    agency: &AgencyId,
    kind: SignerKind,
    given: &proto::SigningKey,
) -> Result<Judged, Reason> {
    let key = &old.key;
    let same_start = given.valid_from_us == 0 || given.valid_from_us == key.valid_from.0;
    let same_end = Timestamp::given(given.valid_until_us) == key.valid_until;
    if key.agency == *agency && key.kind == kind && same_start && same_end && key.revoked_at.is_none() {
        return Ok(Judged::Unchanged(old.leaf));
    }
    let id = key.public.key_id();
    let revoked = if key.revoked_at.is_some() { " and revoked" } else { "" };
    Err(Reason::new(ReasonCode::KeyAlreadyUsed, format!("key_id: {id} is registered{revoked}")))
}

pub(super) fn key_id(bytes: &Bytes) -> Result<Digest, Reason> {
    Digest::from_slice(bytes).ok_or_else(|| Reason::invalid("key_id", "needs 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};

    fn refused(directory: &Directory, change: DirectoryChange) -> ReasonCode {
        try_change(directory, change).expect_err("refused").code
    }

    fn completed(directory: &Directory, change: DirectoryChange) -> Change {
        match try_change(directory, change).expect("legal") {
            Prepared::Change(change) => change.change.expect("a change"),
            Prepared::Unchanged { leaf } => panic!("unchanged since {leaf}"),
        }
    }

    fn key_id_of(seed: u8) -> Bytes {
        Digest::of(&spki(seed)).to_bytes()
    }

    #[test]
    fn an_agency_is_completed_from_its_identifier() {
        let put =
            put_agency_with("000.21.31.H53", |a| a.aliases = vec!["H53.31.21".into(), "21.31.H53".into()]);
        let Change::PutAgency(agency) = completed(&Directory::default(), put) else { panic!("an agency") };
        assert_eq!(agency.level(), Level::Commune);
        assert_eq!(agency.parent, "000.00.31.H53");
        assert_eq!(agency.aliases, ["21.31.H53", "H53.31.21"]);
    }

    #[test]
    fn what_is_given_stands() {
        let directory = directory(&["H55"]);
        let put = put_agency_with("H55.242", |a| a.set_level(Level::Commune));
        let Change::PutAgency(agency) = completed(&directory, put) else { panic!("an agency") };
        assert_eq!((agency.level(), agency.parent.as_str()), (Level::Commune, "H55"));
        let put = put_agency_with("000.21.31.H53", |a| a.parent = "H55".into());
        let Change::PutAgency(agency) = completed(&directory, put) else { panic!("an agency") };
        assert_eq!(agency.parent, "H55");
    }

    #[test]
    fn a_repeat_names_the_leaf_that_made_it_so() {
        let mut directory = directory(&["H53"]);
        let node = change(&mut directory, put_node("one", &["H53"]));
        let key = change(&mut directory, add_key("H53", 1));
        let state = change(&mut directory, set_state("H53", AgencyState::Suspended));
        let unchanged = |change| try_change(&directory, change);
        assert_eq!(unchanged(put_node("one", &["H53"])), Ok(Prepared::Unchanged { leaf: node }));
        assert_eq!(unchanged(add_key("H53", 1)), Ok(Prepared::Unchanged { leaf: key }));
        assert_eq!(
            unchanged(set_state("H53", AgencyState::Suspended)),
            Ok(Prepared::Unchanged { leaf: state })
        );
        let same = put_agency_with("H53", |a| a.set_state(AgencyState::Suspended));
        assert_eq!(unchanged(same), Ok(Prepared::Unchanged { leaf: state }));
    }

    #[test]
    fn closed_is_for_ever() {
        let mut directory = directory(&["H53"]);
        change(&mut directory, set_state("H53", AgencyState::Closed));
        assert_eq!(refused(&directory, set_state("H53", AgencyState::Active)), ReasonCode::AgencyClosed);
        assert_eq!(refused(&directory, set_state("H53", AgencyState::Suspended)), ReasonCode::AgencyClosed);
        assert_eq!(refused(&directory, put_agency("H53")), ReasonCode::AgencyClosed);
        assert_eq!(refused(&directory, add_key("H53", 1)), ReasonCode::AgencyClosed);
    }

    #[test]
    fn one_name_means_one_agency() {
        let mut directory = directory(&["H53"]);
        change(&mut directory, put_agency_with("H54", |a| a.aliases = vec!["000.00.00.H54".into()]));
        let takes = |alias: &str| put_agency_with("H55", |a| a.aliases = vec![alias.into()]);
        assert_eq!(refused(&directory, takes("000.00.00.H54")), ReasonCode::Duplicate);
        assert_eq!(refused(&directory, takes("H53")), ReasonCode::Duplicate);
        assert_eq!(refused(&directory, put_agency("000.00.00.H54")), ReasonCode::Duplicate);
        assert!(try_change(&directory, takes("000.00.00.H55")).is_ok());
    }

    #[test]
    fn no_agency_stands_above_itself() {
        let mut directory = directory(&["H53", "H53.31", "G01"]);
        let under = |id: &str, parent: &str| put_agency_with(id, |a| a.parent = parent.into());
        assert_eq!(refused(&directory, under("H53", "H53")), ReasonCode::InvalidField);
        assert_eq!(refused(&directory, under("H53", "H53.31")), ReasonCode::InvalidField);
        assert_eq!(refused(&directory, under("H53", "H53.31.21.7")), ReasonCode::InvalidField, "by its form");
        let alias = put_agency_with("H53", |a| {
            a.parent = "H54.1".into();
            a.aliases = vec!["H54".into()];
        });
        assert_eq!(refused(&directory, alias), ReasonCode::InvalidField, "by its alias");
        change(&mut directory, under("H53", "G01"));
        assert_eq!(refused(&directory, under("G01", "H53.31")), ReasonCode::InvalidField);
    }

    #[test]
    fn nodes_act_for_known_agencies_only() {
        let mut directory = directory(&["H53"]);
        assert_eq!(refused(&directory, put_node("one", &["H54"])), ReasonCode::UnknownAgency);
        assert_eq!(refused(&directory, put_node("one", &["?"])), ReasonCode::BadIdentifier);
        assert_eq!(refused(&directory, put_node("one", &["H53", "H53"])), ReasonCode::InvalidField);
        assert_eq!(refused(&directory, put_node("One", &["H53"])), ReasonCode::BadIdentifier);
        assert_eq!(refused(&directory, revoke_node("one")), ReasonCode::UnknownNode);
        change(&mut directory, put_agency_with("H54", |a| a.aliases = vec!["00.00.H54".into()]));
        let Change::PutNode(node) = completed(&directory, put_node("one", &["00.00.H54"])) else {
            panic!("a node")
        };
        assert_eq!(node.agencies, ["H54"]);
    }

    #[test]
    fn a_revoked_node_never_comes_back() {
        let mut directory = directory(&["H53"]);
        change(&mut directory, put_node("one", &["H53"]));
        let leaf = change(&mut directory, revoke_node("one"));
        assert_eq!(refused(&directory, put_node("one", &["H53"])), ReasonCode::UnknownNode);
        assert_eq!(try_change(&directory, revoke_node("one")), Ok(Prepared::Unchanged { leaf }));
    }

    #[test]
    fn a_key_is_completed_and_registered_once() {
        let mut directory = directory(&["H53", "H54"]);
        let Change::AddKey(key) = completed(&directory, add_key("H53", 1)) else { panic!("a key") };
        assert_eq!(key.key_id, key_id_of(1));
        assert_eq!(key.valid_from_us, NOW.0);
        change(&mut directory, add_key("H53", 1));
        assert_eq!(refused(&directory, add_key("H54", 1)), ReasonCode::KeyAlreadyUsed);
        let personal = add_key_with("H53", 1, |key| key.set_signer_kind(SignerKind::Person));
        assert_eq!(refused(&directory, personal), ReasonCode::KeyAlreadyUsed);
    }

    #[test]
    fn a_revocation_tells_its_moment_and_stays() {
        let mut directory = directory(&["H53"]);
        change(&mut directory, add_key("H53", 1));
        let Change::AddKey(key) = completed(&directory, revoke_key(key_id_of(1))) else { panic!("a key") };
        assert_eq!(key.revoked_at_us, NOW.0);
        let leaf = change(&mut directory, revoke_key(key_id_of(1)));
        assert_eq!(try_change(&directory, revoke_key(key_id_of(1))), Ok(Prepared::Unchanged { leaf }));
        assert_eq!(refused(&directory, add_key("H53", 1)), ReasonCode::KeyAlreadyUsed);
        assert_eq!(refused(&directory, revoke_key(key_id_of(2))), ReasonCode::UnknownKey);
        assert_eq!(refused(&directory, revoke_key(Bytes::new())), ReasonCode::InvalidField);
    }

    #[test]
    fn a_broken_key_is_refused() {
        let directory = directory(&["H53"]);
        type Breaks = fn(&mut proto::SigningKey);
        let cases: [(Breaks, ReasonCode); 9] = [
            (|k| k.agency = "H54".into(), ReasonCode::UnknownAgency),
            (|k| k.signer_kind = 0, ReasonCode::InvalidField),
            (|k| k.signer_kind = 9, ReasonCode::InvalidField),
            (|k| k.revoked_at_us = 1, ReasonCode::InvalidField),
            (|k| k.key_id = Bytes::from_static(&[0; 32]), ReasonCode::InvalidField),
            (|k| k.valid_until_us = NOW.0, ReasonCode::InvalidField),
            (|k| k.valid_from_us = -1, ReasonCode::InvalidField),
            (|k| k.spki_der = spki_of(&[0; 32]), ReasonCode::KeyWeak),
            (
                |k| {
                    k.valid_from_us = 20;
                    k.valid_until_us = 10;
                },
                ReasonCode::InvalidField,
            ),
        ];
        for (number, (breaks, code)) in cases.into_iter().enumerate() {
            assert_eq!(refused(&directory, add_key_with("H53", 1, breaks)), code, "case {number}");
        }
    }

    #[test]
    fn a_change_is_bounded_and_says_something() {
        let directory = directory(&["H53"]);
        let mut change = put_agency("H54");
        change.reason = "ả".repeat(201);
        assert_eq!(refused(&directory, change), ReasonCode::InvalidField);
        assert_eq!(refused(&directory, DirectoryChange::default()), ReasonCode::InvalidField);
        let many = vec!["H53"; MAX_CHANGE_BYTES / 4];
        assert_eq!(refused(&directory, put_node("one", &many)), ReasonCode::TooLarge);
    }

    #[test]
    fn a_change_is_bounded_as_it_will_be_written() {
        let mut directory = Directory::default();
        let aliases: Vec<String> = (0..2_000).map(|n| format!("A{n}")).collect();
        for (n, alias) in aliases.iter().enumerate() {
            let put = put_agency_with(&format!("H53.{n:031}"), |a| a.aliases = vec![alias.clone()]);
            change(&mut directory, put);
        }
        let short: Vec<&str> = aliases.iter().map(String::as_str).collect();
        assert_eq!(refused(&directory, put_node("one", &short)), ReasonCode::TooLarge);
    }
}
