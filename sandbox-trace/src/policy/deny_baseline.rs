//! What a profile may deny by name, whatever else it allows: the guide's deny rules and those of Docker's default
//! profile. A deny that would take away something that the profile allows is left out, and said.
//!
//! Whether it would is asked of the compiled automata of both, for all paths at once: not of the recorded paths alone,
//! as a generalised rule allows others too.

use std::fmt::Write as _;

use crate::{
    apparmor::{
        compiler,
        dfa::State,
        escape,
        features::Features,
        perms::{self, Subject},
        policy::{self, Profile},
    },
    error::{Error, Result},
    recording::BytePath,
};

/// A deny rule for files, in AppArmor's own language: none of it is recorded.
#[derive(Debug, Clone, Copy)]
struct Deny {
    pattern: &'static str,
    /// The letters of the rule.
    letters: &'static str,
    /// Narrower rules that take its place where it is left out.
    instead: &'static [(&'static str, &'static str)],
}

const fn deny(pattern: &'static str, letters: &'static str) -> Deny {
    Deny { pattern, letters, instead: &[] }
}

/// The guide's rules first, then those of Docker's default profile (moby/profiles, apparmor/template.go, 2025).
const FILES: &[Deny] = &[
    Deny { pattern: "/proc/sys/**", letters: "w", instead: &[("/proc/sys/[^k]**", "w")] },
    deny("/sys/**", "w"),
    // Nearly every program writes to /dev/null, and many to a terminal: then what holds the machine is named.
    Deny {
        pattern: "/dev/**",
        letters: "w",
        instead: &[
            ("/dev/{mem,kmem,port,kmsg,nvram,msr,hpet}", "w"),
            ("/dev/cpu/**", "w"),
            ("/dev/{sd,hd,vd,xvd}[a-z]**", "w"),
            ("/dev/{nvme,mmcblk,dm-,md,loop,sg,sr}[0-9]**", "w"),
            ("/dev/mapper/**", "w"),
            ("/dev/{disk,block,bsg}/**", "w"),
        ],
    },
    deny("/boot/**", "rw"),
    deny("/tmp/**", "x"),
    deny("/var/tmp/**", "x"),
    deny("/dev/shm/**", "x"),
    deny("@{PROC}/*", "w"),
    deny("@{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/**", "w"),
    deny("@{PROC}/sys/kernel/{?,??,[^s][^h][^m]**}", "w"),
    deny("@{PROC}/sysrq-trigger", "rwklx"),
    deny("@{PROC}/kcore", "rwklx"),
    deny("/sys/[^f]*/**", "wklx"),
    deny("/sys/f[^s]*/**", "wklx"),
    deny("/sys/fs/[^c]*/**", "wklx"),
    deny("/sys/fs/c[^g]*/**", "wklx"),
    deny("/sys/fs/cg[^r]*/**", "wklx"),
    deny("/sys/firmware/**", "rwklx"),
    deny("/sys/devices/virtual/powercap/**", "rwklx"),
    deny("/sys/kernel/security/**", "rwklx"),
];

/// `AF_ALG`: sockets to the kernel's ciphers, through which holes in them were reached.
const ALG: u16 = 38;
/// Socket types that a rule for a family stands for.
const SOCKET_TYPES: [u16; 6] = [1, 2, 3, 4, 5, 10];

/// What is denied by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Rules, in the order that they are printed.
    pub rules: Vec<String>,
    /// What was left out and why, in sentences.
    pub left_out: Vec<String>,
}

