//! One look at a log: from the signed root down, each byte is verified before it is kept.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use super::{
    Believed, Fault, Keep, Step,
    folder::{Folder, wrong},
};
use crate::{
    client::{
        ClientError,
        site::{Site, SiteError},
    },
    tlog::{
        Hash,
        checkpoint::Checkpoint,
        keys::{LogKeys, Trust},
        merkle::{empty_root, leaf_hash},
        note::{MAX_NOTE, NoteError},
        tile::{self, MAX_BUNDLE, MAX_TILE, Row, Tile},
    },
    verify::log_keys::{self, MAX_LOG_KEYS},
};

/// A site of several machines may need a moment until all of them have what the checkpoint names.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(700);

/// Why a look ended early.
pub enum Stop {
    Fault(Fault),
    Site(SiteError),
    Folder(ClientError),
    /// Too few witnesses; what the policy asks for.
    NotCosigned(String),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<SiteError> for Stop {
    fn from(error: SiteError) -> Self {
        Self::Site(error)
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Folder(error)
    }
}

/// One look.
pub struct Look<'a> {
    site: &'a mut Site,
    folder: &'a Folder,
    believed: &'a Believed,
    /// All keys that are believed: the trusted ones, and what they were handed over to.
    keys: Vec<LogKeys>,
    /// Proofs of the hand-overs.
    proofs: String,
    keep: Keep,
    /// What the folder knows: that of which everything is there, and the one that it was fetching.
    known: Vec<(String, Checkpoint)>,
    seen: Vec<u8>,
    head: Checkpoint,
    /// Verified hashes of the new tree. Of its lowest row only what is in work.
    hashes: BTreeMap<Tile, Vec<Hash>>,
    /// Bytes that are wrong.
    wrong: Option<(String, Vec<u8>)>,
    fetched: u64,
}

impl<'a> Look<'a> {
    pub fn new(
        site: &'a mut Site,
        folder: &'a Folder,
        believed: &'a Believed,
        keep: Keep,
    ) -> Result<Self, ClientError> {
        let head = Checkpoint { origin: String::new(), size: 0, root: empty_root() };
        let (keys, proofs) = known_keys(believed, folder.log_keys()?);
        Ok(Self {
            site,
            folder,
            believed,
            keys,
            proofs,
            keep,
            known: Vec::new(),
            seen: Vec::new(),
            head,
            hashes: BTreeMap::new(),
            wrong: None,
            fetched: 0,
        })
    }

    pub async fn run(&mut self, told: &mut (dyn FnMut(u64, u64) + Send)) -> Result<Step, Stop> {
        let complete = self.load_known()?;
        let note = self.fetch_head().await?;
        self.judge_head()?;
        self.expect_handovers()?;
        let from = complete.unwrap_or(0);
        if complete != Some(self.head.size) {
            self.fetch_edge().await?;
            self.check_history().await?;
            // Behind the look at history: witnesses don't cosign a fork, and it has to be told.
            self.ask_policy(&note)?;
            self.keep_handovers()?;
            self.folder.begin(&note)?;
            self.copy(from, told).await?;
            self.folder.complete(&note)?;
            self.tidy(from)?;
        } else {
            self.ask_policy(&note)?;
        }
        let Checkpoint { origin, size, root } = self.head.clone();
        Ok(Step { origin, from, size, root, fetched: self.fetched })
    }

