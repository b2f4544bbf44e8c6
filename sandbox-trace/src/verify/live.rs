//! A second run under enforcement, compared with the recorded ones: did it end as they did, was anything denied, and
//! what did it leave undone? Pure: both runs are recordings.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::Kind;
use crate::{
    linux,
    policy::fallbacks,
    recording::{ExecutableIndex, Recording, Refusal, Syscall, printable},
};

/// What the second run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Live {
    /// How it ended: the exit code, or 128 + signal. Null if it had not ended.
    pub exit_code: Option<i32>,
    /// How the recorded run ended. Null if the recordings don't say.
    pub expected_exit_code: Option<i32>,
    /// Whether all that was denied is known.
    pub complete: bool,
    /// What was denied, sorted.
    pub denied: Vec<Denied>,
    /// What was answered with `ENOSYS` for its callers to use something older, as they are known to: no denial. Sorted.
    pub fallbacks: Vec<Denied>,
    /// What the recorded runs did and this one did not, sorted. Runs differ: by itself it proves nothing.
    pub missing: Vec<Missing>,
    /// What else a reader should know.
    pub notes: Vec<String>,
    /// Whether the recordings disagree about how the command ends; then each of their codes is expected.
    #[serde(skip)]
    others: BTreeSet<i32>,
}

/// Something that was denied.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Denied {
    /// By what, and what kind of fact it is.
    pub kind: Kind,
    /// What was asked for.
    pub what: String,
    /// What the one who asked got.
    pub answer: String,
    /// The executables that asked.
    pub by: Vec<String>,
    /// How often; 0 if it is not known.
    pub count: u64,
}

impl Denied {
    /// Whether it was answered with `ENOSYS` alone, and those who make such a call go on with something older.
    fn is_fallback(&self) -> bool {
        self.kind == Kind::Seccomp && self.answer == "ENOSYS" && self.reason().is_some()
    }

    /// What those who make such a call do on `ENOSYS`, if that is known.
    pub fn reason(&self) -> Option<&'static str> {
        let name = self.what.find(['(', ' ', ',']).map_or(self.what.as_str(), |end| &self.what[..end]);
        fallbacks::reason(name)
    }
}

/// Something that only the recorded runs did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Missing {
    /// What kind of fact.
    #[schemars(extend("enum" = ["syscall", "file", "network", "executable"]))]
    pub kind: &'static str,
    /// What.
    pub what: String,
    /// The executables that did it.
    pub by: Vec<String>,
}

impl Live {
    /// Whether the run ended as the recorded one. Where that is not known, a success is expected.
    pub fn same_outcome(&self) -> bool {
        match self.exit_code {
            Some(code) if self.others.is_empty() => code == 0,
            Some(code) => self.others.contains(&code),
            None => false,
        }
    }

    /// Whether something is wrong for certain.
    pub fn found(&self) -> bool {
        !self.denied.is_empty() || self.exit_code.is_some() && !self.same_outcome()
    }
}

/// Compares `second`, recorded under the profiles, with the recordings that the profiles were made from.
/// `apparmor` says that an `AppArmor` profile was enforced.
pub fn compare(first: &[(String, Recording)], second: &Recording, apparmor: bool) -> Live {
    let codes: Vec<i32> = first.iter().filter_map(|(_, recording)| recording.target.exit_code).collect();
    let (fallbacks, denied) = denied(second).into_iter().partition(Denied::is_fallback);
    let mut live = Live {
        exit_code: second.target.exit_code,
        expected_exit_code: codes.first().copied(),
        complete: second.complete && second.target.exit_code.is_some(),
        denied,
        fallbacks,
        missing: missing(first, second),
        notes: Vec::new(),
        others: codes.into_iter().collect(),
    };
    if live.others.is_empty() {
        live.notes.push("the recordings don't say how their target ended: success is expected".into());
    }
    if live.exit_code.is_none() {
        live.notes.push("the command was still running when the recording ended".into());
    }
    if !second.complete {
        live.notes.push("the second recording lost something: more may have been denied".into());
    }
    if second.target.seccomp.as_ref().is_some_and(|seccomp| !seccomp.attributed) {
        live.complete = false;
        live.notes.push("the filters in force could not all be read: more calls may have been denied".into());
    }
    if apparmor && second.host.hooks != "lsm" {
        live.complete = false;
        live.notes.push(
            "what AppArmor denied can't be told from other failures: this kernel does not take the hook set lsm".into(),
        );
    }
    live.notes.extend(second.warnings.iter().map(|warning| printable(warning)));
    live
}

