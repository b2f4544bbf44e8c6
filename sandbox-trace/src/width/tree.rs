//! Walks a directory tree that nobody vouches for: each directory is opened once, below the root, through no symbolic
//! link; what can't be read is told and the walk goes on. Knows nothing of profiles.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    rc::Rc,
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::{
        stat::{FileStat, Mode, SFlag, fstat, fstatat},
        statfs::{
            BPF_FS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC,
            SECURITYFS_MAGIC, SYSFS_MAGIC, TRACEFS_MAGIC, fstatfs,
        },
    },
};

use crate::error::{Error, Result};

/// File systems in which the kernel shows itself: what is in them is different at every look, and not the image's.
const OF_THE_KERNEL: [FsType; 8] = [
    BPF_FS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    PROC_SUPER_MAGIC,
    SECURITYFS_MAGIC,
    SYSFS_MAGIC,
    TRACEFS_MAGIC,
];

/// The longest path that AppArmor puts together (`aa_g_path_max`, 2 × `PATH_MAX`): it denies what is longer.
const LONGEST_PATH: usize = 8192;

/// How long a path below an open directory may be; the kernel takes less than `PATH_MAX` at once.
const LONGEST_STEP: usize = 2048;

/// A file system may be made up while it is read and never end.
const MOST_ENTRIES: u64 = 50_000_000;

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Symlink,
    /// A device, a pipe, a socket.
    Special,
}

/// Somebody who is shown a tree. Paths are absolute below the root; those of directories end with `/`.
pub trait Visitor {
    /// What is known of a directory while its entries are shown.
    type Place: Clone;

    /// A directory `name` in `place`, whether or not it can be read.
    fn directory(&mut self, place: &Self::Place, name: &[u8]) -> Self::Place;
    /// Any other entry of `place`, whose path is `within`.
    fn entry(&mut self, place: &Self::Place, name: &[u8], kind: Kind, within: &[u8]);
    /// All entries of the directory were shown.
    fn leave(&mut self, path: &[u8]);
    /// Nothing below the directory was shown, or not all of it.
    fn unread(&mut self, path: &[u8], why: String);
    /// A file system of the kernel's is mounted there and was left out.
    fn left_out(&mut self, path: &[u8]);
}

/// A directory that is to be read.
struct Pending<P> {
    base: Rc<Base>,
    path: Vec<u8>,
    place: P,
    above: Option<Rc<Above>>,
}

/// An open directory from which others are opened, and how long its path is.
struct Base {
    directory: OwnedFd,
    length: usize,
}

/// The directories that another one is in.
struct Above {
    device: u64,
    inode: u64,
    parent: Option<Rc<Above>>,
}

impl Above {
    fn holds(&self, stat: &FileStat) -> bool {
        let mut at = Some(self);
        while let Some(one) = at {
            if (one.device, one.inode) == (stat.st_dev, stat.st_ino) {
                return true;
            }
            at = one.parent.as_deref();
        }
        false
    }
}

/// Shows `visitor` everything below `root`.
pub fn walk<V: Visitor>(root: &Path, place: V::Place, visitor: &mut V) -> Result<()> {
    let fail = |e: Errno| {
        Error::usage(format!("could not read the root file system {}", root.display())).because(e).hint(
            "name the folder that is the container's /, for example a bundle's rootfs or an image that was exported",
        )
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(root, flags, Mode::empty()).map_err(fail)?;
    // Found out now, so that a wrong name is an error and not a tree with nothing in it.
    Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE).map_err(fail)?).map_err(fail)?;
    let base = Rc::new(Base { directory, length: 1 });
    let mut pending = vec![Pending { base, path: b"/".to_vec(), place, above: None }];
    let mut entries = 0;
    while let Some(next) = pending.pop() {
        if entries >= MOST_ENTRIES {
            visitor.unread(&next.path, format!("the tree has more than {MOST_ENTRIES} entries"));
            break;
        }
        if let Err(why) = read(&next, visitor, &mut pending, &mut entries) {
            visitor.unread(&next.path, why);
        }
        visitor.leave(&next.path);
    }
    Ok(())
}