/// The deny rules that take nothing away from what `text`, a profile without any, allows. `mounts` says whether it
/// allows mounting.
pub fn choose(text: &str, mounts: bool, features: &Features) -> Result<Baseline> {
    let allowed = first(&compiler::compile(text.as_bytes(), "the profile", features)?.policy)?;
    let mut candidates: Vec<(&str, &str)> = Vec::new();
    for deny in FILES {
        candidates.push((deny.pattern, deny.letters));
        candidates.extend(deny.instead);
    }
    let mut denied = automata(&candidates, features)?.into_iter();
    let mut out = Baseline::default();
    for deny in FILES {
        let whole = denied.next().and_then(|denied| taken_away(&allowed, &denied, deny.letters));
        let narrower: Vec<Profile> = denied.by_ref().take(deny.instead.len()).collect();
        let Some(path) = whole else {
            out.rules.push(rule(deny.pattern, deny.letters));
            continue;
        };
        let mut reason = format!(
            "`deny {} {}` is left out: the profile allows some of it, for example on {path}",
            deny.pattern, deny.letters
        );
        let instead = deny.instead.iter().zip(&narrower);
        let before = out.rules.len();
        for ((pattern, letters), _) in
            instead.filter(|((_, letters), denied)| taken_away(&allowed, denied, letters).is_none())
        {
            out.rules.push(rule(pattern, letters));
        }
        if out.rules.len() > before {
            reason += "; narrower rules take its place";
        }
        out.left_out.push(reason);
    }
    if SOCKET_TYPES.iter().any(|kind| allowed.allows_socket(ALG, *kind)) {
        out.left_out.push("`deny network alg` is left out: the profile allows such sockets".into());
    } else {
        out.rules.push("deny network alg,".into());
    }
    if mounts {
        out.left_out.push("`deny mount` is left out: mounting was allowed by name".into());
    } else {
        out.rules.push("deny mount,".into());
    }
    Ok(out)
}

fn rule(pattern: &str, letters: &str) -> String {
    format!("deny {pattern} {letters},")
}

/// The profile's text with the rules before its end.
pub fn insert(text: &str, baseline: &Baseline) -> String {
    let body = text.trim_end().strip_suffix('}').unwrap_or(text);
    let mut out = format!(
        "{body}\n  # Denied whatever else is allowed, also by rules that are added later. What an explicit deny refuses is\n  \
         # not logged: `audit deny` instead shows the attempts.\n"
    );
    // Writing to a string does not fail.
    for reason in &baseline.left_out {
        let _ = writeln!(out, "  # {}", escape::comment(reason.as_bytes()));
    }
    for rule in &baseline.rules {
        let _ = writeln!(out, "  {rule}");
    }
    out + "}\n"
}

/// One automaton a candidate, from one run of the compiler. What is denied is compiled as what is read, so that all
/// automata say the same at their ends; the letters are looked up in the profile's.
fn automata(candidates: &[(&str, &str)], features: &Features) -> Result<Vec<Profile>> {
    let mut text = String::from("abi <abi/3.0>,\n#include <tunables/global>\n");
    for (position, (pattern, _)) in candidates.iter().enumerate() {
        let _ = writeln!(text, "profile deny{position:04} {{\n  {pattern} r,\n}}");
    }
    let mut profiles =
        policy::unpack(&compiler::compile(text.as_bytes(), "the deny rules", features)?.policy)?;
    // The compiler's order is its own.
    profiles.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(profiles)
}

fn first(policy: &[u8]) -> Result<Profile> {
    policy::unpack(policy)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::usage("the profile has no rules to compare").hint("report this as a fault"))
}

/// A path on which the profile allows what the letters name and the candidate's pattern matches.
fn taken_away(allowed: &Profile, denied: &Profile, letters: &str) -> Option<BytePath> {
    let (ours, theirs) = (allowed.files.as_ref()?, denied.files.as_ref()?);
    let bits = letters.chars().fold(0, |bits, letter| bits | bit(letter));
    let grants = |state: State| {
        [Subject::Owner, Subject::Other]
            .into_iter()
            .any(|subject| ours.perms(state, subject).allow & bits != 0)
    };
    ours.dfa
        .meeting(ours.start, (&theirs.dfa, theirs.start), |one, other| {
            theirs.perms(other, Subject::Owner).allows(perms::READ) && grants(one)
        })
        .map(BytePath::from)
}

