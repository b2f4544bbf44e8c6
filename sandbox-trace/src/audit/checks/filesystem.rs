//! What can be read, written and executed.

use super::{Fix, both, found, one, passed, places, unknown};
use crate::{
    audit::{Found, Outcome, Severity, Source, Subject},
    recording::{Mount, printable},
};

pub fn root(subject: &Subject) -> Outcome {
    const FIX: Fix<'_> = Fix {
        run: "--read-only, with --tmpfs PATH:noexec,nosuid,nodev,size=… where it must write",
        compose: "read_only: true, with tmpfs: [\"PATH:noexec,nosuid,nodev,size=…\"] where it must write",
        oci: "root.readonly: true, with mounts of type tmpfs where it must write",
    };
    let asked = subject.container().read_only;
    let held = subject.held.as_ref().and_then(|held| held.mount(b"/")).map(|mount| mount.read_only);
    match (asked, held) {
        (_, Some(true)) | (Some(true), None) => passed("its root file system is read-only"),
        (Some(true), Some(false)) => {
            one(subject, Severity::Medium, both("a read-only root", "its root can be written"), &FIX)
        }
        (_, Some(false)) => one(subject, Severity::Medium, "its root is mounted writable", &FIX),
        (Some(false), None) => one(subject, Severity::Medium, "its root is not asked to be read-only", &FIX),
        (None, None) => unknown("the runtime does not tell"),
    }
}

/// A mount of something of the host's.
struct Bind<'a> {
    mount: &'a Mount,
    source: String,
    writable: bool,
    /// `SOURCE on TARGET (rw)`, and where that differs, what was asked for.
    shown: String,
}

fn binds(subject: &Subject) -> Vec<Bind<'_>> {
    let mounts = subject.container().mounts.iter().filter(|mount| mount.kind == "bind");
    mounts
        .filter_map(|mount| {
            // A source that is not UTF-8 is none of the known places; its shown form is compared all the same.
            let source = mount.source.as_ref()?.to_string();
            let asked = mount.mode != "ro";
            let held = subject.held.as_ref().and_then(|held| held.mount(mount.target.as_bytes()));
            let writable = held.map_or(asked, |held| !held.read_only);
            let word = |writable: bool| if writable { "writable" } else { "read-only" };
            let mut shown = format!("{source} on {} ({})", mount.target, word(writable));
            if writable != asked {
                shown.extend([", asked for as ", word(asked)]);
            }
            Some(Bind { mount, source, writable, shown })
        })
        .collect()
}

/// What an OCI runtime or engine mounts of the host by itself.
fn is_runtimes(bind: &Bind<'_>) -> bool {
    matches!(bind.mount.target.to_string().as_str(), "/etc/resolv.conf" | "/etc/hostname" | "/etc/hosts")
}

fn without(bind: &Bind<'_>) -> (String, String, String) {
    let target = &bind.mount.target;
    (
        format!("remove the -v of {}, or mount only the folder in it that is needed, with :ro", bind.source),
        format!(
            "remove {} from volumes, or mount only the folder in it that is needed, with :ro",
            bind.source
        ),
        format!(
            "remove the mount on {target}, or mount only the folder in it that is needed, with the option ro"
        ),
    )
}

fn each(subject: &Subject, judge: impl Fn(&Bind<'_>) -> Option<(Severity, String)>, none: &str) -> Outcome {
    let all: Vec<Found> = binds(subject)
        .iter()
        .filter(|bind| !is_runtimes(bind))
        .filter_map(|bind| {
            let (severity, evidence) = judge(bind)?;
            let (run, compose, oci) = without(bind);
            Some(found(subject, severity, evidence, &Fix { run: &run, compose: &compose, oci: &oci }))
        })
        .collect();
    if all.is_empty() { passed(none) } else { Outcome::Found(all) }
}

fn is_socket(bind: &Bind<'_>) -> bool {
    places::is_socket(&bind.source) || places::is_socket(&bind.mount.target.to_string())
}

pub fn sensitive(subject: &Subject) -> Outcome {
    let judge = |bind: &Bind<'_>| {
        if is_socket(bind) {
            return None;
        }
        let (writable, read_only, what) = places::sensitive(&bind.source)?;
        let severity = if bind.writable { Some(writable) } else { read_only };
        Some((severity?, format!("{}: {what}", bind.shown)))
    };
    each(subject, judge, "no system folder or home of the host is mounted")
}

