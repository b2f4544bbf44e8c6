//! Real workloads in guests: recorded by their kernel, and run again on fresh input under both profiles, which it enforces.
//! Two guests, since one would not be done with all of them in the time that a guest has.

use anyhow::{Result, ensure};
use sandbox_trace_tests::{
    product,
    workloads::{self, Workload, guest},
};

/// Every second workload, from the `first`.
fn hold(first: usize) -> Result<()> {
    let chosen: Vec<Workload> = workloads::chosen().into_iter().skip(first).step_by(2).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    let outcome = guest::run(&chosen)?;
    println!("{}", outcome.console);
    outcome.save(&product::target_dir().join("matrix/guest"))?;
    let failures: Vec<String> = chosen
        .into_iter()
        .filter_map(|workload| guest::expect(&outcome, workload).err())
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn half_of_the_workloads_work_on_fresh_input_under_both_profiles() -> Result<()> {
    hold(0)
}

#[test]
fn the_other_half_of_the_workloads_work_on_fresh_input_under_both_profiles() -> Result<()> {
    hold(1)
}
