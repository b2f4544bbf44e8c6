//! Real workloads: recorded, both profiles emitted and verified, and run again on fresh input under the filter.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command, product,
    workloads::{
        self, Workload,
        lab::{Lab, Runtime},
        table::{self, Row},
        trial::{LEVELS, Trial},
    },
};

/// What has been found so far, by all threads.
#[derive(Debug, Default)]
struct Found {
    rows: Mutex<Vec<Row>>,
    failures: Mutex<Vec<String>>,
}

impl Found {
    /// A failure doesn't end the workload's trial: what else fails is of use as well.
    fn note<T>(&self, workload: Workload, what: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                self.failures.lock().unwrap().push(format!("{}, {what}: {error:#}", workload.name));
            })
            .ok()
    }
}

fn attempt(lab: &Lab, workload: Workload, dir: &Path, found: &Found) {
    let Some(trial) = found.note(workload, "recording", Trial::record(lab, workload, dir)) else { return };
    let mut filter = None;
    for runtime in Runtime::ALL {
        let emitted = found.note(workload, runtime.name(), trial.seccomp(runtime));
        if let Some(file) = emitted {
            found.note(workload, runtime.name(), trial.run_fresh(runtime, &file));
            filter = Some(file);
        }
    }
    let mut profiles: Vec<(&'static str, PathBuf)> = Vec::new();
    for level in LEVELS {
        let Some(profile) = found.note(workload, level, trial.apparmor(level)) else { continue };
        if let Some(filter) = &filter {
            found.note(workload, level, trial.must_deny(filter, &profile));
        }
        // An exact profile holds for what was recorded and promises no more.
        if level == "balanced" {
            found.note(workload, "a fresh recording", trial.verify_fresh(&profile));
        }
        profiles.push((level, profile));
    }
    if let Some(filter) = filter
        && let Some(row) = found.note(workload, "counts", trial.row(&filter, &profiles))
    {
        found.rows.lock().unwrap().push(row);
    }
}

#[test]
fn workloads_work_on_fresh_input_under_what_was_emitted() -> Result<()> {
    command::require_root()?;
    let lab = Lab::start().context("the lab")?;
    let dir = product::target_dir().join("matrix");
    fs::create_dir_all(&dir)?;
    let found = Found::default();
    let queue = Mutex::new(workloads::chosen());
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // In a statement of its own, or the lock is held while the workload runs.
                    let next = queue.lock().unwrap().pop();
                    let Some(workload) = next else { break };
                    attempt(&lab, workload, &dir, &found);
                }
            });
        }
    });
    println!("{}", table::write(&found.rows.into_inner().unwrap(), &dir)?);
    let failures = found.failures.into_inner().unwrap();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
