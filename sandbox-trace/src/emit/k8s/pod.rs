//! The Pod.

use super::{
    Objects, Parts, localhost_profile, metadata,
    volumes::Volumes,
    yaml::{Map, item, list},
};
use crate::{
    error::Result,
    policy::sandbox::Network,
    recording::{Container, Healthcheck, printable},
};

/// Ports below it are root's, unless the kernel is told otherwise (ip(7)).
const UNPRIVILEGED: u16 = 1024;

/// Makes it.
pub(super) fn pod(parts: &Parts<'_>, name: &str, out: &mut Objects) -> Result<()> {
    let sandbox = parts.sandbox;
    let volumes = Volumes::of(parts, out)?;
    let mut spec = Map::default();
    let token = b"/run/secrets/kubernetes.io/";
    let asks =
        parts.needs.files.iter().any(|need| need.path().windows(token.len()).any(|window| window == token));
    spec.comment(if asks {
        "it read a token of the API server's, and may need it"
    } else {
        "it read no token of the API server's"
    });
    spec.set("automountServiceAccountToken", asks);
    spec.comment("what it must know of other services is in its own environment")
        .set("enableServiceLinks", false);
    let host = sandbox.network.value == Network::Host;
    spec.comment(&*sandbox.network.why).set("hostNetwork", host);
    spec.set("hostPID", false).set("hostIPC", false);
    spec.comment(&*sandbox.restart.why).set("restartPolicy", restart(&sandbox.restart.value));
    spec.set("securityContext", pod_security(parts, name, volumes.has_claims));
    let container = container(parts, name, &volumes, out);
    spec.set("containers", vec![container]);
    if !volumes.items.is_empty() {
        spec.set("volumes", list(volumes.items));
    }
    for device in &sandbox.devices {
        out.gaps.push(format!(
            "a Pod has no devices of its own: {} needs a device plugin",
            printable(&device.value)
        ));
    }
    if sandbox.stop_signal.is_some() {
        out.notes
            .push("the signal that stops it is the image's: a Pod names none before Kubernetes 1.33".into());
    }
    let mut map = Map::default();
    map.set("apiVersion", "v1").set("kind", "Pod");
    map.set("metadata", metadata(parts, name, true));
    map.set("spec", spec);
    out.add("pod.yaml", &["In a Deployment or a StatefulSet the same stands below spec.template."], &map);
    Ok(())
}

fn restart(policy: &str) -> &'static str {
    match policy.split(':').next() {
        Some("no") => "Never",
        Some("on-failure") => "OnFailure",
        _ => "Always",
    }
}

/// What holds for the whole Pod, and for containers that somebody adds to it.
fn pod_security(parts: &Parts<'_>, name: &str, has_claims: bool) -> Map {
    let sandbox = parts.sandbox;
    let user = &sandbox.user;
    let mut map = Map::default();
    map.comment(&*user.why);
    for blocker in &user.value.blockers {
        map.comment(format!("in the way of another user than root: {blocker}"));
    }
    map.set("runAsNonRoot", !user.value.root);
    if let Some((uid, gid)) = user.value.ids {
        map.set("runAsUser", uid).set("runAsGroup", gid);
        if has_claims && uid != 0 {
            map.comment("a new volume belongs to root, and to this group").set("fsGroup", gid);
        }
    }
    let groups: Vec<u32> = sandbox.groups.iter().filter_map(|group| group.parse().ok()).collect();
    if !groups.is_empty() {
        map.set("supplementalGroups", groups);
    }
    profiles(parts, name, &mut map);
    let lowest = sandbox.listens.iter().map(|listen| listen.value.port).filter(|p| *p < UNPRIVILEGED).min();
    let mut sysctls = sandbox.sysctls.clone();
    if let (Some(port), false) = (lowest, user.value.root) {
        let key = "net.ipv4.ip_unprivileged_port_start";
        if !sysctls.iter().any(|(name, _)| name == key) {
            sysctls.push((key.into(), port.to_string()));
        }
    }
    if !sysctls.is_empty() {
        let one = |(key, value): &(String, String)| {
            let mut map = Map::default();
            map.set("name", key.as_str()).set("value", value.as_str());
            map
        };
        map.comment("as configured, and what lets a user other than root listen on a low port");
        map.set("sysctls", sysctls.iter().map(one).collect::<Vec<_>>());
    }
    map
}

