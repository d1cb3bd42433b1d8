//! The search index made again beside the one that answers, so that words of erased documents go from the disk while the
//! hub runs.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{facts::Reader, follower::add};
use crate::{
    hub::follow::STEP,
    store::{StoreError, search::SearchIndex},
};

/// How far it came.
pub struct Renewal {
    index: Arc<ArcSwap<SearchIndex>>,
    /// Orders that were carried out.
    done: u64,
    state: State,
}

enum State {
    Idle,
    /// A new index, for so many orders.
    Making(u64, Arc<SearchIndex>),
    /// The new one answers. The old one goes when nobody reads in it any more.
    Retiring(u64, Arc<SearchIndex>),
}

impl Renewal {
    /// Nothing is asked for yet.
    pub fn new(index: Arc<ArcSwap<SearchIndex>>) -> Self {
        Self { index, done: 0, state: State::Idle }
    }

    /// A bounded step towards what was asked for `asked` times; true if there is more to do at once. `made` notes that
    /// nothing is left of the old index, as far as so many orders go.
    pub fn step(
        &mut self,
        asked: u64,
        reader: &mut Reader,
        made: impl FnOnce(u64) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle if self.done == asked => Ok(false),
            State::Idle => self.begin(asked),
            // What was erased meanwhile may stand in it.
            State::Making(orders, stale) if orders != asked => {
                drop(stale);
                self.begin(asked)
            }
            State::Making(orders, new) => self.make(orders, new, reader),
            State::Retiring(orders, old) => self.retire(orders, old, made),
        }
    }

    /// Leaves it to the next start.
    pub fn give_up(&mut self, asked: u64) {
        (self.done, self.state) = (asked, State::Idle);
    }

    fn begin(&mut self, asked: u64) -> Result<bool, StoreError> {
        self.state = State::Making(asked, Arc::new(self.index.load().beside()?));
        Ok(true)
    }

    fn make(&mut self, orders: u64, new: Arc<SearchIndex>, reader: &mut Reader) -> Result<bool, StoreError> {
        let (next, end) = (new.covers(), self.index.load().covers());
        add(reader, &new, next..end.min(next + STEP))?;
        self.state = match new.covers() < end {
            true => State::Making(orders, new),
            false => State::Retiring(orders, self.index.swap(new)),
        };
        Ok(true)
    }

    fn retire(
        &mut self,
        orders: u64,
        old: Arc<SearchIndex>,
        made: impl FnOnce(u64) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        match Arc::try_unwrap(old) {
            Ok(old) => {
                old.retire()?;
                made(orders)?;
                self.done = orders;
                Ok(true)
            }
            Err(old) => {
                self.state = State::Retiring(orders, old);
                Ok(false)
            }
        }
    }
}
