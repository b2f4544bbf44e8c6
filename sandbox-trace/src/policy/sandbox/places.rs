//! The file systems of a workload: whether its root may be read-only, what must be writable all the same, what is
//! mounted and how.

use std::collections::BTreeMap;

use super::{
    Because, Options, Source, Tmpfs, User, Volume, containers,
    written::{self, Folder},
};
use crate::{
    policy::{danger::Asked, danger_paths},
    recording::{Access, BytePath, Container, Mount, Storage, printable},
    requirements::Requirements,
};

const MIB: u64 = 1 << 20;
/// For a file system in memory whose use was not measured.
const UNMEASURED: u64 = 64 * MIB;
/// More than this is kept on the disk, in a volume.
const MOST_IN_MEMORY: u64 = 256 * MIB;

/// Folders of programs, libraries and settings: nothing is mounted over them.
const SYSTEM: [&[u8]; 13] = [
    b"/",
    b"/bin/",
    b"/boot/",
    b"/dev/",
    b"/etc/",
    b"/lib/",
    b"/lib32/",
    b"/lib64/",
    b"/sbin/",
    b"/sys/",
    b"/usr/",
    b"/var/",
    b"/var/lib/",
];

/// Files that the engine itself mounts, writable, into every container.
const ENGINES: [&[u8]; 3] = [b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf"];

/// The parts of the sandbox that are about files.
pub struct Places {
    pub read_only: Because<bool>,
    pub tmpfs: Vec<Because<Tmpfs>>,
    pub volumes: Vec<Because<Volume>>,
    pub devices: Vec<Because<String>>,
    pub writes: Vec<Because<BytePath>>,
    pub executes_from: Vec<BytePath>,
}

/// Whether a path is the kernel's and no file system's: what is written there is another matter.
pub fn is_kernels(path: &[u8]) -> bool {
    (path.starts_with(b"/proc/") || path.starts_with(b"/sys/") || path.starts_with(b"/dev/"))
        && !path.starts_with(b"/dev/shm/")
}

/// Tells them from the recorded accesses and from what was mounted.
pub fn places(
    needs: &Requirements,
    config: &Container,
    user: &User,
    options: &Options,
    asked: &mut Vec<Asked>,
    notes: &mut Vec<String>,
) -> Places {
    let mounts = Mounts::of(needs);
    let on_root = |path: &[u8]| {
        !is_kernels(path)
            && !path.starts_with(b"/dev/shm/")
            && !ENGINES.contains(&path)
            && mounts.find(path).is_none()
    };
    let (mut folders, byte_code) = written::folders(&needs.files, on_root);
    written::look_below(&needs.files, &mut folders);
    let storage = Measured::of(needs);
    let mut out = Writable { tmpfs: Vec::new(), volumes: Vec::new(), on_root: Vec::new() };
    mounts.keep(needs, config, &storage, options, &mut out, asked, notes);
    let maker = Maker { needs, user, options, storage: &storage };
    maker.make(&folders, &mut out, notes);
    out.moves(needs, notes);
    if byte_code {
        notes.push(
            "Python wrote compiled modules beside their sources: it goes on without, and starts faster if the image \
             has them (python3 -m compileall)"
                .into(),
        );
    }
    let read_only = match out.on_root.as_slice() {
        [] => {
            let why = match out.tmpfs.len() + out.volumes.iter().filter(|v| v.value.writable).count() {
                0 => "nothing was written",
                _ => "all that was written lies in the places named here",
            };
            Because::new(true, why)
        }
        [first, ..] => {
            notes.push(format!(
                "the root file system must stay writable for {first}: let the workload write to a folder of its own"
            ));
            Because::new(false, format!("nothing can be mounted over what is written: {first}"))
        }
    };
    let writes = writes(needs);
    let executes_from = {
        let mut all = folders_of_own(needs, &writes);
        written::look_below(&needs.files, &mut all);
        all.into_iter().filter(|(_, folder)| folder.runs).map(|(path, _)| path).collect()
    };
    Places {
        read_only,
        tmpfs: out.tmpfs,
        volumes: out.volumes,
        devices: devices(needs, config, notes),
        writes,
        executes_from,
    }
}

/// The writable places.
struct Writable {
    tmpfs: Vec<Because<Tmpfs>>,
    volumes: Vec<Because<Volume>>,
    /// What is written where nothing can be mounted, each in words.
    on_root: Vec<String>,
}

impl Writable {
    /// Says where a rename, which worked in one file system, must become a copy between two.
    fn moves(&self, needs: &Requirements, notes: &mut Vec<String>) {
        let places = self
            .tmpfs
            .iter()
            .map(|one| &one.value.path)
            .chain(self.volumes.iter().map(|one| &one.value.target));
        for place in places {
            let below = |folder: &&Vec<u8>| folder.starts_with(place.as_bytes());
            let into = needs.moves.into.iter().any(|folder| below(&folder));
            let from = needs.moves.from.iter().any(|folder| below(&folder));
            let others = needs.moves.from.iter().any(|folder| !below(&folder));
            // Old names within the place may explain all new ones.
            if into && !from && others {
                notes.push(format!(
                    "files were renamed into {place} from elsewhere: there it is another file system, and a program \
                     that does not copy instead (EXDEV) fails"
                ));
            }
        }
    }
}

/// Peaks by folder.
struct Measured<'a>(BTreeMap<&'a [u8], &'a Storage>);

impl<'a> Measured<'a> {
    fn of(needs: &'a Requirements) -> Self {
        let mut out: BTreeMap<&[u8], &Storage> = BTreeMap::new();
        for one in needs.runs.iter().flat_map(|run| &run.resources.storage) {
            let known = out.entry(one.path.as_bytes()).or_insert(one);
            if one.peak_bytes > known.peak_bytes {
                *known = one;
            }
        }
        Self(out)
    }

    /// What a folder held at most. A folder that was not looked at itself held what those below it did together.
    fn peak(&self, folder: &[u8]) -> Option<u64> {
        if let Some(own) = self.0.get(folder) {
            return Some(own.peak_bytes);
        }
        let mut sum: Option<u64> = None;
        let mut counted: &[u8] = b"";
        for (path, one) in self.0.range(folder..).take_while(|(path, _)| path.starts_with(folder)) {
            // What is below a folder that counts is counted with it.
            if counted.is_empty() || !path.starts_with(counted) {
                sum = Some(sum.unwrap_or(0).saturating_add(one.peak_bytes));
                counted = path;
            }
        }
        sum
    }
}

/// Makes places for what is written in the root file system.
struct Maker<'a> {
    needs: &'a Requirements,
    user: &'a User,
    options: &'a Options,
    storage: &'a Measured<'a>,
}

