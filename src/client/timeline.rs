//! Everything that happened to one document, page by page.

use tonic::Status;

use super::Client;
use crate::proto::{GetTimelineRequest, GetTimelineResponse};

/// Events of one page: a receipt has about 2 KiB, so a page fits into a message many times.
const PAGE: u32 = 500;

/// Which document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The sender's id for it.
    pub document_id: String,
    /// Needed only where two agencies use the same id; else empty.
    pub sender: String,
    /// 0 for the first issue.
    pub revision: u64,
}

/// A timeline that is read page by page, so that a circular's does not have to fit into memory.
pub struct Timeline {
    client: Client,
    wanted: Wanted,
    token: Option<String>,
}

impl Timeline {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: &Client, wanted: Wanted) -> Self {
        Self { client: client.clone(), wanted, token: Some(String::new()) }
    }

    /// The next page; `None` after the last. A hub that names the same page twice is refused.
    pub async fn next(&mut self) -> Result<Option<GetTimelineResponse>, Status> {
        let Some(token) = self.token.take() else { return Ok(None) };
        let request = GetTimelineRequest {
            document_id: self.wanted.document_id.clone(),
            sender: self.wanted.sender.clone(),
            revision: self.wanted.revision,
            page_token: token.clone(),
            page_size: PAGE,
        };
        let page = self.client.status().get_timeline(request).await?.into_inner();
        if page.next_page_token == token && !token.is_empty() {
            return Err(Status::internal("the hub answers the same page again and again"));
        }
        self.token = Some(page.next_page_token.clone()).filter(|token| !token.is_empty());
        Ok(Some(page))
    }
}
