//! The log of `strace -f -y -xx -s 4096`: which calls were made, and which paths were used with success, absolute.
//!
//! With `-xx` every byte of a string and of a descriptor's path is `\xNN`, so no name can be taken for syntax.

use std::collections::{BTreeMap, BTreeSet};

/// The options that the log must be made with. Signals are left out: their lines are no calls.
pub const OPTIONS: [&str; 7] = ["-f", "-y", "-xx", "-s", "4096", "-e", "signal=none"];

/// One use of a path that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The call.
    pub call: String,
    /// The path: absolute, its symbolic links not followed unless `is_resolved`.
    pub path: Vec<u8>,
    /// The kernel itself told the path, with the descriptor.
    pub is_resolved: bool,
    /// Letters of a recording that this use needs; none for a socket's address.
    pub letters: &'static str,
}

/// What a log says.
#[derive(Debug, Default)]
pub struct Witnessed {
    /// The names of all calls.
    pub names: BTreeSet<String>,
    /// The paths.
    pub uses: BTreeSet<Use>,
    /// Calls with a path that could not be told, each with its line: none is expected.
    pub unclear: Vec<String>,
}

/// A call that ended.
struct Call<'a> {
    name: &'a str,
    args: Vec<&'a str>,
    result: &'a str,
}

/// Working directories: processes that share one (`CLONE_FS`) have the same number. And what is behind the links that
/// the kernel makes below `/proc/PID`.
#[derive(Default)]
struct Folders {
    of: BTreeMap<u32, usize>,
    paths: Vec<Vec<u8>>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Folders {
    fn add(&mut self, pid: u32, path: Vec<u8>) {
        self.paths.push(path);
        self.of.insert(pid, self.paths.len() - 1);
    }

    fn get(&self, pid: u32) -> Option<&Vec<u8>> {
        self.paths.get(*self.of.get(&pid)?)
    }

    /// A child has its parent's executable.
    fn inherit(&mut self, pid: u32, parent: u32) {
        if let Some(path) = self.links.get(&of_process(parent, "exe")).cloned() {
            self.links.insert(of_process(pid, "exe"), path);
        }
    }

    /// Notes the paths that a line tells of descriptors: `3<…>`.
    fn note(&mut self, pid: u32, line: &str) {
        for (at, _) in line.match_indices('<') {
            let (head, tail) = line.split_at(at);
            let digits = head.bytes().rev().take_while(u8::is_ascii_digit).count();
            if digits > 0
                && let Some(path) = of_descriptor(tail)
            {
                self.links.insert(of_process(pid, &format!("fd/{}", &head[at - digits..])), path);
            }
        }
    }

    fn set(&mut self, pid: u32, path: Vec<u8>) {
        if let Some(place) = self.of.get(&pid).and_then(|index| self.paths.get_mut(*index)) {
            *place = path;
        }
    }
}

fn of_process(pid: u32, name: &str) -> Vec<u8> {
    format!("/proc/{pid}/{name}").into_bytes()
}

/// Reads a log; the first process started in `folder`.
#[must_use]
pub fn read(log: &str, folder: &[u8]) -> Witnessed {
    let calls = joined(log);
    // A child's first calls may come before its parent's call has returned.
    let mut parents = BTreeMap::new();
    for (pid, line) in &calls {
        let Some(call) = split(line) else { continue };
        if matches!(call.name, "clone" | "clone3" | "fork" | "vfork")
            && let Some(child) = first_number(call.result)
        {
            parents.insert(child, (*pid, line.contains("CLONE_FS")));
        }
    }
    let mut folders = Folders::default();
    let mut witnessed = Witnessed::default();
    for (pid, line) in &calls {
        let Some(name) = name(line) else { continue };
        witnessed.names.insert(name.to_owned());
        if folders.get(*pid).is_none() {
            match parents.get(pid).and_then(|(parent, shared)| Some((*folders.of.get(parent)?, *shared))) {
                Some((index, true)) => drop(folders.of.insert(*pid, index)),
                Some((index, false)) => folders.add(*pid, folders.paths[index].clone()),
                None => folders.add(*pid, folder.to_vec()),
            }
            if let Some((parent, _)) = parents.get(pid) {
                folders.inherit(*pid, *parent);
            }
        }
        folders.note(*pid, line);
        let Some(call) = split(line) else { continue };
        if call.result.starts_with("-1") || call.result.starts_with('?') {
            continue;
        }
        match call.name {
            "chdir" | "fchdir" => match place(&call, 0, &folders, *pid) {
                Some(path) => folders.set(*pid, path),
                None => witnessed.unclear.push(line.clone()),
            },
            _ => uses(&call, &folders, *pid, line, &mut witnessed),
        }
        if call.name == "execve"
            && let Some(path) = place(&call, 0, &folders, *pid)
        {
            folders.links.insert(of_process(*pid, "exe"), path);
        }
    }
    witnessed
}

/// The calls in the order in which they ended, those that were interrupted in the log put together again. What never
/// ended is there as it began.
fn joined(log: &str) -> Vec<(u32, String)> {
    let mut begun: BTreeMap<u32, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let (Ok(pid), rest) = (pid.parse(), rest.trim_start()) else { continue };
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(pid, head.to_owned());
        } else if let Some((_, tail)) = rest.strip_prefix("<... ").and_then(|r| r.split_once(" resumed>")) {
            let head = begun.remove(&pid).unwrap_or_default();
            calls.push((pid, head + tail));
        } else if !rest.starts_with("+++") && !rest.starts_with("---") {
            calls.push((pid, rest.to_owned()));
        }
    }
    calls.extend(begun);
    calls
}

