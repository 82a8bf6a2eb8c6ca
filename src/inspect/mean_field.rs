//! Signal and gradient sizes in a wide random network, layer by layer (mean-field theory, arXiv:1611.01232).
//!
//! With weights of variance sw2 / `fan_in` and biases of variance sb2, the sums z of a layer are normally distributed
//! over its units. Their variance changes from layer to layer as q' = sw2 E\[f(z)^2\] + sb2. Going back, a squared
//! gradient dLoss/dz changes by the factor chi = sw2 E\[f'(z)^2\] per layer. If chi is 1, the gradient keeps its size.
//! Otherwise it changes by a factor of e within 1 / |ln chi| layers, and networks train up to about six times that
//! depth.
//!
//! ```
//! use gradwatch::{config::Activation, inspect::MeanField};
//!
//! let relu = |weight_variance| MeanField { activation: Activation::Relu, weight_variance, bias_variance: 0.0 };
//! assert!((relu(2.0).chi(1.0) - 1.0).abs() < 1e-12);
//! assert!((relu(1.0).log2_slope() + 0.5).abs() < 1e-12);
//! ```

use super::function::{derivative_at, kinks, normal_density, value_at};
use crate::config::{Activation, Normalization};

/// Positive abscissae and weights of the ten-point Gauss-Legendre rule.
const RULE: [[f64; 2]; 5] = [
    [0.148_874_338_981_631_2, 0.295_524_224_714_752_9],
    [0.433_395_394_129_247_2, 0.269_266_719_309_996_3],
    [0.679_409_568_299_024_4, 0.219_086_362_515_982],
    [0.865_063_366_688_984_5, 0.149_451_349_150_580_6],
    [0.973_906_528_517_171_7, 0.066_671_344_308_688_1],
];
/// Number of standard deviations beyond which a normal distribution has less than 1e-18 of its mass.
const TAIL: i32 = 9;
/// Networks train up to about this many depth scales.
pub(super) const DEPTH_SCALES: f64 = 6.0;

/// Distribution of the sums z of a layer, normal over its units and images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    /// Mean of the sums.
    pub mean: f64,
    /// Variance of the sums.
    pub variance: f64,
}

impl Signal {
    /// Distribution after a normalization.
    pub const NORMAL: Self = Self { mean: 0.0, variance: 1.0 };

    /// E\[f(z)\].
    pub fn mean_output(self, activation: Activation) -> f64 {
        self.expectation(activation, |z| value_at(activation, z))
    }

    /// E\[f(z)^2\].
    pub fn square_output(self, activation: Activation) -> f64 {
        self.expectation(activation, |z| value_at(activation, z).powi(2))
    }

    /// E\[f'(z)^2\].
    pub fn square_derivative(self, activation: Activation) -> f64 {
        self.expectation(activation, |z| derivative_at(activation, z).powi(2))
    }

    /// Integrates separately between kinks, and between points around which the functions bend most.
    fn expectation(self, activation: Activation, of: impl Fn(f64) -> f64) -> f64 {
        let Self { mean, variance } = self;
        if !(mean.is_finite() && variance.is_finite()) {
            return f64::NAN;
        }
        let deviation = variance.max(f64::MIN_POSITIVE).sqrt();
        let bends = (0..6).flat_map(|power| [-1.0, 1.0].map(|sign| sign * f64::from(1 << power))).chain([0.0]);
        let inner = kinks(activation).iter().copied().chain(bends).map(|point| (point - mean) / deviation);
        let inner = inner.filter(|point| point.abs() < f64::from(TAIL));
        let mut edges: Vec<f64> = (-TAIL..=TAIL).map(f64::from).chain(inner).collect();
        edges.sort_unstable_by(f64::total_cmp);
        let panel = |edges: &[f64]| {
            let (middle, half) = ((edges[1] + edges[0]) / 2.0, (edges[1] - edges[0]) / 2.0);
            let at = |point: f64| of(mean + deviation * point) * normal_density(point);
            let pair =
                |[abscissa, weight]: [f64; 2]| weight * (at(middle - half * abscissa) + at(middle + half * abscissa));
            half * RULE.into_iter().map(pair).sum::<f64>()
        };
        edges.windows(2).map(panel).sum()
    }
}

