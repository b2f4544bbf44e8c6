//! One number for a container's exposure, from 0 to 10, as `systemd-analyze security` gives it: each check weighs
//! something and is more or less open; the sum is seen against all that could be open. What can't be told and what does
//! not apply is left out of both.
//!
//! Unlike there, one open door is enough: a finding that is critical makes it at least 9, one that is high at least 6.

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

/// The exposure, with one digit after the point.
pub fn exposure(outcomes: &[(&Check, Outcome)]) -> f64 {
    let (mut open, mut all, mut least) = (0_u32, 0_u32, 0_u32);
    for (check, outcome) in outcomes {
        let worst = |found: &[Found]| found.iter().map(|found| found.severity).max();
        let badness = match outcome {
            Outcome::Passed(_) => 0,
            Outcome::Found(found) => {
                let worst = worst(found).unwrap_or(Severity::Info);
                least = least.max(match worst {
                    Severity::Critical => 90,
                    Severity::High => 60,
                    _ => 0,
                });
                badness(worst)
            }
            Outcome::Unknown(_) | Outcome::NotApplicable => continue,
        };
        open += check.weight * badness;
        all += check.weight * 10;
    }
    // In tenths, rounded; 0 of 0 is 0.
    let score = (open * 100 + all / 2).checked_div(all).unwrap_or(0).max(least).min(100);
    f64::from(score) / 10.0
}
