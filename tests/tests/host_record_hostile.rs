//! A hostile target does not hurt its recorder: each attack ends in bounded time and memory, with a whole recording
//! that says what it lost and holds no false fact.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sandbox_trace_tests::{
    command, memory, product,
    recorded::{Recorded, recorder},
};

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile");
const WORKLOAD: &str = env!("CARGO_BIN_EXE_workload");
const LIMIT: Duration = Duration::from_secs(60);
/// No recorder may take more, whatever its target does.
const MOST_KIB: u64 = 256 << 10;

/// A folder, and what a recorder made of an attack in it.
struct Attacked {
    dir: tempfile::TempDir,
    folder: PathBuf,
    recorded: Recorded,
}

/// Records an attack, whatever is lost. `{}` in the line is the folder to work in.
fn attack(line: &[&str]) -> Result<Attacked> {
    let dir = tempfile::tempdir()?;
    let folder = fs::canonicalize(dir.path())?.join("work");
    fs::create_dir(&folder)?;
    let path = dir.path().join("recording.json");
    let words = line.iter().map(|word| if *word == "{}" { folder.as_os_str() } else { OsStr::new(word) });
    let mut record = recorder(&path, &[], words)?;
    let start = Instant::now();
    let child = record.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let watch = memory::Watch::new(child.id());
    let output = child.wait_with_output()?;
    let (took, said) = (start.elapsed(), command::describe(&record, &output));
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).with_context(|| said.clone())?)?;
    let lost = json["losses"].as_object().context("no losses")?.values().any(|n| n != 0);
    ensure!(json["complete"] == !lost, "complete {}, losses {}", json["complete"], json["losses"]);
    ensure!(output.status.code() == Some(0), "{said}");
    ensure!(!said.contains("panicked"), "{said}");
    ensure!(took < LIMIT, "it took {took:?}");
    let largest = watch.peak_kib()?;
    ensure!(largest <= MOST_KIB, "the recorder took {largest} KiB");
    println!("{:.1} s, at most {largest} KiB, losses {}", took.as_secs_f64(), losses(&json));
    Ok(Attacked { dir, folder, recorded: Recorded { json, path } })
}

fn losses(json: &serde_json::Value) -> String {
    let all = json["losses"].as_object().into_iter().flatten();
    all.filter(|(_, n)| **n != 0).map(|(name, n)| format!("{name} {n} ")).collect()
}

impl Attacked {
    fn complete(self) -> Result<Self> {
        ensure!(self.recorded.json["complete"] == true, "lost {}", losses(&self.recorded.json));
        Ok(self)
    }

    /// The names below the folder that were granted something.
    fn granted(&self) -> Result<BTreeSet<Vec<u8>>> {
        let files = self.recorded.files_below(&self.folder)?;
        Ok(files.into_keys().filter(|(_, error)| error.is_none()).map(|(path, _)| path).collect())
    }

    /// Both profiles of it compile, with the real compiler too, and block nothing.
    fn profiles_hold(&self) -> Result<()> {
        let recording = self.recorded.path.as_os_str();
        let place = |name: &str| self.dir.path().join(name);
        let (seccomp, apparmor) = (place("seccomp.json"), place("apparmor"));
        product::sandbox_trace(["emit-seccomp".as_ref(), recording, "-o".as_ref(), seccomp.as_os_str()])?;
        let line = ["emit-apparmor", "--name", "hostile", "--generalize", "exact", "-o"].map(OsStr::new);
        product::sandbox_trace(line.into_iter().chain([apparmor.as_os_str(), recording]))?;
        let features =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../sandbox-trace/src/apparmor/features-6.1.txt");
        let mut parser = Command::new(command::require("apparmor_parser")?);
        parser.arg("-QTK").arg("-M").arg(command::require_path(&features)?).arg(&apparmor);
        command::succeed(&mut parser)?;
        let mut verify = Command::new(product::binary()?);
        verify.arg("verify").arg(&self.recorded.path);
        verify.arg("--seccomp").arg(seccomp).arg("--apparmor").arg(apparmor);
        command::succeed(&mut verify).map(drop)
    }
}

#[test]
fn every_byte_in_names() -> Result<()> {
    let attacked = attack(&[HOSTILE, "names", "{}"])?.complete()?;
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(&attacked.folder)? {
        use std::os::unix::ffi::OsStringExt as _;
        there.insert(entry?.file_name().into_vec());
    }
    ensure!(there.len() > 280 && attacked.granted()? == there, "other names than those of the files");
    attacked.profiles_hold()
}

