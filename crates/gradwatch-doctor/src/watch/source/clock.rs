//! Speed of a run, from the times at which its steps were written.

use std::{collections::VecDeque, time::Duration};

use crate::report::Series;

/// Steps per second over the steps, and at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// The last tracked steps with their times, in seconds since 1970.
    recent: VecDeque<(u64, f64)>,
    pub speed: Series,
}

impl Clock {
    /// Tracked steps from which the speed at the end follows.
    const RECENT: usize = 32;
    /// A longer pause is one between two sessions: this many times the longest recent gap, and at least so many seconds.
    const PAUSE: f64 = 20.0;
    const PAUSE_SECS: f64 = 60.0;

    /// Adds a tracked step and the time of its writing.
    pub(super) fn add(&mut self, step: u64, secs: f64) {
        if let Some(&(before, then)) = self.recent.back() {
            let gap = secs - then;
            let is_pause = gap > Self::PAUSE_SECS.max(Self::PAUSE * self.longest_gap().as_secs_f64());
            if step <= before || gap < 0.0 || is_pause && self.recent.len() > 2 {
                self.recent.clear();
            } else if gap > 0.0 {
                self.speed.add(step, (step - before) as f64 / gap);
            }
        }
        if self.recent.len() == Self::RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((step, secs));
    }

    /// Steps per second over the last tracked steps, pauses for evaluations included.
    pub(super) fn steps_per_sec(&self) -> Option<f64> {
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        let secs = last.1 - first.1;
        (secs > 0.0).then(|| (last.0 - first.0) as f64 / secs)
    }

    /// Longest recent time between two tracked steps.
    pub(super) fn longest_gap(&self) -> Duration {
        let gaps = self.recent.iter().zip(self.recent.iter().skip(1)).map(|(one, other)| other.1 - one.1);
        Duration::try_from_secs_f64(gaps.fold(0.0, f64::max)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_steps_and_a_pause_between_sessions_is_left_out() {
        let mut clock = Clock::default();
        assert_eq!(clock.steps_per_sec(), None);
        // 10 steps every 2 s, then every 5 s, after a pause of an hour.
        (0..40).for_each(|index| clock.add(10 * index, 2.0 * index as f64));
        assert_eq!((clock.steps_per_sec(), clock.longest_gap()), (Some(5.0), Duration::from_secs(2)));
        (0..3).for_each(|index| clock.add(400 + 10 * index, 3678.0 + 5.0 * index as f64));
        assert_eq!(clock.steps_per_sec(), Some(2.0));
        assert_eq!((clock.speed.max(), clock.speed.last()), (5.0, 2.0));
    }

    #[test]
    fn a_run_that_goes_back_starts_anew_and_equal_times_tell_nothing() {
        let mut clock = Clock::default();
        [(0, 0.0), (10, 1.0), (5, 3.0), (6, 5.0)].into_iter().for_each(|(step, secs)| clock.add(step, secs));
        assert_eq!(clock.steps_per_sec(), Some(0.5));
        let mut same = Clock::default();
        (0..5).for_each(|step| same.add(step, 7.0));
        assert_eq!((same.steps_per_sec(), same.speed.buckets().len()), (None, 0));
    }
}
