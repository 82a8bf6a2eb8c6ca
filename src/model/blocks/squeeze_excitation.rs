//! Squeeze-and-excitation: weights channels by global features of the image (Hu et al. 2018).

use tch::{TchError, Tensor};

use crate::{
    config::Activation,
    model::{
        ModelError, activate,
        layer::{Conv2d, Window},
        parameter::Path,
    },
};

/// Maps the output of the last layer to weights from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The logistic function.
    Sigmoid,
    /// relu6(x + 3) / 6.
    Hardsigmoid,
}

/// Global average pooling, a 1x1 convolution to `squeezed` channels (`fc1`), an activation, a 1x1 convolution back
/// (`fc2`), and the gate.
///
/// Its activations are not part of the depth profile, so taps do not see them.
#[derive(Debug)]
pub(crate) struct SqueezeExcitation {
    fc1: Conv2d,
    fc2: Conv2d,
    activation: Activation,
    gate: Gate,
}

impl SqueezeExcitation {
    /// Creates the layers for maps with `channels` channels.
    pub(crate) fn new(
        path: &Path<'_>,
        channels: i64,
        squeezed: i64,
        activation: Activation,
        gate: Gate,
    ) -> Result<Self, ModelError> {
        let fc1 = Conv2d::new(&(path / "fc1"), [channels, squeezed], Window::one(1), Some(activation), true)?;
        let fc2 = Conv2d::new(&(path / "fc2"), [squeezed, channels], Window::one(1), Some(Activation::Sigmoid), true)?;
        Ok(Self { fc1, fc2, activation, gate })
    }

    /// Multiplies the maps by the channel weights.
    pub(crate) fn forward(&self, maps: &Tensor) -> Result<Tensor, TchError> {
        let means = maps.f_adaptive_avg_pool2d([1, 1])?;
        let sums = self.fc2.forward(&activate(self.activation, &self.fc1.forward(&means)?)?)?;
        let weights = match self.gate {
            Gate::Sigmoid => sums.f_sigmoid()?,
            Gate::Hardsigmoid => sums.f_hardsigmoid()?,
        };
        weights.f_mul(maps)
    }
}
