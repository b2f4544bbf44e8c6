//! How often facts happened, when, and when a run stopped teaching.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    recorded::{Recorded, record_with_output, recorder},
};
use serde_json::Value;

const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("an odd temporary folder")
}

fn number(fact: &Value, key: &str) -> Result<u64> {
    fact[key].as_u64().with_context(|| format!("no {key} in {fact}"))
}

/// Records a workload; gives the recording and what the recorder said.
fn record(dir: &Path, work: &[&str]) -> Result<(Recorded, String)> {
    let (recorded, output) = record_with_output(dir, std::iter::once(&WORKLOAD).chain(work))?;
    Ok((recorded, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The counts of the accesses to files below a folder.
fn counts_below(recorded: &Recorded, folder: &str) -> Result<Vec<u64>> {
    let below =
        |file: &&Value| file["path"].as_str().is_some_and(|p| p.starts_with(folder) && !p.ends_with('/'));
    recorded.list("files").iter().filter(below).map(|file| number(file, "count")).collect()
}

/// A folder with `n` files, that the recorder sees by the same name.
fn files(n: u64, kind: &str) -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?.join("files");
    command::succeed(std::process::Command::new(WORKLOAD).args([kind, text(&folder)?, &n.to_string()]))?;
    Ok((dir, folder))
}

#[test]
fn calls_and_their_arguments_are_counted_exactly() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (recorded, _) = record(dir.path(), &["getppid", "1000000"])?;
    let call = recorded.call("x86_64", "getppid").context("no getppid")?;
    ensure!(number(call, "count")? == 1_000_000, "{call}");
    ensure!(number(call, "last_ms")? >= number(call, "first_ms")?, "{call}");
    let (recorded, _) = record(dir.path(), &["fcntl", "100000"])?;
    let call = recorded.call("x86_64", "fcntl").context("no fcntl")?;
    let count = number(call, "count")?;
    ensure!((100_000..100_100).contains(&count), "{call}");
    for call in recorded.list("syscalls").iter().filter(|call| call.get("args").is_some()) {
        let tuples = call["args"].as_array().context("no list")?;
        let sum: u64 = tuples.iter().map(|tuple| number(tuple, "count")).sum::<Result<u64>>()?;
        ensure!(sum == number(call, "count")?, "the tuples are {sum} of {call}");
        for tuple in tuples {
            ensure!(number(tuple, "first_ms")? >= number(call, "first_ms")?, "{call}");
            ensure!(number(tuple, "last_ms")? <= number(call, "last_ms")?, "{call}");
        }
    }
    Ok(())
}

#[test]
fn opens_by_several_processes_add_up() -> Result<()> {
    const PROCESSES: u64 = 4;
    const EACH: u64 = 20_000;
    // One file, by one name.
    let (dir, folder) = files(1, "files")?;
    let script = "for i in 1 2 3 4; do \"$0\" reopen \"$1\" 20000 & done; wait";
    let file = dir.path().join("recording.json");
    command::succeed(&mut recorder(&file, &[], ["sh", "-c", script, WORKLOAD, text(&folder)?])?)?;
    let recorded = Recorded::load(&file)?;
    let counts = counts_below(&recorded, text(&folder)?)?;
    println!("one file: {counts:?}");
    let [count] = counts.as_slice() else { anyhow::bail!("{counts:?}") };
    // Where two processors meet the same fact for the first time in the same instant, one of them is not counted.
    ensure!((PROCESSES * EACH - 8..=PROCESSES * EACH).contains(count), "{count}");
    // Different files, shared out.
    let (dir, folder) = files(2000, "tree")?;
    let (recorded, _) = record(dir.path(), &["visit", text(&folder)?, "2000", "25", "4"])?;
    let counts = counts_below(&recorded, text(&folder)?)?;
    let wrong: Vec<&u64> = counts.iter().filter(|count| **count != 25).collect();
    ensure!(counts.len() == 2000 && wrong.is_empty(), "{} files, wrong: {wrong:?}", counts.len());
    Ok(())
}

#[test]
fn facts_that_lost_their_place_in_the_kernel_keep_their_counts() -> Result<()> {
    const PATHS: usize = 200_000;
    let (dir, folder) = files(PATHS as u64, "links")?;
    let (recorded, _) = record(dir.path(), &["visit", text(&folder)?, &PATHS.to_string(), "2", "1"])?;
    let counts = counts_below(&recorded, text(&folder)?)?;
    let wrong = counts.iter().filter(|count| **count != 2).count();
    println!("{} paths, {wrong} wrong", counts.len());
    ensure!(counts.len() == PATHS && wrong == 0, "{} paths, {wrong} of them not 2", counts.len());
    Ok(())
}

#[test]
fn last_sights_are_later_than_first_ones_and_nothing_new_is_seen_late() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let known = dir.path().join("known");
    fs::write(&known, "x")?;
    // Learns in the first moments, then does the same for two seconds.
    let script =
        "i=0; while [ $i -lt 20 ]; do i=$((i + 1)); /bin/cat \"$0\" >/dev/null; /bin/sleep 0.1; done";
    let (recorded, output) = record_with_output(dir.path(), ["/bin/sh", "-c", script, text(&known)?])?;
    let path = fs::canonicalize(&known)?;
    let file = recorded.list("files").iter().find(|f| f["path"].as_str() == path.to_str());
    let file = file.context("the file is missing")?;
    let (count, first, last) = (number(file, "count")?, number(file, "first_ms")?, number(file, "last_ms")?);
    ensure!(count == 20, "{file}");
    ensure!(last >= first + 1500 && last <= number(&recorded.json, "duration_ms")?, "{file}");
    for list in ["syscalls", "files", "network", "capabilities"] {
        for fact in recorded.list(list) {
            ensure!(number(fact, "count")? > 0, "{fact}");
            ensure!(number(fact, "last_ms")? >= number(fact, "first_ms")?, "{fact}");
        }
    }
    let points = recorded.list("saturation");
    ensure!(!points.is_empty() && points.len() <= 64, "{} points", points.len());
    let keys = ["syscalls", "paths", "network", "capabilities"];
    for pair in points.windows(2) {
        ensure!(number(&pair[1], "ms")? > number(&pair[0], "ms")?, "{pair:?}");
        for key in keys {
            ensure!(number(&pair[1], key)? >= number(&pair[0], key)?, "{pair:?}");
        }
        ensure!(keys.iter().any(|key| pair[1][key] != pair[0][key]), "nothing changed: {pair:?}");
    }
    let all = points.last().context("no points")?;
    for (key, list) in keys.iter().zip(["syscalls", "files", "network", "capabilities"]) {
        ensure!(number(all, key)? == recorded.list(list).len() as u64, "{key}: {all}");
    }
    // The end of the command alone is new in the second half.
    let middle = number(&recorded.json, "duration_ms")? / 2;
    let early = points.iter().rev().find(|p| p["ms"].as_u64().is_some_and(|ms| ms < middle));
    let early = number(early.context("all of it came late")?, "paths")?;
    ensure!(number(all, "paths")? <= early + 1, "{points:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("the last new fact came at"), "{said}");
    Ok(())
}

#[test]
fn a_run_that_goes_on_teaching_says_so() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?.join("new");
    fs::create_dir(&folder)?;
    let script = "i=0; while [ $i -lt 20 ]; do i=$((i + 1)); echo x >\"$0/$i\"; /bin/sleep 0.05; done";
    let (recorded, output) = record_with_output(dir.path(), ["/bin/sh", "-c", script, text(&folder)?])?;
    let points = recorded.list("saturation");
    ensure!(points.len() > 10, "{points:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("came in its last quarter: a longer run may teach more"), "{said}");
    Ok(())
}