impl Maker<'_> {
    fn make(&self, folders: &BTreeMap<BytePath, Folder>, out: &mut Writable, notes: &mut Vec<String>) {
        let mut above: Option<BytePath> = None;
        for (path, folder) in folders {
            if above.as_ref().is_some_and(|above| path.as_bytes().starts_with(above.as_bytes())) {
                continue;
            }
            let bytes = path.as_bytes();
            let is_system =
                SYSTEM.contains(&bytes) || bytes.starts_with(b"/usr/") || bytes.starts_with(b"/etc/");
            let children = || folders.range(path.clone()..).skip(1);
            let child_is_written =
                || children().next().is_some_and(|(child, _)| child.as_bytes().starts_with(bytes));
            if folder.makes_folders_only
                && child_is_written()
                && (is_system || folder.holds_content.is_some())
            {
                // The folders that it makes get a place of their own.
                notes.push(format!(
                    "{} is made by the workload and is there already when it starts",
                    folder.example
                ));
                continue;
            }
            if is_system {
                out.on_root.push(format!("{path}: {}", folder.why()));
                continue;
            }
            self.place(path, folder, out, notes);
            above = Some(path.clone());
        }
    }

    fn place(&self, path: &BytePath, folder: &Folder, out: &mut Writable, notes: &mut Vec<String>) {
        let peak = self.storage.peak(path.as_bytes());
        let needed = peak.map(|peak| self.options.with_headroom(peak).max(MIB).next_multiple_of(MIB));
        let bytes = needed.unwrap_or(UNMEASURED);
        let target = without_slash(path);
        let on_disk = match (&folder.holds_content, bytes > MOST_IN_MEMORY) {
            (Some(content), _) => {
                Some(format!("{content} was there before; the volume is filled from the image"))
            }
            (None, true) => {
                Some(format!("{} MiB are too much for memory", crate::output::grouped(bytes / MIB)))
            }
            (None, false) => None,
        };
        if let Some(reason) = on_disk {
            let source = Source::Named(String::from_utf8_lossy(&volume_name(target.as_bytes())).into_owned());
            let why = format!("{}; {reason}", folder.why());
            let volume = Volume { target, source, writable: true, exec: folder.runs };
            out.volumes.push(Because::new(volume, why));
            return;
        }
        let size = if let Some(peak) = peak {
            format!(
                "at most {} KiB were used; {} % headroom",
                crate::output::grouped(peak.div_ceil(1024)),
                self.options.headroom
            )
        } else {
            notes.push(format!("how much {target} held was not measured: it gets {} MiB", UNMEASURED / MIB));
            "its use was not measured".into()
        };
        let run = if folder.runs { "; files in it were executed" } else { "" };
        let tmpfs = self.tmpfs(target, bytes, folder.runs);
        out.tmpfs.push(Because::new(tmpfs, format!("{}; {size}{run}", folder.why())));
    }

    fn tmpfs(&self, path: BytePath, bytes: u64, exec: bool) -> Tmpfs {
        const STICKY: u32 = 0o1777;
        let shared = [b"/tmp".as_slice(), b"/var/tmp", b"/run", b"/var/run"].contains(&path.as_bytes());
        let users: std::collections::BTreeSet<u32> =
            self.needs.runs.iter().flat_map(|run| &run.credentials).map(|one| one.uid).collect();
        let (mode, owner) = match self.user.ids {
            _ if shared || users.len() > 1 => (STICKY, None),
            Some((0, _)) => (0o755, None),
            Some(ids) => (0o700, Some(ids)),
            None if self.user.root => (0o755, None),
            None => (STICKY, None),
        };
        Tmpfs { path, bytes, exec, mode, owner }
    }
}

