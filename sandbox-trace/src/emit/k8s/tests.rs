use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    apparmor::pattern::Pattern,
    emit::testing::{because, calls, sandbox},
    policy::{
        generalize::FileRule,
        sandbox::{Connect, Network, Source, User},
    },
    recording::Container,
};

fn apparmor() -> AppArmorPolicy {
    let mut policy = AppArmorPolicy {
        network: BTreeSet::from(["network inet stream,".into(), "network unix stream,".into()]),
        capabilities: BTreeSet::from(["net_bind_service"]),
        ..AppArmorPolicy::default()
    };
    for (path, access) in
        [("/usr/bin/agent", "rxm"), ("/lib/x.so", "rm"), ("/etc/passwd", "r"), ("/app/logs/a", "rwa")]
    {
        let pattern = Pattern::literal(path.as_bytes()).unwrap();
        policy.files.insert(pattern, FileRule { access: access.parse().unwrap(), ..FileRule::default() });
    }
    policy
}

fn make_with(sandbox: &Sandbox, apparmor: &AppArmorPolicy, profiles: Profiles) -> Result<Objects> {
    let (needs, syscalls) = calls();
    objects(&Parts {
        needs: &needs,
        sandbox,
        syscalls: &syscalls,
        apparmor,
        namespace: Some("agents"),
        profiles,
        profile: "Agent_1",
    })
}

fn make(sandbox: &Sandbox) -> Objects {
    make_with(sandbox, &apparmor(), Profiles::Operator).unwrap()
}

fn read(objects: &Objects, file: &str) -> Value {
    let (_, text) = objects.files.iter().find(|(name, _)| *name == file).unwrap();
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn the_whole_stream() {
    let text = make(&sandbox()).stream().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    insta::assert_snapshot!(text);
}

#[test]
fn the_objects_belong_together() {
    let objects = make(&sandbox());
    let names: Vec<&str> = objects.files.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["seccompprofile.yaml", "apparmorprofile.yaml", "networkpolicy.yaml", "pod.yaml"]);
    let (pod, policy) = (read(&objects, "pod.yaml"), read(&objects, "networkpolicy.yaml"));
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"]);
    let security = &pod["spec"]["securityContext"];
    assert_eq!(security["seccompProfile"]["localhostProfile"], "operator/agent.json");
    assert_eq!(read(&objects, "seccompprofile.yaml")["metadata"]["name"], "agent");
    assert_eq!(
        security["appArmorProfile"]["localhostProfile"],
        read(&objects, "apparmorprofile.yaml")["metadata"]["name"]
    );
    assert_eq!(policy["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"], "192.0.2.7/32");
    // By hand: the names of what is loaded by hand, and no objects of the operator's.
    let by_hand = make_with(&sandbox(), &apparmor(), Profiles::Node).unwrap();
    assert_eq!(by_hand.files.len(), 2);
    let security = &read(&by_hand, "pod.yaml")["spec"]["securityContext"];
    assert_eq!(security["seccompProfile"]["localhostProfile"], "profiles/agent.json");
    assert_eq!(security["appArmorProfile"]["localhostProfile"], "Agent_1");
}

