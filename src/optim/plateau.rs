//! A learning rate that falls where evaluations stop getting better: torch's ReduceLROnPlateau.

use crate::config::{Metric, ScheduleConfig};

/// Watches a metric from evaluation to evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    factor: f64,
    patience: u64,
    threshold: f64,
    smallest: f64,
    higher_is_better: bool,
    best: Option<f64>,
    waited: u64,
    scale: f64,
}

impl Plateau {
    /// For a schedule over a learning rate of at most `peak`.
    pub fn new(config: &ScheduleConfig, metric: Metric, peak: f64) -> Self {
        Self {
            factor: config.decay_rate,
            patience: config.patience,
            threshold: config.threshold,
            smallest: if peak > 0.0 { config.min_learning_rate / peak } else { 0.0 },
            higher_is_better: metric != Metric::Loss,
            best: None,
            waited: 0,
            scale: 1.0,
        }
    }

    /// Adds an evaluation; one that is not a number is no improvement.
    pub fn add(&mut self, metric: f64) {
        let is_better = self.best.is_none_or(|best| match self.higher_is_better {
            true => metric > best * (1.0 + self.threshold),
            false => metric < best * (1.0 - self.threshold),
        });
        if is_better && !metric.is_nan() {
            self.best = Some(metric);
            self.waited = 0;
            return;
        }
        self.waited += 1;
        if self.waited > self.patience {
            self.scale = (self.scale * self.factor).max(self.smallest.min(1.0));
            self.waited = 0;
        }
    }

    /// What the learning rate is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }
}
