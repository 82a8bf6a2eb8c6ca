//! Gradient size per layer, and how fast it shrinks or grows on its way back from the loss.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use super::{LayerStatistics, TensorStatistics};

/// Source of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileSource {
    /// RMS of dLoss/dz at each tapped layer: a direct measurement.
    PreActivations,
    /// RMS of each layer's bias gradient, for models without taps. Its ratios are within a factor of about 2 of the
    /// direct measurement. A bias before a normalization has no gradient and is left out.
    BiasGradients,
    /// Norm of each layer's weight gradient divided by the RMS of the layer's input, for models without taps or biases.
    WeightGradients,
}

impl ProfileSource {
    /// Label for axes and captions.
    pub fn label(self) -> &'static str {
        match self {
            Self::PreActivations => "RMS of dLoss/dz",
            Self::BiasGradients => "RMS of bias gradients",
            Self::WeightGradients => "norm of weight gradients",
        }
    }
}

/// Gradient size at each layer, in the order of the forward pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DepthProfile {
    /// Source of the sizes.
    pub source: ProfileSource,
    /// Name and gradient size of each layer.
    #[serde(deserialize_with = "sizes")]
    pub layers: Vec<(Arc<str>, f64)>,
}

/// Reads names and sizes; null stands for a non-finite size.
fn sizes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Arc<str>, f64)>, D::Error> {
    let sizes = Vec::<(Arc<str>, Option<f64>)>::deserialize(deserializer)?;
    Ok(sizes.into_iter().map(|(layer, size)| (layer, size.unwrap_or(f64::NAN))).collect())
}

/// Least-squares line through the base-2 logarithms of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slope {
    /// Change of log2 per layer on the way back from the loss to the input: at -1 the gradient halves at every layer
    /// (vanishing); at +1 it doubles (exploding).
    pub log2_per_layer: f64,
    /// Standard error of the slope; 0 for two layers, which any line fits exactly.
    pub standard_error: f64,
    /// log2 of the line at the first layer, next to the input.
    pub log2_at_input: f64,
}

impl DepthProfile {
    /// Builds the best available profile: from the layers if they were tapped, else from the gradients.
    pub fn of_step(layers: &[LayerStatistics], grads: &[TensorStatistics]) -> Self {
        if layers.is_empty() { Self::of_gradients(grads) } else { Self::of_layers(layers) }
    }

    /// Builds a profile from the RMS of dLoss/dz at every tapped layer.
    pub fn of_layers(layers: &[LayerStatistics]) -> Self {
        let sizes = layers.iter().filter_map(|layer| Some((Arc::clone(&layer.layer), layer.gradient_rms?)));
        Self { source: ProfileSource::PreActivations, layers: sizes.collect() }
    }

    /// Builds a profile of a model without taps: from the bias gradients or, if fewer than three layers have one, from
    /// the weight gradients, assuming an input RMS of 1 at every layer.
    pub fn of_gradients(grads: &[TensorStatistics]) -> Self {
        const LEAST_BIASES: usize = 3;
        let biases = Self::of_bias_gradients(grads);
        if biases.layers.len() >= LEAST_BIASES {
            return biases;
        }
        Self::of_weight_gradients(grads.iter().filter(|grad| grad.name.ends_with(".weight")).map(|grad| (grad, 1.0)))
    }

