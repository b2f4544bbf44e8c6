//! The workloads in a guest whose kernel enforces both profiles: the script that takes each through its whole way there,
//! and what its traces must say.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::{FRESH, TRAINING, Workload, root};
use crate::vm::{Guest, Kernel, Outcome};

/// Where workloads find what they write: each run starts without.
const FRESH_PLACES: &str = "rm -rf /data/* /data/.??* /tmp/* /dev/shm/*";

/// Boots a guest, takes the workloads through it and gives what it left, once all of them have run.
pub fn run(workloads: &[Workload]) -> Result<Outcome> {
    let mut script = String::from(
        "mkdir -p /dev/shm\nmount -t tmpfs tmpfs /data\nmount -t tmpfs -o mode=1777 tmpfs /dev/shm\n",
    );
    for workload in workloads {
        script += &trial(*workload)?;
    }
    Guest::new(Kernel::V6_1)?.with_root(root::add)?.run(&(script + "exit 0\n"))
}

/// The lines of the script for one workload: a subshell that stops at what fails first.
fn trial(workload: Workload) -> Result<String> {
    let name = workload.name;
    let mut script = format!("mkdir -p /out/{name}\n(\nset -e\ncd /out/{name}\n");
    let mut recordings = String::new();
    for seed in TRAINING {
        let command = workload.command(seed).join(" ");
        write!(recordings, " {seed}.json")?;
        writeln!(
            script,
            "{FRESH_PLACES}\nsandbox-trace record -q -o {seed}.json -- {command} > {seed}.said"
        )?;
    }
    writeln!(script, "sandbox-trace emit-seccomp -q{recordings} --runtime none -o seccomp.json")?;
    writeln!(script, "sandbox-trace emit-apparmor -q{recordings} --name matrix-{name} -o apparmor")?;
    writeln!(script, "sandbox-trace verify -q{recordings} --seccomp seccomp.json --apparmor apparmor")?;
    writeln!(script, "apparmor_parser -r apparmor\nset +e")?;
    // What failed once is not tried again: time in a guest is dear.
    for seed in FRESH {
        let command = workload.command(seed).join(" ");
        writeln!(
            script,
            "{FRESH_PLACES}\ntimeout 60 sandbox-trace run --seccomp seccomp.json --apparmor matrix-{name} -- {command} \
             > fresh-{seed} 2> fresh-{seed}.err\necho $? | tee fresh-{seed}.status | grep -qx 0 || exit"
        )?;
    }
    writeln!(script, ") 2> /out/{name}/log\necho {name}: $(cut -d' ' -f1 /proc/uptime) s\n")?;
    Ok(script)
}

/// Fails unless the workload did its work on each fresh seed, without a denial.
pub fn expect(outcome: &Outcome, workload: Workload) -> Result<()> {
    let name = workload.name;
    let profile = format!("matrix-{name}");
    let denials = outcome.denials(&profile);
    for seed in FRESH {
        let log = || outcome.file(&format!("{name}/log")).unwrap_or_default();
        let status = outcome.file(&format!("{name}/fresh-{seed}.status")).map_err(|_| {
            anyhow::anyhow!("{name} never came to its first run under its profiles:\n{}", log())
        })?;
        let said = outcome.file(&format!("{name}/fresh-{seed}"))?;
        let errors = outcome.file(&format!("{name}/fresh-{seed}.err"))?;
        let context = || format!("{name} on seed {seed}, status {}:\n{errors}\n{denials:#?}", status.trim());
        ensure!(status.trim() == "0", context());
        workload.expect_worked(seed, &said).with_context(context)?;
    }
    // A program may go on without what it was denied, and the next input may not.
    ensure!(denials.is_empty(), "{name} was denied: {denials:#?}");
    Ok(())
}
