//! `audit` of real containers of a real Docker engine, and of the files that people write.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use sandbox_trace_tests::{
    command,
    docker::{Engine, IMAGE},
    product,
};
use serde_json::Value;

const SLEEP: [&str; 3] = ["python3", "-c", "import time\nwhile True: time.sleep(0.01)"];

fn start(engine: &Engine, name: &str, options: &[&str]) -> Result<()> {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    args.push(IMAGE);
    args.extend(SLEEP);
    engine.call(args).map(drop)
}

/// `audit ARGS`, which must end in time.
fn audit(host: Option<&str>, args: &[&str]) -> Result<(Command, Output)> {
    let mut command = Command::new("timeout");
    command.arg("60").arg(product::binary()?).arg("audit").args(args);
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    let output = command::run(&mut command)?;
    Ok((command, output))
}

/// A report that holds to its schema, with the exit code.
fn report(host: Option<&str>, args: &[&str]) -> Result<(Value, Option<i32>)> {
    let (command, output) = audit(host, &[args, &["--json"]].concat())?;
    let found: Value =
        serde_json::from_slice(&output.stdout).with_context(|| command::describe(&command, &output))?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas/audit-v1.json");
    let schema: Value = serde_json::from_slice(&fs::read(file)?)?;
    jsonschema::meta::validate(&schema).map_err(|e| anyhow!("not a JSON schema: {e}"))?;
    let schema = jsonschema::draft202012::new(&schema).map_err(|e| anyhow!("{e}"))?;
    let errors: Vec<String> =
        schema.iter_errors(&found).map(|e| format!("{}: {e}", e.instance_path)).collect();
    ensure!(errors.is_empty(), "{errors:?}\n{found:#}");
    Ok((found, output.status.code()))
}

/// `severity id` of all findings.
fn ids(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings
        .map(|f| format!("{} {}", f["severity"].as_str().unwrap_or(""), f["id"].as_str().unwrap_or("")))
        .collect()
}

fn ensure_has(report: &Value, wanted: &[&str]) -> Result<()> {
    let ids = ids(report);
    let missing: Vec<&&str> = wanted.iter().filter(|id| !ids.iter().any(|own| own == **id)).collect();
    ensure!(missing.is_empty(), "{missing:?} missing in {report:#}");
    Ok(())
}

fn narrow_profile(dir: &Path) -> Result<PathBuf> {
    let file = dir.join("narrow.json");
    let docker: Value = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"action": "SCMP_ACT_ALLOW", "names": [
            "access", "arch_prctl", "brk", "capget", "capset", "chdir", "clock_nanosleep", "clone", "close", "close_range",
            "dup", "epoll_create1", "epoll_ctl", "epoll_pwait", "execve", "exit", "exit_group", "faccessat2", "fchown",
            "fcntl", "fstat", "fstatfs", "futex", "getcwd", "getdents64", "getegid", "geteuid", "getgid", "getpid",
            "getppid", "getrandom", "gettid", "getuid", "ioctl", "lseek", "madvise", "mmap", "mprotect", "munmap",
            "nanosleep", "newfstatat", "openat", "openat2", "prctl", "pread64", "prlimit64", "read", "readlink",
            "rseq", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "sched_yield", "select", "set_robust_list",
            "set_tid_address", "setgid", "setgroups", "setpgid", "setuid", "sigaltstack", "statx", "sysinfo", "tgkill", "write",
            "mremap", "uname", "readlinkat", "pselect6", "wait4"]}]
    });
    fs::write(&file, serde_json::to_vec(&docker)?)?;
    Ok(file)
}

