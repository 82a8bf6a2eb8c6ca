//! Checkpoint retention: decides which checkpoints to keep, as a pure function of the manifests.

use super::Manifest;
use crate::config::CheckpointConfig;

/// Number of checkpoints to keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// Number of newest checkpoints to keep, at least one.
    pub keep_last: usize,
    /// Number of best checkpoints by `metric` to keep.
    pub keep_best: usize,
    /// Name of a validation metric.
    pub metric: String,
    /// Whether lower values are better, as for a loss.
    pub lower_is_better: bool,
    /// Keeps every n-th checkpoint of the run; 0 for none.
    pub keep_every: u64,
    /// Keeps the checkpoints of this step, to which a repair may return.
    pub keep_step: Option<u64>,
}

impl From<&CheckpointConfig> for Retention {
    fn from(config: &CheckpointConfig) -> Self {
        let &CheckpointConfig { keep_last, keep_best, metric, keep_every, .. } = config;
        let lower_is_better = metric.lower_is_better();
        Self { keep_last, keep_best, metric: metric.name().to_owned(), lower_is_better, keep_every, keep_step: None }
    }
}

/// Reasons to keep a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// It is one of the newest.
    pub as_last: bool,
    /// It is one of the best.
    pub as_best: bool,
    /// Its number is a multiple of `keep_every`.
    pub as_every: bool,
    /// A repair may return to it.
    pub as_return: bool,
}

impl Kept {
    /// Whether to keep the checkpoint.
    pub fn is_kept(self) -> bool {
        self.as_last || self.as_best || self.as_every || self.as_return
    }
}

/// Returns the reasons to keep each checkpoint. `checkpoints` must be ordered from oldest to newest. Ties go to the
/// earlier checkpoint.
pub fn kept(checkpoints: &[Manifest], retention: &Retention) -> Vec<Kept> {
    let Retention { keep_last, keep_best, metric, lower_is_better, keep_every, keep_step } = retention;
    let figure = |manifest: &Manifest| manifest.metrics.get(metric).copied().filter(|value| value.is_finite());
    let mut best: Vec<(usize, f64)> =
        checkpoints.iter().enumerate().filter_map(|(index, manifest)| Some((index, figure(manifest)?))).collect();
    // A stable sort keeps the order of ties.
    best.sort_by(|(_, one), (_, other)| if *lower_is_better { one.total_cmp(other) } else { other.total_cmp(one) });
    best.truncate(*keep_best);
    let first_of_last = checkpoints.len().saturating_sub((*keep_last).max(1));
    let why = |(index, manifest): (usize, &Manifest)| Kept {
        as_last: index >= first_of_last,
        as_best: best.iter().any(|(kept, _)| *kept == index),
        as_every: *keep_every > 0 && manifest.number.is_multiple_of(*keep_every),
        as_return: *keep_step == Some(manifest.step),
    };
    checkpoints.iter().enumerate().map(why).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::manifest::tests::manifest, *};

    fn staying(accuracies: &[Option<f64>], retention: &Retention) -> Vec<usize> {
        let checkpoints: Vec<Manifest> =
            accuracies.iter().zip(1..).map(|(accuracy, number)| manifest(number, 10 * number, *accuracy)).collect();
        let kept = kept(&checkpoints, retention);
        (0..checkpoints.len()).filter(|&index| kept[index].is_kept()).collect()
    }

    fn policy(keep_last: usize, keep_best: usize, keep_every: u64) -> Retention {
        Retention {
            keep_last,
            keep_best,
            metric: "accuracy".into(),
            lower_is_better: false,
            keep_every,
            keep_step: None,
        }
    }

    #[test]
    fn the_newest_the_best_and_every_so_many_th_stay() {
        let accuracies = [Some(0.5), Some(0.9), None, Some(0.7), Some(f64::NAN), Some(0.9), Some(0.1)];
        assert_eq!(staying(&accuracies, &policy(2, 0, 0)), [5, 6]);
        // Of the two best, the earlier one wins.
        assert_eq!(staying(&accuracies, &policy(1, 1, 0)), [1, 6]);
        assert_eq!(staying(&accuracies, &policy(1, 3, 0)), [1, 3, 5, 6]);
        assert_eq!(staying(&accuracies, &policy(1, 0, 3)), [2, 5, 6]);
        assert_eq!(staying(&accuracies, &policy(9, 9, 1)), [0, 1, 2, 3, 4, 5, 6]);
        let returning = Retention { keep_step: Some(30), ..policy(1, 0, 0) };
        assert_eq!(staying(&accuracies, &returning), [2, 6]);
        let least = Retention { lower_is_better: true, ..policy(1, 1, 0) };
        assert_eq!(staying(&accuracies, &least), [6]);
    }

    #[test]
    fn the_newest_always_stays() {
        assert_eq!(staying(&[None, None], &policy(0, 0, 0)), [1]);
        assert!(staying(&[], &policy(0, 0, 0)).is_empty());
    }
}
