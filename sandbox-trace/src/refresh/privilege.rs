//! New privileges, each once whatever files it is in, and which of them a person approved.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{date::Date, workload::Approval};
use crate::{
    diff::{About, Change, Cube, Evidence, Kind, Risk},
    linux,
    recording::printable,
    schemas::text::Day,
};

/// A new privilege.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Privilege {
    /// What kind.
    pub kind: Kind,
    /// What.
    pub what: String,
    /// Which access of it; empty where there is but one.
    pub access: String,
    /// What a reader should know beside it; may be empty.
    pub detail: String,
    /// How bad it can be.
    pub risk: Risk,
    /// Why; may be empty.
    pub reason: String,
    /// The emitted files that give it.
    pub files: Vec<String>,
    /// Who needs it, as far as the new recordings tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The approval that covers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
}

/// An approval in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Approved {
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Until when.
    #[schemars(with = "Day")]
    pub expires: String,
}

/// What approvals come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// The privileges, in the order of the changes.
    pub privileges: Vec<Privilege>,
    /// What is to be said of approvals that cover nothing.
    pub notes: Vec<String>,
}

/// The privileges of these changes, and what was approved of them as of `today`.
pub fn judge(changes: &[Change], approvals: &[Approval], today: Date) -> Judged {
    let mut out = Judged::default();
    let mut known: BTreeMap<(Kind, &str, &str), usize> = BTreeMap::new();
    for change in changes {
        if sockets_of(change).is_some_and(|all| all.iter().all(|socket| is_new(socket, changes))) {
            continue;
        }
        let key = (change.kind, change.what.as_str(), change.access.as_str());
        if let Some(privilege) = known.get(&key).and_then(|at| out.privileges.get_mut(*at)) {
            privilege.also(change);
        } else {
            known.insert(key, out.privileges.len());
            out.privileges.push(Privilege::of(change));
        }
    }
    for change in changes {
        let sockets = sockets_of(change).unwrap_or_default();
        for privilege in &mut out.privileges {
            let is_of = |one: &&Change| one.kind == Kind::Network && one.what == privilege.what;
            let about = changes.iter().find(is_of).map(|one| &one.about);
            if about.is_some_and(|about| sockets.iter().any(|socket| socket.is_given_by(about))) {
                privilege.in_file_of(change);
            }
        }
    }
    for approval in approvals {
        let covered = out.privileges.iter_mut().filter(|privilege| approval.covers(privilege));
        let (mut used, expired) = (false, approval.expires < today);
        for privilege in covered {
            used = true;
            if !expired {
                privilege.approved.get_or_insert_with(|| approval.in_force());
            }
        }
        let named = approval.named();
        match (used, expired) {
            (true, true) => out
                .notes
                .push(format!("the approval of {named} expired on {}: it counts no more", approval.expires)),
            (false, _) => out
                .notes
                .push(format!("nothing new needs the approval of {named}: take it out of workload.toml")),
            (true, false) => {}
        }
    }
    out
}

/// A kind of sockets, as a filter sees it and as a profile names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    family: Option<&'static str>,
    socket_type: Option<&'static str>,
}

impl Socket {
    /// What these arguments of `socket` or `socketpair` make, if they leave neither family nor type open.
    fn of(arguments: &Cube) -> Option<Self> {
        // Above it are flags.
        const TYPE: u64 = 0xf;
        const INT: u64 = 0xffff_ffff;
        let fixed = |position: u8, bits: u64| {
            let (_, _, value) =
                arguments.parts().find(|(at, mask, _)| *at == position && mask & bits == bits)?;
            u16::try_from(value & bits).ok()
        };
        let (family, socket_type) = (fixed(0, INT)?, fixed(1, TYPE)?);
        Some(Self { family: linux::family(family), socket_type: linux::socket_type(socket_type) })
    }

    fn is_given_by(&self, about: &About) -> bool {
        let About::Socket { family, socket } = about else { return false };
        let is = |given: &Option<String>, own: Option<&str>| {
            given.as_deref().is_none_or(|given| own == Some(given))
        };
        self.family.is_some() && is(family, self.family) && is(socket, self.socket_type)
    }
}

/// The sockets that new arguments of a call are about, and nothing else: the same privilege as the AppArmor profile's
/// rule for them.
fn sockets_of(change: &Change) -> Option<Vec<Socket>> {
    let About::Arguments { name, with } = &change.about else { return None };
    if !["socket", "socketpair"].contains(&name.as_str()) || with.is_empty() {
        return None;
    }
    with.iter().map(Socket::of).collect()
}

/// Whether a profile's rule among the changes gives such sockets.
fn is_new(socket: &Socket, changes: &[Change]) -> bool {
    changes.iter().any(|change| change.kind == Kind::Network && socket.is_given_by(&change.about))
}

impl Privilege {
    fn of(change: &Change) -> Self {
        Self {
            kind: change.kind,
            what: change.what.clone(),
            access: change.access.clone(),
            detail: change.detail.clone(),
            risk: change.risk,
            reason: change.reason.clone(),
            files: change.file.iter().cloned().collect(),
            evidence: change.evidence.clone(),
            approved: None,
        }
    }

    fn in_file_of(&mut self, change: &Change) {
        if let Some(file) = change.file.as_ref().filter(|file| !self.files.contains(file)) {
            self.files.push(file.clone());
        }
    }

    /// The same privilege in another file.
    fn also(&mut self, change: &Change) {
        self.in_file_of(change);
        if change.risk > self.risk {
            self.risk = change.risk;
            self.reason.clone_from(&change.reason);
        }
        if self.evidence.is_none() {
            self.evidence.clone_from(&change.evidence);
        }
    }
}

