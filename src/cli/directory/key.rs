//! Keys that sign for agencies.

use std::path::PathBuf;

use super::change;
use crate::{
    cli::{Exit, Failure, Output, keygen::read_public_key},
    client::{Client, calendar::parse_moment},
    domain::id::Digest,
    proto::{RevokeKey, SignerKind, SigningKey, directory_change::Change},
};

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Register a public key for an agency.
    Add {
        /// Agency that it signs for.
        #[arg(long, value_name = "AGENCY")]
        agency: String,
        /// Public key (SPKI PEM), as `truc keygen` writes it.
        #[arg(long, value_name = "FILE.pub")]
        public: PathBuf,
        /// Whose key it is.
        #[arg(long, value_enum, default_value_t = Kind::Agency)]
        kind: Kind,
        /// Valid from (RFC 3339) [default: its registration].
        #[arg(long, value_name = "TIME")]
        valid_from: Option<String>,
        /// Valid until (RFC 3339) [default: no end].
        #[arg(long, value_name = "TIME")]
        valid_until: Option<String>,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
    /// Revoke a key: what it signs from now on is refused.
    Revoke {
        /// Its id in hex, as `truc keygen` and `truc directory show` print it.
        key_id: String,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
        reason: String,
    },
}

/// Whose key it is.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Kind {
    /// The agency's seal.
    Agency,
    /// A competent person of the agency.
    Person,
}

impl Command {
    pub async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Add { agency, public, kind, valid_from, valid_until, reason } => {
                let kind = match kind {
                    Kind::Agency => SignerKind::Agency,
                    Kind::Person => SignerKind::Person,
                };
                let key = SigningKey {
                    agency,
                    spki_der: read_public_key(&public)?.spki_der().clone(),
                    signer_kind: kind.into(),
                    valid_from_us: moment("--valid-from", valid_from)?,
                    valid_until_us: moment("--valid-until", valid_until)?,
                    ..SigningKey::default()
                };
                change(client, output, Change::AddKey(key), reason).await
            }
            Self::Revoke { key_id, reason } => {
                let revoke = RevokeKey { key_id: parse_key_id(&key_id)?.to_bytes() };
                change(client, output, Change::RevokeKey(revoke), reason).await
            }
        }
    }
}

/// 0 for what was not given.
fn moment(flag: &str, text: Option<String>) -> Result<i64, Failure> {
    let moment = text.map(|text| parse_moment(&text)).transpose();
    let moment = moment.map_err(|problem| Failure::new(Exit::Usage, format!("{flag}: {problem}")))?;
    Ok(moment.map_or(0, |moment| moment.0))
}

fn parse_key_id(text: &str) -> Result<Digest, Failure> {
    let bytes = hex::decode(text).ok().and_then(|bytes| Digest::from_slice(&bytes));
    bytes.ok_or_else(|| Failure::new(Exit::Usage, "a key id has 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_times_are_read_or_named() {
        let id = "ab".repeat(32);
        assert_eq!(parse_key_id(&id).expect("an id").to_string(), id);
        assert_eq!(parse_key_id("ab").expect_err("short").exit, Exit::Usage);
        assert_eq!(moment("--valid-from", None).expect("none"), 0);
        assert_eq!(moment("--valid-from", Some("1970-01-01T00:00:01Z".into())).expect("one"), 1_000_000);
        let failure = moment("--valid-from", Some("soon".into())).expect_err("no time");
        assert!(failure.message.starts_with("--valid-from: "), "{failure}");
    }
}
