//! Where a received document lies: one folder for each, with names that no peer can choose.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use prost::Message;

use super::ClientError;
use crate::{
    domain::id::{Digest, DocumentName},
    proto::{Part, SignedEnvelope},
};

/// Names longer than this get a digest instead of their end. Common file systems allow 255 bytes.
const MAX_NAME: usize = 160;
/// Largest file that is read back: payload and signatures of an envelope are bounded below it.
const MAX_FILE: u64 = 4 << 20;

/// The signed envelope, as it was received.
pub const ENVELOPE: &str = "envelope.pb";
/// The manifest for people.
pub const MANIFEST: &str = "manifest.json";
/// Proof that the hub accepted the document from its sender.
pub const ACCEPTANCE: &str = "acceptance.receipt";
/// Our own signed receipt, until the proof of the handover is here.
pub const RECEIPT: &str = "receipt.pb";
/// Proof that it was handed over to us. With this file the folder is complete.
pub const HANDOVER: &str = "handover.receipt";
/// The hub's verifier key.
pub const VERIFIER: &str = "hub.vkey";
/// Proofs of the changes of its key, where there was one.
pub const LOG_KEYS: &str = "hub.keys";
/// The folder of the attachments.
pub const PARTS: &str = "parts";

/// The folder of one received document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder for a document below `root`; made when it is not there. It belongs to the document whose envelope
    /// lies in it: where it is another's (of another sender, say), this one gets a name with its manifest's digest.
    pub fn open(root: &Path, name: &DocumentName, manifest_sha256: &Digest) -> Result<Self, ClientError> {
        let usual = folder_name(name);
        let digest = manifest_sha256.to_string();
        let folder = Self { path: root.join(&usual) };
        let folder = match folder.belongs_to()? {
            Some(other) if other != *manifest_sha256 => {
                Self { path: root.join(format!("{usual}~{}", &digest[..16])) }
            }
            _ => folder,
        };
        let parts = folder.path.join(PARTS);
        if !parts.exists() {
            fs::create_dir_all(&parts).map_err(ClientError::file(&parts))?;
            sync_folder(root).map_err(ClientError::file(root))?;
        }
        Ok(folder)
    }

    /// Folders below `root` where our receipt is signed, and the proof of the handover is missing.
    pub fn unsettled(root: &Path) -> Result<Vec<Self>, ClientError> {
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ClientError::file(root))?,
        };
        let mut unsettled = Vec::new();
        for entry in entries {
            let folder = Self { path: entry.map_err(ClientError::file(root))?.path() };
            if folder.path.join(RECEIPT).exists() && !folder.is_complete() {
                unsettled.push(folder);
            }
        }
        Ok(unsettled)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when the document was handed over before.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.path.join(HANDOVER).exists()
    }

    /// Puts files there, durable when this returns; of each, a reader sees the old content or the new one.
    pub fn put(&self, files: &[(&str, &[u8])]) -> Result<(), ClientError> {
        for (name, bytes) in files {
            let path = self.path.join(name);
            self.replace(&path, name, bytes).map_err(ClientError::file(&path))?;
        }
        sync_folder(&self.path).map_err(ClientError::file(&self.path))
    }

    fn replace(&self, path: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.path.join(format!(".new-{name}"));
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// Reads one of its small files.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, ClientError> {
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(ClientError::file(&path))?;
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(ClientError::file(&path))?;
        Ok(bytes)
    }

    /// Removes one of its files.
    pub fn remove(&self, name: &str) -> Result<(), ClientError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(ClientError::file(&path))
    }

    /// Where each attachment goes, in the manifest's order.
    #[must_use]
    pub fn part_paths(&self, parts: &[Part]) -> Vec<PathBuf> {
        part_names(parts).iter().map(|name| self.path.join(PARTS).join(name)).collect()
    }

    /// Where an attachment is collected until it is whole.
    #[must_use]
    pub fn partial_path(&self, sha256: &Digest) -> PathBuf {
        self.path.join(format!(".partial-{sha256}"))
    }

    /// Removes a folder that never became complete.
    pub fn discard(self) -> Result<(), ClientError> {
        if self.is_complete() {
            return Ok(());
        }
        fs::remove_dir_all(&self.path).map_err(ClientError::file(&self.path))
    }

    /// Digest of the manifest whose envelope lies here.
    fn belongs_to(&self) -> Result<Option<Digest>, ClientError> {
        if !self.path.join(ENVELOPE).exists() {
            return Ok(None);
        }
        let bytes = self.read(ENVELOPE)?;
        // What can't be read belongs to nobody who comes now.
        Ok(Some(SignedEnvelope::decode(bytes.as_slice()).map_or(Digest([0; 32]), |e| Digest::of(&e.payload))))
    }
}

/// Makes what happened to names in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The name of a document's folder: all but letters, digits and `.-_,` as `%XX`, then the revision. Two documents of
/// one sender never share a name.
fn folder_name(name: &DocumentName) -> String {
    let mut safe = String::new();
    for byte in name.document_id.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_,".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            let _ = write!(safe, "%{byte:02X}"); // writing to a string can't fail
        }
    }
    if safe.len() > MAX_NAME {
        safe.truncate(MAX_NAME);
        let _ = write!(safe, "~{}", Digest::of(name.document_id.as_bytes()));
    }
    format!("{safe}-r{}", name.revision)
}

