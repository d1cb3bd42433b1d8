//! Everything at once, until the hub is gone.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{Outside, operate, receive, send};

/// The load while it runs.
pub struct Load(JoinSet<()>);

impl Outside {
    /// Starts the mixed load; each part ends when the hub does not answer any more.
    pub async fn load(self: &Arc<Self>) -> Load {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        let [tavan, sapa, laocai, bacha] =
            [self.connect("tavan"), self.connect("sapa"), self.connect("laocai"), self.connect("bacha")];
        let (tavan, sapa, laocai, bacha) = (tavan.await, sapa.await, laocai.await, bacha.await);
        let keepers = self.world.keepers().await.unwrap();
        let mut work = JoinSet::new();
        for task in 0..4 {
            work.spawn(send::letters(Arc::clone(self), tavan.clone(), format!("{round}-{task}")));
        }
        work.spawn(send::streamed(Arc::clone(self), bacha, format!("{round}-s")));
        work.spawn(send::uploads(Arc::clone(self), laocai.clone()));
        work.spawn(send::circulars(Arc::clone(self), laocai.clone(), format!("{round}-c")));
        work.spawn(operate::changes(Arc::clone(self), keepers, round));
        work.spawn(receive::fetching(Arc::clone(self), sapa));
        work.spawn(receive::session(Arc::clone(self), laocai));
        work.spawn(receive::watching(Arc::clone(self), tavan));
        Load(work)
    }
}

impl Outside {
    /// Waits until so many more deeds were acknowledged; less than a minute, whatever else the machine does.
    pub async fn deeds_reach(&self, deeds: usize) {
        for _ in 0..30_000 {
            if self.deeds() >= deeds {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Load {
    /// Ends it, with the panics of its parts.
    pub async fn end(mut self) {
        // What the dead hub still answered is read first.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.0.abort_all();
        while let Some(ended) = self.0.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }
}
