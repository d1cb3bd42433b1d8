//! C2SP tiles (<https://c2sp.org/tlog-tiles>): the tree cut into pieces of 256 hashes, the leaves into bundles of 256.

use super::{
    Hash,
    checkpoint::decimal,
    merkle::{join, node_hash},
};

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u16 = 256;
/// Levels of the tree between two rows of tiles.
const HEIGHT: u8 = 8;
/// Rows that a tree of fewer than 2^64 leaves can have.
const ROWS: u8 = 8;
/// Largest bundle: 256 entries of the largest length that two bytes can tell.
pub const MAX_BUNDLE: usize = WIDTH as usize * (2 + u16::MAX as usize);
/// Bytes of a full tile.
pub const MAX_TILE: usize = WIDTH as usize * size_of::<Hash>();

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Hashes of subtrees of 256^level leaves.
    Hashes(u8),
    /// The leaves themselves.
    Entries,
}

/// One resource of the standard: place and width. Its bytes never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub row: Row,
    /// Its number within the row.
    pub index: u64,
    /// 1 to 255 for a partial tile, 256 for a full one.
    pub width: u16,
}

impl Tile {
    /// Reads a path such as `tile/0/x001/234.p/5` or `tile/entries/000`, in the one form that the standard allows.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (row, place) = path.strip_prefix("tile/")?.split_once('/')?;
        let row = match row {
            "entries" => Row::Entries,
            level => Row::Hashes(decimal(level)?.try_into().ok().filter(|level| *level < 64)?),
        };
        let (index, width) = match place.split_once(".p/") {
            Some((index, width)) => (index, decimal(width)?.try_into().ok()?),
            None => (place, WIDTH),
        };
        let tile = Self { row, index: parse_index(index)?, width };
        ((1..=WIDTH).contains(&width) && tile.path() == path).then_some(tile)
    }

    /// The path below the log's prefix.
    #[must_use]
    pub fn path(self) -> String {
        let row = match self.row {
            Row::Hashes(level) => level.to_string(),
            Row::Entries => "entries".to_owned(),
        };
        let partial = if self.is_full() { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{row}/{}{partial}", index_path(self.index))
    }

    /// True for all 256.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.width == WIDTH
    }

    /// Number of its first hash or entry within the row.
    #[must_use]
    pub fn start(self) -> u64 {
        self.index.saturating_mul(WIDTH.into())
    }

    /// True when a tree of `size` leaves has all of it.
    #[must_use]
    pub fn exists_in(self, size: u64) -> bool {
        self.width > 0
            && self.width <= WIDTH
            && self.start() < u64::MAX - u64::from(WIDTH)
            && self.end() <= self.row.count(size)
    }

    /// The tile of the row above, as it is in the tree of `size` leaves, which holds the hash over this full tile; and
    /// where in it.
    #[must_use]
    pub fn parent(self, size: u64) -> Option<(Self, usize)> {
        let Row::Hashes(level) = self.row else { return None };
        let above = Row::Hashes(level + 1).tile(self.index / u64::from(WIDTH), size)?;
        let at = usize::try_from(self.index % u64::from(WIDTH)).ok()?;
        (self.is_full() && at < above.width.into()).then_some((above, at))
    }

    fn end(self) -> u64 {
        self.start().saturating_add(self.width.into())
    }
}

impl Row {
    /// How many hashes or entries the row has in a tree of `size` leaves.
    #[must_use]
    pub fn count(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Hashes(level) if level < ROWS => size >> (HEIGHT * level),
            Self::Hashes(_) => 0,
        }
    }

    /// Level in the tree of its hashes, where it has any.
    #[must_use]
    pub fn tree_level(self) -> u8 {
        match self {
            Self::Entries => 0,
            Self::Hashes(level) => level.saturating_mul(HEIGHT),
        }
    }

    /// The tile with this index as a tree of `size` leaves has it; `None` when it has none.
    #[must_use]
    pub fn tile(self, index: u64, size: u64) -> Option<Tile> {
        let start = index.checked_mul(WIDTH.into())?;
        let there = self.count(size).checked_sub(start).filter(|there| *there > 0)?;
        let width = u16::try_from(there).unwrap_or(WIDTH).min(WIDTH);
        Some(Tile { row: self, index, width })
    }

    /// The tiles that hold what came after the tree of `old` leaves, up to that of `size`.
    pub fn grown(self, old: u64, size: u64) -> impl Iterator<Item = Tile> {
        let first = self.count(old) / u64::from(WIDTH);
        let unchanged = self.count(old) == self.count(size);
        (first..).map_while(move |index| self.tile(index, size)).filter(move |_| !unchanged)
    }

    /// Rows of hashes of a tree of `size` leaves, the highest first.
    pub fn of_tree(size: u64) -> impl Iterator<Item = Self> {
        (0..ROWS).rev().map(Self::Hashes).filter(move |row| row.count(size) > 0)
    }
}

