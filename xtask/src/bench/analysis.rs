//! What the commands cost that read a recording, on one as large as a long training run's, and `width` over a large
//! tree. They need no privilege, and nothing is attached: times are times, not ratios.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    product,
    synthetic::{self, Size},
};
use serde::Serialize;

use super::{
    demands::{Found, Unit, float, found},
    lab,
    ratio::Spread,
    running::LIMIT,
};

pub const NAME: &str = "analysis";

const LARGE: f64 = 2.0;
const WIDTH: f64 = 1.0;
const MERGE: f64 = 5.0;
const MEMORY: u64 = 300_000_000;

/// How often the memory of a running process is looked at: what it takes in its last moments is little.
const LOOK: Duration = Duration::from_millis(2);

/// One command.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub input: String,
    pub seconds: Option<Spread>,
    pub peak_bytes: u64,
    pub compiler_peak_bytes: u64,
    pub failed: Option<String>,
}

/// Measures all of them.
pub fn measure(quick: bool, rounds: u32) -> Result<Vec<Row>> {
    let binary = product::binary()?;
    let dir = tempfile::Builder::new()
        .prefix(&format!("{}{}-", lab::PREFIX, std::process::id()))
        .tempdir_in(lab::memory())?;
    let path = |name: &str| -> Result<String> {
        Ok(dir.path().join(name).to_str().context("an odd temporary folder")?.to_owned())
    };
    let size = if quick { Size { paths: 2_000, calls: 400 } } else { Size::LARGE };
    let files = if quick { 1_000 } else { 100_000 };
    let [recording, seccomp, apparmor, small, narrow, tree] =
        ["recording.json", "seccomp.json", "apparmor.profile", "small.json", "narrow.profile", "tree"]
            .map(path);
    let (recording, seccomp, apparmor) = (recording?, seccomp?, apparmor?);
    let (small, narrow, tree) = (small?, narrow?, tree?);
    eprintln!("bench: {NAME}, a recording of {} paths and {} calls", size.paths, size.calls);
    synthetic::recording(Path::new(&recording), size)?;
    let bytes = fs::metadata(&recording)?.len() / 1_000_000;
    let input = format!("{} paths, {} calls, {bytes} MB", size.paths, size.calls);
    let level = ["--generalize", synthetic::GENERALIZE];
    let emit = ["emit-apparmor", &recording, "--name", "bench", "-o", &apparmor, "-q"];
    let mut rows = Vec::new();
    let mut add = |name: &'static str, input: &str, args: &[&str]| -> Result<()> {
        eprintln!("bench: {NAME}, {name}");
        rows.push(row(&binary, name, input, args, rounds.min(3))?);
        Ok(())
    };
    add("emit-seccomp", &input, &["emit-seccomp", &recording, "-o", &seccomp, "-q"])?;
    add("emit-apparmor", &input, &[&emit[..], &level].concat())?;
    let verify = ["verify", &recording, "--seccomp", &seccomp, "--apparmor", &apparmor, "-q"];
    add("verify", &input, &verify)?;

    // On the disk: they are more than most machines have memory to spare for.
    let folder = tempfile::Builder::new().prefix("runs-").tempdir_in(product::target_dir())?;
    let merged = path("merged.json.zst")?;
    let (runs, paths) = if quick { (20, 500) } else { (1_000, 10_000) };
    let bytes = many(folder.path(), runs, Size { paths, ..size })? / 1_000_000;
    let input = format!("{runs} recordings of {paths} paths, {bytes} MB");
    let place = folder.path().to_str().context("an odd target folder")?;
    add("merge", &input, &["merge", place, "-o", &merged, "-q"])?;
    drop(folder);

    // A profile of ordinary size: how long the compiler takes for it is part of the time.
    synthetic::recording(Path::new(&small), Size { paths: 300, ..size })?;
    let emit = ["emit-apparmor", &small, "--name", "bench", "-o", &narrow, "-q"];
    product::sandbox_trace([&emit[..], &level].concat())?;
    product::sandbox_trace(["emit-seccomp", &small, "-o", &seccomp, "-q"])?;
    fs::create_dir(&tree)?;
    synthetic::tree(Path::new(&tree), files)?;
    let args = ["width", &small, "--seccomp", &seccomp, "--apparmor", &narrow, "--rootfs", &tree, "--json"];
    let counts: serde_json::Value = serde_json::from_str(&product::sandbox_trace(args)?)?;
    // What measures nothing is fast.
    ensure!(counts["files"]["of"] == files, "width counted {} files of {files}", counts["files"]["of"]);
    add("width", &format!("a tree of {files} files"), &args)?;
    Ok(rows)
}

