//! Reads frames one by one and tells a torn tail from damage.
//!
//! A frame is written only after the sync of the one before it returned. So a bad frame with any good frame
//! behind it was good once: damage. A bad frame with nothing behind it may be a write that a power cut tore.

use std::{fmt, io, ops::Range, path::Path};

use super::{
    Next,
    frame::{BLOCK, FrameHeader, FramePosition, Kind, MAX_PAYLOAD, SegmentHeader, span},
    segment::{Found, Window},
};
use crate::store::{StoreError, files::failed};

const SEGMENT_HEADER: &str = "the header of the segment is damaged";

/// A frame that was whole once and is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins; offset 0 for the header of a segment.
    pub position: FramePosition,
    /// Its sequence number.
    pub seq: u64,
    /// Sequence of the next good frame: everything from `seq` to before it is lost. `None`: up to the end.
    pub next_seq: Option<u64>,
    /// Where in the segment the damaged payload lies, as far as that can be told.
    pub payload: Range<u64>,
    /// What does not fit.
    pub why: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, seq, payload, why, .. } = self;
        write!(
            f,
            "journal {position}: frame {seq}: {why} (payload bytes {}..{}",
            payload.start, payload.end
        )?;
        match self.next_seq {
            Some(next) => write!(f, ", next good frame {next})"),
            None => write!(f, ", no good frame follows)"),
        }
    }
}

/// Bytes of a write that was not finished: they were never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where the unfinished write begins.
    pub position: FramePosition,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What the next step of a scan found.
pub(super) enum Step {
    Frame {
        seq: u64,
        kind: Kind,
        position: FramePosition,
        len: u32,
    },
    Damage(Damage),
    /// A torn tail; appending goes on where it begins.
    Torn(TornTail),
    /// Clean end; appending goes on here.
    End(FramePosition),
}

pub(super) struct Scanner<'a> {
    dir: &'a Path,
    /// Segments behind the one in the window, in order.
    later: &'a [u32],
    window: Window,
    offset: u64,
    /// Where to go on after the header of the first segment.
    start: u64,
    /// `None` at the first frame of a scan that begins in the middle and takes what stands there.
    expected: Option<u64>,
    /// What damage at the first frame is named after: until that frame is read, its number is only believed.
    first_seq: u64,
    journal: Option<u64>,
}

/// Where a scan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the first frame.
    Start,
    /// At the frame that stands here, whatever its number; damage is named after the number that it should have.
    At(FramePosition, u64),
    /// At the frame of this number, which begins here or, if the segment ends here, with the next one.
    Exactly(FramePosition, u64),
}

impl Begin {
    fn position(self) -> Option<FramePosition> {
        match self {
            Self::Start => None,
            Self::At(position, _) | Self::Exactly(position, _) => Some(position),
        }
    }
}

impl<'a> Scanner<'a> {
    /// Begins in one of `segments`, which are not empty.
    pub fn new(dir: &'a Path, segments: &'a [u32], begin: Begin) -> Result<Self, StoreError> {
        let from = begin.position();
        let number = from.map(|from| from.segment).or(segments.first().copied());
        let at = segments.iter().position(|segment| Some(*segment) == number);
        let offset = from.map_or(BLOCK as u64, |from| from.offset.into());
        let (Some(at), Some(number)) = (at, number) else {
            return Err(StoreError::Damaged(format!("journal: segment {number:?} does not exist")));
        };
        if offset < BLOCK as u64 || !offset.is_multiple_of(BLOCK as u64) {
            return Err(StoreError::Damaged(format!("journal: offset {offset} is no place for a frame")));
        }
        Ok(Self {
            dir,
            later: &segments[at + 1..],
            window: open(dir, number)?,
            offset: 0,
            start: offset,
            expected: match begin {
                Begin::Start => Some(1),
                Begin::At(..) => None,
                Begin::Exactly(_, seq) => Some(seq),
            },
            first_seq: match begin {
                Begin::Start => 1,
                Begin::At(_, seq) | Begin::Exactly(_, seq) => seq,
            },
            journal: None,
        })
    }

    /// Sequence of the next frame.
    pub fn next_seq(&self) -> u64 {
        self.expected.unwrap_or(self.first_seq)
    }

    /// Where the scan goes on.
    pub fn next(&self) -> Next {
        Next { position: self.here(), seq: self.next_seq() }
    }

    /// Random number of this journal, if a header told it.
    pub fn journal(&self) -> Option<u64> {
        self.journal
    }

