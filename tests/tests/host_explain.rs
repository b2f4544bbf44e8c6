//! `run --explain`: what it tells is what happened, and the command gets what it gets without it.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sandbox_trace_tests::{
    command::{self, Background, require},
    product::binary,
};
use serde_json::{Value, json};

/// A folder with a profile in it.
struct Under {
    dir: tempfile::TempDir,
}

impl Under {
    fn profile(profile: &Value) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("p.json"), serde_json::to_vec(profile)?)?;
        Ok(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, options: &[&str]) -> Result<Command> {
        let mut run = Command::new(binary()?);
        run.arg("run").args(options).arg("--seccomp").arg(self.path("p.json")).arg("--");
        Ok(run)
    }

    fn explain(&self) -> Result<Command> {
        command::require_root()?;
        self.run(&["--explain"])
    }
}

/// Denies netlink sockets with EPERM and making folders with EACCES.
fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
              "args": [{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }] },
            { "names": ["mkdir", "mkdirat", "mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
            { "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" },
        ],
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines after the verdict: each denial with its count.
fn summary(output: &Output) -> Vec<String> {
    let said = text(&output.stderr);
    said.lines().skip_while(|line| !line.starts_with(['✗', '✓'])).map(str::to_owned).collect()
}

fn python() -> Result<PathBuf> {
    command::require_path(Path::new("/usr/bin/python3")).map(Path::to_owned)
}

#[test]
fn threads_and_children_are_told_of_with_arguments_and_counts() -> Result<()> {
    let script = r#"
import ctypes, os, socket, sys, threading
def ask():
    for _ in range(100):
        try: socket.socket(16, 3, 0)
        except PermissionError: continue
        os._exit(9)
threads = [threading.Thread(target=ask) for _ in range(10)]
[t.start() for t in threads]; [t.join() for t in threads]
libc = ctypes.CDLL(None, use_errno=True)
print(libc.mount(b"none", b"/mnt", b"tmpfs", 6, None), ctypes.get_errno())
print(sys.stdin.read())
sys.stdout.flush()
if os.fork() == 0: os.execv("/bin/mkdir", ["mkdir", "/tmp/never-made"])
os.wait()
print("said by the command", file=sys.stderr)
sys.exit(7)
"#;
    let under = Under::profile(&profile())?;
    let mut run = under.explain()?;
    run.arg(python()?).args(["-c", script]);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(b"from outside")?;
    let output = child.wait_with_output()?;
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(7), "{}: {said}", output.status);
    ensure!(text(&output.stdout) == "-1 13\nfrom outside\n", "{}", text(&output.stdout));
    ensure!(said.lines().any(|line| line == "said by the command"), "{said}");
    // Each at once, when it is new.
    let at_once = said.lines().filter(|line| line.starts_with("denied  socket(AF_NETLINK, SOCK_RAW")).count();
    ensure!(at_once == 1, "{said}");
    let summary = summary(&output);
    ensure!(summary[0] == "✗ 3 different denials, 1,002× in all", "{said}");
    let python = fs::canonicalize("/usr/bin/python3")?.display().to_string();
    let parts = |line: &str, parts: &[&str]| parts.iter().all(|part| line.contains(part));
    let socket =
        ["socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, 0) → EPERM   ", &python, ", 1,000×", "AF_UNIX, AF_INET"];
    ensure!(parts(&summary[1], &socket), "{}", summary[1]);
    let mount =
        [r#"mount("none", "/mnt", "tmpfs", MS_NOSUID|MS_NODEV, NULL) → EACCES"#, "does not allow mount"];
    ensure!(parts(&summary[2], &mount), "{}", summary[2]);
    ensure!(
        parts(&summary[3], &[r#"mkdir("/tmp/never-made", 0o777) → EACCES"#, "/mkdir, 1×"]),
        "{}",
        summary[3]
    );
    Ok(())
}

/// The same raw calls, with and without an explanation, have the same outcome: errors of all kinds, a success that
/// does nothing, what is newer than the profile, and what a supervisor would be asked that isn't there.
#[test]
fn the_command_gets_what_the_profile_says() -> Result<()> {
    let names = vec![
        "read",
        "write",
        "openat",
        "close",
        "fstat",
        "newfstatat",
        "mmap",
        "munmap",
        "mprotect",
        "brk",
        "rt_sigaction",
        "rt_sigprocmask",
        "ioctl",
        "pread64",
        "access",
        "execve",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "getrandom",
        "futex",
        "lseek",
        "getdents64",
        "readlink",
        "getcwd",
        "fcntl",
        "exit_group",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "dup",
        "sysinfo",
        "stat",
        "gettid",
        "uname",
    ];
    let under = Under::profile(&json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 61,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 },
            { "names": ["umask"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4094 },
            { "names": ["getpgrp"], "action": "SCMP_ACT_NOTIFY" },
            { "names": ["getsid"], "action": "SCMP_ACT_TRACE", "errnoRet": 1 },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 4294967295u32, "op": "SCMP_CMP_EQ" }] },
        ],
    }))?;
    let script = r#"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for nr, *args in [[110], [95, 0], [111], [124, 0], [135, 0xffffffff], [135, 8], [165, 0, 0, 0, 0, 0], [39],
        [500], [1000], [0xffffffff], [41, 16, 3, 0], [435, 0, 0], [105, -1]]:
    ctypes.set_errno(0)
    print(nr, libc.syscall(nr, *args), ctypes.get_errno())
