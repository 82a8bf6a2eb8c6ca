//! Activation functions and their derivatives at a point, on the host.

use std::f64::consts::PI;

use crate::config::Activation;

/// Scale and alpha of SELU (Klambauer et al. 2017).
const SELU: [f64; 2] = [1.050_700_987_355_480_5, 1.673_263_242_354_377_3];

impl Activation {
    /// f(x) in f64. [`apply`](Self::apply) computes the same for tensors.
    pub fn at(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu => x.max(0.01 * x),
            Self::Elu if x > 0.0 => x,
            Self::Elu => x.exp_m1(),
            Self::Selu if x > 0.0 => SELU[0] * x,
            Self::Selu => SELU[0] * SELU[1] * x.exp_m1(),
            Self::Gelu => x * normal_cdf(x),
            Self::Silu => x * logistic(x),
            Self::Mish => x * softplus(x).tanh(),
            Self::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::Sigmoid => logistic(x),
            Self::Tanh => x.tanh(),
            Self::Hardtanh => x.clamp(-1.0, 1.0),
            Self::Softplus => softplus(x),
        }
    }

    /// f'(x). At a kink, uses the derivative of the lower side.
    pub fn derivative_at(self, x: f64) -> f64 {
        let is_above = |kink: f64| f64::from(u8::from(x > kink));
        match self {
            Self::Relu => is_above(0.0),
            Self::Relu6 => is_above(0.0) - is_above(6.0),
            Self::LeakyRelu => 0.01 + 0.99 * is_above(0.0),
            Self::Elu => x.min(0.0).exp(),
            Self::Selu if x > 0.0 => SELU[0],
            Self::Selu => SELU[0] * SELU[1] * x.exp(),
            Self::Gelu => normal_cdf(x) + x * normal_density(x),
            Self::Silu => logistic(x) * (1.0 + x * logistic(-x)),
            Self::Mish => {
                let tanh = softplus(x).tanh();
                tanh + x * logistic(x) * (1.0 - tanh * tanh)
            }
            Self::Hardswish if x.abs() <= 3.0 => (2.0 * x + 3.0) / 6.0,
            Self::Hardswish => is_above(3.0),
            Self::Sigmoid => logistic(x) * logistic(-x),
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::Hardtanh => is_above(-1.0) - is_above(1.0),
            Self::Softplus => logistic(x),
        }
    }

    /// Points at which the derivative, or one of its own derivatives, is discontinuous.
    pub(super) fn kinks(self) -> &'static [f64] {
        match self {
            Self::Relu | Self::LeakyRelu | Self::Elu | Self::Selu => &[0.0],
            Self::Relu6 => &[0.0, 6.0],
            Self::Hardswish => &[-3.0, 3.0],
            Self::Hardtanh => &[-1.0, 1.0],
            Self::Gelu | Self::Silu | Self::Mish | Self::Sigmoid | Self::Tanh | Self::Softplus => &[],
        }
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// Density of the standard normal distribution.
pub(super) fn normal_density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * PI).sqrt()
}

/// Cumulative distribution function: 1/2 + density(x) * sum of x^(2n+1) / (2n+1)!! (Abramowitz and Stegun 26.2.11). All
/// terms have the same sign, so there is no cancellation.
fn normal_cdf(x: f64) -> f64 {
    // Beyond this, the tail is less than half a unit in the last place of 1.
    const TAIL: f64 = 8.5;
    if x.abs() > TAIL {
        return f64::from(u8::from(x > 0.0));
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 + normal_density(x) * sum
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn every_function_and_its_derivative_are_libtorchs() {
        // Skips the kinks, at which libtorch may choose the other side.
        let points: Vec<f64> = (0..400).map(|index| -10.0 + 0.05 * f64::from(index) + 0.013).collect();
        for &activation in Activation::ALL {
            let z = Tensor::from_slice(&points).set_requires_grad(true);
            let output = activation.apply(&z).unwrap();
            output.sum(Kind::Double).backward();
            let (values, slopes) =
                (Vec::<f64>::try_from(output.detach()).unwrap(), Vec::<f64>::try_from(z.grad()).unwrap());
            for ((&x, value), slope) in points.iter().zip(values).zip(slopes) {
                assert!((activation.at(x) - value).abs() < 1e-8, "{activation}({x}): want {value}");
                assert!((activation.derivative_at(x) - slope).abs() < 1e-8, "{activation}'({x}): want {slope}");
            }
        }
    }

    #[test]
    fn a_kink_is_where_the_derivative_leaps_or_bends_and_nowhere_else() {
        for &activation in Activation::ALL {
            let step = 1e-4;
            let bend = |x: f64| {
                let slope = |offset: f64| activation.derivative_at(x + offset * step);
                (slope(1.0) - 2.0 * slope(0.0) + slope(-1.0)).abs()
            };
            for x in (-500..=500).map(|index| f64::from(index) / 100.0) {
                let is_kink = activation.kinks().iter().any(|kink| (kink - x).abs() < step);
                assert_eq!(bend(x) > 1e-6, is_kink, "{activation} at {x}: {}", bend(x));
            }
        }
    }

    #[test]
    fn the_normal_integral_is_right_in_its_tails_too() {
        // scipy.stats.norm.cdf
        for (x, want) in [(0.0, 0.5), (1.0, 0.841_344_746_068_542_9), (-3.0, 0.001_349_898_031_630_094_6), (9.0, 1.0)] {
            assert!((normal_cdf(x) - want).abs() < 1e-15, "{x}");
        }
    }
}
