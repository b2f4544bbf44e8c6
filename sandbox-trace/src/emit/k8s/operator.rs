//! The two profiles as objects of the Security Profiles Operator. Its seccomp object says what the file says. Its
//! AppArmor object has lists of paths, with no raw rules and a plain alphabet, and the operator adds
//! `abstractions/base` and denials of its own: what it can't say is a gap, and the file stays the exact profile.
//!
//! Measured against the operator's resource definitions and its template (kubernetes-sigs/security-profiles-operator,
//! `SeccompProfile` v1beta1, `AppArmorProfile` v1alpha1).

use serde_json::Value;

use super::{
    Objects, Parts, metadata,
    yaml::{Map, Node},
};
use crate::{
    apparmor::pattern::{NUMBER, Pattern, Piece},
    emit,
    error::{Error, Result},
    recording::Access,
};

const GROUP: &str = "security-profiles-operator.x-k8s.io";

/// Makes the `SeccompProfile`.
pub(super) fn seccomp(parts: &Parts<'_>, name: &str, out: &mut Objects) -> Result<()> {
    let profile = emit::seccomp::json(parts.syscalls)?;
    let profile: Value = serde_json::from_slice(&profile)
        .map_err(|e| Error::usage("could not read the seccomp profile that was just made").because(e))?;
    let mut spec = Map::default();
    // What is denied gets EPERM, the runtimes' own answer: the object has no field for it.
    for key in ["defaultAction", "architectures"] {
        if let Some(value) = profile.get(key) {
            spec.set(key, node(value)?);
        }
    }
    let rules: Vec<Node> = profile
        .get("syscalls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(rule)
        .collect::<Result<_>>()?;
    spec.set("syscalls", rules);
    let mut map = Map::default();
    map.set("apiVersion", format!("{GROUP}/v1beta1")).set("kind", "SeccompProfile");
    map.set("metadata", metadata(parts, name, false));
    map.set("spec", spec);
    out.add(
        "seccompprofile.yaml",
        &["For the Security Profiles Operator: the same rules as seccomp.json."],
        &map,
    );
    Ok(())
}

fn rule(rule: &Value) -> Result<Node> {
    let mut map = Map::default();
    for key in ["names", "action", "errnoRet", "args"] {
        if let Some(value) = rule.get(key) {
            map.set(key, node(value)?);
        }
    }
    Ok(map.into())
}

fn node(value: &Value) -> Result<Node> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Bool(flag) => (*flag).into(),
        // Numbers of Kubernetes are int64.
        Value::Number(number) => match number.as_i64().and_then(|n| u64::try_from(n).ok()) {
            Some(number) => number.into(),
            None => {
                return Err(Error::incomplete(format!(
                    "no SeccompProfile can hold the value {number}: its numbers end at 2^63"
                ))
                .hint("limit arguments less (--args safe or off), or --profiles node: the file holds it"));
            }
        },
        Value::Array(list) => list.iter().map(node).collect::<Result<Vec<_>>>()?.into(),
        Value::Object(object) => {
            let mut map = Map::default();
            for (key, value) in object {
                map.set(key, node(value)?);
            }
            map.into()
        }
        Value::Null => Node::Plain("null".into()),
    })
}

/// Where the object lists a path. It says `deny` for what the first and third do not give.
#[derive(Debug, Default)]
struct Lists {
    executables: Vec<String>,
    libraries: Vec<String>,
    read_only: Vec<String>,
    write_only: Vec<String>,
    read_write: Vec<String>,
}

