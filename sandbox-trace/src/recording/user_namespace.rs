//! A user namespace's ids, and a recording's ids as its target saw them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Credential, Recording};

/// What a user namespace shows of an id that it has no number for (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;
/// Most ranges that the kernel takes (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_RANGES: usize = 340;

/// How a user namespace numbers the initial one's users and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserNamespace {
    /// Users.
    #[schemars(length(min = 1))]
    pub uid_map: Vec<IdRange>,
    /// Groups.
    #[schemars(length(min = 1))]
    pub gid_map: Vec<IdRange>,
}

/// `count` ids from `outside` on are called `inside` and so on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct IdRange {
    /// The first id, as the namespace numbers it.
    pub inside: u32,
    /// The first id, as the initial namespace numbers it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl UserNamespace {
    /// From the text of a process's `uid_map` and `gid_map`; `None` while one of them isn't written yet.
    pub fn parse(uid_map: &str, gid_map: &str) -> Option<Self> {
        let map = |text: &str| {
            let mut ranges: Vec<IdRange> = text.lines().take(MAX_RANGES).filter_map(range).collect();
            ranges.sort();
            (!ranges.is_empty()).then_some(ranges)
        };
        Some(Self { uid_map: map(uid_map)?, gid_map: map(gid_map)? })
    }

    /// A user's number inside.
    pub fn uid(&self, outside: u32) -> u32 {
        number(&self.uid_map, outside)
    }

    /// A group's number inside.
    pub fn gid(&self, outside: u32) -> u32 {
        number(&self.gid_map, outside)
    }
}

fn range(line: &str) -> Option<IdRange> {
    let mut fields = line.split_whitespace().map(str::parse);
    let (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count)), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return None;
    };
    Some(IdRange { inside, outside, count })
}

fn number(map: &[IdRange], outside: u32) -> u32 {
    map.iter()
        .find_map(|range| {
            let beyond = outside.checked_sub(range.outside).filter(|beyond| *beyond < range.count)?;
            range.inside.checked_add(beyond)
        })
        .unwrap_or(OVERFLOW)
}

impl Recording {
    /// The user and group ids that the target ran with, as its own user namespace numbers them: what a policy says of
    /// whom it runs as. Sorted, each once.
    pub fn own_credentials(&self) -> Vec<Credential> {
        let Some(namespace) = &self.target.user_namespace else { return self.credentials.clone() };
        let mut out: Vec<Credential> = Vec::new();
        for Credential { uid, gid, by, runs } in self.credentials.iter().cloned() {
            let (uid, gid) = (namespace.uid(uid), namespace.gid(gid));
            match out.iter_mut().find(|one| (one.uid, one.gid) == (uid, gid)) {
                Some(one) => {
                    one.by.extend(by);
                    one.by.sort_unstable();
                    one.by.dedup();
                    one.runs = one.runs.take().zip(runs).map(|(mut all, more)| {
                        all.add(&more);
                        all
                    });
                }
                None => out.push(Credential { uid, gid, by, runs }),
            }
        }
        out.sort();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::samples;

    const UIDS: &str = "         0      65534          1\n         1     100000      65536\n";
    const GIDS: &str = "0 7 1\n";

    #[test]
    fn maps_are_read_as_the_kernel_prints_them() {
        let namespace = UserNamespace::parse(UIDS, GIDS).unwrap();
        let ids: Vec<u32> = [65534, 100_000, 100_999, 165_536, 0].map(|uid| namespace.uid(uid)).to_vec();
        assert_eq!(ids, [0, 1, 1000, OVERFLOW, OVERFLOW]);
        assert_eq!((namespace.gid(7), namespace.gid(8)), (0, OVERFLOW));
        for odd in ["", "x", "0 1", "0 1 2 3", "0 -1 2", "0 1 99999999999"] {
            assert_eq!(UserNamespace::parse(odd, GIDS), None, "{odd:?}");
        }
        let last = IdRange { inside: u32::MAX, outside: 0, count: 5 };
        assert_eq!((number(&[last], 0), number(&[last], 1)), (u32::MAX, OVERFLOW));
    }

    #[test]
    fn ids_are_those_that_the_target_saw() {
        let mut recording = samples::calls(&["read"]);
        recording.credentials = [(65534, 7, 1), (100_000, 7, 0), (200_000, 8, 0), (200_001, 9, 2)]
            .map(|(uid, gid, by)| Credential { uid, gid, by: vec![by], runs: None })
            .to_vec();
        assert_eq!(recording.own_credentials(), recording.credentials);
        recording.target.user_namespace = UserNamespace::parse(UIDS, GIDS);
        let own: Vec<_> = recording.own_credentials().into_iter().map(|c| (c.uid, c.gid, c.by)).collect();
        assert_eq!(own, [(0, 0, vec![1]), (1, 0, vec![0]), (OVERFLOW, OVERFLOW, vec![0, 2])]);
    }
}
