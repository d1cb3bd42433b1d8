//! What has arrived of a message that is not whole yet: it counts as memory of its sender, and a sender that does not
//! go on with it is given up.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};
use tonic::{Status, body::Body, codegen::Bytes};

use super::{caller::Identity, gate::Memory, grpc_status::refuse, shares::Share};
use crate::domain::reason::{Reason, ReasonCode};

/// Memory is counted in steps, so that small messages and small frames cost nothing.
const STEP: usize = 64 * 1024;
/// Flag and length before each message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// A request's body.
pub struct Measured {
    body: Body,
    framing: Framing,
    held: Option<Share<Identity>>,
    memory: Memory,
    caller: Identity,
    patience: Duration,
    /// Runs while the sender owes something.
    clock: Option<Pin<Box<Sleep>>>,
    /// Nothing has come, and something must.
    owes_first: bool,
}

impl Measured {
    /// Measures a caller's body. `waits_for_first` says that a first message is due at once.
    #[must_use]
    pub fn new(
        body: Body,
        memory: Memory,
        caller: Identity,
        patience: Duration,
        waits_for_first: bool,
    ) -> Self {
        let framing = Framing::default();
        Self { body, framing, held: None, memory, caller, patience, clock: None, owes_first: waits_for_first }
    }

    fn count(&mut self, data: &[u8]) -> Result<(), Status> {
        self.owes_first = false;
        self.framing.feed(data);
        let needed = self.framing.unfinished().next_multiple_of(STEP);
        if self.framing.unfinished() < STEP {
            // A small rest of a large message that was taken out.
            self.held = None;
            return Ok(());
        }
        match &mut self.held {
            Some(held) => held.grow_to(needed).map_err(refuse),
            None => {
                self.held = Some(self.memory.take_many(&self.caller, needed).map_err(refuse)?);
                Ok(())
            }
        }
    }

    /// Ready when the sender kept the hub waiting for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if !self.owes_first && self.framing.unfinished() == 0 {
            return Poll::Pending;
        }
        let patience = self.patience;
        let clock = self.clock.get_or_insert_with(|| Box::pin(sleep(patience)));
        std::task::ready!(clock.as_mut().poll(cx));
        let detail = format!("nothing came of a message for {patience:?}");
        Poll::Ready(refuse(Reason::new(ReasonCode::TooSlow, detail)))
    }
}

