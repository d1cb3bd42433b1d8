//! Moments. The rules never read a clock: the shell passes the time in.

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z. Zero on the wire means "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// `None` for the wire's zero.
    #[must_use]
    pub fn given(us: i64) -> Option<Self> {
        (us != 0).then_some(Self(us))
    }

    /// This moment moved by `us` microseconds, saturating.
    #[must_use]
    pub fn plus_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Distance to another moment in microseconds, saturating, never negative.
    #[must_use]
    pub fn distance_us(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0).saturating_abs()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}
