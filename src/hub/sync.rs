//! What the hub's queues lock with. `loom/` builds them with loom's locks of the same names.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard};
