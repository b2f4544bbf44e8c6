use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    recording::{
        Access, ArgTuple, CapabilityUse, Credential, Executable, FileAccess, IdRange, NetworkUse, Refusal,
        Saturation, Storage, UserNamespace, from_json, samples, to_json,
    },
    requirements::{Evidence, Requirements, fold},
};

const PATHS: [&str; 4] = ["/a", "/b/", "/c d", "/usr/bin/x"];

fn executables() -> impl Strategy<Value = Vec<Executable>> {
    prop::collection::vec((0usize..4, any::<bool>()), 1..4).prop_map(|list| {
        list.into_iter()
            .map(|(path, executed)| Executable {
                path: PATHS[path].into(),
                executed,
                ..Executable::default()
            })
            .collect()
    })
}

fn by() -> impl Strategy<Value = Vec<ExecutableIndex>> {
    // Also indices that point nowhere: a recording is input.
    prop::collection::vec(0u32..5, 0..4)
}

prop_compose! {
    fn any_file(failed: bool)(path in 0usize..4, access in 1usize..6, target in any::<bool>(), owner: Option<bool>,
            first_ms in 0u64..100, by in by()) -> FileAccess {
        let letters = ["r", "rw", "x", "m", "l"];
        FileAccess {
            path: PATHS[path].into(),
            access: letters[access - 1].parse::<Access>().unwrap(),
            link_target: target.then(|| "/t".into()),
            owner,
            refused_by: (failed && first_ms % 2 == 0).then(|| "lsm".into()),
            operations: vec![if access == 5 { "link" } else { "open" }.to_owned()],
            error: failed.then(|| "ENXIO".to_owned()),
            count: first_ms % 7,
            first_ms,
            last_ms: first_ms * 3 % 100,
            by,
            runs: None,
            accesses: BTreeMap::new(),
        }
    }
}

prop_compose! {
    fn any_recording()(
        executables in executables(),
        calls in prop::collection::vec((0usize..3, by(), 0u64..100, prop::option::of(0u64..3)), 1..5),
        files in prop::collection::vec(any_file(false), 0..5),
        failed in prop::collection::vec(any_file(true), 0..4),
        network in prop::collection::vec((0u16..3, by(), prop::option::of(0usize..4)), 0..4),
        capabilities in prop::collection::vec((0u32..3, any::<bool>(), any::<bool>(), by()), 0..4),
        credentials in prop::collection::vec((0u32..2, by()), 0..3),
        complete: bool,
        lost in 0u64..3,
        memory: Option<u64>,
        storage in prop::collection::vec((0usize..4, 0u64..9), 0..3),
        namespace in prop::option::of(0u32..2),
        second in 0u8..60,
    ) -> Recording {
        let mut out = samples::calls(&[]);
        out.executables = executables;
        out.complete = complete && lost == 0;
        out.losses.insert("ring_full".into(), lost);
        out.started = format!("2025-01-01T00:00:{second:02}Z");
        out.resources.memory_peak_bytes = memory;
        out.resources.storage = storage
            .into_iter()
            .map(|(path, n)| Storage { path: PATHS[path].into(), peak_bytes: n, peak_files: 9 - n })
            .collect();
        out.target.user_namespace = namespace.map(|outside| {
            let map = vec![IdRange { inside: 5, outside, count: 1 }];
            UserNamespace { uid_map: map.clone(), gid_map: map }
        });
        for (name, by, first_ms, argument) in calls {
            let name = ["read", "mmap", "socket"][name];
            samples::add(&mut out, "x86_64", name, &[]);
            let nr = out.syscalls.iter().position(|c| c.name == name).unwrap();
            let call = &mut out.syscalls[nr];
            call.args = argument
                .map(|n| ArgTuple {
                    values: [(0, n)].into(),
                    count: first_ms % 3,
                    first_ms,
                    last_ms: first_ms + n,
                    by: by.clone(),
 runs: None,
                    refused: n % 2 == 0,
                })
                .into_iter()
                .collect();
            // What is refused, and how, must not depend on the order either.
            call.refused = argument.filter(|n| n % 2 == 0).map(|n| Refusal {
                by: "seccomp".into(),
                answers: vec![format!("E{n}")],
                always: n % 4 == 0,
            });
            (call.by, call.first_ms, call.last_ms) = (by, first_ms, first_ms * 7 % 100);
        }
        out.files = files;
        out.failed.files = failed;
        out.network = network.into_iter().map(|(family_nr, by, address)| NetworkUse {
            operation: "socket".into(),
            family: format!("family_{family_nr}"),
            family_nr,
            socket_type: "stream".into(),
            type_nr: 1,
            protocol: 0,
            address: address.map(|path| PATHS[path].into()),
            error: None,
            refused_by: None,
            count: 2,
            first_ms: 5,
            last_ms: 6 + u64::from(family_nr),
            by,
            runs: None,
        }).collect();
        out.capabilities = capabilities.into_iter().map(|(nr, granted, probe, by)| CapabilityUse {
            name: format!("capability_{nr}"),
            nr,
            granted,
            probe,
            refused_by: None,
            syscalls: vec!["chown".into()],
            count: 3,
            first_ms: 7,
            last_ms: 8 + u64::from(nr),
            by,
            runs: None,
        }).collect();
        out.credentials = credentials.into_iter().map(|(uid, by)| Credential { uid, gid: uid, by, runs: None }).collect();
        out.saturation = vec![Saturation { ms: second.into(), paths: 1, ..Saturation::default() }];
        out.normalize();
        out
    }
}