"#;
    let output = |options: &[&str]| -> Result<Output> {
        let mut run = under.run(options)?;
        run.arg(python()?).args(["-I", "-S", "-c", script]);
        let output = command::run(&mut run)?;
        ensure!(output.status.success(), "{}", command::describe(&run, &output));
        Ok(output)
    };
    command::require_root()?;
    let (plain, explained) = (output(&[])?, output(&["--explain"])?);
    ensure!(plain.stdout == explained.stdout, "{}\nis not\n{}", text(&explained.stdout), text(&plain.stdout));
    let seen = text(&plain.stdout);
    for line in ["110 0 0", "95 -1 4094", "111 -1 38", "135 -1 61", "39 -1 61", "500 -1 38", "165 -1 61"] {
        ensure!(seen.lines().any(|seen| seen == line), "no {line} in\n{seen}");
    }
    let said = text(&explained.stderr);
    ensure!(said.contains("personality(PER_LINUX32) → ENODATA"), "{said}");
    ensure!(said.contains("getppid() → nothing done, success returned"), "{said}");
    Ok(())
}

#[test]
fn hostile_names_are_escaped() -> Result<()> {
    let under = Under::profile(&profile())?;
    let script = r#"
import ctypes, os
libc = ctypes.CDLL(None)
libc.prctl(15, b"x\x1b[2J\nz", 0, 0, 0)
for name in [b'/tmp/a\n"denied  b\xff\x1b[31m\r', "/tmp/\u202e\\".encode(), b"x" * 5000]:
    try: os.mkdir(name)
    except OSError: pass
libc.mkdir(ctypes.c_void_p(8), 0)
"#;
    let mut run = under.explain()?;
    run.arg(python()?).args(["-c", script]);
    let output = command::run(&mut run)?;
    let said = text(&output.stderr);
    let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}' || c == '\u{fffd}');
    ensure!(!said.chars().any(bad), "{said:?}");
    for part in [
        r#"denied  mkdir("/tmp/a\x0a\x22denied  b\xff\x1b[31m\x0d", 0o777) → EACCES"#,
        r#"mkdir("/tmp/\xe2\x80\xae\\", 0o777)"#,
        r"(x\x1b[2J\x0az)",
        "mkdir(?, 0o0)",
    ] {
        ensure!(said.contains(part), "no {part} in\n{said}");
    }
    ensure!(said.lines().filter(|line| line.starts_with("denied  ")).count() == 4, "{said}");
    Ok(())
}

#[test]
fn it_ends_as_the_command_does() -> Result<()> {
    let under = Under::profile(&profile())?;
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 255", Some(255), None),
        ("kill -KILL $$", None, Some(9)),
        ("kill -INT $$", None, Some(2)),
    ] {
        let (mut explained, mut plain) = (under.explain()?, under.run(&[])?);
        for run in [&mut explained, &mut plain] {
            let output = command::run(run.args(["/bin/sh", "-c", script]))?;
            ensure!(
                (output.status.code(), output.status.signal()) == (code, signal),
                "{}",
                command::describe(run, &output)
            );
        }
    }
    let mut missing = under.explain()?;
    let output = command::run(missing.arg("/no/such/program"))?;
    ensure!(output.status.code() == Some(127), "{}", command::describe(&missing, &output));
    // A file that is executable and no program: known only after the filter is in force.
    let file = under.path("no-program");
    fs::write(&file, "\u{7f}ELF?")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let mut broken = under.explain()?;
    let output = command::run(broken.arg(&file))?;
    ensure!(output.status.code() == Some(126), "{}", command::describe(&broken, &output));
    ensure!(text(&output.stderr).contains("ENOEXEC"), "{}", text(&output.stderr));
    Ok(())
}

