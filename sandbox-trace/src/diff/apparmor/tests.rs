use proptest::prelude::*;

use super::*;
use crate::diff::{Change, Kind};

fn profile(rules: &str) -> String {
    format!(
        "abi <abi/3.0>,\n#include <tunables/global>\nprofile p flags=(attach_disconnected) {{\n{rules}\n}}\n"
    )
}

fn lines(diff: &Diff) -> Vec<String> {
    let of = |list: &[Change], sign: char| -> Vec<String> {
        list.iter().map(|c| format!("{sign} {} {} {} {}", c.kind, c.what, c.access, c.risk.name())).collect()
    };
    [of(&diff.added, '+'), of(&diff.removed, '-'), of(&diff.cosmetic, '~')].concat()
}

fn compared(old: &str, new: &str) -> Vec<String> {
    lines(&apparmor(&profile(old), &profile(new)).unwrap())
}

#[test]
fn rules_come_and_go_with_their_risk() {
    assert_eq!(
        compared(
            "/a r,\n/b rw,\ncapability chown,",
            "/a rw,\n/bin/sh rix,\nnetwork inet6 dgram,\ncapability sys_admin,"
        ),
        [
            "+ capability sys_admin  critical",
            "+ exec /bin/sh rix medium",
            "+ network inet6 dgram  medium",
            "+ file /a w low",
            "- file /b rw none",
            "- capability chown  none",
        ]
    );
    assert_eq!(compared("", "/dev/sda r,")[0], "+ file /dev/sda r critical");
    assert_eq!(compared("", "/dev/** rw,")[0], "+ file /dev/** rw critical");
    assert_eq!(compared("", "owner @{PROC}/@{pid}/mem w,")[0], "+ file @{PROC}/@{pid}/mem owner w critical");
    assert_eq!(compared("/bin/a ix,", "/bin/a ux,")[0], "+ exec /bin/a ux critical");
    assert!(!apparmor(&profile("/bin/a ux,"), &profile("/bin/a ix,")).unwrap().widened());
}

#[test]
fn how_it_is_written_makes_no_difference() {
    let one = "/a r,\n\"/b c\" rw, # why\nsignal (send, receive) peer=p,\nptrace read peer=p,\naudit /x k,\nnetwork inet,";
    let two = "  network   inet,\n file /a r,\n signal receive peer=p,\n signal (send) peer=@{profile_name},\n ptrace (read) peer=p,\n w \"/b c\",\n /b\\040c r,\n /x k,";
    assert_eq!(compared(one, two), [""; 0]);
    // Nor what the profile is called.
    let renamed = profile(one).replace("profile p", "profile q").replace("peer=p,", "peer=q,");
    let diff = apparmor(&profile(one), &renamed).unwrap();
    assert_eq!((diff.widened(), diff.removed.len(), diff.cosmetic.len()), (false, 0, 1));
}

#[test]
fn what_a_wider_rule_holds_is_cosmetic() {
    assert_eq!(compared("/m/** r,\n/m/a r,", "/m/** r,"), ["~ file /m/a r none"]);
    assert_eq!(
        compared("/m/** rw,", "/m/** rw,\n/m/a ra,\n/m/b/* w,"),
        ["~ file /m/a ra none", "~ file /m/b/* w none"]
    );
    assert_eq!(
        compared("/m/a r,\n/m/b r,", "/m/* r,"),
        ["+ file /m/* r low", "~ file /m/a r none", "~ file /m/b r none"]
    );
    assert_eq!(compared("/a r,", "owner /a r,"), ["- file /a r none", "~ file /a owner r none"]);
    assert_eq!(compared("network,", "network inet stream,")[0], "- network any  none");
}

#[test]
fn a_denial_that_goes_is_new() {
    let diff = apparmor(&profile("deny /etc/shadow r,\naudit deny @{PROC}/kcore rw,"), &profile("")).unwrap();
    assert_eq!(lines(&diff), ["+ file @{PROC}/kcore rw critical", "+ file /etc/shadow r medium"]);
    assert_eq!(diff.added[0].detail, "is not denied any more");
    let diff = apparmor(&profile(""), &profile("deny /etc/shadow r,")).unwrap();
    assert_eq!(lines(&diff), ["- file /etc/shadow r none"]);
    // A limit is a denial.
    assert_eq!(compared("set rlimit nofile <= 1024,", "")[0], "+ rule set rlimit nofile <= 1024  medium");
}

