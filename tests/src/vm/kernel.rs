//! The kernels that guests boot: one of each long-term line that Debian maintains, the declared minimum among them.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Context, Error, Result};

use crate::{command::require_path, product};

/// A kernel for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Debian 11's: the oldest that the product works on.
    V5_10,
    /// Debian 12's.
    V6_1,
    /// Debian 13's, also made for Debian 12.
    V6_12,
}

impl Kernel {
    /// All of them, the oldest first.
    pub const ALL: [Self; 3] = [Self::V5_10, Self::V6_1, Self::V6_12];

    /// As `uname -r` begins.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// Where `cargo xtask setup` puts the kernel's image.
    #[must_use]
    pub fn place(self) -> PathBuf {
        product::target_dir().join("guest").join(format!("linux-{self}")).join("vmlinuz")
    }

    /// The kernel's image, which must be there.
    pub fn image(self) -> Result<PathBuf> {
        let place = self.place();
        require_path(&place)?;
        Ok(place)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version())
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kernel| kernel.version() == text).with_context(|| {
            format!("no kernel {text}; there are {}", Self::ALL.map(Self::version).join(", "))
        })
    }
}
