//! The keys of a service, in the guide's order, each with its evidence. Also the single keys that hardening sets.

use super::Origin;
use crate::{
    compose::yaml::{Entry, Item, Node},
    emit::{
        docker::{image_name, inexpressible, object_name, published, text_of, tmpfs_options},
        quantity::{bytes, cpus, duration},
    },
    error::Result,
    policy::sandbox::{Because, Network, Sandbox, Source, Tmpfs, Volume},
    recording::{Healthcheck, printable},
};

/// All keys.
pub fn entries(sandbox: &Sandbox, origin: Origin<'_>) -> Result<Vec<Entry>> {
    let mut out = Vec::new();
    let image = image_name(sandbox)?;
    let why = sandbox.image.as_ref().map(|image| image.why.clone());
    out.push(Entry { why, ..Entry::new("image", value(image, "an image")?) });
    out.push(Entry::new("container_name", Node::text(object_name(&sandbox.name, "a container")?)));
    if let Some(user) = &sandbox.user.value.spec {
        out.push(Entry::because("user", value(user, "a user")?, &sandbox.user.why));
    }
    if !sandbox.groups.is_empty() {
        out.push(Entry::new("group_add", values(&sandbox.groups, "a group")?));
    }
    out.push(cap_drop(sandbox));
    out.extend(cap_add(sandbox));
    out.push(security_opt(origin)?);
    out.push(Entry::because("read_only", Node::flag(sandbox.read_only.value), &sandbox.read_only.why));
    list(&mut out, "tmpfs", &sandbox.tmpfs, |tmpfs| Ok(Node::Text(tmpfs_text(tmpfs)?)))?;
    list(&mut out, "volumes", &sandbox.volumes, volume)?;
    list(&mut out, "devices", &sandbox.devices, |device| value(device, "a device"))?;
    out.extend(shm_size(sandbox));
    network(&mut out, sandbox)?;
    out.extend(limits(sandbox, origin));
    if let Some(check) = &sandbox.healthcheck {
        out.push(Entry::because("healthcheck", healthcheck(&check.value)?, &check.why));
    }
    out.push(logging(sandbox)?);
    out.push(restart(sandbox)?);
    process(&mut out, sandbox)?;
    Ok(out)
}

/// A string as compose takes it: a `$` of its own is doubled, or it would begin a variable.
pub fn value(text: &str, what: &str) -> Result<Node> {
    Ok(Node::Text(own(text, what)?))
}

fn own(text: &str, what: &str) -> Result<String> {
    if text.contains('\0') {
        return Err(inexpressible(what, text, "it has a NUL byte"));
    }
    Ok(text.replace('$', "$$"))
}

fn values(texts: &[String], what: &str) -> Result<Node> {
    let items: Vec<Item> =
        texts.iter().map(|text| Ok(Item { why: None, node: value(text, what)? })).collect::<Result<_>>()?;
    Ok(Node::List(items))
}

/// A list of parts with the evidence of each; no key for an empty one.
fn list<T>(
    out: &mut Vec<Entry>,
    key: &str,
    parts: &[Because<T>],
    node: impl Fn(&T) -> Result<Node>,
) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let items: Vec<Item> = parts
        .iter()
        .map(|part| Ok(Item { why: Some(part.why.clone()), node: node(&part.value)? }))
        .collect::<Result<_>>()?;
    out.push(Entry::new(key, Node::List(items)));
    Ok(())
}

pub fn cap_drop(sandbox: &Sandbox) -> Entry {
    let why = if sandbox.capabilities.is_empty() {
        "no capability was used"
    } else {
        "all but those that were used"
    };
    Entry::because("cap_drop", Node::texts(["ALL"]), why)
}

/// Nothing where no capability was used.
pub fn cap_add(sandbox: &Sandbox) -> Option<Entry> {
    let item = |capability: &Because<String>| Item {
        why: Some(capability.why.clone()),
        node: Node::text(&capability.value),
    };
    let items: Vec<Item> = sandbox.capabilities.iter().map(item).collect();
    (!items.is_empty()).then(|| Entry::new("cap_add", Node::List(items)))
}

