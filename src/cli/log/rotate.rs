//! `truc log rotate`: the log goes on with another key.
//!
//! The order makes every moment safe to be killed in: the new key is durable before the log names it; the log names it
//! before it takes the old one's place; and the old one is kept under another name before that. What was begun is finished
//! by the same command.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    cli::{
        Exit, Failure, Output,
        files::{self, FileError, Readers},
        fsck::unusable,
        serve::{log_identity, read_seed, store_options},
    },
    client::calendar::now,
    config::Config,
    domain::signature::{Algorithm, SigningKey},
    hub::{
        LogIdentity,
        log_keys::{self, ChangeError},
    },
    store::{
        CommitError,
        embedded::{Embedded, Opened},
        payload::{Payload, PayloadOptions},
    },
    tlog::note::Signer,
};

/// Hands the log over to a new key: a leaf that the old key and the new one sign, under the last head of the old one.
///
/// The hub must not run. log.key then holds the new key, and the old one lies beside it under the name that is printed:
/// keep it offline or destroy it. Receipts of the old key stay good. If the command is interrupted, or the hub says that
/// the key was changed, run it again: it finishes what was begun.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The hub's configuration, which names folder and log key.
    #[arg(long, env = "TRUC_CONFIG", default_value = "truc.toml")]
    config: PathBuf,
    /// Why, for the record.
    #[arg(long, default_value = "rotation", value_name = "TEXT")]
    reason: String,
}

#[derive(Serialize)]
struct Rotated {
    old: String,
    new: String,
    leaf: u64,
    key: PathBuf,
    old_key: PathBuf,
}

impl Args {
    /// Runs the command.
    pub async fn run(self, output: &Output) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        if self.reason.len() > 200 {
            return Err(Failure::new(Exit::Usage, "--reason: at most 200 bytes"));
        }
        let rotated = tokio::task::spawn_blocking(move || rotate(&config, &self.reason)).await;
        let rotated = rotated.map_err(|error| Failure::new(Exit::File, error))??;
        output.print(&rotated, |rotated| {
            format!(
                "{}\nThe log goes on with this key from leaf {} on. The old key is in {}: keep it offline or destroy it.\n\
                 Start the hub, then publish the new key and the proof of the change: truc log keys -o hub.keys",
                rotated.new,
                rotated.leaf,
                rotated.old_key.display()
            )
        });
        Ok(())
    }
}

fn rotate(config: &Config, reason: &str) -> Result<Rotated, Failure> {
    let opened = open(config)?;
    let place = &config.log.key;
    let (next, log) = (place.with_added_extension("next"), log_identity(config)?);
    let change = log_keys::newest_change(&opened.store).map_err(|error| Failure::new(Exit::File, error))?;
    let new = match &change {
        // The log has named the key of the file beside, and that has not taken its place: this is the rest of an
        // interrupted change.
        Some(change) if change.old == log.verifier() => {
            if !next.exists() {
                return Err(lost(&change.new.to_string(), &next));
            }
            read(config, &next)?
        }
        _ => new_key(config, &next)?,
    };
    let handover = match change.filter(|change| change.old == log.verifier()) {
        Some(begun) if begun.new == new.verifier() => begun,
        Some(begun) => return Err(lost(&begun.new.to_string(), &next)),
        None => log_keys::change(&opened.store, &log, &new, reason, now()).map_err(failed)?,
    };
    drop(opened);
    let old_key = take_place(place, &next, &log)?;
    Ok(Rotated {
        old: handover.old.to_string(),
        new: handover.new.to_string(),
        leaf: handover.leaf,
        key: place.clone(),
        old_key,
    })
}

/// The store of a log that no hub writes.
fn open(config: &Config) -> Result<Opened, Failure> {
    let dir = &config.data_dir;
    if !dir.join("journal").is_dir() {
        return Err(Failure::new(Exit::File, format!("{} holds no log", dir.display())));
    }
    let payload = Payload::open(&dir.join("bodies"), PayloadOptions::default());
    let payload = Arc::new(payload.map_err(|error| unusable(dir, &error))?);
    let opened = Embedded::open(&store_options(config), payload, &mut |_| {});
    opened.map_err(|error| unusable(dir, &error))
}

/// The new key: that of an interrupted change that the log does not name yet, or a fresh one.
fn new_key(config: &Config, next: &Path) -> Result<Signer, Failure> {
    if !next.exists() {
        let key = SigningKey::generate(Algorithm::Ed25519)?;
        files::create(next, key.to_pkcs8_pem().as_bytes(), Readers::Owner)?;
    } else if read_seed(next).is_err() {
        // Cut while it was written, so nothing knows of it.
        std::fs::remove_file(next).map_err(FileError::io(next))?;
        return new_key(config, next);
    }
    sync_folder(next)?;
    read(config, next)
}

fn read(config: &Config, path: &Path) -> Result<Signer, Failure> {
    let seed = read_seed(path)?;
    Signer::from_seed(&config.origin, &seed).map_err(|error| Failure::new(Exit::File, error))
}

/// Keeps the old key under a name of its own, then lets the new one take its place.
fn take_place(place: &Path, next: &Path, log: &LogIdentity) -> Result<PathBuf, Failure> {
    let verifier = log.verifier().to_string();
    let hash = verifier.split('+').nth(1).unwrap_or("old");
    let old_key = place.with_added_extension(format!("{hash}.old"));
    let old = zeroize::Zeroizing::new(files::read_text(place, 64 * 1024)?);
    if std::fs::read(&old_key).map_or(true, |kept| kept != old.as_bytes()) {
        // A part of it may lie there, from a command that was interrupted.
        match std::fs::remove_file(&old_key) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::io(&old_key)(error).into());
            }
            _ => files::create(&old_key, old.as_bytes(), Readers::Owner)?,
        }
    }
    sync_folder(place)?;
    std::fs::rename(next, place).map_err(FileError::io(place))?;
    sync_folder(place)?;
    Ok(old_key)
}

fn sync_folder(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::io(folder))
}

fn failed(error: ChangeError) -> Failure {
    match error {
        ChangeError::Commit(CommitError::Unknown(_)) => Failure::new(Exit::File, &error).with_help(
            "nobody knows whether the change is in the log: look at the disk, then run the command again",
        ),
        other => Failure::new(Exit::File, other),
    }
}

fn lost(new: &str, next: &Path) -> Failure {
    Failure::new(
        Exit::File,
        format!("the log was handed over to {new}, and {} is not this key", next.display()),
    )
    .with_help(
        "put the PKCS#8 file of that key there, then run the command again; without it the log has ended",
    )
}
