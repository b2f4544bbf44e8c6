//! `verify --live`: the command once more, under the profiles, recorded and compared.

use std::{
    ffi::{CString, OsString},
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{Context, run::filter};
use crate::{
    apparmor::{compiler, policy},
    error::{Error, Exit, Result},
    output::{self, counted, grouped},
    record::{self, TargetChoice},
    seccomp::runtime::Runtime,
    start::{self, Start},
    verify::{
        Kind,
        live::{Live, compare},
    },
};

/// Size of the ring, as `record` has it.
const RING_BYTES: u32 = 4 << 20;
/// Most missing facts that are printed; JSON has all.
const MOST_MISSING: usize = 20;

/// Arguments of the command. They have no group of their own: it would have the name of that of `verify`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Run the command once more, under the profiles, record that, and compare: the outcome, what was denied, what
    /// was not done. Its standard output goes to stderr. Needs root, as recording does.
    #[arg(long, requires_all = ["command", "recordings"], conflicts_with = "container")]
    live: bool,
    /// The command of --live, and its arguments.
    #[arg(last = true, requires = "live", value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The files to enforce, and how.
#[derive(Debug)]
pub struct Profiles {
    /// The seccomp profile; a command is run under one.
    pub seccomp: Vec<PathBuf>,
    /// Who compiles it.
    pub runtime: Runtime,
    /// Whether the command may gain privileges.
    pub no_new_privileges: bool,
    /// The AppArmor profile.
    pub apparmor: Option<PathBuf>,
    /// The kernel's AppArmor features.
    pub apparmor_features: Option<PathBuf>,
}

/// Runs the command, if one was given. It gives up the privileges of this process.
pub fn run(args: Args, recordings: &[PathBuf], profiles: &Profiles) -> Result<Option<Live>> {
    if !args.live {
        return Ok(None);
    }
    let first = super::load_recordings(recordings)?;
    let mut notes = Vec::new();
    let program = match profiles.seccomp.as_slice() {
        [] => None,
        [file] => Some(filter(file, profiles.runtime)?.program),
        _ => {
            return Err(Error::usage(
                "--live runs the command under one seccomp profile, and several were given",
            )
            .hint("name one --seccomp FILE"));
        }
    };
    if let Some(program) = &program {
        start::check_exec(program)?;
    }
    let apparmor = match &profiles.apparmor {
        Some(file) => apparmor(file, profiles.apparmor_features.as_deref(), program.is_some(), &mut notes)?,
        None => None,
    };
    let enforces_apparmor = apparmor.is_some();
    let words = args.command.iter().map(|word| CString::new(word.as_bytes())).collect::<Result<_, _>>();
    let words = words.map_err(|e| Error::usage("an argument has a NUL byte").because(e))?;
    let under = Start::new(words, program, profiles.no_new_privileges, apparmor).map_err(|f| f.error)?;
    let outcome = record::record(&record::Options {
        target: TargetChoice::Command(args.command),
        under: Some(under),
        duration: None,
        boundary: None,
        hooks: None,
        quiet: true,
        output: PathBuf::from("-"),
        checkpoint: None,
        ring_bytes: RING_BYTES,
    })?;
    let mut live = compare(&first, &outcome.whole(), enforces_apparmor);
    live.notes.splice(0..0, notes);
    Ok(Some(live))
}

/// The name of the profile in `file`, which must be loaded; `None` if this kernel has no `AppArmor` and there is
/// something else to enforce.
fn apparmor(
    file: &Path,
    features: Option<&Path>,
    is_something_else: bool,
    notes: &mut Vec<String>,
) -> Result<Option<String>> {
    if !start::apparmor_enabled() {
        let message = format!("this kernel has no AppArmor, so {} was not enforced", file.display());
        if !is_something_else {
            return Err(Error::host(message)
                .hint("run this on a kernel with AppArmor (lsm=…,apparmor), or add --seccomp FILE"));
        }
        notes.push(message);
        return Ok(None);
    }
    let profiles = policy::unpack(&compiler::compile_file(file, features)?.policy)?;
    let is_child = |name: &[u8]| name.windows(2).any(|pair| pair == b"//");
    let profile = profiles.iter().find(|profile| !is_child(profile.name.as_bytes())).or(profiles.first());
    let Some(profile) = profile else {
        return Err(Error::usage(format!("{} holds no profile", file.display()))
            .hint("name the file that emit-apparmor wrote"));
    };
    let name = profile.name.to_string();
    // Where the list can't be read, entering the profile tells.
    if let Ok(loaded) = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles") {
        let line =
            loaded.lines().find(|line| line.rsplit_once(" (").is_some_and(|(loaded, _)| loaded == name));
        match line {
            None => {
                return Err(Error::host(format!("the AppArmor profile {name} is not loaded"))
                    .hint(format!("load it with sudo apparmor_parser -r {}", file.display())));
            }
            Some(line) if !line.ends_with("(enforce)") => {
                return Err(Error::host(format!("the AppArmor profile is loaded, and not enforced: {line}"))
                    .hint(format!(
                        "load it in enforce mode with sudo apparmor_parser -r {}",
                        file.display()
                    )));
            }
            Some(_) => {
                notes
                    .push(format!("the loaded AppArmor profile {name} was enforced, as it is in the kernel"));
            }
        }
    }
    Ok(Some(name))
}

