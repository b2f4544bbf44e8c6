//! Limits of a service: a person's own stays where it is no wider.

use serde_json::Value;

use super::Work;
use crate::{
    compose::{edit::Change, yaml::Node},
    docker_syntax,
    emit::quantity::{bytes, cpus},
    error::Result,
    policy::sandbox::Because,
};

/// Reads a text as an amount.
type Amount = fn(&str) -> Option<u64>;

pub fn limits(work: &mut Work<'_>) -> Result<()> {
    let limits = &work.sandbox.limits;
    if let Some(cpu) = &limits.cpu_millis {
        let text = Node::text(cpus(cpu.value));
        limit(work, ("cpus", "cpus"), cpu, &text, docker_syntax::cpus)?;
    }
    if let Some(pids) = &limits.pids {
        let text = Node::Plain(pids.value.to_string());
        limit(work, ("pids_limit", "pids"), pids, &text, |text| text.parse().ok())?;
    }
    let Some(memory) = &limits.memory_bytes else { return Ok(()) };
    let text = Node::text(bytes(memory.value));
    let (held, amount) = limit(work, ("mem_limit", "memory"), memory, &text, docker_syntax::bytes)?;
    // Docker refuses a reservation beyond the limit.
    let reservations: [&[&str]; 2] =
        [&["mem_reservation"], &["deploy", "resources", "reservations", "memory"]];
    for path in reservations {
        if read(work, path, docker_syntax::bytes)?.is_some_and(|reserved| reserved > amount) {
            work.changes.push(Change::set(path, held.clone(), "no more than the limit"));
        }
    }
    work.want("memswap_limit", held, "as much as the memory limit: no swap beside it")
}

/// Limits one resource by the key that the file has for it, the older or the newer, or both as compose asks that they
/// agree. Gives what is then in force, as it is written and as a number.
fn limit(
    work: &mut Work<'_>,
    (old, new): (&str, &str),
    wanted: &Because<u64>,
    node: &Node,
    amount: Amount,
) -> Result<(Node, u64)> {
    let newer = ["deploy", "resources", "limits", new];
    let older = [old];
    let has_old = at(work.before, &older).is_some();
    let has_new = at(work.before, &newer).is_some();
    let paths: Vec<&[&str]> = match (has_old, has_new) {
        (true, true) => vec![&older, &newer],
        (true, false) => vec![&older],
        _ => vec![&newer],
    };
    let mut held = (node.clone(), wanted.value);
    for path in &paths {
        let own = read(work, path, amount)?;
        // 0 is Docker's word for no limit, and nothing else reads as one.
        if let Some(own) = own.filter(|own| (1..=held.1).contains(own)) {
            let written = at(work.before, path).cloned().unwrap_or_default();
            held = match written {
                Value::String(text) => (Node::text(text), own),
                other => (Node::Plain(other.to_string()), own),
            };
        }
    }
    for path in paths {
        if at(work.before, path) != Some(&held.0.value()) && read(work, path, amount)? != Some(held.1) {
            work.changes.push(Change::set(path, held.0.clone(), &wanted.why));
        }
    }
    Ok(held)
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(*key)).filter(|value| !value.is_null())
}

/// The amount at a path; none where there is none, or no number.
fn read(work: &Work<'_>, path: &[&str], amount: Amount) -> Result<Option<u64>> {
    Ok(match at(work.before, path) {
        Some(Value::String(text)) => amount(&work.expanded(path, text)?),
        Some(Value::Number(number)) => amount(&number.to_string()),
        _ => None,
    })
}
