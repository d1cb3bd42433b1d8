//! Hubs that witness each other's logs, over real sockets and real TLS.

#![allow(clippy::unwrap_used)]

#[path = "witness/door.rs"]
mod door;
mod rig;
#[path = "witness/stage.rs"]
mod stage;
