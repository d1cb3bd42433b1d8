//! The directory: agencies, nodes and keys as of a place in the log. A pure function of the changes before it.
//!
//! `prepare` checks and completes a change, `apply` puts it into effect, `expand` turns recipients and groups into agencies.

mod apply;
mod expand;
mod links;
mod prepare;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::Arc,
};

use links::Links;
pub use prepare::{MAX_CHANGE_BYTES, MAX_REASON, Prepared};

use super::{
    agency,
    envelope::{KeyRing, RegisteredKey},
    id::{AgencyId, Digest, NodeName},
    reason::{Reason, ReasonCode},
};
use crate::proto::{self, AgencyState, Level};

/// An agency of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgencyEntry {
    /// Its identifier.
    pub id: AgencyId,
    /// Its name.
    pub name: String,
    /// As registered, or told by the identifier's form; `LEVEL_UNSPECIFIED` when neither says.
    pub level: Level,
    /// Agency above, registered or not.
    pub parent: Option<AgencyId>,
    /// Other identifiers, sorted.
    pub aliases: Vec<String>,
    /// Whether it sends and receives.
    pub state: AgencyState,
    /// Leaf of the last change.
    pub leaf: u64,
}

impl AgencyEntry {
    /// Neither suspended nor closed.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == AgencyState::Active
    }

    /// As on the wire.
    #[must_use]
    pub fn to_proto(&self) -> proto::Agency {
        proto::Agency {
            organ_id: self.id.to_string(),
            name: self.name.clone(),
            level: self.level.into(),
            parent: self.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            aliases: self.aliases.clone(),
            state: self.state.into(),
        }
    }
}

/// A node of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name.
    pub name: NodeName,
    /// Agencies it acts for.
    pub agencies: BTreeSet<AgencyId>,
    /// Cut off for ever.
    pub revoked: bool,
    /// Leaf of the last change.
    pub leaf: u64,
}

impl NodeEntry {
    /// As on the wire.
    #[must_use]
    pub fn to_proto(&self) -> proto::Node {
        proto::Node {
            name: self.name.to_string(),
            agencies: self.agencies.iter().map(ToString::to_string).collect(),
            revoked: self.revoked,
        }
    }
}

/// A key of the directory.
#[derive(Clone)]
pub struct KeyEntry {
    /// The key and its validity.
    pub key: RegisteredKey,
    /// Leaf of the last change: registration or revocation.
    pub leaf: u64,
}

impl KeyEntry {
    /// As on the wire.
    #[must_use]
    pub fn to_proto(&self) -> proto::SigningKey {
        let key = &self.key;
        proto::SigningKey {
            key_id: key.public.key_id().to_bytes(),
            agency: key.agency.to_string(),
            spki_der: key.public.spki_der().clone(),
            signer_kind: key.kind.into(),
            valid_from_us: key.valid_from.0,
            valid_until_us: key.valid_until.map_or(0, |at| at.0),
            revoked_at_us: key.revoked_at.map_or(0, |at| at.0),
        }
    }
}

/// How much is registered, whatever its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Agencies.
    pub agencies: usize,
    /// Nodes.
    pub nodes: usize,
    /// Keys.
    pub keys: usize,
}

/// Agencies, nodes and keys. A clone is a snapshot and costs a few reference counts; the first change after it
/// copies the tables' spines, not their entries.
#[derive(Clone, Default)]
pub struct Directory {
    agencies: Arc<BTreeMap<AgencyId, Arc<AgencyEntry>>>,
    aliases: Arc<BTreeMap<String, AgencyId>>,
    nodes: Arc<BTreeMap<NodeName, Arc<NodeEntry>>>,
    keys: Arc<BTreeMap<Digest, Arc<KeyEntry>>>,
    /// By the parent's identifier, registered or not.
    children: Links<AgencyId, AgencyId>,
    nodes_of: Links<AgencyId, NodeName>,
    keys_of: Links<AgencyId, Digest>,
    /// Leaf and statement of each change of the log's own key.
    log_keys: Arc<Vec<(u64, String)>>,
    version: u64,
}

impl Directory {
    /// Leaf index of the last change plus one; 0 for the empty directory.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Leaf and statement of each change of the log's own key, oldest first. The signatures are not looked at here.
    #[must_use]
    pub fn log_keys(&self) -> &[(u64, String)] {
        &self.log_keys
    }

    /// The agency with this identifier. Aliases do not count here.
    #[must_use]
    pub fn agency(&self, id: &AgencyId) -> Option<&AgencyEntry> {
        self.agencies.get(id).map(Arc::as_ref)
    }

    /// The agency with this identifier or alias.
    #[must_use]
    pub fn resolve(&self, text: &str) -> Option<&AgencyEntry> {
        let id = self.aliases.get(text).map_or(text, AgencyId::as_str);
        self.agencies.get(id).map(Arc::as_ref)
    }

