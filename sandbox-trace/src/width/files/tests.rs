//! Profiles through the real compiler over real trees.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink, net::UnixListener},
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;

use super::*;
use crate::{apparmor::testing, requirements::Evidence};

fn tree(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let path = root.path().join(file.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    root
}

fn needs(files: &[(&str, &str)]) -> Requirements {
    let mut needs = Requirements::default();
    for (path, access) in files {
        needs.files.insert(path.as_bytes(), None, access.parse().unwrap(), None, &Evidence::default());
    }
    needs
}

#[test]
fn files_are_counted_by_what_the_compiled_rules_admit() {
    let root = tree(&[
        "/app/a.py",
        "/app/b.py",
        "/app/run",
        "/app/log",
        "/etc/passwd",
        "/own",
        "/tmp/x",
        "/tmp/y z",
    ]);
    let profile = testing::rules(
        "  /app/*.py r,\n  /app/run rix,\n  /app/log a,\n  owner /own rw,\n  /app/ r,\n  /tmp/* rw,\n  /tmp/x px,\n  deny /tmp/y* r,\n",
    );
    let files = measure(&profile, root.path(), None).unwrap();
    // a.py, b.py, run, own, x; log, own, x, y z; run, x
    assert_eq!((files.readable, files.writable, files.executable, files.of), (5, 4, 2, 8));
    assert_eq!(files.owner_only, OwnerOnly { readable: 1, writable: 1, executable: 0 });
    assert_eq!(files.writable_and_executable_paths, [BytePath::from("/tmp/x")]);
    // /, app, etc, tmp
    assert_eq!((files.directories.readable, files.directories.of), (1, 4));
    assert_eq!((files.used, files.unread_count), (None, 0));
}

#[test]
fn what_was_used_is_counted_beside_it_and_what_was_not_is_found() {
    let root = tree(&["/lib/a.so", "/lib/b.so", "/lib/c.so", "/data/1", "/data/2", "/bin/sh"]);
    let profile = testing::rules("  /lib/* rm,\n  /data/* rw,\n  /bin/sh rix,\n");
    let used = needs(&[
        ("/lib/a.so", "rm"),
        ("/data/1", "rw"),
        ("/bin/sh", "rx"),
        ("/tmp/gone", "c"),
        ("/lib/", "r"),
    ]);
    let files = measure(&profile, root.path(), Some(&used)).unwrap();
    assert_eq!(files.used, Some(Used { read: 3, written: 1, executed: 1, elsewhere: 2 }));
    let widest: Vec<_> = files.widest.iter().map(|w| (w.path.to_string(), w.readable_unused)).collect();
    assert_eq!(widest, [("/lib/".to_owned(), 2), ("/data/".to_owned(), 1)]);
}

#[test]
fn odd_names_links_and_other_kinds_of_files_are_what_they_are() {
    let root = tree(&["/a b", "/line\nbreak", "/sub/é*"]);
    fs::write(root.path().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    symlink("/etc/passwd", root.path().join("link")).unwrap();
    symlink("..", root.path().join("sub/up")).unwrap();
    symlink("/", root.path().join("sub/out")).unwrap();
    mkfifo(&root.path().join("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
    let profile = testing::rules(
        "  \"/a b\" r,\n  /line\\012break r,\n  /bad\\377 r,\n  /sub/é\\052 r,\n  /fifo rw,\n",
    );
    let files = measure(&profile, root.path(), None).unwrap();
    assert_eq!((files.readable, files.of, files.symlinks), (4, 4, 3));
    assert_eq!(files.special, Counts { readable: 1, writable: 1, of: 2 });
    assert_eq!((files.directories.of, files.unread_count), (2, 0));
}

#[test]
fn a_tree_deeper_than_any_path_is_walked_as_deep_as_apparmor_names() {
    let root = tempfile::tempdir().unwrap();
    // Made step by step, as no path is that long.
    let name = "d".repeat(200);
    let mut at = nix::fcntl::open(root.path(), nix::fcntl::OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..60 {
        nix::sys::stat::mkdirat(&at, name.as_str(), Mode::S_IRWXU).unwrap();
        at = nix::fcntl::openat(&at, name.as_str(), nix::fcntl::OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    let files = measure(&testing::rules("  /** r,\n"), root.path(), None).unwrap();
    // 40 names of 201 bytes are 8,041 with the first slash; the 41st is too long.
    // `/**` does not match `/` itself.
    assert_eq!((files.directories.of, files.directories.readable, files.unread_count), (42, 41, 1));
    assert!(files.unread[0].why.contains("8192"), "{:?}", files.unread[0].why);
}

#[test]
fn a_profile_that_asks_nothing_admits_everything_and_one_without_rules_nothing() {
    let root = tree(&["/a", "/b/c"]);
    let all = testing::profile("abi <abi/3.0>,\nprofile t flags=(unconfined) {\n}\n");
    let files = measure(&all, root.path(), None).unwrap();
    assert_eq!((files.readable, files.writable, files.executable, files.of), (2, 2, 2, 2));
    let none = measure(&testing::rules(""), root.path(), None).unwrap();
    assert_eq!((none.readable, none.writable, none.executable, none.of), (0, 0, 0, 2));
}

/// The walk keeps the state of each directory: it must give what asking for each whole path gives.
#[test]
fn the_walk_by_components_agrees_with_whole_paths() {
    let names = ["a", "ab", "a.so", "b", "1", "12", "x y"];
    let mut paths = Vec::new();
    for first in names {
        for second in names {
            paths.push(format!("/{first}.d/{second}"));
            paths.push(format!("/{first}.d/{second}.d/deep"));
        }
    }
    let root = tree(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let profile = testing::rules(
        "  /a*/** r,\n  /*.d/[0-9]* w,\n  /{a,b}.d/{a,b} rix,\n  deny /ab.d/** r,\n  /1.d/**/deep rwk,\n  owner /b.d/* rw,\n  /a.d/b.d/ r,\n",
    );
    let files = measure(&profile, root.path(), None).unwrap();
    let whole = |wanted: &dyn Fn(perms::FilePerms) -> bool| {
        let any = |path: &&String| {
            [Subject::Owner, Subject::Other]
                .into_iter()
                .any(|s| wanted(profile.file_perms(path.as_bytes(), s)))
        };
        number(paths.iter().filter(any).count())
    };
    assert_eq!(files.readable, whole(&|perms| perms.allows(perms::READ)));
    assert_eq!(files.writable, whole(&|perms| perms.allows(perms::WRITE)));
    assert_eq!(files.executable, whole(&perms::FilePerms::executes));
    assert_eq!(files.of, number(paths.len()));
    assert!(files.readable > 0 && files.writable > 0 && files.executable > 0 && files.readable < files.of);
}

#[test]
fn a_folder_that_is_not_there_is_a_usage_error() {
    let error = measure(&testing::rules(""), Path::new("/no/such/rootfs"), None).unwrap_err();
    assert_eq!(error.exit(), crate::error::Exit::Usage);
    assert!(error.hint_text().is_some());
}

#[test]
fn sockets_and_capabilities_are_counted() {
    let profile =
        testing::rules("  network inet stream,\n  network unix,\n  capability chown,\n  capability bpf,\n");
    let sockets = network(&profile, None);
    // `network unix` is six types: the compiler knows no rule for DCCP.
    assert_eq!((sockets.allowed, sockets.used), (1 + 6, None));
    let held = capabilities(&profile, Some(&Requirements::default()));
    assert_eq!((held.allowed, held.used, held.of), (vec!["chown", "bpf"], Some(vec![]), 41));
}
