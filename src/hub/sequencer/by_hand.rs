//! The writer without its thread: a simulation says when it works, so that one seed gives one history.

use super::{Receiver, Request, Writer};

/// A writer that works when it is told to. It does what the thread would do with the same requests.
pub struct ByHand {
    pub(super) writer: Writer,
    pub(super) requests: Receiver<Request>,
}

/// What one turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// One group was decided and committed; everyone in it is answered.
    Worked,
    /// Nothing waited.
    Idle,
    /// The store failed: this writer may not work again.
    Failed,
}

impl ByHand {
    /// Decides and commits what waits, as one group.
    pub fn turn(&mut self) -> Turn {
        let first = self.requests.try_recv();
        if first.is_none() && !self.writer.expansions.are_due() && !self.writer.actions.are_running() {
            return Turn::Idle;
        }
        match self.writer.group(first, &self.requests) {
            Ok(_) => Turn::Worked,
            Err(error) => {
                self.writer.fail(&error);
                Turn::Failed
            }
        }
    }

    /// Makes fan-out steps as small as a small world needs them: `step` deliveries a commit, `share` a list.
    pub fn set_fan_out(&mut self, step: usize, share: usize) {
        self.writer.expansions.set_step(step, share);
    }
}
