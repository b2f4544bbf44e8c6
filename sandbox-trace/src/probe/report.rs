//! What a probe found, for people and for scripts.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::confinement::{NAMESPACES, Plan};
use crate::{record::InForce, recording::BytePath, schemas::keywords::each};

/// Whether a boundary holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Closed = 0,
    /// It does not.
    Open = 1,
    /// It could not be told.
    Unknown = 2,
}

/// One check and how it went.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Outcome {
    /// What scripts call it: `write:/etc`.
    #[schemars(with = "BytePath")]
    pub id: String,
    /// What it is about.
    #[schemars(length(min = 1))]
    pub title: String,
    /// What a hardened container answers.
    #[schemars(length(min = 1))]
    pub expected: String,
    /// What this one answered.
    #[schemars(length(min = 1))]
    pub seen: String,
    /// Whether the boundary holds.
    pub verdict: Verdict,
    /// Why it matters.
    #[schemars(length(min = 1))]
    pub why: String,
}

/// How many boundaries hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// Those that hold.
    #[schemars(range(max = u32::MAX))]
    pub closed: usize,
    /// Those that don't.
    #[schemars(range(max = u32::MAX))]
    pub open: usize,
    /// Those that could not be told.
    #[schemars(range(max = u32::MAX))]
    pub unknown: usize,
}

/// The container, as far as a reader must know which it was.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Subject {
    /// Its name.
    name: BytePath,
    /// Its id.
    id: BytePath,
    /// Who keeps it.
    runtime: BytePath,
    /// Its first process, as the host numbers it.
    pid: u32,
}

/// What the checks ran under, found to be the container's own.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Confinement {
    /// The `AppArmor` label; null where the kernel has no `AppArmor`.
    apparmor: Option<BytePath>,
    /// How many seccomp filters are in force.
    #[schemars(range(max = u32::MAX))]
    seccomp_filters: usize,
    /// Whether its processes can't gain privileges by executing files.
    no_new_privileges: bool,
    /// The user, as the host numbers it.
    uid: u32,
    /// The group, as the host numbers it.
    gid: u32,
    /// The namespaces that are not the host's.
    #[schemars(extend("uniqueItems" = true))]
    #[schemars(transform = each(json!({ "enum": NAMESPACES.map(|(name, _)| name) })))]
    namespaces: Vec<&'static str>,
    /// How many children were compared with the container's first process and found to be confined the same.
    #[schemars(range(max = u32::MAX))]
    proven: usize,
    /// What differs on purpose, and what could not be taken on.
    differences: Vec<String>,
}

/// All that a probe found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Report {
    /// The container.
    pub container: Subject,
    /// What the checks ran under.
    pub confinement: Confinement,
    /// The checks, in the order of their list.
    pub checks: Vec<Outcome>,
    /// How many boundaries hold.
    pub counts: Counts,
    /// What was made in the container and removed again.
    pub cleaned: Vec<String>,
}

/// What a run of the checks gives.
#[derive(Debug, Default)]
pub struct Finished {
    /// The checks, in the order of their list.
    pub checks: Vec<Outcome>,
    /// How often a child was found to be confined as the container is.
    pub proven: usize,
    /// What could not be taken on, and is no boundary.
    pub differences: Vec<String>,
    /// What was made in the container and removed again.
    pub cleaned: Vec<String>,
}

impl Report {
    /// The report on a container.
    pub fn new(in_force: &InForce, plan: &Plan, finished: Finished) -> Self {
        let mut counts = Counts::default();
        for check in &finished.checks {
            match check.verdict {
                Verdict::Closed => counts.closed += 1,
                Verdict::Open => counts.open += 1,
                Verdict::Unknown => counts.unknown += 1,
            }
        }
        let mut differences: Vec<String> = plan.differences();
        differences.extend(finished.differences);
        Self {
            container: Subject {
                name: in_force.container.name.as_str().into(),
                id: in_force.container.id.as_str().into(),
                runtime: in_force.container.runtime.as_str().into(),
                pid: in_force.pid,
            },
            confinement: Confinement {
                apparmor: in_force.label.clone(),
                seccomp_filters: in_force.filters.filters().len(),
                no_new_privileges: in_force.no_new_privileges,
                uid: in_force.status.uids[1],
                gid: in_force.status.gids[1],
                namespaces: plan.own_namespaces(),
                proven: finished.proven,
                differences,
            },
            checks: finished.checks,
            counts,
            cleaned: finished.cleaned,
        }
    }
}
