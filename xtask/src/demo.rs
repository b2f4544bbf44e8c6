//! `demo`: the whole flow on this machine with a real agent: record, emit, verify, run confined, attack.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    setup::{self, Purpose},
    workspace,
};

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the recording, the profiles and the agent's files go.
    #[arg(long, short, default_value = "demo-output")]
    output: PathBuf,
    /// How many rounds the agent works.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

const ATTACKS: [&str; 3] = ["unshare", "mount", "ptrace"];
/// Debian's own: one from a version manager lies in a home folder, which no profile should name.
const PYTHON: &str = "/usr/bin/python3";

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Demo])?;
    process::run(
        Command::new("cargo")
            .args(["build", "--release", "--package", "sandbox-trace"])
            .current_dir(workspace::root()),
    )?;
    let demo = Demo::new(&args.output, args.rounds)?;
    let rows = [
        ("record the agent", demo.record()),
        ("write a seccomp profile", demo.emit_seccomp()),
        ("write an AppArmor profile", demo.emit_apparmor()),
        ("verify: nothing needed is blocked", demo.verify()),
        ("the agent works under the filter", demo.run_confined()),
    ];
    let mut table: Vec<(String, Result<()>)> =
        rows.into_iter().map(|(what, result)| (what.to_owned(), result)).collect();
    for name in ATTACKS {
        table.push((format!("{name} is denied under the filter"), demo.attack(name)));
    }
    report(&demo.output, &table)
}

struct Demo {
    output: PathBuf,
    rounds: String,
    binary: PathBuf,
}

impl Demo {
    fn new(output: &Path, rounds: u32) -> Result<Self> {
        let agent = output.join("agent");
        fs::create_dir_all(&agent).with_context(|| format!("can't make {}", agent.display()))?;
        for name in ["agent.py", "config.json"] {
            fs::copy(workspace::root().join("profiles/demo-agent").join(name), agent.join(name))?;
        }
        Ok(Self {
            // AppArmor rules are about absolute paths.
            output: output.canonicalize()?,
            rounds: rounds.to_string(),
            binary: workspace::target_dir().join("release/sandbox-trace"),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.output.join(name)
    }

    /// The product, as root: recording needs it, and so does what the agent's run is compared with.
    fn product(&self, arg: &str) -> Result<Command> {
        if nix::unistd::geteuid().is_root() {
            let mut command = Command::new(&self.binary);
            command.arg(arg);
            return Ok(command);
        }
        let Some(sudo) = process::find("sudo") else {
            bail!("recording with eBPF needs root, and there is no sudo: run this as root");
        };
        let mut command = Command::new(sudo);
        command.arg(&self.binary).arg(arg);
        Ok(command)
    }

    fn agent(&self, command: &mut Command) {
        command.args(["--", PYTHON]).arg(self.file("agent/agent.py"));
    }

    fn work(&self, mut command: Command) -> Result<()> {
        self.agent(&mut command);
        process::run(command.arg("--workdir").arg(self.file("work")).args(["--rounds", &self.rounds]))
    }

    fn record(&self) -> Result<()> {
        let mut command = self.product("record")?;
        command.arg("-o").arg(self.file("recording.json"));
        self.work(command)
    }

    fn emit_seccomp(&self) -> Result<()> {
        process::run(
            self.product("emit-seccomp")?
                .arg(self.file("recording.json"))
                .args(["--runtime", "none", "-o"])
                .arg(self.file("seccomp.json")),
        )
    }

    fn emit_apparmor(&self) -> Result<()> {
        process::run(
            self.product("emit-apparmor")?
                .arg(self.file("recording.json"))
                .args(["--name", "demo-agent", "-o"])
                .arg(self.file("apparmor.profile")),
        )
    }

    fn verify(&self) -> Result<()> {
        process::run(
            self.product("verify")?
                .arg(self.file("recording.json"))
                .arg("--seccomp")
                .arg(self.file("seccomp.json"))
                .arg("--apparmor")
                .arg(self.file("apparmor.profile")),
        )
    }

    fn confined(&self) -> Result<Command> {
        let mut command = self.product("run")?;
        command.arg("--seccomp").arg(self.file("seccomp.json"));
        Ok(command)
    }

    fn run_confined(&self) -> Result<()> {
        self.work(self.confined()?)
    }

    fn attack(&self, name: &str) -> Result<()> {
        let mut command = self.confined()?;
        self.agent(&mut command);
        process::run(command.args(["--attack", name]))
    }
}

fn report(output: &Path, table: &[(String, Result<()>)]) -> Result<()> {
    println!("\n{}", output.display());
    println!("  recording.json     what the agent did");
    println!("  seccomp.json       the system calls that it needs");
    println!("  apparmor.profile   the files, sockets and capabilities that it needs\n");
    for (what, result) in table {
        println!("  {:<42} {}", what, if result.is_ok() { "ok" } else { "FAILED" });
    }
    println!();
    let failed: Vec<String> = table
        .iter()
        .filter_map(|(what, result)| Some(format!("{what}: {:#}", result.as_ref().err()?)))
        .collect();
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}