/// The partial tiles at the right edge of a tree, the highest first: its root follows from them alone.
pub fn edge(size: u64) -> impl Iterator<Item = Tile> {
    Row::of_tree(size)
        .filter_map(move |row| row.tile(row.count(size) / u64::from(WIDTH), size))
        .filter(|tile| !tile.is_full())
}

/// Root of the tree of `size` leaves over the hashes of its [`edge`], which `read` gives, as many as the tile is wide.
pub fn root<E>(size: u64, mut read: impl FnMut(Tile) -> Result<Vec<Hash>, E>) -> Result<Hash, E> {
    let mut subtrees = Vec::new();
    for tile in edge(size) {
        let hashes = read(tile)?;
        let mut rest = &hashes[..];
        for level in (0..HEIGHT).rev().filter(|level| (tile.width >> level) & 1 == 1) {
            let (subtree, right) = rest.split_at((1 << level).min(rest.len()));
            subtrees.push(subtree_root(subtree));
            rest = right;
        }
    }
    Ok(join(subtrees))
}

/// Root over the hashes of a complete subtree: a full tile, or a part of one.
#[must_use]
pub fn subtree_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| if let [left, right] = pair { node_hash(left, right) } else { pair[0] })
            .collect();
    }
    join(row)
}

/// Hashes of a tile as they are served. `None` unless the bytes are exactly as many as `tile` is wide.
#[must_use]
pub fn hashes(tile: Tile, bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() == usize::from(tile.width)).then(|| hashes.to_vec())
}

/// Adds an entry to a bundle: its length in two bytes, then its bytes. False, and nothing added, for one of more than
/// 65,535 bytes, which the format can't carry.
#[must_use]
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(len) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&len.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// Entries of a bundle. `None` unless they are exactly as many as `tile` is wide and nothing is left.
#[must_use]
pub fn entries(tile: Tile, mut bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::with_capacity(tile.width.into());
    for _ in 0..tile.width {
        let (len, rest) = bundle.split_first_chunk::<2>()?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*len).into())?;
        entries.push(entry);
        bundle = rest;
    }
    bundle.is_empty().then_some(entries)
}

/// Groups of three digits; all but the last begin with `x`.
fn index_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    path
}

