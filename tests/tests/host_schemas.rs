//! What the product writes on this host against the published JSON schemas.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use jsonschema::Validator;
use sandbox_trace_tests::{command, product};
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn read(file: &Path) -> Result<Value> {
    let bytes = fs::read(file).with_context(|| format!("can't read {}", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", file.display()))
}

fn schema(name: &str) -> Result<Validator> {
    let schema = read(&docs().join("schemas").join(name))?;
    ensure!(
        schema["$schema"] == "https://json-schema.org/draft/2020-12/schema",
        "{name} names another draft"
    );
    jsonschema::meta::validate(&schema).map_err(|e| anyhow!("{name} is not a JSON schema: {e}"))?;
    jsonschema::draft202012::new(&schema).map_err(|e| anyhow!("{name}: {e}"))
}

fn holds(schema: &Validator, value: &Value) -> Result<()> {
    let errors: Vec<String> =
        schema.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path)).collect();
    if errors.is_empty() { Ok(()) } else { bail!("{}", errors.join("\n")) }
}

/// Runs the product; these exit codes are no failure here.
fn json(args: &[&str], codes: &[i32]) -> Result<Value> {
    let mut command = Command::new(product::binary()?);
    command.args(args);
    let output = command::run(&mut command)?;
    let expected = output.status.code().is_some_and(|code| codes.contains(&code));
    ensure!(expected, "{}", command::describe(&command, &output));
    serde_json::from_slice(&output.stdout).context("not JSON")
}

#[test]
fn a_recording_made_here_and_its_verdicts() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.json");
    let path = file.to_str().context("an odd temporary folder")?;
    let work = "cd \"$1\"; f=$(printf 'a\\351\\\\b'); echo x >\"$f\"; ln \"$f\" l; cat missing; chown 1 l; rm l; kill -TERM $$";
    let mut record = Command::new(product::binary()?);
    record.args(["record", "-q", "-o", path, "--", "sh", "-c", work, "sh"]).arg(dir.path());
    let output = command::run(&mut record)?;
    ensure!(output.status.code() == Some(1), "{}", command::describe(&record, &output));
    let recording = read(&file)?;
    holds(&schema("recording-v1.json")?, &recording)?;
    ensure!(recording["target"]["exit_code"] == 128 + 15, "{}", recording["target"]);
    let files = recording["files"].as_array().context("no files")?;
    let odd = files.iter().find(|f| f["path"].as_str().is_some_and(|p| p.ends_with("/a\\xe9\\\\b")));
    ensure!(odd.is_some(), "{files:?}");
    ensure!(files.iter().any(|f| f.get("link_target").is_some()), "{files:?}");

    // One profile that allows all of it, and one that allows nothing.
    let (good, bad) = (dir.path().join("good.json"), dir.path().join("bad.json"));
    let (good, bad) = (good.to_str().context("odd")?, bad.to_str().context("odd")?);
    product::sandbox_trace(["emit-seccomp", path, "-q", "-o", good, "--allow-incomplete"])?;
    fs::write(bad, r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[]}"#)?;
    let verdicts = schema("verify-v1.json")?;
    for (profile, code, empty) in [(good, 0, true), (bad, 1, false)] {
        let found = json(&["verify", path, "--allow-incomplete", "--seccomp", profile, "--json"], &[code])?;
        holds(&verdicts, &found)?;
        ensure!(found["blocked"].as_array().is_some_and(|list| list.is_empty() == empty), "{found}");
    }
    let attacked =
        json(&["verify", "--seccomp", bad, "--capabilities", "none", "--must-deny", "--json"], &[0])?;
    holds(&verdicts, &attacked)?;
    ensure!(attacked["attacks"]["denied"].as_u64() > Some(30), "{attacked}");
    fs::write(good, r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#)?;
    let attacked = json(&["verify", "--seccomp", good, "--must-deny", "--json"], &[1])?;
    holds(&verdicts, &attacked)?;
    ensure!(attacked["attacks"]["open"].as_array().is_some_and(|open| !open.is_empty()), "{attacked}");
    Ok(())
}

#[test]
fn the_built_in_list_of_attacks() -> Result<()> {
    let list = read(&docs().join("../sandbox-trace/src/verify/attacks/built-in.json"))?;
    let schema = schema("attacks-v1.json")?;
    holds(&schema, &list)?;
    for step in ["{}", r#"{"call":"a","file":"/b"}"#, r#"{"file":"/b"}"#, r#"{"call":"a","args":{"6":1}}"#] {
        let mut broken = list.clone();
        broken["attacks"][0]["ways"][0][0] = serde_json::from_str(step)?;
        ensure!(!schema.is_valid(&broken), "{step}");
    }
    Ok(())
}

#[test]
fn the_checks_of_this_host() -> Result<()> {
    holds(&schema("doctor-v1.json")?, &json(&["doctor", "--json"], &[0, 5])?)
}

/// A schema that takes everything proves nothing.
#[test]
fn a_recording_that_breaks_the_format_is_refused() -> Result<()> {
    let schema = schema("recording-v1.json")?;
    let sample = read(&docs().join("examples/recording.json"))?;
    holds(&schema, &sample)?;
    let changes: [(&str, Value); 9] = [
        ("/schema", "sandbox-trace/recording/v2".into()),
        ("/files/0/path", "/a\\q".into()),
        ("/files/0/access", "zr".into()),
        ("/files/0/by/0", (-1).into()),
        ("/failed/files/0/error", 2.into()),
        ("/losses/ring_full", 1.into()),
        ("/syscalls/0/count", 1.5.into()),
        ("/started", "yesterday".into()),
        ("/host", Value::Null),
    ];
    for (pointer, value) in changes {
        let mut broken = sample.clone();
        *broken.pointer_mut(pointer).with_context(|| format!("the sample has no {pointer}"))? = value;
        ensure!(!schema.is_valid(&broken), "{pointer}");
    }
    Ok(())
}
