//! Holds the recorder against the expectations of `sandbox_trace_tests::checks` on the kernel that it runs on: `checks`,
//! with the other test programs in the same folder. `checks calls` leaves out the operations on files. Few recordings, each with many workloads: in a guest without
//! hardware virtualisation it is the loading of the programs that takes the time.

use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use sandbox_trace_tests::{
    checks::{
        calls,
        files::{self, Prepared},
        witness,
    },
    recorded::{Recorded, record_with_output},
};

fn main() -> ExitCode {
    let mut verdicts = Verdicts { failed: 0 };
    match programs() {
        Ok(programs) => {
            // The edition for old kernels finds what `mprotect` makes executable on old kernels only.
            let whole = std::env::args().nth(1).is_none_or(|only| only != "calls");
            let recorded =
                verdicts.of("one recording of all workloads", Everything::record(&programs, whole));
            if let Some(everything) = recorded {
                everything.check(&programs, whole, &mut verdicts);
            }
            verdicts.of("blocked at the end", calls::blocked_at_the_end(&programs.workload));
            verdicts.of("strace's calls", witnessed());
        }
        Err(error) => drop(verdicts.of::<()>("the test programs", Err(error))),
    }
    if verdicts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Verdicts {
    failed: u32,
}

impl Verdicts {
    /// A line for each check, as soon as it is known.
    fn of<T>(&mut self, name: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                println!("ok      {name}");
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {name}: {error:#}");
                None
            }
        }
    }
}

struct Programs {
    calls: PathBuf,
    fileops: PathBuf,
    workload: PathBuf,
}

fn programs() -> Result<Programs> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("a program without a folder")?;
    let program = |name: &str| folder.join(name);
    Ok(Programs { calls: program("calls"), fileops: program("fileops"), workload: program("workload") })
}

/// All workloads, one after the other, in one recording.
struct Everything {
    recorded: Recorded,
    said: String,
    folder: tempfile::TempDir,
    operations: Prepared,
    mounts: Prepared,
}

impl Everything {
    fn record(programs: &Programs, whole: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let operations = Prepared::new(&programs.fileops)?;
        let mounts = Prepared::new(&programs.fileops)?;
        let script = "calls=$1; run=$2; place=$3; work=$4; shift 4
            $calls i386; $calls signal; $calls arguments; $calls ids $place; $calls network $place
            $run $work; \"$@\"";
        let mut line: Vec<OsString> = ["sh", "-e", "-c", script, "sh"].map(OsString::from).to_vec();
        let run = if whole { format!("{} run", programs.fileops.display()) } else { "true".into() };
        line.extend([programs.calls.clone().into(), run.into(), place(&folder)?.into()]);
        line.push(operations.work().into());
        line.extend(files::mounts_command(&programs.fileops, mounts.work())?);
        let (recorded, output) = record_with_output(operations.outside(), line)?;
        Ok(Self { recorded, said: String::from_utf8(output.stdout)?, folder, operations, mounts })
    }

    fn check(&self, programs: &Programs, whole: bool, verdicts: &mut Verdicts) {
        let Programs { calls, fileops, .. } = programs;
        let recorded = &self.recorded;
        // `calls network` writes one line, then `fileops run` its own.
        let (port, inodes) = self.said.split_once('\n').unwrap_or_default();
        let network = || calls::network(recorded, calls, &place(&self.folder)?, port);
        verdicts.of("32-bit calls", calls::i386(recorded, calls));
        verdicts.of("calls that never return", calls::signal(recorded, calls));
        verdicts.of("arguments", calls::arguments(recorded));
        verdicts.of("ids and capabilities", calls::ids_and_capabilities(recorded, calls));
        verdicts.of("sockets", network());
        if whole {
            verdicts.of("file operations", files::operations(recorded, self.operations.work(), inodes));
            verdicts.of("who did them", files::executables(recorded, self.operations.work(), fileops));
            verdicts.of("mounts of a namespace", files::mounts(recorded, self.mounts.work()));
        }
    }
}

fn place(folder: &tempfile::TempDir) -> Result<PathBuf> {
    Ok(fs::canonicalize(folder.path())?)
}

/// A pipeline of short programs, then threads, seen by the recorder and by strace.
fn witnessed() -> Result<()> {
    let threads = "import threading, time\n\
        ts = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(8)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]";
    let script = "ls / | sort -r | head -n 2 >/dev/null; cat /etc/passwd | wc -l; (exit 3) || true
        exec python3 -I -B -S -c \"$0\"";
    witness::compare(&["sh".as_ref(), "-c".as_ref(), script.as_ref(), threads.as_ref()]).map(drop)
}
