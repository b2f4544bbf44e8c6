//! Mapping files to execute them, and executing them.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use nix::libc::{MAP_PRIVATE, O_RDONLY, PROT_EXEC, PROT_READ};

use crate::sys::{call, file, link, open};

pub fn prepare() {
    file("mapped");
    file("mapped_r");
    file("protected");
    let executable = |path: &str| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the mode");
    };
    fs::copy(fs::canonicalize("/bin/true").expect("true"), "binary").expect("a copy");
    executable("binary");
    fs::write("script", "#!/bin/sh\nexit 0\n").expect("a script");
    executable("script");
    fs::write("real/script", "#!/bin/sh\nexit 0\n").expect("a script");
    executable("real/script");
    link("binary", "binary_link");
    fs::write("not_executable", "").expect("a file");
}

pub fn run() {
    let map = |name: &str, protection: i32| {
        call!(SYS_mmap, 0usize, 4096usize, protection, MAP_PRIVATE, &open(name, O_RDONLY), 0usize)
    };
    map("mapped", PROT_READ | PROT_EXEC);
    map("mapped_r", PROT_READ);
    let address = usize::try_from(map("protected", PROT_READ)).expect("an address");
    call!(SYS_mprotect, address, 4096usize, PROT_READ | PROT_EXEC);

    for name in ["./binary", "./script", "./linked/script", "./binary_link"] {
        assert!(Command::new(name).status().expect("an execution").success(), "{name}");
    }
    for name in ["./not_there", "./not_executable"] {
        Command::new(name).status().expect_err("no execution");
    }
}
