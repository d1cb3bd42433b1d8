//! Reads an index's sealed files again, a part at a time, and holds each against the checksum that was noted when it was
//! written. Beside all other use: a file that is merged away meanwhile is read to its end, or left out.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3Default;

use super::{Damage, Index};

/// Bytes read at a time.
const WINDOW: usize = 256 << 10;

/// A file that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// XXH3 of its bytes, 128 bits.
    pub checksum: u128,
}

/// One pass over the files that were there when it began.
pub struct Pass {
    left: VecDeque<SealedFile>,
    open: Option<Open>,
}

struct Open {
    file: SealedFile,
    reader: File,
    hasher: Xxh3Default,
}

/// A file whose bytes are not what was written.
#[derive(Debug)]
pub struct Wrong {
    /// Which.
    pub path: PathBuf,
    /// What is wrong with it.
    pub detail: String,
}

impl Pass {
    /// Begins with the first file.
    pub fn begin(index: &dyn Index) -> Result<Self, Damage> {
        Ok(Self { left: index.sealed()?.into(), open: None })
    }

    /// True at the end.
    pub fn is_over(&self) -> bool {
        self.left.is_empty() && self.open.is_none()
    }

    /// Reads about so many bytes; how many it were.
    pub fn read(
        &mut self,
        index: &dyn Index,
        bytes: u64,
        report: &mut dyn FnMut(Wrong),
    ) -> Result<u64, Damage> {
        let mut read = 0;
        while read < bytes && !self.is_over() {
            let outcome = self.step();
            match outcome {
                Ok(count) => read += count,
                Err((path, problem)) => {
                    self.open = None;
                    // Merged away since the pass began: nobody reads it any more.
                    if index.sealed()?.iter().any(|file| file.path == path) {
                        report(Wrong { path, detail: problem });
                    }
                }
            }
        }
        Ok(read)
    }

    /// The next piece; its bytes, or the file that is wrong.
    fn step(&mut self) -> Result<u64, (PathBuf, String)> {
        let Some(open) = &mut self.open else {
            let Some(file) = self.left.pop_front() else { return Ok(0) };
            let reader = File::open(&file.path).map_err(|error| wrong(&file.path, &error))?;
            self.open = Some(Open { file, reader, hasher: Xxh3Default::new() });
            return Ok(0);
        };
        let mut window = vec![0; WINDOW];
        let count = open.reader.read(&mut window).map_err(|error| wrong(&open.file.path, &error))?;
        open.hasher.update(&window[..count]);
        if count > 0 {
            return Ok(count as u64);
        }
        let (found, file) = (open.hasher.digest128(), open.file.clone());
        self.open = None;
        match found == file.checksum {
            true => Ok(0),
            false => Err((file.path, "is not what was written".into())),
        }
    }
}

fn wrong(path: &Path, error: &io::Error) -> (PathBuf, String) {
    (path.to_owned(), format!("can't be read: {error}"))
}
