//! gRPC services and clients, generated from `proto/truc/v1`. For `edge` and `client` only.

#![allow(missing_docs, rustdoc::all, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/services/truc.v1.rs"));
