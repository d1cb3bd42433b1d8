//! Many submissions on one stream. Answers come as their commits do; the bound on work in flight holds back a fast
//! client.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::{
    grpc_status::{refuse, typed},
    intake::{Intake, stopping},
    submission::submit,
};
use crate::{
    domain::{
        id::NodeName,
        reason::{Reason, ReasonCode},
    },
    hub::{Hub, steps::TraceParent},
    proto::*,
};

/// Submissions of one stream that are worked on at the same time.
const IN_FLIGHT: usize = 256;

/// A stream whose messages find no room is not read for so long: refusing costs the hub more than asking costs a client.
const REST: Duration = Duration::from_millis(50);

type Answered = Result<SubmitStreamResponse, Status>;

/// One stream under way.
pub(super) struct SubmitStream {
    pub hub: Arc<Hub>,
    pub intake: Intake,
    pub node: NodeName,
    /// The caller's own trace.
    pub caller: Option<TraceParent>,
    pub requests: Streaming<SubmitStreamRequest>,
    /// How long answers may stay unread.
    pub patience: Duration,
    /// Nothing is read before this moment.
    pub resting: Option<Instant>,
}

/// Whether the hub had room for a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Found,
    None,
}

impl SubmitStream {
    /// Serves it; the hub waits for it when it stops.
    pub fn begin(self) -> impl Stream<Item = Answered> + Send {
        // One place more, for the last word.
        let (answers, receiver) = mpsc::channel(IN_FLIGHT + 1);
        let hub = Arc::clone(&self.hub);
        hub.spawn(self.serve(answers));
        ReceiverStream::new(receiver)
    }

    async fn serve(mut self, answers: mpsc::Sender<Answered>) {
        let last_word = answers.clone().try_reserve_owned();
        let mut work = JoinSet::new();
        let ended = loop {
            if let Err(ended) = self.step(&answers, &mut work).await {
                break ended;
            }
        };
        // What was taken is answered, whatever ended the stream.
        while !answers.is_closed() && work.join_next().await.is_some() {}
        if let (Some(status), Ok(last_word)) = (ended, last_word) {
            last_word.send(Err(status));
        }
    }

    /// The next thing that happens. The error ends the stream, with a last word or without.
    async fn step(
        &mut self,
        answers: &mpsc::Sender<Answered>,
        work: &mut JoinSet<Result<Room, Status>>,
    ) -> Result<(), Option<Status>> {
        tokio::select! {
            next = self.requests.next(), if work.len() < IN_FLIGHT && self.resting.is_none() => match next {
                Some(Ok(request)) => {
                    work.spawn(self.answer(request, answers.clone()));
                    Ok(())
                }
                // Nothing after it can be read.
                Some(Err(broken)) => Err(Some(typed(broken))),
                None => Err(None),
            },
            Some(told) = work.join_next() => {
                if told.unwrap_or(Ok(Room::Found)).map_err(Some)? == Room::None {
                    self.resting = Some(Instant::now() + REST);
                }
                Ok(())
            }
            () = sleep_until(self.resting.unwrap_or_else(Instant::now)), if self.resting.is_some() => {
                self.resting = None;
                Ok(())
            }
            () = self.hub.stopping().cancelled() => Err(Some(refuse(stopping()))),
            () = answers.closed() => Err(None),
        }
    }

    fn answer(
        &self,
        request: SubmitStreamRequest,
        answers: mpsc::Sender<Answered>,
    ) -> impl Future<Output = Result<Room, Status>> + Send + use<> {
        use submit_stream_response::Answer;

        let (hub, intake, node) = (Arc::clone(&self.hub), self.intake.clone(), self.node.clone());
        let (patience, caller) = (self.patience, self.caller);
        async move {
            let outcome = submit(&hub, &intake, &node, caller, request.request.unwrap_or_default()).await;
            let (answer, room) = match outcome {
                Ok(accepted) => {
                    (Answer::Accepted(SubmitResponse { receipt: Some(accepted.receipt) }), Room::Found)
                }
                Err(turned) => {
                    let room = if turned.is_for_want_of_room() { Room::None } else { Room::Found };
                    (Answer::Refused(turned.stream_refusal()), room)
                }
            };
            let answer = SubmitStreamResponse { tag: request.tag, answer: Some(answer) };
            tell(&answers, answer, patience).await.map(|()| room)
        }
    }
}

/// Tells an answer. A client that went away repeats and gets the same receipt; one that does not read is given up.
async fn tell(
    answers: &mpsc::Sender<Answered>,
    answer: SubmitStreamResponse,
    patience: Duration,
) -> Result<(), Status> {
    let answer = match answers.try_send(Ok(answer)) {
        Ok(()) | Err(TrySendError::Closed(_)) => return Ok(()),
        Err(TrySendError::Full(answer)) => answer,
    };
    let Ok(_gone_or_told) = tokio::time::timeout(patience, answers.send(answer)).await else {
        let detail = format!("no answer was read for {patience:?}: connect again, then repeat");
        return Err(refuse(Reason::new(ReasonCode::TooSlow, detail)));
    };
    Ok(())
}