fn without_slash(path: &BytePath) -> BytePath {
    let bytes = path.as_bytes();
    bytes.strip_suffix(b"/").unwrap_or(bytes).into()
}

/// A volume's name for a path: `app-data` for `/app/data`.
fn volume_name(path: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .iter()
        .map(|byte| if byte.is_ascii_alphanumeric() || b"_.".contains(byte) { *byte } else { b'-' })
        .collect();
    // The engine wants a letter or digit first.
    if name.first().is_some_and(u8::is_ascii_alphanumeric) { name } else { [b"v".as_slice(), &name].concat() }
}

/// What was mounted, by target.
struct Mounts(BTreeMap<Vec<u8>, Mount>);

impl Mounts {
    fn of(needs: &Requirements) -> Self {
        let all = containers(&needs.runs).flat_map(|container| &container.mounts);
        let mut out = BTreeMap::new();
        // What every OCI configuration lists is the kernel's or the runtime's.
        for mount in all.filter(|mount| matches!(mount.kind.as_str(), "bind" | "volume" | "tmpfs")) {
            let target = without_slash(&mount.target).as_bytes().to_vec();
            if !is_kernels(&[&target[..], b"/"].concat()) && target != b"/dev" && target != b"/dev/shm" {
                out.entry(target).or_insert_with(|| mount.clone());
            }
        }
        Self(out)
    }

