//! The cgroup hierarchy: targets are found by it, and their peaks are read from it.

use nix::unistd::{AccessFlags, access};

use super::{Check, Subject};
use crate::kernel::cgroup::Hierarchy;

pub(super) const SUBJECT: Subject = Subject {
    id: "cgroup",
    title: "cgroups",
    why: "A target is a cgroup of the v2 hierarchy; the memory, pids and cpu controllers give its peaks.",
    needed: true,
};

pub(super) fn check(of: Subject) -> Check {
    match Hierarchy::find() {
        Err(error) => of.missing(error.in_one_line(), error.hint_text().unwrap_or_default()),
        Ok(hierarchy) => {
            let unified =
                std::fs::read_to_string(hierarchy.root.join("cgroup.controllers")).unwrap_or_default();
            // The kernel answers for this process, and for a hierarchy that is mounted read-only.
            let writable = access(&hierarchy.root, AccessFlags::W_OK).is_ok();
            judge(of, &hierarchy, &unified, writable)
        }
    }
}

fn judge(of: Subject, hierarchy: &Hierarchy, unified: &str, writable: bool) -> Check {
    let mut controllers: Vec<&str> = hierarchy.controllers.iter().map(|(name, _)| name.as_str()).collect();
    controllers.extend(unified.split_whitespace());
    // Time is accounted for in every v2 cgroup, controller or not.
    let lacking: Vec<&str> =
        ["memory", "pids"].into_iter().filter(|name| !controllers.contains(name)).collect();
    let found = format!(
        "{}, v2 at {}{}; {}",
        hierarchy.kind(),
        hierarchy.root.display(),
        if writable { "" } else { " (not writable)" },
        if controllers.is_empty() {
            "no controllers".into()
        } else {
            format!("controllers {}", controllers.join(", "))
        },
    );
    if !writable {
        of.warning(
            found,
            "run as root with the hierarchy mounted writable (mount -o remount,rw); until then `record --cgroup` \
             works on cgroups that exist, and `record -- COMMAND` does not",
        )
    } else if !lacking.is_empty() {
        of.warning(
            format!("{found}; without {}", lacking.join(", ")),
            "boot without cgroup_disable=; until then recordings have no peaks for them",
        )
    } else {
        of.ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[test]
    fn layouts_and_what_they_lack() {
        let unified = Hierarchy { root: "/sys/fs/cgroup".into(), controllers: Vec::new() };
        let check = judge(SUBJECT, &unified, "cpu memory pids\n", true);
        assert_eq!(check.status, Status::Ok);
        assert_eq!(check.found, "unified, v2 at /sys/fs/cgroup; controllers cpu, memory, pids");
        let hybrid = Hierarchy {
            root: "/sys/fs/cgroup/unified".into(),
            controllers: ["memory", "pids"].map(|name| (name.into(), name.into())).into(),
        };
        assert_eq!(judge(SUBJECT, &hybrid, "", true).status, Status::Ok);
        let check = judge(SUBJECT, &unified, "", true);
        assert_eq!((check.status, check.found.ends_with("without memory, pids")), (Status::Warning, true));
        let check = judge(SUBJECT, &unified, "memory pids", false);
        assert!(check.status == Status::Warning && check.found.contains("not writable"));
    }
}
