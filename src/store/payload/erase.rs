//! Removes the bytes of bodies for good: files are unlinked, entries of packs become zeros and give their room back.
//!
//! Everything here may be killed at any moment and done again: nothing is read from what was erased.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
};

use super::{
    Payload,
    pack::BLOCK,
    walk::{PackPlace, Stretch, Walk},
};
use crate::{
    domain::id::Digest,
    store::{files, records::BodyRecord, written},
};

/// Zeros are written so many at a time.
const ZEROS: usize = 64 << 10;
/// What file systems give back.
const PAGE: u64 = 4096;

/// Digests to remove from packs; of each, entries that begin before a place.
pub type Condemned = HashMap<Digest, PackPlace>;

/// How far a removal from packs came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackRemoval {
    /// Where the next step goes on.
    pub next: PackPlace,
    /// A broken entry of a condemned body reaches to here.
    broken_to: u64,
    /// Entries that became zeros.
    pub entries: u64,
}

impl Payload {
    /// Where the packs end: what is kept from now on lies behind it.
    pub fn packs_end(&self) -> io::Result<PackPlace> {
        self.packs.end()
    }

    /// Removes the file of a body, unless `is_wanted` says, while nobody can adopt an upload in its place, that a
    /// document needs it again. True if there was one.
    pub fn remove_file(&self, digest: &Digest, is_wanted: &dyn Fn() -> bool) -> io::Result<bool> {
        let path = self.body(digest);
        {
            let _held = files::lock(&self.links);
            if is_wanted() || !path.try_exists()? {
                return Ok(false);
            }
            files::remove_if_there(&path)?;
        }
        path.parent().map_or(Ok(()), files::sync_dir)?;
        Ok(true)
    }

    /// Makes zeros of bodies in packs by their records, whatever their bytes are now.
    pub fn remove_packed(&self, bodies: &[BodyRecord]) -> io::Result<()> {
        let mut by_pack: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
        for body in bodies {
            let start = body.offset.checked_sub(BLOCK as u64);
            if let (Some(pack), Some(start)) = (body.pack_plus_one.checked_sub(1), start) {
                by_pack.entry(pack).or_default().push((start, BLOCK as u64 + body.size));
            }
        }
        for (pack, entries) in by_pack {
            let Some(file) = self.writable(pack)? else { continue };
            wipe(&file, &entries, file.metadata()?.len())?;
        }
        Ok(())
    }

    /// Looks through the packs for copies of condemned bodies, for about `bytes`, and makes zeros of them. False when
    /// there is nothing behind `so_far.next` any more.
    pub fn remove_copies(
        &self,
        condemned: &Condemned,
        so_far: &mut PackRemoval,
        bytes: u64,
    ) -> io::Result<bool> {
        let Some(end) = condemned.values().max().copied() else { return Ok(false) };
        let Some(pack) = self.packs.at_or_behind(so_far.next.pack)? else { return Ok(false) };
        if pack != so_far.next.pack {
            (so_far.next, so_far.broken_to) = (PackPlace { pack, offset: 0 }, 0);
        }
        if so_far.next >= end {
            return Ok(false);
        }
        let Some(file) = self.writable(pack)? else { return Ok(false) };
        let file = std::sync::Arc::new(file);
        let upto = if pack == end.pack { end.offset } else { u64::MAX };
        let (from, mut walk) = (so_far.next.offset, Walk::new(file.clone(), so_far.next.offset, upto)?);
        let mut doomed = Vec::new();
        let ended = loop {
            if walk.at() - from.min(walk.at()) >= bytes {
                break false;
            }
            let Some((at, len, stretch)) = walk.step()? else { break true };
            let condemned = |digest: &Digest| {
                condemned.get(digest).is_some_and(|before| PackPlace { pack, offset: at } < *before)
            };
            match stretch {
                Stretch::Entry(digest) if condemned(&digest) => {
                    so_far.broken_to = 0;
                    so_far.entries += 1;
                    doomed.push((at, len));
                }
                Stretch::Entry(_) => so_far.broken_to = 0,
                Stretch::Broken(digest, whole) if condemned(&digest) => so_far.broken_to = at + whole,
                Stretch::Broken(..) | Stretch::Nothing => {}
            }
            if !matches!(stretch, Stretch::Entry(_)) && at < so_far.broken_to {
                doomed.push((at, len));
            }
        };
        wipe(&file, &doomed, upto.min(file.metadata()?.len()))?;
        so_far.next.offset = walk.at();
        if ended {
            (so_far.next, so_far.broken_to) = (PackPlace { pack: pack.saturating_add(1), offset: 0 }, 0);
        }
        Ok(true)
    }

