//! `test`: every check and every test, in three tiers.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    build_ebpf, docs, msrv, process, provenance,
    setup::{self, Purpose},
    workspace,
};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which tests; all when not given.
    #[arg(long = "tier", value_enum)]
    tiers: Vec<Tier>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Formatting, lints, unit and snapshot tests: no root.
    Pure,
    /// This machine's kernel with real runtimes.
    Host,
    /// A guest with AppArmor.
    Vm,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    let all = [Tier::Pure, Tier::Host, Tier::Vm];
    let tiers = if args.tiers.is_empty() { &all[..] } else { &args.tiers };
    let on_kernels = tiers.contains(&Tier::Host) || tiers.contains(&Tier::Vm);
    if on_kernels && !nix::unistd::geteuid().is_root() {
        bail!("the host and vm tiers need root; `--tier pure` does not");
    }
    setup::ensure(&[Purpose::Build])?;
    if tiers.contains(&Tier::Pure) {
        setup::ensure(&[Purpose::Docs, Purpose::Deny])?;
    }
    if on_kernels {
        setup::ensure(&[Purpose::Test, Purpose::Ebpf])?;
    }

    let mut tally = Tally::default();
    tally.check("the eBPF object is current", provenance::check());
    // From here on the object is the one that these sources give, not the one that somebody checked in.
    let object = if on_kernels { tally.value("the eBPF object builds from source", rebuild()) } else { None };
    let environment = Environment { object, binary: None };

    if tiers.contains(&Tier::Pure) {
        tally.check("formatting", environment.run(&["fmt", "--all", "--check"]));
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        tally.check("lints", environment.run(&clippy));
        tally.msrv(msrv::check());
        tally.check("man pages and completions", documents());
        tally.check("licences, bans and sources of the dependencies", dependencies());
        tally.skip(
            "advisories on the dependencies",
            "their database is on the network: cargo deny check advisories",
        );
        tally.tests(
            "pure tests",
            environment.test(&["test", "--workspace", "--exclude", "sandbox-trace-tests", "--no-fail-fast"]),
        );
    } else {
        tally.skip("pure tier", "not asked for with --tier");
    }
    if on_kernels {
        tally.kernel_tiers(environment, tiers);
    }
    for (tier, name) in [(Tier::Host, "host tier"), (Tier::Vm, "vm tier")] {
        if !tiers.contains(&tier) {
            tally.skip(name, "not asked for with --tier");
        }
    }
    tally.finish()
}

fn rebuild() -> Result<PathBuf> {
    let object = workspace::target_dir().join("ebpf/sandbox-trace.bpf.o");
    build_ebpf::build(&object)?;
    Ok(object)
}

/// What `cargo xtask docs` writes, in a folder that goes away.
fn documents() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("docs");
    docs::write(&folder)?;
    docs::check(&folder)
}

/// The dependencies against `deny.toml`.
fn dependencies() -> Result<()> {
    let program = setup::find_cargo_program("cargo-deny").context("cargo-deny is missing")?;
    let checks = ["--locked", "check", "bans", "licenses", "sources"];
    process::run(Command::new(program).args(checks).current_dir(workspace::root()))
}

/// What the tests are told.
#[derive(Debug)]
struct Environment {
    /// The rebuilt eBPF object.
    object: Option<PathBuf>,
    /// The product's binary.
    binary: Option<PathBuf>,
}

impl Environment {
    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(args).current_dir(workspace::root());
        if let Some(object) = &self.object {
            command.env("SANDBOX_TRACE_BPF_OBJECT", object);
        }
        if let Some(binary) = &self.binary {
            command.env("SANDBOX_TRACE_BIN", binary);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        process::run(&mut self.cargo(args))
    }

