//! One component of a path: what in it is random by its form, and what numbers it has. Knows nothing of folders.

use std::ops::Range;

use crate::apparmor::pattern::{NUMBER, Piece};

/// Lower-case hexadecimal.
pub const HEX: &str = "[0-9a-f]";
const HEX_UPPER: &str = "[0-9A-F]";
const DIGIT: &str = "[0-9]";
/// The alphabet of Python's `tempfile`.
const PYTHON: &str = "[a-z0-9_]";
/// The alphabet of mkstemp(3) and mktemp(1).
const MKTEMP: &str = "[A-Za-z0-9]";
/// The alphabet of Perl's `File::Temp`.
const PERL: &str = "[A-Za-z0-9_]";
/// Any name that is not hidden.
const NOT_HIDDEN: &str = "[^./]*";

/// How names below a folder are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// The folder's names are temporary, or this one was made and removed in one run.
    pub temporary: bool,
    /// This one was made and removed in one run.
    pub short_lived: bool,
    /// The folder is `__pycache__`.
    pub in_cache: bool,
}

/// A part of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// As it is.
    Text,
    /// A number.
    Number,
    /// Random by its form; the class of each of its characters.
    Random(&'static str),
    /// Random by its form, of any length, of digits.
    Digits,
}

/// A name in parts that follow each other.
pub type Parts = Vec<(Range<usize>, Part)>;

/// Takes a name apart.
pub fn parts(name: &[u8], look: Look) -> Parts {
    let mut out: Parts = Vec::new();
    let random = special(name, look);
    let mut at = 0;
    while at < name.len() {
        if let Some((range, part)) = random.iter().find(|(range, _)| range.start == at) {
            out.push((range.clone(), *part));
            at = range.end;
            continue;
        }
        let rest = name.get(at..).unwrap_or(&[]);
        let starts_word = at == 0 || !name.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
        if starts_word && let Some(found) = word(rest) {
            out.extend(found.into_iter().map(|(range, part)| (at + range.start..at + range.end, part)));
            at = out.last().map_or(name.len(), |(range, _)| range.end);
            continue;
        }
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            out.push((at..at + digits, Part::Number));
            at += digits;
            continue;
        }
        match out.last_mut() {
            Some((range, Part::Text)) => range.end += 1,
            _ => out.push((at..at + 1, Part::Text)),
        }
        at += 1;
    }
    out
}

/// The random parts that the whole name's form shows.
fn special(name: &[u8], look: Look) -> Parts {
    if unnamed(name).is_some() {
        return vec![(1..name.len(), Part::Digits)];
    }
    // Python writes byte code under such a name and renames it: x.cpython-311.pyc.140234234.
    if look.in_cache
        && let Some(dot) = name.iter().rposition(|byte| *byte == b'.')
        && let Some((stem, number)) = name.split_at_checked(dot + 1)
        && stem.ends_with(b".pyc.")
        && is_all(number, |byte| byte.is_ascii_digit())
    {
        return vec![(0..stem.len(), Part::Text), (stem.len()..name.len(), Part::Digits)];
    }
    if !look.temporary && !look.short_lived {
        return Vec::new();
    }
    prefixed(name).or_else(|| look.short_lived.then(|| scratch(name)).flatten()).into_iter().collect()
}