/// Makes the `AppArmorProfile`.
pub(super) fn apparmor(parts: &Parts<'_>, name: &str, out: &mut Objects) {
    let mut lists = Lists::default();
    let mut unsaid: Vec<String> = Vec::new();
    let written: Vec<&Pattern> = parts
        .apparmor
        .files
        .iter()
        .filter(|(_, rule)| rule.access.intersects(Access::CHANGE))
        .map(|(p, _)| p)
        .collect();
    let read: Vec<&Pattern> = parts
        .apparmor
        .files
        .iter()
        .filter(|(_, rule)| rule.access.contains(Access::READ))
        .map(|(p, _)| p)
        .collect();
    for (pattern, rule) in &parts.apparmor.files {
        let Some(path) = object_path(pattern) else {
            unsaid.push(pattern.text());
            continue;
        };
        let access = rule.access;
        if access.contains(Access::EXEC) {
            lists.executables.push(path.clone());
        }
        let writes = access.intersects(Access::CHANGE) || access.contains(Access::LOCK);
        let reads = access.contains(Access::READ);
        // A denial beats every rule: none where another rule gives what it takes.
        let others_write = written.iter().any(|other| may_meet(pattern, other));
        let others_read = read.iter().any(|other| may_meet(pattern, other));
        match (reads, writes) {
            (true, true) => lists.read_write.push(path.clone()),
            (false, true) if others_read => lists.read_write.push(path.clone()),
            (false, true) => lists.write_only.push(path.clone()),
            (true, false) if others_write => lists.libraries.push(path.clone()),
            (true, false) => lists.read_only.push(path.clone()),
            (false, false) => {}
        }
        if access.contains(Access::MAP_EXEC) && !lists.libraries.contains(&path) {
            lists.libraries.push(path);
        }
    }
    unsaid.extend(
        parts.apparmor.links.iter().map(|(new, old)| format!("link {} -> {}", new.text(), old.text())),
    );
    let mut spec = Map::default();
    spec.set("abstract", abstract_rules(parts, lists, &mut unsaid));
    let mut map = Map::default();
    map.set("apiVersion", format!("{GROUP}/v1alpha1")).set("kind", "AppArmorProfile");
    map.set("metadata", metadata(parts, name, false));
    map.set("spec", spec);
    let mut what = vec![
        "For the Security Profiles Operator, which adds abstractions/base and denials of its own. It has no raw"
            .to_owned(),
        "rules: apparmor.profile is the exact profile, and can be loaded in its place under the same name.".into(),
    ];
    what.extend(unsaid.iter().map(|rule| format!("GAP: not said here: {rule}")));
    let lines: Vec<&str> = what.iter().map(String::as_str).collect();
    out.add("apparmorprofile.yaml", &lines, &map);
    if !unsaid.is_empty() {
        out.gaps.push(format!(
            "the AppArmorProfile object can't say {} of the profile's rules (they are in its comments): load \
             apparmor.profile on the nodes in its place (--profiles node)",
            unsaid.len()
        ));
    }
}

fn abstract_rules(parts: &Parts<'_>, lists: Lists, unsaid: &mut Vec<String>) -> Map {
    let mut map = Map::default();
    let section = |pairs: Vec<(&str, Vec<String>)>| {
        let mut section = Map::default();
        for (key, list) in pairs.into_iter().filter(|(_, list)| !list.is_empty()) {
            section.set(key, list);
        }
        section
    };
    let programs =
        section(vec![("allowedExecutables", lists.executables), ("allowedLibraries", lists.libraries)]);
    let files = section(vec![
        ("readOnlyPaths", lists.read_only),
        ("writeOnlyPaths", lists.write_only),
        ("readWritePaths", lists.read_write),
    ]);
    let mut network = Map::default();
    let (mut protocols, mut raw) = (Map::default(), false);
    for rule in &parts.apparmor.network {
        match rule.as_str() {
            "network inet stream," => drop(protocols.set("allowTcp", true)),
            "network inet dgram," => drop(protocols.set("allowUdp", true)),
            "network inet raw," => raw = true,
            // Said by abstractions/base, which every object has.
            rule if rule.starts_with("network unix ") => {}
            rule => unsaid.push(rule.to_owned()),
        }
    }
    network.set("allowRaw", raw);
    if !protocols.is_empty() {
        network.set("allowedProtocols", protocols);
    }
    let capabilities: Vec<String> = parts.apparmor.capabilities.iter().map(|c| (*c).to_owned()).collect();
    let capabilities = section(vec![("allowedCapabilities", capabilities)]);
    for (key, section) in
        [("executable", programs), ("filesystem", files), ("network", network), ("capability", capabilities)]
    {
        if !section.is_empty() {
            map.set(key, section);
        }
    }
    map
}