/// Recordings of many runs of one workload: each at another time, and with a hundredth of its paths that no other run has.
/// Returns how large they are.
fn many(folder: &Path, runs: usize, size: Size) -> Result<u64> {
    let one = folder.join("one");
    synthetic::recording(&one, size)?;
    let text = fs::read_to_string(&one)?;
    fs::remove_file(&one)?;
    let mut total = 0;
    for run in 0..runs {
        let started = format!("2025-01-{:02}T{:02}:{:02}:00Z", 2 + run / 1440, run / 60 % 24, run % 60);
        let mut out = text.replacen("2025-01-01T00:00:00Z", &started, 1);
        ensure!(out != text, "the recording does not say when it started");
        let mark = "\"path\":\"";
        let parts: Vec<String> = out
            .split(mark)
            .enumerate()
            .map(|(n, part)| match part.find('"') {
                Some(end) if n > 0 && n % 100 == run % 100 => {
                    format!("{}.{run}{}", &part[..end], &part[end..])
                }
                _ => part.to_owned(),
            })
            .collect();
        out = parts.join(mark);
        total += out.len() as u64;
        fs::write(folder.join(format!("{run:04}.json")), out)?;
    }
    Ok(total)
}

/// The demands on them.
pub fn demands(rows: &[Row]) -> Vec<Found> {
    let of = |row: &Row| {
        let time = row.seconds.filter(|_| row.failed.is_none()).map_or(f64::INFINITY, |s| s.median);
        let most = match row.name {
            "width" => WIDTH,
            "merge" => MERGE,
            _ => LARGE,
        };
        let time = found(format!("{}: {}", row.name, row.input), Unit::Seconds, time, most);
        let memory = found(
            format!("{}: memory", row.name),
            Unit::Bytes,
            if row.failed.is_none() { float(row.peak_bytes) } else { f64::INFINITY },
            float(MEMORY),
        );
        [time, memory]
    };
    rows.iter().flat_map(of).collect()
}

fn row(binary: &Path, name: &'static str, input: &str, args: &[&str], rounds: u32) -> Result<Row> {
    let mut row =
        Row { name, input: input.into(), seconds: None, peak_bytes: 0, compiler_peak_bytes: 0, failed: None };
    let mut seconds = Vec::new();
    for _ in 0..rounds {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(binary);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen()?);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("can't run {}", binary.display()))?;
        let status = watch(&mut child, &mut row, start)?;
        seconds.push(start.elapsed().as_secs_f64());
        if !status {
            let said = fs::read_to_string(log.path())?;
            row.failed = Some(said.chars().take(400).collect());
            break;
        }
    }
    row.seconds = Spread::of(seconds);
    Ok(row)
}

/// Waits for its end and looks at its memory meanwhile. Returns whether it succeeded.
fn watch(child: &mut Child, row: &mut Row, start: Instant) -> Result<bool> {
    let pid = child.id();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        row.peak_bytes = row.peak_bytes.max(peak(pid));
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for compiler in children.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            row.compiler_peak_bytes = row.compiler_peak_bytes.max(peak(compiler));
        }
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

/// The most resident memory of a process so far (`VmHWM`); 0 if it is gone.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
