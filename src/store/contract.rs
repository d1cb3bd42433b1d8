//! The store contract: every backend runs it.

use std::sync::Arc;

use bytes::Bytes;

use super::{Commit, CommitError, Store, StoreError, records::*};
use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    proto::{ActionPhase, TransportState},
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

    /// An action in a phase.
    pub fn action(id: u64, phase: ActionPhase) -> ActionRecord {
        let recipients = vec!["H53".to_owned()];
        ActionRecord { id, recipients, actor: "an".into(), phase: phase.into(), ..ActionRecord::default() }
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
        commit.actions = vec![action(1, ActionPhase::Active), action(2, ActionPhase::Pending)];
        commit.holds.push(hold());
        commit.pairs.extend([pair("H53", "H53.1", 1, 1, 1), pair("H53.2", "H53.1", 1, 1, 2)]);
        commit.sent.push(SentRecord { sender: "H53.1".into(), number: 1, leaf: 0 });
        grow(Edge::empty(), &mut commit);
        commit
    }

    /// A hold on an agency.
    pub fn hold() -> HoldRecord {
        HoldRecord { leaf: 2, agency: "H53".into(), reason: "a case".into(), ..HoldRecord::default() }
    }

    /// Erases document 0 with its only body.
    pub fn erasure() -> ErasureRecord {
        let sha256 = Digest::of(b"b").to_bytes();
        let body = BodyRecord { sha256, size: 1, pack_plus_one: 1, offset: 9 };
        ErasureRecord {
            document: 0,
            leaf: 7,
            scope: 2,
            remove: vec![body],
            pack: 1,
            ..ErasureRecord::default()
        }
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
            documents: vec![document.into()],
            lists: vec![list.into()],
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
        Arc::make_mut(&mut second.documents[0]).parts.push(samples::envelope(3).sha256);
        second.deliveries[1] = samples::delivery(3, "H53.2", TransportState::Held);
        second.actions = vec![samples::action(2, ActionPhase::Lapsed), samples::action(4, ActionPhase::Done)];
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
        settle.digests.push(DigestRecord {
            day: 20_784,
            leaf: 6,
            start: 0,
            end: 5,
            agencies: vec![Bytes::from_static(b"day of H53")],
        });
        store.commit(&settle).unwrap();
        store.idle().unwrap();
        after_all(&*store, &edge);
    }
    {
        let store = bench.open();
        after_all(&*store, &edge);
        erase(&*store, &mut edge);
        being_erased(&*store);
    }
    {
        let store = bench.open();
        being_erased(&*store);
        let removed = ErasureRecord { remove: Vec::new(), removed: true, ..samples::erasure() };
        let lifted = HoldRecord { lifted: true, ..samples::hold() };
        let mut commit = Commit { erasures: vec![removed], holds: vec![lifted], ..Commit::default() };
        let documents = store.head().documents;
        samples::grow(edge, &mut commit);
        commit.head = Head { documents, ..store.head() };
        store.commit(&commit).unwrap();
        erased(&*store);
    }
    erased(&*bench.open());
}

fn erase(store: &dyn Store, edge: &mut Edge) {
    assert_eq!(store.holds().unwrap(), [samples::hold()]);
    assert_eq!((store.erasure(0).unwrap(), store.erasing(0, 9).unwrap()), (None, Vec::new()));
    let all: Vec<_> = store.documents(0..99).unwrap().iter().map(|document| document.index).collect();
    assert_eq!(all, [0, 3]);
    assert_eq!(store.documents(1..3).unwrap(), []);
    let mut commit = Commit {
        leaves: vec![samples::leaf("erased", Some(0))],
        erasures: vec![samples::erasure()],
        ..Commit::default()
    };
    *edge = samples::grow(edge.clone(), &mut commit);
    store.commit(&commit).unwrap();
}

