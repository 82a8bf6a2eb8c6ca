//! Measured and predicted statistics of one layer, and its verdict.

use serde::Serialize;

use super::forecast::Forecast;
use crate::{
    config::{Activation, Config, Normalization, named_enum},
    diagnosis::{ParameterFacts, Thresholds},
    gradient::LayerStatistics,
    train::InitialMeasurement,
};

named_enum! {
    /// Effect of a layer on signal and gradient.
    pub enum Verdict {
        /// The layer preserves both.
        Ok = "ok",
        /// The layer contributes to a vanishing gradient.
        Shrinks = "shrinks",
        /// The layer contributes to an exploding gradient.
        Grows = "grows",
        /// No gradient passes back through the layer.
        Dead = "dead",
        /// Most inputs of the layer are in the flat range of the activation.
        Saturated = "saturated",
        /// The weights are far too large or too small, or all equal.
        OffScale = "off scale",
        /// The output or the gradient is NaN or infinite.
        NotFinite = "not finite",
    }
}

/// Statistics of one layer at initialization.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// Activation statistics and gradient RMS. Without taps, the activation statistics are NaN.
    #[serde(flatten)]
    pub seen: LayerStatistics,
    /// Gradient RMS of this layer over that of the next layer; `None` for the last layer, and if either is unknown.
    pub factor: Option<f64>,
    /// The same ratio as predicted by mean-field theory.
    pub expected_factor: Option<f64>,
    /// Mean square of the weights times `fan_in`.
    pub weight_scale: Option<f64>,
    /// Verdict on the layer.
    pub verdict: Verdict,
}

/// Reports on all layers, in the order of the forward pass.
pub(super) fn reports(config: &Config, initial: &InitialMeasurement, forecast: &Forecast) -> Vec<LayerReport> {
    let (bounds, rows) = (Bounds::of(config, initial), initial.rows());
    let behind = rows.iter().skip(1).map(Some).chain([None]);
    let expected = forecast.factors.iter().copied().chain(std::iter::repeat(f64::NAN));
    let layers = rows.iter().zip(behind).zip(expected);
    let report = |((layer, behind), expected): ((&LayerStatistics, Option<&LayerStatistics>), f64)| {
        let factor = behind.and_then(|behind| Some(layer.gradient_rms? / behind.gradient_rms?));
        let factor = factor.filter(|factor| factor.is_finite());
        let name = format!("{}.weight", layer.layer);
        let weight = initial.facts.parameters.iter().find(|param| *param.name == *name && param.shape.len() > 1);
        LayerReport {
            seen: layer.clone(),
            factor,
            expected_factor: Some(expected).filter(|factor| factor.is_finite()),
            weight_scale: weight.map(ParameterFacts::scale),
            verdict: bounds.verdict(config, layer, factor, weight),
        }
    };
    layers.map(report).collect()
}

/// Whether residual branches start at 0, so that no gradient reaches their inside yet.
fn is_silent(config: &Config) -> bool {
    config.model.known().is_some_and(|model| model.initialization.has_silent_branches())
}

/// Thresholds of the verdicts. A factor counts only if the gradient of some layer vanishes or explodes. Then its
/// threshold is the factor that, at every layer, would reach the threshold of that rule.
struct Bounds {
    thresholds: Thresholds,
    shrinks: Option<f64>,
    grows: Option<f64>,
}

impl Bounds {
    fn of(config: &Config, initial: &InitialMeasurement) -> Self {
        let thresholds = Thresholds::default();
        let mut profile = initial.depth_profile().layers;
        if is_silent(config) {
            profile.retain(|(_, size)| *size != 0.0);
        }
        let last = profile.last().map_or(f64::NAN, |(_, size)| *size);
        let steps = profile.len().saturating_sub(1).max(1) as f64;
        let smallest = profile.iter().map(|(_, size)| size / last).fold(f64::INFINITY, f64::min);
        let largest = profile.iter().map(|(_, size)| size / last).fold(0.0, f64::max);
        Self {
            shrinks: (smallest < thresholds.vanishing).then(|| thresholds.vanishing.powf(1.0 / steps)),
            grows: (largest > thresholds.exploding).then(|| thresholds.exploding.powf(1.0 / steps)),
            thresholds,
        }
    }

