//! What operators see of who is there, of what flows, and of a test document on its way.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "presence/contacts.rs"]
mod contacts;
#[path = "presence/doors.rs"]
mod doors;
#[path = "presence/flows.rs"]
mod flows;
#[path = "presence/pings.rs"]
mod pings;
mod rig;
