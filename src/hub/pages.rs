//! Long answers for one caller, told page by page: read where the disk may be waited for, at most a few pages ahead of who
//! reads them, and given up when nobody does.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::refused::{self, Refused, blocking};

/// Pages that wait for the client.
const AHEAD: usize = 2;
/// A client that leaves a page unread for so long is let go.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer that is read piece by piece.
pub(super) trait Pages: Send + 'static {
    /// One piece.
    type Page: Send + 'static;

    /// The next page; `None` at the end. May wait for the disk.
    fn page(&mut self) -> Result<Option<Self::Page>, Refused>;
}

/// A page, or why there is none.
pub(super) type Told<T> = Result<T, Refused>;

/// Both ends of an answer: one place more than pages wait, for the last word.
pub(super) fn channel<T>() -> (mpsc::Sender<Told<T>>, mpsc::Receiver<Told<T>>) {
    mpsc::channel(AHEAD + 1)
}

/// Tells all pages. Ends with an error if one can't be read, with the hub, or when the client does not read.
pub(super) async fn tell<P: Pages>(
    mut pages: P,
    stopping: CancellationToken,
    sender: mpsc::Sender<Told<P::Page>>,
) {
    loop {
        let read = blocking(move || {
            let page = pages.page();
            (pages, page)
        });
        let page = match read.await {
            Ok((rest, page)) => {
                pages = rest;
                page.transpose()
            }
            Err(refused) => return drop(sender.try_send(Err(refused))),
        };
        let Some(page) = page else { return };
        let last = page.is_err();
        let sent = tokio::select! {
            biased;
            sent = sender.send(page) => sent.map_err(|_| None),
            () = stopping.cancelled() => Err(Some(refused::stopping())),
            () = tokio::time::sleep(PATIENCE) => Err(Some(refused::unread(PATIENCE))),
        };
        match sent {
            Ok(()) if !last => {}
            Ok(()) | Err(None) => return,
            Err(Some(refused)) => return drop(sender.try_send(Err(refused))),
        }
    }
}
