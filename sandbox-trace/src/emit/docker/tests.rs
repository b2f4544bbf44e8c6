//! The script through the real shell: what `docker` is called with, word by word.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use proptest::prelude::*;

use super::*;
use crate::policy::sandbox::{Because, Network, Source, samples};

fn emitted(sandbox: &Sandbox) -> Result<String> {
    let profile = "clawdbot".parse()?;
    let recordings = ["run1.json".to_owned(), "run\n2.json".to_owned()];
    script(sandbox, Origin { recordings: &recordings, seccomp: "seccomp.json", apparmor: &profile })
}

fn stable(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

/// The words of the last call of `docker`, which is a program that keeps them.
fn called(script: &str, engine: &str, args: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let program = |name: &str, text: &str| {
        let file = dir.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program(
        "docker",
        &format!(
            "#!/bin/sh\ncase \"$1\" in info) echo '{engine}' ;; *) printf '%s\\0' \"$@\" >\"$HERE/words\" ;; esac\n"
        ),
    );
    // Nothing of the machine is changed by a test without root.
    for name in ["iptables", "iptables-restore", "apparmor_parser", "mount", "umount", "mkdir"] {
        program(name, "#!/bin/sh\nexit 0\n");
    }
    program("docker-run.sh", script);
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .arg(dir.path().join("docker-run.sh"))
        .args(args)
        .env("PATH", path)
        .env("HERE", dir.path())
        .current_dir("/")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let words = fs::read(dir.path().join("words")).unwrap();
    let words = String::from_utf8(words).unwrap();
    words.split_terminator('\0').map(str::to_owned).collect()
}

/// The values that a flag was given.
fn values<'a>(words: &'a [String], flag: &str) -> Vec<&'a str> {
    words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].as_str()).collect()
}

#[test]
fn the_guide_s_command() {
    insta::assert_snapshot!(stable(&emitted(&samples::agent()).unwrap()));
}

#[test]
fn a_job_without_a_network() {
    insta::assert_snapshot!(stable(&emitted(&samples::batch()).unwrap()));
}

#[test]
fn hostile_names_are_words_like_others() {
    let sandbox = samples::hostile();
    let script = emitted(&sandbox).unwrap();
    assert!(!script.chars().any(|c| c.is_control() && !"\n\t".contains(c)), "{script:?}");
    let words = called(&script, "[name=seccomp]", &[]);
    let command = &sandbox.command.as_ref().unwrap().value;
    assert!(words.ends_with(command), "{words:?}");
    assert_eq!(words[words.len() - command.len() - 1], sandbox.image.as_ref().unwrap().value);
    assert_eq!(values(&words, "--env"), sandbox.environment);
    let mounts = values(&words, "--mount");
    assert!(mounts[0].starts_with("type=bind,\"src=/srv/$(touch /tmp/pwned) `id`"), "{mounts:?}");
    assert!(
        !words.iter().take_while(|word| *word != "--env").any(|word| word == "--privileged"),
        "{words:?}"
    );
}

#[test]
fn apparmor_is_asked_for_where_the_engine_has_it() {
    let script = emitted(&samples::agent()).unwrap();
    let with = called(&script, "[name=apparmor name=seccomp,profile=default]", &[]);
    assert!(with.contains(&"--security-opt=apparmor=clawdbot".to_owned()), "{with:?}");
    let without = called(&script, "[name=seccomp,profile=default]", &["--label", "a b"]);
    assert!(!without.iter().any(|word| word.contains("apparmor")), "{without:?}");
    let more = without.iter().position(|word| word == "--label").unwrap();
    assert_eq!(&without[more + 1..], ["a b", &samples::agent().image.unwrap().value]);
}

#[test]
fn what_docker_has_no_form_for_is_an_error() {
    let refused = |change: &dyn Fn(&mut Sandbox)| {
        let mut sandbox = samples::agent();
        change(&mut sandbox);
        emitted(&sandbox).unwrap_err().in_one_line()
    };
    let name = refused(&|sandbox| sandbox.name = "-x".to_owned());
    assert_eq!(
        name,
        "docker can't be told of a container: -x: it takes two or more letters, digits, '.', '_' and '-'"
    );
    for change in [
        &|sandbox: &mut Sandbox| sandbox.tmpfs[0].value.path = "/a:b".into(),
        &|sandbox: &mut Sandbox| sandbox.tmpfs[0].value.path = (&b"/\xff"[..]).into(),
        &|sandbox: &mut Sandbox| sandbox.volumes[0].value.target = "/a\nb".into(),
        &|sandbox: &mut Sandbox| sandbox.volumes[0].value.source = Source::Named("../x".to_owned()),
        &|sandbox: &mut Sandbox| sandbox.image.as_mut().unwrap().value = "--privileged".to_owned(),
        &|sandbox: &mut Sandbox| sandbox.image = None,
        &|sandbox: &mut Sandbox| sandbox.network.value = Network::Bridge(Some("container:x".to_owned())),
        &|sandbox: &mut Sandbox| sandbox.ports[0].value.host_ip = Some("$(id)".to_owned()),
        &|sandbox: &mut Sandbox| sandbox.environment.push("A=b".to_owned()),
    ] as [&dyn Fn(&mut Sandbox); 9]
    {
        let error = refused(change);
        assert!(error.starts_with("docker can't be told of") || error.contains("no image"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nothing_is_added_to_what_is_meant(
        path in "/[^\0\n\r]{1,16}",
        source in "/[^\0\n\r]{1,16}",
        text in "[^\0]{0,24}",
        why: String,
    ) {
        let mut sandbox = samples::batch();
        sandbox.volumes[0].value.target = path.as_str().into();
        sandbox.volumes[0].value.source = Source::Host(source.as_str().into());
        sandbox.volumes[0].why.clone_from(&why);
        sandbox.command = Some(Because { value: vec![text.clone()], why: why.clone() });
        sandbox.notes = vec![why];
        let words = called(&emitted(&sandbox).unwrap(), "", &[]);
        let mount = values(&words, "--mount")[0];
        let mut fields: Vec<String> = Vec::new();
        let mut quoted = false;
        // An own, simple reader of one CSV record.
        fields.push(String::new());
        let mut chars = mount.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => { chars.next(); fields.last_mut().unwrap().push('"'); }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        prop_assert_eq!(fields, ["type=bind".to_owned(), format!("src={source}"), format!("dst={path}"), "readonly".to_owned()]);
        prop_assert_eq!(words.last(), Some(&text));
        prop_assert_eq!(words.iter().filter(|word| word.starts_with("--")).count(), 22);
    }
}