fn profiles(parts: &Parts<'_>, name: &str, map: &mut Map) {
    let mut seccomp = Map::default();
    seccomp.set("type", "Localhost").set("localhostProfile", localhost_profile(parts, name));
    map.comment(match parts.profiles {
        super::Profiles::Operator => {
            "SeccompProfile below; where the operator's objects have namespaces: operator/NAMESPACE/NAME.json"
        }
        super::Profiles::Node => {
            "seccomp.json, below the kubelet's folder (/var/lib/kubelet/seccomp) on each node"
        }
    });
    map.set("seccompProfile", seccomp);
    let mut apparmor = Map::default();
    let profile = if parts.profiles == super::Profiles::Operator { name } else { parts.profile };
    apparmor.set("type", "Localhost").set("localhostProfile", profile);
    map.comment("loaded on each node: by the operator, or with apparmor_parser -r")
        .set("appArmorProfile", apparmor);
}

fn container(parts: &Parts<'_>, name: &str, volumes: &Volumes, out: &mut Objects) -> Map {
    let sandbox = parts.sandbox;
    let mut map = Map::default();
    map.set("name", name);
    if let Some(image) = &sandbox.image {
        map.comment(&*image.why).set("image", image.value.as_str());
    } else {
        out.notes.push("no image is known: name it with --image".into());
        map.comment("NOT KNOWN: name it with --image").set("image", name);
    }
    if let Some(entrypoint) = &sandbox.entrypoint {
        map.comment(&*entrypoint.why).set("command", entrypoint.value.clone());
    }
    if let Some(command) = &sandbox.command {
        map.comment(&*command.why).set("args", command.value.clone());
    }
    if let Some(dir) = &sandbox.working_dir {
        map.comment(&*dir.why).set("workingDir", dir.value.as_str());
    }
    if !sandbox.environment.is_empty() {
        let names: Vec<String> = sandbox.environment.iter().map(|name| printable(name)).collect();
        map.comment(format!(
            "env: {}: the values are not recorded; secrets come from a Secret",
            names.join(" ")
        ));
        out.notes
            .push(format!("give it these variables, whose values are not recorded: {}", names.join(" ")));
    }
    let port = |port: u16, protocol: &str, why: &str| {
        let mut map = Map::default();
        map.set("containerPort", port).set("protocol", protocol.to_ascii_uppercase());
        item(why, map)
    };
    let ports: Vec<_> =
        sandbox.listens.iter().map(|l| port(l.value.port, l.value.protocol, &l.why)).collect();
    if !ports.is_empty() {
        map.set("ports", list(ports));
    }
    resources(parts, &mut map);
    map.set("securityContext", security(parts));
    if !volumes.mounts.is_empty() {
        map.set("volumeMounts", list(volumes.mounts.clone()));
    }
    probes(parts, &mut map);
    map
}

fn security(parts: &Parts<'_>) -> Map {
    let sandbox = parts.sandbox;
    let mut map = Map::default();
    map.comment("no program gains privileges by executing another").set("allowPrivilegeEscalation", false);
    map.set("privileged", false);
    map.comment(&*sandbox.read_only.why).set("readOnlyRootFilesystem", sandbox.read_only.value);
    let mut capabilities = Map::default();
    capabilities.set("drop", vec!["ALL"]);
    let added: Vec<_> = sandbox.capabilities.iter().map(|c| item(&c.why, c.value.as_str())).collect();
    if added.is_empty() {
        map.comment("no recording used one");
    } else {
        if !sandbox.user.value.root {
            map.comment("a user other than root has these only from a file's capabilities, which the flag above stops");
        }
        capabilities.set("add", list(added));
    }
    map.set("capabilities", capabilities);
    map
}

