//! Two consecutive depthwise separable convolutions.

use tch::{TchError, Tensor};

use super::EPS;
use crate::model::{
    ModelError, Pass,
    blocks::pad_same,
    layer::{Conv2d, Window},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// Activation, separable convolution, and normalization, repeated at stride 1.
#[derive(Debug)]
pub(super) struct Separable {
    first: Activate,
    layers: [(Depthwise, Normalization); 2],
    second: Activate,
}

impl Separable {
    /// Creates the branch; `channels` are the numbers of input, intermediate, and output channels.
    pub(super) fn new(path: &Path<'_>, channels: [i64; 3], side: i64, stride: i64) -> Result<Self, ModelError> {
        let [inputs, middle, outputs] = channels;
        let layer = |index: usize, channels: [i64; 2], stride| {
            let conv = Depthwise::new(&(path / format!("separable_{index}")), channels, side, stride)?;
            let norm = Normalization::of_maps(&(path / format!("bn_sep_{index}")), channels[1])?.with_eps(EPS);
            Ok::<_, ModelError>((conv, norm))
        };
        let layers = [layer(1, [inputs, middle], stride)?, layer(2, [middle, outputs], 1)?];
        let second = Activate::behind(&(path / "separable_1" / "pointwise_conv2d"))?;
        Ok(Self { first: Activate::unseen(path), layers, second })
    }

    /// Computes the output of the branch.
    pub(super) fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let [(conv1, norm1), (conv2, norm2)] = &self.layers;
        let maps = norm1.forward(&conv1.forward(&self.first.forward(maps, pass)?)?, pass)?;
        norm2.forward(&conv2.forward(&self.second.forward(&maps, pass)?)?, pass)
    }
}

/// A depthwise convolution followed by a 1x1 convolution.
#[derive(Debug)]
struct Depthwise {
    depthwise: Conv2d,
    pointwise: Conv2d,
    side: i64,
    stride: i64,
}

impl Depthwise {
    fn new(path: &Path<'_>, [inputs, outputs]: [i64; 2], side: i64, stride: i64) -> Result<Self, ModelError> {
        let window = Window::new(side, stride).grouped(inputs);
        let window = if stride > 1 { Window { padding: [0, 0], ..window } } else { window };
        let depthwise = Conv2d::new(&(path / "depthwise_conv2d"), [inputs; 2], window, None, false)?;
        let pointwise = Conv2d::before_normalization(&(path / "pointwise_conv2d"), inputs, outputs, Window::one(1))?;
        Ok(Self { depthwise, pointwise, side, stride })
    }

    fn forward(&self, maps: &Tensor) -> Result<Tensor, TchError> {
        let maps = if self.stride > 1 { pad_same(maps, self.side, self.stride, 0.0)? } else { maps.shallow_clone() };
        self.pointwise.forward(&self.depthwise.forward(&maps)?)
    }
}
