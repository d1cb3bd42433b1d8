//! Proofs of exports of a small log, made without the hub's help.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use prost::Message;

use crate::{
    domain::{
        id::Digest,
        search::{self, Accepted},
    },
    proto::{export_item::Item, *},
    tlog::merkle::{Edge, inclusion_path, leaf_hash},
    verify::docproof::testing::{ADDED, EARLY, Log, REFUSES, SILENT, TAKES, hub},
};

pub fn item(item: Item) -> ExportItem {
    ExportItem { item: Some(item) }
}

fn hash(hash: &[u8; 32]) -> Bytes {
    Bytes::copy_from_slice(hash)
}

/// Head and items of an export of the leaves that answer a filter, from `filter.from_index` on.
pub fn export(
    log: &Log,
    filter: &SearchFilter,
    within: &[&str],
    complete: bool,
) -> (ExportHead, Vec<ExportItem>) {
    let (head, stored) = (log.head(), log.stored());
    let sets: Vec<BTreeSet<String>> =
        if within.is_empty() { vec![] } else { vec![within.iter().map(ToString::to_string).collect()] };
    let query = search::query(filter, sets.iter().cloned().map(Arc::new)).unwrap();
    let filter = SearchFilter { tree_size: head.size, ..filter.clone() };
    let from = filter.from_index;
    let manifest = log.envelope.payload.clone();
    let digest = Digest::of(&manifest);
    let info = Manifest::decode(manifest.clone()).unwrap().document.unwrap();
    let is_acceptance = |index: &u64| log.leaf(*index).event() == EventKind::SubmissionAcceptance;
    let acceptance = (0..head.size).find(is_acceptance).unwrap();
    let accepted = Accepted::of(info, log.leaf(acceptance).verdict.unwrap().legal_value());
    let (mut items, mut is_told) = (Vec::new(), false);
    for index in from..head.size {
        let evidence = log.leaf(index);
        let is_about = evidence.manifest_sha256 == digest.as_bytes()[..];
        let named: Vec<String> = match (is_acceptance(&index), index == acceptance) {
            (true, true) if !sets.is_empty() => [TAKES, REFUSES, SILENT, EARLY].map(str::to_owned).to_vec(),
            (true, false) if !sets.is_empty() => vec![ADDED.to_owned()],
            _ => vec![],
        };
        let row = query.holds(&search::leaf(&evidence, is_about.then_some(&accepted), &named));
        let bytes = log.leaves[usize::try_from(index).unwrap()].clone();
        if !row && !complete {
            items.push(item(Item::Hashes(ExportHashes { first: index, hashes: hash(&leaf_hash(&bytes)) })));
            continue;
        }
        if is_about && !is_told {
            is_told = true;
            let mut document =
                ExportDocument { manifest: manifest.clone(), index: acceptance, ..Default::default() };
            if index != acceptance {
                document.acceptance = log.leaves[usize::try_from(acceptance).unwrap()].clone();
                let path = inclusion_path(acceptance, head.size, &stored).unwrap().unwrap();
                document.path = path.iter().map(hash).collect();
            }
            items.push(item(Item::Document(document)));
        }
        let leaf_hash = hash(&leaf_hash(&bytes));
        items.push(item(Item::Leaf(ExportLeaf { index, evidence: bytes, leaf_hash, row, named })));
    }
    let head = ExportHead {
        verifier_key: hub().verifier().to_string(),
        checkpoint: head.sign(&hub()),
        filter: Some(filter),
        within: sets.into_iter().map(|set| AgencySet { agencies: set.into_iter().collect() }).collect(),
        complete,
        log_keys: String::new(),
        left: Edge::load(from, &stored).unwrap().subtrees().iter().map(hash).collect(),
    };
    (head, items)
}
