//! Flags of every command that calls the hub.

use std::path::PathBuf;

use super::{Exit, Failure, pki::Paths};
use crate::client::{Client, ClientOptions};

/// Where the hub is and who calls. `--pki DIR --as NAME` stands for the three files of `truc pki`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The hub's address.
    #[arg(
        long,
        global = true,
        env = "TRUC_HUB",
        default_value = "https://localhost:7443",
        value_name = "URL"
    )]
    pub hub: String,
    /// CA of the hub's certificate (PEM).
    #[arg(long, global = true, env = "TRUC_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM).
    #[arg(long, global = true, env = "TRUC_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Private key of our certificate (PEM).
    #[arg(long, global = true, env = "TRUC_CERT_KEY", value_name = "FILE")]
    pub cert_key: Option<PathBuf>,
    /// Folder with ca.pem, NAME.pem and NAME.key, as `truc pki` makes it.
    #[arg(long, global = true, env = "TRUC_PKI", value_name = "DIR")]
    pub pki: Option<PathBuf>,
    /// Which NAME of that folder.
    #[arg(long = "as", id = "as", global = true, env = "TRUC_AS", value_name = "NAME")]
    pub name: Option<String>,
}

impl Connection {
    /// Connects to the hub.
    pub async fn client(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.options()?).await?)
    }

    /// The options; a file that is named itself stands above the folder's.
    pub fn options(&self) -> Result<ClientOptions, Failure> {
        let pair =
            self.pki.as_deref().zip(self.name.as_deref()).map(|(folder, name)| Paths::of(folder, name));
        let ca = self.pki.as_ref().map(|folder| folder.join("ca.pem"));
        let (cert, key) = pair.map(|pair| (pair.certificate, pair.key)).unzip();
        Ok(ClientOptions {
            endpoint: self.hub.clone(),
            ca: pick(&self.ca, ca, "--ca")?,
            cert: pick(&self.cert, cert, "--cert")?,
            key: pick(&self.cert_key, key, "--cert-key")?,
            domain: None,
        })
    }
}

fn pick(named: &Option<PathBuf>, from_folder: Option<PathBuf>, flag: &str) -> Result<PathBuf, Failure> {
    let missing = || {
        Failure::new(Exit::Usage, format!("{flag} is missing"))
            .with_help("name --ca, --cert and --cert-key, or --pki DIR and --as NAME")
    };
    named.clone().or(from_folder).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        connection: Connection,
    }

    fn options(flags: &[&str]) -> Result<ClientOptions, Failure> {
        Flags::parse_from(["truc"].iter().chain(flags)).connection.options()
    }

    #[test]
    fn the_folder_stands_for_three_files() {
        let options = options(&["--pki", "certs", "--as", "h53"]).expect("complete");
        assert_eq!(options.endpoint, "https://localhost:7443");
        assert_eq!(options.ca, PathBuf::from("certs/ca.pem"));
        assert_eq!(options.cert, PathBuf::from("certs/h53.pem"));
        assert_eq!(options.key, PathBuf::from("certs/h53.key"));
    }

    #[test]
    fn a_named_file_stands_above_the_folder() {
        let options = options(&["--pki", "certs", "--as", "h53", "--ca", "other.pem"]).expect("complete");
        assert_eq!(options.ca, PathBuf::from("other.pem"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (flags, missing) in [
            (&[][..], "--ca"),
            (&["--pki", "certs"], "--cert"),
            (&["--ca", "a", "--cert", "b"], "--cert-key"),
        ] {
            let failure = options(flags).expect_err("incomplete");
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(missing), "{failure}");
        }
    }
}
