//! New privileges, each once whatever files it is in, and which of them a person approved.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{date::Date, workload::Approval};
use crate::{
    diff::{Change, Evidence, Kind, Risk},
    recording::printable,
};

/// A new privilege.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Privilege {
    /// What kind.
    pub kind: Kind,
    /// What.
    pub what: String,
    /// Which access of it; may be empty.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approved {
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Until when.
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
        let key = (change.kind, change.what.as_str(), change.access.as_str());
        if let Some(privilege) = known.get(&key).and_then(|at| out.privileges.get_mut(*at)) {
            privilege.also(change);
        } else {
            known.insert(key, out.privileges.len());
            out.privileges.push(Privilege::of(change));
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
            (true, true) => out.notes.push(format!("the approval of {named} expired on {}: it counts no more", approval.expires)),
            (false, _) => out.notes.push(format!("nothing new needs the approval of {named}: take it out of workload.toml")),
            (true, false) => {}
        }
    }
    out
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

    /// The same privilege in another file.
    fn also(&mut self, change: &Change) {
        self.files.extend(change.file.iter().filter(|file| !self.files.contains(file)).cloned().collect::<Vec<_>>());
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
        Approved { by: self.by.to_string(), reason: self.reason.to_string(), expires: self.expires.to_string() }
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
        out += &format!("[[approval]]\n{text}expires = {}\n\n", today.in_three_months());
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
        assert!(workload::parse(&text, "f").unwrap_err().to_string().contains("it must say something"), "{text}");
        let filled = text.replace("reason = \"\"", "reason = \"r\"").replace("by = \"\"", "by = \"b\"");
        let approvals = workload::parse(&filled, "f").unwrap().approvals;
        for (today, approved, notes) in [("2026-11-30", true, 0), ("2027-02-28", true, 0), ("2027-03-01", false, 2)] {
            let judged = judge(&changes, &approvals, day(today));
            assert!(judged.privileges.iter().all(|p| p.approved.is_some() == approved), "{today}");
            assert_eq!(judged.notes.len(), notes, "{today}");
        }
        let other = [change(Kind::File, "/etc/shadow", "apparmor.profile")];
        let judged = judge(&other, &approvals, day("2026-11-30"));
        assert_eq!((judged.privileges.first().unwrap().approved.clone(), judged.notes.len()), (None, 2));
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
