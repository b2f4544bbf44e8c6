//! Users, capabilities, and how more of them could be gained.

use std::collections::BTreeSet;

use super::{Fix, both, one, passed, unknown};
use crate::{
    audit::{Outcome, Severity, Source, Subject},
    linux,
    policy::danger,
    recording::printable,
};

/// What Docker, containerd and Podman give without being asked. Source: moby's oci/caps/defaults.go; Podman leaves
/// `AUDIT_WRITE`, `MKNOD` and `NET_RAW` out.
const DEFAULT: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// With so many of the default ones, nothing was dropped on purpose.
const MANY: usize = 8;

pub fn privileged(subject: &Subject) -> Outcome {
    match subject.container().privileged {
        Some(true) => one(
            subject,
            Severity::Critical,
            "it is started with all privileges",
            &Fix {
                run: "remove --privileged; give what is needed one by one: --cap-add NAME, --device PATH",
                compose: "remove `privileged: true`; give what is needed one by one: cap_add, devices",
                oci: "give capabilities, devices and masks one by one",
            },
        ),
        Some(false) => passed("not privileged"),
        // There is no such switch in an OCI configuration; what it would do is looked at part by part.
        None => Outcome::NotApplicable,
    }
}

/// Whether a user as it is written is root.
fn is_root(user: &str) -> bool {
    matches!(user.split(':').next(), Some("0" | "root" | ""))
}

const USER: Fix<'_> = Fix {
    run: "--user UID:GID, with the files that it writes owned by that user",
    compose: "user: \"UID:GID\", with the files that it writes owned by that user",
    oci: "process.user: {\"uid\": UID, \"gid\": GID}, neither of them 0",
};

pub fn user(subject: &Subject) -> Outcome {
    let container = subject.container();
    let asked = container.user.as_deref();
    if let Some(held) = &subject.held {
        let shown = match held.own_uid {
            Some(uid) => format!("uid {uid}"),
            None => format!("uid {} of the host", held.host_uid),
        };
        return match (held.own_uid, asked.is_some_and(|user| !is_root(user))) {
            (Some(0), true) => {
                let asked = format!("user {}", printable(asked.unwrap_or_default()));
                one(subject, Severity::Medium, both(&asked, "uid 0"), &USER)
            }
            (Some(0), false) if held.hosts_users => one(
                subject,
                Severity::Medium,
                "its first process runs as uid 0, which is the host's root",
                &USER,
            ),
            (Some(0), false) => {
                let evidence = format!(
                    "its first process runs as its own uid 0, which is uid {} on the host",
                    held.host_uid
                );
                one(subject, Severity::Low, evidence, &USER)
            }
            _ => passed(format!("its first process runs as {shown}")),
        };
    }
    match asked {
        Some(user) if !is_root(user) => passed(format!("user {}", printable(user))),
        Some(user) => one(subject, root_severity(subject), format!("user {}", printable(user)), &USER),
        None if subject.source == Source::Oci => {
            one(subject, root_severity(subject), "process.user is uid 0", &USER)
        }
        None => {
            match container.image_defaults.as_ref().map(|image| image.user.as_deref().unwrap_or("root")) {
                Some(user) if is_root(user) => one(
                    subject,
                    root_severity(subject),
                    "no user is named, and the image's own is root",
                    &USER,
                ),
                Some(user) => passed(format!("the image's own user {}", printable(user))),
                None => unknown(
                    "no user is named, and the image's own is not known here: root, unless its Dockerfile has USER",
                ),
            }
        }
    }
}

fn root_severity(subject: &Subject) -> Severity {
    let container = subject.container();
    let own_users = container.rootless == Some(true)
        || (subject.source == Source::Oci && !container.namespaces.contains_key("user"));
    if own_users { Severity::Low } else { Severity::Medium }
}

pub fn user_namespace(subject: &Subject) -> Outcome {
    const FIX: Fix<'_> = Fix {
        run: "run Docker rootless, or set \"userns-remap\" in its daemon.json; --user UID:GID matters more",
        compose: "run Docker rootless, or set \"userns-remap\" in its daemon.json; `user:` matters more",
        oci: "add {\"type\": \"user\"} to linux.namespaces, with linux.uidMappings and gidMappings",
    };
    let container = subject.container();
    if container.rootless == Some(true) {
        return passed("its engine runs without root");
    }
    let severity = |root: bool| if root { Severity::Low } else { Severity::Info };
    if let Some(held) = &subject.held {
        if !held.hosts_users {
            return passed(format!(
                "it has a user namespace of its own (its root is not the host's; uid {} there)",
                held.host_uid
            ));
        }
        return one(subject, severity(held.host_uid == 0), "it is in the host's user namespace", &FIX);
    }
    let root = container.user.as_deref().is_none_or(is_root);
    match (subject.source, container.namespaces.get("user")) {
        (_, Some(whose)) => {
            one(subject, severity(root), format!("its user namespace is {}", printable(whose)), &FIX)
        }
        (Source::Oci, None) => passed("it has a user namespace of its own"),
        _ => unknown("whether the engine is rootless or maps users is not told here"),
    }
}

