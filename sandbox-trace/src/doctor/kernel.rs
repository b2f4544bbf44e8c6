//! The running kernel: version, type information, tracing programs, seccomp.

use super::{Check, Subject, btf_file};
use crate::{
    error::Result,
    kernel::{
        layout,
        probe::{self, Probe},
        tracer::CAPABILITIES,
    },
    record::BTF_VARIABLE,
};

pub(super) const VERSION: Subject = Subject {
    id: "kernel",
    title: "Linux kernel",
    why: "The programs need what Linux 5.10 brought; capabilities are observed from Linux 6.14 on, where the kernel \
          has a tracepoint for them.",
    needed: true,
};
pub(super) const BTF: Subject = Subject {
    id: "btf",
    title: "Kernel type information (BTF)",
    why: "It says where this kernel keeps what the tracing programs read.",
    needed: true,
};
pub(super) const PROGRAMS: Subject =
    Subject { id: "programs", title: "Tracing programs", why: PROGRAM, needed: true };
const PROGRAM: &str = "Without it the kernel shows nothing of what a target does.";
pub(super) const HOOKS: Subject = Subject {
    id: "hooks",
    title: "Hook set",
    why: "At the hooks of the security modules files, names, sockets and capabilities are seen as AppArmor sees them; \
          where system calls return, what io_uring and the kernel itself do is not.",
    needed: false,
};
pub(super) const SECCOMP: Subject = Subject {
    id: "seccomp",
    title: "seccomp in the kernel",
    why: "The kernel enforces the seccomp profiles that sandbox-trace writes.",
    needed: false,
};

/// Tail calls from programs that have functions.
const OLDEST: (u32, u32) = (5, 10);
/// The tracepoint `cap_capable`.
const WITH_CAPABILITIES: (u32, u32) = (6, 14);
const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

pub(super) fn version(of: Subject) -> Check {
    match std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => judge_version(of, release.trim()),
        Err(error) => of.missing(format!("/proc/sys/kernel/osrelease: {error}"), "mount /proc"),
    }
}

fn judge_version(of: Subject, release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => of.missing(
            format!("{release}, older than 5.10"),
            "boot Linux 5.10 or later; 6.14 sees capabilities too",
        ),
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < WITH_CAPABILITIES => of.warning(
            format!("{release}: capabilities may not be observed"),
            "boot Linux 6.14 or later, or name the workload's capabilities by hand",
        ),
        (Some(Ok(_)), Some(Ok(_))) => of.ok(release),
        _ => of.warning(format!("{release}: a version that is not understood"), "see the programs below"),
    }
}

pub(super) fn btf(of: Subject) -> Check {
    let file = btf_file();
    match layout::open(&file).and_then(|btf| layout::read(&btf)) {
        Ok(_) => of.ok(format!("{} has all that the programs read", file.display())),
        Err(error) => {
            let mut fix =
                error.hint_text().unwrap_or("use a kernel built with CONFIG_DEBUG_INFO_BTF=y").to_owned();
            if std::env::var_os(BTF_VARIABLE).is_some() {
                fix = format!(
                    "unset {BTF_VARIABLE}, which names that file, or name the kernel's own; else {fix}"
                );
            }
            of.missing(error.in_one_line(), fix)
        }
    }
}

pub(super) fn hooks(of: Subject) -> Check {
    judge_hooks(of, probe::security_hooks(&btf_file()))
}

fn judge_hooks(of: Subject, answer: Result<usize>) -> Check {
    match answer {
        Ok(count) => of.ok(format!("lsm: {count} security hooks taken by the verifier")),
        Err(error) => of.warning(
            format!("syscalls, because of the hooks for lsm: {}", error.in_one_line()),
            "record on a kernel that lets root attach programs to functions (CONFIG_FUNCTION_TRACER=y), such as \
             Debian's 6.1; without one, a workload that uses io_uring can't be recorded completely",
        ),
    }
}

pub(super) fn programs() -> Vec<Check> {
    match probe::programs(&btf_file()) {
        Ok(probes) => probes.into_iter().map(judge_program).collect(),
        Err(error) => not_tried(&error.in_one_line()),
    }
}

/// Without maps no program can be tried. What else is missing says more than each program could.
fn not_tried(reason: &str) -> Vec<Check> {
    let fix = "first mend what is missing above";
    let first = format!("not tried: {reason}");
    let found = std::iter::once(first.as_str()).chain(std::iter::repeat("not tried, for the same reason"));
    probe::names()
        .zip(found)
        .map(|(name, found)| {
            let of = program(name);
            named(if of.needed { of.missing(found, fix) } else { of.warning(found, fix) })
        })
        .collect()
}

