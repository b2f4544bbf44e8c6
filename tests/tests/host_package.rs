//! What is released: the Debian package in a clean Debian, where it records, as do the container image and what `cargo
//! install` builds there; the archive, the checksums, the unit.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command::{self, require},
    docker::Engine,
    product,
};
use serde_json::Value;

/// The mounts that a recorder needs, and that go away with the process.
const RECORD: &str = r#"
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
exec chroot "$1" "$2" record --hooks syscalls -o "$3" -- /bin/true
"#;

/// Takes away the package and what came with it.
const PURGE: &str = r#"
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
export DEBIAN_FRONTEND=noninteractive
exec chroot "$1" apt-get autoremove --purge --yes --quiet sandbox-trace
"#;

/// As in `docs/building.md`, but for what a compiler and 200 crates would have to be downloaded for: this machine's are
/// mounted. Without optimisation, which would take most of the time and is no part of what is asked here.
const INSTALL: &str = r#"
root=$1 sources=$2 toolchain=$3 registry=$4
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
inside() {
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/var/tmp/target \
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        "$@"
}
inside apt-get update --quiet
inside apt-get install --yes --quiet --no-install-recommends gcc libc6-dev libseccomp-dev
bind() {
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
}
bind "$toolchain" /opt/rust
bind "$sources" /src
bind "$registry" /root/.cargo/registry
inside sh -euc 'cd /src && cargo install --locked --path sandbox-trace'
"#;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Makes the release of these sources, with the binary under test.
fn dist(folder: &Path) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--binary"]).arg(product::binary()?);
    command.arg("--output").arg(folder).current_dir(env!("CARGO_MANIFEST_DIR"));
    command::succeed(&mut command).map(drop)
}

fn file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    entries
        .find(|path| path.to_string_lossy().ends_with(ending))
        .with_context(|| format!("no file *{ending} in {}", folder.display()))
}

/// A minimal Debian 12 with the package and what it depends on, all installed by apt.
fn debian(root: &Path, package: &Path) -> Result<()> {
    let mut command = Command::new(require("mmdebstrap")?);
    command.args([
        "--mode=root",
        "--variant=minbase",
        "--quiet",
        "--aptopt=APT::Install-Recommends \"false\"",
    ]);
    // Documentation is left out of nothing: the package's own is looked for.
    command.args(["--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount", "--include"]).arg(package);
    command.args(["bookworm", &root.display().to_string()]);
    command::succeed(&mut command).map(drop)
}

/// The program in that Debian records, and all of it.
fn records(root: &Path, program: &str) -> Result<()> {
    script(RECORD, &[root, program.as_ref(), "/recording.json".as_ref()])?;
    is_whole(&root.join("recording.json"))
}

/// A recording of `/bin/true` without loss; takes it away.
fn is_whole(file: &Path) -> Result<()> {
    let recording: Value = serde_json::from_slice(&fs::read(file)?)?;
    fs::remove_file(file)?;
    ensure!(recording["complete"] == true, "{}", recording["losses"]);
    let executables = recording["executables"].as_array().context("no executables")?;
    let ran =
        |path: &str| executables.iter().any(|one| one["path"].as_str().is_some_and(|p| p.ends_with(path)));
    ensure!(ran("/bin/true"), "{executables:?}");
    Ok(())
}

/// A shell's script in a mount namespace of its own.
fn script(text: &str, args: &[&Path]) -> Result<()> {
    let mut command = Command::new("unshare");
    // What is installed has programs of its own; those that a test was told of are not in that root.
    command.env_remove("SANDBOX_TRACE_BPF_OBJECT");
    command::succeed(command.args(["--mount", "sh", "-euc", text, "sh"]).args(args)).map(drop)
}

/// The container image of `packaging/Containerfile`, made from that Debian, records: with less than `--privileged`, which
/// gives capabilities that not every machine has.
fn image_records(root: &Path, package: &Path, dir: &Path) -> Result<()> {
    let engine = Engine::start()?;
    engine.import(root, &[], "clean-debian")?;
    let (context, work) = (dir.join("context"), dir.join("work"));
    fs::create_dir(&context)?;
    fs::create_dir(&work)?;
    fs::copy(package, context.join(package.file_name().context("a package without a name")?))?;
    let recipe = sources().join("packaging/Containerfile");
    let mut build: Vec<&OsStr> = vec![OsStr::new("build")];
    // The engine has no bridge.
    build.extend(
        ["--network=host", "--build-arg=BASE=clean-debian", "--tag=sandbox-trace", "--file"].map(OsStr::new),
    );
    build.extend([recipe.as_os_str(), context.as_os_str()]);
    engine.call(build)?;

    let volume = format!("--volume={}:/work", work.display());
    let mut run = vec!["run", "--rm", "--network=none", "--pid=host", "--cgroupns=host", &volume];
    run.extend(["--volume=/sys/fs/cgroup:/sys/fs/cgroup", "--volume=/sys/kernel/btf:/sys/kernel/btf:ro"]);
    run.extend([
        "--cap-add=SYS_ADMIN",
        "--cap-add=SYS_PTRACE",
        "--cap-add=NET_ADMIN",
        "--cap-add=DAC_READ_SEARCH",
    ]);
    run.extend(["--security-opt=seccomp=unconfined", "sandbox-trace"]);
    run.extend(["record", "--hooks=syscalls", "-o", "recording.json", "--", "/bin/true"]);
    engine.call(run)?;
    is_whole(&work.join("recording.json"))
}

