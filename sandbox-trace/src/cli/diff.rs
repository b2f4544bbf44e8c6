//! `diff`: what a new recording, or a new profile, allows that the old one did not.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::Context;
use crate::{
    diff::{self, Diff, Form, Level, print},
    error::{Error, Exit, Result},
    output,
    policy::{arguments::Mode, generalize::Generalization},
    requirements,
};

/// Compares two recordings, two seccomp profiles, two `AppArmor` profiles, or two folders of emitted files. Exit 1 if
/// the new side is wider.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// What there was.
    old: PathBuf,
    /// What there is now.
    new: PathBuf,
    /// Recordings that say who needs what is new in a profile.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    recording: Vec<PathBuf>,
    /// How paths of recordings are generalised before they are compared.
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t)]
    generalize: Generalization,
    /// Which arguments of recorded calls are compared.
    #[arg(long = "args", value_enum, value_name = "MODE", default_value_t = Mode::Safe)]
    mode: Mode,
    /// Accept recordings that lost something.
    #[arg(long)]
    allow_incomplete: bool,
    /// Print the differences as JSON.
    #[arg(long, conflicts_with_all = ["markdown", "sarif"])]
    json: bool,
    /// Print the differences for a comment on a pull request.
    #[arg(long, conflicts_with = "sarif")]
    markdown: bool,
    /// Print what is new as SARIF 2.1.0.
    #[arg(long)]
    sarif: bool,
}

const EXAMPLES: &str = "\
Examples:
  sandbox-trace diff last.json tonight.json
  sandbox-trace diff committed/seccomp.json seccomp.json --recording tonight.json
  sandbox-trace diff profiles/agent new/agent --recording nightly/*.json --markdown";

/// A seccomp profile's kind can be told from its first lines, an `AppArmor` profile's after its tunables.
const HEAD: u64 = 1 << 16;

/// Runs the command.
pub fn main(context: Context, args: &Args) -> Result<Exit> {
    let progress = context.progress("comparing");
    let mut diff = compare(args)?;
    if !args.recording.is_empty() {
        diff.attach_evidence(&requirements::load(&args.recording, args.allow_incomplete)?);
    }
    drop(progress);
    if args.json {
        print_json(&print::json(&diff))?;
    } else if args.sarif {
        print_json(&print::sarif(&diff))?;
    } else if args.markdown {
        output::stdout(print::markdown(&diff))?;
    } else {
        output::stdout(print::table(&diff))?;
        for note in &diff.notes {
            context.note(format!("  note: {note}"));
        }
    }
    Ok(if diff.widened() { Exit::Found } else { Exit::Clean })
}

fn print_json(value: &serde_json::Value) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::usage("could not write the differences as JSON").because(e))?;
    json.push(b'\n');
    output::stdout(json)
}

fn compare(args: &Args) -> Result<Diff> {
    let (old, new) = (args.old.as_path(), args.new.as_path());
    match (old.is_dir(), new.is_dir()) {
        (true, true) => {
            let diff = diff::folders(&folder(old)?, &folder(new)?)?;
            return Ok(diff);
        }
        (false, false) => {}
        (is_folder, _) => {
            let (folder, file) = if is_folder { (old, new) } else { (new, old) };
            return Err(Error::usage(format!(
                "{} is a folder and {} is not: they can't be compared",
                folder.display(),
                file.display()
            ))
            .hint("compare two files of one kind, or two folders"));
        }
    }
    let (before, now) = (form(old)?, form(new)?);
    if (before, now) == (Form::Recording, Form::Recording) {
        if !args.recording.is_empty() {
            return Err(Error::usage("--recording is for profiles: a new recording is its own evidence")
                .hint("leave it out"));
        }
        let load = |path: &Path| requirements::load(&[path.to_path_buf()], args.allow_incomplete);
        let level = Level { generalize: args.generalize, args: args.mode };
        return Ok(diff::recordings_at(&load(old)?, &load(new)?, level));
    }
    let (old_name, new_name) = (old.display().to_string(), new.display().to_string());
    if before == Form::Recording || now == Form::Recording {
        let name = |form: Form| form.name();
        return Err(Error::usage(format!(
            "{old_name} is {} and {new_name} is {}: they can't be compared",
            name(before),
            name(now)
        ))
        .hint("`sandbox-trace verify RECORDING --seccomp FILE` holds a recording against a profile"));
    }
    let diff = diff::files((&old_name, &read(old)?), (&new_name, &read(new)?))?;
    Ok(diff.of_file(&new_name))
}

fn unread(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let name = path.display().to_string();
    move |e| {
        Error::usage(format!("could not read {name}"))
            .because(e)
            .hint("name two recordings, two profiles, or two folders of emitted files")
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(unread(path))
}

/// What the file is; a large recording is not read for that.
fn form(path: &Path) -> Result<Form> {
    let mut head = Vec::new();
    let file = fs::File::open(path).map_err(unread(path))?;
    file.take(HEAD).read_to_end(&mut head).map_err(unread(path))?;
    Ok(match Form::of(&head) {
        Form::Other => Form::of(&read(path)?),
        form => form,
    })
}

/// The files of a folder, not those of folders in it.
fn folder(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(unread(path))? {
        let entry = entry.map_err(unread(path))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if diff::is_emitted(&name) && entry.path().is_file() {
            out.insert(name, read(&entry.path())?);
        }
    }
    if out.is_empty() {
        return Err(Error::usage(format!("{} has no emitted files", path.display()))
            .hint("seccomp.json, apparmor.profile, docker-run.sh and the like are compared"));
    }
    Ok(out)
}
