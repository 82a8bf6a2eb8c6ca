//! Activation functions, and the gain that compensates for their effect on the signal's scale.

use tch::{TchError, Tensor};

use crate::config::Activation;

impl Activation {
    /// Applies the function to each element; the shape is unchanged.
    pub fn apply(self, images: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Relu => images.f_relu(),
            Self::Relu6 => images.f_relu6(),
            Self::LeakyRelu => images.f_leaky_relu(),
            Self::Elu => images.f_elu(),
            Self::Selu => images.f_selu(),
            Self::Gelu => images.f_gelu("none"),
            Self::Silu => images.f_silu(),
            Self::Mish => images.f_mish(),
            Self::Hardswish => images.f_hardswish(),
            Self::Sigmoid => images.f_sigmoid(),
            Self::Tanh => images.f_tanh(),
            Self::Hardtanh => images.f_hardtanh(),
            Self::Softplus => images.f_softplus(),
        }
    }

    /// [low, high]: at z <= low and z >= high, the function is flat, which means that its derivative is below 1e-2 of
    /// its maximum. Infinite if there is no such side.
    ///
    /// GELU, SiLU, and Mish have a minimum, where the derivative is 0 at a single point; the bound is the start of the
    /// tail in which it stays small. The slope of leaky ReLU, 1e-2, is not below 1e-2.
    pub fn saturation(self) -> [f64; 2] {
        const NONE: f64 = f64::INFINITY;
        match self {
            Self::Relu => [0.0, NONE],
            Self::Relu6 => [0.0, 6.0],
            Self::LeakyRelu => [-NONE, NONE],
            Self::Elu | Self::Selu => [-4.605_170_186, NONE],
            Self::Gelu => [-3.021_662_634, NONE],
            Self::Silu => [-6.142_915_700, NONE],
            Self::Mish => [-6.158_741_310, NONE],
            Self::Hardswish => [-3.0, NONE],
            Self::Sigmoid => [-5.986_445_692, 5.986_445_692],
            Self::Tanh => [-2.993_222_846, 2.993_222_846],
            Self::Hardtanh => [-1.0, 1.0],
            Self::Softplus => [-4.595_119_850, NONE],
        }
    }

    /// Whether the function is flat for inputs far from 0 of either sign. Functions that are flat on one side are meant
    /// to be flat for half of their inputs. So is ReLU6, whose other flat side is far away.
    pub fn is_flat_on_both_sides(self) -> bool {
        self != Self::Relu6 && self.saturation().iter().all(|side| side.is_finite())
    }

    /// Factor of the standard deviation of the weights before this function that preserves the scale of the signal.
    ///
    /// If `torch.nn.init.calculate_gain` supports the function, this is torch's value. Otherwise, it is 1 /
    /// sqrt(E\[f(z)^2\]) for normal z (He et al. 2015, section 2.2, for a general f).
    pub fn gain(self) -> f64 {
        match self {
            Self::Relu | Self::Relu6 => std::f64::consts::SQRT_2,
            Self::LeakyRelu => (2.0 / (1.0 + 0.01_f64.powi(2))).sqrt(),
            Self::Tanh => 5.0 / 3.0,
            Self::Sigmoid => 1.0,
            Self::Selu => 3.0 / 4.0,
            Self::Elu => 1.245_198_301,
            Self::Gelu => 1.533_530_441,
            Self::Silu => 1.676_532_470,
            Self::Mish => 1.486_847_581,
            Self::Hardswish => 1.736_657_213,
            Self::Hardtanh => 1.392_036_140,
            Self::Softplus => 1.041_866_836,
        }
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
        let moment = (activation.apply(&z).unwrap().square() * density).sum(Kind::Double).double_value(&[]) * step;
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
        activation.apply(&z).unwrap().sum(Kind::Double).backward();
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
    fn gains_that_torch_defines_are_torchs() {
        // [calculate_gain(name) for name in ("tanh", "sigmoid", "selu")] and calculate_gain("leaky_relu", 0.01)
        assert_eq!(Activation::Tanh.gain(), 1.666_666_666_666_666_7);
        assert_eq!(Activation::Sigmoid.gain(), 1.0);
        assert_eq!(Activation::Selu.gain(), 0.75);
        assert_eq!(Activation::LeakyRelu.gain(), 1.414_142_856_997_835_4);
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
                let got = activation.apply(&Tensor::from(x)).unwrap().double_value(&[]);
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
