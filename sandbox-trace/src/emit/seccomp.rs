//! Policy → the seccomp JSON that Docker (`--security-opt seccomp=`) and OCI runtimes (`linux.seccomp`) take.

use serde::Serialize;

use crate::{
    error::{Error, Result},
    policy::{
        arguments::Condition,
        syscalls::{Admits, DENIED_ERRNO, SyscallPolicy},
    },
};

const ENOSYS: u32 = 38;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    default_action: &'static str,
    default_errno_ret: u32,
    architectures: Vec<&'static str>,
    syscalls: Vec<Rule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule<'a> {
    names: Vec<&'a str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Arg {
    index: u8,
    value: u64,
    value_two: u64,
    op: &'static str,
}

impl From<&Condition> for Arg {
    fn from(condition: &Condition) -> Self {
        let Condition { index, mask, value } = *condition;
        if mask == u64::MAX {
            Self { index, value, value_two: 0, op: "SCMP_CMP_EQ" }
        } else {
            Self { index, value: mask, value_two: value, op: "SCMP_CMP_MASKED_EQ" }
        }
    }
}

/// The bytes of the profile. The same policy is the same bytes.
///
/// First all calls without conditions in one rule, then a rule for each set of conditions, then the calls that
/// get `ENOSYS`. No rule says what the default says: libseccomp refuses such rules.
pub fn json(policy: &SyscallPolicy) -> Result<Vec<u8>> {
    let of_kind = |wanted: &Admits| -> Vec<&str> {
        policy.calls.iter().filter(|(_, c)| c.admits == *wanted).map(|(name, _)| name.as_str()).collect()
    };
    let rule = |names, args| Rule { names, action: "SCMP_ACT_ALLOW", errno_ret: None, args };
    let mut syscalls = vec![rule(of_kind(&Admits::Always), Vec::new())];
    for (name, call) in &policy.calls {
        if let Admits::When(sets) = &call.admits {
            syscalls.extend(sets.iter().map(|set| rule(vec![name], set.iter().map(Arg::from).collect())));
        }
    }
    let missing = of_kind(&Admits::Nothing);
    syscalls.push(Rule {
        names: missing,
        action: "SCMP_ACT_ERRNO",
        errno_ret: Some(ENOSYS),
        args: Vec::new(),
    });
    syscalls.retain(|rule| !rule.names.is_empty());
    let file = File {
        default_action: "SCMP_ACT_ERRNO",
        default_errno_ret: DENIED_ERRNO,
        architectures: policy.architectures.iter().map(|arch| arch.oci()).collect(),
        syscalls,
    };
    let mut json = serde_json::to_vec_pretty(&file)
        .map_err(|e| Error::usage("could not write the profile as JSON").because(e))?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            arguments::Mode,
            syscalls::{Options, policy},
        },
        recording::samples,
        requirements::fold,
        seccomp::runtime::Runtime,
    };

    #[test]
    #[allow(clippy::too_many_lines, reason = "it shows the whole file")]
    fn the_file_is_stable_and_sorted() {
        let mut recording = samples::calls(&["write", "read", "clone3"]);
        samples::add(&mut recording, "x86_64", "socket", &[&[(0, 2), (1, 1)], &[(0, 1), (1, 1)]]);
        let clone3 = recording.syscalls.iter_mut().find(|s| s.name == "clone3").unwrap();
        (clone3.succeeded, clone3.errors) = (false, vec!["ENOSYS".into()]);
        let mut shuffled = recording.clone();
        shuffled.syscalls.reverse();
        let options = Options {
            mode: Mode::Safe,
            allow: [].into(),
            runtime: Runtime::None,
            no_new_privileges: false,
            portable: false,
        };
        let make = |recording| {
            let needs = fold(&[("r".into(), recording)], false).unwrap();
            String::from_utf8(json(&policy(&needs, &options).unwrap()).unwrap()).unwrap()
        };
        let text = make(recording);
        assert_eq!(text, make(shuffled));
        insta::assert_snapshot!(text, @r#"
        {
          "defaultAction": "SCMP_ACT_ERRNO",
          "defaultErrnoRet": 1,
          "architectures": [
            "SCMP_ARCH_X86_64"
          ],
          "syscalls": [
            {
              "names": [
                "exit",
                "exit_group",
                "read",
                "restart_syscall",
                "rt_sigreturn",
                "write"
              ],
              "action": "SCMP_ACT_ALLOW"
            },
            {
              "names": [
                "socket"
              ],
              "action": "SCMP_ACT_ALLOW",
              "args": [
                {
                  "index": 0,
                  "value": 4294967295,
                  "valueTwo": 1,
                  "op": "SCMP_CMP_MASKED_EQ"
                },
                {
                  "index": 1,
                  "value": 15,
                  "valueTwo": 1,
                  "op": "SCMP_CMP_MASKED_EQ"
                }
              ]
            },
            {
              "names": [
                "socket"
              ],
              "action": "SCMP_ACT_ALLOW",
              "args": [
                {
                  "index": 0,
                  "value": 4294967295,
                  "valueTwo": 2,
                  "op": "SCMP_CMP_MASKED_EQ"
                },
                {
                  "index": 1,
                  "value": 15,
                  "valueTwo": 1,
                  "op": "SCMP_CMP_MASKED_EQ"
                }
              ]
            },
            {
              "names": [
                "cachestat",
                "clone3",
                "close_range",
                "copy_file_range",
                "epoll_pwait2",
                "execveat",
                "faccessat2",
                "fchmodat2",
                "futex_requeue",
                "futex_wait",
                "futex_waitv",
                "futex_wake",
                "getrandom",
                "landlock_add_rule",
                "landlock_create_ruleset",
                "landlock_restrict_self",
                "map_shadow_stack",
                "membarrier",
                "memfd_create",
                "memfd_secret",
                "mlock2",
                "openat2",
                "pidfd_open",
                "pidfd_send_signal",
                "preadv2",
                "process_mrelease",
                "pwritev2",
                "renameat2",
                "rseq",
                "set_mempolicy_home_node",
                "statx"
              ],
              "action": "SCMP_ACT_ERRNO",
              "errnoRet": 38
            }
          ]
        }
        "#);
    }
}