fn named(list: &[&Recording]) -> Vec<(String, Recording)> {
    list.iter().zip('a'..).map(|(one, name)| (name.to_string(), (*one).clone())).collect()
}

fn merged(list: &[&Recording]) -> Recording {
    merge(named(list)).unwrap()
}

/// The bytes of a merged recording, once it was a file.
fn bytes(list: &[&Recording]) -> String {
    let json = to_json(&merged(list)).unwrap();
    assert_eq!(to_json(&from_json(&json, "it").unwrap()).unwrap(), json, "a file is what it was");
    String::from_utf8(json).unwrap()
}

proptest! {
    #[test]
    fn the_order_makes_no_difference(a in any_recording(), b in any_recording(), c in any_recording()) {
        let one = bytes(&[&a, &b, &c]);
        for other in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
            prop_assert_eq!(&one, &bytes(&other));
        }
    }

    #[test]
    fn the_grouping_makes_no_difference(a in any_recording(), b in any_recording(), c in any_recording()) {
        let all = bytes(&[&a, &b, &c]);
        let (ab, bc, ca) = (merged(&[&a, &b]), merged(&[&b, &c]), merged(&[&c, &a]));
        prop_assert_eq!(&all, &bytes(&[&ab, &c]));
        prop_assert_eq!(&all, &bytes(&[&a, &bc]));
        // Parts that share runs.
        prop_assert_eq!(&all, &bytes(&[&ab, &bc, &ca]));
        prop_assert_eq!(&all, &bytes(&[&ca, &ab]));
    }

    #[test]
    fn what_comes_again_counts_once(a in any_recording(), b in any_recording()) {
        let (one, both) = (merged(&[&a]), merged(&[&a, &b]));
        prop_assert_eq!(bytes(&[&a, &a]), bytes(&[&a]));
        prop_assert_eq!(bytes(&[&one]), bytes(&[&a]));
        prop_assert_eq!(bytes(&[&one, &a]), bytes(&[&a]));
        prop_assert_eq!(bytes(&[&both, &both]), bytes(&[&a, &b]));
        prop_assert_eq!(bytes(&[&both, &a]), bytes(&[&a, &b]));
        prop_assert_eq!(bytes(&[&b, &both, &one]), bytes(&[&a, &b]));
    }

    #[test]
    fn several_mergers_are_one(list in prop::collection::vec(any_recording(), 1..5), cut in 0usize..5) {
        let (mut one, mut other) = (Merger::default(), Merger::default());
        for (n, recording) in list.iter().enumerate() {
            if n < cut { &mut one } else { &mut other }.add("it", recording.clone()).unwrap();
        }
        one.absorb(other).unwrap();
        let whole = merged(&list.iter().collect::<Vec<_>>());
        prop_assert_eq!(one.finish().unwrap(), whole);
    }

    #[test]
    fn what_is_read_piece_by_piece_is_the_same(a in any_recording()) {
        let json = to_json(&a).unwrap();
        let mut batch = Batch::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &json).unwrap();
        let head = crate::recording::load_each(file.path(), &mut |list, file| batch.push(list, file)).unwrap();
        let mut merger = Merger::default();
        merger.add_batch("it", head, &mut batch).unwrap();
        prop_assert_eq!(merger.finish().unwrap(), merged(&[&a]));
    }

    #[test]
    fn the_last_runs_alone_have_what_is_kept(list in prop::collection::vec(any_recording(), 1..5), n in 1u32..5) {
        let whole = merged(&list.iter().collect::<Vec<_>>());
        let kept = keep_last(whole.clone(), n);
        // The runs that it should be made of, by what they say of themselves.
        let ids: Vec<String> = kept.runs.iter().map(|run| run.id.clone()).collect();
        let recent: Vec<&Recording> =
            list.iter().filter(|one| ids.contains(&merged(&[one]).runs[0].id)).collect();
        let again = merged(&recent);
        prop_assert_eq!(&kept.runs, &again.runs);
        prop_assert_eq!(kept.runs.len(), whole.runs.len().min(n as usize));
        prop_assert_eq!(facts(&kept), facts(&again));
        prop_assert_eq!(
            (kept.complete, kept.duration_ms, &kept.losses),
            (again.complete, again.duration_ms, &again.losses)
        );
        prop_assert_eq!(stale(&kept, n).facts, vec![]);
        // What is flagged is what goes, attempts that failed and questions that were no needs aside.
        let gone = |kind| stale(&whole, n).facts.iter().filter(|fact| fact.kind == kind).count();
        prop_assert_eq!(gone("syscall"), whole.syscalls.len() - kept.syscalls.len());
        prop_assert_eq!(gone("network"), whole.network.len() - kept.network.len());
        prop_assert_eq!(gone("credential"), whole.credentials.len() - kept.credentials.len());
        let flagged: BTreeMap<String, String> = stale(&whole, n)
            .facts
            .into_iter()
            .filter(|fact| fact.kind == "file")
            .map(|fact| (fact.what, fact.access.unwrap()))
            .collect();
        for file in &whole.files {
            let left = kept.files.iter().find(|one| (&one.path, &one.link_target) == (&file.path, &file.link_target));
            let left = left.map_or(Access::none(), |file| file.access);
            let gone = file.access.filter(|one| !left.contains(one));
            let target = file.link_target.as_ref().map(|target| format!(" -> {target}")).unwrap_or_default();
            let told = flagged.get(&format!("{}{target}", file.path)).cloned().unwrap_or_default();
            prop_assert_eq!(told, gone.to_string());
        }
        // It is a merged recording like any other.
        prop_assert_eq!(to_json(&merged(&[&kept])).unwrap(), to_json(&kept).unwrap());
    }

    #[test]
    fn the_policy_is_that_of_all_recordings(a in any_recording(), b in any_recording()) {
        let whole = fold(&[("m".to_owned(), merged(&[&a, &b]))], true).unwrap();
        let parts = fold(&named(&[&a, &b]), true).unwrap();
        prop_assert_eq!(without_evidence(whole), without_evidence(parts));
    }
}

