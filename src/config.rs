//! The configuration file: one TOML file, every key with a default, `TRUC__SECTION__KEY` in the
//! environment on top.

mod check;
pub mod human;
mod retention;
mod sections;
mod witness;

use std::path::{Path, PathBuf};

use toml::{Table, Value};

pub use check::Problem;
pub use retention::{RetainedBodies, RetentionOperation, RetentionRule};
pub use sections::{
    Config, Console, Delivery, IndexEngine, Limits, Listen, Log, LogFormat, LogHttp, Logging, Monitor,
    Operator, Retention, Scrub, Store, Submission, Telemetry, Tls, Witness,
};
use sections::{Docs, SECTIONS};

/// Variables with this prefix stand above the file.
pub const ENV_PREFIX: &str = "TRUC__";

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of another type; the text names the line.
    #[error("{}: {problem}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, key and what is wrong.
        problem: String,
    },
    /// A variable of the environment names no key, or its value does not fit.
    #[error("{variable}: {problem}")]
    Environment {
        /// Which one.
        variable: String,
        /// What is wrong.
        problem: String,
    },
    /// Values that the hub can't run with.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Check {
        /// All of them.
        problems: Vec<Problem>,
    },
}

impl Config {
    /// Reads the file, puts the environment on top, and resolves relative paths against the file's
    /// folder. Does not look at the values: that is [`Config::check`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let file = Self::parse(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), problem: error.to_string() })?;
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut config = file.with_environment(variables)?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Reads TOML; unknown keys are errors, missing ones take their default. Errors name the line.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Sets what variables such as `TRUC__TLS__KEY` say; others are ignored.
    pub fn with_environment(
        self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = self;
        for (variable, value) in variables {
            let Some(path) = variable.strip_prefix(ENV_PREFIX) else { continue };
            let failed = |problem| ConfigError::Environment { variable: variable.clone(), problem };
            let mut table = config.to_table().map_err(|error| failed(error.to_string()))?;
            set(&mut table, &path.to_ascii_lowercase(), &value).map_err(failed)?;
            config = table.try_into().map_err(|error: toml::de::Error| failed(error.message().to_owned()))?;
        }
        Ok(config)
    }

    /// Makes relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        let paths = [
            &mut self.data_dir,
            &mut self.tls.certificate,
            &mut self.tls.key,
            &mut self.tls.client_ca,
            &mut self.tls.crl,
            &mut self.log.key,
            &mut self.log.witness_ca,
            &mut self.witness.key,
        ];
        for path in paths.into_iter().filter(|path| !path.as_os_str().is_empty()) {
            *path = folder.join(&path);
        }
    }

    /// Checks every value and file; returns all problems together, each with its next step.
    pub fn check(&self) -> Result<(), ConfigError> {
        let problems = check::problems(self);
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Check { problems })
    }

    /// The sample file: every key with its default and its meaning.
    #[must_use]
    pub fn default_toml() -> String {
        let table = Self::default().to_table().expect("the defaults are plain text and numbers");
        let mut text = String::from(
            "# Configuration of the Trục hub. Every key may be left out: what stands here is its default.\n\
             # A variable such as TRUC__TLS__KEY stands above the file.\n\n",
        );
        print(&mut text, Self::DOCS, &table);
        for (name, docs) in SECTIONS {
            let about = Self::DOCS.iter().find(|(key, _)| key == name).map_or(&[][..], |(_, about)| *about);
            text.push('\n');
            comment(&mut text, about);
            text.push_str(&format!("[{name}]\n"));
            if let Some(Value::Table(section)) = table.get(*name) {
                print(&mut text, docs, section);
            }
        }
        text
    }

    fn to_table(&self) -> Result<Table, toml::ser::Error> {
        Table::try_from(self)
    }
}

