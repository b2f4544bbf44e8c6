//! `record`: what a cgroup or a command does, as a recording.

use std::{
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Context;
use crate::{
    error::{Error, Exit, Result},
    output::{self, counted, grouped},
    record::{self, Outcome, TargetChoice},
    recording::{Recording, Saturation},
    requirements,
};

/// Records system calls, file accesses, sockets, capabilities and resource peaks of everything in the target,
/// until the target is empty, the time is up, or Ctrl-C. Says `armed` on stderr once nothing can be missed.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["cgroup", "container", "pid", "command"])))]
pub struct Args {
    /// Record this container, by name or id: Docker's, Podman's, containerd's, runc's, crun's.
    #[arg(long, value_name = "NAME|ID")]
    container: Option<String>,
    /// Record this cgroup and all below it: a directory, or a path below the cgroup v2 root. It may still be empty.
    /// Several may be given.
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<PathBuf>,
    /// Record the cgroup of this process, and all below it.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Don't expect the container or cgroup to be there: wait until it is started, and miss nothing of it.
    #[arg(long, conflicts_with_all = ["pid", "command"])]
    wait: bool,
    /// Where the recording goes; `-` is stdout, `.zst` at the end compresses.
    #[arg(short, long, value_name = "FILE", default_value = "recording.json")]
    output: PathBuf,
    /// Stop after this long: 90, 90s, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Write the recording so far to FILE this often, marked incomplete: should the recorder be killed, the last one
    /// is left.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    checkpoint: Option<Duration>,
    /// Memory between kernel and recorder: a power of two from 256KiB to 1GiB. More of it loses less when the target
    /// does very much that is new at once.
    #[arg(long, value_name = "SIZE", value_parser = ring_size, default_value = "4MiB")]
    ring: u32,
    /// Which kernel hooks to use.
    #[arg(long, value_enum, default_value_t = Hooks::Auto)]
    hooks: Hooks,
    /// Where facts begin to count. `container`: leave out what the container's runtime does to set it up.
    #[arg(long, value_enum, default_value_t = BoundaryChoice::Auto)]
    boundary: BoundaryChoice,
    /// Record this command, from its first instruction.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Hooks {
    /// `lsm` where the kernel takes such programs, else `syscalls`.
    Auto,
    /// Where the kernel asks its security modules: what AppArmor sees, `io_uring` and the kernel's own opens included.
    Lsm,
    /// Tracepoints on system calls.
    Syscalls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BoundaryChoice {
    /// `container` if the target turns out to be one, else `none`.
    Auto,
    /// From the first program of the container on.
    Container,
    /// Everything in the target.
    None,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number with ms, s, m or h behind it, such as 90s".into()),
    };
    let number: u64 =
        number.parse().map_err(|_| "write a number with ms, s, m or h behind it, such as 90s")?;
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(|| "that is too long".into())
}

fn ring_size(text: &str) -> Result<u32, String> {
    const WRONG: &str = "write a power of two from 256KiB to 1GiB, such as 16MiB";
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(WRONG.into()),
    };
    let bytes = number.parse::<u32>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.filter(|b| b.is_power_of_two() && (256 << 10..=1 << 30).contains(b)).ok_or_else(|| WRONG.into())
}

/// Runs the command.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    check_output(&args.output)?;
    if args.checkpoint.is_some_and(|every| every.is_zero()) {
        return Err(Error::usage("--checkpoint 0 is no time").hint("write a time such as 10s"));
    }
    if args.checkpoint.is_some()
        && args.output.metadata().map_or(args.output == Path::new("-"), |m| !m.is_file())
    {
        return Err(
            Error::usage("checkpoints need a file that can be replaced").hint("name one with -o FILE")
        );
    }
    let target = match (args.container, args.pid) {
        (Some(name), _) => TargetChoice::Container { name, wait: args.wait },
        (_, Some(pid)) => TargetChoice::Process(pid),
        _ if !args.cgroup.is_empty() => TargetChoice::Cgroups { paths: args.cgroup, wait: args.wait },
        _ => TargetChoice::Command(args.command),
    };
    let boundary = match args.boundary {
        BoundaryChoice::Auto => None,
        BoundaryChoice::Container => Some(record::Boundary::Container),
        BoundaryChoice::None => Some(record::Boundary::None),
    };
    let hooks = match args.hooks {
        Hooks::Auto => None,
        Hooks::Lsm => Some(record::HookSet::Lsm),
        Hooks::Syscalls => Some(record::HookSet::Syscalls),
    };
    let options = record::Options {
        target,
        under: None,
        duration: args.duration,
        boundary,
        hooks,
        quiet: context.quiet,
        output: args.output.clone(),
        checkpoint: args.checkpoint,
        ring_bytes: args.ring,
    };
    let outcome = record::record(&options)?;
    save(&outcome, &args.output)?;
    summarize(context, &outcome, &args.output);
    Ok(if outcome.command_failed { Exit::Found } else { Exit::Clean })
}

