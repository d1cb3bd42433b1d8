//! Every key of the history index, in one place. Texts in keys end with NUL, which no identifier contains;
//! numbers are big-endian, so that keys sort as numbers do.

use crate::{
    domain::id::{AgencyId, Digest, DocumentName},
    store::Waiting,
};

const NAME: u8 = b'n';
const NATURAL: u8 = b'k';
const DELIVERY: u8 = b'r';
const WAITING: u8 = b'q';
const EXPANSION: u8 = b'x';
const TIMELINE: u8 = b'e';
const FEED: u8 = b'f';
const MESSAGE: u8 = b's';
const PARKED: u8 = b'p';
const BODY: u8 = b'b';
const CURSOR: u8 = b'c';
const DIRECTORY: u8 = b'g';
const ACTION: u8 = b'a';
const OPEN: u8 = b'o';
const ERASED: u8 = b'z';
const ERASING: u8 = b'y';
const HOLD: u8 = b'h';
const PAIR: u8 = b'v';
const SENT: u8 = b't';
const DIGEST: u8 = b'd';

/// Ends the value of a delivery that is held.
const HELD: u8 = 1;

/// Builds a key from parts.
struct Key(Vec<u8>);

impl Key {
    fn new(family: u8) -> Self {
        Self(vec![family])
    }
    fn text(mut self, text: &str) -> Self {
        self.0.extend_from_slice(text.as_bytes());
        self.0.push(0);
        self
    }
    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }
    fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }
    fn digest(mut self, digest: &[u8]) -> Self {
        self.0.extend_from_slice(digest);
        self
    }
}

/// Document id, sender, revision → document index.
pub fn name(name: &DocumentName) -> Vec<u8> {
    name_of(&name.document_id, name.sender.as_str(), name.revision)
}

/// The same from a record's texts.
pub fn name_of(document_id: &str, sender: &str, revision: u64) -> Vec<u8> {
    Key::new(NAME).text(document_id).text(sender).number(revision).0
}

/// All documents of one id.
pub fn names_with_id(document_id: &str) -> Vec<u8> {
    Key::new(NAME).text(document_id).0
}

/// All documents.
pub fn all_names() -> Vec<u8> {
    Key::new(NAME).0
}

/// Document id, sender and revision of a [`name`].
pub fn parse_name(key: &[u8]) -> Option<(&str, &str, u64)> {
    let (names, revision) = key.strip_prefix(&[NAME])?.split_last_chunk()?;
    let (document_id, sender) = std::str::from_utf8(names).ok()?.split_once('\0')?;
    Some((document_id, sender.strip_suffix('\0')?, u64::from_be_bytes(*revision)))
}

/// Sender, year, number, notation → first document index.
pub fn natural(sender: &str, year: u32, number: &str, notation: &str) -> Vec<u8> {
    Key::new(NATURAL).text(sender).number(u64::from(year)).text(number).text(notation).0
}

/// Document, recipient → delivery record.
pub fn delivery(document: u64, recipient: &str) -> Vec<u8> {
    Key::new(DELIVERY).number(document).text(recipient).0
}

/// All deliveries of a document.
pub fn deliveries(document: u64) -> Vec<u8> {
    Key::new(DELIVERY).number(document).0
}

/// A waiting delivery → its deadline, and one byte more while it is held.
pub fn waiting(recipient: &str, rank: u8, document: u64) -> Vec<u8> {
    Key::new(WAITING).text(recipient).byte(rank).number(document).0
}

/// Value of a [`waiting`] entry.
pub fn waiting_value(deadline_us: i64, held: bool) -> Vec<u8> {
    let mut value = deadline_us.to_be_bytes().to_vec();
    value.extend(held.then_some(HELD));
    value
}

/// All waiting deliveries.
pub fn all_waiting() -> Vec<u8> {
    Key::new(WAITING).0
}

