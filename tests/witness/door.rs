//! The protocol, status by status.

use truc::tlog::{
    checkpoint::Checkpoint,
    merkle::{Edge, Growth, NodeReader, consistency_path, leaf_hash},
    witness::AddCheckpoint,
};

use super::stage::{Stage, memory, post, signer};

const ORIGIN: &str = "other.test/log";

struct Nodes(Vec<[u8; 32]>);

impl NodeReader for Nodes {
    type Error = std::convert::Infallible;
    fn node(&self, index: u64) -> Result<[u8; 32], Self::Error> {
        Ok(self.0[usize::try_from(index).unwrap()])
    }
}

/// The request of a log of `size` leaves, whose leaves from `fork` on are others.
fn request(origin: &str, old: u64, size: u64, fork: u64) -> AddCheckpoint {
    let mut growth = Growth::new(Edge::empty());
    for index in 0..size {
        growth.push(leaf_hash(format!("{index}/{}", index >= fork).as_bytes()));
    }
    let nodes = Nodes(growth.nodes().to_vec());
    let proof = consistency_path(old, size, &nodes).unwrap().unwrap_or_default();
    let head = Checkpoint { origin: origin.into(), size, root: growth.root() };
    AddCheckpoint { old, proof, note: head.sign(&signer(origin)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_holds_over_tls() {
    let mut stage = Stage::of(&signer(ORIGIN).verifier().to_string()).await;
    let ask = |old, size| request(ORIGIN, old, size, u64::MAX);

    let first = ask(0, 3);
    let (status, line) = stage.ask(&first.encode()).await;
    assert_eq!(status, 200, "{line}");
    assert!(stage.key.find(&(first.note + &line)).unwrap().unwrap().time > 1_700_000_000);
    assert_eq!(stage.ask(&ask(3, 70).encode()).await.0, 200);
    assert_eq!(stage.ask(&ask(70, 70).encode()).await.0, 200, "again, with a new time");

    assert_eq!(stage.ask(&ask(0, 80).encode()).await, (409, "70\n".into()));
    assert_eq!(stage.ask(&ask(3, 60).encode()).await, (409, "70\n".into()), "back");
    let other = request(ORIGIN, 70, 70, 69);
    assert_eq!(stage.ask(&other.encode()).await, (409, "70\n".into()), "another tree of this size");
    assert_eq!(stage.ask(&request(ORIGIN, 70, 90, 40).encode()).await.0, 422);
    assert_eq!(stage.ask(&AddCheckpoint { old: 91, ..ask(70, 90) }.encode()).await.0, 400);
    assert_eq!(stage.ask("old 0\n").await.0, 400);
    assert_eq!(stage.ask(&request("third.test/log", 0, 3, 9).encode()).await.0, 404);
    let forged = AddCheckpoint { note: ask(70, 90).note.replace("\n90\n", "\n91\n"), ..ask(70, 90) };
    assert_eq!(stage.ask(&forged.encode()).await.0, 403);
    assert_eq!(stage.ask(&"x".repeat(70_000)).await.0, 413);
    assert!(stage.site().get("add-checkpoint", 1000).await.is_err(), "only POST");
    assert!(stage.site().get("checkpoint", 1000).await.unwrap().is_some(), "the log is served as before");

    stage.restart().await;
    assert_eq!(stage.ask(&ask(0, 80).encode()).await, (409, "70\n".into()), "remembered");
    assert_eq!(stage.ask(&request(ORIGIN, 70, 90, 40).encode()).await.0, 422);
    assert_eq!(stage.ask(&ask(70, 90).encode()).await.0, 200);
    assert!(std::fs::read_to_string(memory(&stage.rig.dir.path().join("hub"))).unwrap().contains("\n90\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_at_the_same_time_one_wins() {
    let stage = Stage::of(&signer(ORIGIN).verifier().to_string()).await;
    assert_eq!(stage.ask(&request(ORIGIN, 0, 5, u64::MAX).encode()).await.0, 200);
    for round in 0..8 {
        let old = 5 + round * 4;
        let (left, right) =
            (request(ORIGIN, old, old + 4, u64::MAX), request(ORIGIN, old, old + 3, u64::MAX));
        let (mut one, mut two) = (stage.site(), stage.site());
        let (left, right) = (left.encode(), right.encode());
        let (left, right) = tokio::join!(post(&mut one, &left), post(&mut two, &right));
        let mut statuses = [left.0, right.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        if right.0 == 200 {
            let on = request(ORIGIN, old + 3, old + 4, u64::MAX);
            assert_eq!(stage.ask(&on.encode()).await.0, 200);
        }
    }
}
