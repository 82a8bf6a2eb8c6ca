//! Tensors and runs for the tests of rule sets.

use super::Sighting;
use crate::{
    diagnosis::{
        Evaluation,
        fixture::{Case, distribution},
    },
    gradient::{Distribution, GradientStatistics, LogHistogram, TensorStatistics},
};

/// A run of so many epochs, each with an evaluation.
pub(super) fn run_of(epochs: u64, more: &str) -> Case {
    let mut case = Case::new(more);
    case.config.run.max_epochs = Some(epochs);
    case
}

/// 100 elements of this size, half of each sign.
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

/// With a mean other than 0, so that it is not taken for a tensor of zeros.
pub(super) fn with_mean(tensor: TensorStatistics, mean: f64) -> TensorStatistics {
    let distribution = tensor.distribution.map(|distribution| Distribution { mean, ..distribution });
    TensorStatistics { distribution, ..tensor }
}

/// Gradients of these parameters.
pub(super) fn of(parameters: Vec<TensorStatistics>) -> GradientStatistics {
    let total_norm = parameters.iter().map(|parameter| parameter.norm.powi(2)).sum::<f64>().sqrt();
    GradientStatistics { parameters, total_norm, missing: Vec::new(), backward_order: Vec::new() }
}

/// Gradients of one weight, all of one size.
pub(super) fn flat(size: f64) -> GradientStatistics {
    of(vec![with_mean(tensor("a.weight", size), size / 2.0)])
}

/// An evaluation at which both kinds of images are equally easy.
pub(super) fn epoch(step: u64, loss: f64, accuracy: f64) -> Evaluation {
    Evaluation {
        step,
        train_loss: loss,
        train_accuracy: accuracy,
        validation_loss: loss,
        validation_accuracy: accuracy,
    }
}

/// The rules that speak.
pub(super) fn rules(sightings: &[Sighting]) -> Vec<&'static str> {
    sightings.iter().map(|sighting| sighting.rule).collect()
}
