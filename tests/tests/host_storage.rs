//! What folders that a container writes to held at most, with a real Docker engine.

use std::{ffi::OsStr, path::Path};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command,
    docker::{Engine, IMAGE},
    product::Recorder,
    recorded::Recorded,
};
use serde_json::Value;

const MIB: u64 = 1 << 20;

fn recorded(engine: &Engine, dir: &Path, args: &[&str], program: &str) -> Result<Recorded> {
    let options: Vec<&OsStr> = ["--container", "agent", "--wait"].map(OsStr::new).to_vec();
    let recorder = Recorder::start_on(&options, dir, &[("DOCKER_HOST", &engine.host())])?;
    let run = ["run", "--rm", "--network=none", "--name=agent"];
    engine.call(run.iter().chain(args).chain(&[IMAGE, "/usr/bin/python3", "-I", "-c", program]))?;
    Recorded::load(&recorder.finish()?)
}

fn held<'a>(recorded: &'a Recorded, path: &str) -> Result<(u64, u64)> {
    let storage = recorded.json["resources"]["storage"].as_array();
    let one: Option<&'a Value> = storage.into_iter().flatten().find(|one| one["path"] == path);
    let number = |key: &str| one.and_then(|one| one[key].as_u64());
    let found = number("peak_bytes").zip(number("peak_files"));
    found.with_context(|| format!("{path} is not in {storage:?}; {}", recorded.json["warnings"]))
}

#[test]
fn what_was_deleted_before_the_end_is_in_the_peak() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    // One folder of the image's, one that is made, a file system in memory with a folder in it, and shared memory; a
    // link leads to where there is more than in all of them.
    let program = "
import os, time
os.makedirs('/srv/out/below')
os.makedirs('/work/deep')
files = {'/srv/out/big': 8, '/srv/out/below/more': 1, '/work/deep/x': 3, '/dev/shm/y': 2}
for name, size in files.items():
    with open(name, 'wb') as out: out.write(os.urandom(size << 20))
os.symlink('/usr', '/srv/out/usr')
hidden = open('/work/deep/unnamed', 'wb')
os.unlink('/work/deep/unnamed')
hidden.write(bytes(4 << 20)); hidden.flush()
time.sleep(3)
for name in files: os.unlink(name)
";
    let recorded = recorded(&engine, dir.path(), &["--tmpfs=/work:size=64m"], program)?;
    for (path, mib, files) in
        [("/srv/out/", 9, 4), ("/srv/out/below/", 1, 1), ("/work/", 7, 2), ("/dev/shm/", 2, 1)]
    {
        let (bytes, names) = held(&recorded, path)?;
        ensure!((mib * MIB..(mib + 1) * MIB).contains(&bytes), "{path}: {bytes} bytes");
        ensure!(names >= files && names <= files + 1, "{path}: {names} names");
    }
    ensure!(held(&recorded, "/").is_err() && held(&recorded, "/dev/").is_err());
    ensure!(recorded.json["warnings"].as_array().is_some_and(Vec::is_empty), "{}", recorded.json["warnings"]);
    Ok(())
}

#[test]
fn a_folder_with_too_much_in_it_is_named_and_left_out() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    let program = "
import os, time
os.makedirs('/srv/many'); os.makedirs('/srv/few')
for n in range(25000): os.close(os.open(f'/srv/many/{n}', os.O_CREAT))
open('/srv/few/a', 'wb').write(bytes(5 << 20))
time.sleep(3)
";
    let recorded = recorded(&engine, dir.path(), &[], program)?;
    ensure!(held(&recorded, "/srv/many/").is_err(), "a half count is in the recording");
    let (bytes, _) = held(&recorded, "/srv/few/")?;
    ensure!((5 * MIB..6 * MIB).contains(&bytes), "{bytes}");
    let warnings = recorded.json["warnings"].to_string();
    ensure!(warnings.contains("/srv/many/") && !warnings.contains("/srv/few/"), "{warnings}");
    Ok(())
}

#[test]
fn where_nothing_was_written_nothing_is_measured() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let dir = tempfile::tempdir()?;
    let recorded = recorded(&engine, dir.path(), &[], "open('/etc/passwd').read()")?;
    ensure!(recorded.json["resources"].get("storage").is_none(), "{}", recorded.json["resources"]);
    Ok(())
}
