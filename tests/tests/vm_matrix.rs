//! Real workloads in a guest: recorded by its kernel, and run again on fresh input under both profiles, which it enforces.

use anyhow::{Result, ensure};
use sandbox_trace_tests::{
    product,
    workloads::{self, guest},
};

#[test]
fn workloads_work_on_fresh_input_under_both_profiles() -> Result<()> {
    let chosen = workloads::chosen();
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
