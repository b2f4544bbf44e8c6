//! Random operations and random profiles over the same few names.

use std::fmt::Write as _;

/// Where the operations have their folders.
pub const DIR: &str = "/tmp/mediated";

/// Begins a file of profiles.
pub const PREAMBLE: &str = "abi <abi/3.0>,\n#include <tunables/global>\n";

/// Kinds that Linux 6.1 asks AppArmor nothing about.
pub const UNASKED: [&str; 5] = ["only-path", "stat", "access", "chdir", "touch"];

/// splitmix64, by Sebastiano Vigna: enough to choose rules with.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True so often out of a hundred.
    fn often(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Each with a chance of one half, at least one.
    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        let mut out: Vec<&str> = of.iter().copied().filter(|_| self.often(50)).collect();
        if out.is_empty() {
            out.push(self.pick(of));
        }
        out
    }
}

/// An operation on one or two names.
#[derive(Debug, Clone)]
pub struct Operation {
    pub number: u32,
    pub owner: u32,
    pub kind: String,
    pub paths: Vec<String>,
}

impl Operation {
    /// As the guest reads it.
    pub fn line(&self) -> String {
        let mut line = format!("{} {} {}", self.number, self.owner, self.kind);
        self.paths.iter().for_each(|path| write!(line, " {path}").unwrap());
        line
    }

    /// The capability that it takes.
    pub fn capability(&self) -> Option<&str> {
        match self.kind.as_str() {
            "socket-2-3-1" | "socket-17-3-0" => Some("net_raw"),
            kind => kind.strip_prefix("capability-"),
        }
    }

    /// What it needs beside files, as `verify` describes it.
    pub fn needs(&self) -> Vec<String> {
        let mut out: Vec<String> =
            self.capability().map(|name| format!("capability {name}")).into_iter().collect();
        let socket = SOCKETS.iter().find(|(kind, _)| *kind == self.kind).map(|(_, socket)| *socket);
        out.extend(socket.map(|socket| format!("socket {socket}")));
        out
    }
}

/// Kinds of one existing file.
const ON_FILE: [&str; 27] = [
    "read",
    "write",
    "read-write",
    "append",
    "read-append",
    "truncating",
    "append-truncating",
    "creating",
    "creating-read",
    "creating-append",
    "only-path",
    "reopened",
    "unlink",
    "chmod",
    "fchmod",
    "chown",
    "truncate",
    "ftruncate",
    "flock-shared",
    "flock-exclusive",
    "lock-read",
    "lock-write",
    "map-executable",
    "protect-executable",
    "map-shared",
    "stat",
    "access",
];
/// Kinds of a name that does not exist.
const ON_NEW: [&str; 7] =
    ["creating", "creating-new", "creating-read", "fifo", "node", "symlink", "bind-unix"];
/// Kinds of a program or a script.
const ON_PROGRAM: [&str; 2] = ["execute", "execute-descriptor"];
/// Kinds of a folder.
const ON_FOLDER: [&str; 5] = ["read-folder", "unnamed", "chdir", "touch", "chmod"];

/// Kinds that make sockets, with what they are called.
const SOCKETS: [(&str, &str); 10] = [
    ("socket-2-1-0", "inet stream"),
    ("socket-2-2-0", "inet dgram"),
    ("socket-2-3-1", "inet raw"),
    ("socket-1-1-0", "unix stream"),
    ("socket-1-2-0", "unix dgram"),
    ("socket-1-5-0", "unix seqpacket"),
    ("socket-16-3-0", "netlink raw"),
    ("socket-16-2-0", "netlink dgram"),
    ("socket-17-3-0", "packet raw"),
    // These ask for the socket first.
    ("bind-unix", "unix stream"),
];

/// Kinds that take a capability of their own, for which the kernel takes no other instead.
const CAPABILITIES: [&str; 6] = ["sys_chroot", "sys_admin", "sys_nice", "setuid", "setgid", "sys_resource"];

