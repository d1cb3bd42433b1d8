//! An agency's own folder of received documents, held against what the hub proved.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use prost::Message;
use serde::Serialize;

use crate::{
    cli::files::FileError,
    client::folder::HANDOVER,
    domain::id::DocumentName,
    proto::{EventKind, Receipt},
    tlog::keys::Trust,
    verify::{self, Facts, completeness::Answer},
};

/// Largest receipt: leaf, checkpoint, path.
const MAX_RECEIPT: u64 = 256 * 1024;

/// Documents that were taken over, by their proofs of the handover.
#[derive(Debug, Default)]
pub struct Inbox {
    taken: BTreeMap<DocumentName, Vec<Facts>>,
    /// Folders whose proof can't be read or is not this hub's.
    damaged: Vec<PathBuf>,
}

/// What differs.
#[derive(Debug, Serialize)]
pub struct Compared {
    #[serde(skip)]
    pub heading: String,
    /// Documents in the folder that were handed over in these days.
    pub documents: usize,
    /// Taken over by the hub's evidence, and not in the folder.
    pub not_in_folder: Vec<String>,
    /// In the folder with the hub's proof from these days, and not in the hub's answer.
    pub not_in_answer: Vec<String>,
    /// At the agency's disposal, and not taken over in these days.
    pub waiting: Vec<String>,
    /// Folders whose proof is damaged.
    pub damaged: Vec<PathBuf>,
}

impl Inbox {
    /// Reads every folder below `dir` that has a proof of a handover, and verifies the proof.
    pub fn read(dir: &Path, trust: &impl Trust) -> Result<Self, FileError> {
        let mut inbox = Self::default();
        for entry in fs::read_dir(dir).map_err(FileError::io(dir))? {
            let folder = entry.map_err(FileError::io(dir))?.path();
            let path = folder.join(HANDOVER);
            if !path.is_file() {
                continue;
            }
            match handover(&path, trust) {
                Some((document, facts)) => inbox.taken.entry(document).or_default().push(facts),
                None => inbox.damaged.push(folder),
            }
        }
        inbox.damaged.sort();
        Ok(inbox)
    }

    /// Holds it against the hub's answer, as far as its days go.
    pub fn compare(&self, answer: &Answer) -> Compared {
        let mine = |facts: &&Facts| facts.recipients().any(|recipient| recipient == answer.agency);
        let here = |name: &DocumentName| self.taken.get(name).is_some_and(|all| all.iter().any(|f| mine(&f)));
        let of_these_days =
            self.taken.iter().flat_map(|(name, all)| all.iter().map(move |facts| (name, facts)));
        let of_these_days: Vec<_> = of_these_days
            .filter(|(_, facts)| mine(facts) && answer.leaf_range.contains(&facts.index()))
            .map(|(name, _)| name)
            .collect();
        let absent = of_these_days.iter().filter(|name| !answer.taken.contains_key(**name));
        Compared {
            heading: String::new(),
            documents: of_these_days.len(),
            not_in_folder: answer.taken.keys().filter(|name| !here(name)).map(ToString::to_string).collect(),
            not_in_answer: absent.map(ToString::to_string).collect(),
            waiting: answer
                .received
                .keys()
                .filter(|name| !answer.taken.contains_key(*name) && !here(name))
                .map(ToString::to_string)
                .collect(),
            damaged: self.damaged.clone(),
        }
    }
}

fn handover(path: &Path, trust: &impl Trust) -> Option<(DocumentName, Facts)> {
    if path.metadata().ok()?.len() > MAX_RECEIPT {
        return None;
    }
    let receipt = Receipt::decode(&fs::read(path).ok()?[..]).ok()?;
    let facts = verify::receipt(&receipt, trust).ok()?;
    let document = facts.document().filter(|_| facts.event() == EventKind::ContentHandover)?;
    Some((document.clone(), facts))
}

impl Compared {
    /// Nothing is on one side only.
    pub fn agrees(&self) -> bool {
        self.not_in_folder.is_empty() && self.not_in_answer.is_empty() && self.damaged.is_empty()
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} taken over in these days", self.documents)];
        lines.extend(self.not_in_folder.iter().map(|name| format!("not in the folder: {name}")));
        lines.extend(self.not_in_answer.iter().map(|name| format!("not in the hub's answer: {name}")));
        lines.extend(self.waiting.iter().map(|name| format!("not taken over in these days: {name}")));
        lines.extend(self.damaged.iter().map(|path| format!("proof can't be used: {}", path.display())));
        lines
    }
}
