//! The replay against hand-written profiles, and the whole way: needs → policy → text → compiler → replay.

use proptest::prelude::*;

use super::*;
use crate::{
    apparmor::{escape, testing},
    emit::apparmor::{ProfileName, text},
    policy::{
        generalize::Generalization,
        paths::{Options, policy},
    },
    requirements::{NetworkKey, Occurrence},
};

fn insert(needs: &mut Requirements, path: &str, target: Option<&str>, access: &str, owner: Option<bool>) {
    let evidence =
        Evidence { by: BTreeSet::from(["/usr/bin/agent".into()]), first_ms: Some(1), ..Evidence::default() };
    let target = target.map(str::as_bytes);
    needs.files.insert(path.as_bytes(), target, access.parse().unwrap(), owner, &evidence);
}

fn files(list: &[(&str, &str)]) -> Requirements {
    owned_files(list, Some(false))
}

fn owned_files(list: &[(&str, &str)], owner: Option<bool>) -> Requirements {
    let mut needs = Requirements::default();
    for (path, access) in list {
        let (path, target) = path.split_once(" -> ").map_or((*path, None), |(path, to)| (path, Some(to)));
        insert(&mut needs, path, target, access, owner);
    }
    needs
}

fn verdicts(profile: &Profile, needs: &Requirements) -> Verdicts {
    let mut out = Verdicts::default();
    replay(needs, profile, &mut out);
    out
}

/// What is blocked, in short.
fn blocked(rules: &str, needs: &Requirements) -> Vec<String> {
    verdicts(&testing::rules(rules), needs).blocked.into_iter().map(|b| b.what).collect()
}

fn unproven(rules: &str, needs: &Requirements) -> Vec<String> {
    verdicts(&testing::rules(rules), needs).unproven.into_iter().map(|u| u.what).collect()
}

