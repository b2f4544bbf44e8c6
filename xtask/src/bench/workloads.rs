//! What is measured: the workloads with their sizes, and what recording may cost on each.

use super::sample::{Job, Variant};

use Kind::{Nginx, Program, Redis};
use Limit::{AtMost, TimesFloor};

/// A workload.
#[derive(Debug)]
pub struct Workload {
    /// Its name; `--only` takes it, or its beginning up to a dash.
    pub name: &'static str,
    pub what: &'static str,
    pub kind: Kind,
    pub sizes: Sizes,
    /// A call that the recording must have counted at least this often for each unit of size, to show that the
    /// recorder was there.
    pub witness: (&'static str, u64),
    pub traced: Demand,
    pub bystander: Demand,
}

/// What does the work.
#[derive(Debug)]
pub enum Kind {
    /// The tests' `workload`, with these words; `SIZE`, `TREE`, `LINKS` and `DIR` are filled in.
    Program(&'static [&'static str]),
    Redis,
    Nginx,
}

/// How much work a sample is. What strace does to a call takes so long that it gets fewer of them; all ratios are of
/// the time for one unit.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub full: u64,
    pub full_strace: u64,
    pub quick: u64,
    pub quick_strace: u64,
}

/// The most that a ratio may be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand {
    pub limit: Option<Limit>,
    /// What is hoped for, and reported.
    pub stretch: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Of the untraced time.
    AtMost(f64),
    /// Of what two empty programs cost in the same run: for loops of bare calls, where the ratio says more about the
    /// machine's system calls than about the tracer.
    TimesFloor(f64),
}

impl Workload {
    /// What to run for a sample.
    pub fn job(&self, quick: bool, variant: Variant) -> Job<'_> {
        let size = self.size(quick, variant == Variant::Strace);
        let (call, each) = self.witness;
        let paths = if matches!(self.kind, Program(["visit", ..])) { size } else { 0 };
        Job { kind: &self.kind, size, witness: (call, each * size), paths }
    }

    fn size(&self, quick: bool, strace: bool) -> u64 {
        match (quick, strace) {
            (false, false) => self.sizes.full,
            (false, true) => self.sizes.full_strace,
            (true, false) => self.sizes.quick,
            (true, true) => self.sizes.quick_strace,
        }
    }
}

/// Files in the tree that the workloads share.
pub const TREE: u64 = 100_000;
/// As many in a quick run: enough for the workloads' quick sizes, and for one folder of 1000 for tar.
pub const QUICK_TREE: u64 = 5_000;

const IMPORTS: &str = "import argparse, asyncio, csv, decimal, email.message, hashlib, http.client, json, logging, \
     sqlite3, ssl, subprocess, unittest, urllib.request, xml.dom.minidom, zipfile";

