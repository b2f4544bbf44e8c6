//! The flags of `docker run`, in the guide's order, and what is checked before a name or path becomes a part of one.

use std::{fmt::Write as _, net::IpAddr};

use super::{Origin, network, noexec};
use crate::{
    emit::{
        quantity::{bytes, cpus, duration},
        shell,
    },
    error::{Error, Result},
    policy::sandbox::{Because, Network, Sandbox, Source, Tmpfs, Volume},
    recording::{BytePath, Healthcheck, Port, printable},
};

/// A flag and its values, as the words that Docker's client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    words: Vec<String>,
    /// As the comment names it.
    pub shown: String,
    /// Why; none for what explains itself.
    pub why: Option<String>,
    /// For what only a variable of the script decides.
    raw: Option<String>,
}

impl Flag {
    fn new<const N: usize>(words: [&str; N]) -> Self {
        let words = words.map(str::to_owned).to_vec();
        Self { shown: printable(&words.join(" ")), words, why: None, raw: None }
    }

    fn why(mut self, why: &str) -> Self {
        self.why = Some(why.to_owned());
        self
    }

    /// As a line of the script.
    pub fn command(&self) -> String {
        self.raw.clone().unwrap_or_else(|| {
            let words: Vec<String> = self.words.iter().map(|text| shell::word(text)).collect();
            words.join(" ")
        })
    }
}

/// All flags.
pub fn flags(sandbox: &Sandbox, origin: Origin<'_>) -> Result<Vec<Flag>> {
    let mut out = vec![Flag::new(["--name", object_name(&sandbox.name, "a container")?])];
    capabilities(&mut out, sandbox);
    file_system(&mut out, sandbox)?;
    network_flags(&mut out, sandbox)?;
    security(&mut out, origin)?;
    limits(&mut out, sandbox);
    out.push(match &sandbox.user.value.spec {
        Some(user) => Flag::new(["--user", inner(user, "a user")?]).why(&sandbox.user.why),
        None => Flag { words: Vec::new(), ..Flag::new(["user"]).why(&sandbox.user.why) },
    });
    for group in &sandbox.groups {
        out.push(Flag::new(["--group-add", inner(group, "a group")?]));
    }
    let log = &sandbox.log.value;
    out.push(Flag::new(["--log-driver", inner(&log.driver, "a log driver")?]).why(&sandbox.log.why));
    for (name, value) in &log.options {
        out.push(Flag::new(["--log-opt", inner(&format!("{name}={value}"), "a log option")?]));
    }
    out.push(
        Flag::new(["--restart", inner(&sandbox.restart.value, "a restart policy")?])
            .why(&sandbox.restart.why),
    );
    if let Some(check) = &sandbox.healthcheck {
        health(&mut out, check)?;
    }
    process(&mut out, sandbox)?;
    // What has no words is there for its comment alone.
    Ok(out)
}

fn capabilities(out: &mut Vec<Flag>, sandbox: &Sandbox) {
    let none = if sandbox.capabilities.is_empty() {
        "no capability was used"
    } else {
        "all but those that were used"
    };
    out.push(Flag::new(["--cap-drop", "ALL"]).why(none));
    for capability in &sandbox.capabilities {
        out.push(Flag::new(["--cap-add", &capability.value]).why(&capability.why));
    }
}

fn file_system(out: &mut Vec<Flag>, sandbox: &Sandbox) -> Result<()> {
    out.push(if sandbox.read_only.value {
        Flag::new(["--read-only"]).why(&sandbox.read_only.why)
    } else {
        Flag { words: Vec::new(), ..Flag::new(["no --read-only"]).why(&sandbox.read_only.why) }
    });
    for tmpfs in &sandbox.tmpfs {
        let path = text_of(&tmpfs.value.path, "a tmpfs")?;
        if path.contains(':') {
            return Err(inexpressible("a tmpfs", path, "its --tmpfs ends the path at the first colon"));
        }
        let flag = Flag::new(["--tmpfs", &format!("{path}:{}", tmpfs_options(&tmpfs.value))]);
        out.push(Flag { shown: format!("--tmpfs {}", tmpfs.value.path), ..flag }.why(&tmpfs.why));
    }
    for volume in &sandbox.volumes {
        let shown = format!("--mount … {}", volume.value.target);
        let mut flag = Flag { shown, ..Flag::new(["--mount", &mount(&volume.value)?]) }.why(&volume.why);
        if let Some(variable) = noexec::variable(sandbox, &volume.value) {
            let fields = mount_fields(&volume.value)?.into_iter().map(|field| {
                if field.starts_with("src=") { format!("src=\"${variable}\"") } else { shell::word(&field) }
            });
            let fields: Vec<String> = fields.collect();
            flag.raw = Some(format!("--mount {}", fields.join(",")));
            flag = flag.why(&format!("{}; nothing was executed there", volume.why));
        }
        out.push(flag);
    }
    for device in &sandbox.devices {
        out.push(Flag::new(["--device", inner(&device.value, "a device")?]).why(&device.why));
    }
    if let Some(shm) = &sandbox.limits.shm_bytes {
        out.push(Flag::new(["--shm-size", &bytes(shm.value)]).why(&shm.why));
    }
    Ok(())
}

