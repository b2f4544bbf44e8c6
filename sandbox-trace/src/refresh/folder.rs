//! The workload's folder: reading what is committed, and replacing it as a whole.
//!
//! New files are first complete below `.refresh.part`, which is renamed to `.refresh`: from then on they are what
//! counts. They are moved into their places one by one, the lock last, and whoever finds a `.refresh` goes on with that.
//! So a crash at any moment leaves the old files or, once somebody looks, the new ones.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::lock::{self, Lock};
use crate::{
    error::{Error, Result},
    output::NamedFile,
};

/// Files that are being written; not whole, and of no meaning.
const PART: &str = ".refresh.part";
/// Files that are whole, on their way to their places.
const WHOLE: &str = ".refresh";

/// A workload's folder.
#[derive(Debug)]
pub struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file's bytes; none if it is not there.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::usage(format!("could not read {}", path.display()))
                .because(e)
                .hint("the folder must be readable")),
        }
    }

    /// Whether an earlier refresh was stopped while it moved its files into their places.
    pub fn is_interrupted(&self) -> bool {
        self.path(WHOLE).join(lock::FILE).exists()
    }

    /// Replaces what the lock of the folder lists by `files`, of which the lock is the last.
    pub fn replace(&self, files: &[NamedFile]) -> Result<()> {
        self.stage(files).map_err(|e| {
            let _ = fs::remove_dir_all(self.path(PART));
            Error::usage(format!("could not write to {}", self.0.display()))
                .because(e)
                .hint("nothing was changed; the folder must be writable, with room for its files")
        })?;
        self.finish()
    }

    /// All files complete on the disk, in `.refresh`.
    fn stage(&self, files: &[NamedFile]) -> io::Result<()> {
        let part = self.path(PART);
        remove(&part)?;
        // Without a lock, it is what is left of an earlier one that is done.
        remove(&self.path(WHOLE))?;
        fs::create_dir(&part)?;
        for file in files {
            let path = part.join(&file.name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut out = File::create_new(&path)?;
            out.write_all(&file.bytes)?;
            out.set_permissions(fs::Permissions::from_mode(if file.executable { 0o755 } else { 0o644 }))?;
            out.sync_all()?;
            path.parent().map_or(Ok(()), sync)?;
        }
        sync(&part)?;
        fs::rename(&part, self.path(WHOLE))?;
        sync(self.0)
    }

    /// Moves what is in `.refresh` into its place, and removes what only the old lock lists.
    pub fn finish(&self) -> Result<()> {
        let Some(text) = self.read(&format!("{WHOLE}/{}", lock::FILE))? else { return Ok(()) };
        let new = Lock::parse(&text, &self.path(WHOLE).display().to_string())?;
        let old = match self.read(lock::FILE)? {
            Some(text) => Lock::parse(&text, &self.path(lock::FILE).display().to_string())?,
            None => Lock::default(),
        };
        self.settle(&names(&old), &names(&new)).map_err(|e| {
            Error::usage(format!("could not write to {}", self.0.display()))
                .because(e)
                .hint("the new files are whole in .refresh, and the next refresh puts them into their places")
        })
    }

    fn settle(&self, old: &BTreeSet<String>, new: &BTreeSet<String>) -> io::Result<()> {
        let place = |name: &str| {
            let from = self.path(WHOLE).join(name);
            if !from.exists() {
                return Ok(());
            }
            let to = self.path(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(from, to)
        };
        new.iter().try_for_each(|name| place(name))?;
        for name in old.difference(new) {
            match fs::remove_file(self.path(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            // Only where it is empty: others may keep files there.
            if let Some(parent) = Path::new(name).parent().filter(|parent| *parent != Path::new("")) {
                let _ = fs::remove_dir(self.0.join(parent));
            }
        }
        sync(self.0)?;
        place(lock::FILE)?;
        sync(self.0)?;
        remove(&self.path(WHOLE))
    }
}

fn names(lock: &Lock) -> BTreeSet<String> {
    lock.files.iter().map(|file| file.name.clone()).collect()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The names in a folder are on the disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str, names: &[&str]) -> Vec<NamedFile> {
        let mut files: Vec<NamedFile> = names.iter().map(|name| NamedFile::text(name, text)).collect();
        let lock = Lock { files: lock::digests(&files), ..Lock::default() };
        files.push(NamedFile::text(lock::FILE, lock.text().unwrap()));
        files
    }

    fn listed(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_replaced_and_what_is_not_listed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path());
        fs::write(dir.path().join("README.md"), "mine").unwrap();
        folder.replace(&set("old", &["a", "kubernetes/b"])).unwrap();
        assert_eq!(listed(dir.path()), ["README.md", "a", "kubernetes", "sandbox-trace.lock"]);
        folder.replace(&set("new", &["a", "c"])).unwrap();
        assert_eq!(listed(dir.path()), ["README.md", "a", "c", "sandbox-trace.lock"]);
        assert_eq!(folder.read("a").unwrap().unwrap(), b"new");
    }

    /// A process that is killed at any step: between two system calls there is nothing but those states.
    #[test]
    fn a_crash_leaves_the_old_or_the_new_files() {
        for moved in 0..=3 {
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder(dir.path());
            folder.replace(&set("old", &["a", "b", "gone"])).unwrap();
            let new = set("new", &["a", "b", "c"]);
            folder.stage(&new).unwrap();
            for file in new.iter().take(moved) {
                fs::rename(dir.path().join(WHOLE).join(&file.name), dir.path().join(&file.name)).unwrap();
            }
            assert!(folder.is_interrupted());
            folder.finish().unwrap();
            assert_eq!(listed(dir.path()), ["a", "b", "c", "sandbox-trace.lock"], "{moved}");
            for name in ["a", "b", "c"] {
                assert_eq!(folder.read(name).unwrap().unwrap(), b"new");
            }
            assert!(!folder.is_interrupted());
        }
        // Before the rename, nothing has happened; what is left is no hindrance.
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path());
        folder.replace(&set("old", &["a"])).unwrap();
        fs::create_dir(dir.path().join(PART)).unwrap();
        fs::write(dir.path().join(PART).join("a"), "half").unwrap();
        folder.finish().unwrap();
        assert_eq!(folder.read("a").unwrap().unwrap(), b"old");
        folder.replace(&set("new", &["a"])).unwrap();
        assert_eq!(listed(dir.path()), ["a", "sandbox-trace.lock"]);
    }

    #[test]
    fn a_folder_that_can_not_be_written_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path());
        folder.replace(&set("old", &["a"])).unwrap();
        // A file where a folder would be.
        assert!(folder.replace(&set("new", &["a", "a/b"])).is_err());
        assert_eq!(listed(dir.path()), ["a", "sandbox-trace.lock"]);
        assert_eq!(folder.read("a").unwrap().unwrap(), b"old");
    }
}
