//! The file system below [`Folder`](super::folder::Folder): every call goes to the other folder, writes and syncs by way of
//! the order.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::folder::{Through, lock};

const TTL: Duration = Duration::ZERO;
/// `O_ACCMODE`, `O_CREAT`, `O_EXCL`, `O_TRUNC` as the kernel passes them.
const WRITES: i32 = 3;
const TRUNC: i32 = 0o1000;
const EXCL: i32 = 0o200;

/// A folder that holds this one inode keeps its number; the root's is 1.
pub fn attr(metadata: &Metadata) -> FileAttr {
    let kind = if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile };
    let time =
        |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    FileAttr {
        ino: INodeNo(metadata.ino()),
        size: metadata.len(),
        blocks: metadata.blocks(),
        atime: time(metadata.atime()),
        mtime: time(metadata.mtime()),
        ctime: time(metadata.ctime()),
        crtime: SystemTime::UNIX_EPOCH,
        kind,
        perm: u16::try_from(metadata.mode() & 0o7777).unwrap(),
        nlink: u32::try_from(metadata.nlink()).unwrap(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

macro_rules! answer {
    ($reply:ident, $result:expr, $good:expr) => {
        match $result {
            Ok(value) => $good($reply, value),
            Err(error) => $reply.error(Errno::from(error)),
        }
    };
}

impl Filesystem for Through {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.known(self.child(parent, name));
        answer!(reply, found, |reply: ReplyEntry, attr| reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let found = match fh.map(|fh| self.file(fh)) {
            Some(Ok((file, _))) => file.metadata(),
            _ => self.root.join(self.path(ino)).symlink_metadata(),
        };
        answer!(reply, found, |reply: ReplyAttr, metadata| {
            reply.attr(&TTL, &FileAttr { ino, ..attr(&metadata) });
        });
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = || -> io::Result<Metadata> {
            let path = self.root.join(self.path(ino));
            if let Some(mode) = mode {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
            }
            if let Some(size) = size {
                File::options().write(true).open(&path)?.set_len(size)?;
            }
            path.symlink_metadata()
        };
        answer!(reply, change(), |reply: ReplyAttr, metadata| {
            reply.attr(&TTL, &FileAttr { ino, ..attr(&metadata) });
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let path = self.child(parent, name);
        let made =
            fs::DirBuilder::new().mode(mode).create(self.root.join(&path)).and_then(|()| self.known(path));
        answer!(reply, made, |reply: ReplyEntry, attr| reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = fs::remove_file(self.root.join(self.child(parent, name)));
        answer!(reply, done, |reply: ReplyEmpty, ()| reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = fs::remove_dir(self.root.join(self.child(parent, name)));
        answer!(reply, done, |reply: ReplyEmpty, ()| reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = Self::rename(self, &self.child(parent, name), &self.child(to_parent, to_name));
        answer!(reply, done, |reply: ReplyEmpty, ()| reply.ok());
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let to = self.child(parent, name);
        let done =
            fs::hard_link(self.root.join(self.path(ino)), self.root.join(&to)).and_then(|()| self.known(to));
        answer!(reply, done, |reply: ReplyEntry, attr| reply.entry(&TTL, &attr, Generation(0)));
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let path = self.path(ino);
        let writes = flags.0 & WRITES != 0;
        let mut options = File::options();
        let opened = options
            .read(true)
            .write(writes)
            .truncate(writes && flags.0 & TRUNC != 0)
            .open(self.root.join(&path));
        answer!(reply, opened, |reply: ReplyOpen, file| {
            reply.opened(self.opened(file, path), FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let path = self.child(parent, name);
        let mut options = File::options();
        options.read(true).write(true).mode(mode).truncate(flags & TRUNC != 0);
        let options = if flags & EXCL != 0 { options.create_new(true) } else { options.create(true) };
        let made = options.open(self.root.join(&path)).and_then(|file| Ok((file, self.known(path.clone())?)));
        answer!(reply, made, |reply: ReplyCreate, (file, attr)| {
            let handle = self.opened(file, path);
            reply.created(&TTL, &attr, Generation(0), handle, FopenFlags::FOPEN_DIRECT_IO);
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.state).open.remove(&fh.0);
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        answer!(reply, self.read_at(fh, offset, size), |reply: ReplyData, bytes: Vec<u8>| reply.data(&bytes));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer!(reply, self.write_at(fh, offset, data), |reply: ReplyWrite, len| {
            reply.written(u32::try_from(len).unwrap());
        });
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.sync(fh), |reply: ReplyEmpty, ()| reply.ok());
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed =
            fs::read_dir(self.root.join(self.path(ino))).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for (at, entry) in (1..).zip(entries).skip(usize::try_from(offset).unwrap()) {
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let kind = if is_dir { FileType::Directory } else { FileType::RegularFile };
            let ino = entry.metadata().map_or(0, |metadata| metadata.ino());
            if reply.add(INodeNo(ino), at, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}
