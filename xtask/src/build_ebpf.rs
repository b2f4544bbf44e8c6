//! `build-ebpf`: compiles the eBPF programs into the one object that the binary embeds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    provenance::{self, Tools},
    workspace,
};

const TARGET: &str = "bpfel-unknown-none";

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Build nothing: fail unless the object in the tree was built from the sources in the tree.
    #[arg(long)]
    check: bool,
    /// Write the object here and leave the one in the tree alone.
    #[arg(long, short, conflicts_with = "check")]
    output: Option<PathBuf>,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    if args.check {
        provenance::check()?;
        println!("sandbox-trace.bpf.o is current");
        return Ok(());
    }
    match &args.output {
        Some(output) => build(output).map(drop),
        None => {
            let tools = build(&provenance::object_path())?;
            provenance::write(&tools)
        }
    }
}

/// A Rust compiler that can make BPF code. Both need an unstable feature of aya-ebpf.
#[derive(Debug)]
enum Compiler {
    /// Debian's `rustc-web` with a ready-made `core` for the target.
    Debian,
    /// rustup's nightly with rust-src, which builds `core` itself.
    Nightly,
}

impl Compiler {
    fn find() -> Result<Self> {
        if debian_has_core() {
            return Ok(Self::Debian);
        }
        let nightly = process::output(
            process::without_cargo_environment(&mut Command::new("rustup"))
                .args(["run", "nightly", "rustc", "--print", "sysroot"]),
        );
        if nightly.is_ok_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/core").is_dir()) {
            return Ok(Self::Nightly);
        }
        bail!(
            "no compiler for {TARGET}: run `cargo xtask setup --for ebpf`, or install rustup's nightly with rust-src"
        )
    }

    /// `cargo` or `rustc` of this tool chain, free of the one that runs this task.
    fn command(&self, tool: &str) -> Command {
        let mut command = match self {
            Self::Debian => Command::new(format!("/usr/bin/{tool}")),
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", tool]);
                command
            }
        };
        process::without_cargo_environment(&mut command);
        command
    }
}

/// True if there is a compiler for the target.
pub fn has_compiler() -> bool {
    Compiler::find().is_ok()
}

/// True if `/usr/bin/rustc` has a `core` for the target.
fn debian_has_core() -> bool {
    let libdir =
        process::output(process::without_cargo_environment(&mut Command::new("/usr/bin/rustc")).args([
            "--print",
            "target-libdir",
            "--target",
            TARGET,
        ]));
    libdir.is_ok_and(|dir| {
        fs::read_dir(dir).is_ok_and(|files| {
            files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

/// The linker, from this workspace's own tools or PATH.
pub fn find_linker() -> Option<PathBuf> {
    let own = workspace::tools_dir().join("bin/bpf-linker");
    if own.is_file() { Some(own) } else { process::find("bpf-linker") }
}

/// The tool that takes debug information out of the object.
pub fn find_llvm_strip() -> Option<PathBuf> {
    let debian = PathBuf::from("/usr/lib/llvm-22/bin/llvm-strip");
    if debian.is_file() { Some(debian) } else { process::find("llvm-strip") }
}

/// Compiles the programs and copies the object to `output`. Returns what it was built with.
pub fn build(output: &Path) -> Result<Tools> {
    let compiler = Compiler::find()?;
    let linker = find_linker().context("bpf-linker is missing: run `cargo xtask setup --for ebpf`")?;
    let strip = find_llvm_strip().context("llvm-strip is missing: run `cargo xtask setup --for ebpf`")?;
    // Its own target folder: another compiler and other flags would throw away the workspace's build cache.
    let target_dir = workspace::target_dir().join("ebpf");

    let mut command = compiler.command("cargo");
    command
        .current_dir(workspace::root())
        .args(["build", "--release", "--locked", "--package", "sandbox-trace-ebpf", "--features", "programs"])
        .args(["--bin", "sandbox-trace-ebpf", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("PATH", process::path_with(linker.parent().context("bpf-linker has no folder")?)?)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags().join("\x1f"))
        // The workspace strips its release binaries; here that would cost the BTF.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2");
    match compiler {
        Compiler::Debian => command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1"),
        Compiler::Nightly => command.args(["-Z", "build-std=core"]),
    };
    process::run(&mut command)?;

    let built = target_dir.join(TARGET).join("release/sandbox-trace-ebpf");
    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder)?;
    }
    // DWARF is ten times the code and names the build machine's folders; BTF is all that a loader reads.
    process::run(Command::new(strip).arg("--strip-debug").arg(&built).arg("-o").arg(output))?;
    let object = fs::read(output).with_context(|| format!("can't read {}", output.display()))?;
    if !object.windows(5).any(|bytes| bytes == b".BTF\0") {
        bail!("{} has no BTF, so its maps and programs could not be loaded", built.display());
    }
    eprintln!("built {}", output.display());

    let verbose = process::output(compiler.command("rustc").arg("-vV"))?;
    let llvm = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("unknown");
    Ok(Tools {
        rustc: verbose.lines().next().unwrap_or("unknown").to_owned(),
        cargo: process::output(compiler.command("cargo").arg("--version"))?,
        bpf_linker: process::output(Command::new(&linker).arg("--version"))?,
        llvm: llvm.to_owned(),
    })
}

fn rust_flags() -> Vec<String> {
    let mut flags = vec![
        // The registers of the traced machine, which decide where a call's arguments are.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        // 32-bit operations and all jumps (Linux 5.1): fewer instructions on the hot path.
        "-Ctarget-cpu=v3".to_owned(),
        // BTF is made from debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    // File names reach the object through BTF line information: keep the build machine's own folders out, so
    // that the same sources give the same object wherever they are.
    let cargo_home = env::var_os("CARGO_HOME")
        .map_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cargo"), PathBuf::from);
    let mut remap = |from: &Path, to: &str| {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    };
    remap(&workspace::root(), "sandbox-trace");
    for registry in fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten().flatten() {
        remap(&registry.path(), "cargo");
    }
    flags
}
