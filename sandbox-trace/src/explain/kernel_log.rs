//! The kernel's log, `/dev/kmsg`: `AppArmor`'s denials, and calls for which a filter ended a task. Both are the kernel's
//! audit records, and come here unless an audit daemon takes them.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

use nix::libc;

use super::call::quoted;
use crate::recording::{BytePath, printable};

/// A record of the log takes no more (`CONSOLE_EXT_LOG_MAX`).
const RECORD: usize = 8192;

/// What the log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `AppArmor` denied something to a task.
    Denied {
        /// The profile.
        profile: Vec<u8>,
        /// What was asked for.
        what: String,
        /// What the task got.
        answer: String,
        /// The rule that is missing, where it is clear.
        rule: Option<String>,
        /// The task.
        pid: u32,
        /// Its name.
        name: Vec<u8>,
    },
    /// A filter ended a task, or sent it `SIGSYS`.
    Killed {
        /// The process.
        pid: u32,
        /// Its name.
        name: Vec<u8>,
        /// Its executable.
        executable: Vec<u8>,
        /// `AUDIT_ARCH_*`.
        arch: u32,
        /// The call's number.
        nr: u32,
        /// The filter's return value.
        action: u32,
    },
}

/// The log, from now on.
pub struct KernelLog {
    file: File,
    /// Whether records were overwritten before they were read.
    pub missed: bool,
}

impl KernelLog {
    /// Opens it at its end.
    pub fn open() -> io::Result<Self> {
        let mut file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, missed: false })
    }

    /// What came since the last look.
    pub fn read(&mut self) -> Vec<Event> {
        let mut out = Vec::new();
        let mut buffer = vec![0; RECORD];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) => return out,
                Ok(length) => {
                    let record = buffer.get(..length).unwrap_or_default();
                    self.missed |=
                        contains(record, b"callbacks suppressed") || contains(record, b"audit_lost=");
                    out.extend(parse(record));
                }
                // EPIPE: the reader was too slow; the next read goes on with what is there.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => self.missed = true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return out,
            }
        }
    }
}

impl AsFd for KernelLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Reads one record: `PRIORITY,SEQUENCE,TIME,FLAGS;MESSAGE` and lines that begin with a space.
fn parse(record: &[u8]) -> Option<Event> {
    let (prefix, message) = record.split_at(record.iter().position(|byte| *byte == b';')?);
    // Facility 0 is the kernel's; anybody who may write to the log has others.
    let priority: u32 = std::str::from_utf8(prefix.split(|byte| *byte == b',').next()?).ok()?.parse().ok()?;
    if priority >> 3 != 0 {
        return None;
    }
    let message = message.get(1..)?.split(|byte| *byte == b'\n').next()?;
    let message = message.strip_prefix(b"audit: ")?;
    let fields = Fields(message);
    match fields.text(b"type=")?.as_slice() {
        b"1400" if fields.text(b"apparmor=")? == b"DENIED" => apparmor(&fields),
        b"1326" => Some(Event::Killed {
            pid: fields.number(b"pid=")?,
            name: fields.text(b"comm=").unwrap_or_default(),
            executable: fields.text(b"exe=").unwrap_or_default(),
            arch: fields.hexadecimal(b"arch=")?,
            nr: fields.number(b"syscall=")?,
            action: fields.hexadecimal(b"code=")?,
        }),
        _ => None,
    }
}

