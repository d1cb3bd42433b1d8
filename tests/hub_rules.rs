//! What the hub promises, as stories: every receipt that comes back is verified as a stranger would.
#![allow(clippy::unwrap_used)] // everything here is a test

mod common;

#[path = "hub_rules/accept.rs"]
mod accept;
#[path = "hub_rules/additions.rs"]
mod additions;
#[path = "hub_rules/countings.rs"]
mod countings;
#[path = "hub_rules/days.rs"]
mod days;
#[path = "hub_rules/erasure.rs"]
mod erasure;
#[path = "hub_rules/fan_out.rs"]
mod fan_out;
#[path = "hub_rules/operate.rs"]
mod operate;
#[path = "hub_rules/parts.rs"]
mod parts;
#[path = "hub_rules/proofs.rs"]
mod proofs;
#[path = "hub_rules/receipts.rs"]
mod receipts;
#[path = "hub_rules/refuse.rs"]
mod refuse;
#[path = "hub_rules/sessions.rs"]
mod sessions;
#[path = "hub_rules/statuses.rs"]
mod statuses;
#[path = "hub_rules/watches.rs"]
mod watches;