pub fn security_opt(origin: Origin<'_>) -> Result<Entry> {
    let because = |node, why: &str| Item { why: Some(why.to_owned()), node };
    let seccomp = origin.seccomp;
    let path = if ["/", "./", "../", "~"].iter().any(|start| seccomp.starts_with(start)) {
        seccomp.to_owned()
    } else {
        format!("./{seccomp}")
    };
    // Compose takes the first = before it looks for a colon.
    let sign = if path.contains('=') { '=' } else { ':' };
    let mut items = vec![
        because(
            Node::text("no-new-privileges:true"),
            "a set-user-ID program, or one with file capabilities, gives nothing",
        ),
        because(
            value(&format!("seccomp{sign}{path}"), "a seccomp profile's file")?,
            "the system calls that were made, and those of the runtime",
        ),
    ];
    if let Some(profile) = origin.apparmor {
        items.push(because(
            value(&format!("apparmor:{}", profile.as_str()), "an AppArmor profile")?,
            "the files that were used",
        ));
    }
    Ok(Entry::new("security_opt", Node::List(items)))
}

/// `PATH:OPTIONS`.
pub fn tmpfs_text(tmpfs: &Tmpfs) -> Result<String> {
    let path = text_of(&tmpfs.path, "a tmpfs")?;
    if path.contains(':') {
        return Err(inexpressible("a tmpfs", path, "`tmpfs` ends the path at the first colon"));
    }
    own(&format!("{path}:{}", tmpfs_options(tmpfs)), "a tmpfs")
}

/// In the long form, which holds any path.
pub fn volume(volume: &Volume) -> Result<Node> {
    let mut keys = Vec::new();
    let mut set = |key: &str, node| keys.push(Entry::new(key, node));
    match &volume.source {
        Source::Host(path) => {
            let path = text_of(path, "a volume")?;
            if !path.starts_with('/') {
                return Err(inexpressible("a volume", path, "a folder of the host has an absolute path"));
            }
            set("type", Node::text("bind"));
            set("source", value(path, "a volume")?);
        }
        Source::Named(name) => {
            set("type", Node::text("volume"));
            set("source", Node::text(object_name(name, "a volume")?));
        }
        Source::Anonymous => set("type", Node::text("volume")),
    }
    set("target", value(text_of(&volume.target, "a volume")?, "a volume")?);
    if !volume.writable {
        set("read_only", Node::flag(true));
    }
    if matches!(volume.source, Source::Host(_)) {
        // A folder that is missing is an error, not a new one of root's.
        set("bind", Node::Map(vec![Entry::new("create_host_path", Node::flag(false))]));
    }
    Ok(Node::Map(keys))
}

pub fn shm_size(sandbox: &Sandbox) -> Option<Entry> {
    let shm = sandbox.limits.shm_bytes.as_ref()?;
    Some(Entry::because("shm_size", Node::text(bytes(shm.value)), &shm.why))
}

fn network(out: &mut Vec<Entry>, sandbox: &Sandbox) -> Result<()> {
    let why = &sandbox.network.why;
    match &sandbox.network.value {
        Network::None => out.push(Entry::because("network_mode", Node::text("none"), why)),
        Network::Host => out.push(Entry::because("network_mode", Node::text("host"), why)),
        Network::Bridge(name) => {
            let name = name.as_deref().map_or(Ok("default"), |name| object_name(name, "a network"))?;
            out.push(Entry::because("networks", Node::texts([name]), why));
            list(out, "ports", &sandbox.ports, |port| value(&published(port)?, "a port"))?;
        }
    }
    Ok(())
}

/// `deploy` with limits and what is reserved, and the one limit that it has no key for.
fn limits(sandbox: &Sandbox, origin: Origin<'_>) -> Vec<Entry> {
    let limits = &sandbox.limits;
    let (mut limited, mut reserved) = (Vec::new(), Vec::new());
    if let Some(cpu) = &limits.cpu_millis {
        limited.push(Entry::because("cpus", Node::text(cpus(cpu.value)), &cpu.why));
        if let Some(mean) = origin.reserved.cpu_millis {
            let mean = mean.clamp(1, cpu.value.max(1));
            reserved.push(Entry::because("cpus", Node::text(cpus(mean)), "its mean over the recordings"));
        }
    }
    if let Some(memory) = &limits.memory_bytes {
        limited.push(Entry::because("memory", Node::text(bytes(memory.value)), &memory.why));
        if let Some(peak) = origin.reserved.memory_bytes {
            let peak = bytes(peak.min(memory.value));
            reserved.push(Entry::because("memory", Node::text(peak), "its recorded peak"));
        }
    }
    if let Some(pids) = &limits.pids {
        limited.push(Entry::because("pids", Node::Plain(pids.value.to_string()), &pids.why));
    }
    let mut resources = Vec::new();
    for (key, keys) in [("limits", limited), ("reservations", reserved)] {
        if !keys.is_empty() {
            resources.push(Entry::new(key, Node::Map(keys)));
        }
    }
    let mut out = Vec::new();
    if !resources.is_empty() {
        let resources = Node::Map(vec![Entry::new("resources", Node::Map(resources))]);
        out.push(Entry::new("deploy", resources));
    }
    if let Some(memory) = &limits.memory_bytes {
        out.push(Entry::because(
            "memswap_limit",
            Node::text(bytes(memory.value)),
            "as much as the memory limit: no swap beside it",
        ));
    }
    out
}