/// Reads a [`waiting`] entry back.
pub fn parse_waiting(key: &[u8], value: &[u8]) -> Option<Waiting> {
    let rest = key.strip_prefix(&[WAITING])?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let recipient = std::str::from_utf8(&rest[..end]).ok()?.to_owned();
    let (rank, document) = rest[end + 1..].split_first()?;
    let (deadline, held) = match value {
        [deadline @ .., HELD] if value.len() == 9 => (deadline, true),
        deadline => (deadline, false),
    };
    Some(Waiting {
        recipient,
        rank: *rank,
        document: number(document)?,
        deadline_us: i64::from_be_bytes(deadline.try_into().ok()?),
        held,
    })
}

/// List index → progress of its expansion.
pub fn expansion(list: u64) -> Vec<u8> {
    Key::new(EXPANSION).number(list).0
}

/// All expansions.
pub fn all_expansions() -> Vec<u8> {
    Key::new(EXPANSION).0
}

/// Leaves of one commit in a document's timeline, by the last of them → [the others](gaps).
pub fn timeline(document: u64, last: u64) -> Vec<u8> {
    Key::new(TIMELINE).number(document).number(last).0
}

/// A document's timeline.
pub fn timeline_of(document: u64) -> Vec<u8> {
    Key::new(TIMELINE).number(document).0
}

/// Leaves of one commit in an agency's watch, by the last of them → [the others](gaps).
pub fn feed(agency: &str, last: u64) -> Vec<u8> {
    Key::new(FEED).text(agency).number(last).0
}

/// The last leaf of a [`feed`]; `None` for any other key.
pub fn feed_leaf(key: &[u8]) -> Option<u64> {
    let end = cut(key).filter(|end| key[0] == FEED && key.len() == end + 8)?;
    number(&key[end..])
}

/// An agency's watch.
pub fn feed_of(agency: &str) -> Vec<u8> {
    Key::new(FEED).text(agency).0
}

/// Digest of a signed payload → leaf that answered it.
pub fn message(payload_sha256: &[u8]) -> Vec<u8> {
    Key::new(MESSAGE).digest(payload_sha256).0
}

/// A parked status → its record.
pub fn parked(document_id: &str, sender: &str, revision: u64, recipient: &str, leaf: u64) -> Vec<u8> {
    Key::new(PARKED).text(document_id).text(sender).number(revision).text(recipient).number(leaf).0
}

/// All parked statuses.
pub fn all_parked() -> Vec<u8> {
    Key::new(PARKED).0
}

/// Statuses parked for one delivery.
pub fn parked_for(name: &DocumentName, recipient: &AgencyId) -> Vec<u8> {
    Key::new(PARKED)
        .text(&name.document_id)
        .text(name.sender.as_str())
        .number(name.revision)
        .text(recipient.as_str())
        .0
}

/// Digest → place of a body.
pub fn body(digest: &Digest) -> Vec<u8> {
    body_of(digest.as_bytes())
}

/// The same from a record's bytes.
pub fn body_of(digest: &[u8]) -> Vec<u8> {
    Key::new(BODY).digest(digest).0
}

/// Agency → next leaf to read.
pub fn cursor(agency: &str) -> Vec<u8> {
    Key::new(CURSOR).text(agency).0
}

/// Leaf → directory change.
pub fn directory(leaf: u64) -> Vec<u8> {
    Key::new(DIRECTORY).number(leaf).0
}

/// All directory changes.
pub fn all_directory() -> Vec<u8> {
    Key::new(DIRECTORY).0
}

/// An action → its record. The newest sorts first.
pub fn action(id: u64) -> Vec<u8> {
    Key::new(ACTION).number(u64::MAX - id).0
}

/// All actions.
pub fn all_actions() -> Vec<u8> {
    Key::new(ACTION).0
}

/// An action of which something is still to come.
pub fn open_action(id: u64) -> Vec<u8> {
    Key::new(OPEN).number(id).0
}

/// All of these.
pub fn all_open_actions() -> Vec<u8> {
    Key::new(OPEN).0
}

/// Document → what was erased of it.
pub fn erased(document: u64) -> Vec<u8> {
    Key::new(ERASED).number(document).0
}

