use super::*;

fn read_text(text: &str) -> Result<Services> {
    let variables: Variables = [("TAG".to_owned(), "2.1".to_owned())].into();
    let places = Places { here: Some("/project".into()), home: Some("/home/u".into()) };
    read(Source { name: "compose.yaml", text, variables: &variables, places: &places })
}

fn error(text: &str) -> String {
    read_text(text).unwrap_err().to_string()
}

#[test]
fn anchors_merges_variables_and_several_services() {
    let text = r#"
version: "3.8"
x-base: &base
  cap_drop: [ALL]
  read_only: true
  security_opt:
    - no-new-privileges:true
    - seccomp:./s.json
    - apparmor=mine
x-limits: &limits
  pids_limit: 100
  mem_limit: 512m
services:
  agent:
    <<: [*base, *limits]
    image: agent:${TAG:-latest}
    read_only: ${WRITABLE:-false}
    user: 1000:1000
    ports:
      - "127.0.0.1:18789:18789"
      - target: 80
        published: "8080"
        protocol: udp
    volumes:
      - ./logs:/app/logs
      - type: bind
        source: ~/.ssh
        target: /keys
        read_only: true
      - type: tmpfs
        target: /cache
        tmpfs: { size: 1000000 }
      - data:/data
    tmpfs: /tmp:size=10m
    environment:
      API_TOKEN: ${TOKEN}
      PRICE: $$5
    restart: "no"
    healthcheck: { test: "curl x", interval: 30s, retries: 3 }
  worker:
    build: .
    <<: *base
    network_mode: host
    deploy: { resources: { limits: { cpus: '2.0', memory: 2G, pids: 10 } } }
    environment: [A=1, B]
    networks: [back]
  db:
    image: db@sha256:0000
    networks: { back: null }
    logging: { driver: json-file, options: { max-size: 10m } }
networks:
  back: { internal: true }
"#;
    let read = read_text(text).unwrap();
    assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    let agent = &read.services["agent"];
    let container = &agent.container;
    assert_eq!(container.image.as_deref(), Some("agent:2.1"));
    assert_eq!((container.read_only, container.no_new_privileges), (Some(false), Some(true)));
    assert_eq!(container.capabilities_dropped, ["ALL"]);
    assert_eq!(agent.seccomp_file.as_deref(), Some("./s.json"));
    assert_eq!(container.apparmor.as_deref(), Some("mine"));
    assert_eq!(container.limits.memory_bytes, Some(512 << 20));
    assert_eq!(container.limits.pids, Some(100));
    assert_eq!(container.user.as_deref(), Some("1000:1000"));
    assert_eq!(container.restart.as_deref(), Some("no"));
    assert_eq!(container.environment, ["API_TOKEN", "PRICE"]);
    let ports: Vec<_> =
        container.ports.iter().map(|p| (p.host_ip.as_deref(), p.host, p.protocol.as_str())).collect();
    assert_eq!(ports, [(None, Some(8080), "udp"), (Some("127.0.0.1"), Some(18789), "tcp")]);
    let mounts: Vec<String> = container
        .mounts
        .iter()
        .map(|m| format!("{} {} {}", m.target, m.source.clone().unwrap_or_default(), m.mode))
        .collect();
    assert_eq!(
        mounts,
        ["/app/logs /project/logs rw", "/cache  rw", "/data  rw", "/keys /home/u/.ssh ro", "/tmp  rw"]
    );
    let worker = &read.services["worker"];
    assert_eq!(worker.container.network_mode.as_deref(), Some("host"));
    assert_eq!(worker.container.limits.cpu_millis, Some(2000));
    assert_eq!(worker.container.limits.pids, Some(10));
    assert_eq!(worker.container.environment, ["A", "B"]);
    assert!(!worker.internal_network && read.services["db"].internal_network);
    // A part that was merged in is where it was written; the service is where its mapping begins.
    assert_eq!((agent.lines["cap_drop"], agent.lines["ports"], agent.line), (4, 20, 15));
}

#[test]
fn what_is_malformed_is_named_with_its_place_and_text() {
    let text = error("services:\n  a:\n    image: x\n   ports: [\n");
    assert!(text.contains("line 4") && text.contains("column") && text.contains("4 |    ports: ["), "{text}");
    for (text, wanted) in [
        ("services:\n  a: {image: x, ports: [\"x:y\"]}", "line 2, column 25"),
        ("services:\n  a:\n    image: x\n    mem_limit: much", "line 4, column 16"),
        ("services:\n  a:\n    image: ${IMAGE:?name one}", "name one"),
        ("services:\n  a: {image: x, extends: b}", "extends"),
        ("include: [x]\nservices: {a: {image: x}}", "include"),
        ("services:\n  a: {command: x}", "neither"),
        ("services: {}", "empty"),
        ("a: 1", "no `services`"),
        ("", "mapping"),
        ("- a", "mapping"),
        ("services:\n  a: {image: x}\n  a: {image: y}", "uplicate"),
        ("services: {a: *nope}", "nope"),
        ("services:\n  a: {image: x, read_only: maybe}", "true or false"),
    ] {
        let found = error(text);
        assert!(found.contains(wanted), "{text:?}: {found}");
    }
    let found = error("services:\n  a: {image: x, user: [\u{1b}[31m]}");
    assert!(!found.contains('\u{1b}'), "{found:?}");
}

#[test]
fn bombs_end_early() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let alias = format!("*a{}", n - 1);
        text.extend([format!("a{n}: &a{n} [{}]\n", vec![alias; 10].join(", "))]);
    }
    let start = std::time::Instant::now();
    assert!(read_text(&text).is_err());
    assert!(read_text(&"[".repeat(100_000)).is_err());
    assert!(read_text(&"x".repeat(5 << 20)).is_err());
    assert!(start.elapsed().as_secs() < 10);
}
