use super::*;

fn places() -> Places {
    Places { here: Some("/project".into()), home: Some("/home/u".into()) }
}

fn one(text: &str) -> Written {
    read("run.sh", text, &places()).unwrap().remove(0)
}

/// The command of a published guide, with comments between its lines.
const GUIDE: &str = r"#!/bin/sh
docker run -d \
  --name agent \
  \
  # Capabilities (DROP ALL, add only necessary)
  --cap-drop ALL \
  --cap-add NET_BIND_SERVICE \
  \
  # Filesystem (read-only root, tmpfs for temp files)
  --read-only \
  --tmpfs /tmp:rw,noexec,nosuid,size=100m \
  -v ~/.openclaw/config:/app/config:ro \
  -v ~/.openclaw/logs:/app/logs:rw \
  --network=none \  # No network access
  # OR for localhost access:
  # -p 127.0.0.1:18789:18789 \
  --security-opt no-new-privileges \
  --security-opt seccomp=agent.json \
  --memory=2g \
  --memory-swap=2g \
  --cpus=2.0 \
  --pids-limit=100 \
  --user 1000:1000 \
  --log-driver=json-file \
  --log-opt max-size=10m \
  anthropic/clawdbot:latest
echo done
";

#[test]
fn a_command_with_comments_between_its_lines_is_one() {
    let written = one(GUIDE);
    let container = &written.container;
    assert_eq!(
        (container.name.as_str(), container.image.as_deref()),
        ("agent", Some("anthropic/clawdbot:latest"))
    );
    assert_eq!(container.capabilities_dropped, ["ALL"]);
    assert_eq!(container.capabilities_added, ["NET_BIND_SERVICE"]);
    assert_eq!((container.read_only, container.no_new_privileges), (Some(true), Some(true)));
    assert_eq!(container.network_mode.as_deref(), Some("none"));
    assert!(container.ports.is_empty());
    assert_eq!(written.seccomp_file.as_deref(), Some("agent.json"));
    assert_eq!(container.limits.memory_bytes, Some(2 << 30));
    assert_eq!(container.limits.cpu_millis, Some(2000));
    assert_eq!(container.user.as_deref(), Some("1000:1000"));
    assert_eq!(container.log_options["max-size"], "10m");
    let mounts: Vec<String> = container.mounts.iter().map(|m| format!("{} {}", m.target, m.mode)).collect();
    assert_eq!(mounts, ["/app/config ro", "/app/logs rw", "/tmp rw"]);
    assert_eq!((written.line, written.lines["cap_drop"], written.lines["volumes"]), (2, 6, 12));
}

#[test]
fn options_come_bundled_with_and_without_a_sign() {
    let written = one(
        "sudo DOCKER_HOST=x /usr/bin/docker -H unix:///x --debug container run -dit -p80:80 -e A=1 -eB -u=7 \
         --privileged=false --init --mount type=bind,src=.,dst=/app -P --pid=host --cpu-quota 50000 \
         --health-cmd 'curl x' --health-interval 30s --network name=back,alias=x --cap-add=KILL,CHOWN image:1 --rm -x",
    );
    let container = written.container;
    assert_eq!(container.image.as_deref(), Some("image:1"));
    assert_eq!(container.command, ["--rm", "-x"]);
    assert_eq!(container.environment, ["A", "B"]);
    assert_eq!(container.user.as_deref(), Some("7"));
    assert_eq!((container.privileged, container.init), (Some(false), Some(true)));
    assert_eq!(container.ports.iter().map(|p| p.container).collect::<Vec<_>>(), [0, 80]);
    assert_eq!(container.namespaces["pid"], "host");
    assert_eq!(container.limits.cpu_millis, Some(500));
    assert_eq!(container.network_mode.as_deref(), Some("back"));
    assert_eq!(container.capabilities_added, ["KILL", "CHOWN"]);
    assert_eq!(container.healthcheck.unwrap().test, ["CMD-SHELL", "curl x"]);
}

#[test]
fn several_commands_and_what_is_not_one() {
    let all =
        read("s", "docker pull a\ndocker run --name a i\ndocker create --name b i\n", &places()).unwrap();
    assert_eq!(all.iter().map(|w| w.container.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    for (text, wanted) in [
        ("docker run --no-such x", "line 1: the option --no-such is not known"),
        ("docker run -dZ x", "the option -Z is not known"),
        ("\ndocker run -d", "line 2: there is no image"),
        ("docker run -v", "needs a value"),
        ("docker run -p x i", "\"x\" is no port"),
        ("docker run --memory much i", "no amount"),
        ("docker ps", "has no `docker run`"),
        ("", "has no `docker run`"),
        ("docker run 'i", "not closed"),
    ] {
        let found = read("run.sh", text, &places()).unwrap_err().to_string();
        assert!(found.contains(wanted), "{text:?}: {found}");
    }
    let words = ["docker", "run", "-v", "/:/host", "i"].map(str::to_owned);
    assert_eq!(from_words(&words, &places()).unwrap().container.mounts.len(), 1);
    assert!(from_words(&["ls".to_owned()], &places()).is_err());
}
