//! The doors: gRPC, TLS, callers. Handlers convert, call one method of a hub handle, and convert back.

pub mod audit;
pub mod bounds;
pub mod caller;
pub mod console;
pub mod delivery;
pub mod directory;
pub mod gate;
pub mod grpc_status;
pub mod https;
pub mod intake;
pub mod integrity;
mod measured;
pub mod meter;
pub mod monitor;
pub mod operator;
pub mod rates;
pub mod retention;
pub mod server;
pub mod status;
pub mod submission;
mod submit_stream;
pub mod tiles;
pub mod tls;
pub mod witness;

pub use crate::hub::shares;
