//! What agencies sign, checked by itself: manifest, addressing, receipt, status. Rules that need the directory or the
//! store stand elsewhere.

mod decode;
mod manifest;
mod problems;
mod receipt;
mod status;

pub use manifest::{CheckedAddressing, CheckedManifest, check_addressing, check_manifest};
pub use receipt::{CheckedReceipt, check_receipt};
pub use status::{CheckedStatus, check_status};

/// Largest receipt or status in bytes. It stands inside a leaf with its signatures, and leaves are at most 65,535
/// bytes (C2SP tlog-tiles); the longest legal one has about 6 KiB.
pub const MAX_REPORT_BYTES: usize = 16 * 1024;

const HOUR_US: i64 = 3_600_000_000;

/// What this hub accepts. Capabilities announce it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest manifest payload in bytes.
    pub max_manifest_bytes: usize,
    /// Most recipients of a document, after expansion.
    pub max_recipients: usize,
    /// Most attachments of a document.
    pub max_parts: usize,
    /// Largest attachment in bytes.
    pub max_part_bytes: u64,
    /// Allowed distance of a signed time from the hub's clock.
    pub clock_skew_us: i64,
    /// Delivery deadline where the manifest names none, from acceptance.
    pub default_deadline_us: i64,
    /// Latest delivery deadline, from acceptance.
    pub max_deadline_us: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_manifest_bytes: 2 * 1024 * 1024,
            max_recipients: 20_000,
            max_parts: 100,
            max_part_bytes: 2 * 1024 * 1024 * 1024,
            clock_skew_us: 24 * HOUR_US,
            default_deadline_us: 7 * 24 * HOUR_US,
            max_deadline_us: 400 * 24 * HOUR_US,
        }
    }
}
