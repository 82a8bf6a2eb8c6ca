//! Activation functions and their derivatives at a point, on the host.

use std::f64::consts::PI;

use crate::config::Activation;

/// Scale and alpha of SELU (Klambauer et al. 2017).
const SELU: [f64; 2] = [1.050_700_987_355_480_5, 1.673_263_242_354_377_3];

/// f(x) in f64. [`activate`](crate::model::activate) computes the same for tensors.
pub(super) fn value_at(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::LeakyRelu => x.max(0.01 * x),
        Activation::Elu if x > 0.0 => x,
        Activation::Elu => x.exp_m1(),
        Activation::Selu if x > 0.0 => SELU[0] * x,
        Activation::Selu => SELU[0] * SELU[1] * x.exp_m1(),
        Activation::Gelu => x * normal_cdf(x),
        Activation::Silu => x * logistic(x),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Activation::Sigmoid => logistic(x),
        Activation::Tanh => x.tanh(),
        Activation::Hardtanh => x.clamp(-1.0, 1.0),
        Activation::Softplus => softplus(x),
    }
}

/// f'(x). At a kink, uses the derivative of the lower side.
pub(super) fn derivative_at(activation: Activation, x: f64) -> f64 {
    let is_above = |kink: f64| f64::from(u8::from(x > kink));
    match activation {
        Activation::Relu => is_above(0.0),
        Activation::Relu6 => is_above(0.0) - is_above(6.0),
        Activation::LeakyRelu => 0.01 + 0.99 * is_above(0.0),
        Activation::Elu => x.min(0.0).exp(),
        Activation::Selu if x > 0.0 => SELU[0],
        Activation::Selu => SELU[0] * SELU[1] * x.exp(),
        Activation::Gelu => normal_cdf(x) + x * normal_density(x),
        Activation::Silu => logistic(x) * (1.0 + x * logistic(-x)),
        Activation::Mish => {
            let tanh = softplus(x).tanh();
            tanh + x * logistic(x) * (1.0 - tanh * tanh)
        }
        Activation::Hardswish if x.abs() <= 3.0 => (2.0 * x + 3.0) / 6.0,
        Activation::Hardswish => is_above(3.0),
        Activation::Sigmoid => logistic(x) * logistic(-x),
        Activation::Tanh => 1.0 - x.tanh().powi(2),
        Activation::Hardtanh => is_above(-1.0) - is_above(1.0),
        Activation::Softplus => logistic(x),
    }
}

/// Points at which the derivative, or one of its own derivatives, is discontinuous.
pub(super) fn kinks(activation: Activation) -> &'static [f64] {
    match activation {
        Activation::Relu | Activation::LeakyRelu | Activation::Elu | Activation::Selu => &[0.0],
        Activation::Relu6 => &[0.0, 6.0],
        Activation::Hardswish => &[-3.0, 3.0],
        Activation::Hardtanh => &[-1.0, 1.0],
        Activation::Gelu
        | Activation::Silu
        | Activation::Mish
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus => &[],
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
    use crate::model::activate;

    #[test]
    fn every_function_and_its_derivative_are_libtorchs() {
        // Skips the kinks, at which libtorch may choose the other side.
        let points: Vec<f64> = (0..400).map(|index| -10.0 + 0.05 * f64::from(index) + 0.013).collect();
        for &activation in Activation::ALL {
            let z = Tensor::from_slice(&points).set_requires_grad(true);
            let output = activate(activation, &z).unwrap();
            output.sum(Kind::Double).backward();
            let (values, slopes) =
                (Vec::<f64>::try_from(output.detach()).unwrap(), Vec::<f64>::try_from(z.grad()).unwrap());
            for ((&x, value), slope) in points.iter().zip(values).zip(slopes) {
                assert!((value_at(activation, x) - value).abs() < 1e-8, "{activation}({x}): want {value}");
                assert!((derivative_at(activation, x) - slope).abs() < 1e-8, "{activation}'({x}): want {slope}");
            }
        }
    }

    #[test]
    fn a_kink_is_where_the_derivative_leaps_or_bends_and_nowhere_else() {
        for &activation in Activation::ALL {
            let step = 1e-4;
            let bend = |x: f64| {
                let slope = |offset: f64| derivative_at(activation, x + offset * step);
                (slope(1.0) - 2.0 * slope(0.0) + slope(-1.0)).abs()
            };
            for x in (-500..=500).map(|index| f64::from(index) / 100.0) {
                let is_kink = kinks(activation).iter().any(|kink| (kink - x).abs() < step);
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