/// The random part of what well-known programs name: Python's `tempfile` and `multiprocessing`, mktemp(1), glibc's
/// `sem_open`, gcc, sort, `SQLite`, git.
fn prefixed(name: &[u8]) -> Option<(Range<usize>, Part)> {
    const FORMS: &[(&[u8], usize, &str)] = &[
        (b"pymp-", 8, PYTHON),
        (b"tmp.", 10, MKTEMP),
        (b"tmp", 8, PYTHON),
        (b"sem.mp-", 8, PYTHON),
        (b"sem.", 6, MKTEMP),
        (b"psm_", 8, HEX),
        (b"cc", 6, MKTEMP),
        (b"sort", 6, MKTEMP),
        (b"sh-thd.", 6, MKTEMP),
        (b"etilqs_", 16, HEX),
        (b"tmp_obj_", 6, MKTEMP),
        (b"tmp_pack_", 6, MKTEMP),
        (b"tmp_idx_", 6, MKTEMP),
    ];
    FORMS.iter().find_map(|(prefix, length, class)| {
        let (random, rest) = name.strip_prefix(*prefix)?.split_at_checked(*length)?;
        // A suffix like .txt may follow; more of the same alphabet means that it was not such a name.
        let whole = matches!(rest.first(), None | Some(b'.'));
        let range = prefix.len()..prefix.len() + length;
        (whole && is_all(random, |byte| fits(byte, class))).then_some((range, Part::Random(class)))
    })
}

/// The random part of a short-lived name that was made with the program's own prefix and suffix: Python's eight
/// characters, mkstemp's six or ten, alone (Python's probe for a usable folder) or behind a separator.
fn scratch(name: &[u8]) -> Option<(Range<usize>, Part)> {
    let find = |length: usize, class: &'static str, fit: fn(&[u8], &[u8]) -> bool| {
        let last = name.len().checked_sub(length)?;
        (0..=last).rev().find_map(|start| {
            let range = start..start + length;
            let separated = start == 0 || matches!(name.get(start - 1), Some(b'-' | b'.' | b'_'));
            let rest = name.get(range.end..)?;
            let ended = matches!(rest.first(), None | Some(b'-' | b'.'));
            let text = name.get(range.clone())?;
            let number = text.iter().all(u8::is_ascii_digit);
            let fits = !number && is_all(text, |byte| fits(byte, class)) && fit(text, rest);
            (separated && ended && fits).then_some((range, Part::Random(class)))
        })
    };
    // A word of a language has neither digits nor capitals in the middle.
    let odd = |text: &[u8], _: &[u8]| {
        let capitals = text.iter().skip(1).any(u8::is_ascii_uppercase);
        text.iter().any(u8::is_ascii_digit) || capitals && text.iter().any(u8::is_ascii_lowercase)
    };
    // Python's alphabet is mostly letters, so its names may look like words; they are the last ones. A PID file has the
    // name that others look for.
    let last = |_: &[u8], rest: &[u8]| !rest.contains(&b'-') && rest != b".pid";
    [(8, PYTHON), (6, MKTEMP), (10, PERL), (8, PERL)]
        .into_iter()
        .find_map(|(length, class)| find(length, class, odd))
        .or_else(|| find(8, PYTHON, last))
}

/// A UUID, or a hexadecimal word of 16 and more characters, at the start of `rest`.
fn word(rest: &[u8]) -> Option<Parts> {
    let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let ends = |at: usize| !rest.get(at).is_some_and(u8::is_ascii_alphanumeric);
    if let Some(text) = rest.get(..36).filter(|text| is_uuid(text))
        && ends(36)
    {
        let class = if text.iter().any(u8::is_ascii_uppercase) { HEX_UPPER } else { HEX };
        let mut out = Parts::new();
        for (from, to) in [(0, 8), (9, 13), (14, 18), (19, 23), (24, 36)] {
            if from > 0 {
                out.push((from - 1..from, Part::Text));
            }
            out.push((from..to, Part::Random(class)));
        }
        return Some(out);
    }
    let text = rest.get(..length).filter(|text| text.len() >= 16)?;
    if !text.iter().any(u8::is_ascii_digit) || text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let class = [HEX, HEX_UPPER].into_iter().find(|class| is_all(text, |byte| fits(byte, class)))?;
    Some(vec![(0..length, Part::Random(class))])
}

/// What names must have in common to be of one form, as bytes: the text, and marks for the rest.
pub fn form(name: &[u8], parts: &Parts) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for (range, part) in parts {
        match part {
            Part::Text => out.extend_from_slice(name.get(range.clone()).unwrap_or(&[])),
            Part::Number => out.extend_from_slice(b"\0n"),
            Part::Digits => out.extend_from_slice(b"\0d"),
            Part::Random(class) => {
                out.extend_from_slice(b"\0r");
                out.extend_from_slice(class.as_bytes());
                out.extend_from_slice(range.len().to_string().as_bytes());
            }
        }
    }
    out
}

