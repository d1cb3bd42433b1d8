//! Handshakes under way. When all places are taken the oldest makes room, so that connections that never say
//! anything keep nobody out.

use std::{collections::VecDeque, time::Duration};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// A handshake has this long before a newer one may push it out; over a slow line it needs less.
const FAIR_TIME: Duration = Duration::from_secs(1);

pub(super) struct Handshakes {
    most: usize,
    tasks: JoinSet<()>,
    by_age: VecDeque<(Instant, AbortHandle)>,
}

impl Handshakes {
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), tasks: JoinSet::new(), by_age: VecDeque::new() }
    }

    /// Waits until there is a place: one has ended, or the oldest has had its time and is dropped.
    pub async fn room(&mut self) {
        self.forget_ended();
        while self.tasks.len() >= self.most {
            let Some((started, oldest)) = self.by_age.front() else { return };
            tokio::select! {
                _ = self.tasks.join_next() => {}
                () = sleep_until(*started + FAIR_TIME) => {
                    oldest.abort();
                    self.tasks.join_next().await;
                }
            }
            self.forget_ended();
        }
    }

    /// Begins one. Dropping `self` drops all.
    pub fn begin(&mut self, handshake: impl Future<Output = ()> + Send + 'static) {
        self.by_age.push_back((Instant::now(), self.tasks.spawn(handshake)));
    }

    fn forget_ended(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.by_age.retain(|(_, handshake)| !handshake.is_finished());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot::{Receiver, channel, error::TryRecvError};

    use super::*;

    /// A handshake that never ends, and how to see that it was dropped.
    fn endless() -> (impl Future<Output = ()> + Send + 'static, Receiver<()>) {
        let (held, dropped) = channel();
        let handshake = async move {
            let _held = held;
            pending().await
        };
        (handshake, dropped)
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let mut handshakes = Handshakes::new(2);
        let ((oldest, oldest_dropped), (younger, mut younger_dropped)) = (endless(), endless());
        handshakes.begin(oldest);
        handshakes.begin(younger);
        handshakes.room().await;
        assert!(oldest_dropped.await.is_err());
        assert_eq!(younger_dropped.try_recv(), Err(TryRecvError::Empty));
        assert_eq!((handshakes.tasks.len(), handshakes.by_age.len()), (1, 1));
    }

    #[tokio::test]
    async fn one_that_ends_makes_room_for_a_newer() {
        let mut handshakes = Handshakes::new(2);
        let (oldest, mut oldest_dropped) = endless();
        handshakes.begin(oldest);
        handshakes.begin(async {});
        handshakes.room().await;
        assert_eq!(oldest_dropped.try_recv(), Err(TryRecvError::Empty));
        assert_eq!((handshakes.tasks.len(), handshakes.by_age.len()), (1, 1));
    }
}
