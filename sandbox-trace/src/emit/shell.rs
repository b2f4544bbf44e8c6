//! Words and comments of a POSIX shell script. Nothing recorded reaches a script but through here.

use std::fmt::Write as _;

use crate::recording::printable;

/// A word that the shell hands on as `text`, whatever is in it but NUL. A control character, and one that reorders
/// what a reader sees, is written as its bytes, so that looking at the script moves no cursor.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' => out.push_str("'\\''"),
            '\n' => out.push('\n'),
            c if hidden(c) => {
                let mut buffer = [0; 4];
                out.push_str("'\"$(printf '");
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    // Writing to a string does not fail.
                    let _ = write!(out, "\\{byte:03o}");
                }
                out.push_str("')\"'");
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// Text of a comment: one line, nothing that moves a cursor.
pub fn comment(text: &str) -> String {
    text.chars().map(|c| if c == '\n' || hidden(c) { '?' } else { c }).collect()
}

/// Whether a reader would not see it as itself.
fn hidden(c: char) -> bool {
    // A backslash is doubled by `printable`, and is harmless here.
    c != '\\' && c != '\n' && printable(c.encode_utf8(&mut [0; 4])).starts_with('\\')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{200b}'..='\u{200d}')
}

/// Lines of comments no longer than `width`, each after `lead`; a word is never cut.
pub fn wrapped(out: &mut String, lead: &str, text: &str, width: usize) {
    let mut line = String::new();
    for word in comment(text).split(' ').filter(|word| !word.is_empty()) {
        if !line.is_empty() && lead.len() + line.chars().count() + word.chars().count() >= width {
            let _ = writeln!(out, "{lead}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{}", format!("{lead}{line}").trim_end());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_words_stay_as_they_are() {
        assert_eq!(word("--publish"), "--publish");
        assert_eq!(word("a b"), "'a b'");
        assert_eq!(word("it's"), r"'it'\''s'");
        assert_eq!(word(""), "''");
        assert_eq!(word("~/x"), "'~/x'");
        assert_eq!(word("a\x1b[2J"), r#"'a'"$(printf '\033')"'[2J'"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_shell_hands_on_what_was_meant(words in prop::collection::vec("[^\0]{0,12}", 1..6)) {
            let quoted: Vec<String> = words.iter().map(|text| word(text)).collect();
            let script = format!("printf '%s\\0' {}", quoted.join(" "));
            prop_assert!(!script.chars().any(|c| c.is_control() && c != '\n'), "{script:?}");
            let output = Command::new("sh").arg("-c").arg(&script).output().unwrap();
            let got: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().split_terminator('\0').collect();
            prop_assert_eq!(got, words);
        }

        #[test]
        fn a_comment_is_one_line(text: String) {
            let mut out = String::new();
            wrapped(&mut out, "# ", &text, 60);
            prop_assert!(out.lines().all(|line| line.starts_with('#')), "{out:?}");
            prop_assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{out:?}");
        }
    }
}
