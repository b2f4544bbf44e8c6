//! What a sandbox gives beside its profiles, as a list that two releases can be compared by, and its limits, which
//! follow measured peaks and must not move with each run.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    diff::{Change, Diff, Kind, Risk},
    policy::sandbox::{Because, Network, Sandbox, Source},
    recording::printable,
};

/// How a capability is listed; the profiles' diffs name it by the rest.
const CAPABILITY: &str = "capability ";

/// How file systems in memory are listed.
const TMPFS: &str = "tmpfs ";
/// How mounts are listed.
const MOUNT: &str = "mount ";

/// What is given, and why.
pub type Grants = BTreeMap<String, String>;

/// What the sandbox gives: all that a stricter one would not have.
pub fn grants(sandbox: &Sandbox) -> Grants {
    let mut out = Grants::new();
    let mut give = |what: String, why: &str| drop(out.insert(printable(&what), why.to_owned()));
    if sandbox.user.value.root {
        give("user root".into(), &sandbox.user.why);
    }
    for Because { value, why } in &sandbox.capabilities {
        give(format!("{CAPABILITY}{}", value.to_lowercase()), why);
    }
    for group in &sandbox.groups {
        give(format!("group {group}"), "as it was started");
    }
    if !sandbox.read_only.value {
        give("writable root file system".into(), &sandbox.read_only.why);
    }
    for Because { value, why } in &sandbox.tmpfs {
        give(format!("{TMPFS}{}{}", value.path, if value.exec { ", executable" } else { "" }), why);
    }
    for Because { value, why } in &sandbox.volumes {
        let source = match &value.source {
            Source::Host(path) => path.to_string(),
            Source::Named(name) => format!("volume {name}"),
            Source::Anonymous => "new volume".into(),
        };
        let writable = if value.writable { ", writable" } else { "" };
        let exec = if value.exec { ", executable" } else { "" };
        give(format!("{MOUNT}{} of {source}{writable}{exec}", value.target), why);
    }
    for Because { value, why } in &sandbox.devices {
        give(format!("device {value}"), why);
    }
    match &sandbox.network.value {
        Network::None => {}
        Network::Bridge(None) => give("network bridge".into(), &sandbox.network.why),
        Network::Bridge(Some(name)) => give(format!("network {name}"), &sandbox.network.why),
        Network::Host => give("network of the host".into(), &sandbox.network.why),
    }
    for Because { value, why } in &sandbox.ports {
        let host = value.host.map_or_else(|| "any port".into(), |port| port.to_string());
        let ip = value.host_ip.as_deref().unwrap_or("any address");
        give(format!("port {}/{} on {ip}, {host}", value.container, value.protocol), why);
    }
    for (name, value) in &sandbox.sysctls {
        give(format!("sysctl {name}={value}"), "as it was started");
    }
    out
}

/// What `new` gives and `old` did not, and the reverse.
pub fn diff(old: &BTreeSet<String>, new: &Grants) -> Diff {
    let change = |what: &str, reason: &str, risk| {
        let (kind, what) = match what.strip_prefix(CAPABILITY) {
            Some(name) => (Kind::Capability, name),
            None => (Kind::Rule, what),
        };
        Change { kind, what: what.to_owned(), reason: reason.to_owned(), risk, ..Change::default() }
    };
    let risk = |what: &str| {
        let high = what == "network of the host" || what == "user root" || what.starts_with("device ");
        if high { Risk::High } else { Risk::Medium }
    };
    let added = new.iter().filter(|(what, _)| !old.iter().any(|old| gives(old, what)));
    let removed = old.iter().filter(|what| !new.contains_key(*what));
    Diff {
        added: added.map(|(what, why)| change(what, why, risk(what))).collect(),
        removed: removed.map(|what| change(what, "", Risk::None)).collect(),
        ..Diff::default()
    }
}

/// Whether `old` is as much as `new`: it is the same, has more of what comes after the name, or is a file system in
/// memory in which the new one lies.
fn gives(old: &str, new: &str) -> bool {
    let parts = |grant: &str| -> (String, BTreeSet<String>) {
        let mut parts = grant.split(", ").map(str::to_owned);
        (parts.next().unwrap_or_default(), parts.collect())
    };
    let ((old_name, old_more), (new_name, new_more)) = (parts(old), parts(new));
    let above = || {
        let (old, new) = (old_name.strip_prefix(TMPFS)?, new_name.strip_prefix(TMPFS)?);
        new.strip_prefix(old.trim_end_matches('/')).map(|rest| rest.starts_with('/'))
    };
    let is_kept = old_name == new_name || above() == Some(true);
    // An address and a port are no extras.
    old == new
        || (is_kept
            && [MOUNT, TMPFS].iter().any(|kind| new.starts_with(kind))
            && new_more.is_subset(&old_more))
}

