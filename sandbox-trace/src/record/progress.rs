//! The progress line: one line that is rewritten, on terminals only.

use std::{
    collections::VecDeque,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::collect::Distinct;
use crate::output::grouped;

/// "New" on the line means in the last ten seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// The line, and what it needs to tell what is new.
pub struct Progress {
    bar: ProgressBar,
    started: Instant,
    history: VecDeque<(Instant, Distinct)>,
}

impl Progress {
    /// Starts the line; on anything but a terminal, or when `quiet`, it shows nothing.
    pub fn start(quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let bar = if visible {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        let started = Instant::now();
        Self { bar, started, history: VecDeque::from([(started, Distinct::default())]) }
    }

    /// Rewrites the line.
    pub fn update(&mut self, now: Distinct, lost: u64) {
        if self.bar.is_hidden() {
            return;
        }
        let instant = Instant::now();
        self.history.push_back((instant, now));
        while self.history.len() > 1
            && self.history.front().is_some_and(|(then, _)| instant.duration_since(*then) > WINDOW)
        {
            self.history.pop_front();
        }
        let before = self.history.front().map(|(_, then)| *then).unwrap_or_default();
        self.bar.set_message(line(self.started.elapsed(), now, before, lost));
        self.bar.tick();
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn line(elapsed: Duration, now: Distinct, before: Distinct, lost: u64) -> String {
    let seconds = elapsed.as_secs();
    format!(
        "{:02}:{:02}:{:02}  syscalls {}  paths {}  net {}  caps {}   new in the last 10 s: {} syscalls, {} paths   lost {}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        grouped(now.syscalls),
        grouped(now.paths),
        grouped(now.network),
        grouped(now.capabilities),
        grouped(now.syscalls.saturating_sub(before.syscalls)),
        grouped(now.paths.saturating_sub(before.paths)),
        grouped(lost),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_new() {
        let before = Distinct { syscalls: 80, paths: 1_200, network: 3, capabilities: 1 };
        let now = Distinct { syscalls: 87, paths: 1_204, ..before };
        assert_eq!(
            line(Duration::from_secs(252), now, before, 0),
            "00:04:12  syscalls 87  paths 1,204  net 3  caps 1   new in the last 10 s: 7 syscalls, 4 paths   lost 0"
        );
    }
}
