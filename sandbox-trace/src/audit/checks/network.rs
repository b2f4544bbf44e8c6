//! Namespaces that are not its own, the network, kernel parameters.

use super::{Fix, both, one, passed, unknown};
use crate::{
    audit::{Outcome, Severity, Source, Subject},
    recording::{Port, printable},
};

/// Whether a namespace is the host's, or somebody else's.
fn shared(subject: &Subject, name: &str, severity: Severity, fix: &Fix<'_>) -> Outcome {
    let asked = subject.container().namespaces.get(name).map(String::as_str);
    let held = subject.held.as_ref().map(|held| held.hosts_namespaces.contains(name));
    match (asked, held) {
        (Some("host"), Some(false)) => passed(both("the host's", "its own")),
        (Some("host"), _) => one(subject, severity, format!("its {name} namespace is the host's"), fix),
        (_, Some(true)) => {
            one(subject, severity, both("its own", &format!("its {name} namespace is the host's")), fix)
        }
        (Some(other), _) => {
            one(subject, Severity::Low, format!("its {name} namespace is shared: {}", printable(other)), fix)
        }
        (None, _) => passed(format!("its {name} namespace is its own")),
    }
}

pub fn pid(subject: &Subject) -> Outcome {
    shared(
        subject,
        "pid",
        Severity::High,
        &Fix {
            run: "remove --pid",
            compose: "remove pid:",
            oci: "add {\"type\": \"pid\"} to linux.namespaces",
        },
    )
}

pub fn ipc(subject: &Subject) -> Outcome {
    shared(
        subject,
        "ipc",
        Severity::Medium,
        &Fix {
            run: "remove --ipc, or --ipc private",
            compose: "remove ipc:, or ipc: private",
            oci: "add {\"type\": \"ipc\"} to linux.namespaces",
        },
    )
}

pub fn uts(subject: &Subject) -> Outcome {
    shared(
        subject,
        "uts",
        Severity::Low,
        &Fix {
            run: "remove --uts",
            compose: "remove uts:",
            oci: "add {\"type\": \"uts\"} to linux.namespaces",
        },
    )
}

pub fn cgroup(subject: &Subject) -> Outcome {
    let fix = Fix {
        run: "--cgroupns private",
        compose: "cgroup: private",
        oci: "add {\"type\": \"cgroup\"} to linux.namespaces",
    };
    let asked = subject.container().namespaces.contains_key("cgroup");
    let held = subject.held.as_ref().map(|held| held.hosts_namespaces.contains("cgroup"));
    match held {
        // Docker's default where cgroups are of version 1: nobody asked for it.
        Some(true) if !asked => one(
            subject,
            Severity::Low,
            "its cgroup namespace is the host's, as the engine gives it here",
            &fix,
        ),
        None if !asked && subject.source != Source::Oci => {
            unknown("the engine gives it one of its own where the host has cgroup version 2 alone")
        }
        _ => shared(subject, "cgroup", Severity::Low, &fix),
    }
}

pub fn host(subject: &Subject) -> Outcome {
    let fix = Fix {
        run: "--network none, or a network with -p 127.0.0.1:HOST:CONTAINER",
        compose: "network_mode: none, or networks: with ports: [\"127.0.0.1:HOST:CONTAINER\"]",
        oci: "add {\"type\": \"network\"} to linux.namespaces",
    };
    let asked = subject.container().network_mode.as_deref();
    let held = subject.held.as_ref().map(|held| held.hosts_namespaces.contains("net"));
    match (asked, held) {
        (Some("host"), Some(false)) => passed(both("the host's", "its own")),
        (Some("host"), _) => one(subject, Severity::High, "it is in the host's network", &fix),
        (_, Some(true)) => {
            let asked = printable(asked.unwrap_or("its own"));
            one(subject, Severity::High, both(&asked, "the host's network"), &fix)
        }
        (Some(_), _) | (None, Some(false)) => passed("its network is not the host's"),
        (None, None) => unknown("which network it joins is not told"),
    }
}

fn on_all(port: &Port) -> bool {
    port.host_ip.as_deref().is_none_or(|ip| matches!(ip, "" | "0.0.0.0" | "::"))
}

pub fn ports(subject: &Subject) -> Outcome {
    let ports = &subject.container().ports;
    if ports.is_empty() {
        return passed("no port is published");
    }
    let mut open: Vec<String> = ports
        .iter()
        .filter(|port| on_all(port))
        .map(|port| match (port.container, port.host) {
            (0, _) => "every port that its image exposes".to_owned(),
            (own, Some(host)) => format!("{host} to its {own}/{}", printable(&port.protocol)),
            (own, None) => format!("any port to its {own}/{}", printable(&port.protocol)),
        })
        .collect();
    open.dedup();
    if open.is_empty() {
        return passed("every published port is bound to one address");
    }
    one(
        subject,
        Severity::Medium,
        format!("on all interfaces: {}", open.join(", ")),
        &Fix {
            run: "-p 127.0.0.1:HOST:CONTAINER",
            compose: "ports: [\"127.0.0.1:HOST:CONTAINER\"]",
            oci: "what publishes the port must bind it to 127.0.0.1",
        },
    )
}

pub fn egress(subject: &Subject) -> Outcome {
    let fix = Fix {
        run: "--network none; or a network made with --internal, which reaches only its other containers",
        compose: "network_mode: none; or a network with internal: true, which reaches only its other containers",
        oci: "a network namespace that nothing connects",
    };
    match subject.container().network_mode.as_deref() {
        Some("none") => passed("it has no network"),
        // That is said already, and worse.
        Some("host") => Outcome::NotApplicable,
        Some(_) if subject.written.internal_network => passed("its networks have no way out"),
        Some(mode) => {
            let published = if subject.container().ports.is_empty() {
                ", and no port is published that would need it"
            } else {
                ""
            };
            let evidence =
                format!("its network ({}) lets it connect to anywhere{published}", printable(mode));
            one(subject, Severity::Low, evidence, &fix)
        }
        None => unknown("which network it joins is not told"),
    }
}

/// Kernel parameters that are a namespace's own and change nothing beyond it. Source: Kubernetes' list of safe sysctls.
const SAFE: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

pub fn sysctls(subject: &Subject) -> Outcome {
    let sysctls = &subject.container().sysctls;
    let unsafe_ones: Vec<String> = sysctls
        .iter()
        .filter(|(name, _)| !SAFE.contains(&name.replace('/', ".").as_str()))
        .map(|(name, value)| format!("{}={}", printable(name), printable(value)))
        .collect();
    if unsafe_ones.is_empty() {
        return passed(if sysctls.is_empty() { "none is set" } else { "those that are set are its own" });
    }
    one(
        subject,
        Severity::Medium,
        unsafe_ones.join(", "),
        &Fix {
            run: "remove the --sysctl that is not needed",
            compose: "remove from sysctls what is not needed",
            oci: "remove from linux.sysctl what is not needed",
        },
    )
}
