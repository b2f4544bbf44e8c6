//! Sandbox → a drop-in for a service of systemd: every option of systemd.exec(5) that takes nothing away that a
//! recording shows to be needed, each with its evidence as a comment. Made for systemd 252.
//!
//! What an option takes away is decided in the modules below, each for one kind; how it is written, here and in
//! `word`.

mod calls;
mod files;
mod kernel;
mod limits;
mod network;
mod word;

use std::fmt::Write as _;

use super::apparmor::ProfileName;
use crate::{
    apparmor::escape,
    policy::{sandbox::Sandbox, syscalls::SyscallPolicy},
    recording::Access,
    requirements::Requirements,
};

/// What a drop-in is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// What was recorded.
    pub needs: &'a Requirements,
    /// The sandbox.
    pub sandbox: &'a Sandbox,
    /// The system calls; made for no runtime, since systemd loads the filter itself.
    pub syscalls: &'a SyscallPolicy,
    /// The AppArmor profile's name.
    pub apparmor: Option<&'a ProfileName>,
}

impl Parts<'_> {
    /// Whether any file for which `is` holds was used in this way.
    fn used(&self, access: Access, is: impl Fn(&[u8]) -> bool) -> bool {
        self.needs.files.iter().any(|need| need.access().intersects(access) && is(need.path()))
    }

    /// Whether any of these calls was seen, whatever came of it.
    fn called(&self, names: &[&str]) -> bool {
        self.needs.syscalls.keys().any(|(_, name)| names.contains(&name.as_str()))
    }

    /// Whether it runs as another user than root, as far as is known.
    fn is_plain_user(&self) -> bool {
        let user = &self.sandbox.user.value;
        !user.root && user.ids.is_some_and(|(uid, _)| uid != 0)
    }
}

/// All that reads, runs or changes a file.
const ANY: Access = Access::READ.union(Access::EXEC).union(Access::MAP_EXEC).union(Access::CHANGE);

/// A drop-in, and what it can't say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DropIn {
    lines: String,
    /// What is needed and no option can name, in sentences: without it the service lacks something.
    pub gaps: Vec<String>,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
}

impl DropIn {
    /// An option with a plain value and its reason.
    fn set(&mut self, option: &str, value: &str, why: &str) {
        self.comment(why);
        self.line(option, value);
    }

    /// An option that is a list and may be set by the unit too: what the unit says is dropped first.
    fn list<'v>(&mut self, option: &str, values: impl IntoIterator<Item = &'v str>, why: &str) {
        self.comment(why);
        self.line(option, "");
        self.more(option, values);
    }

    /// More values of a list, in lines that people can read.
    fn more<'v>(&mut self, option: &str, values: impl IntoIterator<Item = &'v str>) {
        let mut line = String::new();
        for value in values {
            if !line.is_empty() && line.len() + value.len() > 96 {
                self.line(option, &line);
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(value);
        }
        if !line.is_empty() {
            self.line(option, &line);
        }
    }

    /// Reasons hold recorded names: printable ASCII alone reaches the file.
    fn comment(&mut self, text: &str) {
        let text = escape::comment(text.as_bytes());
        // Writing to a string does not fail.
        let _ = writeln!(self.lines, "# {text}");
    }

    fn line(&mut self, option: &str, value: &str) {
        let _ = writeln!(self.lines, "{option}={value}");
    }

    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.lines, "\n## {text}");
    }

    /// The file.
    pub fn text(&self) -> String {
        let mut out = format!(
            "# Written by sandbox-trace {} from what was recorded: a drop-in for the service that was.\n",
            env!("CARGO_PKG_VERSION")
        );
        for gap in &self.gaps {
            let _ = writeln!(out, "# GAP: {}", escape::comment(gap.as_bytes()));
        }
        out.push_str("[Service]\n");
        out.push_str(self.lines.trim_start_matches('\n'));
        out
    }
}

/// Makes the drop-in.
pub fn drop_in(parts: &Parts<'_>) -> DropIn {
    let mut out = DropIn::default();
    out.heading("Who it is");
    user(parts, &mut out);
    out.heading("System calls");
    calls::print(parts, &mut out);
    out.heading("Files");
    files::print(parts, &mut out);
    out.heading("Network");
    network::print(parts, &mut out);
    out.heading("The kernel");
    kernel::print(parts, &mut out);
    out.heading("How much of the machine");
    limits::print(parts, &mut out);
    if parts.needs.runs.iter().any(|run| run.container.is_some()) {
        out.notes.push(
            "it was recorded in a container: its paths are those of the container's file system; with \
             RootDirectory= or RootImage= they hold for a service too"
                .into(),
        );
    }
    out
}

fn user(parts: &Parts<'_>, out: &mut DropIn) {
    let user = &parts.sandbox.user;
    match (user.value.ids, &user.value.spec) {
        (Some((uid, gid)), _) if uid != 0 => {
            out.set("User", &uid.to_string(), &user.why);
            out.line("Group", &gid.to_string());
        }
        _ => {
            let blockers = user.value.blockers.join("; ");
            let why = if blockers.is_empty() {
                "name another with User= where it can do with one"
            } else {
                &blockers
            };
            out.comment(&format!("It ran as root ({}): {why}.", user.why));
        }
    }
    let names: Vec<String> = parts.sandbox.capabilities.iter().map(|c| format!("CAP_{}", c.value)).collect();
    if names.is_empty() {
        out.set("CapabilityBoundingSet", "", "No recording used a capability.");
        out.line("AmbientCapabilities", "");
    } else {
        for capability in &parts.sandbox.capabilities {
            out.comment(&format!("CAP_{}: {}", capability.value, capability.why));
        }
        out.list("CapabilityBoundingSet", names.iter().map(String::as_str), "No others.");
        // Root gets them at its exec; another user has only what is ambient.
        out.line("AmbientCapabilities", "");
        if parts.is_plain_user() {
            out.more("AmbientCapabilities", names.iter().map(String::as_str));
        }
    }
    out.set("NoNewPrivileges", "yes", "No program gains privileges by executing another.");
    if let Some(profile) = parts.apparmor {
        out.set(
            "AppArmorProfile",
            &format!("-{}", profile.as_str()),
            "The profile made of the same recordings; without it loaded, the service starts without (the -).",
        );
    }
    if !parts.called(&["add_key", "keyctl", "request_key"]) {
        out.set("KeyringMode", "private", "It used no keys of the kernel's.");
    }
    let ipc = ["shmget", "shmat", "msgget", "semget", "mq_open"];
    if !parts.called(&ipc) {
        out.set("PrivateIPC", "yes", "It used no System V objects and no message queues.");
        if parts.is_plain_user() {
            out.line("RemoveIPC", "yes");
        }
    }
    let users: std::collections::BTreeSet<u32> =
        parts.needs.runs.iter().flat_map(|run| &run.credentials).map(|credential| credential.uid).collect();
    if parts.is_plain_user() && names.is_empty() && users.len() <= 1 {
        out.set(
            "PrivateUsers",
            "yes",
            "It ran as one user without capabilities: it needs to know no others.",
        );
    }
}

#[cfg(test)]
mod tests;