/// `key=value` pairs. What a task chose is in quotes, or in hexadecimal if it has a quote, a space or worse in it
/// (`audit_log_untrustedstring`), so that no value looks like another pair.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn text(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut rest = self.0;
        loop {
            // At the beginning of a pair?
            if let Some(value) = rest.strip_prefix(key) {
                if let Some(quoted) = value.strip_prefix(b"\"") {
                    return Some(quoted.split(|byte| *byte == b'"').next()?.to_vec());
                }
                let word = value.split(|byte| *byte == b' ').next()?;
                let chosen = [b"name=".as_slice(), b"comm=", b"exe=", b"target=", b"profile="].contains(&key);
                return Some(chosen.then(|| unhex(word)).flatten().unwrap_or_else(|| word.to_vec()));
            }
            // On to the next pair; a space inside quotes ends none.
            let mut inside = false;
            let end = rest.iter().position(|byte| {
                inside ^= *byte == b'"';
                *byte == b' ' && !inside
            })?;
            rest = rest.get(end + 1..)?;
        }
    }

    fn number(&self, key: &[u8]) -> Option<u32> {
        std::str::from_utf8(&self.text(key)?).ok()?.parse().ok()
    }

    fn hexadecimal(&self, key: &[u8]) -> Option<u32> {
        let text = self.text(key)?;
        let text = std::str::from_utf8(&text).ok()?;
        u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    }

    fn shown(&self, key: &[u8]) -> Option<String> {
        self.text(key).map(|value| BytePath::from(value.as_slice()).to_string())
    }
}

