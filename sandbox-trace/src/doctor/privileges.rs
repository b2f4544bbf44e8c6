//! The privileges of this process.

use super::{Check, Subject};

pub(super) const SUBJECT: Subject = Subject {
    id: "privileges",
    title: "Privileges",
    why: "The kernel takes tracing programs from CAP_BPF with CAP_PERFMON, or from CAP_SYS_ADMIN, which has both in \
          it; it shows other users' processes to CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.",
    needed: true,
};

/// `include/uapi/linux/capability.h`.
type Capability = (u32, &'static str);
/// Has the other two in it (`bpf_capable`, `perfmon_capable`).
const ADMIN: Capability = (21, "CAP_SYS_ADMIN");
const NEEDED: [Capability; 2] = [(38, "CAP_PERFMON"), (39, "CAP_BPF")];
/// What recording works worse without.
const USEFUL: [Capability; 2] = [(2, "CAP_DAC_READ_SEARCH"), (19, "CAP_SYS_PTRACE")];

pub(super) fn check(of: Subject) -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    judge(of, &status, &map)
}

fn judge(of: Subject, status: &str, uid_map: &str) -> Check {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let Some(effective) = field("CapEff:").and_then(|text| u64::from_str_radix(text.trim(), 16).ok()) else {
        return of.missing("/proc/self/status can't be read", "mount /proc");
    };
    let uid = field("Uid:").and_then(|text| text.split_whitespace().nth(1)).unwrap_or("?");
    let who = if uid == "0" { "root".to_owned() } else { format!("user {uid}, not root") };
    let (has, lacks): (Vec<_>, Vec<_>) = [&[ADMIN][..], &NEEDED, &USEFUL]
        .concat()
        .into_iter()
        .partition(|(bit, _)| effective & (1 << bit) != 0);
    let names = |list: &[Capability], of: &[Capability]| -> Vec<&str> {
        of.iter().filter(|capability| list.contains(capability)).map(|(_, name)| *name).collect()
    };
    let (needed, useful) = (names(&lacks, &NEEDED), names(&lacks, &USEFUL));
    if !needed.is_empty() && !has.contains(&ADMIN) {
        let fix = if uid == "0" {
            "give this container or service all capabilities (docker run --privileged --pid=host --cgroupns=host), or \
             run sandbox-trace on the host itself"
        } else {
            "run as root: sudo sandbox-trace …"
        };
        return of.missing(format!("{who}, without {}", needed.join(", ")), fix);
    }
    // The map of the initial user namespace is the identity over all ids.
    if uid_map.split_whitespace().ne(["0", "0", "4294967295"]) && !uid_map.is_empty() {
        return of.missing(
            format!("{who}, but in a user namespace: the kernel gives it no tracing"),
            "run as root of the host, outside of rootless containers and `unshare --user`",
        );
    }
    if useful.is_empty() {
        of.ok(format!("{who}, with {}", has.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ")))
    } else {
        of.warning(format!("{who}, without {}", useful.join(", ")), "run as root with all capabilities")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    const HOST: &str = "         0          0 4294967295\n";

    fn found(uid: u32, capabilities: &str, map: &str) -> (Status, String) {
        let status = format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities}\n");
        let check = judge(SUBJECT, &status, map);
        (check.status, check.found)
    }

    #[test]
    fn root_of_the_host_nobody_and_root_of_containers() {
        assert_eq!(found(0, "000001ffffffffff", HOST).0, Status::Ok);
        let (status, text) = found(65534, "0000000000000000", HOST);
        assert_eq!(status, Status::Missing);
        assert_eq!(text, "user 65534, not root, without CAP_PERFMON, CAP_BPF");
        assert_eq!(found(0, "00000000a80425fb", HOST).0, Status::Missing);
        assert!(found(0, "000001ffffffffff", "0 1000 1\n").1.contains("user namespace"));
        // Each of the two ways is enough, and a half of one is not.
        assert_eq!(found(1000, "000000c000000000", HOST).0, Status::Warning);
        assert_eq!(found(1000, "0000000000200000", HOST).0, Status::Warning);
        assert_eq!(found(1000, "0000008000000000", HOST).0, Status::Missing);
        assert_eq!(found(1000, "000000c000080004", HOST).0, Status::Ok);
        assert_eq!(judge(SUBJECT, "", "").status, Status::Missing);
    }
}