    /// The mount that a path is on.
    fn find(&self, path: &[u8]) -> Option<&Mount> {
        let mut end = path.len();
        loop {
            let at = path.get(..end)?;
            if let Some(mount) = self.0.get(at) {
                return Some(mount);
            }
            end = at.iter().rposition(|byte| *byte == b'/')?;
        }
    }

    /// Keeps what was mounted: read-only where nothing was written.
    #[allow(clippy::too_many_arguments, reason = "it is one step of `places`, which has them all")]
    fn keep(
        &self,
        needs: &Requirements,
        config: &Container,
        storage: &Measured<'_>,
        options: &Options,
        out: &mut Writable,
        asked: &mut Vec<Asked>,
        notes: &mut Vec<String>,
    ) {
        let used = self.uses(needs);
        for (target, mount) in &self.0 {
            let path = BytePath::from(target.as_slice());
            let uses = used.get(target).cloned().unwrap_or_default();
            let why = uses.why();
            if let Some(danger) = dangerous(mount) {
                let connected = connected(needs, &path);
                let allowed =
                    options.allow.contains(danger.name) || options.allow.contains(path.to_string().as_str());
                if uses.access.is_empty() && !connected {
                    notes.push(format!(
                        "{path} was mounted and never used: it is left out, as it {}",
                        danger.reason
                    ));
                    continue;
                } else if !allowed {
                    asked.push(Asked {
                        what: path.to_string(),
                        who: uses.who.clone().unwrap_or_else(|| "a connection to it".into()),
                        first_ms: None,
                        reason: danger.reason.into(),
                    });
                    continue;
                }
            }
            let writable = uses.access.intersects(Access::CHANGE);
            let exec = uses.access.intersects(Access::EXEC.union(Access::MAP_EXEC));
            if mount.kind == "tmpfs" {
                let folder = [target.as_slice(), b"/"].concat();
                let peak = storage.peak(&folder);
                let configured = configured_size(mount);
                let bytes = peak
                    .map(|peak| options.with_headroom(peak).max(MIB).next_multiple_of(MIB))
                    .or(configured)
                    .unwrap_or(UNMEASURED);
                let size = match (peak, configured) {
                    (Some(peak), _) => {
                        format!("at most {} KiB were used", crate::output::grouped(peak.div_ceil(1024)))
                    }
                    (None, Some(_)) => "its size is as it was started".into(),
                    (None, None) => "its use was not measured".to_owned(),
                };
                let mode = option(mount, "mode=")
                    .and_then(|mode| u32::from_str_radix(mode, 8).ok())
                    .unwrap_or(0o1777);
                let number = |name: &str| option(mount, name).and_then(|id| id.parse().ok());
                let owner = number("uid=").map(|uid| (uid, number("gid=").unwrap_or(0)));
                let tmpfs = Tmpfs { path, bytes, exec, mode, owner };
                out.tmpfs.push(Because::new(tmpfs, format!("it was mounted; {why}; {size}")));
                continue;
            }
            let anonymous =
                |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let source = match (&mount.volume, mount.kind.as_str(), &mount.source) {
                (Some(name), _, _) if !anonymous(name) => Source::Named(name.clone()),
                (_, "volume", _) => Source::Anonymous,
                (_, _, Some(source)) => Source::Host(source.clone()),
                _ => Source::Anonymous,
            };
            let from_image = config.image_defaults.as_ref().is_some_and(|image| {
                image.volumes.iter().any(|volume| volume.as_bytes() == target.as_slice())
            });
            let image = if from_image { "; the image asks for a volume here" } else { "" };
            let volume = Volume { target: path, source, writable, exec };
            out.volumes.push(Because::new(volume, format!("{why}{image}")));
        }
        out.tmpfs.sort();
        out.volumes.sort();
    }

