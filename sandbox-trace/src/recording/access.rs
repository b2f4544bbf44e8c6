//! The letters of a file access.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use crate::schemas::text;

/// A set of file permissions, in AppArmor's vocabulary but finer where AppArmor's rules lump together.
///
/// | letter | meaning | AppArmor rule letter |
/// |---|---|---|
/// | `r` | read a file, list a directory | `r` |
/// | `w` | write | `w` |
/// | `a` | write at the end only (`O_APPEND`) | `a` |
/// | `c` | create a name | `w` |
/// | `d` | delete a name | `w` |
/// | `s` | change mode, owner or length | `w` |
/// | `x` | execute | `ix`, `px`, … |
/// | `m` | map executable | `m` |
/// | `k` | lock | `k` |
/// | `l` | make a hard link here | `l` |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access(u16);

const LETTERS: &[(char, Access)] = &[
    ('r', Access::READ),
    ('w', Access::WRITE),
    ('a', Access::APPEND),
    ('c', Access::CREATE),
    ('d', Access::DELETE),
    ('s', Access::SETATTR),
    ('x', Access::EXEC),
    ('m', Access::MAP_EXEC),
    ('k', Access::LOCK),
    ('l', Access::LINK),
];

impl Access {
    /// `r`
    pub const READ: Self = Self(1);
    /// `w`
    pub const WRITE: Self = Self(1 << 1);
    /// `a`
    pub const APPEND: Self = Self(1 << 2);
    /// `c`
    pub const CREATE: Self = Self(1 << 3);
    /// `d`
    pub const DELETE: Self = Self(1 << 4);
    /// `s`
    pub const SETATTR: Self = Self(1 << 5);
    /// `x`
    pub const EXEC: Self = Self(1 << 6);
    /// `m`
    pub const MAP_EXEC: Self = Self(1 << 7);
    /// `k`
    pub const LOCK: Self = Self(1 << 8);
    /// `l`
    pub const LINK: Self = Self(1 << 9);

    /// All that changes a file or the folder that it is in.
    pub const CHANGE: Self = Self::WRITE
        .union(Self::APPEND)
        .union(Self::CREATE)
        .union(Self::DELETE)
        .union(Self::SETATTR)
        .union(Self::LINK);

    /// No access.
    pub const fn none() -> Self {
        Self(0)
    }

    /// The permissions as bits, in the order of the letters.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in this set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The permissions of this set for which `keep` says so.
    #[must_use]
    pub fn filter(self, keep: impl Fn(Self) -> bool) -> Self {
        self.iter().filter(|one| keep(*one)).fold(Self::none(), Self::union)
    }

    /// The single permissions of this set, in the order of the letters.
    pub fn iter(self) -> impl Iterator<Item = Self> {
        LETTERS.iter().map(|(_, bit)| *bit).filter(move |bit| self.contains(*bit))
    }
}

impl std::ops::BitOr for Access {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::ops::BitOrAssign for Access {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LETTERS
            .iter()
            .filter(|(_, bit)| self.contains(*bit))
            .try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

impl std::str::FromStr for Access {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.chars().try_fold(Self::none(), |set, c| {
            LETTERS
                .iter()
                .find(|(letter, _)| *letter == c)
                .map(|(_, bit)| set.union(*bit))
                .ok_or_else(|| format!("{c:?} is not an access letter (one of rwacdsxmkl)"))
        })
    }
}

impl JsonSchema for Access {
    fn schema_name() -> Cow<'static, str> {
        "Access".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Each at most once.
        let letters: String = LETTERS.iter().flat_map(|(letter, _)| [*letter, '?']).collect();
        text::of(
            &format!("^{letters}$"),
            "Accesses to a file, in this order: r read, w write, a write at the end only, c create, d delete, s change mode, \
             owner or length, x execute, m map executable, k lock, l make a hard link.",
        )
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Letters;
        impl Visitor<'_> for Letters {
            type Value = Access;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("access letters")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Access, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Letters)
    }
}
