//! What the journal promises, tried out on real files.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    segment::{EXTENSION, SegmentFile},
    *,
};

const SMALL: JournalOptions = JournalOptions { segment_bytes: 1024 };
const ROOMY: JournalOptions = JournalOptions { segment_bytes: 64 << 10 };

type Seen = Vec<(u64, Kind, FramePosition, Vec<u8>)>;

fn try_open(
    dir: &Path,
    options: JournalOptions,
    from: Option<FramePosition>,
) -> Result<(Journal, Recovery, Seen), JournalError> {
    let mut seen = Seen::new();
    // No frame has this number: it is only a name.
    let from = from.map(|from| (from, 1_000));
    let (journal, recovery) = Journal::open(dir, options, from, &mut |frame| {
        seen.push((frame.seq, frame.kind, frame.position, frame.payload.to_vec()));
        Ok(())
    })?;
    Ok((journal, recovery, seen))
}

fn open(dir: &TempDir, options: JournalOptions) -> (Journal, Recovery, Seen) {
    try_open(dir.path(), options, None).expect("open")
}

fn temp() -> TempDir {
    tempfile::tempdir().expect("temp")
}

fn payloads(seen: &Seen) -> Vec<&[u8]> {
    seen.iter().map(|(.., payload)| payload.as_slice()).collect()
}

fn segment(dir: &TempDir, number: u32) -> PathBuf {
    files::numbered_path(dir.path(), number, EXTENSION)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("read");
    change(&mut bytes);
    fs::write(path, bytes).expect("write");
}

/// Three commits in one segment; returns where each begins and where the last ends.
fn three(dir: &TempDir, options: JournalOptions) -> (Journal, Vec<FramePosition>) {
    let (mut journal, ..) = open(dir, options);
    let at = [&b"first"[..], &[7; 100], b"third and last"].map(|p| journal.append(p).expect("append").1);
    (journal, at.to_vec())
}

#[test]
fn what_was_appended_comes_back_in_order() {
    let dir = temp();
    let (journal, at) = three(&dir, ROOMY);
    drop(journal);
    let (mut journal, recovery, seen) = open(&dir, ROOMY);
    assert_eq!(payloads(&seen), [&b"first"[..], &[7; 100], b"third and last"]);
    assert_eq!(seen.iter().map(|frame| frame.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(seen.iter().map(|frame| frame.2).collect::<Vec<_>>(), at);
    assert_eq!(recovery, Recovery { frames: 3, last_seq: 3, cut: None });
    assert_eq!(journal.append(b"x").expect("append").0, 4);
}

#[test]
fn a_seal_is_written_once_and_only_behind_a_commit() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, ROOMY);
    journal.seal().expect("seal");
    assert_eq!(journal.next_seq(), 1, "nothing to seal");
    journal.append(b"").expect("an empty payload is legal");
    journal.seal().expect("seal");
    journal.seal().expect("seal");
    assert_eq!(journal.next_seq(), 3);
    drop(journal);
    let (mut journal, _, seen) = open(&dir, ROOMY);
    assert_eq!(seen.iter().map(|frame| frame.1).collect::<Vec<_>>(), [Kind::Commit, Kind::Seal]);
    journal.seal().expect("seal");
    assert_eq!(journal.next_seq(), 3);
}