#[test]
fn plain_open_and_hardened_containers() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let host = engine.host();
    let host = Some(host.as_str());
    let dir = tempfile::tempdir()?;

    start(&engine, "plain", &[])?;
    let (plain, exit) = report(host, &["--container", "plain"])?;
    ensure!(exit == Some(1), "{plain:#}");
    ensure_has(
        &plain,
        &[
            "medium user-root",
            "medium capabilities-not-dropped",
            "medium no-new-privileges",
            "medium root-writable",
            "medium memory-limit",
            "medium pids-limit",
            "low cpu-limit",
            "low seccomp",
            "low log-limit",
            "low image-mutable",
            "low user-namespace",
        ],
    )?;
    ensure!(!ids(&plain).iter().any(|id| id.starts_with("high") || id.starts_with("critical")), "{plain:#}");

    let profile = narrow_profile(dir.path())?;
    let seccomp = format!("seccomp={}", profile.display());
    let logs = dir.path().join("odd name, with a comma");
    fs::create_dir(&logs)?;
    let mount = format!("type=bind,\"source={}\",target=/logs", logs.display());
    let read_only = format!("{}:/config:ro", dir.path().display());
    start(
        &engine,
        "hardened",
        &[
            "--cap-drop=ALL",
            "--read-only",
            "--tmpfs=/tmp:size=1m",
            "--mount",
            &mount,
            "-v",
            &read_only,
            "--network=none",
            "--security-opt=no-new-privileges",
            "--security-opt",
            &seccomp,
            "--memory=256m",
            "--memory-swap=256m",
            "--cpus=0.5",
            "--pids-limit=50",
            "--user=1000:1000",
            "--log-driver=json-file",
            "--log-opt=max-size=1m",
            "--init",
        ],
    )?;
    let (hardened, exit) = report(host, &["--container", "hardened"])?;
    ensure!(exit == Some(0), "{hardened:#}");
    let worse: Vec<String> =
        ids(&hardened).into_iter().filter(|id| !id.starts_with("low") && !id.starts_with("info")).collect();
    ensure!(worse.is_empty(), "{worse:?} {hardened:#}");
    let passed: Vec<&str> =
        hardened["passed"].as_array().context("no list")?.iter().filter_map(|p| p["id"].as_str()).collect();
    for id in [
        "seccomp",
        "root-writable",
        "memory-limit",
        "pids-limit",
        "cpu-limit",
        "tmpfs-options",
        "kernel-paths",
        "user-root",
    ] {
        ensure!(passed.contains(&id), "{id} did not pass: {hardened:#}");
    }
    let score = |report: &Value| report["score"].as_f64().unwrap_or(-1.0);
    ensure!(score(&hardened) < 1.5 && score(&plain) > 3.0, "{} {}", score(&hardened), score(&plain));

    let socket = engine.dir().join("docker.sock");
    let socket = format!("{}:/var/run/docker.sock", socket.display());
    start(
        &engine,
        "open",
        &[
            "--privileged",
            "-v",
            &socket,
            "--pid=host",
            "--ipc=host",
            "--uts=host",
            "--network=host",
            "-v",
            "/etc:/host/etc",
        ],
    )?;
    let (open, exit) = report(host, &["--container", "open", "--fail-on", "critical"])?;
    ensure!(exit == Some(1) && score(&open) >= 9.0, "{open:#}");
    ensure_has(
        &open,
        &[
            "critical privileged",
            "critical runtime-socket",
            "critical capabilities-dangerous",
            "critical sensitive-mount",
            "high host-pid",
            "high host-network",
            "high seccomp",
            "high kernel-paths",
            "medium host-ipc",
            "low host-uts",
        ],
    )?;
    let (_, exit) = report(host, &["--container", "open", "--fail-on", "none"])?;
    ensure!(exit == Some(0), "{exit:?}");

    // The table says it, too, and the container goes on.
    let (command, output) = audit(host, &["--container", "plain", "--all"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text.contains("✗ plain: exposure ") && text.contains("passed:"),
        "{}",
        command::describe(&command, &output)
    );
    ensure!(engine.call(["inspect", "-f", "{{.State.Running}}", "plain"])? == "true", "it ended");
    Ok(())
}