/// Verifies `text` as a file, as the command does.
fn verify_text(text: &str, needs: &Requirements) -> Verdicts {
    assert!(compiler::installed().is_some(), "apt-get install apparmor");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let features = crate::apparmor::features::Features::built_in().unwrap();
    verify(needs, file.path(), Some(features.path())).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn letters_ask_for_what_the_kernel_asks_for() {
    let rules = "  /r r,\n  /w w,\n  /a a,\n  /m rm,\n  /k rk,\n  /x ix,\n  /dir/ r,\n";
    let allowed =
        [("/r", "r"), ("/w", "wacds"), ("/a", "a"), ("/m", "rm"), ("/k", "rk"), ("/x", "xm"), ("/dir/", "r")];
    assert_eq!(blocked(rules, &files(&allowed)), Vec::<String>::new());
    let denied = [("/r", "wacdsxmk"), ("/w", "rk"), ("/a", "wcds"), ("/m", "x"), ("/x", "r"), ("/dir", "r")];
    assert_eq!(
        blocked(rules, &files(&denied)),
        ["/a wcds", "/dir r", "/m x", "/r wacdsxmk", "/w rk", "/x r"]
    );
}

#[test]
fn a_blocked_access_comes_with_who_needed_it_and_the_rule() {
    let out = verdicts(&testing::rules("  /app/ r,\n"), &files(&[("/app/config.yaml", "r")]));
    assert_eq!(
        out.blocked,
        [Blocked {
            kind: Kind::File,
            what: "/app/config.yaml r".into(),
            needed_by: vec!["/usr/bin/agent".into()],
            rule: "/app/config.yaml r,".into(),
        }]
    );
    let out = verdicts(&testing::rules("  /app/ r,\n"), &files(&[("/a b\n*", "rcx"), ("/proc/7/stat", "r")]));
    let rules: Vec<&str> = out.blocked.iter().map(|b| b.rule.as_str()).collect();
    assert_eq!(rules, ["\"/a b\\012\\052\" rwix,", "@{PROC}/@{pid}/stat r,"]);
    assert_eq!(out.checked.files, 2);
}

#[test]
fn executions_that_change_the_label_are_not_proven() {
    let needs = files(&[("/bin/x", "x")]);
    for rule in ["px", "Px", "ux", "Ux", "cx", "pix", "cix", "pux"] {
        let rules = format!("  /bin/x {rule},\n");
        assert_eq!(blocked(&rules, &needs), Vec::<String>::new(), "{rule}");
        assert_eq!(unproven(&rules, &needs), ["/bin/x x"], "{rule}");
    }
    let to_named = "  /bin/x px -> other,\n";
    let out = verdicts(&testing::rules(to_named), &needs);
    assert!(out.unproven[0].why.contains("other"), "{:?}", out.unproven);
    assert_eq!(unproven("  /bin/x ix,\n", &needs), Vec::<String>::new());
    assert_eq!(blocked("  /bin/x r,\n", &needs), ["/bin/x x"]);
}

#[test]
fn owner_rules_hold_for_the_owner() {
    let rules = "  owner /o r,\n  /b r,\n";
    let mut needs = Requirements::default();
    for (path, owner) in [("/o", Some(true)), ("/b", Some(true)), ("/b2", None)] {
        insert(&mut needs, path, None, "r", owner);
    }
    assert_eq!(blocked(rules, &needs), ["/b2 r"]);
    assert_eq!(blocked(rules, &owned_files(&[("/o", "r")], Some(false))), ["/o r"]);
    let unknown = owned_files(&[("/o", "r")], None);
    assert_eq!((blocked(rules, &unknown).len(), unproven(rules, &unknown)), (0, vec!["/o r".to_owned()]));
}

#[test]
fn links_are_pairs() {
    let needs = owned_files(&[("/new -> /old", "l")], Some(true));
    // apparmor_parser 3.0.8 writes the subset bit into the owner's half alone, so only links to one's own files
    // are tested for it.
    let others = files(&[("/new -> /old", "l")]);
    let none = Vec::<String>::new();
    assert_eq!(blocked("  link /new -> /old,\n", &needs), none);
    assert_eq!(blocked("  link /new -> /other,\n", &needs), ["/new l -> /old"]);
    assert_eq!(blocked("  /new rw,\n  /old rw,\n", &needs), ["/new l -> /old"]);
    // A pair that says subset, and the plain letter, which always does.
    assert_eq!(blocked("  link subset /new -> /old,\n  /new rw,\n  /old rw,\n", &needs), none);
    assert_eq!(blocked("  link subset /new -> /old,\n  /new rw,\n  /old r,\n", &needs), ["/new l -> /old"]);
    assert_eq!(blocked("  link subset /new -> /old,\n  /new rw,\n  /old r,\n", &others), none);
    assert_eq!(blocked("  /new rl,\n  /old r,\n", &needs), none);
    assert_eq!(blocked("  /new rwl,\n  /old r,\n", &needs), ["/new l -> /old"]);
    // Without subset the pair alone decides, and gives nothing else.
    assert_eq!(blocked("  link /new -> /old,\n  /new rw,\n  /old r,\n", &needs), none);
    assert_eq!(blocked("  link /new -> /old,\n", &files(&[("/old -> /new", "l")])), ["/old l -> /new"]);
    // An executable link is one more way to run the target, under the target's rule only.
    assert_eq!(blocked("  /new lix,\n  /old ix,\n", &needs), none);
    assert_eq!(blocked("  /new lix,\n  /old px,\n", &needs), ["/new l -> /old"]);
    assert_eq!(verdicts(&testing::rules("  /new l,\n"), &files(&[("/new", "l")])).unproven.len(), 1);
}

#[test]
fn a_path_without_a_root_is_not_proven() {
    assert_eq!(unproven("  file,\n", &files(&[("memfd:x", "r"), ("", "r")])), [" r", "memfd:x r"]);
}

#[test]
fn sockets_and_capabilities_are_replayed() {
    let mut needs = Requirements::default();
    for (family, socket_type) in [((2, "inet"), (1, "stream")), ((16, "netlink"), (3, "raw"))] {
        let key = NetworkKey {
            family: (family.0, family.1.into()),
            socket_type: (socket_type.0, socket_type.1.into()),
        };
        needs.network.insert(key, Evidence::default());
    }
    for (name, number) in [("chown", 0), ("checkpoint_restore", 40)] {
        needs.capabilities.insert(name.into(), (number, Evidence::default()));
    }
    let profile = testing::rules("  network inet dgram,\n  capability checkpoint_restore,\n");
    let out = verdicts(&profile, &needs);
    let rules: Vec<&str> = out.blocked.iter().map(|b| b.rule.as_str()).collect();
    assert_eq!(rules, ["network inet stream,", "network netlink raw,", "capability chown,"]);
    assert_eq!((out.checked.network, out.checked.capabilities), (2, 2));
    let wide = "  network,\n  capability,\n";
    assert_eq!(blocked(wide, &needs), Vec::<String>::new());
    assert_eq!(
        blocked("  network,\n  capability,\n  deny capability chown,\n", &needs),
        ["capability chown"]
    );
}

/// The shape of the profile that Docker loads: everything, minus what reaches the host.
const DOCKER_LIKE: &str = "  network,\n  deny network alg,\n  capability,\n  file,\n  umount,
  signal (receive) peer=unconfined,\n  signal (send, receive) peer=t,
  deny @{PROC}/* w,
  deny @{PROC}/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9/]*}/** w,
  deny @{PROC}/sys/[^k]** w,
  deny @{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny @{PROC}/sysrq-trigger rwklx,\n  deny @{PROC}/kcore rwklx,
  deny mount,\n  deny /sys/[^f]*/** wklx,\n  deny /sys/firmware/** rwklx,\n  ptrace (trace, read) peer=t,\n";

#[test]
fn a_profile_like_dockers_gives_dockers_answers() {
    let allowed = [
        ("/etc/passwd", "rwcds"),
        ("/bin/sh", "rxm"),
        ("/proc/1/status", "r"),
        ("/proc/7/oom_score_adj", "w"),
        ("/proc/cpuinfo", "r"),
        ("/proc/sys/kernel/shmmax", "w"),
        ("/sys/fs/cgroup/memory.max", "w"),
        ("/a", "rwk"),
        ("/new -> /old", "l"),
        ("/proc/sys/vm/swappiness", "r"),
    ];
    assert_eq!(blocked(DOCKER_LIKE, &files(&allowed)), Vec::<String>::new());
    let denied = [
        ("/proc/cpuinfo", "w"),
        ("/proc/sysrq-trigger", "rw"),
        ("/proc/kcore", "r"),
        ("/proc/sys/vm/swappiness", "w"),
        ("/proc/sys/kernel/core_pattern", "w"),
        ("/sys/kernel/mm/ksm/run", "w"),
        ("/sys/firmware/acpi/x", "r"),
    ];
    assert_eq!(blocked(DOCKER_LIKE, &files(&denied)).len(), denied.len());
    let profile = testing::rules(DOCKER_LIKE);
    assert!(!profile.allows_socket(38, 5) && profile.allows_socket(2, 1) && profile.allows_capability(21));
}

#[test]
fn several_profiles_modes_and_what_was_not_observed_are_noted() {
    let many = "abi <abi/3.0>,\nprofile one flags=(complain) {\n  /a r,\n  profile child {\n    /b r,\n  }\n}\nprofile two {\n}\n";
    let mut needs = files(&[("/b", "r")]);
    needs.unobserved.insert("capabilities".into());
    needs.syscalls.insert(("x86_64".into(), "ptrace".into()), crate::requirements::SyscallNeed::default());
    let out = verify_text(many, &needs);
    assert_eq!(out.blocked.len(), 1);
    for part in
        ["3 profiles; the first, one", "complain mode", "capabilities were not observed", "ptrace was called"]
    {
        assert!(out.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", out.notes);
    }
    let free = "abi <abi/3.0>,\nprofile one flags=(unconfined) {\n}\n";
    let out = verify_text(free, &needs);
    assert!(out.blocked.is_empty() && out.notes.iter().any(|note| note.contains("unconfined mode")));
    // No rule at all: files are denied, not free.
    assert_eq!(verify_text("abi <abi/3.0>,\nprofile one {\n}\n", &needs).blocked.len(), 1);
}

#[test]
fn a_profile_of_no_needs_compiles_and_keeps_the_runtime_able_to_stop_it() {
    let policy = policy(&Requirements::default(), &Options::default()).unwrap();
    let name: ProfileName = "empty".parse().unwrap();
    let text = text(&policy, &name);
    assert!(text.contains("signal (receive) peer=unconfined,"));
    assert_eq!(verify_text(&text, &Requirements::default()).blocked, []);
}

#[test]
fn profile_names_that_mean_something_else_are_refused() {
    for good in ["agent", "a.b_c-9", "docker-default", "flags", "-x", "profile", "if", "hat"] {
        let name: ProfileName = good.parse().unwrap();
        let policy = policy(&files(&[("/a", "r")]), &Options::default()).unwrap();
        assert_eq!(verify_text(&text(&policy, &name), &files(&[("/a", "r")])).blocked, [], "{good}");
    }
    for bad in
        ["", "a b", "a/b", "a{b}", "a\nb", "é", "unconfined", ".", "..", "a\"", "@{x}", &"a".repeat(200)]
    {
        assert_eq!(bad.parse::<ProfileName>().unwrap_err().exit(), crate::error::Exit::Usage, "{bad}");
    }
}

/// A component of a hostile path.
fn component() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        1 => prop::sample::select(b"*?[]{}^,#@!$()<>;:=\\\"'\n\t \x7f~|&%".to_vec()),
        2 => prop::sample::select(b"abcxyz0123".to_vec()),
        1 => (1..=255_u8).prop_filter("a separator", |byte| *byte != b'/'),
    ];
    prop_oneof![
        6 => prop::collection::vec(byte, 1..10),
        1 => prop::sample::select(vec!["@{PROC}", "**", "..", "#include <x>", "a,\n/** rw", "\" rw,", "-> /x"])
            .prop_map(|text| text.as_bytes().iter().copied().filter(|byte| *byte != b'/').collect()),
        1 => prop::sample::select(vec!["tmpab12cd34", "tmp.0123456789", "#12", "0123456789abcdef", "20240101"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn hostile_path(prefixes: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(prefixes), prop::collection::vec(component(), 1..4), any::<bool>()).prop_map(
        |(prefix, components, is_folder)| {
            let mut path = prefix.as_bytes().to_vec();
            for component in components {
                path.push(b'/');
                path.extend(component);
            }
            if is_folder {
                path.push(b'/');
            }
            path
        },
    )
}

fn access() -> impl Strategy<Value = Access> {
    prop::sample::subsequence("rwacdsxmk".chars().collect::<Vec<char>>(), 1..6)
        .prop_map(|letters| letters.into_iter().collect::<String>().parse().unwrap())
}

const PLAIN: &[&str] = &["", "/app", "/tmp", "/etc"];
const ALL: &[&str] = &["", "/app", "/tmp", "/etc", "/proc/12", "/proc/12/task/13", "/dev/shm"];

fn hostile_needs(
    prefixes: &'static [&'static str],
    size: std::ops::Range<usize>,
) -> impl Strategy<Value = Requirements> {
    let owner = prop::sample::select(vec![None, Some(true), Some(false)]);
    let files = prop::collection::btree_map(hostile_path(prefixes), (access(), owner), size);
    let links = prop::collection::btree_map(hostile_path(prefixes), hostile_path(prefixes), 0..4);
    // What a file says a family is called must not matter.
    let network = prop::collection::btree_map((0..48_u16, 0..12_u16), "\\PC*", 0..8);
    let capabilities =
        prop::collection::btree_map("\\PC*", prop::sample::select(vec![0, 1, 5, 10, 13, 23]), 0..4);
    (files, links, network, capabilities).prop_map(|(files, links, network, capabilities)| {
        let mut needs = Requirements::default();
        needs.files.runs(1);
        needs.files.runs(2);
        let at = |runs| Occurrence { runs, ..Occurrence::default() };
        for (n, (path, (access, owner))) in (0..).zip(files) {
            needs.files.add(&path, None, access, owner, at(n % 2));
        }
        for (n, (new, old)) in (0..).zip(links) {
            needs.files.add(&new, Some(&old), Access::LINK, None, at(n % 2));
        }
        needs.files.sort();
        for ((family, kind), name) in
            network.into_iter().filter(|((f, t), _)| network::rule(*f, *t).is_some())
        {
            let key = NetworkKey { family: (family, name.clone()), socket_type: (kind, name) };
            needs.network.insert(key, Evidence::default());
        }
        for (name, number) in capabilities {
            needs.capabilities.insert(name, (number, Evidence::default()));
        }
        needs
    })
}

fn level() -> impl Strategy<Value = Generalization> {
    prop::sample::select(vec![Generalization::Exact, Generalization::Balanced, Generalization::Broad])
}

fn emitted(needs: &Requirements, generalize: Generalization) -> String {
    let policy = policy(needs, &Options { generalize, ..Options::default() }).unwrap();
    text(&policy, &"t".parse().unwrap())
}

/// Whether a name is that of an unnamed temporary file, which no rule can name exactly.
fn has_unnamed(needs: &Requirements) -> bool {
    let unnamed = |name: &[u8]| {
        name.strip_prefix(b"#").is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
    };
    let ends = |need: FileNeed<'_>| {
        std::iter::once(need.path())
            .chain(need.target())
            .any(|path| path.rsplit(|b| *b == b'/').next().is_some_and(unnamed))
    };
    needs.files.iter().any(ends)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Invariant 5: what was emitted from needs never blocks those needs.
    #[test]
    fn what_was_emitted_blocks_nothing_needed(needs in hostile_needs(ALL, 1..60), level in level()) {
        let text = emitted(&needs, level);
        let out = verify_text(&text, &needs);
        prop_assert_eq!(&out.blocked, &[], "{}", text);
        prop_assert_eq!(&out.unproven, &[], "{}", text);
        prop_assert_eq!(&text, &emitted(&needs, level));
    }

    #[test]
    fn exact_rules_allow_no_other_path(
        needs in hostile_needs(PLAIN, 1..40),
        others in prop::collection::vec(hostile_path(PLAIN), 200),
        stretch: u8,
    ) {
        prop_assume!(!has_unnamed(&needs));
        let profile = testing::profile(emitted(&needs, Generalization::Exact));
        let recorded: BTreeSet<&[u8]> = needs.files.iter().map(|need| need.path()).collect();
        // Other random paths, and the recorded ones cut short and made longer.
        let longer = recorded.iter().map(|path| [*path, &[stretch.max(1)]].concat());
        let shorter = recorded.iter().map(|path| path[..path.len() - 1].to_vec());
        for path in others.into_iter().chain(longer).chain(shorter) {
            if !recorded.contains(path.as_slice()) {
                for subject in [Subject::Owner, Subject::Other] {
                    prop_assert_eq!(profile.file_perms(&path, subject).allow, 0, "{}", escape::comment(&path));
                }
            }
        }
    }

    #[test]
    fn a_removed_rule_is_named(needs in hostile_needs(PLAIN, 2..40), which: prop::sample::Index) {
        prop_assume!(!has_unnamed(&needs));
        let text = emitted(&needs, Generalization::Exact);
        let entries: Vec<_> = needs.files.iter().collect();
        let need = *which.get(&entries);
        let (path, target, access) = (need.path(), need.target(), need.access());
        let pattern = Pattern::literal(path).unwrap();
        let rule = match target {
            None => rule::file(&pattern, access),
            Some(target) => rule::link(&pattern, &Pattern::literal(target).unwrap()),
        };
        let kept: Vec<&str> = text.lines().filter(|line| line.trim_ascii_start() != rule).collect();
        prop_assert_eq!(kept.len() + 1, text.lines().count(), "{} in {}", rule, text);
        let out = verify_text(&(kept.join("\n") + "\n"), &needs);
        prop_assert_eq!(out.blocked.len(), 1, "{:?}", out.blocked);
        prop_assert_eq!(&out.blocked[0].what, &describe(path, target, access));
        prop_assert_eq!(&out.blocked[0].rule, &rule);
    }
}
