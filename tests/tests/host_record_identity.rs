//! What an executable is in a recording, whatever its path: build id, hash, script; and files that must not be read.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    recorded::{Recorded, record},
};
use serde_json::{Value, json};

fn executable<'a>(recorded: &'a Recorded, path: &Path) -> Result<&'a Value> {
    let path = path.to_str().context("an odd path")?;
    let list = recorded.list("executables");
    list.iter().find(|e| e["path"] == path).with_context(|| format!("no {path} in {list:?}"))
}

#[test]
fn programs_have_their_build_id_and_interpreters_their_scripts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = fs::canonicalize(dir.path())?;
    let script = place.join("script");
    fs::write(&script, "#!/bin/sh\nexec \"$1\"\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    // Without its note, a program is known by its contents.
    let bare = place.join("bare");
    let mut program = fs::read("/bin/true")?;
    let note = program.windows(8).position(|word| word == b"\x03\0\0\0GNU\0").context("no build id")?;
    program[note] = 0x7f;
    fs::write(&bare, program)?;
    fs::set_permissions(&bare, fs::Permissions::from_mode(0o755))?;
    let recorded = record(&place, [&script, &bare])?;
    let shell = executable(&recorded, &fs::canonicalize("/bin/sh")?)?;
    let said = command::succeed(Command::new(command::require("readelf")?).args(["-n", "/bin/sh"]))?;
    let said = String::from_utf8(said.stdout)?;
    let id = said.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).context("no build id")?;
    ensure!(shell["build_id"] == id && shell["sha256"].is_null(), "{shell}");
    ensure!(shell["scripts"] == json!([script.to_str()]), "{shell}");
    let bare_one = executable(&recorded, &bare)?;
    let said = command::succeed(Command::new("sha256sum").arg(&bare))?;
    let said = String::from_utf8(said.stdout)?;
    ensure!(
        bare_one["sha256"].as_str() == said.split(' ').next() && bare_one["build_id"].is_null(),
        "{bare_one}"
    );
    Ok(())
}

/// Once it runs, a program's name may be anything: what waits, what has no end, what lies elsewhere.
#[test]
fn hostile_successors_of_a_program_s_name_do_no_harm() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = fs::canonicalize(dir.path())?;
    for successor in
        ["mkfifo x", "ln -s /dev/zero x", "truncate -s 1T x", "ln -s /proc/kmsg x", "mkdir x", "true"]
    {
        let run = place.join("run");
        fs::create_dir(&run)?;
        let work =
            format!("cd \"$1\" && cp /bin/sleep x && {{ ./x 1 & sleep 0.3; rm x; {successor}; wait; }}");
        let start = Instant::now();
        let recorded =
            record(&place, ["sh".as_ref(), "-c".as_ref(), work.as_ref(), "sh".as_ref(), run.as_os_str()])?;
        ensure!(start.elapsed() < Duration::from_secs(30), "{successor}: {:?}", start.elapsed());
        executable(&recorded, &run.join("x")).with_context(|| successor)?;
        fs::remove_dir_all(&run)?;
    }
    Ok(())
}