    /// What proves a fault: names below the folder of evidence, and bytes.
    pub fn evidence(&self, fault: &Fault) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("fault.txt".to_owned(), format!("{}: {fault}\n", fault.code()).into_bytes())];
        files.push(("checkpoint-seen".into(), self.seen.clone()));
        for (number, (note, _)) in (1..).zip(&self.known) {
            let name =
                if number == 1 { "checkpoint-kept".into() } else { format!("checkpoint-kept-{number}") };
            files.push((name, note.clone().into_bytes()));
        }
        if !self.proofs.is_empty() {
            files.push(("hub.keys".into(), self.proofs.clone().into_bytes()));
        }
        let tiles =
            self.hashes.iter().map(|(tile, hashes)| (format!("seen/{}", tile.path()), hashes.concat()));
        files.extend(tiles);
        files.extend(self.wrong.iter().map(|(path, bytes)| (format!("seen/{path}"), bytes.clone())));
        files
    }

    /// Reads what the folder knows; returns the size up to which everything is there.
    fn load_known(&mut self) -> Result<Option<u64>, Stop> {
        let known = self.folder.known()?;
        for (path, note) in [&known.complete, &known.pending].into_iter().flatten() {
            let head = self.keys[..].open(note).map_err(|error| wrong(path, error))?;
            self.known.push((note.clone(), head));
        }
        Ok(known.complete.is_some().then(|| self.known[0].1.size))
    }

    async fn fetch_head(&mut self) -> Result<String, Stop> {
        let path = "checkpoint";
        let bytes = self.site.get(path, MAX_NOTE).await?;
        self.seen = bytes.ok_or_else(|| Fault::Missing { path: path.into() })?.to_vec();
        let note = String::from_utf8(self.seen.clone());
        let note = note.map_err(|_| Fault::NotSigned(NoteError::Malformed("not text")))?;
        self.head = match self.keys[..].open(&note) {
            Ok(head) => head,
            Err(error) => self.follow_keys(&note, error).await?,
        };
        Ok(note)
    }

    /// A head that no believed key signed: the log may have been handed over to another key. The site has to prove it.
    async fn follow_keys(&mut self, note: &str, error: NoteError) -> Result<Checkpoint, Stop> {
        if error != NoteError::NotSigned {
            return Err(Fault::NotSigned(error).into());
        }
        let not_signed = || Stop::from(Fault::NotSigned(NoteError::NotSigned));
        let proofs = self.site.get("hub.keys", MAX_LOG_KEYS).await?.ok_or_else(not_signed)?;
        let proofs = String::from_utf8(proofs.to_vec()).map_err(|_| not_signed())?;
        if !proofs.starts_with(&self.believed.log_keys) {
            let problem = "the site's changes of the key do not begin with those that were given".into();
            return Err(Fault::Handover { problem }.into());
        }
        let keys = log_keys::trusted(&proofs, &self.believed.keys)
            .map_err(|error| Fault::Handover { problem: error.to_string() })?;
        let head = keys[..].open(note).map_err(Fault::NotSigned)?;
        (self.keys, self.proofs) = (keys, proofs);
        Ok(head)
    }

    /// Whether enough witnesses cosigned the head.
    fn ask_policy(&self, note: &str) -> Result<(), Stop> {
        let Some(policy) = &self.believed.policy else { return Ok(()) };
        match policy.judge(note).map_err(Fault::NotSigned)?.enough {
            true => Ok(()),
            false => Err(Stop::NotCosigned(policy.rule())),
        }
    }

    /// The last head of each key that ended belongs to the history that the new tree has to contain.
    fn expect_handovers(&mut self) -> Result<(), Stop> {
        let changes = log_keys::read(&self.proofs).unwrap_or_default();
        let own = changes.into_iter().filter(|change| change.head.origin == self.head.origin);
        let past = own.filter(|change| change.head.size <= self.head.size);
        self.known.extend(past.map(|change| (change.note, change.head)));
        Ok(self.judge_head()?)
    }

    /// Proofs that were followed are kept before the first head that needs them.
    fn keep_handovers(&self) -> Result<(), Stop> {
        if !self.proofs.is_empty() && self.folder.log_keys()? != self.proofs {
            self.folder.keep_log_keys(&self.proofs)?;
        }
        Ok(())
    }

    /// What two checkpoints alone can show.
    fn judge_head(&self) -> Result<(), Fault> {
        let seen = &self.head;
        for (_, kept) in &self.known {
            if kept.origin != seen.origin {
                return Err(Fault::OtherLog { kept: kept.origin.clone(), seen: seen.origin.clone() });
            }
            if seen.size < kept.size {
                return Err(Fault::WentBack { kept: kept.size, seen: seen.size });
            }
            if seen.size == kept.size && seen.root != kept.root {
                return Err(Fault::Forked { kept: kept.size, seen: seen.size });
            }
        }
        Ok(())
    }

    /// The signed root follows from the partial tiles at the edge, and so each of them is verified.
    async fn fetch_edge(&mut self) -> Result<(), Stop> {
        let edge: Vec<_> = tile::edge(self.head.size).collect();
        let mut bytes = Vec::new();
        for tile in &edge {
            let fetched = self.fetch(*tile).await?;
            let hashes = self.read_hashes(*tile, &fetched)?;
            self.hashes.insert(*tile, hashes);
            bytes.push(fetched);
        }
        if self.root_of(self.head.size) == self.head.root {
            return Ok(());
        }
        self.hashes.clear();
        let paths: Vec<_> = edge.iter().map(|tile| tile.path()).collect();
        self.wrong = Some(("edge".into(), bytes.concat()));
        Err(Fault::WrongTile { path: paths.join(" with ") }.into())
    }

    /// The new tree contains each tree that was known: their roots follow from verified hashes of the new one.
    async fn check_history(&mut self) -> Result<(), Stop> {
        let known: Vec<_> = self.known.iter().map(|(_, head)| head.clone()).collect();
        for kept in known {
            for old in tile::edge(kept.size) {
                if let Some(now) = old.row.tile(old.index, self.head.size) {
                    self.verified(now).await?;
                }
            }
            if self.root_of(kept.size) != kept.root {
                return Err(Fault::Forked { kept: kept.size, seen: self.head.size }.into());
            }
        }
        Ok(())
    }

    /// Root of the first `size` leaves by the verified hashes, which must hold the tiles of that edge.
    fn root_of(&self, size: u64) -> Hash {
        let read = |old: Tile| {
            let now = old.row.tile(old.index, self.head.size).and_then(|now| self.hashes.get(&now));
            Ok::<_, Infallible>(now.and_then(|now| now.get(..old.width.into())).unwrap_or_default().to_vec())
        };
        let Ok(root) = tile::root(size, read);
        root
    }

    /// Verifies a tile of the new tree by the one above it, and that one first.
    async fn verified(&mut self, tile: Tile) -> Result<Vec<Hash>, Stop> {
        let mut way = vec![tile];
        while let Some((above, _)) = way.last().and_then(|tile| tile.parent(self.head.size))
            && !self.hashes.contains_key(&above)
        {
            way.push(above);
        }
        while let Some(tile) = way.pop() {
            if !self.hashes.contains_key(&tile) {
                let hashes = self.load(tile).await?;
                self.hashes.insert(tile, hashes);
            }
        }
        Ok(self.hashes.get(&tile).cloned().unwrap_or_default())
    }

    /// A full tile from the folder, or else from the site; the one above is verified.
    async fn load(&mut self, tile: Tile) -> Result<Vec<Hash>, Stop> {
        let wrong = || Fault::WrongTile { path: tile.path() };
        let (above, at) = tile.parent(self.head.size).ok_or_else(wrong)?;
        let expected =
            self.hashes.get(&above).and_then(|hashes| hashes.get(at)).copied().ok_or_else(wrong)?;
        let kept = self.folder.tile(tile, MAX_TILE)?.and_then(|bytes| tile::hashes(tile, &bytes));
        if let Some(hashes) = kept.filter(|hashes| tile::subtree_root(hashes) == expected) {
            return Ok(hashes);
        }
        let bytes = self.fetch(tile).await?;
        let hashes = self.read_hashes(tile, &bytes)?;
        if tile::subtree_root(&hashes) == expected {
            return Ok(hashes);
        }
        self.wrong = Some((tile.path(), bytes));
        Err(wrong().into())
    }

    fn read_hashes(&mut self, tile: Tile, bytes: &[u8]) -> Result<Vec<Hash>, Fault> {
        tile::hashes(tile, bytes).ok_or_else(|| {
            self.wrong = Some((tile.path(), bytes.to_vec()));
            Fault::WrongTile { path: tile.path() }
        })
    }

    /// Copies what the folder does not have yet, from the top row down to the entries.
    async fn copy(&mut self, from: u64, told: &mut (dyn FnMut(u64, u64) + Send)) -> Result<(), Stop> {
        let plan = self.plan(from);
        let all = plan.len() as u64;
        for (done, tile) in (1..).zip(plan) {
            match tile.row {
                Row::Hashes(_) => self.copy_hashes(tile).await?,
                Row::Entries => self.copy_entries(tile).await?,
            }
            told(done, all);
        }
        Ok(())
    }

    fn plan(&self, from: u64) -> Vec<Tile> {
        let size = self.head.size;
        let mut plan: Vec<_> = Row::of_tree(size).flat_map(|row| row.grown(from, size)).collect();
        if self.keep == Keep::Everything {
            let from = if self.folder.has_entries() { from } else { 0 };
            plan.extend(Row::Entries.grown(from, size));
        }
        plan
    }

    async fn copy_hashes(&mut self, tile: Tile) -> Result<(), Stop> {
        let bytes = self.verified(tile).await?.concat();
        self.let_go(tile);
        if self.folder.tile(tile, MAX_TILE)?.is_none_or(|kept| kept != bytes) {
            self.folder.put(tile, &bytes)?;
        }
        Ok(())
    }

    async fn copy_entries(&mut self, bundle: Tile) -> Result<(), Stop> {
        let row = Tile { row: Row::Hashes(0), ..bundle };
        let leaves = self.verified(row).await?;
        self.let_go(row);
        if self
            .folder
            .tile(bundle, MAX_BUNDLE)?
            .is_some_and(|kept| check_entries(bundle, &kept, &leaves).is_ok())
        {
            return Ok(());
        }
        let bytes = self.fetch(bundle).await?;
        if let Err(fault) = check_entries(bundle, &bytes, &leaves) {
            self.wrong = Some((bundle.path(), bytes));
            return Err(fault.into());
        }
        Ok(self.folder.put(bundle, &bytes)?)
    }

    /// Full tiles of the lowest row are many, and each is needed twice at most.
    fn let_go(&mut self, tile: Tile) {
        if tile.row == Row::Hashes(0) && tile.is_full() {
            self.hashes.remove(&tile);
        }
    }

    fn tidy(&self, from: u64) -> Result<(), Stop> {
        let rows = Row::of_tree(self.head.size).chain([Row::Entries]);
        for tile in rows.flat_map(|row| row.grown(from, self.head.size)).filter(|tile| tile.is_full()) {
            self.folder.forget_partial(tile)?;
        }
        Ok(())
    }

    /// The site's bytes of what must be there.
    async fn fetch(&mut self, tile: Tile) -> Result<Vec<u8>, Stop> {
        let path = tile.path();
        let limit = if tile.row == Row::Entries { MAX_BUNDLE } else { MAX_TILE };
        for again in 1..=TRIES {
            match self.site.get(&path, limit).await {
                Ok(Some(bytes)) => {
                    self.fetched += 1;
                    return Ok(bytes.to_vec());
                }
                Ok(None) if again < TRIES => tokio::time::sleep(PAUSE).await,
                Ok(None) => {}
                Err(SiteError::TooLarge { path, .. }) => return Err(Fault::WrongTile { path }.into()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Fault::Missing { path }.into())
    }
}

/// All keys that are believed, with what proves them: the changes that the reader gave, or a longer row of them that the
/// folder kept. What lies in the folder may have been changed: then it proves nothing, and heads of later keys do not open.
fn known_keys(believed: &Believed, kept: String) -> (Vec<LogKeys>, String) {
    let trusted = |proofs: &str| log_keys::trusted(proofs, &believed.keys).ok();
    let given = &believed.log_keys;
    let kept = if kept.starts_with(given) { kept } else { given.clone() };
    let keys = trusted(&kept).or_else(|| trusted(given));
    (keys.unwrap_or_else(|| believed.keys.iter().cloned().map(LogKeys::from).collect()), kept)
}

/// Each entry hashes to its leaf.
fn check_entries(bundle: Tile, bytes: &[u8], leaves: &[Hash]) -> Result<(), Fault> {
    let wrong = || Fault::WrongBundle { path: bundle.path(), entries: bundle.width };
    let entries =
        tile::entries(bundle, bytes).filter(|entries| entries.len() == leaves.len()).ok_or_else(wrong)?;
    let differ = entries.iter().zip(leaves).position(|(entry, leaf)| leaf_hash(entry) != *leaf);
    match differ {
        Some(at) => Err(Fault::WrongEntry { index: bundle.start() + at as u64, path: bundle.path() }),
        None => Ok(()),
    }
}
