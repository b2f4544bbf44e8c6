//! What an OCI runtime configuration (`config.json` of a bundle) tells of a container.

use std::{fs, path::Path};

use serde_json::Value;

use crate::recording::{Container, Mount};

/// Reads the configuration in `bundle`; `None` if there is none.
pub fn read(bundle: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok()
}

/// An annotation of a configuration.
pub fn annotation(config: &Value, name: &str) -> Option<String> {
    Some(config.get("annotations")?.get(name)?.as_str()?.to_owned())
}

/// Fills in what the configuration tells.
pub fn describe(config: &Value, container: &mut Container) {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
    let number = |pointer: &str| config.pointer(pointer).and_then(Value::as_u64);
    container.read_only = config.pointer("/root/readonly").and_then(Value::as_bool).or(Some(false));
    container.apparmor = text("/process/apparmorProfile").map(Into::into);
    let has_filter = config.pointer("/linux/seccomp").is_some_and(Value::is_object);
    container.seccomp = Some(if has_filter { "custom" } else { "unconfined" }.into());
    container.user = number("/process/user/uid")
        .filter(|uid| *uid != 0)
        .map(|uid| format!("{uid}:{}", number("/process/user/gid").unwrap_or(0)));
    container.mounts = list(config.get("mounts")).filter_map(mount).collect();
    container.mounts.sort();
    let namespaces: Vec<&Value> = list(config.pointer("/linux/namespaces")).collect();
    let network = namespaces.iter().find(|n| n.get("type").and_then(Value::as_str) == Some("network"));
    if network.is_none() {
        container.network_mode = Some("host".into());
    }
}

fn mount(value: &Value) -> Option<Mount> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let options: Vec<&str> = list(value.get("options")).filter_map(Value::as_str).collect();
    let bind = options.iter().any(|o| matches!(*o, "bind" | "rbind"));
    let kind = if bind { "bind" } else { text("type")? };
    Some(Mount {
        target: text("destination")?.as_bytes().to_vec().into(),
        // For all but bind mounts it is a word without meaning.
        source: text("source").filter(|_| bind).map(|source| source.as_bytes().to_vec().into()),
        kind: kind.into(),
        mode: if options.contains(&"ro") { "ro" } else { "rw" }.into(),
        volume: None,
        options: options.into_iter().map(str::to_owned).collect(),
    })
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}
