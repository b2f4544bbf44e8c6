//! What `emit-docker`, `emit-compose`, `emit-oci`, `emit-k8s` and `emit-systemd` have in common: their arguments, what
//! is made of the recordings, and where the files go.

use std::path::{Path, PathBuf};

use super::{Context, READING};
use crate::{
    emit::{self, apparmor::ProfileName},
    error::Result,
    output::{self, NamedFile},
    policy::{
        arguments::Mode,
        generalize::Generalization,
        paths::{self, AppArmorPolicy},
        sandbox::{self, Sandbox},
        syscalls::{self, SyscallPolicy},
    },
    requirements::{self, Requirements},
    seccomp::runtime::Runtime,
};

/// Arguments of the commands.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The recordings; together they say what is needed.
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,
    /// Where the result goes: a file, - for standard output, or a folder (it exists, or ends with /), which then gets
    /// the seccomp and AppArmor profiles too.
    #[arg(long, short, value_name = "FILE|DIR", default_value = "-")]
    pub output: PathBuf,
    /// What to call the workload [default: the recorded container's name, or the program's].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The image to start [default: the recorded one, by digest where it has one].
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Whom to run as [default: as recorded].
    #[arg(long, value_name = "UID[:GID]")]
    pub user: Option<String>,
    /// How much beyond the recorded peaks memory, tasks and file systems in memory may grow, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    pub headroom: u32,
    /// The seccomp profile's file, as the result names it.
    #[arg(long, value_name = "FILE", default_value = "seccomp.json")]
    pub seccomp: String,
    /// The AppArmor profile's name [default: the workload's].
    #[arg(long, value_name = "NAME")]
    pub apparmor: Option<String>,
    /// How far the arguments of system calls are limited.
    #[arg(long = "args", value_enum, value_name = "MODE", default_value_t = Mode::Safe)]
    pub mode: Mode,
    /// How far the AppArmor profile goes beyond the recorded paths.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub generalize: Generalization,
    /// Give this dangerous thing, if a recording asks for it: a system call, a capability, a path, `host-network`.
    #[arg(long, value_name = "WHAT")]
    pub allow: Vec<String>,
    /// Accept recordings that lost something.
    #[arg(long)]
    pub allow_incomplete: bool,
}

/// What was made of the recordings.
#[derive(Debug)]
pub struct Made {
    /// The folded recordings.
    pub needs: Requirements,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The system calls.
    pub syscalls: SyscallPolicy,
    /// The AppArmor profile's rules.
    pub apparmor: AppArmorPolicy,
    /// The AppArmor profile's name.
    pub profile: ProfileName,
    /// The seccomp profile's file, as the result names it.
    pub seccomp: String,
}

impl Args {
    /// Makes everything for `runtime`, whose own calls are added to the seccomp profile. What is emitted sets
    /// `no-new-privileges`, so that they are few. Refuses what is dangerous and not allowed by name.
    pub fn make(&self, context: Context, runtime: Runtime) -> Result<Made> {
        let progress = context.progress(READING);
        let needs = requirements::load(&self.recordings, self.allow_incomplete)?;
        progress.stage("deciding what is allowed");
        let allow: std::collections::BTreeSet<String> = self.allow.iter().cloned().collect();
        let options = sandbox::Options {
            name: self.name.clone(),
            image: self.image.clone(),
            user: self.user.clone(),
            headroom: self.headroom,
            allow: allow.clone(),
            allow_incomplete: self.allow_incomplete,
        };
        let sandbox = sandbox::sandbox(&needs, &options)?;
        let syscalls = syscalls::policy(
            &needs,
            &syscalls::Options {
                mode: self.mode,
                allow: allow.clone(),
                runtime,
                no_new_privileges: true,
                portable: false,
            },
        )?;
        let options =
            paths::Options { generalize: self.generalize, allow, allow_incomplete: self.allow_incomplete };
        let apparmor = paths::policy(&needs, &options)?;
        let profile = self.apparmor.as_deref().unwrap_or(&sandbox.name).parse()?;
        Ok(Made { needs, sandbox, syscalls, apparmor, profile, seccomp: self.seccomp.clone() })
    }

    /// Whether the output is a folder.
    pub fn is_folder(&self) -> bool {
        self.output.is_dir() || self.output.as_os_str().as_encoded_bytes().ends_with(b"/")
    }

    /// Writes the result: to a folder all of `files`, and both profiles where `made` is given; to a file the first
    /// of them. All or nothing.
    pub fn write(&self, context: Context, made: Option<&Made>, files: Vec<NamedFile>) -> Result<()> {
        let mut files = files;
        if !self.is_folder() {
            let Some(first) = files.into_iter().next() else { return Ok(()) };
            output::write_file(&self.output, &first.bytes)?;
            if self.output != Path::new("-") {
                context.note(format!("✓ {}", self.output.display()));
            }
            return Ok(());
        }
        if let Some(made) = made {
            files.push(NamedFile::text("seccomp.json", emit::seccomp::json(&made.syscalls)?));
            files.push(NamedFile::text(
                "apparmor.profile",
                emit::apparmor::text(&made.apparmor, &made.profile),
            ));
        }
        output::write_folder(&self.output, &files)?;
        for file in &files {
            context.note(format!("✓ {}", self.output.join(&file.name).display()));
        }
        Ok(())
    }

    /// Prints what a person should know of what was made.
    pub fn notes(context: Context, made: &Made) {
        for note in made.sandbox.notes.iter().chain(&made.syscalls.notes).chain(&made.apparmor.notes) {
            context.note(format!("  note: {note}"));
        }
        for gap in &made.apparmor.gaps {
            context.note(format!("  gap: {gap}"));
        }
    }
}