impl http_body::Body for Measured {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.framing.unfinished() == 0 {
            // Asked for more: the message before was taken over.
            this.held = None;
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            return this.poll_patience(cx).map(|too_slow| Some(Err(too_slow)));
        };
        if let Some(clock) = &mut this.clock {
            clock.as_mut().reset(Instant::now() + this.patience);
        }
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref())
            && let Err(full) = this.count(data)
        {
            return Poll::Ready(Some(Err(full)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where a body stands within its messages.
#[derive(Default)]
struct Framing {
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    begun: usize,
    /// Bytes of the message that are missing, once its prefix is whole.
    missing: usize,
    /// Bytes of the message that are there.
    there: usize,
}

impl Framing {
    fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            data = if self.missing > 0 { self.message(data) } else { self.prefix(data) };
        }
    }

    fn prefix<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = data.split_at(data.len().min(PREFIX - self.begun));
        self.prefix[self.begun..][..taken.len()].copy_from_slice(taken);
        self.begun += taken.len();
        if self.begun == PREFIX {
            let [_, length @ ..] = self.prefix;
            self.missing = u32::from_be_bytes(length) as usize;
            self.begun = 0;
        }
        rest
    }

    fn message<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = data.split_at(data.len().min(self.missing));
        self.missing -= taken.len();
        self.there = if self.missing == 0 { 0 } else { self.there + taken.len() };
        rest
    }

    /// Bytes of a message that is not whole; at least one as soon as it was begun.
    fn unfinished(&self) -> usize {
        let announced = if self.missing > 0 { PREFIX } else { 0 };
        self.begun + announced + self.there
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::id::NodeName, edge::caller::Role};

    fn caller() -> Identity {
        Identity { role: Role::Node(NodeName::parse("a").expect("legal")) }
    }

    #[test]
    fn any_cut_of_the_bytes_gives_the_same() {
        let mut bytes = Vec::new();
        for len in [0_u32, 1, 7, 300, 0, 5] {
            bytes.push(0);
            bytes.extend(len.to_be_bytes());
            bytes.extend(vec![7; len as usize]);
        }
        let mut ends = Vec::new();
        let mut framing = Framing::default();
        for (at, byte) in bytes.iter().enumerate() {
            framing.feed(std::slice::from_ref(byte));
            if framing.unfinished() == 0 {
                ends.push(at + 1);
            }
        }
        assert_eq!(ends, [5, 11, 23, 328, 333, 343]);
        for cut in 0..bytes.len() {
            let mut framing = Framing::default();
            framing.feed(&bytes[..cut]);
            assert_eq!(framing.unfinished() == 0, cut == 0 || ends.contains(&cut), "{cut}");
            framing.feed(&bytes[cut..]);
            assert_eq!(framing.unfinished(), 0, "{cut}");
        }
    }

    /// A body of these frames that then goes on for ever.
    struct Frames(Vec<Bytes>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            if self.0.is_empty() {
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(Frame::data(self.0.remove(0)))))
        }
    }

    fn half(len: usize, there: usize) -> Vec<Bytes> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(len).expect("short").to_be_bytes());
        bytes.extend(vec![7; there]);
        Bytes::from(bytes).chunks(16 * 1024).map(Bytes::copy_from_slice).collect()
    }

    fn measured(frames: Vec<Bytes>, memory: &Memory, first: bool) -> Measured {
        let patience = Duration::from_millis(5);
        Measured::new(Body::new(Frames(frames)), memory.clone(), caller(), patience, first)
    }

    async fn next(body: &mut Measured) -> Result<usize, Status> {
        let frame = std::future::poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *body), cx)).await;
        frame.expect("a frame").map(|frame| frame.data_ref().map_or(0, Bytes::len))
    }

    fn code(status: &Status) -> String {
        use tonic_types::StatusExt;
        status.get_details_error_info().expect("typed").reason
    }

    #[tokio::test]
    async fn what_is_not_whole_counts_until_it_is() {
        let memory = Memory::new("bytes", usize::MAX, 1 << 20);
        let mut frames = half(300_000, 300_000);
        frames.extend(half(10, 5));
        let mut body = measured(frames, &memory, true);
        let mut most = 0;
        for _ in 0..20 {
            next(&mut body).await.expect("room");
            most = most.max(memory.in_use());
        }
        assert_eq!((most, memory.in_use()), (5 * STEP, 0));
        assert_eq!(code(&next(&mut body).await.expect_err("the rest never comes")), "TOO_SLOW");
    }

    #[tokio::test]
    async fn what_has_no_room_is_refused_and_gives_back_its_room() {
        let memory = Memory::new("bytes", usize::MAX, 1 << 20);
        let mut bodies: Vec<_> = (0..8).map(|_| measured(half(8 << 20, 200_000), &memory, true)).collect();
        let mut refused = 0;
        for body in &mut bodies {
            loop {
                match next(body).await {
                    Ok(_) => {}
                    Err(status) if code(&status) == "TOO_SLOW" => break,
                    Err(status) => {
                        assert_eq!(code(&status), "BUSY");
                        refused += 1;
                        break;
                    }
                }
            }
        }
        assert!(memory.in_use() <= 1 << 19, "{}", memory.in_use());
        assert!(refused >= 5, "{refused}");
        drop(bodies);
        assert_eq!(memory.in_use(), 0);
    }

    #[tokio::test]
    async fn only_who_owes_something_is_given_up() {
        let memory = Memory::new("bytes", usize::MAX, 1 << 20);
        let mut silent = measured(Vec::new(), &memory, true);
        assert_eq!(code(&next(&mut silent).await.expect_err("no message")), "TOO_SLOW");
        let mut frames = half(3, 3);
        frames.retain(|frame| !frame.is_empty());
        for (frames, first) in [(Vec::new(), false), (frames, true)] {
            let mut idle = measured(frames, &memory, first);
            let waits = async { while next(&mut idle).await.is_ok() {} };
            tokio::time::timeout(Duration::from_millis(50), waits).await.expect_err("it may be silent");
        }
    }
}
