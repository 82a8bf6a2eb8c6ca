//! Compares the gradients of the first and the last layer.

use std::sync::Arc;

use super::RuleContext;
use crate::{diagnosis::Figure, statistics::DepthProfile};

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