    fn verdict(
        &self,
        config: &Config,
        layer: &LayerStatistics,
        factor: Option<f64>,
        weight: Option<&ParameterFacts>,
    ) -> Verdict {
        let Self { thresholds, shrinks, grows } = self;
        // For a model from a file, only the gradient is measured.
        let model = config.model.known();
        let is_finite = model.is_none_or(|_| layer.rms.is_finite()) && layer.gradient_rms.is_none_or(f64::is_finite);
        let is_relu = model.is_some_and(|model| model.activation == Activation::Relu);
        let is_off = is_relu && layer.nonpositive_fraction > thresholds.dead_relu;
        let is_flat = model.is_some_and(|model| model.activation.is_flat_on_both_sides());
        let is_without_norm = model.is_some_and(|model| model.normalization == Normalization::None);
        let is_silent = is_silent(config);
        let is_off_scale = |weight: &ParameterFacts| {
            let expected = model.and_then(|model| model.initialization.expected_scale(weight.fan_in()));
            let off = expected.map_or(1.0, |expected| weight.scale() / expected);
            let is_meant = is_silent && weight.is_zero();
            weight.std == 0.0 && !is_meant || is_without_norm && off.max(off.recip()) > thresholds.poor_initialization
        };
        match factor.unwrap_or(1.0) {
            _ if !is_finite => Verdict::NotFinite,
            _ if is_off || layer.gradient_rms == Some(0.0) && !is_silent => Verdict::Dead,
            _ if is_flat && layer.saturated_fraction > thresholds.saturated => Verdict::Saturated,
            _ if weight.is_some_and(is_off_scale) => Verdict::OffScale,
            factor if shrinks.is_some_and(|bound| factor < bound) => Verdict::Shrinks,
            factor if grows.is_some_and(|bound| factor > bound) => Verdict::Grows,
            _ => Verdict::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(nonpositive_fraction: f64, saturated_fraction: f64, gradient_rms: f64) -> LayerStatistics {
        let layer = "fc1".into();
        LayerStatistics {
            layer,
            mean: 0.4,
            rms: 0.8,
            nonpositive_fraction,
            saturated_fraction,
            dormant_fraction: None,
            gradient_rms: Some(gradient_rms),
        }
    }

    /// Verdict on a layer that halves the gradient, with these thresholds for its factor.
    fn verdict(activation: &str, layer: &LayerStatistics, std: f64, [shrinks, grows]: [Option<f64>; 2]) -> Verdict {
        let toml = format!(
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel = {{ name = \"mlp\", activation = \"{activation}\" }}"
        );
        let config = Config::parse(&toml, "test").unwrap();
        let weight = ParameterFacts { name: "fc1.weight".into(), shape: vec![50, 100], mean: 0.0, std };
        let bounds = Bounds { thresholds: Thresholds::default(), shrinks, grows };
        bounds.verdict(&config, layer, Some(0.5), Some(&weight))
    }

    #[test]
    fn what_a_layer_suffers_from_is_told_by_what_keeps_gradients_back_first() {
        let fine = [None; 2];
        assert_eq!(verdict("relu", &layer(0.5, 0.5, 1e-3), 0.1, fine), Verdict::Ok);
        assert_eq!(verdict("relu", &layer(0.99, 0.99, 1e-3), 0.1, fine), Verdict::Dead);
        assert_eq!(verdict("tanh", &layer(0.99, 0.1, 1e-3), 0.1, fine), Verdict::Ok);
        assert_eq!(verdict("tanh", &layer(0.5, 0.1, 0.0), 0.1, fine), Verdict::Dead);
        assert_eq!(verdict("tanh", &layer(0.5, 0.9, 1e-3), 9.0, fine), Verdict::Saturated);
        assert_eq!(verdict("tanh", &layer(0.5, 0.9, f64::NAN), 0.1, fine), Verdict::NotFinite);
        // Variance times fan_in of 25 and 1 / 25 is off by more than 16 in either direction. The last weights are all
        // equal.
        for std in [0.5, 0.02, 0.0] {
            assert_eq!(verdict("relu", &layer(0.5, 0.5, 1e-3), std, fine), Verdict::OffScale);
        }
    }

    #[test]
    fn a_factor_counts_only_in_a_net_whose_gradient_is_off_as_a_whole() {
        let healthy = layer(0.5, 0.5, 1e-3);
        assert_eq!(verdict("relu", &healthy, 0.1, [Some(0.6), None]), Verdict::Shrinks);
        assert_eq!(verdict("relu", &healthy, 0.1, [Some(0.4), None]), Verdict::Ok);
        assert_eq!(verdict("relu", &healthy, 0.1, [None, Some(0.4)]), Verdict::Grows);
    }
}
