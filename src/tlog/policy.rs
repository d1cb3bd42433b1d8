//! C2SP trust policies (<https://c2sp.org/tlog-policy>): which logs, which witnesses, and how many of them.

use super::{
    checkpoint::Checkpoint,
    cosignature::{Cosignature, WitnessKey},
    keys::Trust,
    note::{NoteError, Verifier},
};

/// Largest policy that is read, in bytes.
pub const MAX_POLICY: usize = 64 * 1024;

/// A line that is not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct PolicyError {
    /// Which line, from 1; one more than there are for what is missing.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Verifier>,
    /// In the order of the file: a group's members stand before it.
    nodes: Vec<Node>,
    /// `None` asks for no cosignature.
    quorum: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    /// Octets: the standard gives them no meaning.
    name: Vec<u8>,
    kind: Kind,
    /// It is a member of a group already.
    taken: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Witness(WitnessKey),
    Group { least: usize, members: Vec<usize> },
}

/// What a policy makes of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// Names of the witnesses that cosigned, by the policy, and when (seconds since 1970).
    pub by: Vec<(String, u64)>,
    /// Whether they are enough.
    pub enough: bool,
}

impl Policy {
    /// Reads a policy.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let mut policy = Self { logs: Vec::new(), nodes: Vec::new(), quorum: None };
        let mut has_quorum = false;
        let at = |line: usize| move |problem: String| PolicyError { line, problem };
        if text.len() > MAX_POLICY {
            return Err(at(1)(format!("more than {MAX_POLICY} bytes")));
        }
        let lines: Vec<&[u8]> =
            text.strip_suffix(b"\n").unwrap_or(text).split(|byte| *byte == b'\n').collect();
        for (number, line) in (1..).zip(&lines) {
            let wrong = at(number);
            if line.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
                return Err(wrong("a control character".into()));
            }
            let words: Vec<&[u8]> =
                line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with(b"#") => {}
                [b"log", key] | [b"log", key, _] => policy.add_log(key).map_err(wrong)?,
                [b"witness", name, key] | [b"witness", name, key, _] => {
                    policy.add_witness(name, key).map_err(wrong)?;
                }
                [b"group", name, least, ref members @ ..] if !members.is_empty() => {
                    policy.add_group(name, least, members).map_err(wrong)?;
                }
                [b"quorum", name] if !has_quorum => {
                    policy.quorum = policy.find_quorum(name).map_err(wrong)?;
                    has_quorum = true;
                }
                [b"quorum", _] => return Err(wrong("a second quorum".into())),
                _ => return Err(wrong("neither log, witness, group nor quorum".into())),
            }
        }
        if !has_quorum {
            return Err(at(lines.len() + 1)("the quorum is missing; `quorum none` asks for none".into()));
        }
        Ok(policy)
    }

    /// The logs that are trusted.
    #[must_use]
    pub fn logs(&self) -> &[Verifier] {
        &self.logs
    }

    /// What the quorum asks for, such as `2 of (a, b, c)`.
    #[must_use]
    pub fn rule(&self) -> String {
        self.quorum.map_or_else(|| "none".to_owned(), |at| self.rule_of(at))
    }

    /// Which witnesses cosigned a note, and whether they are enough. A bad cosignature in the name of one of them refuses
    /// the note. The log's own signature is not looked at here.
    pub fn judge(&self, note: &str) -> Result<Cosigned, NoteError> {
        let (mut by, mut met) = (Vec::new(), Vec::with_capacity(self.nodes.len()));
        for node in &self.nodes {
            met.push(match &node.kind {
                Kind::Witness(key) => {
                    let found = key.find(note)?;
                    by.extend(found.iter().map(|Cosignature { time, .. }| (shown(&node.name), *time)));
                    found.is_some()
                }
                Kind::Group { least, members } => members.iter().filter(|at| met[**at]).count() >= *least,
            });
        }
        Ok(Cosigned { by, enough: self.quorum.is_none_or(|at| met[at]) })
    }

    fn add_log(&mut self, key: &[u8]) -> Result<(), String> {
        let key = Verifier::parse(text(key)?).map_err(|error| error.to_string())?;
        if self.logs.iter().any(|known| known.is_same_key(&key)) {
            return Err("the key of a log that stands above".into());
        }
        self.logs.push(key);
        Ok(())
    }

    fn add_witness(&mut self, name: &[u8], key: &[u8]) -> Result<(), String> {
        let key = WitnessKey::parse(text(key)?).map_err(|error| error.to_string())?;
        let twice = self
            .nodes
            .iter()
            .any(|node| matches!(&node.kind, Kind::Witness(known) if known.is_same_key(&key)));
        if twice {
            return Err("the key of a witness that stands above".into());
        }
        self.add(name, Kind::Witness(key))
    }

    fn add_group(&mut self, name: &[u8], least: &[u8], names: &[&[u8]]) -> Result<(), String> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let at = self.find(name)?;
            if std::mem::replace(&mut self.nodes[at].taken, true) {
                return Err(format!("{} is a member already", shown(name)));
            }
            members.push(at);
        }
        let least = match least {
            b"any" => 1,
            b"all" => members.len(),
            number => text(number)?.parse().map_err(|_| format!("{} is no number", shown(number)))?,
        };
        if !(1..=members.len()).contains(&least) {
            return Err(format!("needs 1 to {}", members.len()));
        }
        self.add(name, Kind::Group { least, members })
    }

    fn add(&mut self, name: &[u8], kind: Kind) -> Result<(), String> {
        if name == b"none" || self.nodes.iter().any(|node| node.name == name) {
            return Err(format!("the name {} is taken", shown(name)));
        }
        self.nodes.push(Node { name: name.to_owned(), kind, taken: false });
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<usize, String> {
        let found = self.nodes.iter().position(|node| node.name == name);
        found.ok_or_else(|| format!("{} is not defined above", shown(name)))
    }

    fn find_quorum(&self, name: &[u8]) -> Result<Option<usize>, String> {
        if name == b"none" { Ok(None) } else { self.find(name).map(Some) }
    }

    /// Groups are shown by what they ask, two steps deep; below that by their names.
    fn rule_of(&self, at: usize) -> String {
        let inner = |member: &usize| match &self.nodes[*member].kind {
            Kind::Group { least, members } => {
                let names: Vec<_> = members.iter().map(|at| shown(&self.nodes[*at].name)).collect();
                format!("{least} of ({})", names.join(", "))
            }
            Kind::Witness(_) => shown(&self.nodes[*member].name),
        };
        match &self.nodes[at].kind {
            Kind::Witness(_) => shown(&self.nodes[at].name),
            Kind::Group { least, members } => {
                let members: Vec<_> = members.iter().map(inner).collect();
                format!("{least} of ({})", members.join(", "))
            }
        }
    }
}

