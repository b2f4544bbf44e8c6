use proptest::prelude::*;

use super::*;
use crate::seccomp::profile::from_json;

fn profile(rules: &str) -> Profile {
    let json = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["SCMP_ARCH_X86_64"],"syscalls":[{rules}]}}"#
    );
    from_json(json.as_bytes(), "p").unwrap()
}

fn allow(names: &[&str]) -> String {
    format!(r#"{{"names":{},"action":"SCMP_ACT_ALLOW"}}"#, serde_json::to_string(names).unwrap())
}

fn with(name: &str, args: &[(u32, u64, u64)]) -> String {
    let args: Vec<String> = args
        .iter()
        .map(|(index, mask, value)| {
            format!(r#"{{"index":{index},"value":{mask},"valueTwo":{value},"op":"SCMP_CMP_MASKED_EQ"}}"#)
        })
        .collect();
    format!(r#"{{"names":["{name}"],"action":"SCMP_ACT_ALLOW","args":[{}]}}"#, args.join(","))
}

/// `+ argument socket AF_INET6, SOCK_DGRAM`, of all lists.
fn lines(diff: &Diff) -> Vec<String> {
    let of = |list: &[Change], sign: char| -> Vec<String> {
        list.iter()
            .map(|c| {
                format!("{sign} {} {} {} {}", c.kind, c.what, c.access, c.risk.name()).trim_end().to_owned()
            })
            .collect()
    };
    [of(&diff.added, '+'), of(&diff.removed, '-'), of(&diff.cosmetic, '~')].concat()
}

fn compared(old: &[String], new: &[String]) -> Vec<String> {
    lines(&seccomp(&profile(&old.join(",")), &profile(&new.join(","))))
}

const LOW: u64 = 0xffff_ffff;

#[test]
fn calls_come_and_go_with_their_risk() {
    assert_eq!(
        compared(&[allow(&["read", "write"])], &[allow(&["read", "statx", "ptrace"])]),
        ["+ syscall ptrace  critical", "+ syscall statx  low", "- syscall write  none"]
    );
}

#[test]
fn order_grouping_and_repetition_are_cosmetic() {
    let (one, two) = ([allow(&["a", "b", "c"])], [allow(&["c", "a"]), allow(&["b", "b"]), allow(&["a"])]);
    assert_eq!(compared(&one, &two), ["~ text rules  none"]);
    assert_eq!(compared(&one, &one), [""; 0]);
}

#[test]
fn what_arguments_admit_decides() {
    let inet = with("socket", &[(0, LOW, 2), (1, 0xf, 1)]);
    let inet6 = with("socket", &[(0, LOW, 10), (1, 0xf, 2)]);
    let packet = with("socket", &[(0, LOW, 17)]);
    assert_eq!(
        compared(std::slice::from_ref(&inet), &[inet.clone(), inet6.clone()]),
        ["+ argument socket AF_INET6, SOCK_DGRAM low"]
    );
    assert_eq!(
        compared(std::slice::from_ref(&inet), &[inet.clone(), packet]),
        ["+ argument socket AF_PACKET high"]
    );
    assert_eq!(compared(std::slice::from_ref(&inet), &[allow(&["socket"])]), ["+ argument socket any high"]);
    assert_eq!(compared(&[allow(&["socket"])], std::slice::from_ref(&inet))[0], "- argument socket any none");
    // Two rules that are one together.
    let halves = [with("ioctl", &[(1, 1, 0)]), with("ioctl", &[(1, 1, 1)])];
    assert_eq!(compared(&[allow(&["ioctl"])], &halves), ["~ syscall ioctl  none"]);
    assert_eq!(compared(&halves, &[allow(&["ioctl"])]), ["~ syscall ioctl  none"]);
    // A wider mask is narrower.
    assert_eq!(
        compared(&[with("clone", &[(0, 0x7e02_0000, 0)])], &[with("clone", &[(0, LOW, 0x11)])]).len(),
        1
    );
    assert_eq!(
        compared(&[with("clone", &[(0, LOW, 0x11)])], &[with("clone", &[(0, 0x3e02_0000, 0)])]),
        ["+ argument clone arg0 & 0x3e020000 = 0x0 high"]
    );
}

#[test]
fn a_dangerous_value_among_many_is_named() {
    let excluded: BTreeSet<u32> = [0x5412, 0x541c, 0x5423].into();
    let fewer: BTreeSet<u32> = [0x541c, 0x5423].into();
    let cover = |excluded: &BTreeSet<u32>| -> Vec<String> {
        crate::policy::cover::all_but(excluded)
            .into_iter()
            .map(|(mask, value)| with("ioctl", &[(1, mask.into(), value.into())]))
            .collect()
    };
    assert_eq!(compared(&cover(&excluded), &cover(&fewer)), ["+ argument ioctl arg1 = 0x5412 high"]);
    assert_eq!(compared(&cover(&excluded), &[allow(&["ioctl"])]), ["+ argument ioctl any high"]);
}

#[test]
fn other_answers_are_cosmetic_and_other_defaults_are_not() {
    let errno = |number: u32| format!(r#"{{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":{number}}}"#);
    let diff = seccomp(&profile(&errno(38)), &profile(&errno(13)));
    assert_eq!(diff.cosmetic[0].detail, "gets EACCES (before: gets ENOSYS)");
    assert!(!diff.widened() && diff.removed.is_empty());
    let open = from_json(br#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, "p").unwrap();
    let closed = from_json(br#"{"defaultAction":"SCMP_ACT_KILL_PROCESS"}"#, "p").unwrap();
    assert_eq!(lines(&seccomp(&closed, &open)), ["+ default calls without a rule is admitted critical"]);
    assert_eq!(lines(&seccomp(&open, &closed)), ["- default calls without a rule ends the process none"]);
    let notify = from_json(
        br#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_NOTIFY"}]}"#,
        "p",
    )
    .unwrap();
    let diff = seccomp(&profile(""), &notify);
    assert_eq!(diff.added[0].detail, "for a supervisor or tracer to decide");
    assert!(seccomp(&notify, &profile(&allow(&["a"]))).widened());
    assert!(!seccomp(&profile(&allow(&["a"])), &notify).widened());
}

#[test]
fn an_architecture_is_a_privilege() {
    let with = |list: &str| {
        from_json(format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":{list}}}"#).as_bytes(), "p")
            .unwrap()
    };
    let (one, two) = (with("[]"), with(r#"["SCMP_ARCH_X86","SCMP_ARCH_X86_64"]"#));
    assert_eq!(lines(&seccomp(&one, &two)), ["+ architecture SCMP_ARCH_X86  medium"]);
    assert!(!seccomp(&two, &one).widened());
}

#[test]
fn what_depends_on_capabilities_is_compared_with_its_like() {
    let conditional = |names: &str, cap: &str| {
        format!(r#"{{"names":{names},"action":"SCMP_ACT_ALLOW","includes":{{"caps":["{cap}"]}}}}"#)
    };
    let mount = conditional(r#"["mount"]"#, "CAP_SYS_ADMIN");
    let diff = seccomp(&profile(""), &profile(&mount));
    assert!(diff.added[0].detail.contains("CAP_SYS_ADMIN"), "{:?}", diff.added);
    // Always is more than sometimes, and another condition is not the same.
    assert!(seccomp(&profile(&mount), &profile(&allow(&["mount"]))).widened());
    assert!(!seccomp(&profile(&allow(&["mount"])), &profile(&mount)).widened());
    assert!(seccomp(&profile(&mount), &profile(&conditional(r#"["mount"]"#, "CAP_CHOWN"))).widened());
    assert!(
        !seccomp(&profile(&mount), &profile(&conditional(r#"["mount","mount"]"#, "CAP_SYS_ADMIN"))).widened()
    );
}

#[test]
fn overlapping_opposites_are_taken_for_the_worse() {
    let deny = r#"{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"args":[{"index":0,"value":7,"op":"SCMP_CMP_EQ"}]}"#;
    let both = format!("{},{deny}", allow(&["a"]));
    assert!(seccomp(&profile(&both), &profile(&allow(&["a"]))).widened());
    assert!(!seccomp(&profile(&both), &profile(&both)).widened());
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    let rule = prop_oneof![
        prop::sample::select(vec!["read", "write", "socket", "ioctl"]).prop_map(|name| allow(&[name])),
        (prop::sample::select(vec!["socket", "ioctl", "prctl"]), 0..3_u32, 0..4_u64)
            .prop_map(|(name, index, value)| with(name, &[(index, 3, value)])),
        Just(r#"{"names":["statx"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#.to_owned()),
    ];
    prop::collection::vec(rule, 0..8)
}

proptest! {
    #[test]
    fn a_profile_does_not_differ_from_itself(rules in rules(), seed in any::<prop::sample::Index>()) {
        let old = profile(&rules.join(","));
        prop_assert!(seccomp(&old, &old).is_empty());
        // However it is ordered, and whatever is said twice.
        let mut other = rules.clone();
        other.reverse();
        if !other.is_empty() {
            other.push(other[seed.index(other.len())].clone());
        }
        let diff = seccomp(&old, &profile(&other.join(",")));
        prop_assert!(!diff.widened() && diff.removed.is_empty(), "{:?}", diff);
    }

    #[test]
    fn the_other_way_round_what_is_new_is_gone(a in rules(), b in rules()) {
        let (a, b) = (profile(&a.join(",")), profile(&b.join(",")));
        let names = |list: &[Change]| -> BTreeSet<(Kind, String, String)> {
            list.iter().map(|c| (c.kind, c.what.clone(), c.access.clone())).collect()
        };
        let (there, back) = (seccomp(&a, &b), seccomp(&b, &a));
        prop_assert_eq!(names(&there.added), names(&back.removed));
        prop_assert_eq!(names(&there.removed), names(&back.added));
    }

    #[test]
    fn what_is_not_called_wider_admits_nothing_more(a in rules(), b in rules(), x in 0..4_u64, y in 0..4_u64) {
        use crate::seccomp::{arch::Arch, bpf, compile::compile};
        let (old, new) = (profile(&a.join(",")), profile(&b.join(",")));
        // More than a quarter of the cases goes on.
        if seccomp(&old, &new).widened() {
            return Ok(());
        }
        let (old, new) = (compile(&old, false).unwrap(), compile(&new, false).unwrap());
        for nr in [0_u32, 1, 16, 41, 157, 332] {
            let args = [Some(x), Some(y), Some(x ^ y), None, None, None];
            let call = bpf::Call { nr, arch: Arch::X8664.audit(), args };
            let passes = |filter: &crate::seccomp::compile::Filter| filter.program.outcome(&call).always_goes_on();
            prop_assert!(passes(&old) || !passes(&new), "{}", nr);
        }
    }
}
