//! Hand-made seccomp profiles: the tests of the harness itself, and what a recording may be made under.

use serde_json::{Value, json};

/// Allows everything but the named calls, which fail with EPERM.
pub fn all_but(names: &[&str]) -> Value {
    let mut rules = Vec::new();
    if !names.is_empty() {
        rules.push(json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }));
    }
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules })
}
