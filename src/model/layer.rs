//! The basic layers of all architectures.

use tch::{TchError, Tensor};

use super::{ModelError, ParameterName, Pass, cost_counter, fit, insertion, parameter::Path};
use crate::config::Activation;

/// A fully connected layer `[.., inputs] -> [.., outputs]`.
#[derive(Debug)]
pub(super) struct Linear {
    name: ParameterName,
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Creates a layer that is followed by the model's activation.
    pub(super) fn hidden(path: &Path<'_>, inputs: i64, outputs: i64) -> Result<Self, ModelError> {
        Self::new(path, inputs, outputs, Some(path.config().activation))
    }

    /// Creates a layer that is not followed by an activation.
    pub(super) fn projection(path: &Path<'_>, inputs: i64, outputs: i64) -> Result<Self, ModelError> {
        Self::new(path, inputs, outputs, None)
    }

    /// Creates the last layer, whose outputs are the logits.
    pub(super) fn classifier(path: &Path<'_>, inputs: i64, classes: i64) -> Result<Self, ModelError> {
        Self::new(path, inputs, classes, None)
    }

    fn new(path: &Path<'_>, inputs: i64, outputs: i64, activation: Option<Activation>) -> Result<Self, ModelError> {
        let (weight, bias) = path.draw_layer(&[outputs, inputs], 1, activation, true)?;
        Ok(Self { name: path.name()?, weight, bias })
    }

    /// Multiplies `images` by the transposed weight and adds the bias.
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor, TchError> {
        let shape = |images: &Tensor| {
            let mut shape = images.size();
            shape.pop();
            shape.extend(self.weight.size().first());
            shape
        };
        let forward = || images.f_linear(&self.weight, self.bias.as_ref());
        insertion::reach(self.name.as_str());
        fit::meet(&self.weight, self.bias.as_ref(), images, &forward)?;
        cost_counter::look_at(&self.name, &self.weight, || shape(images)).unwrap_or_else(forward)
    }
}

/// The geometry of a square convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// Side length of the kernel.
    pub side: i64,
    /// Distance between two positions.
    pub stride: i64,
    /// Zero padding at the top and bottom, and at the left and right.
    pub padding: [i64; 2],
    /// Number of channel groups, which are convolved separately.
    pub groups: i64,
}

impl Window {
    /// A kernel of odd side length that preserves the size of its input at stride 1.
    pub(super) const fn new(side: i64, stride: i64) -> Self {
        Self { side, stride, padding: [side / 2, side / 2], groups: 1 }
    }

    /// A 3x3 kernel that preserves the size of its input at stride 1.
    pub(super) const fn three(stride: i64) -> Self {
        Self::new(3, stride)
    }

    /// A 1x1 kernel.
    pub(super) const fn one(stride: i64) -> Self {
        Self::new(1, stride)
    }

    /// Adjacent windows without padding.
    pub(super) const fn patches(side: i64) -> Self {
        Self { side, stride: side, padding: [0, 0], groups: 1 }
    }

    /// Output shape of this convolution for `images` and `weight`.
    pub(super) fn outputs(self, images: &Tensor, weight: &Tensor) -> Vec<i64> {
        let side = |length: &i64, zeros: i64| (length + 2 * zeros - self.side) / self.stride + 1;
        match images.size()[..] {
            [batch, _, rows, columns] => {
                let outputs = weight.size().first().copied().unwrap_or(0);
                vec![batch, outputs, side(&rows, self.padding[0]), side(&columns, self.padding[1])]
            }
            _ => Vec::new(),
        }
    }

    /// Returns the window with this number of channel groups; one group per channel gives a depthwise convolution.
    pub(super) const fn grouped(self, groups: i64) -> Self {
        Self { groups, ..self }
    }
}

/// A convolution `[batch, inputs, height, width] -> [batch, outputs, ..]`.
#[derive(Debug)]
pub(super) struct Conv2d {
    name: ParameterName,
    weight: Tensor,
    bias: Option<Tensor>,
    window: Window,
}

impl Conv2d {
    /// Creates a convolution with a bias that is followed by the model's activation.
    pub(super) fn with_bias(path: &Path<'_>, inputs: i64, outputs: i64, window: Window) -> Result<Self, ModelError> {
        Self::new(path, [inputs, outputs], window, Some(path.config().activation), true)
    }

    /// Creates a convolution that is followed by a normalization, if the config has one, and the model's activation. It
    /// has a bias only if there is no normalization.
    pub(super) fn before_normalization(
        path: &Path<'_>,
        inputs: i64,
        outputs: i64,
        window: Window,
    ) -> Result<Self, ModelError> {
        Self::new(path, [inputs, outputs], window, Some(path.config().activation), lacks_normalization(path))
    }

    /// Like [`before_normalization`](Self::before_normalization), but without an activation.
    pub(super) fn projection(path: &Path<'_>, inputs: i64, outputs: i64, window: Window) -> Result<Self, ModelError> {
        Self::new(path, [inputs, outputs], window, None, lacks_normalization(path))
    }

