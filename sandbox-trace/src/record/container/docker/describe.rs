//! What Docker's answers say of a container, as a recording has it. Pure: asks nobody.

use std::collections::HashMap;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, HealthConfig, HostConfig, ImageConfig, ImageInspect,
    Mount as Asked, MountPoint, RestartPolicy,
};

use super::super::{Found, naming};
use crate::{
    oci,
    recording::{Container, Healthcheck, ImageDefaults, Limits, Mount, Port},
};

/// What `/dev/shm` holds unless something else is configured.
const DEFAULT_SHM: u64 = 64 << 20;
/// The CPU period, in microseconds, unless something else is configured.
const DEFAULT_PERIOD: u64 = 100_000;
/// The signal that asks to stop, unless something else is configured.
const STOP: &str = "SIGTERM";

/// What is known of a container: from its own answer, its image's, and whether the engine is rootless.
pub fn found(answer: ContainerInspectResponse, image: Option<ImageInspect>, rootless: Option<bool>) -> Found {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let networks = answer.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let name = plain(&answer.name.unwrap_or_default());
    let privileged = host.privileged.unwrap_or_default();
    let options = SecurityOptions::of(host.security_opt.as_deref().unwrap_or_default());
    let (image_config, digests) =
        image.map_or((None, Vec::new()), |image| (image.config, image.repo_digests.unwrap_or_default()));
    // The engine keeps entry point and command as they were merged; its path and arguments are the same in one.
    let entrypoint = words(config.entrypoint.clone());
    let command = if entrypoint.is_empty() && words(config.cmd.clone()).is_empty() {
        text(answer.path).into_iter().chain(answer.args.unwrap_or_default()).collect()
    } else {
        [entrypoint.clone(), words(config.cmd.clone())].concat()
    };
    let container = Container {
        runtime: "docker".into(),
        id: answer.id.unwrap_or_default(),
        name: name.clone(),
        image_digest: digest_of(config.image.as_deref().unwrap_or_default(), digests),
        image: text(config.image.clone()),
        image_id: text(answer.image),
        oci_runtime: text(host.runtime.clone()),
        runtime_version: None,
        rootless,
        command,
        entrypoint_words: u32::try_from(entrypoint.len()).unwrap_or(u32::MAX),
        working_dir: text(config.working_dir.clone()),
        environment: environment(&config, image_config.as_ref()),
        user: text(config.user.clone()),
        groups: host.group_add.clone().unwrap_or_default(),
        network_mode: network_mode(host.network_mode.clone(), &networks),
        ports: ports(&host, &config),
        namespaces: namespaces(&host),
        privileged: Some(privileged),
        read_only: Some(host.readonly_rootfs.unwrap_or_default()),
        no_new_privileges: Some(options.no_new_privileges),
        capabilities_added: host.cap_add.clone().unwrap_or_default(),
        capabilities_dropped: host.cap_drop.clone().unwrap_or_default(),
        seccomp: Some(options.seccomp.unwrap_or(if privileged { "unconfined" } else { "default" }).into()),
        apparmor: text(answer.app_armor_profile),
        security_options: options.others,
        mounts: mounts(answer.mounts.unwrap_or_default(), &host),
        devices: devices(&host),
        sysctls: host.sysctls.clone().unwrap_or_default().into_iter().collect(),
        masked_paths: paths(host.masked_paths.clone(), privileged),
        readonly_paths: paths(host.readonly_paths.clone(), privileged),
        limits: limits(&host),
        restart: host.restart_policy.as_ref().map(restart),
        log_driver: host.log_config.as_ref().and_then(|log| text(log.typ.clone())),
        log_options: host
            .log_config
            .and_then(|log| log.config)
            .map(|options| options.into_iter().collect())
            .unwrap_or_default(),
        healthcheck: config.healthcheck.and_then(healthcheck),
        stop_signal: text(config.stop_signal).filter(|signal| signal != STOP),
        init: host.init,
        image_defaults: image_config.map(image_defaults),
    };
    Found {
        pid: state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
        restarting: state.restarting.unwrap_or_default(),
        names: vec![name],
        container,
    }
}

/// Docker writes names with a slash before them.
pub fn plain(name: &str) -> String {
    name.strip_prefix('/').unwrap_or(name).to_owned()
}

fn text(value: Option<String>) -> Option<String> {
    value.filter(|text| !text.is_empty())
}

