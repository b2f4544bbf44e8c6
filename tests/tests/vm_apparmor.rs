//! Enforcement of AppArmor profiles by a real kernel, in a guest.

use anyhow::{Result, ensure};
use sandbox_trace_tests::{
    agent, confined,
    vm::{Guest, Kernel},
};

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

/// What the enforcement of recorded profiles in `vm_kernels` rests on: the attacks work unconfined, and a profile that is too narrow for them stops them
/// without stopping the agent.
#[test]
fn a_hand_written_profile_is_enforced() -> Result<()> {
    let mut script = "set -e\napparmor_parser -r /etc/apparmor.d/hand-written\nset +e\n".to_owned();
    script += &confined::runs("hand-written");
    for name in confined::ATTACKS {
        script += &format!("{} > /out/{name}.open 2>&1\n", agent::attack(name).join(" "));
    }
    let outcome =
        Guest::new(Kernel::V6_1)?.with_file("/etc/apparmor.d/hand-written", HAND_WRITTEN)?.run(&script)?;
    confined::expect(&outcome, "hand-written")?;
    for name in confined::ATTACKS {
        let open = agent::attack_result(&outcome.file(&format!("{name}.open"))?)?;
        ensure!(open.is_none(), "{name} is denied unconfined: {open:?}");
    }
    Ok(())
}