/// Shows the entries of one directory, and puts those that are directories on the list.
fn read<V: Visitor>(
    here: &Pending<V::Place>,
    visitor: &mut V,
    pending: &mut Vec<Pending<V::Place>>,
    entries: &mut u64,
) -> Result<(), String> {
    if here.path.len() > LONGEST_PATH {
        return Err(format!("a path of more than {LONGEST_PATH} bytes, which AppArmor denies"));
    }
    let failed = |e: Errno| e.desc().to_owned();
    let directory = open_below(here).map_err(failed)?;
    let stat = fstat(&directory).map_err(failed)?;
    if let Some(above) = &here.above {
        if above.holds(&stat) {
            return Err("it is mounted into itself: the same directory is above it".into());
        }
        if above.device != stat.st_dev
            && fstatfs(&directory).is_ok_and(|fs| OF_THE_KERNEL.contains(&fs.filesystem_type()))
        {
            visitor.left_out(&here.path);
            return Ok(());
        }
    }
    let above = Some(Rc::new(Above { device: stat.st_dev, inode: stat.st_ino, parent: here.above.clone() }));
    let base = if here.path.len() - here.base.length > LONGEST_STEP {
        let directory = directory.try_clone().map_err(|e| e.to_string())?;
        Rc::new(Base { directory, length: here.path.len() })
    } else {
        Rc::clone(&here.base)
    };
    let mut directory = Dir::from_fd(directory).map_err(failed)?;
    let mut untyped = Vec::new();
    let mut found = Vec::new();
    for entry in directory.iter() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *entries += 1;
        match entry.file_type() {
            Some(kind) => show(here, name.to_bytes(), kind, visitor, &mut found),
            None => untyped.push(name.to_owned()),
        }
    }
    for name in untyped {
        match fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => show(here, name.to_bytes(), kind_of(&stat), visitor, &mut found),
            // Removed since.
            Err(Errno::ENOENT) => {}
            Err(e) => visitor.unread(&[&here.path, name.to_bytes()].concat(), e.desc().to_owned()),
        }
    }
    pending.extend(found.into_iter().map(|(path, place)| Pending {
        base: Rc::clone(&base),
        path,
        place,
        above: above.clone(),
    }));
    Ok(())
}

/// Shows one entry; a directory goes on the list of those to read.
fn show<V: Visitor>(
    here: &Pending<V::Place>,
    name: &[u8],
    kind: Type,
    visitor: &mut V,
    found: &mut Vec<(Vec<u8>, V::Place)>,
) {
    let kind = match kind {
        Type::Directory => {
            found.push(([&here.path, name, b"/"].concat(), visitor.directory(&here.place, name)));
            return;
        }
        Type::File => Kind::File,
        Type::Symlink => Kind::Symlink,
        Type::Fifo | Type::CharacterDevice | Type::BlockDevice | Type::Socket => Kind::Special,
    };
    visitor.entry(&here.place, name, kind, &here.path);
}

fn kind_of(stat: &FileStat) -> Type {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Type::Directory,
        SFlag::S_IFREG => Type::File,
        SFlag::S_IFLNK => Type::Symlink,
        SFlag::S_IFIFO => Type::Fifo,
        SFlag::S_IFCHR => Type::CharacterDevice,
        SFlag::S_IFBLK => Type::BlockDevice,
        _ => Type::Socket,
    }
}

/// Opens a directory below the root, where no component may be a symbolic link, not even one that was put there since.
fn open_below<P>(here: &Pending<P>) -> nix::Result<OwnedFd> {
    let below = here.path.get(here.base.length..).unwrap_or_default();
    let below = below.strip_suffix(b"/").unwrap_or(below);
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH);
    openat2(here.base.directory.as_fd(), if below.is_empty() { b".".as_slice() } else { below }, how)
}
