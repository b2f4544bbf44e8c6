//! What a person named → the cgroups to record.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    awaited::{Awaited, Rule},
    container::{Found, Runtimes, naming},
    scope::Scope,
};
use crate::{
    error::{Error, Result},
    kernel::cgroup::{Cgroup, Hierarchy},
    recording::Container,
};

/// How long a runtime may take to tell of a container that it was not named for.
const COURTESY: Duration = Duration::from_secs(2);

/// What to record.
#[derive(Debug, Clone)]
pub enum TargetChoice {
    /// Cgroups, each with all below it; with `wait`, some may not exist yet.
    Cgroups {
        /// As a person writes them: directories, or paths below the root of the hierarchy.
        paths: Vec<PathBuf>,
        /// Whether to wait for those that don't exist.
        wait: bool,
    },
    /// A container, by name or id; with `wait`, one that does not run yet.
    Container {
        /// Its name or id.
        name: String,
        /// Whether to wait for it.
        wait: bool,
    },
    /// The cgroup of a process.
    Process(u32),
    /// A command, started in a cgroup of its own.
    Command(Vec<OsString>),
}

impl TargetChoice {
    /// The word that a recording has for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cgroups { .. } => "cgroup",
            Self::Container { .. } => "container",
            Self::Process(_) => "process",
            Self::Command(_) => "command",
        }
    }

    /// Whether it may come later, or again.
    pub fn is_waited_for(&self) -> bool {
        matches!(self, Self::Cgroups { wait: true, .. } | Self::Container { wait: true, .. })
    }

    /// That it was there when it was looked for, and no longer when the recording was to begin.
    pub fn ended(&self) -> Error {
        let hint = match self {
            Self::Container { .. } => "start it again, with the recorder waiting for it: --wait",
            _ => "start it again, or record the command with `-- COMMAND`",
        };
        Error::usage(format!("{} ended just now", self.named())).hint(hint)
    }

    /// It, as a person names it.
    fn named(&self) -> String {
        match self {
            Self::Container { name, .. } => format!("the container {name}"),
            Self::Process(pid) => format!("process {pid}"),
            Self::Cgroups { paths, .. } => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                format!("the cgroup {}", paths.join(", "))
            }
            Self::Command(_) => "the command".into(),
        }
    }
}

/// Where to look, and for what.
#[derive(Debug, Default)]
pub struct Aim {
    /// The cgroups that there are.
    pub scope: Scope,
    /// The container that they are.
    pub container: Option<Container>,
    /// What does not exist yet.
    pub awaited: Option<Awaited>,
}

/// Finds a target that somebody else started, or will start.
pub async fn find(choice: &TargetChoice, hierarchy: &Hierarchy) -> Result<Aim> {
    match choice {
        TargetChoice::Cgroups { paths, wait } => cgroups(hierarchy, paths, *wait).await,
        TargetChoice::Container { name, wait } => container(hierarchy, choice, name, *wait).await,
        TargetChoice::Process(pid) => process(hierarchy, *pid).await,
        TargetChoice::Command(_) => Ok(Aim::default()),
    }
}

async fn cgroups(hierarchy: &Hierarchy, names: &[PathBuf], wait: bool) -> Result<Aim> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for name in names {
        if wait && Cgroup::find(hierarchy, &hierarchy.below_root(name)).is_none() {
            missing.push(hierarchy.below_root(name));
        } else {
            there.push(Cgroup::open(hierarchy, name)?);
        }
    }
    let container = match there.as_slice() {
        [only] if missing.is_empty() => tell(only).await,
        _ => None,
    };
    let awaited = (!missing.is_empty()).then(|| Awaited::new(Rule::Paths(missing)));
    Ok(Aim { scope: Scope::of(there), container, awaited })
}

async fn process(hierarchy: &Hierarchy, pid: u32) -> Result<Aim> {
    let path = hierarchy.of_process(pid).ok_or_else(|| {
        Error::usage(format!("there is no process {pid}"))
            .hint("give the id that this host has for it, as `ps` shows it here")
    })?;
    let cgroup = of_its_own(hierarchy, &path, &format!("process {pid}"))?;
    let container = tell(&cgroup).await;
    Ok(Aim { scope: Scope::of(vec![cgroup]), container, awaited: None })
}

/// A cgroup that may be recorded as that of `whose`: one that is not most of the host.
fn of_its_own(hierarchy: &Hierarchy, path: &Path, whose: &str) -> Result<Cgroup> {
    let own = hierarchy.of_process(std::process::id()).unwrap_or_default();
    let refuse = |why: &str| {
        Err(Error::usage(format!("{whose} {why}")).hint(
            "start it in a cgroup of its own (a container, `systemd-run --scope`), or record the command with `-- COMMAND`",
        ))
    };
    if path == Path::new("/") {
        return refuse("is in the root cgroup, with everything that has none of its own");
    }
    if own.starts_with(path) {
        return refuse(&format!("is in {}, which is the recorder's own cgroup or above it", path.display()));
    }
    Cgroup::find(hierarchy, path).ok_or_else(|| {
        Error::host(format!(
            "the cgroup {} of {whose} is not below {}",
            path.display(),
            hierarchy.root.display()
        ))
        .hint("run the recorder in the host's cgroup namespace")
    })
}

async fn container(hierarchy: &Hierarchy, choice: &TargetChoice, name: &str, wait: bool) -> Result<Aim> {
    let runtimes = Runtimes::connect().await?;
    let found = runtimes.find(name).await?;
    if let Some(Found { pid: Some(pid), container, .. }) = &found {
        let named = hierarchy.uppermost(|directory| naming::is_of(directory, &container.id));
        let mut cgroups: Vec<Cgroup> =
            named.iter().filter_map(|path| Cgroup::find(hierarchy, path)).collect();
        // Otherwise its runtime was told another name, or it ended meanwhile.
        if cgroups.is_empty()
            && let Some(path) = hierarchy.of_process(*pid)
        {
            cgroups.push(of_its_own(hierarchy, &path, &choice.named())?);
        }
        if !cgroups.is_empty() {
            return Ok(Aim { scope: Scope::of(cgroups), container: Some(container.clone()), awaited: None });
        }
    }
    match found {
        _ if wait => {
            runtimes.require_any()?;
            let rule = Rule::Container { name: name.to_owned(), runtimes };
            Ok(Aim { awaited: Some(Awaited::new(rule)), ..Aim::default() })
        }
        Some(Found { pid: Some(_), .. }) => Err(choice.ended()),
        Some(_) => Err(Error::usage(format!("{} does not run", choice.named()))
            .hint("start it, or add --wait to record it from its start")),
        None => Err(runtimes.unknown(name).await),
    }
}

/// What is known of the container whose cgroup this is. A courtesy: no runtime has to answer.
async fn tell(cgroup: &Cgroup) -> Option<Container> {
    let id = naming::container_id(&cgroup.path)?;
    let ask = async { Runtimes::connect().await.ok()?.by_id(id).await };
    tokio::time::timeout(COURTESY, ask).await.ok().flatten().map(|found| found.container)
}
