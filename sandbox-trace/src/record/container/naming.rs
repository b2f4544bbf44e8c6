//! Containers' ids in the names of cgroups, for every runtime and both cgroup drivers: `ID`, `docker-ID.scope`,
//! `libpod-ID.scope`, `cri-containerd-ID.scope`, `crio-ID`, and `NAME` for plain runc and crun.

use std::path::Path;

/// Length of the ids that engines make up.
const ID_LENGTH: usize = 64;

/// Whether all of it are hexadecimal digits.
pub fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a cgroup's own name says that it is the container's with this id or, for plain runtimes, name.
pub fn is_of(directory: &str, id: &str) -> bool {
    let scope = directory.strip_suffix(".scope");
    let name = scope.unwrap_or(directory);
    if name.contains("conmon") {
        // Podman's and CRI-O's monitor lives beside the container, under its id.
        return false;
    }
    name == id
        || name.strip_suffix(id).is_some_and(|prefix| {
            // Any name may end in another one; a prefix counts for a scope, or before a full id.
            (scope.is_some() || (id.len() == ID_LENGTH && is_hex(id))) && prefix.ends_with(['-', ':'])
        })
}

/// Whether a cgroup is the container's, or below it.
pub fn belongs(path: &Path, id: &str) -> bool {
    components(path).any(|component| is_of(component, id))
}

/// The id of the container that a cgroup belongs to, if its path has one: the outermost, which is the one that this
/// host's engine knows.
pub fn container_id(path: &Path) -> Option<&str> {
    components(path).find_map(|component| {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        let id = name.rsplit(['-', ':']).next()?;
        (id.len() == ID_LENGTH && is_hex(id) && is_of(component, id)).then_some(id)
    })
}

fn components(path: &Path) -> impl Iterator<Item = &str> {
    path.iter().filter_map(|component| component.to_str())
}

/// The names that look most like `wanted`, at most `limit`: those with the longest common beginning, and those that
/// contain it.
pub fn near(wanted: &str, mut names: Vec<String>, limit: usize) -> Vec<String> {
    let common = |name: &str| name.chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    names.sort();
    names.dedup();
    names.sort_by_key(|name| {
        (!(name.contains(wanted) || wanted.contains(name.as_str())), usize::MAX - common(name))
    });
    names.truncate(limit);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn every_runtimes_cgroups_are_known() {
        for path in [
            "/docker/ID",
            "/docker/ID/init.scope",
            "/system.slice/docker-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
            "/kubepods/besteffort/pod1234-56/ID",
            "/kubepods.slice/kubepods-pod12.slice/cri-containerd-ID.scope",
            "/system.slice/crio-ID.scope",
            "/kubepods-pod1.slice:cri-containerd:ID",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(container_id(Path::new(&path)), Some(ID), "{path}");
            assert!(belongs(Path::new(&path), ID), "{path}");
        }
    }

    #[test]
    fn what_is_no_containers_cgroup_is_not_taken_for_one() {
        for path in [
            "/docker",
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/ssh.service",
            "/docker/IDff",
            "/x/ID.mount",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(container_id(Path::new(&path)), None, "{path}");
            assert!(!belongs(Path::new(&path), ID), "{path}");
        }
        let outer = format!("/docker/{ID}/docker/{}", ID.replace('0', "f"));
        assert_eq!(container_id(Path::new(&outer)), Some(ID));
    }

    #[test]
    fn plain_names_are_whole_components() {
        assert!(belongs(Path::new("/agent"), "agent"));
        assert!(belongs(Path::new("/user.slice/runc-agent.scope"), "agent"));
        assert!(!belongs(Path::new("/my-agent"), "agent"));
        assert!(!belongs(Path::new("/agent2"), "agent"));
    }

    #[test]
    fn near_names_come_first() {
        let names = ["web", "agent-1", "agent-2", "db"].map(String::from).to_vec();
        assert_eq!(near("agent-3", names.clone(), 2), ["agent-1", "agent-2"]);
        assert_eq!(near("eb", names, 1), ["web"]);
    }
}
