//! The course of the training loss, in blocks of ten readings: what is noise within a block is no course.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::disk::nan_from_null;

/// Ten readings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    /// Median of the losses.
    pub loss: f64,
    /// Median of the changes from one reading to the next, without their sign.
    pub roughness: f64,
}

/// The losses of a run that are finite.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LossCourse {
    /// The first loss of all.
    #[serde(deserialize_with = "nan_from_null")]
    pub first: f64,
    /// The lowest block.
    #[serde(deserialize_with = "nan_from_null")]
    pub best: f64,
    /// Blocks that were closed, also those that are no longer kept.
    pub count: u64,
    /// The last blocks, the oldest first.
    pub blocks: VecDeque<Block>,
    /// The readings of the block that is open.
    open: Vec<f64>,
    /// Whether the last reading closed a block.
    #[serde(skip)]
    pub has_closed: bool,
}

impl Default for LossCourse {
    fn default() -> Self {
        let (blocks, open) = (VecDeque::new(), Vec::new());
        Self { first: f64::NAN, best: f64::NAN, count: 0, blocks, open, has_closed: false }
    }
}

impl LossCourse {
    /// Readings of a block.
    pub const BLOCK: usize = 10;
    /// Blocks that are kept.
    const KEPT: usize = 64;

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

    /// The last blocks, where there are so many.
    pub(super) fn last(&self, count: usize) -> Option<impl DoubleEndedIterator<Item = &Block> + Clone> {
        Some(self.blocks.range(self.blocks.len().checked_sub(count)?..))
    }

    /// The median of the losses of the last blocks.
    pub(super) fn level(&self, blocks: usize) -> Option<f64> {
        Some(median(self.last(blocks)?.map(|block| block.loss).collect()))
    }

    /// By how much of itself the loss fell: the median of the first `part` of the last `blocks` blocks against that of their last
    /// `part`. Negative where it rose.
    pub(super) fn fall(&self, blocks: usize, part: usize) -> Option<f64> {
        let losses = self.last(blocks)?.map(|block| block.loss);
        let (before, now) = (median(losses.clone().take(part).collect()), median(losses.rev().take(part).collect()));
        Some((before - now) / before)
    }
}

/// The median; of an even number the upper of the two; NaN of none.
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
        // From the median of 6 and 5, the upper, to that of 1 and 2.
        assert_eq!(course.fall(6, 2), Some((6.0 - 2.0) / 6.0));
    }

    #[test]
    fn memory_is_bounded() {
        let course = of((0..10_000).map(f64::from));
        assert_eq!((course.blocks.len(), course.count), (LossCourse::KEPT, 1000));
        assert!((course.best - 5.0).abs() < 1e-12);
    }
}