#[test]
fn deep_trees_and_the_longest_path() -> Result<()> {
    let attacked = attack(&[HOSTILE, "deep", "{}"])?.complete()?;
    let granted = attacked.granted()?;
    for levels in [64, 200] {
        let name = if levels == 64 { "d/" } else { "e/" };
        let path = name.repeat(levels) + "file";
        ensure!(granted.contains(path.as_bytes()), "no file {levels} folders deep");
    }
    let longest = granted.iter().map(Vec::len).max().unwrap_or_default();
    ensure!(longest + attacked.folder.as_os_str().len() + 1 == 4095, "the longest has {longest} bytes");
    Ok(())
}

#[test]
fn an_ancestor_that_is_renamed_without_end() -> Result<()> {
    let attacked = attack(&[HOSTILE, "race", "{}", "20000"])?;
    let mut possible: BTreeSet<String> = BTreeSet::new();
    for top in ["A", "B"] {
        possible.extend([format!("{top}/"), format!("{top}/x/"), format!("{top}/x/y/")]);
        possible.extend((0..16).flat_map(|i| ["", "missing"].map(|m| format!("{top}/x/y/{m}{i}"))));
    }
    let files = attacked.recorded.files_below(&attacked.folder)?;
    for ((path, error), access) in &files {
        let path = String::from_utf8_lossy(path);
        // A name whose folder is away at that moment is looked up in no folder.
        ensure!(possible.contains(&*path) || error.is_some(), "{path} never was: {error:?} {access:?}");
    }
    ensure!(attacked.granted()?.len() > 16, "{:?}", attacked.granted()?);
    Ok(())
}

#[test]
fn a_symbolic_link_that_changes_without_end() -> Result<()> {
    let attacked = attack(&[HOSTILE, "swap", "{}", "20000"])?;
    let granted = attacked.granted()?;
    for path in &granted {
        let path = String::from_utf8_lossy(path);
        let known = ["one/", "two/", "one/f", "two/f", "link", "next"].contains(&&*path);
        ensure!(known, "{path} never was what it was used as");
    }
    for path in ["one/f", "two/f"] {
        ensure!(granted.contains(path.as_bytes()), "no {path}");
    }
    Ok(())
}

#[test]
fn three_hundred_thousand_names() -> Result<()> {
    const NAMES: u64 = 300_000;
    let attacked = attack(&[WORKLOAD, "missing", "/nowhere", &NAMES.to_string()])?;
    let found = attacked.recorded.failed_files().len() as u64;
    let json = &attacked.recorded.json;
    ensure!(found >= NAMES || json["complete"] == false, "{found} names, and yet complete");
    ensure!(found >= NAMES / 10, "only {found} names");
    Ok(())
}

#[test]
fn floods_of_arguments() -> Result<()> {
    let attacked = attack(&[HOSTILE, "arguments", "200000"])?;
    let json = &attacked.recorded.json;
    let overflow = json["losses"]["arguments_overflow"].as_u64();
    ensure!(json["complete"] == false && overflow > Some(0), "{}", json["losses"]);
    for name in ["ioctl", "fcntl", "prctl"] {
        let call = attacked.recorded.call("x86_64", name).with_context(|| format!("no {name}"))?;
        let (count, tuples) = (call["count"].as_u64(), call["args"].as_array().map(Vec::len));
        ensure!(count > Some(0) && tuples < Some(50_000), "{name}: {count:?}, {tuples:?} tuples");
    }
    // It takes a word of the user's to make a profile of this.
    let mut emit = Command::new(product::binary()?);
    emit.arg("emit-seccomp").arg(&attacked.recorded.path);
    let output = command::run(&mut emit)?;
    ensure!(output.status.code() == Some(3), "{}", command::describe(&emit, &output));
    Ok(())
}

#[test]
fn ten_thousand_processes() -> Result<()> {
    let attacked =
        attack(&["sh", "-c", "i=0; while [ $i -lt 10000 ]; do (:); i=$((i+1)); done"])?.complete()?;
    let count = |name| attacked.recorded.call("x86_64", name).and_then(|call| call["count"].as_u64());
    ensure!(count("exit_group") == Some(10_001), "{:?} ends", count("exit_group"));
    Ok(())
}