pub fn socket(subject: &Subject) -> Outcome {
    let asked = each(
        subject,
        |bind| is_socket(bind).then(|| (Severity::Critical, bind.shown.clone())),
        "no engine's socket is mounted",
    );
    // One that was mounted under another name, or later.
    let names: Vec<String> = subject
        .held
        .iter()
        .flat_map(|held| &held.mounts)
        .filter(|mount| places::is_socket(&mount.root.to_string()))
        .map(|mount| format!("{} is the socket {}", mount.target, mount.root))
        .collect();
    match asked {
        Outcome::Passed(_) if !names.is_empty() => one(
            subject,
            Severity::Critical,
            names.join(", "),
            &Fix { run: "remove the mount", compose: "remove the mount", oci: "remove the mount" },
        ),
        asked => asked,
    }
}

pub fn secrets(subject: &Subject) -> Outcome {
    let judge = |bind: &Bind<'_>| {
        let what = places::secret(&bind.source)?;
        Some((Severity::High, format!("{}: {what}", bind.shown)))
    };
    each(subject, judge, "no place that is known for secrets is mounted")
}

pub fn writable(subject: &Subject) -> Outcome {
    let plain = |bind: &&Bind<'_>| {
        bind.writable
            && !is_runtimes(bind)
            && !is_socket(bind)
            && places::sensitive(&bind.source).is_none()
            && places::secret(&bind.source).is_none()
    };
    let binds = binds(subject);
    let shown: Vec<String> = binds.iter().filter(plain).map(|bind| bind.shown.clone()).collect();
    if shown.is_empty() {
        return passed("no other folder of the host can be written");
    }
    one(
        subject,
        Severity::Low,
        shown.join(", "),
        &Fix {
            run: "-v SOURCE:TARGET:ro where it only reads; --recording says where it wrote",
            compose: "SOURCE:TARGET:ro in volumes where it only reads; --recording says where it wrote",
            oci: "the option ro in mounts where it only reads; --recording says where it wrote",
        },
    )
}

pub fn tmpfs(subject: &Subject) -> Outcome {
    let lacks: Vec<String> = subject
        .container()
        .mounts
        .iter()
        // /dev is the runtime's, with devices on it and nothing else.
        .filter(|mount| mount.kind == "tmpfs" && mount.mode != "ro" && mount.target.as_bytes() != b"/dev")
        .filter_map(|mount| {
            let held = subject.held.as_ref().and_then(|held| held.mount(mount.target.as_bytes()));
            let options = held.map_or(&mount.options, |held| &held.options);
            let has = |name: &str| options.iter().any(|option| option == name);
            let mut lacks: Vec<&str> =
                ["noexec", "nosuid", "nodev"].into_iter().filter(|name| !has(name)).collect();
            if !options.iter().any(|option| option.starts_with("size=") || option.starts_with("nr_blocks=")) {
                lacks.push("size=");
            }
            (!lacks.is_empty()).then(|| format!("{} lacks {}", mount.target, lacks.join(", ")))
        })
        .collect();
    if lacks.is_empty() {
        return passed("every file system in memory has its limits");
    }
    one(
        subject,
        Severity::Low,
        lacks.join("; "),
        &Fix {
            run: "--tmpfs PATH:rw,noexec,nosuid,nodev,size=…",
            compose: "tmpfs: [\"PATH:rw,noexec,nosuid,nodev,size=…\"]",
            oci: "\"options\": [\"noexec\", \"nosuid\", \"nodev\", \"size=…\"] of the mount",
        },
    )
}