    /// Payload of the frame that the last step found.
    pub fn payload(&mut self, position: FramePosition, len: u32) -> Result<&[u8], StoreError> {
        let number = self.window.number;
        let bytes = self.window.bytes(u64::from(position.offset) + BLOCK as u64, len as usize);
        let ended = || StoreError::Damaged(format!("journal segment {number} became shorter"));
        bytes.map_err(failed(format!("reading journal segment {number}")))?.ok_or_else(ended)
    }

    /// The next frame, or why there is none. After `Damage` the scan goes on behind it.
    pub fn step(&mut self) -> Result<Step, StoreError> {
        loop {
            if self.offset == 0 {
                match self.enter()? {
                    Entry::Fine => {}
                    Entry::Blank => return self.judge(&Found::NoHeader),
                    Entry::Wrong(damage) => return Ok(Step::Damage(damage)),
                }
            }
            let found = self.inspect()?;
            if let Found::Whole(header) = found
                && self.expected.is_none_or(|expected| expected == header.seq)
            {
                return Ok(self.advance(header));
            }
            if !self.roll()? {
                return self.judge(&found);
            }
        }
    }

    /// Reads the header of the segment.
    fn enter(&mut self) -> Result<Entry, StoreError> {
        let Some(header) = self.segment_header()? else { return Ok(Entry::Blank) };
        let flaw = [
            (header.number != self.window.number, "the segment has another one's number"),
            (header.len != self.window.len, "the segment has not the length that it was made with"),
            (
                self.journal.is_some_and(|journal| journal != header.journal),
                "it is another journal's segment",
            ),
            (
                self.start == BLOCK as u64 && self.expected.is_some_and(|seq| seq != header.first_seq),
                "frames before this segment are missing",
            ),
        ];
        let wrong = flaw.into_iter().find_map(|(is_so, why)| is_so.then_some(why));
        let damage = wrong.map(|why| Damage {
            position: self.here(),
            seq: self.next_seq(),
            next_seq: Some(header.first_seq),
            payload: BLOCK as u64..self.window.len,
            why,
        });
        self.journal = self.journal.or(Some(header.journal));
        if self.expected.is_some() || self.start == BLOCK as u64 {
            self.first_seq = header.first_seq;
        }
        self.offset = std::mem::replace(&mut self.start, BLOCK as u64);
        if let Some(damage) = damage {
            self.expected = Some(header.first_seq);
            return Ok(Entry::Wrong(damage));
        }
        Ok(Entry::Fine)
    }

    fn advance(&mut self, header: FrameHeader) -> Step {
        let position = self.here();
        self.offset += header.span();
        self.expected = Some(header.seq + 1);
        Step::Frame { seq: header.seq, kind: header.kind, position, len: header.len }
    }

    /// Goes to the next segment if that begins with the expected frame.
    fn roll(&mut self) -> Result<bool, StoreError> {
        let (Some(expected), Some((number, later))) = (self.expected, self.later.split_first()) else {
            return Ok(false);
        };
        let mut next = open(self.dir, *number)?;
        let header = read(&mut next, |next| next.bytes(0, BLOCK))?.and_then(SegmentHeader::decode);
        if header.is_none_or(|header| header.first_seq != expected) {
            return Ok(false);
        }
        (self.window, self.later, self.offset) = (next, later, 0);
        Ok(true)
    }

    /// Decides what it means that no expected frame stands here.
    fn judge(&mut self, found: &Found) -> Result<Step, StoreError> {
        let why = match found {
            Found::Whole(_) => "its sequence number is wrong",
            Found::NoHeader if self.offset == 0 => SEGMENT_HEADER,
            Found::NoHeader => "its header is damaged",
            Found::BadPayload(_) => "its payload is damaged",
            Found::BadPadding(_) => "the bytes behind it are not zero",
        };
        let damage = self.damage(found, why);
        let next = match found {
            Found::Whole(header) => Some((self.here(), header.seq)),
            _ => self.search_behind()?,
        };
        if let Some((position, seq)) = next {
            return self.resume(damage, position, seq).map(Step::Damage);
        }
        let torn_or_end = match self.leftovers(found)? {
            _ if self.expected.is_none() || matches!(found, Found::BadPadding(_)) => None,
            Leftovers::None => Some(Step::End(self.here())),
            Leftovers::OneWrite(tail) => Some(Step::Torn(tail)),
            Leftovers::More => None,
        };
        if let Some(step) = torn_or_end {
            return Ok(step);
        }
        // Nothing good follows: the scan is over.
        (self.offset, self.later) = (self.window.len, &[]);
        self.expected = Some(self.next_seq());
        Ok(Step::Damage(damage))
    }

