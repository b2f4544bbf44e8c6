//! A script → its commands, each as words with their lines.
//!
//! As a shell reads it, but for one thing: comments between continued lines, and behind the backslash of one, don't
//! end the command. A shell would end it there; people write it all the same, and mean one command.

/// The words of a command, each with its line, counted from 1.
pub type Command = Vec<(String, u32)>;

/// The longest script that is read.
const MAX_BYTES: usize = 4 << 20;

/// The commands of a script; an error is a line and what is wrong with it.
pub fn commands(text: &str) -> Result<Vec<Command>, (u32, String)> {
    if text.len() > MAX_BYTES {
        return Err((1, "it is longer than any command line".into()));
    }
    let mut out = Vec::new();
    let mut command = Command::new();
    let mut lines = (1_u32..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let (mut part, mut goes_on) = part(line);
        // A quote that is still open goes on in the next line, whatever stands there.
        let words = loop {
            if let Ok(words) = shell_words::split(&part) {
                break words;
            }
            let Some((_, next)) = lines.next() else {
                return Err((number, "a quote is not closed".into()));
            };
            let (more, more_goes_on) = self::part(next);
            part.push('\n');
            part += &more;
            goes_on = more_goes_on;
        };
        let nothing = words.is_empty();
        command.extend(words.into_iter().map(|word| (word, number)));
        let between = nothing && !command.is_empty() && is_comment(line);
        if !goes_on && !between && !command.is_empty() {
            out.push(std::mem::take(&mut command));
        }
    }
    out.extend(Some(command).filter(|command| !command.is_empty()));
    Ok(out)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without its comment and the backslash at its end, and whether that was there.
fn part(line: &str) -> (String, bool) {
    let (mut quote, mut escaped, mut at_word) = (None, false, true);
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if at_word => {
                end = at;
                break;
            }
            _ => {}
        }
        // A space behind a backslash begins no word for a shell; before a comment it was meant as the line's end.
        at_word = c.is_whitespace();
    }
    let kept = line.get(..end).unwrap_or(line);
    // An odd number of backslashes at the end: the last one escapes the line's end.
    let trimmed = if end < line.len() || quote.is_none() { kept.trim_end() } else { kept };
    let backslashes = trimmed.len() - trimmed.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        (trimmed.get(..trimmed.len() - 1).unwrap_or_default().to_owned(), true)
    } else {
        (kept.to_owned(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let all = commands(text).unwrap();
        all.into_iter().map(|command| command.into_iter().map(|(word, _)| word).collect()).collect()
    }

    #[test]
    fn lines_quotes_and_comments() {
        for (text, expected) in [
            ("a b\nc", vec![vec!["a", "b"], vec!["c"]]),
            ("a \\\n b", vec![vec!["a", "b"]]),
            ("a \\\n # note 'x\n \\\n  b \\  # why\n c # end\nd", vec![vec!["a", "b", "c"], vec!["d"]]),
            ("# only\n\na '#b' c#d", vec![vec!["a", "#b", "c#d"]]),
            ("a 'x\ny' b", vec![vec!["a", "x\ny", "b"]]),
            ("a \"b \\\" c\" d\\ e", vec![vec!["a", "b \" c", "d e"]]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
        assert_eq!(commands("a\nb 'c\nd").unwrap_err().0, 2);
        assert_eq!(commands("a \\\n\\\n b").unwrap(), [vec![("a".to_owned(), 1), ("b".to_owned(), 3)]]);
    }
}
