//! What must hold after each restart, and at the end.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use prost::Message as _;
use tokio::task::JoinSet;
use truc::{
    cli::demo::world::COMMUNE,
    client::Client,
    proto::*,
    tlog::{checkpoint::Checkpoint, merkle},
};

use super::{
    Asked, CROWD_SIZE, Outside, ask, is_open,
    ledger::{Deed, Pair},
    receive,
};
use crate::rig::Chance;

const NODES: [&str; 7] = ["tavan", "sapa", "laocai", "bacha", "operator", "registrar", "security"];
/// Old deeds asked again in each round; the newest all are, and all of them at the end.
const SAMPLE: usize = 200;
/// Questions under way at a time.
const LANES: usize = 8;

/// How much of the ledger is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What is new since the round before, and a sample of the rest.
    Round,
    All,
}

type Clients = HashMap<&'static str, Client>;

impl Outside {
    /// After a restart: everything acknowledged is there, with the same bytes, and the log has only grown.
    pub async fn check(self: &Arc<Self>, new_from: usize, chance: &mut Chance) {
        let clients = self.clients().await;
        self.extends(&clients["operator"]).await;
        self.deeds_stand(&clients, new_from, Some(chance)).await;
        self.uploads_stand(&clients).await;
        self.watch_goes_on(&clients["tavan"]).await;
        self.bodies_are_whole(&clients, 10, chance).await;
        self.extends(&clients["operator"]).await;
    }

    /// Asks for every deed and every attachment; tells how many say that they are damaged. Other bytes are a fault.
    /// Leaves the ledger as it is, for a hub whose folder is put back afterwards.
    pub async fn lost(self: &Arc<Self>) -> usize {
        let clients = self.clients().await;
        let (deeds, offered, checkpoints) = {
            let ledger = self.ledger();
            (ledger.deeds.clone(), ledger.offered.clone(), ledger.checkpoints.clone())
        };
        let before = self.proven.lock().unwrap().clone();
        let newest = self.newest(&clients["operator"]).await;
        extend(&clients["operator"], &newest, checkpoints.into_values().chain(before)).await;
        let mut lost = 0;
        for deed in deeds {
            match ask(&clients[deed.by], &deed.asked).await {
                Ok((receipt, _)) => assert_eq!(receipt.encode_to_vec(), deed.receipt, "other bytes"),
                Err(status) if status.code() == tonic::Code::DataLoss => lost += 1,
                Err(status) => panic!("an acknowledged deed is now refused: {status:?}"),
            }
        }
        for (pair, (delivery, parts)) in offered {
            if receive::is_refused(&pair.0) {
                continue;
            }
            let node = if pair.1.ends_with(".21.H38") { "sapa" } else { "laocai" };
            for part in parts {
                lost += usize::from(!receive::comes_whole(&clients[node], &delivery, &part).await);
            }
        }
        lost
    }

    /// At the end, on a hub that runs: what was open is settled, what waits is taken over, and the books agree.
    pub async fn check_all(self: &Arc<Self>, chance: &mut Chance) {
        let clients = self.clients().await;
        self.settle(&clients).await;
        for node in ["sapa", "laocai"] {
            // Leases died with the hub before; pauses are at most a second.
            while receive::fetch(self, node, &clients[node], 1_500_000).await.expect("the hub runs") > 0 {}
        }
        self.deeds_stand(&clients, 0, None).await;
        self.uploads_stand(&clients).await;
        self.watch_goes_on(&clients["tavan"]).await;
        self.bodies_are_whole(&clients, 2_000, chance).await;
        self.books_agree(&clients["operator"]).await;
        self.extends(&clients["operator"]).await;
    }

    /// How many deeds there are now.
    pub fn deeds(&self) -> usize {
        self.ledger().deeds.len()
    }

    async fn clients(&self) -> Clients {
        let mut clients = Clients::new();
        for node in NODES {
            clients.insert(node, self.connect(node).await);
        }
        clients
    }

