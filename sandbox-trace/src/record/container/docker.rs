//! Docker's API, through its unix socket.

mod describe;

use std::path::{Path, PathBuf};

use bollard::{
    API_DEFAULT_VERSION, errors::Error as ApiError, query_parameters::ListContainersOptionsBuilder,
};

use self::describe::{found, plain};
use super::{
    Found,
    users::{self, User},
};
use crate::{
    error::{Error, Result},
    recording::printable,
};

const SOCKET: &str = "/var/run/docker.sock";
/// How long an answer may take, in seconds. While Docker starts a container it does not answer for it.
const PATIENCE: u64 = 60;
/// How long a user's own engine may take: it may be anything that listens there.
const LITTLE_PATIENCE: u64 = 5;

/// The engine.
#[derive(Debug, Clone)]
pub struct Docker {
    api: bollard::Docker,
    /// The user whose engine it is; none for the host's, and for one that a person named.
    owner: Option<u32>,
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
        Ok(Some(Self { api: api.negotiate_version().await.map_err(silent)?, owner: None }))
    }

    /// Whether a person named the engine to ask.
    pub fn is_named() -> bool {
        std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty())
    }

    /// The rootless engine of a user, if one answers.
    pub async fn of_user(user: &User) -> Option<Self> {
        let socket = user.docker_socket()?;
        let api = bollard::Docker::connect_with_unix(
            &socket.to_string_lossy(),
            LITTLE_PATIENCE,
            API_DEFAULT_VERSION,
        );
        let answer = match api {
            Ok(api) => {
                let limit = std::time::Duration::from_secs(LITTLE_PATIENCE);
                tokio::time::timeout(limit, api.negotiate_version()).await.map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match answer.and_then(|api| api.map_err(|e| e.to_string())) {
            Ok(api) => Some(Self { api, owner: Some(user.uid) }),
            Err(error) => {
                tracing::info!("the engine of user {} does not answer: {}", user.uid, printable(&error));
                None
            }
        }
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
                let mut found = found(answer, image, self.rootless().await);
                found.container.runtime_version = self.versions().await;
                Ok(Some(self.checked(found)))
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

    /// What a user's engine says of a process is what the user wants it to say.
    fn checked(&self, mut found: Found) -> Found {
        if let Some(uid) = self.owner {
            found.pid = found.pid.filter(|pid| users::is_in_namespace_of(*pid, uid));
            found.container.rootless = Some(true);
        }
        found
    }

    /// Whether the engine runs without root; `None` if it doesn't say.
    async fn rootless(&self) -> Option<bool> {
        let options = self.api.info().await.ok()?.security_options?;
        Some(options.iter().any(|option| option.split(',').any(|part| part == "name=rootless")))
    }

    /// The engine's version and those of what it runs containers with; `None` if it doesn't say.
    async fn versions(&self) -> Option<String> {
        let answer = self.api.version().await.ok()?;
        let parts: Vec<String> = match answer.components {
            Some(parts) => parts.into_iter().map(|part| format!("{} {}", part.name, part.version)).collect(),
            None => answer.version.into_iter().collect(),
        };
        (!parts.is_empty()).then(|| printable(&parts.join(", ")))
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
