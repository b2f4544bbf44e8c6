//! The Linux part of a bundle: the filter, the cgroup, the namespaces, what of `/proc` and `/sys` is hidden.

use serde_json::{Value, json};

use super::{Config, Object, Parts, Report, list, object};
use crate::{
    emit,
    error::{Error, Result},
    output::grouped,
    policy::sandbox::Network,
    recording::{Access, printable},
};

/// What Docker hides (oci/defaults.go of moby 27).
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What Docker makes read-only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The period of a CPU quota, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// Sets the part.
pub(super) fn apply(config: &mut Config<'_>, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
    let name = config.name;
    let linux = config.part("linux")?;
    let seccomp = emit::seccomp::json(parts.syscalls)?;
    let seccomp: Value = serde_json::from_slice(&seccomp)
        .map_err(|e| Error::usage("could not read the seccomp profile that was just made").because(e))?;
    linux.insert("seccomp".into(), seccomp);
    let admitted = grouped(parts.syscalls.admitted() as u64);
    report.set("linux.seccomp", format!("{admitted} system calls"), "made of the same recordings");
    resources(object(linux, "resources", name)?, name, parts, report)?;
    namespaces(linux, name, parts, report)?;
    paths(linux, name, "maskedPaths", &MASKED, Access::READ, parts, report)?;
    let changes = Access::WRITE | Access::APPEND | Access::CREATE | Access::DELETE | Access::SETATTR;
    paths(linux, name, "readonlyPaths", &READ_ONLY, changes, parts, report)?;
    if !parts.sandbox.sysctls.is_empty() {
        let sysctl = object(linux, "sysctl", name)?;
        for (key, value) in &parts.sandbox.sysctls {
            sysctl.insert(key.clone(), value.clone().into());
            report.set("linux.sysctl", format!("{key}={value}"), "as it was configured");
        }
    }
    Ok(())
}

fn resources(resources: &mut Object, name: &str, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
    let limits = &parts.sandbox.limits;
    if let Some(memory) = &limits.memory_bytes {
        let part = object(resources, "memory", name)?;
        let limit = at_most(part.get("limit"), memory.value);
        part.insert("limit".into(), limit.into());
        // Memory and swap together: no swap beside it.
        part.insert("swap".into(), limit.into());
        if part.get("reservation").and_then(Value::as_u64).is_some_and(|soft| soft > limit) {
            part.insert("reservation".into(), limit.into());
        }
        report.set("linux.resources.memory", format!("{} bytes, no swap", grouped(limit)), &memory.why);
    }
    if let Some(cpu) = &limits.cpu_millis {
        let part = object(resources, "cpu", name)?;
        let period = part.get("period").and_then(Value::as_u64).filter(|p| *p > 0).unwrap_or(PERIOD);
        let quota = at_most(part.get("quota"), cpu.value.saturating_mul(period) / 1000);
        part.insert("period".into(), period.into());
        part.insert("quota".into(), quota.into());
        let share = quota.saturating_mul(1000) / period;
        report.set("linux.resources.cpu", format!("{}.{:03} CPUs", share / 1000, share % 1000), &cpu.why);
    }
    if let Some(pids) = &limits.pids {
        let part = object(resources, "pids", name)?;
        let limit = at_most(part.get("limit"), pids.value);
        part.insert("limit".into(), limit.into());
        report.set("linux.resources.pids", format!("{} tasks", grouped(limit)), &pids.why);
    }
    devices(resources, name, report)
}

/// The lower one of a limit that is there and one that is wanted. Zero and less are no limit.
fn at_most(present: Option<&Value>, wanted: u64) -> u64 {
    present.and_then(Value::as_u64).filter(|limit| *limit > 0).map_or(wanted, |limit| limit.min(wanted))
}

/// No device but those that are named; runtimes add null, zero, full, random, urandom, tty and the terminals.
fn devices(resources: &mut Object, name: &str, report: &mut Report) -> Result<()> {
    let list = list(resources, "devices", name)?;
    let all = |rule: &Value| {
        let any = |key: &str| {
            rule.get(key).is_none_or(|value| value.is_null() || value.as_i64() == Some(-1) || value == "a")
        };
        any("type") && any("major") && any("minor")
    };
    list.retain(|rule| !all(rule));
    list.insert(0, json!({ "allow": false, "access": "rwm" }));
    report.set("linux.resources.devices", "none but those that are named", "least privilege: each is named");
    Ok(())
}

fn namespaces(linux: &mut Object, name: &str, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
    let list = list(linux, "namespaces", name)?;
    let kind = |entry: &Value| entry.get("type").and_then(Value::as_str).map(str::to_owned);
    let joins = |entry: &Value| entry.get("path").and_then(Value::as_str).is_some_and(|p| !p.is_empty());
    for wanted in ["pid", "ipc", "uts", "mount", "cgroup"] {
        match list.iter().find(|entry| kind(entry).as_deref() == Some(wanted)) {
            Some(entry) if joins(entry) => report.notes.push(format!(
                "the {wanted} namespace is another's, as the bundle has it: \"{}\"",
                printable(entry.get("path").and_then(Value::as_str).unwrap_or_default())
            )),
            Some(_) => {}
            None => {
                list.push(json!({ "type": wanted }));
                report.set("linux.namespaces", wanted, "the container's own, not the host's");
            }
        }
    }
    let network = &parts.sandbox.network;
    let present = list.iter().any(|entry| kind(entry).as_deref() == Some("network"));
    match &network.value {
        Network::None => {
            list.retain(|entry| kind(entry).as_deref() != Some("network"));
            list.push(json!({ "type": "network" }));
            report.set("linux.namespaces", "network: a new one, with its own loopback alone", &network.why);
        }
        Network::Host => {
            list.retain(|entry| kind(entry).as_deref() != Some("network"));
            report.notes.push(format!("the network is the host's: {}", network.why));
        }
        Network::Bridge(_) if !present => report.notes.push(format!(
            "the network is the host's, as the bundle has it, although one of its own would do: {}; make a \
             network namespace (ip netns add) and name it in linux.namespaces",
            network.why
        )),
        Network::Bridge(_) => {}
    }
    Ok(())
}

/// Adds paths to a list, but for those that the recordings show to be needed.
fn paths(
    linux: &mut Object,
    name: &str,
    key: &'static str,
    wanted: &[&str],
    needed: Access,
    parts: &Parts<'_>,
    report: &mut Report,
) -> Result<()> {
    let list = list(linux, key, name)?;
    let mut added = Vec::new();
    for path in wanted.iter().filter(|path| !list.contains(&json!(path))).copied().collect::<Vec<_>>() {
        let inside = |found: &[u8]| {
            found.strip_prefix(path.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        if parts.needs.files.iter().any(|need| need.access().intersects(needed) && inside(need.path())) {
            report.notes.push(format!("{path} is left out of {key}: it was used"));
        } else {
            list.push(path.into());
            added.push(path);
        }
    }
    if !added.is_empty() {
        let full = if key == "maskedPaths" { "linux.maskedPaths" } else { "linux.readonlyPaths" };
        report.set(full, added.join(" "), "what Docker keeps from every container, and no recording used");
    }
    Ok(())
}
