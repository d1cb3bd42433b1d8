//! How much of the hub callers may use. One place for the numbers; what is counted, and how, stands beside its name.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Bounds of what callers do. The defaults let one honest installation use the whole machine while it is alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Signed messages of one node in a second: documents, receipts, statuses.
    pub node_messages: u32,
    /// Bytes of these, and of uploads, of one node in a second.
    pub node_bytes: u64,
    /// Signed messages in the name of one agency in a second, whichever node hands them in.
    pub agency_messages: u32,
    /// Bytes of these in a second.
    pub agency_bytes: u64,
    /// Refusals of one node in a second: each becomes evidence, for ever.
    pub node_refusals: u32,
    /// Calls of one caller that are under way at the same time.
    pub calls_of_caller: usize,
    /// Calls of all.
    pub calls: usize,
    /// Sessions of one node at the same time.
    pub sessions_of_node: usize,
    /// Sessions of all.
    pub sessions: usize,
    /// Bytes of messages in work, those that have not arrived wholly included.
    pub message_memory: u64,
    /// A caller that does not go on with a message for so long, or does not read for so long, is given up.
    pub patience: Duration,
    /// A connection is asked to come again after this time.
    pub connection_age: Duration,
    /// Time it then has.
    pub connection_grace: Duration,
}

/// How long running calls may take to finish when the hub is told to stop.
pub const DRAIN: Duration = Duration::from_secs(20);

impl Default for Bounds {
    fn default() -> Self {
        Self {
            node_messages: 20_000,
            node_bytes: 512 * MIB,
            agency_messages: 20_000,
            agency_bytes: 512 * MIB,
            node_refusals: 200,
            calls_of_caller: 16 * 1024,
            calls: 64 * 1024,
            sessions_of_node: 16 * 1024,
            sessions: 32 * 1024,
            message_memory: 256 * MIB,
            patience: Duration::from_secs(60),
            connection_age: Duration::from_secs(24 * 3_600),
            connection_grace: Duration::from_secs(60),
        }
    }
}