/// The C program that gcc compiles.
pub const C_SOURCE: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\
     int main(int c, char **v) { for (int i = 0; i < c; i++) printf(\"%zu %d\\n\", strlen(v[i]), atoi(v[i])); }\n";

/// All of them, in the order of the report.
pub const ALL: [Workload; 11] = [
    Workload {
        name: "W1-getppid",
        what: "a loop of getppid",
        kind: Program(&["getppid", "SIZE"]),
        sizes: sizes(1_500_000, 10_000, 200_000, 2_000),
        witness: ("getppid", 1),
        traced: demand(TimesFloor(1.10), Some(1.45)),
        bystander: demand(TimesFloor(1.10), Some(1.40)),
    },
    Workload {
        name: "W1b-fcntl",
        what: "a loop of fcntl, whose arguments are recorded",
        kind: Program(&["fcntl", "SIZE"]),
        sizes: sizes(1_500_000, 10_000, 200_000, 2_000),
        witness: ("fcntl", 1),
        traced: demand(AtMost(1.90), None),
        bystander: NONE,
    },
    Workload {
        name: "W2-repeat",
        what: "open, read, close of one file",
        kind: Program(&["reopen", "TREE/0", "SIZE"]),
        sizes: sizes(150_000, 2_000, 20_000, 500),
        witness: ("openat", 1),
        traced: demand(AtMost(1.50), None),
        bystander: demand(AtMost(1.25), None),
    },
    Workload {
        name: "W2-20k",
        what: "open, read, close of 20,000 files, all 5 times",
        kind: Program(&["visit", "TREE", "SIZE", "5", "1"]),
        sizes: sizes(20_000, 400, 2_000, 100),
        witness: ("openat", 5),
        traced: demand(AtMost(1.45), None),
        bystander: NONE,
    },
    Workload {
        name: "W2-cold",
        what: "open, read, close of 100,000 files, each once",
        kind: Program(&["visit", "TREE", "SIZE", "1", "1"]),
        sizes: sizes(TREE, 2_000, QUICK_TREE, 500),
        witness: ("openat", 1),
        traced: demand(AtMost(1.60), None),
        bystander: NONE,
    },
    Workload {
        name: "W3-spawn",
        what: "fork and exec of true",
        kind: Program(&["spawn", "SIZE", "/usr/bin/true"]),
        sizes: sizes(300, 20, 30, 5),
        witness: ("execve", 1),
        traced: demand(AtMost(1.05), None),
        bystander: demand(AtMost(1.03), None),
    },
    Workload {
        name: "W4-python",
        what: "python3 that imports 16 modules",
        kind: Program(&["spawn", "SIZE", "/usr/bin/python3", "-c", IMPORTS]),
        sizes: sizes(3, 1, 1, 1),
        witness: ("openat", 16),
        traced: demand(AtMost(1.05), Some(1.03)),
        bystander: demand(AtMost(1.03), None),
    },
    Workload {
        name: "W4-gcc",
        what: "gcc -O1 of a small program",
        kind: Program(&["spawn", "SIZE", "gcc", "-O1", "-c", "DIR/small.c", "-o", "DIR/small.o"]),
        sizes: sizes(8, 2, 2, 1),
        witness: ("execve", 2),
        traced: demand(AtMost(1.05), Some(1.03)),
        bystander: demand(AtMost(1.03), None),
    },
    Workload {
        name: "W4-tar",
        what: "tar of 11,000 small files, into a pipe",
        kind: Program(&[
            "spawn",
            "1",
            "sh",
            "-c",
            // Folders of 1000 files.
            "tar -cf - -C \"$1\" $(seq 0 $(($2 - 1))) | cat >/dev/null",
            "sh",
            "TREE",
            "SIZE",
        ]),
        sizes: sizes(11, 1, 2, 1),
        witness: ("openat", 1000),
        traced: demand(AtMost(1.15), Some(1.10)),
        bystander: demand(AtMost(1.05), None),
    },
    Workload {
        name: "W5-redis",
        what: "redis, GET over loopback: the server's time",
        kind: Redis,
        sizes: sizes(50_000, 1_000, 5_000, 500),
        witness: ("read", 1),
        traced: demand(AtMost(1.12), Some(1.05)),
        bystander: demand(AtMost(1.10), None),
    },
    Workload {
        name: "W5-nginx",
        what: "nginx, 1 KiB over loopback: the server's time",
        kind: Nginx,
        sizes: sizes(20_000, 500, 2_000, 200),
        witness: ("openat", 1),
        traced: demand(AtMost(1.12), Some(1.05)),
        bystander: demand(AtMost(1.10), None),
    },
];

const NONE: Demand = Demand { limit: None, stretch: None };

const fn sizes(full: u64, full_strace: u64, quick: u64, quick_strace: u64) -> Sizes {
    Sizes { full, full_strace, quick, quick_strace }
}

const fn demand(limit: Limit, stretch: Option<f64>) -> Demand {
    Demand { limit: Some(limit), stretch }
}
