//! Rules for sockets.

use crate::linux;

/// `SOCK_DCCP`: `apparmor_parser` 3.0.8 takes no rule for it.
const SOCK_DCCP: u16 = 6;

/// The rule for sockets of this family and type, if the language has one. The names come from the numbers: a
/// recording's own names are not trusted with a profile.
pub fn rule(family: u16, socket_type: u16) -> Option<String> {
    let socket_type = linux::socket_type(socket_type).filter(|_| socket_type != SOCK_DCCP)?;
    Some(format!("network {} {socket_type},", linux::family(family)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apparmor::testing;

    #[test]
    fn every_rule_allows_its_own_sockets_and_no_others() {
        // A sample of rules together: what must match and what must not is in one automaton.
        let chosen = |family: u16, kind: u16| (u32::from(family) * 7 + u32::from(kind)) % 3 == 0;
        let pairs: Vec<(u16, u16)> =
            linux::families().flat_map(|family| [1, 2, 3, 4, 5, 10].map(|kind| (family, kind))).collect();
        let text: Vec<String> = pairs
            .iter()
            .filter(|(f, t)| chosen(*f, *t))
            .map(|(f, t)| format!("  {}\n", rule(*f, *t).unwrap()))
            .collect();
        let profile = testing::rules(text.concat());
        for (family, kind) in pairs {
            assert_eq!(profile.allows_socket(family, kind), chosen(family, kind), "{family} {kind}");
        }
    }

    #[test]
    fn sockets_are_free_only_where_they_are_not_mediated() {
        assert!(!testing::rules("  /a r,\n").allows_socket(2, 1));
        assert!(testing::rules("  network,\n").allows_socket(2, 1));
        assert!(testing::rules("  network inet,\n").allows_socket(2, 1));
        assert!(!testing::rules("  network inet,\n").allows_socket(10, 1));
        assert!(!testing::rules("  network,\n  deny network inet stream,\n").allows_socket(2, 1));
    }
}