    /// Creates a convolution; `channels` are the numbers of input and output channels.
    pub(super) fn new(
        path: &Path<'_>,
        channels: [i64; 2],
        window: Window,
        activation: Option<Activation>,
        has_bias: bool,
    ) -> Result<Self, ModelError> {
        let [inputs, outputs] = channels;
        let shape = [outputs, inputs / window.groups, window.side, window.side];
        let (weight, bias) = path.draw_layer(&shape, window.groups, activation, has_bias)?;
        Ok(Self { name: path.name()?, weight, bias, window })
    }

    /// Applies the convolution.
    pub(super) fn forward(&self, images: &Tensor) -> Result<Tensor, TchError> {
        let Window { stride, padding, groups, .. } = self.window;
        let bias = self.bias.as_ref();
        let forward = || images.f_conv2d(&self.weight, bias, [stride, stride], padding, [1, 1], groups);
        insertion::reach(self.name.as_str());
        fit::meet(&self.weight, bias, images, &forward)?;
        cost_counter::look_at(&self.name, &self.weight, || self.window.outputs(images, &self.weight))
            .unwrap_or_else(forward)
    }
}

/// Whether the model has no normalization, so that convolutions need a bias of their own.
pub(super) fn lacks_normalization(path: &Path<'_>) -> bool {
    path.config().normalization == crate::config::Normalization::None
}

/// Rounds a number of channels to the nearest multiple of 8, but not below 9/10 of it (Howard et al. 2017, as in
/// torchvision).
pub(super) fn round_channels(channels: f64) -> i64 {
    let nearest = (((channels + 4.0) / 8.0).floor() as i64 * 8).max(8);
    if (nearest as f64) < 0.9 * channels { nearest + 8 } else { nearest }
}

/// Zeroes random units in training and scales up the others (Srivastava et al. 2014).
#[derive(Debug, Clone, Copy)]
pub(super) struct Dropout {
    probability: f64,
}

impl Dropout {
    /// Creates dropout with the config's `model.dropout`.
    pub(super) fn new(path: &Path<'_>) -> Self {
        Self { probability: path.config().dropout }
    }

    /// Applies dropout in a training pass. In evaluation or at probability 0, it is the identity and does not use the
    /// random generator.
    pub(super) fn forward(self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        if pass.train && self.probability > 0.0 {
            images.f_dropout(self.probability, true)
        } else {
            Ok(images.shallow_clone())
        }
    }
}

/// Maximum of each 2x2 window; an odd last row or column is dropped.
pub(super) fn halve(images: &Tensor) -> Result<Tensor, TchError> {
    images.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
}

/// `[batch, channels, height, width] -> [batch, channels]`: the mean over space.
pub(super) fn average(images: &Tensor) -> Result<Tensor, TchError> {
    images.f_adaptive_avg_pool2d([1, 1])?.f_flatten(1, -1)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::{
        config::{Architecture, ModelConfig},
        model::{fixture, parameter::Builder},
    };

    fn ones(shape: &[i64]) -> Tensor {
        Tensor::ones(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn dropout_scales_what_it_keeps_and_is_off_in_evaluation() {
        let config = ModelConfig { dropout: 0.25, ..fixture::config(Architecture::Mlp) };
        let builder = Builder::new(&config, Device::Cpu);
        let dropout = Dropout::new(&builder.root());
        let images = ones(&[100, 1000]);
        let dropped = dropout.forward(&images, &Pass::training()).unwrap();
        let kept = dropped.gt(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        // Five standard errors of a fraction of 100 000 draws: 5 sqrt(0.75 * 0.25 / 1e5).
        assert!((kept - 0.75).abs() < 0.0069, "kept {kept}");
        assert!((dropped.max().double_value(&[]) - 1.0 / 0.75).abs() < 1e-6);
        assert_eq!(dropout.forward(&images, &Pass::evaluation()).unwrap(), images);
    }

    #[test]
    fn a_convolution_before_a_normalization_has_no_bias() {
        for (normalization, count) in
            [(crate::config::Normalization::Batch, 1), (crate::config::Normalization::None, 2)]
        {
            let config = ModelConfig { normalization, ..fixture::config(Architecture::Cnn) };
            let builder = Builder::new(&config, Device::Cpu);
            Conv2d::before_normalization(&(builder.root() / "conv"), 3, 4, Window::three(1)).unwrap();
            assert_eq!(builder.finish().len(), count);
        }
    }

    #[test]
    fn a_wrong_shape_is_an_error_and_no_panic() {
        let config = fixture::config(Architecture::Cnn);
        let builder = Builder::new(&config, Device::Cpu);
        let conv = Conv2d::with_bias(&(builder.root() / "conv"), 3, 4, Window::three(1)).unwrap();
        let linear = Linear::hidden(&(builder.root() / "fc"), 3, 4).unwrap();
        assert!(conv.forward(&ones(&[1, 2, 8, 8])).is_err());
        assert!(linear.forward(&ones(&[1, 2])).is_err());
    }
}
