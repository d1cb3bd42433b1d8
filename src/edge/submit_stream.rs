//! Many submissions on one stream. Answers come as their commits do; the bound on work in flight holds back a fast
//! client.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
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
    hub::Hub,
    proto::*,
};

/// Submissions of one stream that are worked on at the same time.
const IN_FLIGHT: usize = 256;

type Answered = Result<SubmitStreamResponse, Status>;

/// One stream under way.
pub(super) struct SubmitStream {
    pub hub: Arc<Hub>,
    pub intake: Intake,
    pub node: NodeName,
    pub requests: Streaming<SubmitStreamRequest>,
    /// How long answers may stay unread.
    pub patience: Duration,
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
        work: &mut JoinSet<Result<(), Status>>,
    ) -> Result<(), Option<Status>> {
        tokio::select! {
            next = self.requests.next(), if work.len() < IN_FLIGHT => match next {
                Some(Ok(request)) => {
                    work.spawn(self.answer(request, answers.clone()));
                    Ok(())
                }
                // Nothing after it can be read.
                Some(Err(broken)) => Err(Some(typed(broken))),
                None => Err(None),
            },
            Some(told) = work.join_next() => told.unwrap_or(Ok(())).map_err(Some),
            () = self.hub.stopping().cancelled() => Err(Some(refuse(stopping()))),
            () = answers.closed() => Err(None),
        }
    }

    fn answer(
        &self,
        request: SubmitStreamRequest,
        answers: mpsc::Sender<Answered>,
    ) -> impl Future<Output = Result<(), Status>> + Send + use<> {
        use submit_stream_response::Answer;

        let (hub, intake, node) = (Arc::clone(&self.hub), self.intake.clone(), self.node.clone());
        let patience = self.patience;
        async move {
            let outcome = submit(&hub, &intake, &node, request.request.unwrap_or_default()).await;
            let answer = match outcome {
                Ok(accepted) => Answer::Accepted(SubmitResponse { receipt: Some(accepted.receipt) }),
                Err(turned) => Answer::Refused(turned.stream_refusal()),
            };
            let answer = SubmitStreamResponse { tag: request.tag, answer: Some(answer) };
            tell(&answers, answer, patience).await
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
