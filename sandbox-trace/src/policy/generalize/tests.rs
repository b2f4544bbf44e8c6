//! From what several runs did to the rules, whole.

use super::*;
use crate::{
    apparmor::pattern::NUMBER,
    requirements::{Evidence, Occurrence},
};

const PYTHON: &str = "[a-z0-9_]";

/// Needs of several recordings; a path may end in ` -> TARGET`, and begin with `!` where it was not the owner's.
fn needs(recordings: &[&[(&str, &str)]]) -> Requirements {
    let mut needs = Requirements::default();
    for (recording, list) in (0..).zip(recordings) {
        let runs = needs.files.runs(1 << recording);
        for (path, access) in *list {
            let (path, owner) = path.strip_prefix('!').map_or((*path, true), |path| (path, false));
            let (path, target) = path.split_once(" -> ").map_or((path, None), |(path, to)| (path, Some(to)));
            let at = Occurrence { runs, ..Occurrence::default() };
            let target = target.map(str::as_bytes);
            needs.files.add(path.as_bytes(), target, access.parse().unwrap(), Some(owner), at);
        }
    }
    needs.files.sort();
    needs
}

fn texts(recordings: &[&[(&str, &str)]], level: Generalization) -> Vec<String> {
    let made = rules(&needs(recordings), level);
    assert!(made.inexpressible.is_empty());
    made.files.iter().map(|(pattern, rule)| format!("{} {}", pattern.text(), rule.access)).collect()
}

fn balanced(recordings: &[&[(&str, &str)]]) -> Vec<String> {
    texts(recordings, Generalization::Balanced)
}

#[test]
fn names_that_differ_between_runs_are_learnt_and_constant_ones_stay() {
    let one =
        [("/app/in/a.csv", "r"), ("/app/in/b.csv", "r"), ("/app/main.py", "r"), ("/app/out/r-17.json", "wc")];
    let two = [("/app/in/c.csv", "r"), ("/app/main.py", "r"), ("/app/out/r-4.json", "wc")];
    assert_eq!(
        balanced(&[&one, &two]),
        [
            "/app/in/[a-f0-9]".replace("a-f0-9", "0-9a-f") + ".csv r",
            "/app/main.py r".into(),
            format!("/app/out/r-{NUMBER}.json wc")
        ]
    );
    // One run alone says nothing about what the next does.
    assert_eq!(balanced(&[&one]).len(), 4);
    assert_eq!(texts(&[&one, &two], Generalization::Exact).len(), 6);
}

#[test]
fn folders_that_differ_are_gone_through_as_one() {
    let one = [("/jobs/job-7/", "r"), ("/jobs/job-7/in/x.bin", "r"), ("/jobs/job-7/log", "wc")];
    let two = [("/jobs/job-12/", "r"), ("/jobs/job-12/in/x.bin", "r"), ("/jobs/job-12/log", "wc")];
    assert_eq!(
        balanced(&[&one, &two]),
        [
            format!("/jobs/job-{NUMBER}/ r"),
            format!("/jobs/job-{NUMBER}/in/x.bin r"),
            format!("/jobs/job-{NUMBER}/log wc")
        ]
    );
}

#[test]
fn checkpoints_rotate_and_dates_go_on() {
    let one = [("/ck/ckpt-00010.pt", "wcd"), ("/ck/ckpt-00020.pt", "rwc"), ("/bk/db-2026-11-24.gz", "wc")];
    let two = [("/ck/ckpt-00030.pt", "wcd"), ("/ck/ckpt-00040.pt", "rwc"), ("/bk/db-2026-11-25.gz", "wc")];
    let digits = |n| "[0-9]".repeat(n);
    assert_eq!(
        balanced(&[&one, &two]),
        [
            format!("/bk/db-{}-{}-{}.gz wc", digits(4), digits(2), digits(2)),
            format!("/ck/ckpt-{}.pt rwcd", digits(5)),
        ]
    );
}

#[test]
fn many_files_of_one_form_are_a_tree_even_in_one_run() {
    let paths: Vec<String> = (0..40).map(|n| format!("/data/shard-{}/img-{n:06}.jpg", n % 5)).collect();
    let list: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "r")).collect();
    assert_eq!(balanced(&[&list]), [format!("/data/shard-{NUMBER}/img-{}.jpg r", "[0-9]".repeat(6))]);
    let words = [
        "ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kiwi", "lark", "mole",
        "newt", "owl", "pig",
    ];
    let paths: Vec<String> = words.iter().map(|word| format!("/data/{word}.txt")).collect();
    let list: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "r")).collect();
    // Hidden files are not meant where none was seen.
    assert_eq!(balanced(&[&list]), ["/data/[^./]*.txt r"]);
    assert_eq!(balanced(&[&list[1..]]).len(), 15);
    // The same sixteen in each run are all that there are.
    assert_eq!(balanced(&[&list, &list]).len(), 16);
}