    /// The file of a body, if it is there.
    #[must_use]
    pub fn file_of(&self, digest: &Digest) -> Option<std::path::PathBuf> {
        Some(self.body(digest)).filter(|path| path.exists())
    }

    /// True if nothing but zeros stands where the record of a packed body says, header included.
    pub fn is_wiped(&self, body: &BodyRecord) -> io::Result<bool> {
        let start = body.offset.checked_sub(BLOCK as u64);
        let (Some(pack), Some(start)) = (body.pack_plus_one.checked_sub(1), start) else { return Ok(true) };
        let file = match File::open(self.packs.path(pack)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        let end = (body.offset + body.size).min(file.metadata()?.len());
        Ok(start >= end || is_zero(&file, start, end))
    }

    /// Tells of each whole entry of a condemned body that begins before its place. Reads the packs and changes nothing.
    pub fn find_copies(
        &self,
        condemned: &Condemned,
        found: &mut dyn FnMut(&Digest, PackPlace),
    ) -> io::Result<()> {
        let Some(end) = condemned.values().max().copied() else { return Ok(()) };
        let mut next = self.packs.at_or_behind(0)?;
        while let Some(pack) = next.filter(|pack| *pack <= end.pack) {
            let upto = if pack == end.pack { end.offset } else { u64::MAX };
            let mut walk = Walk::new(std::sync::Arc::new(File::open(self.packs.path(pack))?), 0, upto)?;
            while let Some((offset, _, stretch)) = walk.step()? {
                let (place, Stretch::Entry(digest)) = (PackPlace { pack, offset }, stretch) else { continue };
                if condemned.get(&digest).is_some_and(|before| place < *before) {
                    found(&digest, place);
                }
            }
            next = self.packs.at_or_behind(pack.saturating_add(1))?;
        }
        Ok(())
    }

    fn writable(&self, pack: u32) -> io::Result<Option<File>> {
        match fs::File::options().read(true).write(true).open(self.packs.path(pack)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }
}

/// Makes zeros of entries (offset of the header, length with it). First the bytes, durably, then the headers: after a
/// crash in between, what is left is still found by its header. Nothing at or behind `end` is touched.
fn wipe(file: &File, entries: &[(u64, u64)], end: u64) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    for (at, len) in entries {
        zero(file, (at + BLOCK as u64).min(end), (at + len).min(end))?;
    }
    written::sync_data(file)?;
    for (at, len) in entries {
        zero(file, (*at).min(end), (at + (*len).min(BLOCK as u64)).min(end))?;
    }
    written::sync_data(file)?;
    entries.iter().for_each(|(at, len)| give_back(file, *at, (at + len).min(end), end));
    Ok(())
}

fn zero(file: &File, mut from: u64, to: u64) -> io::Result<()> {
    static NONE: [u8; ZEROS] = [0; ZEROS];
    while from < to {
        let len = usize::try_from(to - from).unwrap_or(ZEROS).min(ZEROS);
        written::write_all_at(file, &NONE[..len], from)?;
        from += len as u64;
    }
    Ok(())
}

/// Gives the room of zeros back to the file system, whole pages of it; those at the edges too, if all their bytes
/// before `end` are zeros. Where that is not possible the zeros take room, nothing else.
fn give_back(file: &File, from: u64, to: u64, end: u64) {
    let first = from - from % PAGE;
    let last = to.next_multiple_of(PAGE);
    let start = if is_zero(file, first, from) { first } else { from.next_multiple_of(PAGE) };
    let stop = if last <= end && is_zero(file, to, last) { last } else { to - to % PAGE };
    if start < stop {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(error) = fallocate(file, flags, start, stop - start) {
            tracing::debug!(%error, "erased bytes stay as zeros");
        }
    }
}

fn is_zero(file: &File, from: u64, to: u64) -> bool {
    let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
    file.read_exact_at(&mut bytes, from).is_ok() && bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::store::payload::PayloadOptions;

    fn store() -> (tempfile::TempDir, Payload) {
        let dir = tempfile::tempdir().unwrap();
        let options = PayloadOptions { pack_bytes: 64 << 10, ..PayloadOptions::default() };
        let payload = Payload::open(&dir.path().join("bodies"), options).unwrap();
        (dir, payload)
    }

    fn body(text: &str, len: usize) -> Vec<u8> {
        text.as_bytes().iter().copied().cycle().take(len).collect()
    }

    fn all_bytes(payload: &Payload) -> Vec<u8> {
        let mut all = Vec::new();
        for pack in 1..=payload.packs_end().unwrap().pack {
            all.extend(fs::read(payload.packs.path(pack)).unwrap());
        }
        all
    }

    fn holds(haystack: &[u8], needle: &str) -> bool {
        haystack.windows(needle.len()).any(|part| part == needle.as_bytes())
    }

    fn condemn(payload: &Payload, bodies: &[&[u8]]) -> Condemned {
        let end = payload.packs_end().unwrap();
        bodies.iter().map(|body| (Digest::of(body), end)).collect()
    }

    fn remove_all(payload: &Payload, condemned: &Condemned, step: u64) -> u64 {
        let mut so_far = PackRemoval::default();
        while payload.remove_copies(condemned, &mut so_far, step).unwrap() {}
        so_far.entries
    }

    #[test]
    fn what_is_left_is_found_and_nothing_else() {
        let (_dir, payload) = store();
        let (doomed, other) = (body("SECRET-16", 3_000), body("other", 3_000));
        payload.put_small(&other).unwrap();
        let records = [(); 3].map(|()| payload.put_small(&doomed).unwrap());
        payload.sync().unwrap();
        let condemned = condemn(&payload, &[&doomed]);
        payload.put_small(&doomed).unwrap();
        payload.sync().unwrap();
        let left = || {
            let mut left = Vec::new();
            payload.find_copies(&condemned, &mut |_, place| left.push(place.offset + BLOCK as u64)).unwrap();
            left
        };
        assert_eq!(left(), records.clone().map(|record| record.offset), "the fourth came later");
        payload.remove_packed(&records[1..2]).unwrap();
        assert_eq!(left(), [records[0].offset, records[2].offset]);
        assert_eq!(records.clone().map(|record| payload.is_wiped(&record).unwrap()), [false, true, false]);
        remove_all(&payload, &condemned, u64::MAX);
        assert!(left().is_empty() && records.iter().all(|record| payload.is_wiped(record).unwrap()));
        // One byte of a body, without its header.
        let file = payload.writable(records[0].pack_plus_one - 1).unwrap().unwrap();
        file.write_all_at(b"S", records[0].offset + 2_999).unwrap();
        assert!(left().is_empty() && !payload.is_wiped(&records[0]).unwrap());
    }

    #[test]
    fn every_copy_goes_and_every_other_body_stays() {
        let (_dir, payload) = store();
        let doomed = body("SECRET-17", 9_000);
        let mut others = Vec::new();
        for at in 0..40 {
            let other = body(&format!("other {at} "), 100 + at * 150);
            others.push((payload.put_small(&other).unwrap(), other));
            if at % 9 == 0 {
                payload.put_small(&doomed).unwrap();
            }
        }
        payload.sync().unwrap();
        assert!(payload.packs_end().unwrap().pack > 1 && holds(&all_bytes(&payload), "SECRET-17"));
        let condemned = condemn(&payload, &[&doomed]);
        let later = payload.put_small(&doomed).unwrap();
        assert_eq!(remove_all(&payload, &condemned, 1 << 12), 5);
        assert_eq!(&payload.read(&later).unwrap()[..], doomed, "what came later is another document's");
        payload.remove_packed(&[later]).unwrap();
        assert!(!holds(&all_bytes(&payload), "SECRET"));
        for (record, bytes) in &others {
            assert_eq!(&payload.read(record).unwrap()[..], bytes);
        }
        let appended = payload.put_small(b"after").unwrap();
        assert_eq!(&payload.read(&appended).unwrap()[..], b"after");
        assert_eq!(remove_all(&payload, &condemned, u64::MAX), 0, "again is nothing");
    }

    #[test]
    fn room_is_given_back() {
        let (_dir, payload) = store();
        let bodies: Vec<_> = (0..12).map(|at| body(&format!("{at} "), 4_000)).collect();
        for body in &bodies {
            payload.put_small(body).unwrap();
        }
        payload.sync().unwrap();
        let taken = || fs::metadata(payload.packs.path(1)).unwrap().blocks();
        let before = taken();
        let refs: Vec<&[u8]> = bodies[1..11].iter().map(|body| &body[..]).collect();
        assert_eq!(remove_all(&payload, &condemn(&payload, &refs), u64::MAX), 10);
        assert!(taken() < before / 2, "{} of {before} blocks", taken());
        assert!(holds(&all_bytes(&payload), "0 0 0") && holds(&all_bytes(&payload), "11 11"));
    }

    #[test]
    fn what_a_crash_left_half_is_found_too() {
        let (_dir, payload) = store();
        let doomed = body("SECRET-18", 5_000);
        let record = payload.put_small(&doomed).unwrap();
        let kept = payload.put_small(b"kept").unwrap();
        // The tail of the body never reached the disk.
        let file = payload.writable(1).unwrap().unwrap();
        zero(&file, record.offset + 3_000, record.offset + 3_500).unwrap();
        assert!(holds(&all_bytes(&payload), "SECRET-18"));
        remove_all(&payload, &condemn(&payload, &[&doomed]), 256);
        assert!(!holds(&all_bytes(&payload), "SECRET"));
        assert_eq!(&payload.read(&kept).unwrap()[..], b"kept");
    }

    #[test]
    fn a_body_that_looks_like_an_entry_is_not_one() {
        let (_dir, payload) = store();
        let doomed = body("SECRET-19", 200);
        // Somebody hands in the very bytes of another body's entry, and a header that claims all that follows.
        let mut forged = Vec::new();
        super::super::pack::encode(&Digest::of(&doomed), &doomed, &mut forged);
        forged.extend(super::super::pack::header(&Digest::of(&doomed), 60_000));
        let (forged, next) = (payload.put_small(&forged).unwrap(), payload.put_small(b"next").unwrap());
        assert_eq!(remove_all(&payload, &condemn(&payload, &[&doomed]), u64::MAX), 0);
        payload.verify(&forged).unwrap();
        payload.verify(&next).unwrap();
    }

    #[test]
    fn a_file_goes_unless_it_is_wanted_again() {
        use crate::domain::id::NodeName;
        let (dir, payload) = store();
        let (bytes, node) = (body("SECRET-20", 100_000), NodeName::parse("a").unwrap());
        let digest = Digest::of(&bytes);
        let mut upload = payload.begin(&node, &digest, bytes.len() as u64, 0).unwrap();
        upload.write(&bytes).unwrap();
        assert!(upload.finish().unwrap());
        let record = payload.adopt(&node, &digest).unwrap().unwrap();
        payload.release(&node, &digest).unwrap();
        assert!(!payload.remove_file(&digest, &|| true).unwrap());
        payload.verify(&record).unwrap();
        assert!(payload.remove_file(&digest, &|| false).unwrap());
        assert!(!payload.remove_file(&digest, &|| false).unwrap(), "twice is fine");
        payload.verify(&record).unwrap_err();
        drop(dir);
    }
}