/// Puts the limits of last time in place of those that are still right, and returns all that are in force. A limit
/// stays while a quarter of the headroom is left and less than twice what would be asked for now: peaks differ a little
/// in each run, and a file that changed each time would be read by nobody.
pub fn settle_limits(
    sandbox: &mut Sandbox,
    last: &BTreeMap<String, u64>,
    headroom: u32,
) -> BTreeMap<String, u64> {
    let mut out = BTreeMap::new();
    let mut settle = |name: String, value: &mut u64, why: Option<&mut String>| {
        if let Some(kept) =
            last.get(&name).filter(|kept| **kept != *value && still_right(**kept, *value, headroom))
        {
            *value = *kept;
            if let Some(why) = why {
                why.push_str("; the limit is the one that it had");
            }
        }
        out.insert(name, *value);
    };
    let limits = &mut sandbox.limits;
    for (name, limit) in [
        ("memory bytes", &mut limits.memory_bytes),
        ("thousandths of a CPU", &mut limits.cpu_millis),
        ("tasks", &mut limits.pids),
        ("/dev/shm bytes", &mut limits.shm_bytes),
    ] {
        if let Some(Because { value, why }) = limit {
            settle(name.to_owned(), value, Some(why));
        }
    }
    for Because { value, .. } in &mut sandbox.tmpfs {
        settle(format!("tmpfs {} bytes", value.path), &mut value.bytes, None);
    }
    out
}

fn still_right(kept: u64, wanted: u64, headroom: u32) -> bool {
    let (kept, wanted, headroom) = (u128::from(kept), u128::from(wanted), u128::from(headroom));
    let least = wanted * (400 + headroom) / (400 + 4 * headroom);
    kept >= least && kept < 2 * wanted.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::testing::sandbox;

    #[test]
    fn what_is_given_is_compared() {
        let before: BTreeSet<String> = grants(&sandbox()).into_keys().collect();
        assert!(diff(&before, &grants(&sandbox())).is_empty());
        let listed: Vec<&str> = before.iter().map(String::as_str).collect();
        assert_eq!(
            listed,
            [
                "capability net_bind_service",
                "mount /app/config of /srv/agent/config",
                "mount /app/logs of /srv/agent/logs, writable",
                "network bridge",
                "port 18789/tcp on 127.0.0.1, 18789",
                "tmpfs /tmp",
            ]
        );
        let mut wider = sandbox();
        wider.network.value = Network::Host;
        let diff = diff(&before, &grants(&wider));
        assert_eq!(diff.added.iter().map(|c| c.what.as_str()).collect::<Vec<_>>(), ["network of the host"]);
        assert_eq!(diff.removed.iter().map(|c| c.what.as_str()).collect::<Vec<_>>(), ["network bridge"]);
    }

    #[test]
    fn less_of_the_same_is_not_more() {
        for (old, new, is_less) in [
            ("tmpfs /tmp", "tmpfs /tmp/agent", true),
            ("tmpfs /tmp", "tmpfs /tmp", true),
            ("tmpfs /tmp", "tmpfs /tmpx", false),
            ("tmpfs /tmp", "tmpfs /tmp/agent, executable", false),
            ("tmpfs /tmp, executable", "tmpfs /tmp/agent", true),
            ("tmpfs /tmp/agent", "tmpfs /tmp", false),
            ("mount /a of /b, writable", "mount /a of /b", true),
            ("mount /a of /b", "mount /a of /b, writable", false),
            ("port 1/tcp on any address, 1", "port 1/tcp on any address, 2", false),
            ("network bridge", "network of the host", false),
        ] {
            assert_eq!(gives(old, new), is_less, "{old} {new}");
        }
    }

    #[test]
    fn limits_move_only_when_they_must() {
        // Twice the peak was given. It stays while the peak is below four fifths of it, and above a quarter.
        for (kept, wanted, stays) in
            [(100, 100, true), (100, 160, true), (100, 162, false), (100, 51, true), (100, 50, false)]
        {
            assert_eq!(still_right(kept, wanted, 100), stays, "{kept} {wanted}");
        }
        // Without headroom, never below the peak.
        assert!(!still_right(100, 101, 0) && still_right(100, 100, 0));
        let mut now = sandbox();
        let asked = settle_limits(&mut now, &BTreeMap::new(), 100);
        let last = asked.iter().map(|(name, value)| (name.clone(), value + value / 4)).collect();
        let mut again = sandbox();
        assert_eq!(settle_limits(&mut again, &last, 100), last);
        assert_ne!(again.limits, now.limits);
    }
}
