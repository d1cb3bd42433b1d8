//! Trục, the document interconnection hub: the map. Arrows point inward; `tests/arrows.rs` guards them.
//!
//! ```text
//!  cli         wires everything, decides nothing
//!    edge        gRPC doors, TLS, callers          client   the Rust client that cli, demo and tests use
//!    console     the web console
//!      hub         one writer, queues, sessions, watches
//!        store       what survives a crash
//!          domain      meaning and rules           tlog     log mathematics           (no clock, no I/O)
//!  daily       what a day of the log was for each agency: the hub commits to it, the verifier counts again
//!  verify      the offline verifier: domain and tlog only
//!  threads     which of them give way to traffic
//! ```

pub mod cli;
pub mod client;
pub mod config;
pub mod console;
pub mod daily;
pub mod domain;
pub mod edge;
pub mod hub;
/// The wire's messages, for every ring.
pub mod proto;
/// The wire's services, for `edge` and `client`.
pub mod rpc;
pub mod store;
pub mod telemetry;
pub mod threads;
pub mod tlog;
pub mod verify;
