//! The doors: gRPC, TLS, callers. Handlers convert, call one method of a hub handle, and convert back.

pub mod audit;
pub mod caller;
pub mod delivery;
pub mod directory;
pub mod grpc_status;
pub mod operator;
pub mod server;
pub mod shares;
pub mod status;
pub mod submission;
pub mod tls;