/// Every kind, on several names.
pub fn operations(random: &mut Random) -> Vec<Operation> {
    let mut out: Vec<Operation> = Vec::new();
    let mut add = |random: &mut Random, kind: &str, paths: &[&str]| {
        let number = u32::try_from(out.len()).unwrap();
        let owner = if random.often(50) { 0 } else { 1000 };
        // Not scripts by descriptor: from system calls the recorder knows such a script only as /dev/fd/N.
        let by_descriptor = kind == "execute-descriptor";
        let path = |path: &&str| if by_descriptor { path.replace("/s", "/x") } else { (*path).to_owned() };
        let paths = paths.iter().map(path).collect();
        out.push(Operation { number, owner, kind: kind.to_owned(), paths });
    };
    let (files, new) = (["a/f", "a/g", "b/f", "b/g"], ["a/n", "b/n", "a/ff", "b/gf"]);
    for _ in 0..3 {
        let mut on = |kinds: &[&str], paths: &[&str]| {
            for kind in kinds {
                let path = random.pick(paths);
                add(random, kind, &[path]);
            }
        };
        on(&ON_FILE, &files);
        on(&ON_NEW, &new);
        on(&ON_PROGRAM, &["a/x", "b/x", "a/s", "b/s"]);
        on(&ON_FOLDER, &["a", "b", "a/d", "b/d"]);
        on(&["rmdir"], &["a/d", "b/d"]);
        on(&["mkdir"], &new);
        let (file, name) = (random.pick(&files), random.pick(&new));
        add(random, "rename", &[file, name]);
        add(random, "link", &[file, name]);
        let name = random.pick(&new);
        add(random, "link", &["a/x", name]);
        add(random, "unnamed-linked", &["a", name]);
        add(random, "rename", &["a/f", "b/g"]);
        add(random, "rename", &["b/d", name]);
        // Of like with like. About the names of a file and a folder Linux 6.1 asks twice, each as if it were what the
        // other is too, and recordings have only what each is.
        let (one, other) = if random.often(50) { ("a/f", "b/g") } else { ("a/d", "b/d") };
        add(random, "exchange", &[one, other]);
    }
    for (kind, _) in SOCKETS.iter().filter(|(kind, _)| kind.starts_with("socket")) {
        add(random, kind, &[]);
    }
    for name in CAPABILITIES {
        add(random, &format!("capability-{name}"), &[]);
    }
    out
}

/// A profile, whose rules hold for some of the operations' names.
pub fn profile(random: &mut Random, number: usize) -> String {
    // As every emitted profile: without mediate_deleted, Linux answers ENOENT where a file that has no name yet
    // (O_TMPFILE) is given one, whatever the rules are.
    let flags = random.pick(&["attach_disconnected,mediate_deleted", "mediate_deleted"]);
    let mut out = format!("profile p{number} flags=({flags}) {{\n");
    // What decides about files before AppArmor is asked is not what is compared here.
    out += "  capability chown fowner fsetid dac_override dac_read_search,\n";
    for name in CAPABILITIES.iter().chain(&["net_raw"]).filter(|_| random.often(50)) {
        writeln!(out, "  capability {name},").unwrap();
    }
    if random.often(10) {
        out += "  deny capability sys_chroot,\n";
    }
    for _ in 0..random.below(5) {
        let deny = if random.often(20) { "deny " } else { "" };
        let what = random.pick(&[
            "",
            "inet",
            "unix",
            "netlink",
            "packet",
            "inet stream",
            "inet dgram",
            "inet raw",
            "unix stream",
            "unix dgram",
            "netlink raw",
            "packet raw",
            "stream",
            "dgram",
            "inet tcp",
        ]);
        writeln!(out, "  {deny}network {what},").unwrap();
    }
    if random.often(40) {
        // So that what takes several permissions is allowed sometimes.
        let letters = random.pick(&["r", "rw", "w", "rwk", "rwkm", "rwlk"]);
        let place = random.pick(&["/**", "/*/a/**", "/*/{a,b}/*", "/*/*/[fg]", "/*/*/{,**}"]);
        writeln!(out, "  {DIR}{place} {letters},").unwrap();
    }
    for _ in 0..4 + random.below(12) {
        writeln!(out, "  {}", rule(random)).unwrap();
    }
    out + "}\n"
}

fn pattern(random: &mut Random) -> String {
    if random.often(8) {
        return format!("{DIR}/*/**");
    }
    let number = random.pick(&["*", "*", "[0-9]*", "{?,??,???}", "[^x]*"]);
    let folder = random.pick(&["a", "b", "*", "{a,b}", "[ab]", "[^a]", "?"]);
    let name = random.pick(&[
        "f",
        "g",
        "n",
        "*",
        "**",
        "{f,g}",
        "?",
        "[f-n]",
        "f*",
        "[^f]",
        "[^f]*",
        "d/",
        "{d,n,ff,gf}/",
        "",
        "x",
        "s",
        "{x,s}",
        "*f",
        "{,*,*/}",
        "#*",
        "{n,ff,gf}",
    ]);
    let quote = if random.often(10) { "\"" } else { "" };
    format!("{quote}{DIR}/{number}/{folder}/{name}{quote}")
}

fn rule(random: &mut Random) -> String {
    let deny = random.often(15);
    let mut out = String::new();
    if deny {
        out += "deny ";
    }
    if random.often(25) {
        out += "owner ";
    }
    if random.often(15) {
        let subset = if !deny && random.often(50) { "subset " } else { "" };
        return format!("{out}link {subset}{} -> {},", pattern(random), pattern(random));
    }
    let mut letters = random.some(&["r", "w", "k", "l", "m"]);
    if !letters.contains(&"w") && random.often(30) {
        letters.push("a");
    }
    if random.often(25) {
        letters.push(if deny { "x" } else { "ix" });
    }
    format!("{out}{} {},", pattern(random), letters.concat())
}
