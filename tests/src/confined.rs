//! The agent and its attacks under an AppArmor profile, in a guest whose kernel enforces it.

use anyhow::{Result, ensure};

use crate::{agent, vm::Outcome};

/// What no profile made for the agent's work allows.
pub const ATTACKS: [&str; 3] = ["read-shadow", "write-usr-bin", "exec-tmp"];

/// Runs its arguments confined by $profile. The attribute is set by the shell that then becomes the program.
const CONFINED: &str = r#"
confined() {
    profile=$1; shift
    sh -c 'echo "exec $0" > /proc/self/attr/apparmor/exec && exec "$@"' "$profile" "$@"
}
printf '#!/bin/sh\n' > /tmp/attack-program
chmod 755 /tmp/attack-program
"#;

/// The lines of a script that run the agent and each attack confined by `profile`, into files in /out.
#[must_use]
pub fn runs(profile: &str) -> String {
    let mut script = format!(
        "{CONFINED}\nconfined {profile} {} > /out/work 2> /out/work.err\necho $? > /out/work.status\ndmesg > /out/dmesg-work\n",
        agent::work().join(" ")
    );
    for name in ATTACKS {
        script += &format!("confined {profile} {} > /out/{name} 2>&1\n", agent::attack(name).join(" "));
    }
    script
}

/// Fails unless the agent did its work without a denial, and each attack was denied.
pub fn expect(outcome: &Outcome, profile: &str) -> Result<()> {
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
