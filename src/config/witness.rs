//! Witnesses of this log, and this hub as a witness of others.

use super::{Config, Log, check::Findings};
use crate::tlog::{cosignature::WitnessKey, note::Verifier};

impl Log {
    /// Addresses and keys of the witnesses; those that can't be read are left out, which [`Config::check`] tells of.
    #[must_use]
    pub fn witness_list(&self) -> Vec<(String, WitnessKey)> {
        let read = self.witnesses.iter().filter_map(|line| log_witness(line).ok());
        read.map(|(url, key)| (url.to_owned(), key)).collect()
    }
}

pub fn log_witnesses(found: &mut Findings, config: &Config) {
    let log = &config.log;
    for line in &log.witnesses {
        let next = "write \"URL name+hash+key\", as the witness's operator published it";
        let problem = match log_witness(line) {
            Ok(_) => continue,
            Err(problem) => format!("{line:?}: {problem}"),
        };
        found.unless(false, "log.witnesses", &problem, next);
    }
    let quorum = (1..=log.witnesses.len().max(1)).contains(&log.witness_quorum);
    found.unless(quorum, "log.witness_quorum", "not a number of these witnesses", "write 1 or a few more");
    if !log.witnesses.is_empty() && !log.witness_ca.as_os_str().is_empty() {
        found.readable("log.witness_ca", &log.witness_ca);
    }
}

/// Address and key of a witness.
fn log_witness(line: &str) -> Result<(&str, WitnessKey), String> {
    let (url, key) = line.split_once(' ').ok_or("no space between address and key")?;
    let web = url.starts_with("https://") || url.starts_with("http://");
    let key = WitnessKey::parse(key.trim()).map_err(|error| error.to_string())?;
    web.then_some((url, key)).ok_or_else(|| "not a web address".to_owned())
}

pub fn witness(found: &mut Findings, config: &Config) {
    let witness = &config.witness;
    if witness.name.is_empty() {
        return;
    }
    let illegal = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    found.unless(
        !witness.name.contains(illegal),
        "witness.name",
        "spaces and '+' are not allowed",
        "choose another",
    );
    found.private("witness.key", &witness.key);
    for key in &witness.logs {
        let problem = match Verifier::parse(key) {
            Ok(_) => continue,
            Err(error) => format!("{key:?}: {error}"),
        };
        found.unless(
            false,
            "witness.logs",
            &problem,
            "write origin+hash+key, as the log's operator published it",
        );
    }
    let door = witness.address.or(config.log_http.address).is_some();
    found.unless(
        door,
        "witness.address",
        "nobody can reach this witness",
        "write an address, or open [log_http]",
    );
    found.unless(
        witness.address.is_none_or(|own| own.port() == 0 || Some(own) != config.log_http.address),
        "witness.address",
        "the same as log_http.address",
        "write \"\": the witness is then reached there",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::cosignature::Cosigner;

    #[test]
    fn a_witness_is_an_address_and_a_key() {
        let key = Cosigner::from_seed("w.example", &[1; 32]).unwrap().verifier();
        let line = format!("https://w.example:7444/witness {key}");
        assert_eq!(log_witness(&line), Ok(("https://w.example:7444/witness", key.clone())));
        for wrong in [String::new(), key.to_string(), format!("ftp://w {key}"), "https://w x+1+y".into()] {
            assert!(log_witness(&wrong).is_err(), "{wrong:?}");
        }
        let log = Log { witnesses: vec![line, "nonsense".into()], ..Log::default() };
        assert_eq!(log.witness_list(), [("https://w.example:7444/witness".to_owned(), key)]);
    }
}
