//! The hook set `lsm` against the hook set `syscalls` and against AppArmor itself. One run of one workload in a guest,
//! under a profile in complain mode, is watched by three witnesses at once: two recorders and AppArmor's own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use sandbox_trace_tests::{
    recorded::decode,
    vm::{Guest, Kernel, Outcome},
};
use serde_json::Value;

const FILEOPS: &str = env!("CARGO_BIN_EXE_fileops");
const CALLS: &str = env!("CARGO_BIN_EXE_calls");
const URING: &str = env!("CARGO_BIN_EXE_uring");

/// Everything but executions is answered by complaining. Executions are granted, so that the label stays the same, and
/// logged all the same. No rule is wider than what is executed: `ix` grants mapping too.
const WATCHED: &str = "
profile watched flags=(complain,attach_disconnected,mediate_deleted) {
  audit /usr/bin/* ix,
  audit /tmp/tried/{script,fileops/binary,fileops/script,fileops/real/script} ix,
  audit FILEOPS ix,
  audit CALLS ix,
  audit URING ix,
}
";

/// What is watched.
const WORKLOAD: &str = r#"#!/bin/sh
cd /tmp/tried || exit 1
FILEOPS run /tmp/tried/fileops > /dev/null
CALLS network /tmp/tried/network > /dev/null
CALLS ids /tmp/tried/ids
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
ALLOW='--allow dac_override --allow dac_read_search --allow setuid --allow setgid --allow chown --allow sys_admin'
set -e
echo 0 > /proc/sys/kernel/printk_ratelimit
apparmor_parser -r /etc/apparmor.d/watched
mkdir -p /tmp/tried/fileops /tmp/tried/network /tmp/tried/ids /sys/fs/cgroup/watched
FILEOPS prepare /tmp/tried/fileops
chmod 755 /opt/workload
export TMPDIR=/tmp
for hooks in syscalls lsm; do
    sandbox-trace record --hooks $hooks --cgroup /watched -o /out/$hooks.json 2> /out/$hooks.log &
    while ! grep -q armed /out/$hooks.log; do kill -0 $!; sleep 0.2; done
done
set +e
sh -c 'echo "exec watched" > /proc/self/attr/apparmor/exec
    echo $$ > /sys/fs/cgroup/watched/cgroup.procs
    exec sh /opt/workload' > /out/work.log 2>&1
echo $? > /out/work.status
wait
for hooks in syscalls lsm; do
    sandbox-trace emit-apparmor /out/$hooks.json --name watched -o /out/$hooks.aa --allow-incomplete $ALLOW > /out/$hooks.emit 2>&1
done
"#;

/// Runs `workload` in the guest, under all eyes.
fn watched(workload: &str) -> Result<Outcome> {
    let fill = |text: &str| text.replace("FILEOPS", FILEOPS).replace("CALLS", CALLS).replace("URING", URING);
    let mut guest = Guest::new(Kernel::V6_1)?
        .with_file("/opt/workload", &fill(workload))?
        .with_file("/etc/apparmor.d/watched", &fill(WATCHED))?;
    for program in [FILEOPS, CALLS, URING, "/usr/bin/true"] {
        guest = guest.with_program(Path::new(program))?;
    }
    let outcome = guest.run(&fill(SCRIPT))?;
    let status = outcome.file("work.status").with_context(|| outcome.console.clone())?;
    ensure!(status.trim() == "0", "the workload failed, {status}: {}", outcome.file("work.log")?);
    Ok(outcome)
}

/// Path and, for a hard link, the existing name → rule letters.
type Files = BTreeMap<(Vec<u8>, Option<Vec<u8>>), BTreeSet<char>>;

/// What was needed, as a rule would say it.
#[derive(Debug, Default)]
struct Needs {
    files: Files,
    /// Family and type.
    network: BTreeSet<(String, String)>,
    /// Name, and whether the kernel only tried.
    capabilities: BTreeSet<(String, bool)>,
}

impl Needs {
    fn file(&mut self, path: Vec<u8>, target: Option<Vec<u8>>, letters: &str) {
        // Making, removing and changing a name are `w` in a rule.
        let letters = letters.chars().map(|c| if "cds".contains(c) { 'w' } else { c });
        self.files.entry((path, target)).or_default().extend(letters);
    }

    fn of_recording(json: &Value) -> Result<Self> {
        let mut needs = Self::default();
        let list = |name: &str| json[name].as_array().cloned().with_context(|| format!("no {name}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for file in list("files")? {
            let target = file["link_target"].as_str().map(decode).transpose()?;
            needs.file(decode(&text(&file["path"]))?, target, &text(&file["access"]));
        }
        for network in list("network")? {
            needs.network.insert((text(&network["family"]), text(&network["socket_type"])));
        }
        for capability in list("capabilities")? {
            needs.capabilities.insert((text(&capability["name"]), capability["probe"] == true));
        }
        Ok(needs)
    }

    /// AppArmor's log. Every class of line that it can have is known here, or an error.
    fn of_log(dmesg: &str) -> Result<Self> {
        let mut needs = Self::default();
        ensure!(!dmesg.contains("audit: backlog limit"), "the kernel dropped lines of the log");
        let answered =
            |line: &&str| line.contains("apparmor=\"ALLOWED\"") || line.contains("apparmor=\"AUDIT\"");
        for line in dmesg.lines().filter(answered) {
            let text = |key: &str| {
                let value = value(line, key).with_context(|| format!("no {key} in: {line}"));
                value.map(|value| String::from_utf8_lossy(&value).into_owned())
            };
            if text("operation")? == "capable" {
                needs.capabilities.insert((text("capname")?, line.contains("optional: no audit")));
            } else if value(line, "family").is_some() {
                needs.network.insert((text("family")?, text("sock_type")?));
            } else {
                let target = if text("operation")? == "link" { value(line, "target") } else { None };
                let name = value(line, "name").with_context(|| format!("no name in: {line}"))?;
                needs.file(name, target, &text("requested_mask")?);
            }
        }
        Ok(needs)
    }
}

/// A field of a line of the audit log: quoted, or in hexadecimal where a quote would not do.
fn value(line: &str, key: &str) -> Option<Vec<u8>> {
    let (_, rest) = line.split_once(&format!(" {key}="))?;
    if let Some(quoted) = rest.strip_prefix('"') {
        return quoted.split_once('"').map(|(value, _)| value.as_bytes().to_vec());
    }
    let digits = rest.split(' ').next()?.trim();
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// What is recorded though AppArmor is not asked: the shell that enters the cgroup is unconfined when it executes the
/// workload's. No other task in the cgroup is.
const UNCONFINED: [&str; 1] = ["/usr/bin/busybox x"];

/// Each letter that was recorded and that AppArmor was not asked for.
fn unasked(recorded: &Needs, asked: &Needs) -> Vec<String> {
    let mut out = beyond(&recorded.files, &asked.files);
    out.retain(|need| !UNCONFINED.contains(&need.as_str()));
    out
}

/// Each letter that `one` has and `other` has not.
fn beyond(one: &Files, other: &Files) -> Vec<String> {
    let mut out = Vec::new();
    for ((path, target), letters) in one {
        let known = other.get(&(path.clone(), target.clone())).cloned().unwrap_or_default();
        for letter in letters.difference(&known) {
            let target = target.as_ref().map(|t| format!(" → {}", t.escape_ascii())).unwrap_or_default();
            out.push(format!("{}{target} {letter}", path.escape_ascii()));
        }
    }
    out
}

/// The rules of a profile, without capabilities: before Linux 6.14 only the hooks see those.
/// The rules, whosever files they are about: whose a removed name was is known at the hooks alone.
fn rules(profile: &str) -> Vec<&str> {
    let lines = profile.lines().map(str::trim).map(|line| line.strip_prefix("owner ").unwrap_or(line));
    lines.filter(|l| !l.is_empty() && !l.starts_with('#') && !l.starts_with("capability ")).collect()
}

fn json(outcome: &Outcome, name: &str) -> Result<Value> {
    Ok(serde_json::from_str(&outcome.file(name)?)?)
}

#[test]
fn both_hook_sets_and_apparmors_own_log_agree() -> Result<()> {
    let outcome = watched(WORKLOAD)?;
    let lsm = json(&outcome, "lsm.json")?;
    ensure!(lsm["host"]["hooks"] == "lsm" && lsm["complete"] == true, "{} {}", lsm["host"], lsm["losses"]);
    let (recorded, asked) = (Needs::of_recording(&lsm)?, Needs::of_log(&outcome.dmesg)?);
    // Not a log that was cut, nor a workload that did nothing.
    ensure!(asked.files.len() > 100 && asked.network.len() >= 4, "{asked:?}");
    ensure!(
        beyond(&asked.files, &recorded.files).is_empty(),
        "AppArmor was asked, and it was not recorded: {:#?}",
        beyond(&asked.files, &recorded.files)
    );
    ensure!(
        unasked(&recorded, &asked).is_empty(),
        "recorded, and AppArmor was not asked: {:#?}",
        unasked(&recorded, &asked)
    );
    ensure!(recorded.network == asked.network, "{:?} and {:?}", recorded.network, asked.network);
    ensure!(
        recorded.capabilities == asked.capabilities,
        "{:?} and {:?}",
        recorded.capabilities,
        asked.capabilities
    );
    let profile = |hooks: &str| {
        outcome
            .file(&format!("{hooks}.aa"))
            .with_context(|| outcome.file(&format!("{hooks}.emit")).unwrap_or_default())
    };
    let (by_call, by_hook) = (profile("syscalls")?, profile("lsm")?);
    let (by_call, by_hook) = (rules(&by_call), rules(&by_hook));
    ensure!(by_hook.len() > 100, "{by_hook:#?}");
    for rule in &by_hook {
        ensure!(by_call.contains(rule), "only by the hooks: {rule}");
    }
    for rule in &by_call {
        ensure!(by_hook.contains(rule), "only by system calls: {rule}");
    }
    Ok(())
}

/// Four operations that no system call of their name makes: each is done by the submitting task and by a worker.
#[test]
fn what_io_uring_does_is_seen_at_the_hooks_alone() -> Result<()> {
    let outcome = watched("#!/bin/sh\nURING /etc/hosts /tmp/tried/ring.socket\n")?;
    let (lsm, syscalls) = (json(&outcome, "lsm.json")?, json(&outcome, "syscalls.json")?);
    ensure!(
        lsm["complete"] == true && syscalls["complete"] == false,
        "{} {}",
        lsm["losses"],
        syscalls["losses"]
    );
    ensure!(syscalls["losses"]["io_uring_unseen"] != 0, "{}", syscalls["losses"]);
    let (by_hook, by_call) = (Needs::of_recording(&lsm)?, Needs::of_recording(&syscalls)?);
    let hosts = (b"/etc/hosts".to_vec(), None);
    ensure!(by_hook.files.get(&hosts) == Some(&BTreeSet::from(['r'])), "{:?}", by_hook.files);
    ensure!(!by_call.files.contains_key(&hosts), "{:?}", by_call.files);
    let connected = |json: &Value| {
        let uses = json["network"].as_array().into_iter().flatten();
        uses.filter(|u| u["operation"] == "connect" && u["address"] == "unix:/tmp/tried/ring.socket").count()
    };
    ensure!(
        connected(&lsm) == 1 && connected(&syscalls) == 0,
        "{} and {}",
        lsm["network"],
        syscalls["network"]
    );
    let asked = Needs::of_log(&outcome.dmesg)?;
    ensure!(beyond(&asked.files, &by_hook.files).is_empty(), "{:?}", beyond(&asked.files, &by_hook.files));
    ensure!(unasked(&by_hook, &asked).is_empty(), "{:?}", unasked(&by_hook, &asked));
    Ok(())
}

/// Of two things that fail with the same error, the one that AppArmor refused is marked, and only that.
#[test]
fn what_apparmor_refuses_is_told_apart() -> Result<()> {
    let script = r#"
printf 'profile narrow { file, network unix, capability dac_override, deny /etc/hosts r, deny /tmp/made{,/} w, deny network inet, deny capability chown, }' > /tmp/narrow
apparmor_parser -r /tmp/narrow
: > /tmp/given
printf '#!/bin/sh\ncat /etc/hosts; mkdir /tmp/made; true > /tmp/made; chown 1 /tmp/given; cat /missing; nc -w 1 127.0.0.1 9\nexit 0\n' > /tmp/attempts
sandbox-trace record --hooks lsm -o /out/lsm.json -- sh -c 'echo "exec narrow" > /proc/self/attr/apparmor/exec; exec sh /tmp/attempts'
"#;
    let outcome = Guest::new(Kernel::V6_1)?.run(script)?;
    let lsm = json(&outcome, "lsm.json").with_context(|| outcome.console.clone())?;
    let failed = |list: &str, key: &str| -> BTreeMap<String, bool> {
        let all = lsm["failed"][list].as_array().into_iter().flatten();
        let name = |entry: &Value| entry[key].as_str().unwrap_or_default().to_owned();
        all.map(|entry| (name(entry), entry["refused_by"] == "lsm")).collect()
    };
    let files = failed("files", "path");
    ensure!(files.get("/etc/hosts") == Some(&true), "{files:?}\n{}", outcome.console);
    ensure!(files.get("/tmp/made") == Some(&true), "{files:?}");
    ensure!(files.get("/missing") == Some(&false), "{files:?}");
    ensure!(failed("network", "family").get("inet") == Some(&true), "{}", lsm["failed"]["network"]);
    let chown = lsm["capabilities"].as_array().into_iter().flatten().find(|c| c["name"] == "chown");
    let chown = chown.context("no chown")?;
    ensure!(chown["granted"] == false && chown["refused_by"] == "lsm", "{chown}");
    let warnings = lsm["warnings"].to_string();
    ensure!(warnings.contains("refused_by"), "{warnings}");
    Ok(())
}