    /// The node of this name, revoked or not.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&NodeEntry> {
        self.nodes.get(name).map(Arc::as_ref)
    }

    /// All nodes in the order of names.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        self.nodes.values().map(Arc::as_ref)
    }

    /// The key with this id, revoked or not, with its wire form.
    #[must_use]
    pub fn key_entry(&self, id: &Digest) -> Option<&KeyEntry> {
        self.keys.get(id).map(Arc::as_ref)
    }

    /// Keys ever registered for an agency.
    pub fn keys_of(&self, agency: &AgencyId) -> impl Iterator<Item = &KeyEntry> {
        self.keys_of.get(agency.as_str()).filter_map(|id| self.key_entry(id))
    }

    /// Nodes that act for an agency and are not revoked.
    pub fn nodes_of(&self, agency: &AgencyId) -> impl Iterator<Item = &NodeEntry> {
        self.nodes_of.get(agency.as_str()).filter_map(|name| self.node(name)).filter(|node| !node.revoked)
    }

    /// A page of agencies in the order of identifiers: `below` and everything under it (all without one), of
    /// one `level` (of every one for `LEVEL_UNSPECIFIED`), behind `after`, at most `limit`.
    #[must_use]
    pub fn agencies(
        &self,
        below: Option<&AgencyId>,
        level: Level,
        after: Option<&AgencyId>,
        limit: usize,
    ) -> Vec<&AgencyEntry> {
        let wanted = |agency: &&AgencyEntry| level == Level::Unspecified || agency.level == level;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let Some(root) = below else {
            let range = self.agencies.range::<AgencyId, _>((start, Bound::Unbounded));
            return range.map(|(_, agency)| agency.as_ref()).filter(wanted).take(limit).collect();
        };
        let Some(root) = self.agency(root) else { return Vec::new() };
        let mut tree: BTreeMap<&AgencyId, &AgencyEntry> =
            self.descendants(root).into_iter().map(|agency| (&agency.id, agency)).collect();
        tree.insert(&root.id, root);
        tree.range::<AgencyId, _>((start, Bound::Unbounded))
            .map(|(_, agency)| *agency)
            .filter(wanted)
            .take(limit)
            .collect()
    }

    /// How much is registered.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { agencies: self.agencies.len(), nodes: self.nodes.len(), keys: self.keys.len() }
    }

    /// Whether a node may act for an agency: `UNKNOWN_NODE` when it is not registered or was revoked,
    /// `UNKNOWN_AGENCY`, `NOT_AUTHORISED`.
    pub fn may_act(&self, node: &NodeName, agency: &AgencyId) -> Result<(), Reason> {
        let entry = self.node(node).filter(|entry| !entry.revoked);
        let Some(entry) = entry else {
            return Err(Reason::new(ReasonCode::UnknownNode, format!("node {node}")));
        };
        if entry.agencies.contains(agency) {
            return Ok(());
        }
        if self.agency(agency).is_none() {
            return Err(Reason::new(ReasonCode::UnknownAgency, format!("agency {agency}")));
        }
        Err(Reason::new(ReasonCode::NotAuthorised, format!("node {node} does not act for {agency}")))
    }

    /// Every registered agency under `root`, without it, each once. A parent that is not registered does not
    /// hide what is below it.
    fn descendants<'d>(&'d self, root: &'d AgencyEntry) -> Vec<&'d AgencyEntry> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([&root.id]);
        let mut open = self.names_of(root);
        while let Some(name) = open.pop() {
            for child in self.children.get(name) {
                if !seen.insert(child) {
                    continue;
                }
                match self.agency(child) {
                    Some(agency) => {
                        found.push(agency);
                        open.extend(self.names_of(agency));
                    }
                    // Another agency's alias leads to that agency's place in the tree.
                    None if self.aliases.contains_key(child.as_str()) => {}
                    None => open.push(child.as_str()),
                }
            }
        }
        found
    }

    /// Under what names children may point to an agency.
    fn names_of<'d>(&self, agency: &'d AgencyEntry) -> Vec<&'d str> {
        std::iter::once(agency.id.as_str()).chain(agency.aliases.iter().map(String::as_str)).collect()
    }

    /// Name of the agency above; follows the form where the agency is not registered.
    fn above(&self, name: &AgencyId) -> Option<AgencyId> {
        match self.resolve(name.as_str()) {
            Some(agency) => agency.parent.clone(),
            None => agency::parent_of(name),
        }
    }
}

