//! Which kernel features a profile is compiled for. Without the right set the compiler silently leaves whole
//! classes of rules out, so one is always named.

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// The features of Linux 6.1 in the compiler's own one-file form; `profiles/apparmor-features/6.1` has the same
/// as the folder that a kernel shows, and a test keeps the two equal.
const LINUX_6_1: &str = include_str!("features-6.1.txt");
/// Where a kernel with AppArmor shows its features.
pub const HOST: &str = "/sys/kernel/security/apparmor/features";

/// What a kernel may mediate that the replay has no model of: entry of the features folder → what it is.
const NOT_MODELLED: [(&str, &str); 6] = [
    ("network/af_unix", "Unix sockets by address"),
    ("network_v9", "sockets by address"),
    ("namespaces/userns_create", "user namespaces"),
    ("namespaces/mask", "namespaces"),
    ("io_uring", "io_uring"),
    ("dbus", "D-Bus messages"),
];

/// A set of features that the compiler can be given.
#[derive(Debug)]
pub struct Features {
    path: PathBuf,
    /// Keeps the file of the built-in set while the compiler reads it.
    _file: Option<NamedTempFile>,
    /// Which set it is, in words.
    pub origin: String,
    /// What the kernel of this set mediates and the replay does not.
    pub not_modelled: Vec<&'static str>,
}

impl Features {
    /// The named set, or this host's, or that of Linux 6.1.
    pub fn find(named: Option<&Path>) -> Result<Self> {
        if let Some(path) = named {
            if !path.exists() {
                return Err(Error::usage(format!("there are no AppArmor features at {}", path.display()))
                    .hint(format!("name a copy of a kernel's {HOST}, or leave --apparmor-features out")));
            }
            return Ok(Self::at(path, format!("the features in {}", path.display())));
        }
        let host = Path::new(HOST);
        if host.join("file").is_dir() {
            return Ok(Self::at(host, "this host's features".into()));
        }
        Self::built_in()
    }

    /// The built-in set of Linux 6.1.
    pub fn built_in() -> Result<Self> {
        let fail = |e: std::io::Error| {
            Error::host("could not write the AppArmor features to a temporary file")
                .because(e)
                .hint("TMPDIR must name a folder with room in it")
        };
        let file = NamedTempFile::new().map_err(fail)?;
        std::fs::write(file.path(), LINUX_6_1).map_err(fail)?;
        Ok(Self {
            path: file.path().to_owned(),
            _file: Some(file),
            origin: "the built-in features of Linux 6.1".into(),
            not_modelled: Vec::new(),
        })
    }

    /// What the compiler is given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(path: &Path, origin: String) -> Self {
        let not_modelled = NOT_MODELLED
            .iter()
            .filter(|(entry, _)| path.join(entry).exists())
            .map(|(_, what)| *what)
            .collect();
        Self { path: path.to_owned(), _file: None, origin, not_modelled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flattened(folder: &Path) -> String {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        let flat: Vec<String> = entries
            .iter()
            .map(|path| {
                let body = if path.is_dir() {
                    flattened(path)
                } else {
                    format!("{}\n", std::fs::read_to_string(path).unwrap().trim_end_matches('\n'))
                };
                format!("{} {{{body}}}\n", path.file_name().unwrap().to_str().unwrap())
            })
            .collect();
        flat.concat()
    }

    #[test]
    fn the_built_in_set_is_the_one_in_profiles() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiles/apparmor-features/6.1");
        assert_eq!(flattened(&folder), LINUX_6_1);
    }

    #[test]
    fn a_missing_folder_is_a_usage_error() {
        let error = Features::find(Some(Path::new("/no/such/features"))).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Usage);
    }
}
