use std::collections::BTreeSet;

use super::*;
use crate::{
    compose::read as compose,
    docker_run,
    docker_syntax::Places,
    oci,
    recording::{Limits, samples},
    requirements,
    seccomp::capabilities::Capabilities,
};

fn places() -> Places {
    Places { here: Some("/project".into()), home: Some("/home/u".into()) }
}

fn subject(kind: &'static str, source: Source, written: Written) -> Subject {
    Subject {
        name: "agent".into(),
        kind,
        source,
        file: Some("the file".into()),
        written,
        held: None,
        filter: None,
        filter_unread: None,
    }
}

fn run(line: &str) -> Subject {
    let written = docker_run::read("run.sh", line, &places()).unwrap().remove(0);
    subject("docker-run", Source::DockerRun, written)
}

fn service(yaml: &str) -> Subject {
    let text = format!("services:\n  agent:\n{yaml}");
    let variables = compose::Variables::new();
    let source =
        compose::Source { name: "compose.yaml", text: &text, variables: &variables, places: &places() };
    let written = compose::read(source).unwrap().services.remove("agent").unwrap();
    subject("compose", Source::Compose, written)
}

fn bundle(json: &serde_json::Value) -> Subject {
    let mut written = Written::default();
    oci::describe(json, &mut written.container);
    subject("oci", Source::Oci, written)
}

/// A filter that lets so many calls through.
fn filter(allowed: usize) -> Filter {
    Filter { allowed: vec!["read"; allowed], dangerous: Vec::new(), of: 370 }
}

/// `severity id`, as the report sorts them.
fn ids(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.severity.name(), finding.id)).collect()
}

fn found(subject: &Subject, id: &str) -> Option<(Severity, String)> {
    let report = audit(std::slice::from_ref(subject), None);
    report
        .findings
        .into_iter()
        .find(|finding| finding.id == id)
        .map(|finding| (finding.severity, finding.evidence))
}

const HARDENED: &str = "docker run --name agent --cap-drop ALL --cap-add NET_BIND_SERVICE --read-only \
    --tmpfs /tmp:noexec,nosuid,nodev,size=100m -v ./config:/app/config:ro -v ./logs:/app/logs:rw --network none \
    --security-opt no-new-privileges --security-opt seccomp=s.json --security-opt apparmor=agent --memory 2g \
    --memory-swap 2g --cpus 2 --pids-limit 100 --user 1000:1000 --log-driver json-file --log-opt max-size=10m \
    --restart on-failure:3 agent@sha256:0123";

#[test]
fn every_check_has_one_name_and_says_what_to_do() {
    let ids: BTreeSet<&str> = checks::TABLE.iter().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks::TABLE.len());
    assert!(checks::TABLE.iter().all(|check| !check.why.is_empty() && !check.title.is_empty()));
    let open = run("docker run -v /:/host -v /run/docker.sock:/s -P --privileged image");
    let report = audit(&[open], None);
    assert!(report.findings.iter().all(|f| !f.fix.is_empty() && !f.evidence.is_empty()), "{report:#?}");
    // Every check is documented.
    let docs = include_str!("../../../docs/audit.md");
    for id in ids.iter().copied().chain(unused::TABLE.iter().map(|unused| unused.check.id)) {
        assert!(docs.contains(&format!("| `{id}` |")), "docs/audit.md has no row for {id}");
    }
}

#[test]
fn a_plain_line_has_findings_in_every_section_and_a_hardened_one_has_none_that_counts() {
    let report = audit(&[run("docker run image")], None);
    assert_eq!(
        ids(&report),
        [
            "medium capabilities-not-dropped",
            "medium no-new-privileges",
            "medium root-writable",
            "medium memory-limit",
            "medium pids-limit",
            "low network-egress",
            "low cpu-limit",
            "low seccomp",
            "low apparmor",
            "low image-mutable",
            "info init",
        ]
    );
    let unknown: Vec<&str> = report.unknown.iter().map(|decided| decided.id).collect();
    assert_eq!(unknown, ["user-root", "user-namespace", "host-cgroup", "log-limit", "healthcheck"]);
    assert!((3.0..7.0).contains(&report.score), "{}", report.score);

    let mut hardened = run(HARDENED);
    hardened.filter = Some(filter(90));
    let report = audit(&[hardened], None);
    assert_eq!(ids(&report), ["low writable-mount", "info init"]);
    assert!(report.score < 0.5, "{}", report.score);
}