#[test]
fn the_pod_says_what_the_sandbox_says() {
    let pod = read(&make(&sandbox()), "pod.yaml");
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsUser"], 1000);
    let container = &spec["containers"][0];
    assert_eq!(container["args"], json!(["/usr/bin/agent", "--port", "18789"]));
    assert_eq!(
        container["securityContext"]["capabilities"],
        json!({ "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] })
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["resources"]["limits"], json!({ "memory": "268435456", "cpu": "1500m" }));
    assert_eq!(container["livenessProbe"]["exec"]["command"], json!(["/usr/bin/agent", "--health"]));
    assert_eq!(container["livenessProbe"]["initialDelaySeconds"], 40);
    assert_eq!(container["readinessProbe"]["timeoutSeconds"], 10);
    assert_eq!(spec["volumes"][0]["emptyDir"], json!({ "medium": "Memory", "sizeLimit": "16777216" }));
    assert_eq!(
        container["volumeMounts"][1],
        json!({ "name": "app-config", "mountPath": "/app/config", "readOnly": true })
    );
}

#[test]
fn a_network_is_as_wide_as_was_recorded() {
    let mut sandbox = sandbox();
    sandbox.listens.clear();
    sandbox.connects.clear();
    sandbox.network = because(Network::None);
    let policy = read(&make(&sandbox), "networkpolicy.yaml");
    assert_eq!((&policy["spec"]["ingress"], &policy["spec"]["egress"]), (&json!([]), &json!([])));
    sandbox.connects = vec![because(Connect { address: [10, 0, 0, 2].into(), port: 53, protocol: "udp" })];
    let policy = read(&make(&sandbox), "networkpolicy.yaml");
    assert_eq!(policy["spec"]["egress"][0]["to"][0]["podSelector"]["matchLabels"]["k8s-app"], "kube-dns");
    sandbox.network = because(Network::Host);
    assert!(!make(&sandbox).files.iter().any(|(name, _)| *name == "networkpolicy.yaml"));
}

#[test]
fn a_low_port_needs_no_root() {
    let mut sandbox = sandbox();
    sandbox.listens[0].value.port = 80;
    let pod = read(&make(&sandbox), "pod.yaml");
    let sysctl = json!([{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "80" }]);
    assert_eq!(pod["spec"]["securityContext"]["sysctls"], sysctl);
    sandbox.user = because(User { spec: None, root: true, ids: Some((0, 0)), blockers: vec!["x".into()] });
    let pod = read(&make(&sandbox), "pod.yaml");
    assert!(pod["spec"]["securityContext"].get("sysctls").is_none());
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], false);
}

#[test]
fn the_image_s_own_health_check_becomes_a_probe() {
    let mut sandbox = sandbox();
    let check = sandbox.healthcheck.take().unwrap().value;
    let (mut needs, syscalls) = calls();
    let mut container = Container { healthcheck: Some(check), ..Container::default() };
    container.healthcheck.as_mut().unwrap().test = vec!["CMD-SHELL".into(), "a: b # c".into()];
    needs.runs[0].container = Some(container);
    let apparmor = apparmor();
    let parts = Parts {
        needs: &needs,
        sandbox: &sandbox,
        syscalls: &syscalls,
        apparmor: &apparmor,
        namespace: None,
        profiles: Profiles::Operator,
        profile: "agent",
    };
    let pod = read(&objects(&parts).unwrap(), "pod.yaml");
    assert_eq!(
        pod["spec"]["containers"][0]["livenessProbe"]["exec"]["command"],
        json!(["/bin/sh", "-c", "a: b # c"])
    );
    assert!(pod["metadata"].get("namespace").is_none());
}

#[test]
fn nothing_recorded_becomes_a_key() {
    let mut sandbox = sandbox();
    let evil = "x\n  privileged: true\n---\nkind: Pod\n";
    sandbox.user.why = evil.into();
    sandbox.name = "A..B_c".into();
    sandbox.command = Some(because(vec![evil.into(), "true".into(), "1".into(), "- a".into()]));
    sandbox.environment = vec![evil.into()];
    sandbox.volumes[0].value.target = "/a: b\n".into();
    sandbox.volumes[0].value.source = Source::Named("My Volume".into());
    let objects = make(&sandbox);
    let pod = read(&objects, "pod.yaml");
    assert_eq!(pod["metadata"]["name"], "a--b-c");
    assert_eq!(pod["spec"]["containers"][0]["args"], json!([evil, "true", "1", "- a"]));
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["privileged"], false);
    assert_eq!(pod["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"], "my-volume");
    assert_eq!(objects.stream().matches("\n---\n").count(), 3);
    assert!(objects.stream().bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)));
}

#[test]
fn what_the_operator_s_object_can_t_say_is_a_gap() {
    assert_eq!(make(&sandbox()).gaps, [] as [&str; 0]);
    let mut policy = apparmor();
    let pattern = Pattern::literal("/a b".as_bytes()).unwrap();
    policy.files.insert(pattern, FileRule { access: "r".parse().unwrap(), ..FileRule::default() });
    policy.network.insert("network inet6 stream,".into());
    let objects = make_with(&sandbox(), &policy, Profiles::Operator).unwrap();
    assert_eq!(objects.gaps.len(), 1);
    let text = objects.stream();
    assert!(
        text.contains("# GAP: not said here: \"/a b\"") && text.contains("network inet6 stream,"),
        "{text}"
    );
}

#[test]
fn namespaces_are_names() {
    assert!(namespace("team-1").is_ok());
    for name in ["", "A", "a b", "-a", "a/b", &"a".repeat(64)] {
        assert!(namespace(name).is_err(), "{name}");
    }
}
