//! The store contract: every backend runs it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Commit, CommitError, Store, records::*};
use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    proto::TransportState,
    tlog::merkle::{self, Edge, Growth},
};

/// Makes a store, and opens the same one again after closing it.
pub trait Bench {
    /// The store over the same data.
    fn open(&mut self) -> Arc<dyn Store>;
}

/// Commits for tests.
pub mod samples {
    use super::*;

    /// Extends a log by leaves of given texts and fills in the head.
    pub fn grow(edge: Edge, commit: &mut Commit) -> Edge {
        commit.base_size = edge.size();
        let mut growth = Growth::new(edge);
        for leaf in &commit.leaves {
            growth.push(merkle::leaf_hash(&leaf.evidence));
        }
        commit.head = Head {
            size: growth.size(),
            root: Bytes::copy_from_slice(&growth.root()),
            checkpoint: format!("test\n{}\n", growth.size()),
            documents: 0,
        };
        let (edge, nodes) = growth.finish();
        commit.nodes = nodes;
        edge
    }

    /// A leaf of a document's timeline, seen by the sender.
    pub fn leaf(text: &str, document: Option<u64>) -> LeafRecord {
        LeafRecord {
            evidence: Bytes::copy_from_slice(text.as_bytes()),
            document_plus_one: document.map_or(0, |index| index + 1),
            feeds: vec!["H53.1".into()],
        }
    }

    /// A document with two recipients whose acceptance is leaf `index`.
    pub fn document(index: u64) -> (DocumentRecord, RecipientList) {
        let document = DocumentRecord {
            index,
            sender: "H53.1".into(),
            document_id: format!("doc-{index}"),
            manifest_sha256: Digest::of(&index.to_be_bytes()).to_bytes(),
            envelope_sha256: envelope(index).sha256,
            urgency: u32::try_from(index % 5).unwrap(),
            deadline_us: 1_000,
            year: 2026,
            number: "17".into(),
            notation: "BC".into(),
            ..DocumentRecord::default()
        };
        let list = RecipientList { index, document: index, recipients: vec!["H53".into(), "H53.2".into()] };
        (document, list)
    }

    /// Where a document's envelope lies.
    pub fn envelope(index: u64) -> BodyRecord {
        let sha256 = Digest::of(format!("envelope {index}").as_bytes()).to_bytes();
        BodyRecord { sha256, size: 7, pack_plus_one: 1, offset: 64 * (index + 1) }
    }

    /// A delivery in a state.
    pub fn delivery(document: u64, recipient: &str, state: TransportState) -> DeliveryRecord {
        DeliveryRecord {
            document,
            recipient: recipient.into(),
            transport: state.into(),
            urgency: u32::try_from(document % 5).unwrap(),
            deadline_us: 1_000,
            ..DeliveryRecord::default()
        }
    }

    /// How far a counting is.
    pub fn pair(recipient: &str, sender: &str, number: u64, received: u64, leaf: u64) -> PairRecord {
        PairRecord { recipient: recipient.into(), sender: sender.into(), number, received, leaf }
    }

    /// A commit that uses every kind of record.
    pub fn rich_commit() -> Commit {
        let mut commit = accept(0);
        commit.messages.push(MessageRecord { payload_sha256: Digest::of(b"m").to_bytes(), leaf: 0 });
        commit.parked.push(ParkedRecord {
            sender: "H53".into(),
            document_id: "later".into(),
            revision: 0,
            recipient: "H53.1".into(),
            leaf: 1,
            applied: false,
        });
        commit.bodies.push(BodyRecord {
            sha256: Digest::of(b"b").to_bytes(),
            size: 1,
            pack_plus_one: 1,
            offset: 9,
        });
        commit.cursors.push(CursorRecord { agency: "H53.1".into(), next: 1 });
        commit.pairs.extend([pair("H53", "H53.1", 1, 1, 1), pair("H53.2", "H53.1", 1, 1, 2)]);
        commit.sent.push(SentRecord { sender: "H53.1".into(), number: 1, leaf: 0 });
        grow(Edge::empty(), &mut commit);
        commit
    }

