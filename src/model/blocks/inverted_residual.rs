//! Blocks that widen, convolve each channel alone, and narrow again (Sandler et al. 2018, Howard et al. 2019, Tan and Le 2019).

use tch::{TchError, Tensor};

use super::{ConvNorm, ConvNormActivation, Gate, SqueezeExcitation, StochasticDepth};
use crate::{
    config::Activation,
    model::{ModelError, Pass, layer::Window, normalization::Normalization, parameter::Path},
};

/// The squeeze-and-excitation of a block.
#[derive(Debug, Clone, Copy)]
pub struct Squeeze {
    /// Channels that it squeezes to.
    pub channels: i64,
    /// The function in between.
    pub activation: Activation,
    /// The last one.
    pub gate: Gate,
}

/// The shape of a block.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Channels that come in, in the middle, and that go out.
    pub channels: [i64; 3],
    /// Side of the depthwise kernel.
    pub side: i64,
    /// Its stride.
    pub stride: i64,
    /// Where there is one.
    pub squeeze: Option<Squeeze>,
    /// Behind the first two convolutions.
    pub activation: Activation,
}

/// 1x1 convolution (left out where it would not widen), depthwise convolution, squeeze-and-excitation, 1x1 convolution without an
/// activation, and the input on top where the shape is the same.
#[derive(Debug)]
pub struct InvertedResidual {
    expand: Option<ConvNormActivation>,
    depthwise: ConvNormActivation,
    squeeze: Option<SqueezeExcitation>,
    project: ConvNorm,
    is_residual: bool,
    drop: StochasticDepth,
}

impl InvertedResidual {
    /// `path` is that of the block's layers, which are counted from 0. Where `is_flat`, the last convolution and its
    /// normalization are counted apart, as in MobileNetV2.
    pub fn new(
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

    /// The block's maps.
    pub fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
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