/// What was done in which runs, by whom and how often aside.
fn facts(recording: &Recording) -> Vec<String> {
    let mut out = Vec::new();
    for call in &recording.syscalls {
        out.push(format!("{} {} {:?}", call.arch, call.nr, call.runs));
        out.extend(call.args.iter().map(|tuple| format!("{} {:?} {:?}", call.nr, tuple.values, tuple.runs)));
    }
    for file in recording.files.iter().chain(&recording.failed.files) {
        let FileAccess { path, link_target, access, error, runs, accesses, .. } = file;
        out.push(format!("{path} {link_target:?} {access} {error:?} {runs:?} {accesses:?}"));
    }
    for one in recording.network.iter().chain(&recording.failed.network) {
        out.push(format!("{} {} {:?} {:?}", one.operation, one.family_nr, one.address, one.runs));
    }
    out.extend(recording.capabilities.iter().map(|one| format!("{} {} {:?}", one.nr, one.granted, one.runs)));
    out
}

/// What must be allowed, by whom aside: a merged fact has one list of who made it, for all its permissions.
fn without_evidence(mut all: Requirements) -> Requirements {
    all.runs.clear();
    for call in all.syscalls.values_mut() {
        call.count = 0;
        call.evidence = Evidence::default();
        call.args.values_mut().for_each(|evidence| *evidence = Evidence::default());
    }
    all.network.values_mut().for_each(|evidence| *evidence = Evidence::default());
    all.capabilities.values_mut().for_each(|(_, evidence)| *evidence = Evidence::default());
    all
}

