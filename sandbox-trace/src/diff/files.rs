//! Emitted files by their contents: which kind they are, and two folders of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Diff, Kind, Risk, apparmor, seccomp};
use crate::{
    error::{Error, Result},
    output::counted,
    recording::printable,
    seccomp::profile,
};

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A recording, compressed or not.
    Recording,
    /// A seccomp profile.
    Seccomp,
    /// An `AppArmor` profile.
    AppArmor,
    /// Something else.
    Other,
}

impl Form {
    /// By the contents, or how they begin.
    pub fn of(contents: &[u8]) -> Self {
        const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        let text = contents.trim_ascii_start();
        let has = |what: &[u8]| text.windows(what.len()).any(|window| window == what);
        if contents.starts_with(&ZSTANDARD) {
            return Self::Recording;
        }
        if text.starts_with(b"{") {
            return match (has(b"\"sandbox-trace/recording/"), has(b"\"defaultAction\"")) {
                (true, _) => Self::Recording,
                // The seccomp profile within an OCI configuration is not the file.
                (_, true) if !has(b"\"ociVersion\"") => Self::Seccomp,
                _ => Self::Other,
            };
        }
        let words = |line: &[u8]| line.trim_ascii_start().starts_with(b"profile ") && line.contains(&b'{');
        let is_profile = text.split(|byte| *byte == b'\n').any(words) && !text.starts_with(b"#!");
        if is_profile { Self::AppArmor } else { Self::Other }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recording => "a recording",
            Self::Seccomp => "a seccomp profile",
            Self::AppArmor => "an AppArmor profile",
            Self::Other => "neither a recording nor a profile",
        }
    }
}

/// Two emitted files of one kind; the names are for messages. Recordings are no emitted files.
pub fn files((old_name, old): (&str, &[u8]), (new_name, new): (&str, &[u8])) -> Result<Diff> {
    let (before, now) = (Form::of(old), Form::of(new));
    if before != now {
        return Err(Error::usage(format!(
            "{} is {} and {} is {}: they can't be compared",
            printable(old_name),
            before.name(),
            printable(new_name),
            now.name()
        ))
        .hint("compare two recordings, two seccomp profiles, two AppArmor profiles, or two folders"));
    }
    let mut diff = match now {
        Form::Seccomp => seccomp(&profile::from_json(old, old_name)?, &profile::from_json(new, new_name)?),
        Form::AppArmor => apparmor::of_sources(&source(old, old_name)?, &source(new, new_name)?),
        Form::Recording | Form::Other => {
            return Err(Error::usage(format!("{} is {}", printable(new_name), now.name())).hint(
                "compare two recordings, two seccomp profiles, two AppArmor profiles, or two folders",
            ));
        }
    };
    if diff.is_empty() && old != new {
        diff.cosmetic.push(Change {
            kind: Kind::Text,
            what: "text".into(),
            detail: "comments, order or layout differ".into(),
            ..Change::default()
        });
    }
    Ok(diff)
}

fn source(text: &[u8], name: &str) -> Result<crate::apparmor::text::Source> {
    let text = std::str::from_utf8(text).map_err(|e| {
        Error::usage(format!("{} is no AppArmor profile", printable(name)))
            .because(e)
            .hint("profiles are text; bytes of names stand in them as \\NNN")
    })?;
    crate::apparmor::text::read(text, &printable(name))
}

/// Two folders of emitted files, by name. Profiles are compared by what they allow. Of every other emitted file that
/// changes more than its comments and layout it can't be proven that it gives nothing, so it counts as new. What is no
/// emitted file (recordings, settings, documents) is not compared.
pub fn folders(old: &BTreeMap<String, Vec<u8>>, new: &BTreeMap<String, Vec<u8>>) -> Result<Diff> {
    let mut diff = Diff::default();
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).filter(|name| is_emitted(name)).collect();
    for name in names {
        let one = match (old.get(name), new.get(name)) {
            (Some(before), Some(now)) if before == now => continue,
            (Some(before), Some(now)) => match (Form::of(before), Form::of(now)) {
                (Form::Recording, _) | (_, Form::Recording) => continue,
                (Form::Other, Form::Other) => as_text(name, before, now),
                _ => files((&format!("the old {name}"), before), (&format!("the new {name}"), now))?,
            },
            (before, now) => {
                let form = before.or(now).map_or(Form::Other, |contents| Form::of(contents));
                alone(name, form, now.is_some())
            }
        };
        diff = diff.unite(one.of_file(name));
    }
    Ok(diff)
}

/// Whether it is what the emitters write, by how its name ends.
pub fn is_emitted(name: &str) -> bool {
    let ends = [".json", ".profile", ".sh", ".yaml", ".yml", ".conf"];
    !name.starts_with('.') && !name.starts_with("recording") && ends.iter().any(|end| name.ends_with(end))
}