fn resources(parts: &Parts<'_>, map: &mut Map) {
    let limits = &parts.sandbox.limits;
    let (mut requested, mut limited) = (Map::default(), Map::default());
    if let Some(memory) = &limits.memory_bytes {
        requested.set("memory", memory.value.to_string());
        limited.comment(&*memory.why).set("memory", memory.value.to_string());
    }
    if let Some(cpu) = &limits.cpu_millis {
        if let Some(mean) = mean_millis(parts) {
            requested
                .comment("its mean over the recordings")
                .set("cpu", format!("{}m", mean.min(cpu.value).max(1)));
        }
        limited.comment(&*cpu.why).set("cpu", format!("{}m", cpu.value));
    }
    if let Some(pids) = &limits.pids {
        map.comment(format!(
            "tasks: {} ({}); a Pod can't say so: podPidsLimit of the kubelet does",
            pids.value, pids.why
        ));
    }
    let mut both = Map::default();
    if !requested.is_empty() {
        both.set("requests", requested);
    }
    if !limited.is_empty() {
        both.set("limits", limited);
    }
    if !both.is_empty() {
        map.set("resources", both);
    }
}

/// How much of a CPU it used on average, in thousandths.
fn mean_millis(parts: &Parts<'_>) -> Option<u64> {
    let runs = || parts.needs.runs.iter().filter(|run| run.resources.cpu_usec.is_some());
    let used: u64 = runs().filter_map(|run| run.resources.cpu_usec).sum();
    let took: u64 = runs().map(|run| run.duration_ms).sum();
    // Microseconds per millisecond are thousandths.
    (took > 0).then(|| used / took)
}

/// Kubernetes knows no health check of an image: the recorded container's own is used, whoever wrote it.
fn probes(parts: &Parts<'_>, map: &mut Map) {
    let of_container = || parts.needs.runs.iter().rev().filter_map(|run| run.container.as_ref());
    let of_image = |container: &Container| container.image_defaults.as_ref()?.healthcheck.clone();
    let check = parts
        .sandbox
        .healthcheck
        .as_ref()
        .map(|check| check.value.clone())
        .or_else(|| of_container().find_map(|container| container.healthcheck.clone()))
        .or_else(|| of_container().find_map(of_image));
    let Some(check) = check else { return };
    let Some(command) = command(&check) else { return };
    let probe = |delay: Option<u64>| {
        let seconds = |ms: Option<u64>, default: u64| ms.map_or(default, |ms| ms.div_ceil(1000).max(1));
        let mut exec = Map::default();
        exec.set("command", command.clone());
        let mut probe = Map::default();
        probe.set("exec", exec);
        if let Some(delay) = delay {
            probe.set("initialDelaySeconds", delay.div_ceil(1000));
        }
        // What is absent is Docker's default.
        probe.set("periodSeconds", seconds(check.interval_ms, 30));
        probe.set("timeoutSeconds", seconds(check.timeout_ms, 30));
        probe.set("failureThreshold", check.retries.filter(|n| *n > 0).unwrap_or(3));
        probe
    };
    map.comment("the container's health check: started again when it fails");
    map.set("livenessProbe", probe(check.start_period_ms.filter(|ms| *ms > 0)));
    map.comment("no requests as long as it fails").set("readinessProbe", probe(None));
}

fn command(check: &Healthcheck) -> Option<Vec<String>> {
    match check.test.split_first() {
        Some((kind, words)) if kind == "CMD" && !words.is_empty() => Some(words.to_vec()),
        Some((kind, [line, ..])) if kind == "CMD-SHELL" => {
            Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()])
        }
        _ => None,
    }
}
