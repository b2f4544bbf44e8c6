//! Calls that a seccomp filter refused while they were recorded: told from those that failed by themselves, and
//! learned.

use std::{collections::BTreeSet, ffi::OsStr, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    cgroup::Cgroup,
    command,
    docker::Engine,
    product::{self, Recorder},
    recorded::{Recorded, record},
    refusal, seccomp,
};
use serde_json::{Value, json};

const REFUSED: &str = env!("CARGO_BIN_EXE_refused");

fn call<'a>(recorded: &'a Recorded, name: &str) -> Result<&'a Value> {
    recorded.call("x86_64", name).with_context(|| format!("no {name}"))
}

/// The answers with which a call was refused, and whether it always was; none if it never was.
fn refusal_of(recorded: &Recorded, name: &str) -> Result<Option<(Vec<String>, bool)>> {
    let refused = &call(recorded, name)?["refused"];
    if refused.is_null() {
        return Ok(None);
    }
    ensure!(refused["by"] == "seccomp", "{refused}");
    let answers = refused["answers"].as_array().context("no answers")?;
    let answers = answers.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(Some((answers, refused["always"] == true)))
}

/// A call, and with which answers it was refused and whether always; none if it was not.
type Expected<'a> = (&'a str, Option<(&'a [&'a str], bool)>);

