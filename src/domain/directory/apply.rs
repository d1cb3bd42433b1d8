//! Changes after they were written, and again on replay.

use std::sync::Arc;

use super::{AgencyEntry, Directory, KeyEntry, NodeEntry, prepare::key_id};
use crate::{
    domain::{
        agency,
        envelope::RegisteredKey,
        id::{AgencyId, NodeName},
        reason::{Reason, ReasonCode},
        signature::PublicKey,
        time::Timestamp,
    },
    proto::{self, AgencyState, DirectoryChange, Level, SignerKind, directory_change::Change},
};

impl Directory {
    /// Applies a complete change that was written as `leaf`. All of it or, with an error, nothing.
    ///
    /// A change that [`prepare`](Self::prepare) made always applies; an error says that the log was damaged or
    /// written by other rules.
    pub fn apply(&mut self, leaf: u64, change: &DirectoryChange) -> Result<(), Reason> {
        if leaf < self.version {
            return Err(damaged(format!("leaf {leaf} after version {}", self.version)));
        }
        match &change.change {
            Some(Change::PutAgency(agency)) => self.put_agency(read_agency(agency, leaf)?),
            Some(Change::SetAgencyState(set)) => {
                let state = AgencyState::try_from(set.state).map_err(|_| damaged("unknown state"))?;
                let entry =
                    self.resolve(&set.organ_id).ok_or_else(|| damaged("state of an unknown agency"))?;
                self.put_agency(AgencyEntry { state, leaf, ..entry.clone() });
            }
            Some(Change::PutNode(node)) => self.put_node(read_node(node, leaf)?),
            Some(Change::RevokeNode(revoke)) => {
                let name = NodeName::parse(&revoke.name)?;
                let entry = self.node(&name).ok_or_else(|| damaged("revocation of an unknown node"))?;
                self.put_node(NodeEntry { revoked: true, leaf, ..entry.clone() });
            }
            Some(Change::AddKey(key)) => self.put_key(read_key(key, leaf)?),
            Some(Change::ChangeLogKey(change)) => {
                Arc::make_mut(&mut self.log_keys).push((leaf, change.statement.clone()));
            }
            Some(Change::RevokeKey(_)) => return Err(damaged("a key's revocation without its moment")),
            None => return Err(damaged("an empty directory change")),
        }
        self.version = leaf + 1;
        Ok(())
    }

    fn put_agency(&mut self, entry: AgencyEntry) {
        let id = entry.id.clone();
        let old = Arc::make_mut(&mut self.agencies).remove(&id);
        let aliases = Arc::make_mut(&mut self.aliases);
        for alias in old.iter().flat_map(|old| &old.aliases) {
            aliases.remove(alias);
        }
        aliases.extend(entry.aliases.iter().map(|alias| (alias.clone(), id.clone())));

        // Before its registration an agency may have stood in the tree where its form puts it.
        let old_parent = old.map_or_else(|| agency::parent_of(&id), |old| old.parent.clone());
        if let Some(parent) = old_parent {
            self.children.unlink(&parent, &id);
        }
        self.link_upwards(&id, entry.parent.clone());
        Arc::make_mut(&mut self.agencies).insert(id, Arc::new(entry));
    }

    /// Links a child to its parent, and parents that are not registered to theirs, as their form tells.
    fn link_upwards(&mut self, id: &AgencyId, parent: Option<AgencyId>) {
        let mut child = id.clone();
        let mut above = parent;
        while let Some(parent) = above {
            self.children.link(parent.clone(), child);
            let known = self.agencies.contains_key(&parent) || parent == *id;
            above = if known { None } else { agency::parent_of(&parent) };
            child = parent;
        }
    }

    fn put_node(&mut self, entry: NodeEntry) {
        let name = entry.name.clone();
        if let Some(old) = self.nodes.get(&name) {
            for agency in &old.agencies {
                self.nodes_of.unlink(agency, &name);
            }
        }
        for agency in &entry.agencies {
            self.nodes_of.link(agency.clone(), name.clone());
        }
        Arc::make_mut(&mut self.nodes).insert(name, Arc::new(entry));
    }

    fn put_key(&mut self, entry: KeyEntry) {
        let id = entry.key.public.key_id();
        self.keys_of.link(entry.key.agency.clone(), id);
        Arc::make_mut(&mut self.keys).insert(id, Arc::new(entry));
    }
}

fn read_agency(agency: &proto::Agency, leaf: u64) -> Result<AgencyEntry, Reason> {
    let parent = Some(agency.parent.as_str()).filter(|parent| !parent.is_empty());
    Ok(AgencyEntry {
        id: AgencyId::parse(&agency.organ_id)?,
        name: agency.name.clone(),
        level: Level::try_from(agency.level).map_err(|_| damaged("unknown level"))?,
        parent: parent.map(AgencyId::parse).transpose()?,
        aliases: agency.aliases.clone(),
        state: AgencyState::try_from(agency.state).map_err(|_| damaged("unknown state"))?,
        leaf,
    })
}

fn read_node(node: &proto::Node, leaf: u64) -> Result<NodeEntry, Reason> {
    let agencies: Result<_, Reason> = node.agencies.iter().map(|text| AgencyId::parse(text)).collect();
    Ok(NodeEntry { name: NodeName::parse(&node.name)?, agencies: agencies?, revoked: node.revoked, leaf })
}

