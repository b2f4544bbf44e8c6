//! What each target does with its input. `sandbox-trace/tests/fuzz_corpus.rs` has this file as a module too and
//! replays the corpus through the same functions with an ordinary compiler.
//!
//! Besides not to panic, a reader must keep what its documentation promises: what it accepts has one text form,
//! which reads back as the same, and no text of its own ever carries a control character to a terminal.

use std::{fs::File, io::Write as _};

use nix::sys::memfd::{MFdFlags, memfd_create};
use sandbox_trace::{
    Error,
    apparmor::{dfa::State, perms::Subject, policy},
    compose::{edit, yaml::Node},
    diff, docker_run,
    docker_syntax::Places,
    kernel::{btf::Btf, cgroup::Hierarchy, namespaces},
    record::{
        address::{self, Address},
        build_id,
        decode::{self, Body},
    },
    recording::{self, Batch, BytePath, Merger},
    seccomp::{compile, profile},
};

/// A record from the ring: the kernel side wrote the header, the target chose the names.
pub fn ring_record(data: &[u8]) {
    let Some(fact) = decode::decode(data) else { return };
    let absolute = |path: &[u8]| assert_eq!(path.first(), Some(&b'/'), "{fact:?}");
    match &fact.body {
        Body::Executable(path) => absolute(path),
        Body::File(path, target) => {
            absolute(path);
            if let Some(target) = target {
                absolute(target);
            }
        }
        Body::Exec { path, script } => {
            absolute(path);
            if let Some(name) = script {
                absolute(&name.base);
            }
        }
        Body::Names { first, second } => {
            for name in first.iter().chain(second) {
                absolute(&name.base);
            }
        }
        Body::Network { base, .. } => absolute(base),
        Body::Call
        | Body::Capability
        | Body::Count
        | Body::Cgroup(_)
        | Body::FilterPart(_)
        | Body::FilterChain(..) => {}
    }
}

/// A recording, as JSON: what was read is written and read back as the same.
pub fn recording(data: &[u8]) {
    match recording::from_json(data, "input") {
        Ok(read) => {
            let written = recording::to_json(&read).expect("what was read can be written");
            let again = recording::from_json(&written, "written").expect("what was written can be read");
            assert_eq!(again, read);
        }
        Err(error) => printable(&error),
    }
}

/// A recording, access by access as the emitters and `merge` read it: what is taken so is what is taken whole, and merged
/// with itself it is one run.
pub fn recording_stream(data: &[u8]) {
    let mut batch = Batch::default();
    let head = recording::read_each(data, "input", &mut |list, file| batch.push(list, file));
    let whole = recording::from_json(data, "input");
    assert_eq!(head.is_ok(), whole.is_ok(), "{:?} {:?}", head.err(), whole.err());
    let (Ok(head), Ok(whole)) = (head, whole) else { return };
    let mut merger = Merger::default();
    if let Err(error) = merger.add_batch("input", head, &mut batch) {
        return printable(&error);
    }
    let streamed = merger.finish().expect("what was added can be united");
    let twice = vec![("input".to_owned(), whole.clone()), ("input".to_owned(), whole)];
    assert_eq!(recording::merge(twice).ok(), Some(streamed));
}

/// A compose file, as it is edited and as it is read.
pub fn compose_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = match edit::File::read("input", text.to_owned()) {
        Ok(file) => file,
        Err(error) => return printable_lines(&error),
    };
    let services: Vec<String> = file.services().into_iter().map(str::to_owned).collect();
    let change = edit::Change::set(&["read_only"], Node::Plain("true".into()), "a reason");
    for service in services {
        // Either the very change, or an error: `edit` reads again what it wrote.
        if let Err(error) = file.edit(&service, std::slice::from_ref(&change)) {
            printable_lines(&error);
        }
    }
}

/// A line of `docker run`, as people write it.
pub fn docker_run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = docker_run::read("input", text, &Places::default()) {
        printable_lines(&error);
    }
}

/// The text of an AppArmor profile, as `diff` compares it: nothing is new in what is the same.
pub fn apparmor_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match diff::apparmor(text, text) {
        Ok(diff) => assert!(diff.is_empty(), "{diff:?}"),
        Err(error) => printable(&error),
    }
}

