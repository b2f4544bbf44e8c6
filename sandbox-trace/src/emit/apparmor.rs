//! Policy → AppArmor profile text. Nothing recorded reaches the text but through `apparmor::escape`.

use std::fmt::Write as _;

use crate::{
    apparmor::{
        escape,
        pattern::{Pattern, number_definition},
        rule,
    },
    error::{Error, Result},
    output::grouped,
    policy::{
        generalize::{FileRule, Generalization},
        paths::{AppArmorPolicy, Given},
    },
};

/// A profile's name: letters, digits, `.`, `_` and `-`, so that it means itself in rules, in file names and on
/// command lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileName(String);

/// apparmorfs makes a folder of the name and a number.
const LONGEST_NAME: usize = 128;

impl std::str::FromStr for ProfileName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let shown = escape::comment(name.as_bytes());
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) {
            return Err(Error::usage(format!("\"{shown}\" can't be a profile's name"))
                .hint(format!("use letters, digits, '.', '_' and '-', at most {LONGEST_NAME} of them")));
        }
        if name == "unconfined" || !name.contains(|c: char| c.is_ascii_alphanumeric()) {
            return Err(Error::usage(format!("\"{shown}\" has a meaning of its own to AppArmor"))
                .hint("choose another name, for example the workload's"));
        }
        Ok(Self(name.to_owned()))
    }
}

impl ProfileName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Container runtimes that send signals to the container: without a rule `docker stop` fails, and the
/// container survives it. Distributions ship profiles for the runtimes under these names.
const SENDERS: [&str; 3] = ["unconfined", "runc", "crun"];

/// The profile.
pub fn text(policy: &AppArmorPolicy, name: &ProfileName) -> String {
    let mut out = String::new();
    header(policy, &mut out);
    let name = name.as_str();
    // Without attach_disconnected every access to such a file fails, even stat(2).
    line(
        &mut out,
        "# attach_disconnected: inherited and bind-mounted files come from another mount namespace, and their",
    );
    line(
        &mut out,
        "# paths do not reach this one's root. mediate_deleted: a file that was deleted while open keeps its name.",
    );
    line(&mut out, &format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{"));
    if !policy.capabilities.is_empty() {
        for capability in &policy.capabilities {
            line(&mut out, &format!("  capability {capability},"));
        }
        out.push('\n');
    }
    if !policy.network.is_empty() {
        for rule in &policy.network {
            line(&mut out, &format!("  {rule}"));
        }
        out.push('\n');
    }
    line(
        &mut out,
        "  # The container's own processes may signal each other (abort() is a signal to oneself) and see",
    );
    line(&mut out, "  # each other in /proc.");
    line(&mut out, &format!("  signal (send, receive) peer={name},"));
    line(&mut out, &format!("  ptrace (read, readby) peer={name},"));
    line(&mut out, "  # The runtime stops the container with a signal.");
    for sender in SENDERS {
        line(&mut out, &format!("  signal (receive) peer={sender},"));
    }
    if !policy.given.is_empty() {
        line(&mut out, "\n  # Dangerous, and allowed by name when this profile was made.");
        for given in &policy.given {
            line(&mut out, &format!("  {}", given_rule(*given, name)));
        }
    }
    if !policy.files.is_empty() || !policy.links.is_empty() {
        out.push('\n');
    }
    let mut rules: Vec<String> =
        policy.files.iter().map(|(pattern, rule)| file_rule(pattern, rule)).collect();
    rules.sort();
    for rule in rules {
        line(&mut out, &format!("  {rule}"));
    }
    for (new, existing) in &policy.links {
        line(&mut out, &format!("  {}", rule::link(new, existing)));
    }
    line(&mut out, "}");
    out
}

/// What the text is, and what it lacks.
fn header(policy: &AppArmorPolicy, out: &mut String) {
    line(out, &format!("# Written by sandbox-trace {} from what was recorded.", env!("CARGO_PKG_VERSION")));
    let level = match policy.generalize {
        Generalization::Exact => "exact: only ids below /proc differ from the recorded paths",
        Generalization::Balanced => {
            "balanced: names that are random or vary from run to run stand for their kind"
        }
        Generalization::Broad => "broad: names that may vary from run to run stand for their kind",
    };
    line(out, &format!("# Paths are {level}."));
    line(out, "# What is not listed is denied.");
    for kind in &policy.unobserved {
        line(
            out,
            &format!("# NOT OBSERVED while recording: {}. The rules for them are missing.", plain(kind)),
        );
    }
    for gap in &policy.gaps {
        line(out, &format!("# GAP: {}", plain(gap)));
    }
    line(out, "\nabi <abi/3.0>,\n\n#include <tunables/global>\n");
    if policy.files.keys().chain(policy.links.iter().flat_map(|(a, b)| [a, b])).any(Pattern::has_number) {
        line(out, "# A number: AppArmor has no repetition of a class.");
        line(out, &format!("{}\n", number_definition()));
    }
}

fn plain(text: &str) -> String {
    escape::comment(text.as_bytes())
}

fn file_rule(pattern: &Pattern, content: &FileRule) -> String {
    let owner = if content.owner { "owner " } else { "" };
    let text = format!("{owner}{}", rule::file(pattern, content.access));
    match &content.stands_for {
        None => text,
        Some((1, path)) => format!("{text}  # {}", escape::comment(path.as_bytes())),
        Some((count, path)) => format!(
            "{text}  # {} and {} like it",
            escape::comment(path.as_bytes()),
            grouped(u64::try_from(*count - 1).unwrap_or(u64::MAX))
        ),
    }
}

fn given_rule(given: Given, name: &str) -> String {
    match given {
        Given::Mount => "mount,".into(),
        Given::Umount => "umount,".into(),
        Given::PivotRoot => "pivot_root,".into(),
        Given::Trace => format!("ptrace (trace, tracedby) peer={name},"),
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::apparmor::pattern::{NUMBER, Piece};

    fn policy() -> AppArmorPolicy {
        let mut policy = AppArmorPolicy {
            network: BTreeSet::from(["network inet stream,".to_owned()]),
            capabilities: BTreeSet::from(["chown"]),
            given: BTreeSet::from([Given::Trace, Given::Mount]),
            unobserved: BTreeSet::from(["capabilities".to_owned()]),
            gaps: vec!["a gap\nprofile x {".to_owned()],
            ..AppArmorPolicy::default()
        };
        for (path, access) in
            [("/a", "rwa"), ("/b c", "a"), ("/x", "rxm"), ("/lib/y.so", "rm"), ("/db", "rwk")]
        {
            let pattern = Pattern::literal(path.as_bytes()).unwrap();
            policy.files.insert(pattern, FileRule { access: access.parse().unwrap(), ..FileRule::default() });
        }
        let wide = [Piece::Literal(b"/tmp/#".to_vec()), Piece::Glob(NUMBER.into())];
        let stands_for = Some((1_200, "/tmp/#12\n}".into()));
        let rule = FileRule { access: "rw".parse().unwrap(), owner: true, stands_for };
        policy.files.insert(Pattern::of_pieces(wide), rule);
        let link = ["/new", "/old"].map(|path| Pattern::literal(path.as_bytes()).unwrap());
        let [new, old] = link;
        policy.links.insert((new, old));
        policy
    }

    #[test]
    fn the_whole_text() {
        let text = text(&policy(), &"agent".parse().unwrap()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        crate::apparmor::testing::profile(&text);
        insta::assert_snapshot!(text);
    }
}