fn expect(recorded: &Recorded, expected: &[Expected<'_>]) -> Result<()> {
    for (name, expected) in expected {
        let found = refusal_of(recorded, name)?;
        let expected = expected.map(|(answers, always)| {
            (answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>(), always)
        });
        ensure!(found == expected, "{name}: {found:?}, not {expected:?}");
    }
    Ok(())
}

fn filters(recorded: &Recorded) -> Result<Vec<(u64, String)>> {
    let seccomp = &recorded.json["target"]["seccomp"];
    ensure!(seccomp["attributed"] == true, "{seccomp}");
    let filters = seccomp["filters"].as_array().context("no filters")?;
    let one = |filter: &Value| {
        let (length, digest) = (filter["instructions"].as_u64()?, filter["sha256"].as_str()?);
        (digest.len() == 64).then(|| (length, filter["default"].as_str().unwrap_or_default().to_owned()))
    };
    filters.iter().map(|filter| one(filter).with_context(|| format!("{filter}"))).collect()
}

/// Writes a profile that allows all but the given rules.
fn profile(dir: &Path, name: &str, rules: Value) -> Result<String> {
    let file = dir.join(name);
    let mut profile = seccomp::all_but(&[]);
    profile["syscalls"] = rules;
    fs::write(&file, profile.to_string())?;
    file.to_str().map(str::to_owned).context("an odd folder")
}

fn binary() -> Result<String> {
    product::binary()?.to_str().map(str::to_owned).context("an odd binary")
}

/// Records `refused calls` under two filters, one loaded after the other.
fn under_two_filters(dir: &Path) -> Result<Recorded> {
    let outer = profile(
        dir,
        "outer.json",
        json!([
            { "names": ["getppid", "personality", "keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
        ]),
    )?;
    let netlink = json!([{ "index": 0, "value": 16, "valueTwo": 0, "op": "SCMP_CMP_EQ" }]);
    let inner = profile(
        dir,
        "inner.json",
        json!([
            { "names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 },
            { "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": netlink },
        ]),
    )?;
    let run = binary()?;
    record(
        dir,
        [&run, "run", "--seccomp", &outer, "--", &run, "run", "--seccomp", &inner, "--", REFUSED, "calls"],
    )
}

#[test]
fn refusals_are_told_from_failures_with_the_same_error() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = under_two_filters(dir.path())?;
    expect(
        &recorded,
        &[
            ("getppid", Some((&["EPERM"], true))),
            ("personality", Some((&["EPERM"], true))),
            ("getpgrp", Some((&["ENOSYS"], true))),
            ("socket", Some((&["EAFNOSUPPORT"], false))),
            ("setpgid", None),
            ("setsid", None),
            ("syscall_400", None),
        ],
    )?;
    ensure!(call(&recorded, "setsid")?["errors"] == json!(["EPERM"]), "{}", call(&recorded, "setsid")?);
    ensure!(call(&recorded, "syscall_400")?["errors"] == json!(["ENOSYS"]));
    let tuples = call(&recorded, "socket")?["args"].as_array().context("no arguments")?;
    for tuple in tuples {
        let netlink = tuple["values"]["0"] == 16;
        ensure!((tuple["refused"] == true) == netlink, "{tuple}");
    }
    ensure!(tuples.len() == 2, "{tuples:?}");
    ensure!(filters(&recorded)?.len() == 2, "{:?}", filters(&recorded)?);
    Ok(())
}

#[test]
fn what_was_refused_is_allowed_next_time_but_not_what_is_dangerous() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = under_two_filters(dir.path())?;
    let out = dir.path().join("seccomp.json");
    let emit = |more: &[&str]| -> Result<(Value, String)> {
        let mut command = Command::new(product::binary()?);
        command.arg("emit-seccomp").arg(&recorded.path).args(["--runtime", "none"]).args(more);
        let ended = refusal::run(command.arg("-o").arg(&out))?.with(0)?;
        Ok((serde_json::from_slice(&fs::read(&out)?)?, ended.stderr()))
    };
    let names = |profile: &Value| -> BTreeSet<String> {
        let rules = profile["syscalls"].as_array().into_iter().flatten();
        let names = rules.filter_map(|rule| rule["names"].as_array()).flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let (profile, said) = emit(&[])?;
    let found = names(&profile);
    for name in ["getppid", "getpgrp", "personality", "socket"] {
        ensure!(found.contains(name), "{name} is not in {found:?}");
    }
    ensure!(!found.contains("keyctl"), "keyctl is given silently");
    let line = |what: &str| said.lines().find(|line| line.contains(what)).with_context(|| said.clone());
    ensure!(line("4 calls were refused")?.ends_with("allowed now: getpgrp, getppid, personality, socket"));
    ensure!(line("not added")?.contains("keyctl"), "{said}");
    product::sandbox_trace([
        "verify".as_ref(),
        recorded.path.as_os_str(),
        "--seccomp".as_ref(),
        out.as_os_str(),
        "--runtime".as_ref(),
        "none".as_ref(),
    ])?;
    // Under the new profile, the work gets what it asked for.
    let output = command::succeed(
        Command::new(product::binary()?).args(["run", "--seccomp"]).arg(&out).args(["--", REFUSED, "calls"]),
    )?;
    let output = String::from_utf8(output.stdout)?;
    for name in ["getppid", "getpgrp", "socket netlink", "personality"] {
        ensure!(output.contains(&format!("{name}: done")), "{output}");
    }
    ensure!(output.contains("keyctl: Operation not permitted"), "{output}");
    let (profile, said) = emit(&["--allow", "keyctl"])?;
    ensure!(names(&profile).contains("keyctl") && !said.contains("not added"), "{said}");
    Ok(())
}

#[test]
fn a_filter_of_more_than_one_record_is_put_together() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [REFUSED, "parts"])?;
    expect(
        &recorded,
        &[
            ("getppid", Some((&["EPERM"], true))),
            ("getpgrp", Some((&["ENOSYS"], true))),
            ("setsid", None),
            ("socket", None),
        ],
    )?;
    let mut lengths: Vec<u64> = filters(&recorded)?.into_iter().map(|(length, _)| length).collect();
    lengths.sort_unstable();
    ensure!(lengths == [1204, 4004], "{lengths:?}");
    Ok(())
}

/// The kernel reuses the memory of a filter that is gone: what was read there before must not count.
#[test]
fn each_of_many_tasks_is_judged_by_its_own_filter() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [REFUSED, "many"])?;
    let (answers, always) = refusal_of(&recorded, "getppid")?.context("not refused")?;
    let errors = call(&recorded, "getppid")?["errors"].as_array().context("no errors")?.len();
    ensure!(answers.len() == 60 && errors == 60 && always, "{} answers: {answers:?}", answers.len());
    ensure!(filters(&recorded)?.len() == 60);
    ensure!(recorded.json["warnings"] == json!([]), "{}", recorded.json["warnings"]);
    Ok(())
}

