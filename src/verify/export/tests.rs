//! What holds passes, and every fault is named by its place.

use super::{testing::*, *};
use crate::{
    proto::{ErasedScope, ExportErased, ExportItem},
    verify::docproof::testing::{ADDED, Log, REFUSES, SENDER, trusted},
};

fn check(head: &ExportHead, items: &[ExportItem]) -> Result<(Proven, Vec<EvidenceRow>), ExportError> {
    let mut checker = Checker::begin(head.clone(), &trusted()[..].into())?;
    let mut rows = Vec::new();
    for item in items {
        rows.extend(checker.take(item.clone())?);
    }
    Ok((checker.end()?, rows))
}

fn all(from_index: u64) -> SearchFilter {
    SearchFilter { from_index, ..SearchFilter::default() }
}

fn place(head: &ExportHead, items: &[ExportItem]) -> Place {
    check(head, items).expect_err("a fault").place
}

#[test]
fn every_range_of_the_log_gives_its_rows() {
    let log = Log::story();
    let size = log.leaves.len() as u64;
    for from in 0..=size {
        let (head, items) = export(&log, &all(from), &[], false);
        let (proven, rows) = check(&head, &items).unwrap();
        assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), Vec::from_iter(from..size));
        assert!(proven.unfiltered && proven.nothing_left_out());
        assert_eq!(proven.rows, size - from);
        let about = rows.iter().filter(|row| row.number == "17");
        assert!(about.clone().all(|row| row.subject == "Về việc phòng chống lũ" && row.legal_value == 1));
        assert!(from > 15 || about.count() > 5);
    }
    let (head, items) = export(&log, &all(0), &[], false);
    assert_eq!(check(&head, &items).unwrap().0.without_document, 2, "those of another document");
}

#[test]
fn what_is_asked_for_is_all_there_is_where_that_can_be_seen() {
    let log = Log::story();
    let subject = SearchFilter { subject: "chong lu".into(), ..all(5) };
    let (head, items) = export(&log, &subject, &[], false);
    let (proven, rows) = check(&head, &items).unwrap();
    assert!(!rows.is_empty() && proven.hidden > 0 && !proven.nothing_left_out());

    let (head, items) = export(&log, &subject, &[], true);
    let (proven, again) = check(&head, &items).unwrap();
    assert_eq!((again, proven.hidden), (rows, 0));
    assert_eq!(proven.undecided, 2, "what the other document says is not known");

    let refused = SearchFilter { recipient: REFUSES.into(), ..all(0) };
    let (head, items) = export(&log, &refused, &[], true);
    assert!(check(&head, &items).unwrap().0.nothing_left_out());
    let (head, items) = export(&log, &all(0), &[ADDED], true);
    let (proven, rows) = check(&head, &items).unwrap();
    assert_eq!((rows.len(), proven.sets, proven.nothing_left_out()), (2, 1, true));
    let (head, items) = export(&log, &all(0), &[SENDER], true);
    assert!(check(&head, &items).unwrap().1.len() > 8);
}

#[test]
fn leaves_that_are_altered_added_or_left_out_are_named() {
    let log = Log::story();
    let (head, items) = export(&log, &all(0), &[], false);
    let leaves: Vec<usize> =
        (0..items.len()).filter(|at| matches!(items[*at].item, Some(Item::Leaf(_)))).collect();
    for at in leaves {
        let Some(Item::Leaf(leaf)) = items[at].item.clone() else { unreachable!() };
        let with = |edit: &dyn Fn(&mut Vec<ExportItem>)| {
            let mut items = items.clone();
            edit(&mut items);
            place(&head, &items)
        };
        let mut bent = leaf.evidence.to_vec();
        let middle = bent.len() / 2;
        bent[middle] ^= 1;
        let altered = ExportLeaf { evidence: bent.clone().into(), ..leaf.clone() };
        assert_eq!(with(&|items| items[at] = item(Item::Leaf(altered.clone()))), Place::Leaf(leaf.index));
        let hash = merkle::leaf_hash(&bent).to_vec().into();
        let forged = ExportLeaf { leaf_hash: hash, ..altered.clone() };
        let named = with(&|items| items[at] = item(Item::Leaf(forged.clone())));
        assert!(
            [Place::Root, Place::Leaf(leaf.index), Place::Leaf(leaf.index + 1)].contains(&named),
            "{named:?}"
        );
        let last = at + 1 == items.len();
        let gone = with(&|items| drop(items.remove(at)));
        assert_eq!(gone, Place::Leaf(leaf.index), "{last}");
        assert_eq!(with(&|items| items.insert(at, items[at].clone())), Place::Leaf(leaf.index));
        let no_row = ExportLeaf { row: false, ..leaf.clone() };
        assert_eq!(with(&|items| items[at] = item(Item::Leaf(no_row.clone()))), Place::Leaf(leaf.index));
        let told = ExportHashes { first: leaf.index, hashes: leaf.leaf_hash.clone() };
        assert_eq!(with(&|items| items[at] = item(Item::Hashes(told.clone()))), Place::Leaf(leaf.index));
    }
}

