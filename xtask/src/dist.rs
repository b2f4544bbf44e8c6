//! `dist`: what is released, into one folder: an archive, a Debian package, the bill of materials, checksums. The same
//! sources give the same files: no time, no path and no order of this machine is in them (`docs/building.md`).

mod third_party;

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{
    docs, process,
    setup::{self, Purpose},
    workspace,
};

const NAME: &str = "sandbox-trace";
const BILL: &str = "sandbox-trace.cdx.json";
const THIRD_PARTY: &str = "THIRD-PARTY-LICENSES";

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it all goes [default: target/dist].
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Take this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Build, Purpose::Dist])?;
    let output = args.output.clone().unwrap_or_else(|| workspace::target_dir().join("dist"));
    if output.exists() {
        fs::remove_dir_all(&output).with_context(|| format!("can't empty {}", output.display()))?;
    }
    fs::create_dir_all(&output)?;
    let output = output.canonicalize()?;
    // A target folder as cargo-deb knows them.
    let work = tempfile::tempdir_in(&output)?;
    let stage = work.path().join("release");
    fs::create_dir(&stage)?;

    let binary = match &args.binary {
        Some(file) => file.clone(),
        None => build()?,
    };
    process::run(Command::new("strip").arg("-o").arg(stage.join(NAME)).arg(&binary))?;
    docs::write(&stage.join("docs"))?;
    docs::check(&stage.join("docs"))?;
    // As Debian's policy has them; -n leaves their time out.
    process::run(Command::new("gzip").args(["-9", "-n", "-r"]).arg(stage.join("docs/man")))?;
    bill_of_materials(&stage.join(BILL))?;
    third_party::write(NAME, &stage.join(THIRD_PARTY))?;
    for file in [
        "packaging/sandbox-trace@.service",
        "packaging/copyright",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "README.md",
    ] {
        let source = workspace::root().join(file);
        let name = source.file_name().context("a file without a name")?;
        fs::copy(&source, stage.join(name)).with_context(|| format!("can't copy {file}"))?;
    }
    debian_package(work.path(), &output)?;
    archive(&stage, &output)?;
    fs::copy(stage.join(BILL), output.join(BILL))?;
    drop(work);
    checksums(&output)?;
    eprintln!("dist: {}", output.display());
    Ok(())
}

/// Builds the binary without the names of this machine's folders, in a target folder of its own: other flags would have
/// everything built anew next time.
fn build() -> Result<PathBuf> {
    let target = workspace::target_dir().join("dist-build");
    let home = env::var_os("CARGO_HOME").map_or_else(
        || env::home_dir().map(|home| home.join(".cargo")).context("no home folder"),
        |home| Ok(PathBuf::from(home)),
    )?;
    let root = workspace::root();
    let names = [(&root, "/src"), (&target, "/target"), (&home, "/cargo")];
    let (mut rust, mut c) = (Vec::new(), String::new());
    for (folder, name) in names {
        let shown = folder.to_string_lossy();
        ensure!(!shown.contains(char::is_whitespace), "C's flags can't name a folder with a space: {shown}");
        rust.push(format!("--remap-path-prefix={}={name}", folder.display()));
        let _ = write!(c, "-ffile-prefix-map={}={name} ", folder.display());
    }
    process::run(
        Command::new("cargo")
            .args(["build", "--release", "--locked", "--package", NAME])
            .env("CARGO_TARGET_DIR", &target)
            // Flags are told apart by this byte.
            .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
            .env("CFLAGS", c.trim())
            .env("SOURCE_DATE_EPOCH", workspace::release_time()?)
            .current_dir(&root),
    )?;
    Ok(target.join("release").join(NAME))
}

fn cargo_program(name: &str) -> Result<Command> {
    let program = setup::find_cargo_program(name).with_context(|| format!("{name} is missing"))?;
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).env("SOURCE_DATE_EPOCH", workspace::release_time()?);
    Ok(command)
}

/// Writes which crates are in the binary. The program writes one file into each package of the workspace.
fn bill_of_materials(file: &Path) -> Result<()> {
    // A name of its own, so that nothing that is there is taken for one of them.
    let name = format!("bill-{}", std::process::id());
    let mut command = cargo_program("cargo-cyclonedx")?;
    command.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]);
    let made = process::run(command.args(["--override-filename", &name]));
    let mut bill = None;
    for package in [NAME, "sandbox-trace-ebpf", "tests", "xtask"] {
        let path = workspace::root().join(package).join(format!("{name}.json"));
        if package == NAME {
            bill = fs::read_to_string(&path).ok();
        }
        let _ = fs::remove_file(path);
    }
    made?;
    let bill = bill.context("cargo-cyclonedx wrote nothing")?;
    // Packages of this workspace are named by where they lie.
    fs::write(file, bill.replace(&workspace::root().display().to_string(), "/src"))?;
    Ok(())
}

fn debian_package(target: &Path, output: &Path) -> Result<()> {
    let mut command = cargo_program("cargo-deb")?;
    command.args(["--package", NAME, "--no-build", "--no-strip", "--output"]).arg(output);
    process::run(command.env("CARGO_TARGET_DIR", target))
}

/// Everything in one folder, for machines without Debian's packages.
fn archive(stage: &Path, output: &Path) -> Result<()> {
    let name = format!("{NAME}-{}-{}-linux", env!("CARGO_PKG_VERSION"), env::consts::ARCH);
    let file = output.join(format!("{name}.tar.gz"));
    let time = format!("--mtime=@{}", workspace::release_time()?);
    let place = format!("--transform=s,^[.],{name},");
    process::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u=rwX,go=rX", "--use-compress-program=gzip -9 -n", &time, &place, "--file"])
            .arg(&file)
            .args(["--directory".as_ref(), stage.as_os_str(), ".".as_ref()]),
    )
}

/// A file as `sha256sum --check` takes it.
fn checksums(folder: &Path) -> Result<()> {
    let mut names: Vec<String> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    ensure!(names.len() == 3, "{} has something else: {names:?}", folder.display());
    let mut sums = String::new();
    for name in names {
        let digest = Sha256::digest(fs::read(folder.join(&name))?);
        let hex = digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        let _ = writeln!(sums, "{hex}  {name}");
    }
    fs::write(folder.join("SHA256SUMS"), sums).context("can't write the checksums")
}
