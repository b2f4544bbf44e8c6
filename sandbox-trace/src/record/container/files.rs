//! Containers by the files that their runtimes keep: Podman's and CRI-O's storage, containerd's tasks, and the state
//! of plain runc and crun; of the host's own and of users' rootless ones. What can't be read is taken for absent: a runtime writes while this reads.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Found, naming, oci,
    users::{self, User},
};
use crate::recording::Container;

/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 4096;

/// Where the runtimes keep their files.
#[derive(Debug, Clone)]
pub struct Places {
    /// Where Podman and CRI-O keep what outlives a boot.
    storage: PathBuf,
    /// Where they keep the rest.
    storage_run: PathBuf,
    /// Where containerd keeps its tasks.
    tasks: PathBuf,
    /// Where plain runc and crun keep their states, each in a folder of its name.
    run: PathBuf,
    /// The user whose they are; none for the host's own.
    owner: Option<u32>,
}

impl Places {
    /// The places below `root`; `/` but in tests.
    pub fn at(root: &Path) -> Self {
        Self {
            storage: root.join("var/lib/containers/storage"),
            storage_run: root.join("run/containers/storage"),
            tasks: root.join("run/containerd/io.containerd.runtime.v2.task"),
            run: root.join("run"),
            owner: None,
        }
    }

    /// The places of a user's rootless runtimes. Rootless containerd has its tasks in a mount namespace of its own.
    pub fn of_user(user: &User) -> Self {
        let nowhere = user.runtime_dir.join("none");
        Self {
            storage: user
                .home
                .as_ref()
                .map_or(nowhere.clone(), |home| home.join(".local/share/containers/storage")),
            storage_run: user.runtime_dir.join("containers"),
            tasks: nowhere,
            run: user.runtime_dir.clone(),
            owner: Some(user.uid),
        }
    }

    /// A graph driver's containers, of what a storage has.
    fn of_drivers(folder: &Path) -> [PathBuf; 2] {
        ["overlay-containers", "vfs-containers"].map(|driver| folder.join(driver))
    }

    fn plain_roots(&self) -> [(&'static str, PathBuf, &'static str); 2] {
        [("runc", self.run.join("runc"), "state.json"), ("crun", self.run.join("crun"), "status")]
    }

    /// What a runtime's file says of a container is what its user wants it to say.
    fn checked(&self, mut found: Found) -> Found {
        if let Some(uid) = self.owner {
            found.pid = found.pid.filter(|pid| users::is_in_namespace_of(*pid, uid));
            found.container.rootless = Some(true);
        }
        found
    }

    /// Whether any of these runtimes has ever been here.
    pub fn exist(&self) -> bool {
        let plain = self.plain_roots().map(|(_, folder, _)| folder);
        let [overlay, vfs] = Self::of_drivers(&self.storage);
        [overlay, vfs, self.tasks.clone()].into_iter().chain(plain).any(|folder| folder.is_dir())
    }

    /// Every container that they know.
    pub fn all(&self) -> Vec<Found> {
        let stored = self.stored().into_iter();
        let tasks = folders(&self.tasks)
            .into_iter()
            // Docker's own are asked from Docker.
            .filter(|namespace| !namespace.ends_with("moby"))
            .flat_map(|namespace| folders(&namespace))
            .filter_map(|task| task_of(&task));
        let plain = self.plain_roots().into_iter().flat_map(|(runtime, folder, file)| {
            folders(&folder).into_iter().filter_map(move |state| plain(runtime, &state, file, self.owner))
        });
        stored.chain(tasks).chain(plain).map(|found| self.checked(found)).collect()
    }

    /// The container with this id.
    pub fn by_id(&self, id: &str) -> Option<Found> {
        if !naming::is_hex(id) {
            return None;
        }
        let task = || {
            let namespaces =
                folders(&self.tasks).into_iter().filter(|namespace| !namespace.ends_with("moby"));
            namespaces.map(|namespace| namespace.join(id)).find_map(|task| task_of(&task))
        };
        let found = self.stored().into_iter().find(|found| found.container.id == id).or_else(task);
        // What a user says of a container counts for the user's own alone.
        found.map(|found| self.checked(found)).filter(|found| self.owner.is_none() || found.pid.is_some())
    }

