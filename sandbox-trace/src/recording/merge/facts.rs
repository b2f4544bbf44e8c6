//! Which facts are the same, and what two of the same are together: all of it gives the same in any order, and again.

use std::collections::BTreeMap;

use crate::recording::{ArgTuple, BytePath, CapabilityUse, Credential, NetworkUse, Refusal, RunSet, Syscall};

/// Refused in one and passed in the other is refused, but not always.
fn refused(a: Option<Refusal>, b: Option<Refusal>) -> Option<Refusal> {
    match (a, b) {
        (Some(mut a), Some(b)) => {
            least(&mut a.by, b.by);
            add_all(&mut a.answers, b.answers);
            a.always &= b.always;
            Some(a)
        }
        (a, b) => a.or(b).map(|refused| Refusal { always: false, ..refused }),
    }
}

/// One entry a key, in the order of the keys.
pub fn united<T, K: Ord>(
    list: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, T),
) -> Vec<T> {
    let mut out: BTreeMap<K, T> = BTreeMap::new();
    for item in list {
        match out.entry(key(&item)) {
            std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(item)),
            std::collections::btree_map::Entry::Occupied(mut entry) => add(entry.get_mut(), item),
        }
    }
    out.into_values().collect()
}

/// Adds what is not in a list yet, and brings it into order.
pub fn add_all<T: Ord>(list: &mut Vec<T>, other: Vec<T>) {
    list.extend(other);
    tidy(list);
}

/// Sorted, each once.
pub fn tidy<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// As [`add_all`], for two lists that are in order.
pub fn add_sorted<T: Ord + Copy>(list: &mut Vec<T>, other: &[T]) {
    if list.as_slice() != other && !other.iter().all(|one| list.binary_search(one).is_ok()) {
        list.extend_from_slice(other);
        tidy(list);
    }
}

/// A fact that is in all runs of one recording is not in all runs of both: by now each says in which.
fn add_runs(runs: &mut Option<RunSet>, other: Option<RunSet>) {
    match (runs.as_mut(), other) {
        (Some(runs), Some(other)) => runs.add(&other),
        (_, _) => *runs = None,
    }
}

fn least(name: &mut String, other: String) {
    if other < *name {
        *name = other;
    }
}

/// What one recording could not tell, another may.
fn refuser(name: &mut Option<String>, other: Option<String>) {
    *name = match (name.take(), other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

pub fn key_of_call(call: &Syscall) -> (String, u32) {
    (call.arch.clone(), call.nr)
}

pub fn add_call(call: &mut Syscall, other: Syscall) {
    // Names come from the recorder's own table, and a newer one may know more.
    if call.name.starts_with("syscall_") || (!other.name.starts_with("syscall_") && other.name < call.name) {
        call.name = other.name;
    }
    call.count = call.count.max(other.count);
    let tuples = std::mem::take(&mut call.args).into_iter().chain(other.args);
    call.args = united(
        tuples,
        |tuple| tuple.values.clone(),
        |tuple: &mut ArgTuple, other| {
            add_all(&mut tuple.by, other.by);
            add_runs(&mut tuple.runs, other.runs);
            tuple.refused &= other.refused;
            tuple.count = tuple.count.max(other.count);
            tuple.first_ms = tuple.first_ms.min(other.first_ms);
            tuple.last_ms = tuple.last_ms.max(other.last_ms);
        },
    );
    add_all(&mut call.errors, other.errors);
    call.succeeded |= other.succeeded;
    call.refused = refused(call.refused.take(), other.refused);
    call.first_ms = call.first_ms.min(other.first_ms);
    call.last_ms = call.last_ms.max(other.last_ms);
    add_all(&mut call.by, other.by);
    add_runs(&mut call.runs, other.runs);
}

/// What a use of a socket is.
pub type NetworkKey = (String, u16, u16, u32, Option<BytePath>, Option<String>);

pub fn key_of_network(network: &NetworkUse) -> NetworkKey {
    let NetworkUse { operation, family_nr, type_nr, protocol, address, error, .. } = network;
    (operation.clone(), *family_nr, *type_nr, *protocol, address.clone(), error.clone())
}

pub fn add_network(network: &mut NetworkUse, other: NetworkUse) {
    // Other versions may know other names for a number.
    least(&mut network.family, other.family);
    least(&mut network.socket_type, other.socket_type);
    network.count = network.count.max(other.count);
    network.first_ms = network.first_ms.min(other.first_ms);
    network.last_ms = network.last_ms.max(other.last_ms);
    add_all(&mut network.by, other.by);
    add_runs(&mut network.runs, other.runs);
    refuser(&mut network.refused_by, other.refused_by);
}

pub fn add_capability(capability: &mut CapabilityUse, other: CapabilityUse) {
    // One question that was no probe makes it a need.
    capability.probe &= other.probe;
    least(&mut capability.name, other.name);
    add_all(&mut capability.syscalls, other.syscalls);
    capability.count = capability.count.max(other.count);
    capability.first_ms = capability.first_ms.min(other.first_ms);
    capability.last_ms = capability.last_ms.max(other.last_ms);
    add_all(&mut capability.by, other.by);
    add_runs(&mut capability.runs, other.runs);
    refuser(&mut capability.refused_by, other.refused_by);
}

pub fn add_credential(credential: &mut Credential, other: Credential) {
    add_all(&mut credential.by, other.by);
    add_runs(&mut credential.runs, other.runs);
}
