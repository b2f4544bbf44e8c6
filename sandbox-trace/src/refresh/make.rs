//! What is emitted for a workload, from what its recordings need.

use std::{collections::BTreeMap, path::Path};

use super::{
    settings::{self, Grants},
    workload::{Format, Workload},
};
use crate::{
    emit::{
        self,
        apparmor::ProfileName,
        compose::{self, Reserved},
        docker, k8s,
        systemd::{self, drop_in},
    },
    error::{Error, Result},
    output::NamedFile,
    policy::{
        paths::{self, AppArmorPolicy},
        sandbox::{self, Sandbox},
        syscalls::{self, SyscallPolicy},
    },
    requirements::Requirements,
    seccomp::runtime::Runtime,
};

/// The seccomp profile's file.
pub const SECCOMP: &str = "seccomp.json";
/// The AppArmor profile's file.
pub const APPARMOR: &str = "apparmor.profile";
/// The compose file.
const COMPOSE: &str = "compose.yaml";
/// The script around `docker run`.
const DOCKER: &str = "docker-run.sh";

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The files, in order of their names.
    pub files: Vec<NamedFile>,
    /// What the container is given beside its profiles; none where no format says it.
    pub grants: Option<Grants>,
    /// Its limits.
    pub limits: BTreeMap<String, u64>,
    /// What a person should know, in sentences.
    pub notes: Vec<String>,
}

/// Makes all files of a workload; `kept` are the limits of last time, `recording` is what the files call their source.
/// Refuses what is dangerous and not allowed by name (exit 4), and what no format can say (exit 3).
pub fn make(
    workload: &Workload,
    needs: &Requirements,
    kept: &BTreeMap<String, u64>,
    recording: &str,
    allow_incomplete: bool,
) -> Result<Made> {
    let options = &workload.options;
    let allow = options.allow.clone();
    let apparmor = paths::Options { generalize: options.generalize, allow, allow_incomplete };
    let mut maker = Maker {
        workload,
        needs,
        apparmor: paths::policy(needs, &apparmor)?,
        profile: options.apparmor.as_deref().unwrap_or(&workload.name).parse()?,
        recordings: [recording.to_owned()],
        files: Vec::new(),
        notes: Vec::new(),
        gaps: Vec::new(),
    };
    maker.profiles()?;
    let (mut grants, mut limits) = (None, BTreeMap::new());
    if options.formats.iter().any(|format| format.is_of_a_container()) {
        let mut sandbox = sandbox::sandbox(
            needs,
            &sandbox::Options {
                name: Some(workload.name.clone()),
                image: options.image.clone(),
                user: options.user.clone(),
                headroom: options.headroom,
                allow: options.allow.clone(),
                allow_incomplete,
            },
        )?;
        limits = settings::settle_limits(&mut sandbox, kept, options.headroom);
        grants = Some(settings::grants(&sandbox));
        maker.containers(&sandbox)?;
    }
    let Maker { mut files, mut notes, gaps, .. } = maker;
    if !gaps.is_empty() && !allow_incomplete {
        return Err(Error::incomplete(gaps.join("\n  "))
            .hint("leave the format out of workload.toml, or what it can't say with --allow-incomplete"));
    }
    notes.extend(gaps);
    files.sort_by(|a, b| a.name.cmp(&b.name));
    notes.sort();
    notes.dedup();
    Ok(Made { files, grants, limits, notes })
}

/// Files in the making.
struct Maker<'a> {
    workload: &'a Workload,
    needs: &'a Requirements,
    apparmor: AppArmorPolicy,
    profile: ProfileName,
    recordings: [String; 1],
    files: Vec<NamedFile>,
    notes: Vec<String>,
    /// What is needed and a format can't say.
    gaps: Vec<String>,
}

