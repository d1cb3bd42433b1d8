//! The log's mathematics: tree, signed text, proofs. No I/O, nothing of the hub.

pub mod checkpoint;
pub mod cosignature;
pub mod keys;
pub mod merkle;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod witness;

/// A tree hash (RFC 6962, SHA-256).
pub type Hash = [u8; 32];
