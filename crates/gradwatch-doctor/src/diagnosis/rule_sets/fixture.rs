//! Tensors and runs for tests of rule sets.

use super::Sighting;
use crate::{
    diagnosis::{
        Evaluation,
        fixture::{Case, distribution},
    },
    statistics::{Distribution, GradientStatistics, LogHistogram, TensorStatistics},
};

/// A run with this many epochs, each with an evaluation.
pub(super) fn run_of(epochs: u64, more: &str) -> Case {
    let mut case = Case::new(more);
    case.config.run.max_epochs = Some(epochs);
    case
}

/// 100 elements with this absolute value, half of each sign.
pub(super) fn tensor(name: &str, size: f64) -> TensorStatistics {
    let histogram = if size > 0.0 {
        LogHistogram { top: size.log2().floor() as i32, negative: vec![50], positive: vec![50] }
    } else {
        LogHistogram::default()
    };
    let zeros = if size > 0.0 { 0 } else { 100 };
    let distribution = Distribution { std: size, histogram, ..distribution(0, zeros) };
    let norm = 10.0 * size;
    TensorStatistics { name: name.into(), elements: 100, norm, max_abs: size, distribution: Some(distribution) }
}

/// Sets a mean other than 0, so that the tensor does not count as all zeros.
pub(super) fn with_mean(tensor: TensorStatistics, mean: f64) -> TensorStatistics {
    let distribution = tensor.distribution.map(|distribution| Distribution { mean, ..distribution });
    TensorStatistics { distribution, ..tensor }
}

/// Gradients of these parameters.
pub(super) fn of(parameters: Vec<TensorStatistics>) -> GradientStatistics {
    let total_norm = parameters.iter().map(|parameter| parameter.norm.powi(2)).sum::<f64>().sqrt();
    GradientStatistics { parameters, total_norm, missing: Vec::new(), backward_order: Vec::new() }
}

/// Gradients of one weight, all with the same absolute value.
pub(super) fn flat(size: f64) -> GradientStatistics {
    of(vec![with_mean(tensor("a.weight", size), size / 2.0)])
}

/// An evaluation with the same metrics on training and validation images.
pub(super) fn epoch(step: u64, loss: f64, accuracy: f64) -> Evaluation {
    Evaluation {
        step,
        train_loss: loss,
        train_accuracy: accuracy,
        validation_loss: loss,
        validation_accuracy: accuracy,
        ..Evaluation::default()
    }
}

/// Names of the rules that raised an alarm.
pub(super) fn rules(sightings: &[Sighting]) -> Vec<&'static str> {
    sightings.iter().map(|sighting| sighting.rule).collect()
}
