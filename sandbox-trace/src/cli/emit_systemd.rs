//! `emit-systemd`: writes a drop-in for a service.

use super::{Context, sandbox};
use crate::{
    emit::{
        self,
        systemd::{Parts, drop_in},
    },
    error::{Error, Exit, Result},
    output::{self, NamedFile},
    recording::printable,
    seccomp::runtime::Runtime,
};

/// The drop-in's file: after what distributions ship, before what a person adds.
const FILE: &str = "50-sandbox.conf";

/// The longest name of a unit (systemd's `UNIT_NAME_MAX`).
const LONGEST: usize = 255;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    sandbox: sandbox::Args,
    /// The service [default: the workload's name]. In a folder, its drop-in is NAME.service.d/50-sandbox.conf.
    #[arg(long, value_name = "NAME")]
    unit: Option<String>,
}

/// Runs the command. Nothing is written when something is refused.
pub fn main(context: Context, args: Args) -> Result<Exit> {
    let Args { sandbox: mut common, unit } = args;
    let unit = unit.map(|name| unit_name(&name)).transpose()?;
    let made = common.make(context, Runtime::None)?;
    let unit = match unit {
        Some(unit) => unit,
        None => unit_name(&made.sandbox.name)?,
    };
    let drop_in = drop_in(&Parts {
        needs: &made.needs,
        sandbox: &made.sandbox,
        syscalls: &made.syscalls,
        apparmor: Some(&made.profile),
    });
    if !drop_in.gaps.is_empty() && !common.allow_incomplete {
        return Err(Error::incomplete(drop_in.gaps.join("\n  "))
            .hint("leave it out with --allow-incomplete; the service will lack it"));
    }
    let file = NamedFile::text(FILE, drop_in.text());
    if common.is_folder() {
        let profile = emit::apparmor::text(&made.apparmor, &made.profile);
        let profile = NamedFile::text("apparmor.profile", profile);
        let folder = common.output.clone();
        output::write_folder(&folder, std::slice::from_ref(&profile))?;
        context.note(format!("✓ {}", folder.join(&profile.name).display()));
        // The slash makes a folder of a name that is not there yet.
        common.output = folder.join(format!("{unit}.d")).join("");
    }
    common.write(context, None, vec![file])?;
    for note in drop_in.notes.iter().chain(&drop_in.gaps) {
        context.note(format!("  note: {note}"));
    }
    sandbox::Args::notes(context, &made);
    if common.is_folder() {
        context.note(format!(
            "  next: put {unit}.d into /etc/systemd/system, load apparmor.profile (apparmor_parser -r), then \
             systemctl daemon-reload and restart {unit}"
        ));
    }
    Ok(Exit::Clean)
}

/// A service's whole name, of a name with or without its ending.
fn unit_name(name: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.@".contains(c);
    let base = name.strip_suffix(".service").unwrap_or(name);
    if base.is_empty() || base.starts_with('.') || !base.chars().all(plain) || base.len() + 10 > LONGEST {
        return Err(Error::usage(format!("\"{}\" can't be a service's name", printable(name)))
            .hint("use letters, digits and :-_.@ as systemd does"));
    }
    Ok(format!("{base}.service"))
}

#[cfg(test)]
mod tests {
    use super::unit_name;

    #[test]
    fn a_unit_is_a_service_and_no_path() {
        assert_eq!(unit_name("agent").unwrap(), "agent.service");
        assert_eq!(unit_name("agent@.service").unwrap(), "agent@.service");
        for name in ["", ".service", "../x", "a/b", "a b", "..", &"a".repeat(300)] {
            assert!(unit_name(name).is_err(), "{name}");
        }
    }
}
