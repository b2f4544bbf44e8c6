//! Bytes that a possibly hostile program chose → text that `apparmor_parser` takes for exactly those bytes.
//!
//! The compiler turns `\NNN` (octal) into the byte wherever a path may stand, and keeps a byte that would be
//! special as that byte; `//` is the one thing that it changes in a literal, so such a path has no rule.
//! Measured for each byte value with `apparmor_parser` 3.0.8; the tests measure it again.

use std::fmt::Write as _;

/// Appends `bytes` to `out` as rule text. Returns whether the text must stand in double quotes.
pub fn literal(bytes: &[u8], out: &mut String) -> bool {
    let mut quotes = false;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '/' | '.' | '_' | '-' | '+' | '%' | '~' => out.push(c),
                // Plain inside quotes, and worth it for the reader.
                ' ' | ':' | '=' | ',' | '#' | '&' => {
                    quotes = true;
                    out.push(c);
                }
                // Letters and digits of any script: nothing that hides, reorders or ends a line.
                c if !c.is_ascii() && c.is_alphanumeric() => {
                    quotes = true;
                    out.push(c);
                }
                c => {
                    let mut buffer = [0; 4];
                    octal(c.encode_utf8(&mut buffer).as_bytes(), out);
                }
            }
        }
        octal(chunk.invalid(), out);
    }
    quotes
}

/// The text of a comment: printable ASCII only, everything else in the form that the module of recordings uses
/// for bytes, so that no recorded name can end the comment's line or hide in it.
pub fn comment(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*byte)),
            // Writing to a string does not fail.
            _ => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    out
}

/// Why no rule can name `path`, if none can.
pub fn inexpressible(path: &[u8]) -> Option<&'static str> {
    if path.first() != Some(&b'/') {
        return Some("it does not start with / (a file outside of the target's file system tree)");
    }
    if path.contains(&0) {
        return Some("it has a NUL byte, which no path has");
    }
    if path.windows(2).any(|pair| pair == b"//") {
        return Some("it has // in it, which the compiler reads as /");
    }
    None
}

fn octal(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(out, "\\{byte:03o}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::apparmor::{
        pattern::Pattern,
        perms::{READ, Subject},
        policy::Profile,
        testing,
    };

    fn readable(profile: &Profile, path: &[u8]) -> bool {
        profile.file_perms(path, Subject::Other).allows(READ)
    }

    /// One profile with a rule for each path; all are expressible.
    fn profile_of(paths: &[Vec<u8>]) -> Profile {
        let rules: Vec<String> =
            paths.iter().map(|path| format!("  {} r,\n", Pattern::literal(path).unwrap().text())).collect();
        testing::rules(rules.concat())
    }

    #[test]
    fn every_byte_matches_itself_and_no_other() {
        // The byte between, at the end, and before a digit (which must not become part of the octal number).
        let shapes: [fn(u8) -> Vec<u8>; 3] =
            [|b| vec![b'/', b'm', b, b'x'], |b| vec![b'/', b'e', b], |b| vec![b'/', b'd', b, b'7', b'1']];
        for shape in shapes {
            for parity in [0, 1] {
                // Half of the bytes in each profile, so that a rule that matches too much is seen.
                let chosen = |b: u8| b % 2 == parity && b != b'/' && b != 0;
                let paths: Vec<Vec<u8>> = (1..=255).filter(|b| chosen(*b)).map(shape).collect();
                let profile = profile_of(&paths);
                for b in 0..=255 {
                    assert_eq!(readable(&profile, &shape(b)), chosen(b), "byte {b}");
                }
            }
        }
    }

    #[test]
    fn a_single_special_byte_alone_in_its_profile_matches_only_itself() {
        for byte in *b" \"\\*?[]{}^,#@!$()<>;:=\n\t'|\x7f\x80\xff" {
            let profile = profile_of(&[vec![b'/', byte]]);
            for other in 0..=255 {
                assert_eq!(readable(&profile, &[b'/', other]), other == byte, "rule {byte}, path {other}");
            }
        }
    }

    #[test]
    fn text_that_looks_like_the_language_is_only_text() {
        let hostile: Vec<Vec<u8>> = [
            "/@{PROC}",
            "/@{HOME}/x",
            "/a b ",
            "/ ",
            "/  ",
            "/***",
            "/**",
            "/[a-z]",
            "/{a,b}",
            "/a,\n/etc/shadow r",
            "/\"",
            "/\" rw,\n\"/x",
            "/#include <abstractions/base>",
            "/a#b",
            "/\\",
            "/\\\\",
            "/\\*",
            "/\\101",
            "/^",
            "/[^a]",
            "/a\t",
            "/a -> /b",
            "/x rw,",
            "/}",
            "/{",
            "/...",
            "/.",
            "/..",
            "/a/",
            "/$x",
            "/%s",
            "/été",
            "/日本",
            "/a\u{202e}b",
            "/a\u{2028}b",
            "/",
        ]
        .iter()
        .map(|path| path.as_bytes().to_vec())
        .collect();
        for group in hostile.chunks(8) {
            let profile = profile_of(group);
            for path in &hostile {
                assert_eq!(readable(&profile, path), group.contains(path), "{}", comment(path));
            }
            for neighbour in ["/a", "/b", "/etc/shadow", "/proc/", "/A", "/x", "/ab", "/etc", "/a b", "/ a"] {
                let neighbour = neighbour.as_bytes();
                assert_eq!(readable(&profile, neighbour), group.iter().any(|path| path == neighbour));
            }
        }
    }

    #[test]
    fn the_longest_path_has_a_rule() {
        for filler in [b'a', b'*', b' ', 0xff] {
            let mut path = vec![b'/'];
            path.resize(4095, filler);
            let profile = profile_of(std::slice::from_ref(&path));
            assert!(readable(&profile, &path));
            assert!(!readable(&profile, &path[..4094]));
            path.push(filler);
            assert!(!readable(&profile, &path));
        }
    }

    #[test]
    fn what_no_rule_can_name_is_said() {
        for path in [&b""[..], b"pipe:[1]", b"//a", b"/a//b", b"/a//", b"/a\0b"] {
            assert!(inexpressible(path).is_some());
            assert!(Pattern::literal(path).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn random_paths_match_themselves_only(
            names in prop::collection::btree_set(
                prop::collection::vec(prop_oneof![Just(b'*'), Just(b'\\'), Just(b'"'), Just(b'{'), Just(b','), 1..=255_u8], 1..12),
                2..80,
            )
        ) {
            let paths: Vec<Vec<u8>> = names.into_iter()
                .map(|name| [b"/".as_slice(), &name].concat())
                .filter(|path| inexpressible(path).is_none())
                .collect();
            let (ruled, free) = paths.split_at(paths.len() / 2);
            if !ruled.is_empty() {
                let profile = profile_of(ruled);
                for path in ruled {
                    prop_assert!(readable(&profile, path), "{}", comment(path));
                }
                for path in free {
                    prop_assert!(!readable(&profile, path), "{}", comment(path));
                }
            }
        }

        #[test]
        fn a_comment_is_one_line_of_ascii(bytes: Vec<u8>) {
            prop_assert!(comment(&bytes).bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }
}