#[test]
fn what_is_not_known_is_compared_as_a_line_and_taken_for_the_worse() {
    for rule in
        ["priority=5 /a r,", "mystery (x) peer=y,", "network inet tcp port=5,", "signal mystery peer=p,"]
    {
        for (old, new) in [("", rule), (rule, "")] {
            let diff = apparmor(&profile(old), &profile(new)).unwrap();
            assert_eq!(diff.added.len(), 1, "{rule}");
            assert_eq!(diff.added[0].kind, Kind::Rule);
        }
        assert_eq!(compared(rule, rule), [""; 0]);
    }
    assert_eq!(compared("mount,", "mount fstype=tmpfs,")[0], "- rule mount  none");
}

#[test]
fn flags_variables_and_includes_count() {
    let with = |text: &str| profile("/a@{any_number} r,").replace("flags=(attach_disconnected)", text);
    let diff = apparmor(&with("flags=(attach_disconnected)"), &with("flags=(attach_disconnected, complain)"))
        .unwrap();
    assert_eq!(lines(&diff), ["+ rule flags complain  critical"]);
    let define = |values: &str| format!("@{{any_number}}={values}\n{}", profile("/a@{any_number} r,"));
    let diff = apparmor(&define("{[0-9],x}"), &define("{[0-9],x} **")).unwrap();
    assert_eq!(lines(&diff), ["+ rule @{any_number} ** medium"]);
    assert_eq!(compared("", "#include <abstractions/base>"), ["+ rule include <abstractions/base>  medium"]);
    assert_eq!(compared("include <abstractions/base>", "#include   <abstractions/base>"), [""; 0]);
}

#[test]
fn profiles_in_one_file_are_compared_by_name() {
    let child = |rule: &str| profile(&format!("/a r,\nprofile c {{\n{rule}\n}}"));
    let diff = apparmor(&child(""), &child("/b r,")).unwrap();
    assert_eq!(diff.added[0].detail, "in the profile //c");
    let two = |one: &str, two: &str| format!("profile one {{\n{one}\n}}\nprofile two {{\n{two}\n}}\n");
    assert!(apparmor(&two("/a r,", ""), &two("", "/a r,")).unwrap().widened());
}

/// Rules as they are emitted, of hostile names too.
fn rule() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        prop::collection::vec(1..=255_u8, 1..6),
        prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"a/b".to_vec()]),
    ]
    .prop_filter_map("no such rule", |name| {
        crate::apparmor::pattern::Pattern::literal(&[b"/".as_slice(), &name].concat()).ok().map(|p| p.text())
    });
    prop_oneof![
        (
            path.clone(),
            prop::sample::select(vec!["r", "rw", "mr", "rix", "wk", "a"]),
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(path, letters, owner, deny)| format!(
                "{}{}{path} {letters},",
                if deny { "deny " } else { "" },
                if owner { "owner " } else { "" }
            )),
        (path.clone(), path).prop_map(|(a, b)| format!("link {a} -> {b},")),
        prop::sample::select(vec![
            "/a/* r,",
            "/** w,",
            "network,",
            "network inet stream,",
            "capability chown,",
            "signal send peer=x,",
            "ptrace,",
            "mount,",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn a_profile_does_not_differ_from_itself_in_any_order(mut rules in prop::collection::vec(rule(), 0..10)) {
        let old = profile(&rules.join("\n  "));
        rules.reverse();
        let new = profile(&rules.join(" # comment, with { and \"\n"));
        let diff = apparmor(&old, &new).unwrap();
        prop_assert!(diff.is_empty(), "{:?}", diff);
    }

    #[test]
    fn the_other_way_round_what_is_new_is_gone(
        a in prop::collection::vec(rule(), 0..8), b in prop::collection::vec(rule(), 0..8),
    ) {
        let (a, b) = (profile(&a.join("\n")), profile(&b.join("\n")));
        let names = |list: &[Change]| -> BTreeSet<(Kind, String, String)> {
            list.iter().map(|c| (c.kind, c.what.clone(), c.access.clone())).collect()
        };
        let (there, back) = (apparmor(&a, &b).unwrap(), apparmor(&b, &a).unwrap());
        prop_assert_eq!(names(&there.added), names(&back.removed));
        prop_assert_eq!(names(&there.removed), names(&back.added));
    }

    #[test]
    fn no_text_stops_the_reader(text in "[a-z/{}\\[\\]()@\"#,\\\\ \\n=*-]{0,80}") {
        let _ = apparmor(&text, &text);
        let _ = apparmor(&profile(&text), &profile(""));
    }
}
