//! Capability names, for profiles whose rules depend on the container's capabilities.

use std::collections::BTreeSet;

use crate::{
    error::{Error, Result},
    linux,
};

/// A set of capabilities by the names that profiles use: `CAP_SYS_ADMIN`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<String>);

impl Capabilities {
    /// From names as people write them: any case, with or without `CAP_`. `none` stands for no capability.
    pub fn parse(names: &[String]) -> Result<Self> {
        let mut out = BTreeSet::new();
        for name in names.iter().filter(|name| *name != "none") {
            let lower = name.to_ascii_lowercase();
            let bare = lower.strip_prefix("cap_").unwrap_or(&lower);
            if !linux::capabilities().any(|known| known == bare) {
                return Err(Error::usage(format!("{name:?} is no capability"))
                    .hint("write them like SYS_ADMIN,NET_RAW, or `none`"));
            }
            out.insert(in_profiles(bare));
        }
        Ok(Self(out))
    }

    /// The bounding set of this process, which is what dockerd looks at for a container.
    pub fn bounding() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")
            .map_err(|e| Error::host("could not read /proc/self/status").because(e).hint("mount /proc"))?;
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(0);
        Ok(Self::from_mask(mask))
    }

    /// From the kernel's bits. Those without a name are left out: no profile can name them either.
    pub fn from_mask(mask: u64) -> Self {
        let held = linux::capabilities().enumerate().filter(|(nr, _)| mask >> nr & 1 == 1);
        Self(held.map(|(_, name)| in_profiles(name)).collect())
    }

    /// The names, in order: `CAP_CHOWN`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether `name` is in the set.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// `sys_admin` → `CAP_SYS_ADMIN`.
fn in_profiles(name: &str) -> String {
    format!("CAP_{}", name.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_people_write_them() {
        let parse =
            |names: &[&str]| Capabilities::parse(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let set = parse(&["sys_admin", "CAP_NET_RAW"]).unwrap();
        assert!(set.has("CAP_SYS_ADMIN") && set.has("CAP_NET_RAW") && !set.has("CAP_BPF"));
        assert_eq!(parse(&["none"]).unwrap(), Capabilities::default());
        assert!(parse(&["CAP_FLY"]).is_err());
    }
}
