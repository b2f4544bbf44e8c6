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
        docker::{self, Origin},
        k8s::{self, Profiles},
        systemd::{self, drop_in},
    },
    error::{Error, Result},
    output::NamedFile,
    policy::{paths, sandbox, syscalls},
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
    let has = |format: Format| options.formats.contains(&format);
    let calls = |runtime: Runtime| {
        syscalls::policy(
            needs,
            &syscalls::Options {
                mode: options.args,
                allow: options.allow.clone(),
                runtime,
                no_new_privileges: true,
                portable: options.portable,
            },
        )
    };
    let syscalls = calls(workload.runtime)?;
    let apparmor = paths::policy(
        needs,
        &paths::Options { generalize: options.generalize, allow: options.allow.clone(), allow_incomplete },
    )?;
    let profile: ProfileName = options.apparmor.as_deref().unwrap_or(&workload.name).parse()?;
    let mut files = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    if has(Format::Seccomp) {
        files.push(NamedFile::text(SECCOMP, emit::seccomp::json(&syscalls)?));
        notes.extend(syscalls.notes.iter().cloned());
    }
    if has(Format::Apparmor) {
        files.push(NamedFile::text(APPARMOR, emit::apparmor::text(&apparmor, &profile)));
        notes.extend(apparmor.notes.iter().chain(&apparmor.gaps).cloned());
    }
    let (mut grants, mut limits) = (None, BTreeMap::new());
    if [Format::Docker, Format::Compose, Format::Kubernetes, Format::Systemd].into_iter().any(has) {
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
        notes.extend(sandbox.notes.iter().cloned());
        let mut gaps = Vec::new();
        if has(Format::Docker) {
            let recordings = [recording.to_owned()];
            let origin = Origin { recordings: &recordings, seccomp: SECCOMP, apparmor: &profile };
            files.push(NamedFile::script(DOCKER, docker::script(&sandbox, origin)?));
        }
        if has(Format::Compose) {
            let recordings = [recording.to_owned()];
            let origin = compose::Origin {
                recordings: &recordings,
                seccomp: SECCOMP,
                apparmor: Some(&profile),
                // What it used on average is another in each run.
                reserved: Reserved::default(),
            };
            files.push(NamedFile::text(COMPOSE, compose::file(&sandbox, origin)?));
        }
        if has(Format::Kubernetes) {
            let runtime = if workload.runtime == Runtime::Docker { Runtime::Runc } else { workload.runtime };
            if sandbox.image.is_none() {
                return Err(Error::usage("no recording tells of an image, and a Pod has one")
                    .hint("name it in workload.toml: [options] image = \"…\""));
            }
            let objects = k8s::objects(&k8s::Parts {
                needs,
                sandbox: &sandbox,
                syscalls: &calls(runtime)?,
                apparmor: &apparmor,
                namespace: None,
                profiles: Profiles::Operator,
                profile: profile.as_str(),
            })?;
            let named = |(name, text): &(&'static str, String)| {
                NamedFile::text(&format!("kubernetes/{name}"), text.as_str())
            };
            files.extend(objects.files.iter().map(named));
            notes.extend(objects.notes);
            gaps.extend(objects.gaps);
        }
        if has(Format::Systemd) {
            let drop_in = drop_in(&systemd::Parts {
                needs,
                sandbox: &sandbox,
                syscalls: &calls(Runtime::None)?,
                apparmor: Some(&profile),
            });
            let name = format!("systemd/{}.service.d/50-sandbox.conf", sandbox.name);
            files.push(NamedFile::text(&name, drop_in.text()));
            notes.extend(drop_in.notes);
            gaps.extend(drop_in.gaps);
        }
        if !gaps.is_empty() && !allow_incomplete {
            return Err(Error::incomplete(gaps.join("\n  ")).hint(
                "leave the format out of workload.toml, or what it can't say with --allow-incomplete",
            ));
        }
        notes.extend(gaps);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    notes.sort();
    notes.dedup();
    Ok(Made { files, grants, limits, notes })
}

/// Whether two texts of a format whose comments begin with `#` differ in their comments alone: those tell how often
/// something was seen, which is different after each run.
pub fn same_but_comments(name: &str, old: &[u8], new: &[u8]) -> bool {
    let lines = |text: &[u8]| -> Vec<Vec<u8>> {
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii_start().starts_with(b"#"))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let has_comments = Path::new(name).extension().is_none_or(|ending| ending != "json");
    old == new || (has_comments && lines(old) == lines(new))
}

#[cfg(test)]
mod tests {
    use super::same_but_comments;

    #[test]
    fn comments_are_no_difference() {
        let same = |old: &str, new: &str| same_but_comments("x.sh", old.as_bytes(), new.as_bytes());
        assert!(same("#!/bin/sh\n# seen 3 times\nrun\n", "#!/bin/sh\n# seen 4 times\n  # more\nrun\n"));
        assert!(!same("run a\n", "run b\n") && !same("run # a\n", "run # b\n"));
        assert!(!same_but_comments("x.json", b"# a\n", b"# b\n"));
    }
}
