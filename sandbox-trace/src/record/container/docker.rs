//! Docker's API, through its unix socket.

use std::path::{Path, PathBuf};

use bollard::{
    API_DEFAULT_VERSION,
    errors::Error as ApiError,
    models::{ContainerInspectResponse, MountPoint},
    query_parameters::ListContainersOptionsBuilder,
};

use super::Found;
use crate::{
    error::{Error, Result},
    recording::{Container, Mount},
};

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
                let mut found = found(answer);
                if let Some(image) = &found.container.image_id
                    && let Ok(image) = self.api.inspect_image(image).await
                {
                    found.container.image_digest = image.repo_digests.unwrap_or_default().into_iter().next();
                }
                Ok(Some(found))
            }
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => {
                Err(Error::host(format!("Docker did not tell of the container {name}")).because(error))
            }
        }
    }

    /// The names of all containers; none if Docker doesn't say.
    pub async fn names(&self) -> Vec<String> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let list = self.api.list_containers(Some(options)).await.unwrap_or_default();
        list.into_iter().flat_map(|c| c.names.unwrap_or_default()).map(|name| plain(&name)).collect()
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

/// Docker writes names with a slash before them.
fn plain(name: &str) -> String {
    name.strip_prefix('/').unwrap_or(name).to_owned()
}

fn found(answer: ContainerInspectResponse) -> Found {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let name = plain(&answer.name.unwrap_or_default());
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    let privileged = host.privileged.unwrap_or_default();
    let (mut seccomp, mut others) = (None, Vec::new());
    for option in host.security_opt.unwrap_or_default() {
        match option.split_once(['=', ':']) {
            // The client sends the file's contents: what matters here is that there is one.
            Some(("seccomp", "unconfined")) => seccomp = Some("unconfined"),
            Some(("seccomp", "builtin")) => seccomp = Some("default"),
            Some(("seccomp", _)) => seccomp = Some("custom"),
            Some(("apparmor", _)) => {}
            _ => others.push(option),
        }
    }
    let seccomp = seccomp.unwrap_or(if privileged { "unconfined" } else { "default" });
    let mut mounts: Vec<Mount> = answer.mounts.unwrap_or_default().into_iter().map(mount).collect();
    mounts.extend(host.tmpfs.unwrap_or_default().into_iter().map(|(target, options)| Mount {
        target: target.into_bytes().into(),
        source: None,
        kind: "tmpfs".into(),
        mode: if options.split(',').any(|o| o == "ro") { "ro" } else { "rw" }.into(),
        volume: None,
        options: options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect(),
    }));
    mounts.sort();
    mounts.dedup();
    Found {
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        restarting: state.restarting.unwrap_or_default(),
        names: vec![name.clone()],
        container: Container {
            runtime: "docker".into(),
            id: answer.id.unwrap_or_default(),
            name,
            image: text(config.image),
            image_id: text(answer.image),
            image_digest: None,
            oci_runtime: text(host.runtime),
            user: text(config.user),
            network_mode: text(host.network_mode),
            privileged: Some(privileged),
            read_only: Some(host.readonly_rootfs.unwrap_or_default()),
            capabilities_added: host.cap_add.unwrap_or_default(),
            capabilities_dropped: host.cap_drop.unwrap_or_default(),
            seccomp: Some(seccomp.into()),
            apparmor: text(answer.app_armor_profile),
            security_options: others,
            mounts,
            ..Container::default()
        },
    }
}

fn mount(point: MountPoint) -> Mount {
    Mount {
        target: point.destination.unwrap_or_default().into_bytes().into(),
        source: point.source.filter(|source| !source.is_empty()).map(|source| source.into_bytes().into()),
        kind: point.typ.unwrap_or_else(|| "bind".into()),
        mode: if point.rw == Some(false) { "ro" } else { "rw" }.into(),
        ..Mount::default()
    }
}