/// The words of an entry point or a command; `[""]` stands for none (`docker run --entrypoint ''`).
fn words(list: Option<Vec<String>>) -> Vec<String> {
    list.filter(|list| list.as_slice() != [""]).unwrap_or_default()
}

/// 0 stands for "not set", -1 for "no limit".
fn limit(number: Option<i64>) -> Option<u64> {
    number.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0)
}

/// The names of variables that the image does not set to the same value. The values end here.
fn environment(config: &ContainerConfig, image: Option<&ImageConfig>) -> Vec<String> {
    let own = image.and_then(|image| image.env.as_deref()).unwrap_or_default();
    let given = config.env.as_deref().unwrap_or_default().iter().filter(|variable| !own.contains(variable));
    oci::names(given.map(String::as_str))
}

/// The digest under the name that the image was started by, or else the first: an image may have many names.
fn digest_of(image: &str, mut digests: Vec<String>) -> Option<String> {
    let name = image.split('@').next().unwrap_or_default();
    // A colon after the last slash begins the tag; one before it, a registry's port.
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    digests.sort();
    let own = digests.iter().position(|digest| digest.split('@').next() == Some(name));
    (!digests.is_empty()).then(|| digests.swap_remove(own.unwrap_or(0)))
}

/// `default` is what the engine makes of it.
fn network_mode<T>(mode: Option<String>, networks: &HashMap<String, T>) -> Option<String> {
    let mode = text(mode)?;
    if mode != "default" {
        return Some(mode);
    }
    let mut names = networks.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => Some("bridge".into()),
    }
}

/// `80/tcp`.
fn port_of(text: &str) -> Option<Port> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(Port { container: number.parse().ok()?, protocol: protocol.to_owned(), host_ip: None, host: None })
}

fn ports(host: &HostConfig, config: &ContainerConfig) -> Vec<Port> {
    let mut ports = Vec::new();
    for (name, bindings) in host.port_bindings.iter().flatten() {
        let Some(port) = port_of(name) else { continue };
        for binding in bindings.iter().flatten() {
            ports.push(Port {
                host_ip: text(binding.host_ip.clone()).filter(|ip| ip != "0.0.0.0"),
                // "0", nothing and a range leave the choice to the engine.
                host: binding.host_port.as_ref().and_then(|port| port.parse().ok()).filter(|port| *port != 0),
                ..port.clone()
            });
        }
    }
    if host.publish_all_ports == Some(true) {
        let exposed = config.exposed_ports.iter().flatten().filter_map(|port| port_of(port));
        let bound: Vec<(u16, String)> = ports.iter().map(|p| (p.container, p.protocol.clone())).collect();
        ports.extend(exposed.filter(|port| !bound.contains(&(port.container, port.protocol.clone()))));
    }
    ports.sort();
    ports.dedup();
    ports
}

/// Those that were asked to be the host's or another container's.
fn namespaces(host: &HostConfig) -> std::collections::BTreeMap<String, String> {
    let cgroup = host.cgroupns_mode.as_ref().map(ToString::to_string);
    [
        ("pid", host.pid_mode.as_deref()),
        ("ipc", host.ipc_mode.as_deref()),
        ("uts", host.uts_mode.as_deref()),
        ("user", host.userns_mode.as_deref()),
        ("cgroup", cgroup.as_deref()),
    ]
    .into_iter()
    .filter_map(|(kind, mode)| Some((kind.to_owned(), mode?.to_owned())))
    .filter(|(_, mode)| mode == "host" || mode.starts_with("container:"))
    .collect()
}

/// Options of `--security-opt`.
struct SecurityOptions {
    seccomp: Option<&'static str>,
    no_new_privileges: bool,
    others: Vec<String>,
}

impl SecurityOptions {
    fn of(options: &[String]) -> Self {
        let mut out = Self { seccomp: None, no_new_privileges: false, others: Vec::new() };
        for option in options {
            match option.split_once(['=', ':']) {
                // The client sends the file's contents: what matters here is that there is one.
                Some(("seccomp", "unconfined")) => out.seccomp = Some("unconfined"),
                Some(("seccomp", "builtin")) => out.seccomp = Some("default"),
                Some(("seccomp", _)) => out.seccomp = Some("custom"),
                Some(("apparmor", _)) => {}
                Some(("no-new-privileges", value)) => out.no_new_privileges = value == "true",
                None if option == "no-new-privileges" => out.no_new_privileges = true,
                _ => out.others.push(option.clone()),
            }
        }
        out
    }
}

