//! The capabilities, each by itself.

use super::{Check, Subject};
use crate::{linux, probe::report::Verdict};

const WHY: &str =
    "a capability is a part of root's power; what was not needed in training is there for an attacker";

/// The guide's one exception: a port below 1024 harms nobody.
const TOLERATED: &str = "CAP_NET_BIND_SERVICE";

pub fn checks(subject: &Subject) -> Vec<Check> {
    linux::capabilities().enumerate().map(|(number, name)| capability(number, name, subject)).collect()
}

fn capability(number: usize, name: &str, subject: &Subject) -> Check {
    let name = name.to_ascii_uppercase();
    let full = format!("CAP_{name}");
    let status = &subject.status;
    let has = |set: u64| set >> number & 1 == 1;
    let expected = subject.expected.capabilities.has(&full);
    let tolerated = expected || full == TOLERATED;
    let held = has(status.effective) || has(status.permitted) || has(status.ambient);
    let bounding = has(status.bounding);
    let (verdict, seen) = if held {
        (if tolerated { Verdict::Closed } else { Verdict::Open }, "held")
    } else if bounding && status.no_new_privileges {
        (Verdict::Closed, "not held; in the bounding set, but no_new_privs is set")
    } else if bounding {
        let verdict = if tolerated { Verdict::Closed } else { Verdict::Open };
        (verdict, "not held; in the bounding set, and a setuid file gives it")
    } else {
        (Verdict::Closed, "not held")
    };
    let expectation = match (expected, tolerated) {
        (true, _) => "needed",
        (false, true) => "tolerated",
        (false, false) => "not held",
    };
    Check::told(format!("capability:{name}"), format!("capability {name}"), WHY, verdict, seen)
        .expecting(expectation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::checks::Task, seccomp::capabilities::Capabilities};

    fn verdict(subject: &Subject, number: usize, name: &str) -> Verdict {
        match capability(number, name, subject).task {
            Task::Told(verdict, _) => verdict,
            Task::Try(_) => panic!("it is not tried"),
        }
    }

    #[test]
    fn what_can_be_had_and_is_not_expected_is_open() {
        let mut subject = Subject::ordinary();
        subject.status.effective = 1 << 21 | 1 << 10;
        subject.status.bounding = 1 << 21 | 1 << 10 | 1 << 19;
        assert_eq!(verdict(&subject, 21, "sys_admin"), Verdict::Open);
        assert_eq!(verdict(&subject, 10, "net_bind_service"), Verdict::Closed);
        assert_eq!(verdict(&subject, 19, "sys_ptrace"), Verdict::Open);
        assert_eq!(verdict(&subject, 0, "chown"), Verdict::Closed);
        subject.status.no_new_privileges = true;
        assert_eq!(verdict(&subject, 19, "sys_ptrace"), Verdict::Closed);
        assert_eq!(verdict(&subject, 21, "sys_admin"), Verdict::Open);
        subject.expected.capabilities = Capabilities::parse(&["SYS_ADMIN".into()]).unwrap();
        assert_eq!(verdict(&subject, 21, "sys_admin"), Verdict::Closed);
    }
}
