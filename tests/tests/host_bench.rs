//! The benchmark works: a quick run measures every variant, of a recorder that was there and lost nothing. What it costs
//! is not looked at here; a machine that runs tests is too busy for that.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{command, product};
use serde_json::Value;

/// One loop of calls, one program that opens new files, one that starts others, one server.
const NAMES: [&str; 4] = ["W1-getppid", "W2-cold", "W3-spawn", "W5-nginx"];
const VARIANTS: [&str; 6] = ["floor", "floor_exit", "traced", "bystander", "strace", "bpftrace"];

#[test]
fn a_quick_run_measures_every_variant() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("bench.json");
    let only = NAMES.iter().copied().chain(["growth"]).collect::<Vec<_>>().join(",");
    command::succeed(xtask(&["bench", "--quick", "--only", &only, "--json"]).arg(&file).env(
        // The binary under test, not a new build of it.
        "SANDBOX_TRACE_BIN",
        product::binary()?,
    ))?;
    let json: Value = serde_json::from_slice(&fs::read(&file)?)?;
    holds(&json)?;

    ensure!(json["quick"] == true && json["rounds"] == 1, "{json:#}");
    let rows = list(&json["workloads"])?;
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    ensure!(names == NAMES, "{names:?}");
    for row in rows {
        let cells = list(&row["variants"])?;
        let variants: Vec<&str> = cells.iter().filter_map(|cell| cell["variant"].as_str()).collect();
        ensure!(variants == VARIANTS, "{}: {variants:?}", row["name"]);
        for cell in cells {
            measured(cell).with_context(|| format!("{}, {}", row["name"], cell["variant"]))?;
        }
    }
    let growth = &json["growth"];
    let numbers = |what: &str| -> Result<Vec<u64>> {
        let steps = list(&growth[what])?;
        for cell in steps.iter().flat_map(|step| step["variants"].as_array()).flatten() {
            ensure!(cell["variant"] == "traced", "{cell:#}");
            measured(cell)?;
        }
        Ok(steps.iter().filter_map(|step| step["number"].as_u64()).collect())
    };
    ensure!(numbers("paths")? == [1_000, 10_000] && numbers("processes")? == [1, 64], "{growth:#}");
    for (step, paths) in list(&growth["paths"])?.iter().zip([1_000, 10_000]) {
        let recorded = step["variants"][0]["recorders"][0]["paths"].as_u64();
        ensure!(recorded >= Some(paths), "{recorded:?} of {paths} paths");
    }
    // A demand on every loss counter, and each is met; those on time are not for a busy machine.
    let losses: Vec<&Value> = list(&json["demands"])?.iter().filter(|d| d["unit"] == "losses").collect();
    ensure!(losses.len() == NAMES.len() + 4 && losses.iter().all(|d| d["met"] == true), "{losses:#?}");
    Ok(())
}

#[test]
fn a_quick_run_measures_the_commands_that_read_a_recording() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("bench.json");
    command::succeed(
        xtask(&["bench", "--quick", "--only", "analysis", "--json"])
            .arg(&file)
            .env("SANDBOX_TRACE_BIN", product::binary()?),
    )?;
    let json: Value = serde_json::from_slice(&fs::read(&file)?)?;
    holds(&json)?;
    let rows = list(&json["analysis"])?;
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    ensure!(names == ["emit-seccomp", "emit-apparmor", "verify", "merge", "width"], "{names:?}");
    for row in rows {
        ensure!(row["failed"].is_null() && row["seconds"]["median"].as_f64() > Some(0.0), "{row:#}");
        ensure!(row["peak_bytes"].as_u64() > Some(1 << 20), "{row:#}");
    }
    ensure!(list(&json["workloads"])?.is_empty() && list(&json["demands"])?.is_empty(), "{json:#}");
    Ok(())
}

/// A cell with a sample, and with a recorder that reports on itself where there was one.
fn measured(cell: &Value) -> Result<()> {
    let (variant, samples) = (cell["variant"].as_str().context("no variant")?, list(&cell["samples"])?);
    if samples.is_empty() {
        // Another tool may not work on a machine. Then the reason is there.
        let reason = cell["unavailable"].as_str().unwrap_or_default();
        ensure!(variant == "bpftrace" && !reason.is_empty(), "no samples and no reason: {cell:#}");
        return Ok(());
    }
    for key in ["cpu", "cpu_with_tracer", "wall"] {
        let ratio = samples[0][key].as_f64().context("no ratio")?;
        ensure!(ratio > 0.05 && ratio < 10_000.0, "{key} {ratio}");
    }
    let recorders = cell["recorders"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(recorders.len() == usize::from(["traced", "bystander"].contains(&variant)), "{cell:#}");
    for recorder in recorders {
        let losses = recorder["losses"].as_object().context("no losses")?;
        ensure!(!losses.is_empty() && losses.values().all(|n| n == 0), "{losses:?}");
        for key in
            ["load_s", "rss_bytes", "peak_rss_bytes", "peak_rss_at_end_bytes", "maps_bytes", "ring_bytes"]
        {
            ensure!(recorder[key].as_f64() > Some(0.0), "{key}: {recorder:#}");
        }
        ensure!(recorder["peak_rss_bytes"].as_u64() >= recorder["rss_bytes"].as_u64(), "{recorder:#}");
    }
    Ok(())
}

#[test]
fn an_unknown_workload_is_named_before_anything_runs() -> Result<()> {
    let mut bench = xtask(&["bench", "--only", "W1,W9"]);
    let output = command::run(&mut bench)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("W9"), "{}", command::describe(&bench, &output));
    ensure!(said.contains("W5-nginx"), "{said}");
    Ok(())
}

/// The published schema.
fn holds(json: &Value) -> Result<()> {
    let file = root().join("docs/schemas/bench-v1.json");
    let schema: Value = serde_json::from_slice(&fs::read(&file)?)?;
    let schema = jsonschema::draft202012::new(&schema).map_err(|e| anyhow::anyhow!("the schema: {e}"))?;
    let errors: Vec<String> = schema.iter_errors(json).map(|e| format!("{}: {e}", e.instance_path)).collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok(())
}

fn list(value: &Value) -> Result<&[Value]> {
    value.as_array().map(Vec::as_slice).with_context(|| format!("no list: {value}"))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--package", "xtask", "--"]).args(args).current_dir(root());
    command
}