/// Signed by one of the policy's logs, and cosigned as it asks.
impl Trust for Policy {
    fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let head = self.logs[..].open(note)?;
        if self.judge(note)?.enough { Ok(head) } else { Err(NoteError::TooFewWitnesses(self.rule())) }
    }
}

/// Words of a line that must be text.
fn text(word: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(word).map_err(|_| "not text".to_owned())
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{cosignature::Cosigner, note::Signer};

    fn cosigner(seed: u8) -> Cosigner {
        Cosigner::from_seed(&format!("w{seed}.example"), &[seed; 32]).unwrap()
    }

    fn log() -> Signer {
        Signer::from_seed("hub.example/log", &[100; 32]).unwrap()
    }

    /// The example of the standard, with keys.
    fn example() -> String {
        let key = |seed| cosigner(seed).verifier();
        format!(
            "# Two organisations\nlog {}\n\n\
             witness X1 {}\n\twitness X2 {}\nwitness X3 {}  https://x3.example\ngroup X-witnesses 2 X1 X2 X3\n\n\
             witness Y1 {}\nwitness Y2 {}\nwitness Y\u{1ebf}3 {}\ngroup Y-witnesses any Y1 Y2 Y\u{1ebf}3\n\n\
             group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
            log().verifier(),
            key(1),
            key(2),
            key(3),
            key(4),
            key(5),
            key(6)
        )
    }

    fn note(by: &[u8]) -> String {
        let head = Checkpoint { origin: "hub.example/log".into(), size: 3, root: [1; 32] };
        let lines = by.iter().map(|seed| cosigner(*seed).cosign(&head.text(), 1_000 + u64::from(*seed)));
        head.sign(&log()) + &lines.collect::<String>()
    }

    #[test]
    fn the_example_of_the_standard_holds() {
        let policy = Policy::parse(example().as_bytes()).unwrap();
        assert_eq!(policy.rule(), "2 of (2 of (X1, X2, X3), 1 of (Y1, Y2, Y\u{1ebf}3))");
        for (by, enough) in [
            (&[1, 2, 4][..], true),
            (&[3, 2, 6], true),
            (&[1, 2, 3, 4, 5, 6], true),
            (&[1, 2], false),
            (&[1, 4, 5, 6], false),
            (&[7, 8, 9], false),
            (&[], false),
        ] {
            let judged = policy.judge(&note(by)).unwrap();
            assert_eq!(judged.enough, enough, "{by:?}");
            assert_eq!(policy.open(&note(by)).is_ok(), enough);
        }
        assert_eq!(policy.judge(&note(&[5, 9])).unwrap().by, [("Y2".to_owned(), 1_005)]);
    }

    #[test]
    fn a_bad_cosignature_refuses_the_note() {
        let policy = Policy::parse(example().as_bytes()).unwrap();
        let bent = note(&[1, 2, 4]).replace("\n3\n", "\n4\n");
        assert!(matches!(policy.judge(&bent), Err(NoteError::BadSignature(_))));
        let stranger = Signer::from_seed("hub.example/log", &[101; 32]).unwrap();
        let head = Checkpoint { origin: "hub.example/log".into(), size: 3, root: [1; 32] };
        let note = head.sign(&stranger) + &cosigner(1).cosign(&head.text(), 1);
        assert_eq!(policy.open(&note), Err(NoteError::NotSigned));
    }

    #[test]
    fn no_quorum_and_one_witness() {
        let one = format!("log {}\nwitness w {}\nquorum w", log().verifier(), cosigner(1).verifier());
        let policy = Policy::parse(one.as_bytes()).unwrap();
        assert_eq!(policy.rule(), "w");
        assert_eq!(policy.open(&note(&[2])), Err(NoteError::TooFewWitnesses("w".into())));
        assert!(policy.open(&note(&[1])).is_ok());
        let none = Policy::parse(format!("log {}\nquorum none\n", log().verifier()).as_bytes()).unwrap();
        assert!(none.open(&note(&[])).is_ok());
        assert_eq!(none.rule(), "none");
    }

    #[test]
    fn wrong_policies_are_refused_with_their_line() {
        let [a, b] = [1, 2].map(|seed| cosigner(seed).verifier());
        let renamed = Cosigner::from_seed("again", &[1; 32]).unwrap().verifier();
        let log = log().verifier();
        for (text, line) in [
            (String::new(), 2),
            (format!("witness a {a}\n"), 2),
            ("quorum none\nquorum none\n".into(), 2),
            ("quorum a\n".into(), 1),
            (format!("log {a}\nquorum none\n"), 1),
            (format!("witness a {log}\nquorum a\n"), 1),
            (format!("log {log}\nlog {log}\nquorum none\n"), 2),
            (format!("witness a {a}\nwitness a {b}\nquorum a\n"), 2),
            (format!("witness a {a}\nwitness b {renamed}\nquorum a\n"), 2),
            (format!("witness none {a}\nquorum none\n"), 1),
            (format!("witness a {a}\ngroup g 2 a\nquorum g\n"), 2),
            (format!("witness a {a}\ngroup g 0 a\nquorum g\n"), 2),
            (format!("witness a {a}\ngroup g 1\nquorum g\n"), 2),
            (format!("witness a {a}\ngroup g any a a\nquorum g\n"), 2),
            (format!("witness a {a}\ngroup g any a\ngroup h any a\nquorum h\n"), 3),
            ("group g any g\nquorum g\n".into(), 1),
            ("group g any none\nquorum g\n".into(), 1),
            ("quorum none extra words\n".into(), 1),
            ("quorum none\r\n".into(), 1),
            ("policy\nquorum none\n".into(), 1),
        ] {
            assert_eq!(Policy::parse(text.as_bytes()).unwrap_err().line, line, "{text:?}");
        }
        assert!(Policy::parse(&[b'#'; MAX_POLICY + 1]).is_err());
        assert!(Policy::parse(b"# \xff\xfe octets\nquorum none\n").is_ok());
    }
}
