//! What an enforcing kernel's AppArmor denies, as `run --explain` and `verify --live` tell it, in a guest.

use anyhow::{Result, ensure};
use sandbox_trace_tests::vm::{Guest, Kernel};
use serde_json::Value;

/// Enough to start, and not what the command wants then.
const NARROW: &str = r"
profile narrow flags=(attach_disconnected) {
  /** rix,
  /lib/** mr,
  /usr/** mrix,
  deny /etc/hosts r,
  audit deny /etc/shadow r,
  /dev/null rw,
}
";

/// As it is, and then with one rule less.
const SCRIPT: &str = r#"
apparmor_parser -r /etc/apparmor.d/narrow || exit 1
sandbox-trace run --explain --apparmor narrow -- /usr/bin/python3 -c 'open("/etc/shadow")' > /out/explained 2>&1
echo $? >> /out/explained
sandbox-trace record -q -o /tmp/r.json -- /usr/bin/python3 -c 'open("/etc/group"); open("/etc/passwd")' || exit 2
sandbox-trace emit-apparmor /tmp/r.json --name live -o /tmp/live || exit 3
apparmor_parser -r /tmp/live || exit 4
set -- -q --json --apparmor /tmp/live --live -- /usr/bin/python3 -c 'open("/etc/group"); open("/etc/passwd")'
sandbox-trace verify /tmp/r.json "$@" > /out/same.json 2> /out/same.err
echo $? > /out/same.status
grep -v /etc/passwd /tmp/live > /tmp/less && mv /tmp/less /tmp/live && apparmor_parser -r /tmp/live || exit 5
sandbox-trace verify /tmp/r.json "$@" > /out/less.json 2> /out/less.err
echo $? > /out/less.status
"#;

#[test]
fn what_apparmor_denies_is_told() -> Result<()> {
    let outcome = Guest::new(Kernel::V6_1)?.with_file("/etc/apparmor.d/narrow", NARROW)?.run(SCRIPT)?;
    ensure!(outcome.status == 0, "{}: {}", outcome.status, outcome.console);
    let said = outcome.file("explained")?;
    ensure!(said.lines().last() == Some("1"), "{said}");
    let line = |part: &str| said.lines().any(|line| line.contains(part) && line.contains("/etc/shadow r,"));
    ensure!(
        line("denied  open \"/etc/shadow\" r → EACCES   ") && line("python3"),
        "{said}\n{:#?}",
        outcome.denials("narrow")
    );

    let live = |name: &str| -> Result<(Value, String)> {
        let json: Value = serde_json::from_str(&outcome.file(&format!("{name}.json"))?)?;
        Ok((json["live"].clone(), outcome.file(&format!("{name}.status"))?.trim().to_owned()))
    };
    let (same, status) = live("same")?;
    ensure!(status == "0" && same["denied"].as_array().is_some_and(Vec::is_empty), "{status}: {same:#}");
    let (less, status) = live("less")?;
    ensure!(status == "1", "{status}: {less:#}");
    let denied = less["denied"].as_array().into_iter().flatten();
    let files: Vec<_> = denied.filter(|d| d["kind"] == "file").filter_map(|d| d["what"].as_str()).collect();
    ensure!(files.contains(&"/etc/passwd r"), "{less:#}");
    Ok(())
}
