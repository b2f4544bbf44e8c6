//! Load: nothing is lost and nothing is miscounted, and what recording costs beside not recording and beside strace.

use std::{ffi::OsStr, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use sandbox_trace_tests::{
    command,
    recorded::{record, recorder},
};

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const CALLS: u64 = 1_000_000;
const OPENS: u64 = 20_000;
const PROCESSES: u64 = 4;

#[test]
fn a_million_calls_are_counted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // From all processors at once: the counters are one a processor.
    let script = "for i in 1 2 3 4; do \"$0\" getppid \"$1\" & done; wait";
    let each = (CALLS / PROCESSES).to_string();
    let recorded = record(dir.path(), ["sh", "-c", script, WORKLOAD, &each])?;
    let call = recorded.call("x86_64", "getppid").context("no getppid")?;
    // The shell asks once for its own parent.
    let count = call["count"].as_u64().context("no count")?;
    ensure!((CALLS..CALLS + 10).contains(&count), "{count}");
    Ok(())
}

#[test]
fn twenty_thousand_files_are_all_there() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let files = fs::canonicalize(dir.path())?.join("files");
    let each = OPENS / PROCESSES;
    for process in 0..PROCESSES {
        let folder = files.join(process.to_string());
        command::succeed(Command::new(WORKLOAD).arg("files").arg(folder).arg(each.to_string()))?;
    }
    let script = "for i in 0 1 2 3; do \"$0\" opens \"$1/$i\" \"$2\" & done; wait";
    let each_text = each.to_string();
    let line: [&OsStr; 6] = [
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        WORKLOAD.as_ref(),
        files.as_ref(),
        each_text.as_ref(),
    ];
    let recorded = record(dir.path(), line)?;
    let found = recorded.files_below(&files)?;
    for process in 0..PROCESSES {
        for file in 0..each {
            let path = format!("{process}/{file}").into_bytes();
            let access = found.get(&(path, None)).with_context(|| format!("no {process}/{file}"))?;
            ensure!(access.len() == 1 && access.iter().all(|a| a.letters == "r"), "{access:?}");
        }
    }
    ensure!(found.len() as u64 == OPENS, "{} paths", found.len());
    Ok(())
}

/// What is measured: the workload's name and arguments, and the most that recording may multiply it by.
const MEASURED: [(&str, &[&str]); 2] =
    [("300,000 getppid", &["getppid", "300000"]), ("20,000 open+read", &["reopen", "DIR", "20000"])];
const ROUNDS: usize = 3;
const AT_MOST: f64 = 3.0;

/// The bounds are generous, for a machine that does other things beside; the table is what is to be read.
#[test]
fn recording_costs_less_than_strace() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let strace = command::require("strace")?;
    command::succeed(Command::new(WORKLOAD).arg("files").arg(dir.path()).arg("1"))?;
    println!(
        "CPU time, median of {ROUNDS}; `recorded` is the workload's own, `in all` has the recorder's start and end too"
    );
    println!("{:<20} {:>10} {:>17} {:>17} {:>18}", "", "untraced", "recorded", "in all", "strace -f -c");
    let mut failures = Vec::new();
    for (name, arguments) in MEASURED {
        let folder = dir.path().display().to_string();
        let arguments: Vec<&str> =
            arguments.iter().map(|a| if *a == "DIR" { folder.as_str() } else { a }).collect();
        let line: Vec<&str> = [WORKLOAD].into_iter().chain(arguments).collect();
        let (mut plain, mut recorded, mut in_all, mut traced) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            plain.push(cpu_time(Command::new(WORKLOAD).args(&line[1..]))?);
            let file = dir.path().join("measured.json");
            in_all.push(cpu_time(&mut recorder(&file, &[], &line)?)?);
            recorded.push(recorded_time(&file)?);
            let mut with_strace = Command::new(&strace);
            with_strace.args(["-f", "-c", "-o", "/dev/null"]).args(&line);
            traced.push(cpu_time(&mut with_strace)?);
        }
        let [plain, recorded, in_all, traced] = [plain, recorded, in_all, traced].map(median);
        let ratio = |time: Duration| time.as_secs_f64() / plain.as_secs_f64();
        println!(
            "{name:<20} {:>7} ms {:>7} ms {:>5.2}x {:>7} ms {:>5.2}x {:>7} ms {:>6.1}x",
            plain.as_millis(),
            recorded.as_millis(),
            ratio(recorded),
            in_all.as_millis(),
            ratio(in_all),
            traced.as_millis(),
            ratio(traced)
        );
        if ratio(recorded) >= AT_MOST || recorded >= traced {
            failures.push(format!("{name}: {:.2} times the CPU time", ratio(recorded)));
        }
    }
    ensure!(failures.is_empty(), "{failures:?}");
    Ok(())
}

/// CPU time of a command and of all that it waited for.
fn cpu_time(command: &mut Command) -> Result<Duration> {
    let of_children = || -> Result<i64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds())
    };
    let before = of_children()?;
    command::succeed(command)?;
    Ok(Duration::from_micros(u64::try_from(of_children()? - before)?))
}

/// CPU time of the recorded command alone, as its cgroup counts it: the recorder's start is no cost of the calls.
fn recorded_time(file: &Path) -> Result<Duration> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    json["resources"]["cpu_usec"].as_u64().map(Duration::from_micros).context("no CPU time")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
