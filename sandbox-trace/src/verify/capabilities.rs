//! Replays needed capabilities against the list that a container is given.

use super::{Blocked, Kind, Verdicts};
use crate::{linux, recording::BytePath, requirements::Requirements, seccomp::capabilities::Capabilities};

/// Replays every needed capability against those that the container has; `rule` says how a missing one is given.
pub fn verify(needs: &Requirements, given: &Capabilities, rule: impl Fn(&str) -> String) -> Verdicts {
    let mut out = Verdicts::default();
    if needs.unobserved.contains("capabilities") {
        out.notes
            .push("capabilities were not observed by the recording: nothing is proven about them".into());
    }
    for (name, (number, evidence)) in &needs.capabilities {
        out.checked.capabilities += 1;
        // The name comes from the number: a recording's own names are not trusted.
        let known = linux::capability(*number).map(str::to_ascii_uppercase);
        if known.as_ref().is_some_and(|known| given.has(&format!("CAP_{known}"))) {
            continue;
        }
        let by = evidence.by.iter().filter(|path| !path.is_empty()).map(ToString::to_string).collect();
        out.blocked.push(Blocked {
            kind: Kind::Capability,
            what: format!("capability {} → EPERM", BytePath::from(name.as_str())),
            needed_by: by,
            rule: known.map_or_else(|| "no list can name it".into(), |known| rule(&known)),
        });
    }
    out.blocked.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::Evidence;

    #[test]
    fn a_needed_capability_that_is_not_given_is_blocked() {
        let mut needs = Requirements::default();
        let evidence = Evidence { by: ["/usr/sbin/nginx".into()].into(), ..Evidence::default() };
        for (name, number) in [("chown", 0), ("setuid", 7), ("sys_new\u{1b}", 63)] {
            needs.capabilities.insert(name.into(), (number, evidence.clone()));
        }
        let given = Capabilities::parse(&["CHOWN".into(), "NET_RAW".into()]).unwrap();
        let verdicts = verify(&needs, &given, |name| format!("cap_add: {name}"));
        assert_eq!(verdicts.checked.capabilities, 3);
        let found: Vec<(&str, &str)> =
            verdicts.blocked.iter().map(|b| (b.what.as_str(), b.rule.as_str())).collect();
        assert_eq!(
            found,
            [
                ("capability setuid → EPERM", "cap_add: SETUID"),
                ("capability sys_new\\x1b → EPERM", "no list can name it"),
            ]
        );
        assert!(verdicts.blocked.iter().all(|b| b.needed_by == ["/usr/sbin/nginx"]));
        let nothing = verify(&needs, &Capabilities::default(), |name| name.into());
        assert_eq!(nothing.blocked.len(), 3);
    }

    #[test]
    fn what_was_not_observed_is_noted() {
        let mut needs = Requirements::default();
        needs.unobserved.insert("capabilities".into());
        let verdicts = verify(&needs, &Capabilities::default(), |name| name.into());
        assert!(verdicts.notes.iter().any(|note| note.contains("not observed")), "{:?}", verdicts.notes);
    }
}
