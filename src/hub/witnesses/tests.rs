use std::collections::VecDeque;

use super::{ask::Trouble, *};
use crate::tlog::{Hash, cosignature::Cosigner, note::Signer, witness::AddCheckpoint};

/// A witness that gives these answers, and remembers what it was asked.
struct Scripted {
    answers: VecDeque<Result<(u16, String), String>>,
    asked: Arc<Mutex<Vec<u64>>>,
}

impl Wire for Scripted {
    fn post(&mut self, body: String) -> Posted<'_> {
        self.asked.lock().unwrap().push(AddCheckpoint::parse(&body).unwrap().old);
        let answer = self.answers.pop_front().unwrap_or_else(|| Err("nothing more to say".into()));
        Box::pin(async move { answer })
    }
}

/// A log of so many leaves whose proofs are empty.
struct Log(u64);

impl Asked for Log {
    async fn consistency(&self, _: u64, _: u64) -> Option<Vec<Hash>> {
        Some(Vec::new())
    }

    fn size(&self) -> u64 {
        self.0
    }
}

fn cosigner() -> Cosigner {
    Cosigner::from_seed("w.test", &[1; 32]).unwrap()
}

fn head(size: u64) -> Checkpoint {
    Checkpoint { origin: "hub.test/log".into(), size, root: [3; 32] }
}

fn signed(size: u64) -> String {
    head(size).sign(&Signer::from_seed("hub.test/log", &[7; 32]).unwrap())
}

fn line(size: u64) -> String {
    cosigner().cosign(&head(size).text(), 5)
}

/// Asks about a head of 9 leaves of a log of 10; the outcome, and the old sizes that were sent.
async fn ask(answers: Vec<Result<(u16, String), String>>) -> (Outcome, Vec<u64>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let wire = Scripted { answers: answers.into(), asked: Arc::clone(&asked) };
    let mut peer = Peer::new(cosigner().verifier(), "https://w.test".into(), Box::new(wire));
    let outcome = peer.ask(&Log(10), &signed(9), 9, Duration::ZERO).await;
    assert_eq!(peer.may_be_asked(Duration::from_secs(1)), outcome.is_ok(), "who fails rests");
    let asked = asked.lock().unwrap().clone();
    (outcome, asked)
}

#[tokio::test]
async fn a_cosignature_is_taken_and_the_size_is_learnt() {
    assert_eq!(ask(vec![Ok((200, line(9)))]).await, (Ok(line(9)), vec![0]));
    let learnt = ask(vec![Ok((409, "4\n".into())), Ok((200, line(9)))]).await;
    assert_eq!(learnt, (Ok(line(9)), vec![0, 4]));
    let strangers = Cosigner::from_seed("other.test", &[2; 32]).unwrap().cosign(&head(9).text(), 5);
    assert_eq!(ask(vec![Ok((200, strangers + &line(9)))]).await.0, Ok(line(9)));
}

#[tokio::test]
async fn every_way_to_fail_has_its_name() {
    let forked = |answers| async move { ask(answers).await.0.unwrap_err() };
    assert_eq!(forked(vec![Ok((409, "11\n".into()))]).await, Trouble::Ahead(11));
    assert_eq!(forked(vec![Ok((409, "0\n".into()))]).await, Trouble::OtherHistory(0));
    let two = vec![Ok((409, "4\n".into())), Ok((422, "no\n".into()))];
    assert_eq!(forked(two).await, Trouble::OtherHistory(4));
    for answers in [
        vec![Err("nobody".into())],
        vec![Ok((200, line(8)))],
        vec![Ok((200, String::new()))],
        vec![Ok((200, "nonsense".into()))],
        vec![Ok((409, "many\n".into()))],
        vec![Ok((503, "busy\n".into()))],
        vec![Ok((409, "1\n".into())), Ok((409, "2\n".into())), Ok((409, "3\n".into()))],
    ] {
        let trouble = forked(answers.clone()).await;
        assert!(matches!(trouble, Trouble::Away(_)) && !trouble.is_fork(), "{answers:?}: {trouble}");
    }
    for status in [400, 403, 404, 422] {
        assert!(matches!(forked(vec![Ok((status, String::new()))]).await, Trouble::Refused(_)), "{status}");
    }
}