/// What is known of one number in names of one form.
#[derive(Debug, Clone)]
pub struct Numbers {
    first: Vec<u8>,
    varies: bool,
    padded: bool,
    shortest: usize,
    longest: usize,
}

impl Numbers {
    /// Of one name's number.
    pub fn of(text: &[u8]) -> Self {
        Self {
            first: text.to_vec(),
            varies: false,
            padded: text.len() > 1 && text.starts_with(b"0"),
            shortest: text.len(),
            longest: text.len(),
        }
    }

    /// Takes in another name's.
    pub fn add(&mut self, text: &[u8]) {
        self.varies |= self.first != text;
        self.padded |= text.len() > 1 && text.starts_with(b"0");
        self.shortest = self.shortest.min(text.len());
        self.longest = self.longest.max(text.len());
        if text < self.first.as_slice() {
            self.first = text.to_vec();
        }
    }

    /// The most digits that were seen.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether it is of one moment: such a number stands still in recordings of one day.
    fn is_time(&self) -> bool {
        self.shortest == self.longest && self.longest >= 6
    }

    fn pieces(&self, varies: bool) -> Vec<Piece> {
        if !varies {
            vec![Piece::Literal(self.first.clone())]
        } else if self.shortest == self.longest && (self.padded || self.is_time()) {
            classes(self.longest, DIGIT)
        } else {
            vec![Piece::Glob(NUMBER.into())]
        }
    }
}

/// The pattern of names of one form. `numbers` are theirs in order; with `varied` those that differ are generalised,
/// and with them what is a date or a time, which only looks constant.
pub fn of_form(name: &[u8], parts: &Parts, numbers: &[Numbers], varied: bool) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut number = 0;
    for (at, (range, part)) in parts.iter().enumerate() {
        let text = name.get(range.clone()).unwrap_or(&[]);
        match part {
            Part::Text => out.push(Piece::Literal(text.to_vec())),
            Part::Digits => out.push(Piece::Glob(NUMBER.into())),
            Part::Random(class) => out.extend(classes(range.len(), class)),
            Part::Number => {
                if let Some(known) = numbers.get(number) {
                    if varied && in_date(name, parts, at) {
                        out.extend(classes(range.len(), DIGIT));
                    } else {
                        out.extend(known.pieces(varied && (known.varies || known.is_time())));
                    }
                }
                number += 1;
            }
        }
    }
    out
}

/// Whether the part is of a date that is written 1970-01-31 or 1970-01, with any separator.
fn in_date(name: &[u8], parts: &Parts, at: usize) -> bool {
    let number = |(range, part): &(Range<usize>, Part)| (*part == Part::Number).then_some(range.len());
    (0..=4).any(|back| {
        let Some(rest) = at.checked_sub(back).and_then(|from| parts.get(from..)) else { return false };
        let [year, between, month, more @ ..] = rest else { return false };
        let century = name.get(year.0.clone()).is_some_and(|y| y.starts_with(b"19") || y.starts_with(b"20"));
        let separated = |part: &(Range<usize>, Part)| part.1 == Part::Text && part.0.len() == 1;
        let dated = century && number(year) == Some(4) && separated(between) && number(month) == Some(2);
        let day = matches!(more, [between, day, ..] if separated(between) && number(day) == Some(2));
        dated && back < if day { 5 } else { 3 }
    })
}

/// One class a character.
pub fn classes(length: usize, class: &str) -> Vec<Piece> {
    std::iter::repeat_n(Piece::Glob(class.to_owned()), length).collect()
}