    /// Builds a profile from the bias gradients of a model without taps. The parameters must be in the order of the
    /// forward pass, with PyTorch names (`fc.bias`) or Keras names (`dense/bias:0`).
    pub fn of_bias_gradients(grads: &[TensorStatistics]) -> Self {
        // A normalization subtracts the mean, so the gradient of a bias before it is only rounding error: 1e-7 of the
        // weight's in f32 and 1e-3 in bf16. In bf16, only the parameter order identifies such a bias.
        const ROUNDING: f64 = 1e-3;
        let weights: HashMap<&str, &TensorStatistics> =
            grads.iter().filter_map(|grad| Some((layer_of_weight(&grad.name)?, grad))).collect();
        let layer = |(index, grad): (usize, &TensorStatistics)| {
            let layer = layer_of_bias(&grad.name)?;
            let weight = weights.get(layer);
            let is_rounding = grad.rms() == 0.0 || weight.is_some_and(|weight| grad.rms() < ROUNDING * weight.rms());
            let is_gain = |next: &TensorStatistics| next.name.ends_with(".weight") && next.elements == grad.elements;
            let is_of_norm = weight.is_some_and(|weight| weight.elements == grad.elements);
            let is_normalized = !is_of_norm && grad.elements > 1 && grads.get(index + 1).is_some_and(is_gain);
            (!is_rounding && !is_normalized).then(|| (layer.into(), grad.rms()))
        };
        Self { source: ProfileSource::BiasGradients, layers: grads.iter().enumerate().filter_map(layer).collect() }
    }

    /// Builds a profile from the weight gradients of layers with known input RMS, in the order of the forward pass.
    pub fn of_weight_gradients<'a>(layers: impl IntoIterator<Item = (&'a TensorStatistics, f64)>) -> Self {
        let size = |(grad, input_rms): (&TensorStatistics, f64)| {
            let layer = grad.name.strip_suffix(".weight").unwrap_or(&grad.name);
            (layer.into(), grad.norm / input_rms)
        };
        Self { source: ProfileSource::WeightGradients, layers: layers.into_iter().map(size).collect() }
    }

    /// log2 of each layer's size; `None` if the size is 0 or not finite.
    pub fn log2(&self) -> impl Iterator<Item = Option<f64>> {
        self.layers.iter().map(|(_, size)| Some(size.log2()).filter(|log2| log2.is_finite()))
    }

    /// Fits the line through the layers with a finite size above 0; `None` if there are fewer than two.
    pub fn slope(&self) -> Option<Slope> {
        let points: Vec<(f64, f64)> =
            self.log2().enumerate().filter_map(|(layer, log2)| Some((layer as f64, log2?))).collect();
        let count = points.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
        let (layer, log2) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - layer).powi(2)).sum();
        if points.len() < 2 {
            return None;
        }
        let towards_loss = points.iter().map(|point| (point.0 - layer) * (point.1 - log2)).sum::<f64>() / spread;
        let residual = |point: &(f64, f64)| (point.1 - log2 - towards_loss * (point.0 - layer)).powi(2);
        let freedom = (count - 2.0).max(1.0);
        let standard_error = (points.iter().map(residual).sum::<f64>() / freedom / spread).sqrt();
        Some(Slope { log2_per_layer: -towards_loss, standard_error, log2_at_input: log2 - towards_loss * layer })
    }
}

/// Returns the layer that a bias name belongs to.
fn layer_of_bias(name: &str) -> Option<&str> {
    without_number(name).strip_suffix("bias")?.strip_suffix(['.', '/'])
}

/// Returns the layer that a weight name belongs to.
fn layer_of_weight(name: &str) -> Option<&str> {
    let name = without_number(name);
    name.strip_suffix("weight").or(name.strip_suffix("kernel"))?.strip_suffix(['.', '/'])
}