    /// Accepts document `index` and consigns it to both recipients: three leaves.
    pub fn accept(index: u64) -> Commit {
        let (document, list) = document(index);
        Commit {
            leaves: vec![
                leaf(&format!("acceptance {index}"), Some(index)),
                leaf(&format!("consignment {index} a"), Some(index)),
                leaf(&format!("consignment {index} b"), Some(index)),
            ],
            deliveries: list.recipients.iter().map(|to| delivery(index, to, TransportState::Ready)).collect(),
            expansions: vec![ExpansionRecord { list: index, next: 1, total: 2 }],
            bodies: vec![envelope(index)],
            documents: vec![document],
            lists: vec![list],
            ..Commit::default()
        }
    }
}

/// Everything a backend must do.
pub fn run(bench: &mut dyn Bench) {
    let mut edge = Edge::empty();
    {
        let store = bench.open();
        assert_eq!(store.head().size, 0);
        let mut first = samples::rich_commit();
        edge = samples::grow(edge, &mut first);
        store.commit(&first).unwrap();
        after_first(&*store, &first);

        let stale = store.commit(&Commit { base_size: 0, ..Commit::default() }).unwrap_err();
        assert!(matches!(stale, CommitError::Stale { expected: 0, actual: 3 }));

        let mut second = samples::accept(3);
        // Somebody sends another document's envelope as an attachment.
        second.documents[0].parts.push(samples::envelope(3).sha256);
        second.pairs.extend([samples::pair("H53", "H53.1", 2, 3, 4), samples::pair("H53", "H53.3", 1, 2, 3)]);
        second.sent.push(SentRecord { sender: "H53.1".into(), number: 2, leaf: 3 });
        edge = samples::grow(edge, &mut second);
        store.commit(&second).unwrap();
        let mut settle = Commit {
            leaves: vec![samples::leaf("handover", Some(0))],
            deliveries: vec![samples::delivery(0, "H53", TransportState::HandedOver)],
            expansions: vec![ExpansionRecord { list: 0, next: 2, total: 2 }],
            parked: vec![ParkedRecord {
                sender: "H53".into(),
                document_id: "later".into(),
                recipient: "H53.1".into(),
                leaf: 1,
                applied: true,
                ..ParkedRecord::default()
            }],
            ..Commit::default()
        };
        edge = samples::grow(edge, &mut settle);
        store.commit(&settle).unwrap();
        store.idle().unwrap();
        after_all(&*store, &edge);
    }
    let store = bench.open();
    after_all(&*store, &edge);
}

fn agency(text: &str) -> AgencyId {
    AgencyId::parse(text).unwrap()
}

fn after_first(store: &dyn Store, commit: &Commit) {
    assert_eq!(store.head(), commit.head);
    let stored = store.leaf(1).unwrap().unwrap();
    assert_eq!(stored.evidence, commit.leaves[1].evidence);
    assert_eq!(stored.head, commit.head);
    assert_eq!(store.leaf(3).unwrap(), None);
    assert_eq!(
        store.parked(&DocumentName::parse("H53", "later", 0).unwrap(), &agency("H53.1")).unwrap().len(),
        1
    );
    assert_eq!(store.cursor(&agency("H53.1")).unwrap(), Some(1));
    assert_eq!(store.cursor(&agency("H53")).unwrap(), None);
    assert_eq!(store.expansions().unwrap(), commit.expansions);
}

