//! Tracks the best evaluation and the number of evaluations since.

use serde::{Deserialize, Serialize};

use crate::{
    config::{EarlyStoppingConfig, EvaluateConfig, Metric},
    evaluation::Metrics,
};

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Value of `evaluate.metric`.
    pub value: f64,
    /// Optimizer steps before the evaluation.
    pub step: u64,
}

/// Tracks one validation metric.
#[derive(Debug, Clone)]
pub struct EarlyStopping {
    metric: Metric,
    min_delta: f64,
    patience: u64,
    /// State that a checkpoint keeps.
    pub(super) history: EvaluationHistory,
}

/// History of the evaluations.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct EvaluationHistory {
    best: Option<Best>,
    since_best: u64,
}

impl EarlyStopping {
    /// Creates a tracker without evaluations.
    pub fn new(evaluate: &EvaluateConfig, config: &EarlyStoppingConfig) -> Self {
        let EarlyStoppingConfig { patience, min_delta } = *config;
        Self { metric: evaluate.metric, min_delta, patience, history: EvaluationHistory::default() }
    }

    /// Adds an evaluation. Returns whether it is the best so far. An evaluation with a non-finite loss never is,
    /// because even a network with NaN outputs has an accuracy. Nor is one without the metric.
    pub fn add(&mut self, step: u64, metrics: &Metrics) -> bool {
        let (value, sign) = (metrics.of(self.metric), if self.metric.lower_is_better() { -1.0 } else { 1.0 });
        let is_better = match self.history.best {
            _ if !metrics.loss.is_finite() || value.is_nan() => false,
            None => true,
            Some(best) => sign * (value - best.value) > self.min_delta,
        };
        if is_better {
            self.history = EvaluationHistory { best: Some(Best { value, step }), since_best: 0 };
        } else {
            self.history.since_best += 1;
        }
        is_better
    }

    /// Best evaluation so far.
    pub fn best(&self) -> Option<Best> {
        self.history.best
    }

    /// Whether the patience is exhausted.
    pub fn should_stop(&self) -> bool {
        self.patience > 0 && self.history.since_best >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::of_matrix;

    fn watch(metric: Metric, patience: u64, min_delta: f64, values: &[f64]) -> (Option<Best>, Vec<bool>) {
        let evaluate = EvaluateConfig {
            every_epochs: 1,
            every_steps: 0,
            batch_size: 0,
            metric,
            explain_images: 0,
            explain_classes: Vec::new(),
        };
        let mut early = EarlyStopping::new(&evaluate, &EarlyStoppingConfig { patience, min_delta });
        let stops = values.iter().enumerate().map(|(step, &value)| {
            let mut metrics = of_matrix(value, 0, &[vec![1, 0], vec![0, 0]]);
            metrics.accuracy = value;
            early.add(step as u64, &metrics);
            early.should_stop()
        });
        let stops = stops.collect();
        (early.best(), stops)
    }

    #[test]
    fn a_run_stops_when_its_figure_has_not_improved_for_patience_evaluations() {
        let (best, stops) = watch(Metric::Accuracy, 2, 0.0, &[0.5, 0.6, 0.6, 0.55]);
        assert_eq!(best, Some(Best { value: 0.6, step: 1 }));
        assert_eq!(stops, [false, false, false, true]);
    }

    #[test]
    fn a_loss_improves_by_falling_and_by_more_than_min_delta() {
        let (best, stops) = watch(Metric::Loss, 2, 0.1, &[1.0, 0.95, 0.8, 0.75, 0.75]);
        assert_eq!(best, Some(Best { value: 0.8, step: 2 }));
        assert_eq!(stops, [false, false, false, false, true]);
    }

    #[test]
    fn an_evaluation_without_the_metric_is_never_the_best() {
        let (best, _) = watch(Metric::MeanAveragePrecision, 2, 0.0, &[0.5]);
        assert_eq!(best, None);
    }

    #[test]
    fn a_nan_is_never_the_best_and_patience_0_never_stops() {
        let (best, stops) = watch(Metric::Loss, 0, 0.0, &[f64::NAN, 2.0, f64::NAN]);
        assert_eq!(best, Some(Best { value: 2.0, step: 1 }));
        assert_eq!(stops, [false; 3]);
    }
}
