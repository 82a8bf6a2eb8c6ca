//! Synthetic tracked steps, findings, and reports for tests of this module.

use super::{Course, Report};
use crate::{
    diagnosis::{Evaluation, Evidence, Figure, Finding, FindingState, Observation, Remedy, RuleName, Severity},
    statistics::{DepthProfile, GradientStatistics, ProfileSource, TensorStatistics},
};

pub(crate) fn gradient(name: &str, norm: f64, elements: u64) -> TensorStatistics {
    TensorStatistics { name: name.into(), elements, norm, max_abs: norm, distribution: None }
}

pub(crate) fn gradients(parameters: Vec<TensorStatistics>) -> GradientStatistics {
    let total_norm = parameters.iter().map(|parameter| parameter.norm.powi(2)).sum::<f64>().sqrt();
    GradientStatistics { parameters, total_norm, missing: Vec::new(), backward_order: Vec::new() }
}

pub(crate) fn observe(step: u64, loss: f64) -> Observation<'static> {
    Observation { step, loss, learning_rate: 0.1, total_norm: 2.0, ..Observation::default() }
}

pub(crate) fn evaluation(step: u64, accuracy: f64) -> Evaluation {
    let (train_loss, validation_loss) = (1.0 - accuracy, 1.1 - accuracy);
    let (train_accuracy, validation_accuracy) = (accuracy, accuracy);
    Evaluation { step, train_loss, train_accuracy, validation_loss, validation_accuracy, ..Evaluation::default() }
}

pub(crate) fn finding(rule: RuleName, severity: Severity, first_step: u64) -> Finding {
    Finding {
        rule,
        state: FindingState::Open,
        severity,
        layers: vec!["conv1".into(), "fc".into()],
        ranks: Vec::new(),
        first_step,
        last_step: first_step + 20,
        figures: vec![Figure { name: "ratio".into(), seen: 1e-6, expected: "0.01 or more".into() }],
        cause: "the gradient shrinks at every layer".into(),
        remedies: vec![
            Remedy { change: "model.activation = \"relu\"".into(), why: "its slope is 1".into() },
            Remedy { change: "model.normalization = \"batch\"".into(), why: "it keeps sizes".into() },
        ],
        evidence: (0..16).map(|index| Evidence { step: first_step + index, value: 1e-6 }).collect(),
        symptoms: vec![(RuleName::LossPlateau, first_step + 9)],
    }
}

/// A run with `steps` steps and an evaluation every ten steps.
pub(crate) fn report(steps: u64, findings: Vec<Finding>) -> Report {
    let mut course = Course::default();
    for step in 0..steps {
        let statistics = gradients(vec![gradient("conv1.weight", 0.1, 4), gradient("fc.weight", 1.0, 4)]);
        let layers = vec![("conv1".into(), 1e-6), ("fc".into(), 1e-2)];
        let profile = DepthProfile { source: ProfileSource::PreActivations, layers };
        course.add(&Observation {
            gradients: Some(&statistics),
            depth_profile: Some(profile),
            ..observe(step, 2.0 / (step + 1) as f64)
        });
        if step % 10 == 9 {
            course.add_evaluation(&evaluation(step + 1, 0.9));
        }
    }
    Report { title: "MLP on digits".into(), run: "run-1".into(), steps, findings, course, ..Report::default() }
}
