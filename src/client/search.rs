//! Searching the log page by page.

use super::{Client, ClientError, Patience};
use crate::proto::{EvidenceRow, SearchRequest};

/// Reads rows page by page until `look` says that it has enough, or until the end. Returns the size of the tree that the
/// first page was complete for.
pub async fn read(
    client: &Client,
    request: SearchRequest,
    patience: &Patience,
    mut look: impl FnMut(EvidenceRow) -> bool,
) -> Result<u64, ClientError> {
    let mut request = SearchRequest { page_token: String::new(), ..request };
    let mut covers = None;
    loop {
        let answer = patience.call(client.audit(), request.clone(), |mut hub, request| async move {
            hub.search(request).await
        });
        let page = answer.await?.into_inner();
        let covered = *covers.get_or_insert(page.covers);
        for row in page.rows {
            if !look(row) {
                return Ok(covered);
            }
        }
        if page.next_page_token.is_empty() {
            return Ok(covered);
        }
        if page.next_page_token == request.page_token {
            return Err(ClientError::answer("the search does not go on"));
        }
        request.page_token = page.next_page_token;
    }
}