/// The capabilities that it can ever have, in upper case without `CAP_`.
pub fn granted(subject: &Subject) -> BTreeSet<String> {
    if let Some(held) = &subject.held {
        return held.bounding.names().map(bare).collect();
    }
    let container = subject.container();
    let all = || linux::capabilities().map(str::to_ascii_uppercase).collect::<BTreeSet<String>>();
    if container.privileged == Some(true) {
        return all();
    }
    let names = |list: &[String]| list.iter().map(|name| bare(name)).collect::<BTreeSet<String>>();
    let (added, dropped) = (names(&container.capabilities_added), names(&container.capabilities_dropped));
    let mut out: BTreeSet<String> = if added.contains("ALL") {
        all()
    } else if dropped.contains("ALL") {
        BTreeSet::new()
    } else {
        DEFAULT.iter().map(|name| (*name).to_owned()).collect()
    };
    out.retain(|name| !dropped.contains(name));
    out.extend(added.into_iter().filter(|name| name != "ALL"));
    out
}

/// `CAP_Sys_Admin` → `SYS_ADMIN`.
fn bare(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

fn shown<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")
}

pub fn dangerous(subject: &Subject) -> Outcome {
    let granted = granted(subject);
    let reason = |name: &String| danger::reason(danger::CAPABILITIES, &name.to_ascii_lowercase());
    let named: Vec<String> =
        granted.iter().filter_map(|name| Some(format!("{} ({})", printable(name), reason(name)?))).collect();
    if named.is_empty() {
        return passed("none of those that are dangerous");
    }
    let breaks_out = ["SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "DAC_READ_SEARCH", "BPF"];
    let critical = breaks_out.iter().any(|name| granted.contains(*name));
    let severity = if critical { Severity::Critical } else { Severity::High };
    let names: Vec<&String> = granted.iter().filter(|name| reason(name).is_some()).collect();
    let list = shown(names.iter().copied());
    one(
        subject,
        severity,
        named.join(", "),
        &Fix {
            run: &format!("remove --cap-add of {list} (and --privileged, which gives all)"),
            compose: &format!("remove {list} from cap_add (and `privileged`, which gives all)"),
            oci: &format!("remove {list} from process.capabilities, from all five sets"),
        },
    )
}

pub fn not_dropped(subject: &Subject) -> Outcome {
    const FIX: Fix<'_> = Fix {
        run: "--cap-drop ALL, then --cap-add NAME for each that is needed",
        compose: "cap_drop: [ALL], then cap_add: [NAME] for each that is needed",
        oci: "leave in the sets of process.capabilities only what is needed",
    };
    let container = subject.container();
    let granted = granted(subject);
    let default = granted.iter().filter(|name| DEFAULT.contains(&name.as_str())).count();
    let asked_none = container.capabilities_dropped.iter().any(|name| bare(name) == "ALL");
    let added: BTreeSet<String> = container.capabilities_added.iter().map(|name| bare(name)).collect();
    if granted.is_empty() {
        return passed("all are dropped");
    }
    if asked_none && subject.held.is_some() && !added.contains("ALL") {
        let beyond: Vec<&String> = granted.iter().filter(|name| !added.contains(*name)).collect();
        if !beyond.is_empty() {
            let asked = if added.is_empty() { "none".to_owned() } else { shown(&added) };
            return one(subject, Severity::Medium, both(&asked, &shown(&granted)), &FIX);
        }
    }
    let many = default >= MANY;
    if many || (!asked_none && subject.source != Source::Oci) {
        let kept = format!("{} capabilities are kept: {}", granted.len(), shown(&granted));
        return one(subject, Severity::Medium, kept, &FIX);
    }
    passed(format!("all are dropped but {}", shown(&granted)))
}

pub fn no_new_privileges(subject: &Subject) -> Outcome {
    const FIX: Fix<'_> = Fix {
        run: "--security-opt no-new-privileges",
        compose: "security_opt: [no-new-privileges:true]",
        oci: "process.noNewPrivileges: true",
    };
    let asked = subject.container().no_new_privileges;
    match (asked, subject.held.as_ref().map(|held| held.no_new_privileges)) {
        (_, Some(true)) | (Some(true), None) => passed("no-new-privileges is set"),
        (Some(true), Some(false)) => one(
            subject,
            Severity::Medium,
            both("no-new-privileges", "its first process does not have it"),
            &FIX,
        ),
        (_, Some(false)) | (Some(false), None) => {
            one(subject, Severity::Medium, "no-new-privileges is not set", &FIX)
        }
        (None, None) => unknown("the runtime does not tell"),
    }
}