#[test]
fn what_kills_is_told_where_the_kernel_logs_it() -> Result<()> {
    let under = Under::profile(&profile())?;
    let mut run = under.explain()?;
    let script = "import ctypes; ctypes.CDLL(None).sethostname(b'x', 1)";
    let output = command::run(run.arg(python()?).args(["-c", script]))?;
    ensure!(output.status.signal() == Some(31), "{}", command::describe(&run, &output));
    let said = text(&output.stderr);
    ensure!(said.contains("ended by its seccomp profile: it got SIGSYS"), "{said}");
    let logged = fs::read_to_string("/proc/sys/kernel/seccomp/actions_logged")?.contains("kill_process");
    ensure!(!logged || said.contains("denied  sethostname(…) → process killed"), "{said}");
    Ok(())
}

fn start(run: &mut Command, ready: &Path) -> Result<(Background, Pid)> {
    let child =
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    command::wait_until("the command's start", Duration::from_secs(20), || Ok(ready.exists()))?;
    Ok((Background(child), pid))
}

fn wait(child: &mut Child) -> Result<(std::process::ExitStatus, String)> {
    command::wait_until("its end", Duration::from_secs(20), || Ok(child.try_wait()?.is_some()))?;
    let mut said = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
    Ok((child.wait()?, said))
}

#[test]
fn signals_reach_the_command_and_a_stop_stops_both() -> Result<()> {
    let under = Under::profile(&profile())?;
    let ready = under.path("ready");
    let script = format!("trap 'exit 42' TERM; : > {}; while :; do sleep 0.05; done", ready.display());
    let mut run = under.explain()?;
    let (mut child, pid) = start(run.args(["/bin/sh", "-c", &script]), &ready)?;
    kill(pid, Signal::SIGTERM)?;
    let (status, said) = wait(&mut child.0)?;
    ensure!(status.code() == Some(42), "{status}: {said}");

    fs::remove_file(&ready)?;
    let script = format!(": > {}; kill -STOP $$; exit 5", ready.display());
    let mut run = under.explain()?;
    let (mut child, pid) = start(run.args(["/bin/sh", "-c", &script]), &ready)?;
    let stopped = || -> Result<bool> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    };
    command::wait_until("its stop", Duration::from_secs(20), stopped)?;
    kill(pid, Signal::SIGCONT)?;
    let (status, said) = wait(&mut child.0)?;
    ensure!(status.code() == Some(5), "{status}: {said}");
    Ok(())
}

#[test]
fn what_goes_on_after_the_command_still_gets_the_profile_s_errors() -> Result<()> {
    let under = Under::profile(&profile())?;
    let (said, go) = (under.path("said"), under.path("go"));
    let script = format!(
        "(while [ ! -e {go} ]; do sleep 0.05; done; LC_ALL=C mkdir /tmp/never-made 2> {said}.part; mv {said}.part {said}) < /dev/null > /dev/null 2>&1 &",
        go = go.display(),
        said = said.display()
    );
    let mut run = under.explain()?;
    let output = command::run(run.args(["/bin/sh", "-c", &script]))?;
    ensure!(output.status.success(), "{}", command::describe(&run, &output));
    ensure!(text(&output.stderr).contains("go on under the profile"), "{}", text(&output.stderr));
    fs::write(&go, "")?;
    command::wait_until("the answer", Duration::from_secs(20), || Ok(said.exists()))?;
    let answer = fs::read_to_string(&said)?;
    ensure!(answer.contains("Permission denied"), "{answer}");
    Ok(())
}

#[test]
fn what_can_t_be_explained_is_said() -> Result<()> {
    let under = Under::profile(&profile())?;
    let mut nested = under.explain()?;
    nested
        .arg(binary()?)
        .args(["run", "--explain", "--seccomp"])
        .arg(under.path("p.json"))
        .args(["--", "/bin/true"]);
    let output = command::run(&mut nested)?;
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(125) && said.contains("asks a supervisor"), "{said}");
    let mut none = Command::new(binary()?);
    let output = command::run(none.args(["run", "--explain", "--", "/bin/true"]))?;
    ensure!(
        output.status.code() == Some(125) && text(&output.stderr).contains("--seccomp"),
        "{}",
        text(&output.stderr)
    );
    Ok(())
}

#[test]
fn no_privilege_is_needed() -> Result<()> {
    let under = Under::profile(&profile())?;
    // Where this was built may be closed to others.
    fs::set_permissions(under.dir.path(), fs::Permissions::from_mode(0o755))?;
    let program = under.path("sandbox-trace");
    fs::copy(binary()?, &program)?;
    let mut run = Command::new(require("setpriv")?);
    run.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    run.args(["run", "--explain", "--no-new-privileges", "--seccomp"]).arg(under.path("p.json"));
    run.args(["--", "/bin/mkdir", "/tmp/never-made"]);
    let output = command::run(&mut run)?;
    let said = text(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}", command::describe(&run, &output));
    ensure!(said.contains(r#"denied  mkdir("/tmp/never-made", 0o777) → EACCES   /usr/bin/mkdir"#), "{said}");
    Ok(())
}
