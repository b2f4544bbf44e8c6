//! Which container a name means, and what its runtime tells of it. Docker is asked through its API; Podman, CRI-O,
//! containerd and plain runc and crun by the files in which they keep their containers.

mod docker;
mod files;
pub mod naming;
mod oci;

use std::path::Path;

use self::docker::Docker;
use crate::{
    error::{Error, Result},
    recording::{Container, printable},
};

/// How many near names a message lists.
const NEAR: usize = 8;

/// A container that some runtime knows.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the runtime tells of it.
    pub container: Container,
    /// The names that it answers to, beside its id.
    pub names: Vec<String>,
    /// Its first process, while it runs.
    pub pid: Option<u32>,
    /// Whether it has ended and will be started again by itself.
    pub restarting: bool,
}

impl Found {
    /// Whether this is one of its names.
    fn is_called(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// Whether a person means this container by `name`: one of its names, its id or the beginning of its id.
    pub fn answers_to(&self, name: &str) -> bool {
        const SHORTEST: usize = 3;
        self.is_called(name)
            || self.container.id == name
            || (name.len() >= SHORTEST && naming::is_hex(name) && self.container.id.starts_with(name))
    }
}

/// That a name means several containers, each given as its id and its name.
fn several(name: &str, mut containers: Vec<(String, String)>) -> Error {
    /// As much of an id as runtimes print.
    const SHORT: usize = 12;
    containers.sort();
    let more = containers.len().saturating_sub(NEAR);
    let mut list: Vec<String> = containers
        .iter()
        .take(NEAR)
        .map(|(id, own)| {
            let id = id.get(..SHORT.max(name.len() + 1)).unwrap_or(id);
            if own.is_empty() { printable(id) } else { printable(&format!("{id} ({own})")) }
        })
        .collect();
    if more > 0 {
        list.push(format!("{more} more"));
    }
    let what = if list.is_empty() { String::new() } else { format!(": {}", list.join(", ")) };
    Error::usage(format!("{name} is the beginning of several containers' ids{what}"))
        .hint("write more of the id, or the name")
}

/// The runtimes of this host.
#[derive(Debug, Clone)]
pub struct Runtimes {
    docker: Option<Docker>,
    files: files::Places,
}

impl Runtimes {
    /// Finds out which there are.
    pub async fn connect() -> Result<Self> {
        Ok(Self { docker: Docker::connect().await?, files: files::Places::at(Path::new("/")) })
    }

    /// The container that `name` means.
    pub async fn find(&self, name: &str) -> Result<Option<Found>> {
        if let Some(docker) = &self.docker
            && let Some(found) = docker.inspect(name).await?
        {
            return Ok(Some(found));
        }
        let found = self.files.all().into_iter().filter(|found| found.answers_to(name));
        let mut found: Vec<Found> = found.collect();
        // An exact name before the beginning of another's id.
        found.sort_by_key(|found| !found.is_called(name));
        if found.len() > 1 && !found.iter().any(|found| found.is_called(name)) {
            let list = found.into_iter().map(|found| (found.container.id, found.container.name)).collect();
            return Err(several(name, list));
        }
        Ok(found.into_iter().next())
    }

    /// The container with this id; its runtime may not have written everything down yet.
    pub async fn by_id(&self, id: &str) -> Option<Found> {
        if let Some(docker) = &self.docker
            && let Ok(Some(found)) = docker.inspect(id).await
        {
            return Some(found);
        }
        self.files.by_id(id)
    }

    /// What plain runc or crun keeps under this name.
    pub fn plain(&self, name: &str) -> Option<Found> {
        self.files.plain(name)
    }

    /// That nobody knows the container `name`: an error that lists what is known.
    pub async fn unknown(&self, name: &str) -> Error {
        let mut names: Vec<String> = self.files.all().into_iter().flat_map(|found| found.names).collect();
        if let Some(docker) = &self.docker {
            names.extend(docker.names().await);
        } else if names.is_empty() {
            return Docker::absent(&format!("could not look for the container {name}"));
        }
        let hint = match naming::near(name, names, NEAR).as_slice() {
            [] => "there are no containers; to record one from its start, add --wait and start it afterwards"
                .into(),
            near => format!("there are {}; for one that is started later, add --wait", near.join(", ")),
        };
        Error::usage(format!("there is no container {name}")).hint(hint)
    }

    /// Fails where no runtime could ever start the container that is waited for.
    pub fn require_any(&self) -> Result<()> {
        if self.docker.is_some() || self.files.exist() {
            Ok(())
        } else {
            Err(Docker::absent("there is no container runtime to wait for"))
        }
    }
}
