//! History of the training loss, in blocks of ten tracked steps, so that noise within a block does not count.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Statistics of ten tracked steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    /// Median of the losses.
    pub loss: f64,
    /// Median absolute change between consecutive tracked steps.
    pub roughness: f64,
}

/// Finite losses of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LossCourse {
    /// First loss.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub first: f64,
    /// Lowest median of a block.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub best: f64,
    /// Number of completed blocks, including those no longer stored.
    pub count: u64,
    /// The last blocks, oldest first.
    pub blocks: VecDeque<Block>,
    /// Losses of the incomplete block.
    open: Vec<f64>,
    /// Number of label shuffles before these losses.
    #[serde(default)]
    shuffles: usize,
    /// Whether the last tracked step completed a block.
    #[serde(skip)]
    pub has_closed: bool,
}

impl Default for LossCourse {
    fn default() -> Self {
        let (blocks, open) = (VecDeque::new(), Vec::new());
        Self { first: f64::NAN, best: f64::NAN, count: 0, blocks, open, shuffles: 0, has_closed: false }
    }
}

impl LossCourse {
    /// Tracked steps per block.
    pub(super) const BLOCK: usize = 10;
    /// Number of blocks to store.
    const KEPT: usize = 64;

    /// Forgets the losses before a label shuffle: those of a new task say nothing about the old one. Keeps their number,
    /// because the weights have moved.
    /// Returns whether a task has started.
    pub(super) fn start_task(&mut self, shuffles: usize) -> bool {
        let is_new = self.shuffles != shuffles;
        if is_new {
            *self = Self { count: self.count, shuffles, ..Self::default() };
        }
        is_new
    }

    pub(super) fn add(&mut self, loss: f64) {
        self.has_closed = false;
        if !loss.is_finite() {
            return;
        }
        if self.first.is_nan() {
            self.first = loss;
        }
        self.open.push(loss);
        if self.open.len() < Self::BLOCK {
            return;
        }
        let changes = self.open.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
        let block = Block { roughness: median(changes), loss: median(std::mem::take(&mut self.open)) };
        if self.blocks.len() == Self::KEPT {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
        self.best = self.best.min(block.loss);
        self.count += 1;
        self.has_closed = true;
    }

    /// Number of losses so far.
    pub(super) fn readings(&self) -> u64 {
        self.count * Self::BLOCK as u64 + self.open.len() as u64
    }

    /// The last `count` blocks; `None` if there are fewer.
    pub(super) fn last(&self, count: usize) -> Option<impl DoubleEndedIterator<Item = &Block> + Clone> {
        Some(self.blocks.range(self.blocks.len().checked_sub(count)?..))
    }

    /// Median loss of the last `blocks` blocks.
    pub(super) fn level(&self, blocks: usize) -> Option<f64> {
        Some(median(self.last(blocks)?.map(|block| block.loss).collect()))
    }

    /// Relative decrease of the loss: compares the median of the first `part` of the last `blocks` blocks with that of
    /// their last `part`. Negative if the loss rose.
    pub(super) fn fall(&self, blocks: usize, part: usize) -> Option<f64> {
        let losses = self.last(blocks)?.map(|block| block.loss);
        let (before, now) = (median(losses.clone().take(part).collect()), median(losses.rev().take(part).collect()));
        Some((before - now) / before)
    }
}

/// Median; the upper one of two middle values; NaN if there are none.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(losses: impl IntoIterator<Item = f64>) -> LossCourse {
        let mut course = LossCourse::default();
        losses.into_iter().for_each(|loss| course.add(loss));
        course
    }

    #[test]
    fn ten_readings_are_a_block_whatever_is_not_finite_among_them() {
        let course = of([1.0, f64::NAN, 2.0, 1.0, 2.0, 1.0, f64::INFINITY, 2.0, 1.0, 2.0, 1.0, 9.0, 3.0]);
        assert_eq!(course.blocks, [Block { loss: 2.0, roughness: 1.0 }]);
        assert_eq!((course.first, course.best, course.count, course.open.len()), (1.0, 2.0, 1, 1));
    }

    #[test]
    fn levels_and_falls_are_of_the_last_blocks() {
        let course = of((0..60).map(|reading| 6.0 - f64::from(reading / 10)));
        assert_eq!(course.level(3), Some(2.0));
        assert_eq!(course.level(7), None);
        // From 6, the upper of 6 and 5, to 2, the upper of 1 and 2.
        assert_eq!(course.fall(6, 2), Some((6.0 - 2.0) / 6.0));
    }

    #[test]
    fn a_new_task_has_a_course_of_its_own() {
        let mut course = of([1.0; 25]);
        assert!(!course.start_task(0));
        assert_eq!((course.best, course.readings()), (1.0, 25));
        assert!(course.start_task(1));
        assert!(course.best.is_nan() && course.first.is_nan() && course.level(1).is_none());
        (0..10).for_each(|_| course.add(2.5));
        assert_eq!((course.first, course.best, course.readings()), (2.5, 2.5, 30));
    }

    #[test]
    fn memory_is_bounded() {
        let course = of((0..10_000).map(f64::from));
        assert_eq!((course.blocks.len(), course.count), (LossCourse::KEPT, 1000));
        assert!((course.best - 5.0).abs() < 1e-12);
    }
}
