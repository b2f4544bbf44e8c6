//! Docker's API, through its unix socket.

mod describe;

use std::path::{Path, PathBuf};

use bollard::{
    API_DEFAULT_VERSION, errors::Error as ApiError, query_parameters::ListContainersOptionsBuilder,
};

use self::describe::{found, plain};
use super::Found;
use crate::error::{Error, Result};

const SOCKET: &str = "/var/run/docker.sock";
/// How long an answer may take, in seconds. While Docker starts a container it does not answer for it.
const PATIENCE: u64 = 60;

/// The engine.
#[derive(Debug, Clone)]
pub struct Docker {
    api: bollard::Docker,
}

impl Docker {
    /// The engine that `DOCKER_HOST` names, or the one at the usual socket; `None` if there is no such socket.
    pub async fn connect() -> Result<Option<Self>> {
        let Some(socket) = socket()? else { return Ok(None) };
        let silent = |e: ApiError| {
            Error::host(format!("Docker does not answer at {}", socket.display()))
                .because(e)
                .hint("check that dockerd runs; DOCKER_HOST=unix://PATH names another socket")
        };
        let api =
            bollard::Docker::connect_with_unix(&socket.to_string_lossy(), PATIENCE, API_DEFAULT_VERSION)
                .map_err(silent)?;
        Ok(Some(Self { api: api.negotiate_version().await.map_err(silent)? }))
    }

    /// That there is no engine.
    pub fn absent(what: &str) -> Error {
        Error::host(format!("{what}: Docker's socket {SOCKET} isn't there, and no other runtime's containers are"))
            .hint("start Docker, or name its socket with DOCKER_HOST=unix://PATH; --cgroup and --pid need no runtime")
    }

    /// What Docker tells of a container by name or id; `None` if it knows none.
    pub async fn inspect(&self, name: &str) -> Result<Option<Found>> {
        // The API would take it for a part of the address.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
            return Ok(None);
        }
        match self.api.inspect_container(name, None).await {
            Ok(answer) => {
                let image = answer.image.as_deref().unwrap_or_default();
                let image = self.api.inspect_image(image).await.ok();
                Ok(Some(found(answer, image, self.rootless().await)))
            }
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(ApiError::DockerResponseServerError { message, .. })
                if message.to_ascii_lowercase().contains("multiple ids") =>
            {
                Err(super::several(name, self.beginning_with(name).await))
            }
            Err(error) => {
                Err(Error::host(format!("Docker did not tell of the container {name}")).because(error))
            }
        }
    }

    /// Whether the engine runs without root; `None` if it doesn't say.
    async fn rootless(&self) -> Option<bool> {
        let options = self.api.info().await.ok()?.security_options?;
        Some(options.iter().any(|option| option.split(',').any(|part| part == "name=rootless")))
    }

    /// The names of all containers; none if Docker doesn't say.
    pub async fn names(&self) -> Vec<String> {
        self.list().await.into_iter().flat_map(|(_, names)| names).collect()
    }

    /// The containers whose ids begin so: the beginning of the id, and the name.
    async fn beginning_with(&self, id: &str) -> Vec<(String, String)> {
        let list = self.list().await.into_iter().filter(|(own, _)| own.starts_with(id));
        list.map(|(id, names)| (id, names.into_iter().next().unwrap_or_default())).collect()
    }

    /// All containers: id and names.
    async fn list(&self) -> Vec<(String, Vec<String>)> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = self.api.list_containers(Some(options)).await.unwrap_or_default();
        list.into_iter()
            .map(|c| {
                let names = c.names.unwrap_or_default().iter().map(|name| plain(name)).collect();
                (c.id.unwrap_or_default(), names)
            })
            .collect()
    }
}

fn socket() -> Result<Option<PathBuf>> {
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => {
            let Some(path) = host.strip_prefix("unix://") else {
                return Err(Error::usage(format!("DOCKER_HOST is {host}, which is not on this machine"))
                    .hint("containers can be recorded only where they run: unset it, or use unix://PATH"));
            };
            if Path::new(path).exists() {
                Ok(Some(path.into()))
            } else {
                Err(Error::host(format!("Docker's socket {path}, which DOCKER_HOST names, isn't there"))
                    .hint("start that dockerd, or unset DOCKER_HOST"))
            }
        }
        _ => Ok(Some(PathBuf::from(SOCKET)).filter(|path| path.exists())),
    }
}