/// The narrowest pattern for texts that vary: classes if all are as long, else anything. `starts` says that a name
/// begins here, so that hidden names are not meant unless one was seen.
pub fn of_texts(texts: &[&[u8]], starts: bool) -> Vec<Piece> {
    const LONGEST: usize = 64;
    let length = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let same = texts.iter().all(|text| text.len() == length);
    if same && length <= LONGEST {
        let found = [DIGIT, HEX, HEX_UPPER, PYTHON, MKTEMP, PERL]
            .into_iter()
            .find(|class| texts.iter().all(|text| is_all(text, |byte| fits(byte, class))));
        if let Some(class) = found {
            return classes(length, class);
        }
    }
    let hidden = texts.iter().any(|text| text.is_empty() || text.starts_with(b"."));
    vec![anything(hidden || !starts)]
}

/// Anything but a slash; at the start of a name, hidden names only if they are meant.
pub fn anything(hidden: bool) -> Piece {
    Piece::Glob(if hidden { "*".into() } else { NOT_HIDDEN.into() })
}

/// Where the ending begins that says what kind of file it is: `.json`, `.tar.gz` is `.gz`.
pub fn ending(name: &[u8]) -> usize {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    dot.filter(|dot| {
        let rest = name.get(dot + 1..).unwrap_or(&[]);
        (1..=5).contains(&rest.len())
            && rest.iter().all(u8::is_ascii_alphanumeric)
            && rest.first().is_some_and(u8::is_ascii_lowercase)
    })
    .unwrap_or(name.len())
}

/// Where the first word ends, its separator included; 0 if there is no other.
pub fn first_word(name: &[u8]) -> usize {
    name.iter()
        .position(|byte| matches!(byte, b'-' | b'.' | b'_'))
        .filter(|at| *at > 0)
        .map_or(0, |at| at + 1)
}

/// The pattern of a shared library's versions, `libz.so.1.2.13` → `libz.so.1.*`: the first number is part of what
/// programs ask for, the rest changes with each update.
pub fn library(name: &[u8]) -> Option<Vec<Piece>> {
    let marker = b".so.";
    let at = name.windows(marker.len()).position(|part| part == marker)? + marker.len();
    let version = name.get(at..)?;
    let mut numbers = version.split(|byte| *byte == b'.');
    let major = numbers.next().filter(|major| is_all(major, |byte| byte.is_ascii_digit()))?;
    let rest: Vec<&[u8]> = numbers.collect();
    if rest.is_empty() || !rest.iter().all(|number| is_all(number, |byte| byte.is_ascii_digit())) {
        return None;
    }
    let fixed = name.get(..at + major.len() + 1)?;
    let mut out = vec![Piece::Literal(fixed.to_vec())];
    for (position, _) in rest.iter().enumerate() {
        if position > 0 {
            out.push(Piece::Literal(b".".to_vec()));
        }
        out.push(Piece::Glob(NUMBER.into()));
    }
    Some(out)
}

/// The pattern of an unnamed temporary file (`O_TMPFILE`), which the kernel calls by its inode's number.
pub fn unnamed(name: &[u8]) -> Option<Vec<Piece>> {
    let inode = name.strip_prefix(b"#")?;
    is_all(inode, |byte| byte.is_ascii_digit())
        .then(|| vec![Piece::Literal(b"#".to_vec()), Piece::Glob(NUMBER.into())])
}

/// The pattern of a device of which a machine has several: GPUs, terminals.
pub fn device(path: &[u8]) -> Option<Vec<Piece>> {
    const NUMBERED: &[&[u8]] = &[
        b"/dev/accel/accel",
        b"/dev/dri/card",
        b"/dev/dri/renderD",
        b"/dev/nvidia",
        b"/dev/nvidia-caps/nvidia-cap",
        b"/dev/pts/",
    ];
    NUMBERED.iter().find_map(|start| {
        let number = path.strip_prefix(*start)?;
        is_all(number, |byte| byte.is_ascii_digit())
            .then(|| vec![Piece::Literal(start.to_vec()), Piece::Glob(NUMBER.into())])
    })
}

fn is_all(bytes: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| fits(*byte))
}