impl Maker<'_> {
    fn has(&self, format: Format) -> bool {
        self.workload.options.formats.contains(&format)
    }

    fn calls(&self, runtime: Runtime) -> Result<SyscallPolicy> {
        let options = &self.workload.options;
        syscalls::policy(
            self.needs,
            &syscalls::Options {
                mode: options.args,
                allow: options.allow.clone(),
                runtime,
                no_new_privileges: true,
                portable: options.portable,
            },
        )
    }

    fn profiles(&mut self) -> Result<()> {
        let syscalls = self.calls(self.workload.runtime)?;
        if self.has(Format::Seccomp) {
            self.files.push(NamedFile::text(SECCOMP, emit::seccomp::json(&syscalls)?));
            self.notes.extend(syscalls.notes);
        }
        if self.has(Format::Apparmor) {
            self.files.push(NamedFile::text(APPARMOR, emit::apparmor::text(&self.apparmor, &self.profile)));
            self.notes.extend(self.apparmor.notes.iter().chain(&self.apparmor.gaps).cloned());
        }
        Ok(())
    }

    fn containers(&mut self, sandbox: &Sandbox) -> Result<()> {
        self.notes.extend(sandbox.notes.iter().cloned());
        let (recordings, profile) = (&self.recordings, &self.profile);
        if self.has(Format::Docker) {
            let origin = docker::Origin { recordings, seccomp: SECCOMP, apparmor: profile };
            self.files.push(NamedFile::script(DOCKER, docker::script(sandbox, origin)?));
        }
        if self.has(Format::Compose) {
            // What it used on average is another in each run: nothing is reserved.
            let reserved = Reserved::default();
            let origin = compose::Origin { recordings, seccomp: SECCOMP, apparmor: Some(profile), reserved };
            self.files.push(NamedFile::text(COMPOSE, compose::file(sandbox, origin)?));
        }
        if self.has(Format::Kubernetes) {
            self.kubernetes(sandbox)?;
        }
        if self.has(Format::Systemd) {
            let drop_in = drop_in(&systemd::Parts {
                needs: self.needs,
                sandbox,
                syscalls: &self.calls(Runtime::None)?,
                apparmor: Some(&self.profile),
            });
            let name = format!("systemd/{}.service.d/50-sandbox.conf", sandbox.name);
            self.files.push(NamedFile::text(&name, drop_in.text()));
            self.notes.extend(drop_in.notes);
            self.gaps.extend(drop_in.gaps);
        }
        Ok(())
    }

    fn kubernetes(&mut self, sandbox: &Sandbox) -> Result<()> {
        if sandbox.image.is_none() {
            return Err(Error::usage("no recording tells of an image, and a Pod has one")
                .hint("name it in workload.toml: [options] image = \"…\""));
        }
        let runtime = self.workload.runtime;
        let objects = k8s::objects(&k8s::Parts {
            needs: self.needs,
            sandbox,
            // The kubelet calls no Docker.
            syscalls: &self.calls(if runtime == Runtime::Docker { Runtime::Runc } else { runtime })?,
            apparmor: &self.apparmor,
            namespace: None,
            profiles: self.workload.options.kubernetes,
            profile: self.profile.as_str(),
        })?;
        let named = |(name, text): &(&'static str, String)| {
            NamedFile::text(&format!("kubernetes/{name}"), text.as_str())
        };
        self.files.extend(objects.files.iter().map(named));
        self.notes.extend(objects.notes);
        self.gaps.extend(objects.gaps);
        Ok(())
    }
}

/// Whether two texts of a format whose comments begin with `#` differ in their comments alone: those tell how often
/// something was seen, which is different after each run. So is what a Pod asks a node to keep for it, which gives it
/// nothing.
pub fn same_but_comments(name: &str, old: &[u8], new: &[u8]) -> bool {
    let has_comments = Path::new(name).extension().is_none_or(|ending| ending != "json");
    old == new || (has_comments && meaning(old) == meaning(new))
}

fn meaning(text: &[u8]) -> Vec<&[u8]> {
    let mut requests: Option<usize> = None;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii_start().starts_with(b"#"));
    let counts = |line: &&[u8]| {
        let indent = line.len() - line.trim_ascii_start().len();
        if requests.is_some_and(|block| indent > block) {
            return false;
        }
        requests = (line.trim_ascii() == b"requests:").then_some(indent);
        true
    };
    lines.filter(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::same_but_comments;

    #[test]
    fn comments_are_no_difference() {
        let same = |old: &str, new: &str| same_but_comments("x.sh", old.as_bytes(), new.as_bytes());
        assert!(same("#!/bin/sh\n# seen 3 times\nrun\n", "#!/bin/sh\n# seen 4 times\n  # more\nrun\n"));
        assert!(!same("run a\n", "run b\n") && !same("run # a\n", "run # b\n"));
        let pod = |cpu: &str, more: &str| {
            format!("  resources:\n    requests:\n      cpu: {cpu}\n    limits:\n      cpu: 1{more}\n")
        };
        assert!(same(&pod("118m", ""), &pod("123m", "")) && !same(&pod("118m", ""), &pod("118m", "0")));
        assert!(!same_but_comments("x.json", b"# a\n", b"# b\n"));
    }
}