/// The worse of the replay's exit code and this run's.
pub fn with(live: Option<&Live>, replay: Exit) -> Exit {
    match live {
        Some(live) if live.found() => Exit::Found,
        Some(live) if !live.complete && replay == Exit::Clean => Exit::Incomplete,
        _ => replay,
    }
}

/// Prints what the run showed, the answer first.
pub fn print(context: Context, live: Option<&Live>) -> Result<()> {
    let Some(live) = live else { return Ok(()) };
    let code = |code: Option<i32>| code.map_or_else(|| "an unknown code".to_owned(), |code| code.to_string());
    let mark = match (live.found(), live.complete) {
        (true, _) => "✗",
        (false, true) => "✓",
        (false, false) => "?",
    };
    let outcome = if live.same_outcome() {
        format!("it ended with {}, as recorded", code(live.exit_code))
    } else {
        format!(
            "it ended with {}, not with {}",
            code(live.exit_code),
            code(live.expected_exit_code.or(Some(0)))
        )
    };
    let denied = match live.denied.len() {
        0 => "nothing was denied".to_owned(),
        1 => "1 thing was denied".to_owned(),
        n => format!("{} things were denied", grouped(n as u64)),
    };
    let mut out = format!("{mark} live: {outcome}; {denied}\n");
    for denied in &live.denied {
        let layer = if denied.kind == Kind::Seccomp { "seccomp" } else { "apparmor" };
        let count = if denied.count > 0 { format!(", {}×", grouped(denied.count)) } else { String::new() };
        let by = denied.by.join(", ");
        let _ = writeln!(out, "  denied   {layer}  {} → {}   {by}{count}", denied.what, denied.answer);
    }
    if live.found() {
        for missing in live.missing.iter().take(MOST_MISSING) {
            let _ =
                writeln!(out, "  missing  {}  {}   {}", missing.kind, missing.what, missing.by.join(", "));
        }
        if live.missing.len() > MOST_MISSING {
            let _ = writeln!(
                out,
                "  and {} more are missing",
                grouped((live.missing.len() - MOST_MISSING) as u64)
            );
        }
    }
    if !context.quiet || live.found() || !live.complete {
        output::stdout(out.lines().flat_map(|line| [line.trim_end(), "\n"]).collect::<String>())?;
    }
    if !live.found() && !live.missing.is_empty() {
        context.note(format!(
            "  note: {} of the recorded runs did not happen this time, which is no failure; --json lists them",
            counted(live.missing.len() as u64, "fact")
        ));
    }
    for call in &live.fallbacks {
        let (by, reason) = (call.by.join(", "), call.reason().unwrap_or_default());
        context.note(format!("  note: {} → ENOSYS   {by}; no denial: {reason}", call.what));
    }
    for note in &live.notes {
        context.note(format!("  note: {note}"));
    }
    if live.found() {
        context.note(
            "  next: sandbox-trace run --explain with these profiles shows each denial as it happens, with its \
             arguments; if it is needed, make the profiles again from a recording that has it",
        );
    }
    Ok(())
}
