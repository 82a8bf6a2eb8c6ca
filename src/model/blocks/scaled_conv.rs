//! Convolutions with scaled weight standardization, which replace normalization layers (Brock et al. 2021,
//! arXiv:2101.08692).

use tch::{Device, Kind, TchError, Tensor};

use super::pad_same;
use crate::model::{
    ModelError, ParameterName, cost_counter,
    initialization::{draw_bias, draw_weight},
    layer::Window,
    parameter::Path,
};

/// Added to the variance of a filter.
const EPS: f64 = 1e-5;

/// A convolution with filters of mean 0 and variance 1 / fan_in, multiplied by a learned `gain` and a constant `scale`.
#[derive(Debug)]
pub(crate) struct ScaledConv2d {
    name: ParameterName,
    weight: Tensor,
    bias: Tensor,
    gain: Tensor,
    window: Window,
    scale: f64,
    is_same: bool,
}

impl ScaledConv2d {
    /// Creates a convolution. `channels` are the numbers of input and output channels, and `scale` compensates for the
    /// activation. If `is_same`, strided windows are padded as in TensorFlow.
    pub(crate) fn new(
        path: &Path<'_>,
        channels: [i64; 2],
        window: Window,
        scale: f64,
        is_same: bool,
    ) -> Result<Self, ModelError> {
        let initialization = &path.config().initialization;
        let [inputs, outputs] = channels;
        let shape = [outputs, inputs / window.groups, window.side, window.side];
        let drawn = draw_weight(initialization, &shape, initialization.gain_before(None))?;
        let weight = path.parameter("weight", &drawn)?;
        let bias = path.parameter("bias", &draw_bias(initialization, &shape)?)?;
        let gain = path.parameter("gain", &Tensor::f_ones([outputs, 1, 1, 1], (Kind::Float, Device::Cpu))?)?;
        let fan_in = shape[1..].iter().product::<i64>() as f64;
        let is_same = is_same && window.stride > 1;
        let window = if is_same { Window { padding: [0, 0], ..window } } else { window };
        Ok(Self { name: path.name()?, weight, bias, gain, window, scale: scale / fan_in.sqrt(), is_same })
    }

    /// Applies the convolution.
    pub(crate) fn forward(&self, maps: &Tensor) -> Result<Tensor, TchError> {
        let Window { side, stride, padding, groups } = self.window;
        let maps = if self.is_same { pad_same(maps, side, stride, 0.0)? } else { maps.shallow_clone() };
        cost_counter::look_at(&self.name, &self.weight, || self.window.outputs(&maps, &self.weight)).unwrap_or_else(
            || maps.f_conv2d(&self.standardised()?, Some(&self.bias), [stride, stride], padding, [1, 1], groups),
        )
    }

    /// The standardized filters. Batch normalization of a single-image batch computes the statistics of each filter.
    fn standardised(&self) -> Result<Tensor, TchError> {
        let filters = self.weight.f_reshape([1, self.weight.size()[0], -1])?;
        let gain = self.gain.f_mul_scalar(self.scale)?.f_flatten(0, -1)?;
        filters.f_batch_norm::<&Tensor>(Some(&gain), None, None, None, true, 0.0, EPS, true)?.f_view_as(&self.weight)
    }
}
