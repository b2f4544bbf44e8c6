//! A `docker run` line → the container that it asks for. `podman` and `nerdctl` take the same options.
//!
//! The line may be as people write it: in a script, behind `sudo`, over several lines, with comments between them.
//! Nothing here looks at the host.

mod options;
mod words;

use self::options::Given;
use crate::{
    docker_syntax::{self, Places, Written},
    error::{Error, Result},
    recording::{Container, Healthcheck, Mount, Port, printable},
};

const HINT: &str = "give the whole line: docker run OPTIONS IMAGE";

/// The containers that a script's `docker run` lines ask for, in their order.
pub fn read(name: &str, text: &str, places: &Places) -> Result<Vec<Written>> {
    let commands = words::commands(text)
        .map_err(|(line, what)| Error::usage(format!("{name}: line {line}: {what}")).hint(HINT))?;
    let found: Vec<Written> = commands
        .iter()
        .filter_map(|words| written(words, places).transpose())
        .collect::<Result<_, _>>()
        .map_err(|(line, what)| {
            let shown = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
            let shown: String = shown.chars().take(120).collect();
            Error::usage(format!(
                "{name}: line {line}: {}\n  {line} | {}",
                printable(&what),
                printable(&shown)
            ))
            .hint(HINT)
        })?;
    if found.is_empty() {
        return Err(Error::usage(format!("{name} has no `docker run` or `docker create`")).hint(HINT));
    }
    Ok(found)
}

/// The container that the words of a command line ask for.
pub fn from_words(arguments: &[String], places: &Places) -> Result<Written> {
    let words: Vec<(String, u32)> = arguments.iter().map(|word| (word.clone(), 0)).collect();
    match written(&words, places) {
        Ok(Some(written)) => Ok(written),
        Ok(None) => Err(Error::usage("that is no `docker run` or `docker create`").hint(HINT)),
        Err((_, what)) => Err(Error::usage(printable(&what)).hint(HINT)),
    }
}

/// What is wrong, and on which line.
type Wrong = (u32, String);

fn written(words: &[(String, u32)], places: &Places) -> Result<Option<Written>, Wrong> {
    let Some((given, image)) = options::split(words)? else { return Ok(None) };
    let Some(((name, line), command)) = image.split_first() else {
        let line = words.last().map_or(0, |(_, line)| *line);
        return Err((line, "there is no image after the options".into()));
    };
    let mut out = Written {
        line: given.first().map_or(*line, |option| option.line.min(*line)),
        container: Container {
            runtime: "docker".into(),
            name: name.clone(),
            image: Some(name.clone()),
            network_mode: Some("bridge".into()),
            privileged: Some(false),
            read_only: Some(false),
            no_new_privileges: Some(false),
            restart: Some("no".into()),
            ..Container::default()
        },
        ..Written::default()
    };
    out.at("image", *line);
    let mut quota = Quota::default();
    for option in &given {
        take(option, &mut out, &mut quota, places).map_err(|what| (option.line, what))?;
    }
    let container = &mut out.container;
    container.limits.cpu_millis = container.limits.cpu_millis.or_else(|| quota.millis());
    container.command.extend(command.iter().map(|(word, _)| word.clone()));
    container.mounts.sort();
    container.ports.sort();
    Ok(Some(out))
}

/// CPU time as quota and period, in microseconds.
#[derive(Debug, Default)]
struct Quota {
    quota: Option<u64>,
    period: Option<u64>,
}

impl Quota {
    fn millis(&self) -> Option<u64> {
        self.quota.filter(|quota| *quota > 0).and_then(|quota| {
            quota.checked_mul(1000)?.checked_div(self.period.filter(|period| *period > 0).unwrap_or(100_000))
        })
    }
}