    fn damage(&self, found: &Found, why: &'static str) -> Damage {
        let start = (self.offset + BLOCK as u64).min(self.window.len);
        let end = match found {
            Found::Whole(header) | Found::BadPayload(header) | Found::BadPadding(header) => {
                (start + u64::from(header.len)).min(self.window.len)
            }
            Found::NoHeader => self.window.len,
        };
        Damage { position: self.here(), seq: self.next_seq(), next_seq: None, payload: start..end, why }
    }

    /// Goes to the good frame (or segment) behind the damage and completes its description.
    fn resume(&mut self, mut damage: Damage, to: FramePosition, seq: u64) -> Result<Damage, StoreError> {
        if to.segment == self.window.number && to.offset > damage.position.offset {
            damage.payload.end = damage.payload.end.min(to.offset.into());
        }
        if to.segment != self.window.number && seq == damage.seq {
            // No frame is missing: only the header between them is not what was written.
            damage.position = position(to.segment, 0);
            damage.payload = BLOCK as u64..BLOCK as u64;
            damage.why = SEGMENT_HEADER;
        }
        damage.next_seq = Some(seq);
        while self.window.number != to.segment {
            let Some((number, later)) = self.later.split_first() else { break };
            (self.window, self.later) = (open(self.dir, *number)?, later);
        }
        (self.offset, self.expected) = (to.offset.into(), Some(seq));
        Ok(damage)
    }

    /// The first good frame behind this place, or a segment that tells that frames were written before it.
    fn search_behind(&mut self) -> Result<Option<(FramePosition, u64)>, StoreError> {
        let (journal, at_least) = (self.journal, self.next_seq());
        let behind = self.offset + BLOCK as u64;
        let found = read(&mut self.window, |window| window.search(behind, journal, at_least))?;
        if let Some((offset, header)) = found {
            return Ok(Some((position(self.window.number, offset), header.seq)));
        }
        for number in self.later {
            let mut window = open(self.dir, *number)?;
            let header = read(&mut window, |window| window.bytes(0, BLOCK))?.and_then(SegmentHeader::decode);
            if let Some(header) = header.filter(|header| header.first_seq >= at_least) {
                return Ok(Some((position(*number, 0), header.first_seq)));
            }
            let found = read(&mut window, |window| window.search(BLOCK as u64, journal, at_least))?;
            if let Some((offset, header)) = found {
                return Ok(Some((position(*number, offset), header.seq)));
            }
        }
        Ok(None)
    }

    /// What is not zero from here on. A torn write lies in one segment, and within its frame.
    fn leftovers(&mut self, found: &Found) -> Result<Leftovers, StoreError> {
        let (here, offset) = (self.here(), self.offset);
        let mut tails = Vec::new();
        if let Some(end) = read(&mut self.window, |window| window.written_end(offset))? {
            let longest = match found {
                Found::BadPayload(header) => header.span(),
                _ => span(MAX_PAYLOAD),
            };
            if end - offset > longest {
                return Ok(Leftovers::More);
            }
            tails.push(TornTail { position: here, bytes: end - offset });
        }
        for number in self.later {
            let mut window = open(self.dir, *number)?;
            let end = read(&mut window, |window| window.written_end(0))?;
            tails.extend(end.map(|bytes| TornTail { position: position(*number, 0), bytes }));
        }
        Ok(match tails[..] {
            [] => Leftovers::None,
            [tail] => Leftovers::OneWrite(tail),
            _ => Leftovers::More,
        })
    }

    fn here(&self) -> FramePosition {
        position(self.window.number, self.offset)
    }

    fn inspect(&mut self) -> Result<Found, StoreError> {
        let (offset, journal) = (self.offset, self.journal);
        read(&mut self.window, |window| window.inspect(offset, journal))
    }

    fn segment_header(&mut self) -> Result<Option<SegmentHeader>, StoreError> {
        Ok(read(&mut self.window, |window| window.bytes(0, BLOCK))?.and_then(SegmentHeader::decode))
    }
}

enum Entry {
    Fine,
    /// No header: never used, or damaged.
    Blank,
    Wrong(Damage),
}

enum Leftovers {
    None,
    OneWrite(TornTail),
    More,
}

fn open(dir: &Path, number: u32) -> Result<Window, StoreError> {
    Window::open(dir, number).map_err(failed(format!("opening journal segment {number}")))
}

fn read<'w, T>(
    window: &'w mut Window,
    read: impl FnOnce(&'w mut Window) -> io::Result<T>,
) -> Result<T, StoreError> {
    let number = window.number;
    read(window).map_err(failed(format!("reading journal segment {number}")))
}

/// Segments are shorter than 4 GiB (see `Journal::open`); a longer file is cut at that in messages only.
fn position(segment: u32, offset: u64) -> FramePosition {
    FramePosition { segment, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
}
