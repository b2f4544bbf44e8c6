//! `clone3` that a filter answers with `ENOSYS`, as Docker's default profile does: C libraries and language runtimes
//! then call `clone` with the same flags. Whether that goes on is what counts for the workload.

use std::collections::BTreeMap;

use super::{ENOSYS, Replay, number_on};
use crate::{policy::arguments::clone_flags_for_clone3, requirements::SyscallNeed, seccomp::arch::Arch};

impl Replay<'_> {
    /// Whether every recorded use of `clone3` gets `ENOSYS`, and `clone` goes on with its flags; then a note says so.
    pub(super) fn falls_back_to_clone(&mut self, arch: Arch, need: &SyscallNeed) -> bool {
        let Some(clone) = number_on(arch, "clone") else { return false };
        let goes_on = |flags: u64| self.outcome(arch, clone, &BTreeMap::from([(0, flags)])).always_goes_on();
        let falls_back = !need.args.is_empty()
            && self.outcome(arch, need.nr, &BTreeMap::new()).actions == [ENOSYS].into()
            && need.args.keys().all(|tuple| {
                let flags = tuple.get(&0).and_then(|flags| clone_flags_for_clone3(*flags));
                flags.is_some_and(|flags| flags.into_iter().all(goes_on))
            });
        if falls_back {
            self.verdicts.checked.seccomp += need.args.len() as u64;
            self.verdicts.notes.push(
                "clone3 gets ENOSYS, as under Docker's default profile; libraries then use clone, which goes on with \
                 the recorded flags. A program of its own that has no such fallback would fail"
                    .into(),
            );
        }
        falls_back
    }
}