    /// The container that plain runc or crun keeps under this name.
    pub fn plain(&self, name: &str) -> Option<Found> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return None;
        }
        self.plain_roots()
            .into_iter()
            .find_map(|(runtime, folder, file)| plain(runtime, &folder.join(name), file, self.owner))
            .map(|found| self.checked(found))
    }

    /// Podman's and CRI-O's.
    fn stored(&self) -> Vec<Found> {
        let runs = Self::of_drivers(&self.storage_run);
        let mut found = Vec::new();
        for (folder, run) in Self::of_drivers(&self.storage).iter().zip(&runs) {
            let list = json(&folder.join("containers.json"), self.owner);
            let entries = list.as_ref().and_then(Value::as_array).into_iter().flatten();
            found.extend(entries.take(MAX_ENTRIES).filter_map(|entry| self.stored_one(entry, run)));
        }
        found
    }

    fn stored_one(&self, entry: &Value, run: &Path) -> Option<Found> {
        let id = entry.get("id")?.as_str().filter(|id| naming::is_hex(id))?.to_owned();
        let texts = |value: Option<&Value>| -> Vec<String> {
            let list = value.and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let names = texts(entry.get("names"));
        // The engine's own notes, JSON in a string.
        let notes: Value = entry
            .get("metadata")
            .and_then(Value::as_str)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let note = |key: &str| notes.get(key).and_then(Value::as_str).map(str::to_owned);
        let is_pod = notes.get("pod-name").is_some();
        let data = run.join(&id).join("userdata");
        let mut container = Container {
            runtime: if is_pod { "cri-o" } else { "podman" }.into(),
            name: note("name").or_else(|| names.first().cloned()).unwrap_or_else(|| id.clone()),
            image: note("image-name"),
            image_id: entry.get("image").and_then(Value::as_str).map(|image| format!("sha256:{image}")),
            id,
            ..Container::default()
        };
        if let Some(config) = oci::read(&data, self.owner) {
            oci::describe(&config, &mut container);
        }
        let pid = number(&data.join("pidfile"), self.owner);
        let names = names.into_iter().chain([container.name.clone()]).collect();
        Some(Found { pid: pid.filter(|pid| lives(*pid)), names, container, restarting: false })
    }
}

/// One of containerd's tasks, by its bundle.
fn task_of(bundle: &Path) -> Option<Found> {
    let config = oci::read(bundle, None)?;
    let id = bundle.file_name()?.to_str()?.to_owned();
    let note = |name: &str| oci::annotation(&config, name);
    let cri = note("io.kubernetes.cri.container-name");
    let mut names: Vec<String> = cri.iter().chain(&note("nerdctl/name")).cloned().collect();
    if let (Some(pod), Some(name)) = (note("io.kubernetes.cri.sandbox-name"), &cri) {
        names.push(format!("{pod}/{name}"));
    }
    let mut container = Container {
        runtime: "containerd".into(),
        name: names.last().cloned().unwrap_or_else(|| id.clone()),
        image: note("io.kubernetes.cri.image-name"),
        id,
        ..Container::default()
    };
    oci::describe(&config, &mut container);
    let pid = number(&bundle.join("init.pid"), None);
    Some(Found { pid: pid.filter(|pid| lives(*pid)), names, container, restarting: false })
}

/// One of plain runc's or crun's, by its folder.
fn plain(runtime: &str, folder: &Path, file: &str, owner: Option<u32>) -> Option<Found> {
    let state = json(&folder.join(file), owner)?;
    let id = folder.file_name()?.to_str()?.to_owned();
    let pid = ["/init_process_pid", "/pid"].iter().find_map(|key| state.pointer(key)?.as_u64());
    let mut labels = state.pointer("/config/labels").and_then(Value::as_array).into_iter().flatten();
    let bundle = labels
        .find_map(|label| label.as_str()?.strip_prefix("bundle="))
        .or_else(|| state.get("bundle")?.as_str());
    let mut container =
        Container { runtime: runtime.into(), name: id.clone(), id: id.clone(), ..Container::default() };
    if let Some(config) = bundle.and_then(|bundle| oci::read(Path::new(bundle), owner)) {
        oci::describe(&config, &mut container);
    }
    let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| lives(*pid));
    Some(Found { pid, names: vec![id], container, restarting: false })
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).is_dir()
}

fn json(file: &Path, owner: Option<u32>) -> Option<Value> {
    serde_json::from_slice(&users::read(file, owner)?).ok()
}

