//! More than the hub can do, over real connections: each sender gets its share at once, or is told when to come again,
//! and memory stays what it was.

#![allow(clippy::unwrap_used)]

#[path = "overload/bodies.rs"]
mod bodies;
#[path = "overload/fairness.rs"]
mod fairness;
#[path = "overload/idle.rs"]
mod idle;
#[path = "overload/rates.rs"]
mod rates;
mod rig;
