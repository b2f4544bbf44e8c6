//! Enforcement of AppArmor profiles by a real kernel, in a guest.

use anyhow::{Result, ensure};
use sandbox_trace_tests::{agent, vm};

const ATTACKS: [&str; 3] = ["read-shadow", "write-usr-bin", "exec-tmp"];

/// Runs its arguments confined by $profile. The attribute is set by the shell that then becomes the program.
const CONFINED: &str = r#"
confined() {
    profile=$1; shift
    sh -c 'echo "exec $0" > /proc/self/attr/apparmor/exec && exec "$@"' "$profile" "$@"
}
printf '#!/bin/sh\n' > /tmp/attack-program
chmod 755 /tmp/attack-program
"#;

/// Enough for the agent, and nothing of what the attacks want.
const HAND_WRITTEN: &str = r"
profile hand-written {
  network inet stream,
  network unix stream,
  /usr/bin/python3* rix,
  /usr/bin/{sh,dash} rmix,
  /{usr/,}lib{,64}/** rm,
  /opt/agent/{,**} r,
  /etc/{passwd,group,hosts,nsswitch.conf,host.conf,resolv.conf,ld.so.cache} r,
  /proc/** r,
  /tmp/ r,
  /tmp/agent/ rw,
  /tmp/agent/** rwk,
  /dev/{null,urandom} rw,
  /out/** w,
  signal peer=hand-written,
}
";

/// The lines of a script that run the agent and each attack confined by `profile`, into files in /out.
fn confined_runs(profile: &str) -> String {
    let mut script = format!(
        "{CONFINED}\nconfined {profile} {} > /out/work 2> /out/work.err\necho $? > /out/work.status\ndmesg > /out/dmesg-work\n",
        agent::work().join(" ")
    );
    for name in ATTACKS {
        script += &format!("confined {profile} {} > /out/{name} 2>&1\n", agent::attack(name).join(" "));
    }
    script
}

fn expect_confined(outcome: &vm::Outcome, profile: &str) -> Result<()> {
    let status = outcome.file("work.status")?;
    ensure!(
        status.trim() == "0",
        "the agent failed, {status}: {}\n{:#?}",
        outcome.file("work.err")?,
        outcome.denials(profile)
    );
    agent::expect_worked(&outcome.file("work")?)?;
    let denied_at_work: Vec<String> = outcome
        .file("dmesg-work")?
        .lines()
        .filter(|line| line.contains("apparmor=\"DENIED\""))
        .map(str::to_owned)
        .collect();
    ensure!(denied_at_work.is_empty(), "denied at work: {denied_at_work:#?}");
    for name in ATTACKS {
        let answer = agent::attack_result(&outcome.file(name)?)?;
        ensure!(answer.as_deref() == Some("EACCES"), "{name}: {answer:?}");
    }
    // Each was AppArmor's doing, not a missing file's.
    ensure!(outcome.denials(profile).len() >= ATTACKS.len(), "{:#?}", outcome.denials(profile));
    Ok(())
}

/// What the other test rests on: the attacks work unconfined, and a profile that is too narrow for them stops them
/// without stopping the agent.
#[test]
fn a_hand_written_profile_is_enforced() -> Result<()> {
    let mut script = "set -e\napparmor_parser -r /etc/apparmor.d/hand-written\nset +e\n".to_owned();
    script += &confined_runs("hand-written");
    for name in ATTACKS {
        script += &format!("{} > /out/{name}.open 2>&1\n", agent::attack(name).join(" "));
    }
    let outcome = vm::run(&script, &[("/etc/apparmor.d/hand-written", HAND_WRITTEN)])?;
    expect_confined(&outcome, "hand-written")?;
    for name in ATTACKS {
        let open = agent::attack_result(&outcome.file(&format!("{name}.open"))?)?;
        ensure!(open.is_none(), "{name} is denied unconfined: {open:?}");
    }
    Ok(())
}

/// Record → emit-apparmor → verify → load → run again confined, all in the guest.
#[test]
fn a_recorded_profile_blocks_nothing_needed() -> Result<()> {
    let script = format!(
        "set -e
sandbox-trace record -o /out/recording.json -- {work}
sandbox-trace emit-apparmor /out/recording.json --name recorded -o /out/recorded
sandbox-trace verify /out/recording.json --apparmor /out/recorded
apparmor_parser -r /out/recorded
rm -r /tmp/agent
set +e
{runs}",
        work = agent::work().join(" "),
        runs = confined_runs("recorded"),
    );
    let outcome = vm::run(&script, &[])?;
    ensure!(outcome.file("work.status").is_ok(), "the guest stopped early:\n{}", outcome.console);
    expect_confined(&outcome, "recorded")
}
