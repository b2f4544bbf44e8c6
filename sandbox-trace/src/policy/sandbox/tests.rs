use super::*;
use crate::{
    recording::{Credential, ImageDefaults, Mount, Recording, Storage, samples},
    requirements::fold,
};

/// A run of a container, with these accesses: a letter each, and a path.
fn run(files: &[(&str, &str)]) -> Recording {
    let mut recording = samples::calls(&["read", "write"]);
    recording.target.container = Some(Container {
        runtime: "docker".into(),
        name: "agent".into(),
        image: Some("agent:1".into()),
        ..Container::default()
    });
    recording.files = files.iter().map(|(access, path)| samples::file(*path, access)).collect();
    recording.credentials = vec![Credential { uid: 1000, gid: 1000, by: vec![0], runs: None }];
    recording
}

fn container(recording: &mut Recording) -> &mut Container {
    recording.target.container.as_mut().unwrap()
}

fn socket(recording: &mut Recording, operation: &str, address: &str) {
    recording.network.push(samples::socket(operation, Some(address.into())));
}

fn mount(kind: &str, source: &str, target: &str) -> Mount {
    let source = Some(source).filter(|source| !source.is_empty()).map(Into::into);
    Mount { target: target.into(), source, kind: kind.into(), mode: "rw".into(), ..Mount::default() }
}

fn made(recording: Recording, options: &Options) -> Result<Sandbox> {
    sandbox(&fold(&[("r".into(), recording)], false).unwrap(), options)
}

fn plain(recording: Recording) -> Sandbox {
    made(recording, &Options { headroom: 100, ..Options::default() }).unwrap()
}

fn tmpfs(sandbox: &Sandbox) -> Vec<(String, u64, bool, u32)> {
    let of = |one: &Because<Tmpfs>| {
        let Tmpfs { path, bytes, exec, mode, .. } = &one.value;
        (path.to_string(), *bytes >> 20, *exec, *mode)
    };
    sandbox.tmpfs.iter().map(of).collect()
}

#[test]
fn what_is_not_written_is_read_only() {
    let mut recording = run(&[("r", "/etc/passwd"), ("w", "/dev/null"), ("w", "/proc/self/comm")]);
    container(&mut recording).mounts = vec![mount("bind", "/srv/config", "/app/config")];
    let sandbox = plain(recording);
    assert!(sandbox.read_only.value && sandbox.tmpfs.is_empty());
    assert!(!sandbox.volumes[0].value.writable);
    assert_eq!(sandbox.network.value, Network::None);
    assert!(sandbox.capabilities.is_empty());
}

#[test]
fn written_folders_get_memory_and_executed_ones_may_be_executed() {
    let mut recording = run(&[
        ("wc", "/tmp/a"),
        ("wcd", "/tmp/deep/b"),
        ("c", "/tmp/deep/"),
        ("wcx", "/work/out/program"),
        ("r", "/work/in"),
    ]);
    recording.resources.storage = vec![
        Storage { path: "/tmp/".into(), peak_bytes: 5 << 20, peak_files: 3 },
        Storage { path: "/tmp/deep/".into(), peak_bytes: 4 << 20, peak_files: 1 },
    ];
    let sandbox = plain(recording);
    let expected = [("/tmp".to_owned(), 10, false, 0o1777), ("/work/out".to_owned(), 64, true, 0o700)];
    assert_eq!(tmpfs(&sandbox), expected);
    assert_eq!(sandbox.tmpfs[1].value.owner, Some((1000, 1000)));
    assert_eq!(sandbox.executes_from, ["/work/out/".into()]);
    assert!(sandbox.notes.iter().any(|note| note.contains("/work/out held was not measured")));
}

#[test]
fn content_of_the_image_is_not_hidden() {
    let sandbox = plain(run(&[("wc", "/app/data/new"), ("r", "/app/data/seed"), ("r", "/app/code.py")]));
    assert!(sandbox.tmpfs.is_empty());
    let volume = &sandbox.volumes[0];
    assert_eq!(volume.value.target, "/app/data".into());
    assert_eq!((&volume.value.source, volume.value.writable), (&Source::Named("app-data".into()), true));
    assert!(volume.why.contains("/app/data/seed was there before"), "{}", volume.why);
}

#[test]
fn a_folder_that_is_made_beside_code_gets_a_place_of_its_own() {
    let sandbox = plain(run(&[("c", "/app/state/"), ("wc", "/app/state/db"), ("r", "/app/code.py")]));
    assert_eq!(tmpfs(&sandbox)[0].0, "/app/state");
    assert!(sandbox.read_only.value);
    let sandbox = plain(run(&[("wc", "/app/log"), ("r", "/app/code.py")]));
    assert_eq!(sandbox.volumes[0].value.target, "/app".into());
}