#[test]
fn architectures_are_not_mixed() {
    let a = samples::calls(&["read"]);
    let mut b = a.clone();
    b.host.arch = "aarch64".into();
    let error = merge(vec![("a".into(), a), ("b".into(), b)]).unwrap_err();
    assert_eq!(error.exit(), crate::error::Exit::Usage);
    assert!(error.to_string().contains("aarch64"), "{error}");
}

#[test]
fn counts_are_the_most_of_one_run_and_times_span_all() {
    let mut a = samples::calls(&[]);
    samples::add(&mut a, "x86_64", "mmap", &[&[(2, 1)]]);
    let mut b = a.clone();
    let call = &mut b.syscalls[0];
    (call.first_ms, call.last_ms) = (1, 5);
    (call.args[0].count, call.args[0].last_ms) = (40, 900);
    let whole = merged(&[&a, &b]);
    let call = &whole.syscalls[0];
    assert_eq!((call.count, call.first_ms, call.last_ms), (3, 1, 20));
    assert_eq!((call.args[0].count, call.args[0].first_ms, call.args[0].last_ms), (40, 10, 900));
    assert_eq!((whole.runs.len(), whole.duration_ms), (2, 2000));
}

#[test]
fn one_that_is_incomplete_makes_the_whole_so() {
    let a = samples::calls(&["read"]);
    let mut b = a.clone();
    (b.complete, b.target.ended) = (false, "checkpoint".into());
    b.losses.insert("ring_full".into(), 2);
    let mut c = b.clone();
    c.losses.insert("ring_full".into(), 5);
    let whole = merged(&[&a, &b, &b, &c]);
    assert!(!whole.complete);
    // Of each run once.
    assert_eq!((whole.losses["ring_full"], whole.runs.len()), (7, 3));
    assert_eq!(whole.target.ended, "merged");
    // A list of runs that was cut does not hide it.
    let mut forged = whole.clone();
    forged.runs.truncate(1);
    assert!(!merged(&[&forged]).complete);
    assert_eq!(keep_last(merged(&[&forged]), 1).losses["ring_full"], 7);
}