    /// What was done below each mount.
    fn uses(&self, needs: &Requirements) -> BTreeMap<Vec<u8>, Uses> {
        let mut out: BTreeMap<Vec<u8>, Uses> = BTreeMap::new();
        for need in needs.files.iter() {
            let Some(mount) = self.find(need.path()) else { continue };
            let target = without_slash(&mount.target).as_bytes().to_vec();
            let uses = out.entry(target).or_default();
            uses.access |= need.access();
            uses.paths += 1;
            if need.access().intersects(Access::CHANGE) {
                uses.written += 1;
                uses.example.get_or_insert_with(|| need.path().into());
                uses.who.get_or_insert_with(|| need.evidence(Access::CHANGE).who());
            } else if uses.who.is_none() && uses.reader.is_none() {
                uses.reader = Some(need.evidence(need.access()).who());
            }
        }
        out
    }
}

/// What was done below a mount.
#[derive(Debug, Clone, Default)]
struct Uses {
    access: Access,
    paths: u64,
    written: u64,
    example: Option<BytePath>,
    who: Option<String>,
    reader: Option<String>,
}

impl Uses {
    fn why(&self) -> String {
        match (&self.example, self.paths) {
            (Some(example), _) => format!(
                "{} of {} written, such as {example} (by {})",
                crate::output::grouped(self.written),
                crate::output::counted(self.paths, "path"),
                self.who.as_deref().unwrap_or_default()
            ),
            (None, 0) => "nothing in it was opened, though it may have been looked for".into(),
            (None, paths) => format!(
                "{} read, none written (by {})",
                crate::output::counted(paths, "path"),
                self.reader.as_deref().unwrap_or_default()
            ),
        }
    }
}

fn dangerous(mount: &Mount) -> Option<danger_paths::DangerousPath> {
    let any = Access::READ.union(Access::WRITE);
    let source = mount.source.as_ref().and_then(|source| danger_paths::of(source.as_bytes(), any));
    source.or_else(|| danger_paths::of(mount.target.as_bytes(), any))
}

/// Whether the target connected to the socket at `path`.
fn connected(needs: &Requirements, path: &BytePath) -> bool {
    let address = [b"unix:".as_slice(), path.as_bytes()].concat();
    needs
        .runs
        .iter()
        .flat_map(|run| &run.network)
        .any(|one| one.address.as_ref().is_some_and(|own| own.as_bytes() == address.as_slice()))
}

fn option<'a>(mount: &'a Mount, name: &str) -> Option<&'a str> {
    mount.options.iter().find_map(|option| option.strip_prefix(name))
}

/// `size=64m`, in bytes.
fn configured_size(mount: &Mount) -> Option<u64> {
    let text = option(mount, "size=")?.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)?.trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => MIB,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Every place that was written to: folders in which names were made, and files that were there before.
fn writes(needs: &Requirements) -> Vec<Because<BytePath>> {
    let (folders, _) = written::folders(&needs.files, |path| !is_kernels(path));
    let mut out: Vec<Because<BytePath>> = Vec::new();
    for (path, folder) in folders {
        if !out.last().is_some_and(|last| path.as_bytes().starts_with(last.value.as_bytes())) {
            out.push(Because::new(path, folder.why()));
        }
    }
    out
}

fn folders_of_own(needs: &Requirements, writes: &[Because<BytePath>]) -> BTreeMap<BytePath, Folder> {
    let (folders, _) = written::folders(&needs.files, |path| !is_kernels(path));
    folders.into_iter().filter(|(path, _)| writes.iter().any(|one| one.value == *path)).collect()
}

/// The devices that it was given and that it opened.
fn devices(needs: &Requirements, config: &Container, notes: &mut Vec<String>) -> Vec<Because<String>> {
    let mut out = Vec::new();
    for device in &config.devices {
        let inside = device.split(':').nth(1).unwrap_or(device);
        let used = needs.files.iter().find(|need| {
            need.path() == inside.as_bytes() || need.path().starts_with(&[inside.as_bytes(), b"/"].concat())
        });
        match used {
            Some(need) => {
                let who = need.evidence(need.access()).who();
                out.push(Because::new(device.clone(), format!("{} {} (by {who})", inside, need.access())));
            }
            None => notes
                .push(format!("the device {} was given and never opened: it is left out", printable(inside))),
        }
    }
    out
}