/// What a rule's letter takes away.
fn bit(letter: char) -> u32 {
    match letter {
        'r' => perms::READ,
        'w' => perms::WRITE | perms::APPEND,
        'k' => perms::LOCK,
        'l' => perms::LINK,
        'x' => perms::EXEC,
        _ => perms::MAP_EXEC,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apparmor::testing;

    fn profile(rules: &str) -> String {
        format!("abi <abi/3.0>,\n#include <tunables/global>\nprofile t {{\n{rules}}}\n")
    }

    fn chosen(rules: &str, mounts: bool) -> Baseline {
        choose(&profile(rules), mounts, &Features::built_in().unwrap()).unwrap()
    }

    #[test]
    fn a_profile_that_needs_none_of_it_gets_all_of_it() {
        let baseline =
            chosen("  /app/** rw,\n  /usr/bin/python3 rix,\n  /proc/sys/kernel/osrelease r,\n", false);
        assert_eq!(baseline.left_out, Vec::<String>::new());
        assert_eq!(baseline.rules.len(), FILES.len() + 2);
        for rule in
            ["deny /proc/sys/** w,", "deny /dev/** w,", "deny /tmp/** x,", "deny mount,", "deny network alg,"]
        {
            assert!(baseline.rules.iter().any(|given| given == rule), "{rule}");
        }
    }

    #[test]
    fn what_the_profile_allows_is_not_denied_and_the_reason_has_a_path() {
        let baseline = chosen(
            "  /dev/null rw,\n  /tmp/tool ix,\n  /proc/kcore r,\n  /sys/fs/cgroup/x w,\n  network alg,\n",
            true,
        );
        let left_out = baseline.left_out.join("\n");
        for (rule, path) in [
            ("`deny /dev/** w`", "/dev/null; narrower"),
            ("`deny /tmp/** x`", "/tmp/tool"),
            ("`deny @{PROC}/kcore rwklx`", "/proc/kcore"),
            ("`deny /sys/** w`", "/sys/fs/cgroup/x"),
            ("`deny network alg`", "sockets"),
            ("`deny mount`", "by name"),
        ] {
            assert!(
                left_out.lines().any(|line| line.starts_with(rule) && line.contains(path)),
                "{rule}: {left_out}"
            );
        }
        assert_eq!(baseline.left_out.len(), 6, "{left_out}");
        assert!(baseline.rules.contains(&"deny /dev/mapper/** w,".to_owned()));
        assert!(baseline.rules.contains(&"deny /var/tmp/** x,".to_owned()));
    }

    #[test]
    fn a_generalised_rule_counts_with_all_that_it_matches() {
        let baseline = chosen("  /tmp/build-[0-9]*/run ix,\n  owner /dev/pts/* rw,\n", false);
        let left_out = baseline.left_out.join("\n");
        assert!(left_out.contains("`deny /tmp/** x`") && left_out.contains("`deny /dev/** w`"), "{left_out}");
        let untouched = chosen("  /tmpfiles/x ix,\n  /device w,\n  @{PROC}/@{pid}/comm rw,\n", false);
        assert_eq!(untouched.left_out, Vec::<String>::new());
    }

    /// With the denies in the text, all that was allowed still is, and what they name is not.
    #[test]
    fn the_text_with_denies_allows_what_it_allowed() {
        let rules = "  /dev/null rw,\n  /tmp/a rwk,\n  /bin/sh rix,\n  @{PROC}/@{pid}/comm rw,\n  @{PROC}/sys/kernel/shmmax rw,\n";
        let baseline = chosen(rules, false);
        let with = insert(&profile(rules), &baseline);
        let (before, after) = (testing::profile(profile(rules)), testing::profile(&with));
        for path in ["/dev/null", "/tmp/a", "/bin/sh", "/proc/7/comm", "/proc/sys/kernel/shmmax"] {
            for subject in [Subject::Owner, Subject::Other] {
                let of = |profile: &Profile| profile.file_perms(path.as_bytes(), subject);
                assert_eq!(of(&before), of(&after), "{path}");
            }
        }
        // A rule that somebody adds later does not get past them.
        let wide = with.replace("  /dev/null rw,\n", "  /dev/null rw,\n  /** rwix,\n");
        let wide = testing::profile(wide);
        for (path, bits) in [
            ("/dev/sda", perms::WRITE),
            ("/tmp/x", perms::EXEC),
            ("/proc/kcore", perms::READ),
            ("/boot/vmlinuz", perms::READ),
        ] {
            assert_eq!(wide.file_perms(path.as_bytes(), Subject::Other).allow & bits, 0, "{path}");
        }
        assert!(wide.file_perms(b"/dev/null", Subject::Other).allows(perms::WRITE));
    }
}
