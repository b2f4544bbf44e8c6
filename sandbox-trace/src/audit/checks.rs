//! The table of checks. An id stays what it is: scripts and reviews name findings by it.

mod filesystem;
mod filters;
mod fix;
mod limits;
mod network;
mod operation;
mod places;
mod privileges;

pub use self::{
    filesystem::{HIDDEN, READ_ONLY},
    fix::Fix,
    privileges::granted,
};
use super::{Found, Outcome, Severity, Subject};

/// A check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// What it is called.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// How much it weighs in the score.
    pub weight: u32,
    /// The parts of a configuration that it is about, by compose's names, the most telling first.
    pub parts: &'static [&'static str],
    /// What it does.
    pub run: fn(&Subject) -> Outcome,
}

/// That something stands open.
pub fn found(subject: &Subject, severity: Severity, evidence: impl Into<String>, fix: &Fix<'_>) -> Found {
    Found { severity, evidence: evidence.into(), fix: fix.of(subject.source) }
}

/// One finding.
fn one(subject: &Subject, severity: Severity, evidence: impl Into<String>, fix: &Fix<'_>) -> Outcome {
    Outcome::Found(vec![found(subject, severity, evidence, fix)])
}

fn passed(evidence: impl Into<String>) -> Outcome {
    Outcome::Passed(evidence.into())
}

fn unknown(why: impl Into<String>) -> Outcome {
    Outcome::Unknown(why.into())
}

/// What is asked for and what is in force, where they differ.
fn both(asked: &str, held: &str) -> String {
    format!("asked for: {asked}; in force: {held}")
}

macro_rules! checks {
    ($($id:literal, $weight:literal, $parts:expr, $run:path, $title:literal, $why:literal;)*) => {
        /// All checks, in the order of the guide's sections.
        pub const TABLE: &[Check] =
            &[$(Check { id: $id, title: $title, why: $why, weight: $weight, parts: &$parts, run: $run }),*];
    };
}

checks! {
    "privileged", 20, ["privileged"], privileges::privileged,
        "All privileges", "every device and capability, no filter: root in it is root on the host";
    "user-root", 10, ["user"], privileges::user,
        "Runs as root", "an escape from it begins as root, and every file of its image is root's";
    "user-namespace", 4, ["userns_mode"], privileges::user_namespace,
        "Its users are the host's", "without a user namespace a number in the container is the same user on the host";
    "capabilities-dangerous", 15, ["cap_add", "privileged"], privileges::dangerous,
        "Dangerous capabilities", "each of them is a known way to the host or to other containers";
    "capabilities-not-dropped", 10, ["cap_drop", "cap_add"], privileges::not_dropped,
        "Capabilities not dropped", "the runtime's default set holds a dozen that few programs use and exploits do";
    "no-new-privileges", 8, ["security_opt"], privileges::no_new_privileges,
        "Privileges can be gained", "a setuid file in the image gives its user's rights to whoever executes it";
    "root-writable", 8, ["read_only"], filesystem::root,
        "The root file system can be written", "what gets in can put programs in place and stay";
    "sensitive-mount", 15, ["volumes"], filesystem::sensitive,
        "Parts of the host are mounted", "what is written there, or read, is the host's own";
    "runtime-socket", 20, ["volumes"], filesystem::socket,
        "A container engine's socket is mounted", "who can talk to the engine can start a container with all privileges";
    "secret-mount", 12, ["volumes"], filesystem::secrets,
        "Secrets are mounted", "what reads them can use them elsewhere";
    "writable-mount", 3, ["volumes"], filesystem::writable,
        "Folders of the host can be written", "what is put there outlives the container, and others may trust it";
    "tmpfs-options", 4, ["tmpfs", "volumes"], filesystem::tmpfs,
        "File systems in memory without limits", "programs can be put there and run, or memory be filled";
    "devices", 10, ["devices", "privileged"], filesystem::devices,
        "Devices of the host", "a disk's device is the disk, past all files' permissions";
    "kernel-paths", 10, ["security_opt", "privileged"], filesystem::kernel_paths,
        "/proc and /sys are open", "what is hidden or read-only there reaches the kernel and the machine";
    "host-pid", 12, ["pid", "privileged"], network::pid,
        "The host's processes", "they can be seen, signalled, and with the same user read and written";
    "host-ipc", 6, ["ipc"], network::ipc,
        "The host's shared memory", "programs of the host trust what is in their shared memory";
    "host-uts", 2, ["uts"], network::uts,
        "The host's name", "a name that is not its own can be seen, and with a capability set";
    "host-cgroup", 2, ["cgroup"], network::cgroup,
        "The host's cgroup tree", "it shows what else runs on the machine";
    "host-network", 12, ["network_mode"], network::host,
        "The host's network", "services on the host's loopback trust who gets there";
    "ports-exposed", 6, ["ports"], network::ports,
        "Ports on all interfaces", "published without an address, a port is reached from every network, past many firewalls";
    "network-egress", 4, ["network_mode", "networks"], network::egress,
        "Connections to anywhere", "what was taken can be sent out, and more be fetched";
    "sysctls", 5, ["sysctls"], network::sysctls,
        "Kernel parameters", "some change more than the container, or how packets are trusted";
    "memory-limit", 8, ["mem_limit", "deploy"], limits::memory,
        "No memory limit", "one container can take all memory, and the host kills others for it";
    "swap-limit", 2, ["memswap_limit", "mem_limit", "deploy"], limits::swap,
        "Swap beyond the memory limit", "swapping slows the whole machine down";
    "cpu-limit", 3, ["cpus", "deploy"], limits::cpu,
        "No CPU limit", "one container can keep all processors busy";
    "pids-limit", 8, ["pids_limit", "deploy"], limits::pids,
        "No limit of processes", "a fork bomb takes the whole machine";
    "seccomp", 10, ["security_opt", "privileged"], filters::seccomp,
        "System calls", "each call that is not needed is kernel code that an exploit can reach";
    "seccomp-dangerous-calls", 4, ["security_opt"], filters::dangerous_calls,
        "Dangerous system calls", "a tailored filter that lets them through was made so on purpose, or not looked at";
    "apparmor", 8, ["security_opt", "privileged"], filters::apparmor,
        "AppArmor", "what a container may do with files, whoever it runs as, is limited by nothing else";
    "log-limit", 3, ["logging"], operation::logs,
        "Logs without a limit", "what a container prints fills the host's disk";
    "restart-policy", 1, ["restart", "deploy"], operation::restart,
        "Restarts without a limit", "what crashes on purpose gets another try each time";
    "image-mutable", 3, ["image"], operation::image,
        "The image can change", "a tag can be moved: what is started tomorrow may be another image";
    "environment-secrets", 3, ["environment"], operation::secrets,
        "Secrets in the environment", "every process gets it, and the engine shows it to who asks";
    "healthcheck", 0, ["healthcheck"], operation::health,
        "No health check", "an agent that hangs is not noticed";
    "init", 0, ["init"], operation::init,
        "No init process", "processes that ended stay, until the limit of processes is reached";
}