fn name(line: &str) -> Option<&str> {
    let name = line.split_once('(')?.0;
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (is_name && !name.is_empty()).then_some(name)
}

/// `name(args) = result`.
fn split(line: &str) -> Option<Call<'_>> {
    let name = name(line)?;
    let (call, result) = line.rsplit_once(" = ")?;
    let inside = call.trim_end().strip_suffix(')')?.get(name.len() + 1..)?;
    let (mut args, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_i32, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' | b'[' | b'{' if !quoted => depth += 1,
            b')' | b']' | b'}' if !quoted => depth -= 1,
            b',' if !quoted && depth == 0 => {
                args.push(inside[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    args.push(inside[start..].trim());
    Some(Call { name, args, result: result.trim() })
}

fn first_number(text: &str) -> Option<u32> {
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `\xNN…`, as far as it goes.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    hex.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).ok()).collect()
}

/// The path behind a descriptor: `3<…>`. None if it is no file's.
fn of_descriptor(text: &str) -> Option<Vec<u8>> {
    let path = bytes(text.split_once('<')?.1.split_once('>')?.0)?;
    let path = path.strip_suffix(b" (deleted)").map_or(path.clone(), <[u8]>::to_vec);
    path.starts_with(b"/").then_some(path)
}

/// A string argument, whole.
fn string(text: &str) -> Option<Vec<u8>> {
    bytes(text.strip_prefix('"')?.strip_suffix('"')?)
}

/// The path in argument `at`, relative to the descriptor before it if the call has one.
fn place(call: &Call, at: usize, folders: &Folders, pid: u32) -> Option<Vec<u8>> {
    let text = call.args.get(at)?;
    if !text.starts_with('"') {
        return of_descriptor(text);
    }
    let given = string(text)?;
    let base = match at.checked_sub(1).and_then(|at| call.args.get(at)) {
        Some(before) if before.contains('<') => of_descriptor(before)?,
        _ => folders.get(pid)?.clone(),
    };
    let path = if given.starts_with(b"/") { given } else { [base, b"/".to_vec(), given].concat() };
    let path = own(normal(&path), pid);
    Some(folders.links.get(&path).cloned().unwrap_or(path))
}

/// `/proc/self` as anyone else would call it.
fn own(path: Vec<u8>, pid: u32) -> Vec<u8> {
    match path.strip_prefix(b"/proc/self") {
        Some(rest) if rest.first().is_none_or(|byte| *byte == b'/') => {
            [format!("/proc/{pid}").as_bytes(), rest].concat()
        }
        _ => path,
    }
}

/// Without `.`, `//` and a slash at the end. `..` is left to the file system.
fn normal(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
    [b"/".to_vec(), parts.join(&b'/')].concat()
}

/// The paths that a call used.
fn uses(call: &Call, folders: &Folders, pid: u32, line: &str, witnessed: &mut Witnessed) {
    let flag = |name: &str| call.args.iter().any(|arg| arg.split(['|', ' ', '=']).any(|word| word == name));
    // Where the path is, and what is needed of it.
    let places: Vec<(usize, &'static str)> = match call.name {
        "open" | "openat" | "openat2" | "creat" => return opened(call, line, witnessed),
        "mkdir" | "mknod" => vec![(0, "c")],
        "mkdirat" | "mknodat" | "symlink" => vec![(1, "c")],
        "symlinkat" => vec![(2, "c")],
        "unlink" | "rmdir" => vec![(0, "d")],
        "unlinkat" => vec![(1, "d")],
        "rename" => vec![(0, "d"), (1, "c")],
        "renameat" | "renameat2" if !flag("RENAME_EXCHANGE") => vec![(1, "d"), (3, "c")],
        "link" => vec![(1, "l")],
        "linkat" => vec![(3, "l")],
        "chmod" | "chown" | "lchown" | "truncate" | "fchmod" | "fchown" | "ftruncate" | "utime"
        | "utimes" => vec![(0, "s")],
        "fchmodat" | "fchownat" | "utimensat" | "futimesat" => {
            vec![(usize::from(call.args.get(1).is_some_and(|arg| arg.starts_with('"'))), "s")]
        }
        "execve" => vec![(0, "x")],
        "execveat" => vec![(1, "x")],
        "flock" if !flag("LOCK_UN") => vec![(0, "k")],
        "fcntl" if ["F_SETLK", "F_SETLKW", "F_OFD_SETLK"].iter().any(|c| flag(c)) && !flag("F_UNLCK") => {
            vec![(0, "k")]
        }
        "mmap" if flag("PROT_EXEC") && !flag("MAP_ANONYMOUS") => vec![(4, "m")],
        "bind" | "connect" => return addressed(call, folders.get(pid), line, witnessed),
        _ => return,
    };
    for (at, letters) in places {
        let is_resolved = call.args.get(at).is_some_and(|arg| !arg.starts_with('"'));
        match place(call, at, folders, pid) {
            Some(path) => {
                witnessed.uses.insert(Use { call: call.name.into(), path, is_resolved, letters });
            }
            None => witnessed.unclear.push(line.into()),
        }
    }
}

/// An open: the kernel tells the path of what it gave.
fn opened(call: &Call, line: &str, witnessed: &mut Witnessed) {
    let flag = |name: &str| call.args.iter().any(|arg| arg.split(['|', '=', ',']).any(|w| w.trim() == name));
    // A handle for a name: nothing is asked of any policy.
    if flag("O_PATH") {
        return;
    }
    let creates = flag("O_CREAT") || call.name == "creat";
    let letters = match (flag("O_WRONLY") || call.name == "creat", flag("O_RDWR"), flag("O_APPEND"), creates)
    {
        (true, _, true, true) => "ac",
        (true, _, true, false) => "a",
        (true, _, false, true) => "wc",
        (true, _, false, false) => "w",
        (_, true, true, true) => "rac",
        (_, true, true, false) => "ra",
        (_, true, false, true) => "rwc",
        (_, true, false, false) => "rw",
        (_, _, _, true) => "rc",
        (_, _, _, false) => "r",
    };
    match of_descriptor(call.result) {
        Some(path) => {
            witnessed.uses.insert(Use { call: call.name.into(), path, is_resolved: true, letters });
        }
        None => witnessed.unclear.push(line.into()),
    }
}

/// A Unix socket's address; `bind` makes its name.
fn addressed(call: &Call, folder: Option<&Vec<u8>>, line: &str, witnessed: &mut Witnessed) {
    let Some((_, address)) = call.args.get(1).and_then(|arg| arg.split_once("sun_path=")) else { return };
    let mut add = |path, letters| {
        let call = call.name.to_owned();
        witnessed.uses.insert(Use { call, path, is_resolved: false, letters });
    };
    let text = address.trim_end_matches('}');
    match (text.strip_prefix('@').and_then(string), string(text), folder) {
        (Some(name), _, _) => add([b"unix:@".to_vec(), name].concat(), ""),
        (_, Some(path), Some(folder)) => {
            let from = if path.starts_with(b"/") { vec![] } else { folder.clone() };
            let path = normal(&[from, b"/".to_vec(), path].concat());
            add([b"unix:".to_vec(), path.clone()].concat(), "");
            if call.name == "bind" {
                add(path, "c");
            }
        }
        _ => witnessed.unclear.push(line.into()),
    }
}
