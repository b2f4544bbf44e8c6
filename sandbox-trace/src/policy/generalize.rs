//! Names that are different in every run → the narrowest pattern that the next run's names match.
//!
//! A name is only generalised where it was made to be temporary, never below folders with programs, settings
//! or homes, and never to `**`. AppArmor has no repetition of a character class (`*` is "anything but /"), so a
//! random part becomes one class per character: as narrow as the language allows.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    apparmor::pattern::{Pattern, Piece},
    error::Result,
    recording::Access,
    requirements::Requirements,
};

/// How far rules go beyond what was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Generalization {
    /// Only what can't be written exactly: process and thread ids below /proc.
    Exact,
    /// Also random temporary names, for example tmpab12cd34 or a UUID below /tmp.
    #[default]
    Balanced,
    /// Also names of one run elsewhere: UUIDs, long hexadecimal names and numbers of six or more digits.
    Broad,
}

/// Folders whose names are temporary.
const TEMPORARY: [&[u8]; 5] = [b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/user/", b"/run/shm/"];

/// Folders below which a name is never generalised.
const PROTECTED: [&[u8]; 13] = [
    b"/etc/", b"/root/", b"/home/", b"/usr/", b"/bin/", b"/sbin/", b"/lib/", b"/lib32/", b"/lib64/",
    b"/opt/", b"/boot/", b"/proc/", b"/dev/",
];

/// Parts of names that key material has: never generalised, wherever it lies.
const KEYS: [&[u8]; 12] = [
    b".ssh",
    b".gnupg",
    b".aws",
    b".kube",
    b".docker",
    b".pem",
    b".key",
    b".p12",
    b"id_rsa",
    b"id_ed25519",
    b"credential",
    b"secret",
];

const HEX: &str = "[0-9a-f]";
const HEX_UPPER: &str = "[0-9A-F]";
const DIGIT: &str = "[0-9]";
/// The alphabet of Python's `tempfile`.
const PYTHON: &str = "[a-z0-9_]";
/// The alphabet of mktemp(1).
const MKTEMP: &str = "[A-Za-z0-9]";

/// Names that the run both made and removed, as paths: of one run by evidence.
#[derive(Debug, Clone, Default)]
pub struct ShortLived<'a>(BTreeSet<&'a [u8]>);

impl<'a> ShortLived<'a> {
    /// The short-lived names among what was accessed.
    pub fn of(needs: &'a Requirements) -> Self {
        let both = Access::CREATE | Access::DELETE;
        let paths = needs.files.iter().filter(|(_, need)| need.access.contains(both));
        Self(paths.map(|((path, _), _)| path.as_bytes()).collect())
    }
}

/// The pattern for a recorded path.
pub fn pattern(path: &[u8], short_lived: &ShortLived<'_>, level: Generalization) -> Result<Pattern> {
    let exact = Pattern::of_path(path)?;
    if level == Generalization::Exact || !exact.is_literal() {
        return Ok(exact);
    }
    let temporary = TEMPORARY.iter().find(|folder| path.starts_with(folder));
    if temporary.is_none() && PROTECTED.iter().any(|folder| path.starts_with(folder)) {
        return Ok(exact);
    }
    let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    if components.iter().any(|name| KEYS.iter().any(|key| name.windows(key.len()).any(|part| part == *key))) {
        return Ok(exact);
    }
    // The folder that makes the rest temporary is itself literal.
    let fixed = temporary.map_or(0, |folder| folder.split(|byte| *byte == b'/').count() - 1);
    let mut pieces = Vec::new();
    let mut end = 0;
    for (position, name) in components.iter().enumerate() {
        // A folder is recorded with the slash behind it.
        end += usize::from(position > 0) + name.len();
        let here = path.get(..(end + 1).min(path.len())).unwrap_or(path);
        let scratch = short_lived.0.contains(here).then(|| scratch_part(name)).flatten();
        if position > 0 {
            pieces.push(Piece::Literal(b"/".to_vec()));
        }
        if position < fixed {
            pieces.push(Piece::Literal(name.to_vec()));
        } else if let Some(random) = scratch {
            pieces.extend(with_classes(name, [(random, PYTHON)]));
        } else {
            let in_cache = position > 0 && components.get(position - 1) == Some(&b"__pycache__".as_slice());
            pieces.extend(component(name, temporary.is_some(), in_cache, level));
        }
    }
    Ok(Pattern::of_pieces(pieces))
}

