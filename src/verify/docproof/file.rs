//! The file: its one allowed form, and the proof that its leaves are in the signed tree.

use bytes::Bytes;
use prost::{
    Message,
    encoding::{DecodeContext, decode_key, skip_field},
};

use super::{Cosigned, DocProofError, Place};
use crate::{
    proto::{DocProof, ProofLeaf},
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        cosignature::WitnessKey,
        keys::{LogKeys, Trust},
        merkle::{leaf_hash, several_root},
        note::{self, Verifier},
    },
    verify::{Facts, MAX_LEAF, log_keys},
};

/// Begins every file.
pub const MAGIC: &[u8] = b"truc docproof v1\n";
/// Largest file: a circular to 20,000 agencies takes about 50 MiB.
pub const MAX_FILE: usize = 512 * 1024 * 1024;
/// Most leaves, and most hashes beside them: an entry of two bytes on the wire takes many more in memory.
const MAX_ENTRIES: usize = 1_000_000;
/// Largest envelope, with its signatures.
const MAX_ENVELOPE: usize = 3 * 1024 * 1024;

/// Numbers of the fields that are counted or measured before they are decoded.
const ENVELOPE: u32 = 3;
const LEAVES: u32 = 4;
const HASHES: u32 = 5;

/// The bytes of a file.
#[must_use]
pub fn encode(proof: &DocProof) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.reserve(proof.encoded_len());
    proof.encode_raw(&mut bytes);
    bytes
}

/// Reads a file in its one allowed form. Nothing is proven yet.
pub fn decode(file: &Bytes) -> Result<DocProof, DocProofError> {
    let wrong = |problem: String| Place::File.problem(problem);
    if file.len() > MAX_FILE {
        return Err(wrong(format!("more than {MAX_FILE} bytes")));
    }
    if !file.starts_with(MAGIC) {
        return Err(wrong("does not begin with \"truc docproof v1\"".into()));
    }
    let body = file.slice(MAGIC.len()..);
    check_size(&body).map_err(wrong)?;
    let proof = DocProof::decode(body.clone()).map_err(|error| wrong(error.to_string()))?;
    let again = proof.encode_to_vec();
    if again == body {
        return Ok(proof);
    }
    let at = again.iter().zip(&body).take_while(|(one, other)| one == other).count();
    Err(wrong(format!("not in its one allowed form, from byte {} on", MAGIC.len() + at)))
}

fn check_size(body: &Bytes) -> Result<(), String> {
    let (mut rest, mut entries) = (body.clone(), 0);
    while !rest.is_empty() {
        let before = rest.len();
        let (tag, wire_type) = decode_key(&mut rest).map_err(|error| error.to_string())?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(|error| error.to_string())?;
        if tag == ENVELOPE && before - rest.len() > MAX_ENVELOPE {
            return Err(format!("an envelope of more than {MAX_ENVELOPE} bytes"));
        }
        entries += usize::from(tag == LEAVES || tag == HASHES);
        if entries > 2 * MAX_ENTRIES {
            return Err(format!("more than {MAX_ENTRIES} leaves and as many hashes"));
        }
    }
    Ok(())
}

/// The keys of the log whose key the file names, if one of them is trusted: the named one, or one that the changes in the
/// file tie to it. The changes are verified, whether they are needed or not.
pub fn trusted_keys(proof: &DocProof, trusted: &[Verifier]) -> Result<(Verifier, LogKeys), DocProofError> {
    let wrong = |problem: String| Place::HubKey.problem(problem);
    let named = &proof.verifier_key;
    let keys = log_keys::trusted(&proof.log_keys, trusted).map_err(|error| wrong(error.to_string()))?;
    let key = Verifier::parse(named).map_err(|error| wrong(format!("the file names {named:?}: {error}")))?;
    let keys = keys.into_iter().find(|keys| keys.contains(&key));
    let keys = keys.ok_or_else(|| wrong(format!("the file names {named:?}, which is not a trusted key")))?;
    let own = log_keys::read(&proof.log_keys).map_err(|error| wrong(error.to_string()))?;
    match own.first().is_none_or(|first| keys.contains(&first.handover.old)) {
        true => Ok((key, keys)),
        false => Err(wrong("the changes of a key in the file are of another log's".into())),
    }
}