#[test]
fn a_write_torn_at_any_byte_is_cut_and_the_journal_goes_on() {
    let dir = temp();
    let (journal, at) = three(&dir, SMALL);
    let (last, end) = (at[2].offset as usize, journal.end().offset as usize);
    drop(journal);
    let whole = fs::read(segment(&dir, 1)).expect("read");
    // The padding is zero in either case, so a write torn there is whole.
    let written = last + BLOCK + b"third and last".len();
    for torn in last..end {
        let mut bytes = whole.clone();
        bytes[torn..].fill(0);
        fs::write(segment(&dir, 1), bytes).expect("write");
        let (mut journal, recovery, seen) = open(&dir, SMALL);
        let survives = torn >= written;
        assert_eq!(seen.len(), if survives { 3 } else { 2 }, "torn at {torn}");
        assert_eq!(recovery.cut.is_some(), torn > last && !survives, "torn at {torn}");
        let seq = journal.append(b"after").expect("append").0;
        assert_eq!(seq, if survives { 4 } else { 3 });
        drop(journal);
        assert_eq!(payloads(&open(&dir, SMALL).2).last(), Some(&&b"after"[..]));
        fs::remove_file(segment(&dir, 2)).unwrap_or_default();
    }
}

#[test]
fn sectors_of_the_last_write_may_survive_in_any_order() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, ROOMY);
    journal.append(&[1; 300]).expect("append");
    let at = journal.append(&[2; 2000]).expect("append").1.offset as usize;
    drop(journal);
    let whole = fs::read(segment(&dir, 1)).expect("read");
    let sectors: Vec<usize> = (at / 512..=(at + 2064) / 512).collect();
    for kept in 0..(1_u32 << sectors.len()) - 1 {
        let mut bytes = whole.clone();
        for (bit, sector) in sectors.iter().enumerate() {
            if kept & (1 << bit) == 0 {
                bytes[(sector * 512).max(at)..(sector + 1) * 512].fill(0);
            }
        }
        fs::write(segment(&dir, 1), bytes).expect("write");
        let (journal, recovery, seen) = open(&dir, ROOMY);
        assert_eq!((seen.len(), journal.end().offset as usize), (1, at), "sectors {kept:b}");
        assert_eq!(recovery.cut.is_some(), kept != 0);
        drop(journal);
        assert!(fs::read(segment(&dir, 1)).expect("read")[at..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn the_first_write_of_a_new_segment_may_be_torn_too() {
    for kept in [1, 30, 64, 65, 100, 128, 140, 500] {
        let dir = temp();
        let (mut journal, ..) = open(&dir, SMALL);
        journal.append(&[1; 700]).expect("append");
        let at = journal.append(&[2; 700]).expect("append").1;
        assert_eq!(at, FramePosition { segment: 2, offset: 64 });
        drop(journal);
        change(&segment(&dir, 2), |bytes| bytes[kept..].fill(0));
        let (mut journal, recovery, seen) = open(&dir, SMALL);
        assert_eq!(seen.len(), 1, "{kept} bytes kept");
        assert_eq!(recovery.cut.is_some(), kept != 64, "{kept} bytes kept");
        assert_eq!(journal.append(&[3; 700]).expect("append"), (2, at));
        drop(journal);
        assert_eq!(payloads(&open(&dir, SMALL).2), [[1; 700], [3; 700]]);
    }
}

#[test]
fn only_what_a_torn_write_can_look_like_is_cut() {
    let harm = |place: fn(usize, usize) -> usize| {
        let dir = temp();
        let (journal, at) = three(&dir, SMALL);
        let (last, end) = (at[2].offset as usize, journal.end().offset as usize);
        drop(journal);
        change(&segment(&dir, 1), |bytes| {
            bytes[last + 70] ^= 1;
            bytes[place(last, end)] ^= 1;
        });
        try_open(dir.path(), SMALL, None).map(|(_, recovery, seen)| (seen.len(), recovery.cut.is_some()))
    };
    assert_eq!(harm(|last, _| last + 65).expect("a bad payload at the end"), (2, true));
    assert_eq!(harm(|last, _| last + 10).expect("a bad header at the end"), (2, true));
    harm(|_, end| end + 5).expect_err("bytes behind the frame, which no write put there");
    harm(|_, _| 1024 - 1).expect_err("bytes far behind it");

    let dir = temp();
    let (journal, _) = three(&dir, SMALL);
    let end = journal.end().offset as usize;
    drop(journal);
    change(&segment(&dir, 1), |bytes| bytes[end - 1] ^= 1);
    assert!(try_open(dir.path(), SMALL, None).is_err(), "the frame is whole, its padding is not");
}

/// Flips one bit of every byte in `range`; each flip must be refused.
fn every_flip_is_refused(dir: &TempDir, number: u32, range: std::ops::Range<usize>) {
    let path = segment(dir, number);
    let whole = fs::read(&path).expect("read");
    for at in range {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).expect("write");
        let Err(error) = try_open(dir.path(), SMALL, None) else {
            panic!("flip at {at} of {number} was taken")
        };
        assert!(StoreError::from(error).to_string().contains(&format!("segment {number}")), "flip at {at}");
        assert_eq!(fs::read(&path).expect("read"), bytes, "a refused journal is left as it is");
    }
    fs::write(&path, whole).expect("write");
}

#[test]
fn a_bit_flip_in_any_frame_but_the_last_is_damage() {
    let dir = temp();
    let (journal, at) = three(&dir, SMALL);
    drop(journal);
    every_flip_is_refused(&dir, 1, 0..at[2].offset as usize);
    open(&dir, SMALL);
}

#[test]
fn a_seal_turns_the_last_commit_into_one_that_must_be_there() {
    let dir = temp();
    let (mut journal, at) = three(&dir, SMALL);
    let end = journal.end().offset as usize;
    journal.seal().expect("seal");
    drop(journal);
    every_flip_is_refused(&dir, 1, at[2].offset as usize..end);
}

#[test]
fn a_flip_in_an_older_segment_is_damage() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, SMALL);
    for byte in 0..3 {
        journal.append(&[byte; 700]).expect("append");
    }
    drop(journal);
    every_flip_is_refused(&dir, 1, 0..64 + 64 + 704);
    every_flip_is_refused(&dir, 2, 0..64 + 64 + 704);
}