fn component(name: &[u8], temporary: bool, in_cache: bool, level: Generalization) -> Vec<Piece> {
    let literal = |bytes: &[u8]| Piece::Literal(bytes.to_vec());
    // An unnamed temporary file (O_TMPFILE), which the kernel calls by its inode number.
    if let Some(inode) = name.strip_prefix(b"#")
        && is_all(inode, |byte| byte.is_ascii_digit())
    {
        return vec![literal(b"#"), Piece::Glob("[0-9]*".into())];
    }
    // Python writes byte code under such a name and renames it: x.cpython-311.pyc.140234234.
    if in_cache
        && let Some(dot) = name.iter().rposition(|byte| *byte == b'.')
        && let Some((stem, number)) = name.split_at_checked(dot + 1)
        && stem.ends_with(b".pyc.")
        && is_all(number, |byte| byte.is_ascii_digit())
    {
        return vec![literal(stem), Piece::Glob("[0-9]*".into())];
    }
    let mut parts: Vec<(Range<usize>, &str)> = Vec::new();
    if temporary && let Some(part) = random_suffix(name) {
        parts.push(part);
    } else if temporary || level == Generalization::Broad {
        parts = tokens(name, level == Generalization::Broad);
    }
    with_classes(name, parts)
}

/// The name with some of its parts replaced by one class a character.
fn with_classes<'a>(name: &[u8], parts: impl IntoIterator<Item = (Range<usize>, &'a str)>) -> Vec<Piece> {
    let literal = |bytes: &[u8]| Piece::Literal(bytes.to_vec());
    let mut pieces = Vec::new();
    let mut done = 0;
    for (range, class) in parts {
        pieces.push(literal(name.get(done..range.start).unwrap_or(&[])));
        pieces.extend(classes(name.get(range.clone()).unwrap_or(&[]), class));
        done = range.end;
    }
    pieces.push(literal(name.get(done..).unwrap_or(&[])));
    pieces
}

/// The random part of a short-lived name that Python's `tempfile` made with the program's own prefix and suffix:
/// eight characters of its alphabet, alone (its probe for a usable folder) or between separators.
fn scratch_part(name: &[u8]) -> Option<Range<usize>> {
    const LENGTH: usize = 8;
    (0..=name.len().checked_sub(LENGTH)?).rev().find_map(|start| {
        let range = start..start + LENGTH;
        let separated = start == 0 || matches!(name.get(start - 1), Some(b'-' | b'.'));
        let ended = matches!(name.get(range.end), None | Some(b'-' | b'.'));
        (separated && ended && is_all(name.get(range.clone())?, is_python)).then_some(range)
    })
}

/// The random part of what Python's `tempfile` and `multiprocessing`, and mktemp(1), name.
fn random_suffix(name: &[u8]) -> Option<(Range<usize>, &'static str)> {
    const FORMS: [(&[u8], usize, &str); 3] =
        [(b"pymp-", 8, PYTHON), (b"tmp.", 10, MKTEMP), (b"tmp", 8, PYTHON)];
    FORMS.into_iter().find_map(|(prefix, length, class)| {
        let fits = if class == PYTHON { is_python } else { |byte: u8| byte.is_ascii_alphanumeric() };
        let random = name.strip_prefix(prefix)?;
        let (random, rest) = random.split_at_checked(length)?;
        // A suffix like .txt may follow; more of the same alphabet means that it was not such a name.
        (is_all(random, fits) && matches!(rest.first(), None | Some(b'.')))
            .then_some((prefix.len()..prefix.len() + length, class))
    })
}

/// UUIDs, hexadecimal names of 16 and more, and (broad) numbers of six and more digits: between other
/// characters than letters and digits.
fn tokens(name: &[u8], numbers: bool) -> Vec<(Range<usize>, &'static str)> {
    let mut out = Vec::new();
    let mut start = 0;
    while start < name.len() {
        let rest = name.get(start..).unwrap_or(&[]);
        let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let text = rest.get(..word).unwrap_or(&[]);
        let uuid = rest.get(..36).filter(|text| is_uuid(text));
        let ends = |length: usize| !rest.get(length).is_some_and(u8::is_ascii_alphanumeric);
        if let Some(uuid) = uuid
            && ends(36)
        {
            out.push((start..start + 36, if is_all(uuid, is_hex_or_dash) { HEX } else { HEX_UPPER }));
            start += 36;
            continue;
        }
        let class = if word >= 16 && is_all(text, is_hex) {
            Some(HEX)
        } else if word >= 16 && is_all(text, is_hex_upper) {
            Some(HEX_UPPER)
        } else if numbers && word >= 6 && is_all(text, |byte| byte.is_ascii_digit()) {
            Some(DIGIT)
        } else {
            None
        };
        if let Some(class) = class {
            out.push((start..start + word, class));
        }
        start += word.max(1);
    }
    out
}

/// One class a character; the dashes of a UUID stay.
fn classes(random: &[u8], class: &str) -> Vec<Piece> {
    random
        .iter()
        .map(|byte| match byte {
            b'-' => Piece::Literal(vec![b'-']),
            _ => Piece::Glob(class.to_owned()),
        })
        .collect()
}

fn is_all(bytes: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| fits(*byte))
}

