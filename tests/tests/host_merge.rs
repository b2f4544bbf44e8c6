//! `merge` as people call it: folders, exit codes, what is stale, and that many recordings take bounded memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use sandbox_trace_tests::{
    command,
    product::{binary, sandbox_trace},
};
use serde_json::{Value, json};

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("an odd temporary folder")
}

fn holds(schema: &str, value: &Value) -> Result<()> {
    let validator = jsonschema::validator_for(&read(&docs("schemas").join(schema))?)?;
    let errors: Vec<String> =
        validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path)).collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(())
}

/// A run on some day of January, which did this with files beside what the sample did.
fn run(folder: &Path, day: u32, files: &[(String, &str)]) -> Result<PathBuf> {
    let mut recording = read(&docs("examples/recording.json"))?;
    recording["started"] = json!(format!("2025-01-{day:02}T00:00:00Z"));
    let list = recording["files"].as_array_mut().context("no files")?;
    for (path, access) in files {
        list.push(json!({"path": path, "access": access, "operations": ["open"], "count": 1,
            "first_ms": 1, "last_ms": 1, "by": [0]}));
    }
    let file = folder.join(format!("{day:02}.json"));
    fs::write(&file, serde_json::to_vec(&recording)?)?;
    Ok(file)
}

fn fails(args: &[&str], code: i32, says: &str) -> Result<()> {
    let mut product = Command::new(binary()?);
    let output = command::run(product.args(args))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code) && said.contains(says),
        "{args:?}: {:?} {said}",
        output.status
    );
    Ok(())
}

#[test]
fn a_folder_of_runs_and_what_the_last_ones_no_longer_did() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let runs = dir.path().join("runs");
    fs::create_dir_all(runs.join("node-1"))?;
    let path = |name: &str| name.to_owned();
    run(&runs, 1, &[(path("/data"), "rw"), (path("/old\u{1b}[31m"), "r")])?;
    run(&runs.join("node-1"), 2, &[(path("/data"), "r")])?;
    let third = run(&runs, 3, &[(path("/data"), "r"), (path("/new"), "r")])?;
    let all = dir.path().join("all.json.zst");
    let plain = dir.path().join("all.json");
    sandbox_trace(["merge", text(&runs)?, "-o", text(&all)?])?;
    sandbox_trace([
        "merge",
        &format!("file://{}", text(&runs)?),
        text(&all)?,
        text(&third)?,
        "-o",
        text(&plain)?,
    ])?;
    let merged = read(&plain)?;
    holds("recording-v1.json", &merged)?;
    ensure!(merged["runs"].as_array().is_some_and(|runs| runs.len() == 3), "{}", merged["runs"]);
    let file = |name: &str| merged["files"].as_array()?.iter().find(|file| file["path"] == name).cloned();
    let data = file("/data").context("no /data")?;
    ensure!(data["accesses"] == json!({"r": "1-2", "rw": "0"}) && data.get("runs").is_none(), "{data}");
    ensure!(file("/new").context("no /new")?["runs"] == "2");

    let stale = sandbox_trace(["merge", text(&all)?, "--json", "--stale", "2"])?;
    let stale: Value = serde_json::from_str(&stale)?;
    holds("stale-v1.json", &stale)?;
    let told: Vec<String> = stale["facts"]
        .as_array()
        .context("no facts")?
        .iter()
        .map(|fact| format!("{} {} {}", fact["kind"], fact["what"], fact["access"]))
        .collect();
    ensure!(told == [r#""file" "/data" "w""#, r#""file" "/old\\x1b[31m" "r""#], "{told:?}");
    let shown = sandbox_trace(["merge", text(&all)?, "--stale", "2"])?;
    ensure!(shown.contains("/old\\x1b[31m r") && !shown.contains('\u{1b}'), "{shown}");
    let last = dir.path().join("last.json");
    sandbox_trace(["merge", text(&all)?, "-o", text(&last)?, "--last", "2", "--stale"])?;
    let last = read(&last)?;
    holds("recording-v1.json", &last)?;
    let left: Vec<&Value> = last["files"].as_array().context("no files")?.iter().collect();
    ensure!(left.iter().any(|file| file["path"] == "/data" && file["access"] == "r"), "{left:?}");
    ensure!(!left.iter().any(|file| file["path"].as_str().is_some_and(|path| path.starts_with("/old"))));

    // What lost something stops it, unless it is said.
    let mut broken = read(&third)?;
    broken["complete"] = json!(false);
    broken["losses"]["ring_full"] = json!(4);
    broken["started"] = json!("2025-01-04T00:00:00Z");
    fs::write(runs.join("broken.json"), serde_json::to_vec(&broken)?)?;
    let out = dir.path().join("out.json");
    fails(&["merge", text(&runs)?, "-o", text(&out)?], 3, "broken.json is incomplete (ring_full 4)")?;
    ensure!(!out.exists(), "half a result");
    sandbox_trace(["merge", text(&runs)?, "-o", text(&out)?, "--allow-incomplete"])?;
    let whole = read(&out)?;
    holds("recording-v1.json", &whole)?;
    ensure!(whole["complete"] == false && whole["losses"]["ring_full"] == 4, "{}", whole["losses"]);
    fails(&["merge", text(&out)?, "-o", text(&plain)?], 3, "incomplete")?;
    fails(&["merge", text(&third)?, "-o", "-", "--stale"], 2, "stdout")?;
    fails(&["merge", text(&third)?], 2, "--output")?;
    fails(&["merge", "ftp://x/y", "-o", text(&out)?], 2, "can't be read from ftp")
}

#[test]
fn memory_grows_with_what_differs_not_with_how_many() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let files: Vec<(String, &str)> =
        (0..3000).map(|n| (format!("/usr/lib/package-{:02}/module-{n:05}.py", n / 100), "r")).collect();
    for folder in ["few", "many/a", "many/b", "many/c", "many/d", "many/e", "many/f"] {
        fs::create_dir_all(dir.path().join(folder))?;
    }
    for day in 1..=8 {
        run(&dir.path().join("few"), day, &files)?;
    }
    for (n, folder) in (0..).zip(["a", "b", "c", "d", "e", "f"]) {
        for day in 1..=28 {
            let own = [files.as_slice(), &[(format!("/tmp/{n}-{day}"), "rw")]].concat();
            run(&dir.path().join("many").join(folder), day, &own)?;
        }
    }
    let mut peaks = Vec::new();
    for (folder, runs) in [("few", 8), ("many", 168)] {
        let out = dir.path().join("out.json");
        sandbox_trace(["merge", "-q", text(&dir.path().join(folder))?, "-o", text(&out)?])?;
        ensure!(read(&out)?["runs"].as_array().is_some_and(|list| list.len() == runs), "{folder}");
        peaks.push(getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    }
    // 21 times as many.
    ensure!(peaks[1] < peaks[0] * 3 / 2, "peaks of {peaks:?} KiB");
    Ok(())
}
