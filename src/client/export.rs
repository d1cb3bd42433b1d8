//! An export of evidence with what proves it, item by item.

use std::vec::IntoIter;

use super::{Client, ClientError, Patience};
use crate::proto::{ExportHead, ExportItem, ExportRequest, ExportResponse, export_item::Item};

/// Items behind the head.
pub struct Items {
    pages: tonic::Streaming<ExportResponse>,
    page: IntoIter<ExportItem>,
}

/// Begins an export. Nothing is verified.
pub async fn read(client: &Client, request: ExportRequest) -> Result<(ExportHead, Items), ClientError> {
    let patience = Patience::default();
    let begun =
        patience.call(client.audit(), request, |mut hub, request| async move { hub.export(request).await });
    let mut items = Items { pages: begun.await?.into_inner(), page: Vec::new().into_iter() };
    match items.next().await?.and_then(|item| item.item) {
        Some(Item::Head(head)) => Ok((head, items)),
        _ => Err(ClientError::answer("the export does not begin with its head")),
    }
}

impl Items {
    /// The next item; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<ExportItem>, ClientError> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            let Some(page) = self.pages.message().await? else { return Ok(None) };
            self.page = page.items.into_iter();
        }
    }
}