#[test]
fn what_opens_the_host_is_critical_and_alone_enough() {
    let report = audit(
        &[run("docker run --privileged --pid=host --ipc=host --uts=host --network=host --cgroupns=host \
               -v /var/run/docker.sock:/var/run/docker.sock -v /:/host:ro -v ~/.ssh:/keys:ro -v ~:/home/user \
               --security-opt seccomp=unconfined --security-opt apparmor=unconfined --device /dev/sda \
               --sysctl kernel.msgmax=1 image")],
        None,
    );
    let ids = ids(&report);
    for id in [
        "critical privileged",
        "critical runtime-socket",
        "critical capabilities-dangerous",
        "critical devices",
        "critical sensitive-mount",
        "high sensitive-mount",
        "high secret-mount",
        "high kernel-paths",
        "high host-pid",
        "high host-network",
        "high seccomp",
        "medium host-ipc",
        "medium apparmor",
        "medium sysctls",
        "low host-uts",
        "low host-cgroup",
    ] {
        assert!(ids.iter().any(|own| own == id), "{id} is not in {ids:#?}");
    }
    assert!(report.score >= 9.0, "{}", report.score);
    // One open door in a house that is closed otherwise.
    let mut one = run(&HARDENED.replace("--read-only", "--read-only -v /run/docker.sock:/s:ro"));
    one.filter = Some(filter(90));
    let report = audit(&[one], None);
    assert!(report.score >= 9.0 && report.worst() == Some(Severity::Critical), "{report:#?}");
}

#[test]
fn a_service_is_judged_by_its_own_words_and_lines() {
    let subject = service(
        "    image: a\n    ports: ['8080:80', '127.0.0.1:1:1']\n    volumes: [/etc:/e:ro, ./x:/x]\n    \
         tmpfs: /t:exec\n    environment: {API_TOKEN: x, TOKEN_FILE: y}\n    cap_add: [SYS_PTRACE]\n    restart: always\n",
    );
    let report = audit(&[subject], None);
    let by_id = |id: &str| report.findings.iter().find(|finding| finding.id == id).unwrap();
    let ports = by_id("ports-exposed");
    assert_eq!((ports.line, ports.severity), (Some(4), Severity::Medium));
    assert_eq!(ports.evidence, "on all interfaces: 8080 to its 80/tcp");
    assert!(ports.fix.starts_with("ports: ["), "{}", ports.fix);
    assert_eq!(by_id("sensitive-mount").line, Some(5));
    assert_eq!(by_id("tmpfs-options").evidence, "/t lacks noexec, size=");
    assert_eq!(by_id("environment-secrets").evidence, "API_TOKEN");
    assert_eq!(by_id("capabilities-dangerous").severity, Severity::Critical);
    assert_eq!(by_id("restart-policy").severity, Severity::Info);
    // What is not there is found where the service begins.
    assert_eq!(by_id("memory-limit").line, Some(3));
}

