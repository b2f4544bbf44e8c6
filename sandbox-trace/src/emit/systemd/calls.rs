//! System calls. systemd filters by name: it has no conditions on arguments.

use super::{DropIn, Parts};
use crate::{
    policy::{
        arguments::namespace_flags,
        syscalls::{Admits, Why},
    },
    seccomp::arch::Arch,
};

/// Prints the options.
pub(super) fn print(parts: &Parts<'_>, out: &mut DropIn) {
    let policy = parts.syscalls;
    let admitted: Vec<&str> = policy
        .calls
        .iter()
        .filter(|(_, call)| call.admits != Admits::Nothing)
        .map(|(name, _)| name.as_str())
        .collect();
    let missing: Vec<String> = policy
        .calls
        .iter()
        .filter(|(_, call)| call.admits == Admits::Nothing)
        .map(|(name, _)| format!("{name}:ENOSYS"))
        .collect();
    let seen = policy.count(Why::Seen);
    out.list(
        "SystemCallFilter",
        admitted,
        &format!("{seen} calls that were seen, the others go with them; systemd adds what it needs itself (@default)."),
    );
    let limited = policy.limited();
    if !limited.is_empty() {
        out.comment(&format!(
            "With any arguments, because systemd can't limit them: {}. The profile of emit-seccomp does.",
            limited.join(" ")
        ));
    }
    if !missing.is_empty() {
        out.comment("Libraries do without these where the kernel says that it has no such call.");
        for line in missing.chunks(4) {
            out.line("SystemCallFilter", &format!("~{}", line.join(" ")));
        }
    }
    out.set("SystemCallErrorNumber", "EPERM", "Programs know this answer from container runtimes.");
    let architectures: Vec<&str> = policy
        .architectures
        .iter()
        .map(|arch| match arch {
            // What is recorded runs on x86-64.
            Arch::X8664 => "native",
            Arch::I386 => "x86",
            Arch::X32 => "x32",
        })
        .collect();
    out.list("SystemCallArchitectures", architectures, "What was seen.");
    behaviour(parts, out);
}

/// Options that are filters of systemd's own, on top of the list.
fn behaviour(parts: &Parts<'_>, out: &mut DropIn) {
    if parts.sandbox.makes_code {
        out.comment(
            "MemoryDenyWriteExecute= is left out: memory was made executable (a just-in-time compiler).",
        );
    } else {
        out.set("MemoryDenyWriteExecute", "yes", "No memory was made executable that could be written.");
    }
    // Flags of clone3 are in memory, where no filter looks: systemd answers that it does not exist.
    let makes_namespaces = parts.called(&["unshare", "setns"])
        || parts.syscalls.calls.get("clone3").is_some_and(|call| call.admits != Admits::Nothing)
        || parts.needs.syscalls.iter().any(|((_, name), need)| {
            need.args
                .keys()
                .any(|tuple| tuple.get(&0).is_some_and(|flags| namespace_flags(name, *flags) != 0))
        });
    if !makes_namespaces {
        out.set("RestrictNamespaces", "yes", "It made no namespace.");
    }
    if !parts.called(&["sched_setscheduler", "sched_setparam", "sched_setattr"]) {
        out.set("RestrictRealtime", "yes", "It asked for no scheduling of its own.");
    }
    if !parts.called(&["personality"]) {
        out.set("LockPersonality", "yes", "It asked for no other personality.");
    }
    // The bits are not recorded, so that no call that could set them may have been made.
    let modes = ["chmod", "fchmod", "fchmodat", "fchmodat2", "mknod", "mknodat", "openat2"];
    if parts.called(&modes) {
        out.comment("RestrictSUIDSGID= is left out: modes of files were set, which ones is not recorded.");
    } else {
        out.set("RestrictSUIDSGID", "yes", "It set no mode of any file.");
    }
}
