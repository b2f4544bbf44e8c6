//! Folders of the host that are written to, and that nothing was executed from. Docker has no option that keeps programs
//! in a bind mount from being executed (it refuses `noexec` there), and the container's profile does where the engine has
//! AppArmor. Where it has none, the script mounts the folder once more, with the options, and gives that to the container.

use std::fmt::Write as _;

use crate::{
    emit::shell,
    error::Result,
    policy::sandbox::{Sandbox, Source, Volume},
};

/// The variable of the script that has the source of a volume; none for a volume that is left as it is. A source that is
/// quoted in a field of `--mount` is: the shell does not quote what it puts in.
pub fn variable(sandbox: &Sandbox, volume: &Volume) -> Option<String> {
    let guarded = |volume: &Volume| {
        volume.writable
            && !volume.exec
            && matches!(&volume.source, Source::Host(path) if !path.as_bytes().iter().any(|byte| b",\"".contains(byte)))
    };
    if !guarded(volume) {
        return None;
    }
    let before = sandbox.volumes.iter().take_while(|other| other.value != *volume);
    Some(format!("volume{}", before.filter(|other| guarded(&other.value)).count() + 1))
}

/// The part of the script that makes these mounts; empty where there are no such volumes.
pub fn steps(sandbox: &Sandbox, container: &str) -> Result<String> {
    let mut calls = String::new();
    for volume in &sandbox.volumes {
        let (Some(variable), Source::Host(source)) = (variable(sandbox, &volume.value), &volume.value.source)
        else {
            continue;
        };
        let path = shell::word(super::text_of(source, "a volume")?);
        // Writing to a string does not fail.
        let _ = writeln!(calls, "{variable}={path}");
        let _ = writeln!(calls, "if no_exec {variable} {path}; then {variable}=$place/{variable}; fi");
    }
    if calls.is_empty() {
        return Ok(String::new());
    }
    Ok(format!(
        r#"
# What is written and was never executed from is mounted once more, so that nothing can be: Docker has no option for that.
# Not where AppArmor is in force, which sees to it. Such a mount is gone after a start of the host: the container, if it is
# restarted with it, waits until this script ran with SANDBOX_START=no. SANDBOX_NOEXEC=no makes none.
place=/run/sandbox-trace/{container}
no_exec() {{
  if [ -n "$apparmor" ] || [ ! -e "$2" ]; then
    return 1
  fi
  if [ "${{SANDBOX_NOEXEC:-yes}}" = no ]; then
    echo "$0: SANDBOX_NOEXEC=no: what is written to $2 can be executed in the container" >&2
    return 1
  fi
  case "$(id -u) ${{DOCKER_HOST:-unix:}} $(docker info --format '{{{{.SecurityOptions}}}}')" in
  *name=rootless*) ;;
  "0 unix:"*)
    if [ -d "$2" ]; then
      (umask 077 && mkdir -p -- "$place/$1")
    else
      (umask 077 && mkdir -p -- "$place" && : >>"$place/$1")
    fi
    umount -- "$place/$1" 2>/dev/null || :
    mount --bind -- "$2" "$place/$1" && mount -o remount,bind,noexec,nosuid,nodev -- "$place/$1" && return
    ;;
  esac
  echo "$0: it could not be mounted (not root, or not on the engine's host): what is written to $2 can be executed in the container" >&2
  return 1
}}
{calls}"#
    ))
}