#[test]
fn a_bundle_is_judged_by_what_it_gives() {
    let open = bundle(
        &serde_json::json!({"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}, "root": {}}),
    );
    let ids = ids(&audit(&[open], None));
    for id in [
        "critical capabilities-dangerous",
        "high kernel-paths",
        "high host-pid",
        "high host-network",
        "high seccomp",
        "medium user-root",
    ] {
        assert!(ids.iter().any(|own| own == id), "{id} is not in {ids:#?}");
    }
    assert!(!ids.iter().any(|id| id.ends_with("image-mutable") || id.ends_with("log-limit")), "{ids:?}");
}

/// A container as the hardened line asks for it, and as the kernel shows it.
fn held() -> Subject {
    let mut subject = run(HARDENED);
    let mount = |target: &str, read_only, options: &[&str]| HeldMount {
        target: target.into(),
        root: "/".into(),
        kind: "tmpfs".into(),
        read_only,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    subject.filter = Some(filter(90));
    subject.held = Some(Held {
        host_uid: 1000,
        own_uid: Some(1000),
        hosts_users: true,
        bounding: Capabilities::parse(&["NET_BIND_SERVICE".to_owned()]).unwrap(),
        no_new_privileges: true,
        label: Some("agent (enforce)".into()),
        mounts: vec![
            mount("/", true, &["ro"]),
            mount("/app/config", true, &["ro"]),
            mount("/tmp", false, &["noexec", "nosuid", "nodev", "size=102400k"]),
        ],
        limits: Limits {
            memory_bytes: Some(2 << 30),
            memory_swap_bytes: Some(2 << 30),
            cpu_millis: Some(2000),
            pids: Some(100),
            shm_bytes: None,
        },
        ..Held::default()
    });
    subject
}

#[test]
fn what_is_in_force_counts_and_a_difference_says_both() {
    let good = held();
    assert_eq!(ids(&audit(&[good], None)), ["low writable-mount", "info user-namespace", "info init"]);
    let mut bad = held();
    {
        let held = bad.held.as_mut().unwrap();
        held.own_uid = Some(0);
        held.host_uid = 0;
        held.bounding = Capabilities::parse(&["CHOWN".to_owned()]).unwrap();
        held.no_new_privileges = false;
        held.label = Some("agent (complain)".into());
        held.limits = Limits::default();
        held.hosts_namespaces.extend(["pid".to_owned(), "net".to_owned()]);
        held.writable.push("/proc/sys".into());
        held.devices.push("/dev/sda\n1".into());
        for mount in &mut held.mounts {
            mount.read_only = false;
            mount.options.clear();
        }
        let socket = HeldMount { target: "/x y".into(), root: "/docker.sock".into(), ..HeldMount::default() };
        held.mounts.push(socket);
    }
    bad.filter = None;
    let both = [
        ("user-root", Severity::Medium),
        ("capabilities-not-dropped", Severity::Medium),
        ("no-new-privileges", Severity::Medium),
        ("root-writable", Severity::Medium),
        ("memory-limit", Severity::Medium),
        ("pids-limit", Severity::Medium),
        ("cpu-limit", Severity::Low),
        ("host-pid", Severity::High),
        ("host-network", Severity::High),
        ("seccomp", Severity::High),
    ];
    for (id, severity) in both {
        let (found, evidence) = found(&bad, id).unwrap_or_else(|| panic!("{id}"));
        assert_eq!(found, severity, "{id}");
        assert!(evidence.starts_with("asked for: ") && evidence.contains("in force: "), "{id}: {evidence}");
    }
    assert_eq!(
        found(&bad, "apparmor").unwrap(),
        (Severity::Medium, "the profile only logs: agent (complain)".into())
    );
    assert_eq!(found(&bad, "kernel-paths").unwrap().0, Severity::High);
    assert_eq!(found(&bad, "devices").unwrap().1, "disks or the machine's memory: /dev/sda\\x0a1");
    assert_eq!(found(&bad, "runtime-socket").unwrap().1, "/x y is the socket /docker.sock");
    assert!(
        found(&bad, "writable-mount").unwrap().1.contains("/app/config (writable), asked for as read-only")
    );

    let mut without = held();
    without.held.as_mut().unwrap().label = None;
    assert_eq!(found(&without, "apparmor").unwrap().0, Severity::Info);
    without.filter = None;
    without.filter_unread = Some("it is frozen".into());
    let report = audit(&[without], None);
    assert!(
        report.unknown.iter().any(|decided| decided.id == "seccomp" && decided.evidence == "it is frozen")
    );
}

#[test]
fn filters_are_judged_by_what_they_let_through() {
    for (allowed, expected) in [
        (90, None),
        (290, Some(Severity::Low)),
        (301, Some(Severity::Low)),
        (340, Some(Severity::Medium)),
        (370, Some(Severity::High)),
    ] {
        let mut subject = run(HARDENED);
        subject.filter = Some(filter(allowed));
        assert_eq!(found(&subject, "seccomp").map(|(severity, _)| severity), expected, "{allowed}");
    }
    let of = |json: &str| {
        let profile = crate::seccomp::profile::from_json(json.as_bytes(), "p").unwrap();
        Filter::of_profile(&profile).unwrap().unwrap()
    };
    assert!(of(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).is_open());
    let narrow = of(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read","ptrace"],"action":"SCMP_ACT_ALLOW"},
           {"names":["mount"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    assert_eq!((narrow.allowed, narrow.dangerous), (vec!["mount", "ptrace", "read"], vec!["ptrace"]));
}

#[test]
fn recordings_tell_what_was_never_used() {
    let needs = requirements::fold(&[("r".into(), samples::calls(&["read"]))], false).unwrap();
    let mut subject = run(
        "docker run --cap-drop ALL --cap-add KILL --cap-add SYS_ADMIN -v ./a:/a -p 127.0.0.1:80:80 image",
    );
    subject.filter = Some(filter(3));
    subject.filter.as_mut().unwrap().allowed = vec!["read", "write", "mount"];
    let report = audit(&[subject], Some(&needs));
    let unused: Vec<(&str, &str)> = report
        .findings
        .iter()
        .filter(|finding| finding.id.starts_with("unused-"))
        .map(|finding| (finding.id, finding.evidence.as_str()))
        .collect();
    // What the recording did not observe is not called unused.
    let unknown: Vec<&str> =
        report.unknown.iter().filter(|d| d.id.starts_with("unused-")).map(|d| d.id).collect();
    assert!(
        unused.contains(&("unused-syscalls", "2 of the 3 calls that pass were never made")),
        "{unused:?}"
    );
    for (kind, id) in
        [("capabilities", "unused-capabilities"), ("files", "unused-mounts"), ("network", "unused-ports")]
    {
        let observed = !needs.unobserved.contains(kind);
        assert_eq!(unused.iter().any(|(own, _)| *own == id), observed, "{id}");
        assert_eq!(unknown.contains(&id), !observed, "{id}");
    }
}

#[test]
fn sarif_has_a_rule_and_a_place_for_every_finding() {
    let mut subject = service("    image: a\n    privileged: true\n");
    subject.file = Some("a b/compose.yaml".into());
    let report = audit(&[subject], None);
    let log = sarif::log(&report);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), report.findings.len());
    for result in results {
        let rule =
            &run["tool"]["driver"]["rules"][usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/compose.yaml");
        assert!(place["region"]["startLine"].as_u64() >= Some(3), "{place}");
        assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
    }
    let privileged = results.iter().find(|result| result["ruleId"] == "privileged").unwrap();
    assert_eq!(privileged["locations"][0]["physicalLocation"]["region"]["startLine"], 4);
}
