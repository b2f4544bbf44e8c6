//! What the tasks need, how to tell that it is there, and which package has it.

use std::{fs, path::Path};

use sandbox_trace_tests::vm::Kernel;

use super::{Purpose, guest, install};
use crate::{build_ebpf, process, workspace};

/// Something that a task needs.
#[derive(Debug)]
pub struct Component {
    pub name: &'static str,
    pub why: &'static str,
    test: Test,
    pub source: Source,
    purposes: &'static [Purpose],
}

/// How to tell that a component is there.
#[derive(Debug)]
enum Test {
    Command(&'static str),
    File(&'static str),
    Function(fn() -> bool),
    Kernel(Kernel),
}

/// Where a component comes from.
#[derive(Debug)]
pub enum Source {
    /// Debian packages.
    Packages(&'static [&'static str]),
    /// `cargo install` of bpf-linker, which needs these Debian packages.
    BpfLinker(&'static [&'static str]),
    /// `cargo install` of a program, in this version.
    Cargo(&'static str, &'static str),
    /// A kernel for the guests, of one of Debian's releases; unpacked, not installed.
    Kernel(Kernel),
    /// A QEMU that boots all of them.
    Qemu,
    /// Docker's compose; unpacked, not installed.
    Compose,
    /// A program of a Python package, in a virtual environment of its own; made with these Debian packages.
    Python(&'static str, &'static [&'static str]),
}

impl Component {
    pub fn serves(&self, purpose: Purpose) -> bool {
        self.purposes.contains(&purpose)
    }

    pub fn is_present(&self) -> bool {
        match self.test {
            Test::Command(name) => process::find(name).is_some(),
            Test::File(path) => Path::new(path).exists(),
            Test::Function(present) => present(),
            Test::Kernel(kernel) => kernel.place().is_file(),
        }
    }

    /// Where it will come from, for people.
    pub fn remedy(&self) -> String {
        match self.source {
            Source::Packages(packages) => format!("package {}", packages.join(" ")),
            Source::BpfLinker(packages) => {
                format!("cargo install bpf-linker, with package {}", packages.join(" "))
            }
            Source::Cargo(name, version) => format!("cargo install {name} {version}"),
            Source::Kernel(kernel) => {
                let (suite, meta) = guest::package(kernel);
                format!("unpacked from the package behind {meta} in {suite}")
            }
            Source::Python(name, packages) => {
                format!("Python package {name}, with package {}", packages.join(" "))
            }
            Source::Compose => {
                format!("unpacked from the package docker-compose in {}", install::COMPOSE_SUITE)
            }
            Source::Qemu => "package qemu-system-x86 (on Debian 12 from bookworm-backports)".to_owned(),
        }
    }
}

const BUILD: &[Purpose] = &[Purpose::Build, Purpose::Test, Purpose::Demo, Purpose::Bench];
const COMPILE_C: &[Purpose] = &[Purpose::Build, Purpose::Ebpf, Purpose::Test, Purpose::Demo, Purpose::Bench];
const RUN: &[Purpose] = &[Purpose::Test, Purpose::Demo];
const PYTHON: &[Purpose] = &[Purpose::Test, Purpose::Demo, Purpose::Bench];
// The tests run the benchmark once, small.
const BENCH: &[Purpose] = &[Purpose::Test, Purpose::Bench];
const TEST: &[Purpose] = &[Purpose::Test];
const EBPF: &[Purpose] = &[Purpose::Ebpf];
const DOCS: &[Purpose] = &[Purpose::Docs, Purpose::Dist];
const DENY: &[Purpose] = &[Purpose::Deny];
// The tests build the package and install it.
const DIST: &[Purpose] = &[Purpose::Dist, Purpose::Test];

/// Every component, in the order in which they are installed.
pub fn all() -> Vec<Component> {
    use Source::{BpfLinker, Packages};
    use Test::{Command, File, Function};

    let component = |name, why, test, source, purposes| Component { name, why, test, source, purposes };
    vec![
        component("cc", "links Rust programs, compiles zstd", Command("cc"), Packages(&["gcc"]), COMPILE_C),
        component(
            "C headers",
            "compiles zstd",
            File("/usr/include/stdlib.h"),
            Packages(&["libc6-dev"]),
            COMPILE_C,
        ),
        component(
            "libseccomp",
            "compiles seccomp profiles as the runtimes do",
            File("/usr/include/seccomp.h"),
            Packages(&["libseccomp-dev"]),
            BUILD,
        ),
        component(
            "apparmor_parser",
            "compiles AppArmor profiles",
            Command("apparmor_parser"),
            Packages(&["apparmor"]),
            RUN,
        ),
        component(
            "python3",
            "runs the demo agent, a workload of the benchmark",
            File("/usr/bin/python3"),
            Packages(&["python3"]),
            PYTHON,
        ),
        component("runc", "a runtime under test", Command("runc"), Packages(&["runc"]), TEST),
        // Not `docker`: a machine may have the client alone.
        component(
            "dockerd",
            "a runtime under test",
            Command("dockerd"),
            Packages(&["docker.io", "containerd"]),
            TEST,
        ),
        component("iptables", "dockerd's networks", Command("iptables"), Packages(&["iptables"]), TEST),
        component("ip", "the networks of the tests' engine", Command("ip"), Packages(&["iproute2"]), TEST),
        component(
            "busybox",
            "the test guest's shell and tools",
            Function(has_static_busybox),
            Packages(&["busybox-static"]),
            TEST,
        ),
        component(
            "strace",
            "the independent witness of what a program did",
            Command("strace"),
            Packages(&["strace"]),
            BENCH,
        ),
        component(
            "bpftrace",
            "a tracer to compare with",
            Command("bpftrace"),
            Packages(&["bpftrace"]),
            BENCH,
        ),
        component(
            "nginx",
            "a workload of the benchmark, one under test",
            Command("nginx"),
            Packages(&["nginx-light"]),
            BENCH,
        ),
        component("ab", "the load on nginx", Command("ab"), Packages(&["apache2-utils"]), BENCH),
        component(
            "redis-server",
            "a workload of the benchmark",
            Command("redis-server"),
            Packages(&["redis-server"]),
            BENCH,
        ),
        component(
            "redis-benchmark",
            "the load on redis",
            Command("redis-benchmark"),
            Packages(&["redis-tools"]),
            BENCH,
        ),
        component("git", "a workload under test", Command("git"), Packages(&["git"]), TEST),
        component("sqlite3", "a workload under test", Command("sqlite3"), Packages(&["sqlite3"]), TEST),
        component("perl", "a workload under test", Command("perl"), Packages(&["perl-base"]), TEST),
        component(
            "findutils",
            "a workload under test",
            Command("xargs"),
            Packages(&["findutils", "diffutils", "mawk"]),
            TEST,
        ),
        component("crun", "a runtime under test", Command("crun"), Packages(&["crun"]), TEST),
        component(
            "systemd",
            "runs services as they are emitted",
            File("/lib/systemd/systemd"),
            Packages(&["systemd"]),
            TEST,
        ),
        component(
            "kubernetes-validate",
            "the schemas of Kubernetes's objects",
            Function(has_kubernetes_validate),
            Source::Python("kubernetes-validate", &["python3-venv"]),
            TEST,
        ),
        component(
            "docker-compose",
            "reads and starts compose files",
            Function(|| install::compose_program().is_file()),
            Source::Compose,
            TEST,
        ),
        component(
            "check-jsonschema",
            "the schema of compose files",
            Function(|| install::python_program("check-jsonschema").is_file()),
            Source::Python("check-jsonschema", &["python3-venv"]),
            TEST,
        ),
        component(
            "moto",
            "is an object store",
            Function(|| workspace::tools_dir().join("moto/bin/moto_server").is_file()),
            Source::Python("moto[server]", &["python3-venv"]),
            TEST,
        ),
        component(
            "chromium",
            "shows the report as browsers do",
            Command("chromium"),
            Packages(&["chromium"]),
            TEST,
        ),
        component("cpio", "packs the test guest's files", Command("cpio"), Packages(&["cpio"]), TEST),
        component("qemu", "boots the test guests", Function(guest::has_qemu), Source::Qemu, TEST),
        guest_kernel("Linux 5.10", Kernel::V5_10),
        guest_kernel("Linux 6.1", Kernel::V6_1),
        guest_kernel("Linux 6.12", Kernel::V6_12),
        component(
            "a Rust compiler for BPF",
            "compiles the eBPF programs",
            Function(build_ebpf::has_compiler),
            Packages(&["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"]),
            EBPF,
        ),
        component(
            "llvm-strip",
            "strips the eBPF object",
            Function(|| build_ebpf::find_llvm_strip().is_some()),
            Packages(&["llvm-22"]),
            EBPF,
        ),
        component(
            "bpf-linker",
            "links the eBPF object",
            Function(|| build_ebpf::find_linker().is_some()),
            BpfLinker(&["g++", "llvm-22-dev", "libpolly-22-dev"]),
            EBPF,
        ),
        component("mandoc", "reads the man pages", Command("mandoc"), Packages(&["mandoc"]), DOCS),
        component("groff", "reads the man pages, too", Command("groff"), Packages(&["groff-base"]), DOCS),
        component("zsh", "reads its completions", Command("zsh"), Packages(&["zsh"]), DOCS),
        component("fish", "reads its completions", Command("fish"), Packages(&["fish"]), DOCS),
        cargo_program(
            "cargo-deny",
            "licences and sources of the dependencies",
            "0.20.2",
            || install::find_cargo_program("cargo-deny").is_some(),
            DENY,
        ),
        component(
            "mmdebstrap",
            "a clean Debian for the package",
            Command("mmdebstrap"),
            Packages(&["mmdebstrap"]),
            TEST,
        ),
        component("xz", "unpacks packages", Command("xz"), Packages(&["xz-utils"]), DIST),
        cargo_program(
            "cargo-deb",
            "makes the Debian package",
            "3.8.0",
            || install::find_cargo_program("cargo-deb").is_some(),
            DIST,
        ),
        cargo_program(
            "cargo-cyclonedx",
            "writes the bill of materials",
            "0.5.9",
            || install::find_cargo_program("cargo-cyclonedx").is_some(),
            DIST,
        ),
    ]
}

fn cargo_program(
    name: &'static str,
    why: &'static str,
    version: &'static str,
    present: fn() -> bool,
    purposes: &'static [Purpose],
) -> Component {
    Component { name, why, test: Test::Function(present), source: Source::Cargo(name, version), purposes }
}

fn has_kubernetes_validate() -> bool {
    install::python_program("kubernetes-validate").is_file()
}

/// The guest has no C library at the time that busybox starts.
fn has_static_busybox() -> bool {
    process::find("busybox").is_some_and(|file| {
        // A dynamic program names its loader in a PT_INTERP header, near the start.
        fs::read(file).is_ok_and(|bytes| {
            let head = bytes.get(..4096).unwrap_or(&bytes);
            !head.windows(8).any(|window| window == b"ld-linux")
        })
    })
}

fn guest_kernel(name: &'static str, kernel: Kernel) -> Component {
    let (test, source) = (Test::Kernel(kernel), Source::Kernel(kernel));
    Component { name, why: "a test guest's kernel", test, source, purposes: TEST }
}
