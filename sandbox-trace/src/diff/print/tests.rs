use super::*;
use crate::diff::{Kind, Risk};

fn diff() -> Diff {
    let evidence = Evidence {
        by: ["/usr/bin/python3.11".into()].into(),
        count: 1_200,
        first_ms: Some(400),
        last_ms: Some(31_250),
        runs: ["a.json".into(), "b.json".into()].into(),
        of: 3,
    };
    let change = |kind, what: &str, access: &str, risk| Change {
        kind,
        what: what.into(),
        access: access.into(),
        risk,
        ..Change::default()
    };
    Diff {
        added: vec![
            Change {
                reason: "reads and forges packets".into(),
                evidence: Some(evidence),
                ..change(Kind::Argument, "socket", "AF_PACKET", Risk::High)
            },
            Change { reason: "reads files".into(), ..change(Kind::File, "/app/models/**", "r", Risk::Low) },
        ],
        removed: vec![change(Kind::Capability, "chown", "", Risk::None)],
        cosmetic: vec![Change {
            detail: "gets EPERM (before: gets ENOSYS)".into(),
            ..change(Kind::Syscall, "statx", "", Risk::None)
        }],
        notes: vec!["a note".into()],
    }
}

/// Every name is one that would mean something in some form.
fn hostile() -> Diff {
    let name = "/x|y`z</code><script>alert(1)</script>\n# head\r\u{1b}[2J[a](https://evil.example) @everyone www.a.b &lt; {0} \\";
    let name = crate::recording::printable(name);
    let mut out = diff();
    for change in out.added.iter_mut().chain(&mut out.removed).chain(&mut out.cosmetic) {
        change.what.clone_from(&name);
        change.detail.clone_from(&name);
        change.access.clone_from(&name);
    }
    out.added[0].evidence.as_mut().unwrap().by = [crate::recording::BytePath::from("/a|`<b>\n")].into();
    out.added[0].file = Some(name);
    out
}

#[test]
fn every_form() {
    let diff = diff();
    insta::assert_snapshot!("table", table(&diff));
    insta::assert_snapshot!("markdown", markdown(&diff));
    let mut sarif = sarif(&diff);
    for version in ["version", "semanticVersion"] {
        sarif["runs"][0]["tool"]["driver"][version] = "VERSION".into();
    }
    insta::assert_snapshot!("sarif", serde_json::to_string_pretty(&sarif).unwrap());
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&json(&diff)).unwrap());
}

#[test]
fn the_answer_comes_first() {
    assert_eq!(summary(&diff()), "✗ 2 new privileges, 1 removed, 1 cosmetic");
    assert_eq!(summary(&Diff::default()), "✓ no difference");
    let narrowed = Diff { added: vec![], ..diff() };
    assert_eq!(summary(&narrowed), "✓ nothing new, 1 removed, 1 cosmetic");
}

#[test]
fn a_hostile_name_means_nothing_in_markdown() {
    let text = markdown(&hostile());
    assert!(!text.contains("<script") && !text.contains("https:") && !text.contains('@'), "{text}");
    assert!(!text.contains('`') && !text.contains("www.a"), "{text}");
    // As many lines and cells as with harmless names.
    let shape = |text: &str| -> Vec<usize> { text.lines().map(|line| line.matches('|').count()).collect() };
    assert_eq!(shape(&text), shape(&markdown(&diff())));
}

#[test]
fn a_hostile_name_means_nothing_on_a_terminal_and_in_sarif() {
    let text = table(&hostile());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    let log = sarif(&hostile());
    let message = log["runs"][0]["results"][0]["message"]["text"].as_str().unwrap();
    assert!(message.contains("\\[a\\](") && !message.contains("[a]("), "{message}");
    let uri = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        .as_str()
        .unwrap();
    assert!(uri.bytes().all(|b| b.is_ascii_alphanumeric() || b"%/.-_~:".contains(&b)), "{uri}");
}

#[test]
fn a_comment_has_room_for_any_number_of_changes() {
    let mut many = diff();
    let one = many.added[1].clone();
    many.added = (0..20_000).map(|n| Change { what: format!("/data/{n}"), ..one.clone() }).collect();
    many.removed = many.added.clone();
    many.cosmetic = many.added.clone();
    let text = markdown(&many);
    assert!(text.chars().count() < 65_536 && text.contains("more; "), "{}", text.len());
    assert!(text.ends_with("a note\n"));
}
