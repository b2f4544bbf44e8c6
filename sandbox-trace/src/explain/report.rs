//! What was denied, for a person: each thing at once when it is new, and all with their counts at the end.

use std::collections::BTreeMap;

use super::memory::Who;
use crate::{
    output::{self, counted, grouped},
    recording::BytePath,
};

/// Most different denials that are kept: a command may make new ones for ever.
const MOST: usize = 4096;

/// What one denial is known by: what was asked, what came of it, and who asked.
type Key = (String, String, Who);

/// A denial, and how often it was met.
#[derive(Debug, Clone)]
struct Denial {
    line: Line,
    count: u64,
    order: usize,
}

/// A denial in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What was asked for.
    pub what: String,
    /// What the one who asked got.
    pub answer: String,
    /// What is allowed, or what would allow it.
    pub hint: String,
}

/// All denials of a run.
#[derive(Debug, Default)]
pub struct Report {
    denials: BTreeMap<Key, Denial>,
    /// Those that there was no room for.
    beyond: u64,
    /// Whether the calls' answers were given by this process.
    notes: Vec<String>,
}

impl Report {
    /// Takes in a denial; `line` makes its words if it is new, which are then said at once.
    pub fn denied(&mut self, key: String, answer: String, who: Who, line: impl FnOnce(String) -> Line) {
        let order = self.denials.len();
        let key = (key, answer, who);
        if let Some(known) = self.denials.get_mut(&key) {
            known.count = known.count.saturating_add(1);
            return;
        }
        if order >= MOST {
            self.beyond = self.beyond.saturating_add(1);
            return;
        }
        let line = line(key.1.clone());
        output::note(format!("denied  {}", shown(&line, &who_shown(&key.2))));
        self.denials.insert(key, Denial { line, count: 1, order });
    }

    /// Adds something that the reader should know, for the end.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The end, a line each.
    pub fn summary(&self) -> Vec<String> {
        let total = self.denials.values().fold(self.beyond, |sum, denial| sum.saturating_add(denial.count));
        let mut out = Vec::new();
        if total == 0 {
            out.push("✓ nothing was denied".to_owned());
        } else {
            let different = counted(self.denials.len() as u64, "different denial");
            out.push(format!("✗ {different}, {}× in all", grouped(total)));
        }
        let mut denials: Vec<(&Key, &Denial)> = self.denials.iter().collect();
        denials.sort_by_key(|(_, denial)| (std::cmp::Reverse(denial.count), denial.order));
        for ((_, _, who), denial) in denials {
            let who = format!("{}, {}×", who_shown(who), grouped(denial.count));
            out.push(format!("  {}", shown(&denial.line, &who)));
        }
        if self.beyond > 0 {
            out.push(format!(
                "  and {} others, beyond the {} that are kept",
                grouped(self.beyond),
                grouped(MOST as u64)
            ));
        }
        out.extend(self.notes.iter().map(|note| format!("  note: {note}")));
        out
    }
}

fn shown(line: &Line, who: &str) -> String {
    let Line { what, answer, hint } = line;
    format!("{what} → {answer}   {who}   {hint}").trim_end().to_owned()
}

/// `/usr/bin/node`, and the thread's own name where that is another.
fn who_shown(who: &Who) -> String {
    let name = BytePath::from(who.name.as_slice());
    if who.executable.is_empty() {
        return if who.name.is_empty() { "an unknown program".into() } else { name.to_string() };
    }
    let file = who.executable.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let executable = BytePath::from(who.executable.as_slice());
    // The kernel keeps 15 bytes of a name.
    let same = who.name.is_empty()
        || file.get(..who.name.len()) == Some(&who.name)
            && (who.name.len() >= 15 || file.len() == who.name.len());
    if same { executable.to_string() } else { format!("{executable} ({name})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(executable: &str, name: &str) -> Who {
        Who { executable: executable.into(), name: name.into() }
    }

    #[test]
    fn denials_are_counted_and_the_most_frequent_come_first() {
        let mut report = Report::default();
        assert_eq!(report.summary(), ["✓ nothing was denied"]);
        let line = |what: &'static str| {
            move |answer| Line { what: what.into(), answer, hint: "the profile allows AF_UNIX".into() }
        };
        report.denied("mount".into(), "EPERM".into(), who("/bin/sh", "sh"), line("mount()"));
        for _ in 0..3 {
            report.denied(
                "socket".into(),
                "EPERM".into(),
                who("/usr/bin/node", "worker"),
                line("socket(AF_NETLINK)"),
            );
        }
        report.note("the kernel log can't be read");
        assert_eq!(
            report.summary(),
            [
                "✗ 2 different denials, 4× in all",
                "  socket(AF_NETLINK) → EPERM   /usr/bin/node (worker), 3×   the profile allows AF_UNIX",
                "  mount() → EPERM   /bin/sh, 1×   the profile allows AF_UNIX",
                "  note: the kernel log can't be read",
            ]
        );
    }

    #[test]
    fn hostile_names_are_escaped_and_long_ones_are_recognised() {
        assert_eq!(who_shown(&who("/tmp/a\nb", "x\x1b[2J")), "/tmp/a\\x0ab (x\\x1b[2J)");
        assert_eq!(
            who_shown(&who("/usr/bin/a-very-long-program", "a-very-long-pro")),
            "/usr/bin/a-very-long-program"
        );
        assert_eq!(who_shown(&who("/usr/bin/python3", "python")), "/usr/bin/python3 (python)");
        assert_eq!(who_shown(&Who::default()), "an unknown program");
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let mut report = Report::default();
        for n in 0..MOST + 5 {
            let line = |answer| Line { what: String::new(), answer, hint: String::new() };
            report.denied(n.to_string(), "EPERM".into(), Who::default(), line);
        }
        assert_eq!(report.summary().last().unwrap(), "  and 5 others, beyond the 4,096 that are kept");
    }
}
