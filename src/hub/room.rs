//! What the hub takes while its disk fills up. First it takes no new documents, so that those that it has can still be
//! handed over; when the reserve is nearly spent it offers nothing and takes no receipts either, and waits for room.

use std::sync::atomic::{AtomicU8, Ordering};

use super::{Hub, health::Condition, refused::Refused};
use crate::{domain::reason::ReasonCode, store::Space};

/// The part of the reserve that is left alone: commits under way, a journal segment, tables of the index.
const LAST_PART: u64 = 4;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Room {
    /// Enough for everything.
    #[default]
    Enough,
    /// The reserve: enough to hand over what is here.
    Reserve,
    /// The reserve is nearly spent.
    Spent,
}

impl Room {
    /// As the store's disk has it.
    #[must_use]
    pub fn judge(space: Space, reserve: u64) -> Self {
        match space.free {
            free if free < reserve / LAST_PART => Self::Spent,
            free if free < reserve => Self::Reserve,
            _ => Self::Enough,
        }
    }
}

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Seen(AtomicU8);

impl Seen {
    pub fn set(&self, room: Room) {
        self.0.store(room as u8, Ordering::Relaxed);
    }

    pub fn get(&self) -> Room {
        match self.0.load(Ordering::Relaxed) {
            0 => Room::Enough,
            1 => Room::Reserve,
            _ => Room::Spent,
        }
    }
}

impl Hub {
    /// How much room there was when the hub looked last.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room.get()
    }

    /// Room for a new document or attachment.
    pub(super) fn need_room(&self) -> Result<(), Refused> {
        if self.room() == Room::Enough { Ok(()) } else { Err(self.disk_full()) }
    }

    /// Room for what an agency says about a document that is here.
    pub(super) fn need_reserve(&self) -> Result<(), Refused> {
        if self.room() < Room::Spent { Ok(()) } else { Err(self.disk_full()) }
    }

    fn disk_full(&self) -> Refused {
        let alarms = self.health.alarms();
        let alarm = alarms.iter().find(|alarm| alarm.condition == Condition::DiskFull);
        let cause = alarm.map_or("the hub waits for room", |alarm| &alarm.cause);
        Refused::because(ReasonCode::DiskFull, format!("the hub's disk is full: {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_for_handing_over_and_its_last_quarter_for_the_hub() {
        let judged = |free| Room::judge(Space { free, total: 1_000 }, 400);
        assert_eq!(judged(400), Room::Enough);
        assert_eq!(judged(399), Room::Reserve);
        assert_eq!(judged(100), Room::Reserve);
        assert_eq!(judged(99), Room::Spent);
    }

    #[test]
    fn what_was_seen_last_counts() {
        let seen = Seen::default();
        for room in [Room::Spent, Room::Reserve, Room::Enough] {
            seen.set(room);
            assert_eq!(seen.get(), room);
        }
    }
}