/// Writes the recording. If there is no room for it any more, it goes to the folder for temporary files: a run can't
/// be had again.
fn save(outcome: &Outcome, output: &Path) -> Result<()> {
    let Err(error) = outcome.save(output) else { return Ok(()) };
    let spare = tempfile::Builder::new()
        .prefix("sandbox-trace-")
        .suffix(if output.extension().is_some_and(|e| e == "zst") { ".json.zst" } else { ".json" })
        .tempfile()
        .ok()
        .and_then(|file| outcome.save(file.path()).ok().and_then(|()| file.into_temp_path().keep().ok()));
    Err(match spare {
        Some(spare) => error.hint(format!(
            "the recording is in {}: make room, and move it to where it belongs",
            spare.display()
        )),
        None => error,
    })
}

/// Finds out before the run, not after it, that the result can't be written.
fn check_output(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(Error::usage(format!("could not write {}: it is a directory", path.display()))
            .hint("name a file with -o FILE"));
    }
    if path != Path::new("-") && !folder.is_dir() {
        return Err(Error::usage(format!(
            "could not write {}: there is no folder {}",
            path.display(),
            folder.display()
        ))
        .hint("make the folder, or name another file with -o"));
    }
    Ok(())
}

fn summarize(context: Context, outcome: &Outcome, output: &Path) {
    let recording = &outcome.recording;
    let lost = if recording.complete {
        "nothing lost".into()
    } else {
        format!("INCOMPLETE: {}", requirements::describe_losses(&recording.losses))
    };
    let name = if output == Path::new("-") { "recording".into() } else { output.display().to_string() };
    context.note(format!(
        "✓ {name}: {}, {}, {}, {}, {lost}",
        output::duration(recording.duration_ms),
        counted(recording.syscalls.len() as u64, "syscall"),
        counted(outcome.paths(), "path"),
        counted(recording.executables.len() as u64, "executable"),
    ));
    if let Some(line) = saturation(recording) {
        context.note(line);
    }
    if let Some(code) = recording.target.exit_code.filter(|code| *code != 0) {
        context.note(format!("  the command failed: it exited with {code}; the recording is whole"));
    }
    if recording.target.kind == "command" && recording.target.exit_code.is_none() {
        context.note("  the command goes on, and is not recorded any more");
    }
    for warning in &recording.warnings {
        context.note(format!("  note: {warning}"));
    }
    if let Some(peaks) = peaks(recording) {
        context.note(format!("  peaks: {peaks}"));
    }
    if output != Path::new("-") {
        context.note(format!("  next: sandbox-trace emit-seccomp {name} -o seccomp.json"));
    }
}

/// When the run stopped teaching, in a sentence.
fn saturation(recording: &Recording) -> Option<String> {
    let last = recording.saturation.last()?;
    let duration = recording.duration_ms;
    let percent = last.ms.min(duration).saturating_mul(100).checked_div(duration)?;
    let early = recording.saturation.iter().take_while(|point| point.ms <= duration - duration / 4);
    let late = last.total().saturating_sub(early.last().map_or(0, Saturation::total));
    let mut line = format!("  the last new fact came at {percent} % of the run");
    if late > 0 {
        let of = format!("{} of {}", grouped(late), counted(last.total(), "fact"));
        let _ = write!(line, "; {of} came in its last quarter: a longer run may teach more");
    }
    Some(line)
}

fn peaks(recording: &Recording) -> Option<String> {
    let resources = &recording.resources;
    let parts: Vec<String> = [
        resources.memory_peak_bytes.map(|bytes| format!("memory {} KiB", grouped(bytes / 1024))),
        resources.pids_peak.map(|n| counted(n, "task")),
        resources.cpu_usec.map(|usec| format!("{} ms of CPU", grouped(usec / 1000))),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::samples;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        for bad in ["", "s", "5d", "-1s", "1.5s", "99999999999999999999s", "9999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rings_are_powers_of_two() {
        assert_eq!(ring_size("1MiB"), Ok(1 << 20));
        assert_eq!(ring_size("256KiB"), Ok(256 << 10));
        assert_eq!(ring_size("1GiB"), Ok(1 << 30));
        for bad in ["", "1", "3MiB", "128KiB", "2GiB", "4294967296GiB", "-1MiB", "1MB"] {
            assert!(ring_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_end_says_whether_the_run_still_taught() {
        let mut recording = samples::calls(&["read"]);
        assert_eq!(saturation(&recording), None);
        let point = |ms, paths| Saturation { ms, paths, ..Saturation::default() };
        recording.duration_ms = 1000;
        recording.saturation = vec![point(10, 1200), point(700, 1201)];
        let line = "  the last new fact came at 70 % of the run";
        assert_eq!(saturation(&recording).as_deref(), Some(line));
        recording.saturation.push(point(751, 1203));
        let line = "  the last new fact came at 75 % of the run; 2 of 1,203 facts came in its last quarter: a \
                    longer run may teach more";
        assert_eq!(saturation(&recording).as_deref(), Some(line));
    }

    #[test]
    fn times_are_human() {
        assert_eq!(output::duration(850), "850 ms");
        assert_eq!(output::duration(4_250), "4.2 s");
        assert_eq!(output::duration(271_000), "4 min 31 s");
        assert_eq!(output::duration(7_500_000), "2 h 5 min");
    }
}
