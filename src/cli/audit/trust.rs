//! `--trust KEYS`: the verifier keys that are believed, and nothing else is.

use std::path::Path;

use crate::{
    cli::{
        Exit, Failure,
        files::{self, FileError},
    },
    tlog::note::Verifier,
};

/// Some hundred keys with long names.
const MAX_FILE: u64 = 64 * 1024;

/// Reads `name+hash+key` lines from a file, or the text itself; empty lines and `#` comments are skipped.
pub fn read(file_or_text: &str) -> Result<Vec<Verifier>, Failure> {
    let path = Path::new(file_or_text);
    if !path.exists()
        && let Ok(verifier) = Verifier::parse(file_or_text)
    {
        return Ok(vec![verifier]);
    }
    let text = files::read_text(path, MAX_FILE)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(Verifier::parse).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|error| FileError::content(path, error))?;
    if keys.is_empty() {
        return Err(Failure::new(Exit::File, format!("{}: no verifier key", path.display()))
            .with_help("write the log's name+hash+key on a line, as its operator published it"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::note::Signer;

    #[test]
    fn keys_come_from_lines_or_as_text() {
        let key = |name| Signer::from_seed(name, &[7; 32]).unwrap().verifier();
        let (a, b) = (key("a.example/log"), key("b.example/log"));
        assert_eq!(read(&a.to_string()), Ok(vec![a.clone()]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trusted");
        std::fs::write(&path, format!("# ours\n{a}\n\n  {b}\n")).unwrap();
        assert_eq!(read(path.to_str().unwrap()), Ok(vec![a, b]));
        for wrong in ["", "# none\n", "a.example/log+00000000+AAAA\n"] {
            std::fs::write(&path, wrong).unwrap();
            assert_eq!(read(path.to_str().unwrap()).unwrap_err().exit, Exit::File, "{wrong:?}");
        }
        assert_eq!(read("missing").unwrap_err().exit, Exit::File);
    }
}
