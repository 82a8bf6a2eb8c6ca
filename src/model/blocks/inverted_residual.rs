//! Inverted residual blocks: expand, apply a depthwise convolution, and project back (Sandler et al. 2018, Howard et
//! al. 2019, Tan and Le 2019).

use tch::{TchError, Tensor};

use super::{ConvNorm, ConvNormActivation, Gate, SqueezeExcitation, StochasticDepth};
use crate::{
    config::Activation,
    model::{ModelError, Pass, layer::Window, normalization::Normalization, parameter::Path},
};

/// Squeeze-and-excitation of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Squeeze {
    /// Number of squeezed channels.
    pub channels: i64,
    /// Activation after the first layer.
    pub activation: Activation,
    /// Function after the last layer.
    pub gate: Gate,
}

/// Shape of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Numbers of input, expanded, and output channels.
    pub channels: [i64; 3],
    /// Side length of the depthwise kernel.
    pub side: i64,
    /// Stride of the depthwise convolution.
    pub stride: i64,
    /// Squeeze-and-excitation, if any.
    pub squeeze: Option<Squeeze>,
    /// Activation after the first two convolutions.
    pub activation: Activation,
}

/// 1x1 convolution (absent if it would not expand), depthwise convolution, squeeze-and-excitation, and 1x1 convolution
/// without an activation. The input is added if the shape is the same.
#[derive(Debug)]
pub(crate) struct InvertedResidual {
    expand: Option<ConvNormActivation>,
    depthwise: ConvNormActivation,
    squeeze: Option<SqueezeExcitation>,
    project: ConvNorm,
    is_residual: bool,
    drop: StochasticDepth,
}

impl InvertedResidual {
    /// Creates a block. `path` is the path of its layers, which are numbered from 0. If `is_flat`, the last convolution
    /// and its normalization have separate numbers, as in MobileNetV2.
    pub(crate) fn new(
        path: &Path<'_>,
        layout: &Layout,
        is_flat: bool,
        make: impl Fn(Normalization) -> Normalization + Copy,
        drop: StochasticDepth,
    ) -> Result<Self, ModelError> {
        let &Layout { channels: [inputs, middle, outputs], side, stride, squeeze, activation } = layout;
        let mut index = 0;
        let mut next = || {
            index += 1;
            path / (index - 1)
        };
        let expand = if middle == inputs {
            None
        } else {
            Some(ConvNormActivation::new(&next(), [inputs, middle], Window::one(1), activation, make)?)
        };
        let window = Window::new(side, stride).grouped(middle);
        let depthwise = ConvNormActivation::new(&next(), [middle; 2], window, activation, make)?;
        let squeeze = match squeeze {
            None => None,
            Some(Squeeze { channels, activation, gate }) => {
                Some(SqueezeExcitation::new(&next(), middle, channels, activation, gate)?)
            }
        };
        let last = next();
        let paths = if is_flat { [last, next()] } else { [&last / 0, &last / 1] };
        let project = ConvNorm::projection([&paths[0], &paths[1]], [middle, outputs], Window::one(1), make)?;
        let is_residual = path.config().residual && stride == 1 && inputs == outputs;
        Ok(Self { expand, depthwise, squeeze, project, is_residual, drop })
    }

    /// Computes the output of the block.
    pub(crate) fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        if let Some(expand) = &self.expand {
            maps = expand.forward(&maps, pass)?;
        }
        maps = self.depthwise.forward(&maps, pass)?;
        if let Some(squeeze) = &self.squeeze {
            maps = squeeze.forward(&maps)?;
        }
        maps = self.project.forward(&maps, pass)?;
        if self.is_residual { self.drop.forward(maps, pass)?.f_add(images) } else { Ok(maps) }
    }
}
