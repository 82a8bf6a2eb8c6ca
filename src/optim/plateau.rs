//! A learning rate that drops when evaluations stop improving: torch's ReduceLROnPlateau.

use serde::{Deserialize, Serialize};

use crate::config::{Metric, ScheduleConfig};

/// Tracks a metric across evaluations.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    factor: f64,
    patience: u64,
    threshold: f64,
    smallest: f64,
    higher_is_better: bool,
    /// State stored in checkpoints.
    pub course: PlateauCourse,
}

/// State of a [`Plateau`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlateauCourse {
    best: Option<f64>,
    waited: u64,
    scale: f64,
}

impl PlateauCourse {
    /// Makes the next evaluation the best so far, for example after a change of metric.
    pub fn forget_best(&mut self) {
        self.best = None;
    }
}

impl Plateau {
    /// Creates a plateau for a schedule with a learning rate of at most `peak`.
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

    /// Adds an evaluation. A value that is not finite is no improvement.
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

    /// Current factor of the learning rate.
    pub fn scale(&self) -> f64 {
        self.course.scale
    }
}
