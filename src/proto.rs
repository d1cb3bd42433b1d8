//! The wire's messages, generated from `proto/truc/v1`. No services: those are in [`crate::rpc`].

#![allow(missing_docs, rustdoc::all, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/messages/truc.v1.rs"));

/// The compiled `.proto` files with their comments, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
