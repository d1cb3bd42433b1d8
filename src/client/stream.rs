//! Handing in many documents over one call: far cheaper per document than a call for each.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Client, ClientError};
use crate::proto::{
    Receipt, StreamRefusal, SubmitRequest, SubmitStreamRequest, SubmitStreamResponse, submit_stream_response,
};

/// The half that hands in. Dropping it ends the call when everything was answered.
#[derive(Clone, Debug)]
pub struct Requests(mpsc::Sender<SubmitStreamRequest>);

/// The half that is answered, in the order of the hub's commits.
#[derive(Debug)]
pub struct Answers(Streaming<SubmitStreamResponse>);

/// What the hub says to one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is durable; the receipt is not verified yet: [`Terms::check_following`](super::Terms::check_following).
    Accepted(Receipt),
    /// It is not taken; the stream goes on.
    Refused(StreamRefusal),
}

impl Client {
    /// Opens a stream of submissions; at most `ahead` requests wait for the connection.
    pub async fn submit_stream(&self, ahead: usize) -> Result<(Requests, Answers), Status> {
        let (requests, receiver) = mpsc::channel(ahead.max(1));
        let answers = self.submission().submit_stream(ReceiverStream::new(receiver)).await?;
        Ok((Requests(requests), Answers(answers.into_inner())))
    }
}

impl Requests {
    /// Hands in one request under a tag that its answer will carry. False when the stream has ended: the other half
    /// tells why, and what is not answered has to be handed in again.
    pub async fn send(&self, tag: u64, request: SubmitRequest) -> bool {
        self.0.send(SubmitStreamRequest { tag, request: Some(request) }).await.is_ok()
    }
}

impl Answers {
    /// The next answer with its request's tag; `None` when the hub has answered everything.
    pub async fn next(&mut self) -> Result<Option<(u64, Answer)>, ClientError> {
        let Some(said) = self.0.message().await? else { return Ok(None) };
        let answer = match said.answer {
            Some(submit_stream_response::Answer::Accepted(accepted)) => {
                accepted.receipt.map(Answer::Accepted)
            }
            Some(submit_stream_response::Answer::Refused(refused)) => Some(Answer::Refused(refused)),
            None => None,
        };
        let answer =
            answer.ok_or_else(|| ClientError::answer(format!("answer {}: it is empty", said.tag)))?;
        Ok(Some((said.tag, answer)))
    }
}
