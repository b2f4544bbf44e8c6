//! How much of the machine it may use.

use super::{Fix, both, one, passed, unknown};
use crate::{
    audit::{Outcome, Severity, Subject},
    output::grouped,
    recording::Limits,
};

/// One limit: what is asked for, what is in force.
fn limit(
    subject: &Subject,
    (what, severity): (&'static str, Severity),
    of: impl Fn(&Limits) -> Option<u64>,
    shown: impl Fn(u64) -> String,
    fix: &Fix<'_>,
) -> Outcome {
    let asked = of(&subject.container().limits);
    let held = match &subject.held {
        Some(held) if held.unread_limits.contains(what) => {
            return unknown("the container's cgroup could not be read");
        }
        Some(held) => Some(of(&held.limits)),
        None => None,
    };
    match (asked, held) {
        (Some(asked), Some(None)) => one(subject, severity, both(&shown(asked), "no limit"), fix),
        (Some(asked), Some(Some(held))) if held > asked + asked / 100 => {
            one(subject, severity, both(&shown(asked), &shown(held)), fix)
        }
        (_, Some(Some(limit))) | (Some(limit), None) => passed(shown(limit)),
        (None, _) => one(subject, severity, "no limit is set", fix),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes >> 20))
}

pub fn memory(subject: &Subject) -> Outcome {
    limit(
        subject,
        ("memory", Severity::Medium),
        |l| l.memory_bytes,
        mebibytes,
        &Fix {
            run: "--memory 512m (emit-docker takes the size from the recorded peak)",
            compose: "mem_limit: 512m, or deploy.resources.limits.memory",
            oci: "linux.resources.memory.limit: BYTES",
        },
    )
}

pub fn swap(subject: &Subject) -> Outcome {
    let fix = Fix {
        run: "--memory-swap with the same value as --memory",
        compose: "memswap_limit: with the same value as mem_limit",
        oci: "linux.resources.memory.swap: with the same value as limit",
    };
    let limits = match &subject.held {
        Some(held) if held.unread_limits.contains("swap") => {
            return unknown("the kernel does not tell, or does not account for swap");
        }
        Some(held) => &held.limits,
        None => &subject.container().limits,
    };
    match (limits.memory_bytes, limits.memory_swap_bytes) {
        // That is said already.
        (None, _) => Outcome::NotApplicable,
        (Some(memory), Some(both)) if both <= memory => passed("no swap beside the memory"),
        (Some(memory), Some(both)) => {
            let beside = mebibytes(both - memory);
            one(
                subject,
                Severity::Low,
                format!("{beside} of swap beside {} of memory", mebibytes(memory)),
                &fix,
            )
        }
        (Some(memory), None) => one(
            subject,
            Severity::Low,
            format!("swap beside {} of memory is not limited to none", mebibytes(memory)),
            &fix,
        ),
    }
}

pub fn cpu(subject: &Subject) -> Outcome {
    let shown = |millis: u64| format!("{}.{:02} CPUs", millis / 1000, millis % 1000 / 10);
    limit(
        subject,
        ("cpu", Severity::Low),
        |l| l.cpu_millis,
        shown,
        &Fix {
            run: "--cpus 2.0",
            compose: "cpus: 2.0, or deploy.resources.limits.cpus",
            oci: "linux.resources.cpu: {\"quota\": 200000, \"period\": 100000}",
        },
    )
}

pub fn pids(subject: &Subject) -> Outcome {
    let shown = |n: u64| format!("{} processes and threads", grouped(n));
    limit(
        subject,
        ("pids", Severity::Medium),
        |l| l.pids,
        shown,
        &Fix {
            run: "--pids-limit 100",
            compose: "pids_limit: 100, or deploy.resources.limits.pids",
            oci: "linux.resources.pids.limit: 100",
        },
    )
}