#[test]
fn a_fork_bomb() -> Result<()> {
    // Its cgroup has its name in the v1 hierarchy of the controller, or in the unified one.
    let script = "name=sandbox-trace-$PPID
        for limit in /sys/fs/cgroup/pids/$name/pids.max /sys/fs/cgroup/$name/pids.max; do
            [ -e $limit ] && echo 200 >$limit && limited=1
        done
        [ \"$limited\" ] || exit 99
        timeout -s KILL 3 setsid -w sh -c 'bomb() { bomb | bomb & }; bomb; sleep 2' 2>/dev/null
        for f in /sys/fs/cgroup/pids/$name/cgroup.procs /sys/fs/cgroup/$name/cgroup.procs; do
            while [ \"$(grep -cvx $$ $f 2>/dev/null)\" -gt 1 ]; do
                for p in $(grep -vx $$ $f); do [ -e /proc/$p/exe ] && kill -9 $p; done
            done
        done 2>/dev/null
        exit 0";
    let attacked = attack(&["sh", "-c", script])?;
    let json = &attacked.recorded.json;
    ensure!(json["target"]["exit_code"] == 0, "{}", json["target"]);
    let clone = attacked.recorded.call("x86_64", "clone").or(attacked.recorded.call("x86_64", "vfork"));
    ensure!(clone.is_some_and(|call| call["count"].as_u64() > Some(100)), "{clone:?}");
    Ok(())
}

#[test]
fn what_has_no_name() -> Result<()> {
    let attacked = attack(&[HOSTILE, "gone", "{}"])?.complete()?;
    let granted = attacked.granted()?;
    for name in ["unlinked", "program", "brief/"] {
        ensure!(granted.contains(name.as_bytes()), "no {name} in {granted:?}");
    }
    for path in &granted {
        let path = String::from_utf8_lossy(path);
        let known = ["unlinked", "program", "brief/", ""].contains(&&*path) || path.starts_with('#');
        ensure!(known, "{path} never was");
    }
    Ok(())
}

#[test]
fn addresses_that_are_none() -> Result<()> {
    let attacked = attack(&[HOSTILE, "faults"])?;
    let files = attacked.recorded.list("files").iter().chain(attacked.recorded.failed_files());
    for file in files {
        let path = file["path"].as_str().unwrap_or_default();
        ensure!(path.starts_with('/') && !path.starts_with("/aa"), "{file}");
    }
    ensure!(attacked.recorded.call("x86_64", "openat2").is_some(), "a call with a bad address is missing");
    let named = attacked.recorded.json["executables"].to_string();
    ensure!(!named.contains("kthread"), "a name that a process gave itself: {named}");
    Ok(())
}

#[test]
fn roots_and_mounts_that_change() -> Result<()> {
    let busybox = command::require("busybox")?;
    let script = "cd \"$1\" && cp \"$0\" busybox && export PATH= && b=$PWD/busybox && $b mount -t tmpfs none /mnt && cd /mnt
        $b mkdir -p low up work over new/old new/bin new/proc; echo l >low/f; echo h >hidden; echo o >cover
        $b mount -t overlay none -o lowerdir=low,upperdir=up,workdir=work over || exit 9
        $b cat over/f; echo n >over/f; $b rm over/f
        $b mount --bind cover hidden && $b cat hidden
        $b cp $b new/bin/busybox; echo x >new/inroot
        $b chroot new /bin/busybox cat /inroot
        $b mount --bind new new && cd new && $b pivot_root . old && exec /bin/busybox cat /inroot /old/etc/hostname";
    let unshare = ["unshare", "-m", "--propagation", "private"];
    let tool = busybox.to_str().context("an odd path")?;
    let line = [unshare.as_slice(), &[tool, "sh", "-c", script, tool, "{}"]].concat();
    let attacked = attack(&line)?.complete()?;
    let read: BTreeSet<&str> = attacked
        .recorded
        .list("files")
        .iter()
        .filter(|file| file["access"].as_str().is_some_and(|letters| letters.contains('r')))
        .filter_map(|file| file["path"].as_str())
        .collect();
    for path in ["/mnt/over/f", "/mnt/hidden", "/inroot", "/old/etc/hostname"] {
        ensure!(read.contains(path), "no {path} in {read:?}");
    }
    for path in ["/mnt/up/f", "/mnt/low/f", "/etc/hostname", "/old/inroot"] {
        ensure!(!read.contains(path), "{path} was not what was read");
    }
    Ok(())
}
