//! What is granted and was never used in recordings: a least-privilege container does not have it.

use std::collections::BTreeSet;

use super::{
    Outcome, Severity, Subject,
    checks::{Check, Fix, found, granted},
};
use crate::{
    policy::danger,
    recording::{Access, BytePath, Mount, printable},
    requirements::Requirements,
};

/// A check that compares with recordings.
pub struct Unused {
    /// Its row; it does nothing without recordings.
    pub check: Check,
    /// What it does.
    pub run: fn(&Subject, &Requirements) -> Outcome,
}

const fn row(
    id: &'static str,
    title: &'static str,
    parts: &'static [&'static str],
    run: fn(&Subject, &Requirements) -> Outcome,
) -> Unused {
    const WHY: &str = "no recorded run needed it: taking it away costs nothing and closes something";
    Unused { check: Check { id, title, why: WHY, weight: 0, parts, run: |_| Outcome::NotApplicable }, run }
}

/// All of them.
pub const TABLE: &[Unused] = &[
    row("unused-capabilities", "Capabilities that were never used", &["cap_add", "cap_drop"], capabilities),
    row("unused-mounts", "Mounts that were never used", &["volumes"], mounts),
    row("unused-writes", "Mounts that were never written", &["volumes"], writes),
    row("unused-writable-root", "A root that was never written", &["read_only"], root),
    row("unused-ports", "Ports that nothing listened on", &["ports"], ports),
    row("unused-network", "A network that was never used", &["network_mode", "networks"], network),
    row("unused-devices", "Devices that were never used", &["devices"], devices),
    row("unused-syscalls", "System calls that were never made", &["security_opt"], syscalls),
];

/// A thing that was not observed was not "never used".
fn unobserved(needs: &Requirements, kind: &str) -> Option<Outcome> {
    needs
        .unobserved
        .contains(kind)
        .then(|| Outcome::Unknown(format!("the recordings did not observe {kind}")))
}

fn unused(subject: &Subject, severity: Severity, names: &[String], fix: &Fix<'_>) -> Outcome {
    if names.is_empty() {
        Outcome::Passed("all that is granted was used".into())
    } else {
        Outcome::Found(vec![found(subject, severity, names.join(", "), fix)])
    }
}