/// Removes the output number that TensorFlow appends to a name.
fn without_number(name: &str) -> &str {
    name.strip_suffix(":0").or(name.strip_suffix("_0")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(sizes: &[f64]) -> DepthProfile {
        let layers = sizes.iter().enumerate().map(|(index, &size)| (format!("layers.{index}").into(), size));
        DepthProfile { source: ProfileSource::PreActivations, layers: layers.collect() }
    }

    #[test]
    fn a_gradient_that_halves_at_every_layer_on_its_way_back_has_slope_minus_one() {
        let slope = profile(&[0.125, 0.25, 0.5, 1.0]).slope().unwrap();
        assert_eq!((slope.log2_per_layer, slope.standard_error, slope.log2_at_input), (-1.0, 0.0, -3.0));
        assert_eq!(profile(&[8.0, 1.0]).slope().unwrap().log2_per_layer, 3.0);
    }

    #[test]
    fn the_error_is_that_of_least_squares() {
        // log2 = 0, 1, 0, 1 at x = 0..3: slope 0.2, residuals -0.2, 0.6, -0.6, 0.2 (sum of squares 0.8), spread 5. The
        // standard error is sqrt(0.8 / 2 / 5).
        let slope = profile(&[1.0, 2.0, 1.0, 2.0]).slope().unwrap();
        assert!((slope.log2_per_layer + 0.2).abs() < 1e-12);
        assert!((slope.standard_error - 0.08f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn layers_without_a_finite_size_are_left_out_of_the_line() {
        let slope = profile(&[0.125, 0.0, 0.5, f64::NAN, 2.0, f64::INFINITY]).slope().unwrap();
        assert_eq!((slope.log2_per_layer, slope.log2_at_input), (-1.0, -3.0));
        assert!(profile(&[0.0, 1.0]).slope().is_none() && profile(&[]).slope().is_none());
    }

    fn grad(name: &str, norm: f64, elements: u64) -> TensorStatistics {
        TensorStatistics { name: name.into(), elements, norm, max_abs: norm, distribution: None }
    }

    #[test]
    fn proxies_take_what_they_name() {
        let grads = [grad("fc1.weight", 8.0, 4), grad("fc1.bias", 6.0, 4), grad("fc2.bias", 0.0, 4)];
        let biases = DepthProfile::of_bias_gradients(&grads);
        assert_eq!((biases.source, biases.layers), (ProfileSource::BiasGradients, vec![("fc1".into(), 3.0)]));
        let others = [grad("dense/bias", 6.0, 4), grad("dense_1/bias:0", 2.0, 1), grad("top_bias", 1.0, 1)];
        let layers = DepthProfile::of_bias_gradients(&others).layers;
        assert_eq!(layers, [("dense".into(), 3.0), ("dense_1".into(), 2.0)]);
        // Rounding errors, in both parameter orders and both naming schemes.
        let rounded = [
            grad("dense/kernel:0", 8.0, 9),
            grad("dense/bias:0", 4e-3, 4),
            grad("fc.bias", 4e-3, 4),
            grad("fc.weight", 8.0, 9),
        ];
        assert_eq!(DepthProfile::of_bias_gradients(&rounded).layers, []);
        assert_eq!(DepthProfile::of_weight_gradients([(&grads[0], 2.0)]).layers, [("fc1".into(), 4.0)]);
        // A bias before the gain of a normalization, and one that contains only rounding errors.
        let grads = [
            grad("conv1.weight", 8.0, 9),
            grad("conv1.bias", 1.0, 4),
            grad("bn1.weight", 2.0, 4),
            grad("bn1.bias", 4.0, 4),
            grad("bn2.weight", 2.0, 4),
            grad("bn2.bias", 4.0, 4),
            grad("conv2.weight", 8.0, 4),
            grad("conv2.bias", 1e-3, 4),
            grad("head.bias", 2.0, 1),
        ];
        let normalized = DepthProfile::of_bias_gradients(&grads);
        assert_eq!(normalized.layers, ["bn1", "bn2", "head"].map(|layer| (layer.into(), 2.0)));
    }

    #[test]
    fn a_model_without_taps_goes_by_its_biases_or_where_it_has_none_by_its_weights() {
        let grads = [grad("fc1.weight", 8.0, 4), grad("fc1.bias", 6.0, 4), grad("fc2.bias", 0.0, 4)];
        let weights = DepthProfile::of_gradients(&grads);
        assert_eq!((weights.source, weights.layers), (ProfileSource::WeightGradients, vec![("fc1".into(), 8.0)]));
        let three =
            [("a.bias", 4), ("b.bias", 4), ("c.weight", 8), ("c.bias", 4)].map(|(name, of)| grad(name, 6.0, of));
        assert_eq!(DepthProfile::of_gradients(&three).source, ProfileSource::BiasGradients);
    }
}
