//! Measurements of the ranks of one data-parallel step.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::RankSpread;
use crate::json::nan_from_null;

/// Measurements of the ranks of one data-parallel step.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RankStatistics {
    /// One entry per rank, in rank order.
    pub ranks: Vec<RankStep>,
    /// Mean cosine between the gradients of all pairs of ranks that had images; `None` with fewer than two, or if it is
    /// not finite.
    pub cosine: Option<f64>,
    /// Where a non-finite gradient began; `None` if all gradients are finite, or if the place is not known.
    pub non_finite: Option<RankPlace>,
    /// Result of the last weight check, on steps where one was due and the weights differ.
    pub mismatch: Option<WeightMismatch>,
}

/// Measurements of one rank in one step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankStep {
    /// Number of images of the rank in this step.
    pub images: u64,
    /// L2 norm of the mean gradient over the rank's own images of this step; NaN without images.
    #[serde(deserialize_with = "nan_from_null")]
    pub norm: f64,
    /// Mean loss over the rank's own images; NaN without images.
    #[serde(deserialize_with = "nan_from_null")]
    pub loss: f64,
    /// Seconds from the start of the step until the rank's backward passes were done, without waiting for other ranks:
    /// loading, forward, backward.
    #[serde(deserialize_with = "nan_from_null")]
    pub busy_secs: f64,
    /// Of `busy_secs`, the seconds spent waiting for images.
    #[serde(deserialize_with = "nan_from_null")]
    pub loading_secs: f64,
    /// Seconds that the rank waited for other ranks in this step.
    #[serde(deserialize_with = "nan_from_null")]
    pub wait_secs: f64,
}

/// Where a non-finite gradient began: a rank and the first parameter of its backward pass whose local gradient was not
/// finite before the ranks were summed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankPlace {
    /// The rank.
    pub rank: usize,
    /// Name of the parameter.
    pub parameter: Arc<str>,
    /// Micro-batches of the rank with such a gradient, from 0.
    pub micro_batches: Vec<usize>,
    /// Indices of the images of these micro-batches in the training data.
    pub images: Vec<u32>,
}

/// Weights that differ between ranks, although all ranks apply the same update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightMismatch {
    /// First parameter that differs.
    pub parameter: Arc<str>,
    /// Ranks that deviate from the majority, or all ranks in question without a majority.
    pub ranks: Vec<usize>,
    /// Whether a majority of the ranks agrees. Two ranks have none.
    pub is_certain: bool,
    /// Number of parameters that differ.
    pub parameters: usize,
}

impl Default for RankStep {
    /// A rank without images.
    fn default() -> Self {
        Self { images: 0, norm: f64::NAN, loss: f64::NAN, busy_secs: 0.0, loading_secs: 0.0, wait_secs: 0.0 }
    }
}

/// A value of a rank, and the place to store it.
type Field = (fn(&RankStep) -> f64, fn(&mut RankStep, f64));

/// All values of a rank.
const FIELDS: [Field; 6] = [
    (|rank| rank.images as f64, |rank, value| rank.images = value as u64),
    (|rank| rank.norm, |rank, value| rank.norm = value),
    (|rank| rank.loss, |rank, value| rank.loss = value),
    (|rank| rank.busy_secs, |rank, value| rank.busy_secs = value),
    (|rank| rank.loading_secs, |rank, value| rank.loading_secs = value),
    (|rank| rank.wait_secs, |rank, value| rank.wait_secs = value),
];

impl RankStatistics {
    /// Most ranks of which the event files contain every value. With more ranks, they contain a [`RankSpread`] of each.
    pub const LISTED: usize = 64;

    /// The spread of a value over the ranks; `None` if no rank has a finite one.
    pub fn spread(&self, value: impl Fn(&RankStep) -> f64) -> Option<RankSpread> {
        RankSpread::of(self.ranks.iter().map(value))
    }

    /// The statistics as the event files contain them: with more than [`LISTED`](Self::LISTED) ranks, each value of a rank
    /// is the median of all ranks, except for the lowest and the highest one.
    pub fn recorded(&self) -> Cow<'_, Self> {
        if self.ranks.len() <= Self::LISTED {
            return Cow::Borrowed(self);
        }
        let mut ranks = vec![RankStep::default(); self.ranks.len()];
        for (value, store) in FIELDS {
            if let Some(spread) = self.spread(value) {
                spread.fill(&mut ranks, store);
            }
        }
        Cow::Owned(Self { ranks, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_as_they_were_written() {
        let ranks = vec![RankStep { images: 8, norm: 0.5, loss: 2.25, busy_secs: 0.125, ..RankStep::default() }; 2];
        let non_finite =
            RankPlace { rank: 1, parameter: "fc.weight".into(), micro_batches: vec![0, 2], images: vec![7, 9] };
        let mismatch =
            WeightMismatch { parameter: "fc.weight".into(), ranks: vec![1], is_certain: false, parameters: 3 };
        let statistics =
            RankStatistics { ranks, cosine: Some(0.5), non_finite: Some(non_finite), mismatch: Some(mismatch) };
        let text = serde_json::to_string(&statistics).unwrap();
        assert_eq!(serde_json::from_str::<RankStatistics>(&text).unwrap(), statistics);
        // JSON has no NaN.
        let idle: RankStep = serde_json::from_str(&serde_json::to_string(&RankStep::default()).unwrap()).unwrap();
        assert!(idle.norm.is_nan() && idle.loss.is_nan() && idle.images == 0);
        assert_eq!(serde_json::from_str::<RankStatistics>("{}").unwrap(), RankStatistics::default());
    }

    #[test]
    fn up_to_64_ranks_are_recorded_one_by_one_and_more_by_their_extremes() {
        let statistics = |count: usize| {
            let rank = |index: usize| RankStep {
                images: 4,
                norm: if index == 60 { 90.0 } else { 1.0 + index as f64 / 1000.0 },
                busy_secs: if index == 3 { 0.5 } else { 2.0 },
                ..RankStep::default()
            };
            RankStatistics { ranks: (0..count).map(rank).collect(), cosine: Some(0.25), ..RankStatistics::default() }
        };
        assert!(matches!(statistics(64).recorded(), Cow::Borrowed(_)));
        let many = statistics(65);
        let recorded = many.recorded();
        // Norms 1.000 to 1.064, of which 1.060 became 90: the 33rd of 65 is 1.032.
        let norms: Vec<f64> = [0, 1, 60, 64].map(|rank| recorded.ranks[rank].norm).to_vec();
        assert_eq!(norms, [1.0, 1.032, 90.0, 1.032]);
        let busy: Vec<f64> = [0, 3, 64].map(|rank| recorded.ranks[rank].busy_secs).to_vec();
        assert_eq!(busy, [2.0, 0.5, 2.0]);
        assert!(recorded.ranks.iter().all(|rank| rank.images == 4 && rank.loss.is_nan()));
        assert_eq!((recorded.cosine, recorded.spread(|rank| rank.norm)), (Some(0.25), many.spread(|rank| rank.norm)));
        // Recording again changes nothing.
        let again = recorded.recorded();
        assert!(again.ranks.iter().zip(&recorded.ranks).all(|(one, other)| one.norm == other.norm));
    }
}