fn network_flags(out: &mut Vec<Flag>, sandbox: &Sandbox) -> Result<()> {
    let name = match &sandbox.network.value {
        Network::None => "none".to_owned(),
        Network::Host => "host".to_owned(),
        Network::Bridge(Some(name)) => object_name(name, "a network")?.to_owned(),
        Network::Bridge(None) => network::name(sandbox)?,
    };
    out.push(Flag::new(["--network", &name]).why(&sandbox.network.why));
    // A container with the host's network, or none, has no ports of its own to publish.
    if matches!(sandbox.network.value, Network::Bridge(_)) {
        for port in &sandbox.ports {
            out.push(Flag::new(["--publish", &published(&port.value)?]).why(&port.why));
        }
    }
    Ok(())
}

fn security(out: &mut Vec<Flag>, origin: Origin<'_>) -> Result<()> {
    out.push(
        Flag::new(["--security-opt", "no-new-privileges"])
            .why("a set-user-ID program, or one with file capabilities, gives nothing"),
    );
    let seccomp = format!("seccomp={}", inner(origin.seccomp, "a seccomp profile's file")?);
    out.push(
        Flag::new(["--security-opt", &seccomp])
            .why("the system calls that were made, and those of the runtime"),
    );
    let apparmor = format!("apparmor={}", origin.apparmor.as_str());
    out.push(Flag {
        raw: Some("${apparmor:+--security-opt=apparmor=\"$apparmor\"}".to_owned()),
        ..Flag::new(["--security-opt", &apparmor])
            .why("the files that were used, where the kernel has AppArmor")
    });
    Ok(())
}

fn limits(out: &mut Vec<Flag>, sandbox: &Sandbox) {
    let limits = &sandbox.limits;
    if let Some(memory) = &limits.memory_bytes {
        let text = bytes(memory.value);
        out.push(Flag::new(["--memory", &text]).why(&memory.why));
        out.push(Flag::new(["--memory-swap", &text]).why("as much as --memory: no swap beside it"));
    }
    if let Some(cpu) = &limits.cpu_millis {
        out.push(Flag::new(["--cpus", &cpus(cpu.value)]).why(&cpu.why));
    }
    if let Some(pids) = &limits.pids {
        out.push(Flag::new(["--pids-limit", &pids.value.to_string()]).why(&pids.why));
    }
}

/// Docker's client takes the check as a line for the image's shell alone.
fn health(out: &mut Vec<Flag>, check: &Because<Healthcheck>) -> Result<()> {
    let Healthcheck { test, interval_ms, timeout_ms, start_period_ms, retries } = &check.value;
    match test.split_first() {
        Some((first, [])) if first == "NONE" => {
            out.push(Flag::new(["--no-healthcheck"]).why(&check.why));
            return Ok(());
        }
        Some((first, [line])) if first == "CMD-SHELL" => {
            out.push(Flag::new(["--health-cmd", inner(line, "a health check")?]).why(&check.why));
        }
        Some((first, words)) if first == "CMD" && !words.is_empty() => {
            let line: Vec<String> = words.iter().map(|text| shell::word(text)).collect();
            let why = format!("{}; docker run has no form without the image's shell", check.why);
            out.push(Flag::new(["--health-cmd", inner(&line.join(" "), "a health check")?]).why(&why));
        }
        // Its times alone are changed: the test is the image's.
        None => {}
        Some(_) => {
            return Err(inexpressible(
                "a health check",
                &test.join(" "),
                "it starts with CMD, CMD-SHELL or NONE",
            ));
        }
    }
    for (flag, value) in [
        ("--health-interval", interval_ms),
        ("--health-timeout", timeout_ms),
        ("--health-start-period", start_period_ms),
    ] {
        if let Some(ms) = value {
            out.push(Flag::new([flag, &duration(*ms)]));
        }
    }
    if let Some(retries) = retries {
        out.push(Flag::new(["--health-retries", &retries.to_string()]));
    }
    Ok(())
}

fn process(out: &mut Vec<Flag>, sandbox: &Sandbox) -> Result<()> {
    for name in &sandbox.environment {
        if name.is_empty() || name.contains('=') {
            return Err(inexpressible(
                "an environment variable",
                name,
                "a name is neither empty nor has a =",
            ));
        }
        out.push(Flag::new(["--env", inner(name, "an environment variable")?]));
    }
    if let Some(folder) = &sandbox.working_dir {
        out.push(Flag::new(["--workdir", inner(&folder.value, "a working directory")?]).why(&folder.why));
    }
    if let Some(entrypoint) = &sandbox.entrypoint {
        let first = entrypoint.value.first().map_or("", String::as_str);
        out.push(Flag::new(["--entrypoint", inner(first, "an entry point")?]).why(&entrypoint.why));
    }
    if sandbox.init {
        out.push(Flag::new(["--init"]).why("as it was configured"));
    }
    if let Some(signal) = &sandbox.stop_signal {
        out.push(Flag::new(["--stop-signal", inner(signal, "a signal")?]).why("as it was configured"));
    }
    for (name, value) in &sandbox.sysctls {
        let text = format!("{name}={value}");
        out.push(Flag::new(["--sysctl", inner(&text, "a kernel parameter")?]).why("as it was configured"));
    }
    Ok(())
}