#[test]
fn a_hub_that_picks_the_wrong_rows_is_caught() {
    let log = Log::story();
    let refused = SearchFilter { recipient: REFUSES.into(), ..all(0) };
    let (head, items) = export(&log, &refused, &[], true);
    for at in 0..items.len() {
        let Some(Item::Leaf(leaf)) = items[at].item.clone() else { continue };
        let mut items = items.clone();
        items[at] = item(Item::Leaf(ExportLeaf { row: !leaf.row, ..leaf.clone() }));
        assert_eq!(place(&head, &items), Place::Leaf(leaf.index));
    }
    let (head, items) = export(&log, &all(0), &[ADDED], true);
    for at in 0..items.len() {
        let Some(Item::Leaf(leaf)) = items[at].item.clone() else { continue };
        if leaf.named.is_empty() {
            continue;
        }
        let mut items = items.clone();
        items[at] = item(Item::Leaf(ExportLeaf { named: vec![SENDER.into()], ..leaf.clone() }));
        assert_eq!(place(&head, &items), Place::Leaf(leaf.index));
    }
}

#[test]
fn a_document_is_bound_to_its_acceptance() {
    let log = Log::story();
    let size = log.leaves.len() as u64;
    for from in [0, size - 8] {
        let (head, items) = export(&log, &all(from), &[], false);
        let at = items.iter().position(|item| matches!(item.item, Some(Item::Document(_)))).unwrap();
        let Some(Item::Document(document)) = items[at].item.clone() else { unreachable!() };
        let mut bent = document.manifest.to_vec();
        let subject = bent.windows(3).position(|word| word == "Về".as_bytes().split_at(3).0).unwrap();
        bent[subject] ^= 1;
        let edits: [ExportDocument; 4] = [
            ExportDocument { manifest: bent.into(), ..document.clone() },
            ExportDocument { index: document.index + 1, ..document.clone() },
            ExportDocument { acceptance: log.leaves[0].clone(), ..document.clone() },
            ExportDocument {
                path: vec![vec![7; 32].into()],
                acceptance: b"x".to_vec().into(),
                ..document.clone()
            },
        ];
        for edited in edits {
            let mut items = items.clone();
            items[at] = item(Item::Document(edited.clone()));
            assert!(matches!(check(&head, &items).unwrap_err().place, Place::Leaf(_)), "{edited:?}");
        }
    }
}

/// An export of a log whose document was erased: the items, and where the erasure is told.
fn export_of_erased(scope: ErasedScope, change: impl Fn(&mut ExportErased)) -> (ExportHead, Vec<ExportItem>) {
    let mut log = Log::story();
    let index = log.erase(log.accepted(), scope);
    let (head, mut items) = export(&log, &all(0), &[], false);
    let path = merkle::inclusion_path(index, log.head().size, &log.stored()).unwrap().unwrap();
    let evidence = log.leaves[usize::try_from(index).unwrap()].clone();
    let path = path.iter().map(|hash| bytes::Bytes::copy_from_slice(hash)).collect();
    let mut erased = ExportErased { index, evidence, path };
    change(&mut erased);
    for told in &mut items {
        if matches!(told.item, Some(Item::Document(_))) {
            *told = item(Item::Erased(erased.clone()));
        }
    }
    (head, items)
}