/// Layers of equal width with the same activation, and weights and biases with mean 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanField {
    /// Activation function between layers.
    pub activation: Activation,
    /// sw2: variance of a weight times `fan_in`.
    pub weight_variance: f64,
    /// sb2: variance of a bias; minus a quarter of sw2 if the biases center the outputs of sigmoids.
    pub bias_variance: f64,
}

impl MeanField {
    /// Variance of the next layer's sums, if this layer's sums have variance `q`.
    pub fn next(&self, q: f64) -> f64 {
        self.weight_variance * signal(q).square_output(self.activation) + self.bias_variance
    }

    /// Factor on a squared gradient on its way back through a layer whose sums have variance `q`.
    pub fn chi(&self, q: f64) -> f64 {
        self.weight_variance * signal(q).square_derivative(self.activation)
    }

    /// Fixed point of the variance: 0 if signals die out, 1e12 if they grow without bound.
    pub fn fixed_point(&self) -> f64 {
        const LARGEST: f64 = 1e12;
        const SMALLEST: f64 = 1e-24;
        let mut q = 1.0;
        for _ in 0..2000 {
            let next = self.next(q).min(LARGEST);
            let has_settled = (next - q).abs() <= 1e-9 * q;
            q = next;
            if has_settled || q >= LARGEST {
                break;
            }
            if q < SMALLEST {
                return 0.0;
            }
        }
        q
    }

    /// log2 of the factor on the gradient RMS per layer, going back, at the fixed point.
    pub fn log2_slope(&self) -> f64 {
        0.5 * self.chi(self.fixed_point()).log2()
    }
}

fn signal(variance: f64) -> Signal {
    Signal { mean: 0.0, variance }
}

/// chi between layers with a normalization, for any weights; `None` without one.
///
/// The weights cancel out because the sums are divided by their standard deviation. Over the images of a batch, that is
/// the spread of f around its mean. Over the units of a layer, the mean of f cancels out because weights have both
/// signs. ReLU followed by batch normalization has pi / (pi - 1) (arXiv:1902.08129).
pub fn normalized_chi(activation: Activation, normalization: Normalization) -> Option<f64> {
    let normal = Signal::NORMAL;
    let square = normal.square_output(activation);
    let spread = match normalization {
        Normalization::None => return None,
        Normalization::Batch | Normalization::AttentionBatch => square - normal.mean_output(activation).powi(2),
        Normalization::Group | Normalization::Layer => square,
    };
    Some(normal.square_derivative(activation) / spread)
}