fn denied(recording: &Recording) -> Vec<Denied> {
    let mut out = Vec::new();
    let mut add = |kind, what: String, answer: String, by: &[ExecutableIndex], count| {
        out.push(Denied { kind, what, answer, by: who(recording, by), count });
    };
    for call in &recording.syscalls {
        let Some(refusal) = &call.refused else { continue };
        let answer = printable(&refusal.answers.join(" or "));
        let tuples: Vec<_> = call.args.iter().filter(|tuple| tuple.refused).collect();
        if tuples.is_empty() {
            let some = if refusal.always { "" } else { ", sometimes" };
            let count = if refusal.always { call.count } else { 0 };
            add(Kind::Seccomp, format!("{}{some}", call_name(call)), answer, &call.by, count);
        } else {
            for tuple in tuples {
                let what = format!("{}({})", call_name(call), arguments(call, &tuple.values));
                add(Kind::Seccomp, what, answer.clone(), &tuple.by, tuple.count);
            }
        }
    }
    for file in recording.failed.files.iter().filter(|file| file.refused_by.is_some()) {
        let answer = printable(file.error.as_deref().unwrap_or("EACCES"));
        add(Kind::File, format!("{} {}", file.path, file.access), answer, &file.by, file.count);
    }
    for network in recording.failed.network.iter().filter(|network| network.refused_by.is_some()) {
        let (family, kind) = (printable(&network.family), printable(&network.socket_type));
        let answer = printable(network.error.as_deref().unwrap_or("EACCES"));
        let what = format!("{} {family} {kind}", printable(&network.operation));
        add(Kind::Network, what, answer, &network.by, network.count);
    }
    for capability in recording.capabilities.iter().filter(|capability| capability.refused_by.is_some()) {
        let what = format!("capability {}", printable(&capability.name));
        add(Kind::Capability, what, "EPERM".into(), &capability.by, capability.count);
    }
    out.sort();
    out
}

fn call_name(call: &Syscall) -> String {
    let name = printable(&call.name);
    if call.arch == "x86_64" { name } else { format!("{name} [{}]", printable(&call.arch)) }
}

