//! One service → the container that it asks for.

use super::{
    Wrong,
    node::{Node, Value},
};
use crate::{
    docker_syntax::{self, Places, Written},
    recording::{Container, Healthcheck, Mount, Port},
};

/// Reads a service; `internal` are the networks without a way out.
pub fn written(name: &str, node: &Node, places: &Places, internal: &[String]) -> Result<Written, Wrong> {
    let entries = node.map().ok_or_else(|| Wrong::at(node, format!("the service {name:?} is no mapping")))?;
    if let Some(extends) = node.get("extends") {
        return Err(Wrong::at(
            extends,
            "`extends` takes over what another service says, which is not done here: give the whole as \
             `docker compose config` prints it",
        ));
    }
    let mut out = Written { line: node.line, ..Written::default() };
    for (key, value) in entries {
        out.at(key, value.line);
    }
    out.container = Container {
        runtime: "docker".into(),
        name: text(node, "container_name")?.unwrap_or_else(|| name.to_owned()),
        image: text(node, "image")?,
        oci_runtime: text(node, "runtime")?,
        working_dir: text(node, "working_dir")?,
        user: text(node, "user")?,
        groups: texts(node, "group_add")?,
        privileged: Some(flag(node, "privileged")?.unwrap_or(false)),
        read_only: Some(flag(node, "read_only")?.unwrap_or(false)),
        no_new_privileges: Some(false),
        capabilities_added: texts(node, "cap_add")?,
        capabilities_dropped: texts(node, "cap_drop")?,
        devices: devices(node)?,
        restart: text(node, "restart")?,
        stop_signal: text(node, "stop_signal")?,
        init: flag(node, "init")?,
        environment: pairs(node, "environment")?.into_iter().map(|(name, _)| name).collect(),
        sysctls: pairs(node, "sysctls")?.into_iter().collect(),
        ..Container::default()
    };
    if out.container.image.is_none() && node.get("build").is_none() {
        return Err(Wrong::at(node, format!("the service {name:?} has neither `image` nor `build`")));
    }
    command(node, &mut out.container)?;
    for (option, _) in scalars(node, "security_opt")? {
        out.security(&option);
    }
    networks(node, &mut out, internal)?;
    namespaces(node, &mut out.container)?;
    out.container.ports = ports(node)?;
    out.container.mounts = mounts(node, places)?;
    limits(node, &mut out)?;
    logging(node, &mut out.container)?;
    out.container.healthcheck = node.get("healthcheck").map(healthcheck).transpose()?;
    Ok(out)
}

fn text(node: &Node, key: &str) -> Result<Option<String>, Wrong> {
    node.get(key)
        .map(|value| {
            value.text().map(str::to_owned).ok_or_else(|| Wrong::at(value, format!("`{key}` must be a text")))
        })
        .transpose()
        .map(|text| text.filter(|text| !text.is_empty()))
}

fn flag(node: &Node, key: &str) -> Result<Option<bool>, Wrong> {
    node.get(key)
        .map(|value| value.bool().ok_or_else(|| Wrong::at(value, format!("`{key}` must be true or false"))))
        .transpose()
}

/// A list of scalars, or one scalar, with the node of each.
fn scalars<'a>(node: &'a Node, key: &str) -> Result<Vec<(String, &'a Node)>, Wrong> {
    let Some(value) = node.get(key) else { return Ok(Vec::new()) };
    let one = |node: &'a Node| match node.text() {
        Some(text) => Ok((text.to_owned(), node)),
        None => Err(Wrong::at(node, format!("an entry of `{key}` must be a text"))),
    };
    match &value.value {
        Value::List(nodes) => nodes.iter().map(one).collect(),
        Value::Map(_) => Err(Wrong::at(value, format!("`{key}` must be a list"))),
        _ => one(value).map(|one| vec![one]),
    }
}

fn texts(node: &Node, key: &str) -> Result<Vec<String>, Wrong> {
    Ok(scalars(node, key)?.into_iter().map(|(text, _)| text).collect())
}

/// `NAME: VALUE` in a mapping, or a list of `NAME=VALUE`.
fn pairs(node: &Node, key: &str) -> Result<Vec<(String, String)>, Wrong> {
    let Some(value) = node.get(key) else { return Ok(Vec::new()) };
    if let Some(entries) = value.map() {
        let pair =
            |(name, value): &(String, Node)| (name.clone(), value.text().unwrap_or_default().to_owned());
        return Ok(entries.iter().map(pair).collect());
    }
    let split = |(text, _): (String, &Node)| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text, String::new()),
    };
    Ok(scalars(node, key)?.into_iter().map(split).collect())
}

