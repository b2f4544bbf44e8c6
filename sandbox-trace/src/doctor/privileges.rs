//! The privileges of this process.

use super::{Check, Subject};
use crate::record::privileges::{NEEDED, lacking};

pub(super) const SUBJECT: Subject = Subject {
    id: "privileges",
    title: "Privileges",
    why: "The kernel takes tracing programs from CAP_BPF with CAP_PERFMON, or from CAP_SYS_ADMIN, which has both in \
          it; it shows other users' processes to CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH. No more is needed to record a \
          cgroup, a process or a container; a command gets a cgroup of its own, which root alone can make.",
    needed: true,
};

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
    let lacks: Vec<&str> = lacking(effective).into_iter().map(|(_, name, _)| name).collect();
    if !lacks.is_empty() {
        let fix = if uid == "0" {
            "give this container or service all capabilities (docker run --privileged --pid=host --cgroupns=host), or \
             run sandbox-trace on the host itself"
                .into()
        } else {
            without_root()
        };
        return of.missing(format!("{who}, without {}", lacks.join(", ")), fix);
    }
    // The map of the initial user namespace is the identity over all ids.
    if uid_map.split_whitespace().ne(["0", "0", "4294967295"]) && !uid_map.is_empty() {
        return of.missing(
            format!("{who}, but in a user namespace: the kernel gives it no tracing"),
            "run as root of the host, outside of rootless containers and `unshare --user`",
        );
    }
    let names: Vec<&str> = NEEDED.iter().map(|(_, name, _)| *name).collect();
    of.ok(format!("{who}, with {}", names.join(", ")))
}

/// How to record without being root.
fn without_root() -> String {
    let names: Vec<String> = NEEDED.iter().map(|(_, name, _)| name.to_ascii_lowercase()).collect();
    let program = std::env::current_exe().unwrap_or_else(|_| "sandbox-trace".into());
    format!(
        "run as root: sudo sandbox-trace …; or give the program these capabilities alone: sudo setcap {}+ep {}; \
         docs/rootless.md has a service that has them, and what they allow",
        names.join(","),
        program.display()
    )
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
        assert_eq!(
            text,
            "user 65534, not root, without CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"
        );
        assert_eq!(found(0, "00000000a80425fb", HOST).0, Status::Missing);
        assert!(found(0, "000001ffffffffff", "0 1000 1\n").1.contains("user namespace"));
        // Each of the two ways is enough, and a half of one is not.
        assert_eq!(
            found(1000, "000000c000000000", HOST).1,
            "user 1000, not root, without CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"
        );
        assert_eq!(found(1000, "0000000000280004", HOST).0, Status::Ok);
        assert_eq!(found(1000, "0000008000080004", HOST).0, Status::Missing);
        assert_eq!(found(1000, "000000c000080004", HOST).0, Status::Ok);
        let fix = judge(SUBJECT, "Uid:\t1 1 1 1\nCapEff:\t0\n", HOST).fix.unwrap();
        assert!(fix.contains("setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep /"), "{fix}");
        assert_eq!(judge(SUBJECT, "", "").status, Status::Missing);
    }
}
