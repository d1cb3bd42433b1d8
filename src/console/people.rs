//! Agencies as pages show them.

use super::{format, labels, labels::Tone, words::Lang};
use crate::{
    domain::directory::{AgencyEntry, Directory},
    proto::AgencyState,
};

/// An agency with its name, where the directory knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who {
    pub id: String,
    pub name: String,
    /// Its page; empty for what is no agency.
    pub path: String,
}

impl Who {
    /// The agency of this identifier.
    pub fn of(lang: Lang, directory: &Directory, id: &str) -> Self {
        if id.is_empty() {
            return Self::default();
        }
        let name = directory.resolve(id).map(|agency| agency.name.clone()).unwrap_or_default();
        Self { id: id.to_owned(), name, path: path(lang, id) }
    }

    /// The name, or the identifier where there is none.
    pub fn title(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

/// Page of an agency.
pub(crate) fn path(lang: Lang, id: &str) -> String {
    format!("/{}/agency?id={}", lang.name(), format::url(id))
}

/// One row of a list of agencies.
pub(crate) struct AgencyRow {
    pub who: Who,
    pub level: &'static str,
    pub state: &'static str,
    pub tone: Tone,
    pub active: bool,
    pub keys: usize,
    pub nodes: usize,
}

impl AgencyRow {
    /// Of an entry.
    pub fn of(lang: Lang, directory: &Directory, agency: &AgencyEntry) -> Self {
        let (state, tone) = labels::agency_state(lang, agency.state);
        Self {
            who: Who::of(lang, directory, agency.id.as_str()),
            level: labels::level(lang, agency.level),
            state,
            tone,
            active: agency.state == AgencyState::Active,
            keys: directory.keys_of(&agency.id).filter(|key| key.key.revoked_at.is_none()).count(),
            nodes: directory.nodes_of(&agency.id).count(),
        }
    }
}
