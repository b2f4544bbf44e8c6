//! Recordings in an object store, as `merge` and `refresh` take them where they were built with the feature `s3`: the
//! same bytes come out as from a folder.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command::{self, Background, require_path},
    product::target_dir,
};
use serde_json::{Value, json};

/// More than one page of a listing, beside the recordings.
const OTHER_OBJECTS: usize = 1_100;

/// Puts all files of a folder into a new bucket, and as many other objects as are asked for.
const UPLOAD: &str = r#"
import boto3, pathlib, sys
folder, others = pathlib.Path(sys.argv[1]), int(sys.argv[2])
store = boto3.client("s3")
store.create_bucket(Bucket="recordings")
for file in folder.rglob("*.*"):
    store.put_object(Bucket="recordings", Key=str(file.relative_to(folder)), Body=file.read_bytes())
for number in range(others):
    store.put_object(Bucket="recordings", Key=f"agent/v1/note-{number:04}.txt", Body=b"no recording")
"#;

/// An S3 server on loopback, which ends with this value.
struct Store {
    _server: Background,
    endpoint: String,
}

impl Store {
    fn start(log: &Path) -> Result<Self> {
        let port = unused_port()?;
        let log = fs::File::create(log)?;
        let server = Command::new(require_path(&python("moto_server"))?)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let store = Self { _server: Background(server), endpoint: format!("http://127.0.0.1:{port}") };
        command::wait_until("the object store", Duration::from_secs(60), || {
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(store)
    }
}

fn unused_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn python(program: &str) -> PathBuf {
    target_dir().join("tools/moto/bin").join(program)
}

/// What finds the store at `endpoint`.
fn to(endpoint: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.envs([
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
    ]);
    command
}

/// The product with the feature, which the one that all other tests use does not have.
fn product() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command::succeed(
        Command::new(cargo)
            .args(["build", "--package", "sandbox-trace", "--features", "s3"])
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )?;
    Ok(target_dir().join("debug/sandbox-trace"))
}

/// The sample recording, as it may be of some days.
fn write_recordings(folder: &Path) -> Result<()> {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/recording.json");
    let sample: Value = serde_json::from_slice(&fs::read(sample)?)?;
    for (name, day, path) in [
        ("agent/v1/node-1.json", 1, "/etc/first"),
        ("agent/v1/zone/node 2.json", 2, "/etc/second"),
        ("agent/v1-other/node-3.json", 3, "/etc/third"),
    ] {
        let mut recording = sample.clone();
        recording["started"] = json!(format!("2025-01-{day:02}T00:00:00Z"));
        let files = recording["files"].as_array_mut().context("no files")?;
        files.push(json!({"path": path, "access": "r", "operations": ["open"], "count": 1,
            "first_ms": 1, "last_ms": 1, "by": [0]}));
        let file = folder.join(name);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(file, serde_json::to_vec(&recording)?)?;
    }
    Ok(())
}

fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn recordings_in_an_object_store_are_those_of_a_folder() -> Result<()> {
    let product = product()?;
    let dir = tempfile::tempdir()?;
    let local = dir.path().join("local");
    write_recordings(&local)?;
    let store = Store::start(&dir.path().join("store.log"))?;
    let mut upload = to(&store.endpoint, python("python"));
    command::succeed(upload.arg("-c").arg(UPLOAD).arg(&local).arg(OTHER_OBJECTS.to_string()))?;

    // All below a prefix, which is whole folders; in the other case it is one object.
    for (place, address) in [
        ("agent/v1", "s3://recordings/agent/v1"),
        ("agent/v1", "s3://recordings/agent/v1/"),
        ("agent/v1/zone/node 2.json", "s3://recordings/agent/v1/zone/node 2.json"),
        ("", "s3://recordings"),
    ] {
        let (from_folder, from_store) = (dir.path().join("folder.json"), dir.path().join("store.json"));
        let mut merge = Command::new(&product);
        command::succeed(merge.args(["merge", "-q"]).arg(local.join(place)).arg("-o").arg(&from_folder))?;
        let mut merge = to(&store.endpoint, &product);
        command::succeed(merge.args(["merge", "-q", address, "-o"]).arg(&from_store))?;
        ensure!(fs::read(&from_folder)? == fs::read(&from_store)?, "{address} is not {place}");
    }
    // A part that is here and a part that is there.
    let both = dir.path().join("both.json");
    let mut merge = to(&store.endpoint, &product);
    merge.args(["merge", "-q", "s3://recordings/agent/v1/zone"]).arg(local.join("agent")).arg("-o");
    command::succeed(merge.arg(&both))?;
    ensure!(fs::read(&both)? == fs::read(dir.path().join("folder.json"))?, "a part was counted twice");

    let refreshed = |folder: &str, recordings: &std::ffi::OsStr| -> Result<PathBuf> {
        let folder = dir.path().join(folder);
        fs::create_dir(&folder)?;
        fs::write(folder.join("workload.toml"), "name = \"agent\"\n[options]\nformats = [\"seccomp\"]\n")?;
        let mut refresh = to(&store.endpoint, &product);
        refresh.args(["refresh", "-q"]).arg(&folder).arg("--recording").arg(recordings);
        // The first profile is wider than none: it is written where nothing was.
        let output = command::run(&mut refresh)?;
        ensure!(output.status.success(), "{}", command::describe(&refresh, &output));
        Ok(folder)
    };
    let here = refreshed("here", local.join("agent").as_os_str())?;
    let there = refreshed("there", "s3://recordings/agent".as_ref())?;
    for name in ["recording.json.zst", "seccomp.json"] {
        ensure!(fs::read(here.join(name))? == fs::read(there.join(name))?, "{name} differs");
    }
    Ok(())
}

#[test]
fn a_store_that_has_none_or_does_not_answer_is_told_of() -> Result<()> {
    let product = product()?;
    let dir = tempfile::tempdir()?;
    let store = Store::start(&dir.path().join("store.log"))?;
    let out = dir.path().join("out.json");
    let nobody = format!("http://127.0.0.1:{}", unused_port()?);
    for (endpoint, address, expected) in [
        (&store.endpoint, "s3://no-such-bucket/agent", "could not list s3://no-such-bucket/agent"),
        (&store.endpoint, "s3:///agent", "names no bucket"),
        (&nobody, "s3://recordings/agent", "could not list s3://recordings/agent"),
    ] {
        let began = Instant::now();
        let mut merge = to(endpoint, &product);
        let output = command::run(merge.args(["merge", address, "-o"]).arg(&out))?;
        let said = says(&output);
        ensure!(output.status.code() == Some(2) && said.contains(expected), "{address}: {said}");
        ensure!(began.elapsed() < Duration::from_secs(60), "{address}: it took {:?}", began.elapsed());
        ensure!(!out.exists(), "{address}: something was written");
    }
    Ok(())
}
