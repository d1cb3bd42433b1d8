//! The doors: gRPC, TLS, callers. Handlers convert, call one method of a hub handle, and convert back.

pub mod caller;
pub mod tls;