/// Document → an erasure whose bytes are not removed yet.
pub fn erasing(document: u64) -> Vec<u8> {
    Key::new(ERASING).number(document).0
}

/// All erasures whose bytes are not removed yet.
pub fn all_erasing() -> Vec<u8> {
    Key::new(ERASING).0
}

/// Leaf that placed a hold → the hold.
pub fn hold(leaf: u64) -> Vec<u8> {
    Key::new(HOLD).number(leaf).0
}

/// All holds in force.
pub fn all_holds() -> Vec<u8> {
    Key::new(HOLD).0
}

/// Recipient, sender → the counting of consignments.
pub fn pair(recipient: &str, sender: &str) -> Vec<u8> {
    Key::new(PAIR).text(recipient).text(sender).0
}

/// Recipient and sender of a [`pair`].
pub fn parse_pair(key: &[u8]) -> Option<(&str, &str)> {
    let (recipient, sender) = std::str::from_utf8(key.strip_prefix(&[PAIR])?).ok()?.split_once('\0')?;
    Some((recipient, sender.strip_suffix('\0')?))
}

/// All countings of a recipient.
pub fn pairs_of(recipient: &str) -> Vec<u8> {
    Key::new(PAIR).text(recipient).0
}

/// Sender → the counting of its acceptances.
pub fn sent(sender: &str) -> Vec<u8> {
    Key::new(SENT).text(sender).0
}

/// Day → its digest.
pub fn digest(day: u32) -> Vec<u8> {
    Key::new(DIGEST).number(u64::from(day)).0
}

/// All digests.
pub fn all_digests() -> Vec<u8> {
    Key::new(DIGEST).0
}

/// The distances from the last of some ascending numbers back to the first.
pub fn gaps(numbers: &[u64]) -> Vec<u8> {
    let mut gaps = Vec::new();
    for pair in numbers.windows(2).rev() {
        prost::encoding::encode_varint(pair[1].wrapping_sub(pair[0]), &mut gaps);
    }
    gaps
}

/// The ascending numbers that end with a key's last one; `None` if these are no [gaps] that lead there.
pub fn numbers(key: &[u8], mut gaps: &[u8]) -> Option<Vec<u64>> {
    let mut numbers = vec![last_number(key)?];
    while !gaps.is_empty() {
        let gap = prost::encoding::decode_varint(&mut gaps).ok()?;
        numbers.push(numbers.last()?.checked_sub(gap)?);
    }
    numbers.reverse();
    Some(numbers)
}

/// How much of a key names its neighbours: the keys that one scan reads. All of it where nobody scans.
///
/// No group's name begins with another one's, so groups in order, each in order, are all keys in order.
pub fn group(key: &[u8]) -> usize {
    cut(key).unwrap_or(key.len())
}

/// True if a prefix names a whole group, so that what begins with it lies in that group.
pub fn is_grouped(prefix: &[u8]) -> bool {
    cut(prefix).is_some()
}

/// Where the group's name ends; `None` if there is no end in it.
fn cut(key: &[u8]) -> Option<usize> {
    let within = |len: usize| (len <= key.len()).then_some(len);
    let text = |from: usize| key.get(from..)?.iter().position(|byte| *byte == 0).map(|at| from + at + 1);
    match *key.first()? {
        NAME | FEED | PAIR => text(1),
        TIMELINE | DELIVERY => within(1 + 8),
        WAITING => within(text(1)? + 1),
        EXPANSION | DIRECTORY | ACTION | OPEN | ERASING | HOLD | DIGEST => within(1),
        PARKED => text(text(text(1)?)? + 8),
        _ => None,
    }
}

/// The number in a key's last eight bytes.
pub fn last_number(key: &[u8]) -> Option<u64> {
    number(key.get(key.len().checked_sub(8)?..)?)
}

