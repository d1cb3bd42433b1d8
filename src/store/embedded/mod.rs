//! The embedded store: the journal is the truth, memory is hot, sled is history.

pub mod array;
pub mod history;
pub mod journal;