    /// Runs `cargo test`, shows what it says and counts what its closing lines count.
    fn test(&self, args: &[&str]) -> Result<Counts> {
        let mut command = self.cargo(args);
        let shown = process::display(&command);
        eprintln!("$ {shown}");
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("can't run `{shown}`"))?;
        let mut counts = Counts::default();
        let output = child.stdout.take().context("cargo test has no output")?;
        for line in std::io::BufRead::lines(std::io::BufReader::new(output)) {
            let line = line?;
            println!("{line}");
            counts.add(&line);
        }
        let status = child.wait()?;
        // A test program that crashed or did not compile has no closing line to count.
        if !status.success() && counts.failed == 0 {
            bail!("`{shown}` failed: {status}");
        }
        Ok(counts)
    }

    fn build_binary(&mut self) -> Result<()> {
        self.run(&["build", "--release", "--package", "sandbox-trace"])?;
        self.binary = Some(workspace::target_dir().join("release/sandbox-trace"));
        Ok(())
    }
}

/// The test programs of a tier, by the name that they begin with.
fn programs(prefix: &str) -> Result<Vec<String>> {
    let dir: &Path = &workspace::root().join("tests/tests");
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .with_context(|| format!("can't list {}", dir.display()))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    Ok(names)
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    /// Adds what a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …` counts.
    fn add(&mut self, line: &str) {
        let Some(line) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match *what {
                "passed;" => self.passed += number,
                "failed;" => self.failed += number,
                "ignored;" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// What passed, failed and was skipped so far.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    failures: Vec<String>,
    skips: Vec<String>,
}

impl Tally {
    fn value<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                self.counts.passed += 1;
                Some(value)
            }
            Err(error) => {
                self.counts.failed += 1;
                self.failures.push(format!("{what}: {error:#}"));
                None
            }
        }
    }

    fn check(&mut self, what: &str, result: Result<()>) {
        self.value(what, result);
    }

    fn tests(&mut self, what: &str, result: Result<Counts>) {
        match result {
            Ok(counts) => {
                self.counts.passed += counts.passed;
                self.counts.failed += counts.failed;
                self.counts.skipped += counts.skipped;
                if counts.failed > 0 {
                    self.failures.push(format!("{what}: {} failed, see above", counts.failed));
                }
                if counts.skipped > 0 {
                    self.skips.push(format!("{what}: {} that run by name only", counts.skipped));
                }
            }
            Err(error) => self.check(what, Err(error)),
        }
    }

    fn skip(&mut self, what: &str, why: &str) {
        self.counts.skipped += 1;
        self.skips.push(format!("{what}: {why}"));
    }

    fn msrv(&mut self, result: Result<msrv::Tried>) {
        let what = concat!("compiles with Rust ", env!("CARGO_PKG_RUST_VERSION"));
        match result {
            Ok(msrv::Tried::Newer(here)) => self.skip(what, &format!("it is not installed; this is {here}")),
            other => self.check(what, other.map(drop)),
        }
    }

    /// The end-to-end tests: one after the other, as each starts daemons and guests of its own.
    fn kernel_tiers(&mut self, mut environment: Environment, tiers: &[Tier]) {
        if self.value("the binary builds", environment.build_binary()).is_none() {
            return;
        }
        for (tier, prefix) in [(Tier::Host, "host_"), (Tier::Vm, "vm_")] {
            if !tiers.contains(&tier) {
                continue;
            }
            let Some(names) = self.value("the list of test programs", programs(prefix)) else { continue };
            let mut args = vec!["test", "--package", "sandbox-trace-tests", "--no-fail-fast"];
            for name in &names {
                args.extend(["--test", name]);
            }
            args.extend(["--", "--test-threads=1"]);
            self.tests(&format!("{prefix}* tests"), environment.test(&args));
        }
    }

    /// Names what was skipped and what failed; the last line is the summary.
    fn finish(self) -> Result<()> {
        println!();
        for skip in &self.skips {
            println!("skipped: {skip}");
        }
        for failure in &self.failures {
            println!("FAILED: {failure}");
        }
        let Counts { passed, failed, skipped } = self.counts;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} failed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn closing_lines_are_counted_and_nothing_else() {
        let mut counts = Counts::default();
        counts.add("test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s");
        counts.add(
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        );
        counts.add("9 passed; 9 failed;");
        assert_eq!((counts.passed, counts.failed, counts.skipped), (7, 2, 1));
    }
}