fn is_python(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_hex_upper(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}

fn is_hex_or_dash(byte: u8) -> bool {
    is_hex(byte) || byte == b'-'
}

/// 8-4-4-4-12, all lower or all upper case.
fn is_uuid(text: &[u8]) -> bool {
    let shape = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    shape && (is_all(text, is_hex_or_dash) || is_all(text, |byte| is_hex_upper(byte) || byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, level: Generalization) -> String {
        pattern(path.as_bytes(), &ShortLived::default(), level).unwrap().text()
    }

    #[test]
    fn a_name_that_was_made_and_removed_may_be_all_random() {
        let made_and_removed = |removed: &str, path: &str| {
            let short_lived = ShortLived([removed.as_bytes()].into());
            pattern(path.as_bytes(), &short_lived, Generalization::Balanced).unwrap().text()
        };
        let random = PYTHON.repeat(8);
        let cases = [
            ("/tmp/i8e_0c61", format!("/tmp/{random}")),
            ("/tmp/agent/scratch-vnrb4a0i", format!("/tmp/agent/scratch-{random}")),
            ("/tmp/a.vnrb4a0i.sock", format!("/tmp/a.{random}.sock")),
            ("/tmp/i8e_0c612", "/tmp/i8e_0c612".into()),
            ("/tmp/scratch", "/tmp/scratch".into()),
            ("/app/data/scratch-vnrb4a0i", format!("/app/data/scratch-{random}")),
            ("/etc/scratch-vnrb4a0i", "/etc/scratch-vnrb4a0i".into()),
            ("/home/u/scratch-vnrb4a0i", "/home/u/scratch-vnrb4a0i".into()),
        ];
        for (path, pattern) in cases {
            assert_eq!(made_and_removed(path, path), pattern);
            assert_eq!(made_and_removed("/tmp/other", path), path);
        }
        assert_eq!(
            made_and_removed("/tmp/job-vnrb4a0i/", "/tmp/job-vnrb4a0i/x"),
            format!("/tmp/job-{random}/x")
        );
    }

    #[test]
    fn temporary_names_become_the_narrowest_class() {
        let cases = [
            ("/tmp/tmpab12c_34", "/tmp/tmp".to_owned() + &PYTHON.repeat(8)),
            ("/tmp/tmpab12c_34/x.txt", format!("/tmp/tmp{}/x.txt", PYTHON.repeat(8))),
            ("/tmp/tmpab12c_34.txt", format!("/tmp/tmp{}.txt", PYTHON.repeat(8))),
            ("/tmp/pymp-ab12c_34/", format!("/tmp/pymp-{}/", PYTHON.repeat(8))),
            ("/var/tmp/tmp.AbCdEf0123", "/var/tmp/tmp.".to_owned() + &MKTEMP.repeat(10)),
            ("/dev/shm/0123456789abcdef", "/dev/shm/".to_owned() + &HEX.repeat(16)),
            ("/tmp/#4711", "\"/tmp/#[0-9]*\"".to_owned()),
            (
                "/app/__pycache__/x.cpython-311.pyc.1402",
                "/app/__pycache__/x.cpython-311.pyc.[0-9]*".to_owned(),
            ),
            ("/tmp/run-01234567-89ab-cdef-0123-456789abcdef.log", {
                let h = |n| HEX.repeat(n);
                format!("/tmp/run-{}-{}-{}-{}-{}.log", h(8), h(4), h(4), h(4), h(12))
            }),
        ];
        for (path, pattern) in cases {
            assert_eq!(text(path, Generalization::Balanced), pattern);
            assert_eq!(text(path, Generalization::Exact), Pattern::literal(path.as_bytes()).unwrap().text());
        }
    }

    #[test]
    fn what_is_not_temporary_or_is_protected_stays() {
        for path in [
            "/tmp/tmp",
            "/tmp/tmpABCDEFGH",
            "/tmp/tmpab12c_345",
            "/tmp/build/out.o",
            "/tmp/deadbeef",
            "/etc/0123456789abcdef",
            "/home/u/__pycache__/x.pyc.123",
            "/usr/lib/python3/__pycache__/x.cpython-311.pyc.140234",
            "/root/#12",
            "/tmp/.ssh/0123456789abcdef",
            "/tmp/0123456789abcdef.pem",
            "/tmp",
            "/tmp/",
        ] {
            let exact = Pattern::literal(path.as_bytes()).unwrap().text();
            assert_eq!(text(path, Generalization::Balanced), exact, "{path}");
            assert_eq!(text(path, Generalization::Broad), exact, "{path}");
        }
        assert_eq!(text("/app/0123456789abcdef", Generalization::Balanced), "/app/0123456789abcdef");
    }

    #[test]
    fn broad_reaches_names_of_one_run_elsewhere() {
        assert_eq!(
            text("/app/logs/run-20240501.log", Generalization::Broad),
            format!("/app/logs/run-{}.log", DIGIT.repeat(8))
        );
        assert_eq!(text("/app/0123456789abcdef", Generalization::Broad), format!("/app/{}", HEX.repeat(16)));
        assert_eq!(text("/app/v12345", Generalization::Broad), "/app/v12345");
    }
}