fn print(text: &mut String, docs: Docs, table: &Table) {
    for (key, about) in docs {
        if let Some(value) = table.get(*key).filter(|value| !value.is_table()) {
            comment(text, about);
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
}

fn comment(text: &mut String, lines: &[&str]) {
    lines.iter().for_each(|line| text.push_str(&format!("#{line}\n")));
}

/// Sets `section__key`; the value takes the type that the key has.
fn set(table: &mut Table, path: &str, text: &str) -> Result<(), String> {
    let unknown = || "there is no such key".to_owned();
    if let Some((section, key)) = path.split_once("__") {
        let inner = table.get_mut(section).and_then(Value::as_table_mut).ok_or_else(unknown)?;
        return set(inner, key, text);
    }
    match table.get_mut(path).ok_or_else(unknown)? {
        Value::String(value) => *value = text.to_owned(),
        Value::Integer(value) => {
            *value = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?
        }
        Value::Array(values) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            *values = items.map(|item| Value::String(item.to_owned())).collect();
        }
        Value::Boolean(value) => {
            *value = text.parse().map_err(|_| format!("{text:?} is not true or false"))?
        }
        _ => return Err("this names a section: add __ and the key".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::default().with_environment(pairs)
    }

    #[test]
    fn the_sample_is_the_defaults_and_explains_every_key() {
        let sample = Config::default_toml();
        assert_eq!(Config::parse(&sample).expect("the sample parses"), Config::default());
        let mut before = "";
        for line in sample.lines().filter(|line| !line.is_empty()) {
            assert!(line.starts_with('#') || before.starts_with('#'), "no comment above {line:?}");
            before = line;
        }
        let keys: usize = SECTIONS.iter().map(|(_, docs)| docs.len()).sum();
        assert_eq!(sample.matches(" = ").count(), keys + Config::DOCS.len() - SECTIONS.len());
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(Config::parse("").expect("parses"), Config::default());
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        for text in ["\n\noriginn = \"x\"", "\n[tls]\nkeyy = \"x\"", "\n\n[tsl]"] {
            let error = Config::parse(text).expect_err("unknown key").to_string();
            assert!(error.contains("line 3"), "{error}");
        }
    }

    #[test]
    fn values_are_read_in_human_form() {
        let text =
            "[submission]\nmax_attachment = \"3 GiB\"\nclock_skew = \"2d\"\n[logging]\nformat = \"json\"";
        let config = Config::parse(text).expect("parses");
        assert_eq!(config.submission.max_attachment, 3 << 30);
        assert_eq!(config.submission.clock_skew, Duration::from_secs(2 * 86_400));
        assert_eq!(config.logging.format, LogFormat::Json);
        assert!(Config::parse("[submission]\nclock_skew = 5").is_err());
        assert!(Config::parse("[submission]\nmax_inline = \"4 MB\"").is_err());
    }

    #[test]
    fn the_environment_stands_above() {
        let config = environment(&[
            ("TRUC__ORIGIN", "hub.example.vn/log"),
            ("TRUC__TLS__MAX_CONNECTIONS", "7"),
            ("TRUC__TLS__CRL", ""),
            ("TRUC__DELIVERY__LEASE", "5m"),
            ("TRUC__WITNESS__LOGS", "a+1+x, b+2+y,"),
            ("TRUC_HUB", "https://localhost:7443"),
            ("PATH", "/bin"),
        ])
        .expect("legal");
        assert_eq!(config.origin, "hub.example.vn/log");
        assert_eq!(config.tls.max_connections, 7);
        assert_eq!(config.tls.source().crl, None);
        assert_eq!(config.witness.logs, ["a+1+x", "b+2+y"]);
        assert_eq!(config.delivery.lease, Duration::from_secs(300));
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, value) in [
            ("TRUC__TSL__KEY", "x"),
            ("TRUC__TLS", "x"),
            ("TRUC__TLS__KEY__MORE", "x"),
            ("TRUC__TLS__MAX_CONNECTIONS", "many"),
            ("TRUC__TLS__MAX_CONNECTIONS", "-1"),
            ("TRUC__DELIVERY__LEASE", "soon"),
            ("TRUC__", "x"),
        ] {
            let error = environment(&[(name, value)]).expect_err("bad variable").to_string();
            assert!(error.starts_with(&format!("{name}: ")), "{error}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("truc.toml");
        std::fs::write(&path, "data_dir = \"/var/lib/truc\"\n[tls]\ncrl = \"\"").expect("write");
        let config = Config::load(&path).expect("loads");
        assert_eq!(config.data_dir, Path::new("/var/lib/truc"));
        assert_eq!(config.tls.key, folder.path().join("certs/hub.key"));
        assert_eq!(config.tls.crl, Path::new(""));
    }
}
