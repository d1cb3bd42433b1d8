//! What a damaged journal frame still tells: the documents that it was about.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;
use prost::Message;

use crate::{
    proto::Evidence,
    store::{
        embedded::{
            frame::{self, Kind},
            journal::{self, Damage},
        },
        records::{DocumentRecord, LeafRecord},
    },
};

/// Names that one message lists at most.
const MAX_NAMES: usize = 20;

/// Names of documents, the first few of them, for a message.
#[derive(Default)]
pub struct Names {
    names: BTreeSet<String>,
    more: u64,
}

impl Names {
    /// Adds a document.
    pub fn add(&mut self, document_id: &str, sender: &str, revision: u64) {
        let name = name(document_id, sender, revision);
        if self.names.len() < MAX_NAMES {
            self.names.insert(name);
        } else if !self.names.contains(&name) {
            self.more += 1;
        }
    }

    /// `A of B, C of D and 3 more mentions`.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let listed = self.names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match (self.names.is_empty(), self.more) {
            (true, _) => None,
            (false, 0) => Some(listed),
            (false, more) => Some(format!("{listed} and {more} more mentions")),
        }
    }
}

/// A document as messages name it.
#[must_use]
pub fn name(document_id: &str, sender: &str, revision: u64) -> String {
    match revision {
        0 => format!("{document_id} of {sender}"),
        revision => format!("{document_id} of {sender} revision {revision}"),
    }
}

/// The documents that the readable rest of a damaged frame names, for a message.
pub fn touched(journal: &Path, damage: &Damage) -> String {
    let names = match journal::damaged_payload(journal, damage) {
        Ok(payload) => documents_in(&payload).text(),
        Err(error) => return format!("unknown ({error})"),
    };
    names.unwrap_or_else(|| "none that can still be read".into())
}

fn documents_in(payload: &Bytes) -> Names {
    let mut names = Names::default();
    frame::salvage(payload, &mut |_, kind, body| {
        if kind == Kind::Document as u8
            && let Ok(document) = DocumentRecord::decode(body.clone())
        {
            names.add(&document.document_id, &document.sender, document.revision);
        }
        if kind == Kind::Leaf as u8
            && let Ok(leaf) = LeafRecord::decode(body)
            && let Ok(evidence) = Evidence::decode(leaf.evidence)
            && !evidence.document_id.is_empty()
        {
            let sender = evidence.sender.unwrap_or_default().agency;
            names.add(&evidence.document_id, &sender, evidence.revision);
        }
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_listed() {
        let mut names = Names::default();
        assert_eq!(names.text(), None);
        names.add("b", "H53", 0);
        names.add("a", "H53", 2);
        names.add("b", "H53", 0);
        assert_eq!(names.text().as_deref(), Some("a of H53 revision 2, b of H53"));
        (0..30).for_each(|at| names.add(&format!("c{at:02}"), "H53", 0));
        assert!(names.text().is_some_and(|text| text.ends_with("c17 of H53 and 12 more mentions")));
    }
}