fn being_erased(store: &dyn Store) {
    assert_eq!(store.body(&Digest::of(b"b")).unwrap(), None, "not reachable from the commit on");
    let open = store.erasing(0, 9).unwrap();
    assert_eq!(open, [samples::erasure()]);
    assert!(open[0].is_whole());
    assert_eq!(store.erasing(1, 9).unwrap(), []);
    assert_eq!(store.erasure(0).unwrap().map(|erasure| (erasure.leaf, erasure.removed)), Some((7, false)));
    assert_eq!(store.erasure(3).unwrap(), None);
}

fn erased(store: &dyn Store) {
    assert_eq!(store.erasing(0, 9).unwrap(), []);
    assert_eq!(store.erasure(0).unwrap().map(|erasure| (erasure.leaf, erasure.removed)), Some((7, true)));
    assert_eq!(store.body(&Digest::of(b"b")).unwrap(), None);
    assert_eq!(store.holds().unwrap(), []);
    assert_eq!(store.timeline(0, 0, 10).unwrap(), [0, 1, 2, 6, 7]);
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
    let row = store.evidence(0..3).unwrap();
    let written: Vec<_> = commit.leaves.iter().map(|leaf| leaf.evidence.clone()).collect();
    assert_eq!(row.iter().map(|(_, evidence)| evidence.clone()).collect::<Vec<_>>(), written);
    assert!(row.iter().all(|(hash, evidence)| *hash == merkle::leaf_hash(evidence)));
    assert_eq!(store.evidence(1..2).unwrap(), row[1..2]);
    assert_eq!(store.evidence(2..2).unwrap(), []);
    assert!(matches!(store.evidence(1..4), Err(StoreError::Damaged(_))));
    assert_eq!(
        store.parked(&DocumentName::parse("H53", "later", 0).unwrap(), &agency("H53.1")).unwrap().len(),
        1
    );
    assert_eq!(store.all_parked(10).unwrap(), commit.parked);
    assert_eq!(store.all_parked(0).unwrap(), []);
    assert_eq!(store.cursor(&agency("H53.1")).unwrap(), Some(1));
    assert_eq!(store.cursor(&agency("H53")).unwrap(), None);
    assert_eq!(store.expansions().unwrap(), commit.expansions);
    assert_eq!(store.open_actions().unwrap(), commit.actions);
    assert_eq!(store.actions(None, 1).unwrap(), commit.actions[1..]);
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
    let got: Vec<_> = waiting.iter().map(|w| (w.recipient.as_str(), w.document, w.held)).collect();
    assert_eq!(got, [("H53", 3, false), ("H53.2", 3, true), ("H53.2", 0, false)], "urgent first");
    let ids = |actions: Vec<ActionRecord>| actions.iter().map(|action| action.id).collect::<Vec<_>>();
    assert_eq!(ids(store.actions(None, 10).unwrap()), [4, 2, 1], "the newest first");
    assert_eq!(ids(store.actions(Some(4), 1).unwrap()), [2]);
    assert_eq!(ids(store.open_actions().unwrap()), [1]);
    assert_eq!(store.action(2).unwrap(), Some(samples::action(2, ActionPhase::Lapsed)));
    assert_eq!(store.action(3).unwrap(), None);
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
    assert_eq!(store.all_parked(10).unwrap(), []);
    counts_go_on(store);
    days_are_closed(store);
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

fn days_are_closed(store: &dyn Store) {
    let digest = DigestRecord { day: 20_784, leaf: 6, start: 0, end: 5, agencies: Vec::new() };
    assert_eq!(store.digests(0, 10).unwrap(), std::slice::from_ref(&digest));
    assert_eq!(store.digests(20_784, 1).unwrap(), [digest]);
    assert_eq!(store.digests(20_785, 10).unwrap(), []);
    assert_eq!(store.digest_agencies(6).unwrap(), Some(vec![Bytes::from_static(b"day of H53")]));
    assert_eq!((store.digest_agencies(5).unwrap(), store.digest_agencies(99).unwrap()), (None, None));
}
