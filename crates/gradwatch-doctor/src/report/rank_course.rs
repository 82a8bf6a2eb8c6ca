//! Collects the ranks of a data-parallel run step by step in bounded memory.

use serde::{Deserialize, Serialize};

use super::{grid::Grid, log_median::LogMedian, series::Series};
use crate::statistics::{RankSpread, RankStatistics, RankStep};

/// The ranks of a run over its steps. With more than 64 ranks, the lowest, the middle, and the highest values of all ranks
/// take their place, because event files contain no more.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RankCourse {
    /// Number of ranks.
    pub world: usize,
    /// One entry per rank, or per place in the spread.
    pub sums: Vec<RankSums>,
    /// Busy time of each rank, or its spread if there are more than [`LINES`](Self::LINES).
    pub busy: Vec<Series>,
    /// Busy time of each rank if there are more than lines, and no more than rows.
    pub grid: Grid,
}

/// Values of one rank over the steps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct RankSums {
    /// Tracked steps.
    pub steps: u64,
    pub images: u64,
    pub busy: LogMedian,
    pub wait: LogMedian,
    pub norm: LogMedian,
    pub busy_secs: f64,
    pub wait_secs: f64,
}

impl RankCourse {
    /// Most ranks with a line of their own.
    pub(crate) const LINES: usize = 8;
    /// Places in a spread, in the order of their entries.
    pub(crate) const PLACES: [&str; 3] = ["lowest", "median", "highest"];

    /// Adds a tracked step. If the number of ranks changes, the course starts again.
    pub(crate) fn add(&mut self, step: u64, statistics: &RankStatistics) {
        let ranks = &statistics.ranks;
        if ranks.len() < 2 {
            return;
        }
        if self.world != ranks.len() {
            *self = Self { world: ranks.len(), ..Self::default() };
            self.sums.resize_with(self.rows(), RankSums::default);
            let lines = if self.world > Self::LINES { Self::PLACES.len() } else { self.world };
            self.busy.resize_with(lines, Series::default);
        }
        if self.is_listed() {
            self.sums.iter_mut().zip(ranks).for_each(|(sums, rank)| sums.add(rank));
        } else {
            let spread = |value: fn(&RankStep) -> f64| places(statistics.spread(value));
            let images = spread(|rank| rank.images as f64);
            let [norm, busy_secs, wait_secs] =
                [spread(|rank| rank.norm), spread(|rank| rank.busy_secs), spread(|rank| rank.wait_secs)];
            for (place, sums) in self.sums.iter_mut().enumerate() {
                let (images, norm) = (images[place] as u64, norm[place]);
                let (busy_secs, wait_secs) = (busy_secs[place], wait_secs[place]);
                sums.add(&RankStep { images, norm, busy_secs, wait_secs, ..RankStep::default() });
            }
        }
        let busy = || ranks.iter().map(|rank| rank.busy_secs);
        if self.world <= Self::LINES {
            self.busy.iter_mut().zip(busy()).for_each(|(series, secs)| series.add(step, secs));
            return;
        }
        let spread = places(RankSpread::of(busy()));
        self.busy.iter_mut().zip(spread).for_each(|(series, secs)| series.add(step, secs));
        if self.is_listed() {
            let names: Vec<String> = (0..self.world).map(|rank| format!("rank {rank}")).collect();
            self.grid.add(step, names.iter().map(String::as_str).zip(busy()));
        }
    }

    /// Whether there is an entry per rank.
    pub(crate) fn is_listed(&self) -> bool {
        self.world <= RankStatistics::LISTED
    }

    fn rows(&self) -> usize {
        if self.is_listed() { self.world } else { Self::PLACES.len() }
    }
}

impl RankSums {
    fn add(&mut self, rank: &RankStep) {
        self.steps += 1;
        self.images += rank.images;
        self.busy.add(rank.busy_secs);
        self.wait.add(rank.wait_secs);
        self.norm.add(rank.norm);
        // `max` of NaN and a number is the number.
        self.busy_secs += rank.busy_secs.max(0.0);
        self.wait_secs += rank.wait_secs.max(0.0);
    }

    /// Mean number of images per tracked step.
    pub(crate) fn images_per_step(&self) -> f64 {
        self.images as f64 / self.steps as f64
    }

    /// Fraction of the time that the rank waited for others; NaN without times.
    pub(crate) fn wait_share(&self) -> f64 {
        self.wait_secs / (self.busy_secs + self.wait_secs)
    }
}

/// Lowest, middle, and highest value; NaN without any.
fn places(spread: Option<RankSpread>) -> [f64; 3] {
    spread.map_or([f64::NAN; 3], |RankSpread { min, median, max, .. }| [min, median, max])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(world: usize) -> RankStatistics {
        let rank = |rank: usize| RankStep {
            images: 8,
            norm: 2.0,
            busy_secs: 0.25 * (1 + rank) as f64,
            wait_secs: 0.25,
            ..RankStep::default()
        };
        RankStatistics { ranks: (0..world).map(rank).collect(), ..RankStatistics::default() }
    }

    #[test]
    fn each_rank_has_its_sums_up_to_64_and_a_line_up_to_8() {
        let course = |world: usize| {
            let (mut course, statistics) = (RankCourse::default(), statistics(world));
            (0..10).for_each(|step| course.add(step, &statistics));
            course
        };
        let of = |world: usize| {
            let course = course(world);
            (course.sums.len(), course.busy.len(), course.grid.table().names.len())
        };
        assert_eq!([1, 2, 8, 9, 64, 65].map(of), [(0, 0, 0), (2, 2, 0), (8, 8, 0), (9, 3, 9), (64, 3, 64), (3, 3, 0)]);
        let two = course(2);
        assert_eq!((two.sums[1].images_per_step(), two.sums[1].wait_share()), (8.0, 1.0 / 3.0));
        assert_eq!((two.busy[0].last(), two.busy[1].last()), (0.25, 0.5));
        // 0.25 to 16.25 s, of which the 33rd is 8.25 s.
        let many = course(65);
        assert_eq!([0, 1, 2].map(|place| many.busy[place].last()), [0.25, 8.25, 16.25]);
        assert_eq!(many.sums[1].busy.value(), 8.25);
    }

    #[test]
    fn a_run_that_goes_on_with_other_ranks_starts_again() {
        let mut course = RankCourse::default();
        course.add(0, &statistics(4));
        course.add(1, &statistics(3));
        assert_eq!((course.world, course.sums.len(), course.sums[0].steps), (3, 3, 1));
        course.add(2, &RankStatistics::default());
        assert_eq!(course.world, 3);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut course, statistics) = (RankCourse::default(), statistics(64));
        (0..3000).for_each(|step| course.add(step, &statistics));
        assert!(serde_json::to_string(&course).unwrap().len() < 500_000);
    }
}
