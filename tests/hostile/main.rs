//! Bad input of every kind, over real connections: each gets a typed answer or a closed connection, and the hub goes
//! on for everybody else, in the same memory.
//!
//! `TRUC_SEED=…` replays what is random.

#![allow(clippy::unwrap_used)]

mod calls;
mod certificates;
mod fields;
mod operators;
mod raw;
#[path = "../rig/mod.rs"]
mod rig;
mod signatures;
mod slow;
mod sockets;
mod strangers;
mod streams;
mod transfers;
