//! What the hub keeps when the store fails, when it is stopped, and when everything comes at once.
#![allow(clippy::unwrap_used)] // everything here is a test

mod common;

#[path = "hub_faults/groups.rs"]
mod groups;
#[path = "hub_faults/random.rs"]
mod random;
#[path = "hub_faults/stop.rs"]
mod stop;
#[path = "hub_faults/store.rs"]
mod store;
