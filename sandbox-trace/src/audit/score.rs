//! One number for a container's exposure, from 0 to 10, to be read as that of `systemd-analyze security`. One open door is
//! enough: the worst finding says in which part of the scale the container is. How much else is open says where in that part:
//! each check weighs something and is more or less open, and the sum is seen against all that could be. What can't be told
//! and what does not apply is left out of both.

use super::{Found, Outcome, Severity, checks::Check};

/// How open a check is by its worst finding, in tenths.
fn badness(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 0,
        Severity::Low => 3,
        Severity::Medium => 7,
        Severity::High => 9,
        Severity::Critical => 10,
    }
}

/// The part of the scale for a worst finding: from where to where, in tenths.
fn part(worst: Severity) -> (u32, u32) {
    match worst {
        Severity::Info | Severity::Low => (0, 30),
        Severity::Medium => (30, 60),
        Severity::High => (60, 90),
        Severity::Critical => (90, 100),
    }
}

/// The exposure, with one digit after the point.
pub fn exposure(outcomes: &[(&Check, Outcome)]) -> f64 {
    let (mut open, mut all, mut worst) = (0_u32, 0_u32, Severity::Info);
    for (check, outcome) in outcomes {
        let badness = match outcome {
            Outcome::Passed(_) => 0,
            Outcome::Found(found) => {
                let own = worst_of(found);
                worst = worst.max(own);
                badness(own)
            }
            Outcome::Unknown(_) | Outcome::NotApplicable => continue,
        };
        open += check.weight * badness;
        all += check.weight * 10;
    }
    let (from, to) = part(worst);
    // Rounded; 0 of 0 is 0.
    let within = (open * (to - from) + all / 2).checked_div(all).unwrap_or(0);
    f64::from(from + within) / 10.0
}

fn worst_of(found: &[Found]) -> Severity {
    found.iter().map(|found| found.severity).max().unwrap_or(Severity::Info)
}
