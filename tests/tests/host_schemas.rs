//! What the product writes on this host against the published JSON schemas.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
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

    let merged = json(&["merge", "-q", path, path, "-o", "-"], &[0])?;
    holds(&schema("recording-v1.json")?, &merged)?;

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
    let live =
        ["--allow-incomplete", "--seccomp", good, "--capabilities", "none", "--json", "--live", "--", "true"];
    let found = json(&[&["verify", path][..], &live].concat(), &[0, 1, 3])?;
    holds(&verdicts, &found)?;
    ensure!(found["live"].is_object(), "{found}");
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

/// Pure, but for the binary: what `diff` prints of two recordings, two profiles and two folders.
#[test]
fn the_differences_of_recordings_profiles_and_folders() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_str().map(str::to_owned).context("an odd temporary folder");
    let old = docs().join("examples/recording.json");
    let mut new = read(&old)?;
    let files = new["files"].as_array_mut().context("no files")?;
    let mut odd = files.first().context("no file")?.clone();
    odd["path"] = "/odd|`<b>\\x0a\\xff".into();
    odd["access"] = "rw".into();
    files.push(odd);
    fs::write(at("new.json"), serde_json::to_vec(&new)?)?;
    let differences = schema("diff-v1.json")?;
    let old = old.to_str().context("an odd folder")?;
    let same = json(&["diff", old, old, "--json"], &[0])?;
    holds(&differences, &same)?;
    ensure!(same["widened"] == false && same["added"] == serde_json::json!([]), "{same}");
    let found = json(&["diff", old, &text("new.json")?, "--json"], &[1])?;
    holds(&differences, &found)?;
    ensure!(found["added"].as_array().is_some_and(|added| added.len() == 1), "{found}");
    ensure!(found["added"][0]["evidence"]["runs"][0] == text("new.json")?, "{found}");
    let sarif = json(&["diff", old, &text("new.json")?, "--sarif"], &[1])?;
    ensure!(sarif["runs"][0]["results"][0]["ruleId"] == "new-file", "{sarif}");

    for (folder, from) in [("before", old.to_owned()), ("after", text("new.json")?)] {
        fs::create_dir(at(folder))?;
        let out = |name: &str| text(&format!("{folder}/{name}"));
        product::sandbox_trace(["emit-seccomp", "-q", &from, "-o", &out("seccomp.json")?])?;
        product::sandbox_trace([
            "emit-apparmor",
            "-q",
            &from,
            "--name",
            "t",
            "-o",
            &out("apparmor.profile")?,
        ])?;
    }
    let (before, after, recording) = (text("before")?, text("after")?, text("new.json")?);
    let found = json(&["diff", &before, &after, "--recording", &recording, "--json"], &[1])?;
    holds(&differences, &found)?;
    ensure!(found["added"].as_array().is_some_and(|added| added.len() == 1), "{found}");
    ensure!(found["added"][0]["file"] == "apparmor.profile", "{found}");
    ensure!(found["added"][0]["evidence"]["count"].as_u64() > Some(0), "{found}");
    // The other way round it is narrower.
    holds(&differences, &json(&["diff", &after, &before, "--json"], &[0])?)?;
    let mixed = [text("before/seccomp.json")?, text("after/apparmor.profile")?];
    for (one, other) in [(&mixed[0], &mixed[1]), (&mixed[0], &recording), (&before, &recording)] {
        let mut command = Command::new(product::binary()?);
        command.args(["diff", one, other]);
        let output = command::run(&mut command)?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(2) && message.contains("can't be compared"),
            "{}",
            command::describe(&command, &output)
        );
    }
    // What lost something is no answer.
    new["complete"] = false.into();
    fs::write(at("lost.json"), serde_json::to_vec(&new)?)?;
    let lost = text("lost.json")?;
    for (args, code) in [(vec!["diff", old, &lost], 3), (vec!["diff", old, &lost, "--allow-incomplete"], 1)] {
        let mut command = Command::new(product::binary()?);
        let output = command::run(command.args(args))?;
        ensure!(output.status.code() == Some(code), "{}", command::describe(&command, &output));
    }
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
fn the_width_of_profiles_over_a_tree_of_every_kind() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let text = |name: &str| at(name).to_str().map(str::to_owned).context("an odd temporary folder");
    fs::create_dir_all(at("rootfs/bin"))?;
    fs::create_dir_all(at("rootfs/data"))?;
    for name in ["bin/sh", "data/a", "data/b", "data/odd \u{e9}\n\\"] {
        fs::write(at("rootfs").join(name), "x")?;
    }
    fs::write(at("rootfs/data").join(std::ffi::OsStr::from_bytes(b"bad\xff")), "x")?;
    std::os::unix::fs::symlink("/", at("rootfs/loop"))?;
    let profile = "abi <abi/3.0>,\nprofile t {\n  /bin/sh rwix,\n  /data/* rwix,\n  owner /data/a k,\n}\n";
    fs::write(at("t.profile"), profile)?;
    fs::write(
        at("t.json"),
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[
            {"names":["read"],"action":"SCMP_ACT_ALLOW"},
            {"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
    )?;
    let sample = docs().join("examples/recording.json");
    let sample = sample.to_str().context("an odd folder")?;
    let [seccomp, apparmor, rootfs] = ["t.json", "t.profile", "rootfs"].map(text);
    let (seccomp, apparmor, rootfs) = (seccomp?, apparmor?, rootfs?);
    let schema = schema("width-v1.json")?;
    let files = ["--apparmor", &apparmor, "--rootfs", &rootfs];
    let all = ["width", "--json", "--seccomp", &seccomp, sample];
    let both = json(&[&all[..], &files].concat(), &[0])?;
    for found in [&both, &json(&all, &[0])?, &json(&[&["width", "--json"][..], &files].concat(), &[0])?] {
        holds(&schema, found)?;
    }
    ensure!(both["files"]["of"] == 5 && both["files"]["readable"] == 5, "{both:#}");
    ensure!(both["files"]["writable_and_executable_paths"][3] == "/data/bad\\xff", "{both:#}");
    ensure!(both["syscalls"]["allowed"] == 2 && both["syscalls"]["docker_default"] == 301, "{both:#}");
    ensure!(both["syscalls"]["other_architectures"]["i386"].as_u64() >= Some(2), "{both:#}");
    Ok(())
}

/// What is mounted into itself is seen as what it is, and the kernel's own file systems are left out.
#[test]
fn a_tree_with_mounts_in_it_is_counted_once() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let script = r#"set -e
        cd "$1"; mkdir -p r/a r/proc r/other; echo x >r/file; echo x >r/a/file
        printf 'abi <abi/3.0>,\nprofile t {\n  /** r,\n}\n' >p
        mount --bind r r/a; mount -t proc proc r/proc; mount -t tmpfs none r/other; echo x >r/other/file
        "$2" width --apparmor p --rootfs r --json"#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    let output = command::run(command.arg(dir.path()).arg(product::binary()?))?;
    ensure!(output.status.code() == Some(3), "{}", command::describe(&command, &output));
    let found: Value = serde_json::from_slice(&output.stdout)?;
    holds(&schema("width-v1.json")?, &found)?;
    let files = &found["files"];
    ensure!(files["of"] == 2 && files["unread_count"] == 1, "{found:#}");
    ensure!(files["unread"][0]["path"] == "/a/" && files["left_out"][0] == "/proc/", "{found:#}");
    Ok(())
}

#[test]
fn the_checks_of_this_host() -> Result<()> {
    holds(&schema("doctor-v1.json")?, &json(&["doctor", "--json"], &[0, 5])?)
}