/// A file that one side has.
fn alone(name: &str, form: Form, is_new: bool) -> Diff {
    let profile = matches!(form, Form::Seccomp | Form::AppArmor);
    let mut out = Diff::default();
    let mut change =
        Change { kind: Kind::Text, what: printable(name), detail: form.name().into(), ..Change::default() };
    match (form, is_new) {
        (Form::Recording, _) => {}
        // A profile takes away: without it everything is allowed.
        (_, false) if profile => {
            change.access = "is gone".into();
            (change.risk, change.reason) = (Risk::Critical, "without it nothing is denied".into());
            out.added.push(change);
        }
        (_, true) if profile => {
            change.access = "is new".into();
            out.removed.push(change);
        }
        (_, true) => {
            change.access = "is new".into();
            (change.risk, change.reason) = (Risk::Medium, "what it gives is not looked at; read it".into());
            out.added.push(change);
        }
        (_, false) => {
            change.access = "is gone".into();
            out.removed.push(change);
        }
    }
    out
}

/// Lines that mean something, in their order. JSON is compared as what it holds.
fn meaning(contents: &[u8]) -> Vec<String> {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(contents)
        && let Ok(text) = serde_json::to_string_pretty(&value)
    {
        return text.lines().map(str::to_owned).collect();
    }
    let text = String::from_utf8_lossy(contents);
    let lines = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    // `#!` says what runs the file.
    let lines = lines.filter(|line| !line.trim_start().starts_with('#') || line.starts_with("#!"));
    lines.map(str::to_owned).collect()
}

fn as_text(name: &str, old: &[u8], new: &[u8]) -> Diff {
    let (before, now) = (meaning(old), meaning(new));
    let mut out = Diff::default();
    let mut change = Change { kind: Kind::Text, what: printable(name), ..Change::default() };
    if before == now {
        change.detail = "comments or layout differ".into();
        out.cosmetic.push(change);
        return out;
    }
    let beside = |own: &[String], other: &[String]| -> Vec<String> {
        let other: BTreeSet<&String> = other.iter().collect();
        own.iter().filter(|line| !other.contains(line)).map(|line| printable(line.trim())).collect()
    };
    let (gone, came) = (beside(&before, &now), beside(&now, &before));
    let lines = |lines: &[String], sign: char| {
        lines.iter().take(3).map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    let count = |lines: &[String], what: &str| {
        format!("{} {what}", counted(u64::try_from(lines.len()).unwrap_or(u64::MAX), "line"))
    };
    change.access = "differs".into();
    change.detail = [vec![count(&came, "new"), count(&gone, "gone")], lines(&came, '+'), lines(&gone, '−')]
        .concat()
        .join("; ");
    (change.risk, change.reason) =
        (Risk::Medium, "compared as text: it can't be proven that this gives nothing".into());
    out.added.push(change);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECCOMP: &str =
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}"#;

    fn folder(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn kinds_are_told_by_content() {
        assert_eq!(Form::of(SECCOMP.as_bytes()), Form::Seccomp);
        assert_eq!(Form::of(b"{ \"schema\": \"sandbox-trace/recording/v1\" }"), Form::Recording);
        assert_eq!(Form::of(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Form::Recording);
        assert_eq!(Form::of(b"abi <abi/3.0>,\n\nprofile p flags=(x) {\n}\n"), Form::AppArmor);
        for other in ["", "{}", "[]", "#!/bin/sh\nprofile x {", r#"{"ociVersion":"1","defaultAction":1}"#] {
            assert_eq!(Form::of(other.as_bytes()), Form::Other, "{other}");
        }
        let error = files(("a", SECCOMP.as_bytes()), ("b", b"profile p {\n}\n")).unwrap_err();
        assert!(error.to_string().contains("a is a seccomp profile and b is an AppArmor profile"), "{error}");
    }

    #[test]
    fn a_folder_is_its_files() {
        let old = folder(&[
            ("seccomp.json", SECCOMP),
            ("apparmor.profile", "profile p {\n}\n"),
            ("docker-run.sh", "#!/bin/sh\n# 12 times\ndocker run x\n"),
            ("recording.json", "{}"),
            ("workload.toml", "a = 1"),
        ]);
        assert!(folders(&old, &old).unwrap().is_empty());
        let mut new = old.clone();
        new.insert("docker-run.sh".into(), b"#!/bin/sh\n# 13 times\ndocker run x\n".to_vec());
        new.insert("workload.toml".into(), b"a = 2".to_vec());
        let diff = folders(&old, &new).unwrap();
        assert_eq!((diff.widened(), diff.cosmetic.len()), (false, 1));
        new.insert("docker-run.sh".into(), b"#!/bin/sh\ndocker run --privileged x\n".to_vec());
        new.insert("apparmor.profile".into(), b"profile p {\n  /a r,\n}\n".to_vec());
        new.remove("seccomp.json");
        let diff = folders(&old, &new).unwrap();
        let names: Vec<String> =
            diff.added.iter().map(|c| format!("{} {} {}", c.kind, c.what, c.access)).collect();
        assert_eq!(names, ["text seccomp.json is gone", "text docker-run.sh differs", "file /a r"]);
        assert!(diff.added[1].detail.contains("+ docker run --privileged x"), "{}", diff.added[1].detail);
    }
}