fn command(node: &Node, container: &mut Container) -> Result<(), Wrong> {
    let words = |key: &str| -> Result<Vec<String>, Wrong> {
        let Some(value) = node.get(key) else { return Ok(Vec::new()) };
        match value.text() {
            Some(line) => shell_words::split(line).map_err(|e| Wrong::at(value, format!("`{key}`: {e}"))),
            None => texts(node, key),
        }
    };
    container.command = words("entrypoint")?;
    container.entrypoint_words = u32::try_from(container.command.len()).unwrap_or(u32::MAX);
    container.command.extend(words("command")?);
    Ok(())
}

fn networks(node: &Node, out: &mut Written, internal: &[String]) -> Result<(), Wrong> {
    let named: Vec<String> = match node.get("networks") {
        Some(value) => match value.map() {
            Some(entries) => entries.iter().map(|(name, _)| name.clone()).collect(),
            None => texts(node, "networks")?,
        },
        None => vec!["default".to_owned()],
    };
    let mode = text(node, "network_mode")?;
    out.internal_network = mode.is_none() && named.iter().all(|name| internal.contains(name));
    out.container.network_mode = Some(mode.unwrap_or_else(|| named.join(", ")));
    Ok(())
}

fn namespaces(node: &Node, container: &mut Container) -> Result<(), Wrong> {
    for (key, name) in
        [("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"), ("userns_mode", "user"), ("cgroup", "cgroup")]
    {
        if let Some(value) =
            text(node, key)?.filter(|value| !matches!(value.as_str(), "private" | "shareable"))
        {
            container.namespaces.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn devices(node: &Node) -> Result<Vec<String>, Wrong> {
    let Some(list) = node.get("devices").and_then(Node::list) else { return texts(node, "devices") };
    let long = |node: &Node| {
        let source = node.get("source").and_then(Node::text)?;
        let target = node.get("target").and_then(Node::text).unwrap_or(source);
        let permissions = node.get("permissions").and_then(Node::text).unwrap_or("rwm");
        Some(format!("{source}:{target}:{permissions}"))
    };
    list.iter()
        .map(|device| {
            let text = device.text().map(str::to_owned).or_else(|| long(device));
            text.ok_or_else(|| {
                Wrong::at(device, "a device is SOURCE[:TARGET[:PERMISSIONS]], or has a `source`")
            })
        })
        .collect()
}

fn ports(node: &Node) -> Result<Vec<Port>, Wrong> {
    let Some(value) = node.get("ports") else { return Ok(Vec::new()) };
    let list = value.list().ok_or_else(|| Wrong::at(value, "`ports` must be a list"))?;
    let mut out = Vec::new();
    for port in list {
        let short = match port.text() {
            Some(short) => short.to_owned(),
            None => long_port(port)?,
        };
        out.extend(docker_syntax::published(&short).map_err(|what| Wrong::at(port, what))?);
    }
    out.sort();
    out.dedup();
    Ok(out)
}

/// The long form of a port, as its short one.
fn long_port(port: &Node) -> Result<String, Wrong> {
    let part = |key: &str| port.get(key).and_then(Node::text);
    let target = part("target").ok_or_else(|| Wrong::at(port, "a port is a text, or has a `target`"))?;
    let protocol = part("protocol").unwrap_or("tcp");
    let host = part("published").unwrap_or_default();
    Ok(match part("host_ip") {
        Some(address) if address.contains(':') => format!("[{address}]:{host}:{target}/{protocol}"),
        Some(address) => format!("{address}:{host}:{target}/{protocol}"),
        None => format!("{host}:{target}/{protocol}"),
    })
}

fn mounts(node: &Node, places: &Places) -> Result<Vec<Mount>, Wrong> {
    let mut out = Vec::new();
    if let Some(value) = node.get("volumes") {
        for volume in value.list().ok_or_else(|| Wrong::at(value, "`volumes` must be a list"))? {
            let mount = match volume.text() {
                Some(short) => docker_syntax::volume(short, places),
                None => long_volume(volume, places),
            };
            out.push(mount.map_err(|what| Wrong::at(volume, what))?);
        }
    }
    for (short, node) in scalars(node, "tmpfs")? {
        out.push(docker_syntax::tmpfs(&short).map_err(|what| Wrong::at(node, what))?);
    }
    out.sort();
    Ok(out)
}

/// The long form of a volume.
fn long_volume(volume: &Node, places: &Places) -> Result<Mount, String> {
    let part = |key: &str| volume.get(key).and_then(Node::text);
    let (Some(kind), Some(target)) = (part("type"), part("target")) else {
        return Err("a volume is a text, or has a `type` and a `target`".into());
    };
    if kind == "tmpfs" {
        let tmpfs = volume.get("tmpfs");
        let of = |key: &str| tmpfs.and_then(|tmpfs| tmpfs.get(key)).and_then(Node::text);
        let options =
            [of("size").map(|size| format!("size={size}")), of("mode").map(|mode| format!("mode={mode}"))];
        let options: Vec<String> = options.into_iter().flatten().collect();
        return docker_syntax::tmpfs(&format!("{target}:{}", options.join(",")));
    }
    let read_only = volume.get("read_only").and_then(Node::bool).unwrap_or(false);
    let source = part("source");
    if kind == "bind" && source.is_none() {
        return Err("a bind mount needs a `source`".into());
    }
    Ok(Mount {
        target: target.as_bytes().to_vec().into(),
        source: source.filter(|_| kind == "bind").map(|source| places.path(source).into()),
        kind: kind.to_owned(),
        mode: if read_only { "ro" } else { "rw" }.into(),
        volume: source.filter(|_| kind != "bind").map(str::to_owned),
        options: Vec::new(),
    })
}

fn limits(node: &Node, out: &mut Written) -> Result<(), Wrong> {
    let limit = node.get("deploy").and_then(|n| n.get("resources")).and_then(|n| n.get("limits"));
    // Compose refuses a file that has both and differs; the older name is asked first, as it does.
    let find = |old: &str, new: &str| node.get(old).or_else(|| limit.and_then(|limit| limit.get(new)));
    let amount = |found: Option<&Node>, what: &str| -> Result<Option<u64>, Wrong> {
        let Some(found) = found else { return Ok(None) };
        let text = found.text().unwrap_or_default();
        // Docker's word for "no limit".
        if matches!(text, "-1" | "0") {
            return Ok(None);
        }
        let value = if what == "CPUs" { docker_syntax::cpus(text) } else { docker_syntax::bytes(text) };
        value.map(Some).ok_or_else(|| Wrong::at(found, format!("{text:?} is no amount of {what}")))
    };
    let limits = &mut out.container.limits;
    limits.memory_bytes = amount(find("mem_limit", "memory"), "memory")?;
    limits.memory_swap_bytes = amount(node.get("memswap_limit"), "memory")?;
    limits.cpu_millis = amount(find("cpus", "cpus"), "CPUs")?;
    limits.pids = amount(find("pids_limit", "pids"), "processes")?;
    limits.shm_bytes = amount(node.get("shm_size"), "memory")?;
    Ok(())
}

fn logging(node: &Node, container: &mut Container) -> Result<(), Wrong> {
    if let Some(logging) = node.get("logging") {
        container.log_driver = text(logging, "driver")?;
        container.log_options = pairs(logging, "options")?.into_iter().collect();
    }
    Ok(())
}

fn healthcheck(node: &Node) -> Result<Healthcheck, Wrong> {
    let time = |key: &str| -> Result<Option<u64>, Wrong> {
        let Some(value) = node.get(key) else { return Ok(None) };
        let time = value.text().and_then(docker_syntax::milliseconds);
        time.map(Some).ok_or_else(|| Wrong::at(value, format!("`{key}` must be a duration such as 30s")))
    };
    let mut test = texts(node, "test")?;
    if node.get("test").is_some_and(|test| test.text().is_some()) {
        test.insert(0, "CMD-SHELL".into());
    }
    if flag(node, "disable")?.unwrap_or(false) {
        test = vec!["NONE".into()];
    }
    Ok(Healthcheck {
        test,
        interval_ms: time("interval")?,
        timeout_ms: time("timeout")?,
        start_period_ms: time("start_period")?,
        retries: text(node, "retries")?.and_then(|n| n.parse().ok()),
    })
}