fn read_key(key: &proto::SigningKey, leaf: u64) -> Result<KeyEntry, Reason> {
    let public = PublicKey::from_spki_der(&key.spki_der)?;
    if public.key_id() != key_id(&key.key_id)? {
        return Err(damaged("key_id is not the SHA-256 of spki_der"));
    }
    let key = RegisteredKey {
        agency: AgencyId::parse(&key.agency)?,
        public,
        kind: SignerKind::try_from(key.signer_kind).map_err(|_| damaged("unknown signer kind"))?,
        valid_from: Timestamp(key.valid_from_us),
        valid_until: Timestamp::given(key.valid_until_us),
        revoked_at: Timestamp::given(key.revoked_at_us),
    };
    Ok(KeyEntry { key, leaf })
}

fn damaged(what: impl std::fmt::Display) -> Reason {
    Reason::new(ReasonCode::Damaged, format!("directory: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Prepared, testing::*},
        *,
    };
    use crate::domain::{envelope::KeyRing, id::Digest};

    #[test]
    fn keys_are_found_with_their_validity() {
        let mut directory = directory(&["H53"]);
        change(&mut directory, add_key("H53", 1));
        let id = Digest::of(&spki(1));
        assert_eq!(directory.key(&id).expect("key").revoked_at, None);
        change(&mut directory, revoke_key(id.to_bytes()));
        assert_eq!(directory.key(&id).expect("key").revoked_at, Some(NOW));
        assert_eq!(directory.keys_of(&AgencyId::parse("H53").expect("id")).count(), 1);
    }

    #[test]
    fn a_damaged_log_is_told_and_changes_nothing() {
        let mut directory = directory(&["H53"]);
        let code = |directory: &mut Directory, leaf, change| {
            directory.apply(leaf, &change).expect_err("damaged").code
        };
        assert_eq!(code(&mut directory, 0, put_agency("H54")), ReasonCode::Damaged, "leaf 0 is applied");
        assert_eq!(code(&mut directory, 7, DirectoryChange::default()), ReasonCode::Damaged);
        assert_eq!(code(&mut directory, 7, put_agency("dirt")), ReasonCode::BadIdentifier);
        assert_eq!(code(&mut directory, 7, set_state("H54", AgencyState::Closed)), ReasonCode::Damaged);
        assert_eq!(code(&mut directory, 7, revoke_node("one")), ReasonCode::Damaged);
        assert_eq!(code(&mut directory, 7, revoke_key(bytes::Bytes::new())), ReasonCode::Damaged);
        assert_eq!(directory.version(), 1);
    }

    fn any_change() -> impl Strategy<Value = DirectoryChange> {
        let agency =
            prop::sample::select(vec!["H53", "H53.31", "H53.31.21", "000.00.31.H53", "G01", "28.22.H17"]);
        let node = prop::sample::select(vec!["one", "two"]);
        (0..7u8, agency.clone(), agency, node, 1..4u8).prop_map(|(kind, one, other, node, number)| match kind
        {
            0 => put_agency(one),
            1 => put_agency_with(one, |a| a.parent = other.into()),
            2 => put_agency_with(one, |a| a.aliases = vec![other.into()]),
            3 => set_state(one, AgencyState::try_from(i32::from(number) % 3).expect("a state")),
            4 => put_node(node, &[one]),
            5 if number == 1 => revoke_node(node),
            5 => revoke_key(Digest::of(&spki(number)).to_bytes()),
            _ => add_key(one, number),
        })
    }

    proptest! {
        /// The directory is a pure function of its changes; prepared ones always apply, and again change nothing;
        /// the tree stays a tree and one name means one agency.
        #[test]
        fn replay_gives_the_same_directory(changes in prop::collection::vec(any_change(), 0..60)) {
            let mut directory = Directory::default();
            let mut log = Vec::new();
            for change in changes {
                let Ok(Prepared::Change(complete)) = directory.prepare(&change, NOW) else { continue };
                directory.apply(log.len() as u64, &complete).expect("prepared");
                log.push(complete);
                let again = directory.prepare(&change, NOW);
                prop_assert!(matches!(again, Ok(Prepared::Unchanged { .. })), "{:?}", again);
            }
            let mut replayed = Directory::default();
            for (leaf, change) in log.iter().enumerate() {
                replayed.apply(leaf as u64, change).expect("written before");
            }
            prop_assert_eq!(replayed.version(), directory.version());
            prop_assert_eq!(&replayed.agencies, &directory.agencies);
            prop_assert_eq!(&replayed.aliases, &directory.aliases);
            prop_assert_eq!(&replayed.nodes, &directory.nodes);
            prop_assert_eq!(replayed.counts(), directory.counts());
            for agency in directory.agencies.values() {
                prop_assert!(!directory.descendants(agency).iter().any(|below| below.id == agency.id));
                prop_assert_eq!(&directory.resolve(agency.id.as_str()).expect("by id").id, &agency.id);
                for alias in &agency.aliases {
                    prop_assert_eq!(&directory.resolve(alias).expect("by alias").id, &agency.id);
                }
            }
        }
    }
}