/// File names for attachments: as the sender named them, where that is a plain name; repeats get a number.
#[must_use]
pub fn part_names(parts: &[Part]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    parts
        .iter()
        .map(|part| {
            let plain = plain_name(&part.name);
            let mut name = plain.clone();
            let mut number = 2;
            // Some file systems don't tell cases apart.
            while !taken.insert(name.to_lowercase()) {
                name = numbered(&plain, number);
                number += 1;
            }
            name
        })
        .collect()
}

fn plain_name(name: &str) -> String {
    let legal = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
    let mut plain: String = name.chars().map(legal).collect();
    let mut end = plain.len().min(200);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    plain.truncate(end);
    match plain.as_str() {
        "" | "." | ".." => "part".into(),
        _ => plain,
    }
}

fn numbered(name: &str, number: usize) -> String {
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}-{number}.{ending}"),
        _ => format!("{name}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(id: &str, revision: u64) -> DocumentName {
        DocumentName::parse("H53", id, revision).expect("legal")
    }

    fn part(name: &str) -> Part {
        Part { name: name.into(), ..Part::default() }
    }

    #[test]
    fn names_of_folders_are_readable_and_safe() {
        let show = |id| folder_name(&name(id, 1));
        assert_eq!(show("000.00.00.H53,2026,17/BC-UBND"), "000.00.00.H53,2026,17%2FBC-UBND-r1");
        assert_eq!(show(".."), "..-r1");
        assert_eq!(show("a b%20\u{110}\\"), "a%20b%2520%C4%90%5C-r1");
    }

    #[test]
    fn long_ids_keep_names_of_their_own() {
        let (one, other) = (format!("{}a", "Đ".repeat(99)), format!("{}b", "Đ".repeat(99)));
        let names = [folder_name(&name(&one, 0)), folder_name(&name(&other, 0))];
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| name.len() <= 255));
    }

    #[test]
    fn attachments_never_leave_their_folder_nor_replace_each_other() {
        let parts =
            ["a.pdf", "A.pdf", "a-2.pdf", "../../etc/passwd", "..", "", "a.pdf", ".env", ".env", "x\0y"]
                .map(part);
        assert_eq!(
            part_names(&parts),
            [
                "a.pdf",
                "A-2.pdf",
                "a-2-2.pdf",
                ".._.._etc_passwd",
                "part",
                "part-2",
                "a-3.pdf",
                ".env",
                ".env-2",
                "x_y"
            ]
        );
    }

    #[test]
    fn a_folder_belongs_to_the_document_whose_envelope_lies_there() {
        let root = tempfile::tempdir().expect("temporary folder");
        let envelope = SignedEnvelope { payload: "one".into(), ..SignedEnvelope::default() };
        let (ours, others) = (Digest::of(b"one"), Digest::of(b"other"));
        let folder = Folder::open(root.path(), &name("17", 0), &ours).expect("new");
        folder.put(&[(ENVELOPE, &envelope.encode_to_vec())]).expect("writes");
        assert_eq!(Folder::open(root.path(), &name("17", 0), &ours).expect("again"), folder);
        let other = Folder::open(root.path(), &name("17", 0), &others).expect("other");
        assert_eq!(
            other.path().file_name().expect("a name").to_str(),
            Some(&*format!("17-r0~{}", &others.to_string()[..16]))
        );

        folder.put(&[(RECEIPT, b"ours")]).expect("writes");
        assert_eq!(Folder::unsettled(root.path()).expect("lists"), std::slice::from_ref(&folder));
        folder.put(&[(HANDOVER, b"receipt")]).expect("writes");
        assert_eq!(Folder::unsettled(root.path()).expect("lists"), []);
        assert_eq!(Folder::unsettled(&root.path().join("none")).expect("lists"), []);
        folder.clone().discard().expect("kept");
        other.clone().discard().expect("removed");
        assert!(folder.is_complete() && !other.path().exists());
    }

    proptest! {
        #[test]
        fn two_ids_never_share_a_folder(one in "[a-zA-Z0-9/%~.Đ-][a-zA-Z0-9/%~. Đ-]{0,59}", other in "[a-zA-Z0-9/%~.Đ-][a-zA-Z0-9/%~. Đ-]{0,59}", r in 0u64..3, s in 0u64..3) {
            let names = (name(&one, r), name(&other, s));
            let folders = (folder_name(&names.0), folder_name(&names.1));
            prop_assert_eq!(names.0 == names.1, folders.0 == folders.1);
            prop_assert!(folders.0.len() <= 255);
            prop_assert!(folders.0.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_,%~".contains(&b)));
        }

        #[test]
        fn any_names_of_attachments_become_plain_and_different(names in prop::collection::vec(any::<String>(), 0..20)) {
            let parts: Vec<_> = names.iter().map(|name| part(name)).collect();
            let files = part_names(&parts);
            let different: BTreeSet<_> = files.iter().map(|file| file.to_lowercase()).collect();
            prop_assert_eq!(different.len(), names.len());
            for file in files {
                prop_assert!(!file.contains(['/', '\\', '\0']) && file != ".." && file != "." && !file.is_empty());
                prop_assert!(file.len() <= 255);
            }
        }
    }
}
