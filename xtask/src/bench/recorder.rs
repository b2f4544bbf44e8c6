//! `sandbox-trace record` as the benchmark runs it, and what it uses itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use sandbox_trace_tests::memory;

use super::{
    cgroups::Group,
    running::{Listen, Running},
};

/// A recorder that is armed.
#[derive(Debug)]
pub struct Recorder {
    process: Running,
    load: Duration,
}

/// What it used, and what it missed.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// From the start of the process to `armed`, in seconds.
    pub load_s: f64,
    /// From the signal to its end, in seconds: the recording is put together and written.
    pub finish_s: f64,
    /// Its memory when the workload had done its work.
    pub rss_bytes: u64,
    /// The most until then.
    pub peak_rss_bytes: u64,
    /// The most of its whole life: with what putting the recording together took.
    pub peak_rss_at_end_bytes: u64,
    /// The kernel's memory for its maps, the ring included, and for its programs.
    pub maps_bytes: u64,
    pub programs_bytes: u64,
    pub ring_bytes: u64,
    pub recording_bytes: u64,
    /// Facts: calls and paths in the recording.
    pub paths: u64,
    /// Each counter of the recording.
    pub losses: BTreeMap<String, u64>,
    /// How often each call was seen.
    #[serde(skip)]
    pub calls: BTreeMap<String, u64>,
}

impl Report {
    pub fn lost(&self) -> u64 {
        self.losses.values().sum()
    }
}

/// What a recorder uses while it runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    rss: u64,
    peak_rss: u64,
    maps: u64,
    programs: u64,
    ring: u64,
}

/// What the benchmark reads of a recording. A million paths are only counted.
#[derive(Debug, Deserialize)]
struct Recording {
    complete: bool,
    losses: BTreeMap<String, u64>,
    syscalls: Vec<Call>,
    files: Vec<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Call {
    name: String,
    count: u64,
}

impl Recorder {
    /// Starts one that watches `target`, and returns once nothing of it can be missed.
    pub fn start(binary: &Path, target: &Group, place: &Group, recording: &Path) -> Result<Self> {
        let start = Instant::now();
        let mut command = Command::new(binary);
        // A quarter of the default: what is lost with it shows how much room there is.
        command
            .args(["--quiet", "record", "--ring", "1MiB", "--cgroup"])
            .arg(&target.path)
            .arg("-o")
            .arg(recording);
        let mut process = Running::spawn(&mut command, place, Listen::Stderr)?;
        process.expect("`armed`", |line| line == "armed")?;
        Ok(Self { process, load: start.elapsed() })
    }

    /// What it uses now.
    pub fn usage(&self) -> Result<Usage> {
        let proc = Path::new("/proc").join(self.process.pid().to_string());
        let status = fs::read_to_string(proc.join("status")).context("the recorder has ended")?;
        let mut usage = Usage {
            rss: kibibytes(&status, "VmRSS:")?,
            peak_rss: kibibytes(&status, "VmHWM:")?,
            ..Usage::default()
        };
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir(proc.join("fdinfo")).context("the recorder has ended")?.flatten() {
            let Ok(text) = fs::read_to_string(entry.path()) else { continue };
            let Some(memory) = number(&text, "memlock:") else { continue };
            // Several descriptors may be of one map.
            if let Some(id) = number(&text, "map_id:") {
                if seen.insert(("map", id)) {
                    usage.maps += memory;
                }
                const RING_BUFFER: u64 = 27; // BPF_MAP_TYPE_RINGBUF
                if number(&text, "map_type:") == Some(RING_BUFFER) {
                    usage.ring = number(&text, "max_entries:").unwrap_or(0);
                }
            } else if let Some(id) = number(&text, "prog_id:")
                && seen.insert(("program", id))
            {
                usage.programs += memory;
            }
        }
        Ok(usage)
    }

    /// Ends the recording and reads it.
    pub fn stop(self, usage: Usage, recording: &Path) -> Result<Report> {
        let memory = memory::Watch::new(self.process.pid());
        let start = Instant::now();
        self.process.signal(Signal::SIGINT)?;
        let ended = self.process.wait()?;
        let finish = start.elapsed();
        if !ended.status.success() {
            bail!("the recorder failed, {}:\n{}", ended.status, ended.said.join("\n"));
        }
        let bytes = fs::read(recording).with_context(|| format!("no recording {}", recording.display()))?;
        let read: Recording = serde_json::from_slice(&bytes).context("the recording can't be read")?;
        let report = Report {
            load_s: self.load.as_secs_f64(),
            finish_s: finish.as_secs_f64(),
            rss_bytes: usage.rss,
            peak_rss_bytes: usage.peak_rss,
            peak_rss_at_end_bytes: memory.peak_kib()? * 1024,
            maps_bytes: usage.maps,
            programs_bytes: usage.programs,
            ring_bytes: usage.ring,
            recording_bytes: bytes.len() as u64,
            paths: read.files.len() as u64,
            losses: read.losses,
            calls: read.syscalls.into_iter().fold(BTreeMap::new(), |mut calls, call| {
                *calls.entry(call.name).or_default() += call.count;
                calls
            }),
        };
        if read.complete != (report.lost() == 0) {
            bail!("the recording says complete: {}, and its losses are {:?}", read.complete, report.losses);
        }
        Ok(report)
    }
}

fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

fn kibibytes(status: &str, key: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB"));
    Ok(line.with_context(|| format!("no {key} in the recorder's status"))?.trim().parse::<u64>()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_found() {
        assert_eq!(number("flags:\t02\nmemlock:\t4223304\nmap_id:\t7\n", "memlock:"), Some(4_223_304));
        assert_eq!(number("pos:\t0\n", "memlock:"), None);
        assert_eq!(
            kibibytes("VmHWM:\t   49816 kB\nVmRSS:\t   40556 kB\n", "VmRSS:").ok(),
            Some(40556 * 1024)
        );
    }
}
