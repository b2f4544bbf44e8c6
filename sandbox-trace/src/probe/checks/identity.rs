//! Who the container runs as, and what holds it beside that.

use nix::libc;

use super::{Check, Subject};
use crate::{
    probe::{
        board::{Seen, n},
        report::Verdict,
    },
    record,
};

pub fn checks(subject: &Subject) -> Vec<Check> {
    vec![user(subject), become_root(subject), no_new_privileges(subject), seccomp(subject), label(subject)]
}

fn user(subject: &Subject) -> Check {
    let uid = subject.status.uids[1];
    let (verdict, seen) = match (uid, subject.inside_uid) {
        (0, _) => (Verdict::Open, "uid 0".to_owned()),
        (uid, 0) if subject.own_user_namespace => {
            (Verdict::Closed, format!("uid 0 of its own user namespace, which is uid {uid} of the host"))
        }
        (uid, _) => (Verdict::Closed, format!("uid {uid}")),
    };
    let why = "root in a container is root on the host, as soon as anything else gives way";
    Check::told("user", "user id", why, verdict, seen).expecting("not 0")
}

fn become_root(subject: &Subject) -> Check {
    let already = subject.inside_uid == 0;
    let own = subject.own_user_namespace && subject.status.uids[1] != 0;
    let why = "a process that can become root has what root has";
    Check::tried("setuid-root", "become uid 0", why, move |board| {
        match board.call(libc::SYS_setresuid, &mut [n(0), n(0), n(0)]) {
            Ok(_) if own => Seen::closed(format_args!("uid 0 of its own user namespace alone")),
            Ok(_) if already => Seen::open(format_args!("it is uid 0 already")),
            Ok(_) => Seen::open(format_args!("allowed")),
            Err(_) if already && !own => {
                Seen::open(format_args!("the call is denied, but it is uid 0 already"))
            }
            Err(errno) => Seen::refused(errno),
        }
    })
}

fn no_new_privileges(subject: &Subject) -> Check {
    let (verdict, seen) =
        if subject.status.no_new_privileges { (Verdict::Closed, "set") } else { (Verdict::Open, "not set") };
    let why = "without it, one setuid file in the image is enough to become root with all that the bounding set allows";
    Check::told(
        "no-new-privileges",
        "gain privileges through a setuid file (no_new_privs)",
        why,
        verdict,
        seen,
    )
    .expecting("set")
}

fn seccomp(subject: &Subject) -> Check {
    let (verdict, seen) = match subject.filters {
        0 => (Verdict::Open, "none".to_owned()),
        1 => (Verdict::Closed, "1 filter".to_owned()),
        filters => (Verdict::Closed, format!("{filters} filters")),
    };
    let why = "without a filter every system call of the kernel can be attacked";
    Check::told("seccomp", "seccomp filter", why, verdict, seen).expecting("in force")
}

fn label(subject: &Subject) -> Check {
    let (verdict, seen) = match &subject.label {
        None => (Verdict::Unknown, "no AppArmor in this kernel".to_owned()),
        Some(label) if record::refuses(label) => (Verdict::Closed, label.to_string()),
        // Of another security module: what it means can't be told here.
        Some(label) if !crate::start::apparmor_enabled() => (Verdict::Unknown, label.to_string()),
        Some(label) => (Verdict::Open, label.to_string()),
    };
    let why = "a profile decides about files by name, where a filter sees numbers alone";
    Check::told("apparmor", "AppArmor profile", why, verdict, seen).expecting("in force")
}