fn judge_program(Probe { name, answer }: Probe) -> Check {
    let of = program(name);
    named(match answer {
        Ok(()) => of.ok("taken by the verifier"),
        Err(error) if !of.needed => of.warning(
            error.in_one_line(),
            "boot Linux 6.14 or later; until then recordings say that capabilities were not observed",
        ),
        Err(error) => of.missing(
            error.in_one_line(),
            "run as root on Linux 5.10 or later; where that is so, report this line with the kernel's version",
        ),
    })
}

fn program(name: &'static str) -> Subject {
    let why = match name {
        CAPABILITIES => "It sees which capabilities the kernel asks the target for.",
        "cgroup_mkdir" => "It sees new cgroups, for --wait and for several targets.",
        "cgroup_rmdir" => "It sees cgroups go, for --wait and for several targets.",
        "sched_process_exec" => "It sees which executables are started.",
        "sched_process_exit" => "It sees the calls that never return, and when a task ends.",
        "sys_exit" => "It sees every system call and its outcome; the other sys_exit programs go on from it.",
        "sys_exit_file" => "It sees the files that are opened, mapped and executed.",
        "sys_exit_filter" => "It sees the seccomp filters that a target runs under, and what they refuse.",
        "sys_exit_names" => "It sees the names that are made, removed, renamed and linked.",
        "sys_exit_network" => "It sees sockets and their addresses.",
        _ => PROGRAM,
    };
    Subject { id: name, title: name, why, needed: name != CAPABILITIES }
}

/// The id and title of a program's check, apart from those of all others.
fn named(mut check: Check) -> Check {
    check.title = format!("Program {}", check.id);
    check.id = format!("program.{}", check.id);
    check
}

pub(super) fn seccomp(of: Subject) -> Check {
    match std::fs::read_to_string(ACTIONS) {
        Ok(actions) => judge_actions(of, actions.trim()),
        Err(error) => {
            of.warning(format!("{ACTIONS}: {error}"), "use a kernel built with CONFIG_SECCOMP_FILTER=y")
        }
    }
}

fn judge_actions(of: Subject, actions: &str) -> Check {
    let lacking: Vec<&str> = ["allow", "errno", "log", "kill_process"]
        .into_iter()
        .filter(|a| !actions.split(' ').any(|b| b == *a))
        .collect();
    if lacking.is_empty() {
        of.ok(format!("actions: {actions}"))
    } else {
        of.warning(
            format!("actions: {actions}; without {}", lacking.join(", ")),
            "boot Linux 4.14 or later, or a kernel without patches that remove actions",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[test]
    fn versions_are_compared_as_numbers() {
        for (release, status) in [
            ("5.4.0-190-generic", Status::Missing),
            ("5.9.16", Status::Missing),
            ("5.10.0-32-cloud-amd64", Status::Warning),
            ("6.1.0-38-amd64", Status::Warning),
            ("6.14.0-rc1", Status::Ok),
            ("6.18.44+", Status::Ok),
            ("10.0", Status::Ok),
            ("odd", Status::Warning),
        ] {
            assert_eq!(judge_version(VERSION, release).status, status, "{release}");
        }
    }

    #[test]
    fn an_optional_program_is_a_warning_and_the_others_are_not() {
        let refused = |name| {
            judge_program(Probe { name, answer: Err(crate::Error::host("no").because("log\nlast line\n")) })
        };
        assert_eq!(refused(CAPABILITIES).status, Status::Warning);
        let check = refused("sys_exit");
        assert_eq!((check.status, check.id.as_str()), (Status::Missing, "program.sys_exit"));
        assert_eq!(check.found, "no: last line");
    }

    #[test]
    fn the_hook_set_is_named_with_the_reason() {
        assert_eq!(judge_hooks(HOOKS, Ok(29)).found, "lsm: 29 security hooks taken by the verifier");
        let check =
            judge_hooks(HOOKS, Err(crate::Error::host("no fexit").because("Operation not permitted")));
        assert_eq!(check.status, Status::Warning);
        assert!(check.found.starts_with("syscalls, because") && check.found.ends_with("not permitted"));
    }

    #[test]
    fn programs_that_were_not_tried_keep_their_ids() {
        let ids = |checks: Vec<Check>| checks.into_iter().map(|check| check.id).collect::<Vec<_>>();
        let tried = probe::names().map(|name| judge_program(Probe { name, answer: Ok(()) })).collect();
        assert_eq!(ids(not_tried("no maps")), ids(tried));
        assert_eq!(not_tried("no maps")[0].found, "not tried: no maps");
    }

    #[test]
    fn an_action_that_is_gone_is_named() {
        assert_eq!(
            judge_actions(SECCOMP, "kill_process kill_thread trap errno log allow").status,
            Status::Ok
        );
        assert!(judge_actions(SECCOMP, "errno allow log").found.contains("without kill_process"));
    }

    #[test]
    fn every_program_has_a_reason_of_its_own() {
        for name in probe::names() {
            assert_ne!(program(name).why, PROGRAM, "{name}");
        }
    }
}
