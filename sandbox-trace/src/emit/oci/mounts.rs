//! The mounts of a bundle: file systems in memory and volumes as the sandbox has them, all others as they were.

use serde_json::{Value, json};

use super::{Config, Parts, Report, list};
use crate::{
    error::{Error, Result},
    policy::sandbox::{Because, Source, Tmpfs, Volume},
    recording::BytePath,
};

/// File systems that are the kernel's windows: the runtime's own, whatever was recorded in them.
const KERNELS: [&str; 6] = ["proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2"];

/// Sets the mounts.
pub(super) fn apply(config: &mut Config<'_>, parts: &Parts<'_>, report: &mut Report) -> Result<()> {
    let name = config.name;
    let mounts = list(&mut config.object, "mounts", name)?;
    let sandbox = parts.sandbox;
    for tmpfs in &sandbox.tmpfs {
        let destination = text(&tmpfs.value.path)?;
        let mount = json!({
            "destination": destination, "type": "tmpfs", "source": "tmpfs",
            "options": tmpfs_options(&tmpfs.value)
        });
        put(mounts, destination, mount);
        report.set("mounts", format!("{destination}: {} in memory", size(tmpfs.value.bytes)), &tmpfs.why);
    }
    for volume in &sandbox.volumes {
        bind(mounts, volume, report)?;
    }
    if let Some(shm) = &sandbox.limits.shm_bytes {
        let mount = json!({
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", format!("size={}", shm.value)]
        });
        put(mounts, "/dev/shm", mount);
        report.set("mounts", format!("/dev/shm: {} in memory", size(shm.value)), &shm.why);
    }
    Ok(())
}

fn tmpfs_options(tmpfs: &Tmpfs) -> Vec<String> {
    let mut options: Vec<String> = ["rw", "nosuid", "nodev"].map(String::from).to_vec();
    if !tmpfs.exec {
        options.push("noexec".into());
    }
    options.push(format!("mode={:o}", tmpfs.mode));
    options.push(format!("size={}", tmpfs.bytes));
    if let Some((uid, gid)) = tmpfs.owner {
        options.push(format!("uid={uid}"));
        options.push(format!("gid={gid}"));
    }
    options
}

/// A bind mount. The bundle knows best where its files are: what it mounts there it goes on to mount.
fn bind(mounts: &mut Vec<Value>, volume: &Because<Volume>, report: &mut Report) -> Result<()> {
    let Volume { target, source, writable, exec } = &volume.value;
    let destination = text(target)?;
    let present = mounts.iter().find(|mount| is_at(mount, destination));
    let kind = present.map_or("", kind);
    if KERNELS.contains(&kind) {
        return Ok(());
    }
    let kept =
        present.filter(|_| kind != "tmpfs").and_then(|mount| mount.get("source")).and_then(Value::as_str);
    let from = match (kept, source) {
        (Some(path), _) => path.to_owned(),
        (None, Source::Host(path)) => text(path)?.to_owned(),
        (None, Source::Named(_) | Source::Anonymous) => {
            report.notes.push(format!(
                "nothing is mounted at {target}, where a volume of the engine's was: {}; bind a folder there",
                volume.why
            ));
            return Ok(());
        }
    };
    let mut options = vec!["rbind", if *writable { "rw" } else { "ro" }, "nosuid", "nodev"];
    if !exec {
        options.push("noexec");
    }
    // How mounts spread is the bundle's own business.
    let spread = ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
    let had: Vec<String> = present
        .and_then(|mount| mount.get("options"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|option| spread.contains(option))
        .map(str::to_owned)
        .collect();
    let options: Vec<String> = options.into_iter().map(str::to_owned).chain(had).collect();
    let mount = json!({ "destination": destination, "type": "bind", "source": from, "options": options });
    put(mounts, destination, mount);
    let how = if *writable { "can be written" } else { "read-only" };
    report.set("mounts", format!("{destination}: {how}"), &volume.why);
    Ok(())
}

/// In the place of the mount that is there, else before the first one below it, which it would hide, else at the end.
fn put(mounts: &mut Vec<Value>, destination: &str, mount: Value) {
    if let Some(present) = mounts.iter().position(|mount| is_at(mount, destination)) {
        // Two at one place: the last is what the container sees.
        let mut first = true;
        mounts.retain(|mount| !is_at(mount, destination) || std::mem::take(&mut first));
        if let Some(slot) = mounts.get_mut(present) {
            *slot = mount;
        }
        return;
    }
    let below = format!("{}/", destination.trim_end_matches('/'));
    let at = mounts.iter().position(|mount| destination_of(mount).is_some_and(|d| d.starts_with(&below)));
    mounts.insert(at.unwrap_or(mounts.len()), mount);
}

fn is_at(mount: &Value, destination: &str) -> bool {
    destination_of(mount)
        .is_some_and(|there| there.trim_end_matches('/') == destination.trim_end_matches('/'))
}

fn destination_of(mount: &Value) -> Option<&str> {
    mount.get("destination").and_then(Value::as_str)
}

fn kind(mount: &Value) -> &str {
    mount.get("type").and_then(Value::as_str).unwrap_or("bind")
}

/// A path as JSON has it: the format has no way to write other bytes.
fn text(path: &BytePath) -> Result<&str> {
    std::str::from_utf8(path.as_bytes()).map_err(|_| {
        Error::incomplete(format!("no bundle can name the path \"{path}\": JSON is UTF-8"))
            .hint("mount a folder above it, under a name that is UTF-8")
    })
}

/// A size as people say it.
fn size(bytes: u64) -> String {
    match bytes {
        b if b.is_multiple_of(1 << 20) => format!("{} MiB", b >> 20),
        b if b.is_multiple_of(1 << 10) => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}