/// A pattern in the object's alphabet; wider where a wildcard has no other form there.
fn object_path(pattern: &Pattern) -> Option<String> {
    let mut out = String::new();
    for piece in pattern.pieces() {
        match piece {
            Piece::Literal(bytes) => {
                let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._+-".contains(b);
                if !bytes.iter().all(plain) {
                    return None;
                }
                out.push_str(std::str::from_utf8(bytes).ok()?);
            }
            Piece::Glob(glob) if glob == NUMBER => out.push('*'),
            Piece::Glob(glob)
                if glob.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._+-*?".contains(&b)) =>
            {
                out.push_str(glob);
            }
            Piece::Glob(glob) if glob == "@{PROC}/@{pid}" => out.push_str("/proc/@{pid}"),
            Piece::Glob(glob) if glob == "@{tid}" => out.push_str("@{tid}"),
            // A class of characters stands for one of them.
            Piece::Glob(glob) if glob.starts_with('[') && !glob.ends_with('*') => out.push('?'),
            Piece::Glob(glob) if glob.starts_with('[') => out.push('*'),
            Piece::Glob(_) => return None,
        }
    }
    out.starts_with('/').then_some(out)
}

/// Whether two different patterns may match one path, as far as what is before their wildcards tells.
fn may_meet(a: &Pattern, b: &Pattern) -> bool {
    if a == b || (a.is_literal() && b.is_literal()) {
        return false;
    }
    let start = |pattern: &Pattern| match pattern.pieces().first() {
        Some(Piece::Literal(bytes)) => bytes.clone(),
        Some(Piece::Glob(glob)) if glob.starts_with("@{PROC}") => b"/proc/".to_vec(),
        _ => Vec::new(),
    };
    let (one, other) = (start(a), start(b));
    one.starts_with(&other) || other.starts_with(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pieces: &[Piece]) -> Pattern {
        Pattern::of_pieces(pieces.iter().cloned())
    }

    fn literal(text: &str) -> Piece {
        Piece::Literal(text.into())
    }

    #[test]
    fn patterns_are_said_in_the_object_s_alphabet_or_not_at_all() {
        let glob = |text: &str| Piece::Glob(text.to_owned());
        for (pieces, text) in [
            (vec![literal("/usr/bin/x")], Some("/usr/bin/x")),
            (vec![literal("/tmp/"), glob(NUMBER)], Some("/tmp/*")),
            (vec![glob("@{PROC}/@{pid}"), literal("/stat")], Some("/proc/@{pid}/stat")),
            (vec![literal("/tmp/"), glob("[0-9a-f]")], Some("/tmp/?")),
            (vec![literal("/tmp/"), glob("[^.]*")], Some("/tmp/*")),
            (vec![literal("/usr/lib/"), glob("**.so")], Some("/usr/lib/**.so")),
            (vec![literal("/a b")], None),
            (vec![literal("/a,\n/** rwx")], None),
            (vec![literal("/a"), glob("{b,c}")], None),
        ] {
            assert_eq!(object_path(&pattern(&pieces)).as_deref(), text, "{pieces:?}");
        }
    }

    #[test]
    fn a_denial_stands_only_where_no_rule_gives_the_same() {
        let wide = pattern(&[literal("/app/"), Piece::Glob("**".into())]);
        assert!(may_meet(&wide, &pattern(&[literal("/app/log")])));
        assert!(!may_meet(&wide, &pattern(&[literal("/var/log")])));
        assert!(!may_meet(&pattern(&[literal("/a")]), &pattern(&[literal("/a/b")])));
    }
}