#[test]
fn random_names_need_no_second_run() {
    let hex = |n| "[0-9a-f]".repeat(n);
    assert_eq!(
        balanced(&[&[
            ("/app/cache/0123456789abcdef0123456789abcdef.bin", "r"),
            ("/dev/shm/sem.5DGN0T", "rwcd"),
            ("/dev/shm/sem.mp-alvkc967 -> /dev/shm/sem.5DGN0T", "l"),
            ("/tmp/tmpab12c_34/x", "wc"),
        ]]),
        [
            format!("/app/cache/{}.bin r", hex(32)),
            format!("/dev/shm/sem.{} rwcd", "[A-Za-z0-9]".repeat(6)),
            format!("/tmp/tmp{}/x wc", PYTHON.repeat(8)),
        ]
    );
}

#[test]
fn both_names_of_a_link_are_as_wide_as_their_files() {
    let made = rules(
        &needs(&[&[
            ("/dev/shm/sem.5DGN0T", "rwcd"),
            ("/dev/shm/sem.mp-alvkc967 -> /dev/shm/sem.5DGN0T", "l"),
        ]]),
        Generalization::Balanced,
    );
    let [(new, old)] = made.links.as_slice() else { panic!("{:?}", made.links) };
    assert_eq!(new.text(), format!("/dev/shm/sem.mp-{}", PYTHON.repeat(8)));
    assert_eq!(old.text(), format!("/dev/shm/sem.{}", "[A-Za-z0-9]".repeat(6)));
}

#[test]
fn sensitive_places_never_collapse() {
    let differ: [&[(&str, &str)]; 2] = [
        &[
            ("/etc/app/1.conf", "r"),
            ("/home/u/in-1.txt", "r"),
            ("/root/0123456789abcdef0123456789abcdef", "r"),
            ("/proc/sys/a1", "r"),
            ("/sys/class/x1", "r"),
            ("/app/secrets/1", "r"),
            ("/app/k1.pem", "r"),
            ("/usr/bin/tool1", "rx"),
            ("/run/secrets/t1", "r"),
            ("/run/a1.sock", "w"),
        ],
        &[
            ("/etc/app/2.conf", "r"),
            ("/home/u/in-2.txt", "r"),
            ("/root/fedcba9876543210fedcba9876543210", "r"),
            ("/proc/sys/a2", "r"),
            ("/sys/class/x2", "r"),
            ("/app/secrets/2", "r"),
            ("/app/k2.pem", "r"),
            ("/usr/bin/tool2", "rx"),
            ("/run/secrets/t2", "r"),
            ("/run/a2.sock", "w"),
        ],
    ];
    for level in [Generalization::Balanced, Generalization::Broad] {
        let made = rules(&needs(&differ), level);
        assert_eq!(made.files.len(), 20);
        assert!(made.files.keys().all(Pattern::is_literal), "{:?}", made.files.keys());
        assert!(made.notes[0].contains("sensitive"), "{:?}", made.notes);
    }
}

#[test]
fn what_runs_is_named_and_never_written_by_a_wide_rule() {
    let one = [("/w/tool-1", "rx"), ("/w/tool-2", "wc"), ("/w/lib/p1.so", "rm")];
    let two = [("/w/tool-3", "wc"), ("/w/tool-4", "rx"), ("/w/lib/p2.so", "rm")];
    let texts = balanced(&[&one, &two]);
    assert!(
        texts.contains(&"/w/tool-1 rx".to_owned()) && texts.contains(&"/w/lib/p1.so rm".to_owned()),
        "{texts:?}"
    );
    for rule in texts.iter().filter(|rule| rule.contains(NUMBER)) {
        let access: Access = rule.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(!access.intersects(WRITES) && !access.intersects(RUNS), "{rule}");
    }
    // A temporary file that was run is named; its like may be written, not run.
    let class = PYTHON.repeat(8);
    assert_eq!(
        balanced(&[&[("/tmp/tmpaaaaaaa1", "wc"), ("/tmp/tmpaaaaaaa2", "rxwc")]]),
        [format!("/tmp/tmp{class} rwc"), "/tmp/tmpaaaaaaa2 rwcx".to_owned()]
    );
}

#[test]
fn packages_trees_and_library_versions_go_on_with_updates() {
    let list = [
        ("/usr/lib/python3.11/__pycache__/os.cpython-311.pyc", "r"),
        ("/usr/lib/python3.11/json/__init__.py", "r"),
        ("/usr/lib/python3.11/json/decoder.py", "r"),
        ("/usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so", "rm"),
        ("/usr/lib/python3.11/secrets.py", "r"),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", "rm"),
        ("/usr/lib/x86_64-linux-gnu/libz.so.1.2.13", "rm"),
    ];
    assert_eq!(
        balanced(&[&list]),
        [
            "/usr/lib/python3.11/** r".to_owned(),
            "/usr/lib/python3.11/**.so rm".into(),
            "/usr/lib/python3.11/secrets.py r".into(),
            "/usr/lib/x86_64-linux-gnu/libc.so.6 rm".into(),
            format!("/usr/lib/x86_64-linux-gnu/libz.so.1.{NUMBER}.{NUMBER} rm"),
        ]
    );
    // Three files are no evidence that the language is in use; a tree that was written is no package's.
    assert_eq!(balanced(&[&list[..3]]).len(), 3);
    let written = [&list[..], &[("/usr/lib/python3.11/x.py", "wc")]].concat();
    assert!(balanced(&[&written]).iter().all(|rule| !rule.starts_with("/usr/lib/python3.11/**.so")));
}

