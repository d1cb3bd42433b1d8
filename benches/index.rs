//! What a document costs the store: CPU, memory, disk, and the time of a start. By hand, for `docs/performance.md`:
//!
//! ```text
//! cargo bench --bench index -- fill <folder> <documents> [fjall|sled] [waiting|kill]
//! cargo bench --bench index -- open <folder> [fjall|sled]
//! cargo bench --bench index -- rebuild <folder> [fjall|sled]
//! ```
//! `fill` makes commits of 100 documents, each with a receipt some thousand documents later; with `waiting` none is
//! received. With `waiting` and `kill` the process ends without closing the store.

use std::{fs, path::Path, sync::Arc, time::Instant};

use bytes::Bytes;
use truc::{
    domain::id::{AgencyId, Digest},
    proto::TransportState,
    store::{
        Commit, Store,
        embedded::{Embedded, EmbeddedOptions, index::Engine},
        payload::{Payload, PayloadOptions},
        records::{
            BodyRecord, DeliveryRecord, DocumentRecord, ExpansionRecord, Head, LeafRecord, MessageRecord,
            RecipientList,
        },
    },
    tlog::merkle::{Edge, Growth, leaf_hash},
};

/// Documents of a commit.
const GROUP: u64 = 100;
/// Groups between a document and its receipt.
const LATER: u64 = 10;
const SENDERS: u64 = 40;
const RECIPIENTS: u64 = 700;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let Some((command, rest)) = args.split_first() else { return };
    let Some((dir, rest)) = rest.split_first() else { return };
    let engine = if rest.contains(&"sled") { Engine::Sled } else { Engine::Fjall };
    let dir = Path::new(dir);
    match *command {
        "fill" => {
            let documents = rest.first().and_then(|text| text.parse().ok()).expect("a number of documents");
            fill(dir, engine, documents, rest.contains(&"waiting"), rest.contains(&"kill"));
        }
        "open" => open(dir, engine),
        "rebuild" => rebuild(dir, engine),
        _ => {}
    }
}

fn options(dir: &Path, engine: Engine) -> EmbeddedOptions {
    EmbeddedOptions { engine, ..EmbeddedOptions::new(dir) }
}

fn payload(dir: &Path) -> Arc<Payload> {
    fs::create_dir_all(dir).expect("a folder");
    Arc::new(Payload::open(&dir.join("bodies"), PayloadOptions::default()).expect("bodies"))
}

fn fill(dir: &Path, engine: Engine, documents: u64, waiting: bool, kill: bool) {
    let opened = Embedded::open(&options(dir, engine), payload(dir), &mut |_| ()).expect("opens");
    let (store, mut edge) = (opened.store, Edge::empty());
    let mut accepted: Vec<u64> = Vec::new();
    let (begun, mut last) = (Instant::now(), (Instant::now(), cpu()));
    for group in 0..documents / GROUP {
        let mut commit = Commit::default();
        for document in group * GROUP..(group + 1) * GROUP {
            accepted.push(edge.size() + commit.leaves.len() as u64);
            accept(&mut commit, document, accepted[accepted.len() - 1]);
        }
        edge = write(&store, edge, commit);
        if let Some(earlier) = group.checked_sub(LATER).filter(|_| !waiting) {
            let mut commit = Commit::default();
            for document in earlier * GROUP..(earlier + 1) * GROUP {
                receive(
                    &mut commit,
                    document,
                    edge.size(),
                    accepted[usize::try_from(document).expect("few")],
                );
            }
            edge = write(&store, edge, commit);
        }
        if (group + 1) % 500 == 0 {
            let per = 500.0 * GROUP as f64;
            let (seconds, used) = (last.0.elapsed().as_secs_f64(), cpu() - last.1);
            println!(
                "{} documents: {:.0}/s, {:.1} us CPU a document, {} MiB RSS, lag {}",
                (group + 1) * GROUP,
                per / seconds,
                used * 1e6 / per,
                rss(),
                store.index_lag()
            );
            last = (Instant::now(), cpu());
        }
    }
    println!(
        "filled in {:.1} s with {:.1} us CPU a document",
        begun.elapsed().as_secs_f64(),
        cpu() * 1e6 / documents as f64
    );
    if kill {
        sizes(dir);
        std::process::abort();
    }
    let (closing, used) = (Instant::now(), cpu());
    store.close().expect("closes");
    println!("closed in {:.2} s with {:.2} s CPU", closing.elapsed().as_secs_f64(), cpu() - used);
    println!("in all {:.1} us CPU a document", cpu() * 1e6 / documents as f64);
    sizes(dir);
}

