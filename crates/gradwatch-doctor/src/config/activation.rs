//! Flat ranges of activation functions, and the gain that compensates for their effect on the signal's scale.

use super::Activation;

impl Activation {
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

    /// Whether the function is flat for inputs far below 0 alone, so that a unit whose inputs are all there is dead.
    pub fn is_flat_below(self) -> bool {
        self.saturation()[0].is_finite() && !self.is_flat_on_both_sides()
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
    use super::*;

    #[test]
    fn gains_that_torch_defines_are_torchs() {
        // [calculate_gain(name) for name in ("tanh", "sigmoid", "selu")] and calculate_gain("leaky_relu", 0.01)
        assert_eq!(Activation::Tanh.gain(), 1.666_666_666_666_666_7);
        assert_eq!(Activation::Sigmoid.gain(), 1.0);
        assert_eq!(Activation::Selu.gain(), 0.75);
        assert_eq!(Activation::LeakyRelu.gain(), 1.414_142_856_997_835_4);
    }
}