#[test]
fn damage_names_the_frame_and_gives_what_is_left_of_it() {
    let dir = temp();
    let (journal, at) = three(&dir, SMALL);
    drop(journal);
    change(&segment(&dir, 1), |bytes| bytes[at[1].offset as usize + 64 + 50] = 0);
    let Err(JournalError::Damaged(damage)) = try_open(dir.path(), SMALL, None) else { panic!("refused") };
    assert_eq!((damage.position, damage.seq, damage.next_seq), (at[1], 2, Some(3)));
    let bytes = damaged_payload(dir.path(), &damage).expect("read");
    assert_eq!((bytes.len(), bytes.iter().filter(|byte| **byte == 7).count()), (100, 99));
    assert_eq!(
        damage.to_string(),
        "journal segment 1 offset 192: frame 2: its payload is damaged \
         (payload bytes 256..356, next good frame 3)"
    );
}

#[test]
fn lost_sectors_missing_and_swapped_files_are_damage() {
    let build = || {
        let dir = temp();
        let (mut journal, ..) = open(&dir, SMALL);
        for byte in 0..4 {
            journal.append(&[byte; 700]).expect("append");
        }
        drop(journal);
        dir
    };
    let refused = |dir: &TempDir, why: &str| {
        let error = StoreError::from(try_open(dir.path(), SMALL, None).err().expect(why));
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    };
    let dir = build();
    change(&segment(&dir, 2), |bytes| bytes.fill(0));
    refused(&dir, "a whole segment was zeroed");
    let dir = build();
    fs::remove_file(segment(&dir, 2)).expect("remove");
    refused(&dir, "a segment is missing");
    let dir = build();
    fs::rename(segment(&dir, 3), segment(&dir, 2)).expect("rename");
    refused(&dir, "a segment stands in another's place");
    let (dir, other) = (build(), build());
    fs::copy(segment(&other, 3), segment(&dir, 3)).expect("copy");
    refused(&dir, "a segment is another journal's");
    let dir = build();
    change(&segment(&dir, 2), |bytes| bytes.truncate(512));
    refused(&dir, "a segment is shorter than it was made");
    let dir = build();
    fs::write(segment(&dir, 4), b"").expect("write");
    refused(&dir, "a segment is empty");
}