fn witnesses(dir: &Path, clock: &Clock, quorum: usize) -> Witnesses {
    let state = |key: WitnessKey| State { key, url: String::new(), size: 0, at: None, trouble: None };
    let second = Cosigner::from_seed("w2.test", &[2; 32]).unwrap();
    Witnesses {
        rounds: Rounds { every: Duration::from_secs(3), alarm: Duration::from_secs(60), quorum },
        clock: clock.clone(),
        began: clock.now(),
        kept: Witnessed::open(dir).unwrap(),
        newest: Mutex::default(),
        states: Mutex::new(vec![state(cosigner().verifier()), state(second.verifier())]),
        shown: AtomicU64::new(0),
    }
}

#[test]
fn a_head_is_kept_once_enough_cosigned_it() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Timestamp(1)));
    let witnesses = witnesses(folder.path(), &clock, 2);
    let away = || Err(Trouble::Away("nobody".into()));
    witnesses.take(&signed(9), 9, &[(0, Ok(line(9))), (1, away())]);
    assert!(witnesses.newest().is_none(), "one of two");
    witnesses.take(&signed(9), 9, &[(0, Ok(line(9))), (1, Ok("— x\n".into()))]);
    let head = witnesses.newest().unwrap();
    assert_eq!(head.note(), signed(9) + &line(9) + "— x\n");
    assert_eq!(witnesses.kept.last("hub.test/log").unwrap(), Some(head.note()));
    witnesses.take(&signed(12), 12, &[(0, away()), (1, away())]);
    assert_eq!(witnesses.newest().unwrap().size, 9);
}

#[test]
fn what_is_shown_never_goes_back() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Timestamp(1)));
    let witnesses = witnesses(folder.path(), &clock, 1);
    assert_eq!(witnesses.choose(signed(5), 5), signed(5));
    witnesses.take(&signed(9), 9, &[(0, Ok(line(9)))]);
    let cosigned = signed(9) + &line(9);
    assert_eq!(witnesses.choose(signed(9), 9), cosigned);
    assert_eq!(witnesses.choose(signed(11), 11), cosigned, "a moment older, and cosigned");
    clock.advance_us(31_000_000);
    assert_eq!(witnesses.choose(signed(12), 12), signed(12), "no witness for long");
    witnesses.take(&signed(11), 11, &[(0, Ok(line(11)))]);
    assert_eq!(witnesses.choose(signed(13), 13), signed(13), "11 after 12 would be a step back");
}

#[test]
fn silence_raises_an_alarm_after_its_time_and_a_fork_at_once() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Timestamp(1)));
    let witnesses = witnesses(folder.path(), &clock, 1);
    let both = |one: Outcome, two: Outcome| witnesses.take(&signed(9), 9, &[(0, one), (1, two)]);
    both(Ok(line(9)), Err(Trouble::Away("nobody".into())));
    assert_eq!(witnesses.alarm(), None);
    clock.advance_us(61_000_000);
    both(Ok(line(9)), Err(Trouble::Away("nobody".into())));
    assert!(witnesses.alarm().unwrap().starts_with("w2.test: can't be asked"));
    assert_eq!(witnesses.told().iter().map(|state| state.alarm).collect::<Vec<_>>(), [false, true]);
    both(Err(Trouble::OtherHistory(4)), Ok("— x\n".into()));
    assert!(witnesses.alarm().unwrap().contains("another history of 4 leaves"));
    both(Ok(line(9)), Ok("— x\n".into()));
    assert_eq!(witnesses.alarm(), None);
}