    /// Asks again for what was never answered: now it is done, once.
    async fn settle(&self, clients: &Clients) {
        let open = std::mem::take(&mut self.ledger().open);
        let mut late = 0;
        for (by, asked) in open.into_values() {
            if !is_late(&asked) {
                assert!(self.ask(by, &clients[by], asked).await.is_some(), "a running hub did not answer");
                continue;
            }
            // Its deadline passes: a document that was taken gives its receipt, another may be refused.
            late += 1;
            if let Ok((receipt, _)) = ask(&clients[by], &asked).await {
                self.prove(&receipt);
                let number = self.ledger().begin(by, &asked);
                self.ledger().done(number, &receipt);
            }
        }
        println!("{late} unanswered documents had a short deadline");
    }

    async fn deeds_stand(self: &Arc<Self>, clients: &Clients, new_from: usize, chance: Option<&mut Chance>) {
        let deeds = self.ledger().deeds.clone();
        let mut again: Vec<_> = deeds[new_from.min(deeds.len())..].to_vec();
        if let Some(chance) = chance.filter(|_| new_from > 0) {
            let some = (0..SAMPLE.min(new_from)).map(|_| chance.below(new_from as u64));
            again.extend(some.map(|at| Arc::clone(&deeds[usize::try_from(at).unwrap()])));
        }
        let mut lanes = JoinSet::new();
        for lane in again.chunks(again.len().div_ceil(LANES).max(1)) {
            let (lane, clients) = (lane.to_vec(), clients.clone());
            lanes.spawn(async move {
                for deed in lane {
                    stands(&clients[deed.by], &deed).await;
                }
            });
        }
        finish(lanes).await;
    }

    /// The newest tree extends every checkpoint handed out since the last time, and the newest of then; so it extends all
    /// that were ever handed out.
    async fn extends(&self, client: &Client) {
        let newest = self.newest(client).await;
        let older = std::mem::take(&mut self.ledger().checkpoints);
        let before = self.proven.lock().unwrap().replace(newest.clone());
        extend(client, &newest, older.into_values().chain(before)).await;
    }

    async fn newest(&self, client: &Client) -> Checkpoint {
        let newest = client.audit().get_checkpoint(GetCheckpointRequest {}).await.unwrap().into_inner();
        Checkpoint::open(&newest.checkpoint, &self.verifier).unwrap()
    }

    async fn uploads_stand(&self, clients: &Clients) {
        let staged = self.ledger().staged.clone();
        for (node, sha256) in staged {
            let held = clients[node].submission().query_upload(QueryUploadRequest { sha256 }).await;
            assert!(held.unwrap().into_inner().complete, "an upload was lost");
        }
    }

    /// The watch goes on where it was; what the hub was told of it, it knows.
    async fn watch_goes_on(&self, client: &Client) {
        let (watched, saved) = {
            let ledger = self.ledger();
            (ledger.watched.clone(), ledger.saved.clone())
        };
        let agency = || COMMUNE.to_owned();
        let request = WatchRequest { agency: agency(), cursor: watched, once: true, from_now: false };
        let mut entries = client.status().watch(request).await.unwrap().into_inner();
        while let Some(entry) = entries.message().await.unwrap() {
            receive::watched(self, &entry);
        }
        let request = WatchRequest { agency: agency(), cursor: String::new(), once: true, from_now: false };
        let mut entries = client.status().watch(request).await.unwrap().into_inner();
        if let Some(entry) = entries.message().await.unwrap() {
            assert!(receive::place(&entry.cursor) > receive::place(&saved), "the cursor {saved} was lost");
        }
    }

    async fn bodies_are_whole(&self, clients: &Clients, count: usize, chance: &mut Chance) {
        let mut wanted: Vec<_> = {
            let ledger = self.ledger();
            // What was refused is not handed out any more.
            let open = |pair: &Pair| !receive::is_refused(&pair.0);
            let all = ledger.offered.iter().filter(|(pair, (_, parts))| open(pair) && !parts.is_empty());
            all.map(|((_, to), (delivery, parts))| (to.clone(), delivery.clone(), parts.clone())).collect()
        };
        wanted.sort();
        for _ in 0..count.min(wanted.len()) {
            let at = usize::try_from(chance.below(wanted.len() as u64)).unwrap();
            let (to, delivery, parts) = wanted.swap_remove(at);
            let node = if to.ends_with(".21.H38") { "sapa" } else { "laocai" };
            for part in parts {
                assert!(
                    receive::comes_whole(&clients[node], &delivery, &part).await,
                    "{delivery}: other bytes"
                );
            }
        }
    }

