//! Paths in systemd's files. Each is one word in double quotes; systemd takes `\\` and `\"` in them for the byte and
//! `%%` for `%` (measured with 252). The file is UTF-8 and a value ends with its line, so that there are paths which it
//! can't name.

use crate::recording::BytePath;

/// The path as a word of a list; `None` if no word names it.
pub(super) fn path(path: &BytePath) -> Option<String> {
    // A folder is named without the slash at its end.
    let bytes = path.as_bytes();
    let bytes = bytes.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).ok()?;
    let named = text.starts_with('/')
        && !text.chars().any(char::is_control)
        // systemd resolves neither, and refuses a path with the second.
        && !text.split('/').any(|name| name == "." || name == "..");
    if !named {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@,=".contains(c);
    if text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' => out.push_str("%%"),
            c => out.push(c),
        }
    }
    out.push('"');
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_or_none() {
        for (bytes, word) in [
            (&b"/var/lib/x/"[..], Some("/var/lib/x")),
            (b"/", Some("/")),
            (b"/a b", Some("\"/a b\"")),
            (b"/a\"b\\c%d", Some(r#""/a\"b\\c%%d""#)),
            (b"/$HOME;#", Some("\"/$HOME;#\"")),
            ("/été".as_bytes(), Some("\"/été\"")),
            (b"/a\nReadWritePaths=/", None),
            (b"/\xff", None),
            (b"relative", None),
            (b"/a/../b", None),
        ] {
            assert_eq!(path(&bytes.into()).as_deref(), word, "{}", BytePath::from(bytes));
        }
    }
}
