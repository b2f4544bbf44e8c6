//! Sandbox → a script around one `docker run` command. Each flag comes with its evidence as a comment; what Docker can't
//! be told is an error, never something near it.

mod flags;
mod network;

use std::fmt::Write as _;

use self::flags::{Flag, flags, image_and_command};
pub use self::{
    flags::{image_name, inexpressible, mount, object_name, published, text_of, tmpfs_options},
    network::{name as network_name, short as network_short},
};
use super::{
    apparmor::ProfileName,
    shell::{self, wrapped},
};
use crate::{error::Result, policy::sandbox::Sandbox};

/// What a script is made of beside the sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The recordings' names.
    pub recordings: &'a [String],
    /// The seccomp profile's file, as the result names it.
    pub seccomp: &'a str,
    /// The AppArmor profile's name.
    pub apparmor: &'a ProfileName,
}

/// How long a line of comment is.
const WIDTH: usize = 110;
/// The column in which the evidence starts.
const EVIDENCE: usize = 38;

/// The script.
pub fn script(sandbox: &Sandbox, origin: Origin<'_>) -> Result<String> {
    let flags = flags(sandbox, origin)?;
    let last = image_and_command(sandbox)?;
    let mut out = String::from("#!/bin/sh\n");
    header(&mut out, sandbox, origin);
    evidence(&mut out, &flags, sandbox);
    out.push_str("\nset -eu\n# Docker's client reads the seccomp profile, from here.\ncd -- \"$(dirname -- \"$0\")\"\n");
    out.push_str(&load_apparmor(origin.apparmor));
    out.push_str(&network::steps(sandbox)?);
    out.push_str("\ndocker run --detach \\\n");
    for line in flags.iter().map(Flag::command).filter(|line| !line.is_empty()) {
        let _ = writeln!(out, "  {line} \\");
    }
    out.push_str("  \"$@\" \\\n");
    let words: Vec<String> = last.iter().map(|text| shell::word(text)).collect();
    let _ = writeln!(out, "  {}", words.join(" "));
    Ok(out)
}

fn header(out: &mut String, sandbox: &Sandbox, origin: Origin<'_>) {
    let name = shell::comment(&sandbox.name);
    let _ = writeln!(
        out,
        "# Starts {name} in its sandbox. Made by sandbox-trace {} from",
        env!("CARGO_PKG_VERSION")
    );
    for recording in origin.recordings {
        let _ = writeln!(out, "#   {}", shell::comment(&crate::recording::printable(recording)));
    }
    wrapped(
        out,
        "# ",
        "Arguments of this script become further flags of docker run. Values of environment variables are taken from \
         the caller's environment.",
        WIDTH,
    );
}

fn evidence(out: &mut String, flags: &[Flag], sandbox: &Sandbox) {
    out.push_str("#\n# Why:\n");
    let continued = format!("#{:EVIDENCE$}", "");
    for flag in flags {
        let Some(why) = &flag.why else { continue };
        let shown = shell::comment(&flag.shown);
        let mut text = String::new();
        wrapped(&mut text, &continued, why, WIDTH);
        if shown.chars().count() + 5 > EVIDENCE {
            let _ = writeln!(out, "#   {shown}");
            out.push_str(&text);
        } else {
            let first = text.strip_prefix(&continued).unwrap_or(&text);
            let width = EVIDENCE - 3;
            let _ = write!(out, "#   {shown:width$}{first}");
        }
    }
    let user = (!sandbox.user.value.blockers.is_empty())
        .then(|| format!("it runs as root: {}", sandbox.user.value.blockers.join("; ")));
    let notes: Vec<&String> = user.iter().chain(&sandbox.notes).collect();
    if !notes.is_empty() {
        out.push_str("#\n# To know:\n");
        for note in notes {
            let mut text = String::new();
            wrapped(&mut text, "#     ", note, WIDTH);
            let _ = write!(out, "#   - {}", text.strip_prefix("#     ").unwrap_or(&text));
        }
    }
}

/// An engine that can't enforce AppArmor refuses the flag, so the engine is asked.
fn load_apparmor(profile: &ProfileName) -> String {
    let name = profile.as_str();
    format!(
        "
# AppArmor, where the engine's kernel has it: an engine without it refuses the flag.
apparmor=
case \"$(docker info --format '{{{{.SecurityOptions}}}}')\" in
*name=apparmor*)
  apparmor={name}
  if [ ! -f apparmor.profile ]; then
    echo \"$0: no apparmor.profile here: the profile {name} must be loaded already\" >&2
  elif [ \"$(id -u)\" = 0 ] && command -v apparmor_parser >/dev/null; then
    apparmor_parser --replace apparmor.profile
  else
    echo \"$0: load the AppArmor profile first, if it is not: sudo apparmor_parser --replace $PWD/apparmor.profile\" >&2
  fi
  ;;
*) echo \"$0: this engine has no AppArmor: seccomp, capabilities and mounts alone confine the container\" >&2 ;;
esac
"
    )
}

#[cfg(test)]
mod tests;
