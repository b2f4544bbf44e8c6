//! Which folders may have generalised names below them. Knows paths, not what was done with them.

/// What a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The root, and folders of sockets: their own names are never generalised.
    Root,
    /// Settings, homes, kernel files: recorded names stay as they are.
    Pinned,
    /// Programs and libraries: versions of libraries and the trees of language runtimes, nothing else.
    System,
    /// Names here are temporary.
    Temporary,
    /// All else.
    Data,
}

/// Folders with a meaning of their own, the longest match counts.
const PLACES: &[(&[u8], Place)] = &[
    (b"/", Place::Root),
    (b"/bin/", Place::System),
    (b"/boot/", Place::Pinned),
    (b"/dev/", Place::Pinned),
    (b"/dev/shm/", Place::Temporary),
    (b"/dev/mqueue/", Place::Temporary),
    (b"/etc/", Place::Pinned),
    (b"/home/", Place::Pinned),
    (b"/lib/", Place::System),
    (b"/lib32/", Place::System),
    (b"/lib64/", Place::System),
    (b"/proc/", Place::Pinned),
    (b"/root/", Place::Pinned),
    (b"/run/", Place::Root),
    (b"/run/containerd/", Place::Pinned),
    (b"/run/credentials/", Place::Pinned),
    (b"/run/crio/", Place::Pinned),
    (b"/run/dbus/", Place::Pinned),
    (b"/run/docker/", Place::Pinned),
    (b"/run/podman/", Place::Pinned),
    (b"/run/secrets/", Place::Pinned),
    (b"/run/systemd/", Place::Pinned),
    (b"/run/shm/", Place::Temporary),
    (b"/run/user/", Place::Temporary),
    (b"/sbin/", Place::System),
    (b"/sys/", Place::Pinned),
    (b"/tmp/", Place::Temporary),
    (b"/usr/", Place::System),
    (b"/usr/lib/modules/", Place::Pinned),
    (b"/lib/modules/", Place::Pinned),
    (b"/var/lib/docker/", Place::Pinned),
    (b"/var/lib/kubelet/", Place::Pinned),
    (b"/var/run/", Place::Root),
    (b"/var/run/secrets/", Place::Pinned),
    (b"/var/spool/cron/", Place::Pinned),
    (b"/var/tmp/", Place::Temporary),
];

/// Trees that come with a package, of which the next input needs other files than the last: modules that a language
/// imports when they are called for, headers, zones, encodings. Readable by everyone on any system.
const TREES: &[&[u8]] = &[
    b"/usr/include/",
    b"/usr/lib/gcc/",
    b"/usr/lib/jvm/",
    b"/usr/lib/locale/",
    b"/usr/lib/node_modules/",
    b"/usr/lib/python",
    b"/usr/lib/ruby/",
    b"/usr/lib/x86_64-linux-gnu/gconv/",
    b"/usr/lib/x86_64-linux-gnu/perl",
    b"/usr/local/include/",
    b"/usr/local/lib/node_modules/",
    b"/usr/local/lib/python",
    b"/usr/local/lib/ruby/",
    b"/usr/local/share/perl",
    b"/usr/share/git-core/",
    b"/usr/share/i18n/",
    b"/usr/share/locale/",
    b"/usr/share/nodejs/",
    b"/usr/share/perl",
    b"/usr/share/ruby",
    b"/usr/share/zoneinfo/",
];

/// Parts of names that key material and credentials have, and the sockets of those that give root: such a name is never
/// generalised, wherever it lies.
const KEYS: &[&[u8]] = &[
    b".ssh",
    b".gnupg",
    b".aws",
    b".azure",
    b".kube",
    b".docker",
    b".env",
    b".netrc",
    b".pgpass",
    b".npmrc",
    b".pem",
    b".key",
    b".p12",
    b".pfx",
    b".jks",
    b".kdbx",
    b"id_rsa",
    b"id_dsa",
    b"id_ecdsa",
    b"id_ed25519",
    b"credential",
    b"secret",
    b"passwd",
    b"password",
    b"shadow",
    b"token",
    b"docker.sock",
    b"containerd.sock",
    b"podman.sock",
    b"crio.sock",
];

/// What the folder is, which ends in `/`.
pub fn of(folder: &[u8]) -> Place {
    let known = PLACES.iter().filter(|(start, _)| folder.starts_with(start));
    known.max_by_key(|(start, _)| start.len()).map_or(Place::Data, |(start, place)| match place {
        Place::Root if folder != *start => Place::Data,
        place => *place,
    })
}

/// Whether a package's tree begins at this folder: `/usr/lib/python3.11/`.
pub fn is_tree(folder: &[u8]) -> bool {
    TREES.iter().any(|tree| {
        folder.strip_prefix(*tree).is_some_and(|rest| {
            if tree.ends_with(b"/") {
                rest.is_empty()
            } else {
                // The name goes on with a version.
                rest.iter().position(|byte| *byte == b'/').is_some_and(|end| end + 1 == rest.len())
            }
        })
    })
}

/// Whether a name (with or without its slash) is one of key material.
pub fn is_key(name: &[u8]) -> bool {
    KEYS.iter().any(|key| name.windows(key.len()).any(|part| part.eq_ignore_ascii_case(key)))
}

/// Whether `owner` says something below this folder. What packages install, and devices, belong to root whoever uses
/// them.
pub fn has_owners(place: Place, path: &[u8]) -> bool {
    match place {
        Place::Temporary | Place::Data => true,
        Place::Pinned => path.starts_with(b"/home/") || path.starts_with(b"/root/"),
        Place::Root | Place::System => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_counts() {
        for (folder, place) in [
            ("/", Place::Root),
            ("/app/", Place::Data),
            ("/dev/", Place::Pinned),
            ("/dev/shm/x/", Place::Temporary),
            ("/usr/share/doc/", Place::System),
            ("/usr/lib/modules/6.1/", Place::Pinned),
            ("/etcetera/", Place::Data),
            ("/var/lib/agent/", Place::Data),
            ("/run/", Place::Root),
            ("/run/agent/", Place::Data),
            ("/run/podman/", Place::Pinned),
            ("/home/agent/.cache/", Place::Pinned),
        ] {
            assert_eq!(of(folder.as_bytes()), place, "{folder}");
        }
    }

    #[test]
    fn trees_begin_where_their_version_ends() {
        for (folder, is) in [
            ("/usr/lib/python3.11/", true),
            ("/usr/lib/python3/", true),
            ("/usr/lib/python3.11/json/", false),
            ("/usr/lib/", false),
            ("/usr/share/zoneinfo/", true),
            ("/usr/share/zoneinfo/Europe/", false),
            ("/usr/lib/x86_64-linux-gnu/perl-base/", true),
        ] {
            assert_eq!(is_tree(folder.as_bytes()), is, "{folder}");
        }
    }
}
