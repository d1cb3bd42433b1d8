//! Our signed word about a document: made once, handed in until the hub has answered it.

use prost::Message;

use super::{Desk, Opened, Taken, blocking};
use crate::{
    client::{
        ClientError,
        calendar::now,
        folder::{self, Folder},
        refusal::Refusal,
        send::signed,
    },
    domain::{envelope::RECEIPT, reason::ReasonCode, signature::SigningKey},
    proto::{AcknowledgeRequest, EventKind, Offer, Outcome, Receipt, RecipientReceipt, SignedEnvelope},
};

impl Desk {
    /// Hands in again what a crash left without an answer: the document lies here, our receipt for it is signed, and
    /// only the hub's proof is missing. Answers with each document, or why the hub does not take it any more.
    pub async fn settle(&self) -> Vec<Result<Taken, ClientError>> {
        let roots: Vec<_> = self.keys.keys().map(|agency| self.folder.join(agency.as_str())).collect();
        let find = blocking(move || {
            Ok(roots.iter().map(|root| Folder::unsettled(root)).collect::<Result<Vec<_>, _>>()?.concat())
        });
        let folders = match find.await {
            Ok(folders) => folders,
            Err(error) => return vec![Err(error)],
        };
        let mut settled = Vec::new();
        for folder in folders {
            settled.push(self.settle_one(folder).await);
        }
        settled
    }

    async fn settle_one(&self, folder: Folder) -> Result<Taken, ClientError> {
        let damaged = |_| ClientError::answer(format!("{}: can't be read", folder.path().display()));
        let envelope = SignedEnvelope::decode(folder.read(folder::ENVELOPE)?.as_slice()).map_err(damaged)?;
        let ours = SignedEnvelope::decode(folder.read(folder::RECEIPT)?.as_slice()).map_err(damaged)?;
        let said = RecipientReceipt::decode(ours.payload.clone()).map_err(damaged)?;
        let offer = Offer { recipient: said.recipient, envelope: Some(envelope), ..Offer::default() };
        let opened = Opened::read(offer)?;
        match self.hand_in(&opened, Outcome::Accepted, ours).await {
            Ok(receipt) => self.close(&opened, folder, receipt).await,
            Err(error) if has_ended(&error) => {
                blocking(move || folder.remove(folder::RECEIPT)).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Signs for a document that is safe now, and keeps the hub's proof beside it.
    pub(super) async fn accept(
        &self,
        opened: &Opened,
        keys: &[SigningKey],
        folder: Folder,
    ) -> Result<Taken, ClientError> {
        let ours = self.sign_receipt(opened, keys, Outcome::Accepted, "")?;
        let (kept, bytes) = (folder.clone(), ours.encode_to_vec());
        blocking(move || kept.put(&[(folder::RECEIPT, &bytes)])).await?;
        let receipt = self.hand_in(opened, Outcome::Accepted, ours).await?;
        self.close(opened, folder, receipt).await
    }

    /// Signs for a test document: that it came is all there is to it.
    pub(super) async fn accept_test(
        &self,
        opened: &Opened,
        keys: &[SigningKey],
    ) -> Result<Taken, ClientError> {
        let ours = self.sign_receipt(opened, keys, Outcome::Accepted, "")?;
        let receipt = self.hand_in(opened, Outcome::Accepted, ours).await?;
        Ok(opened.taken(Outcome::Accepted, String::new(), receipt))
    }

    /// Signs that we don't take a document.
    pub(super) async fn refuse(
        &self,
        opened: &Opened,
        keys: &[SigningKey],
        reason: String,
    ) -> Result<Taken, ClientError> {
        let reason: String = reason.chars().take(500).collect();
        let ours = self.sign_receipt(opened, keys, Outcome::Refused, &reason)?;
        let receipt = self.hand_in(opened, Outcome::Refused, ours).await?;
        Ok(opened.taken(Outcome::Refused, reason, receipt))
    }

    async fn close(&self, opened: &Opened, folder: Folder, receipt: Receipt) -> Result<Taken, ClientError> {
        let mut taken = opened.taken(Outcome::Accepted, String::new(), receipt);
        taken.repeat = folder.is_complete();
        taken.folder = Some(folder.path().to_owned());
        let (bytes, log_keys) = (taken.receipt.encode_to_vec(), self.terms.log_keys());
        blocking(move || {
            // The log's key may have changed since the document came.
            if !log_keys.is_empty() {
                folder.put(&[(folder::LOG_KEYS, log_keys.as_bytes())])?;
            }
            folder.put(&[(folder::HANDOVER, &bytes)])?;
            // The proof holds our signed receipt too: no second, unproven copy stays behind.
            folder.remove(folder::RECEIPT)
        })
        .await?;
        Ok(taken)
    }

    fn sign_receipt(
        &self,
        opened: &Opened,
        keys: &[SigningKey],
        outcome: Outcome,
        reason: &str,
    ) -> Result<SignedEnvelope, ClientError> {
        let receipt = RecipientReceipt {
            document_id: opened.name.document_id.to_string(),
            sender: opened.name.sender.to_string(),
            revision: opened.name.revision,
            manifest_sha256: opened.manifest_sha256.to_bytes(),
            recipient: opened.recipient.to_string(),
            outcome: outcome.into(),
            reason: reason.to_owned(),
            received_at_us: now().0,
            hub_origin: self.terms.origin().to_owned(),
        };
        Ok(signed(RECEIPT, receipt.encode_to_vec().into(), keys)?)
    }

    /// Repeats the same bytes while the connection fails; verifies the answer.
    async fn hand_in(
        &self,
        opened: &Opened,
        outcome: Outcome,
        ours: SignedEnvelope,
    ) -> Result<Receipt, ClientError> {
        let request = AcknowledgeRequest { envelope: Some(ours) };
        let answer = self.patience.call(self.client.delivery(), request, |mut hub, request| async move {
            hub.acknowledge(request).await
        });
        let receipt = answer.await?.into_inner().receipt;
        let (name, sha256) = (&opened.name, &opened.manifest_sha256);
        let newer = self.terms.newer_for(&self.client, receipt.as_ref()).await;
        let terms = newer.as_deref().unwrap_or(&self.terms);
        let evidence = terms.check_about(receipt.as_ref(), name, Some(sha256))?;
        let expected = match outcome {
            Outcome::Accepted => EventKind::ContentHandover,
            _ => EventKind::ConsignmentRejection,
        };
        let for_us = evidence.recipients.iter().any(|party| party.agency == opened.recipient.as_str());
        if evidence.event() != expected || !for_us {
            let event = evidence.event().as_str_name();
            return Err(ClientError::answer(format!("the hub's answer is evidence of {event}")));
        }
        Ok(receipt.unwrap_or_default())
    }
}

/// The delivery ended without us.
fn has_ended(error: &ClientError) -> bool {
    let ClientError::Call(status) = error else { return false };
    matches!(Refusal::of(status).code(), Some(ReasonCode::AlreadyFinal | ReasonCode::DeadlinePassed))
}