#[test]
fn what_is_written_among_programs_keeps_the_root_writable() {
    for path in ["/usr/lib/x/cache", "/log", "/etc/mtab"] {
        let sandbox = plain(run(&[("wc", path)]));
        assert!(!sandbox.read_only.value, "{path}");
        assert!(sandbox.notes.iter().any(|note| note.contains(path)), "{path}: {:?}", sandbox.notes);
    }
    // Python goes on without its compiled modules, and the engine's own files are writable.
    let sandbox = plain(run(&[("wc", "/usr/lib/python3/__pycache__/a.pyc"), ("w", "/etc/hosts")]));
    assert!(sandbox.read_only.value);
}

#[test]
fn mounts_are_writable_where_they_were_written() {
    let mut recording = run(&[("wc", "/app/logs/x"), ("r", "/app/logsx"), ("rx", "/app/bin/tool")]);
    container(&mut recording).mounts = vec![
        mount("bind", "/srv/logs", "/app/logs"),
        mount("bind", "/srv/bin", "/app/bin"),
        Mount {
            volume: Some("cache".into()),
            ..mount("volume", "/var/lib/docker/volumes/cache/_data", "/cache")
        },
        mount("tmpfs", "", "/run"),
        mount("bind", "/proc", "/proc"),
        mount("bind", "/var/run/docker.sock", "/var/run/docker.sock"),
    ];
    let sandbox = plain(recording);
    let volumes: Vec<(String, bool, bool)> = sandbox
        .volumes
        .iter()
        .map(|one| (one.value.target.to_string(), one.value.writable, one.value.exec))
        .collect();
    let expected = [("/app/bin", false, true), ("/app/logs", true, false), ("/cache", false, false)];
    assert_eq!(volumes, expected.map(|(path, w, x)| (path.to_owned(), w, x)));
    assert_eq!(sandbox.volumes[2].value.source, Source::Named("cache".into()));
    assert_eq!(tmpfs(&sandbox)[0].0, "/run");
    assert!(sandbox.notes.iter().any(|note| note.contains("docker.sock was mounted and never used")));
}

#[test]
fn a_socket_of_the_engine_that_was_used_is_refused() {
    let mut recording = run(&[("r", "/a")]);
    container(&mut recording).mounts = vec![mount("bind", "/var/run/docker.sock", "/var/run/docker.sock")];
    socket(&mut recording, "connect", "unix:/var/run/docker.sock");
    let error = made(recording.clone(), &Options::default()).unwrap_err();
    assert_eq!(error.exit(), crate::error::Exit::Refused);
    let allowed = Options { allow: ["/var/run/docker.sock".to_owned()].into(), ..Options::default() };
    assert_eq!(made(recording, &allowed).unwrap().volumes.len(), 1);
}

#[test]
fn ports_are_published_on_loopback_and_only_if_they_are_served() {
    let mut recording = run(&[("r", "/a")]);
    socket(&mut recording, "bind", "0.0.0.0:18789");
    let port = |container| Port { container, protocol: "tcp".into(), host_ip: None, host: Some(1) };
    container(&mut recording).ports = vec![port(18789), port(9)];
    let sandbox = plain(recording.clone());
    assert_eq!(sandbox.ports.len(), 1);
    let expected = Port { host_ip: Some("127.0.0.1".into()), ..port(18789) };
    assert_eq!(sandbox.ports[0].value, expected);
    assert_eq!(sandbox.network.value, Network::Bridge(None));
    assert!(sandbox.notes.iter().any(|note| note.starts_with("port 9/tcp was published, but")));
    let open = Options { allow: [network::ALL_INTERFACES.to_owned()].into(), ..Options::default() };
    assert_eq!(made(recording, &open).unwrap().ports[0].value.host_ip, None);
}

#[test]
fn the_network_is_none_unless_somebody_outside_is_there() {
    let network = |uses: &[(&str, &str)], mode: &str| {
        let mut recording = run(&[("r", "/a")]);
        for (operation, address) in uses {
            socket(&mut recording, operation, address);
        }
        container(&mut recording).network_mode = Some(mode.into());
        made(recording, &Options::default()).map(|sandbox| sandbox.network.value)
    };
    let loopback = [("bind", "127.0.0.1:0"), ("connect", "127.0.0.1:4711")];
    assert_eq!(network(&loopback, "default").unwrap(), Network::None);
    assert_eq!(network(&[("connect", "10.0.0.5:5432")], "bridge").unwrap(), Network::Bridge(None));
    assert_eq!(network(&[("connect", "127.0.0.11:53")], "bridge").unwrap(), Network::Bridge(None));
    assert_eq!(network(&[], "backend").unwrap(), Network::Bridge(Some("backend".into())));
    assert_eq!(network(&loopback, "host").unwrap(), Network::None);
    // A service of the host that is reached over its loopback.
    let refused = network(&[("connect", "127.0.0.1:5432")], "host").unwrap_err();
    assert_eq!(refused.exit(), crate::error::Exit::Refused);
}