/// Opens the checkpoint, whose only signature has to be the named key's: nothing in the file is left unchecked.
pub fn open_checkpoint(note: &str, key: &Verifier, keys: &LogKeys) -> Result<Checkpoint, DocProofError> {
    let wrong = |problem: String| Place::Checkpoint.problem(problem);
    let checkpoint = keys.open(note).map_err(|error| wrong(error.to_string()))?;
    if keys.of_size(checkpoint.size) != key {
        return Err(wrong("signed by another key than the file names".into()));
    }
    let text = note::unverified_text(note).map_err(|error| wrong(error.to_string()))?;
    // Behind the text: an empty line, then the signatures, one a line.
    if note[text.len()..].matches('\n').count() != 2 {
        return Err(wrong("more than one signature".into()));
    }
    Ok(checkpoint)
}

/// Verifies every cosignature by the key that stands beside it; whose key that is, is not asked.
pub fn cosignatures(proof: &DocProof) -> Result<Vec<Cosigned>, DocProofError> {
    let wrong = |number: usize, problem: String| {
        Place::Checkpoint.problem(format!("cosignature {number}: {problem}"))
    };
    let mut found: Vec<Cosigned> = Vec::new();
    for (number, given) in (1..).zip(proof.cosignatures.iter().take(note::MAX_SIGNATURES + 1)) {
        let key = WitnessKey::parse(&given.verifier_key).map_err(|error| wrong(number, error.to_string()))?;
        let own = key.find(&format!("{}{}", proof.checkpoint, given.line));
        let own = own.map_err(|error| wrong(number, error.to_string()))?;
        let own = own.ok_or_else(|| wrong(number, "not by the key beside it".into()))?;
        if own.line != given.line || found.iter().any(|other| other.key.is_same_key(&key)) {
            return Err(wrong(number, "not one signature of one witness".into()));
        }
        found.push(Cosigned { key, time: own.time });
    }
    if found.len() < proof.cosignatures.len() {
        return Err(wrong(found.len(), "too many".into()));
    }
    Ok(found)
}

/// Proves that all leaves are in the checkpoint's tree, each at its place, and reads them.
pub fn included(proof: &DocProof, checkpoint: &Checkpoint) -> Result<Vec<Facts>, DocProofError> {
    let leaves = proof.leaves.iter().map(hashed).collect::<Result<Vec<_>, _>>()?;
    let hashes = proof.hashes.iter().map(|hash| hash[..].try_into().ok()).collect::<Option<Vec<Hash>>>();
    let wrong = |problem: &str| Place::Proof.problem(problem);
    let hashes = hashes.ok_or_else(|| wrong("a hash has not 32 bytes"))?;
    if several_root(&leaves, checkpoint.size, &hashes) != Some(checkpoint.root) {
        return Err(wrong("the leaves at these places, with these hashes, do not give the signed root"));
    }
    let read = |leaf: &ProofLeaf| {
        Facts::read(&leaf.evidence, leaf.index, checkpoint.clone())
            .map_err(|error| Place::Leaf(leaf.index).problem(error.to_string()))
    };
    proof.leaves.iter().map(read).collect()
}

/// A leaf's place and hash. The hash in the file only repeats what follows: it lets damage be named.
fn hashed(leaf: &ProofLeaf) -> Result<(u64, Hash), DocProofError> {
    let wrong = |problem: &str| Place::Leaf(leaf.index).problem(problem);
    if leaf.evidence.len() > MAX_LEAF {
        return Err(wrong("larger than a leaf can be"));
    }
    let hash = leaf_hash(&leaf.evidence);
    if hash[..] != leaf.leaf_hash {
        return Err(wrong("its bytes do not have the hash that stands beside them"));
    }
    Ok((leaf.index, hash))
}
