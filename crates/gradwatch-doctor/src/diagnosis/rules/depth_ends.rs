//! Compares the gradients of the first and the last layer, and decides what the ratio means for a network.

use std::sync::Arc;

use super::RuleContext;
use crate::{
    config::OptimizerName,
    diagnosis::{Figure, Observation, ParameterRole, course::median},
    statistics::DepthProfile,
};

/// Update ratio of the first layers over that of the last ones, from which the first layers keep up.
const KEEPS_UP: f64 = 0.03;

/// Tracked steps after which a run that learns has learned something.
const TIME: u64 = 50;

pub(super) struct DepthEnds {
    /// The first layer's RMS of dLoss/dz over the last layer's. Below 1, the gradient shrinks on its way back.
    pub ratio: f64,
    /// The corresponding factor per layer.
    pub per_layer: f64,
    /// Number of layers.
    pub count: usize,
    /// First and last layer.
    pub layers: Vec<Arc<str>>,
}

impl DepthEnds {
    /// `None` without layers, or if the ratio is not finite. In a model with silent branches, skips layers that no
    /// gradient has reached yet.
    pub(super) fn of(profile: &DepthProfile, context: &RuleContext<'_>) -> Option<Self> {
        let is_silent = context.has_silent_branches();
        let layers: Vec<_> = profile.layers.iter().filter(|(_, size)| !is_silent || *size != 0.0).collect();
        let (first, last) = (layers.first()?, layers.last()?);
        let (ratio, count) = (first.1 / last.1, layers.len());
        let per_layer = ratio.powf(1.0 / (count - 1).max(1) as f64);
        let layers = vec![first.0.clone(), last.0.clone()];
        ratio.is_finite().then_some(Self { ratio, per_layer, count, layers })
    }

    /// Both ratios with their healthy values.
    pub(super) fn figures(&self, expected: &str) -> Vec<Figure> {
        let name = "first layer's gradient RMS over the last layer's".into();
        vec![
            Figure { name, seen: self.ratio, expected: expected.into() },
            Figure { name: "factor per layer".into(), seen: self.per_layer, expected: "about 1".into() },
        ]
    }
}

/// Whether the network is a plain stack of layers, as far as it is known. A normalization makes the scale of the weights
/// before it irrelevant, and a shortcut adds a path: there, the ratio of the ends alone is no fault.
pub(super) fn is_plain(seen: &Observation<'_>, context: &RuleContext<'_>) -> bool {
    match context.model() {
        Some(model) => context.has_no_normalization() && !model.residual,
        None => !has_gains(seen, context),
    }
}

/// Whether the run has had time to learn, and has not.
pub(super) fn is_stuck(seen: &Observation<'_>, context: &RuleContext<'_>) -> bool {
    context.course.readings() >= TIME && context.has_learned_little(seen)
}

/// Whether the optimizer divides by the size of each gradient.
pub(super) fn is_adaptive(context: &RuleContext<'_>) -> bool {
    context.config.is_some_and(|config| config.optimizer.name != OptimizerName::Sgd)
}

/// Whether the network has normalizations, as far as its parameters show.
fn has_gains(seen: &Observation<'_>, context: &RuleContext<'_>) -> bool {
    let facts = &context.facts.parameters;
    if !facts.is_empty() {
        return facts.iter().any(|parameter| parameter.role() == ParameterRole::Gain);
    }
    // Without shapes: a weight with as many elements as the bias after it scales each of them.
    let parameters = seen.gradients.map_or(&[][..], |gradients| &gradients.parameters);
    parameters.windows(2).any(|pair| {
        let layer = pair[0].name.strip_suffix(".weight");
        let is_pair = layer.is_some() && layer == pair[1].name.strip_suffix(".bias");
        is_pair && pair[0].elements > 1 && pair[0].elements == pair[1].elements
    })
}

/// Whether the weights of the first third of the layers move as fast, relative to their size, as those of the last
/// third; `None` if not measured.
pub(super) fn first_layers_keep_up(seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<bool> {
    let weights = seen.updates.iter().filter(|update| context.roles.is_weight(&update.name));
    let ratios: Vec<f64> = weights.map(|update| update.update_ratio).filter(|ratio| ratio.is_finite()).collect();
    let third = ratios.len() / 3;
    if third == 0 {
        return None;
    }
    let (first, last) = (median(ratios[..third].to_vec()), median(ratios[ratios.len() - third..].to_vec()));
    Some(first >= KEEPS_UP * last)
}
