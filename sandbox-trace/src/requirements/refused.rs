//! What a filter refused while it was recorded: needs like others, but for what is dangerous. A target that asked
//! for something dangerous, was told no and went on has shown that it lives without.

use std::collections::{BTreeMap, BTreeSet};

use super::{NetworkKey, Requirements, SyscallNeed};
use crate::{
    linux,
    policy::danger,
    recording::{ArgTuple, Recording, Syscall},
};

impl SyscallNeed {
    /// Takes in how one recording's filters answered a call.
    pub(super) fn add_refusals(&mut self, syscall: &Syscall) {
        match &syscall.refused {
            Some(refusal) => {
                self.refused.extend(refusal.answers.iter().cloned());
                self.passed |= !refusal.always;
            }
            None => self.passed = true,
        }
        let passed = syscall.args.iter().filter(|tuple| !tuple.refused);
        self.passed_args.extend(passed.map(|tuple| tuple.values.clone()));
    }

    /// Whether every call was refused and every caller went on: with an error, not with a signal.
    fn survived(&self) -> bool {
        let signals = ["SIGSYS", "killed"];
        !self.passed
            && !self.refused.is_empty()
            && !signals.iter().any(|signal| self.refused.contains(*signal))
    }

    /// The recorded arguments that no filter ever let through.
    fn refused_args(&self) -> BTreeSet<BTreeMap<u8, u64>> {
        self.args.keys().filter(|tuple| !self.passed_args.contains(*tuple)).cloned().collect()
    }
}

/// Sets what is dangerous and was survived apart, once all recordings are in: another one may have used it.
pub(super) fn set_apart(needs: &mut Requirements) {
    let is_dangerous = |name: &str, tuple: &BTreeMap<u8, u64>| !danger::in_arguments(name, tuple).is_empty();
    let keys: Vec<_> = needs.syscalls.keys().cloned().collect();
    for key in keys {
        let Some(need) = needs.syscalls.get_mut(&key) else { continue };
        let name = key.1.as_str();
        if need.refused.is_empty() || need.only_enosys() && name == "clone3" {
            continue;
        }
        let dangerous = danger::reason(danger::SYSCALLS, name).is_some();
        let all_values = !need.args.is_empty() && need.args.keys().all(|tuple| is_dangerous(name, tuple));
        if need.survived() && (dangerous || all_values) {
            if let Some(need) = needs.syscalls.remove(&key) {
                needs.survived.insert(key, need);
            }
            continue;
        }
        let apart: Vec<_> =
            need.refused_args().into_iter().filter(|tuple| is_dangerous(name, tuple)).collect();
        // A call whose arguments are all unknown would be given with any: it keeps what it has.
        if apart.is_empty() || apart.len() == need.args.len() || need.refused.contains("killed") {
            continue;
        }
        let args = apart.into_iter().filter_map(|tuple| need.args.remove_entry(&tuple)).collect();
        let survived = SyscallNeed { args, ..need.clone() };
        needs.survived.insert(key, survived);
    }
}

/// Sockets that a filter refused: once it lets them through, the security module is asked. A failed socket is in no
/// list of uses.
fn refused_sockets(syscall: &Syscall) -> impl Iterator<Item = (NetworkKey, &ArgTuple)> {
    const SOCK_TYPE_MASK: u64 = 0xf;
    let makes = matches!(syscall.name.as_str(), "socket" | "socketpair");
    syscall.args.iter().filter(move |tuple| makes && tuple.refused).filter_map(|tuple| {
        let family = u16::try_from(*tuple.values.get(&0)? & 0xffff_ffff).ok()?;
        let kind = u16::try_from(*tuple.values.get(&1)? & SOCK_TYPE_MASK).ok()?;
        let key = NetworkKey {
            family: (family, linux::family(family)?.to_owned()),
            socket_type: (kind, linux::socket_type(kind)?.to_owned()),
        };
        Some((key, tuple))
    })
}

/// Adds the sockets that were refused.
pub(super) fn add_sockets(needs: &mut Requirements, at: (u32, &Recording)) {
    for syscall in &at.1.syscalls {
        for (key, tuple) in refused_sockets(syscall) {
            let often = (tuple.count, tuple.first_ms.max(syscall.first_ms), tuple.last_ms);
            needs.network.entry(key).or_default().add(at, &tuple.by, often);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold;
    use crate::recording::{Recording, samples};

    fn folded(recordings: &[Recording]) -> super::Requirements {
        let named: Vec<_> = recordings.iter().map(|r| ("r".to_owned(), r.clone())).collect();
        fold(&named, false).unwrap()
    }

    fn key(name: &str) -> (String, String) {
        ("x86_64".into(), name.into())
    }

    #[test]
    fn what_was_refused_is_needed_unless_it_is_dangerous_and_was_survived() {
        let mut recording = samples::calls(&["read", "getppid", "mount", "keyctl"]);
        for name in ["getppid", "mount", "keyctl"] {
            samples::refuse(&mut recording, name);
        }
        // Who is killed has not gone on.
        for call in recording.syscalls.iter_mut().filter(|c| c.name == "keyctl") {
            call.refused.as_mut().unwrap().answers = vec!["killed".into()];
        }
        let needs = folded(&[recording.clone()]);
        assert!(needs.syscalls[&key("getppid")].refused.contains("EPERM"));
        assert!(needs.syscalls.contains_key(&key("keyctl")));
        assert!(!needs.syscalls.contains_key(&key("mount")));
        assert!(needs.survived.contains_key(&key("mount")));
        // Another recording in which it got through makes it a need.
        let needs = folded(&[recording, samples::calls(&["mount"])]);
        assert!(needs.syscalls.contains_key(&key("mount")) && needs.survived.is_empty());
    }

    #[test]
    fn namespaces_that_were_refused_are_set_apart_and_other_flags_are_not() {
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "x86_64", "clone", &[&[(0, 0x11)], &[(0, 0x1000_0011)]]);
        let clone = recording.syscalls.iter_mut().find(|c| c.name == "clone").unwrap();
        clone.refused = Some(crate::recording::Refusal {
            by: "seccomp".into(),
            answers: vec!["EPERM".into()],
            always: false,
        });
        clone.args.iter_mut().find(|t| t.values[&0] == 0x1000_0011).unwrap().refused = true;
        let needs = folded(&[recording.clone()]);
        let flags = |need: &super::SyscallNeed| need.args.keys().map(|t| t[&0]).collect::<Vec<_>>();
        assert_eq!(flags(&needs.syscalls[&key("clone")]), [0x11]);
        assert_eq!(flags(&needs.survived[&key("clone")]), [0x1000_0011]);
        // Nothing but refused namespaces: all of it is set apart.
        recording.syscalls.iter_mut().for_each(|c| c.args.retain(|t| t.refused));
        for call in recording.syscalls.iter_mut().filter(|c| c.name == "clone") {
            call.succeeded = false;
            call.refused.as_mut().unwrap().always = true;
        }
        let needs = folded(&[recording]);
        assert!(!needs.syscalls.contains_key(&key("clone")));
        assert!(needs.survived.contains_key(&key("clone")));
    }

    #[test]
    fn a_refused_socket_is_a_use_of_the_network() {
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "x86_64", "socket", &[&[(0, 16), (1, 0x8_0003), (2, 0)]]);
        samples::refuse(&mut recording, "socket");
        let needs = folded(&[recording]);
        let uses: Vec<_> = needs.network.keys().map(|k| (k.family.0, k.socket_type.1.as_str())).collect();
        assert_eq!(uses, [(16, "raw")]);
    }
}