    /// Every document has one acceptance, one consignment for each recipient, and at most one end of each.
    async fn books_agree(self: &Arc<Self>, operator: &Client) {
        let expected = self.expected();
        let mut lanes = JoinSet::new();
        let documents: Vec<_> = expected.into_iter().collect();
        let open = Arc::new(std::sync::atomic::AtomicU64::new(0));
        for lane in documents.chunks(documents.len().div_ceil(LANES).max(1)) {
            let (outside, lane, operator) = (Arc::clone(self), lane.to_vec(), operator.clone());
            let open = Arc::clone(&open);
            lanes.spawn(async move {
                for (document, recipients) in lane {
                    let waiting = outside.story_of(&operator, &document, &recipients).await;
                    open.fetch_add(waiting, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        finish(lanes).await;
        let overview = operator.operator().get_overview(GetOverviewRequest {}).await.unwrap().into_inner();
        assert_eq!(overview.expanding, 0);
        assert_eq!(overview.documents, documents.len() as u64, "documents that nobody knows, or lost ones");
        assert_eq!(overview.waiting, open.load(std::sync::atomic::Ordering::Relaxed), "deliveries that wait");
    }

    /// Recipients of each acknowledged document, except the crowd.
    fn expected(&self) -> BTreeMap<String, Recipients> {
        let mut expected = BTreeMap::<String, Recipients>::new();
        for deed in &self.ledger().deeds {
            match &deed.asked {
                Asked::Submit(request) => {
                    let manifest = Manifest::decode(payload(&request.envelope)).unwrap();
                    let recipients = expected.entry(manifest.document_id).or_default();
                    recipients.named.extend(manifest.recipients);
                    if !manifest.groups.is_empty() {
                        let communes = ["01", "02", "03", "04"].map(|n| format!("000.{n}.21.H38"));
                        recipients.named.extend(communes);
                        recipients.crowd = CROWD_SIZE;
                    }
                    recipients.expires = manifest.delivery_deadline_us != 0;
                }
                Asked::Add(request) => {
                    let addressing = Addressing::decode(payload(&request.envelope)).unwrap();
                    let recipients = expected.entry(addressing.document_id).or_default();
                    recipients.named.extend(addressing.recipients);
                }
                _ => {}
            }
        }
        expected
    }

    /// Reads a document's timeline; tells how many of its deliveries wait.
    async fn story_of(&self, operator: &Client, document: &str, recipients: &Recipients) -> u64 {
        let mut story = self.timeline(operator, document).await;
        // A deadline is noticed a moment later, and a step of an expansion takes its time.
        for _ in 0..200 {
            if story.is_told(recipients) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            story = self.timeline(operator, document).await;
        }
        assert_eq!(story.acceptances, 1, "{document}");
        let consigned: HashSet<_> = story.consigned.iter().cloned().collect();
        assert_eq!(consigned.len(), story.consigned.len(), "{document}: a recipient has two deliveries");
        assert_eq!(consigned.len(), recipients.count(), "{document}: deliveries");
        assert!(recipients.named.is_subset(&consigned), "{document}: {:?} {consigned:?}", recipients.named);
        let mut ended = HashMap::new();
        for (recipient, event) in &story.ends {
            assert!(ended.insert(recipient.clone(), *event).is_none(), "{document}: two ends of {recipient}");
        }
        for recipient in &recipients.named {
            let pair = (document.to_owned(), recipient.clone());
            let acknowledged = self.ledger().ended.get(&pair).copied();
            match ended.get(recipient) {
                Some(EventKind::ContentHandoverFailure) => assert!(recipients.expires, "{pair:?} expired"),
                end => assert_eq!(end.copied(), acknowledged, "{pair:?}"),
            }
        }
        (consigned.len() - ended.len()) as u64
    }

    async fn timeline(&self, operator: &Client, document: &str) -> Story {
        let mut story = Story::default();
        let mut page_token = String::new();
        loop {
            let request = GetTimelineRequest {
                document_id: document.into(),
                page_token,
                page_size: 1_000,
                ..GetTimelineRequest::default()
            };
            let page = operator.status().get_timeline(request).await.unwrap().into_inner();
            for event in &page.events {
                self.prove(event);
                story.add(&Evidence::decode(event.evidence.clone()).unwrap());
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return story;
            }
        }
    }
}

#[derive(Clone, Default)]
struct Recipients {
    named: HashSet<String>,
    crowd: usize,
    expires: bool,
}

impl Recipients {
    fn count(&self) -> usize {
        self.named.len() + self.crowd
    }
}

/// What a timeline tells.
#[derive(Default)]
struct Story {
    acceptances: usize,
    consigned: Vec<String>,
    ends: Vec<(String, EventKind)>,
}

impl Story {
    fn add(&mut self, evidence: &Evidence) {
        let recipient = || evidence.recipients[0].agency.clone();
        match evidence.event() {
            // An addition is an acceptance of its own, with the addressing's digest.
            EventKind::SubmissionAcceptance if evidence.message_sha256.is_empty() => self.acceptances += 1,
            EventKind::ContentConsignment => self.consigned.push(recipient()),
            end @ (EventKind::ContentHandover
            | EventKind::ConsignmentRejection
            | EventKind::ContentHandoverFailure) => self.ends.push((recipient(), end)),
            _ => {}
        }
    }

    fn is_told(&self, recipients: &Recipients) -> bool {
        let ends = self.ends.len();
        let expired = !recipients.expires || ends >= recipients.named.len();
        self.consigned.len() >= recipients.count() && expired
    }
}

/// RFC 9162 2.1.4.
async fn extend(client: &Client, newest: &Checkpoint, older: impl Iterator<Item = Checkpoint>) {
    for old in older {
        assert!(old.size <= newest.size, "a tree of {} leaves is now one of {}", old.size, newest.size);
        let request = GetConsistencyRequest { first: old.size, second: newest.size };
        let proof = client.audit().get_consistency(request).await.unwrap().into_inner();
        let path: Vec<_> = proof.path.iter().map(|hash| hash[..].try_into().unwrap()).collect();
        let extends = merkle::verify_consistency(old.size, newest.size, &old.root, &newest.root, &path);
        assert!(extends, "history changed between {} and {} leaves", old.size, newest.size);
    }
}

/// Asked again, it gives the same bytes.
async fn stands(client: &Client, deed: &Deed) {
    let (receipt, repeat) = loop {
        match ask(client, &deed.asked).await {
            Ok(answer) => break answer,
            Err(status) if is_open(&status) => {
                println!("asked again: {status:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(status) => panic!("an acknowledged deed is now refused: {status:?}\n{:?}", deed.asked),
        }
    };
    let is_document = matches!(deed.asked, Asked::Submit(_));
    assert!(repeat || !is_document, "lost: {:?}", deed.asked);
    assert_eq!(receipt.encode_to_vec(), deed.receipt, "other bytes: {:?}", deed.asked);
}

/// A document whose deadline has passed can't be accepted any more, and is not asked for twice.
fn is_late(asked: &Asked) -> bool {
    let Asked::Submit(request) = asked else { return false };
    let manifest = Manifest::decode(payload(&request.envelope)).unwrap();
    manifest.delivery_deadline_us != 0 && manifest.delivery_deadline_us < crate::rig::now_us() + 1_000_000
}

fn payload(envelope: &Option<SignedEnvelope>) -> bytes::Bytes {
    envelope.as_ref().unwrap().payload.clone()
}

async fn finish(mut lanes: JoinSet<()>) {
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
}
