//! Meaning and rules: no async, no clock, no I/O. Time, randomness and stored facts come in as arguments.

pub mod agency;
pub mod cause;
pub mod day;
pub mod delivery;
pub mod directory;
pub mod directory_import;
pub mod document;
pub mod envelope;
pub mod evidence;
pub mod fold;
pub mod id;
pub mod period;
pub mod policy;
pub mod reason;
pub mod retention;
pub mod retry;
pub mod role;
pub mod search;
pub mod signature;
pub mod status;
pub mod text;
pub mod time;