/// A seccomp profile, and the filter that libseccomp makes of it.
pub fn seccomp_profile(data: &[u8]) {
    match profile::from_json(data, "input") {
        Ok(profile) => {
            // Any other outcome than a filter or an error that says what is wrong is a fault.
            if let Err(error) = compile::compile(&profile, true) {
                printable(&error);
            }
        }
        Err(error) => printable(&error),
    }
}

/// A compiled AppArmor policy, and every walk that a replay makes through it.
pub fn apparmor_policy(data: &[u8]) {
    let profiles = match policy::unpack(data) {
        Ok(profiles) => profiles,
        Err(error) => return printable(&error),
    };
    for profile in &profiles {
        for path in [&b"/a/b"[..], b"/bin/x", b"/", b"", b"/\xff\0"] {
            for subject in [Subject::Owner, Subject::Other] {
                let _ = profile.file_perms(path, subject).transition(profile);
                let _ = profile.allows_link(path, b"/d", subject);
            }
        }
        let _ = profile.allows_socket(2, 1);
        let _ = profile.allows_capability(u32::MAX);
        for automaton in profile.files.iter().chain(&profile.classes) {
            let end = automaton.dfa.walk(State(u32::MAX), b"/a");
            let _ = automaton.dfa.accept(end);
        }
    }
}

/// The text form of a byte string: every text that is read is printed as a text that reads the same, and every
/// byte string is printed without control characters.
pub fn byte_path(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(path) = BytePath::decode(text)
    {
        reads_back(&path);
    }
    reads_back(&BytePath::from(data));
}

/// A kernel's type information, as a file that was named instead of the running kernel's: what is kept of it can
/// be read again, and no search in it takes long.
pub fn btf(data: &[u8]) {
    let Ok(btf) = Btf::parse(data.to_vec(), |_| true, |_| true) else { return };
    for path in ["s.m", "s.m.m", "s.", "task_struct.mm", "", "s"] {
        let _ = btf.offset(path);
    }
    let _ = (btf.struct_id("s"), btf.function_id("f"), btf.signature("f"));
    let anchors = btf.anchors();
    let again = Btf::parse(anchors.clone(), |_| true, |_| true).expect("what was written can be read");
    assert_eq!(again.anchors(), anchors);
}

/// The lists of mounts in /proc: whoever mounts chooses most of the words in a line.
pub fn mounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = namespaces::root_device(text);
    if let Some(hierarchy) = Hierarchy::parse(text) {
        assert!(["unified", "hybrid"].contains(&hierarchy.kind()));
    }
}

/// An executable of the target's: its build id is at most as long as a digest is.
pub fn executable(data: &[u8]) {
    let file = memfd_create(c"executable", MFdFlags::MFD_CLOEXEC).map(File::from).expect("memory");
    (&file).write_all(data).expect("memory");
    if let Some(id) = build_id::of(&file) {
        assert!((1..=64).contains(&id.len()), "{id:?}");
        assert!(data.windows(id.len()).any(|part| part == id), "{id:?} is not in the file");
    }
}

/// A socket's address, from the target's memory.
pub fn address(data: &[u8]) {
    match address::parse(data) {
        Some(Address::Text(text)) => {
            // All but the name of an abstract socket is this tool's own text.
            assert!(text.starts_with(b"unix:@") || !text.iter().any(u8::is_ascii_control), "{text:?}");
        }
        Some(Address::Path(path)) => assert!(!path.contains(&0), "{path:?}"),
        None => assert!(data.len() < 24, "nothing is said of {data:?}"),
    }
}

fn reads_back(path: &BytePath) {
    let text = path.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert_eq!(BytePath::decode(&text).as_ref(), Ok(path));
}

/// Messages and their causes quote the input, and end on terminals.
fn printable(error: &Error) {
    harmless(error, |_| false);
}

/// The same where a message shows the line that it is about below itself.
fn printable_lines(error: &Error) {
    harmless(error, |c| c == '\n');
}

fn harmless(error: &Error, fits: fn(char) -> bool) {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        assert!(!text.chars().any(|c| c.is_control() && !fits(c)), "{text:?}");
        next = error.source();
    }
}
