//! A container that starts, or does not, under a filter made of single needs.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt, fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process;

/// The exit code of the workload: no runtime's own.
const DONE: u8 = 42;

/// `prctl` options up to the newest (Linux 6.12) but for those with numbers of their own.
const OPTIONS: u64 = 80;

/// A container runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Runc,
    Crun,
}

impl Runtime {
    pub fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }
}

/// Something that a filter may allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A call with any arguments.
    Call(String),
    /// `prctl` with this option.
    Prctl(u64),
}

impl Need {
    /// All calls, and all options of `prctl`.
    pub fn universe() -> BTreeSet<Self> {
        let calls = syscalls::x86_64::Sysno::iter().map(|call| call.name().to_owned());
        let calls = calls.filter(|name| name != "prctl").map(Self::Call);
        calls.chain((1..=OPTIONS).map(Self::Prctl)).collect()
    }

    /// The call's name.
    pub fn call(&self) -> String {
        match self {
            Self::Call(name) => name.clone(),
            Self::Prctl(_) => "prctl".into(),
        }
    }

    /// The option of `prctl`.
    pub fn option(&self) -> Option<u64> {
        match self {
            Self::Call(_) => None,
            Self::Prctl(option) => Some(*option),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(name) => f.write_str(name),
            Self::Prctl(option) => write!(f, "prctl({option})"),
        }
    }
}

/// A bundle whose container does nothing but exit.
pub struct Bundle {
    dir: TempDir,
    runtime: Runtime,
    config: Value,
    started: Cell<u32>,
    last: RefCell<String>,
}

impl Bundle {
    pub fn new(runtime: Runtime, no_new_privileges: bool) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let bin = dir.path().join("rootfs/exit");
        fs::create_dir_all(dir.path().join("rootfs"))?;
        fs::write(&bin, program())?;
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755))?;
        // Both runtimes take runc's template.
        process::output(Command::new(require("runc")?).arg("spec").current_dir(dir.path()))?;
        let mut config: Value = serde_json::from_slice(&fs::read(dir.path().join("config.json"))?)?;
        let parts = config["process"].as_object_mut().context("runc spec wrote no process")?;
        parts.insert("terminal".into(), false.into());
        parts.insert("args".into(), json!(["/exit"]));
        parts.insert("noNewPrivileges".into(), no_new_privileges.into());
        // Another user with other groups: all that a runtime does to change them.
        parts.insert("user".into(), json!({ "uid": 1000, "gid": 1000, "additionalGids": [2000] }));
        // The machine may lack CAP_SYS_RESOURCE.
        parts.remove("rlimits");
        // A hybrid hierarchy can't be given to a container by crun.
        config["mounts"]
            .as_array_mut()
            .context("runc spec wrote no mounts")?
            .retain(|mount| mount["destination"] != "/sys/fs/cgroup");
        Ok(Self { dir, runtime, config, started: Cell::new(0), last: RefCell::default() })
    }

    /// Whether the container starts and ends as it should when only `needs` are allowed.
    pub fn starts_under(&self, needs: &BTreeSet<Need>) -> Result<bool> {
        let mut config = self.config.clone();
        config["linux"]["seccomp"] = filter(needs);
        fs::write(self.dir.path().join("config.json"), serde_json::to_vec(&config)?)?;
        let output = self.run()?;
        let text = [output.stdout, output.stderr].concat();
        self.last.replace(String::from_utf8_lossy(&text).trim().to_owned());
        Ok(output.status.code() == Some(DONE.into()))
    }

    /// What the runtime said last.
    pub fn last_output(&self) -> String {
        self.last.borrow().clone()
    }

    /// How many containers were started.
    pub fn started(&self) -> u32 {
        self.started.get()
    }

    /// The runtime's version, with libseccomp's where it says it, and the kernel's.
    pub fn version(&self) -> Result<String> {
        let text = process::output(Command::new(require(self.runtime.name())?).arg("--version"))?;
        let first = text.lines().next().unwrap_or_default().replace(" version", "");
        let library = text.lines().find_map(|line| line.strip_prefix("libseccomp: "));
        let library = library.map_or_else(String::new, |version| format!(" with libseccomp {version}"));
        let kernel = process::output(Command::new("uname").arg("-r"))?;
        let kernel: Vec<&str> = kernel.split(['.', '-']).take(2).collect();
        Ok(format!("{first}{library} on Linux {}", kernel.join(".")))
    }

    fn run(&self) -> Result<Output> {
        let number = self.started.get() + 1;
        self.started.set(number);
        let id = format!("base-{}-{number}", std::process::id());
        let state = self.dir.path().join("state");
        // What a runtime leaves when a container does not start is removed with it. Some lacks leave runc waiting for its
        // child for ever, and it passes other signals on to it.
        let script = r#"
            case "$RUNTIME" in
            *crun) mount -t cgroup2 none /sys/fs/cgroup; set -- "$RUNTIME" --cgroup-manager=disabled ;;
            *) set -- "$RUNTIME" ;;
            esac
            timeout --signal=KILL 10 "$@" --root "$STATE" run --bundle "$BUNDLE" "$ID" </dev/null; code=$?
            test $code = 42 || timeout --signal=KILL 10 "$@" --root "$STATE" delete --force "$ID" >/dev/null 2>&1
            exit $code"#;
        Command::new(require("unshare")?)
            .args(["--mount", "--propagation=private", "sh", "-c", script])
            .env("RUNTIME", require(self.runtime.name())?)
            .env("BUNDLE", self.dir.path())
            .env("STATE", state)
            .env("ID", id)
            .output()
            .context("can't start unshare")
    }
}

fn require(program: &str) -> Result<std::path::PathBuf> {
    match process::find(program) {
        Some(path) => Ok(path),
        None => bail!("{program} is not installed: run `cargo xtask setup`"),
    }
}

/// A filter that refuses all but `needs` with `EPERM`.
fn filter(needs: &BTreeSet<Need>) -> Value {
    let names: Vec<&str> = needs
        .iter()
        .filter_map(|need| if let Need::Call(name) = need { Some(name.as_str()) } else { None })
        .collect();
    let mut rules = vec![json!({ "names": names, "action": "SCMP_ACT_ALLOW" })];
    rules.extend(needs.iter().filter_map(Need::option).map(|option| {
        json!({ "names": ["prctl"], "action": "SCMP_ACT_ALLOW", "args": [
            { "index": 0, "value": 0xffff_ffff_u32, "valueTwo": option, "op": "SCMP_CMP_MASKED_EQ" }
        ] })
    }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules
    })
}

/// An x86-64 executable that calls `exit_group(DONE)` and nothing else.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    // mov edi, DONE; mov eax, 231; syscall
    let code = [0xbf, DONE, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05];
    let size = u64::from(HEADERS) + code.len() as u64;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let halves = |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let words = |out: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let longs = |out: &mut Vec<u8>, values: &[u64]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    halves(&mut out, &[2, 62]); // ET_EXEC, EM_X86_64
    words(&mut out, &[1]);
    longs(&mut out, &[BASE + u64::from(HEADERS), 64, 0]); // entry, program headers, section headers
    words(&mut out, &[0]);
    halves(&mut out, &[64, 56, 1, 0, 0, 0]);
    words(&mut out, &[1, 5]); // PT_LOAD, readable and executable
    longs(&mut out, &[0, BASE, BASE, size, size, 0x1000]);
    out.extend(code);
    out
}
