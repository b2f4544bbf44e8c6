//! `clone3` that a filter answers with `ENOSYS`, as Docker's default profile does: C libraries and language runtimes
//! then call `clone` with the same flags. Whether that goes on is what counts for the workload.

use std::collections::BTreeMap;

use super::{ENOSYS, Replay};
use crate::{
    policy::arguments::clone_flags_for_clone3,
    requirements::SyscallNeed,
    seccomp::arch::Arch,
    verify::filters::{number, registers},
};

impl Replay<'_> {
    /// Whether every recorded use of `clone3` gets `ENOSYS`, and `clone` goes on with its flags; then a note says so.
    pub(super) fn falls_back_to_clone(&mut self, arch: Arch, need: &SyscallNeed) -> bool {
        let Some(clone) = number("clone", arch) else { return false };
        let goes_on = |flags: u64| {
            self.filters.outcome(&registers(arch, clone, &BTreeMap::from([(0, flags)]))).always_goes_on()
        };
        let falls_back = !need.args.is_empty()
            && self.filters.outcome(&registers(arch, need.nr, &BTreeMap::new())).actions == [ENOSYS].into()
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

#[cfg(test)]
mod tests {
    use super::super::{Container, Verdicts, replay};
    use crate::{
        recording::samples,
        requirements::fold,
        seccomp::{profile, runtime::Runtime},
    };

    fn judge(flags: u64, rules: &str) -> Verdicts {
        let mut recording = samples::calls(&["read"]);
        samples::add(&mut recording, "x86_64", "clone3", &[&[(0, flags)]]);
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
                {{"names":["read"],"action":"SCMP_ACT_ALLOW"}}{rules}]}}"#
        );
        let needs = fold(&[("r.json".into(), recording)], false).unwrap();
        let profile = profile::from_json(json.as_bytes(), "p.json").unwrap();
        replay(&needs, profile, &Container::of(Runtime::None)).unwrap()
    }

    #[test]
    fn a_clone3_without_a_clone_to_fall_back_to_is_blocked() {
        const ENOSYS: &str = r#",{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#;
        const CLONE: &str = r#",{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[
            {"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}"#;
        let both = format!("{ENOSYS}{CLONE}");
        let good = judge(0x3d_0f00, &both);
        assert!(good.blocked.is_empty() && good.unproven.is_empty(), "{good:?}");
        assert!(good.notes.iter().any(|note| note.contains("clone3 gets ENOSYS")), "{:?}", good.notes);
        // No clone; EPERM, on which nobody falls back; a namespace; a cgroup, which clone does not know.
        for (flags, rules) in
            [(0x3d_0f00, ENOSYS), (0x3d_0f00, CLONE), (0x1000_0000, &both), (0x2_0000_0000, &both)]
        {
            let bad = judge(flags, rules);
            assert_eq!(bad.blocked.len(), 1, "{flags:x} {rules}");
            assert!(bad.blocked[0].what.starts_with("clone3"), "{bad:?}");
        }
    }
}
