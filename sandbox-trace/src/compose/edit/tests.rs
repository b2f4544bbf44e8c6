//! Whole files before and after.

use super::*;
use crate::compose::yaml::Item;

fn changes() -> Vec<Change> {
    vec![
        Change::set(&["privileged"], Node::flag(false), "no privilege was used"),
        Change::set(&["cap_drop"], Node::texts(["ALL"]), "no capability was used"),
        Change::set(&["ports", "0"], Node::text("127.0.0.1:80:80"), "loopback"),
        Change::set(&["tmpfs"], Node::texts(["/tmp:rw,size=1m"]), "written"),
        Change::set(&["mem_limit"], Node::text("64m"), "peak"),
        Change::remove(&["pid"], "pid: host is taken out"),
    ]
}

fn edited(text: &str, service: &str, changes: &[Change]) -> Result<String> {
    File::read("compose.yaml", text.to_owned())?.edit(service, changes)
}

const BLOCK: &str = "\
# the head
version: \"3.8\"

x-log: &log   # an anchor
  driver: json-file

services:
    db: {image: 'pg:1', logging: *log}  # flow
    # the web server
    web:  # here
        image: web:${TAG:-1}   # pinned
        pid: host
        privileged:   true # why?
        cap_drop: # drops
            # one
            - NET_RAW # two
        ports:
        - \"80:80\"  # open
        - 443:443
        logging: *log

        # the last
        environment:
            A: |
              x
               y

networks: {}
# the end
";

#[test]
fn what_is_not_named_stays() {
    insta::assert_snapshot!(edited(BLOCK, "web", &changes()).unwrap());
}

#[test]
fn a_service_on_one_line() {
    for (text, expected) in [
        (
            "services: {web: {image: a, ports: ['80:80', 443], pid: x}, b: {image: b}}",
            "services: {web: {image: a, ports: [\"127.0.0.1:80:80\", 443], pid: x, cap_drop: [ALL], mem_limit: \"64m\"}, b: {image: b}}",
        ),
        ("services:\n  web: { image: a, }", "services:\n  web: { image: a, cap_drop: [ALL], mem_limit: \"64m\", }"),
    ] {
        let wanted: Vec<Change> = changes()
            .into_iter()
            .filter(|change| ["cap_drop", "mem_limit", "ports"].contains(&change.path[0].as_str()))
            .filter(|change| change.path[0] != "ports" || text.contains("ports"))
            .collect();
        assert_eq!(edited(text, "web", &wanted).unwrap(), expected);
    }
}

#[test]
fn lines_end_as_they_did() {
    let unix = "services:\n  web:\n    image: a\n    ports: [\"80:80\"]\n    pid: host";
    let dos = unix.replace('\n', "\r\n");
    let text = edited(&dos, "web", &changes()).unwrap();
    assert_eq!(text, edited(unix, "web", &changes()).unwrap().replace('\n', "\r\n"));
    assert!(text.ends_with("# pid: host is taken out\r\n    # no privilege was used\r\n    privileged: false\r\n    # no capability was used\r\n    cap_drop:\r\n      - ALL\r\n    # written\r\n    tmpfs:\r\n      - /tmp:rw,size=1m\r\n    # peak\r\n    mem_limit: \"64m\""), "{text}");
}

#[test]
fn an_own_key_beats_a_merged_one() {
    let text = "x-a: &a\n  cap_drop: [NET_RAW]\n  deploy:\n    replicas: 2\n    resources: {limits: {cpus: '9'}}\nservices:\n  web:\n    <<: *a\n    image: a\n  api:\n    <<: [*a]\n    image: b\n";
    let wanted = [
        Change::set(&["cap_drop"], Node::texts(["ALL"]), "x"),
        Change::set(&["deploy", "resources", "limits", "cpus"], Node::text("1.0"), "y"),
    ];
    let after = edited(text, "web", &wanted).unwrap();
    let value = value_of("x", &after).unwrap();
    assert_eq!(value["services"]["web"]["deploy"]["replicas"], 2);
    assert_eq!(value["services"]["web"]["deploy"]["resources"]["limits"]["cpus"], "1.0");
    assert_eq!(value["services"]["api"]["deploy"]["resources"]["limits"]["cpus"], "9");
    let kept = after.lines().filter(|line| text.lines().any(|old| old == *line));
    assert!(kept.eq(text.lines()), "{after}");
    let error = edited(text, "web", &[Change::remove(&["cap_drop"], "must go")]).unwrap_err();
    assert!(error.to_string().contains("merge key"), "{error}");
}

#[test]
fn a_new_path_and_a_new_item() {
    let text = "services:\n  web:\n    image: a\n    deploy:\n      resources:\n        limits:\n          cpus: '2' # old\n    volumes:\n      - type: bind\n        source: ./x\n        target: /x\n      - ./y:/y\n";
    let wanted = [
        Change::set(&["deploy", "resources", "limits", "cpus"], Node::text("1.0"), "c"),
        Change::set(&["deploy", "resources", "limits", "memory"], Node::text("1g"), "m"),
        Change::set(&["volumes", "0", "read_only"], Node::flag(true), "read alone"),
        Change::set(&["volumes", "1"], Node::text("./y:/y:ro"), "read alone"),
        Change::set(&["volumes", "2"], Node::text("/z:/z"), "new"),
        Change::set(&["logging", "options", "max-size"], Node::text("10m"), "log"),
        Change::set(&["logging", "options", "max-file"], Node::text("3"), "log"),
    ];
    insta::assert_snapshot!(edited(text, "web", &wanted).unwrap());
}

#[test]
fn what_can_t_be_edited_says_why() {
    for (text, expected) in [
        ("services:\n  web: &w\n    image: a\n  api: *w\n", "api takes its settings from web"),
        ("services:\n  web: &w\n    image: a\n  api:\n    <<: *w\n", "api takes its settings from web"),
        ("services:\n  web:\n    cap_drop: &c [X]\n  api:\n    cap_drop: *c\n", "its value has an anchor"),
        ("x: &w {image: a}\nservices:\n  web: *w\n", "neither a mapping nor a list"),
        ("services:\n  web:\n", "the service web has no keys"),
        ("services: {}\n", "there is no service web"),
        ("a: 1\n---\nb: 2\n", "line 2: a second document starts"),
        ("", "line 1: there is nothing in it"),
        ("services:\n\tweb: 1\n", "compose.yaml is not YAML: line 2, column"),
        ("services:\n  web: {image: a\n", "compose.yaml is not YAML: line"),
        ("services:\n  web:\n    image: *nobody\n", "compose.yaml is not YAML: line 3, column 12"),
    ] {
        let error = edited(text, "web", &changes()[1..2]).unwrap_err().in_one_line();
        assert!(error.contains(expected), "{text}\n{error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

#[test]
fn an_item_with_a_comment_above() {
    let item = Item { why: Some("for logs".to_owned()), node: Node::text("CHOWN") };
    let wanted = [Change::set(&["cap_add"], Node::List(vec![item]), "used")];
    let text = edited("services:\n  web:\n    cap_add: ALL # all\n    image: a", "web", &wanted).unwrap();
    assert_eq!(text, "services:\n  web:\n    cap_add:\n      # for logs\n      - CHOWN # all\n    image: a");
}
