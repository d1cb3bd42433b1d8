//! The log for tools that nobody here wrote: C2SP tlog-tiles over real TLS, and the mirror that follows it.
//!
//! `tiles/reader` recomputes everything from tiles with a recursion of its own; the hub's tree code proves nothing here.

#![allow(clippy::unwrap_used)]

#[path = "tiles/changes.rs"]
mod changes;
#[path = "tiles/consistency.rs"]
mod consistency;
#[path = "tiles/keys.rs"]
mod keys;
#[path = "tiles/mirror.rs"]
mod mirror;
#[path = "tiles/python.rs"]
mod python;
#[path = "tiles/reader.rs"]
mod reader;
mod rig;
#[path = "tiles/served.rs"]
mod served;
#[path = "tiles/stage.rs"]
mod stage;