fn capabilities(subject: &Subject, needs: &Requirements) -> Outcome {
    if let Some(outcome) = unobserved(needs, "capabilities") {
        return outcome;
    }
    let used: BTreeSet<String> = needs.capabilities.keys().map(|name| name.to_ascii_uppercase()).collect();
    let names: Vec<String> = granted(subject).difference(&used).map(|name| printable(name)).collect();
    let dangerous =
        names.iter().any(|name| danger::reason(danger::CAPABILITIES, &name.to_ascii_lowercase()).is_some());
    let severity = if dangerous { Severity::Medium } else { Severity::Low };
    let adds: Vec<&str> = used.iter().map(String::as_str).collect();
    let (run, compose, oci) = if adds.is_empty() {
        (
            "--cap-drop ALL".to_owned(),
            "cap_drop: [ALL]".to_owned(),
            "empty sets in process.capabilities".to_owned(),
        )
    } else {
        let list = adds.join(", ");
        (
            format!("--cap-drop ALL --cap-add {}", adds.join(" --cap-add ")),
            format!("cap_drop: [ALL], cap_add: [{list}]"),
            format!("process.capabilities with {list} alone"),
        )
    };
    unused(subject, severity, &names, &Fix { run: &run, compose: &compose, oci: &oci })
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn of_the_host(subject: &Subject) -> impl Iterator<Item = &Mount> {
    subject.container().mounts.iter().filter(|mount| matches!(mount.kind.as_str(), "bind" | "volume"))
}

fn is_used(needs: &Requirements, target: &BytePath, how: impl Fn(Access) -> bool) -> bool {
    needs.files.iter().any(|file| how(file.access()) && is_below(file.path(), target.as_bytes()))
}

fn mounts(subject: &Subject, needs: &Requirements) -> Outcome {
    if let Some(outcome) = unobserved(needs, "files") {
        return outcome;
    }
    let names: Vec<String> = of_the_host(subject)
        .filter(|mount| !is_used(needs, &mount.target, |_| true))
        .map(|mount| mount.target.to_string())
        .collect();
    unused(
        subject,
        Severity::Low,
        &names,
        &Fix {
            run: "remove the -v of them",
            compose: "remove them from volumes",
            oci: "remove them from mounts",
        },
    )
}

fn writes(subject: &Subject, needs: &Requirements) -> Outcome {
    if let Some(outcome) = unobserved(needs, "files") {
        return outcome;
    }
    let names: Vec<String> = of_the_host(subject)
        .filter(|mount| mount.mode != "ro" && is_used(needs, &mount.target, |_| true))
        .filter(|mount| !is_used(needs, &mount.target, |access| access.intersects(Access::CHANGE)))
        .map(|mount| mount.target.to_string())
        .collect();
    unused(
        subject,
        Severity::Low,
        &names,
        &Fix {
            run: "-v SOURCE:TARGET:ro",
            compose: "SOURCE:TARGET:ro in volumes",
            oci: "the option ro in mounts",
        },
    )
}

fn root(subject: &Subject, needs: &Requirements) -> Outcome {
    if subject.container().read_only == Some(true) {
        return Outcome::NotApplicable;
    }
    if let Some(outcome) = unobserved(needs, "files") {
        return outcome;
    }
    let elsewhere = |path: &[u8]| {
        let kernel = ["/proc", "/sys", "/dev"].iter().any(|folder| is_below(path, folder.as_bytes()));
        kernel || subject.container().mounts.iter().any(|mount| is_below(path, mount.target.as_bytes()))
    };
    let written =
        needs.files.iter().find(|file| file.access().intersects(Access::CHANGE) && !elsewhere(file.path()));
    match written {
        Some(file) => {
            let path: BytePath = file.path().to_vec().into();
            Outcome::Passed(format!("it was written: {path}"))
        }
        None => Outcome::Found(vec![found(
            subject,
            Severity::Low,
            "nothing outside of mounts was written",
            &Fix { run: "--read-only", compose: "read_only: true", oci: "root.readonly: true" },
        )]),
    }
}

/// The port of `127.0.0.1:80` or `[::1]:80`.
fn port_of(address: &BytePath) -> Option<u16> {
    std::str::from_utf8(address.as_bytes()).ok()?.rsplit_once(':')?.1.parse().ok()
}

fn ports(subject: &Subject, needs: &Requirements) -> Outcome {
    if let Some(outcome) = unobserved(needs, "network") {
        return outcome;
    }
    let uses = || needs.runs.iter().flat_map(|run| &run.network);
    let bound: BTreeSet<u16> = uses()
        .filter(|network| matches!(network.operation.as_str(), "bind" | "listen" | "accept"))
        .filter_map(|network| port_of(network.address.as_ref()?))
        .collect();
    let ports = subject
        .container()
        .ports
        .iter()
        .filter(|port| port.container != 0 && !bound.contains(&port.container));
    let names: Vec<String> =
        ports.map(|port| format!("{}/{}", port.container, printable(&port.protocol))).collect();
    unused(
        subject,
        Severity::Low,
        &names,
        &Fix { run: "remove the -p of them", compose: "remove them from ports", oci: "publish none" },
    )
}

fn network(subject: &Subject, needs: &Requirements) -> Outcome {
    if subject.container().network_mode.as_deref() == Some("none") {
        return Outcome::NotApplicable;
    }
    if let Some(outcome) = unobserved(needs, "network") {
        return outcome;
    }
    let uses = || needs.runs.iter().flat_map(|run| &run.network);
    let loopback = |address: &str| address.starts_with("127.") || address.starts_with("[::1]");
    let used = uses().find(|network| {
        let inet = matches!(network.family.as_str(), "inet" | "inet6");
        let address = network.address.as_ref().map(ToString::to_string);
        inet && network.operation != "socket" && address.is_some_and(|address| !loopback(&address))
    });
    match used.and_then(|network| network.address.as_ref()) {
        Some(address) => Outcome::Passed(format!("it was used: {address}")),
        None => Outcome::Found(vec![found(
            subject,
            Severity::Low,
            "nothing beyond loopback was bound or connected",
            &Fix {
                run: "--network none",
                compose: "network_mode: none",
                oci: "a network namespace that nothing connects",
            },
        )]),
    }
}

fn devices(subject: &Subject, needs: &Requirements) -> Outcome {
    if let Some(outcome) = unobserved(needs, "files") {
        return outcome;
    }
    let names: Vec<String> = subject
        .container()
        .devices
        .iter()
        .filter(|device| {
            let mut parts = device.split(':');
            let host = parts.next().unwrap_or_default();
            let target = parts.next().filter(|target| target.starts_with('/')).unwrap_or(host);
            target.starts_with('/') && !is_used(needs, &target.into(), |_| true)
        })
        .map(|device| printable(device))
        .collect();
    unused(
        subject,
        Severity::Low,
        &names,
        &Fix {
            run: "remove the --device of them",
            compose: "remove them from devices",
            oci: "remove them from linux.devices",
        },
    )
}

fn syscalls(subject: &Subject, needs: &Requirements) -> Outcome {
    let Some(filter) = &subject.filter else { return Outcome::NotApplicable };
    if let Some(outcome) = unobserved(needs, "syscalls") {
        return outcome;
    }
    let used: BTreeSet<&str> = needs.syscalls.keys().map(|(_, name)| name.as_str()).collect();
    let unused = filter.allowed.iter().filter(|name| !used.contains(**name)).count();
    if unused == 0 {
        return Outcome::Passed("every call that passes was made".into());
    }
    let evidence = format!("{unused} of the {} calls that pass were never made", filter.allowed.len());
    Outcome::Found(vec![found(
        subject,
        Severity::Info,
        evidence,
        &Fix {
            run: "--security-opt seccomp=FILE, with a FILE from: sandbox-trace emit-seccomp RECORDING",
            compose: "security_opt: [seccomp:FILE], with a FILE from: sandbox-trace emit-seccomp RECORDING",
            oci: "linux.seccomp, from: sandbox-trace emit-oci RECORDING",
        },
    )])
}