/// Whether the class has the byte.
pub fn fits(byte: u8, class: &str) -> bool {
    match class {
        DIGIT => byte.is_ascii_digit(),
        HEX => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        HEX_UPPER => byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte),
        PYTHON => byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_',
        MKTEMP => byte.is_ascii_alphanumeric(),
        PERL => byte.is_ascii_alphanumeric() || byte == b'_',
        NOT_HIDDEN => byte != b'.' && byte != b'/',
        _ => byte != b'/',
    }
}

/// 8-4-4-4-12, all lower or all upper case.
fn is_uuid(text: &[u8]) -> bool {
    let shape = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    let case = |upper: bool| {
        text.iter().all(|byte| !byte.is_ascii_alphabetic() || byte.is_ascii_uppercase() == upper)
    };
    shape && (case(true) || case(false))
}

/// Whether the pieces have wildcards, and only those that [`matches`] knows.
pub fn is_ours(pieces: &[Piece]) -> bool {
    let known = [DIGIT, HEX, HEX_UPPER, PYTHON, MKTEMP, PERL, NOT_HIDDEN, NUMBER, "*"];
    let mut globs = pieces.iter().filter_map(|piece| match piece {
        Piece::Glob(glob) => Some(glob.as_str()),
        Piece::Literal(_) => None,
    });
    globs.clone().next().is_some() && globs.all(|glob| known.contains(&glob))
}