impl Approval {
    fn covers(&self, privilege: &Privilege) -> bool {
        self.kind == privilege.kind.name()
            && self.what == privilege.what
            && self.access.as_ref().is_none_or(|access| *access == privilege.access)
    }

    fn named(&self) -> String {
        let access = self.access.as_deref().map_or_else(String::new, |access| format!(" {access}"));
        printable(&format!("{} {}{access}", self.kind, self.what))
    }

    fn in_force(&self) -> Approved {
        Approved {
            by: self.by.to_string(),
            reason: self.reason.to_string(),
            expires: self.expires.to_string(),
        }
    }
}

/// The entries of `workload.toml` that would approve these; who and why is left to a person.
pub fn entries(privileges: &[&Privilege], today: Date) -> String {
    #[derive(Serialize)]
    struct Entry<'a> {
        kind: &'a str,
        what: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        access: &'a str,
        reason: &'a str,
        by: &'a str,
    }
    let mut out = String::new();
    for privilege in privileges {
        let entry = Entry {
            kind: privilege.kind.name(),
            what: &privilege.what,
            access: &privilege.access,
            reason: "",
            by: "",
        };
        // Text alone: it can always be written.
        let text = toml::to_string(&entry).unwrap_or_default();
        out.extend(["[[approval]]\n", &text, "expires = ", &today.in_three_months().to_string(), "\n\n"]);
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refresh::workload;

    fn change(kind: Kind, what: &str, file: &str) -> Change {
        Change { kind, what: what.into(), access: "r".into(), file: Some(file.into()), ..Change::default() }
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_pasted_approves_exactly_what_was_asked_for_until_it_expires() {
        let odd = "/app/\"\\\u{7f}'''é";
        let changes = [
            change(Kind::File, odd, "apparmor.profile"),
            change(Kind::Network, "inet6 stream", "apparmor.profile"),
            change(Kind::Network, "inet6 stream", "seccomp.json"),
        ];
        let asked = judge(&changes, &[], day("2026-11-30")).privileges;
        assert_eq!(asked.len(), 2);
        assert_eq!(asked.last().unwrap().files, ["apparmor.profile", "seccomp.json"]);
        let pasted = entries(&asked.iter().collect::<Vec<_>>(), day("2026-11-30"));
        let text = format!("name = \"x\"\n{pasted}\n");
        assert!(
            workload::parse(&text, "f").unwrap_err().to_string().contains("it must say something"),
            "{text}"
        );
        let filled = text.replace("reason = \"\"", "reason = \"r\"").replace("by = \"\"", "by = \"b\"");
        let approvals = workload::parse(&filled, "f").unwrap().approvals;
        for (today, approved, notes) in
            [("2026-11-30", true, 0), ("2027-02-28", true, 0), ("2027-03-01", false, 2)]
        {
            let judged = judge(&changes, &approvals, day(today));
            assert!(judged.privileges.iter().all(|p| p.approved.is_some() == approved), "{today}");
            assert_eq!(judged.notes.len(), notes, "{today}");
        }
        let other = [change(Kind::File, "/etc/shadow", "apparmor.profile")];
        let judged = judge(&other, &approvals, day("2026-11-30"));
        assert_eq!((judged.privileges.first().unwrap().approved.clone(), judged.notes.len()), (None, 2));
    }

    #[test]
    fn a_socket_is_one_privilege_in_both_profiles() {
        let socket = |family: &str, kind: &str| Change {
            kind: Kind::Network,
            what: format!("{family} {kind}"),
            about: About::Socket { family: Some(family.into()), socket: Some(kind.into()) },
            file: Some("apparmor.profile".into()),
            ..Change::default()
        };
        // AF_NETLINK is 16, SOCK_RAW 3, SOCK_DGRAM 2; the type may come with flags.
        let arguments = |types: &[u64]| {
            let with = types
                .iter()
                .filter_map(|kind| Cube::of(0, u64::MAX, 16).and(&Cube::of(1, 0xffff_ffff, 0x8_0000 | kind)));
            Change {
                kind: Kind::Argument,
                what: "socket".into(),
                about: About::Arguments { name: "socket".into(), with: with.collect() },
                file: Some("seccomp.json".into()),
                ..Change::default()
            }
        };
        let today = day("2026-11-30");
        let of = |changes: &[Change]| judge(changes, &[], today).privileges;
        let one = of(&[arguments(&[3]), socket("netlink", "raw")]);
        assert_eq!(one.len(), 1);
        assert_eq!(one.first().unwrap().files, ["apparmor.profile", "seccomp.json"]);
        // What the rule does not give stays.
        assert_eq!(of(&[arguments(&[3, 2]), socket("netlink", "raw")]).len(), 2);
        assert_eq!(of(&[arguments(&[3]), socket("inet", "raw")]).len(), 2);
        assert_eq!(of(&[arguments(&[3])]).len(), 1);
        let mut any = arguments(&[]);
        any.about = About::Arguments { name: "socket".into(), with: vec![Cube::ALL] };
        assert_eq!(of(&[any, socket("netlink", "raw")]).len(), 2);
    }

    #[test]
    fn an_access_that_is_not_named_is_any() {
        let text = "name = \"x\"\n[[approval]]\nkind = \"file\"\nwhat = \"/a\"\nreason = \"r\"\nby = \"b\"\nexpires = \"2027-01-01\"\n";
        let mut approvals = workload::parse(text, "f").unwrap().approvals;
        let changes = [change(Kind::File, "/a", "apparmor.profile")];
        let approved = |approvals: &[Approval]| {
            judge(&changes, approvals, day("2026-01-01")).privileges.first().unwrap().approved.is_some()
        };
        assert!(approved(&approvals));
        approvals.first_mut().unwrap().access = Some("rw".into());
        assert!(!approved(&approvals));
    }
}
