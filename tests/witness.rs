//! Hubs that witness each other's logs, and logs that go on with another key, over real sockets and real TLS.

#![allow(clippy::unwrap_used)]

#[path = "witness/door.rs"]
mod door;
#[path = "witness/hubs.rs"]
mod hubs;
mod rig;
#[path = "witness/rotation.rs"]
mod rotation;
#[path = "witness/stage.rs"]
mod stage;
