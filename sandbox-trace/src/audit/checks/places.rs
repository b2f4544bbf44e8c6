//! Paths of the host that say something about who gets them.

use crate::audit::Severity;

/// Sockets through which container engines are told what to do.
const SOCKETS: &[&str] = &[
    "docker.sock",
    "containerd.sock",
    "podman.sock",
    "crio.sock",
    "buildkitd.sock",
    "dockershim.sock",
    "cri-dockerd.sock",
];

/// Whether a path is an engine's socket, by its name.
pub fn is_socket(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| SOCKETS.contains(&name))
}

/// What a place of the host is, and how bad it is to have it writable and read-only.
pub fn sensitive(path: &str) -> Option<(Severity, Option<Severity>, &'static str)> {
    use Severity::{Critical, High, Medium};
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    Some(match parts.as_slice() {
        [""] | [] => (Critical, Some(High), "all of the host's files"),
        ["dev", "shm" | "log" | "null" | "zero" | "random" | "urandom", ..] => return None,
        ["proc" | "sys" | "dev", ..] => (Critical, Some(Medium), "the host's kernel and devices"),
        ["boot" | "etc" | "usr" | "bin" | "sbin" | "lib" | "lib64"] => {
            (Critical, Some(Medium), "the host's programs and configuration")
        }
        // A single file for reading, such as the time zone, tells little.
        ["boot" | "etc" | "usr" | "bin" | "sbin" | "lib" | "lib64", ..] => {
            (High, None, "the host's programs and configuration")
        }
        ["root" | "home"] | ["home", _] => {
            (Critical, Some(High), "a home folder, with its keys and configuration")
        }
        ["var", "lib", "docker" | "containerd" | "containers" | "kubelet" | "etcd", ..]
        | ["run", "containerd" | "docker", ..] => {
            (Critical, Some(High), "what a container engine keeps, other containers' files among it")
        }
        ["var" | "run"]
        | ["var", "lib" | "run" | "spool"]
        | ["var", "spool", "cron", ..]
        | ["var", "run", ..] => (High, Some(Medium), "the state of the host's services, sockets among it"),
        ["var", "log"] => (High, Some(Medium), "the host's logs"),
        _ => return None,
    })
}

/// What secret a path of the host is or holds.
pub fn secret(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let name = parts.last().copied().unwrap_or_default();
    let lower = name.to_ascii_lowercase();
    let holds = |part: &str| parts.contains(&part);
    if holds(".ssh")
        || lower.starts_with("id_rsa")
        || lower.starts_with("id_ed25519")
        || lower.starts_with("id_ecdsa")
    {
        return (!lower.contains(".pub") && name != "known_hosts").then_some("SSH keys");
    }
    let found = match parts.as_slice() {
        ["etc", "shadow" | "gshadow" | "shadow-" | "gshadow-"] => "password hashes",
        ["etc", "sudoers" | "sudoers.d", ..] => "who may become root",
        ["etc", "ssh", ..] => "the host's SSH keys",
        ["etc", "kubernetes", ..] => "a cluster's credentials",
        ["etc", "ssl", "private", ..] | ["etc", "letsencrypt", ..] => "private keys of certificates",
        _ if holds(".aws") || holds(".azure") || holds("gcloud") => "a cloud's credentials",
        _ if holds(".kube") || name == "kubeconfig" => "a cluster's credentials",
        _ if holds(".gnupg") => "GnuPG keys",
        _ if holds(".docker") => "a registry's credentials",
        _ if holds(".password-store") || holds("keyrings") || holds(".mozilla") => "stored passwords",
        _ if matches!(
            name,
            ".netrc" | ".git-credentials" | ".npmrc" | ".pypirc" | ".pgpass" | ".env" | ".vault-token"
        ) =>
        {
            "credentials"
        }
        _ if matches!(
            lower.as_str(),
            "credentials" | "credentials.json" | "secrets" | "secrets.json" | "secrets.yaml"
        ) =>
        {
            "credentials"
        }
        _ if [".key", ".p12", ".pfx", ".jks", ".kdbx"].iter().any(|ending| lower.ends_with(ending)) => {
            "a key"
        }
        _ => return None,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_by_their_names() {
        use Severity::{Critical, High, Medium};
        for (path, expected) in [
            ("/", Some((Critical, Some(High)))),
            ("/etc", Some((Critical, Some(Medium)))),
            ("/etc/localtime", Some((High, None))),
            ("/home/u", Some((Critical, Some(High)))),
            ("/home/u/", Some((Critical, Some(High)))),
            ("/home/u/project/logs", None),
            ("/var/lib/docker/overlay2", Some((Critical, Some(High)))),
            ("/var/lib/agent", None),
            ("/var/run", Some((High, Some(Medium)))),
            ("/sys/fs/cgroup", Some((Critical, Some(Medium)))),
            ("/dev/shm", None),
            ("/data", None),
            ("/etcetera", None),
        ] {
            assert_eq!(sensitive(path).map(|(rw, ro, _)| (rw, ro)), expected, "{path}");
        }
        for (path, expected) in [
            ("/home/u/.ssh", true),
            ("/home/u/.ssh/id_ed25519", true),
            ("/home/u/.ssh/id_ed25519.pub", false),
            ("/x/.docker/config.json", true),
            ("/etc/shadow", true),
            ("/srv/tls/server.key", true),
            ("/srv/app/keyboard", false),
            ("/project/.env", true),
            ("/home/u/.openclaw/config", false),
        ] {
            assert_eq!(secret(path).is_some(), expected, "{path}");
        }
        assert!(is_socket("/run/docker.sock") && !is_socket("/run/docker.sock.txt") && !is_socket("/a"));
    }
}