pub fn healthcheck(check: &Healthcheck) -> Result<Node> {
    let Healthcheck { test, interval_ms, timeout_ms, start_period_ms, retries } = check;
    let mut keys = Vec::new();
    match test.split_first() {
        Some((first, [])) if first == "NONE" => {
            return Ok(Node::Map(vec![Entry::new("disable", Node::flag(true))]));
        }
        Some((first, words)) if matches!(first.as_str(), "CMD" | "CMD-SHELL") && !words.is_empty() => {
            keys.push(Entry::new("test", values(test, "a health check")?));
        }
        // Its times alone are changed: the test is the image's.
        None => {}
        Some(_) => {
            let shown = printable(&test.join(" "));
            return Err(inexpressible("a health check", &shown, "it starts with CMD, CMD-SHELL or NONE"));
        }
    }
    for (key, ms) in [("interval", interval_ms), ("timeout", timeout_ms)] {
        if let Some(ms) = ms {
            keys.push(Entry::new(key, Node::text(duration(*ms))));
        }
    }
    if let Some(retries) = retries {
        keys.push(Entry::new("retries", Node::Plain(retries.to_string())));
    }
    if let Some(ms) = start_period_ms {
        keys.push(Entry::new("start_period", Node::text(duration(*ms))));
    }
    Ok(Node::Map(keys))
}

pub fn logging(sandbox: &Sandbox) -> Result<Entry> {
    let log = &sandbox.log.value;
    let mut keys = vec![Entry::new("driver", value(&log.driver, "a log driver")?)];
    let options: Vec<Entry> = log
        .options
        .iter()
        .map(|(name, text)| Ok(Entry::new(name, value(text, "a log option")?)))
        .collect::<Result<_>>()?;
    if !options.is_empty() {
        keys.push(Entry::new("options", Node::Map(options)));
    }
    Ok(Entry::because("logging", Node::Map(keys), &sandbox.log.why))
}

pub fn restart(sandbox: &Sandbox) -> Result<Entry> {
    Ok(Entry::because("restart", value(&sandbox.restart.value, "a restart policy")?, &sandbox.restart.why))
}

fn process(out: &mut Vec<Entry>, sandbox: &Sandbox) -> Result<()> {
    for name in &sandbox.environment {
        if name.is_empty() || name.contains('=') {
            let why = "a name is neither empty nor has a =";
            return Err(inexpressible("an environment variable", name, why));
        }
    }
    if !sandbox.environment.is_empty() {
        let names = values(&sandbox.environment, "an environment variable")?;
        out.push(Entry::because("environment", names, "the names that it was started with"));
    }
    for (key, words) in [("entrypoint", &sandbox.entrypoint), ("command", &sandbox.command)] {
        if let Some(words) = words {
            out.push(Entry::because(key, values(&words.value, "the command")?, &words.why));
        }
    }
    if let Some(folder) = &sandbox.working_dir {
        out.push(Entry::because("working_dir", value(&folder.value, "a working directory")?, &folder.why));
    }
    let configured = "as it was configured";
    if sandbox.init {
        out.push(Entry::because("init", Node::flag(true), configured));
    }
    if let Some(signal) = &sandbox.stop_signal {
        out.push(Entry::because("stop_signal", value(signal, "a signal")?, configured));
    }
    if !sandbox.sysctls.is_empty() {
        let parameters: Vec<Entry> = sandbox
            .sysctls
            .iter()
            .map(|(name, text)| Ok(Entry::new(name, value(text, "a kernel parameter")?)))
            .collect::<Result<_>>()?;
        out.push(Entry::because("sysctls", Node::Map(parameters), configured));
    }
    Ok(())
}