/// Number of layers within which a squared gradient changes by a factor of e: 1 / |ln chi|, infinite if chi is 1.
pub fn depth_scale(chi: f64) -> f64 {
    chi.ln().abs().recip()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn field(activation: Activation, weight_variance: f64) -> MeanField {
        MeanField { activation, weight_variance, bias_variance: 0.0 }
    }

    fn assert_close(got: f64, want: f64, error: f64) {
        assert!((got - want).abs() <= error, "got {got}, want {want}");
    }

    #[test]
    fn half_of_a_relu_is_on_whatever_the_scale() {
        for q in [1e-20, 0.1, 1.0, 7.0, 1e8] {
            for variance in [0.5, 1.0, 2.0] {
                let relu = field(Activation::Relu, variance);
                assert_close(relu.chi(q), variance / 2.0, 1e-12);
                assert_close(relu.next(q), variance * q / 2.0, 1e-12 * q);
            }
        }
        // He's weights keep both sizes; Xavier's halve the square at every layer.
        assert_close(field(Activation::Relu, 2.0).fixed_point(), 1.0, 1e-9);
        assert_close(field(Activation::Relu, 1.0).log2_slope().exp2(), 0.5f64.sqrt(), 1e-12);
        assert_close(depth_scale(0.5), 2f64.ln().recip(), 1e-12);
        let leaky = field(Activation::LeakyRelu, 2.0);
        assert_close(leaky.chi(3.0), 1.0 + 1e-4, 1e-12);
    }

    #[test]
    fn moments_with_a_closed_form_come_out() {
        // E[clamp(z)^2] = (P(|z| < 1) - 2 density(1)) + P(|z| > 1).
        let (inside, density) = (0.682_689_492_137_085_9, (-0.5f64).exp() / (2.0 * PI).sqrt());
        let hardtanh = Activation::Hardtanh;
        assert_close(Signal::NORMAL.square_derivative(hardtanh), inside, 1e-12);
        assert_close(Signal::NORMAL.square_output(hardtanh), 1.0 - 2.0 * density, 1e-12);
        // With mean 1, the rectified mean is density(1) + Phi(1).
        let shifted = Signal { mean: 1.0, variance: 1.0 };
        assert_close(shifted.mean_output(Activation::Relu), density + (1.0 + inside) / 2.0, 1e-12);
        // By symmetry, a logistic unit is on half of the time.
        assert_close(Signal { mean: 0.0, variance: 1e4 }.mean_output(Activation::Sigmoid), 0.5, 1e-12);
        // For a steep logistic function, E[f'^2] is about density(0) / deviation times the integral of f'^2, which is
        // 1/6.
        let steep = Signal { mean: 0.0, variance: 1e8 }.square_derivative(Activation::Sigmoid);
        assert_close(steep * 1e4 * (2.0 * PI).sqrt() * 6.0, 1.0, 1e-6);
        // 1 / sqrt(E[f^2]) for a normal input.
        for activation in [Activation::Gelu, Activation::Silu, Activation::Mish, Activation::Softplus, Activation::Elu]
        {
            assert_close(Signal::NORMAL.square_output(activation).sqrt().recip(), activation.gain(), 1e-8);
        }
        assert!(Signal { mean: f64::NAN, variance: 1.0 }.mean_output(Activation::Relu).is_nan());
    }

    #[test]
    fn logistic_layers_with_xavier_weights_lose_three_quarters_of_the_gradient_each() {
        // Measured: 0.23 to 0.24 per layer.
        let factor = field(Activation::Sigmoid, 1.0).log2_slope().exp2();
        assert!((0.23..0.24).contains(&factor), "{factor}");
    }

    #[test]
    fn centered_sigmoids_are_a_tanh_net_of_quartered_weights() {
        // sigmoid(z) = (1 + tanh(z / 2)) / 2, so the sums of the tanh network are half as large and their variance is q
        // / 4.
        for scale in [8.0, 16.0, 64.0] {
            let biases = -scale / 4.0;
            let sigmoid = MeanField { activation: Activation::Sigmoid, weight_variance: scale, bias_variance: biases };
            let tanh = field(Activation::Tanh, scale / 16.0);
            for q in [1e-3, 0.5, 4.0] {
                assert_close(sigmoid.next(4.0 * q), 4.0 * tanh.next(q), 1e-9);
                assert_close(sigmoid.chi(4.0 * q), tanh.chi(q), 1e-9);
            }
        }
        // chi = 1 - 2 q + 7 q^2 - ..., so -1 / ln chi is (1 + 2.5 q) / (2 q).
        assert_close(depth_scale(field(Activation::Tanh, 1.0).chi(1e-4)), 5001.25, 0.01);
    }

    #[test]
    fn tanh_is_critical_at_a_weight_variance_of_1_and_small_signals() {
        // tanh' = 1 - z^2 + ..: chi = sw2 (1 - 2 q + ..).
        assert_close(field(Activation::Tanh, 1.0).chi(1e-4), 1.0 - 2e-4, 1e-6);
        assert_eq!(field(Activation::Tanh, 0.5).fixed_point(), 0.0);
        assert_close(field(Activation::Tanh, 0.5).log2_slope(), -0.5, 1e-9);
        // Above 1, signals settle at a size bounded by tanh, and gradients grow.
        let chaotic = field(Activation::Tanh, 4.0);
        let q = chaotic.fixed_point();
        assert_close(chaotic.next(q), q, 1e-7);
        assert!(q > 1.0 && chaotic.chi(q) > 1.0);
    }

    #[test]
    fn batch_normalization_lets_gradients_grow_and_layer_normalization_does_not() {
        let chi = |normalization| normalized_chi(Activation::Relu, normalization);
        assert_eq!(chi(Normalization::None), None);
        assert_close(chi(Normalization::Batch).unwrap(), PI / (PI - 1.0), 1e-12);
        assert_close(chi(Normalization::Layer).unwrap(), 1.0, 1e-12);
    }
}