#[test]
fn a_payload_that_contains_frames_of_another_journal_is_only_a_payload() {
    let (other, dir) = (temp(), temp());
    let (mut foreign, ..) = open(&other, ROOMY);
    for _ in 0..9 {
        foreign.append(b"forged").expect("append");
    }
    let forged = fs::read(segment(&other, 1)).expect("read")[64..64 + 9 * 128].to_vec();
    let (mut journal, ..) = open(&dir, ROOMY);
    journal.append(b"true").expect("append");
    let at = journal.append(&forged).expect("append").1.offset as usize;
    drop(journal);
    change(&segment(&dir, 1), |bytes| bytes[at..at + 64].fill(0));
    let (_, recovery, seen) = open(&dir, ROOMY);
    assert!(recovery.cut.is_some(), "a torn tail, whatever the sender wrote into it");
    assert_eq!(payloads(&seen), [b"true"]);
}

#[test]
fn large_frames_get_a_segment_of_their_own() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, SMALL);
    journal.append(&[9; 5000]).expect("the unused first segment is replaced");
    journal.append(b"small").expect("append");
    journal.prepare().expect("prepare");
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| i as u8).collect();
    let at = journal.append(&large).expect("append").1;
    journal.append(b"end").expect("append");
    assert_eq!(&journal.reader().read(at).expect("read")[..], large);
    drop(journal);
    assert_eq!(payloads(&open(&dir, SMALL).2), [&[9; 5000][..], b"small", &large, b"end"]);
}

#[test]
fn a_payload_over_the_bound_is_refused_without_harm() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, ROOMY);
    let error = journal.append_with(|buffer| buffer.resize(buffer.len() + MAX_PAYLOAD + 1, 1));
    assert_eq!(error.expect_err("too large").kind(), io::ErrorKind::InvalidInput);
    assert_eq!(journal.append(b"fine").expect("append").0, 1);
}

#[test]
fn replay_can_begin_at_any_frame_and_nowhere_else() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, SMALL);
    let at: Vec<_> = (0..20_u8).map(|i| journal.append(&[i; 200]).expect("append").1).collect();
    let end = journal.end();
    drop(journal);
    for (first, from) in at.iter().enumerate() {
        let (journal, recovery, seen) = try_open(dir.path(), SMALL, Some(*from)).expect("open");
        assert_eq!((seen[0].0, seen.len()), (first as u64 + 1, 20 - first));
        assert_eq!((recovery.last_seq, journal.next_seq(), journal.end()), (20, 21, end));
    }
    let wrong = [(end.segment, end.offset), (1, 128), (1, 0), (1, 65), (1, 1 << 20), (99, 64)];
    for (segment, offset) in wrong {
        let error = try_open(dir.path(), SMALL, Some(FramePosition { segment, offset })).err();
        assert!(matches!(error.map(StoreError::from), Some(StoreError::Damaged(_))), "{segment} {offset}");
    }
}

#[test]
fn a_visitor_can_stop_the_replay() {
    let dir = temp();
    drop(three(&dir, ROOMY));
    let stop = Journal::open(dir.path(), ROOMY, None, &mut |_| Err(StoreError::Damaged("no".into())));
    assert!(matches!(stop.err(), Some(JournalError::Store(StoreError::Damaged(_)))));
}

struct Failing(AtomicBool, fn() -> bool);

impl SegmentFile for Failing {
    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        if (self.1)() { Err(io::Error::other("write")) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        // Fails once; a second sync would lie, as a kernel does.
        if self.0.swap(true, Ordering::Relaxed) { Ok(()) } else { Err(io::Error::other("sync")) }
    }
}