/// A number stored as a value.
pub fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_keys_sort_by_recipient_urgency_age() {
        let keys = [
            waiting("000.00.00.H53", 0, 9),
            waiting("000.00.00.H53", 4, 2),
            waiting("000.00.00.H53", 4, 300),
            waiting("000.00.31.H53", 0, 1),
        ];
        assert!(keys.is_sorted());
        let back = parse_waiting(&keys[2], &7_i64.to_be_bytes()).expect("own key");
        assert_eq!(
            (back.recipient.as_str(), back.rank, back.document, back.deadline_us, back.held),
            ("000.00.00.H53", 4, 300, 7, false)
        );
        for (deadline, held) in [(7, true), (i64::MAX, false), (1, false), (-1, true)] {
            let back = parse_waiting(&keys[2], &waiting_value(deadline, held)).expect("own value");
            assert_eq!((back.deadline_us, back.held), (deadline, held));
        }
        assert_eq!(parse_waiting(&keys[2], &[0; 9]), None, "a ninth byte is the mark of a hold");
    }

    #[test]
    fn what_one_scan_reads_is_one_group() {
        let name = DocumentName::parse("H53", "a", 256).expect("a name");
        let agency = AgencyId::parse("H53.1").expect("an identifier");
        let scans = [
            (names_with_id("a"), super::name(&name)),
            (deliveries(256), delivery(256, "H53")),
            (all_expansions(), expansion(7)),
            (timeline_of(256), timeline(256, 9)),
            (feed_of("H53"), feed("H53", 9)),
            (parked_for(&name, &agency), parked("a", "H53", 256, "H53.1", 9)),
            (all_directory(), directory(9)),
            (all_actions(), action(9)),
            (all_open_actions(), open_action(9)),
            (all_erasing(), erasing(9)),
            (all_holds(), hold(9)),
            (pairs_of("H53"), pair("H53", "H53.1")),
            (all_digests(), digest(20_784)),
        ];
        for (prefix, key) in scans {
            assert!(is_grouped(&prefix), "{prefix:?}");
            assert!(key.starts_with(&prefix) && group(&key) == prefix.len(), "{key:?}");
        }
        assert_eq!(group(&waiting("H53", 0, 1)), 6);
        let digest = message(&[0; 32]);
        assert_eq!((group(&digest), is_grouped(&digest)), (33, false));
        assert!(!is_grouped(&all_waiting()) && !is_grouped(&all_names()) && !is_grouped(&[]));
    }

    #[test]
    fn grouped_numbers_read_back() {
        for group in [&[7][..], &[0, 1, 2], &[3, 900, 901, u64::MAX]] {
            let key = timeline(5, group[group.len() - 1]);
            assert_eq!(numbers(&key, &gaps(group)).expect("own key"), group);
        }
        assert!(gaps(&[7]).is_empty());
        assert_eq!(numbers(&timeline(5, 3), &[9]), None, "below zero");
        assert_eq!(numbers(&timeline(5, 3), &[0x80]), None, "cut");
    }

    #[test]
    fn the_leaf_of_a_watch_is_read_back_and_of_nothing_else() {
        assert_eq!(feed_leaf(&feed("H53.1", 7)), Some(7));
        assert_eq!(feed_leaf(&feed("H53.1", u64::MAX)), Some(u64::MAX));
        for other in [feed_of("H53.1"), feed_of("a long name"), timeline(7, 9), Vec::new(), vec![FEED]] {
            assert_eq!(feed_leaf(&other), None, "{other:?}");
        }
    }

    #[test]
    fn names_read_back() {
        assert_eq!(parse_name(&name_of("a, b", "H53.1", 7)), Some(("a, b", "H53.1", 7)));
        assert_eq!(parse_name(&expansion(7)), None);
        assert_eq!(parse_pair(&pair("H53", "H53.1")), Some(("H53", "H53.1")));
    }

    #[test]
    fn one_identifier_is_never_a_prefix_of_another() {
        assert!(!feed("H53.31", 1).starts_with(&feed_of("H53.3")));
        assert!(!name_of("a", "H53", 0).starts_with(&names_with_id("")));
    }
}
