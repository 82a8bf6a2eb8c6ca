//! Predictions of mean-field theory for a model: the gradient factor of each layer, and the largest trainable depth.

use std::sync::Arc;

use super::mean_field::{DEPTH_SCALES, MeanField, Signal, depth_scale, normalized_chi};
use crate::{
    config::{Architecture, InitializationMethod as Method, ModelConfig, Normalization},
    diagnosis::{Facts, ParameterFacts},
    gradient::{DepthProfile, ProfileSource},
    train::InitialMeasurement,
};

/// Predictions of mean-field theory. There are none for models with shortcuts, for weights with a mean that the
/// gradient follows, and for weights that are not random.
#[derive(Debug, Clone, Default)]
pub(super) struct Forecast {
    /// Gradient RMS of each layer over that of the next one; NaN if unknown.
    pub factors: Vec<f64>,
    /// Factor on the squared gradient between two layers of equal size, after signals have settled.
    pub chi: Option<f64>,
}

/// A layer as mean-field theory describes it.
struct Layer<'a> {
    weight: &'a ParameterFacts,
    /// Mean of the weights times `fan_in`.
    weight_mean: f64,
    /// sw2: mean square of the weights times the effective number of inputs per unit. A mean other than 0 affects the
    /// gradient only through this value, because the gradient's elements have both signs.
    weight_variance: f64,
    /// Mean and variance of the biases. A centered bias cancels the contribution of the mean of the inputs, and with it
    /// part of the variance of the sums, so its variance is negative.
    bias: [f64; 2],
    is_normalized: bool,
    /// Fraction of the inputs that dropout keeps.
    kept: f64,
    /// Elements of the output for one image.
    elements: f64,
}

impl Forecast {
    /// Computes the predictions from the initial weights and the layer sizes. Treats the sums as independent of each
    /// other.
    pub(super) fn of(model: &ModelConfig, initial: &InitialMeasurement) -> Self {
        let layers = initial.layers.iter().zip(&initial.shapes);
        let layers: Option<Vec<Layer<'_>>> = layers
            .enumerate()
            .map(|(index, (layer, shape))| Layer::new(model, &initial.facts, index, &layer.layer, shape))
            .collect();
        let is_beyond = matches!(model.initialization.method, Method::YilmazPoli | Method::Identity) || model.residual;
        match layers.filter(|layers| !is_beyond && !layers.is_empty()) {
            Some(layers) => Self { factors: factors(model, &initial.facts, &layers), chi: chi(model, &layers) },
            None => Self { factors: vec![f64::NAN; initial.layers.len()], chi: None },
        }
    }

    /// Predicted gradient size per layer, relative to the last layer.
    pub(super) fn profile(&self, initial: &InitialMeasurement) -> DepthProfile {
        let mut size = 1.0;
        let names = initial.layers.iter().map(|layer| Arc::clone(&layer.layer));
        let mut layers: Vec<_> = names
            .zip(&self.factors)
            .enumerate()
            .rev()
            .map(|(index, (name, factor))| {
                size *= if index + 1 == self.factors.len() { 1.0 } else { *factor };
                (name, size)
            })
            .collect();
        layers.reverse();
        DepthProfile { source: ProfileSource::PreActivations, layers }
    }

    /// Six depth scales.
    pub(super) fn trainable_depth(&self) -> Option<f64> {
        self.chi.map(|chi| DEPTH_SCALES * depth_scale(chi)).filter(|depth| !depth.is_nan())
    }
}

