//! The mark: up to which frame the index was durable when it was written. A witness beside the engine's folder: an
//! index that is behind it is not the one that was left there.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Applied;
use crate::store::files;

const NAME: &str = "mark";
const MAGIC: &[u8; 8] = b"TRUCMRK1";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The newest durable frame; `None` for an empty index.
    pub applied: Option<Applied>,
}

impl Mark {
    /// Its place in the folder of the history.
    pub fn path(history: &Path) -> PathBuf {
        history.join(NAME)
    }

    /// Writes it whole and durably.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.applied.iter().flat_map(Applied::encode));
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        files::replace_file(path, &bytes)
    }

    /// `None` if it is missing or unreadable.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = fs::read(path).ok()?;
        let (content, crc) = bytes.split_last_chunk()?;
        let applied = content.strip_prefix(MAGIC)?;
        let applied = if applied.is_empty() { None } else { Some(Applied::decode(applied)?) };
        (crc32c::crc32c(content) == u32::from_be_bytes(*crc)).then_some(Self { applied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::journal::FramePosition;

    #[test]
    fn it_comes_back_and_every_bit_counts() {
        let temp = tempfile::tempdir().expect("temp");
        let path = Mark::path(temp.path());
        assert_eq!(Mark::read(&path), None);
        let position = FramePosition { segment: 3, offset: 640 };
        for applied in [None, Some(Applied { seq: 7, position, root: [9; 32] })] {
            Mark { applied }.write(&path).expect("write");
            assert_eq!(Mark::read(&path), Some(Mark { applied }));
            let bytes = fs::read(&path).expect("read");
            for bit in 0..bytes.len() * 8 {
                let mut wrong = bytes.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                fs::write(&path, wrong).expect("write");
                assert_eq!(Mark::read(&path), None, "bit {bit}");
            }
        }
    }
}