#[test]
fn devices_of_which_there_are_several_and_process_ids() {
    assert_eq!(
        balanced(&[&[
            ("/dev/null", "rw"),
            ("/dev/nvidia0", "rw"),
            ("/dev/nvidiactl", "rw"),
            ("/dev/dri/renderD128", "rw"),
            ("/proc/7/stat", "r"),
            ("/proc/9/stat", "r")
        ]]),
        [
            "/dev/null rw".to_owned(),
            "/dev/nvidiactl rw".into(),
            format!("/dev/dri/renderD{NUMBER} rw"),
            format!("/dev/nvidia{NUMBER} rw"),
            "@{PROC}/@{pid}/stat r".into(),
        ]
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
}

#[test]
fn owner_where_every_access_was_the_owners() {
    let made = rules(
        &needs(&[
            &[("/app/a-1", "r"), ("/app/b", "r"), ("/etc/hosts", "r"), ("!/app/c", "r")],
            &[("!/app/a-2", "r"), ("/app/b", "r")],
        ]),
        Generalization::Balanced,
    );
    let owned: Vec<String> =
        made.files.iter().filter(|(_, rule)| rule.owner).map(|(pattern, _)| pattern.text()).collect();
    assert_eq!(owned, ["/app/b"]);
}

#[test]
fn a_rule_says_what_it_stands_for() {
    let made = rules(
        &needs(&[&[("/tmp/tmpaaaaaaa2", "r"), ("/tmp/tmpaaaaaaa1", "wc"), ("/proc/7/stat", "r")]]),
        Generalization::Balanced,
    );
    let stands_for: Vec<_> = made.files.values().filter_map(|rule| rule.stands_for.clone()).collect();
    assert!(stands_for.contains(&(2, "/tmp/tmpaaaaaaa1".into())), "{stands_for:?}");
    assert!(stands_for.contains(&(1, "/proc/7/stat".into())), "{stands_for:?}");
}

#[test]
fn a_path_as_deep_as_can_be_is_no_trouble() {
    let mut all = Requirements::default();
    let deep = "/d".repeat(100_000);
    all.files.insert(deep.as_bytes(), None, Access::READ, None, &Evidence::default());
    let other = "/d/".repeat(30_000);
    all.files.insert(other.as_bytes(), None, Access::READ, None, &Evidence::default());
    let made = rules(&all, Generalization::Balanced);
    assert_eq!(made.files.len() + made.inexpressible.len(), 2);
}

#[test]
fn where_names_are_random_the_next_run_may_read_what_this_one_missed() {
    let mut all = needs(&[&[
        ("/r/objects/aa/", "wc"),
        ("/r/objects/01/", "wc"),
        ("/r/objects/b2/", "wc"),
        ("/r/objects/3c/", "wc"),
        ("/r/x", "wc"),
    ]]);
    for path in ["/r/objects/7f", "/r/x", "/r/y"] {
        all.missed.insert(path.as_bytes(), None, Access::READ, None, &Evidence::default());
    }
    let made = rules(&all, Generalization::Balanced);
    let texts: Vec<String> =
        made.files.iter().map(|(pattern, rule)| format!("{} {}", pattern.text(), rule.access)).collect();
    assert_eq!(texts, ["/r/objects/[0-9a-f][0-9a-f]/ rwc", "/r/x wc"]);
}

#[test]
fn the_runs_of_a_merged_recording_are_compared_like_recordings() {
    use crate::{
        recording::{self, FileAccess, samples},
        requirements::fold,
    };
    let run = |second: u32, paths: &[&str]| {
        let mut out = samples::calls(&["read"]);
        out.started = format!("2025-01-01T00:00:{second:02}Z");
        out.files =
            paths.iter().map(|path| FileAccess { owner: Some(true), ..samples::file(*path, "r") }).collect();
        (second.to_string(), out)
    };
    let runs = vec![
        run(1, &["/app/main.py", "/app/out/r-17.json", "/app/out/r-18.json"]),
        run(2, &["/app/main.py", "/app/out/r-4.json"]),
        run(3, &["/app/main.py", "/app/out/r-171.json"]),
    ];
    let rules_of = |recordings: &[(String, recording::Recording)]| {
        let made = rules(&fold(recordings, false).unwrap(), Generalization::Balanced);
        made.files.keys().map(Pattern::text).collect::<Vec<_>>()
    };
    let apart = rules_of(&runs);
    assert_eq!(apart.len(), 2, "{apart:?}");
    let part = ("merged".to_owned(), recording::merge(runs[..2].to_vec()).unwrap());
    assert_eq!(rules_of(&[part, runs[2].clone()]), apart);
    let whole = ("merged".to_owned(), recording::merge(runs).unwrap());
    assert_eq!(rules_of(&[whole]), apart);
}