#[test]
fn containers_that_end_are_paused_or_are_not_there() -> Result<()> {
    command::require_root()?;
    let engine = Engine::start()?;
    let host = engine.host();
    let host = Some(host.as_str());
    start(&engine, "paused", &["--network=none"])?;
    engine.call(["pause", "paused"])?;
    let begun = Instant::now();
    let (paused, exit) = report(host, &["--container", "paused"])?;
    ensure!(exit == Some(1) && begun.elapsed() < Duration::from_secs(30), "{exit:?} {:?}", begun.elapsed());
    ensure_has(&paused, &["medium memory-limit", "medium root-writable"])?;
    engine.call(["unpause", "paused"])?;
    thread::sleep(Duration::from_millis(200));
    let (again, _) = report(host, &["--container", "paused"])?;
    ensure_has(&again, &["low seccomp"])?;

    // Killed at all moments of an audit: a report or a clear error, never a hang or half a report.
    let (mut whole, mut errors) = (0, 0);
    for turn in 0..12_u64 {
        start(&engine, "dying", &["--network=none"])?;
        let pid: i32 = engine.call(["inspect", "-f", "{{.State.Pid}}", "dying"])?.parse()?;
        let mut child = Command::new("timeout");
        child.arg("60").arg(product::binary()?).args(["audit", "--container", "dying", "--json"]);
        child.env("DOCKER_HOST", engine.host()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = child.spawn()?;
        // The first dies before the audit's first question, the last after its last.
        thread::sleep(Duration::from_millis(turn * 15));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL)?;
        let output = child.wait_with_output()?;
        engine.call(["rm", "-f", "dying"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(1) => {
                serde_json::from_slice::<Value>(&output.stdout)?;
                whole += 1;
            }
            Some(2 | 3 | 5) => {
                ensure!(output.stdout.is_empty() && said.starts_with("error: "), "{said}");
                errors += 1;
            }
            code => return Err(anyhow!("{code:?}: {said}")),
        }
    }
    ensure!(errors > 0 && whole + errors == 12, "{whole} {errors}");

    let (command, output) = audit(host, &["--container", "no-such"])?;
    ensure!(output.status.code() == Some(2), "{}", command::describe(&command, &output));
    engine.call(["stop", "-t", "0", "paused"])?;
    let (command, output) = audit(host, &["--container", "paused"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && said.contains("does not run"),
        "{}",
        command::describe(&command, &output)
    );
    Ok(())
}

const COMPOSE: &str = r#"x-hardened: &hardened
  cap_drop: [ALL]
  read_only: true
  security_opt: [no-new-privileges:true]
  pids_limit: ${PIDS:-100}
services:
  agent:
    <<: *hardened
    image: ${IMAGE}
    mem_limit: 1g
    memswap_limit: 1g
    user: "1000:1000"
    network_mode: none
  worker:
    image: worker:1
    ports:
      - "8080:80"
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
"#;

#[test]
fn compose_files_bundles_and_command_lines() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let put = |name: &str, text: &str| -> Result<String> {
        let file = dir.path().join(name);
        fs::write(&file, text)?;
        file.to_str().map(str::to_owned).context("an odd temporary folder")
    };
    let compose = put("compose.yaml", COMPOSE)?;
    put(".env", "IMAGE=agent@sha256:00\n")?;
    let (both, exit) = report(None, &["--compose", &compose])?;
    ensure!(exit == Some(1) && both["subjects"].as_array().is_some_and(|all| all.len() == 2), "{both:#}");
    let socket = both["findings"][0].clone();
    ensure!(
        socket["id"] == "runtime-socket" && socket["subject"] == "worker" && socket["line"] == 19,
        "{socket}"
    );
    let (agent, exit) = report(None, &["--compose", &compose, "--service", "agent"])?;
    ensure!(exit == Some(0), "{agent:#}");
    let unknown = agent["unknown"].as_array().context("no list")?;
    ensure!(unknown.iter().any(|entry| entry["id"] == "log-limit"), "{agent:#}");
    let (command, output) = audit(None, &["--compose", &compose, "--sarif"])?;
    let sarif: Value =
        serde_json::from_slice(&output.stdout).with_context(|| command::describe(&command, &output))?;
    ensure!(sarif["runs"][0]["results"][0]["ruleId"] == "runtime-socket", "{sarif:#}");

    let script =
        put("run.sh", "sudo docker run -d \\\n  # all of it\n  --cap-drop ALL \\\n  -p 80:80 \\\n  image\n")?;
    let (found, exit) = report(None, &["--docker-run", &script])?;
    ensure!(exit == Some(1), "{found:#}");
    let ports = found["findings"].as_array().context("no list")?.iter().find(|f| f["id"] == "ports-exposed");
    ensure!(ports.is_some_and(|f| f["line"] == 4), "{found:#}");
    let (command, output) = audit(None, &["--json", "--", "docker", "run", "--privileged", "image"])?;
    let found: Value =
        serde_json::from_slice(&output.stdout).with_context(|| command::describe(&command, &output))?;
    ensure_has(&found, &["critical privileged"])?;

    // A bundle as runc writes it.
    let mut spec = Command::new(command::require("runc")?);
    command::succeed(spec.arg("spec").current_dir(dir.path()))?;
    let bundle = dir.path().to_str().context("an odd temporary folder")?;
    let (found, exit) = report(None, &["--oci", bundle])?;
    ensure!(exit == Some(1), "{found:#}");
    ensure_has(&found, &["medium user-root", "high seccomp", "medium memory-limit"])?;
    ensure!(
        !ids(&found).iter().any(|id| id.ends_with("host-pid") || id.ends_with("kernel-paths")),
        "{found:#}"
    );

    let bad_yaml = put("bad.yaml", "services:\n  a:\n    image: x\n   ports: [\n")?;
    let no_value = put("unset.yaml", "services:\n  a:\n    image: ${NO_SUCH_IMAGE:?name one}\n")?;
    let bad_json = put("bad.json", "{\"process\": {},\n \"root\": }")?;
    let no_process = put("none.json", "{\"ociVersion\": \"1.0.2\"}")?;
    let bad_option = put("bad.sh", "\ndocker run --no-such-option image\n")?;
    for (args, wanted) in [
        (["--compose", &bad_yaml], ["line 4, column", "4 |    ports: ["]),
        (["--compose", &no_value], ["line 3, column", "name one"]),
        (["--compose", "/no/such/file"], ["could not read", "/no/such/file"]),
        (["--oci", &bad_json], ["line 2, column", "JSON"]),
        (["--oci", &no_process], ["no process", "none.json"]),
        (["--docker-run", &bad_option], ["line 2", "--no-such-option"]),
        (["--docker-run", &compose], ["docker run", "compose.yaml"]),
    ] {
        let (command, output) = audit(None, &args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let says = wanted.iter().all(|wanted| said.contains(wanted));
        ensure!(
            output.status.code() == Some(2) && output.stdout.is_empty() && says,
            "{wanted:?}: {}",
            command::describe(&command, &output)
        );
    }
    Ok(())
}