/// Devices that every container has.
const OWN: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
];

/// Whether a device is a disk, or the machine's memory or ports.
fn is_whole_machine(device: &str) -> bool {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    ["mem", "kmem", "port"].contains(&name)
        || ["sd", "hd", "vd", "xvd", "nvme", "dm-", "loop", "md", "mapper/", "disk/", "mmcblk", "nbd"]
            .iter()
            .any(|start| name.starts_with(start))
}

pub fn devices(subject: &Subject) -> Outcome {
    let mut whole: Vec<String> =
        subject.held.iter().flat_map(|held| &held.devices).map(ToString::to_string).collect();
    let mut others = Vec::new();
    for device in &subject.container().devices {
        let path = device.split(':').next().unwrap_or(device);
        if OWN.contains(&path) {
            continue;
        }
        let list = if is_whole_machine(path) { &mut whole } else { &mut others };
        list.push(printable(device));
    }
    whole.sort();
    whole.dedup();
    let fix = Fix {
        run: "remove the --device that is not needed, or give it only r: --device HOST:CONTAINER:r",
        compose: "remove from devices what is not needed, or give it only r: HOST:CONTAINER:r",
        oci: "remove from linux.devices and linux.resources.devices what is not needed",
    };
    let mut all = Vec::new();
    if !whole.is_empty() {
        let shown = whole.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        let more = whole.len().saturating_sub(8);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        all.push(found(
            subject,
            Severity::Critical,
            format!("disks or the machine's memory: {shown}{more}"),
            &fix,
        ));
    }
    if !others.is_empty() {
        all.push(found(subject, Severity::Medium, others.join(", "), &fix));
    }
    if all.is_empty() { passed("no device of the host") } else { Outcome::Found(all) }
}

/// What runtimes hide of `/proc` and `/sys` by default, of the parts that matter.
pub const HIDDEN: &[&str] = &["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
/// What they make read-only.
pub const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

pub fn kernel_paths(subject: &Subject) -> Outcome {
    let fix = Fix {
        run: "remove --security-opt systempaths=unconfined (and --privileged)",
        compose: "remove systempaths=unconfined from security_opt (and `privileged`)",
        oci: "linux.maskedPaths and linux.readonlyPaths as `runc spec` writes them",
    };
    let judge = |exposed: &[String], writable: &[String]| {
        let mut evidence = Vec::new();
        if !writable.is_empty() {
            evidence.push(format!("can be written: {}", writable.join(", ")));
        }
        if !exposed.is_empty() {
            evidence.push(format!("not hidden: {}", exposed.join(", ")));
        }
        match (writable.is_empty(), exposed.is_empty()) {
            (true, true) => passed("what is dangerous there is hidden or read-only"),
            (true, false) => one(subject, Severity::Medium, evidence.join("; "), &fix),
            (false, _) => one(subject, Severity::High, evidence.join("; "), &fix),
        }
    };
    if let Some(held) = &subject.held {
        return judge(&held.exposed, &held.writable);
    }
    let container = subject.container();
    if container.privileged == Some(true) {
        return one(subject, Severity::High, "all privileges take the masks away", &fix);
    }
    match (&container.masked_paths, &container.readonly_paths) {
        (None, None) if subject.source == Source::Oci => unknown("the configuration does not tell"),
        (None, None) => passed("the engine's own masks"),
        (masked, read_only) => {
            let missing = |wanted: &[&str], list: &Option<Vec<String>>| -> Vec<String> {
                let list = list.as_deref().unwrap_or_default();
                wanted
                    .iter()
                    .filter(|path| !list.iter().any(|own| own == *path))
                    .map(|path| (*path).to_owned())
                    .collect()
            };
            judge(&missing(HIDDEN, masked), &missing(READ_ONLY, read_only))
        }
    }
}