/// `cargo install` in that Debian, by the compiler that builds this test.
fn cargo_install(root: &Path) -> Result<()> {
    let sysroot = command::succeed(Command::new("rustc").args(["--print", "sysroot"]))?;
    let toolchain = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
    // A distribution's compiler is linked with that distribution's libraries.
    ensure!(toolchain != Path::new("/usr"), "this needs a compiler of rustup's, which runs anywhere");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).context("no home folder")?;
    script(INSTALL, &[root, &sources(), &toolchain, &home.join("registry")])
}

#[test]
fn a_clean_debian_records_with_the_package_in_an_image_and_with_what_cargo_installs() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let release = dir.path().join("release");
    dist(&release)?;
    command::succeed(
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&release),
    )?;
    let sums = fs::read_to_string(release.join("SHA256SUMS"))?;
    ensure!(sums.lines().count() == 3, "{sums}");

    let package = file(&release, ".deb")?;
    let field = |name: &str| -> Result<String> {
        let output = command::succeed(Command::new("dpkg-deb").arg("--field").arg(&package).arg(name))?;
        Ok(String::from_utf8(output.stdout)?)
    };
    ensure!(field("Depends")?.contains("libseccomp2"), "{}", field("Depends")?);
    ensure!(field("Recommends")?.contains("apparmor"), "{}", field("Recommends")?);

    let root = dir.path().join("root");
    debian(&root, &package)?;
    for path in [
        "usr/share/man/man1/sandbox-trace.1.gz",
        "usr/share/man/man1/sandbox-trace-record.1.gz",
        "usr/share/bash-completion/completions/sandbox-trace",
        "usr/share/zsh/vendor-completions/_sandbox-trace",
        "usr/share/fish/vendor_completions.d/sandbox-trace.fish",
        "usr/share/doc/sandbox-trace/copyright",
        "usr/share/doc/sandbox-trace/sandbox-trace.cdx.json",
        "usr/share/doc/sandbox-trace/THIRD-PARTY-LICENSES",
        "usr/lib/systemd/system/sandbox-trace@.service",
    ] {
        ensure!(root.join(path).is_file(), "the package has no {path}");
    }

    records(&root, "/usr/bin/sandbox-trace")?;

    // What every service is ordered after; the root has no systemd.
    for name in ["basic", "shutdown", "sysinit"] {
        fs::write(root.join(format!("usr/lib/systemd/system/{name}.target")), "[Unit]\n")?;
    }
    let mut verify = Command::new(require("systemd-analyze")?);
    verify.args(["verify", "--man=no", "--root"]).arg(&root).arg("sandbox-trace@my-agent.service");
    let output = command::run(&mut verify)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}");

    // The same Debian, once the package and what came with it are gone.
    script(PURGE, &[&root])?;
    ensure!(!root.join("usr/bin/sandbox-trace").exists(), "the package left its program");
    image_records(&root, &package, dir.path())?;
    cargo_install(&root)?;
    records(&root, "/root/.cargo/bin/sandbox-trace")
}

#[test]
fn the_release_of_the_same_sources_is_the_same() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (one, other) = (dir.path().join("one"), dir.path().join("other"));
    dist(&one)?;
    dist(&other)?;
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS"));
    ensure!(sums(&one)? == sums(&other)?, "{}\n{}", sums(&one)?, sums(&other)?);

    let bill: Value = serde_json::from_slice(&fs::read(file(&one, ".cdx.json")?)?)?;
    ensure!(bill["bomFormat"] == "CycloneDX", "{bill}");
    let components = bill["components"].as_array().context("no components")?;
    for name in ["aya", "libseccomp", "serde_json"] {
        ensure!(components.iter().any(|component| component["name"] == name), "the bill lacks {name}");
    }
    let archive = file(&one, ".tar.gz")?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--to-stdout", "--wildcards", "*/THIRD-PARTY-LICENSES", "--file"]);
    let notices = String::from_utf8(command::succeed(unpack.arg(&archive))?.stdout)?;
    for name in
        ["\nzstd-sys ", "\naya ", "Copyright (c) Meta Platforms", "DejaVu changes are in public domain"]
    {
        ensure!(notices.contains(name), "the notices lack {name}");
    }
    ensure!(!notices.contains(&*sources().canonicalize()?.to_string_lossy()), "a folder of this machine");
    let listed = command::succeed(Command::new("tar").arg("--list").arg("--file").arg(&archive))?;
    let listed = String::from_utf8(listed.stdout)?;
    for name in ["/sandbox-trace", "/docs/man/sandbox-trace.1.gz", "/LICENSE-MIT", "/sandbox-trace.cdx.json"]
    {
        ensure!(listed.lines().any(|line| line.ends_with(name)), "{listed}");
    }
    Ok(())
}