#[test]
fn limits_are_peaks_with_headroom_and_files_in_memory() {
    let mut recording = run(&[("wc", "/tmp/a")]);
    recording.resources.memory_peak_bytes = Some(100 << 20);
    recording.resources.pids_peak = Some(3);
    recording.resources.cpu_peak_millis = Some(1230);
    recording.resources.storage = vec![Storage { path: "/tmp/".into(), peak_bytes: 1 << 20, peak_files: 1 }];
    let limits = plain(recording.clone()).limits;
    assert_eq!(limits.memory_bytes.unwrap().value, 202 << 20);
    assert_eq!(limits.pids.unwrap().value, 11);
    assert_eq!(limits.cpu_millis.unwrap().value, 2500);
    let exact = made(recording, &Options::default()).unwrap().limits;
    assert_eq!(exact.memory_bytes.unwrap().value, 101 << 20);
}

#[test]
fn what_the_image_brings_along_is_left_to_it() {
    let mut recording = run(&[("r", "/a")]);
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let own = container(&mut recording);
    own.command = words("python3 agent.py --serve");
    own.entrypoint_words = 2;
    own.user = Some("1000".into());
    own.working_dir = Some("/app".into());
    own.image_defaults = Some(ImageDefaults {
        entrypoint: words("python3 agent.py"),
        command: words("--once"),
        user: Some("1000".into()),
        working_dir: Some("/app".into()),
        ..ImageDefaults::default()
    });
    let sandbox = plain(recording);
    assert_eq!(sandbox.entrypoint, None);
    assert_eq!(sandbox.command.unwrap().value, ["--serve"]);
    assert_eq!((sandbox.user.value.spec, sandbox.user.value.root), (None, false));
    assert_eq!(sandbox.working_dir, None);
}

#[test]
fn root_stays_root_and_is_told_what_stands_in_the_way() {
    let mut recording = run(&[("wc", "/app/logs/x")]);
    recording.credentials = vec![Credential { uid: 0, gid: 0, by: vec![0], runs: None }];
    let sandbox = plain(recording.clone());
    assert!(sandbox.user.value.root);
    assert!(sandbox.user.value.blockers[0].contains("/app/logs/x"));
    let asked = Options { user: Some("1000".into()), ..Options::default() };
    assert_eq!(made(recording.clone(), &asked).unwrap().user.value.spec.as_deref(), Some("1000:1000"));
    let wrong = Options { user: Some("agent".into()), ..Options::default() };
    assert_eq!(made(recording, &wrong).unwrap_err().exit(), crate::error::Exit::Usage);
}

#[test]
fn renames_into_another_file_system_are_told() {
    let mut recording = run(&[("rwd", "/stage/x"), ("wc", "/app/data/x")]);
    for file in &mut recording.files {
        file.operations = vec!["rename".into()];
    }
    let notes = plain(recording).notes;
    assert!(notes.iter().any(|note| note.contains("renamed into /app/data from elsewhere")), "{notes:?}");
}

#[test]
fn hostile_text_stays_on_its_line() {
    let mut recording = run(&[("wc", "/tmp/a\nb\u{1b}[2J")]);
    container(&mut recording).name = "--privileged\n".into();
    let sandbox = plain(recording);
    assert_eq!(sandbox.name, "privileged");
    assert!(!sandbox.tmpfs[0].why.contains(['\n', '\u{1b}']));
    let wrong = Options { name: Some("a b".into()), ..Options::default() };
    assert!(made(run(&[("r", "/a")]), &wrong).is_err());
}

#[test]
fn what_was_not_observed_is_not_taken_away() {
    let mut recording = run(&[("r", "/a")]);
    recording.host.observed.retain(|kind| kind != "capabilities");
    assert!(made(recording.clone(), &Options::default()).is_ok());
    recording.credentials[0].uid = 0;
    let error = made(recording.clone(), &Options::default()).unwrap_err();
    assert_eq!(error.exit(), crate::error::Exit::Incomplete);
    let accepted = Options { allow_incomplete: true, ..Options::default() };
    assert!(made(recording, &accepted).is_ok());
}