/// The words after all flags.
pub fn image_and_command(sandbox: &Sandbox) -> Result<Vec<String>> {
    let mut out = vec![image_name(sandbox)?.to_owned()];
    // `--entrypoint` takes one word; the others come before the command's.
    let entrypoint = sandbox.entrypoint.iter().flat_map(|words| words.value.iter().skip(1));
    for text in entrypoint.chain(sandbox.command.iter().flat_map(|words| &words.value)) {
        out.push(inner(text, "the command")?.to_owned());
    }
    Ok(out)
}

/// The image, which is nothing that Docker's client could take for a flag.
pub fn image_name(sandbox: &Sandbox) -> Result<&str> {
    let Some(image) = &sandbox.image else {
        return Err(Error::usage("the recordings name no image: they were not made of a Docker container")
            .hint("name one with --image IMAGE"));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@[]".contains(c);
    if !image.value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        || !image.value.chars().all(plain)
    {
        return Err(inexpressible("an image", &image.value, "it is no image's name")
            .hint("name the image with --image IMAGE"));
    }
    Ok(&image.value)
}

/// The options of `--tmpfs`, and of `tmpfs:` in a compose file.
pub fn tmpfs_options(tmpfs: &Tmpfs) -> String {
    let exec = if tmpfs.exec { "exec" } else { "noexec" };
    let mut out = format!("rw,{exec},nosuid,nodev,size={},mode={:o}", bytes(tmpfs.bytes), tmpfs.mode);
    if let Some((uid, gid)) = tmpfs.owner {
        // Writing to a string does not fail.
        let _ = write!(out, ",uid={uid},gid={gid}");
    }
    out
}

/// The value of `--mount`.
pub fn mount(volume: &Volume) -> Result<String> {
    Ok(mount_fields(volume)?.join(","))
}

/// The fields of the value of `--mount`, which have commas between them; quoted as in a CSV file.
fn mount_fields(volume: &Volume) -> Result<Vec<String>> {
    let mut fields = match &volume.source {
        Source::Host(path) => vec!["type=bind".to_owned(), format!("src={}", text_of(path, "a volume")?)],
        Source::Named(name) => {
            vec!["type=volume".to_owned(), format!("src={}", object_name(name, "a volume")?)]
        }
        Source::Anonymous => vec!["type=volume".to_owned()],
    };
    fields.push(format!("dst={}", text_of(&volume.target, "a volume")?));
    if !volume.writable {
        fields.push("readonly".to_owned());
    }
    for field in &fields {
        if field.contains(['\n', '\r']) {
            return Err(inexpressible("a volume", field, "a mount is one line of text"));
        }
    }
    Ok(fields
        .into_iter()
        .map(
            |field| {
                if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
            },
        )
        .collect())
}

/// The value of `--publish`.
pub fn published(port: &Port) -> Result<String> {
    let ip = port.host_ip.as_deref().unwrap_or("127.0.0.1");
    let address: IpAddr =
        ip.parse().map_err(|_| inexpressible("a published port", ip, "it is no address of the host"))?;
    if !["tcp", "udp", "sctp"].contains(&port.protocol.as_str()) {
        return Err(inexpressible("a published port", &port.protocol, "it is tcp, udp or sctp"));
    }
    let address = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let host = port.host.map(|port| port.to_string()).unwrap_or_default();
    let protocol = if port.protocol == "tcp" { String::new() } else { format!("/{}", port.protocol) };
    Ok(format!("{address}:{host}:{}{protocol}", port.container))
}

/// A name of a container, a volume or a network.
pub fn object_name<'a>(name: &'a str, what: &str) -> Result<&'a str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.len() < 2 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
        return Err(inexpressible(what, name, "it takes two or more letters, digits, '.', '_' and '-'")
            .hint("name the container with --name NAME"));
    }
    Ok(name)
}

/// A path as text: Docker's interface is JSON, which has no other bytes.
pub fn text_of<'a>(path: &'a BytePath, what: &str) -> Result<&'a str> {
    let text = std::str::from_utf8(path.as_bytes()).map_err(|_| {
        inexpressible(what, &path.to_string(), "its interface is text, and this is not UTF-8")
    })?;
    inner(text, what)
}

fn inner<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    if text.contains('\0') {
        return Err(inexpressible(what, text, "it has a NUL byte"));
    }
    Ok(text)
}

/// Something that Docker has no form for.
pub fn inexpressible(what: &str, text: &str, why: &str) -> Error {
    Error::usage(format!("docker can't be told of {what}: {}: {why}", printable(text)))
        .hint("give the container another one, and record it again")
}