/// Of `/proc` and `/sys`: a privileged container has none, which the engine says by saying nothing.
fn paths(list: Option<Vec<String>>, privileged: bool) -> Option<Vec<String>> {
    let mut list = list.or(privileged.then(Vec::new))?;
    list.sort();
    Some(list)
}

fn devices(host: &HostConfig) -> Vec<String> {
    let mut devices: Vec<String> = host
        .devices
        .iter()
        .flatten()
        .filter_map(|device| {
            let outside = device.path_on_host.as_deref()?;
            let inside = text(device.path_in_container.clone()).unwrap_or_else(|| outside.to_owned());
            let access = text(device.cgroup_permissions.clone()).unwrap_or_else(|| "rwm".into());
            Some(format!("{outside}:{inside}:{access}"))
        })
        .collect();
    devices.sort();
    devices
}

fn limits(host: &HostConfig) -> Limits {
    let period = limit(host.cpu_period).unwrap_or(DEFAULT_PERIOD);
    let quota = || limit(host.cpu_quota).map(|quota| quota.saturating_mul(1000) / period);
    Limits {
        memory_bytes: limit(host.memory),
        memory_swap_bytes: limit(host.memory_swap),
        cpu_millis: limit(host.nano_cpus).map(|nano| nano / 1_000_000).or_else(quota),
        pids: limit(host.pids_limit),
        shm_bytes: limit(host.shm_size).filter(|bytes| *bytes != DEFAULT_SHM),
    }
}

fn restart(policy: &RestartPolicy) -> String {
    let name = policy.name.as_ref().map(AsRef::as_ref).filter(|name| !name.is_empty()).unwrap_or("no");
    match policy.maximum_retry_count.filter(|count| *count > 0) {
        Some(count) if name == "on-failure" => format!("{name}:{count}"),
        _ => name.to_owned(),
    }
}

fn healthcheck(check: HealthConfig) -> Option<Healthcheck> {
    let milliseconds = |ns: Option<i64>| limit(ns).map(|ns| ns / 1_000_000);
    let out = Healthcheck {
        test: check.test.unwrap_or_default(),
        interval_ms: milliseconds(check.interval),
        timeout_ms: milliseconds(check.timeout),
        start_period_ms: milliseconds(check.start_period),
        retries: limit(check.retries).and_then(|n| u32::try_from(n).ok()),
    };
    (!out.test.is_empty()).then_some(out)
}

fn image_defaults(config: ImageConfig) -> ImageDefaults {
    let sorted = |list: Option<Vec<String>>| {
        let mut list = list.unwrap_or_default();
        list.sort();
        list
    };
    ImageDefaults {
        user: text(config.user),
        entrypoint: words(config.entrypoint),
        command: words(config.cmd),
        working_dir: text(config.working_dir),
        volumes: sorted(config.volumes),
        ports: sorted(config.exposed_ports),
        healthcheck: config.healthcheck.and_then(healthcheck),
        stop_signal: text(config.stop_signal).filter(|signal| signal != STOP),
    }
}

/// What is mounted, from what the engine did; options that it does not tell there come from what was asked for.
fn mounts(points: Vec<MountPoint>, host: &HostConfig) -> Vec<Mount> {
    let asked: Vec<&Asked> = host.mounts.iter().flatten().collect();
    let mut mounts: Vec<Mount> = points
        .into_iter()
        .map(|point| {
            let target = point.destination.clone().unwrap_or_default();
            let same = |asked: &&&Asked| asked.target.as_deref() == Some(target.as_str());
            mount(point, asked.iter().find(same).copied())
        })
        .collect();
    for (target, options) in host.tmpfs.iter().flatten() {
        let target = target.clone().into_bytes().into();
        mounts.retain(|mount| mount.target != target);
        mounts.push(Mount {
            target,
            source: None,
            kind: "tmpfs".into(),
            mode: if options.split(',').any(|o| o == "ro") { "ro" } else { "rw" }.into(),
            volume: None,
            options: listed(options),
        });
    }
    mounts.sort();
    mounts.dedup();
    mounts
}

