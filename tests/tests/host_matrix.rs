//! Real workloads: recorded, both profiles emitted and verified, and run again on fresh input under the filter.

use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command, product,
    workloads::{
        self, Workload,
        lab::{Lab, Runtime},
        trial::{LEVELS, Trial},
    },
};

fn attempt(lab: &Lab, workload: Workload, failures: &Mutex<Vec<String>>) {
    let note = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            eprintln!("{}: {what}: {error:#}", workload.name);
            failures.lock().unwrap().push(format!("{}: {what}: {error:#}", workload.name));
        }
    };
    let dir = product::target_dir().join("matrix");
    let trial = match Trial::record(lab, workload, &dir) {
        Ok(trial) => trial,
        Err(error) => return note("recording", Err(error)),
    };
    for runtime in Runtime::ALL {
        let run = || trial.run_fresh(runtime, &trial.seccomp(runtime)?);
        note(runtime.name(), run());
    }
    for level in LEVELS {
        let check = || -> Result<()> {
            let profile = trial.apparmor(level)?;
            // Exact profiles hold for what was recorded and promise no more.
            if level == "balanced" { trial.verify_fresh(&profile) } else { Ok(()) }
        };
        note(level, check());
    }
}

#[test]
fn workloads_work_on_fresh_input_under_what_was_emitted() -> Result<()> {
    command::require_root()?;
    let lab = Lab::start().context("the lab")?;
    let failures = Mutex::new(Vec::new());
    let queue = Mutex::new(workloads::chosen());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop();
                    let Some(workload) = next else { break };
                    let start = std::time::Instant::now();
                    attempt(&lab, workload, &failures);
                    eprintln!("{}: {:.1} s", workload.name, start.elapsed().as_secs_f64());
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}
