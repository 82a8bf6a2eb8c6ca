//! A learning rate that falls where evaluations stop getting better: torch's ReduceLROnPlateau.

use serde::{Deserialize, Serialize};

use crate::config::{Metric, ScheduleConfig};

/// Watches a metric from evaluation to evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    factor: f64,
    patience: u64,
    threshold: f64,
    smallest: f64,
    higher_is_better: bool,
    /// What a checkpoint keeps of it.
    pub course: PlateauCourse,
}

/// What a [`Plateau`] has seen and done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlateauCourse {
    best: Option<f64>,
    waited: u64,
    scale: f64,
}

impl PlateauCourse {
    /// Makes the next evaluation the best so far, as where another figure is gone by.
    pub fn forget_best(&mut self) {
        self.best = None;
    }
}

impl Plateau {
    /// For a schedule over a learning rate of at most `peak`.
    pub fn new(config: &ScheduleConfig, metric: Metric, peak: f64) -> Self {
        Self {
            factor: config.decay_rate,
            patience: config.patience,
            threshold: config.threshold,
            smallest: if peak > 0.0 { config.min_learning_rate / peak } else { 0.0 },
            higher_is_better: !metric.lower_is_better(),
            course: PlateauCourse { best: None, waited: 0, scale: 1.0 },
        }
    }

    /// Adds an evaluation; one that is not finite is no improvement.
    pub fn add(&mut self, metric: f64) {
        let course = &mut self.course;
        let is_better = course.best.is_none_or(|best| match self.higher_is_better {
            true => metric > best * (1.0 + self.threshold),
            false => metric < best * (1.0 - self.threshold),
        });
        if is_better && metric.is_finite() {
            course.best = Some(metric);
            course.waited = 0;
            return;
        }
        course.waited += 1;
        if course.waited > self.patience {
            course.scale = (course.scale * self.factor).max(self.smallest.min(1.0));
            course.waited = 0;
        }
    }

    /// What the learning rate is multiplied by.
    pub fn scale(&self) -> f64 {
        self.course.scale
    }
}