/// Whether the name is one that the pieces stand for. Only for wildcards that this module makes.
pub fn matches(pieces: &[Piece], name: &[u8]) -> bool {
    const LONGEST_NUMBER: usize = 20;
    let Some((first, pieces)) = pieces.split_first() else { return name.is_empty() };
    let tail = |length: usize| matches(pieces, name.get(length..).unwrap_or(&[]));
    match first {
        Piece::Literal(text) => name.starts_with(text) && tail(text.len()),
        Piece::Glob(glob) if glob == NUMBER => {
            let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=digits.min(LONGEST_NUMBER)).rev().any(tail)
        }
        Piece::Glob(glob) if glob == "*" => (0..=name.len()).any(tail),
        Piece::Glob(glob) if glob == NOT_HIDDEN => {
            name.first().is_some_and(|byte| fits(*byte, NOT_HIDDEN)) && (1..=name.len()).any(tail)
        }
        Piece::Glob(class) => name.first().is_some_and(|byte| fits(*byte, class)) && tail(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apparmor::pattern::Pattern;

    fn text(name: &str, look: Look) -> String {
        let parts = parts(name.as_bytes(), look);
        let numbers: Vec<Numbers> = parts
            .iter()
            .filter(|(_, part)| *part == Part::Number)
            .map(|(range, _)| Numbers::of(&name.as_bytes()[range.clone()]))
            .collect();
        Pattern::of_pieces(of_form(name.as_bytes(), &parts, &numbers, false)).text()
    }

    #[test]
    fn temporary_names_become_the_narrowest_class() {
        let temporary = Look { temporary: true, ..Look::default() };
        let cases = [
            ("tmpab12c_34", "tmp".to_owned() + &PYTHON.repeat(8)),
            ("tmpab12c_34.txt", format!("tmp{}.txt", PYTHON.repeat(8))),
            ("pymp-ab12c_34", format!("pymp-{}", PYTHON.repeat(8))),
            ("tmp.AbCdEf0123", "tmp.".to_owned() + &MKTEMP.repeat(10)),
            ("sem.5DGN0T", "sem.".to_owned() + &MKTEMP.repeat(6)),
            ("sem.mp-alvkc967", "sem.mp-".to_owned() + &PYTHON.repeat(8)),
            ("psm_06b82a20", "psm_".to_owned() + &HEX.repeat(8)),
            ("ccAbCdEf.s", format!("cc{}.s", MKTEMP.repeat(6))),
            ("#4711", format!("\"#{NUMBER}\"")),
        ];
        for (name, pattern) in cases {
            assert_eq!(text(name, temporary), pattern);
        }
        for name in ["tmp", "tmpABCDEFGH", "tmpab12c_345", "build", "deadbeef", "cc1plus.o"] {
            assert_eq!(text(name, temporary), name);
        }
    }

    #[test]
    fn digests_and_uuids_are_random_anywhere() {
        let cases = [
            ("0123456789abcdef", HEX.repeat(16)),
            ("part-0123456789abcdef.bin", format!("part-{}.bin", HEX.repeat(16))),
            ("run-01234567-89ab-cdef-0123-456789abcdef.log", {
                let h = |n| HEX.repeat(n);
                format!("run-{}-{}-{}-{}-{}.log", h(8), h(4), h(4), h(4), h(12))
            }),
        ];
        for (name, pattern) in cases {
            assert_eq!(text(name, Look::default()), pattern);
        }
        for name in ["deadbeefdeadbeef", "1234567890123456", "0123456789abcdefg", "abc123"] {
            assert_eq!(text(name, Look::default()), name);
        }
    }

    #[test]
    fn a_name_that_was_made_and_removed_may_be_all_random() {
        let short = Look { short_lived: true, ..Look::default() };
        let random = PYTHON.repeat(8);
        let cases = [
            ("i8e_0c61", random.clone()),
            ("scratch-vnrb4a0i", format!("scratch-{random}")),
            ("a.vnrb4a0i.sock", format!("a.{random}.sock")),
            ("copy.mvTsn2", format!("copy.{}", MKTEMP.repeat(6))),
            ("tmp_objdir-incoming-G65Rrx", format!("tmp_objdir-incoming-{}", MKTEMP.repeat(6))),
            ("tmp_obj_Ab12Cd", format!("tmp_obj_{}", MKTEMP.repeat(6))),
            ("i8e_0c612", "i8e_0c612".into()),
            ("00000001", "00000001".into()),
            ("MERGE_HEAD", "MERGE_HEAD".into()),
            ("scratch", "scratch".into()),
            ("my-report", "my-report".into()),
            ("openclaw.pid", "openclaw.pid".into()),
        ];
        for (name, pattern) in cases {
            assert_eq!(text(name, short), pattern);
            assert_eq!(text(name, Look::default()), name);
        }
    }

    #[test]
    fn libraries_keep_what_programs_ask_for() {
        let text = |name: &str| library(name.as_bytes()).map(|pieces| Pattern::of_pieces(pieces).text());
        assert_eq!(text("libz.so.1.2.13").unwrap(), format!("libz.so.1.{NUMBER}.{NUMBER}"));
        assert_eq!(text("libc.so.6"), None);
        assert_eq!(text("libssl.so.1.1a"), None);
        assert_eq!(text("notes.so"), None);
    }

    #[test]
    fn a_match_is_what_the_pattern_stands_for() {
        let pieces = |parts: &[&str]| -> Vec<Piece> {
            parts
                .iter()
                .map(|part| match *part {
                    glob if glob == NUMBER || glob == "*" || glob == HEX || glob == NOT_HIDDEN => {
                        Piece::Glob(glob.into())
                    }
                    text => Piece::Literal(text.into()),
                })
                .collect()
        };
        for (parts, name, yes) in [
            (vec!["a-", NUMBER, ".pt"], "a-12.pt", true),
            (vec!["a-", NUMBER, ".pt"], "a-.pt", false),
            (vec!["a-", NUMBER, ".pt"], "a-1x.pt", false),
            (vec![NUMBER, "7"], "17", true),
            (vec![HEX, HEX], "f0", true),
            (vec![HEX, HEX], "fg", false),
            (vec![NOT_HIDDEN, ".py"], "x.py", true),
            (vec![NOT_HIDDEN, ".py"], ".x.py", false),
            (vec!["*"], "", true),
        ] {
            assert_eq!(matches(&pieces(&parts), name.as_bytes()), yes, "{parts:?} {name}");
        }
    }
}
