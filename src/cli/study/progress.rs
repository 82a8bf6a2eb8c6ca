//! Progress of a study: a bar, or a line now and then without a terminal.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

/// Time between two log lines.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Counts of the runs of a study.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All runs to train.
    pub total: usize,
    /// Ended, in this session or before.
    pub done: usize,
    /// Of these, the ones that failed.
    pub failed: usize,
    /// Training now.
    pub running: usize,
    /// Ended in this session.
    pub done_now: usize,
}

/// Progress of a study.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Option<Instant>,
}

impl Progress {
    /// Shows a bar below the log lines of `terminal`, or log lines without one.
    pub(super) fn new(terminal: Option<&MultiProgress>) -> Self {
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = terminal.map(|terminal| terminal.add(ProgressBar::new(0).with_style(style).with_prefix("study")));
        Self { bar, started: Instant::now(), last_line: None }
    }

    /// Shows the counts.
    pub(super) fn show(&mut self, counts: &Counts) {
        let text = counts.describe(self.started.elapsed());
        if let Some(bar) = &self.bar {
            bar.set_length(counts.total as u64);
            bar.set_position(counts.done as u64);
            bar.set_message(text);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            tracing::info!("{text}");
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Counts {
    /// The counts in words, with the time left at the speed of this session.
    fn describe(&self, elapsed: Duration) -> String {
        let Self { total, done, failed, running, done_now } = *self;
        let mut text = format!("{done} of {total} runs done, {running} running");
        if failed > 0 {
            text += &format!(", {failed} failed");
        }
        if done_now > 0 && done < total {
            let left = elapsed.mul_f64((total - done) as f64 / done_now as f64);
            text += &format!(", about {} left", HumanDuration(left));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_the_runs_of_this_session() {
        let counts = Counts { total: 100, done: 60, failed: 2, running: 4, done_now: 10 };
        let text = counts.describe(Duration::from_secs(30));
        assert_eq!(text, "60 of 100 runs done, 4 running, 2 failed, about 2 minutes left");
        let text = Counts { done_now: 0, failed: 0, ..counts }.describe(Duration::from_secs(30));
        assert_eq!(text, "60 of 100 runs done, 4 running");
    }
}