fn after_all(store: &dyn Store, edge: &Edge) {
    assert_eq!(store.head().size, 7);
    assert_eq!(store.head().root[..], edge.root()[..]);
    assert_eq!(store.node(merkle::stored_index(0, 0)).unwrap(), merkle::leaf_hash(b"acceptance 0"));

    let name = DocumentName::parse("H53.1", "doc-3", 0).unwrap();
    assert_eq!(store.find_document(&name).unwrap(), Some(3));
    assert_eq!(store.find_document(&DocumentName { revision: 1, ..name }).unwrap(), None);
    assert_eq!(store.documents_with_id("doc-0", 10).unwrap(), [0]);
    assert_eq!(store.natural_key(&agency("H53.1"), 2026, "17", "BC").unwrap(), Some(0), "the first one");
    assert_eq!(store.natural_key(&agency("H53.1"), 2027, "17", "BC").unwrap(), None);
    let sent = DocumentRecord { parts: vec![samples::envelope(3).sha256], ..samples::document(3).0 };
    assert_eq!(store.document(3).unwrap(), Some(sent));
    assert_eq!(store.body(&Digest::of(b"envelope 3")).unwrap(), Some(samples::envelope(3)), "as a part");
    assert_eq!(store.envelope(&samples::document(3).0).unwrap(), Some(samples::envelope(3)));
    assert_eq!((store.document(4).unwrap(), store.document(99).unwrap()), (None, None));
    assert_eq!(store.recipient_list(0).unwrap(), Some(samples::document(0).1));
    assert_eq!((store.recipient_list(1).unwrap(), store.recipient_list(99).unwrap()), (None, None));
    assert_eq!(store.expansions().unwrap(), [ExpansionRecord { list: 3, next: 1, total: 2 }]);

    let delivery = store.delivery(0, &agency("H53")).unwrap().unwrap();
    assert_eq!(delivery.transport, i32::from(TransportState::HandedOver));
    assert_eq!(store.deliveries(0, None, 10).unwrap().len(), 2);
    assert_eq!(store.deliveries(0, Some("H53"), 10).unwrap()[0].recipient, "H53.2");

    let waiting = store.waiting(None, 10).unwrap();
    let got: Vec<_> = waiting.iter().map(|w| (w.recipient.as_str(), w.document)).collect();
    assert_eq!(got, [("H53", 3), ("H53.2", 3), ("H53.2", 0)], "urgent first");
    assert_eq!(store.waiting(Some(&waiting[0]), 1).unwrap(), waiting[1..2]);

    assert_eq!(store.timeline(0, 0, 10).unwrap(), [0, 1, 2, 6]);
    assert_eq!(store.timeline(0, 2, 1).unwrap(), [2]);
    assert_eq!(store.feed(&agency("H53.1"), 4, 2).unwrap(), [4, 5]);
    assert_eq!(store.feed(&agency("H53"), 0, 2).unwrap(), Vec::<u64>::new());
    assert_eq!(store.answered(&Digest::of(b"m")).unwrap(), Some(0));
    assert_eq!(store.answered(&Digest::of(b"n")).unwrap(), None);
    assert!(
        store.parked(&DocumentName::parse("H53", "later", 0).unwrap(), &agency("H53.1")).unwrap().is_empty()
    );
    counts_go_on(store);
    assert_eq!(store.body(&Digest::of(b"b")).unwrap().unwrap().offset, 9);
    assert_eq!(store.body(&Digest::of(b"c")).unwrap(), None);
}

fn counts_go_on(store: &dyn Store) {
    let (to, from) = (agency("H53"), agency("H53.1"));
    assert_eq!(store.pair(&to, &from).unwrap(), Some(samples::pair("H53", "H53.1", 2, 3, 4)));
    assert_eq!(
        store.received(&to).unwrap(),
        Some(samples::pair("H53", "H53.1", 2, 3, 4)),
        "the newest of two"
    );
    assert_eq!(store.received(&agency("H53.2")).unwrap(), Some(samples::pair("H53.2", "H53.1", 1, 1, 2)));
    assert_eq!((store.pair(&from, &to).unwrap(), store.received(&from).unwrap()), (None, None));
    assert_eq!(store.sent(&from).unwrap(), Some(SentRecord { sender: "H53.1".into(), number: 2, leaf: 3 }));
    assert_eq!(store.sent(&to).unwrap(), None);
}
