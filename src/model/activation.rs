//! Applies activation functions to tensors.

use tch::{TchError, Tensor};

use crate::config::Activation;

/// Applies the function to each element; the shape is unchanged.
pub fn activate(activation: Activation, images: &Tensor) -> Result<Tensor, TchError> {
    match activation {
        Activation::Relu => images.f_relu(),
        Activation::Relu6 => images.f_relu6(),
        Activation::LeakyRelu => images.f_leaky_relu(),
        Activation::Elu => images.f_elu(),
        Activation::Selu => images.f_selu(),
        Activation::Gelu => images.f_gelu("none"),
        Activation::Silu => images.f_silu(),
        Activation::Mish => images.f_mish(),
        Activation::Hardswish => images.f_hardswish(),
        Activation::Sigmoid => images.f_sigmoid(),
        Activation::Tanh => images.f_tanh(),
        Activation::Hardtanh => images.f_hardtanh(),
        Activation::Softplus => images.f_softplus(),
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use tch::{Device, Kind};

    use super::*;

    /// 1 / sqrt(E[f(z)^2]) by the trapezoidal rule on -12..=12 with step 1e-4; the tails beyond contribute less than
    /// 1e-30.
    fn second_moment_gain(activation: Activation) -> f64 {
        let step = 1e-4;
        let z = (Tensor::arange(240_001, (Kind::Double, Device::Cpu)) - 120_000.0) * step;
        let density = (&z * &z * -0.5).exp() / (2.0 * PI).sqrt();
        let moment = (activate(activation, &z).unwrap().square() * density).sum(Kind::Double).double_value(&[]) * step;
        moment.sqrt().recip()
    }

    #[test]
    fn gains_that_torch_does_not_define_keep_the_second_moment_of_a_normal_input() {
        let by_torch = [Activation::Tanh, Activation::Sigmoid, Activation::Selu];
        for activation in Activation::ALL.iter().copied().filter(|activation| !by_torch.contains(activation)) {
            let (got, want) = (activation.gain(), second_moment_gain(activation));
            assert!((got - want).abs() < 1e-8, "{activation}: got {got}, quadrature says {want}");
        }
    }

    /// |f'| at each point, from libtorch's own backward pass.
    fn derivative(activation: Activation, z: &Tensor) -> Vec<f64> {
        let z = z.detach().set_requires_grad(true);
        activate(activation, &z).unwrap().sum(Kind::Double).backward();
        Vec::try_from(z.grad().abs()).unwrap()
    }

    #[test]
    fn beyond_its_saturation_a_function_is_flat_and_just_before_it_is_not() {
        let options = (Kind::Double, Device::Cpu);
        let grid = Tensor::arange(60_001, options) * 1e-3 - 30.0;
        let points = Vec::<f64>::try_from(&grid).unwrap();
        for &activation in Activation::ALL {
            let slopes = derivative(activation, &grid);
            let flat = 1e-2 * slopes.iter().fold(0.0, |most: f64, slope| most.max(*slope)) * (1.0 - 1e-7);
            let [low, high] = activation.saturation();
            for (z, slope) in points.iter().zip(&slopes).filter(|(z, _)| **z < low - 1e-9 || **z > high + 1e-9) {
                assert!(*slope < flat, "{activation} at {z}: {slope}");
            }
            for edge in [low + 1e-6, high - 1e-6].into_iter().filter(|edge| edge.is_finite()) {
                let slope = derivative(activation, &Tensor::from_slice(&[edge]))[0];
                assert!(slope >= flat, "{activation} at {edge}: {slope}");
            }
        }
        assert_eq!(Activation::LeakyRelu.saturation(), [f64::NEG_INFINITY, f64::INFINITY]);
    }

    #[test]
    fn each_function_is_its_formula() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| x.exp().ln_1p();
        for x in [-4.0, -1.5, -0.25, 0.0, 0.5, 2.0, 3.5, 7.5] {
            let want = |activation| match activation {
                Activation::Relu => f64::max(x, 0.0),
                Activation::Relu6 => x.clamp(0.0, 6.0),
                Activation::LeakyRelu => f64::max(x, 0.01 * x),
                Activation::Elu => f64::max(x, x.min(0.0).exp_m1()),
                Activation::Selu if x > 0.0 => 1.050_700_987_355_480_5 * x,
                Activation::Selu => 1.050_700_987_355_480_5 * 1.673_263_242_354_377_3 * x.exp_m1(),
                Activation::Gelu => x * normal_cdf(x),
                Activation::Silu => x * sigmoid(x),
                Activation::Mish => x * softplus(x).tanh(),
                Activation::Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
                Activation::Sigmoid => sigmoid(x),
                Activation::Tanh => x.tanh(),
                Activation::Hardtanh => x.clamp(-1.0, 1.0),
                Activation::Softplus => softplus(x),
            };
            for &activation in Activation::ALL {
                let got = activate(activation, &Tensor::from(x)).unwrap().double_value(&[]);
                assert!((got - want(activation)).abs() < 1e-9, "{activation}({x}): got {got}");
            }
        }
    }

    /// Integral of the normal density up to `x` by Simpson's rule.
    fn normal_cdf(x: f64) -> f64 {
        let steps = 2_000;
        let width = x / f64::from(steps);
        let density = |z: f64| (-z * z / 2.0).exp() / (2.0 * PI).sqrt();
        let weight = |k| if k == 0 || k == steps { 1.0 } else { 2.0 + 2.0 * f64::from(k % 2) };
        0.5 + (0..=steps).map(|k| weight(k) * density(f64::from(k) * width)).sum::<f64>() * width / 3.0
    }
}
