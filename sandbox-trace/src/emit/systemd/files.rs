//! Files: what can be written, what can be executed, what of the machine is seen.

use super::{ANY, DropIn, Parts, word};
use crate::recording::{Access, BytePath};

/// Folders that hold what programs leave behind for themselves.
const TEMPORARY: [&[u8]; 2] = [b"/tmp/", b"/var/tmp/"];

/// Folders of people.
const HOMES: [&[u8]; 3] = [b"/home/", b"/root/", b"/run/user/"];

/// Prints the options.
pub(super) fn print(parts: &Parts<'_>, out: &mut DropIn) {
    let private_tmp = is_tmp_its_own(parts);
    let writes = writes(parts, private_tmp);
    read_write(parts, &writes, out);
    if private_tmp {
        out.set(
            "PrivateTmp",
            "yes",
            "What it used of /tmp and /var/tmp it made itself. Their size has no limit of its own.",
        );
    } else {
        out.comment("PrivateTmp= is left out: it used files of others in /tmp or /var/tmp.");
    }
    let in_home = |path: &[u8]| HOMES.iter().any(|home| path.starts_with(home));
    if parts.used(ANY, in_home) {
        out.set("ProtectHome", "read-only", "It used files there; those that it wrote are named above.");
    } else {
        out.set("ProtectHome", "yes", "It used nothing of /home, /root and /run/user.");
    }
    if !parts.called(&["mount", "umount2", "move_mount", "mount_setattr"]) {
        out.set("PrivateMounts", "yes", "It mounted nothing.");
    }
    no_exec(parts, &writes, out);
    devices(parts, out);
    proc(parts, out);
}

/// A place that is written to, whatever its owner.
struct Place {
    path: BytePath,
    word: Option<String>,
    why: String,
}

/// The places that must be made writable.
fn writes(parts: &Parts<'_>, private_tmp: bool) -> Vec<Place> {
    let mut out: Vec<Place> = Vec::new();
    for write in &parts.sandbox.writes {
        let path = write.value.as_bytes();
        // Those come writable with every service; options of their own protect them.
        let kernels = [&b"/proc/"[..], b"/sys/", b"/dev/"].iter().any(|place| path.starts_with(place));
        let tmp = private_tmp && TEMPORARY.iter().any(|place| path.starts_with(place));
        let inside = out
            .iter()
            .any(|above| above.path.as_bytes().ends_with(b"/") && path.starts_with(above.path.as_bytes()));
        if !kernels && !tmp && !inside {
            out.push(Place {
                path: write.value.clone(),
                word: word::path(&write.value),
                why: write.why.clone(),
            });
        }
    }
    out
}

fn read_write(parts: &Parts<'_>, writes: &[Place], out: &mut DropIn) {
    if writes.iter().any(|place| place.path.as_bytes() == b"/") {
        out.comment("ProtectSystem= is left out: the root folder itself was written to.");
        return;
    }
    let why =
        if parts.sandbox.writes.is_empty() { "It wrote no file." } else { "It wrote where it may, below." };
    out.set("ProtectSystem", "strict", why);
    out.line("ReadWritePaths", "");
    for place in writes {
        if let Some(name) = run_folder(&place.path) {
            out.set("RuntimeDirectory", name, &format!("{}: {}", place.path, place.why));
            continue;
        }
        match &place.word {
            Some(word) => {
                let hint = match hint(&place.path) {
                    Some((option, name)) => format!("; {option}={name} would make it"),
                    None => String::new(),
                };
                out.set("ReadWritePaths", word, &format!("{}: {}{hint}", place.path, place.why));
            }
            None => out.gaps.push(format!(
                "ReadWritePaths= can't name {}: it is neither UTF-8 nor without control characters and ..; what is \
                 written there will fail",
                place.path
            )),
        }
    }
}

/// `x` of `/run/x/…`: such a folder is gone with each boot, and only systemd can make it again.
fn run_folder(path: &BytePath) -> Option<&str> {
    folder_in(path, b"/run/")
}

/// The option that makes a folder where services have theirs, and the folder's name there.
fn hint(path: &BytePath) -> Option<(&'static str, &str)> {
    [
        (&b"/var/lib/"[..], "StateDirectory"),
        (b"/var/log/", "LogsDirectory"),
        (b"/var/cache/", "CacheDirectory"),
    ]
    .into_iter()
    .find_map(|(parent, option)| Some((option, folder_in(path, parent)?)))
}

/// The plain name of the folder directly below `parent` that holds `path`.
fn folder_in<'a>(path: &'a BytePath, parent: &[u8]) -> Option<&'a str> {
    let rest = path.as_bytes().strip_prefix(parent)?;
    let end = rest.iter().position(|byte| *byte == b'/')?;
    let name = std::str::from_utf8(rest.get(..end)?).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then_some(name)
}

