//! Runs, layers, and gradients for rule tests.

use super::{Evaluation, Facts, Subject, Thresholds, course::LossCourse, parameter_role::Roles, rules::RuleContext};
use crate::{
    config::Config,
    statistics::{
        DepthProfile, Distribution, GradientStatistics, LayerStatistics, LogHistogram, ParameterUpdate, ProfileSource,
        TensorStatistics,
    },
};

/// A run with ten classes and its facts.
pub(super) struct Case {
    pub config: Config,
    pub facts: Facts,
    pub roles: Roles,
    pub course: LossCourse,
    pub thresholds: Thresholds,
}

impl Case {
    /// An MLP with additional or other keys.
    pub(super) fn new(more: &str) -> Self {
        let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}");
        Self {
            config: Config::parse(&toml, "test").unwrap(),
            facts: Facts { classes: 10, ..Facts::default() },
            roles: Roles::default(),
            course: LossCourse::default(),
            thresholds: Thresholds::default(),
        }
    }

    /// A run with these past losses.
    pub(super) fn with_losses(losses: impl IntoIterator<Item = f64>) -> Self {
        let mut case = Self::new("");
        losses.into_iter().for_each(|loss| case.course.add(loss));
        case
    }

    pub(super) fn context(&self) -> RuleContext<'_> {
        let Self { config, facts, roles, course, thresholds } = self;
        RuleContext { config: Some(config), facts, roles, course, thresholds }
    }

    pub(super) fn subject(&self) -> Subject<'_> {
        Subject { config: Some(&self.config), facts: &self.facts }
    }
}

/// A profile with these RMS values per layer, starting at the input.
pub(super) fn profile(sizes: &[f64]) -> DepthProfile {
    let layers = sizes.iter().enumerate().map(|(index, &size)| (format!("layers.{index}.linear").into(), size));
    DepthProfile { source: ProfileSource::PreActivations, layers: layers.collect() }
}

/// A healthy layer.
pub(super) fn layer(name: &str) -> LayerStatistics {
    LayerStatistics {
        layer: name.into(),
        mean: 0.4,
        rms: 0.8,
        nonpositive_fraction: 0.5,
        saturated_fraction: 0.0,
        dormant_fraction: None,
        gradient_rms: Some(1e-3),
    }
}

/// Gradients with these norms.
pub(super) fn gradients(norms: &[(&str, f64)]) -> GradientStatistics {
    let of_one = |&(name, norm): &(&str, f64)| TensorStatistics {
        name: name.into(),
        elements: 1,
        norm,
        max_abs: norm,
        distribution: None,
    };
    let total_norm = norms.iter().map(|(_, norm)| norm * norm).sum::<f64>().sqrt();
    GradientStatistics {
        parameters: norms.iter().map(of_one).collect(),
        total_norm,
        missing: Vec::new(),
        backward_order: Vec::new(),
    }
}

/// Weights with these norms.
pub(super) fn weights(norms: &[(&str, f64)]) -> Vec<TensorStatistics> {
    gradients(norms).parameters
}

/// A distribution with these counts. All other counts are 0.
pub(super) fn distribution(denormals: u64, zeros: u64) -> Distribution {
    Distribution {
        mean: 0.0,
        std: 0.0,
        zeros,
        denormals,
        nans: 0,
        infinities: 0,
        negative_infinities: 0,
        histogram: LogHistogram::default(),
    }
}

/// An update of a parameter with norm 1.
pub(super) fn update(name: &str, update_ratio: f64) -> ParameterUpdate {
    ParameterUpdate { name: name.into(), norm: update_ratio, update_ratio }
}

/// An evaluation with all values NaN.
pub(super) fn evaluation(step: u64) -> Evaluation {
    Evaluation { step, ..Evaluation::default() }
}
