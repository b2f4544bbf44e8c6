//! The `AppArmor` labels that the target's processes run under, as `/proc` shows them.

use std::collections::BTreeSet;

use crate::recording::BytePath;

/// Most labels that are kept.
const MAX_LABELS: usize = 256;
/// Most processes that are looked at each time: the rest have their turn the next time.
const PROCESSES: usize = 64;

/// The labels that were met.
#[derive(Debug, Default)]
pub struct Labels {
    /// Whether the kernel has `AppArmor`; `None` until it was asked.
    enabled: Option<bool>,
    seen: BTreeSet<BytePath>,
    turn: usize,
}

impl Labels {
    /// Looks at some of the target's processes.
    pub fn look(&mut self, processes: impl FnOnce() -> Vec<u32>) {
        let enabled = *self.enabled.get_or_insert_with(has_apparmor);
        if !enabled || self.seen.len() >= MAX_LABELS {
            return;
        }
        let processes = processes();
        let start = if self.turn < processes.len() { self.turn } else { 0 };
        for pid in processes.iter().skip(start).take(PROCESSES) {
            self.seen.extend(label_of(*pid));
        }
        self.turn = start + PROCESSES;
    }

    /// What was met, in order.
    pub fn all(&self) -> Vec<BytePath> {
        self.seen.iter().cloned().collect()
    }
}

/// Whether this kernel has `AppArmor`, and it is on.
pub fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// `docker-default (enforce)`, or `unconfined`.
pub fn label_of(pid: u32) -> Option<BytePath> {
    // The first exists from Linux 5.8 on, and also where another security module comes first.
    let text = ["attr/apparmor/current", "attr/current"]
        .iter()
        .find_map(|name| std::fs::read(format!("/proc/{pid}/{name}")).ok())?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    (!text.is_empty()).then(|| text.to_vec().into())
}

/// Whether a label is of a profile that refuses, and does not only log.
pub fn refuses(label: &BytePath) -> bool {
    ["(enforce)", "(kill)"].iter().any(|mode| label.as_bytes().ends_with(mode.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_profiles_in_force_refuse() {
        for (label, expected) in [
            ("docker-default (enforce)", true),
            ("strict (kill)", true),
            ("docker-default (complain)", false),
            ("unconfined", false),
            ("a//b (unconfined)", false),
        ] {
            assert_eq!(refuses(&label.into()), expected, "{label}");
        }
    }
}