fn mount(point: MountPoint, asked: Option<&Asked>) -> Mount {
    let kind = text(point.typ).unwrap_or_else(|| "bind".into());
    let mut options = listed(&point.mode.unwrap_or_default());
    // The engine's own default.
    options.extend(text(point.propagation).filter(|p| p != "rprivate"));
    if let Some(tmpfs) = asked.and_then(|asked| asked.tmpfs_options.as_ref()) {
        options.extend(limit(tmpfs.size_bytes).map(|bytes| format!("size={bytes}")));
        options.extend(tmpfs.mode.map(|mode| format!("mode={mode:o}")));
        options.extend(tmpfs.options.iter().flatten().map(|option| option.join("=")));
    }
    if let Some(volume) = asked.and_then(|asked| asked.volume_options.as_ref())
        && volume.no_copy == Some(true)
    {
        options.push("nocopy".into());
    }
    options.dedup();
    // The engine makes up a name for a volume that was given none.
    let made_up = |name: &String| name.len() == 64 && naming::is_hex(name);
    Mount {
        target: point.destination.unwrap_or_default().into_bytes().into(),
        source: text(point.source).map(|source| source.into_bytes().into()),
        volume: text(point.name).filter(|name| kind == "volume" && !made_up(name)),
        kind,
        mode: if point.rw == Some(false) { "ro" } else { "rw" }.into(),
        options,
    }
}

fn listed(options: &str) -> Vec<String> {
    options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(answer: serde_json::Value) -> Container {
        found(serde_json::from_value(answer).unwrap(), None, None).container
    }

    #[test]
    fn numbers_that_stand_for_none_are_no_limits() {
        let host = json!({"Memory": 0, "MemorySwap": -1, "NanoCpus": 0, "CpuQuota": 50000, "CpuPeriod": 0, "PidsLimit": -1,
            "ShmSize": 67_108_864, "RestartPolicy": {"Name": "", "MaximumRetryCount": 0}});
        let container = of(json!({"Id": "1", "HostConfig": host}));
        assert_eq!(container.limits, Limits { cpu_millis: Some(500), ..Limits::default() });
        assert_eq!(container.restart.as_deref(), Some("no"));
        assert_eq!((container.masked_paths, container.healthcheck), (None, None));
    }

    #[test]
    fn ports_tell_which_the_engine_chooses() {
        let host = json!({"PublishAllPorts": true, "PortBindings": {
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}],
            "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}], "odd": null}});
        let config = json!({"ExposedPorts": {"80/tcp": {}, "9/sctp": {}}});
        let container = of(json!({"Id": "1", "HostConfig": host, "Config": config}));
        let ports: Vec<String> = container
            .ports
            .iter()
            .map(|p| format!("{:?}:{:?}:{}/{}", p.host_ip.as_deref(), p.host, p.container, p.protocol))
            .collect();
        assert_eq!(
            ports,
            [
                "None:None:9/sctp",
                "None:Some(53):53/udp",
                "None:Some(8080):80/tcp",
                "Some(\"127.0.0.1\"):None:80/tcp"
            ]
        );
    }

    #[test]
    fn the_network_is_what_the_engine_made_of_its_default() {
        let mode = |networks: serde_json::Value| {
            of(json!({"HostConfig": {"NetworkMode": "default"}, "NetworkSettings": {"Networks": networks}}))
                .network_mode
        };
        assert_eq!(mode(json!({"none": {}})).as_deref(), Some("none"));
        assert_eq!(mode(json!({})).as_deref(), Some("bridge"));
    }

    #[test]
    fn an_images_digest_goes_by_the_name_that_was_started() {
        let digests = || vec!["z/agent@sha256:1".to_owned(), "host:5/agent@sha256:2".into()];
        assert_eq!(digest_of("z/agent:1", digests()).as_deref(), Some("z/agent@sha256:1"));
        assert_eq!(digest_of("host:5/agent", digests()).as_deref(), Some("host:5/agent@sha256:2"));
        assert_eq!(digest_of("other", digests()).as_deref(), Some("host:5/agent@sha256:2"));
        assert_eq!(digest_of("other", Vec::new()), None);
    }

    #[test]
    fn no_entry_point_is_told_from_an_empty_one() {
        let container = of(json!({"Config": {"Entrypoint": [""], "Cmd": ["a", "b"]}, "Path": "x"}));
        assert_eq!(
            (container.command.as_slice(), container.entrypoint_words),
            (&["a".to_owned(), "b".into()][..], 0)
        );
        let container = of(json!({"Path": "x", "Args": ["y"]}));
        assert_eq!(container.command, ["x", "y"]);
    }
}
