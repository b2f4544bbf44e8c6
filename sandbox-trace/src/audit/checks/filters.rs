//! seccomp and `AppArmor`.

use super::{Fix, both, one, passed, unknown};
use crate::{
    audit::{Outcome, Severity, Source, Subject},
    recording::printable,
    width::DOCKER_DEFAULT,
};

const SECCOMP: Fix<'_> = Fix {
    run: "--security-opt seccomp=FILE, with a FILE from: sandbox-trace emit-seccomp RECORDING",
    compose: "security_opt: [seccomp:FILE], with a FILE from: sandbox-trace emit-seccomp RECORDING",
    oci: "linux.seccomp, from: sandbox-trace emit-oci RECORDING",
};

/// From how many calls on a filter is as wide as Docker's default: a tenth less is still no other filter.
const WIDE: usize = DOCKER_DEFAULT - DOCKER_DEFAULT / 10;
/// From how many on it is wider. Capabilities add some to Docker's default; newer kernels and profiles a few.
const WIDER: usize = DOCKER_DEFAULT + DOCKER_DEFAULT / 20;

pub fn seccomp(subject: &Subject) -> Outcome {
    let container = subject.container();
    let asked = match (container.seccomp.as_deref(), container.privileged) {
        (Some(asked), _) => asked,
        (None, Some(true)) => "unconfined",
        (None, _) if subject.source == Source::Oci => "unconfined",
        (None, _) => "default",
    };
    let counted = |allowed: usize, of: usize| {
        format!("{allowed} of {of} calls pass (Docker's default: {DOCKER_DEFAULT})")
    };
    if let Some(filter) = &subject.filter {
        let (allowed, of) = (filter.allowed.len(), filter.of);
        let shown = counted(allowed, of);
        return if filter.is_open() {
            one(subject, Severity::High, format!("the filter refuses nothing: {shown}"), &SECCOMP)
        } else if allowed > WIDER {
            one(
                subject,
                Severity::Medium,
                format!("the filter is wider than Docker's default: {shown}"),
                &SECCOMP,
            )
        } else if allowed >= WIDE {
            one(
                subject,
                Severity::Low,
                format!("the filter is as wide as Docker's default: {shown}"),
                &SECCOMP,
            )
        } else {
            passed(format!("a tailored filter: {shown}"))
        };
    }
    if let Some(why) = &subject.filter_unread {
        return unknown(why.clone());
    }
    if subject.held.is_some() {
        let evidence =
            if asked == "unconfined" { "no filter is in force".to_owned() } else { both(asked, "no filter") };
        return one(subject, Severity::High, evidence, &SECCOMP);
    }
    match asked {
        "unconfined" => one(subject, Severity::High, "no filter is asked for", &SECCOMP),
        "default" if container.privileged == Some(true) => {
            one(subject, Severity::High, "all privileges take the default filter away", &SECCOMP)
        }
        "default" => one(
            subject,
            Severity::Low,
            format!("the engine's default, which lets some {DOCKER_DEFAULT} calls pass"),
            &SECCOMP,
        ),
        _ => unknown("the profile is not at hand"),
    }
}

pub fn dangerous_calls(subject: &Subject) -> Outcome {
    match &subject.filter {
        // Of a filter as wide as the default it is said that it is wide.
        Some(filter) if filter.allowed.len() < WIDE => {
            if filter.dangerous.is_empty() {
                return passed("no dangerous call passes with any arguments");
            }
            let list = filter.dangerous.join(", ");
            one(subject, Severity::Low, format!("pass with any arguments: {list}"), &SECCOMP)
        }
        _ => Outcome::NotApplicable,
    }
}

const APPARMOR: Fix<'_> = Fix {
    run: "--security-opt apparmor=NAME, with a profile from: sandbox-trace emit-apparmor RECORDING --name NAME",
    compose: "security_opt: [apparmor:NAME], with a profile from: sandbox-trace emit-apparmor RECORDING --name NAME",
    oci: "process.apparmorProfile: NAME, with a profile from: sandbox-trace emit-apparmor RECORDING --name NAME",
};

/// Profiles that engines load by themselves.
const DEFAULTS: &[&str] = &[
    "docker-default",
    "cri-containerd.apparmor.d",
    "crio-default",
    "runtime/default",
    "nerdctl-default",
    "podman-default",
];

fn is_default(profile: &str) -> bool {
    DEFAULTS.contains(&profile) || profile.starts_with("containers-default")
}

pub fn apparmor(subject: &Subject) -> Outcome {
    let container = subject.container();
    let asked = container.apparmor.as_deref();
    if let Some(held) = &subject.held {
        let Some(label) = &held.label else {
            return one(
                subject,
                Severity::Info,
                "this kernel has no AppArmor: a profile would not be in force",
                &Fix {
                    run: "run it on a host whose kernel has AppArmor (`sandbox-trace doctor` tells)",
                    compose: "run it on a host whose kernel has AppArmor (`sandbox-trace doctor` tells)",
                    oci: "run it on a host whose kernel has AppArmor (`sandbox-trace doctor` tells)",
                },
            );
        };
        let label = label.to_string();
        let (profile, mode) = label.split_once(" (").map_or((label.as_str(), ""), |(p, mode)| (p, mode));
        let wanted = asked.filter(|asked| !asked.is_empty() && *asked != profile);
        let shown = wanted.map_or_else(|| label.clone(), |asked| both(&printable(asked), &label));
        return if profile == "unconfined" || mode.starts_with("unconfined") {
            one(subject, Severity::Medium, format!("no profile is in force: {shown}"), &APPARMOR)
        } else if mode.starts_with("complain") {
            one(subject, Severity::Medium, format!("the profile only logs: {shown}"), &APPARMOR)
        } else if is_default(profile) {
            one(subject, Severity::Low, format!("the engine's own profile: {shown}"), &APPARMOR)
        } else {
            passed(shown)
        };
    }
    match asked {
        Some("unconfined") => one(subject, Severity::Medium, "unconfined is asked for", &APPARMOR),
        None if container.privileged == Some(true) => {
            one(subject, Severity::Medium, "all privileges take the default profile away", &APPARMOR)
        }
        None if subject.source == Source::Oci => {
            one(subject, Severity::Medium, "no profile is asked for", &APPARMOR)
        }
        None => {
            one(subject, Severity::Low, "the engine's own profile, where the kernel has AppArmor", &APPARMOR)
        }
        Some(profile) if is_default(profile) => one(
            subject,
            Severity::Low,
            format!("the engine's own profile: {}", printable(profile)),
            &APPARMOR,
        ),
        Some(profile) => passed(format!("the profile {}", printable(profile))),
    }
}
