//! The recipients: they take what is offered and sign for it.

use std::sync::Arc;

use prost::Message;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{check::Check, load::Run, world::Office};
use crate::{
    cli::Failure,
    client::{calendar, refusal::Refusal},
    domain::{
        envelope::{self, RECEIPT},
        id::Digest,
    },
    proto::{
        AcknowledgeRequest, DeliverRequest, DeliverResponse, EventKind, Hello, Manifest, Offer, Outcome,
        RecipientReceipt, SignedEnvelope, deliver_request, deliver_response,
    },
};

/// Offers that may be unanswered in a session; the hub's own bound may be lower.
const CREDIT: u32 = 256;
/// Credit goes back in such portions.
const PORTION: u32 = 32;
/// Steps that wait for the connection.
const STEPS: usize = 512;

/// Starts a session for each office.
pub async fn start(run: &Arc<Run>, offices: &[Arc<Office>], work: &mut JoinSet<()>) -> Result<(), Failure> {
    for office in offices {
        let (steps, receiver) = mpsc::channel(STEPS);
        for step in [deliver_request::Step::Hello(Hello::default()), deliver_request::Step::Credit(CREDIT)] {
            // Both fit into a fresh channel.
            let _ = steps.send(DeliverRequest { step: Some(step) }).await;
        }
        let said = office.client.delivery().deliver(ReceiverStream::new(receiver)).await?.into_inner();
        let check = run.check();
        let session = Session { run: Arc::clone(run), office: Arc::clone(office), steps, check, answered: 0 };
        work.spawn(session.run(said));
    }
    Ok(())
}

struct Session {
    run: Arc<Run>,
    office: Arc<Office>,
    steps: mpsc::Sender<DeliverRequest>,
    check: Check,
    /// Offers that were answered since credit was given back.
    answered: u32,
}

impl Session {
    async fn run(mut self, mut said: Streaming<DeliverResponse>) {
        let end = self.run.end.clone();
        let ended = end.run_until_cancelled(self.listen(&mut said)).await;
        if let Some(Err(problem)) = ended {
            self.run.broke(format!("a session: {problem}"));
        }
    }

    async fn listen(&mut self, said: &mut Streaming<DeliverResponse>) -> Result<(), String> {
        use deliver_response::Step;

        while let Some(said) = said.message().await.map_err(|status| status.to_string())? {
            match said.step {
                Some(Step::Offer(offer)) => self.take(offer).await,
                Some(Step::Acknowledged(answer)) => self.proven(&answer.receipt.unwrap_or_default()),
                Some(Step::Refused(refused)) => {
                    let refusal = refused.refusal.unwrap_or_default();
                    let code = Refusal::of_stream(&refusal).code();
                    let code = code.map_or("UNSPECIFIED", |code| code.as_str_name());
                    self.run.tally.problem(format!("a receipt was refused with {code}: {}", refusal.message));
                }
                Some(Step::Welcome(_) | Step::Extended(_)) | None => {}
                Some(Step::Goodbye(_)) => break,
            }
        }
        Err("the hub ended it".into())
    }

    /// Checks what came and signs for it. What is wrong stays unanswered, and is reported.
    async fn take(&mut self, offer: Offer) {
        match self.sign(offer) {
            Ok(envelope) => {
                let step = AcknowledgeRequest { envelope: Some(envelope) };
                self.say(deliver_request::Step::Acknowledge(step)).await;
            }
            Err(problem) => self.run.wrong(format!("an offer: {problem}")),
        }
        self.answered += 1;
        if self.answered == PORTION {
            self.answered = 0;
            self.say(deliver_request::Step::Credit(PORTION)).await;
        }
    }

    fn sign(&mut self, offer: Offer) -> Result<SignedEnvelope, String> {
        let seat = self.office.seat(&offer.recipient).ok_or("for nobody here")?;
        let envelope = offer.envelope.ok_or("no envelope")?;
        let manifest = Manifest::decode(envelope.payload.clone()).map_err(|error| error.to_string())?;
        let sha256 = Digest::of(&envelope.payload);
        let acceptance = offer.acceptance.unwrap_or_default();
        self.check.proves(&acceptance, EventKind::SubmissionAcceptance, &sha256)?;
        self.check.signature(Some(&envelope), &self.run.keys, &manifest.sender)?;
        let receipt = RecipientReceipt {
            document_id: manifest.document_id,
            sender: manifest.sender,
            revision: manifest.revision,
            manifest_sha256: sha256.to_bytes(),
            recipient: offer.recipient,
            outcome: Outcome::Accepted.into(),
            reason: String::new(),
            received_at_us: calendar::now().0,
            hub_origin: self.run.terms.origin().to_owned(),
        };
        Ok(envelope::sign(RECEIPT, receipt.encode_to_vec().into(), &[&seat.key]))
    }

    fn proven(&mut self, receipt: &crate::proto::Receipt) {
        match self.check.read(receipt) {
            Ok(evidence) if evidence.event() == EventKind::ContentHandover => {}
            Ok(evidence) => self.run.wrong(format!("a handover: {}", evidence.event().as_str_name())),
            Err(problem) => self.run.wrong(format!("a handover: {problem}")),
        }
    }

    async fn say(&self, step: deliver_request::Step) {
        // A closed stream tells why it closed when it is read.
        let _ = self.steps.send(DeliverRequest { step: Some(step) }).await;
    }
}