#[test]
fn after_an_io_error_nothing_is_appended_any_more() {
    for fails in [|| true, || false] {
        let dir = temp();
        let (mut journal, _) = three(&dir, ROOMY);
        journal.segment.file = Box::new(Failing(AtomicBool::new(false), fails));
        journal.append(b"lost").expect_err("the disk failed");
        assert!(journal.is_poisoned());
        journal.append(b"never").expect_err("poisoned");
        journal.seal().expect_err("poisoned");
        drop(journal);
        assert_eq!(open(&dir, ROOMY).2.len(), 3);
    }
}

#[test]
fn a_failed_preparation_poisons_nothing() {
    let dir = temp();
    let (mut journal, _) = three(&dir, ROOMY);
    let obstacle = files::numbered_path(dir.path(), 2, "tmp");
    fs::create_dir(&obstacle).expect("mkdir");
    let told = std::iter::repeat_with(|| journal.prepare()).find(Result::is_err);
    assert!(told.is_some());
    journal.prepare().expect("told once");
    journal.append(b"still room here").expect("append");
    journal.append(&[1; 64 << 10]).map(drop).expect_err("now the segment is needed");
    assert!(journal.is_poisoned());
    fs::remove_dir(&obstacle).expect("rmdir");
    drop(journal);
    assert_eq!(open(&dir, ROOMY).2.len(), 4);
}

#[test]
fn a_reader_reads_whole_frames_and_parts() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, SMALL);
    let reader = journal.reader();
    let at: Vec<_> = (0..9_u8).map(|i| journal.append(&[i; 300]).expect("append").1).collect();
    let large: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
    let large_at = journal.append(&large).expect("append").1;
    for (i, at) in at.iter().enumerate() {
        assert_eq!(&reader.clone().read(*at).expect("read")[..], [i as u8; 300]);
    }
    assert_eq!(&reader.read(large_at).expect("read")[..], large);
    assert_eq!(&reader.read_part(large_at, 9_000, 1_000).expect("read")[..], &large[9_000..]);
    reader.read_part(large_at, 9_000, 1_001).expect_err("beyond the payload");
    reader.read_part(large_at, u32::MAX, u32::MAX).expect_err("beyond the payload");
    reader.read(FramePosition { segment: 1, offset: 128 }).expect_err("no frame");
    reader.read(FramePosition { segment: 77, offset: 64 }).expect_err("no segment");
    change(&segment(&dir, at[0].segment), |bytes| bytes[200] ^= 1);
    assert!(matches!(JournalReader::new(dir.path()).read(at[0]), Err(StoreError::Damaged(_))));
}

/// Sequences of the good frames, of the damaged and of the next good ones, and whether a tail is torn.
type Findings = (Vec<u64>, Vec<(u64, Option<u64>)>, bool);

fn findings(dir: &TempDir) -> Findings {
    let (mut good, mut bad, mut torn) = (Vec::new(), Vec::new(), false);
    check(dir.path(), &mut |finding| {
        match finding {
            Finding::Frame(frame) => good.push(frame.seq),
            Finding::Damage(damage) => bad.push((damage.seq, damage.next_seq)),
            Finding::TornTail(_) => torn = true,
        }
        Ok(())
    })
    .expect("check");
    (good, bad, torn)
}

#[test]
fn a_check_goes_on_behind_damage() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, SMALL);
    let at: Vec<_> = (0..12_u8).map(|i| journal.append(&[i; 200]).expect("append").1).collect();
    drop(journal);
    assert_eq!(findings(&dir), ((1..=12).collect(), vec![], false));
    let flip = |at: FramePosition| change(&segment(&dir, at.segment), |b| b[at.offset as usize + 10] ^= 4);
    flip(at[1]);
    flip(at[4]);
    flip(at[5]);
    assert_eq!(findings(&dir), (vec![1, 3, 4, 7, 8, 9, 10, 11, 12], vec![(2, Some(3)), (5, Some(7))], false));
    flip(at[11]);
    assert!(findings(&dir).2, "the last frame may be a torn tail");
    change(&segment(&dir, 2), |bytes| bytes[20] ^= 1);
    let (good, bad, _) = findings(&dir);
    assert!(good.contains(&7) && bad.len() >= 2, "{good:?} {bad:?}");
    assert_eq!(check(temp().path(), &mut |_| Ok(())).ok(), Some(()), "an empty folder is fine");
}