fn unhex(word: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = word.as_chunks::<2>();
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if !rest.is_empty() || pairs.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn apparmor(fields: &Fields<'_>) -> Option<Event> {
    let operation = fields.shown(b"operation=").unwrap_or_else(|| "an operation".into());
    let mask = fields.shown(b"denied_mask=").or_else(|| fields.shown(b"denied=")).unwrap_or_default();
    let error = fields.text(b"error=").and_then(|text| String::from_utf8(text).ok()?.parse::<i32>().ok());
    let mut answer = "EACCES";
    let (what, rule) = if let Some(capability) = fields.shown(b"capname=") {
        answer = "EPERM";
        (format!("capability {capability}"), Some(format!("capability {capability},")))
    } else if let Some(family) = fields.shown(b"family=") {
        let kind = fields.shown(b"sock_type=").unwrap_or_default();
        (format!("{operation} {family} {kind}"), Some(format!("network {family} {kind},")))
    } else if let Some(name) = fields.text(b"name=") {
        let target =
            fields.text(b"target=").map(|target| format!(" to {}", quoted(&target))).unwrap_or_default();
        let info = fields.shown(b"info=").map(|info| format!(" ({info})")).unwrap_or_default();
        let is_file = fields.text(b"requested_mask=").is_some() && target.is_empty();
        let rule = is_file.then(|| missing_rule(&name, &mask)).flatten();
        (format!("{operation} {} {mask}{target}{info}", quoted(&name)).trim_end().to_owned(), rule)
    } else {
        let peer = fields.shown(b"peer=").map(|peer| format!(" peer={peer}")).unwrap_or_default();
        let signal = fields.shown(b"signal=").map(|signal| format!(" {signal}")).unwrap_or_default();
        (format!("{operation}{signal} {mask}{peer}").trim_end().to_owned(), None)
    };
    let answer = match error.map(|errno| nix::errno::Errno::from_raw(errno.saturating_neg())) {
        None | Some(nix::errno::Errno::UnknownErrno) => answer.to_owned(),
        Some(errno) => format!("{errno:?}"),
    };
    Some(Event::Denied {
        profile: fields.text(b"profile=")?,
        what: printable_already(what),
        answer,
        rule,
        pid: fields.number(b"pid=").unwrap_or(0),
        name: fields.text(b"comm=").unwrap_or_default(),
    })
}

/// All parts were escaped where they were read; nothing else went in.
fn printable_already(text: String) -> String {
    debug_assert!(!text.chars().any(char::is_control), "{}", printable(&text));
    text
}

/// The rule that allows a file access. `c` and `d` of the log are `w` in a rule, and an `x` needs a choice.
fn missing_rule(name: &[u8], mask: &str) -> Option<String> {
    let mut letters = String::new();
    for letter in mask.chars() {
        let letter = match letter {
            'c' | 'd' => 'w',
            'r' | 'w' | 'a' | 'm' | 'k' | 'l' => letter,
            'x' => {
                letters.push_str("ix");
                continue;
            }
            _ => return None,
        };
        if !letters.contains(letter) {
            letters.push(letter);
        }
    }
    // The rule's own quoting is the emitter's subject: here a plain name is enough, or none is named.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:".contains(byte);
    (!letters.is_empty() && name.iter().all(plain))
        .then(|| format!("{} {letters},", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(message: &str) -> Option<(String, String, Option<String>)> {
        match parse(format!("5,1,2,-;audit: type=1400 audit(1.2:3): {message}\n").as_bytes())? {
            Event::Denied { what, answer, rule, .. } => Some((what, answer, rule)),
            Event::Killed { .. } => None,
        }
    }

    #[test]
    fn denials_are_read_and_a_hostile_name_stays_a_name() {
        let file = r#"apparmor="DENIED" operation="open" profile="p" name="/etc/shadow" pid=7 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0"#;
        let expected = ("open \"/etc/shadow\" r".into(), "EACCES".into(), Some("/etc/shadow r,".into()));
        assert_eq!(denied(file), Some(expected));
        let hex = r#"apparmor="DENIED" operation="mknod" profile="p" name=2F610A6E616D653D2262 pid=7 comm="a name=b" requested_mask="c" denied_mask="c""#;
        let (what, _, rule) = denied(hex).unwrap();
        assert_eq!((what.as_str(), rule), (r#"mknod "/a\x0aname=\x22b" c"#, None));
        let capability = r#"apparmor="DENIED" operation="capable" profile="p" pid=7 comm="x" capability=21  capname="sys_admin""#;
        assert_eq!(denied(capability).unwrap().0, "capability sys_admin");
        assert_eq!(denied(capability).unwrap().1, "EPERM");
        let network = r#"apparmor="DENIED" operation="create" profile="p" pid=7 comm="x" family="netlink" sock_type="raw" protocol=0 requested_mask="create" denied_mask="create""#;
        assert_eq!(denied(network).unwrap().2.unwrap(), "network netlink raw,");
        let exec = r#"apparmor="DENIED" operation="exec" info="profile transition not found" error=-13 profile="p" name="/bin/x" pid=7 comm="x" requested_mask="x" denied_mask="x""#;
        assert_eq!(denied(exec).unwrap().0, "exec \"/bin/x\" x (profile transition not found)");
        assert_eq!(denied(r#"apparmor="ALLOWED" operation="open" profile="p" name="/x" pid=7"#), None);
    }

    #[test]
    fn what_others_wrote_to_the_log_is_not_the_kernels() {
        let message = "audit: type=1400 audit(1.2:3): apparmor=\"DENIED\" operation=\"open\" profile=\"p\" name=\"/x\" pid=7";
        assert!(parse(format!("5,1,2,-;{message}").as_bytes()).is_some());
        assert!(parse(format!("13,1,2,-;{message}").as_bytes()).is_none());
        for broken in [
            "",
            ";",
            "5",
            "5;",
            "x,1;audit: type=1400",
            "5,1,2,-;audit: type=1326 audit(1:2): pid=x",
            "5,,;audit: ",
        ] {
            assert_eq!(parse(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn a_kill_names_the_call() {
        let line = "5,1,2,-;audit: type=1326 audit(1.5:8): auid=4 uid=0 gid=0 ses=4 pid=99 comm=\"x\" exe=\"/bin/x\" sig=31 arch=c000003e syscall=111 compat=0 ip=0x7f code=0x80000000\n SUBSYSTEM=x\n";
        let Some(Event::Killed { pid, arch, nr, action, executable, .. }) = parse(line.as_bytes()) else {
            panic!()
        };
        assert_eq!((pid, arch, nr, action), (99, 0xc000_003e, 111, 0x8000_0000));
        assert_eq!(executable, b"/bin/x");
    }
}