impl KeyRing for Directory {
    fn key(&self, id: &Digest) -> Option<&RegisteredKey> {
        self.keys.get(id).map(|entry| &entry.key)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory {{ version: {}, {:?} }}", self.version, self.counts())
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    fn id(text: &str) -> AgencyId {
        AgencyId::parse(text).expect(text)
    }

    fn page(directory: &Directory, below: Option<&str>, level: Level, after: Option<&str>) -> Vec<String> {
        let (below, after) = (below.map(id), after.map(id));
        let agencies = directory.agencies(below.as_ref(), level, after.as_ref(), 3);
        agencies.into_iter().map(|agency| agency.id.to_string()).collect()
    }

    #[test]
    fn pages_follow_the_order_of_identifiers() {
        let directory = directory(&["H53", "000.00.00.H54", "H53.31", "H53.31.21", "H53.32", "G01"]);
        assert_eq!(page(&directory, None, Level::Unspecified, None), ["000.00.00.H54", "G01", "H53"]);
        assert_eq!(
            page(&directory, None, Level::Unspecified, Some("H53")),
            ["H53.31", "H53.31.21", "H53.32"]
        );
        assert_eq!(page(&directory, Some("H53"), Level::Unspecified, None), ["H53", "H53.31", "H53.31.21"]);
        assert_eq!(page(&directory, Some("H53"), Level::Unspecified, Some("H53.31.21")), ["H53.32"]);
        assert_eq!(page(&directory, None, Level::Province, None), ["000.00.00.H54", "H53"]);
        assert!(page(&directory, Some("H99"), Level::Unspecified, None).is_empty());
    }

    #[test]
    fn a_missing_step_in_the_tree_hides_nothing() {
        let directory = directory(&["H53", "H53.31.21.7"]);
        assert_eq!(page(&directory, Some("H53"), Level::Unspecified, None), ["H53", "H53.31.21.7"]);
    }

    #[test]
    fn children_that_point_to_an_alias_are_found_once() {
        let mut directory = directory(&["000.00.00.H53", "H53.31.21"]);
        change(&mut directory, put_agency_with("000.00.31.H53", |a| a.aliases = vec!["H53.31".into()]));
        let all = ["000.00.00.H53", "000.00.31.H53", "H53.31.21"];
        assert_eq!(page(&directory, Some("000.00.00.H53"), Level::Unspecified, None), all);
        assert_eq!(page(&directory, Some("000.00.31.H53"), Level::Unspecified, None), all[1..]);
    }

    #[test]
    fn an_alias_takes_its_children_along() {
        let mut directory = directory(&["H53", "H53.31.21", "000.00.00.H53"]);
        assert_eq!(page(&directory, Some("H53"), Level::Unspecified, None), ["H53", "H53.31.21"]);
        change(&mut directory, put_agency_with("000.00.31.H53", |a| a.aliases = vec!["H53.31".into()]));
        assert_eq!(page(&directory, Some("H53"), Level::Unspecified, None), ["H53"]);
    }

    #[test]
    fn an_agency_that_moves_stands_in_one_place() {
        let mut directory = directory(&["H53", "H54", "H53.31", "H53.31.21"]);
        change(&mut directory, put_agency_with("H53.31", |a| a.parent = "H54".into()));
        assert_eq!(page(&directory, Some("H53"), Level::Unspecified, None), ["H53"]);
        assert_eq!(page(&directory, Some("H54"), Level::Unspecified, None), ["H53.31", "H53.31.21", "H54"]);
    }

    #[test]
    fn an_alias_resolves_but_is_not_the_identifier() {
        let mut directory = directory(&[]);
        change(&mut directory, put_agency_with("H53.31.21", |a| a.aliases = vec!["21.31.H53".into()]));
        assert_eq!(directory.resolve("21.31.H53").expect("alias").id, id("H53.31.21"));
        assert_eq!(directory.resolve("H53.31.21").expect("id").id, id("H53.31.21"));
        assert!(directory.resolve("31.H53").is_none());
        change(&mut directory, put_agency("H53.31.21"));
        assert!(directory.resolve("21.31.H53").is_none(), "the new record has no alias");
    }

    #[test]
    fn a_snapshot_does_not_move() {
        let mut now = directory(&["H53"]);
        let snapshot = now.clone();
        change(&mut now, put_agency("H54"));
        assert_eq!(snapshot.counts().agencies, 1);
        assert_eq!(now.counts().agencies, 2);
        assert_eq!(now.version(), snapshot.version() + 1);
    }

    #[test]
    fn nodes_act_for_their_agencies_until_revoked() {
        let mut directory = directory(&["H53", "H54"]);
        change(&mut directory, put_node("one", &["H53", "H54"]));
        change(&mut directory, put_node("two", &["H53"]));
        let names = |directory: &Directory, agency: &str| -> Vec<String> {
            directory.nodes_of(&id(agency)).map(|node| node.name.to_string()).collect()
        };
        assert_eq!(names(&directory, "H53"), ["one", "two"]);
        change(&mut directory, put_node("one", &["H54"]));
        assert_eq!(names(&directory, "H53"), ["two"]);
        change(&mut directory, revoke_node("two"));
        assert!(names(&directory, "H53").is_empty());
        let two = NodeName::parse("two").expect("name");
        assert_eq!(directory.may_act(&two, &id("H53")).expect_err("revoked").code, ReasonCode::UnknownNode);
        assert_eq!(directory.nodes().count(), 2);
    }
}