/// Takes in an option.
fn take(given: &Given, out: &mut Written, quota: &mut Quota, places: &Places) -> Result<(), String> {
    let Given { name, value, line } = given;
    let value = value.as_str();
    let on = !matches!(value, "false" | "0" | "f" | "F" | "False" | "FALSE");
    out.at(options::part(name), *line);
    let container = &mut out.container;
    match name.as_str() {
        "name" => value.clone_into(&mut container.name),
        "privileged" => container.privileged = Some(on),
        "read-only" => container.read_only = Some(on),
        "init" => container.init = Some(on),
        "user" => container.user = Some(value.to_owned()).filter(|user| !user.is_empty()),
        "group-add" => container.groups.push(value.to_owned()),
        "cap-add" => container.capabilities_added.extend(list(value)),
        "cap-drop" => container.capabilities_dropped.extend(list(value)),
        "security-opt" => out.security(value),
        "network" | "net" => {
            let long = value.split(',').find_map(|field| field.strip_prefix("name="));
            container.network_mode = Some(long.unwrap_or(value).to_owned());
        }
        "publish" => container.ports.extend(docker_syntax::published(value)?),
        // Which ones only the image knows: port 0 stands for all of them.
        "publish-all" if on => container.ports.push(Port { protocol: "tcp".into(), ..Port::default() }),
        "volume" => container.mounts.push(docker_syntax::volume(value, places)?),
        "mount" => container.mounts.push(docker_syntax::in_csv(value, places)?),
        "tmpfs" => container.mounts.push(docker_syntax::tmpfs(value)?),
        "use-api-socket" if on => container.mounts.push(Mount {
            target: "/var/run/docker.sock".into(),
            source: Some("/var/run/docker.sock".into()),
            kind: "bind".into(),
            mode: "rw".into(),
            ..Mount::default()
        }),
        "volumes-from" => {
            out.notes.push(format!("what comes with --volumes-from {} is not known", printable(value)));
        }
        "device" | "gpus" => {
            container.devices.push(if name == "gpus" { format!("gpus={value}") } else { value.to_owned() });
        }
        "pid" | "ipc" | "uts" if !matches!(value, "" | "private" | "shareable") => {
            container.namespaces.insert(name.clone(), value.to_owned());
        }
        "userns" | "cgroupns" if !matches!(value, "" | "private") => {
            let of = if name == "userns" { "user" } else { "cgroup" };
            container.namespaces.insert(of.to_owned(), value.to_owned());
        }
        "sysctl" => {
            let (key, value) = value.split_once('=').unwrap_or((value, ""));
            container.sysctls.insert(key.to_owned(), value.to_owned());
        }
        "log-driver" => container.log_driver = Some(value.to_owned()),
        "log-opt" => {
            let (key, value) = value.split_once('=').unwrap_or((value, ""));
            container.log_options.insert(key.to_owned(), value.to_owned());
        }
        "restart" => container.restart = Some(value.to_owned()),
        "runtime" => container.oci_runtime = Some(value.to_owned()),
        "stop-signal" => container.stop_signal = Some(value.to_owned()),
        "workdir" => container.working_dir = Some(value.to_owned()),
        "entrypoint" => {
            container.command = vec![value.to_owned()];
            container.entrypoint_words = 1;
        }
        "env" => container.environment.push(value.split_once('=').map_or(value, |(name, _)| name).to_owned()),
        "env-file" => out.notes.push(format!("which variables {} gives is not looked at", printable(value))),
        "memory" | "memory-swap" | "cpus" | "cpu-quota" | "cpu-period" | "pids-limit" | "shm-size" => {
            limit(name, value, container, quota)?;
        }
        "no-healthcheck"
        | "health-cmd"
        | "health-interval"
        | "health-timeout"
        | "health-start-period"
        | "health-retries" => {
            health(name, value, container.healthcheck.get_or_insert_default())?;
        }
        _ => {}
    }
    Ok(())
}

fn list(value: &str) -> impl Iterator<Item = String> {
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned)
}

fn limit(name: &str, value: &str, container: &mut Container, quota: &mut Quota) -> Result<(), String> {
    let limits = &mut container.limits;
    // Docker's words for "no limit".
    let number = match value {
        "-1" | "0" => None,
        _ => Some(
            match name {
                "cpus" => docker_syntax::cpus(value),
                "cpu-quota" | "cpu-period" | "pids-limit" => value.parse().ok(),
                _ => docker_syntax::bytes(value),
            }
            .ok_or_else(|| format!("--{name} {value:?} is no amount"))?,
        ),
    };
    match name {
        "memory" => limits.memory_bytes = number,
        "memory-swap" => limits.memory_swap_bytes = number,
        "cpus" => limits.cpu_millis = number,
        "cpu-quota" => quota.quota = number,
        "cpu-period" => quota.period = number,
        "pids-limit" => limits.pids = number,
        _ => limits.shm_bytes = number,
    }
    Ok(())
}

fn health(name: &str, value: &str, check: &mut Healthcheck) -> Result<(), String> {
    let time =
        || docker_syntax::milliseconds(value).ok_or_else(|| format!("--{name} {value:?} is no duration"));
    match name {
        "no-healthcheck" => check.test = vec!["NONE".into()],
        "health-cmd" => check.test = vec!["CMD-SHELL".into(), value.to_owned()],
        "health-interval" => check.interval_ms = Some(time()?),
        "health-timeout" => check.timeout_ms = Some(time()?),
        "health-start-period" => check.start_period_ms = Some(time()?),
        _ => check.retries = value.parse().ok(),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