/// Recorded arguments: a socket's by name, others by position.
fn arguments(call: &Syscall, values: &BTreeMap<u8, u64>) -> String {
    let shown = |(position, value): (&u8, &u64)| {
        let number = u16::try_from(value & 0xffff_ffff).ok();
        let name = match position {
            0 if call.name.starts_with("socket") => {
                number.and_then(linux::family).map(|name| format!("AF_{name}"))
            }
            1 if call.name.starts_with("socket") => {
                let kind = u16::try_from(value & 0xf).ok().and_then(linux::socket_type);
                kind.map(|name| format!("SOCK_{name}"))
            }
            _ => None,
        };
        name.map_or_else(|| format!("{position}: {value:#x}"), |name| name.to_uppercase())
    };
    values.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn who(recording: &Recording, by: &[ExecutableIndex]) -> Vec<String> {
    let names: BTreeSet<String> = by
        .iter()
        .map(|index| recording.executable(*index))
        .map(|path| if path.is_empty() { "an unnamed executable".into() } else { path.to_string() })
        .collect();
    names.into_iter().collect()
}

/// What a run did, in a form that the next run of the same work has again.
fn behaviour(recording: &Recording) -> BTreeMap<(&'static str, String), Missing> {
    let mut out = BTreeMap::new();
    let mut add = |kind, key: String, what: String, by: &[ExecutableIndex]| {
        out.entry((kind, key)).or_insert_with(|| Missing { kind, what, by: who(recording, by) });
    };
    for call in &recording.syscalls {
        // One that is sent to something older did not do without.
        let fell_back = || fallbacks::reason(&call.name).is_some();
        let denied = |refusal: &Refusal| refusal.always && !(refusal.answers == ["ENOSYS"] && fell_back());
        if !call.refused.as_ref().is_some_and(denied) {
            add("syscall", call_name(call), call_name(call), &call.by);
        }
    }
    for file in &recording.files {
        add("file", shape(&file.path.to_string()), format!("{} {}", file.path, file.access), &file.by);
    }
    for network in &recording.network {
        let parts = [&network.operation, &network.family, &network.socket_type].map(|part| printable(part));
        add("network", parts.join(" "), parts.join(" "), &network.by);
    }
    for executable in recording.executables.iter().filter(|executable| executable.executed) {
        let path = executable.path.to_string();
        add("executable", shape(&path), path, &[]);
    }
    out
}

fn missing(first: &[(String, Recording)], second: &Recording) -> Vec<Missing> {
    let seen = behaviour(second);
    let mut out: Vec<Missing> = first
        .iter()
        .flat_map(|(_, recording)| behaviour(recording))
        .filter(|(key, _)| !seen.contains_key(key))
        .map(|(_, missing)| missing)
        .collect();
    out.sort();
    out.dedup_by(|a, b| a.kind == b.kind && a.what == b.what);
    out
}

/// A path without what differs from run to run: numbers, long hexadecimal names, and random names of temporary files.
/// Only for telling two runs apart: no rule is made of it.
fn shape(path: &str) -> String {
    const TEMPORARY: [&str; 4] = ["/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/"];
    const RANDOM: usize = 6;
    let temporary = TEMPORARY.iter().any(|folder| path.starts_with(folder));
    let part = |word: &str| {
        let digits = word.bytes().any(|byte| byte.is_ascii_digit());
        let hexadecimal = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mixed = digits || word.bytes().any(|byte| byte.is_ascii_uppercase());
        if hexadecimal || temporary && word.len() >= RANDOM && (mixed || word.starts_with("tmp")) {
            return "*".to_owned();
        }
        let mut out = String::new();
        for c in word.chars() {
            match c {
                '0'..='9' if out.ends_with('#') => {}
                '0'..='9' => out.push('#'),
                c => out.push(c),
            }
        }
        out
    };
    let mut out = String::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        out.push_str(&part(&rest[..end]));
        let next = rest[end..].chars().next();
        out.extend(next);
        rest = &rest[end + next.map_or(0, char::len_utf8)..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::samples;

    fn named(recording: &Recording) -> Vec<(String, Recording)> {
        vec![("first.json".into(), recording.clone())]
    }

    fn ended(mut recording: Recording, code: Option<i32>) -> Recording {
        recording.target.exit_code = code;
        recording
    }

    #[test]
    fn the_outcome_is_that_of_the_first_run() {
        let run = |code| ended(samples::calls(&["read", "close"]), code);
        let first = named(&run(Some(3)));
        let same = compare(&first, &run(Some(3)), false);
        assert!(same.same_outcome() && !same.found() && same.complete && same.missing.is_empty());
        let other = compare(&first, &run(Some(0)), false);
        assert!(!other.same_outcome() && other.found());
        assert_eq!((other.exit_code, other.expected_exit_code), (Some(0), Some(3)));
        // Of a container it is not recorded.
        assert!(!compare(&named(&run(None)), &run(Some(0)), false).found());
        assert!(compare(&named(&run(None)), &run(Some(1)), false).found());
        let unknown = compare(&first, &run(None), false);
        assert!(!unknown.complete && !unknown.found());
    }

    #[test]
    fn refused_calls_are_denied_and_what_was_not_done_is_missing() {
        let first = ended(samples::calls(&["read", "rename", "mount"]), Some(0));
        let mut second = ended(samples::calls(&["read", "mount"]), Some(0));
        samples::refuse(&mut second, "mount");
        let live = compare(&named(&first), &second, false);
        assert!(live.found());
        let denied: Vec<_> = live.denied.iter().map(|d| (d.what.as_str(), d.answer.as_str())).collect();
        assert_eq!(denied, [("mount", "EPERM")]);
        let missing: Vec<_> = live.missing.iter().map(|m| m.what.as_str()).collect();
        assert_eq!(missing, ["mount", "rename"]);
    }

    #[test]
    fn what_callers_fall_back_from_is_no_denial() {
        let first = ended(samples::calls(&["read", "clone3", "mkdir"]), Some(0));
        let answered = |name: &str, answer: &str| {
            let mut second = ended(samples::calls(&["read", "clone3", "mkdir"]), Some(0));
            samples::refuse(&mut second, name);
            for refusal in second.syscalls.iter_mut().filter_map(|call| call.refused.as_mut()) {
                refusal.answers = vec![answer.into()];
            }
            compare(&named(&first), &second, false)
        };
        let live = answered("clone3", "ENOSYS");
        assert!(!live.found() && live.denied.is_empty() && live.missing.is_empty());
        assert_eq!(live.fallbacks.len(), 1);
        assert!(live.fallbacks[0].reason().unwrap().contains("glibc"));
        for (name, answer) in [("clone3", "EPERM"), ("mkdir", "ENOSYS")] {
            let live = answered(name, answer);
            assert!(live.found() && live.fallbacks.is_empty() && live.denied.len() == 1, "{name} {answer}");
            assert_eq!(live.missing.len(), 1, "{name} {answer}");
        }
    }

    #[test]
    fn apparmor_is_told_by_one_hook_set_alone() {
        let first = ended(samples::calls(&["read"]), Some(0));
        let mut second = first.clone();
        second.host.hooks = "syscalls".into();
        assert!(!compare(&named(&first), &second, true).complete);
        second.host.hooks = "lsm".into();
        assert!(compare(&named(&first), &second, true).complete);
    }

    #[test]
    fn names_of_one_run_have_one_shape() {
        for (a, b) in [
            ("/tmp/tmpab12cd34/x", "/tmp/tmpzzzzzzzz/x"),
            ("/proc/12/status", "/proc/34567/status"),
            ("/data/checkpoint-100.bin", "/data/checkpoint-2.bin"),
            ("/var/lib/x/0028269a27726479", "/var/lib/x/ffffffffffffffff"),
            ("/tmp/tmp.Ab3dEf9hIj", "/tmp/tmp.zzZZ00zzZZ"),
        ] {
            assert_eq!(shape(a), shape(b));
        }
        for (a, b) in [("/etc/passwd", "/etc/shadow"), ("/tmp/agent/out", "/tmp/agent/in"), ("/a/b", "/a/b/")]
        {
            assert_ne!(shape(a), shape(b));
        }
        assert_eq!(shape("/é/ü1"), "/é/ü#");
    }
}
