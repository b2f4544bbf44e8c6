//! The hook set `lsm` against the hook set `syscalls` and against AppArmor itself. One run of one workload in a guest,
//! under a profile in complain mode, is watched by three witnesses at once: two recorders and AppArmor's own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use sandbox_trace_tests::{
    recorded::{Recorded, decode},
    vm::{self, Outcome},
};

const FILEOPS: &str = env!("CARGO_BIN_EXE_fileops");
const CALLS: &str = env!("CARGO_BIN_EXE_calls");
const URING: &str = env!("CARGO_BIN_EXE_uring");

/// Everything but executions is answered by complaining. Executions are granted, so that the label stays the same, and
/// logged all the same.
const WATCHED: &str = "
profile watched flags=(complain,attach_disconnected,mediate_deleted) {
  audit /** ix,
}
";

/// What is watched.
const WORKLOAD: &str = r#"#!/bin/sh
cd /tmp/work
FILEOPS run /tmp/work/fileops > /dev/null
CALLS network /tmp/work/network > /dev/null
CALLS ids /tmp/work/ids
echo 'print(sum(1 for _ in open("/etc/passwd")))' > program.py
python3 program.py > counted
cat counted /etc/passwd | sort -u | tee sorted | wc -l >> lines
printf '#!/run/busybox/ash\nread line < /etc/hosts\n' > script
chmod 755 script
./script
ln -s script followed
./followed
cp script copy && mv copy moved && ln moved linked && rm moved
mkdir -p a/b && touch a/b/c && mv a d && chown 1:1 d/b/c && rm -r d
mkfifo fifo
(echo x > fifo &) ; cat fifo > /dev/null
truncate -s 1 lines
flock lines true
ls -l / > /dev/null
"#;

/// Two recorders on one cgroup, then the workload in it, under the profile; its log goes to /out/dmesg, which the guest
/// leaves in any case.
const SCRIPT: &str = r#"
set -e
echo 0 > /proc/sys/kernel/printk_ratelimit
apparmor_parser -r /etc/apparmor.d/watched
mkdir -p /tmp/work/fileops /tmp/work/network /tmp/work/ids /sys/fs/cgroup/watched
FILEOPS prepare /tmp/work/fileops
chmod 755 /opt/workload
export TMPDIR=/tmp
for hooks in syscalls lsm; do
    sandbox-trace -v record --hooks $hooks --cgroup /watched -o /out/$hooks.json 2> /out/$hooks.log &
    while ! grep -q armed /out/$hooks.log; do kill -0 $!; sleep 0.2; done
done
set +e
sh -c 'echo "exec watched" > /proc/self/attr/apparmor/exec
    echo $$ > /sys/fs/cgroup/watched/cgroup.procs
    exec "$@"' start $WORK > /out/work.log 2>&1
echo $? > /out/work.status
wait
for hooks in syscalls lsm; do
    sandbox-trace emit-apparmor /out/$hooks.json --name watched -o /out/$hooks.aa --allow-incomplete $ALLOW > /out/$hooks.emit 2>&1
done
"#;

fn watched(workload: &str, command: &str, script: &str) -> Result<Outcome> {
    let fill = |text: &str| text.replace("FILEOPS", FILEOPS).replace("CALLS", CALLS).replace("URING", URING);
    let allow = "ALLOW='--allow io_uring_setup --allow dac_override --allow dac_read_search --allow setuid \
                 --allow setgid --allow chown --allow sys_admin'";
    let script = format!("WORK='{command}'\n{allow}\n{}\n{script}", fill(SCRIPT));
    let files = [("/opt/workload", fill(workload)), ("/etc/apparmor.d/watched", WATCHED.to_owned())];
    let files = files.each_ref().map(|(path, content)| (*path, content.as_str()));
    let outcome = vm::run_with(&script, &files, &[FILEOPS, CALLS, URING, "/usr/bin/true"].map(Path::new))?;
    let status = outcome.file("work.status").with_context(|| outcome.console.clone())?;
    ensure!(status.trim() == "0", "the workload failed, {status}: {}", outcome.file("work.log")?);
    Ok(outcome)
}

/// Path and hard link's target → rule letters.
type Letters = BTreeMap<(String, Option<String>), BTreeSet<char>>;

#[test]
fn both_hook_sets_and_apparmors_own_log_agree() -> Result<()> {
    let outcome = watched(WORKLOAD, "sh /opt/workload", "")?;
    if let Ok(keep) = std::env::var("KEEP") {
        for name in [
            "syscalls.json",
            "lsm.json",
            "syscalls.log",
            "lsm.log",
            "lsm.aa",
            "syscalls.aa",
            "lsm.emit",
            "syscalls.emit",
        ] {
            std::fs::write(format!("{keep}/{name}"), outcome.file(name).unwrap_or_default())?;
        }
        std::fs::write(format!("{keep}/dmesg"), &outcome.dmesg)?;
        std::fs::write(format!("{keep}/console"), &outcome.console)?;
    }
    bail!("look")
}

#[test]
fn scratch() -> Result<()> {
    let script = std::fs::read_to_string(std::env::var("GUEST_SCRIPT")?)?;
    let outcome = vm::run_with(&script, &[], &[FILEOPS, CALLS, URING, "/usr/bin/true"].map(Path::new))?;
    println!("{}", outcome.console);
    if let Ok(keep) = std::env::var("KEEP") {
        std::fs::write(format!("{keep}/dmesg2"), &outcome.dmesg)?;
    }
    bail!("scratch")
}
