//! The tree's files, as far as they have to be read without the tree.

use std::{fs, io, path::Path};

/// Compares the list of files with its checksum, which the tree writes and does not look at.
pub fn check_list(dir: &Path) -> io::Result<()> {
    let current = match fs::read(dir.join("current")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the list of its files is damaged");
    let (version, rest) = current.split_first_chunk().ok_or_else(wrong)?;
    let (checksum, kind) = rest.split_first_chunk().ok_or_else(wrong)?;
    let found = hash(&dir.join(format!("v{}", u64::from_le_bytes(*version))))?;
    if kind != [0] || found != u128::from_le_bytes(*checksum) {
        return Err(wrong());
    }
    Ok(())
}

/// The checksum of a file as the tree takes it: XXH3 with 128 bits.
pub fn hash(path: &Path) -> io::Result<u128> {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.digest128())
}
