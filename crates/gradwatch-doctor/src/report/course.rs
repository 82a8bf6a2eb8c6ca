//! Collects the history of a run step by step in bounded memory.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{grid::Grid, index_of, profiles::Profiles, rank_course::RankCourse, series::Series};
use crate::{
    diagnosis::{Evaluation, Observation},
    statistics::{GradientHistory, GradientStatistics, LayerStatistics, ParameterUpdate, TensorStatistics},
};

/// History of a run: curves, heat maps, and the last statistics of each parameter and layer.
///
/// Memory use does not grow with the number of steps. A checkpoint can store it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Course {
    pub(crate) loss: Series,
    pub(crate) learning_rate: Series,
    pub(crate) total_norm: Series,
    pub(crate) train_loss: Series,
    pub(crate) validation_loss: Series,
    pub(crate) train_accuracy: Series,
    pub(crate) validation_accuracy: Series,
    pub(crate) gradients: Grid,
    pub(crate) updates: Grid,
    pub(crate) profiles: Profiles,
    pub(crate) history: GradientHistory,
    pub(crate) parameters: Vec<ParameterLast>,
    pub(crate) layers: Vec<LayerLast>,
    pub(crate) ranks: RankCourse,
}

/// Last statistics of one parameter; NaN if not measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ParameterLast {
    pub name: Arc<str>,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub update_ratio: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub weight_norm: f64,
    /// Fraction of zeros in the gradient.
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub zeros: f64,
}

/// Last statistics of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerLast {
    pub layer: Arc<str>,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub nonpositive: f64,
    #[serde(deserialize_with = "crate::json::nan_from_null")]
    pub saturated: f64,
}

impl Course {
    /// Adds a tracked step.
    pub fn add(&mut self, seen: &Observation<'_>) {
        let step = seen.step;
        let has_overflown = !seen.total_norm.is_finite() || seen.skipped_in_a_row > 0;
        // NaN may mean that the loss was not measured. If the loss itself is NaN, no gradient is finite.
        if !seen.loss.is_nan() || has_overflown {
            self.loss.add(step, seen.loss);
        }
        if !seen.learning_rate.is_nan() {
            self.learning_rate.add(step, seen.learning_rate);
        }
        if seen.total_norm != 0.0 {
            self.total_norm.add(step, seen.total_norm);
        }
        if let Some(gradients) = seen.gradients {
            self.add_gradients(step, gradients);
        }
        self.add_weights(seen.weights);
        self.add_updates(step, seen.updates);
        self.add_layers(seen.layers);
        if let Some(profile) = &seen.depth_profile {
            self.profiles.add(step, profile);
        }
        if let Some(ranks) = seen.ranks {
            self.ranks.add(step, ranks);
        }
    }

    /// Adds an evaluation. Skips values that were not measured.
    pub fn add_evaluation(&mut self, seen: &Evaluation) {
        let Self { train_loss, validation_loss, train_accuracy, validation_accuracy, .. } = self;
        for (series, value) in [
            (train_loss, seen.train_loss),
            (validation_loss, seen.validation_loss),
            (train_accuracy, seen.train_accuracy),
            (validation_accuracy, seen.validation_accuracy),
        ] {
            if !value.is_nan() {
                series.add(seen.step, value);
            }
        }
    }

    fn add_gradients(&mut self, step: u64, gradients: &GradientStatistics) {
        self.history.add(step, gradients);
        self.gradients.add(step, rms_by_layer(&gradients.parameters));
        let mut next = 0;
        for gradient in &gradients.parameters {
            if let Some(zeros) = gradient.zero_fraction() {
                self.parameter(&mut next, &gradient.name).zeros = zeros;
            }
        }
    }

    fn add_weights(&mut self, weights: &[TensorStatistics]) {
        let mut next = 0;
        for weight in weights {
            self.parameter(&mut next, &weight.name).weight_norm = weight.norm;
        }
    }

    fn add_updates(&mut self, step: u64, updates: &[ParameterUpdate]) {
        if updates.is_empty() {
            return;
        }
        // A parameter that is 0 and does not move has no ratio.
        let known = updates.iter().filter(|update| !(update.update_ratio.is_nan() && update.norm == 0.0));
        self.updates.add(step, known.map(|update| (&*update.name, update.update_ratio)));
        let mut next = 0;
        for update in updates {
            self.parameter(&mut next, &update.name).update_ratio = update.update_ratio;
        }
    }

    fn add_layers(&mut self, layers: &[LayerStatistics]) {
        let mut next = 0;
        for seen in layers {
            let index = index_of(&self.layers, next, |known| known.layer == seen.layer).unwrap_or_else(|| {
                let layer = Arc::clone(&seen.layer);
                self.layers.push(LayerLast { layer, nonpositive: f64::NAN, saturated: f64::NAN });
                self.layers.len() - 1
            });
            next = index + 1;
            let last = &mut self.layers[index];
            (last.nonpositive, last.saturated) = (seen.nonpositive_fraction, seen.saturated_fraction);
        }
    }

