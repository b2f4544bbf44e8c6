use super::*;
use crate::{
    recording::{CapabilityUse, Executable, FileAccess, NetworkUse, Recording, samples},
    requirements::fold,
};

fn file(recording: &mut Recording, path: &str, access: &str) {
    let times = FileAccess { count: 12, first_ms: 400, last_ms: 31_200, ..samples::file(path, access) };
    recording.files.push(times);
    recording.normalize();
}

fn network(
    recording: &mut Recording,
    operation: &str,
    (family_nr, family): (u16, &str),
    address: Option<&str>,
) {
    recording.network.push(NetworkUse {
        operation: operation.into(),
        family: family.into(),
        family_nr,
        socket_type: "stream".into(),
        type_nr: 1,
        protocol: 0,
        address: address.map(Into::into),
        error: None,
        refused_by: None,
        count: 1,
        first_ms: 5,
        last_ms: 5,
        by: vec![0],
        runs: None,
    });
    recording.normalize();
}

fn needs(recordings: &[&Recording]) -> Requirements {
    let named: Vec<_> =
        recordings.iter().enumerate().map(|(at, r)| (format!("run{at}.json"), (*r).clone())).collect();
    fold(&named, false).unwrap()
}

fn compared(old: &Recording, new: &Recording) -> Vec<String> {
    lines(&recordings(&needs(&[old]), &needs(&[new])))
}

fn lines(diff: &Diff) -> Vec<String> {
    let of = |list: &[Change], sign: char| -> Vec<String> {
        list.iter().map(|c| format!("{sign} {} {} {} {}", c.kind, c.what, c.access, c.risk.name())).collect()
    };
    [of(&diff.added, '+'), of(&diff.removed, '-'), of(&diff.cosmetic, '~')].concat()
}

#[test]
fn one_new_file_and_one_new_socket_family_are_exactly_that() {
    let mut old = samples::calls(&["read", "openat"]);
    samples::add(&mut old, "x86_64", "socket", &[&[(0, 2), (1, 1), (2, 0)]]);
    file(&mut old, "/app/config", "r");
    network(&mut old, "socket", (2, "inet"), None);
    let mut new = old.clone();
    let socket = new.syscalls.iter_mut().find(|call| call.name == "socket").unwrap();
    let mut tuple = socket.args[0].clone();
    tuple.values.insert(0, 16);
    socket.args.push(tuple);
    network(&mut new, "socket", (16, "netlink"), None);
    file(&mut new, "/app/models/one", "r");
    let diff = recordings(&needs(&[&old]), &needs(&[&new]));
    assert_eq!(lines(&diff), ["+ file /app/models/one r low", "+ network netlink stream  low"]);
    let evidence = diff.added[0].evidence.as_ref().unwrap();
    assert_eq!((evidence.count, evidence.first_ms, evidence.last_ms), (12, Some(400), Some(31_200)));
    assert!(evidence.by.contains(&"/usr/bin/app".into()) && evidence.runs.contains("run0.json"));
    assert!(recordings(&needs(&[&new]), &needs(&[&new])).is_empty());
    assert_eq!(compared(&new, &old), ["- file /app/models/one r none", "- network netlink stream  none"]);
}

#[test]
fn numbers_and_random_names_are_no_news() {
    let mut old = samples::calls(&["read"]);
    let mut new = old.clone();
    for (recording, pid, random) in [(&mut old, 412, "k2x_9ab1"), (&mut new, 9_731, "zz81_0qw")] {
        file(recording, &format!("/proc/{pid}/status"), "r");
        file(recording, &format!("/proc/{pid}/task/{pid}/comm"), "r");
        file(recording, &format!("/tmp/tmp{random}"), "rwcd");
        network(recording, "connect", (1, "unix"), Some(&format!("unix:@agent-{pid}")));
    }
    assert_eq!(compared(&old, &new), [""; 0]);
}

#[test]
fn calls_their_arguments_capabilities_and_addresses() {
    let mut old = samples::calls(&["read", "write"]);
    samples::add(&mut old, "x86_64", "clone", &[&[(0, 0x11)]]);
    samples::add(&mut old, "x86_64", "ioctl", &[&[(1, 0x5401)]]);
    let mut new = samples::calls(&["read", "ptrace"]);
    samples::add(&mut new, "x86_64", "clone", &[&[(0, 0x11)], &[(0, 0x1000_0011)]]);
    samples::add(&mut new, "x86_64", "ioctl", &[&[(1, 0x5401)], &[(1, 0x5413)], &[(1, 0x5412)]]);
    samples::add(&mut new, "i386", "read", &[]);
    new.capabilities.push(CapabilityUse {
        name: "net_admin".into(),
        nr: 12,
        granted: true,
        probe: false,
        refused_by: None,
        syscalls: vec![],
        count: 1,
        first_ms: 1,
        last_ms: 1,
        by: vec![0],
        runs: None,
    });
    network(&mut new, "connect", (2, "inet"), Some("203.0.113.9:443"));
    new.executables.push(Executable { path: "/bin/sh".into(), executed: true, ..Executable::default() });
    file(&mut new, "/bin/sh", "xr");
    file(&mut new, "/var/run/docker.sock", "w");
    let diff = recordings(&needs(&[&old]), &needs(&[&new]));
    insta::assert_debug_snapshot!(lines(&diff));
    assert!(diff.added.iter().all(|change| change.evidence.is_some()), "{:#?}", diff.added);
}

#[test]
fn evidence_says_which_of_several_recordings() {
    let old = samples::calls(&["read"]);
    let mut new = old.clone();
    file(&mut new, "/x", "r");
    let mut diff = recordings(&needs(&[&old]), &needs(&[&new, &old, &new]));
    let evidence = diff.added.remove(0).evidence.unwrap();
    assert_eq!((evidence.runs.len(), evidence.of), (2, 3));
}

#[test]
fn what_was_not_observed_is_said() {
    let old = samples::calls(&["read"]);
    let mut new = old.clone();
    new.host.observed.retain(|kind| kind != "capabilities");
    let diff = recordings(&needs(&[&old]), &needs(&[&new]));
    assert!(diff.notes[0].contains("the new recordings did not observe capabilities"));
}
