//! `runtime-bases`: measures what runc and crun call once they have loaded a filter, by taking calls away until the
//! container no longer starts, and compares it with `profiles/runtime/`.
//!
//! The workload is a program of a few bytes that exits and does nothing else, so that all that is needed beside
//! `execve` and `exit_group` is the runtime's. Go's runtime makes some calls in some runs only: no such measurement can
//! prove that they are not needed, so the files keep more than what is found here, and the comparison asks only that
//! they keep what is.

mod bundle;

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde_json::{Value, json};

use self::bundle::{Bundle, Need, Runtime};
use crate::workspace;

/// Arguments of the task.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Fail if something is needed that the files don't hold.
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Add to the files what is needed, and say in them what it was measured with.
    #[arg(long)]
    write: bool,
    /// How often a container has to start without a call before the call counts as not needed.
    #[arg(long, default_value_t = 3)]
    runs: u32,
}

/// Calls of Go's scheduler and the return from its preemption signal. Without them one run in five to ten fails: taken
/// away by luck, they would make every later try fail by chance and seem to prove that what it took away is needed.
const BY_CHANCE: [&str; 2] = ["futex", "rt_sigreturn"];

/// The file of a base, and what it says.
struct File {
    path: PathBuf,
    json: Value,
}

/// Runs the task.
pub fn main(args: &Args) -> Result<()> {
    let mut table = Table::new();
    table.set_header(["base", "measured with", "containers", "needed", "missing in the file"]);
    let mut missing_somewhere = false;
    for runtime in [Runtime::Runc, Runtime::Crun] {
        for no_new_privileges in [true, false] {
            let name = format!("{}{}", runtime.name(), if no_new_privileges { "-nnp" } else { "" });
            let mut file = File::read(&name)?;
            let bundle = Bundle::new(runtime, no_new_privileges)?;
            let needed =
                measure(&bundle, &file.needs()?, args.runs).with_context(|| format!("base {name}"))?;
            let missing: Vec<String> = needed.difference(&file.needs()?).map(ToString::to_string).collect();
            missing_somewhere |= !missing.is_empty();
            let shown: Vec<String> = needed.iter().map(ToString::to_string).collect();
            table.add_row([
                name,
                bundle.version()?,
                bundle.started().to_string(),
                format!("{}: {}", needed.len(), shown.join(" ")),
                if missing.is_empty() { "nothing".into() } else { missing.join(" ") },
            ]);
            if args.write {
                file.write(&needed, &bundle.version()?)?;
            }
        }
    }
    println!("{table}");
    if missing_somewhere && args.check {
        bail!(
            "a runtime needs what its file does not hold: run `cargo xtask runtime-bases --write`, and look at it"
        );
    }
    Ok(())
}

/// What can't be taken away. Tried from what the file does not hold down to what it does, so that of two ways of the
/// runtime the file's is kept.
fn measure(bundle: &Bundle, in_file: &BTreeSet<Need>, runs: u32) -> Result<BTreeSet<Need>> {
    let starts = |needs: &BTreeSet<Need>| -> Result<bool> {
        for _ in 0..runs {
            if !bundle.starts_under(needs)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let mut kept: BTreeSet<Need> = Need::universe().union(in_file).cloned().collect();
    if !starts(&kept)? {
        bail!("the container does not start with a filter that allows everything: {}", bundle.last_output());
    }
    let by_chance = |need: &&Need| BY_CHANCE.contains(&need.call().as_str()) && in_file.contains(*need);
    let others: Vec<Need> = kept.difference(in_file).cloned().collect();
    let mut parts: Vec<Vec<Need>> =
        vec![in_file.iter().filter(|need| !by_chance(need)).cloned().collect(), others];
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let without: BTreeSet<Need> = kept.iter().filter(|need| !part.contains(need)).cloned().collect();
        // A machine under load may let a start fail once: what stays needed has failed twice.
        if starts(&without)? || part.len() == 1 && starts(&without)? {
            kept = without;
        } else if let [_, _, ..] = part.as_slice() {
            let (left, right) = part.split_at(part.len() / 2);
            parts.push(left.to_vec());
            parts.push(right.to_vec());
        }
    }
    Ok(kept)
}

impl File {
    fn read(name: &str) -> Result<Self> {
        let path = workspace::root().join("profiles/runtime").join(format!("{name}.json"));
        let bytes = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
        let json =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", path.display()))?;
        Ok(Self { path, json })
    }

    /// What the file allows.
    fn needs(&self) -> Result<BTreeSet<Need>> {
        let names = strings(&self.json, "syscalls").context("a base without \"syscalls\"")?;
        let limits = self.json["arguments"].as_array().cloned().unwrap_or_default();
        let options = limits.iter().filter_map(|limit| limit["values"].as_array()).flatten();
        let options = options.filter_map(Value::as_u64).map(Need::Prctl);
        Ok(names.into_iter().filter(|name| name != "prctl").map(Need::Call).chain(options).collect())
    }

    /// Adds what was measured. What an earlier measurement found needed stays: it may depend on timing.
    fn write(&mut self, needed: &BTreeSet<Need>, version: &str) -> Result<()> {
        let mut names: BTreeSet<String> = needed.iter().map(Need::call).collect();
        let options: BTreeSet<u64> = needed.iter().filter_map(Need::option).collect();
        names.extend(strings(&self.json, "required").unwrap_or_default());
        let mut all: BTreeSet<String> =
            strings(&self.json, "syscalls").unwrap_or_default().into_iter().collect();
        all.extend(names.iter().cloned());
        if all.contains("prctl") {
            let before = self.needs()?;
            let values: BTreeSet<u64> =
                before.iter().filter_map(Need::option).chain(options.clone()).collect();
            self.json["arguments"] =
                json!([{ "call": "prctl", "index": 0, "required": options, "values": values }]);
        }
        self.json["required"] = json!(names);
        self.json["syscalls"] = json!(all);
        self.json["source"] = format!("measured by `cargo xtask runtime-bases`: {version}, x86_64").into();
        let mut bytes = serde_json::to_vec_pretty(&self.json)?;
        bytes.push(b'\n');
        fs::write(&self.path, bytes).with_context(|| format!("can't write {}", self.path.display()))
    }
}

fn strings(json: &Value, key: &str) -> Option<Vec<String>> {
    json[key].as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
}
