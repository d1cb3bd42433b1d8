//! The fuzz targets with the stable toolchain: the kept corpus, golden bytes, and random changes of both.
//!
//! `TRUC_FUZZ=n` makes n changes of each input, `TRUC_SEED=x` replays, `TRUC_WRITE_CORPUS=1` writes the golden bytes into
//! `fuzz/corpus`. A failure prints target, seed and input.
#![allow(clippy::unwrap_used)] // everything here is a test

#[path = "../fuzz/all.rs"]
mod all;
#[path = "fuzz_corpus/golden.rs"]
mod golden;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
};

use all::targets::ALL;
use base64::{Engine, engine::general_purpose::STANDARD};

/// Changes of each input in an ordinary test run; targets that write files make fewer.
const CHANGES: u64 = 60;
const SLOW: [&str; 4] = ["commits", "journal", "pack", "door"];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }
}

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn kept(target: &str) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(corpus(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn run(target: &str, seed: u64, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| all::run(target, input))) {
        eprintln!("target {target}, TRUC_SEED={seed}, input (base64):\n{}", STANDARD.encode(input));
        resume_unwind(panic);
    }
}

/// A few edits: bytes flipped, cut, repeated, replaced by others that matter, or taken from another input.
fn change(dice: &mut Dice, input: &[u8], all: &[Vec<u8>]) -> Vec<u8> {
    const MATTER: [&[u8]; 10] = [
        b"\0",
        b"\xff",
        b"\x7f",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\n",
        b"9",
        b"\xe2\x80\xae",
        b"=",
        b"..",
        b"\xff\xff\xff\xff",
    ];
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + dice.below(16)).min(bytes.len());
        match dice.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            3 => bytes.truncate(at),
            4 => {
                let other = &all[dice.below(all.len())];
                let from = dice.below(other.len() + 1);
                let to = (from + dice.below(64)).min(other.len());
                bytes.splice(at..end, other[from..to].to_vec()).for_each(drop);
            }
            _ => bytes.splice(at..end, MATTER[dice.below(MATTER.len())].to_vec()).for_each(drop),
        }
    }
    bytes
}

#[test]
fn no_bytes_harm() {
    let seed = number("TRUC_SEED").unwrap_or_else(|| getrandom::u64().unwrap() >> 16);
    println!("TRUC_SEED={seed}");
    let golden = golden::all();
    let write = std::env::var_os("TRUC_WRITE_CORPUS").is_some();
    std::thread::scope(|scope| {
        for (target, _) in ALL {
            let mut inputs: Vec<Vec<u8>> =
                golden.iter().filter(|(of, ..)| of == target).map(|of| of.2.clone()).collect();
            if write {
                fs::create_dir_all(corpus(target)).unwrap();
                for (_, name, bytes) in golden.iter().filter(|(of, ..)| of == target) {
                    fs::write(corpus(target).join(name), bytes).unwrap();
                }
            }
            scope.spawn(move || {
                inputs.extend(kept(target));
                inputs.push(Vec::new());
                let changes =
                    number("TRUC_FUZZ").unwrap_or(CHANGES) / if SLOW.contains(target) { 10 } else { 1 };
                let mut dice = Dice(seed);
                for input in &inputs {
                    run(target, seed, input);
                    for _ in 0..changes {
                        run(target, seed, &change(&mut dice, input, &inputs));
                    }
                }
            });
        }
    });
}

#[test]
fn every_target_has_golden_bytes() {
    let golden = golden::all();
    for (target, _) in ALL {
        assert!(golden.iter().any(|(of, ..)| of == target), "{target} begins with nothing");
    }
}
