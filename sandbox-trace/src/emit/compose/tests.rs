//! Whole files, read again by another reader; hardening of files as people write them.

use serde_json::{Value, json};

use super::*;
use crate::{
    compose::{
        edit::File,
        read::{Variables, expanded},
    },
    policy::sandbox::{Because, samples},
};

const RESERVED: Reserved = Reserved { memory_bytes: Some(1 << 30), cpu_millis: Some(250) };

fn emitted(sandbox: &Sandbox) -> Result<String> {
    let profile = "clawdbot".parse()?;
    let recordings = ["run1.json".to_owned(), "run\n2.json".to_owned()];
    let origin = Origin {
        recordings: &recordings,
        seccomp: "seccomp.json",
        apparmor: Some(&profile),
        reserved: RESERVED,
    };
    file(sandbox, origin)
}

fn stable(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Puts values in the place of variables all over, as compose does.
fn interpolated(value: &Value) -> Value {
    match value {
        // `$HOME` is set: whatever is not escaped shows.
        Value::String(text) => {
            let variables: Variables = [("HOME".to_owned(), "EXPANDED".to_owned())].into();
            Value::String(expanded(text, &variables).unwrap())
        }
        Value::Array(items) => items.iter().map(interpolated).collect(),
        Value::Object(keys) => keys
            .iter()
            .map(|(key, value)| (key.clone(), interpolated(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

#[test]
fn the_guide_s_file() {
    insta::assert_snapshot!(stable(&emitted(&samples::agent()).unwrap()));
}

#[test]
fn a_job_without_a_network() {
    insta::assert_snapshot!(stable(&emitted(&samples::batch()).unwrap()));
}

#[test]
fn hostile_names_are_strings_like_others() {
    let sandbox = samples::hostile();
    let text = emitted(&sandbox).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    let read = interpolated(&read(&text));
    let service = &read["services"]["hostile"];
    assert_eq!(service["command"], json!(sandbox.command.as_ref().unwrap().value));
    assert_eq!(service["environment"], json!(sandbox.environment));
    assert_eq!(service.get("privileged"), None);
    let evil = "$(touch /tmp/pwned) `id` ${HOME} \"; ' # \\ , : {{x}} *";
    assert_eq!(service["volumes"][0]["source"], format!("/srv/{evil}"));
    assert_eq!(service["volumes"][0]["target"], format!("/mnt/{evil}"));
    // Nothing but what a harmless one has.
    let harmless = emitted(&samples::agent()).unwrap();
    let harmless = self::read(&harmless);
    let keys = |service: &Value| service.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let own: Vec<String> = keys(service).into_iter().filter(|key| key != "command").collect();
    assert_eq!(own, keys(&harmless["services"]["clawdbot-production"]));
    assert_eq!(keys(&read), keys(&harmless));
}

#[test]
fn what_compose_can_t_be_told_is_an_error() {
    let volume = |target: &[u8]| {
        let mut sandbox = samples::agent();
        sandbox.volumes[0].value.target = target.to_vec().into();
        sandbox
    };
    let tmpfs = || {
        let mut sandbox = samples::agent();
        sandbox.tmpfs[0].value.path = "/a:b".into();
        sandbox
    };
    let image = |image: Option<&str>| Sandbox {
        image: image.map(|name| Because::new(name.to_owned(), "")),
        ..samples::agent()
    };
    for (sandbox, expected) in [
        (volume(b"/a\xff"), "not UTF-8"),
        (volume(b"/a\0b"), "NUL"),
        (tmpfs(), "first colon"),
        (image(None), "name no image"),
        (image(Some("-x")), "no image's name"),
        (Sandbox { environment: vec!["A=b".into()], ..samples::agent() }, "nor has a ="),
    ] {
        let error = emitted(&sandbox).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

fn hardened(text: &str, service: &str, sandbox: &Sandbox) -> Result<Hardened> {
    let profile = "clawdbot".parse()?;
    let origin =
        Origin { recordings: &[], seccomp: "seccomp.json", apparmor: Some(&profile), reserved: RESERVED };
    let variables: Variables = [("CONFIG", "/srv/config"), ("WHERE", "/app/skills"), ("TWO", "a:/b")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let file = File::read("compose.yaml", text.to_owned())?;
    harden(&file, service, sandbox, origin, &variables)
}

const WIDE: &str = r#"# The agent and its database.
x-log: &log  # shared
  driver: json-file
x-base: &base
  restart: always
  privileged: true
  cap_add: [SYS_ADMIN, "NET_ADMIN"]

services:
  db:
    image: postgres:16  # not ours
    logging: *log
    ports: ["5432:5432"]

  # The agent itself.
  agent:
    <<: *base
    image: ${IMAGE:-anthropic/clawdbot}:${TAG:-latest}   # by tag
    depends_on: [db]
    pid: host
    environment:
      MODE: ${MODE:-fast}
    cap_drop:
      - NET_RAW  # the only one
    security_opt:
      - seccomp:unconfined
      - label:type:agent_t
    ports:
      - "${PORT:-18789}:18789"   # the agent's API
      - target: 18789
        published: "8080"
      - "9229:9229"  # a debugger
    volumes:
      - ${CONFIG}:/app/config        # settings
      - ./skills:${WHERE:?where}:rw,z
      - ./logs:/app/logs
      - /var/run/docker.sock:/var/run/docker.sock
      - type: bind
        source: ./models
        target: /models
    tmpfs: /cache
    mem_limit: 512m
    pids_limit: 5000
    logging: *log
    healthcheck:
      test: ["CMD", "true"]   # ours

networks: {default: {}}
"#;

#[test]
fn a_wide_service_becomes_narrow() {
    let out = hardened(WIDE, "agent", &samples::agent()).unwrap();
    insta::assert_snapshot!(format!(
        "{}\n--- changes\n{}\n--- notes\n{}",
        out.text,
        out.changes.join("\n"),
        out.notes.join("\n")
    ));
    let (before, after) = (read(WIDE), read(&out.text));
    assert_eq!(before["services"]["db"], after["services"]["db"]);
    for key in ["image", "environment", "depends_on", "healthcheck", "restart"] {
        assert_eq!(before["services"]["agent"][key], after["services"]["agent"][key], "{key}");
    }
    let agent = &after["services"]["agent"];
    assert_eq!(agent["privileged"], false);
    assert_eq!(agent["mem_limit"], agent["memswap_limit"]);
    assert_eq!(agent.get("pid"), None);
    // Once more changes nothing.
    let again = hardened(&out.text, "agent", &samples::agent()).unwrap();
    assert_eq!((again.text, again.changes), (out.text, Vec::new()));
}

#[test]
fn collections_that_end_together_grow_inside_first() {
    let text =
        "services:\n  a:\n    image: x\n    deploy:\n      resources:\n        limits:\n          memory: 8g";
    let after = read(&hardened(text, "a", &samples::agent()).unwrap().text);
    let limits = &after["services"]["a"]["deploy"]["resources"]["limits"];
    assert_eq!(limits, &json!({"memory": "2g", "cpus": "2.0", "pids": 100}));
}

#[test]
fn a_service_without_a_network_loses_its_ports() {
    let text = "services:\n  train:\n    image: t\n    ports:\n      - 80:80\n    networks: [a, b]\n    volumes:\n      - /var/run/docker.sock:/var/run/docker.sock\nnetworks: {a: {}, b: {}}\n";
    let after = read(&hardened(text, "train", &samples::batch()).unwrap().text);
    let train = &after["services"]["train"];
    assert_eq!(train["network_mode"], "none");
    assert!(train.get("ports").is_none() && train.get("networks").is_none());
    let targets: Vec<&str> =
        train["volumes"].as_array().unwrap().iter().filter_map(|one| one["target"].as_str()).collect();
    assert_eq!(targets, ["/data", "/out"], "{train}");
}

#[test]
fn limits_that_a_person_set_stay_where_they_are_narrower() {
    let after = |keys: &str| {
        let text = format!("services:\n  a:\n    image: x\n{keys}");
        read(&hardened(&text, "a", &samples::agent()).unwrap().text)["services"]["a"].take()
    };
    let a = after("    mem_limit: 1g\n    mem_reservation: 3g\n    cpus: 8\n");
    assert_eq!((&a["mem_limit"], &a["memswap_limit"]), (&json!("1g"), &json!("1g")));
    assert_eq!((&a["mem_reservation"], &a["cpus"]), (&json!("1g"), &json!("2.0")));
    assert_eq!(a["deploy"]["resources"]["limits"], json!({"pids": 100}));
    let a = after(
        "    deploy: {resources: {limits: {memory: 64m, pids: 0, cpus: '0.5'}}}\n    memswap_limit: -1\n",
    );
    assert_eq!(a["deploy"]["resources"]["limits"], json!({"memory": "64m", "pids": 100, "cpus": "0.5"}));
    assert_eq!(a["memswap_limit"], "64m");
    let a = after(
        "    mem_limit: ${NONE:-8g}\n    deploy:\n      resources:\n        limits:\n          memory: 8g\n",
    );
    assert_eq!(
        (&a["mem_limit"], &a["deploy"]["resources"]["limits"]["memory"]),
        (&json!("2g"), &json!("2g"))
    );
}

#[test]
fn ports_in_every_form() {
    let after = |port: &str| {
        let text = format!("services:\n  a:\n    image: x\n    ports:\n      - {port}\n");
        let after = read(&hardened(&text, "a", &samples::agent()).unwrap().text);
        after.pointer("/services/a/ports/0").cloned().unwrap_or_default()
    };
    for (port, expected) in [
        ("18789", "127.0.0.1::18789"),
        ("'1:18789/tcp'", "127.0.0.1:1:18789/tcp"),
        ("'0.0.0.0:1:18789'", "127.0.0.1:1:18789"),
        ("'[::]:1:18789'", "127.0.0.1:1:18789"),
        ("'${P:-1}:${Q:-18789}'", "127.0.0.1:${P:-1}:${Q:-18789}"),
        ("'127.0.0.1:1:18789'", "127.0.0.1:1:18789"),
        ("'10.0.0.1:1:18789'", "10.0.0.1:1:18789"),
        ("18000-19000:18000-19000", "127.0.0.1:18000-19000:18000-19000"),
    ] {
        assert_eq!(after(port), expected, "{port}");
    }
    assert_eq!(after("{target: 18789, host_ip: 0.0.0.0}")["host_ip"], "127.0.0.1");
    assert_eq!(after("1:18789/udp"), Value::Null);
}

#[test]
fn what_can_t_be_hardened_says_where() {
    for (keys, expected) in [
        ("extends: {service: b}", "line 4, column 14"),
        ("ports: ['80:${P:?which}']", "line 4, column 13: the variable P must have a value: which"),
        ("ports: [x]", "line 4, column 13: a port is"),
        ("volumes:\n      - '${TWO}:/x:/y'", "line 5, column 9: a variable stands for more than one part"),
        ("volumes: [{type: bind}]", "line 4, column 15: a volume is"),
        ("mem_limit: ${", "line 4, column 16: a brace is not closed"),
    ] {
        let text = format!("services:\n  a:\n    image: x\n    {keys}\n");
        let error = hardened(&text, "a", &samples::agent()).unwrap_err();
        assert!(error.to_string().contains(expected), "{keys}: {error}");
        assert_eq!(error.exit(), crate::error::Exit::Usage);
        assert!(error.hint_text().is_some(), "{error}");
    }
}
