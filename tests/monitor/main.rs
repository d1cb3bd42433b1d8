//! A running hub as those see it who watch it: health, readiness and why not.

#![allow(clippy::unwrap_used)]

#[path = "../rig/mod.rs"]
mod rig;

mod backup;
mod broken;
mod causes;
mod certificate;
mod door;
mod health;
mod logs;
mod metrics;
mod prometheus;
mod samples;
mod small_disk;
#[cfg(feature = "otel")]
mod traces;