/// A file that has a process's number in it.
fn number(file: &Path, owner: Option<u32>) -> Option<u32> {
    std::str::from_utf8(&users::read(file, owner)?).ok()?.trim().parse().ok()
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .take(MAX_ENTRIES)
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const CONFIG: &str = r#"{"root":{"readonly":true},"process":{"user":{"uid":1000,"gid":50},"apparmorProfile":"agent"},
        "linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO"},"namespaces":[{"type":"network"}]},
        "annotations":{"io.kubernetes.cri.container-name":"agent","io.kubernetes.cri.sandbox-name":"pod-7",
        "io.kubernetes.cri.image-name":"registry/agent:1"},
        "mounts":[{"destination":"/work","type":"bind","source":"/data","options":["rbind","ro"]},
        {"destination":"/proc","type":"proc","source":"proc"}]}"#;

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn podmans_containers_are_found_by_name_and_id() {
        let dir = tempfile::tempdir().unwrap();
        let entry = format!(
            r#"[{{"id":"{ID}","names":["agent"],"image":"abcd","metadata":"{{\"image-name\":\"docker.io/agent:1\",\"name\":\"agent\"}}"}}]"#
        );
        write(dir.path(), "var/lib/containers/storage/overlay-containers/containers.json", &entry);
        let data = format!("run/containers/storage/overlay-containers/{ID}/userdata");
        write(dir.path(), &format!("{data}/config.json"), CONFIG);
        write(dir.path(), &format!("{data}/pidfile"), &std::process::id().to_string());
        let places = Places::at(dir.path());
        let found = places.by_id(ID).unwrap();
        assert!(found.answers_to("agent") && found.answers_to("0123") && !found.answers_to("agen"));
        assert_eq!(found.pid, Some(std::process::id()));
        let container = found.container;
        assert_eq!(
            (container.runtime.as_str(), container.image.as_deref()),
            ("podman", Some("docker.io/agent:1"))
        );
        assert_eq!((container.user.as_deref(), container.read_only), (Some("1000:50"), Some(true)));
        let mounts: Vec<_> = container.mounts.iter().map(|m| (m.kind.as_str(), m.mode.as_str())).collect();
        assert_eq!(mounts, [("proc", "rw"), ("bind", "ro")]);
        assert_eq!(container.mounts[0].source, None);
    }

    #[test]
    fn a_users_containers_are_found_and_others_processes_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let user = User { uid, runtime_dir: dir.path().join("run"), home: Some(dir.path().join("home")) };
        let entry = format!(r#"[{{"id":"{ID}","names":["agent"],"metadata":"{{}}"}},{{"id":"../../x"}}]"#);
        // Podman's storage without overlay mounts, as old kernels made users have it.
        write(dir.path(), "home/.local/share/containers/storage/vfs-containers/containers.json", &entry);
        let data = format!("run/containers/vfs-containers/{ID}/userdata");
        write(dir.path(), &format!("{data}/config.json"), CONFIG);
        // A process that is in no namespace of the user's, unless that is root, whose the host's own is.
        write(dir.path(), &format!("{data}/pidfile"), &format!("{}\n", std::process::id()));
        write(dir.path(), "run/runc/plain/state.json", r#"{"init_process_pid":1}"#);
        let found = Places::of_user(&user).all();
        let names: Vec<_> = found.iter().map(|f| f.container.name.as_str()).collect();
        assert_eq!(names, ["agent", "plain"]);
        assert!(found.iter().all(|f| f.container.rootless == Some(true)));
        assert_eq!(found[0].pid.is_some(), uid == 0);
        assert_eq!(found[0].container.user.as_deref(), Some("1000:50"));
        // Files of somebody else's say nothing at all.
        assert!(Places::of_user(&User { uid: uid + 1, ..user }).all().is_empty());
    }

    #[test]
    fn containerds_tasks_answer_to_their_pod() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = "run/containerd/io.containerd.runtime.v2.task";
        write(dir.path(), &format!("{tasks}/k8s.io/{ID}/config.json"), CONFIG);
        write(dir.path(), &format!("{tasks}/moby/{}/config.json", ID.replace('0', "f")), CONFIG);
        let places = Places::at(dir.path());
        let [found] = places.all().try_into().unwrap();
        assert!(found.answers_to("pod-7/agent") && found.answers_to("agent") && found.answers_to(ID));
        assert_eq!(found.container.image.as_deref(), Some("registry/agent:1"));
        assert_eq!(found.pid, None);
        assert!(places.exist() && !Places::at(&dir.path().join("nothing")).exist());
    }

    #[test]
    fn plain_runtimes_have_names_alone() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle");
        write(&bundle, "config.json", CONFIG);
        let state = format!(
            r#"{{"init_process_pid":{},"config":{{"labels":["bundle={}"]}}}}"#,
            std::process::id(),
            bundle.display()
        );
        write(dir.path(), "run/runc/agent-1/state.json", &state);
        write(dir.path(), "run/crun/other/status", "{\"pid\":0}");
        let places = Places::at(dir.path());
        let found = places.plain("agent-1").unwrap();
        assert_eq!(found.container.apparmor.as_deref(), Some("agent"));
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(places.plain("other").unwrap().container.runtime, "crun");
        assert!(places.plain("../runc/agent-1").is_none() && places.plain("none").is_none());
        assert_eq!(places.all().len(), 2);
    }
}