/// Reads any groups of digits; whether they are in the one form, [`Tile::parse`] asks afterwards.
fn parse_index(path: &str) -> Option<u64> {
    path.split('/').try_fold(0u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let number =
            digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
        index.checked_mul(1000)?.checked_add(number)
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::tlog::merkle::{
        self, leaf_hash, stored_index,
        tests::{leaf, stored},
    };

    fn tile(row: Row, index: u64, width: u16) -> Tile {
        Tile { row, index, width }
    }

    #[test]
    fn paths_are_those_of_the_standard() {
        for (path, expected) in [
            ("tile/0/x001/x234/067", tile(Row::Hashes(0), 1_234_067, 256)),
            ("tile/0/000", tile(Row::Hashes(0), 0, 256)),
            ("tile/63/999.p/255", tile(Row::Hashes(63), 999, 255)),
            ("tile/2/x001/000.p/1", tile(Row::Hashes(2), 1000, 1)),
            ("tile/entries/x273/112.p/9", tile(Row::Entries, 273_112, 9)),
        ] {
            assert_eq!(Tile::parse(path), Some(expected), "{path}");
            assert_eq!(expected.path(), path);
        }
    }

    #[test]
    fn every_other_path_is_nothing() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/x1/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1.p/1",
            "tile/entry/000",
            "tile/0/+01",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/٠٠٠",
            "checkpoint",
        ] {
            assert_eq!(Tile::parse(path), None, "{path}");
        }
    }

    /// The example of the standard.
    #[test]
    fn a_tree_of_seventy_thousand() {
        let size = 70_000;
        let all = |row: Row| row.grown(0, size).collect::<Vec<_>>();
        let level_0 = all(Row::Hashes(0));
        assert_eq!((level_0.len(), level_0[272].width, level_0[273].width), (274, 256, 112));
        assert_eq!(all(Row::Hashes(1)), [tile(Row::Hashes(1), 0, 256), tile(Row::Hashes(1), 1, 17)]);
        assert_eq!(all(Row::Hashes(2)), [tile(Row::Hashes(2), 0, 1)]);
        assert_eq!(all(Row::Hashes(3)), []);
        assert_eq!(edge(256).collect::<Vec<_>>(), [tile(Row::Hashes(1), 0, 1)]);
        assert_eq!(edge(0).count(), 0);
    }

    #[test]
    fn a_tile_exists_once_the_tree_has_all_of_it() {
        assert!(tile(Row::Hashes(0), 1, 3).exists_in(259));
        assert!(!tile(Row::Hashes(0), 1, 3).exists_in(258));
        assert!(tile(Row::Hashes(1), 0, 1).exists_in(256));
        assert!(!tile(Row::Hashes(1), 0, 1).exists_in(255));
        assert!(!tile(Row::Hashes(8), 0, 1).exists_in(u64::MAX));
        assert!(!tile(Row::Hashes(0), u64::MAX, 1).exists_in(u64::MAX));
        assert!(!tile(Row::Entries, u64::MAX / 256, 256).exists_in(u64::MAX));
        let (parent, at) = tile(Row::Hashes(0), 300, 256).parent(100_000).expect("covered");
        assert_eq!((parent, at), (tile(Row::Hashes(1), 1, 134), 44));
        assert_eq!(tile(Row::Hashes(0), 390, 160).parent(100_000), None);
    }

    #[test]
    fn only_what_grew_is_asked_for() {
        let grown = |row: Row, old, size| {
            row.grown(old, size).map(|tile| (tile.index, tile.width)).collect::<Vec<_>>()
        };
        assert_eq!(grown(Row::Entries, 300, 700), [(1, 256), (2, 188)]);
        assert_eq!(grown(Row::Entries, 512, 513), [(2, 1)]);
        assert_eq!(grown(Row::Hashes(1), 300, 511), []);
        assert_eq!(grown(Row::Hashes(1), 300, 512), [(0, 2)]);
        assert_eq!(grown(Row::Entries, 700, 700), []);
    }

    #[test]
    fn bundles_are_read_back_or_refused() {
        let mut bundle = Vec::new();
        let long = vec![7; 65_535];
        assert!(
            push_entry(&mut bundle, b"one") && push_entry(&mut bundle, b"") && push_entry(&mut bundle, &long)
        );
        assert!(!push_entry(&mut bundle, &[0; 65_536]));
        assert_eq!(bundle[..5], [0, 3, b'o', b'n', b'e']);
        let three = tile(Row::Entries, 0, 3);
        assert_eq!(entries(three, &bundle), Some(vec![&b"one"[..], b"", &long]));
        assert_eq!(entries(tile(Row::Entries, 0, 2), &bundle), None);
        assert_eq!(entries(tile(Row::Entries, 0, 4), &bundle), None);
        assert_eq!(entries(three, &bundle[..bundle.len() - 1]), None);
        assert_eq!(hashes(three, &[0; 95]), None);
        assert_eq!(hashes(three, &[0; 96]), Some(vec![[0; 32]; 3]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn tiles_and_tree_have_one_root(size in 0u64..1200) {
            let stored = stored(size);
            let read = |tile: Tile| -> Result<Vec<Hash>, Infallible> {
                let level = tile.row.tree_level();
                let hash = |at| stored.0[usize::try_from(stored_index(level, tile.start() + at)).unwrap()];
                Ok((0..tile.width.into()).map(hash).collect())
            };
            prop_assert_eq!(root(size, read), merkle::root(size, &stored));
            for tile in Row::Hashes(0).grown(0, size).filter(|tile| tile.is_full()) {
                let (above, at) = tile.parent(size).unwrap();
                prop_assert_eq!(read(above).unwrap()[at], subtree_root(&read(tile).unwrap()));
            }
            prop_assert_eq!(leaf(0), leaf_hash(&0u64.to_be_bytes()));
        }

        #[test]
        fn no_path_is_fatal(path in "tile/(entries|[0-9]{1,3})/[x0-9/.p]{0,40}") {
            if let Some(tile) = Tile::parse(&path) {
                prop_assert_eq!(tile.path(), path);
            }
        }
    }
}