impl<'a> Layer<'a> {
    fn new(model: &ModelConfig, facts: &'a Facts, index: usize, name: &str, shape: &[i64]) -> Option<Self> {
        let parameter = |kind: &str| facts.parameters.iter().find(|param| *param.name == *format!("{name}.{kind}"));
        let weight = parameter("weight")?;
        let is_vgg = name.starts_with("classifier.");
        let is_dropped = model.name == Architecture::Mlp && index > 0 || name == "classifier.3";
        let method = model.initialization.method;
        // A kernel with only its center is not affected by padding.
        let covered = if method == Method::DeltaOrthogonal { 1.0 } else { coverage(weight, shape).powi(2) };
        let [bias_mean, bias_variance] = parameter("bias").map_or([0.0; 2], |bias| [bias.mean, bias.std.powi(2)]);
        let bias_variance = match method {
            // E[(h - 1/2)^2] is E[h^2] - 1/4. The same applies to images around their mean m: the biases -W m have the
            // variance of the weights times the mean square of m.
            Method::CenteredLogistic if index > 0 => -weight.scale() / 4.0,
            Method::CenteredLogistic => -bias_variance,
            _ => bias_variance,
        };
        Some(Self {
            weight,
            weight_mean: weight.mean * weight.fan_in() * covered,
            weight_variance: weight.scale() * covered,
            bias: [bias_mean, bias_variance],
            // The linear layers of a VGG have no normalization.
            is_normalized: model.normalization != Normalization::None && !is_vgg,
            kept: if is_dropped { 1.0 - model.dropout } else { 1.0 },
            elements: shape.iter().product::<i64>() as f64,
        })
    }

    /// Distribution of the sums for inputs with this mean and mean square.
    fn signal(&self, mean: f64, square: f64) -> Signal {
        if self.is_normalized {
            return Signal::NORMAL;
        }
        let spread = self.weight_variance - self.weight.mean * self.weight_mean;
        Signal { mean: self.weight_mean * mean + self.bias[0], variance: spread * square / self.kept + self.bias[1] }
    }
}

/// Fraction of the rows (and columns) of a 3x3 kernel that cover inputs instead of padding; 1 for other kernels, which
/// cover less padding.
fn coverage(weight: &ParameterFacts, shape: &[i64]) -> f64 {
    match (&weight.shape[..], shape) {
        ([_, _, 3, 3], [_, height, _]) => (3 * height - 2) as f64 / (3 * height) as f64,
        _ => 1.0,
    }
}