#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Seal,
    Prepare,
    Reopen,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is done in whatever order: what was acknowledged comes back.
    #[test]
    fn many_lives(acts in prop::collection::vec(prop_oneof![
        6 => (0_usize..2_500).prop_map(Act::Append),
        1 => Just(Act::Seal), 1 => Just(Act::Prepare), 1 => Just(Act::Reopen),
    ], 1..40)) {
        let dir = temp();
        let (mut journal, ..) = open(&dir, SMALL);
        let mut written = Vec::new();
        for (i, act) in acts.into_iter().enumerate() {
            match act {
                Act::Append(len) => {
                    let payload = vec![i as u8 + 1; len];
                    let (seq, at) = journal.append(&payload).expect("append");
                    written.push((seq, Kind::Commit, at, payload));
                }
                Act::Seal => journal.seal().expect("seal"),
                Act::Prepare => journal.prepare().expect("prepare"),
                Act::Reopen => {
                    drop(journal);
                    journal = open(&dir, SMALL).0;
                }
            }
        }
        let last = journal.next_seq() - 1;
        drop(journal);
        let (_, recovery, mut seen) = open(&dir, SMALL);
        prop_assert_eq!((recovery.last_seq, recovery.frames, recovery.cut), (last, last, None));
        seen.retain(|frame| frame.1 == Kind::Commit);
        prop_assert_eq!(seen, written);
    }
}

/// Flips a bit of the byte behind the beginning of a frame by so many.
fn flip(dir: &TempDir, at: FramePosition, by: usize) {
    change(&segment(dir, at.segment), |bytes| bytes[at.offset as usize + by] ^= 1);
}

#[test]
fn damage_at_the_first_frame_of_a_start_has_its_number() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, ROOMY);
    let at: Vec<_> = (0..5_u8).map(|i| journal.append(&[i; 100]).expect("append").1).collect();
    drop(journal);
    flip(&dir, at[2], 70);
    let opened = Journal::open(dir.path(), ROOMY, Some((at[2], 3)), &mut |_| Ok(()));
    let Some(JournalError::Damaged(damage)) = opened.err() else { panic!("it is damaged") };
    assert_eq!((damage.position, damage.seq, damage.next_seq), (at[2], 3, Some(4)));
}

#[test]
fn a_journal_is_checked_part_by_part_while_it_grows() {
    let dir = temp();
    let (mut journal, ..) = open(&dir, SMALL);
    let at: Vec<_> = (0..9_u8).map(|i| journal.append(&[i; 200]).expect("append").1).collect();
    let all = |last: u64| {
        let (mut next, mut seen, mut damaged) = (None, Vec::new(), Vec::new());
        loop {
            next = check_part(dir.path(), next, last, 1, &mut |finding| {
                match finding {
                    Finding::Frame(frame) => seen.push(frame.seq),
                    Finding::Damage(damage) => damaged.push((damage.position, damage.seq)),
                    Finding::TornTail(_) => panic!("nothing is torn"),
                }
                Ok(())
            })
            .expect("readable");
            if next.is_none() {
                return (seen, damaged);
            }
        }
    };
    assert_eq!(all(9), ((1..=9).collect(), Vec::new()));
    assert_eq!(all(4), ((1..=4).collect(), Vec::new()));
    flip(&dir, at[4], 70);
    assert_eq!(all(9), (vec![1, 2, 3, 4, 6, 7, 8, 9], vec![(at[4], 5)]));
    journal.append(b"goes on").expect("append");
}