#[test]
fn rows_of_an_erased_document_name_the_leaf_that_says_so() {
    let (head, items) = export_of_erased(ErasedScope::All, |_| {});
    let (proven, rows) = check(&head, &items).unwrap();
    let flagged = rows.iter().filter(|row| row.erased_leaf > 0);
    assert!(flagged.clone().all(|row| row.subject.is_empty() && row.erased_leaf == rows.len() as u64 - 1));
    assert_eq!(proven.erased, flagged.clone().count() as u64);
    assert!(proven.erased > 5 && proven.nothing_left_out());
    assert_eq!(proven.without_document, 2, "those of another document, about which nothing is said");
    assert!(rows.iter().any(|row| row.erased_leaf == 0 && row.document_id != flagged.clone().next().unwrap().document_id));

    // Left out, the rows are right still, without the word.
    let mut without = items.clone();
    without.retain(|told| !matches!(told.item, Some(Item::Erased(_))));
    let (silent, rows) = check(&head, &without).unwrap();
    assert_eq!((silent.erased, silent.without_document), (0, proven.erased + proven.without_document));
    assert!(rows.iter().all(|row| row.erased_leaf == 0));
}

#[test]
fn an_erasure_that_is_not_proven_is_named() {
    let faults: [fn(&mut ExportErased); 5] = [
        |erased| erased.index -= 1,
        |erased| drop(erased.path.pop()),
        |erased| erased.path[0] = vec![7; 32].into(),
        |erased| erased.path[0] = vec![7; 31].into(),
        |erased| erased.evidence = erased.evidence.slice(1..),
    ];
    for fault in faults {
        let (head, items) = export_of_erased(ErasedScope::All, fault);
        assert!(matches!(place(&head, &items), Place::Leaf(_)));
    }
    let (head, items) = export_of_erased(ErasedScope::Attachments, |_| {});
    assert!(matches!(place(&head, &items), Place::Leaf(_)), "the subject was not erased");
}

#[test]
fn another_head_is_named() {
    let log = Log::story();
    let (head, items) = export(&log, &all(3), &[], false);
    assert_eq!(
        Checker::begin(head.clone(), &Trusted::default()).err().map(|error| error.place),
        Some(Place::HubKey)
    );
    let with = |edit: fn(&mut ExportHead)| {
        let mut head = head.clone();
        edit(&mut head);
        place(&head, &items)
    };
    assert_eq!(
        with(|head| head.checkpoint = head.checkpoint.replace("hub.test", "hub.tesT")),
        Place::Checkpoint
    );
    assert_eq!(with(|head| head.filter.as_mut().unwrap().from_index = 2), Place::Head);
    assert_eq!(with(|head| head.filter.as_mut().unwrap().tree_size -= 1), Place::Head);
    assert_eq!(with(|head| head.filter.as_mut().unwrap().level = 4), Place::Head);
    assert_eq!(with(|head| drop(head.left.pop())), Place::Head);
    assert_eq!(with(|head| head.left[0] = vec![7; 32].into()), Place::Root);
    let older = Log::new();
    let old = export_head(&older);
    assert_eq!(place(&ExportHead { checkpoint: old, ..head.clone() }, &items), Place::Head);
}

fn export_head(log: &Log) -> String {
    log.head().sign(&crate::verify::docproof::testing::hub())
}

fn file(log: &Log) -> Vec<u8> {
    let (head, items) = export(log, &all(0), &[], false);
    let mut file = Writer::create(Vec::new()).unwrap();
    file.put(&item(Item::Head(head))).unwrap();
    items.iter().for_each(|item| file.put(item).unwrap());
    file.end(7, &Digest([5; 32])).unwrap()
}

fn read(bytes: &[u8]) -> Result<(u64, usize), ExportError> {
    let (mut items, _) = Items::open(bytes)?;
    let mut count = 0;
    while items.read()?.is_some() {
        count += 1;
    }
    Ok((items.end().unwrap().rows, count))
}

#[test]
fn every_flipped_byte_of_a_proof_is_noticed() {
    let log = Log::story();
    let file = file(&log);
    assert_eq!(read(&file).unwrap(), (7, log.leaves.len() + 1));
    for at in 0..file.len() {
        let mut bent = file.clone();
        bent[at] ^= [0x01, 0x80, 0x20, 0xff][at % 4];
        // The end tells of rows and of another file: those are compared elsewhere.
        let is_end = at + 72 > file.len();
        assert!(read(&bent).is_err() || is_end, "byte {at} of {}", file.len());
    }
    for short in 0..file.len() {
        assert!(read(&file[..short]).is_err(), "{short} bytes");
    }
    assert!(read(&[&file[..], b"x"].concat()).is_err());
    assert!(read(b"truc export v1\n\xff\xff\xff\xff\x7f").is_err());
    let mut huge = b"truc export v1\n".to_vec();
    prost::encoding::encode_varint(1 << 27, &mut huge);
    assert!(read(&huge).is_err());
}
