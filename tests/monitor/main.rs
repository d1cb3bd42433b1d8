//! A running hub as those see it who watch it: health, readiness and why not.

#![allow(clippy::unwrap_used)]

#[path = "../rig/mod.rs"]
mod rig;

mod door;
mod health;
