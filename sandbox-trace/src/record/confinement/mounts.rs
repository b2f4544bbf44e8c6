//! `/proc/PID/mountinfo`. Names in it are bytes that somebody chose.

use crate::{audit::HeldMount, recording::BytePath};

/// The mounts, by target; of several at one place the last, which lies over the others.
pub fn parse(info: &[u8]) -> Vec<HeldMount> {
    let mut out: Vec<HeldMount> = Vec::new();
    for mount in info.split(|byte| *byte == b'\n').filter_map(line) {
        out.retain(|other| other.target != mount.target);
        out.push(mount);
    }
    out.sort_by(|a, b| a.target.cmp(&b.target));
    out
}

/// One line: id, parent, device, root, target, options, optional fields, `-`, type, source, options of the file system.
fn line(line: &[u8]) -> Option<HeldMount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(3);
    let (root, target, options) = (fields.next()?, fields.next()?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    let (kind, _source, of_system) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
    let words = |list: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(list).split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let mut all = words(options);
    // Either makes it read-only: the mount's own option, or the whole file system's.
    let of_system = words(of_system);
    let read_only = all.iter().chain(&of_system).any(|option| option == "ro");
    all.extend(of_system.into_iter().filter(|option| !matches!(option.as_str(), "rw" | "ro")));
    Some(HeldMount {
        target: unescaped(target),
        root: unescaped(root),
        kind: String::from_utf8_lossy(kind).into_owned(),
        read_only,
        options: all,
    })
}

/// The kernel writes spaces, tabs, newlines and backslashes as `\NNN`.
fn unescaped(field: &[u8]) -> BytePath {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) = (*first, rest) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            out.push(*first);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_the_names_are() {
        let info = b"\
            1 0 0:1 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a\n\
            2 1 0:2 / / ro - overlay overlay rw\n\
            3 1 0:3 /d\\040e /x\\012y\\134z\xff rw,nosuid,noexec - tmpfs t\\040t rw,size=64k\n\
            4 1 0:4 / /ro rw shared:1 master:2 propagate_from:3 - ext4 /dev/x ro\n\
            broken\n\n5 1 0:5 / /short rw";
        let mounts = parse(info);
        let shown: Vec<String> =
            mounts.iter().map(|m| format!("{} {} {} {}", m.target, m.root, m.kind, m.read_only)).collect();
        assert_eq!(shown, ["/ / overlay true", "/ro / ext4 true", "/x\\x0ay\\\\z\\xff /d e tmpfs false"]);
        assert_eq!(mounts[2].options, ["rw", "nosuid", "noexec", "size=64k"]);
    }
}