#[test]
fn an_id_is_of_the_content() {
    let mut a = samples::calls(&["read", "mmap"]);
    a.files = ["/b", "/a"].map(|path| file(path, "r")).to_vec();
    let id = |recording: &Recording| merged(&[recording]).runs[0].id.clone();
    // What a later version makes of the same file must be the same.
    let known = "fe9b763f20082241e2c6082d86ed9e9597fe828240f6201fe1cd1146341ebc4c";
    assert_eq!(id(&a), known);
    let mut turned = a.clone();
    turned.files.reverse();
    turned.syscalls.reverse();
    assert_eq!(id(&turned), id(&a));
    for change in [
        |r: &mut Recording| r.files[0].count += 1,
        |r: &mut Recording| r.files[0].path = "/c".into(),
        |r: &mut Recording| r.files[0].owner = Some(false),
        |r: &mut Recording| r.files[0].by = vec![],
        |r: &mut Recording| r.started = "2025-01-01T00:00:01Z".into(),
        |r: &mut Recording| r.syscalls[0].count += 1,
    ] {
        let mut other = a.clone();
        change(&mut other);
        assert_ne!(id(&other), id(&a));
    }
}

fn file(path: &str, access: &str) -> FileAccess {
    FileAccess { owner: Some(true), last_ms: 2, ..samples::file(path, access) }
}

/// A run at some second that did this with files.
fn run(second: u32, files: &[(&str, &str)]) -> Recording {
    let mut out = samples::calls(&["read"]);
    out.started = format!("2025-01-01T00:00:{second:02}Z");
    out.files = files.iter().map(|(path, access)| file(path, access)).collect();
    out
}

#[test]
fn what_a_release_drops_is_flagged_and_goes() {
    let runs = [
        run(1, &[("/data", "rw"), ("/old", "r"), ("/once", "r")]),
        run(2, &[("/data", "rw"), ("/old", "r")]),
        run(3, &[("/data", "r"), ("/new", "r")]),
        run(4, &[("/data", "r"), ("/new", "r")]),
    ];
    let whole = merged(&runs.iter().collect::<Vec<_>>());
    let shown = |file: &FileAccess| {
        let runs = file.runs.as_ref().map_or("all".into(), RunSet::to_string);
        let parts: Vec<String> =
            file.accesses.iter().map(|(access, runs)| format!("{access}:{runs}")).collect();
        format!("{} {} {runs} {}", file.path, file.access, parts.join(" "))
    };
    assert_eq!(
        whole.files.iter().map(shown).collect::<Vec<_>>(),
        ["/data rw all r:2-3 rw:0-1", "/new r 2-3 ", "/old r 0-1 ", "/once r 0 "]
    );
    let told = stale(&whole, 2);
    assert_eq!((told.runs, told.recent, told.since.as_deref()), (4, 2, Some("2025-01-01T00:00:03Z")));
    let shown = |fact: &StaleFact| {
        let StaleFact { kind, what, access, seen_in, first, last, by } = fact;
        let access = access.as_deref().unwrap_or_default();
        format!(
            "{kind} {what} {access} {seen_in} {} {} {}",
            &first.started[17..],
            &last.started[17..],
            by.join(",")
        )
    };
    assert_eq!(
        told.facts.iter().map(shown).collect::<Vec<_>>(),
        [
            "file /data w 2 01Z 02Z /usr/bin/app",
            "file /old r 2 01Z 02Z /usr/bin/app",
            "file /once r 1 01Z 01Z /usr/bin/app"
        ]
    );
    assert_eq!(told.facts[1].last.id, whole.runs[1].id);
    let kept = keep_last(whole, 2);
    let left: Vec<String> = kept.files.iter().map(|file| format!("{} {}", file.path, file.access)).collect();
    assert_eq!(left, ["/data r", "/new r"]);
}

#[test]
fn positions_that_are_none_are_all_runs() {
    let mut whole = merged(&[&run(1, &[("/a", "r")]), &run(2, &[("/b", "r")])]);
    whole.files[0].runs = Some("7-4294967295".parse().unwrap());
    whole.files[1].accesses = [("w".parse().unwrap(), "0-9".parse().unwrap())].into();
    let again = merged(&[&whole]);
    assert_eq!(again.files[0].runs, None);
    // Parts that do not fit what the whole says: nothing of both is lost.
    assert_eq!((again.files[1].access.to_string(), again.files[1].runs.clone()), ("rw".into(), None));
}
