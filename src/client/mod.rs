//! The Rust client of the hub.