fn factors(model: &ModelConfig, facts: &Facts, layers: &[Layer<'_>]) -> Vec<f64> {
    let channels = facts.channels.len() as f64;
    let mean = facts.channels.iter().map(|channel| channel.mean).sum::<f64>() / channels;
    let square =
        facts.channels.iter().map(|channel| channel.mean.powi(2) + channel.std.powi(2)).sum::<f64>() / channels;
    let mut signal = layers[0].signal(mean, square);
    let factor = |pair: &[Layer<'_>]| {
        let (layer, behind) = (&pair[0], &pair[1]);
        let activation = model.activation;
        let (mean, square) = (signal.mean_output(activation), signal.square_output(activation));
        let passed = signal.square_derivative(activation);
        let chi = match model.normalization {
            _ if !behind.is_normalized => behind.weight_variance * passed / behind.kept,
            Normalization::Batch | Normalization::AttentionBatch => passed / (square - behind.kept * mean.powi(2)),
            _ => passed / square,
        };
        signal = behind.signal(mean, square);
        // If the gradient returns to a different number of elements, its square per element changes accordingly.
        (chi * behind.elements / layer.elements).sqrt()
    };
    layers.windows(2).map(factor).chain([f64::NAN]).collect()
}

/// chi for layers like the hidden ones after the first. The inputs of the first layer are not activations.
fn chi(model: &ModelConfig, layers: &[Layer<'_>]) -> Option<f64> {
    let hidden = if layers.len() > 1 { &layers[1..] } else { layers };
    let mean = |of: fn(&Layer<'_>) -> f64| hidden.iter().map(of).sum::<f64>() / hidden.len() as f64;
    // For maps so large that padding does not matter.
    let weight_variance = mean(|layer| (layer.weight.scale() / layer.kept).ln()).exp();
    let is_centered = model.initialization.method == Method::CenteredLogistic;
    let bias_variance = if is_centered { -weight_variance / 4.0 } else { mean(|layer| layer.bias[1]) };
    let field = MeanField { activation: model.activation, weight_variance, bias_variance };
    let normalized = normalized_chi(model.activation, model.normalization);
    Some(normalized.unwrap_or_else(|| field.chi(field.fixed_point()))).filter(|chi| chi.is_finite() && *chi > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        diagnosis::ChannelFacts,
        gradient::{GradientStatistics, LayerStatistics},
    };

    /// A model whose weights have these shapes and standard deviation 0.1, and whose layers have these output shapes.
    fn forecast<const W: usize, const S: usize>(more: &str, weights: &[[i64; W]], shapes: &[[i64; S]]) -> Forecast {
        let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}");
        let config = Config::parse(&toml, "test").unwrap();
        let layer = |index: usize| LayerStatistics {
            layer: format!("layers.{index}.linear").into(),
            mean: 0.4,
            rms: 0.8,
            nonpositive_fraction: 0.5,
            saturated_fraction: 0.0,
            dormant_fraction: None,
            gradient_rms: Some(1e-3),
        };
        let parameter = |(index, shape): (usize, &[i64; W])| ParameterFacts {
            name: format!("layers.{index}.linear.weight").into(),
            shape: shape.to_vec(),
            mean: 0.0,
            std: 0.1,
        };
        let facts = Facts {
            channels: vec![ChannelFacts { mean: 0.0, std: 1.0 }],
            parameters: weights.iter().enumerate().map(parameter).collect(),
            ..Facts::default()
        };
        let gradients = GradientStatistics {
            parameters: Vec::new(),
            total_norm: 1.0,
            missing: Vec::new(),
            backward_order: Vec::new(),
        };
        let initial = InitialMeasurement {
            facts,
            images: 1,
            loss: 2.3,
            total_norm: 1.0,
            gradients,
            layers: (0..shapes.len()).map(layer).collect(),
            shapes: shapes.iter().map(|shape| shape.to_vec()).collect(),
        };
        Forecast::of(&config.model, &initial)
    }

    fn assert_close(got: f64, want: f64) {
        assert!((got - want).abs() < 1e-9, "got {got}, want {want}");
    }

    #[test]
    fn layers_of_unequal_width_share_the_squared_gradient_among_their_units() {
        let relu = forecast("", &[[200, 50], [50, 200], [50, 50]], &[[200], [50], [50]]);
        // Half of the units are on; var * fan_in = 2 and a quarter of the units in the next layer; then var * fan_in =
        // 1/2.
        assert_close(relu.factors[0], (0.5f64 * 2.0 * 0.25).sqrt());
        assert_close(relu.factors[1], (0.5f64 * 0.5).sqrt());
        assert!(relu.factors[2].is_nan());
        // The geometric mean of 2 and 1/2, times the half that is on.
        assert_close(relu.chi.unwrap(), 0.5);
        assert_close(relu.trainable_depth().unwrap(), 6.0 / 2f64.ln());
    }

    #[test]
    fn dropout_and_the_padding_of_small_maps_change_how_many_inputs_a_unit_has() {
        let dropped = forecast("model.dropout = 0.5", &[[100, 100]; 2], &[[100]; 2]);
        // var * fan_in = 1, doubled by the scaling of dropout.
        assert_close(dropped.factors[0], 1.0);
        // A kernel of size three over two pixels covers four of its six row positions.
        let padded = forecast("", &[[100, 100, 3, 3]; 2], &[[100, 2, 2]; 2]);
        assert_close(padded.factors[0], (0.5 * 9.0 * (4.0f64 / 6.0).powi(2)).sqrt());
    }

    #[test]
    fn normalization_makes_up_for_any_weights_and_shortcuts_are_beyond_theory() {
        let pi = std::f64::consts::PI;
        let normalized = forecast("model.normalization = \"batch\"", &[[100, 100]; 2], &[[100]; 2]);
        assert_close(normalized.factors[0].powi(2), pi / (pi - 1.0));
        assert_close(normalized.chi.unwrap(), pi / (pi - 1.0));
        let residual = forecast("model.residual = true", &[[100, 100]; 2], &[[100]; 2]);
        assert!(residual.chi.is_none() && residual.factors[0].is_nan());
        let unknown = forecast("model.activation = \"tanh\"", &[[100, 100]], &[[100]; 2]);
        assert!(unknown.chi.is_none() && unknown.trainable_depth().is_none());
    }
}
