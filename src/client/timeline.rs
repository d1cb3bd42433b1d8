//! Reading a document's events, each with its proof.

use super::{Client, ClientError, Patience, Terms};
use crate::{
    domain::id::{Digest, DocumentName},
    proto::{EventKind, Evidence, GetTimelineRequest, GetTimelineResponse, Receipt},
};

/// Events asked for at a time.
const PAGE: u32 = 1_000;
/// Pages read at most: a document to 20,000 recipients has some 60,000 events.
const MAX_PAGES: usize = 1_000;

/// One verified event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its proof.
    pub receipt: Receipt,
    /// What happened.
    pub evidence: Evidence,
}

/// Reads all events that we may see, page by page, and verifies each. `look` says whether to go on. Returns the
/// first page without its events: what the hub says about the document as a whole.
pub async fn read(
    client: &Client,
    terms: &Terms,
    request: GetTimelineRequest,
    patience: &Patience,
    mut look: impl FnMut(Event) -> bool,
) -> Result<GetTimelineResponse, ClientError> {
    let mut request = GetTimelineRequest { page_token: String::new(), page_size: PAGE, ..request };
    let mut first = None;
    for _ in 0..MAX_PAGES {
        let answer = patience.call(client.status(), request.clone(), |mut hub, request| async move {
            hub.get_timeline(request).await
        });
        let mut page = answer.await?.into_inner();
        for receipt in std::mem::take(&mut page.events) {
            let evidence = terms.check_following(client, &receipt).await?;
            if !look(Event { receipt, evidence }) {
                return Ok(first.unwrap_or(page));
            }
        }
        request.page_token = std::mem::take(&mut page.next_page_token);
        let head = first.get_or_insert(page);
        if request.page_token.is_empty() {
            return Ok(std::mem::take(head));
        }
    }
    Err(ClientError::answer(format!("the timeline has no end after {MAX_PAGES} pages")))
}

/// Whether the log says that this document was put at the disposal of `recipient`.
pub async fn is_consigned(
    client: &Client,
    terms: &Terms,
    name: &DocumentName,
    manifest: &Digest,
    recipient: &str,
    patience: &Patience,
) -> Result<bool, ClientError> {
    let request = GetTimelineRequest {
        document_id: name.document_id.to_string(),
        sender: name.sender.to_string(),
        revision: name.revision,
        ..GetTimelineRequest::default()
    };
    let mut found = false;
    let look = |event: Event| {
        let evidence = &event.evidence;
        found = evidence.event() == EventKind::ContentConsignment
            && super::is_about(evidence, name, Some(manifest))
            && evidence.recipients.iter().any(|party| party.agency == recipient);
        !found
    };
    read(client, terms, request, patience, look).await?;
    Ok(found)
}