/// What was seen before a filter was loaded hides nothing that is first done under it.
#[test]
fn calls_that_are_first_made_under_a_filter_are_recorded() -> Result<()> {
    const COPIES: usize = 8;
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?;
    // Each is another executable, with other numbers in the kernel.
    let copies: Vec<String> = (0..COPIES).map(|copy| format!("{}/copy-{copy}", folder.display())).collect();
    for copy in &copies {
        fs::copy(REFUSED, copy)?;
    }
    let script = "for copy; do \"$copy\" neighbours || exit; done";
    let words = ["sh", "-c", script, "sh"].into_iter().chain(copies.iter().map(String::as_str));
    let recorded = record(dir.path(), words.map(OsStr::new))?;
    let executables = recorded.json["executables"].as_array().context("no executables")?;
    for name in ["getrlimit", "sysinfo", "getegid", "getpgrp"] {
        let by = call(&recorded, name)?["by"].as_array().context("no by")?;
        let by = by.iter().filter_map(|index| executables.get(usize::try_from(index.as_u64()?).ok()?));
        let by: BTreeSet<&str> = by.filter_map(|executable| executable["path"].as_str()).collect();
        let missing: Vec<_> = copies.iter().filter(|copy| !by.contains(copy.as_str())).collect();
        ensure!(missing.is_empty(), "{name} of {missing:?} is missing");
    }
    Ok(())
}

#[test]
fn calls_that_end_in_a_signal_are_refused_and_did_not_succeed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let recorded = record(dir.path(), [REFUSED, "signals"])?;
    expect(
        &recorded,
        &[
            ("getppid", Some((&["SIGSYS"], true))),
            ("getpgrp", Some((&["killed"], true))),
            ("getsid", Some((&["killed"], true))),
            ("write", None),
        ],
    )?;
    for name in ["getppid", "getpgrp", "getsid"] {
        ensure!(call(&recorded, name)?["succeeded"] == false, "{}", call(&recorded, name)?);
    }
    ensure!(call(&recorded, "write")?["succeeded"] == true);
    Ok(())
}

#[test]
fn a_target_without_filters_is_under_none() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let own = fs::read_to_string("/proc/self/status")?;
    let recorded = record(dir.path(), [REFUSED, "calls"])?;
    expect(&recorded, &[("setsid", None), ("getppid", None)])?;
    // The tests themselves may run under a filter, which is then the target's, too.
    let unfiltered = own.lines().any(|line| line == "Seccomp_filters:\t0");
    ensure!(recorded.json["target"]["seccomp"].is_null() == unfiltered, "{}", recorded.json["target"]);
    Ok(())
}

/// What Docker's default profile refuses is learned in production, too.
#[test]
fn under_docker_s_default_profile() -> Result<()> {
    command::require_root()?;
    let dir = tempfile::tempdir()?;
    let engine = Engine::start()?;
    let cgroup = Cgroup::create()?;
    let recorder = Recorder::start(cgroup.path(), dir.path())?;
    // keyctl, add_key and userfaultfd: refused, with EPERM. setsid: of a leader, by the kernel itself.
    let program = "import ctypes, os\n\
        c = ctypes.CDLL(None, use_errno=True)\n\
        for n in (250, 248, 323): assert c.syscall(n, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, n\n\
        try: os.setsid()\n\
        except PermissionError: print('denied')\n";
    let args = ["/usr/bin/python3", "-c", program].map(str::to_owned);
    let output = engine.run(&cgroup, None, &args)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.stdout == b"denied\n", "setsid worked");
    let recorded = Recorded::load(&recorder.finish()?)?;
    let always: Option<(&[&str], bool)> = Some((&["EPERM"], true));
    expect(
        &recorded,
        &[
            ("keyctl", always),
            ("add_key", always),
            ("userfaultfd", always),
            ("setsid", None),
            ("openat", None),
        ],
    )?;
    let filters = filters(&recorded)?;
    ensure!(filters.len() == 1 && filters[0].0 > 500 && filters[0].1 == "EPERM", "{filters:?}");
    let mut emit = Command::new(product::binary()?);
    emit.args([OsStr::new("emit-seccomp"), recorded.path.as_os_str()])
        .arg("-o")
        .arg(dir.path().join("seccomp.json"));
    let said = refusal::run(&mut emit)?.with(0)?.stderr();
    let line = said.lines().find(|line| line.contains("not added")).with_context(|| said.clone())?;
    for name in ["add_key", "keyctl", "userfaultfd"] {
        ensure!(line.contains(name), "{said}");
    }
    Ok(())
}