    /// The entry for `name`, which is nearly always at `next`.
    fn parameter(&mut self, next: &mut usize, name: &Arc<str>) -> &mut ParameterLast {
        let index = index_of(&self.parameters, *next, |known| known.name == *name).unwrap_or_else(|| {
            let (name, nan) = (Arc::clone(name), f64::NAN);
            self.parameters.push(ParameterLast { name, update_ratio: nan, weight_norm: nan, zeros: nan });
            self.parameters.len() - 1
        });
        *next = index + 1;
        &mut self.parameters[index]
    }

    /// Number of evaluations added.
    pub(crate) fn evaluations(&self) -> u64 {
        self.validation_loss.readings().max(self.validation_accuracy.readings())
    }

    /// First and last step over all curves.
    pub(crate) fn steps(&self) -> Option<(u64, u64)> {
        let series = [&self.loss, &self.learning_rate, &self.total_norm, &self.train_loss, &self.validation_loss];
        let series = series.into_iter().chain([&self.train_accuracy, &self.validation_accuracy]);
        let ends = series
            .filter_map(|series| Some((series.buckets().first()?.first_step, series.buckets().last()?.last_step)));
        ends.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }
}

/// Layer of a parameter: its name without the last part.
pub(crate) fn layer_of(parameter: &str) -> &str {
    parameter.rsplit_once('.').map_or(parameter, |(layer, _)| layer)
}

/// Gradient RMS of each layer over its parameters, which are consecutive.
fn rms_by_layer(parameters: &[TensorStatistics]) -> impl Iterator<Item = (&str, f64)> {
    let layers = parameters.chunk_by(|one, other| layer_of(&one.name) == layer_of(&other.name));
    layers.filter_map(|layer| {
        let squares: f64 = layer.iter().map(|parameter| parameter.norm.powi(2)).sum();
        let elements: u64 = layer.iter().map(|parameter| parameter.elements).sum();
        Some((layer_of(&layer.first()?.name), (squares / elements.max(1) as f64).sqrt()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{evaluation, gradient, gradients, observe};

    #[test]
    fn memory_is_bounded() {
        let mut course = Course::default();
        for step in 0..100_000 {
            let statistics = gradients(vec![gradient("a.weight", 1.0, 4), gradient("a.bias", 1.0, 1)]);
            course.add(&Observation { gradients: Some(&statistics), ..observe(step, 1.0) });
            course.add_evaluation(&evaluation(step, 0.5));
        }
        let series = [&course.loss, &course.learning_rate, &course.total_norm, &course.validation_accuracy];
        assert!(series.into_iter().all(|series| series.buckets().len() <= Series::MOST));
        assert!(course.gradients.table().steps.len() <= Grid::COLUMNS);
        assert!(serde_json::to_string(&course).unwrap().len() < 500_000);
        assert_eq!(course.steps(), Some((0, 99_999)));
    }

    #[test]
    fn the_parameters_of_a_layer_are_one_root_mean_square() {
        // sqrt((3^2 + 4^2) / 5).
        let parameters = [gradient("a.weight", 3.0, 4), gradient("a.bias", 4.0, 1), gradient("scale", 2.0, 4)];
        let layers: Vec<_> = rms_by_layer(&parameters).collect();
        assert_eq!(layers, [("a", 5f64.sqrt()), ("scale", 1.0)]);
    }

    #[test]
    fn what_was_not_looked_at_has_no_curve() {
        let mut course = Course::default();
        course.add(&Observation { loss: f64::NAN, learning_rate: f64::NAN, ..Observation::default() });
        let nan = f64::NAN;
        course.add_evaluation(&Evaluation { validation_loss: 1.0, train_loss: nan, ..evaluation(3, nan) });
        assert!(course.loss.buckets().is_empty() && course.total_norm.buckets().is_empty());
        assert!(course.learning_rate.buckets().is_empty() && course.train_loss.buckets().is_empty());
        assert_eq!(course.steps(), Some((3, 3)));
    }

    #[test]
    fn a_loss_that_becomes_nan_is_not_finite() {
        let mut course = Course::default();
        course.add(&observe(0, 1.0));
        course.add(&Observation { skipped_in_a_row: 1, ..observe(1, f64::NAN) });
        // At this step, the loss was not measured.
        course.add(&observe(2, f64::NAN));
        assert_eq!(course.loss.not_finite(), 1);
        let mut course = Course::default();
        course.add(&Observation { total_norm: f64::NAN, ..observe(0, f64::NAN) });
        assert_eq!((course.loss.not_finite(), course.total_norm.not_finite()), (1, 1));
    }
}
