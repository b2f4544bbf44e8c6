//! The kernel's own windows and switches: closed where no recording shows that they were used.

use super::{ANY, DropIn, Parts};
use crate::recording::Access;

/// Prints the options.
pub(super) fn print(parts: &Parts<'_>, out: &mut DropIn) {
    let below = |places: &'static [&'static [u8]]| {
        move |path: &[u8]| places.iter().any(|place| path.starts_with(place))
    };
    // What ProtectKernelTunables= makes read-only, but for the folders of processes.
    let tunables = below(&[
        b"/proc/sys/",
        b"/proc/sysrq-trigger",
        b"/proc/latency_stats",
        b"/proc/acpi",
        b"/proc/timer_stats",
        b"/proc/fs/",
        b"/proc/irq/",
        b"/sys/",
    ]);
    // It hides those two altogether.
    let hidden = below(&[b"/proc/kallsyms", b"/proc/kcore"]);
    if !parts.used(Access::CHANGE, tunables) && !parts.used(ANY, hidden) {
        out.set("ProtectKernelTunables", "yes", "It wrote nothing of /proc/sys and /sys.");
    }
    let modules = below(&[b"/usr/lib/modules/", b"/lib/modules/"]);
    if !parts.used(ANY, modules) && !parts.called(&["init_module", "finit_module", "delete_module"]) {
        out.set("ProtectKernelModules", "yes", "It used no modules of the kernel's.");
    }
    if !parts.used(ANY, below(&[b"/dev/kmsg", b"/proc/kmsg"])) && !parts.called(&["syslog"]) {
        out.set("ProtectKernelLogs", "yes", "It used no log of the kernel's.");
    }
    if !parts.used(Access::CHANGE, below(&[b"/sys/fs/cgroup/"])) {
        out.set("ProtectControlGroups", "yes", "It wrote to no cgroup.");
    }
    let clock = ["clock_settime", "clock_adjtime", "settimeofday", "adjtimex", "stime"];
    if !parts.used(ANY, below(&[b"/dev/rtc"])) && !parts.called(&clock) {
        out.set("ProtectClock", "yes", "It set no clock.");
    }
    if !parts.called(&["sethostname", "setdomainname"]) {
        out.set("ProtectHostname", "yes", "It set no name of the host.");
    }
}
