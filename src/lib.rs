//! Trục, the document interconnection hub: the map.

pub mod cli;
pub mod client;
pub mod config;
pub mod domain;
pub mod edge;
pub mod hub;
pub mod proto;
pub mod rpc;
pub mod store;
pub mod telemetry;
pub mod tlog;
pub mod verify;