fn open(dir: &Path, engine: Engine) {
    let begun = Instant::now();
    let payload = payload(dir);
    println!("bodies opened in {:.3} s", begun.elapsed().as_secs_f64());
    let opened = Embedded::open(&options(dir, engine), payload, &mut |_| ()).expect("opens");
    let (store, ready) = (opened.store, begun.elapsed().as_secs_f64());
    println!("opened in {ready:.2} s, {} commits replayed, rebuilt: {:?}", opened.replayed, opened.rebuilt);
    let (mut waiting, mut after) = (0, None);
    loop {
        let page = store.waiting(after.as_ref(), 4096).expect("reads");
        let Some(last) = page.last() else { break };
        waiting += page.len();
        after = Some(last.clone());
    }
    println!("{waiting} waiting, read after {:.2} s, {} MiB RSS", begun.elapsed().as_secs_f64(), rss());
    store.close().expect("closes");
}

fn rebuild(dir: &Path, engine: Engine) {
    let begun = Instant::now();
    let opened = Embedded::rebuild(&options(dir, engine), payload(dir), &mut |_| ()).expect("rebuilds");
    println!("{} commits, {} leaves", opened.replayed, opened.store.head().size);
    opened.store.close().expect("closes");
    println!("rebuilt in {:.1} s, {:.1} s CPU, {} MiB RSS", begun.elapsed().as_secs_f64(), cpu(), rss());
    sizes(dir);
}

fn agency(kind: u64, number: u64) -> String {
    AgencyId::parse(&format!("000.{:02}.{:02}.H{kind}", number / 100, number % 100))
        .expect("an identifier")
        .to_string()
}

fn digest(kind: &str, document: u64) -> Bytes {
    Digest::of(format!("{kind} {document}").as_bytes()).to_bytes()
}

fn leaf(document: u64, index: u64, bytes: usize, feeds: Vec<String>) -> LeafRecord {
    let mut evidence = format!("evidence of {document} at {index}").into_bytes();
    evidence.resize(bytes, b'.');
    LeafRecord { evidence: evidence.into(), document_plus_one: index + 1, feeds }
}

fn state(document: u64, index: u64, state: TransportState) -> DeliveryRecord {
    DeliveryRecord {
        document: index,
        recipient: agency(54, document % RECIPIENTS),
        transport: state.into(),
        last_leaf_hash: digest("leaf", document),
        deadline_us: 1_790_000_000_000_000,
        ..DeliveryRecord::default()
    }
}

fn accept(commit: &mut Commit, document: u64, index: u64) {
    let sender = agency(53, document % SENDERS);
    let list = RecipientList { index, document: index, recipients: vec![agency(54, document % RECIPIENTS)] };
    commit.leaves.push(leaf(document, index, 620, vec![sender.clone()]));
    commit.leaves.push(leaf(document, index, 560, vec![sender.clone()]));
    commit.deliveries.push(state(document, index, TransportState::Ready));
    commit.expansions.push(ExpansionRecord { list: index, next: 1, total: 1 });
    commit.lists.push(list.into());
    for (at, kind) in ["envelope", "part"].into_iter().enumerate() {
        let offset = document * 4096 + at as u64 * 2048;
        commit.bodies.push(BodyRecord {
            sha256: digest(kind, document),
            size: 1024,
            pack_plus_one: 1,
            offset,
        });
    }
    let id = digest("id", document);
    let document = DocumentRecord {
        index,
        document_id: hex::encode(&id[..16]),
        manifest_sha256: digest("manifest", document),
        envelope_sha256: digest("envelope", document),
        deadline_us: 1_790_000_000_000_000,
        year: 2026,
        number: document.to_string(),
        notation: "UBND-VX".into(),
        parts: vec![digest("part", document)],
        node: sender.clone(),
        sender,
        ..DocumentRecord::default()
    };
    commit.documents.push(document.into());
}

fn receive(commit: &mut Commit, document: u64, size: u64, index: u64) {
    let answer = size + commit.leaves.len() as u64;
    commit.leaves.push(leaf(document, index, 900, vec![agency(53, document % SENDERS)]));
    commit.deliveries.push(state(document, index, TransportState::HandedOver));
    commit.messages.push(MessageRecord { payload_sha256: digest("receipt", document), leaf: answer });
}

fn write(store: &Embedded, edge: Edge, mut commit: Commit) -> Edge {
    commit.base_size = edge.size();
    let mut growth = Growth::new(edge);
    for leaf in &commit.leaves {
        growth.push(leaf_hash(&leaf.evidence));
    }
    commit.head = Head {
        size: growth.size(),
        root: Bytes::copy_from_slice(&growth.root()),
        checkpoint: "x".repeat(200),
        documents: 0,
    };
    let (edge, nodes) = growth.finish();
    commit.nodes = nodes;
    store.commit(&commit).expect("written");
    edge
}

/// CPU seconds of this process so far, all threads.
fn cpu() -> f64 {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let used = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    used.sum::<u64>() as f64 / 1e9
}

fn rss() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn sizes(dir: &Path) {
    for name in ["journal", "history"] {
        println!("{name}: {} MiB", size(&dir.join(name)) >> 20);
    }
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return path.metadata().map_or(0, |metadata| metadata.len()) };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}
