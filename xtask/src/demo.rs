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

/// Debian's own: one from a version manager lies in a home folder, which no profile should name.
const PYTHON: &str = "/usr/bin/python3";

/// Where the agent works: a folder for temporary files, so that the profile generalises its random names.
const WORK: &str = "/tmp/sandbox-trace-demo";

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    setup::ensure(&[Purpose::Demo])?;
    process::run(
        Command::new("cargo")
            .args(["build", "--release", "--package", "sandbox-trace"])
            .current_dir(workspace::root()),
    )?;
    let demo = Demo::new(&args.output, args.rounds)?;
    let steps: [(&str, &dyn Fn() -> Result<()>); 8] = [
        ("record the agent", &|| demo.record()),
        ("write a seccomp profile", &|| demo.emit_seccomp()),
        ("write an AppArmor profile", &|| demo.emit_apparmor()),
        ("verify: nothing needed is blocked", &|| demo.verify()),
        ("the agent works under the filter", &|| demo.run_confined()),
        ("unshare is denied under the filter", &|| demo.attack("unshare")),
        ("mount is denied under the filter", &|| demo.attack("mount")),
        ("ptrace is denied under the filter", &|| demo.attack("ptrace")),
    ];
    let mut failure = None;
    let mut table = String::new();
    for (what, step) in steps {
        // Each step needs the files of those before it.
        let outcome = match &failure {
            Some(_) => "not tried",
            None => match step() {
                Ok(()) => "ok",
                Err(error) => {
                    failure = Some(error);
                    "FAILED"
                }
            },
        };
        table += &format!("  {what:<38} {outcome}\n");
    }
    println!("\n{table}");
    if let Some(error) = failure {
        return Err(error);
    }
    println!("{}", demo.output.display());
    println!("  recording.json     what the agent did");
    println!("  seccomp.json       the system calls that it needs");
    println!("  apparmor.profile   the files, sockets and capabilities that it needs");
    Ok(())
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

    /// The product, as root: recording needs it, and the agent must run as it was recorded.
    fn product(&self, arg: &str) -> Result<Command> {
        let mut command = as_root("env")?;
        command.arg(&self.binary).arg(arg);
        Ok(command)
    }

    fn agent(&self, command: &mut Command) {
        command.args(["--", PYTHON]).arg(self.file("agent/agent.py"));
    }

    fn work(&self, mut command: Command) -> Result<()> {
        self.agent(&mut command);
        process::run(command.arg("--workdir").arg(WORK).args(["--rounds", &self.rounds]))
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

    /// Under the filter, and in a mount namespace of its own: the mount attack would change this machine if it
    /// worked.
    fn confined(&self) -> Result<Command> {
        let mut command = as_root("unshare")?;
        command.arg("--mount").arg(&self.binary).args(["run", "--seccomp"]).arg(self.file("seccomp.json"));
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

fn as_root(program: &str) -> Result<Command> {
    if nix::unistd::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = process::find("sudo") else {
        bail!("recording with eBPF needs root, and there is no sudo: run this as root");
    };
    let mut command = Command::new(sudo);
    command.arg(program);
    Ok(command)
}
