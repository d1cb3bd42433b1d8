//! Saying what an agency did with a document.

use prost::Message;

use super::{
    Client, ClientError, Patience, Terms,
    calendar::now,
    send::{nonce, signed},
};
use crate::{
    domain::{envelope::STATUS, id::DocumentName, signature::SigningKey},
    proto::{BusinessStatus, Evidence, Receipt, ReportRequest},
};

/// Signs a status and reports it; repeats the same bytes while the connection fails.
///
/// Nonce, origin and, where it is 0, the time are filled in. Returns the verified evidence: its event and reasons
/// tell whether the status moved the delivery, was recorded or parked.
pub async fn report(
    client: &Client,
    terms: &Terms,
    status: BusinessStatus,
    keys: &[SigningKey],
    patience: &Patience,
) -> Result<(Receipt, Evidence), ClientError> {
    let name = DocumentName::parse(&status.sender, &status.document_id, status.revision)?;
    let status = BusinessStatus {
        nonce: nonce()?.to_vec().into(),
        hub_origin: terms.origin().to_owned(),
        occurred_at_us: if status.occurred_at_us == 0 { now().0 } else { status.occurred_at_us },
        ..status
    };
    let request = ReportRequest { envelope: Some(signed(STATUS, status.encode_to_vec().into(), keys)?) };
    let answer =
        patience.call(client.status(), request, |mut hub, request| async move { hub.report(request).await });
    let receipt = answer.await?.into_inner().receipt;
    let newer = terms.newer_for(client, receipt.as_ref()).await;
    let terms = newer.as_deref().unwrap_or(terms);
    let evidence = terms.check_about(receipt.as_ref(), &name, None)?;
    Ok((receipt.unwrap_or_default(), evidence))
}