/// What was written can't be executed, unless something was executed there.
fn no_exec(parts: &Parts<'_>, writes: &[Place], out: &mut DropIn) {
    let runs = |place: &[u8]| {
        parts.sandbox.executes_from.iter().any(|folder| {
            let folder = folder.as_bytes();
            folder.starts_with(place) || place.starts_with(folder)
        })
    };
    let mut words: Vec<String> = Vec::new();
    for place in [&b"/tmp/"[..], b"/var/tmp/", b"/dev/shm/"] {
        if !runs(place) {
            // A machine may lack one of them.
            words.extend(word::path(&place.into()).map(|word| format!("-{word}")));
        }
    }
    for place in writes.iter().filter(|place| run_folder(&place.path).is_none()) {
        let at = place.path.as_bytes();
        // A single file in a folder of programs: nothing to say about the others, and it itself was not executed.
        if at != b"/" && !runs(at) {
            words.extend(
                place
                    .word
                    .iter()
                    .filter(|word| !words.contains(&format!("-{word}")))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
    }
    if !words.is_empty() {
        let why = "Nothing was executed where it can write.";
        out.list("NoExecPaths", words.iter().map(String::as_str), why);
    }
}

/// Whether nothing in the folders of temporary files comes from others: what was read there was also made there, and
/// nobody else was called there.
fn is_tmp_its_own(parts: &Parts<'_>) -> bool {
    let in_tmp = |path: &[u8]| TEMPORARY.iter().any(|place| path.starts_with(place) && path != *place);
    let foreign = parts.needs.files.iter().any(|need| {
        let access = need.access();
        let path = need.path();
        let used = access.intersects(ANY) && !path.ends_with(b"/");
        used && in_tmp(path) && !access.intersects(Access::CREATE | Access::LINK)
    });
    let called = parts.needs.runs.iter().flat_map(|run| &run.network).any(|socket| {
        let path = socket.address.as_ref().and_then(|address| address.as_bytes().strip_prefix(b"unix:"));
        // Where it serves such a socket, others look for it there.
        path.is_some_and(in_tmp)
    });
    !foreign && !called
}

/// Devices that every service has.
const PLAIN_DEVICES: [&[u8]; 8] = [
    b"/dev/null",
    b"/dev/zero",
    b"/dev/full",
    b"/dev/random",
    b"/dev/urandom",
    b"/dev/tty",
    b"/dev/ptmx",
    b"/dev/log",
];

fn devices(parts: &Parts<'_>, out: &mut DropIn) {
    let others = |path: &[u8]| {
        path.starts_with(b"/dev/")
            && !path.ends_with(b"/")
            && !PLAIN_DEVICES.contains(&path)
            && ![&b"/dev/pts/"[..], b"/dev/shm/", b"/dev/mqueue/", b"/dev/hugepages/", b"/dev/fd/"]
                .iter()
                .any(|place| path.starts_with(place))
    };
    let executed = |path: &[u8]| path.starts_with(b"/dev/");
    if !parts.used(ANY, others) {
        if parts.used(Access::EXEC | Access::MAP_EXEC, executed) {
            out.set(
                "DevicePolicy",
                "closed",
                "It mapped a device executable, which PrivateDevices= forbids.",
            );
        } else {
            out.set("PrivateDevices", "yes", "It used no device but null, zero, random and terminals.");
        }
        return;
    }
    out.set("DevicePolicy", "closed", "It used the devices named here, and those that every service has.");
    out.line("DeviceAllow", "");
    for need in parts.needs.files.iter().filter(|need| need.access().intersects(ANY) && others(need.path())) {
        let access = if need.access().intersects(Access::WRITE | Access::APPEND) { "rw" } else { "r" };
        let path = BytePath::from(need.path());
        match word::path(&path).filter(|word| !word.starts_with('"')) {
            Some(word) => out.line("DeviceAllow", &format!("{word} {access}")),
            None => out.gaps.push(format!("DeviceAllow= can't name {path}")),
        }
    }
}

fn proc(parts: &Parts<'_>, out: &mut DropIn) {
    let init = |path: &[u8]| path == b"/proc/" || path.starts_with(b"/proc/1/");
    if parts.used(ANY, init) {
        out.comment("ProtectProc= is left out: it looked at the list of processes.");
    } else {
        out.set("ProtectProc", "invisible", "It looked for no processes of others.");
    }
    // /proc/mounts and /proc/net are links into a process's own folder, and hidden with all that is no process.
    let beyond = |path: &[u8]| {
        path.strip_prefix(b"/proc/").is_some_and(|rest| {
            let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            let (name, below) = rest.split_at(end);
            let own = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
            (!name.is_empty() && !own) || below.starts_with(b"/mounts") || below.starts_with(b"/net")
        })
    };
    if !parts.used(ANY, beyond) {
        out.set("ProcSubset", "pid", "It read nothing of /proc but processes.");
    }
}
