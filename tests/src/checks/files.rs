//! Every file operation of `fileops`, by every kind of name: the exact path, letters and operations of each, and
//! nothing else.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    command,
    recorded::{Access, FileKey, Recorded},
};

/// Entries of a recording, by path.
type Files = BTreeMap<FileKey, Vec<Access>>;

/// Path, letters, operations.
type Expected = (&'static [u8], &'static str, &'static str);

/// Path, letters, operations, error.
type Failing = (&'static [u8], &'static str, &'static str, &'static str);

/// What `fileops run` is granted, but for links, temporary files and long names.
const GRANTED: &[Expected] = &[
    // Opening.
    (b"open_r", "r", "open"),
    (b"open_w", "w", "open"),
    (b"open_rw", "rw", "open"),
    (b"open_a", "a", "open"),
    (b"open_truncated", "ws", "open"),
    (b"open_created", "wcs", "open"),
    (b"open_created_r", "rc", "open"),
    (b"open_created_once", "rwc", "open"),
    (b"listed/", "r", "open"),
    (b"open_by_open", "r", "open"),
    (b"open_by_creat", "wcs", "open"),
    (b"open_openat2", "rw", "open"),
    (b"open_reopened", "r", "open"),
    (b"real/through", "r", "open"),
    (b"dotdot", "r", "open"),
    (b"dirfd/rel", "r", "open"),
    (b"absolute", "wc", "open"),
    (b"new\nline", "r", "open"),
    (b"qu\"ote", "r", "open"),
    (b"back\\slash", "r", "open"),
    (b"not-utf8-\xff\xfe", "r", "open"),
    (b"glob-*?[a]{b,c}", "r", "open"),
    (b"A/B/f", "r", "open"),
    (b"A/", "rwd", "rename"),
    (b"C/", "wc", "rename"),
    (b"C/B/f", "r", "open"),
    // Names.
    (b"mkdir/", "c", "mkdir"),
    (b"mkdir_slash/", "c", "mkdir"),
    (b"real/mkdir/", "c", "mkdir"),
    (b"mkdir_dotdot/", "c", "mkdir"),
    (b"dirfd2/mkdir_rel/", "c", "mkdir"),
    (b"fifo", "c", "mknod"),
    (b"dirfd2/fifo_rel", "c", "mknod"),
    (b"symlink", "c", "symlink"),
    (b"dirfd2/symlink_rel", "c", "symlink"),
    (b"socket", "c", "bind"),
    (b"removed", "d", "unlink"),
    (b"removed_at", "d", "unlink"),
    (b"real/removed", "d", "unlink"),
    (b"odd_\"\n_removed", "d", "unlink"),
    (b"link_removed", "d", "unlink"),
    (b"rmdir/", "d", "rmdir"),
    (b"removed_dir/", "d", "unlink"),
    (b"rename_old", "rwd", "rename"),
    (b"rename_new", "wc", "rename"),
    (b"renameat_old", "rwd", "rename"),
    (b"real/renameat_new", "wc", "rename"),
    (b"rename_dir_old/", "rwd", "rename"),
    (b"rename_dir_new/", "wc", "rename"),
    (b"rename_over_old", "rwd", "rename"),
    (b"rename_over", "wc", "rename"),
    (b"exchange_a", "rw", "rename"),
    (b"exchange_b", "rw", "rename"),
    (b"rename_dir_brief/", "rwcd", "mkdir rename"),
    (b"rename_dir_briefer/", "wcd", "rename rmdir"),
    // Attributes and locks.
    (b"chmod", "s", "setattr"),
    (b"real/chmod", "s", "setattr"),
    (b"chmod_followed", "s", "setattr"),
    (b"sub/", "s", "setattr"),
    (b"fchmod", "rs", "open setattr"),
    (b"fchmodat", "s", "setattr"),
    (b"chown", "s", "setattr"),
    (b"lchown_link", "s", "setattr"),
    (b"fchown", "rs", "open setattr"),
    (b"fchownat_link", "s", "setattr"),
    (b"fchownat", "rs", "open setattr"),
    (b"truncate", "s", "setattr"),
    (b"ftruncate", "ws", "open setattr"),
    (b"flock_sh", "rk", "lock open"),
    (b"flock_ex", "rwk", "lock open"),
    (b"fcntl_r", "rk", "lock open"),
    (b"fcntl_w", "rwk", "lock open"),
    (b"ofd_w", "rwk", "lock open"),
    (b"busy", "rwk", "lock open"),
    // Execution. A script is read by its interpreter.
    (b"mapped", "rm", "mmap open"),
    (b"mapped_r", "r", "open"),
    (b"protected", "rm", "mmap open"),
    (b"binary", "x", "exec"),
    (b"script", "rx", "exec open"),
    (b"real/script", "rx", "exec open"),
];

/// What `fileops run` is refused.
const FAILED: &[Failing] = &[
    (b"missing", "r", "open", "ENOENT"),
    (b"real/missing", "rw", "open", "ENOENT"),
    (b"missing_dotdot", "r", "open", "ENOENT"),
    (b"missing\n\"\xff", "r", "open", "ENOENT"),
    (b"dirfd/missing_rel", "r", "open", "ENOENT"),
    (b"missing_by_open", "r", "open", "ENOENT"),
    (b"no_folder/creat", "wcs", "open", "ENOENT"),
    (b"open_r/below", "r", "open", "ENOTDIR"),
    (b"open_rw", "rwc", "open", "EEXIST"),
    (b"listed/", "w", "open", "EISDIR"),
    (b"full/", "d", "rmdir unlink", "ENOTEMPTY"),
    (b"full/", "d", "unlink", "EISDIR"),
    (b"full/", "c", "mkdir", "EEXIST"),
    (b"missing_removed", "d", "unlink", "ENOENT"),
    (b"missing_old", "rwd", "rename", "ENOENT"),
    (b"missing_new", "wc", "rename", "ENOENT"),
    (b"link_old", "d", "rmdir", "ENOTDIR"),
    (b"busy", "k", "lock", "EAGAIN"),
    (b"not_there", "x", "exec", "ENOENT"),
    (b"not_executable", "x", "exec", "EACCES"),
];

/// What `fileops mounts` is granted.
const GRANTED_IN_MOUNTS: &[Expected] = &[
    (b"bind/f", "r", "open"),
    (b"bind_source/f", "r", "open"),
    (b"bind/below/removed", "d", "unlink"),
    (b"tmpfs/new", "wc", "open"),
    (b"tmpfs/dir/", "rwcd", "mkdir rename"),
    (b"tmpfs/dir2/", "wc", "rename"),
];

/// What `fileops mounts` is refused.
const FAILED_IN_MOUNTS: &[Failing] =
    &[(b"bind/below/missing", "r", "open", "ENOENT"), (b"tmpfs/missing", "d", "unlink", "ENOENT")];

/// A folder with all that the operations need, removed at the end.
#[derive(Debug)]
pub struct Prepared {
    dir: tempfile::TempDir,
    work: PathBuf,
}

impl Prepared {
    /// Makes it.
    pub fn new(fileops: &Path) -> Result<Self> {
        command::require_root()?;
        let dir = tempfile::tempdir()?;
        let work = std::fs::canonicalize(dir.path())?.join("work");
        std::fs::create_dir(&work)?;
        command::succeed(Command::new(fileops).arg("prepare").arg(&work))?;
        Ok(Self { dir, work })
    }

    /// Where the operations are done.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// A place beside it.
    #[must_use]
    pub fn outside(&self) -> &Path {
        self.dir.path()
    }
}

/// What `fileops run` did; `said` is what it wrote.
pub fn operations(recorded: &Recorded, work: &Path, said: &str) -> Result<()> {
    let mut inodes = said.lines();
    let mut temporary = || Ok::<_, anyhow::Error>(format!("tmp/#{}", inodes.next().context("no inode")?));

    let mut expected = expected(GRANTED, FAILED);
    add(&mut expected, &format!("{}/f", ["d"; 64].join("/")), "r", "open", None);
    add(&mut expected, &"n".repeat(255), "r", "open", None);
    for name in ["tmp/by_empty_path", "tmp/by_proc"] {
        let temporary = temporary()?;
        add(&mut expected, &temporary, "rw", "open", None);
        add(&mut expected, name, "l", "link", Some(&temporary));
    }
    for (new, old) in
        [("link_new", "link_old"), ("real/linkat_new", "linkat_old"), ("link_hard_new", "link_hard")]
    {
        add(&mut expected, new, "l", "link", Some(old));
    }
    expected.entry((b"link_target".to_vec(), Some("EEXIST".into()))).or_default().push(access(
        "l",
        "link",
        Some("link_old"),
    ));
    same(&recorded.files_below(work)?, &expected)
}

/// Who did what `fileops run` did.
pub fn executables(recorded: &Recorded, work: &Path, fileops: &Path) -> Result<()> {
    let by = |name: &str| -> Result<Vec<String>> {
        let path = work.join(name).display().to_string();
        let file = recorded.list("files").iter().find(|file| file["path"] == path.as_str());
        Ok(recorded.by(file.with_context(|| format!("no {path}"))?).into_iter().collect())
    };
    let shell = std::fs::canonicalize("/bin/sh")?.display().to_string();
    let fileops = std::fs::canonicalize(fileops)?.display().to_string();
    for name in ["open_r", "mkdir/", "removed", "rename_new", "chmod", "mapped"] {
        ensure!(by(name)? == [fileops.clone()], "{name} by {:?}", by(name)?);
    }
    ensure!(by("script")?.contains(&shell), "script by {:?}", by("script")?);
    Ok(())
}

/// `fileops mounts` in a mount namespace of its own, with mounts that only that one has.
pub fn mounts_command(fileops: &Path, work: &Path) -> Result<Vec<OsString>> {
    let script =
        "cd \"$1\" && mount --bind bind_source bind && mount -t tmpfs none tmpfs && exec \"$0\" mounts .";
    let mut line = vec![command::require("unshare")?.into_os_string()];
    line.extend(["-m", "--propagation", "private", "sh", "-c", script].map(OsString::from));
    line.extend([fileops.as_os_str().to_owned(), work.as_os_str().to_owned()]);
    Ok(line)
}

/// What [`mounts_command`] did: the paths are those of its own namespace.
pub fn mounts(recorded: &Recorded, work: &Path) -> Result<()> {
    let mut files = recorded.files_below(work)?;
    // The mount program looks at its arguments.
    files.retain(|(path, _), _| {
        path.contains(&b'/') && !path.ends_with(b"bind/") && !path.ends_with(b"tmpfs/")
    });
    same(&files, &expected(GRANTED_IN_MOUNTS, FAILED_IN_MOUNTS))
}

fn expected(granted: &[Expected], failed: &[Failing]) -> Files {
    let granted = granted.iter().map(|(path, letters, operations)| (path, letters, operations, None));
    let failed = failed.iter().map(|(path, letters, operations, e)| (path, letters, operations, Some(e)));
    let mut files = Files::new();
    for (path, letters, operations, error) in granted.chain(failed) {
        let key = (path.to_vec(), error.map(|error| (*error).to_owned()));
        files.entry(key).or_default().push(access(letters, operations, None));
    }
    files
}

fn add(files: &mut Files, path: &str, letters: &str, operations: &str, target: Option<&str>) {
    files.entry((path.into(), None)).or_default().push(access(letters, operations, target));
}

fn access(letters: &str, operations: &str, target: Option<&str>) -> Access {
    Access {
        letters: letters.into(),
        operations: operations.split(' ').map(Into::into).collect(),
        target: target.map(Into::into),
    }
}

/// Fails with every difference, one a line.
fn same(found: &Files, expected: &Files) -> Result<()> {
    let show = |(path, error): &FileKey| {
        let path = String::from_utf8_lossy(path).escape_debug().to_string();
        error.as_ref().map_or(path.clone(), |error| format!("{path} ({error})"))
    };
    let mut differences = Vec::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(key))) {
        if expected.get(key) != found.get(key) {
            let (wanted, got) = (expected.get(key), found.get(key));
            differences.push(format!("{}\n   wanted {wanted:?}\n   got    {got:?}", show(key)));
        }
    }
    if differences.is_empty() { Ok(()) } else { bail!("{}", differences.join("\n")) }
}
