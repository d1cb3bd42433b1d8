//! What evidence can be found by, and whether it answers a question: the same for the hub's index, which looks for it,
//! and for a verifier, which is told of one leaf at a time.

mod found_by;
mod query;
mod remembered;
mod row;

pub use found_by::{Accepted, Leaf, Term, field, leaf, parties, term};
pub use query::{Clause, Query, query};
pub use remembered::Remembered;
pub use row::row;
